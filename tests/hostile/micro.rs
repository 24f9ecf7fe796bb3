//! Damaged TensorFlow Lite files and damaged plans are errors, and what is accepted runs: nothing panics, nothing hangs. The model is made
//! here, so that the tests need no files.

use smidgen::models::micro::{Error, Micro};
use smidgen_convert::{Error as ConvertError, tflite};
use smidgen_gguf::{Gguf, NewTensor, NewValue, TensorType, Writer};
use smidgen_tests::{Random, shared};

/// A plan with each operator: 4 x 4 pixels of 2 channels, depthwise and full convolutions, pools, a table, softmax.
struct File {
    plan: Vec<i32>,
    reset: Vec<i32>,
    weights: Vec<u8>,
    arena: u32,
    input: [u32; 3],
}

fn file() -> File {
    let mut weights = vec![0_u8; 2_048];
    let mut random = Random(7);
    weights.iter_mut().for_each(|byte| *byte = random.bits() as u8);
    // Parameters of four channels at 1,024: bias, multiplier, shift.
    for channel in 0..4 {
        let words = [channel * 100 - 150, 0x5000_0000 + channel, -6];
        let bytes: Vec<u8> = words.iter().flat_map(|word: &i32| word.to_le_bytes()).collect();
        weights[1024 + channel as usize * 12..][..12].copy_from_slice(&bytes);
    }
    let bounds = [3, -128, 127];
    let records: [&[i32]; 11] = [
        // Depthwise, 3 x 3 taps over 4 x 4 pixels of 2 channels: 2 x 2 outputs.
        &[2, 2, 2, 2, 3, 3, 2, 0, 8, 2, 8, 2, 32, 4, 2, 0, 1024],
        &bounds,
        &[0],
        // 2 x 2 taps, gathered: 3 x 3 outputs of 4 channels.
        &[1, 3, 3, 4, 2, 2, 2, 0, 8, 2, 8, 2, 40, 12, 4, 64, 1024],
        &bounds,
        &[100],
        // The mean of windows of 2 x 2 that begin one before the first row.
        &[3, 3, 3, 4, 40, 12, 4, 2, 2, 2, 2, 1, 1, 2, 2, 120, 8, 4, 0, -128, 127],
        &[4, 3, 3, 4, 40, 12, 4, 3, 3, 3, 3, 0, 0, 1, 1, 140, 4, 4, 0, -128, 127],
        &[
            5,
            1,
            1,
            4,
            120,
            4,
            4,
            124,
            4,
            4,
            144,
            4,
            4,
            5,
            0x4000_0000,
            0,
            -7,
            0x6000_0000,
            -1,
            0x5000_0000,
            -18,
            0,
            -128,
            127,
        ],
        &[6, 1, 1, 4, 144, 4, 4, 148, 4, 4, 256, 7, 1, 1, 4, 148, 4, 4, 152, 4, 4, 0, 8, 1, 1, 4, 152, 4, 4, 156, 4, 4],
        &[10, 3, 3, 4, 40, 12, 4, 160, 4, 4, 45, 0x4000_0000, -3, -5, 11, 156, 164, 8],
    ];
    File {
        plan: records.concat(),
        reset: vec![9, 1, 1, 20, 156, 20, 20, -128, 12, 30, 164, 8],
        weights,
        arena: 176,
        input: [0, 8, 2],
    }
}

