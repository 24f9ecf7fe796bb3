//! A decoder as data: what families fill in and the one forward pass runs.

use crate::activations::Activations;
use crate::blocks::{Layer, Mixer, Norm, Outliers, Pairs, Rope, Scratch, Stack};
use crate::exec::Exec;
use crate::linear::{Linear, decode_parts};
use crate::probe::Operation;
use crate::session::state::{HASH, hash};
use crate::session::{Entry, Input};
use crate::{RunError, TensorName};
use alloc::vec::Vec;
use smidgen_quant::activation::K_BLOCK;
use smidgen_quant::{InputFormat, math, ops};
use smidgen_targets::WeightMatrix;

/// A model that writes text.
#[derive(Clone, Debug)]
pub struct Decoder<'a> {
    /// Tokens that the model was trained on at once.
    pub context: usize,
    /// `[vocabulary × width]`
    pub embedding: WeightMatrix<'a>,
    /// Factor of embeddings.
    pub embedding_scale: Option<f32>,
    /// Of embeddings.
    pub embedding_norm: Option<Norm>,
    /// Embeddings of positions, where they are learned. `[positions × width]`
    pub positions: Option<WeightMatrix<'a>>,
    /// Rotations, of which a layer names its own.
    pub ropes: Vec<Rope>,
    /// One after another.
    pub layers: Vec<Layer<'a>>,
    /// Factor of what blocks add to the residual stream.
    pub residual_scale: Option<f32>,
    /// Of the residual stream after the last layer.
    pub output_norm: Norm,
    /// `[vocabulary × width]`; the embedding's rows if the file has no head of its own.
    pub head: Linear<'a>,
    /// Factor of logits.
    pub logit_scale: Option<f32>,
    /// See [`ops::softcap`].
    pub logit_softcap: Option<f32>,
}

impl<'a> Decoder<'a> {
    /// Values of a token in the residual stream.
    pub fn width(&self) -> usize {
        self.embedding.cols()
    }

    /// Tokens that the model knows.
    pub fn vocabulary(&self) -> usize {
        self.embedding.rows()
    }

    /// Values of keys and of values that a cache holds of each token.
    pub fn values_per_token(&self) -> usize {
        self.layers.iter().map(Layer::slot).map(|slot| slot.heads * (slot.key + slot.value)).sum()
    }

    pub(crate) fn stack(&self) -> Stack<'_, 'a> {
        Stack {
            width: self.width(),
            layers: &self.layers,
            ropes: &self.ropes,
            residual_scale: self.residual_scale,
            outliers: Outliers::default(),
            one_slot: false,
        }
    }

