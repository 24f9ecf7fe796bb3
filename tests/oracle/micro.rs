//! Small int8 networks, from converter to answer, against TensorFlow Lite Micro's own reference kernels (PyPI tflite-micro, called from
//! `micro.py`): every operator that is converted, over seeded shapes and options. Without the package this says that it is absent.

use smidgen::models::micro::{self, Micro};
use smidgen_convert::tflite;
use smidgen_gguf::Gguf;
use std::collections::BTreeMap;
use std::io::Write;
use std::process::Command;

/// A network and what the reference makes of it.
struct Case {
    operator: String,
    /// Whether it is refused, as no record of a plan does it.
    refused: bool,
    file: Vec<u8>,
    inputs: Vec<u8>,
    outputs: Vec<u8>,
}

/// The cases that the script writes; none if there is no Python, or not the package.
fn cases() -> Option<Vec<Case>> {
    if std::env::var("SMIDGEN_SKIP_PYTHON").is_ok_and(|v| v == "1") {
        // Not `println`, which a passing test does not show.
        let _ = writeln!(std::io::stdout(), "SKIPPED: comparison with tflite-micro (SMIDGEN_SKIP_PYTHON=1)");
        return None;
    }
    let output = Command::new("python3").args(["-c", include_str!("micro.py")]).output();
    let output = output.expect("python3 is needed, or SMIDGEN_SKIP_PYTHON=1");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    if output.stdout.is_empty() {
        println!("{}", String::from_utf8_lossy(&output.stderr).trim());
        return None;
    }
    let mut rest = &output.stdout[..];
    let mut cases = Vec::new();
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let head = std::str::from_utf8(&rest[..end]).unwrap().split(' ').collect::<Vec<_>>();
        let (operator, refused, lengths) = (head[0], head[1], &head[2..]);
        rest = &rest[end + 1..];
        let mut parts = lengths.iter().map(|length| {
            let (part, tail) = rest.split_at(length.parse().unwrap());
            rest = tail;
            part.to_vec()
        });
        let [file, inputs, outputs] = [(); 3].map(|()| parts.next().unwrap());
        cases.push(Case { operator: operator.into(), refused: refused == "refused", file, inputs, outputs });
    }
    Some(cases)
}

/// The model's answers to inputs, which lie one after another.
fn answers(file: &[u8], inputs: &[u8]) -> Result<Vec<u8>, micro::Error> {
    let gguf = Gguf::parse(file).unwrap();
    let model = Micro::parse(&gguf)?;
    let mut arena = vec![0; model.arena_len()];
    let mut outputs = Vec::new();
    for input in inputs.chunks(model.input().elements()) {
        // Nothing of what another run left behind may matter.
        arena.fill(0x55);
        model.reset(&mut arena)?;
        let start = outputs.len();
        outputs.resize(start + model.output().elements(), 0);
        model.infer(&mut arena, input, &mut outputs[start..])?;
    }
    Ok(outputs)
}

#[test]
fn operators_equal_the_reference() {
    let Some(cases) = cases() else { return };
    let mut seen: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let name = format!("{} ({number})", case.operator);
        let mut file = Vec::new();
        match tflite::convert(&case.file, None, &mut file) {
            Err(smidgen_convert::Error::Tflite(tflite::Error::Operator { .. })) if case.refused => {}
            Ok(()) if !case.refused => match answers(&file, &case.inputs) {
                Ok(found) => {
                    assert_eq!(found.len(), case.outputs.len(), "{name}");
                    let count = found.iter().zip(&case.outputs).filter(|(found, expected)| found != expected).count();
                    if count > 0 {
                        wrong.push(format!("{name}: {count} of {} values differ", found.len()));
                    }
                }
                Err(error) => wrong.push(format!("{name}: {error}")),
            },
            result => wrong.push(format!("{name}: {result:?}")),
        }
        let (networks, values) = seen.entry(&case.operator).or_default();
        *networks += 1;
        *values += case.outputs.len();
    }
    for (operator, (networks, values)) in &seen {
        println!("RAN: {operator}, {networks} networks, {values} values");
    }
    assert!(wrong.is_empty(), "{} networks:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(seen.len(), 30);
}
