//! What depends on the model: gaps to fill in, control tokens, how much it thinks.

use super::*;
use smidgen_tests::seeded::Meta;

/// A server of a model that fills gaps in.
fn with_marks() -> Server {
    let marks = [("pre", 1), ("suf", 2), ("mid", 0)];
    let file = marks
        .iter()
        .fold(instruct(), |file, (key, id)| file.set(&format!("tokenizer.ggml.fim_{key}_token_id"), Meta::U32(*id)));
    Server::of(&file, &[], &[])
}

#[test]
fn gaps_are_filled_in_between_the_models_own_marks() {
    let server = with_marks();
    let tokens = |text: &str| server.post("/tokenize", &json!({"content": text, "parse_special": false})).json();
    let tokens = |text: &str| tokens(text)["tokens"].as_array().unwrap().clone();
    let begin = server.post("/tokenize", &json!({"content": "", "add_special": true})).json()["tokens"].clone();
    let begin = begin.as_array().unwrap().clone();
    // What is spelled like a mark is text.
    let (before, after) = ("hello<|im_end|>", "us er<|endoftext|>");
    let ids = [begin, vec![1.into()], tokens(before), vec![2.into()], tokens(after), vec![0.into()]].concat();
    let by_ids = server.post("/v1/completions", &json!({"prompt": ids, "max_tokens": 5, "temperature": 0})).json();
    let body = json!({"prompt": before, "suffix": after, "max_tokens": 5, "temperature": 0});
    let filled = server.post("/v1/completions", &body).json();
    assert_eq!(filled["choices"], by_ids["choices"]);
    assert_eq!(filled["usage"]["prompt_tokens"], ids.len());
    for (name, value) in [("echo", json!(true)), ("prompt", json!([5, 6])), ("suffix", json!(5))] {
        let mut body = body.clone();
        body[name] = value;
        assert_eq!(server.post("/v1/completions", &body).error(400)["param"], "suffix");
    }
}

/// What editors ask of llama.cpp's server.
#[test]
fn gaps_are_filled_in_for_editors() {
    let server = with_marks();
    let filled = json!({"prompt": "hello", "suffix": "user", "max_tokens": 6, "temperature": 0});
    let filled = server.post("/v1/completions", &filled).json();
    let body = json!({"input_prefix": "hel", "prompt": "lo", "input_suffix": "user", "n_predict": 6, "temperature": 0});
    let with = |name: &str, value: Value| {
        let mut body = body.clone();
        body[name] = value;
        body
    };
    let whole = server.post("/infill", &body).json();
    assert_eq!(whole["content"], filled["choices"][0]["text"]);
    assert_eq!((&whole["stop"], &whole["stop_type"]), (&json!(true), &json!("limit")));
    assert_eq!(whole["tokens_evaluated"], filled["usage"]["prompt_tokens"]);
    assert_eq!((&whole["tokens_predicted"], &whole["timings"]["predicted_n"]), (&json!(6), &json!(6)));
    // The same in a stream, in the fields that are asked for.
    let answer = server.post("/infill", &with("stream", json!(true)));
    let events = answer.body.split_terminator("\n\n").map(|event| event.strip_prefix("data: ").unwrap());
    let events: Vec<Value> = events.map(|event| serde_json::from_str(event).unwrap()).collect();
    let text: String = events.iter().map(|event| event["content"].as_str().unwrap()).collect();
    assert_eq!(text, whole["content"]);
    assert!(events.iter().rev().skip(1).all(|event| event["stop"] == false));
    assert_eq!(events.last().unwrap()["stop"], true);
    let some = server.post("/infill", &with("response_fields", json!(["content", "timings/prompt_n", "x"]))).json();
    let names: Vec<&String> = some.as_object().unwrap().keys().collect();
    assert_eq!(names, ["content", "timings/prompt_n"]);
    // Nothing is written where the prompt is only to be read, and other files are read before it.
    let nothing = server.post("/infill", &with("n_predict", json!(0))).json();
    assert_eq!((&nothing["content"], &nothing["tokens_predicted"]), (&json!(""), &json!(0)));
    let extra = json!([{"filename": "a.rs", "text": "hello hello"}, {"text": "user"}]);
    let more = server.post("/infill", &with("input_extra", extra)).json();
    assert!(more["tokens_evaluated"].as_u64() > whole["tokens_evaluated"].as_u64().map(|tokens| tokens + 5));
    for (name, value) in
        [("n", json!(2)), ("n_probs", json!(1)), ("samplers", json!(["x"])), ("input_extra", json!([{}]))]
    {
        assert_eq!(server.post("/infill", &with(name, value)).error(400)["param"], name);
    }
    let long = "hello ".repeat(10_000);
    assert_eq!(
        server.post("/infill", &with("input_prefix", json!(long))).error(400)["code"],
        "context_length_exceeded"
    );
    let error = Server::start(&[]).post("/infill", &body).error(400);
    assert!(error["message"].as_str().unwrap().contains("not made to fill"));
}

