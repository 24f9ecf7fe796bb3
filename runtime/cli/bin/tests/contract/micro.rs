//! `smidgen listen`, `infer`, and `convert` of TensorFlow Lite files.

use crate::{Scratch, fails, quiet, refused, stdout, with_stdin};
use serde_json::Value;
use smidgen_tests::micro::{bursts, npy, pcm, wake_word, wav};
use smidgen_tests::shared;
use std::path::Path;

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn words_are_heard_once_each() {
    let dir = Scratch::new();
    let model = dir.write("loud.gguf", wake_word("Loud", Some(0.2)));
    let samples = pcm(&bursts(3));
    let file = dir.write("three.wav", wav(16_000, 1, 16, 1, &samples));
    let heard = lines(&stdout(&["listen", &model, &file, "--json"]));
    assert_eq!(heard.len(), 3);
    for (i, detection) in heard.iter().enumerate() {
        assert_eq!(detection["word"], "Loud");
        // The noise begins here, and a step is 20 ms.
        let begins = 1.0 + 1.5 * i as f64;
        let (time, step) = (detection["time_s"].as_f64().unwrap(), detection["step"].as_u64().unwrap());
        assert!((begins..begins + 0.3).contains(&time), "{detection}");
        assert!((time - (0.02 * (step + 1) as f64 + 0.02)).abs() < 1e-9, "{detection}");
        assert!(detection["probability"].as_f64().unwrap() > 0.2, "{detection}");
        assert_eq!(detection.as_object().unwrap().len(), 4);
    }
    // As text: time, word, probability.
    let text = stdout(&["listen", &model, &file]);
    assert_eq!(text.lines().count(), 3);
    for (line, detection) in text.lines().zip(&heard) {
        let fields: Vec<_> = line.split('\t').collect();
        assert_eq!(fields[1], "Loud");
        assert!((fields[0].parse::<f64>().unwrap() - detection["time_s"].as_f64().unwrap()).abs() < 0.006);
        assert!((fields[2].parse::<f64>().unwrap() - detection["probability"].as_f64().unwrap()).abs() < 0.001);
    }
    // From stdin it is the same, half a sample at the end or not.
    for end in [&[][..], &[1]] {
        let words = ["listen", &model, "-", "--json"];
        assert_eq!(lines(&quiet(&words, with_stdin(&words, &[&samples, end].concat()))), heard);
    }
    // Of a quiet one nothing is heard.
    let quiet = dir.write("quiet.wav", wav(16_000, 1, 16, 1, &pcm(&[0; 32_000])));
    assert_eq!(stdout(&["listen", &model, &quiet]), "");
}

#[test]
fn steps_are_all_outputs() {
    let dir = Scratch::new();
    let model = dir.write("loud.gguf", wake_word("Loud", None));
    let file = dir.write("one.wav", wav(16_000, 1, 16, 1, &pcm(&bursts(1))));
    let steps = lines(&stdout(&["listen", &model, &file, "--steps"])).remove(0);
    // 2.5 s; the first row takes 30 ms.
    let steps: Vec<u64> = steps.as_array().unwrap().iter().map(|step| step.as_u64().unwrap()).collect();
    assert_eq!(steps.len(), 124);
    assert!(steps[..48].iter().all(|step| *step == 0) && steps[52] > 50, "{steps:?}");
    // Too short for a row.
    let short = dir.write("short.wav", wav(16_000, 1, 16, 1, &pcm(&[9; 479])));
    assert_eq!(stdout(&["listen", &model, &short, "--steps"]), "[]\n");
    // A model without a cut-off detects nothing.
    fails(&["listen", &model, &file], &[&model, "probability_cutoff", "--steps"]);
    fails(&["listen", &model, &file, "--steps", "--json"], &["--steps", "--json"]);
}

