//! `smidgen inspect`.

use crate::args::InspectArgs;
use crate::{Outcome, open};
use serde_json::json;
use smidgen_gguf::{Array, Gguf, Tensor, Value};
use std::io::{BufWriter, Write};

/// Elements of an array that are shown.
const SHOWN: usize = 4;
/// Characters of a string that are shown.
const SHOWN_CHARS: usize = 60;

pub(crate) fn inspect(args: &InspectArgs) -> Outcome {
    open::kernels(&args.machine)?;
    let file = open::file(&args.model)?;
    let parts = open::parts(&file)?;
    if parts.first().is_some_and(|first| first.get("tokenizer.ggml.model").is_some()) {
        // Whether it can be used is not asked here, only what would be passed over.
        let _ = open::tokenizer(&file, &parts);
    }
    let mut out = BufWriter::new(std::io::stdout().lock());
    if args.json {
        let parts: Vec<_> =
            parts.iter().zip(file.paths()).map(|(part, path)| part_json(part, &path.display().to_string())).collect();
        writeln!(out, "{}", json!({ "bytes": file.size(), "parts": parts }))?;
    } else {
        for (part, path) in parts.iter().zip(file.paths()) {
            text(part, &path.display().to_string(), &mut out)?;
        }
    }
    out.flush()?;
    Ok(())
}

fn part_json(part: &Gguf, path: &str) -> serde_json::Value {
    let metadata: serde_json::Map<_, _> =
        part.metadata().map(|(key, value)| (key.to_owned(), value_json(&value))).collect();
    let tensors: Vec<_> = part
        .tensors()
        .map(|tensor| {
            json!({
                "name": tensor.name,
                "type": tensor.kind.name(),
                "shape": shape(&tensor),
                "offset": tensor.offset,
                "bytes": tensor.data.len(),
            })
        })
        .collect();
    json!({ "path": path, "version": part.version(), "alignment": part.alignment(), "metadata": metadata, "tensors": tensors })
}

fn value_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Array(array) => array.iter().map(|value| value_json(&value)).collect(),
        Value::Str(text) => json!(text),
        Value::NotUtf8 { bytes, .. } => json!(escaped(bytes, usize::MAX, str::to_owned)),
        Value::Bool(bool) => json!(bool),
        Value::F32(number) => json!(number),
        Value::F64(number) => json!(number),
        other => other.as_u64().map(|number| json!(number)).or(other.as_i64().map(|number| json!(number))).into(),
    }
}

fn shape<'t>(tensor: &'t Tensor) -> &'t [u64] {
    &tensor.dims[..(tensor.n_dims as usize).min(4)]
}

fn text(part: &Gguf, path: &str, out: &mut impl Write) -> std::io::Result<()> {
    writeln!(out, "{path}: GGUF version {}, alignment {}\n\nmetadata", part.version(), part.alignment())?;
    for (key, value) in part.metadata() {
        writeln!(out, "  {} = {}", key.escape_debug(), shown(&value))?;
    }
    writeln!(out, "\ntensors")?;
    let mut types: Vec<(&str, usize, u64, u64)> = Vec::new();
    for tensor in part.tensors() {
        let dims: Vec<_> = shape(&tensor).iter().map(u64::to_string).collect();
        let bytes = tensor.data.len() as u64;
        writeln!(
            out,
            "  {:<40} {:>7}  {:>20}  {:>12} bytes at {}",
            tensor.name.escape_debug().to_string(),
            tensor.kind.name(),
            dims.join(" x "),
            bytes,
            tensor.offset
        )?;
        let weights = tensor.dims.iter().product::<u64>();
        match types.iter_mut().find(|row| row.0 == tensor.kind.name()) {
            Some(row) => (row.1, row.2, row.3) = (row.1 + 1, row.2 + weights, row.3 + bytes),
            None => types.push((tensor.kind.name(), 1, weights, bytes)),
        }
    }
    writeln!(out, "\ntypes")?;
    for (name, count, weights, bytes) in &types {
        let bits = *bytes as f64 * 8.0 / (*weights).max(1) as f64;
        writeln!(
            out,
            "  {name:>7}  {count:>5} tensors  {weights:>12} weights  {bytes:>12} bytes  {bits:.2} bits per weight"
        )?;
    }
    let total = types.iter().fold((0, 0), |sum, row| (sum.0 + row.2, sum.1 + row.3));
    writeln!(
        out,
        "  {:>7}  {:>5} tensors  {:>12} weights  {:>12} bytes",
        "all",
        types.iter().map(|row| row.1).sum::<usize>(),
        total.0,
        total.1
    )
}

fn shown(value: &Value) -> String {
    match value {
        Value::Array(array) => shown_array(array),
        Value::Str(text) if text.chars().count() > SHOWN_CHARS => {
            format!("{:?}… ({} bytes)", text.chars().take(SHOWN_CHARS).collect::<String>(), text.len())
        }
        Value::Str(text) => format!("{text:?}"),
        Value::NotUtf8 { bytes, .. } => {
            let text = escaped(bytes, SHOWN_CHARS, |text| text.escape_debug().to_string());
            format!("\"{text}\" (not UTF-8, {} bytes)", bytes.len())
        }
        Value::F32(number) => format!("{number:?}"),
        Value::F64(number) => format!("{number:?}"),
        other => value_json(other).to_string(),
    }
}

/// At most so many characters of a string that is not UTF-8, with `\xff` for the bytes that are no text; `text` writes what is.
fn escaped(bytes: &[u8], most: usize, text: impl Fn(&str) -> String) -> String {
    let mut out = String::new();
    for chunk in bytes.utf8_chunks() {
        out.push_str(&text(chunk.valid()));
        out.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    match out.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", out.get(..end).unwrap_or_default()),
        None => out,
    }
}

fn shown_array(array: &Array) -> String {
    let first: Vec<_> = array.iter().take(SHOWN).map(|value| shown(&value)).collect();
    let more = if array.len() > SHOWN { ", …" } else { "" };
    format!("[{}{more}] ({} of {:?})", first.join(", "), array.len(), array.kind())
}
