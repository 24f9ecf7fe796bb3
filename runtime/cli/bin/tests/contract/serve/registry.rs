//! Models of a registry are served as its layers say, where a request says nothing.

use super::*;
use crate::hub::World;
use crate::quiet;

const TEMPLATE: &str =
    "{{ range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}<|im_start|>us";

/// A registry with a model and these layers beside it, which is pulled.
fn world(layers: &[(&str, &str)]) -> World {
    let world = World::new();
    let image = world.hub.image("library/tiny:latest").layer("model", instruct().bytes());
    layers.iter().fold(image, |image, (kind, text)| image.layer(kind, *text));
    assert!(world.run(&["pull", "ollama:tiny"]).status.success());
    world
}

fn serve(world: &World, flags: &[&str]) -> Server {
    let words = [&["serve", "ollama:tiny", "--port", "0", "--threads", "1"], flags].concat();
    Server::by(world.command(&words), Scratch::new())
}

/// The text and the reason of its end that a conversation has with these fields.
fn answer(server: &Server, messages: &Value, more: &Value) -> (String, String) {
    let mut body = json!({"model": "ollama:tiny", "messages": messages});
    more.as_object().unwrap().iter().for_each(|(name, value)| body[name] = value.clone());
    let answer = server.post("/v1/chat/completions", &body);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let choice = answer.json()["choices"][0].clone();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&choice["message"]["content"]), text(&choice["finish_reason"]))
}

#[test]
fn requests_win_over_the_registry_and_that_over_the_file() {
    let messages = json!([{"role": "user", "content": "er"}, {"role": "assistant", "content": "wor"}]).to_string();
    let params = json!({"temperature": 0, "num_predict": 7, "novelty": 1, "num_ctx": 300}).to_string();
    let world = world(&[("template", TEMPLATE), ("system", "hello"), ("messages", &messages), ("params", &params)]);
    let server = serve(&world, &[]);
    assert_eq!(server.get("/props").json()["n_ctx"], 300);
    let after = |prompt: &str, most: &str| {
        let words =
            ["run", "ollama:tiny", "--no-defaults", "--raw", "-p", prompt, "--temp", "0", "--min-p", "0", "-n", most];
        quiet(&words, world.run(&words))
    };
    let first = "<|im_start|>user\ner<|im_end|>\n<|im_start|>assistant\nwor<|im_end|>\n";
    let system = |text: &str| format!("<|im_start|>system\n{text}<|im_end|>\n");
    let user = "<|im_start|>user\nhello<|im_end|>\n<|im_start|>us";
    let hello = json!([{"role": "user", "content": "hello"}]);
    let length = || "length".to_owned();
    let expected = after(&(system("hello") + first + user), "7");
    assert_eq!(answer(&server, &hello, &json!({})), (expected.clone(), length()));
    assert_eq!(answer(&server, &hello, &json!({"max_tokens": 3})), (expected[..3].to_owned(), length()));
    let own = json!([{"role": "system", "content": "us"}, {"role": "user", "content": "hello"}]);
    assert_eq!(answer(&server, &own, &json!({})), (after(&(first.to_owned() + &system("us") + user), "7"), length()));
    let warm = answer(&server, &hello, &json!({"temperature": 2, "seed": 3}));
    assert_ne!(warm.0, expected);
    drop(server);
    // What is passed over is told, and the file's own template is there without the registry.
    let mut told = world.command(&["serve", "ollama:tiny", "--port", "0", "--threads", "1"]);
    let told = Server::unready(&mut told);
    assert!(told.logged("warning")["text"].as_str().unwrap().contains("the parameter novelty of"));
    let server = serve(&world, &["--no-defaults"]);
    let own = "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n";
    let plain = answer(&server, &hello, &json!({"temperature": 0, "max_tokens": 7}));
    assert_eq!(plain, (after(own, "7"), length()));
}

