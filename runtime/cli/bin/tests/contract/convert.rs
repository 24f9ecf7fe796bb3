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
    refused(&["model.safetensors", "is missing"]);
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

/// Puts numbers into a checkpoint's `model.layers.0.mlp.up_proj.weight`, at row 1 from column 2 on.
fn put(tensors: &mut [Stored], values: &[f32]) {
    let tensor = tensors.iter_mut().find(|tensor| tensor.name == "model.layers.0.mlp.up_proj.weight").unwrap();
    let at = 4 * (tensor.shape[1] as usize + 2);
    for (place, value) in tensor.data[at..].as_chunks_mut().0.iter_mut().zip(values) {
        *place = value.to_le_bytes();
    }
}

/// The file's `blk.0.ffn_up.weight`, at row 1 from column 2 on.
fn weights(path: &str) -> [f32; 3] {
    let bytes = std::fs::read(path).unwrap();
    let file = smidgen_gguf::Gguf::parse(&bytes).unwrap();
    let tensor = file.tensor("blk.0.ffn_up.weight").unwrap();
    let mut values = vec![0.0; tensor.elements() as usize];
    Format::from_id(tensor.kind.id()).unwrap().decode(tensor.data, &mut values).unwrap();
    assert!(values.iter().all(|value| value.is_finite()));
    let at = tensor.dims[0] as usize + 2;
    std::array::from_fn(|i| values[at + i])
}

