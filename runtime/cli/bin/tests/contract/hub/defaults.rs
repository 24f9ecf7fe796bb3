//! Models of a registry are run as its layers say.

use super::{World, succeeded};
use crate::files::instruct;
use crate::quiet;
use serde_json::json;

const TEMPLATE: &str =
    "{{ range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}<|im_start|>us";
const OLD: &str = "{{ if .System }}[{{ .System }}]{{ end }}{{ .Prompt }}<|im_start|>{{ .Response }}<|im_end|>";

/// A registry with a model and these layers beside it, which is pulled.
fn world(layers: &[(&str, &str)]) -> World {
    let world = World::new();
    let image = world.hub.image("library/tiny:latest").layer("model", instruct().bytes());
    layers.iter().fold(image, |image, (kind, text)| image.layer(kind, *text));
    succeeded(&world.run(&["pull", "ollama:tiny"]));
    world
}

impl World {
    fn answer(&self, more: &[&str]) -> String {
        let words = [&["run", "ollama:tiny"], more].concat();
        quiet(&words, self.run(&words))
    }

    /// What follows a text, with nothing of the registry but the model.
    fn after(&self, prompt: &str, more: &[&str]) -> String {
        self.answer(&[&["--no-defaults", "--raw", "-p", prompt], more].concat())
    }
}

#[test]
fn template_messages_and_parameters_are_those_of_the_registry() {
    let messages = json!([{"role": "user", "content": "er"}, {"role": "assistant", "content": "wor"}]).to_string();
    let params = json!({"temperature": 0, "num_predict": 7, "num_thread": 2, "num_gpu": 99, "seed": 3}).to_string();
    let world = world(&[("template", TEMPLATE), ("system", "hello"), ("messages", &messages), ("params", &params)]);
    let prompt = |system: &str| {
        format!(
            "<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\ner<|im_end|>\n<|im_start|>assistant\nwor<|im_end|>\n\
             <|im_start|>user\nhello<|im_end|>\n<|im_start|>us"
        )
    };
    let greedy = ["--temp", "0", "-n", "7"];
    let expected = world.after(&prompt("hello"), &greedy);
    assert_eq!(world.answer(&["-p", "hello"]), expected);
    // Flags win.
    assert_eq!(world.answer(&["-p", "hello", "--system", "us"]), world.after(&prompt("us"), &greedy));
    let short = world.answer(&["-p", "hello", "-n", "2"]);
    assert_eq!(short, world.after(&prompt("hello"), &["--temp", "0", "-n", "2"]));
    assert_ne!(short, expected);
    let warm = ["--temp", "3", "--top-k", "0", "--top-p", "1", "--min-p", "0"];
    let drawn = world.answer(&[&["-p", "hello"][..], &warm].concat());
    assert_eq!(drawn, world.after(&prompt("hello"), &[&warm[..], &["--seed", "3", "-n", "7"]].concat()));
    assert_ne!(drawn, expected);
    // Parameters are those of prompts without a template, too.
    assert_eq!(world.answer(&["--raw", "-p", "hello"]), world.after("hello", &greedy));
    // The file's own template.
    let own = "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n";
    assert_eq!(world.answer(&[&["--no-defaults", "-p", "hello"][..], &greedy].concat()), world.after(own, &greedy));
}

