//! `smidgen classify`: with the model inside, with a model's file, and with inputs that cannot be.

use crate::{Scratch, fails, smidgen, stdout};
use serde_json::Value;
use smidgen_quant::Format;
use smidgen_tests::seeded::Meta;
use smidgen_tests::seeded_bert;
use smidgen_tests::seeded_vit::{Shape, model};
use smidgen_tests::{checkpoint, seeded_clip};

/// The classes of the model inside.
const CLASSES: [&str; 10] = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// A PNG file of 4 by 4 pixels, without compression: its parts with their checksums.
fn png(colour: [u8; 3]) -> Vec<u8> {
    let mut rows = Vec::new();
    for _ in 0..4 {
        rows.push(0);
        rows.extend(colour.repeat(4));
    }
    let len = rows.len() as u16;
    let mut stream = vec![0x78, 1, 1];
    stream.extend(len.to_le_bytes());
    stream.extend((!len).to_le_bytes());
    stream.extend(&rows);
    let (a, b) = rows.iter().fold((1u32, 0u32), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65_521;
        (a, (b + a) % 65_521)
    });
    stream.extend((b << 16 | a).to_be_bytes());
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    for (kind, data) in [(b"IHDR", &[0, 0, 0, 4, 0, 0, 0, 4, 8, 2, 0, 0, 0][..]), (b"IDAT", &stream), (b"IEND", &[])] {
        let part = [&kind[..], data].concat();
        file.extend((data.len() as u32).to_be_bytes());
        file.extend(&part);
        file.extend(crc32(&part).to_be_bytes());
    }
    file
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 })
    })
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn list(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

/// Probabilities are the softmax of the logits, best first.
fn agrees(answer: &Value, classes: &[&str]) {
    let (labels, probabilities) = (answer["labels"].as_array().unwrap(), list(&answer["probabilities"]));
    let logits = list(&answer["logits"]);
    assert_eq!((labels.len(), logits.len()), (probabilities.len(), classes.len()));
    assert!(probabilities.is_sorted_by(|a, b| a >= b), "{answer}");
    let sum: f64 = logits.iter().map(|logit| logit.exp()).sum();
    for (label, probability) in labels.iter().zip(&probabilities) {
        let class = classes.iter().position(|class| label == class).unwrap();
        assert!((logits[class].exp() / sum - probability).abs() < 1e-6, "{answer}");
    }
}

#[test]
fn the_model_inside() {
    let dir = Scratch::new();
    let (red, blue) = (dir.write("red.png", png([250, 20, 10])), dir.write("blue", png([10, 20, 250])));
    let answers = lines(&stdout(&["classify", &red, &blue, "--json", "--logits", "--top", "10"]));
    assert_eq!((answers[0]["input"].as_str(), answers[1]["input"].as_str()), (Some(&*red), Some(&*blue)));
    assert_eq!(answers.len(), 2);
    for answer in &answers {
        agrees(answer, &CLASSES);
    }
    assert_ne!(answers[0]["logits"], answers[1]["logits"]);
    // Alone, by other kernels, on other threads: the same.
    for target in crate::targets() {
        let alone =
            stdout(&["classify", &blue, "--json", "--logits", "--top", "10", "--target", &target, "--threads", "2"]);
        assert_eq!(lines(&alone), &answers[1..], "{target}");
    }
    let text = stdout(&["classify", &red, &blue, "--top", "3"]);
    assert_eq!(text.lines().count(), 6);
    let label = answers[0]["labels"][0].as_str().unwrap();
    assert!(text.starts_with(&format!("{red}\t{label}\t0.")), "{text}");
    assert_eq!(stdout(&["classify", &red]).lines().count(), 5);
}

#[test]
fn a_model_and_labels() {
    let dir = Scratch::new();
    let file = dir.write("m.gguf", model(&Shape::default(), Format::Q8_0).bytes());
    let image = dir.write("x.png", png([9, 200, 10]));
    let words = ["classify", &file, &image, "--json", "--logits", "--top", "99"];
    let plain = lines(&stdout(&words));
    agrees(&plain[0], &["0", "1", "2", "3", "4", "5", "6"]);
    let names = ["a b", "c", "d", "e", "f", "g", "\u{e9}"];
    let labels = dir.write("labels", names.join("\n") + "\n");
    let named = lines(&stdout(&[&words[..], &["--labels", &labels]].concat()));
    agrees(&named[0], &names);
    assert_eq!(named[0]["logits"], plain[0]["logits"]);
    // A file that does not fit is told, and the inputs are answered all the same.
    for (text, told) in [("one\ntwo\n", "2 lines"), ("", "0 lines")] {
        let short = dir.write("short", text);
        let output = smidgen(&[&words[..], &["--labels", &short]].concat()).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(error.contains("--labels") && error.contains(&short) && error.contains(told), "{error}");
        assert_eq!(lines(&String::from_utf8(output.stdout).unwrap()), plain);
    }
}

#[test]
fn a_text_classifier() {
    let dir = Scratch::new();
    let file = dir.write(
        "m.gguf",
        seeded_bert::with_words(seeded_bert::model(&seeded_bert::Shape::default(), Format::Q8_0)).bytes(),
    );
    let answers = lines(&stdout(&["classify", &file, "hello world", "", "--json", "--logits", "--top", "99"]));
    assert_eq!(answers.len(), 2);
    assert_eq!(answers[0]["input"], "hello world");
    let classes = answers[0]["logits"].as_array().unwrap().len();
    assert_eq!(answers[0]["labels"].as_array().unwrap().len(), classes);
}

/// Labels that do not exclude each other have probabilities of their own, and a regression has its logits.
#[test]
fn the_type_of_problem() {
    let dir = Scratch::new();
    let shape = seeded_bert::Shape::default();
    let texts = seeded_bert::with_words(seeded_bert::model(&shape, Format::Q8_0));
    let image = dir.write("x.png", png([9, 200, 10]));
    for (file, input) in [(texts, "a b"), (model(&Shape::default(), Format::Q8_0), &*image)] {
        let answer = |problem: &'static str| {
            let file = file.clone().set("smidgen.classifier.problem_type", Meta::Str(problem));
            let model = dir.write("problem.gguf", file.bytes());
            lines(&stdout(&["classify", &model, input, "--json", "--logits", "--top", "99"])).remove(0)
        };
        let plain = dir.write("plain.gguf", file.clone().bytes());
        let plain = lines(&stdout(&["classify", &plain, input, "--json", "--logits", "--top", "99"])).remove(0);
        assert_eq!(answer("single_label_classification"), plain);
        let (several, regression) = (answer("multi_label_classification"), answer("regression"));
        let mut ranked = list(&plain["logits"]);
        ranked.sort_by(|a, b| b.total_cmp(a));
        assert_eq!((&several["logits"], &regression["logits"]), (&plain["logits"], &plain["logits"]));
        assert_eq!((&several["labels"], &regression["labels"]), (&plain["labels"], &plain["labels"]));
        // The digits of one are those of `f32`, of the other of `f64`, where serde_json is built so.
        let found = list(&regression["probabilities"]);
        assert!(found.len() == ranked.len() && found.iter().zip(&ranked).all(|(a, b)| *a as f32 == *b as f32));
        for (probability, logit) in list(&several["probabilities"]).iter().zip(&ranked) {
            assert!((probability - 1.0 / (1.0 + (-logit).exp())).abs() < 1e-7, "{several}");
        }
        let sum: f64 = list(&several["probabilities"]).iter().sum();
        assert!((sum - 1.0).abs() > 0.1, "{several}");
        let unknown =
            dir.write("unknown.gguf", file.clone().set("smidgen.classifier.problem_type", Meta::Str("multi")).bytes());
        fails(&["classify", &unknown, input], &[&unknown, "smidgen.classifier.problem_type", "multi"]);
        assert!(
            stdout(&["inspect", &dir.path("problem.gguf")])
                .contains("smidgen.classifier.problem_type = \"regression\"")
        );
    }
}

