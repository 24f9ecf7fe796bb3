//! Images through the model, many at a time.

use super::batch::{self, Batch, Passes, Place, panels};
use super::image::{Head, ImageEncoder, Pooling};
use crate::activations::{Activations, Quantized};
use crate::exec::{Exec, Precision};
use crate::frontend::image::Planes;
use crate::linear::Linear;
use crate::memory::zeroed;
use crate::{RunError, TensorName};
use alloc::vec::Vec;
use smidgen_quant::{InputFormat, ops};
use smidgen_targets::{KernelSet, Pool};

/// What a session is to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Tokens that pass through the model at once, about: enough always for an image of the size that the model was trained for.
    pub tokens: usize,
    /// How products with weights are computed.
    pub precision: Precision,
}

impl Default for Options {
    /// 1,024 tokens, products by the law.
    fn default() -> Options {
        Options { tokens: 1024, precision: Precision::Law }
    }
}

/// A model at work.
///
/// The same image gives the same bits whatever the others are, whichever kernels and threads compute them.
#[derive(Debug)]
pub struct Session<'m, 'a> {
    model: &'m ImageEncoder<'a>,
    kernels: &'static KernelSet,
    precision: Precision,
    batch: Batch,
    /// Embeddings of positions for grids of other sizes than the last image's too.
    grids: Vec<Grid>,
    /// Pixels by patch. `[tokens × channels · patch · patch]`
    pixels: Vec<f32>,
    /// What the convolution makes of them. `[tokens × width]`
    embedded: Vec<f32>,
    /// Features of the images of a pass. `[images × width]`
    pooled: Vec<f32>,
    /// `[images × outputs of the product before the last]`
    dense: Vec<f32>,
    /// `[images × outputs]`
    scores: Vec<f32>,
    /// `[images × outputs]`
    second: Vec<f32>,
    quantized: Quantized,
}

/// Embeddings of positions for a grid of patches.
#[derive(Debug)]
struct Grid {
    columns: usize,
    rows: usize,
    /// `[prefix + rows · columns × width]`
    embeddings: Vec<f32>,
}

/// Grids that are kept from pass to pass.
const GRIDS: usize = 8;

/// What is asked of an image.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    Tokens,
    Features,
    Scores,
}

impl<'m, 'a> Session<'m, 'a> {
    /// Allocates memory for passes.
    ///
    /// # Errors
    /// [`RunError::OptionRange`] for zero tokens, [`RunError::OutOfMemory`].
    pub fn new(
        model: &'m ImageEncoder<'a>,
        options: &Options,
        kernels: &'static KernelSet,
    ) -> Result<Session<'m, 'a>, RunError> {
        if options.tokens == 0 {
            return Err(RunError::OptionRange { option: "tokens", value: 0.0 });
        }
        let config = &model.config;
        let own = config.tokens(config.image, config.image);
        let tokens = options.tokens.max(own);
        let images = tokens / own.min(tokens);
        let panels = tokens.div_ceil(own) * panels(own);
        let refused = RunError::OutOfMemory { bytes: usize::MAX };
        let of = |values: usize, count: usize| values.checked_mul(count).ok_or(refused.clone());
        let outputs = |linear: Option<&Linear>| linear.map_or(0, |linear| linear.weight.rows());
        let head = model.head.as_ref();
        let dense = outputs(head.and_then(|head| head.dense.as_ref()));
        let uses = |form| model.heads().any(|linear| linear.weight.format().input_format() == form);
        Ok(Session {
            model,
            kernels,
            precision: options.precision,
            batch: Batch::new(&model.encoder, tokens, panels, images)?,
            grids: Vec::new(),
            pixels: zeroed(of(tokens, model.patches.weight.cols())?)?,
            embedded: zeroed(of(tokens, model.width())?)?,
            pooled: zeroed(of(images, model.width())?)?,
            dense: zeroed(of(images, dense)?)?,
            scores: zeroed(of(images, outputs(head.map(|head| &head.output)))?)?,
            second: zeroed(of(images, outputs(head.and_then(|head| head.second.as_ref())))?)?,
            quantized: Quantized::new(
                of(images, model.width().max(dense))?,
                uses(InputFormat::Q8),
                uses(InputFormat::Q8K),
            )?,
        })
    }

    /// The model.
    pub fn model(&self) -> &'m ImageEncoder<'a> {
        self.model
    }

