//! Images through the model, many at a time.

use super::{ARCHITECTURE, Head, Pooling, Vit};
use crate::Error;
use crate::frontend::image::Planes;
use crate::linear::{Activations, Linear, Machine, Precision, Quantized};
use crate::memory::{with_room, zeroed};
use crate::models::encoder::{Scratch, panels};
use alloc::vec::Vec;
use smidgen_quant::{Activation as Form, ops};
use smidgen_targets::{Kernels, Pool};

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
    model: &'m Vit<'a>,
    kernels: &'static Kernels,
    precision: Precision,
    scratch: Scratch,
    /// The images of a pass.
    places: Vec<Place>,
    /// Their lengths in tokens.
    lengths: Vec<usize>,
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

/// One image in a pass.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Number of the image.
    image: usize,
    /// Its first token in the pass.
    start: usize,
    /// Its first patch in the pass.
    first_patch: usize,
    /// Number of its grid.
    grid: usize,
}

/// What is asked of an image.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Want {
    Tokens,
    Features,
    Scores,
}

impl<'m, 'a> Session<'m, 'a> {
    /// Allocates memory for passes.
    ///
    /// # Errors
    /// [`Error::OptionRange`] for zero tokens, [`Error::OutOfMemory`].
    pub fn new(model: &'m Vit<'a>, options: &Options, kernels: &'static Kernels) -> Result<Session<'m, 'a>, Error> {
        if options.tokens == 0 {
            return Err(Error::OptionRange { option: "tokens", value: 0.0 });
        }
        let config = &model.config;
        let own = config.tokens(config.image, config.image);
        let tokens = options.tokens.max(own);
        let images = tokens / own.min(tokens);
        let panels = tokens.div_ceil(own) * panels(own);
        let refused = Error::OutOfMemory { bytes: usize::MAX };
        let of = |values: usize, count: usize| values.checked_mul(count).ok_or(refused.clone());
        let outputs = |linear: Option<&Linear>| linear.map_or(0, |linear| linear.weight.rows());
        let head = model.head.as_ref();
        let dense = outputs(head.and_then(|head| head.dense.as_ref()));
        let uses = |form| model.heads().any(|linear| linear.weight.format().activation() == form);
        Ok(Session {
            model,
            kernels,
            precision: options.precision,
            scratch: Scratch::new(&model.encoder, tokens, panels)?,
            places: with_room(images)?,
            lengths: with_room(images)?,
            grids: Vec::new(),
            pixels: zeroed(of(tokens, model.patches.weight.cols())?)?,
            embedded: zeroed(of(tokens, model.width())?)?,
            pooled: zeroed(of(images, model.width())?)?,
            dense: zeroed(of(images, dense)?)?,
            scores: zeroed(of(images, outputs(head.map(|head| &head.output)))?)?,
            second: zeroed(of(images, outputs(head.and_then(|head| head.second.as_ref())))?)?,
            quantized: Quantized::new(of(images, model.width().max(dense))?, uses(Form::Q8), uses(Form::Q8K))?,
        })
    }

    /// Calls `each` with the number and the features of every image, in order: [`Vit::width`] values. An image that has none is an error
    /// of its own: [`Error::ImageSize`], [`Error::ContextFull`] for one of more tokens than the session holds, [`Error::NotFinite`],
    /// [`Error::OutOfMemory`].
    pub fn features(&mut self, images: &[Planes], pool: &dyn Pool, each: impl FnMut(usize, Result<&[f32], Error>)) {
        self.run(images, pool, Want::Features, each);
    }

    /// As [`features`](Self::features), with all of an image's tokens after the last norm, one after another.
    pub fn tokens(&mut self, images: &[Planes], pool: &dyn Pool, each: impl FnMut(usize, Result<&[f32], Error>)) {
        self.run(images, pool, Want::Tokens, each);
    }

    /// As [`features`](Self::features), with the scores (logits) of every image: as many as the head has outputs. [`Error::Purpose`] where
    /// there is no head.
    pub fn classify(&mut self, images: &[Planes], pool: &dyn Pool, each: impl FnMut(usize, Result<&[f32], Error>)) {
        self.run(images, pool, Want::Scores, each);
    }