    /// All products.
    pub fn products(&self) -> impl Iterator<Item = &Linear<'a>> {
        self.layers.iter().flat_map(Layer::products).chain([&self.head])
    }

    /// Which rounded activations the head takes: of [`InputFormat::Q8`], of [`InputFormat::Q8K`].
    pub(crate) fn head_formats(&self) -> [bool; 2] {
        [InputFormat::Q8, InputFormat::Q8K].map(|form| self.head.weight.format().input_format() == form)
    }

    /// Writes what goes into the layers for an entry at a position. `[width]`
    pub(crate) fn embed(&self, exec: &Exec, entry: &Entry, position: u32, row: &mut [f32]) {
        match entry.input {
            Input::Token(token) => {
                decode_parts(&self.embedding, token as usize, &mut [0.0; K_BLOCK], |first, part| {
                    row[first..first + part.len()].copy_from_slice(part);
                });
                if let Some(factor) = self.embedding_scale {
                    ops::scale(row, factor);
                }
            }
            Input::Embedding { values, .. } => row.copy_from_slice(values),
        }
        if let Some(positions) = &self.positions {
            decode_parts(positions, position as usize, &mut [0.0; K_BLOCK], |first, part| {
                ops::add(&mut row[first..], part);
            });
        }
        if let Some(norm) = &self.embedding_norm {
            norm.apply(exec, row);
        }
        exec.check(row);
    }

    /// Whether an entry can be computed at a position.
    pub(crate) fn check(&self, entry: &Entry, position: u32) -> Result<(), RunError> {
        let (vocabulary, width) = (self.vocabulary(), self.width());
        match entry.input {
            Input::Token(token) if token as usize >= vocabulary => {
                return Err(RunError::TokenRange { token, vocabulary });
            }
            Input::Embedding { values, .. } if values.len() != width => {
                return Err(RunError::EmbeddingWidth { expected: width, found: values.len() });
            }
            _ => {}
        }
        match &self.positions {
            Some(table) if position as usize >= table.rows() => {
                Err(RunError::PositionRange { position, positions: table.rows() })
            }
            _ => Ok(()),
        }
    }

    /// The residual stream of some tokens of a pass, after the last norm. `[tokens × width]`
    pub(crate) fn hidden(&self, exec: &Exec, scratch: &mut Scratch, tokens: &[usize], out: &mut [f32]) {
        let (width, (x, _, _)) = (self.width(), scratch.output());
        exec.rows(out, width, |i, row| {
            row.copy_from_slice(&x[tokens[i] * width..][..width]);
            self.output_norm.apply(exec, row);
            exec.check(row);
        });
    }

    /// The logits of some tokens of a pass. `[tokens × vocabulary]`
    pub(crate) fn logits(&self, exec: &Exec, scratch: &mut Scratch, tokens: &[usize], out: &mut [f32]) {
        let (width, (x, normed, quantized)) = (self.width(), scratch.output());
        let normed = &mut normed[..tokens.len() * width];
        exec.rows(normed, width, |i, row| {
            row.copy_from_slice(&x[tokens[i] * width..][..width]);
            self.output_norm.apply(exec, row);
        });
        exec.tell(|| Operation::new("norms"));
        let (scale, softcap) = (self.logit_scale, self.logit_softcap);
        self.head.apply_then(exec, &mut Activations::new(normed, width, quantized), out, |row| {
            if let Some(factor) = scale {
                ops::scale(row, factor);
            }
            if let Some(cap) = softcap {
                (exec.kernels.softcap)(row, cap);
            }
        });
    }

    /// A number that another model hardly has: a hash of what the cache of a session of this context depends on, weights by a few of them from each
    /// matrix. It is the same for a plain and a packed file. States are known by it again, so it stays what it was for models that were there before:
    /// what a model may have beside is only hashed where it has it.
    pub(crate) fn fingerprint(&self, context: usize) -> u64 {
        const ROWS: usize = 5;
        let Some(Layer { mixer: Mixer::Attention(first), .. }) = self.layers.first() else { return HASH };
        let extents = [self.layers.len(), first.heads, first.kv_heads, first.key, self.vocabulary()];
        let mut sum = extents.into_iter().fold(HASH, |sum, extent| hash(sum, &(extent as u64).to_le_bytes()));
        let norms = self.layers.iter().flat_map(Layer::norms).map(|norm| &norm.weight[..]);
        let frequencies = self.ropes.iter().map(|rope| rope.frequencies(context));
        for value in norms.chain(frequencies).flatten() {
            sum = hash(sum, &value.to_le_bytes());
        }
        let products = self.products().map(|linear| &linear.weight);
        for weight in core::iter::once(&self.embedding).chain(products).chain(&self.positions) {
            let mut start = [0; 256];
            for row in (0..weight.rows()).step_by(weight.rows().div_ceil(ROWS).max(1)) {
                sum = hash(sum, weight.blocks(row, 0, &mut start));
            }
        }
        // A switch by its number and its place, and what it is set to.
        let mut switch = |number: u64, place: usize, set: Option<u64>| {
            for word in set.into_iter().flat_map(|set| [number | (place as u64) << 8, set]) {
                sum = hash(sum, &word.to_le_bytes());
            }
        };
        let float = |value: f32| u64::from(value.to_bits());
        for (number, factor) in [(1, self.embedding_scale), (2, self.residual_scale)] {
            switch(number, 0, factor.map(float));
        }
        for (at, rope) in self.ropes.iter().enumerate() {
            switch(3, at, (rope.magnitude != 1.0).then_some(float(rope.magnitude)));
            switch(4, at, (rope.pairs == Pairs::Halves).then_some(0));
        }
        for (at, layer) in self.layers.iter().enumerate() {
            let Mixer::Attention(attention) = &layer.mixer;
            switch(5, at, layer.parallel.then_some(0));
            switch(6, at, attention.window.map(|window| window as u64));
            switch(7, at, attention.softcap.map(float));
            switch(8, at, (attention.rope != Some(0)).then_some(attention.rope.map_or(0, |rope| rope as u64 + 1)));
            switch(9, at, attention.norm_turned.then_some(0));
            switch(10, at, (attention.value != attention.key).then_some(attention.value as u64));
            let scale = 1.0 / math::sqrt(attention.key as f32);
            switch(11, at, (attention.scale != scale).then_some(float(attention.scale)));
            let biases = layer.norms().chain(&self.embedding_norm).flat_map(|norm| &norm.bias);
            let heads =
                attention.q_norm.iter().chain(&attention.k_norm).flat_map(|norm| norm.weight.iter().chain(&norm.bias));
            let lists = attention.sinks.iter().chain(&attention.slopes);
            biases.chain(heads).chain(lists).for_each(|value| switch(12, at, Some(float(*value))));
        }
        sum
    }

    /// The first tensor with a weight that is not finite. Reads all weights.
    pub(crate) fn first_not_finite(&self) -> Option<TensorName> {
        let table = |weight: &WeightMatrix<'a>, part| {
            let name = TensorName { layer: None, part };
            Linear { name, weight: *weight, bias: Vec::new(), unrounded: Vec::new() }
        };
        let embedding = table(&self.embedding, "token_embd.weight");
        let positions = self.positions.as_ref().map(|positions| table(positions, "position_embd.weight"));
        let mut all = core::iter::once(&embedding).chain(&positions).chain(self.products());
        all.find(|linear| !linear.is_finite()).map(|linear| linear.name)
    }
}