/// Stdout of a command that succeeds and tells one line on stderr, which is given.
fn noted(words: &[&str]) -> String {
    let output = smidgen(words).output().unwrap();
    assert!(output.status.success() && output.stdout.is_empty(), "{words:?}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn weights_that_do_not_fit_are_refused_or_clamped() {
    let dir = Scratch::new();
    // 65,519 is nearest to the largest binary16, and 65,520 to infinity.
    let folder = dir.checkpoint(|tensors| put(tensors, &[65_519.0, -100_000.0, 200_000.0]));
    let (whole, output) = (dir.path("whole.gguf"), dir.path("out.gguf"));
    assert_eq!(stdout(&["convert", &folder, &whole]), "");
    assert_eq!(weights(&whole), [65_519.0, -100_000.0, 200_000.0]);
    let convert = |kind| vec!["convert", &folder, &output, "--type", kind];
    let quantize = |kind| vec!["quantize", &whole, &output, kind];
    let named = ["row 1, column 3", "F16", "-100000.0", "use BF16 or F32, or --clamp"];
    fails(&convert("F16"), &[&["blk.0.ffn_up.weight"], &named[..]].concat());
    fails(&quantize("F16"), &[&["blk.0.ffn_up.weight"], &named[..]].concat());
    assert_eq!(dir.names(), ["whole.gguf"]);
    let note = "smidgen: weights clamped to the largest that their format holds: 2, in tensors: 1\n";
    for words in [convert("F16"), quantize("F16")] {
        assert_eq!(noted(&[&words[..], &["--clamp"]].concat()), note);
        assert_eq!(weights(&output), [65_504.0, -65_504.0, 65_504.0]);
    }
    // Types in which they fit.
    for (kind, least) in [("BF16", 199_000.0), ("Q8_0", 199_000.0), ("Q4_0", 150_000.0), ("Q6_K", 190_000.0)] {
        for words in [convert(kind), quantize(kind)] {
            assert_eq!(stdout(&[&words[..], &["--clamp"]].concat()), "");
            assert!((least..=201_000.0).contains(&weights(&output)[2]), "{words:?}");
            assert_eq!(stdout(&words), "");
        }
    }
}

#[test]
fn of_several_weights_that_do_not_fit_the_first_is_named() {
    let dir = Scratch::new();
    let folder = dir.checkpoint(|tensors| {
        let tensor = tensors.iter_mut().find(|tensor| tensor.name == "model.layers.0.mlp.up_proj.weight").unwrap();
        let row = 4 * tensor.shape[1] as usize;
        for row in tensor.data.chunks_exact_mut(row).skip(3) {
            row[8..12].copy_from_slice(&1e6_f32.to_le_bytes());
        }
    });
    for _ in 0..8 {
        fails(&["convert", &folder, &dir.path("out.gguf"), "--type", "F16"], &["row 3, column 2", "1000000.0"]);
    }
}

#[test]
fn scales_that_do_not_fit_are_refused_or_clamped() {
    let dir = Scratch::new();
    let folder = dir.checkpoint(|tensors| put(tensors, &[1e38, -1.0, -1e38]));
    let (whole, output) = (dir.path("whole.gguf"), dir.path("out.gguf"));
    stdout(&["convert", &folder, &whole]);
    for kind in ["Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "IQ4_NL", "Q2_K_S", "Q3_K_S", "Q4_K_S", "Q5_K_S", "Q6_K"] {
        for words in [["convert", &folder, &output, "--type", kind], ["quantize", &whole, &output, kind, "--pack"]] {
            let format = kind.trim_end_matches("_S");
            let named = ["blk.0.ffn_up.weight", "row 1, column ", format, "1e38; use BF16 or F32, or --clamp"];
            fails(&words, &named);
            assert_eq!(dir.names(), ["whole.gguf"]);
            if words[0] == "convert" {
                let note = noted(&[&words[..], &["--clamp"]].concat());
                assert!(note.ends_with(": 2, in tensors: 1\n"), "{note}");
                let [first, _, last] = weights(&output);
                assert!(first > 6e4 && last < -6e4, "{kind}: {first} {last}");
                std::fs::remove_file(&output).unwrap();
            }
        }
    }
    // The largest that a block of Q8_0 holds is kept.
    let folder = dir.checkpoint(|tensors| put(tensors, &[65_504.0 * 127.0, 0.0, 0.0]));
    stdout(&["convert", &folder, &output, "--type", "Q8_0"]);
    assert_eq!(weights(&output)[0], 65_504.0 * 127.0);
}

#[test]
fn wider_weights_that_do_not_fit_are_refused_or_clamped() {
    let dir = Scratch::new();
    let double = |values: [f64; 3]| {
        dir.checkpoint(|tensors| {
            for tensor in tensors {
                let wide = |bytes: &[u8; 4]| f64::from(f32::from_le_bytes(*bytes));
                let mut wide: Vec<f64> = tensor.data.as_chunks().0.iter().map(wide).collect();
                if tensor.name == "model.layers.0.mlp.up_proj.weight" {
                    let at = tensor.shape[1] as usize + 2;
                    wide[at..at + 3].copy_from_slice(&values);
                }
                tensor.data = wide.into_iter().flat_map(f64::to_le_bytes).collect();
                tensor.dtype = "F64";
            }
        })
    };
    let output = dir.path("out.gguf");
    let folder = double([1.0, 1e39, -2e300]);
    for words in [&["convert", &folder, &output][..], &["convert", &folder, &output, "--type", "F32"]] {
        fails(words, &["blk.0.ffn_up.weight", "row 1, column 3", "F32", "1e39; use --clamp"]);
        let note = noted(&[words, &["--clamp"]].concat());
        assert!(note.ends_with(": 2, in tensors: 1\n"), "{note}");
        assert_eq!(weights(&output), [1.0, f32::MAX, f32::MIN]);
    }
    // In a narrower type they are counted once.
    for kind in ["F16", "BF16", "Q8_0"] {
        let note = noted(&["convert", &folder, &output, "--clamp", "--type", kind]);
        assert!(note.ends_with(": 2, in tensors: 1\n"), "{kind}: {note}");
    }
    // What is nearest to infinity in BF16.
    let folder = double([3.3895e38, 3.4e38, 0.0]);
    let words = ["convert", &folder, &output, "--type", "BF16"];
    fails(&words, &["blk.0.ffn_up.weight", "row 1, column 3", "BF16", "use F32, or --clamp"]);
    noted(&[&words[..], &["--clamp"]].concat());
    assert_eq!(weights(&output)[1], f32::from_bits(0x7F7F_0000));
    // Not a number and infinity stay errors.
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let folder = double([0.0, 0.0, value]);
        for words in [&["convert", &folder, &output][..], &["convert", &folder, &output, "--clamp", "--type", "Q8_0"]] {
            let shown = f32::to_string(&(value as f32));
            fails(words, &["blk.0.ffn_up.weight", "row 1, column 4", "infinite or NaN", &shown]);
        }
    }
}