    fn run(
        &mut self,
        images: &[Planes],
        pool: &dyn Pool,
        want: Want,
        mut each: impl FnMut(usize, Result<&[f32], Error>),
    ) {
        let mut next = 0;
        while next < images.len() {
            let first = next;
            next = self.fill(images, first, want);
            let finite = self.pass(images, pool, want);
            let mut done = 0;
            for number in first..next {
                if let Err(error) = self.check(&images[number], want) {
                    each(number, Err(error));
                } else if finite {
                    each(number, Ok(self.result(done, want)));
                    done += 1;
                } else {
                    // One of the images spoils the pass: each is asked by itself.
                    self.fill(&images[..=number], number, want);
                    if self.pass(images, pool, want) {
                        each(number, Ok(self.result(0, want)));
                    } else {
                        each(number, Err(Error::NotFinite { tensor: self.model.first_not_finite() }));
                    }
                }
            }
        }
    }

    /// The number of the grid of an image that can be run.
    fn check(&mut self, image: &Planes, want: Want) -> Result<usize, Error> {
        let model = self.model;
        let Planes { width, height, ref values } = *image;
        if want == Want::Scores && model.head.is_none() {
            return Err(Error::Purpose { architecture: ARCHITECTURE, purpose: "classify: it has no head" });
        }
        let expected = width.checked_mul(height).and_then(|area| area.checked_mul(model.config.channels));
        if width.min(height) < model.config.patch || expected != Some(values.len()) {
            return Err(Error::ImageSize { width, height, bytes: size_of_val(values.as_slice()) });
        }
        let (tokens, (context, room)) = (model.config.tokens(width, height), self.scratch.room());
        if tokens > context || panels(tokens) > room {
            return Err(Error::ContextFull { context, used: 0, tokens });
        }
        let (columns, rows) = (width / model.config.patch, height / model.config.patch);
        if let Some(known) = self.grids.iter().position(|grid| (grid.columns, grid.rows) == (columns, rows)) {
            return Ok(known);
        }
        let embeddings = model.position_embeddings(columns, rows)?;
        self.grids.try_reserve(1).map_err(|_| Error::OutOfMemory { bytes: size_of::<Grid>() })?;
        self.grids.push(Grid { columns, rows, embeddings });
        Ok(self.grids.len() - 1)
    }

    /// Fills a pass with images from number `first` on, those that cannot be run left out. Returns the number of the first that is not
    /// looked at yet.
    fn fill(&mut self, images: &[Planes], first: usize, want: Want) -> usize {
        let (tokens, room) = self.scratch.room();
        let (mut start, mut used, mut patches) = (0, 0, 0);
        self.places.clear();
        self.lengths.clear();
        if self.grids.len() > GRIDS {
            self.grids.clear();
        }
        let most = self.pooled.len() / self.model.width();
        for (number, image) in images.iter().enumerate().skip(first) {
            let Ok(grid) = self.check(image, want) else { continue };
            let len = self.model.config.tokens(image.width, image.height);
            if start + len > tokens || used + panels(len) > room || self.places.len() == most {
                return number;
            }
            self.places.push(Place { image: number, start, first_patch: patches, grid });
            self.lengths.push(len);
            start += len;
            used += panels(len);
            patches += len - self.model.config.prefix;
        }
        images.len()
    }

    /// Runs the images of a pass. Whether all numbers are finite.
    fn pass(&mut self, images: &[Planes], pool: &dyn Pool, want: Want) -> bool {
        let machine = Machine::new(self.kernels, pool, self.precision);
        let tokens: usize = self.lengths.iter().sum();
        if tokens == 0 {
            return true;
        }
        self.embed(&machine, images, tokens);
        let model = self.model;
        if machine.is_finite() {
            self.scratch.pass(&model.encoder, &machine, &self.lengths);
        }
        if machine.is_finite() {
            if let Some(norm) = &model.post_norm {
                let states = self.scratch.states(&model.encoder, tokens);
                machine.rows(states, model.width(), |_, row| {
                    norm.apply(&machine, model.encoder.config.epsilon, row);
                    machine.check(row);
                });
            }
            match &model.head {
                Some(head) if want == Want::Scores => self.score(&machine, head),
                _ if want == Want::Features => self.pool(&machine, 0, model.config.pooling),
                _ => {}
            }
        }
        machine.is_finite()
    }