#[test]
fn several_models_hear_the_same() {
    let dir = Scratch::new();
    let loud = dir.write("loud.gguf", wake_word("Loud", Some(0.2)));
    let louder = dir.write("louder.gguf", wake_word("Louder", Some(0.25)));
    let file = dir.write("two.wav", wav(16_000, 1, 16, 1, &pcm(&bursts(2))));
    let both = stdout(&["listen", &loud, &louder, &file]);
    for (model, word) in [(&loud, "Loud"), (&louder, "Louder")] {
        let alone = stdout(&["listen", model, &file]);
        let of_both: Vec<_> = both.lines().filter(|line| line.split('\t').nth(1) == Some(word)).collect();
        assert_eq!(alone.lines().collect::<Vec<_>>(), of_both);
        assert_eq!(of_both.len(), 2);
    }
    let steps = lines(&stdout(&["listen", &loud, &louder, &file, "--steps"]));
    assert!(steps.len() == 2 && steps[0] == steps[1]);
}

#[test]
fn sounds_that_are_none() {
    let dir = Scratch::new();
    let model = dir.write("loud.gguf", wake_word("Loud", Some(0.2)));
    let samples = pcm(&bursts(1));
    let good = wav(16_000, 1, 16, 1, &samples);
    let riff = |kind: &[u8]| [kind, &good[4..]].concat();
    let changed = |at: usize, bytes: &[u8]| [&good[..at], bytes, &good[at + bytes.len()..]].concat();
    for (name, bytes, named) in [
        ("rate", wav(999, 1, 16, 1, &samples), &["999 samples per second"][..]),
        ("none", wav(16_000, 0, 16, 1, &samples), &["0 channels"]),
        ("bits", wav(16_000, 1, 40, 1, &samples), &["40 bits"]),
        ("float", wav(16_000, 1, 16, 3, &samples), &["floating-point", "16 bits"]),
        ("frame", changed(32, &[3, 0]), &["16 bits in frames of 3 bytes"]),
        (
            "nan",
            wav(16_000, 1, 32, 3, &[1.0_f32, f32::NAN].map(f32::to_le_bytes).concat()),
            &["sample 1 is not a finite"],
        ),
        ("header", good[..30].to_vec(), &["cut off in the fmt chunk"]),
        ("no-samples", wav(16_000, 1, 16, 1, &[]), &["no samples"]),
        ("half-a-sample", wav(16_000, 1, 16, 1, &[1]), &["no samples"]),
        ("adpcm", wav(16_000, 1, 4, 0x11, &samples), &["IMA ADPCM"]),
        ("big-endian", riff(b"RIFX"), &["big-endian", "RIFX"]),
        ("avi", changed(8, b"AVI "), &["AVI ", "WAVE"]),
        ("no-format", [&good[..12], &good[36..]].concat(), &["data chunk at byte 12", "fmt"]),
        ("no-data", changed(36, b"none"), &["before the data chunk"]),
        ("flac", b"fLaC and so on and on".to_vec(), &["FLAC"]),
    ] {
        let file = dir.write(&format!("{name}.wav"), &bytes);
        fails(&["listen", &model, &file], &[&[&*file], named].concat());
        fails(&["listen", &model, &file, "--steps"], &[&file]);
        let words = ["listen", &model, "-"];
        refused(&words, &with_stdin(&words, &bytes), &[&["stdin"], named].concat());
    }
    for (name, bytes, named) in
        [("empty", &b""[..], "empty"), ("text", b"This is no sound.", "This"), ("raw", &samples, "RIFF")]
    {
        let file = dir.write(name, bytes);
        fails(&["listen", &model, &file], &[&file, named]);
    }
    let missing = dir.path("missing.wav");
    fails(&["listen", &model, &missing], &[&missing, "no such file"]);
    fails(&["listen", &model, &dir.path("")], &["directory"]);
    fails(&["listen", &model], &["--help"]);
    for length in 0..44 {
        let file = dir.write("part.wav", &good[..length]);
        fails(&["listen", &model, &file], &[&file]);
    }
}

