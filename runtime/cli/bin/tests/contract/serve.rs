//! `smidgen serve`.

mod models;
mod registry;
mod several;
#[cfg(unix)]
mod system;

use crate::files::instruct;
use crate::think::{PROMPT, TEMPLATE, both, ending, with_template};
use crate::{Scratch, fails, smidgen, stdout};
use serde_json::{Value, json};
use smidgen_quant::Format;
use smidgen_tests::seeded::File;
use smidgen_tests::seeded_bert;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// A running server, and the lines that it logs.
struct Server {
    child: Child,
    address: String,
    lines: mpsc::Receiver<String>,
    _dir: Scratch,
    _cache: Scratch,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An answer: its status, its head and its body, put together from its chunks.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// The error, whose status is this one.
    fn error(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        let error = self.json()["error"].clone();
        assert!(error["message"].as_str().is_some_and(|message| message.lines().count() == 1), "{error}");
        assert!(error["type"].is_string() && error.get("param").is_some() && error.get("code").is_some(), "{error}");
        error
    }

    /// The values of a stream of events, which has its end.
    fn events(&self) -> Vec<Value> {
        let events = self.body.strip_suffix("data: [DONE]\n\n").unwrap_or_else(|| panic!("no end: {}", self.body));
        let events = events.split_terminator("\n\n").map(|event| event.strip_prefix("data: ").unwrap());
        events.map(|event| serde_json::from_str(event).unwrap()).collect()
    }
}

impl Server {
    fn start(flags: &[&str]) -> Server {
        Server::start_with(flags, &[])
    }

    fn start_with(flags: &[&str], environment: &[(&str, &str)]) -> Server {
        Server::of(&instruct(), flags, environment)
    }

    fn of(file: &File, flags: &[&str], environment: &[(&str, &str)]) -> Server {
        let (dir, model) = Scratch::with(file);
        let words = [&["serve", &model, "--port", "0", "--threads", "1"], flags].concat();
        let mut command = smidgen(&words);
        command.envs(environment.iter().copied());
        Server::by(command, dir)
    }

    /// A server that a command starts.
    fn by(mut command: Command, dir: Scratch) -> Server {
        let mut server = Server::unready(&mut command);
        server._dir = dir;
        server.address = server.logged("listening")["address"].as_str().unwrap().to_owned();
        server.logged("ready");
        server
    }

    /// The same, as soon as its process is there.
    fn unready(command: &mut Command) -> Server {
        let cache = Scratch::new();
        if !command.get_envs().any(|(name, _)| name == "SMIDGEN_CACHE") {
            command.env("SMIDGEN_CACHE", cache.path(""));
        }
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Server { child, address: String::new(), lines, _dir: Scratch::new(), _cache: cache }
    }

    /// The next line of this event.
    fn logged(&self, event: &str) -> Value {
        loop {
            let line = self.lines.recv_timeout(Duration::from_secs(60)).unwrap();
            let line: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
            if line["event"] == event {
                return line;
            }
        }
    }

    /// Sends bytes, and reads until the server closes.
    fn raw(&self, request: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        // The server may answer, and close, before it has read everything.
        let _ = stream.write_all(request);
        read(stream)
    }

    fn with(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        let length = body.len();
        self.raw(
            format!(
                "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
            )
            .as_bytes(),
        )
    }