    /// Calls `each` with the number and the features of every image, in order: [`ImageEncoder::width`] values. An image that has none is an error
    /// of its own: [`RunError::ImageSize`], [`RunError::ContextFull`] for one of more tokens than the session holds, [`RunError::NotFinite`],
    /// [`RunError::OutOfMemory`].
    pub fn features(&mut self, images: &[Planes], pool: &dyn Pool, each: impl FnMut(usize, Result<&[f32], RunError>)) {
        batch::run(self, images, pool, Want::Features, each);
    }

    /// As [`features`](Self::features), with all of an image's tokens after the last norm, one after another.
    pub fn tokens(&mut self, images: &[Planes], pool: &dyn Pool, each: impl FnMut(usize, Result<&[f32], RunError>)) {
        batch::run(self, images, pool, Want::Tokens, each);
    }

    /// As [`features`](Self::features), with the scores (logits) of every image: as many as the head has outputs. [`RunError::Purpose`] where
    /// there is no head.
    pub fn classify(&mut self, images: &[Planes], pool: &dyn Pool, each: impl FnMut(usize, Result<&[f32], RunError>)) {
        batch::run(self, images, pool, Want::Scores, each);
    }

    /// Makes the tokens that go into the layers.
    fn embed(&mut self, exec: &Exec, images: &[Planes]) {
        let model = self.model;
        let (width, prefix, side) = (model.width(), model.config.prefix, model.config.patch);
        let tokens = self.batch.tokens();
        let Session { batch, grids, pixels, embedded, quantized, .. } = self;
        let ((places, states), grids) = (batch.states(), grids.as_slice());
        // Before the patches of image `i` are those of `i` others, which have tokens that are of no patch too.
        let first_patch = |i: usize| places[i].start - i * prefix;
        let inputs = model.patches.weight.cols();
        let pixels = &mut pixels[..(tokens - places.len() * prefix) * inputs];
        exec.rows(pixels, inputs, |number, row| {
            let i = first_at(places.len(), |i| first_patch(i) <= number);
            let (patch, image) = (number - first_patch(i), &images[places[i].input]);
            let columns = image.width / side;
            let first = patch / columns * side * image.width + patch % columns * side;
            let planes = image.values.chunks_exact(image.width * image.height);
            for (plane, to) in planes.zip(row.chunks_exact_mut(side * side)) {
                for (from, to) in plane[first..].chunks(image.width).zip(to.chunks_exact_mut(side)) {
                    to.copy_from_slice(&from[..side]);
                }
            }
            exec.check(row);
        });
        let embedded = &mut embedded[..pixels.len() / inputs * width];
        model.patches.apply(exec, &mut Activations::new(pixels, inputs, quantized), embedded);
        exec.rows(states, width, |t, row| {
            let i = first_at(places.len(), |i| places[i].start <= t);
            let (token, image) = (t - places[i].start, &images[places[i].input]);
            let from = match token.checked_sub(prefix) {
                None => &model.prefix[token * width..][..width],
                Some(patch) => &embedded[(first_patch(i) + patch) * width..][..width],
            };
            row.copy_from_slice(from);
            // There is one since the image was checked.
            if let Some(grid) = grids.iter().find(|grid| grid.is_for(image, side)) {
                (exec.kernels.add)(row, &grid.embeddings[token * width..][..width]);
            }
            if let Some(norm) = &model.pre_norm {
                norm.apply(exec, row);
            }
            exec.check(row);
        });
    }

    /// Features of the images of a pass; with [`Pooling::First`] from the token of this number.
    fn pool(&mut self, exec: &Exec, token: usize, pooling: Pooling) {
        let model = self.model;
        let (width, prefix) = (model.width(), model.config.prefix);
        let (places, states) = self.batch.states();
        let states = &*states;
        exec.rows(&mut self.pooled[..places.len() * width], width, |i, row| {
            let Place { start, len, .. } = places[i];
            let state = |t: usize| &states[(start + t) * width..][..width];
            match pooling {
                Pooling::First => row.copy_from_slice(state(token)),
                Pooling::Mean => {
                    row.fill(0.0);
                    (prefix..len).for_each(|t| (exec.kernels.add)(row, state(t)));
                    let factor = 1.0 / (len - prefix) as f32;
                    row.iter_mut().for_each(|x| *x *= factor);
                }
            }
            exec.check(row);
        });
    }

