//! `smidgen embed`.

use crate::args::{EmbedArgs, Ids};
use crate::{Outcome, open, progress, tell};
use serde_json::json;
use smidgen::encoder::Pooling;
use smidgen::encoder::text::{Options, Session, Text, TextEncoder};
use smidgen::tokenizer::Tokenizer;
use smidgen_host::ThreadPool;
use std::fmt::{self, Display, Formatter};
use std::io::{BufWriter, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

/// Texts that are tokenized and embedded between two steps of the progress bar.
const STEP: usize = 64;
/// Fewer texts than this are embedded without a progress bar.
const MANY: usize = 256;

/// The names of the texts for messages, and their bytes.
struct Inputs {
    unit: &'static str,
    texts: Vec<Input>,
}

/// What is embedded.
enum Input {
    Text(Vec<u8>),
    Ids(Vec<u32>),
}

impl Display for Input {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self {
            Input::Text(text) => f.write_str(&String::from_utf8_lossy(text)),
            Input::Ids(ids) => write!(f, "{ids:?}"),
        }
    }
}

pub(crate) fn embed(args: &EmbedArgs) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let kernels = open::kernels(&args.machine)?;
    let inputs = inputs(args)?;
    let file = open::file(&args.model)?;
    let parts = open::parts(&file)?;
    let model = open::model(&file, &parts)?;
    let model = model.text_encoder().map_err(|error| format!("{}: {error}", args.model.display()))?;
    let tokenizer = open::tokenizer(&file, &parts)?;
    let pool = open::pool(&args.threads)?;
    let session = Session::new(model, &Options::default(), kernels)?;
    let mut embedder = Embedder { session, tokenizer, pool, width: model.width(), failed: false };
    match &args.similarity {
        Some(_) if model.config.pooling == Pooling::None => {
            return Err(format!(
                "{}: --similarity needs one embedding for each text, but this model gives one for each token",
                args.model.display()
            )
            .into());
        }
        Some(query) => embedder.rank(query, &inputs, args.json)?,
        None => embedder.print(&inputs, args.json || std::io::stdout().is_terminal(), model.config.pooling)?,
    }
    Ok(if embedder.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The texts that were given: words, or the lines of a file or of stdin.
fn inputs(args: &EmbedArgs) -> Result<Inputs, Box<dyn std::error::Error>> {
    let lines = |bytes: Vec<u8>| {
        // A file without a byte has no line, one with a newline has an empty one.
        if bytes.is_empty() {
            return Vec::new();
        }
        let bytes = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        bytes.split(|byte| *byte == b'\n').map(|line| Input::Text(line.to_vec())).collect::<Vec<_>>()
    };
    if let Some(Ids(ids)) = &args.tokens {
        return Ok(Inputs { unit: "--tokens", texts: vec![Input::Ids(ids.clone())] });
    }
    let texts = match (&args.file, args.text.as_slice()) {
        (Some(path), _) if path != Path::new("-") => lines(open::file_bytes(path)?),
        (None, [first, rest @ ..]) if first != "-" || !rest.is_empty() => {
            let texts = args.text.iter().map(|text| Input::Text(text.clone().into_bytes())).collect();
            return Ok(Inputs { unit: "text", texts });
        }
        _ => lines(open::stdin_bytes()?),
    };
    Ok(Inputs { unit: "line", texts })
}

struct Embedder<'m, 'a> {
    session: Session<'m, 'a>,
    tokenizer: Tokenizer<'a>,
    pool: ThreadPool,
    width: usize,
    /// Whether an input failed.
    failed: bool,
}

impl Embedder<'_, '_> {
    /// The tokens of an input; if it has an error, that is printed and there are none.
    fn text(&mut self, model: &TextEncoder, name: &str, input: &Input) -> Text {
        let bytes = match input {
            Input::Text(bytes) => bytes,
            Input::Ids(ids) => return Text { tokens: ids.clone(), second: ids.len(), uncut: ids.len() },
        };
        let text = std::str::from_utf8(bytes)
            .map_err(|error| format!("the text is not UTF-8 at byte {}", error.valid_up_to()))
            .and_then(|text| model.text(&self.tokenizer, text, None).map_err(|error| error.to_string()));
        match text {
            Ok(text) if text.is_cut() => {
                let (kept, all) = (text.tokens.len(), text.uncut);
                tell(format_args!("smidgen: {name}: the text is truncated to the first {kept} of its {all} tokens\n"));
                text
            }
            Ok(text) => text,
            Err(error) => {
                tell(format_args!("smidgen: {name}: {error}\n"));
                self.failed = true;
                Text::default()
            }
        }
    }

    /// Calls `each` with the number and the embedding of every input in order, none for one that failed, whose error is printed.
    fn run(&mut self, inputs: &Inputs, mut each: impl FnMut(usize, Option<&[f32]>) -> Outcome) -> Outcome {
        let bar = (inputs.texts.len() >= MANY).then(|| progress::bar(inputs.texts.len() as u64, "texts"));
        let model = self.session.model();
        for (step, part) in inputs.texts.chunks(STEP).enumerate() {
            let first = step * STEP;
            let name = |i: usize| format!("{} {}", inputs.unit, first + i + 1);
            let texts: Vec<Text> = part.iter().enumerate().map(|(i, text)| self.text(model, &name(i), text)).collect();
            let (mut outcome, failed, session) = (Ok(()), &mut self.failed, &mut self.session);
            self.pool.enter(|pool| {
                session.embed(&texts, pool, |i, embedding| {
                    if let Err(error) = &embedding {
                        // Inputs without tokens have been told already.
                        if !texts.get(i).is_none_or(|text| text.tokens.is_empty()) {
                            tell(format_args!("smidgen: {}: {error}\n", name(i)));
                        }
                        *failed = true;
                    }
                    if outcome.is_ok() {
                        outcome = each(first + i, embedding.ok());
                    }
                });
            });
            outcome?;
            if let Some(bar) = &bar {
                bar.inc(part.len() as u64);
            }
        }
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        Ok(())
    }

    /// Prints every embedding: as a JSON array, or as its bytes.
    fn print(&mut self, inputs: &Inputs, json: bool, pooling: Pooling) -> Outcome {
        let mut out = BufWriter::new(std::io::stdout().lock());
        let width = self.width;
        self.run(inputs, |_, embedding| {
            match (embedding, json) {
                (Some(values), true) if pooling == Pooling::None => {
                    let rows: Vec<&[f32]> = values.chunks(width).collect();
                    writeln!(out, "{}", serde_json::to_string(&rows)?)?;
                }
                (Some(values), true) => writeln!(out, "{}", serde_json::to_string(values)?)?,
                (None, true) => writeln!(out, "null")?,
                (Some(values), false) => values.iter().try_for_each(|x| out.write_all(&x.to_le_bytes()))?,
                // What failed keeps its place.
                (None, false) => (0..width).try_for_each(|_| out.write_all(&f32::NAN.to_le_bytes()))?,
            }
            Ok(())
        })?;
        out.flush()?;
        Ok(())
    }

    /// Prints the inputs by their similarity to a query, best first; of equal ones the earlier.
    fn rank(&mut self, query: &str, inputs: &Inputs, json: bool) -> Outcome {
        let mut wanted = Vec::new();
        let of_query = Inputs { unit: "--similarity", texts: vec![Input::Text(query.as_bytes().to_vec())] };
        self.run(&of_query, |_, embedding| {
            wanted.extend_from_slice(embedding.unwrap_or_default());
            Ok(())
        })?;
        if self.failed {
            return Ok(());
        }
        let mut ranked = Vec::new();
        self.run(inputs, |number, embedding| {
            ranked.extend(embedding.map(|embedding| (cosine(&wanted, embedding), number)));
            Ok(())
        })?;
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let mut out = BufWriter::new(std::io::stdout().lock());
        for (similarity, number) in ranked {
            let text = inputs.texts.get(number).map(Input::to_string).unwrap_or_default();
            if json {
                writeln!(out, "{}", json!({ "text": text, "similarity": similarity, "number": number + 1 }))?;
            } else {
                writeln!(out, "{similarity:.6}\t{text}")?;
            }
        }
        out.flush()?;
        Ok(())
    }
}

/// The cosine of the angle between two embeddings; 0 if one of them is zero.
fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let lengths = (dot(a, a) * dot(b, b)).sqrt();
    if lengths > 0.0 { dot(a, b) / lengths } else { 0.0 }
}
