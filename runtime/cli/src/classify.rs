//! `smidgen classify`.

use crate::args::ClassifyArgs;
use crate::{Outcome, open, progress, tell};
use serde_json::json;
use smidgen::encoder::Head;
use smidgen::encoder::{image, text};
use smidgen::tokenizer::Tokenizer;
use smidgen::{Model, Problem, Similarity};
use smidgen_gguf::Gguf;
use smidgen_host::{Picture, ThreadPool, is_image};
use smidgen_targets::KernelSet;
use std::error::Error;
use std::ffi::OsString;
use std::io::{self, BufWriter, StdoutLock, Write};
use std::path::Path;
use std::process::ExitCode;

/// Inputs that are classified between two steps of the progress bar.
const STEP: usize = 32;
/// Fewer inputs than this are classified without a progress bar.
const MANY: usize = 64;

/// Bytes as aligned as those of a mapped file.
#[repr(align(64))]
struct Aligned<B>(B);

/// The built-in classifier, for calls without a model; `examples/train` made it.
static DEFAULT: Aligned<[u8; include_bytes!("../assets/vit-cifar10.gguf").len()]> =
    Aligned(*include_bytes!("../assets/vit-cifar10.gguf"));

pub(crate) fn classify(args: &ClassifyArgs) -> Result<ExitCode, Box<dyn Error>> {
    let kernels = open::kernels(&args.machine)?;
    let pool = open::pool(&args.threads)?;
    let Some((first, rest)) = args.words.split_first() else { return Err("no INPUT: give an image".into()) };
    let first = Path::new(first);
    if is_image(first) {
        let parts = [Gguf::parse(&DEFAULT.0)?];
        let model = Model::parse(&parts)?;
        return images(model.image_encoder()?, kernels, pool, args, &args.words);
    }
    if rest.is_empty() {
        let first = first.display();
        return Err(
            format!("{first}: this is no image; without a MODEL, an INPUT must be a JPEG, PNG or WebP file").into()
        );
    }
    let file = open::file(first)?;
    let parts = open::parts(&file)?;
    let model = open::model(&file, &parts)?;
    if let Some(similarity) = model.similarity {
        let fitting = Fitting::new(&model, similarity, &open::tokenizer(&file, &parts)?, kernels, &pool, args)
            .map_err(|error| format!("{}: {error}", first.display()))?;
        return fitting.images(kernels, pool, args, rest);
    }
    if let Ok(model) = model.text_encoder() {
        return texts(model, open::tokenizer(&file, &parts)?, kernels, pool, args, rest);
    }
    let model = model.image_encoder().map_err(|error| format!("{}: {error}", first.display()))?;
    images(model, kernels, pool, args, rest)
}

/// Logits of an input, or the reason why there are none.
type Answer = Result<Vec<f32>, String>;

fn images(
    model: &image::ImageEncoder,
    kernels: &'static KernelSet,
    pool: ThreadPool,
    args: &ClassifyArgs,
    inputs: &[OsString],
) -> Result<ExitCode, Box<dyn Error>> {
    let head = model.head.as_ref().ok_or("the model has no classifier, only features")?;
    let mut session = image::Session::new(model, &image::Options::default(), kernels)?;
    let mut printer = Printer::of_model(args, head);
    printer.all(inputs, |part| scores(&mut session, &pool, part))
}

/// The outputs of the model's head for image files.
fn scores(session: &mut image::Session, pool: &ThreadPool, paths: &[OsString]) -> Vec<Answer> {
    let mut answers = Vec::with_capacity(paths.len());
    let (mut planes, mut places) = (Vec::new(), Vec::new());
    for (place, path) in paths.iter().enumerate() {
        match seen(session.model(), Path::new(path)) {
            Ok(image) => {
                planes.push(image);
                places.push(place);
                answers.push(Ok(Vec::new()));
            }
            Err(error) => answers.push(Err(error)),
        }
    }
    pool.enter(|pool| {
        session.classify(&planes, pool, |i, logits| {
            if let Some(answer) = places.get(i).and_then(|place| answers.get_mut(*place)) {
                *answer = logits.map(<[f32]>::to_vec).map_err(|error| error.to_string());
            }
        });
    });
    answers
}

/// Texts that images are compared with.
struct Fitting<'m, 'a> {
    similarity: Similarity,
    vision: &'m image::ImageEncoder<'a>,
    labels: Vec<String>,
    /// One for each label.
    embeddings: Vec<Vec<f32>>,
}