/// Headers as programs write them that do not know the length of what they record, or were ended.
#[test]
fn lengths_that_are_not_true() {
    let dir = Scratch::new();
    let model = dir.write("loud.gguf", wake_word("Loud", Some(0.2)));
    let samples = pcm(&bursts(2));
    let good = wav(16_000, 1, 16, 1, &samples);
    let expected = stdout(&["listen", &model, &dir.write("good.wav", &good), "--json"]);
    assert_eq!(lines(&expected).len(), 2);
    let with = |length: u32| [&good[..40], &length.to_le_bytes(), &good[44..]].concat();
    let ds64 = |length: u64| {
        let sizes = [u64::MAX, length, 0].map(u64::to_le_bytes).concat();
        let more = [&b"WAVEds64"[..], &28_u32.to_le_bytes(), &sizes, &[0; 4]].concat();
        [&b"RF64\xff\xff\xff\xff"[..], &more, &good[12..40], &[0xff; 4], &samples].concat()
    };
    let tags = |length: usize| {
        let text = vec![b't'; length.next_multiple_of(2)];
        [&good[..12], b"LIST", &(length as u32).to_le_bytes(), &text, &good[12..], b"id3 \x05\x00\x00\x00abcde\x00"]
            .concat()
    };
    let files = [
        ("zero", with(0), None),
        ("all-ones", with(u32::MAX), None),
        ("7ffff000", with(0x7fff_f000), None),
        ("80000000", with(0x8000_0000), None),
        ("cut-off", with(samples.len() as u32 + 1000), Some("1000")),
        ("odd-cut-off", with(samples.len() as u32 + 1), Some("cut off")),
        ("rf64", ds64(samples.len() as u64), None),
        ("rf64-unknown", ds64(0), None),
        ("rf64-cut-off", ds64(1 << 40), Some("1099511627776")),
        ("odd-chunks", tags(7), None),
        ("even-chunks", tags(8), None),
    ];
    for (name, bytes, note) in files {
        let file = dir.write(&format!("{name}.wav"), &bytes);
        for (words, input) in
            [(["listen", &model, &file, "--json"], None), (["listen", &model, "-", "--json"], Some(&bytes))]
        {
            let output = match input {
                None => crate::smidgen(&words).output().unwrap(),
                Some(bytes) => with_stdin(&words, bytes),
            };
            assert!(output.status.success(), "{name}");
            assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{name}");
            let told = String::from_utf8_lossy(&output.stderr);
            match note {
                None => assert_eq!(told, "", "{name}"),
                Some(_) => {
                    let named = if input.is_some() { "stdin" } else { &*file };
                    assert!(
                        told.lines().count() == 1 && told.contains("cut off") && told.contains(named),
                        "{name}: {told}"
                    );
                }
            }
        }
    }
    // What is there is heard: the first word, in half of the file.
    let half = dir.write("half.wav", &good[..good.len() / 2]);
    let output = crate::smidgen(&["listen", &model, &half, "--json"]).output().unwrap();
    assert!(expected.starts_with(&*String::from_utf8_lossy(&output.stdout)) && output.stdout.len() > 10);
    assert!(String::from_utf8_lossy(&output.stderr).contains(&half));
}