#[test]
fn stop_texts_of_the_registry_end_answers_too() {
    let free = world(&[("template", TEMPLATE), ("params", r#"{"temperature": 0, "num_predict": 12}"#)]);
    let hello = json!([{"role": "user", "content": "hello"}]);
    let (whole, _) = answer(&serve(&free, &[]), &hello, &json!({}));
    let stop: String = whole.chars().skip(4).take(2).collect();
    let (before, _) = whole.split_once(&stop).unwrap();
    let params = json!({"temperature": 0, "num_predict": 12, "stop": [stop, "<|im_end|>x"]}).to_string();
    let server = serve(&world(&[("template", TEMPLATE), ("params", &params)]), &[]);
    assert_eq!(answer(&server, &hello, &json!({})), (before.to_owned(), "stop".into()));
    let sooner: String = whole.chars().skip(1).take(1).collect();
    let (first, _) = whole.split_once(&sooner).unwrap();
    assert_eq!(answer(&server, &hello, &json!({"stop": sooner})), (first.to_owned(), "stop".into()));
}

#[test]
fn what_cannot_be_honoured_is_named() {
    let words = ["serve", "ollama:tiny", "--port", "0"];
    let world = world(&[("params", r#"{"mirostat": 2}"#)]);
    let named = ["ollama:tiny", "mirostat 2", "not supported", "--no-defaults"];
    crate::refused(&words, &world.run(&words), &named);
}

/// Without a model all of the shelf are served, each as its registry says.
#[test]
fn models_of_the_shelf_are_served_by_the_names_that_it_lists() {
    let params = json!({"temperature": 0, "num_predict": 7, "num_ctx": 300, "novelty": 1}).to_string();
    let world = world(&[("template", TEMPLATE), ("params", &params)]);
    world.hub.image("library/other:latest").layer("model", instruct().bytes()).layer("params", r#"{"mirostat": 2}"#);
    assert!(world.run(&["pull", "ollama:other"]).status.success());
    let list: Value = serde_json::from_slice(&world.run(&["list", "--json"]).stdout).unwrap();
    let names: Vec<&str> = list.as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap()).collect();
    let [other, tiny] = names[..] else { panic!("{names:?}") };
    let words = ["serve", "--port", "0", "--threads", "1"];
    let server = Server::by(world.command(&words), Scratch::new());
    let listed = server.get("/v1/models").json();
    let listed: Vec<&Value> = listed["data"].as_array().unwrap().iter().map(|model| &model["id"]).collect();
    assert_eq!(listed, names);
    let chat = |server: &Server, name: &str| {
        let body = json!({"model": name, "messages": [{"role": "user", "content": "hello"}]});
        server.post("/v1/chat/completions", &body)
    };
    assert_eq!(chat(&server, tiny).json()["usage"]["completion_tokens"], 7);
    assert!(server.logged("warning")["text"].as_str().unwrap().contains("the parameter novelty of"));
    let props = |server: &Server, name: &str| server.get(&format!("/props?model={name}")).json();
    assert_eq!(props(&server, tiny)["n_ctx"], 300);
    // What cannot be honoured stops only its own model.
    let error = chat(&server, other).error(500);
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("mirostat 2") && message.contains(other), "{message}");
    assert_eq!(server.get(&format!("/v1/models/{other}")).json()["status"]["error"], message);
    // Names that nobody has pulled are not pulled now.
    assert_eq!(chat(&server, "hf:user/repo").error(404)["code"], "model_not_found");
    drop(server);
    let server = Server::by(world.command(&[&words[..], &["--no-defaults"]].concat()), Scratch::new());
    assert_eq!(props(&server, tiny)["n_ctx"], 256);
    assert_eq!(chat(&server, other).status, 200);
    // A model whose file is gone is told of by its name.
    let file = list[1]["files"][0]["path"].as_str().unwrap();
    server.post("/models/unload", &json!({"model": tiny}));
    std::fs::remove_file(file).unwrap();
    let error = chat(&server, tiny).error(500);
    assert!(error["message"].as_str().unwrap().contains(file), "{error}");
    assert_eq!(chat(&server, other).status, 200);
    drop(server);
    // A folder's links to files of the shelf are used as its records say.
    #[cfg(unix)]
    {
        let folder = Scratch::new();
        let file = list[0]["files"][0]["path"].as_str().unwrap();
        std::os::unix::fs::symlink(file, folder.path("link.gguf")).unwrap();
        let words = ["serve", "--models-dir", &folder.path(""), "--port", "0", "--threads", "1"];
        let server = Server::by(world.command(&words), folder);
        let error = chat(&server, "link").error(500);
        assert!(error["message"].as_str().unwrap().contains("mirostat 2"), "{error}");
    }
}
