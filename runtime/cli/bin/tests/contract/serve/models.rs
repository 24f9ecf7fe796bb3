//! What depends on the model: gaps to fill in, control tokens, reasoning, embeddings, ranks.

use super::*;
use smidgen_quant::Format;
use smidgen_tests::seeded::Meta;
use smidgen_tests::seeded_bert;

#[test]
fn gaps_are_filled_in_between_the_models_own_marks() {
    let mut file = instruct();
    for (key, id) in [("pre", 1), ("suf", 2), ("mid", 0)] {
        file = file.set(&format!("tokenizer.ggml.fim_{key}_token_id"), Meta::U32(id));
    }
    let server = Server::of(&file, &[]);
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
    let error = server.chat(&[("stop", json!("\n<|im_start|>user"))]).error(400);
    assert_eq!(error["param"], "stop");
}

#[test]
fn reasoning_is_told_from_the_answer() {
    const TEMPLATE: &str = "{% for m in messages %}{{ m.content }}\n{% endfor %}<think>{% if enable_thinking is defined and not \
         enable_thinking %}</think>{% endif %}";
    let server = Server::of(&instruct().set("tokenizer.chat_template", Meta::Str(TEMPLATE)), &[]);
    let raw = |prompt: &str| {
        let body = json!({"prompt": prompt, "max_tokens": 6, "temperature": 0});
        server.post("/v1/completions", &body).json()["choices"][0]["text"].as_str().unwrap().to_owned()
    };
    let (thought, said) = (raw("hello\n<think>"), raw("hello\n<think></think>"));
    assert_ne!(thought, said);
    let message = |more: &[(&str, Value)]| server.chat(more).json()["choices"][0]["message"].clone();
    for more in [&[][..], &[("reasoning_effort", json!("high"))]] {
        let thinking = message(more);
        assert_eq!((&thinking["content"], thinking["reasoning_content"].as_str()), (&"".into(), Some(thought.trim())));
    }
    for more in [("reasoning_effort", json!("none")), ("chat_template_kwargs", json!({"enable_thinking": false}))] {
        let plain = message(&[more]);
        assert_eq!((plain["content"].as_str(), plain.get("reasoning_content")), (Some(said.as_str()), None));
    }
    let streamed = server.chat(&[("stream", true.into())]).events();
    let of = |name: &str| {
        streamed.iter().filter_map(|event| event["choices"][0]["delta"][name].as_str()).collect::<String>()
    };
    assert_eq!((of("reasoning_content").trim(), of("content")), (thought.trim(), String::new()));
    assert_eq!(server.chat(&[("reasoning_effort", json!("much"))]).error(400)["param"], "reasoning_effort");
}

/// A template that knows more or less thinking gets the word itself.
#[test]
fn the_word_for_an_effort_is_the_requests() {
    const TEMPLATE: &str =
        "{{ messages[0].content }}<think>{{ reasoning_effort if reasoning_effort is defined else 'medium' }}";
    let server = Server::of(&instruct().set("tokenizer.chat_template", Meta::Str(TEMPLATE)), &[]);
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

fn reader(outputs: usize) -> File {
    let shape = seeded_bert::Shape { vocabulary: 12, outputs, ..Default::default() };
    seeded_bert::with_words(seeded_bert::model(&shape, Format::Q8_0))
}

#[test]
fn embeddings_are_the_same_alone_and_in_a_batch() {
    let server = Server::of(&reader(0), &[]);
    let embed = |more: Value| {
        let mut body = json!({"model": "model"});
        more.as_object().unwrap().iter().for_each(|(name, value)| body[name] = value.clone());
        server.post("/v1/embeddings", &body)
    };
    let texts = ["a b", "b a a", "", "é!"];
    let all = embed(json!({"input": texts})).json();
    for (index, text) in texts.iter().enumerate() {
        let alone = embed(json!({"input": text})).json();
        assert_eq!(alone["data"][0]["embedding"], all["data"][index]["embedding"], "{text}");
        assert_eq!(all["data"][index]["index"], index);
    }
    assert_ne!(all["data"][0]["embedding"], all["data"][1]["embedding"]);
    assert_eq!(all["usage"], json!({"prompt_tokens": 4 + 5 + 2 + 4, "total_tokens": 15}));
    assert_eq!(all["data"][0]["embedding"].as_array().unwrap().len(), 256);
    let coded = embed(json!({"input": "a", "encoding_format": "base64", "dimensions": 256})).json();
    assert_eq!(coded["data"][0]["embedding"].as_str().unwrap().len(), (4 * 256_usize).div_ceil(3) * 4);
    for (more, param) in [
        (json!({}), "input"),
        (json!({"input": []}), "input"),
        (json!({"input": 5}), "input"),
        (json!({"input": [{"a": 1}]}), "input"),
        (json!({"input": [1, 2]}), "input"),
        (json!({"input": "a ".repeat(100)}), "input"),
        (json!({"input": "a", "dimensions": 64}), "dimensions"),
        (json!({"input": "a", "encoding_format": "hex"}), "encoding_format"),
    ] {
        assert_eq!(embed(more.clone()).error(400)["param"], param, "{more}");
    }
    server.post("/v1/chat/completions", &json!({"messages": [{"role": "user", "content": "a"}]})).error(400);
    server.post("/v1/completions", &json!({"prompt": "a"})).error(400);
    server.post("/v1/rerank", &json!({"query": "a", "documents": ["b"]})).error(400);
}

#[test]
fn documents_are_ranked_by_a_model_that_reads_pairs() {
    let server = Server::of(&reader(1), &[]);
    let documents = ["a", "b b", "a b é", "!"];
    let body = json!({"query": "a b", "documents": documents, "return_documents": true});
    let all = server.post("/v1/rerank", &body).json();
    let results = all["results"].as_array().unwrap();
    let score = |result: &Value| result["relevance_score"].as_f64().unwrap();
    assert!(results.len() == 4 && results.windows(2).all(|two| score(&two[0]) >= score(&two[1])), "{all}");
    for result in results {
        let text = documents[result["index"].as_u64().unwrap() as usize];
        assert_eq!(result["document"]["text"], text);
        let alone = server.post("/rerank", &json!({"query": "a b", "documents": [{"text": text}]})).json();
        assert_eq!(score(&alone["results"][0]), score(result), "{text}");
    }
    assert_ne!(score(&results[0]), score(&results[3]));
    let best = server.post("/v1/rerank", &json!({"query": "a b", "documents": documents, "top_n": 1})).json();
    assert_eq!(best["results"].as_array().unwrap().len(), 1);
    assert_eq!(best["results"][0]["index"], results[0]["index"]);
    for (more, param) in [
        (json!({"query": "a"}), "documents"),
        (json!({"documents": ["a"]}), "query"),
        (json!({"query": "a", "documents": []}), "documents"),
        (json!({"query": "a", "documents": [5]}), "documents"),
        (json!({"query": "a", "documents": ["b"], "top_n": 0}), "top_n"),
        (json!({"query": "a", "documents": ["b ".repeat(100)]}), "documents"),
    ] {
        assert_eq!(server.post("/v1/rerank", &more).error(400)["param"], param, "{more}");
    }
}