/// The same sound in other codings, channels and rates has the same words at the same times.
#[test]
fn sounds_of_every_kind() {
    let dir = Scratch::new();
    let model = dir.write("loud.gguf", wake_word("Loud", Some(0.2)));
    let sound = bursts(2);
    let good = dir.write("good.wav", wav(16_000, 1, 16, 1, &pcm(&sound)));
    let (expected, steps) =
        (lines(&stdout(&["listen", &model, &good, "--json"])), stdout(&["listen", &model, &good, "--steps"]));
    let each = |bytes: &dyn Fn(i16) -> Vec<u8>| -> Vec<u8> { sound.iter().flat_map(|sample| bytes(*sample)).collect() };
    let float = |sample: i16| f64::from(sample) / 32_768.0;
    let two = each(&|sample| [sample, sample].map(i16::to_le_bytes).concat());
    let mut extensible = wav(16_000, 2, 16, 0xfffe, &two);
    let guid = b"\x01\x00\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71";
    extensible.splice(36..36, [&b"\x16\x00\x10\x00\x03\x00\x00\x00"[..], guid].concat());
    extensible[16] = 40;
    for (name, bytes) in [
        ("24", wav(16_000, 1, 24, 1, &each(&|sample| (i32::from(sample) * 256).to_le_bytes()[..3].to_vec()))),
        ("32", wav(16_000, 1, 32, 1, &each(&|sample| (i32::from(sample) * 65_536).to_le_bytes().to_vec()))),
        ("f32", wav(16_000, 1, 32, 3, &each(&|sample| (float(sample) as f32).to_le_bytes().to_vec()))),
        ("f64", wav(16_000, 1, 64, 3, &each(&|sample| float(sample).to_le_bytes().to_vec()))),
        ("two", wav(16_000, 2, 16, 1, &two)),
        ("extensible", extensible),
    ] {
        let file = dir.write(&format!("{name}.wav"), bytes);
        assert_eq!(stdout(&["listen", &model, &file, "--steps"]), steps, "{name}");
    }
    // What is stored more coarsely, or at another rate, is heard at the same time but not with the same numbers.
    let upper = |byte: u8| if byte < 128 { byte ^ 0x7f } else { byte };
    let bytes = each(&|sample| vec![((i32::from(sample) >> 8) + 128) as u8]);
    let slow: Vec<i16> = sound.iter().step_by(2).copied().collect();
    let fast: Vec<i16> = sound.iter().flat_map(|sample| [*sample; 3]).collect();
    let mu_law = each(&|sample| vec![if sample == 0 { 0xff } else { upper((sample >> 8) as u8) }]);
    for (name, bytes) in [
        ("bytes", wav(16_000, 1, 8, 1, &bytes)),
        ("law", wav(16_000, 1, 8, 7, &mu_law)),
        ("slow", wav(8_000, 1, 16, 1, &pcm(&slow))),
        ("fast", wav(48_000, 1, 16, 1, &pcm(&fast))),
    ] {
        let file = dir.write(&format!("{name}.wav"), &bytes);
        let heard = stdout(&["listen", &model, &file, "--json"]);
        let words = ["listen", &model, "-", "--json"];
        assert_eq!(quiet(&words, with_stdin(&words, &bytes)), heard, "{name}");
        let heard = lines(&heard);
        assert_eq!(heard.len(), expected.len(), "{name}");
        for (heard, expected) in heard.iter().zip(&expected) {
            let times = [heard, expected].map(|detection| detection["time_s"].as_f64().unwrap());
            assert!((times[0] - times[1]).abs() < 0.1, "{name}: {heard} {expected}");
        }
    }
}

#[test]
fn models_that_do_not_listen() {
    let dir = Scratch::new();
    let file = dir.write("one.wav", wav(16_000, 1, 16, 1, &pcm(&bursts(1))));
    let good = wake_word("Loud", Some(0.2));
    for (name, bytes, named) in [
        ("cut.gguf", good[..good.len() / 2].to_vec(), ""),
        ("text.gguf", b"nothing".to_vec(), ""),
        ("language.gguf", crate::files::instruct().bytes(), "general.architecture"),
        ("cutoff.gguf", wake_word("Loud", Some(1.5)), "micro.probability_cutoff"),
        ("nan.gguf", wake_word("Loud", Some(f64::NAN)), "micro.probability_cutoff"),
    ] {
        let model = dir.write(name, bytes);
        fails(&["listen", &model, &file], &[&model, named]);
        let words = ["listen", &model, "-"];
        refused(&words, &with_stdin(&words, &[0; 100]), &[&model]);
    }
}

