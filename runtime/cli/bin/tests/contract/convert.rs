//! `smidgen convert` and `quantize`.

use crate::{Scratch, fails, smidgen, stdout};
use smidgen_quant::Format;
use smidgen_tests::chat::chat_model;
use smidgen_tests::checkpoint::{Stored, llama, safetensors};
use smidgen_tests::seeded::{File, Shape};
use std::path::Path;

fn model() -> File {
    chat_model(&Shape { heads: 8, kv_heads: 4, head_size: 32, rotated: 32, ..Shape::default() }, Format::F32)
}

impl Scratch {
    /// Writes a checkpoint into the folder `model`, and gives its path.
    fn checkpoint(&self, change: impl FnOnce(&mut Vec<Stored>)) -> String {
        let (files, mut tensors) = llama(&model());
        change(&mut tensors);
        std::fs::create_dir_all(self.path("model")).unwrap();
        for (name, value) in files {
            self.write(&format!("model/{name}"), value.to_string());
        }
        self.write("model/model.safetensors", safetensors(&tensors));
        self.path("model")
    }

    /// The names in it, but for the folder `model`.
    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path("")).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name != "model");
        names.sort();
        names
    }
}

fn answer(model: &str) -> String {
    stdout(&["run", model, "-p", "hello wor", "--temp", "0", "-n", "12"])
}

#[test]
fn a_checkpoint_answers_as_the_model_it_is() {
    let dir = Scratch::new();
    let folder = dir.checkpoint(|_| ());
    let original = dir.write("original.gguf", model().bytes());
    let weights = dir.path("model/model.safetensors");
    for (number, input) in [&folder, &dir.path(""), &weights].into_iter().enumerate() {
        let output = dir.path(&format!("{number}.gguf"));
        assert_eq!(stdout(&["convert", input, &output]), "");
        assert_eq!(answer(&output), answer(&original));
    }
    assert_eq!(dir.names(), ["0.gguf", "1.gguf", "2.gguf", "original.gguf"]);

    // The same in other formats, from the checkpoint or from a file, packed or not; an output is replaced.
    let (made, output) = (dir.path("0.gguf"), dir.path("1.gguf"));
    stdout(&["convert", &folder, &output, "--type", "q4_k_m"]);
    let inspected = stdout(&["inspect", &output]);
    assert!(inspected.contains("general.file_type = 15") && inspected.contains("Q4_K"), "{inspected}");
    let from_checkpoint = std::fs::read(&output).unwrap();
    stdout(&["quantize", &made, &output, "Q4_K"]);
    assert!(std::fs::read(&output).unwrap() == from_checkpoint);
    let packed = dir.path("2.gguf");
    stdout(&["quantize", &made, &packed, "Q4_K_M", "--pack"]);
    assert!(stdout(&["inspect", &packed]).contains("Q4_K_P16"));
    assert_eq!(answer(&packed), answer(&output));
    stdout(&["unpack", &packed, &made]);
    assert!(std::fs::read(&made).unwrap() == from_checkpoint);
    stdout(&["convert", &folder, &made, "--type", "Q4_K_M", "--pack"]);
    assert!(std::fs::read(&made).unwrap() == std::fs::read(&packed).unwrap());
}

#[test]
fn types_that_are_none() {
    let dir = Scratch::new();
    let folder = dir.checkpoint(|_| ());
    let output = dir.path("out.gguf");
    for words in [&["convert", &folder, &output, "--type", "Q9"][..], &["quantize", &folder, &output, "Q9"]] {
        fails(words, &["Q9", "F16", "Q8_0", "Q4_K_M", "IQ4_NL"]);
        assert_eq!(smidgen(words).output().unwrap().status.code(), Some(2));
    }
    fails(&["quantize", &folder, &output], &["TYPE"]);
    assert!(dir.names().is_empty());
}

#[test]
fn checkpoints_that_are_none() {
    let dir = Scratch::new();
    let folder = dir.checkpoint(|_| ());
    let output = dir.path("out.gguf");
    let weights = dir.path("model/model.safetensors");
    let good = std::fs::read(&weights).unwrap();
    let config = std::fs::read_to_string(dir.path("model/config.json")).unwrap();
    let refused = |named: &[&str]| {
        fails(&["convert", &folder, &output], &[&[folder.as_str()], named].concat());
        assert!(dir.names().is_empty(), "{named:?}");
    };
    for (length, word) in [(4, "header length"), (100, "header"), (good.len() - 1, "ends at offset")] {
        dir.write("model/model.safetensors", &good[..length]);
        refused(&["model.safetensors", word]);
    }
    dir.write("model/model.safetensors", "");
    refused(&["model.safetensors", "empty"]);
    std::fs::remove_file(&weights).unwrap();
    refused(&["model.safetensors", "no such file"]);
    dir.write("model/model.safetensors", &good);

    dir.write("model/config.json", "{\"model_type\":\n \"llama\",}");
    refused(&["config.json", "line 2"]);
    dir.write("model/config.json", config.replace("\"model_type\":\"llama\"", "\"model_type\":\"gpt9\""));
    refused(&["config.json", "gpt9", "bert", "llama"]);
    dir.write("model/config.json", config.replace("\"hidden_size\":256", "\"hidden_size\":-256"));
    refused(&["config.json", "hidden_size"]);
    dir.write("model/config.json", config.replace("\"hidden_size\":256", "\"hidden_size\":512"));
    refused(&["model.embed_tokens.weight", "shape"]);
    std::fs::remove_file(dir.path("model/config.json")).unwrap();
    refused(&["config.json", "missing"]);
    dir.write("model/config.json", &config);
    std::fs::remove_file(dir.path("model/tokenizer.json")).unwrap();
    refused(&["tokenizer.json", "missing"]);

    dir.checkpoint(|tensors| tensors.retain(|tensor| !tensor.name.contains("layers.1.mlp.up_proj")));
    refused(&["model.layers.1.mlp.up_proj.weight", "missing"]);
    dir.checkpoint(|tensors| tensors.push(Stored::floats("extra.weight", &[1], &[0.0])));
    refused(&["extra.weight", "does not belong"]);
    dir.checkpoint(|tensors| tensors[0].dtype = "I32");
    refused(&["I32"]);
    dir.checkpoint(|tensors| tensors[0].data[..4].copy_from_slice(&f32::INFINITY.to_le_bytes()));
    refused(&["infinite or NaN", "row 0"]);
    for none in [dir.path("nothing"), dir.write("model/text", "hello"), dir.path("model/config.json")] {
        fails(&["convert", &none, &output], &[&none]);
    }
    fails(&["quantize", &weights, &output, "Q8_0"], &[&weights, "GGUF"]);
    assert!(dir.names().is_empty());
}

#[test]
fn places_where_nothing_can_be_written() {
    let dir = Scratch::new();
    let folder = dir.checkpoint(|_| ());
    let input = dir.write("in.gguf", model().bytes());
    let weights = dir.path("model/model.safetensors");
    let before = std::fs::read(&weights).unwrap();
    for output in [dir.path("no/such/out.gguf"), folder.clone(), "/dev/null".into(), weights.clone()] {
        fails(&["convert", &folder, &output], &[&output]);
        if output != weights {
            fails(&["quantize", &input, &output, "Q8_0"], &[&output]);
        }
    }
    fails(&["quantize", &input, &input, "Q8_0"], &[&input, "input itself"]);
    assert!(std::fs::read(&weights).unwrap() == before && Path::new("/dev/null").exists());
    assert_eq!(dir.names(), ["in.gguf"]);
}
