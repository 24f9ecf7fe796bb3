//! `smidgen listen`.

use crate::args::ListenArgs;
use crate::{Outcome, open, tell};
use serde_json::json;
use smidgen::frontend::audio::{Frontend, SAMPLE_RATE};
use smidgen::models::micro::{Step, WakeWord};
use smidgen_host::Sound;
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
        listener.hear_all(Sound::stream(io::stdin().lock(), Path::new("stdin"))?)?;
    } else {
        listener.hear_all(Sound::open(source)?)?;
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
    fn hear_all(&mut self, mut sound: Sound<impl Read>) -> Outcome {
        loop {
            let samples = sound.samples()?;
            if samples.is_empty() {
                break;
            }
            self.hear(samples)?;
        }
        if let Some(note) = sound.cut_off() {
            tell(format_args!("smidgen: {note}\n"));
        }
        Ok(())
    }

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
                    detected(self.args, ear, step, self.heard)?;
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
fn detected(args: &ListenArgs, ear: &Ear<'_>, step: Step, heard: u64) -> Outcome {
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