impl File {
    fn bytes(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        let ports: [(&str, NewValue<'_>); 14] = [
            ("general.architecture", "micro".into()),
            ("micro.arena_length", self.arena.into()),
            ("micro.input.shape", (&[1_u32, 4, 4, 2][..]).into()),
            ("micro.input.type", "int8".into()),
            ("micro.input.scale", 0.5_f32.into()),
            ("micro.input.zero_point", (-3_i32).into()),
            ("micro.input.extent", (&[4_u32, 4, 2][..]).into()),
            ("micro.input.view", (&self.input[..]).into()),
            ("micro.output.shape", (&[1_u32, 12][..]).into()),
            ("micro.output.type", "uint8".into()),
            ("micro.output.scale", 0.5_f32.into()),
            ("micro.output.zero_point", 0_i32.into()),
            ("micro.output.extent", (&[1_u32, 1, 12][..]).into()),
            ("micro.output.view", (&[160_u32, 12, 12][..]).into()),
        ];
        for (key, value) in ports {
            writer.metadata(key, value).unwrap();
        }
        let words = |words: &[i32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
        let (plan, reset) = (words(&self.plan), words(&self.reset));
        let dims = [self.weights.len(), self.plan.len(), self.reset.len()].map(|len| [len as u64]);
        let tensors = [
            NewTensor { name: "weights", dims: &dims[0], kind: TensorType::I8, data: &self.weights },
            NewTensor { name: "plan", dims: &dims[1], kind: TensorType::I32, data: &plan },
            NewTensor { name: "reset", dims: &dims[2], kind: TensorType::I32, data: &reset },
        ];
        writer.write(&tensors, Vec::new()).unwrap()
    }
}

/// Parses a file and runs two steps of what is accepted.
fn run(bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let Ok(gguf) = Gguf::parse(bytes) else { return Err(Error::Architecture) };
    let model = Micro::parse(&gguf)?;
    if model.arena_len() > 1 << 20 {
        return Ok(Vec::new());
    }
    let mut arena = vec![0x55; model.arena_len()];
    let input: Vec<u8> = (0..model.input().elements()).map(|i| (i * 37) as u8).collect();
    let mut output = vec![0; model.output().elements()];
    // After a check nothing may fail.
    model.reset(&mut arena).unwrap();
    for _ in 0..2 {
        model.infer(&mut arena, &input, &mut output).unwrap();
    }
    Ok(output)
}

#[test]
fn a_good_plan_runs() {
    let bytes = file().bytes();
    assert_eq!(run(&bytes).unwrap(), run(&bytes).unwrap());
    let gguf = Gguf::parse(&bytes).unwrap();
    let model = Micro::parse(&gguf).unwrap();
    let mut arena = vec![0; model.arena_len()];
    let short = Error::Arena { needed: 176, given: 175 };
    assert_eq!(model.reset(&mut arena[1..]), Err(short));
    assert_eq!(model.infer(&mut arena, &[0; 31], &mut []), Err(Error::Input { expected: 32, given: 31 }));
    assert_eq!(model.infer(&mut arena, &[0; 32], &mut [0; 99]), Ok(()));
}

#[test]
fn plans_that_cannot_be() {
    for (word, value, field) in [
        (0, 13, "operator"),
        (1, 0, "empty or too large"),
        (3, 1, "channels"),
        (7, -1, "view"),
        (7, 170, "offset in the arena"),
        (12, 16, "overlap in the arena"),
        (14, 1, "overlap of a tensor with itself"),
        (15, 2_040, "offset in the weights"),
        (18, 128, "bounds"),
    ] {
        let mut file = file();
        file.plan[word] = value;
        let Err(Error::Plan { field: found, .. }) = run(&file.bytes()) else { panic!("{word} {value}") };
        assert_eq!(found, field, "{word} {value}");
    }
    let mut short = file();
    short.plan.pop();
    assert!(matches!(run(&short.bytes()), Err(Error::Plan { field: "end", .. })));
    let mut moved = file();
    moved.input = [150, 8, 2];
    assert_eq!(run(&moved.bytes()), Err(Error::Key { key: "micro.input.view" }));
}

#[test]
fn no_word_of_a_plan_can_do_harm() {
    let mut accepted = 0;
    let telling = [0, 1, 2, 3, 5, 12, 31, 32, 128, 176, 255, 4096, 1 << 16, 1 << 30, i32::MAX, -1, -32, i32::MIN];
    for word in 0..file().plan.len() {
        for value in telling {
            let mut file = file();
            file.plan[word] = value;
            accepted += usize::from(run(&file.bytes()).is_ok());
        }
    }
    let mut random = Random(11);
    for _ in 0..10_000 {
        let mut bytes = file().bytes();
        for _ in 0..=random.below(4) {
            let at = random.below(bytes.len());
            bytes[at] = random.bits() as u8;
        }
        accepted += usize::from(run(&bytes).is_ok());
    }
    assert!(accepted > 1_000, "{accepted}");
}

fn refused(bytes: &[u8]) -> Option<tflite::Error> {
    match tflite::convert(bytes, None, &mut Vec::new()) {
        Ok(()) => None,
        Err(ConvertError::Tflite(error)) => {
            assert_eq!(error.to_string().lines().count(), 1);
            Some(error)
        }
        Err(error) => panic!("{error}"),
    }
}

/// A flatbuffer that is nothing but a model of this version, with no more fields.
fn bare(version: i32) -> Vec<u8> {
    let mut bytes = vec![16, 0, 0, 0];
    bytes.extend(b"TFL3");
    // The table of fields at 8: its length, the table's length, where the version is; the table itself at 16.
    bytes.extend([6, 0, 8, 0, 4, 0, 0, 0, 8, 0, 0, 0]);
    bytes.extend(version.to_le_bytes());
    bytes
}

#[test]
fn files_that_are_no_models() {
    assert_eq!(refused(b""), Some(tflite::Error::Damaged { field: "identifier", offset: 4 }));
    assert_eq!(refused(b"GGUFGGUFGGUF"), Some(tflite::Error::NotTflite));
    assert_eq!(refused(&bare(2)), Some(tflite::Error::Version { version: 2 }));
    assert!(matches!(refused(&bare(3)), Some(tflite::Error::Index { field: "subgraphs", .. })));
    for root in [1_u32, 24, 1 << 31, u32::MAX] {
        let mut bytes = bare(3);
        bytes[..4].copy_from_slice(&root.to_le_bytes());
        assert!(refused(&bytes).is_some());
    }
    for len in 0..bare(3).len() {
        assert!(matches!(refused(&bare(3)[..len]), Some(tflite::Error::Damaged { .. })), "{len}");
    }
}

#[test]
fn damaged_models() {
    let Some(shared) = shared() else { return };
    for path in ["microwakeword/hey_mycroft", "mlperf_tiny/kws_ref_model"] {
        let path = shared.join("models").join(path).with_extension("tflite");
        let Ok(good) = std::fs::read(&path) else {
            println!("ABSENT: {}", path.display());
            continue;
        };
        assert_eq!(refused(&good), None);
        let mut random = Random(3);
        let (mut accepted, mut errors) = (0, 0);
        for round in 0..1_500 {
            let mut bytes = good.clone();
            if round % 5 == 0 {
                bytes.truncate(random.below(good.len()));
            }
            for _ in 0..1 + random.below(8) {
                let at = random.below(bytes.len().max(1));
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = if random.below(2) == 0 { random.bits() as u8 } else { *byte ^ 1 << random.below(8) };
                }
            }
            let mut out = Vec::new();
            match tflite::convert(&bytes, None, &mut out) {
                Ok(()) => {
                    // What was converted can be run, and its plan passes the checks.
                    run(&out).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                    accepted += 1;
                }
                Err(ConvertError::Tflite(_)) => errors += 1,
                Err(error) => panic!("{error}"),
            }
        }
        assert!(accepted > 50 && errors > 50, "{accepted} {errors}");
        println!("RAN: {}, {accepted} converted, {errors} refused", path.display());
    }
}