    /// Scores of the images of a pass.
    fn score(&mut self, exec: &Exec, head: &Head) {
        let (images, width) = (self.batch.places.len(), self.model.width());
        if let Some(linear) = &head.second {
            self.pool(exec, 1, Pooling::First);
            let pooled = &self.pooled[..images * width];
            linear.apply(exec, &mut Activations::new(pooled, width, &mut self.quantized), &mut self.second);
        }
        self.pool(exec, 0, self.model.config.pooling);
        let (mut input, mut cols) = (&self.pooled[..images * width], width);
        if let Some(dense) = &head.dense {
            let outputs = dense.weight.rows();
            let out = &mut self.dense[..images * outputs];
            let mut input_of = Activations::new(input, cols, &mut self.quantized);
            dense.apply_then(exec, &mut input_of, out, |row| head.activation.apply(exec, row));
            (input, cols) = (out, outputs);
        }
        head.output.apply(exec, &mut Activations::new(input, cols, &mut self.quantized), &mut self.scores);
        if head.second.is_some() {
            ops::add(&mut self.scores, &self.second);
            self.scores.iter_mut().for_each(|score| *score *= 0.5);
        }
    }
}

/// The last of `count` sorted things that `starts` before a place; the first starts before all.
fn first_at(count: usize, starts: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, count);
    while high - low > 1 {
        let middle = low.midpoint(high);
        if starts(middle) { low = middle } else { high = middle }
    }
    low
}

impl Grid {
    /// Whether an image with patches of this side has such a grid.
    fn is_for(&self, image: &Planes, side: usize) -> bool {
        (self.columns, self.rows) == (image.width / side, image.height / side)
    }
}

impl Passes for Session<'_, '_> {
    type Input = Planes;
    type Want = Want;

    fn batch(&mut self) -> &mut Batch {
        &mut self.batch
    }

    fn clear(&mut self) {
        self.batch.clear();
        if self.grids.len() > GRIDS {
            self.grids.clear();
        }
    }

    fn check(&mut self, image: &Planes, want: Want) -> Result<usize, RunError> {
        let model = self.model;
        let Planes { width, height, ref values } = *image;
        if want == Want::Scores && model.head.is_none() {
            let purpose = "classify: it has no head";
            return Err(RunError::Purpose { architecture: model.architecture, purpose });
        }
        let expected = width.checked_mul(height).and_then(|area| area.checked_mul(model.config.channels));
        if width.min(height) < model.config.patch || expected != Some(values.len()) {
            return Err(RunError::ImageSize { width, height, bytes: size_of_val(values.as_slice()) });
        }
        let (tokens, (context, room)) = (model.config.tokens(width, height), self.batch.room());
        if tokens > context || panels(tokens) > room {
            return Err(RunError::ContextFull { context, used: 0, tokens });
        }
        let side = model.config.patch;
        if self.grids.iter().any(|grid| grid.is_for(image, side)) {
            return Ok(tokens);
        }
        let (columns, rows) = (width / side, height / side);
        let embeddings = model.position_embeddings(columns, rows)?;
        self.grids.try_reserve(1).map_err(|_| RunError::OutOfMemory { bytes: size_of::<Grid>() })?;
        self.grids.push(Grid { columns, rows, embeddings });
        Ok(tokens)
    }

    fn pass(&mut self, images: &[Planes], pool: &dyn Pool, want: Want) -> bool {
        let (model, exec) = (self.model, Exec::new(self.kernels, pool, self.precision));
        self.embed(&exec, images);
        if self.batch.layers(&model.encoder, model.post_norm.as_ref(), &exec) {
            match &model.head {
                Some(head) if want == Want::Scores => self.score(&exec, head),
                _ if want == Want::Features => self.pool(&exec, 0, model.config.pooling),
                _ => {}
            }
        }
        exec.is_finite()
    }

    fn result(&mut self, number: usize, want: Want) -> &[f32] {
        let model = self.model;
        let (width, outputs) = (model.width(), model.head.as_ref().map_or(0, |head| head.output.weight.rows()));
        match want {
            Want::Scores => &self.scores[number * outputs..][..outputs],
            Want::Features => &self.pooled[number * width..][..width],
            Want::Tokens => {
                let Place { start, len, .. } = self.batch.places[number];
                &self.batch.states().1[start * width..][..len * width]
            }
        }
    }

    fn first_not_finite(&self) -> Option<TensorName> {
        self.model.first_not_finite()
    }
}