impl<'m, 'a> Fitting<'m, 'a> {
    /// Embeds the labels, each put into the template.
    fn new(
        model: &'m Model<'a>,
        similarity: Similarity,
        tokenizer: &Tokenizer,
        kernels: &'static KernelSet,
        pool: &ThreadPool,
        args: &ClassifyArgs,
    ) -> Result<Fitting<'m, 'a>, Box<dyn Error>> {
        let vision = model.image_encoder()?;
        vision.head.as_ref().ok_or("the model has no classifier, only features")?;
        let reads = model.text_encoder()?;
        let given = args.labels.as_deref().ok_or("this model compares images with texts; give them by --labels")?;
        let labels = labels_as_texts(given)?;
        let text = |label: &String| reads.text(tokenizer, &args.template.replace("{}", label), None);
        let texts = labels.iter().map(text).collect::<Result<Vec<_>, _>>()?;
        let mut session = text::Session::new(reads, &text::Options::default(), kernels)?;
        let (mut embeddings, mut failed) = (Vec::with_capacity(texts.len()), None);
        pool.enter(|pool| {
            session.embed(&texts, pool, |i, embedding| match embedding {
                Ok(embedding) => embeddings.push(embedding.to_vec()),
                Err(error) => failed = failed.take().or(Some((i, error))),
            });
        });
        match failed {
            Some((i, error)) => Err(format!("--labels: {:?}: {error}", labels.get(i)).into()),
            None => Ok(Fitting { similarity, vision, labels, embeddings }),
        }
    }

    /// Classifies images by how well every text fits.
    fn images(
        &self,
        kernels: &'static KernelSet,
        pool: ThreadPool,
        args: &ClassifyArgs,
        inputs: &[OsString],
    ) -> Result<ExitCode, Box<dyn Error>> {
        let mut session = image::Session::new(self.vision, &image::Options::default(), kernels)?;
        let mut printer = Printer::new(args, self.labels.clone(), Problem::SingleLabel);
        let fit = |image: Vec<f32>| self.embeddings.iter().map(|text| self.similarity.score(&image, text)).collect();
        printer
            .all(inputs, |part| scores(&mut session, &pool, part).into_iter().map(|answer| answer.map(fit)).collect())
    }
}

/// Labels between commas, or the lines of a file.
fn labels_as_texts(given: &Path) -> Result<Vec<String>, Box<dyn Error>> {
    let list = given.to_str().filter(|list| list.contains(',') && !given.exists());
    let labels: Vec<String> = match list {
        Some(list) => list.split(',').map(|label| label.trim().to_owned()).collect(),
        None => open::file_text(given)?.lines().map(str::to_owned).collect(),
    };
    if labels.is_empty() {
        return Err(format!("--labels {}: the file has no lines", given.display()).into());
    }
    Ok(labels)
}

/// An image file as the model takes it. The error does not name the file.
fn seen(model: &image::ImageEncoder, path: &Path) -> Result<smidgen::frontend::image::Planes, String> {
    let picture = Picture::read(path).map_err(|error| {
        let text = error.to_string();
        text.strip_prefix(&format!("{}: ", path.display())).map(str::to_owned).unwrap_or(text)
    })?;
    picture.image().and_then(|image| model.planes(&image)).map_err(|error| error.to_string())
}

fn texts(
    model: &text::TextEncoder,
    tokenizer: Tokenizer,
    kernels: &'static KernelSet,
    pool: ThreadPool,
    args: &ClassifyArgs,
    inputs: &[OsString],
) -> Result<ExitCode, Box<dyn Error>> {
    let head = model.head.as_ref().ok_or("the model has no classifier, only embeddings")?;
    let mut session = text::Session::new(model, &text::Options::default(), kernels)?;
    let mut printer = Printer::of_model(args, head);
    printer.all(inputs, |part| {
        let mut answers = Vec::with_capacity(part.len());
        let (mut texts, mut places) = (Vec::new(), Vec::new());
        for (place, input) in part.iter().enumerate() {
            let text = input.to_str().ok_or_else(|| "the text is not UTF-8".to_owned());
            let text = text.and_then(|text| model.text(&tokenizer, text, None).map_err(|error| error.to_string()));
            match text {
                Ok(text) => {
                    texts.push(text);
                    places.push(place);
                    answers.push(Ok(Vec::new()));
                }
                Err(error) => answers.push(Err(error)),
            }
        }
        pool.enter(|pool| {
            session.classify(&texts, pool, |i, logits| {
                if let Some(answer) = places.get(i).and_then(|place| answers.get_mut(*place)) {
                    *answer = logits.map(<[f32]>::to_vec).map_err(|error| error.to_string());
                }
            });
        });
        answers
    })
}