    /// Makes the tokens that go into the layers.
    fn embed(&mut self, machine: &Machine, images: &[Planes], tokens: usize) {
        let model = self.model;
        let (width, prefix, side) = (model.width(), model.config.prefix, model.config.patch);
        let Session { places, grids, pixels, embedded, quantized, .. } = self;
        let (places, grids) = (places.as_slice(), grids.as_slice());
        let patches = tokens - places.len() * prefix;
        let inputs = model.patches.weight.cols();
        let pixels = &mut pixels[..patches * inputs];
        machine.rows(pixels, inputs, |number, row| {
            let place = places[places.partition_point(|place| place.first_patch <= number) - 1];
            let (patch, image, columns) = (number - place.first_patch, &images[place.image], grids[place.grid].columns);
            let first = patch / columns * side * image.width + patch % columns * side;
            let planes = image.values.chunks_exact(image.width * image.height);
            for (plane, to) in planes.zip(row.chunks_exact_mut(side * side)) {
                for (from, to) in plane[first..].chunks(image.width).zip(to.chunks_exact_mut(side)) {
                    to.copy_from_slice(&from[..side]);
                }
            }
            machine.check(row);
        });
        let embedded = &mut embedded[..patches * width];
        model.patches.apply(machine, &mut Activations::new(pixels, inputs, quantized), embedded);
        let states = self.scratch.states(&model.encoder, tokens);
        machine.rows(states, width, |t, row| {
            let number = places.partition_point(|place| place.start <= t) - 1;
            let place = places[number];
            let token = t - place.start;
            let from = match token.checked_sub(prefix) {
                None => &model.prefix[token * width..][..width],
                Some(patch) => &embedded[(place.first_patch + patch) * width..][..width],
            };
            row.copy_from_slice(from);
            (machine.kernels.add)(row, &grids[place.grid].embeddings[token * width..][..width]);
            if let Some(norm) = &model.pre_norm {
                norm.apply(machine, model.encoder.config.epsilon, row);
            }
            machine.check(row);
        });
    }

    /// Features of the images of a pass; with [`Pooling::First`] from the token of this number.
    fn pool(&mut self, machine: &Machine, token: usize, pooling: Pooling) {
        let model = self.model;
        let (width, prefix) = (model.width(), model.config.prefix);
        let (places, lengths) = (self.places.as_slice(), self.lengths.as_slice());
        let states: &[f32] = self.scratch.states(&model.encoder, lengths.iter().sum());
        machine.rows(&mut self.pooled[..places.len() * width], width, |i, row| {
            let state = |t: usize| &states[(places[i].start + t) * width..][..width];
            match pooling {
                Pooling::First => row.copy_from_slice(state(token)),
                Pooling::Mean => {
                    row.fill(0.0);
                    (prefix..lengths[i]).for_each(|t| (machine.kernels.add)(row, state(t)));
                    let factor = 1.0 / (lengths[i] - prefix) as f32;
                    row.iter_mut().for_each(|x| *x *= factor);
                }
            }
            machine.check(row);
        });
    }

    /// Scores of the images of a pass.
    fn score(&mut self, machine: &Machine, head: &Head) {
        let (images, width) = (self.places.len(), self.model.width());
        if let Some(linear) = &head.second {
            self.pool(machine, 1, Pooling::First);
            let pooled = &self.pooled[..images * width];
            linear.apply(machine, &mut Activations::new(pooled, width, &mut self.quantized), &mut self.second);
        }
        self.pool(machine, 0, self.model.config.pooling);
        let (mut input, mut cols) = (&self.pooled[..images * width], width);
        if let Some(dense) = &head.dense {
            let outputs = dense.weight.rows();
            let out = &mut self.dense[..images * outputs];
            let act = self.model.encoder.config.activation.kernel(machine);
            dense.apply_then(machine, &mut Activations::new(input, cols, &mut self.quantized), out, act);
            (input, cols) = (out, outputs);
        }
        head.output.apply(machine, &mut Activations::new(input, cols, &mut self.quantized), &mut self.scores);
        if head.second.is_some() {
            ops::add(&mut self.scores, &self.second);
            self.scores.iter_mut().for_each(|score| *score *= 0.5);
        }
    }

    /// What was asked of image `number` of the last pass.
    fn result(&mut self, number: usize, want: Want) -> &[f32] {
        let model = self.model;
        let (width, outputs) = (model.width(), model.head.as_ref().map_or(0, |head| head.output.weight.rows()));
        match want {
            Want::Scores => &self.scores[number * outputs..][..outputs],
            Want::Features => &self.pooled[number * width..][..width],
            Want::Tokens => {
                let (start, len) = (self.places[number].start, self.lengths[number]);
                &self.scratch.states(&model.encoder, start + len)[start * width..]
            }
        }
    }
}
