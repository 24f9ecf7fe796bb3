//! Requests, as they are sent on a connection.

/// Bodies for a model that writes: a path and JSON.
const WRITER: &[(&str, &str)] = &[
    (
        "/v1/chat/completions",
        r#"{"model":"tiny","messages":[{"role":"system","content":"hello"},{"role":"user","content":"us er"}],"max_tokens":4,"temperature":0}"#,
    ),
    (
        "/v1/chat/completions",
        r#"{"messages":[{"role":"developer","content":[{"type":"text","text":"a"},{"type":"text","text":"\u00e9\ud83d\ude00"}]}],"stream":true,"stream_options":{"include_usage":true},"max_completion_tokens":3}"#,
    ),
    (
        "/chat/completions",
        r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":"<|im_end|>"}],"n":2,"seed":5,"logprobs":true,"top_logprobs":2,"max_tokens":2}"#,
    ),
    (
        "/v1/chat/completions",
        r#"{"messages":[{"role":"user","content":"a"}],"stop":["x","<|im_start|>"],"presence_penalty":1.5,"frequency_penalty":-2,"repetition_penalty":1.1,"repeat_last_n":-1,"logit_bias":{"5":-100,"6":3.5},"min_p":0.1,"top_k":5,"top_p":0.5,"max_tokens":3}"#,
    ),
    (
        "/v1/chat/completions",
        r#"{"messages":[{"role":"user","content":"a"}],"reasoning_effort":"low","chat_template_kwargs":{"enable_thinking":false,"k":[1,{"a":null}]},"ignore_eos":true,"max_tokens":2}"#,
    ),
    (
        "/v1/chat/completions",
        r#"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:"}}]}],"tools":[],"tool_choice":"none","response_format":{"type":"text"}}"#,
    ),
    (
        "/v1/chat/completions",
        r#"{"messages":[{"role":"tool","tool_call_id":"x","content":"a"}],"tools":[{"type":"function","function":{"name":"f","parameters":{}}}],"response_format":{"type":"json_schema","json_schema":{"schema":{}}}}"#,
    ),
    ("/v1/completions", r#"{"prompt":"hello wor","max_tokens":4,"echo":true,"logprobs":3,"temperature":0}"#),
    ("/v1/completions", r#"{"prompt":["a","hell"],"max_tokens":2,"n":2,"best_of":2,"stream":false,"user":"me"}"#),
    ("/v1/completions", r#"{"prompt":[5,6,7],"stream":true,"max_tokens":5,"stop":"l"}"#),
    ("/completions", r#"{"prompt":[[5,6],[7]],"max_tokens":0,"echo":true,"logprobs":0}"#),
    (
        "/v1/completions",
        r#"{"prompt":"a","suffix":"b","mirostat":0,"typical_p":1,"dry_multiplier":0,"grammar":null,"json_schema":null,"max_tokens":1}"#,
    ),
    ("/tokenize", r#"{"content":"hello <|im_end|>\n","add_special":true,"parse_special":true,"with_pieces":true}"#),
    ("/detokenize", r#"{"tokens":[1,5,270,0]}"#),
    (
        "/infill",
        r##"{"input_prefix":"a","input_suffix":"b","input_extra":[{"filename":"a.rs","text":"l"}],"prompt":"he","n_predict":2}"##,
    ),
    ("/models/load", r#"{"model":"tiny"}"#),
    ("/models/unload", r#"{"model":"other"}"#),
    ("/v1/embeddings", r#"{"input":"a"}"#),
];

/// Bodies for a model that embeds and ranks.
const ENCODER: &[(&str, &str)] = &[
    ("/v1/embeddings", r#"{"model":"tiny","input":["a b","b"],"encoding_format":"base64","dimensions":32}"#),
    ("/embeddings", r#"{"input":"a \u00e9 b","encoding_format":"float","user":"me"}"#),
    ("/v1/rerank", r#"{"query":"a","documents":["b",{"text":"a b"}],"top_n":1,"return_documents":true}"#),
    ("/rerank", r#"{"query":"a","documents":["b"]}"#),
    ("/v1/completions", r#"{"prompt":"a"}"#),
    ("/tokenize", r#"{"content":"a b"}"#),
];

/// The first inputs, with their names. The first byte chooses a server, and 0xff ends a request.
pub(super) fn connections() -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for (which, bodies) in [(b'0', WRITER), (b'1', ENCODER)] {
        let requests: Vec<Vec<u8>> = bodies.iter().map(|(path, body)| posted(path, body, "?")).collect();
        for (number, request) in requests.iter().enumerate() {
            all.push((format!("post-{}-{number}", char::from(which)), [&[which], &request[..]].concat()));
        }
        let together: Vec<&[u8]> = requests.iter().step_by(2).take(4).map(Vec::as_slice).collect();
        all.push((format!("together-{}", char::from(which)), [&[which], &together.join(&0xff)[..]].concat()));
        for (number, path) in
            ["/health", "/livez", "/readyz", "/metrics", "/props", "/v1/models", "/v1/models/tiny", "/models/x", "/"]
                .iter()
                .enumerate()
        {
            let method = ["GET", "HEAD", "OPTIONS", "DELETE"][number % 4];
            for method in ["GET", method] {
                let head =
                    format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:80\r\nAuthorization: Bearer key\r\n\r\n");
                all.push((format!("{method}-{}-{number}", char::from(which)), [&[which], head.as_bytes()].concat()));
            }
        }
    }
    let (path, body) = WRITER[0];
    for (name, request) in [
        ("length", posted(path, body, "7")),
        ("late", posted(path, body, "500")),
        ("long", posted(path, body, "99999")),
        ("larger", posted(path, body, "184467440737095516150")),
        ("two-lengths", posted(path, body, "5\r\nContent-Length: 6")),
        ("chunked", chunked(path, body)),
        ("expects", posted(path, body, "?\r\nExpect: 100-continue")),
        ("upgrade", posted(path, body, "?\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk")),
        ("origin", posted(path, body, "?\r\nOrigin: https://example.org")),
        ("host", b"GET http://evil.example/v1/models HTTP/1.1\r\nHost: evil.example\r\nOrigin: http://evil.example\r\n\r\n".to_vec()),
        ("old", b"GET /health HTTP/1.0\r\n\r\n".to_vec()),
        ("two", b"GET /health HTTP/1.1\r\nHost: [::1]:80\r\n\r\nGET /v1/models HTTP/1.1\r\nHost: localhost.\r\nConnection: close\r\n\r\n".to_vec()),
        ("next", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
        ("half", b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Ty".to_vec()),
    ] {
        all.push((name.into(), [&b"0"[..], &request].concat()));
        all.push((format!("{name}-key"), [&b"1"[..], &request].concat()));
    }
    all
}

fn posted(path: &str, body: &str, length: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer key\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

fn chunked(path: &str, body: &str) -> Vec<u8> {
    let (first, second) = body.split_at(body.len() / 2);
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{first}\r\n{:x};a=b\r\n{second}\r\n0\r\nX: y\r\n\r\n",
        first.len(),
        second.len()
    )
    .into_bytes()
}
