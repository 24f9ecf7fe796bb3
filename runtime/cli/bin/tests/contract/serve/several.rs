//! Several models in one server: those of folders.

use super::*;
use smidgen_tests::chat::chat_model;
use smidgen_tests::seeded::Shape;
use std::fs;
use std::path::Path;

/// A model like [`instruct`] that writes something else.
fn other() -> File {
    let shape = Shape { heads: 8, kv_heads: 4, head_size: 32, rotated: 32, seed: 77, ..Shape::default() };
    chat_model(&shape, Format::Q8_0)
}

/// A folder with the models `a` and `b`.
fn folder() -> Scratch {
    let dir = Scratch::new();
    dir.write("a.gguf", instruct().bytes());
    dir.write("b.gguf", other().bytes());
    dir
}

fn serve(dir: Scratch, flags: &[&str]) -> Server {
    let path = dir.path("");
    let words = [&["serve", "--models-dir", &path, "--port", "0", "--threads", "1"], flags].concat();
    Server::by(smidgen(&words), dir)
}

impl Server {
    /// The answer to `hello` of the model with this name.
    fn of_model(&self, name: &str) -> Value {
        let answer = self.chat(&[("model", name.into())]);
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()
    }

    /// The names of all models and their states.
    fn states(&self) -> Vec<(String, String)> {
        let list = self.get("/v1/models").json();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let models = list["data"].as_array().unwrap();
        models.iter().map(|model| (text(&model["id"]), text(&model["status"]["value"]))).collect()
    }

    fn state(&self, name: &str) -> String {
        self.states().into_iter().find(|(own, _)| own == name).unwrap().1
    }

    fn model(&self, path: &str, name: &str) -> Answer {
        self.post(path, &json!({"model": name}))
    }

    /// A number of `/metrics`.
    fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").body;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    }

    /// The events that were logged since the last look, of these kinds, and their models.
    fn events(&self, kinds: &[&str]) -> Vec<(String, String)> {
        let lines = self.lines.try_iter().map(|line| serde_json::from_str::<Value>(&line).unwrap());
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let events = lines.map(|line| (text(&line["event"]), text(&line["model"])));
        events.filter(|(event, _)| kinds.contains(&event.as_str())).collect()
    }

    /// Begins a streamed answer of a model, whose first part has come.
    fn begin(&self, name: &str, tokens: u32) -> TcpStream {
        let body = json!({"model": name, "prompt": "hello", "max_tokens": tokens, "temperature": 0, "stream": true});
        let body = body.to_string();
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n";
        write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        // The head of the answer comes once the prompt is read.
        assert_eq!(stream.peek(&mut [0]).unwrap(), 1);
        stream
    }
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect()
}