#[test]
fn arrays_become_arrays() {
    let dir = Scratch::new();
    let model = dir.write("loud.gguf", wake_word("Loud", None));
    let inputs: Vec<u8> = (0..3 * 80_u32).map(|i| (i * 37 % 251) as u8).collect();
    let expected: Vec<u8> = inputs
        .chunks(80)
        .map(|input| {
            let sum: i32 = input.iter().map(|byte| i32::from(*byte as i8) + 128).sum();
            // Rounded twice: a half, then a 64th.
            (((sum + 1) / 2 + 32) / 64) as u8
        })
        .collect();
    let rows = serde_json::to_string(&expected.iter().map(|x| [x]).collect::<Vec<_>>()).unwrap();
    for shape in ["(3, 2, 40)", "(3, 1, 2, 40)", "(3, 2, 1, 40)"] {
        let file = dir.write("x.npy", npy("'|i1'", "False", shape, &inputs));
        assert_eq!(stdout(&["infer", &model, &file, "--json"]), format!("{rows}\n"));
        let text: String = expected.iter().map(|x| format!("{x}\n")).collect();
        assert_eq!(stdout(&["infer", &model, &file]), text);
        let out = dir.path("y.npy");
        assert_eq!(stdout(&["infer", &model, &file, "--output", &out]), "");
        let saved = std::fs::read(&out).unwrap();
        assert!(saved.ends_with(&expected) && String::from_utf8_lossy(&saved).contains("'|u1'"));
        assert!(String::from_utf8_lossy(&saved).contains("(3, 1,)"));
    }
    // The same in numbers: (byte + 128) / 10.
    let floats: Vec<u8> =
        inputs.iter().flat_map(|byte| ((f32::from(*byte as i8) + 128.0) * 0.1_f32).to_le_bytes()).collect();
    let file = dir.write("f.npy", npy("'<f4'", "False", "(3, 2, 40)", &floats));
    assert_eq!(stdout(&["infer", &model, &file, "--json"]), format!("{rows}\n"));
    // What is out of range, and what is no number, is held within it.
    let wild: Vec<u8> =
        [1e30_f32, -1e30, f32::NAN, f32::INFINITY].iter().cycle().take(80).flat_map(|x| x.to_le_bytes()).collect();
    let file = dir.write("w.npy", npy("'<f4'", "False", "(1, 2, 40)", &wild));
    assert_eq!(lines(&stdout(&["infer", &model, &file, "--json"])).len(), 1);
    let file = dir.write("n.npy", npy("'|i1'", "False", "(0, 2, 40)", &[]));
    assert_eq!(stdout(&["infer", &model, &file, "--json"]), "[]\n");
}

#[test]
fn arrays_that_do_not_fit() {
    let dir = Scratch::new();
    let model = dir.write("loud.gguf", wake_word("Loud", None));
    let (int8, data) = ("'|i1'", [0; 80]);
    for (name, bytes, named) in [
        ("object", npy("'|O'", "False", "(1, 2, 40)", &data), &["|O", "int8", "float32"][..]),
        ("records", npy("[('a', '<f4')]", "False", "(1, 2, 40)", &data), &["records"]),
        ("double", npy("'<f8'", "False", "(1, 2, 40)", &[0; 640]), &["<f8"]),
        ("big-endian", npy("'>f4'", "False", "(1, 2, 40)", &[0; 320]), &[">f4"]),
        ("unsigned", npy("'|u1'", "False", "(1, 2, 40)", &data), &["uint8", "int8"]),
        ("fortran", npy(int8, "True", "(1, 2, 40)", &data), &["Fortran"]),
        ("huge", npy(int8, "False", "(4294967296, 4294967296, 4294967296)", &data), &["4294967296"]),
        ("large", npy(int8, "False", "(1000000000000, 2, 40)", &data), &["80 bytes", "80000000000000"]),
        ("overflow", npy(int8, "False", "(99999999999999999999999, 2, 40)", &data), &["shape"]),
        ("negative", npy(int8, "False", "(-1, 2, 40)", &data), &["shape"]),
        ("shape", npy(int8, "False", "(1, 40, 2)", &data), &["[1, 40, 2]", "[n, 2, 40]"]),
        ("flat", npy(int8, "False", "(80,)", &data), &["[80]", "[n, 2, 40]"]),
        ("single", npy(int8, "False", "(2, 40)", &data), &["[2, 40]", "[n, 2, 40]"]),
        ("scalar", npy(int8, "False", "()", &[0]), &["[]"]),
        ("cut", npy(int8, "False", "(1, 2, 40)", &data[..79]), &["79", "80"]),
        ("long", npy(int8, "False", "(1, 2, 40)", &[0; 81]), &["81", "80"]),
        ("header", npy(int8, "False", "(1, 2, 40)", &data)[..40].to_vec(), &["header"]),
        ("magic", npy(int8, "False", "(1, 2, 40)", &data)[..7].to_vec(), &["NumPy"]),
        ("version", b"\x93NUMPY\x09\x00\x10\x00".to_vec(), &["version 9"]),
        ("length", b"\x93NUMPY\x02\x00\xff\xff\xff\xff".to_vec(), &["header"]),
        ("dict", b"\x93NUMPY\x01\x00\x02\x00{}".to_vec(), &["descr"]),
        ("empty", Vec::new(), &["NumPy"]),
        ("text", b"1 2 3".to_vec(), &["NumPy"]),
    ] {
        let file = dir.write(&format!("{name}.npy"), bytes);
        fails(&["infer", &model, &file], &[&[&*file], named].concat());
    }
    let good = dir.write("good.npy", npy(int8, "False", "(1, 2, 40)", &data));
    let language = dir.write("language.gguf", crate::files::instruct().bytes());
    fails(&["infer", &language, &good], &[&language, "general.architecture"]);
    let nowhere = dir.path("no/such/file.npy");
    fails(&["infer", &model, &good, "--output", &nowhere], &[&nowhere]);
    fails(&["infer", &model, &nowhere], &[&nowhere, "no such file"]);
}