#[test]
fn inputs_that_cannot_be() {
    let dir = Scratch::new();
    let good = dir.write("good.png", png([1, 2, 3]));
    let whole = png([4, 5, 6]);
    let bad = [
        dir.write("cut.png", &whole[..whole.len() / 2]),
        dir.write("empty.jpg", ""),
        dir.write("text.webp", "no image"),
        dir.path("missing.png"),
        dir.0.to_str().unwrap().to_owned(),
    ];
    let mut words = vec!["classify", &good];
    words.extend(bad.iter().map(String::as_str));
    words.extend([&good, "--json"]);
    let output = smidgen(&words).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(told.lines().count(), bad.len(), "{told}");
    assert!(told.lines().zip(&bad).all(|(line, bad)| line.starts_with(&format!("smidgen: {bad}: "))), "{told}");
    let answers = lines(&String::from_utf8(output.stdout).unwrap());
    assert_eq!(answers.len(), bad.len() + 2);
    assert_eq!(answers[0], answers[bad.len() + 1]);
    assert!(answers[1..=bad.len()].iter().all(|answer| answer["error"].is_string() && answer["labels"].is_null()));

    let features = dir.write("features.gguf", model(&Shape { outputs: 0, ..Shape::default() }, Format::Q8_0).bytes());
    fails(&["classify", &features, &good], &["no classifier"]);
    fails(&["classify", &features], &[&features, "no image"]);
    fails(&["classify"], &["--help"]);
    fails(&["classify", &good, "--top", "0"], &["--top"]);
    let (_dir, llama) = Scratch::with(&crate::files::endless());
    fails(&["classify", &llama, &good], &[&llama, "take images"]);
}