#[test]
fn weights_that_are_not_finite_are_not_copied_either() {
    let dir = Scratch::new();
    for (format, bytes, column) in [(Format::F32, f32::NAN.to_le_bytes().to_vec(), 0), (Format::Q8_0, vec![0, 0x7C], 0)]
    {
        let mut file =
            chat_model(&Shape { heads: 8, kv_heads: 4, head_size: 32, rotated: 32, ..Shape::default() }, format);
        let tensor = file.tensors.iter_mut().find(|tensor| tensor.name == "blk.0.ffn_up.weight").unwrap();
        let row = tensor.data.len() / tensor.dims[1] as usize;
        tensor.data[row..row + bytes.len()].copy_from_slice(&bytes);
        let (input, output) = (dir.write("in.gguf", file.bytes()), dir.path("out.gguf"));
        let named = ["blk.0.ffn_up.weight".to_owned(), format!("row 1, column {column}"), "infinite or NaN".to_owned()];
        let named: Vec<&str> = named.iter().map(String::as_str).collect();
        for kind in ["F32", "Q8_0", "Q4_0"] {
            fails(&["quantize", &input, &output, kind, "--clamp"], &named);
        }
        assert_eq!(dir.names(), ["in.gguf"]);
    }
}

/// Weights under other names: parts without an index, pickled ones, and parts of which some are missing.
#[test]
fn weights_that_are_named_otherwise() {
    let dir = Scratch::new();
    let folder = dir.checkpoint(|_| ());
    let (whole, output) = (dir.path("whole.gguf"), dir.path("out.gguf"));
    stdout(&["convert", &folder, &whole]);
    let (_, tensors) = llama(&model());
    std::fs::remove_file(dir.path("model/model.safetensors")).unwrap();
    dir.write("model/training_args.bin", "x");
    fails(&["convert", &folder, &output], &[&folder, "model.safetensors"]);
    let pickled = dir.write("model/pytorch_model-00001-of-00002.bin", "x");
    fails(&["convert", &folder, &output], &["pytorch_model-00001-of-00002.bin", "pickled", "safetensors"]);
    fails(&["convert", &pickled, &output], &["pytorch_model-00001-of-00002.bin", "pickled", "safetensors"]);
    let (first, second) = tensors.split_at(5);
    dir.write("model/model-00001-of-00002.safetensors", safetensors(first));
    fails(&["convert", &folder, &output], &["model-00001-of-00002.safetensors", "2 weights files", "1 are there"]);
    dir.write("model/model-00002-of-00002.safetensors", safetensors(second));
    stdout(&["convert", &folder, &output]);
    assert!(std::fs::read(&output).unwrap() == std::fs::read(&whole).unwrap());
    std::fs::remove_file(pickled).unwrap();
}

#[test]
fn what_becomes_of_each_field_is_told() {
    let dir = Scratch::new();
    let folder = dir.checkpoint(|_| ());
    let config = std::fs::read_to_string(dir.path("model/config.json")).unwrap();
    // Editors of Windows begin a file with this mark.
    dir.write(
        "model/config.json",
        format!("\u{feff}{}", config.replacen('{', "{\"wobble\": 0.5, \"use_cache\": true, ", 1)),
    );
    let told = stdout(&["convert", &folder, "--explain"]);
    let fate = |field: &str| {
        let line = told.lines().find(|line| line.starts_with(&format!("config.json\t{field}\t")));
        line.unwrap_or_else(|| panic!("{field}: {told}")).rsplit('\t').next().unwrap().to_owned()
    };
    assert_eq!(fate("hidden_size"), "used");
    assert!(fate("use_cache").starts_with("left out: "), "{told}");
    assert!(fate("wobble").contains("refused"), "{told}");
    fails(&["convert", &folder, &dir.path("out.gguf")], &["config.json", "wobble", "0.5", "delete it"]);
    assert_eq!(smidgen(&["convert", &folder]).output().unwrap().status.code(), Some(2));
}