    /// The fingerprint of a model that is open, once it is known.
    fn fingerprint(&self, model: &str) -> Value {
        let path = format!("/props?model={model}");
        for _ in 0..2000 {
            let found = self.get(&path).json()["system_fingerprint"].clone();
            if found.is_string() {
                return found;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("{model} has no fingerprint");
    }

    /// Tokens of an answer that takes a second or two on this machine: what comes meanwhile finds it running, and it ends well within the time that answers
    /// have when a server stops.
    fn lasting(&self, model: &str) -> u32 {
        let ask = |most: u32| {
            let body = json!({"model": model, "prompt": "hello", "max_tokens": most, "temperature": 0});
            let started = Instant::now();
            assert_eq!(self.post("/v1/completions", &body).status, 200);
            started.elapsed()
        };
        // The model may have to be opened first.
        let first = ask(1).min(ask(1));
        let each = ask(65).saturating_sub(first).as_secs_f64() / 64.0;
        ((1.5 / each.max(1e-6)) as u32).clamp(32, 1500)
    }

    fn get(&self, path: &str) -> Answer {
        self.with("GET", path, "", "")
    }

    fn post(&self, path: &str, body: &Value) -> Answer {
        self.with("POST", path, "Content-Type: application/json\r\n", &body.to_string())
    }

    fn chat(&self, more: &[(&str, Value)]) -> Answer {
        let mut body = json!({"model": "model", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 6, "temperature": 0});
        more.iter().for_each(|(name, value)| body[*name] = value.clone());
        self.post("/v1/chat/completions", &body)
    }

    #[cfg(unix)]
    fn signal(&self) {
        let kill = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(kill.unwrap().success());
    }
}

fn read(mut stream: TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {text:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let head = head.to_lowercase();
    let mut whole = String::new();
    let mut rest = body;
    if head.contains("transfer-encoding: chunked") {
        while let Some((size, after)) = rest.split_once("\r\n") {
            let size = usize::from_str_radix(size, 16).unwrap();
            whole.push_str(&after[..size]);
            rest = &after[size + 2..];
        }
    } else {
        whole.push_str(rest);
    }
    Answer { status, head, body: whole }
}

#[test]
fn a_conversation_is_answered_as_by_the_command_and_streamed_the_same() {
    let server = Server::start(&[]);
    let model = server._dir.path("model.gguf");
    let expected = stdout(&["run", &model, "-p", "hello", "--temp", "0", "-n", "6"]);
    let expected = expected.as_str();

    let fingerprint = server.fingerprint("model");
    let whole = server.chat(&[]);
    assert_eq!(whole.status, 200, "{}", whole.body);
    let whole = whole.json();
    let choice = &whole["choices"][0];
    assert_eq!(choice["message"]["content"], expected);
    assert_eq!((&choice["finish_reason"], &choice["message"]["role"]), (&"length".into(), &"assistant".into()));
    let usage = &whole["usage"];
    assert_eq!(usage["completion_tokens"], 6);
    assert_eq!(usage["total_tokens"].as_u64().unwrap(), usage["prompt_tokens"].as_u64().unwrap() + 6);
    assert!(fingerprint.as_str().unwrap().starts_with("fp_"));
    assert_eq!(whole["system_fingerprint"], fingerprint);
    let again = server.chat(&[]).json();
    assert!(again["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap() > 0, "{again}");

    let streamed = server.chat(&[("stream", true.into()), ("stream_options", json!({"include_usage": true}))]);
    assert!(streamed.head.contains("content-type: text/event-stream") && streamed.head.contains("no-cache"));
    let events = streamed.events();
    let (last, parts) = events.split_last().unwrap();
    assert_eq!((&last["choices"], &last["usage"]["completion_tokens"]), (&json!([]), &6.into()));
    assert_eq!(parts[0]["choices"][0]["delta"]["role"], "assistant");
    let text = parts.iter().filter_map(|part| part["choices"][0]["delta"]["content"].as_str());
    assert_eq!(text.collect::<String>(), expected);
    let reasons = parts.iter().filter_map(|part| part["choices"][0]["finish_reason"].as_str());
    assert_eq!(reasons.collect::<Vec<_>>(), ["length"]);

    let stop = &expected[2..4];
    let stopped = server.chat(&[("stop", json!([stop]))]).json();
    assert_eq!(stopped["choices"][0]["message"]["content"], expected[..expected.find(stop).unwrap()]);
    assert_eq!(stopped["choices"][0]["finish_reason"], "stop");
    // A control token has no text, but its spelling ends an answer all the same.
    let marked = server.chat(&[("stop", "<|im_start|>".into()), ("logit_bias", json!({"1": 100}))]).json();
    assert_eq!(marked["choices"][0]["finish_reason"], "stop");
    assert_eq!(marked["usage"]["completion_tokens"], 1);
}

#[test]
fn choices_and_log_probabilities() {
    let server = Server::start(&["--alias", "a name"]);
    let more = [
        ("model", "a name".into()),
        ("n", 3.into()),
        ("seed", 5.into()),
        ("temperature", 1.5.into()),
        ("logprobs", true.into()),
        ("top_logprobs", 2.into()),
    ];
    let sampled = server.chat(&more).json();
    let choices = sampled["choices"].as_array().unwrap();
    assert_eq!(choices.iter().map(|choice| choice["index"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 1, 2]);
    assert_ne!(choices[0]["message"], choices[1]["message"]);
    assert_eq!(server.chat(&more).json()["choices"], sampled["choices"]);
    for choice in choices {
        let content = choice["logprobs"]["content"].as_array().unwrap();
        let bytes = content.iter().flat_map(|token| token["bytes"].as_array().unwrap());
        let bytes: Vec<u8> = bytes.map(|byte| byte.as_u64().unwrap() as u8).collect();
        assert_eq!(String::from_utf8_lossy(&bytes), choice["message"]["content"].as_str().unwrap());
        for token in content {
            let top = token["top_logprobs"].as_array().unwrap();
            assert_eq!(top.len(), 2);
            assert!(top[0]["logprob"].as_f64() >= top[1]["logprob"].as_f64());
            assert!(top[0]["logprob"].as_f64() >= token["logprob"].as_f64());
        }
    }

    let body = json!({"prompt": ["hello", "user"], "temperature": 0, "echo": true, "logprobs": 1, "max_tokens": 3});
    let whole = server.post("/v1/completions", &body).json();
    let streamed = server.post("/v1/completions", &{
        let mut body = body.clone();
        body["stream"] = true.into();
        body
    });
    for index in 0..2 {
        let choice = &whole["choices"][index];
        let text = choice["text"].as_str().unwrap();
        assert!(text.starts_with(["hello", "user"][index]), "{text}");
        let logprobs = &choice["logprobs"];
        assert!(logprobs["token_logprobs"][0].is_null() && logprobs["top_logprobs"][0].is_null(), "{logprobs}");
        let tokens = logprobs["tokens"].as_array().unwrap();
        assert_eq!(tokens.iter().map(|token| token.as_str().unwrap()).collect::<String>(), text);
        let offsets = logprobs["text_offset"].as_array().unwrap();
        for (token, offset) in tokens.iter().zip(offsets) {
            assert!(text[offset.as_u64().unwrap() as usize..].starts_with(token.as_str().unwrap()));
        }
        let events = streamed.events();
        let parts = events.iter().map(|event| &event["choices"][0]).filter(|choice| choice["index"] == index);
        assert_eq!(parts.map(|part| part["text"].as_str().unwrap()).collect::<String>(), text);
    }
    let best = server.post("/v1/completions", &json!({"prompt": "hello", "n": 1, "best_of": 3, "seed": 1})).json();
    assert_eq!(best["choices"].as_array().unwrap().len(), 1);
    assert_eq!(best["usage"]["completion_tokens"], 3 * 16);
}

#[test]
fn reasoning_is_told_from_the_answer_as_by_the_command() {
    for kind in [4, 3] {
        let server = Server::of(&ending(with_template(TEMPLATE), PROMPT, "</think>", kind), &[], &[]);
        let model = server._dir.path("model.gguf");
        let words = ["run", &model, "-p", "hello", "--temp", "0", "-n", "30"];
        let (answer, reasoning) = both(&words, "");
        assert!(!answer.is_empty() && !reasoning.trim().is_empty(), "{answer:?} {reasoning:?}");
        let more = [("max_tokens", 30.into())];
        let whole = server.chat(&more).json()["choices"][0]["message"].clone();
        assert_eq!(whole["content"], answer.trim_end_matches('\n'));
        assert_eq!(whole["reasoning_content"], reasoning.trim());
        let events = server.chat(&[("max_tokens", 30.into()), ("stream", true.into())]).events();
        let joined = |name: &str| {
            let texts = events.iter().filter_map(|event| event["choices"][0]["delta"][name].as_str());
            texts.collect::<String>()
        };
        assert_eq!(whole["content"], joined("content"));
        assert_eq!(whole["reasoning_content"], joined("reasoning_content").trim());

        let (answer, _) = both(&[&words[..], &["--think", "off"]].concat(), "");
        for off in [("reasoning_effort", json!("none")), ("chat_template_kwargs", json!({"enable_thinking": false}))] {
            let whole = server.chat(&[more[0].clone(), off]).json()["choices"][0]["message"].clone();
            assert_eq!(whole["content"], answer.trim_end_matches('\n'));
            assert!(whole.get("reasoning_content").is_none(), "{whole}");
        }
    }
}

#[test]
fn what_is_wrong_is_refused_by_its_name() {
    let server = Server::start(&["--parallel", "2", "--queue", "2", "--max-body", "100000"]);
    for (name, value) in [
        ("temperature", json!(-1)),
        ("temperature", json!("hot")),
        ("top_p", json!(1.5)),
        ("min_p", json!(-0.1)),
        ("top_k", json!(-2)),
        ("repetition_penalty", json!(0)),
        ("max_tokens", json!(0)),
        ("max_tokens", json!(1.5)),
        ("max_completion_tokens", json!(-1)),
        ("n", json!(0)),
        ("n", json!(5)),
        ("presence_penalty", json!(3)),
        ("frequency_penalty", json!(-3)),
        ("stop", json!(["a", "b", "c", "d", "e"])),
        ("stop", json!([""])),
        ("stop", json!({})),
        ("seed", json!("x")),
        ("stream", json!("yes")),
        ("stream_options", json!({"include_usage": true})),
        ("logit_bias", json!({"x": 1})),
        ("logit_bias", json!({"1": 101})),
        ("top_logprobs", json!(2)),
        ("tools", json!([{"type": "function"}])),
        ("tool_choice", json!("required")),
        ("response_format", json!({"type": "json_object"})),
        ("modalities", json!(["audio"])),
        ("verbosity", json!("low")),
        ("grammar", json!("root ::= \"a\"")),
        ("json_schema", json!({"type": "object"})),
        ("mirostat", json!(2)),
        ("min_tokens", json!(1)),
        ("typical_p", json!("x")),
        ("repeat_last_n", json!(-2)),
        ("ignore_eos", json!(1)),
        ("reasoning_effort", json!("high")),
        ("messages", json!([])),
        ("messages", json!("hello")),
        ("chat_template_kwargs", json!({"messages": []})),
    ] {
        let error = server.chat(&[(name, value.clone())]).error(400);
        assert_eq!(error["param"], name, "{value}: {error}");
    }
    for (message, param) in [
        (json!({"role": "wizard", "content": "a"}), "messages[0].role"),
        (json!({"role": "user"}), "messages[0].content"),
        (json!({"role": "user", "content": 5}), "messages[0].content"),
        (json!({"role": "user", "content": [{"type": "image_url"}]}), "messages[0].content[0].type"),
        (json!({"role": "user", "content": [{"type": "text"}]}), "messages[0].content[0].text"),
    ] {
        assert_eq!(server.chat(&[("messages", json!([message]))]).error(400)["param"], param);
    }
    assert_eq!(server.chat(&[("logit_bias", json!({"99999": 1}))]).status, 400);
    assert_eq!(server.chat(&[("model", "another".into())]).error(404)["code"], "model_not_found");
    assert_eq!(server.chat(&[("max_tokens", 1_000_000.into())]).error(400)["code"], "context_length_exceeded");
    // What cannot fit by its bytes is refused before its tokens are counted.
    let long =
        json!([{"role": "user", "content": "hello ".repeat(100)}, {"role": "user", "content": "a".repeat(300_000)}]);
    let roomy = Server::start(&[]);
    let error = roomy.chat(&[("messages", long)]).error(400);
    assert_eq!((&error["param"], &error["code"]), (&"messages".into(), &"context_length_exceeded".into()));
    assert!(error["message"].as_str().unwrap().contains("300600 bytes"), "{error}");
    let error = roomy.post("/v1/completions", &json!({"prompt": ["a", "b".repeat(300_000)]})).error(400);
    assert_eq!((&error["param"], &error["code"]), (&"prompt".into(), &"context_length_exceeded".into()));
    let ignored = [
        ("x", json!([1])),
        ("stop", json!(null)),
        ("n", json!(null)),
        ("tools", json!([])),
        ("mirostat", json!(0)),
        ("typical_p", json!(1.0)),
        ("grammar", json!("")),
        ("min_tokens", json!(null)),
    ];
    assert_eq!(server.chat(&ignored).status, 200);

    let json = "Content-Type: application/json\r\n";
    for (method, path, headers, body, status) in [
        ("GET", "/v1/nothing", "", "", 404),
        ("GET", "/v1/models/another", "", "", 404),
        ("GET", "/v1/models/model", "", "", 200),
        ("GET", "/v1/chat/completions", "", "", 405),
        ("DELETE", "/v1/models", "", "", 405),
        ("OPTIONS", "/v1/models", "Origin: http://evil.example\r\n", "", 403),
        ("GET", "/v1/models", "Origin: http://localhost\r\n", "", 200),
        ("GET", "/v1/models", "X-Forwarded-Host: evil.example\r\n", "", 200),
        ("POST", "/v1/completions", "", "{\"prompt\":\"a\"}", 415),
        ("POST", "/v1/completions", "Content-Type: text/plain\r\n", "{\"prompt\":\"a\"}", 415),
        ("POST", "/v1/completions", json, "{\"prompt\":", 400),
        ("POST", "/v1/completions", json, "{}", 400),
        ("POST", "/v1/completions", json, "{\"prompt\":[99999]}", 400),
        ("POST", "/v1/completions", json, "{\"prompt\":\"a\",\"suffix\":\"b\"}", 400),
        ("POST", "/v1/completions", json, "{\"prompt\":\"a\",\"best_of\":2,\"stream\":true}", 400),
        ("POST", "/v1/embeddings", json, "{\"input\":\"a\"}", 400),
        ("POST", "/v1/completions", json, &"a".repeat(100_001), 413),
    ] {
        let answer = server.with(method, path, headers, body);
        assert_eq!(answer.status, status, "{method} {path} {}", answer.body);
        assert!(!answer.head.contains("access-control"), "{}", answer.head);
        if status != 200 {
            answer.error(status);
        }
    }
    server.raw(b"GET /v1/models HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n").error(421);
    let bomb = [&b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: "[..], &[b'a'; 256 << 10], b"\r\n\r\n"].concat();
    assert_eq!(server.raw(&bomb).status, 431);
}

#[test]
fn tokens_and_what_is_told_of_the_server() {
    let server = Server::start(&["--cors", "https://page.example"]);
    let tokens = server.post("/tokenize", &json!({"content": "hello<|im_end|>"})).json()["tokens"].clone();
    assert_eq!(tokens.as_array().unwrap().last().unwrap(), 2);
    assert_eq!(server.post("/detokenize", &json!({"tokens": tokens})).json()["content"], "hello<|im_end|>");
    assert_eq!(server.get("/health").json()["status"], "ok");
    assert_eq!(server.get("/readyz").status, 200);
    let props = server.get("/props").json();
    assert_eq!((&props["model"], &props["total_slots"]), (&json!("model"), &json!(4)));
    assert_eq!(server.get("/v1/models").json()["data"][0]["id"], "model");
    assert_eq!(server.chat(&[]).status, 200);
    let metrics = server.get("/metrics").body;
    assert!(metrics.lines().any(|line| line.starts_with("llamacpp:tokens_predicted_total 6")), "{metrics}");
    assert!(metrics.lines().any(|line| line == "smidgen:time_to_first_token_seconds_count 1"), "{metrics}");
    let page = server.with("OPTIONS", "/v1/models", "Origin: https://page.example\r\n", "");
    assert!(page.status == 204 && page.head.contains("access-control-allow-origin: https://page.example"));
}

#[test]
fn texts_are_embedded_and_ranked_each_as_if_alone() {
    let shape = seeded_bert::Shape { outputs: 1, ..seeded_bert::Shape::default() };
    let server = Server::of(&seeded_bert::with_words(seeded_bert::model(&shape, Format::Q8_0)), &[], &[]);
    let embed = |input: Value| {
        let answer = server.post("/v1/embeddings", &json!({"model": "model", "input": input}));
        assert_eq!(answer.status, 200, "{}", answer.body);
        let data = answer.json()["data"].as_array().unwrap().clone();
        data.into_iter().map(|one| one["embedding"].clone()).collect::<Vec<_>>()
    };
    let together = embed(json!(["a b", "ab ! a", "b"]));
    assert_eq!(together.len(), 3);
    for (text, vector) in ["a b", "ab ! a", "b"].into_iter().zip(&together) {
        assert_eq!(vector.as_array().unwrap().len(), 256);
        assert_eq!(embed(text.into()), std::slice::from_ref(vector));
        let body = json!({"input": text, "encoding_format": "base64", "dimensions": 256});
        let encoded = server.post("/v1/embeddings", &body).json()["data"][0]["embedding"].clone();
        assert_eq!(encoded.as_str().unwrap().len(), (256usize * 4).div_ceil(3) * 4);
    }
    for (name, value) in [
        ("input", json!([])),
        ("input", json!(5)),
        ("input", json!([[1]])),
        ("input", json!("a ".repeat(200))),
        ("dimensions", json!(64)),
        ("encoding_format", json!("int8")),
    ] {
        let mut body = json!({"input": "a"});
        body[name] = value;
        assert_eq!(server.post("/v1/embeddings", &body).error(400)["param"], name);
    }
    server.post("/v1/completions", &json!({"prompt": "a"})).error(400);

    let rank = |documents: Value| {
        let body = json!({"query": "a", "documents": documents, "return_documents": true});
        let answer = server.post("/v1/rerank", &body);
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()["results"].as_array().unwrap().clone()
    };
    let all = rank(json!(["a b", {"x": [1], "text": "ab ! a"}, "b"]));
    let scores: Vec<f64> = all.iter().map(|one| one["relevance_score"].as_f64().unwrap()).collect();
    assert!(scores.is_sorted_by(|a, b| a > b), "{scores:?}");
    for one in &all {
        assert_eq!(rank(json!([one["document"]]))[0]["relevance_score"], one["relevance_score"]);
    }
    for (name, value) in [("documents", json!([])), ("documents", json!([{"x": "a"}])), ("top_n", json!(0))] {
        let mut body = json!({"query": "a", "documents": ["a"]});
        body[name] = value;
        assert_eq!(server.post("/v1/rerank", &body).error(400)["param"], name);
    }
}

#[test]
fn only_with_a_key() {
    let (dir, _) = Scratch::with(&instruct());
    let file = dir.write("keys", "first-key\n\n second-key \n");
    let server = Server::start(&["--api-key", "third-key", "--api-key-file", &file]);
    for path in ["/v1/models", "/metrics", "/props"] {
        server.get(path).error(401);
        server.with("GET", path, "Authorization: Bearer first-ke\r\n", "").error(401);
        for key in ["first-key", "second-key", "third-key"] {
            assert_eq!(server.with("GET", path, &format!("Authorization: Bearer {key}\r\n"), "").status, 200);
        }
    }
    assert_eq!(server.get("/health").status, 200);
    // A body is not waited for.
    let head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000000\r\n\r\n{";
    assert_eq!(server.raw(head).status, 401);
    let logged: String = server.lines.try_iter().collect();
    assert!(logged.contains("/v1/models") && !logged.contains("-key"), "{logged}");
}

#[test]
fn a_server_that_cannot_be_is_refused() {
    let (dir, model) = Scratch::with(&instruct());
    fails(&["serve", &model, "--host", "0.0.0.0", "--port", "0"], &["--host 0.0.0.0", "--api-key", "--open"]);
    fails(&["serve", &model, "--api-key-file", &dir.write("none", "\n")], &["none", "no key"]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    fails(&["serve", &model, "--port", &port], &["--port", &port, "in use"]);
    fails(&["serve", &model, "--parallel", "0"], &["--parallel", "from 1"]);
}

#[cfg(unix)]
#[test]
fn a_signal_lets_running_answers_end_and_a_second_does_not() {
    let begin = |server: &Server, most: u32| {
        let mut stream = TcpStream::connect(&server.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let body = json!({"prompt": "hello", "max_tokens": most, "temperature": 0, "stream": true}).to_string();
        let length = body.len();
        let head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
        write!(stream, "{head}Content-Length: {length}\r\n\r\n{body}").unwrap();
        // The head of the answer comes once the prompt is read.
        assert_eq!(stream.peek(&mut [0]).unwrap(), 1);
        stream
    };
    let mut server = Server::start(&["--context", "4000"]);
    let stream = begin(&server, server.lasting("model"));
    server.signal();
    server.logged("stopping");
    let answer = read(stream);
    assert_eq!(answer.events().last().unwrap()["choices"][0]["finish_reason"], "length");
    assert!(server.child.wait().unwrap().success());

    let mut server = Server::start(&["--context", "200000", "--parallel", "1"]);
    let _stream = begin(&server, 150_000);
    server.signal();
    server.logged("stopping");
    server.signal();
    server.logged("stopped");
    assert!(server.child.wait().unwrap().success());
}

#[cfg(target_os = "linux")]
#[test]
fn systemd_is_told() {
    let dir = Scratch::new();
    let path = dir.path("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let told = || {
        let mut bytes = [0; 100];
        let count = socket.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..count]).into_owned()
    };
    let mut server = Server::start_with(&[], &[("NOTIFY_SOCKET", &path)]);
    assert_eq!(told(), "READY=1");
    server.signal();
    assert_eq!(told(), "STOPPING=1");
    assert!(server.child.wait().unwrap().success());
}
