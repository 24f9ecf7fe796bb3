//! `smidgen infer`.

use crate::args::InferArgs;
use crate::npy::{self, Array, Kind};
use crate::{Outcome, open};
use smidgen::models::micro::{Micro, Port};
use smidgen_quant::math::round_even;
use std::io::{self, Write};

pub(crate) fn infer(args: &InferArgs) -> Outcome {
    let file = open::file(&args.model)?;
    let parts = open::parts(&file)?;
    let first = parts.first().ok_or("no file")?;
    let model = Micro::parse(first).map_err(|error| open::named(&file, error))?;
    let bytes = open::file_bytes(&args.input)?;
    let told = |error: String| format!("{}: {error}", args.input.display());
    let array = npy::read(&bytes).map_err(told)?;
    let inputs = quantized(model.input(), &array).map_err(told)?;
    let mut arena = vec![0; model.arena_len()];
    model.reset(&mut arena)?;
    let mut outputs = vec![0; array.shape.first().copied().unwrap_or(0) * model.output().elements()];
    let pairs = inputs.chunks_exact(model.input().elements()).zip(outputs.chunks_exact_mut(model.output().elements()));
    for (input, output) in pairs {
        model.infer(&mut arena, input, output)?;
    }
    print(args, model.output(), &outputs)
}

/// The inputs as the model takes them. The error does not name the file.
fn quantized(port: &Port, array: &Array<'_>) -> Result<Vec<u8>, String> {
    let own = if port.signed { Kind::Int8 } else { Kind::UInt8 };
    let given = array.shape.get(1..).unwrap_or_default();
    // Extents of 1 may be left out.
    let more = |shape: &[usize]| shape.iter().copied().filter(|dim| *dim != 1).collect::<Vec<_>>();
    if array.shape.is_empty() || more(given) != more(port.shape()) {
        let wanted = port.shape().strip_prefix(&[1]).unwrap_or(port.shape());
        let wanted: String = wanted.iter().map(|dim| format!(", {dim}")).collect();
        return Err(format!("the array has the shape {:?}, but the model takes [n{wanted}]", array.shape));
    }
    if array.kind == own {
        return Ok(array.data.to_vec());
    }
    if array.kind != Kind::Float32 {
        return Err(format!("the array is of {}, but the model takes {} (or float32)", array.kind.name(), own.name()));
    }
    let zero = port.zero_point as f32;
    let (least, most) = if port.signed { (-128.0 - zero, 127.0 - zero) } else { (-zero, 255.0 - zero) };
    let byte = |bytes: &[u8; 4]| {
        // To the nearest, ties to even, as numpy rounds.
        let steps = round_even((f32::from_le_bytes(*bytes) / port.scale).clamp(least, most));
        let [byte, ..] = ((steps + zero) as i32).to_le_bytes();
        byte
    };
    Ok(array.data.as_chunks().0.iter().map(byte).collect())
}

fn print(args: &InferArgs, port: &Port, outputs: &[u8]) -> Outcome {
    let each = port.elements();
    if let Some(path) = &args.output {
        let kind = if port.signed { Kind::Int8 } else { Kind::UInt8 };
        let file = npy::write(&Array { kind, shape: vec![outputs.len() / each, each], data: outputs });
        return std::fs::write(path, file)
            .map_err(|error| format!("{}: cannot be written: {error}", path.display()).into());
    }
    let value = |byte: &u8| if port.signed { i32::from(*byte as i8) } else { i32::from(*byte) };
    let rows: Vec<Vec<i32>> = outputs.chunks(each).map(|row| row.iter().map(value).collect()).collect();
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&rows)?)?;
        return Ok(());
    }
    for row in rows {
        let row: Vec<_> = row.iter().map(i32::to_string).collect();
        writeln!(out, "{}", row.join(" "))?;
    }
    Ok(())
}