/// CLIP holds images against the texts that are given, from a file or in a list.
#[test]
fn texts_as_labels() {
    let dir = Scratch::new();
    let file = dir.write("clip.gguf", seeded_clip::model(Format::Q8_0).bytes());
    let (red, blue) = (dir.write("red.png", png([250, 20, 10])), dir.write("blue.png", png([10, 20, 250])));
    let labels = ["a cat", "the photo of a dog", "\u{c9}and"];
    let lines =
        |words: &[&str]| lines(&stdout(&[&["classify", &file, &red, &blue, "--json", "--logits"], words].concat()));
    let answers = lines(&["--labels", "a cat, the photo of a dog,\u{c9}and"]);
    assert_eq!(answers.len(), 2);
    answers.iter().for_each(|answer| agrees(answer, &labels));
    assert_ne!(answers[0]["logits"], answers[1]["logits"]);
    let logits = list(&answers[0]["logits"]);
    assert!(logits.iter().all(|logit| logit.abs() <= 20.001) && logits[0] != logits[1], "{logits:?}");
    let named = dir.write("labels", labels.join("\n") + "\n");
    assert_eq!(lines(&["--labels", &named]), answers);
    assert_eq!(lines(&["--labels", &named, "--template", "{}", "--target", "scalar", "--threads", "2"]), answers);
    // Each text by itself, and in a template.
    let swapped = lines(&["--labels", "the photo of a dog,a cat"]);
    assert_eq!(list(&swapped[0]["logits"]), [logits[1], logits[0]]);
    let framed = lines(&["--labels", "a dog,a cat", "--template", "the photo of {}"]);
    assert_eq!(list(&framed[0]["logits"])[0], logits[1]);
    assert_eq!(framed[0]["labels"].as_array().unwrap().len(), 2);

    fails(&["classify", &file, &red], &[&file, "--labels"]);
    fails(&["classify", &file, &red, "--labels", "cat"], &["cat", "no such file"]);
    let empty = dir.write("empty", "");
    fails(&["classify", &file, &red, "--labels", &empty], &[&empty, "no lines"]);
    let one =
        dir.write("one", seeded_clip::model(Format::Q8_0).set("clip.has_text_encoder", Meta::Bool(false)).bytes());
    fails(&["classify", &one, &red, "--labels", "a,b"], &[&one, "embed text"]);
    // Its texts can be embedded.
    let embedded = stdout(&["embed", &file, "--json", "a cat", "a dog"]);
    assert_eq!(embedded.lines().count(), 2);
    assert_eq!(
        serde_json::from_str::<Vec<f32>>(embedded.lines().next().unwrap()).unwrap().len(),
        seeded_clip::PROJECTION
    );
}

/// A converted checkpoint answers as the original model does, from its tokenizer's newer file or its older ones.
#[test]
fn a_converted_checkpoint() {
    let dir = Scratch::new();
    let (files, tensors) = seeded_clip::checkpoint();
    for (name, value) in &files {
        dir.write(name, value.to_string());
    }
    dir.write("model.safetensors", checkpoint::safetensors(&tensors));
    let (own, made) = (dir.write("own.gguf", seeded_clip::model(Format::F32).bytes()), dir.path("made.gguf"));
    let texts = |file: &str| stdout(&["embed", file, "--json", "The cat's photo", "doing \u{e9}"]);
    let expected = texts(&own);
    stdout(&["convert", &dir.path(""), &made]);
    assert_eq!(texts(&made), expected);
    let model = &files[1].1["model"];
    dir.write("vocab.json", model["vocab"].to_string());
    let merges: Vec<&str> = model["merges"].as_array().unwrap().iter().map(|merge| merge.as_str().unwrap()).collect();
    dir.write("merges.txt", format!("#version: 0.2\n{}\n", merges.join("\n")));
    std::fs::remove_file(dir.path("tokenizer.json")).unwrap();
    stdout(&["convert", &dir.path(""), &made, "--type", "F32"]);
    assert_eq!(texts(&made), expected);
}