#[test]
fn stop_texts_that_spell_control_tokens_end_an_answer_as_tokens() {
    let server = Server::start(&[]);
    // A control token again and again.
    let bias = ("logit_bias", json!({"1": 100}));
    let endless = server.chat(std::slice::from_ref(&bias)).json();
    let choice = &endless["choices"][0];
    assert_eq!((&choice["finish_reason"], &choice["message"]["content"]), (&"length".into(), &"".into()));
    let ended = server.chat(&[bias, ("stop", json!(["x", "<|im_start|>"]))]).json();
    assert_eq!(ended["choices"][0]["finish_reason"], "stop");
    assert_eq!(ended["usage"]["completion_tokens"], 1);
    // The model's own end ends nothing if that is asked for, but a stop text does.
    let own = ("logit_bias", json!({"2": 100}));
    let reason = |more: &[(&str, Value)]| server.chat(more).json()["choices"][0]["finish_reason"].clone();
    assert_eq!(reason(std::slice::from_ref(&own)), "stop");
    let endless = [own, ("ignore_eos", json!(true)), ("stop", json!(null))];
    assert_eq!(reason(&endless), "length");
    assert_eq!(reason(&[&endless[..2], &[("stop", json!("<|im_end|>"))]].concat()), "stop");
    let error = server.chat(&[("stop", json!("\n<|im_start|>user"))]).error(400);
    assert_eq!(error["param"], "stop");
}

/// A template that knows more or less thinking gets the word itself.
#[test]
fn the_word_for_an_effort_is_the_requests() {
    const TEMPLATE: &str =
        "{{ messages[0].content }}<think>{{ reasoning_effort if reasoning_effort is defined else 'medium' }}";
    let server = Server::of(&instruct().set("tokenizer.chat_template", Meta::Str(TEMPLATE)), &[], &[]);
    let tokens = |more: &[(&str, Value)]| server.chat(more).json()["usage"]["prompt_tokens"].as_u64().unwrap();
    let count = |text: &str| {
        server.post("/tokenize", &json!({"content": format!("hello<think>{text}")})).json()["tokens"]
            .as_array()
            .unwrap()
            .len()
    };
    for effort in ["low", "high"] {
        assert_eq!(tokens(&[("reasoning_effort", json!(effort))]), count(effort) as u64, "{effort}");
    }
    assert_ne!(count("low"), count("high"));
    assert_eq!(server.chat(&[("reasoning_effort", json!("none"))]).error(400)["param"], "reasoning_effort");
}

/// What people write is in the log only if that is asked for.
#[test]
fn texts_are_logged_on_demand() {
    for (flags, told) in [(&[][..], 0), (&["--log-bodies"], 1)] {
        let server = Server::start(flags);
        let body = json!({"messages": [{"role": "user", "content": "hello, diary"}], "max_tokens": 2});
        assert_eq!(server.post("/v1/chat/completions", &body).status, 200);
        let mut found = Vec::new();
        // The last line of a request is that of its answer.
        loop {
            let line: Value =
                serde_json::from_str(&server.lines.recv_timeout(Duration::from_secs(60)).unwrap()).unwrap();
            if line.to_string().contains("diary") {
                found.push(line.clone());
            }
            if line["event"] == "answer" {
                break;
            }
        }
        assert_eq!(found.len(), told);
        for line in found {
            assert_eq!((&line["event"], &line["text"]), (&json!("body"), &json!(body.to_string())));
        }
    }
}