struct Printer<'w> {
    args: &'w ClassifyArgs,
    labels: Vec<String>,
    problem: Problem,
    out: BufWriter<StdoutLock<'w>>,
    /// Whether an input failed.
    failed: bool,
}

impl Printer<'_> {
    /// Prints results of a model's classifier. For a file of labels that does not fit, an error is printed and the model's own are used.
    fn of_model<'w>(args: &'w ClassifyArgs, head: &Head) -> Printer<'w> {
        let (own, outputs) = (&head.labels, head.output.weight.rows());
        let named = args.labels.as_deref().map(|path| labels(path, outputs)).transpose();
        let failed = named.is_err();
        if let Err(error) = &named {
            tell(format_args!("smidgen: --labels {error}\n"));
        }
        let labels = match named.ok().flatten() {
            Some(labels) => labels,
            None if own.len() == outputs => own.clone(),
            None => (0..outputs).map(|number| number.to_string()).collect(),
        };
        Printer { failed, ..Printer::new(args, labels, head.problem) }
    }

    /// Prints results in these labels' order.
    fn new(args: &ClassifyArgs, labels: Vec<String>, problem: Problem) -> Printer<'_> {
        Printer { args, labels, problem, out: BufWriter::new(io::stdout().lock()), failed: false }
    }

    /// Classifies all inputs, some at a time.
    fn all(
        &mut self,
        inputs: &[OsString],
        mut ask: impl FnMut(&[OsString]) -> Vec<Answer>,
    ) -> Result<ExitCode, Box<dyn Error>> {
        let bar = (inputs.len() >= MANY).then(|| progress::bar(inputs.len() as u64, "inputs"));
        for part in inputs.chunks(STEP) {
            for (input, answer) in part.iter().zip(ask(part)) {
                self.print(&input.to_string_lossy(), &answer)?;
            }
            if let Some(bar) = &bar {
                bar.inc(part.len() as u64);
            }
        }
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        self.out.flush()?;
        Ok(if self.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    fn print(&mut self, input: &str, answer: &Answer) -> Outcome {
        let logits = match answer {
            Ok(logits) => logits,
            Err(error) => {
                tell(format_args!("smidgen: {input}: {error}\n"));
                self.failed = true;
                if self.args.json {
                    writeln!(self.out, "{}", json!({ "input": input, "error": error }))?;
                }
                return Ok(());
            }
        };
        let mut ranked: Vec<_> = self.problem.probabilities(logits).into_iter().zip(&self.labels).collect();
        // Of equals the first.
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
        ranked.truncate(self.args.top.get());
        let logits = self.args.logits.then_some(logits);
        if self.args.json {
            let (probabilities, labels): (Vec<f64>, Vec<&String>) = ranked.into_iter().unzip();
            let mut object = json!({ "input": input, "labels": labels, "probabilities": probabilities });
            if let (Some(object), Some(logits)) = (object.as_object_mut(), logits) {
                object.insert("logits".into(), json!(logits));
            }
            writeln!(self.out, "{object}")?;
            return Ok(());
        }
        for (probability, label) in ranked {
            writeln!(self.out, "{input}\t{label}\t{probability:.4}")?;
        }
        if let Some(logits) = logits {
            writeln!(self.out, "{input}\tlogits\t{}", serde_json::to_string(logits)?)?;
        }
        Ok(())
    }
}

/// One label from each line of a file, as many as there are outputs.
fn labels(path: &Path, outputs: usize) -> Result<Vec<String>, Box<dyn Error>> {
    let labels: Vec<String> = open::file_text(path)?.lines().map(str::to_owned).collect();
    if labels.len() != outputs {
        let (path, found) = (path.display(), labels.len());
        return Err(format!(
            "{path}: the file has {found} lines, but the model has {outputs} classes; write one line for each"
        )
        .into());
    }
    Ok(labels)
}