#[test]
fn older_templates_go_turn_by_turn() {
    let world = world(&[("template", OLD), ("system", "us"), ("params", r#"{"temperature": 0, "num_predict": 5}"#)]);
    let greedy = ["--temp", "0", "-n", "5"];
    let first = world.after("[us]hello<|im_start|>", &greedy);
    assert_eq!(world.answer(&["-p", "hello"]), first);
    let words = ["run", "ollama:tiny", "--chat", "-p", "hello"];
    let talked = quiet(&words, world.run(&words));
    assert_eq!(talked, format!("{first}\n"));
}

#[test]
fn stop_texts_of_the_registry_and_of_flags() {
    let free = world(&[("template", TEMPLATE), ("params", r#"{"temperature": 0, "num_predict": 12}"#)]);
    let whole = free.answer(&["-p", "hello"]);
    let stop: String = whole.chars().skip(4).take(2).collect();
    let (before, _) = whole.split_once(&stop).unwrap();
    let params = json!({"temperature": 0, "num_predict": 12, "stop": [stop]}).to_string();
    let world = world(&[("template", TEMPLATE), ("params", &params)]);
    assert_eq!(world.answer(&["-p", "hello"]), before);
    let sooner: String = whole.chars().skip(1).take(1).collect();
    let (first, _) = whole.split_once(&sooner).unwrap();
    assert_eq!(world.answer(&["-p", "hello", "--stop", &sooner]), first);
}

#[test]
fn where_ollama_has_a_renderer_the_file_has_its_template() {
    let world = World::new();
    let image = |name: &str| {
        let image = world.hub.image(&format!("library/{name}:latest"));
        image
            .config(r#"{"model_format": "gguf", "renderer": "new", "parser": "new"}"#)
            .layer("template", "{{ .Prompt }}")
    };
    image("tiny").layer("model", instruct().bytes());
    image("bare").layer("model", instruct().without("tokenizer.chat_template").bytes());
    succeeded(&world.run(&["pull", "ollama:tiny"]));
    succeeded(&world.run(&["pull", "ollama:bare"]));
    let greedy = ["--temp", "0", "-n", "7"];
    let output = world.run(&[&["run", "ollama:tiny", "-p", "hello"][..], &greedy].concat());
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        told.lines().count() == 1 && told.contains("warning: ollama:tiny: ") && told.contains("renderer new"),
        "{told}"
    );
    let expected = world.after("<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n", &greedy);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
    let words = ["run", "ollama:bare", "-p", "hello"];
    crate::refused(&words, &world.run(&words), &["ollama:bare", "renderer new", "--raw"]);
    let other = world.hub.image("library/other:latest").config(r#"{"model_format": "safetensors"}"#);
    other.layer("model", instruct().bytes());
    crate::refused(&["pull"], &world.run(&["pull", "ollama:other"]), &["ollama:other", "safetensors"]);
}

#[test]
fn what_cannot_be_honoured_is_named() {
    let run = ["run", "ollama:tiny", "-p", "hello", "-n", "1"];
    for (layers, named) in [
        (&[("params", r#"{"mirostat": 2}"#)][..], &["ollama:tiny", "mirostat 2", "not supported", "--no-defaults"][..]),
        (&[("params", r#"{"typical_p": 0.5}"#)], &["ollama:tiny", "typical_p 0.5", "--no-defaults"]),
        (&[("template", "a\n{{ html .Prompt }}")], &["ollama:tiny", "line 2", "function html", "--no-defaults"]),
        (&[("template", "{{ if .Prompt }}")], &["ollama:tiny", "{{end}}"]),
        (&[("template", "{{ .Prompt.X }}")], &["chat template fails", "string has no field X"]),
    ] {
        let world = world(layers);
        let words = [&run[..], &["--no-defaults"]].concat();
        quiet(&words, world.run(&words));
        crate::refused(&run, &world.run(&run), named);
    }
    // Before the weights are downloaded.
    for (kind, text, named) in [
        ("params", r#"{"temperature": "hot"}"#, "the parameter temperature of the model must be a number from 0"),
        ("params", "{", "the layer params is no JSON"),
        ("messages", r#"[{"role": "user", "images": ["x"]}]"#, "images of message 1"),
    ] {
        let world = World::new();
        world.hub.image("library/tiny:latest").layer("model", instruct().bytes()).layer(kind, text);
        world.fails(&["pull", "ollama:tiny"], &["ollama:tiny", named]);
        assert!(world.hub.sent("/blobs/") < 1000, "{}", world.hub.sent("/blobs/"));
    }
    // What nobody knows is passed over, and told.
    let world = world(&[("params", r#"{"novelty": 1, "num_predict": 1, "stop": ["<|im_end|>x"]}"#)]);
    let output = world.run(&run);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && told.lines().count() == 2, "{told}");
    assert!(told.contains("warning: ollama:tiny: the parameter novelty of its registry is unknown"), "{told}");
    assert!(told.contains("the stop text \"<|im_end|>x\" has a control token and more"), "{told}");
}