/// The models of the golden files, and their recordings.
#[test]
fn published_wake_words() {
    let Some(shared) = shared() else { return };
    let golden = shared.join("golden/micro");
    let Ok(runs) = std::fs::read(golden.join("runs.json")) else { return println!("ABSENT: golden/micro/runs.json") };
    let runs: Vec<Value> = serde_json::from_slice(&runs).unwrap();
    let dir = Scratch::new();
    for (word, called) in [("okay_nabu", "Okay Nabu"), ("hey_mycroft", "Hey Mycroft")] {
        let source = shared.join(format!("models/microwakeword/{word}.tflite"));
        if !source.exists() {
            println!("ABSENT: {}", source.display());
            continue;
        }
        let model = dir.path(&format!("{word}.gguf"));
        assert_eq!(stdout(&["convert", text(&source), &model]), "");
        let mut count = 0;
        for run in runs.iter().filter(|run| run["model"] == word) {
            let audio = run["audio"].as_str().unwrap();
            let file = golden.join(format!("audio/{audio}.wav"));
            let output = std::fs::read(golden.join(format!("runs/{word}__{audio}.output.npy"))).unwrap();
            let steps: Vec<u8> = serde_json::from_str(&stdout(&["listen", &model, text(&file), "--steps"])).unwrap();
            assert_eq!(steps.len() as u64, run["steps"].as_u64().unwrap());
            assert!(output.ends_with(&steps), "{word} {audio}");
            let heard = lines(&stdout(&["listen", &model, text(&file), "--json"]));
            let above: Vec<u64> = run["steps_above"].as_array().unwrap().iter().map(|x| x.as_u64().unwrap()).collect();
            let expected = above.iter().filter(|step| !above.contains(&step.wrapping_sub(1)));
            assert!(heard.iter().map(|heard| heard["step"].as_u64().unwrap()).eq(expected.copied()), "{word} {audio}");
            if let Some(first) = heard.first() {
                assert_eq!((&first["word"], &first["step"]), (&called.into(), &run["first_step"]));
                assert_eq!(first["time_s"].as_f64(), run["first_sample"].as_f64().map(|samples| samples / 16_000.0));
            }
            let inputs = golden.join(format!("runs/{word}__{audio}.input.npy"));
            let inferred: Vec<[u8; 1]> =
                serde_json::from_str(&stdout(&["infer", &model, text(&inputs), "--json"])).unwrap();
            assert_eq!(inferred.as_flattened(), steps);
            count += 1;
        }
        println!("RAN: {word}, {count} recordings");
        assert!(count > 0);
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
