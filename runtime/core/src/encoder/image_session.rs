//! Images through the model, many at a time.

use super::batch::Place;
use super::image::ImageEncoder;
use super::session::{self, Asked, Front};
use super::{Encoder, Head, Pooling};
use crate::RunError;
use crate::activations::{Activations, Quantized};
use crate::blocks::Norm;
use crate::exec::{Exec, Precision};
use crate::frontend::image::Planes;
use crate::linear::Linear;
use crate::memory::{try_reserve, zeroed};
use alloc::vec::Vec;
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

/// A model at work. Everything is allocated when it is made, but for embeddings of positions.
///
/// The same image gives the same bits whatever the others are, whichever kernels and threads compute them.
#[derive(Debug)]
pub struct Session<'m, 'a>(session::Session<Images<'m, 'a>>);

/// The front end.
#[derive(Debug)]
struct Images<'m, 'a> {
    model: &'m ImageEncoder<'a>,
    /// Embeddings of positions for the grids of the pass and of some before it.
    grids: Vec<Grid>,
    /// Pixels by token; zeros for tokens that are of no patch. `[tokens × channels · patch · patch]`
    pixels: Vec<f32>,
    /// Nothing: a convolution's input is not rounded.
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
        let own = model.config.tokens(model.config.image, model.config.image);
        let pixels = options.tokens.max(own).checked_mul(model.patches.weight.cols());
        let front = Images {
            model,
            grids: Vec::new(),
            pixels: zeroed(pixels.ok_or(RunError::OutOfMemory { bytes: usize::MAX })?)?,
            quantized: Quantized::new(0, false, false)?,
        };
        let asked = [scores(model).ok()];
        session::Session::new(front, [options.tokens, own, own], &asked, options.precision, kernels).map(Session)
    }

    /// The model.
    pub fn model(&self) -> &'m ImageEncoder<'a> {
        self.0.front.model
    }

    /// Calls `each` with the number and the features of every image, in order: [`ImageEncoder::width`] values. An image that has none is an error
    /// of its own: [`RunError::ImageSize`], [`RunError::ContextFull`] for one of more tokens than the session holds, [`RunError::NotFinite`],
    /// [`RunError::OutOfMemory`].
    pub fn features(&mut self, images: &[Planes], pool: &dyn Pool, each: impl FnMut(usize, Result<&[f32], RunError>)) {
        self.0.run(images, pool, Ok(Asked::states(self.model().config.pooling)), each);
    }

    /// As [`features`](Self::features), with all of an image's tokens after the last norm, one after another.
    pub fn tokens(&mut self, images: &[Planes], pool: &dyn Pool, each: impl FnMut(usize, Result<&[f32], RunError>)) {
        self.0.run(images, pool, Ok(Asked::states(Pooling::None)), each);
    }

    /// As [`features`](Self::features), with the scores (logits) of every image: as many as the head has outputs. [`RunError::Purpose`] where
    /// there is no head.
    pub fn classify(&mut self, images: &[Planes], pool: &dyn Pool, each: impl FnMut(usize, Result<&[f32], RunError>)) {
        self.0.run(images, pool, scores(self.model()), each);
    }
}

fn scores<'m>(model: &'m ImageEncoder) -> Result<Asked<'m>, RunError> {
    Asked::scores(model.config.pooling, model.head.as_ref(), model.architecture)
}

impl Front for Images<'_, '_> {
    type Input = Planes;

    fn layers(&self) -> (&Encoder<'_>, Option<&Norm>) {
        (&self.model.encoder, self.model.post_norm.as_ref())
    }

    fn tokens(&self, image: &Planes) -> Result<usize, RunError> {
        let config = &self.model.config;
        let Planes { width, height, ref values } = *image;
        let expected = width.checked_mul(height).and_then(|area| area.checked_mul(config.channels));
        if width.min(height) < config.patch || expected != Some(values.len()) {
            return Err(RunError::ImageSize { width, height, bytes: size_of_val(values.as_slice()) });
        }
        Ok(config.tokens(width, height))
    }

    fn clear(&mut self) {
        if self.grids.len() > GRIDS {
            self.grids.clear();
        }
    }

    fn prepare(&mut self, image: &Planes) -> Result<(), RunError> {
        let side = self.model.config.patch;
        if !self.grids.iter().any(|grid| grid.is_for(image, side)) {
            let (columns, rows) = (image.width / side, image.height / side);
            let embeddings = self.model.position_embeddings(columns, rows)?;
            try_reserve(&mut self.grids, 1)?;
            self.grids.push(Grid { columns, rows, embeddings });
        }
        Ok(())
    }

    /// The convolution of patches, and the tokens before them, with the embeddings of positions, normalized if the model does so.
    fn fill(&mut self, images: &[Planes], places: &[Place], states: &mut [f32], exec: &Exec) {
        let Images { model, grids, pixels, quantized } = self;
        let (width, prefix, side) = (model.width(), model.config.prefix, model.config.patch);
        let inputs = model.patches.weight.cols();
        let pixels = &mut pixels[..states.len() / width * inputs];
        exec.rows(pixels, inputs, |t, row| {
            let (number, token) = Place::of(places, t);
            let (image, Some(patch)) = (&images[number], token.checked_sub(prefix)) else { return row.fill(0.0) };
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
        model.patches.apply(exec, &mut Activations::new(pixels, inputs, quantized), states);
        exec.rows(states, width, |t, row| {
            let (number, token) = Place::of(places, t);
            if token < prefix {
                row.copy_from_slice(&model.prefix[token * width..][..width]);
            }
            // There is one since the image was prepared.
            if let Some(grid) = grids.iter().find(|grid| grid.is_for(&images[number], side)) {
                (exec.kernels.add)(row, &grid.embeddings[token * width..][..width]);
            }
            if let Some(norm) = &model.pre_norm {
                norm.apply(exec, row);
            }
            exec.check(row);
        });
    }

    fn matrices(&self) -> impl Iterator<Item = &Linear<'_>> {
        let model = self.model;
        let products = model.encoder.products().chain(model.head.iter().flat_map(Head::products));
        [&model.patches, &model.positions].into_iter().chain(products)
    }
}

impl Grid {
    /// Whether an image with patches of this side has such a grid.
    fn is_for(&self, image: &Planes, side: usize) -> bool {
        (self.columns, self.rows) == (image.width / side, image.height / side)
    }
}
