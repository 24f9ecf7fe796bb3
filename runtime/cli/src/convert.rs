//! `smidgen convert`, `quantize`, `pack` and `unpack`.

use crate::args::{ConvertArgs, PackArgs, QuantizeArgs};
use crate::{Outcome, progress, tell};
use indicatif::ProgressBar;
use smidgen_host::{Clamped, Direction, Fate, Field, Options};
use std::io::{self, Write};
use std::path::Path;

/// Writes a checkpoint as a GGUF file.
pub(crate) fn convert(args: &ConvertArgs) -> Outcome {
    if smidgen_host::is_tflite(&args.input) && (args.kind.is_some() || args.pack || args.clamp || args.explain) {
        return Err(format!(
            "{}: a TensorFlow Lite file keeps its types and has no other files; leave out --type, --pack, --clamp and --explain",
            args.input.display()
        )
        .into());
    }
    if args.explain {
        explain(&args.input)?;
    }
    let Some(output) = &args.output else { return Ok(()) };
    check_output(&args.input, output)?;
    let inside = output.parent().and_then(|parent| parent.canonicalize().ok()) == args.input.canonicalize().ok();
    if inside && output.exists() && output.extension().is_none_or(|extension| extension != "gguf") {
        return Err(format!("{}: this file is part of the input; name another file", output.display()).into());
    }
    let options = Options { mixture: args.kind, packed: args.pack, clamp: args.clamp };
    tell_clamped(with_bar(|report| smidgen_host::convert(&args.input, output, options, report))?);
    Ok(())
}

/// Prints what becomes of each field.
fn explain(input: &Path) -> Outcome {
    let mut out = io::stdout().lock();
    for Field { file, path, value, fate } in smidgen_host::explain(input)? {
        let fate = match fate {
            Fate::Used => "used".to_owned(),
            Fate::Harmless(reason) => format!("left out: {reason}"),
            _ => "not known: the conversion is refused".to_owned(),
        };
        writeln!(out, "{file}\t{path}\t{value}\t{fate}")?;
    }
    Ok(())
}

/// Writes a model in other formats.
pub(crate) fn quantize(args: &QuantizeArgs) -> Outcome {
    let input = crate::open::resolve(&args.input)?;
    check_output(&input, &args.output)?;
    let options = Options { mixture: Some(args.kind), packed: args.pack, clamp: args.clamp };
    tell_clamped(with_bar(|report| smidgen_host::quantize(&input, &args.output, options, report))?);
    Ok(())
}

/// Writes a file packed or unpacked.
pub(crate) fn pack(args: &PackArgs, direction: Direction) -> Outcome {
    check_output(&args.input, &args.output)?;
    let total = std::fs::metadata(&args.input).map_or(0, |input| input.len());
    with_bar(|report| smidgen_host::pack(&args.input, &args.output, direction, &mut |bytes| report(bytes, total)))?;
    Ok(())
}

/// Checks that the output replaces neither the input nor something that is not a regular file.
fn check_output(input: &Path, output: &Path) -> Outcome {
    if let (Ok(input), Ok(found)) = (input.canonicalize(), output.canonicalize()) {
        if input == found {
            return Err(format!("{}: this is the input itself; name another file", output.display()).into());
        }
        if !found.is_file() {
            return Err(format!("{}: this is not a regular file; name another", output.display()).into());
        }
    }
    Ok(())
}

/// Says how many weights were clamped, if some were.
fn tell_clamped(clamped: Clamped) {
    let Clamped { weights, tensors } = clamped;
    if weights > 0 {
        tell(format_args!(
            "smidgen: weights clamped to the largest that their format holds: {weights}, in tensors: {tensors}\n"
        ));
    }
}

/// Runs a job that reports bytes done and in all.
fn with_bar<T>(
    job: impl FnOnce(&mut dyn FnMut(u64, u64)) -> Result<T, smidgen_host::Error>,
) -> Result<T, smidgen_host::Error> {
    let bar: ProgressBar = progress::bytes(0);
    let done = job(&mut |bytes, total| {
        bar.set_length(total);
        bar.set_position(bytes);
    });
    bar.finish_and_clear();
    done
}