/// The text of the first choice.
fn text(answer: &Value) -> String {
    answer["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
}

#[test]
fn models_are_named_by_their_files_and_answer_as_alone() {
    let dir = folder();
    let shape = seeded_bert::Shape { outputs: 1, ..seeded_bert::Shape::default() };
    dir.write("e.gguf", seeded_bert::with_words(seeded_bert::model(&shape, Format::Q8_0)).bytes());
    dir.write("a b+c.GGUF", other().bytes());
    // None of these is a model of its own.
    for name in [".hidden.gguf", "mmproj-a.gguf", "s-00002-of-00002.gguf", "a.gguf.part", "notes.txt"] {
        dir.write(name, instruct().bytes());
    }
    fs::create_dir(dir.path("folder.gguf")).unwrap();
    fs::write(dir.path("folder.gguf/inner.gguf"), instruct().bytes()).unwrap();
    let alone = |name: &str| stdout(&["run", &dir.path(name), "-p", "hello", "--temp", "0", "-n", "6"]);
    let expected = [alone("a.gguf"), alone("b.gguf")];
    assert_ne!(expected[0], expected[1]);
    let server = serve(dir, &[]);
    assert_eq!(server.get("/health").json()["status"], "ok");
    assert_eq!(server.get("/readyz").status, 200);
    let unloaded = ["a", "a b+c", "b", "e"].map(|name| (name, "unloaded"));
    assert_eq!(server.states(), pairs(&unloaded));
    assert_eq!(server.metric("smidgen:models_loaded"), 0.0);

    let [a, b] = ["a", "b"].map(|name| server.of_model(name));
    assert_eq!([text(&a), text(&b)], expected);
    assert_eq!([&a["model"], &b["model"]], ["a", "b"]);
    assert_ne!(server.fingerprint("a"), server.fingerprint("b"));
    for name in ["a", "b"] {
        let props = server.get(&format!("/props?x=1&model={name}")).json();
        let answer = server.of_model(name);
        assert_eq!((&props["model"], &props["system_fingerprint"]), (&json!(name), &answer["system_fingerprint"]));
        let model = server.get(&format!("/v1/models/{name}")).json();
        assert_eq!((&model["status"]["value"], &model["meta"]["n_ctx"]), (&json!("loaded"), &props["n_ctx"]));
    }
    assert_eq!(server.metric("smidgen:models_loaded"), 2.0);
    // Names with signs that have a meaning in addresses.
    for name in ["a%20b%2Bc", "a+b%2bc"] {
        assert_eq!(server.get(&format!("/props?model={name}")).json()["model"], "a b+c");
    }
    assert_eq!(server.get("/v1/models/a%20b%2Bc").json()["id"], "a b+c");

    let tokens = server.post("/tokenize", &json!({"model": "a", "content": "hello"})).json()["tokens"].clone();
    assert_eq!(server.post("/detokenize", &json!({"model": "b", "tokens": tokens})).json()["content"], "hello");
    let embedded = server.post("/v1/embeddings", &json!({"model": "e", "input": "a b"}));
    assert_eq!((embedded.status, &embedded.json()["model"]), (200, &json!("e")));
    let ranked = server.post("/v1/rerank", &json!({"model": "e", "query": "a", "documents": ["a b", "b"]}));
    assert_eq!(ranked.json()["results"].as_array().unwrap().len(), 2);
    // What one model cannot, another may.
    server.post("/v1/embeddings", &json!({"model": "a", "input": "a b"})).error(400);
    server.chat(&[("model", "e".into())]).error(400);

    for path in ["/v1/completions", "/v1/chat/completions", "/tokenize", "/v1/embeddings"] {
        let body = json!({"prompt": "a", "messages": [{"role": "user", "content": "a"}], "content": "a", "input": "a"});
        assert_eq!(server.post(path, &body).error(400)["param"], "model", "{path}");
    }
    assert_eq!(server.get("/props").error(400)["param"], "model");
}

/// What a request calls a model is compared with names, and never is a path.
#[test]
fn a_path_is_no_name() {
    let outside = folder();
    let dir = Scratch::new();
    dir.write("a.gguf", instruct().bytes());
    dir.write("c.gguf", instruct().bytes());
    let (inside, above) = (dir.path("a"), outside.path("b"));
    let up = format!("../{}/b", Path::new(&outside.path("")).file_name().unwrap().to_str().unwrap());
    let server = serve(dir, &[]);
    let names = [&inside, &above, &up, "./a", "a.gguf", "/a", "A", "", ".", "..", "a/", "a\0", "hf:user/repo"];
    for name in names.iter().copied().chain([format!("{inside}.gguf").as_str(), &format!("{above}.gguf")]) {
        let error = server.chat(&[("model", name.into())]).error(404);
        assert_eq!((&error["param"], &error["code"]), (&json!("model"), &json!("model_not_found")), "{name}");
        for path in ["/models/load", "/models/unload"] {
            assert_eq!(server.model(path, name).error(404)["code"], "model_not_found", "{name}");
        }
    }
    for path in ["/props?model=..%2Fb", "/v1/models/..%2Fb", "/v1/models/../b", "/v1/models/load"] {
        server.get(path).error(404);
    }
    assert_eq!(server.states(), pairs(&[("a", "unloaded"), ("c", "unloaded")]));
    assert_eq!(server.events(&["loaded", "failed"]), []);
}

#[test]
fn folders_are_read_anew_and_what_is_broken_stops_nothing_else() {
    let dir = Scratch::new();
    let path = dir.write("a.gguf", instruct().bytes());
    let server = serve(dir, &[]);
    // As long as there is one, its name may be left out.
    let mut body = json!({"prompt": "hello", "max_tokens": 3, "temperature": 0});
    assert_eq!(server.post("/v1/completions", &body).json()["model"], "a");
    let broken = server._dir.write("broken.gguf", &instruct().bytes()[..5000]);
    assert_eq!(server.states(), pairs(&[("a", "loaded"), ("broken", "unloaded")]));
    assert_eq!(server.post("/v1/completions", &body).error(400)["param"], "model");
    for answer in [server.chat(&[("model", "broken".into())]), server.model("/models/load", "broken")] {
        let error = answer.error(500);
        assert!(error["message"].as_str().unwrap().contains(&broken), "{error}");
        let listed = server.get("/v1/models/broken").json();
        assert_eq!((&listed["status"]["value"], &listed["status"]["error"]), (&json!("failed"), &error["message"]));
        body["model"] = "a".into();
        assert_eq!(server.post("/v1/completions", &body).status, 200);
    }
    assert_eq!(server.logged("failed")["model"], "broken");
    // It is tried anew.
    fs::write(&broken, instruct().bytes()).unwrap();
    server.of_model("broken");
    assert_eq!(server.state("broken"), "loaded");
    // A file that is gone is still served while it is open, and not after it.
    fs::remove_file(&path).unwrap();
    assert_eq!(server.states(), pairs(&[("broken", "loaded"), ("a", "loaded")]));
    server.of_model("a");
    assert_eq!(server.model("/models/unload", "a").json(), json!({"success": true}));
    server.chat(&[("model", "a".into())]).error(404);
    assert_eq!(server.states(), pairs(&[("broken", "loaded")]));
}

#[cfg(unix)]
#[test]
fn of_files_with_one_name_the_first_folders_is_served() {
    let (first, second) = (Scratch::new(), folder());
    // Links lead to files.
    std::os::unix::fs::symlink(second.path("b.gguf"), first.path("a.gguf")).unwrap();
    std::os::unix::fs::symlink(first.path(""), first.path("c.gguf")).unwrap();
    std::os::unix::fs::symlink("nowhere", first.path("d.gguf")).unwrap();
    let words = ["serve", "--models-dir", &first.path(""), "--models-dir", &second.path(""), "--port", "0"];
    let mut server = Server::unready(&mut smidgen(&words));
    let warning = server.logged("warning")["text"].as_str().unwrap().to_owned();
    assert!(warning.contains(&second.path("a.gguf")) && warning.contains(&first.path("a.gguf")), "{warning}");
    server.address = server.logged("listening")["address"].as_str().unwrap().to_owned();
    assert_eq!(server.states(), pairs(&[("a", "unloaded"), ("b", "unloaded")]));
    assert_eq!(text(&server.of_model("a")), text(&server.of_model("b")));
}

#[test]
fn a_model_that_nobody_uses_is_unloaded_and_what_it_counted_stays() {
    for keep_alive in ["0", "1"] {
        let server = serve(folder(), &["--keep-alive", keep_alive]);
        let first = server.of_model("a");
        assert_eq!(server.logged("loaded")["model"], "a");
        let unloaded = server.logged("unloaded");
        assert!(unloaded["model"] == "a" && unloaded["seconds"].is_number(), "{unloaded}");
        assert_eq!(server.states(), pairs(&[("a", "unloaded"), ("b", "unloaded")]));
        let counted = |server: &Server| {
            let all = ["llamacpp:tokens_predicted_total", "llamacpp:prompt_tokens_total", "smidgen:requests_total"];
            all.map(|name| server.metric(name))
        };
        let [tokens, prompt, requests] = counted(&server);
        assert_eq!((tokens, requests), (6.0, 1.0));
        assert!(prompt > 0.0);
        assert_eq!(server.metric("smidgen:models_loaded"), 0.0);
        assert_eq!(server.metric("smidgen:session_bytes"), 0.0);
        assert_eq!(server.of_model("a")["choices"], first["choices"]);
        assert_eq!(counted(&server), [2.0 * tokens, 2.0 * prompt, 2.0 * requests]);
        server.logged("unloaded");
        assert_eq!(counted(&server), [2.0 * tokens, 2.0 * prompt, 2.0 * requests]);
        // What is streamed is a use until its end.
        let stream = server.begin("b", 200);
        assert_eq!(read(stream).events().last().unwrap()["choices"][0]["finish_reason"], "length");
        assert_eq!(server.logged("unloaded")["model"], "b");
    }
}

#[test]
fn the_model_that_is_unused_for_longest_gives_way() {
    let dir = folder();
    dir.write("c.gguf", instruct().bytes());
    let server = serve(dir, &["--models-loaded", "2", "--keep-alive", "-1"]);
    let first = server.of_model("a");
    for name in ["b", "a", "c", "a"] {
        server.of_model(name);
    }
    assert_eq!(server.states(), pairs(&[("a", "loaded"), ("b", "unloaded"), ("c", "loaded")]));
    let fingerprint = server.fingerprint("a");
    let events = [("loaded", "a"), ("loaded", "b"), ("unloaded", "b"), ("loaded", "c")];
    assert_eq!(server.events(&["loaded", "unloaded"]), pairs(&events));
    drop(server);
    let server = serve(folder(), &["--models-loaded", "1"]);
    for _ in 0..2 {
        let again = server.of_model("a");
        assert_eq!(again["choices"], first["choices"]);
        assert_eq!(server.fingerprint("a"), fingerprint);
        server.of_model("b");
    }
    let events = ["a", "b", "a"].map(|name| [("loaded", name), ("unloaded", name)]).concat();
    assert_eq!(server.events(&["loaded", "unloaded"]), pairs(&[&events[..], &[("loaded", "b")]].concat()));
}

#[test]
fn who_finds_all_models_in_use_waits_in_a_line_that_has_an_end() {
    const LONG: u32 = 150_000;
    let flags = ["--models-loaded", "1", "--context", "200000", "--parallel", "1", "--keep-alive", "0"];
    let server = serve(folder(), &[&flags[..], &["--queue", "0"]].concat());
    let used = server.begin("a", LONG);
    let refused = server.chat(&[("model", "b".into())]);
    assert_eq!(refused.error(503)["code"], "models_busy");
    assert!(refused.head.contains("retry-after: "), "{}", refused.head);
    // The model in use is not unloaded by time either.
    assert_eq!(server.state("a"), "loaded");
    drop(used);
    server.logged("unloaded");
    server.of_model("b");
    drop(server);

    let server = serve(folder(), &[&flags[..], &["--queue", "1"]].concat());
    let used = server.begin("a", LONG);
    // One waits, whichever comes first, and the other is refused.
    let mut both = ["b"; 2].map(|name| begin_chat(&server, name));
    both.iter().for_each(|stream| stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap());
    let is_answered = |stream: &TcpStream| stream.peek(&mut [0]).is_ok();
    let refused = (0..1000).find_map(|_| both.iter().position(is_answered)).expect("there is no end");
    both.swap(0, refused);
    let [refused, waits] = both;
    assert_eq!(read(refused).error(503)["code"], "models_busy");
    assert!(!is_answered(&waits));
    drop(used);
    waits.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    assert_eq!(read(waits).status, 200);
    assert_eq!(server.logged("loaded")["model"], "a");
    assert_eq!(server.logged("loaded")["model"], "b");
}

/// Begins a request for a chat.
fn begin_chat(server: &Server, name: &str) -> TcpStream {
    let body =
        json!({"model": name, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 6, "temperature": 0});
    let body = body.to_string();
    let mut stream = TcpStream::connect(&server.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n";
    write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    stream
}

#[test]
fn models_are_loaded_and_unloaded_by_request() {
    let server = serve(folder(), &["--context", "4000"]);
    let success = json!({"success": true});
    assert_eq!(server.model("/models/load", "a").json(), success);
    assert_eq!(server.states(), pairs(&[("a", "loaded"), ("b", "unloaded")]));
    let error = server.model("/models/load", "a").error(400);
    assert!(error["param"] == "model" && error["message"].as_str().unwrap().contains("already"), "{error}");
    let error = server.model("/models/unload", "b").error(400);
    assert!(error["message"].as_str().unwrap().contains("not loaded"), "{error}");
    let first = server.of_model("a");
    // Running answers end before.
    let stream = server.begin("a", server.lasting("a"));
    assert_eq!(server.model("/v1/models/unload", "a").json(), success);
    assert_eq!(server.states(), pairs(&[("a", "unloaded"), ("b", "unloaded")]));
    assert_eq!(read(stream).events().last().unwrap()["choices"][0]["finish_reason"], "length");
    server.model("/models/unload", "a").error(400);
    assert_eq!(server.of_model("a")["choices"], first["choices"]);
    for path in ["/models/load", "/models/unload"] {
        assert_eq!(server.model(path, "another").error(404)["code"], "model_not_found");
        assert_eq!(server.post(path, &json!({})).error(400)["param"], "model");
        server.with("PUT", path, "", "").error(405);
    }
    drop(server);
    let one = Server::start(&[]);
    for path in ["/models/load", "/models/unload"] {
        let error = one.model(path, "model").error(400);
        assert!(error["message"].as_str().unwrap().contains("--models-dir"), "{error}");
        one.model(path, "another").error(404);
    }
    assert_eq!(one.states(), pairs(&[("model", "loaded")]));
}

#[test]
fn requests_that_come_at_once_open_a_model_once() {
    let server = serve(folder(), &["--queue", "16", "--models-loaded", "1"]);
    let at_once = |names: &[&str]| {
        let all: Vec<TcpStream> = names.iter().map(|name| begin_chat(&server, name)).collect();
        let choices = |stream| {
            let answer = read(stream);
            assert_eq!(answer.status, 200, "{}", answer.body);
            answer.json()["choices"].clone()
        };
        all.into_iter().map(choices).collect::<Vec<Value>>()
    };
    let answers = at_once(&["a"; 8]);
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!(server.events(&["loaded", "unloaded"]), pairs(&[("loaded", "a")]));
    // Requests for two models share one place, and each has its own model's answer.
    let other = at_once(&["b"])[0].clone();
    assert_ne!(other, answers[0]);
    let both = at_once(&["a", "b", "a", "b", "a", "b"]);
    let expected: Vec<_> = [&answers[0], &other].repeat(3);
    assert_eq!(both.iter().collect::<Vec<_>>(), expected);
}

#[cfg(unix)]
#[test]
fn a_signal_lets_the_answers_of_all_models_end() {
    let mut server = serve(folder(), &["--context", "4000"]);
    let most = server.lasting("a").min(server.lasting("b"));
    let streams = ["a", "b"].map(|name| server.begin(name, most));
    server.signal();
    server.logged("stopping");
    for stream in streams {
        assert_eq!(read(stream).events().last().unwrap()["choices"][0]["finish_reason"], "length");
    }
    assert!(server.child.wait().unwrap().success());
}

#[test]
fn flags_that_do_not_belong_together_are_refused() {
    let (dir, model) = Scratch::with(&instruct());
    let folder = dir.path("");
    for (words, named) in [
        (&["serve", &model, "--models-dir", &folder][..], &["--models-dir", "MODEL"][..]),
        (&["serve", &model, "--keep-alive", "5"], &["--keep-alive", "MODEL"]),
        (&["serve", &model, "--models-loaded", "5"], &["--models-loaded", "MODEL"]),
        (&["serve", "--models-dir", &folder, "--alias", "a"], &["--alias", "MODEL"]),
        (&["serve", "--models-dir", &folder, "--keep-alive", "-2"], &["--keep-alive", "-1"]),
        (&["serve", "--models-dir", &folder, "--keep-alive", "long"], &["--keep-alive", "seconds"]),
        (&["serve", "--models-dir", &folder, "--models-loaded", "0"], &["--models-loaded", "from 1"]),
        (&["serve", "--models-dir", &dir.path("nothing")], &["--models-dir", "nothing"]),
        (&["serve", "--models-dir", &model], &["--models-dir", "model.gguf"]),
    ] {
        fails(words, named);
    }
}
