//! `smidgen listen`.

use crate::args::ListenArgs;
use crate::{Outcome, open};
use hound::{SampleFormat, WavReader};
use serde_json::json;
use smidgen::frontend::audio::{Frontend, SAMPLE_RATE};
use smidgen::models::micro::{Step, WakeWord};
use std::io::{self, Read, Write};
use std::path::Path;

/// A model that listens.
struct Ear<'a> {
    word: WakeWord<'a>,
    name: String,
    arena: Vec<u8>,
    outputs: Vec<u8>,
}

pub(crate) fn listen(args: &ListenArgs) -> Outcome {
    let Some((source, models)) = args.words.split_last() else { return Err("no FILE: give a MODEL and a FILE".into()) };
    let files = models.iter().map(|model| open::file(model)).collect::<Result<Vec<_>, _>>()?;
    let parts = files.iter().map(open::parts).collect::<Result<Vec<_>, _>>()?;
    let mut ears = Vec::new();
    for ((file, parts), path) in files.iter().zip(&parts).zip(models) {
        let first = parts.first().ok_or("no file")?;
        let mut word = WakeWord::parse(first).map_err(|error| open::named(file, error))?;
        if word.window().is_none() && !args.steps {
            let path = path.display();
            let without = "has no micro.probability_cutoff, so it detects nothing";
            return Err(format!("{path}: {without}; convert it with its .json beside it, or give --steps").into());
        }
        let mut arena = vec![0; word.model().arena_len()];
        word.reset(&mut arena)?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let name = word.word().map_or_else(|| stem.into_owned(), str::to_owned);
        ears.push(Ear { word, name, arena, outputs: Vec::new() });
    }
    let mut listener = Listener { args, ears, frontend: Frontend::new(), heard: 0 };
    if source == Path::new("-") {
        let mut stdin = io::stdin().lock();
        let (mut bytes, mut filled) = (vec![0; 8192], 0);
        loop {
            let read = stdin.read(&mut bytes[filled..]).map_err(|error| format!("stdin: {error}"))?;
            if read == 0 {
                break;
            }
            filled += read;
            let (whole, rest) = bytes.get(..filled).unwrap_or_default().as_chunks();
            let samples: Vec<i16> = whole.iter().map(|sample| i16::from_le_bytes(*sample)).collect();
            let (done, rest) = (whole.len() * 2, rest.len());
            listener.hear(&samples)?;
            // Half a sample waits for its other half.
            bytes.copy_within(done.., 0);
            filled = rest;
        }
    } else {
        let samples = wav(source).map_err(|error| format!("{}: {error}", source.display()))?;
        listener.hear(&samples)?;
    }
    listener.end()
}

struct Listener<'a> {
    args: &'a ListenArgs,
    ears: Vec<Ear<'a>>,
    frontend: Frontend,
    /// Samples.
    heard: u64,
}

impl Listener<'_> {
    fn hear(&mut self, mut samples: &[i16]) -> Outcome {
        while !samples.is_empty() {
            let (taken, features) = self.frontend.push(samples);
            samples = samples.get(taken..).unwrap_or_default();
            self.heard += taken as u64;
            let Some(features) = features else { continue };
            for ear in &mut self.ears {
                let Some(step) = ear.word.hear(&features, &mut ear.arena)? else { continue };
                if self.args.steps {
                    ear.outputs.push(step.output);
                } else if step.heard {
                    tell(self.args, ear, step, self.heard)?;
                }
            }
        }
        Ok(())
    }

    fn end(self) -> Outcome {
        let mut out = io::stdout().lock();
        for ear in self.ears.iter().filter(|_| self.args.steps) {
            writeln!(out, "{}", serde_json::to_string(&ear.outputs)?)?;
        }
        Ok(())
    }
}

/// Prints a detection. Stdout passes lines on as they are written.
fn tell(args: &ListenArgs, ear: &Ear<'_>, step: Step, heard: u64) -> Outcome {
    let window = ear.word.window().unwrap_or(1);
    let probability = f64::from(step.sum.unwrap_or(0)) / (256 * window) as f64;
    let time = heard as f64 / SAMPLE_RATE as f64;
    let mut out = io::stdout().lock();
    if args.json {
        let detection = json!({ "word": ear.name, "time_s": time, "probability": probability, "step": step.number });
        writeln!(out, "{detection}")?;
    } else {
        writeln!(out, "{time:.2}\t{}\t{probability:.3}", ear.name)?;
    }
    Ok(())
}

/// The samples of a file. The error does not name it.
fn wav(path: &Path) -> Result<Vec<i16>, String> {
    let bytes = open::file_bytes(path).map_err(|error| {
        let text = error.to_string();
        text.strip_prefix(&format!("{}: ", path.display())).map(str::to_owned).unwrap_or(text)
    })?;
    samples(&bytes)
}

/// The samples in the bytes of a WAV file, as `smidgen listen` takes them. The error does not name the file.
///
/// # Errors
/// What is wrong with the file, in words.
pub fn samples(bytes: &[u8]) -> Result<Vec<i16>, String> {
    let told = |error: hound::Error| match error {
        hound::Error::IoError(_) => format!("the WAV file is truncated after {} bytes", bytes.len()),
        hound::Error::FormatError(reason) => format!("not a readable WAV file: {reason}"),
        error => format!("not a readable WAV file: {error}"),
    };
    let mut reader = WavReader::new(bytes).map_err(told)?;
    let spec = reader.spec();
    let found = (spec.sample_rate, spec.channels, spec.bits_per_sample, spec.sample_format);
    if (spec.sample_rate as usize, found.1, found.2, found.3) != (SAMPLE_RATE, 1, 16, SampleFormat::Int) {
        let kind = if spec.sample_format == SampleFormat::Float { "floating-point" } else { "integer" };
        return Err(format!(
            "has {} samples per second, {} channels, {} bits ({kind}); {SAMPLE_RATE}, 1 channel, 16 bits (integer) are taken",
            found.0, found.1, found.2
        ));
    }
    if reader.len() == 0 {
        return Err("the WAV file has no samples".into());
    }
    reader.samples().collect::<Result<_, _>>().map_err(told)
}
