//! Models that read: embeddings of texts, sequence classifiers, and cross-encoders that rank pairs of texts (Reimers and Gurevych, "Sentence-BERT");
//! CLIP's tower, whose embeddings lie in one space with those of images.

use super::{Encoder, Head, Pooling};
use crate::RunError;
use crate::blocks::Norm;
use crate::linear::Linear;
use crate::memory::try_with_capacity;
use crate::tokenizer::{Special, Tokenizer};
use alloc::string::String;
use alloc::vec::Vec;

pub use super::text_session::{Options, Session};

/// Hyper-parameters beside the encoder's.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Tokens, from the shape of `token_embd.weight`.
    pub vocabulary: usize,
    /// `context_length`: positions that have an embedding.
    pub context: usize,
    /// `max_sequence_length`: tokens that a text is cut to, at most `context`.
    pub max_tokens: usize,
    /// Types of tokens: 2 where pairs of texts are told apart.
    pub types: usize,
    /// `pooling_type`: what of a text's tokens is its embedding.
    pub pooling: Pooling,
    /// `pooling_normalize`: whether embeddings are divided by their length.
    pub normalize: bool,
}

/// A model that reads.
#[derive(Clone, Debug)]
pub struct TextEncoder<'a> {
    /// Hyper-parameters.
    pub config: Config,
    /// `[vocabulary × width]`
    pub tokens: Linear<'a>,
    /// `[context × width]`
    pub positions: Linear<'a>,
    /// `[types × width]`, if there is more than nothing to add.
    pub types: Option<Linear<'a>>,
    /// Of the sum of the three; CLIP has none.
    pub norm: Option<Norm>,
    /// The layers.
    pub encoder: Encoder<'a>,
    /// Of what comes out of the layers, if there is one (CLIP).
    pub post_norm: Option<Norm>,
    /// From what is pooled of a text to its embedding, if there is a product between (CLIP). `[any × width]`
    pub projection: Option<Linear<'a>>,
    /// For classification, by a text's first token.
    pub head: Option<Head<'a>>,
    /// `general.architecture` of its file.
    pub(crate) architecture: &'static str,
}

/// The tokens of a text, or of a pair of texts, with their frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text {
    /// `[CLS]` a `[SEP]`, or `[CLS]` a `[SEP]` b `[SEP]`.
    pub tokens: Vec<u32>,
    /// Where the tokens of type 1 begin; the number of tokens if there are none.
    pub second: usize,
    /// Tokens that there would have been if the text had not been cut; otherwise their number.
    pub uncut: usize,
}

impl Text {
    /// Whether the text was too long and is cut.
    pub fn is_cut(&self) -> bool {
        self.uncut > self.tokens.len()
    }
}

impl<'a> TextEncoder<'a> {
    /// Values of an embedding.
    pub fn width(&self) -> usize {
        self.projection.as_ref().map_or(self.encoder.width, |linear| linear.weight.rows())
    }

    /// Names of the head's outputs, as many as there are scores or none; nothing if there is no head.
    pub fn labels(&self) -> Option<&[String]> {
        self.head.as_ref().map(|head| head.labels.as_slice())
    }

    /// Tokens of a text, or of a pair. What is longer than [`Config::max_tokens`] is cut at the end; of a pair, the longer text is.
    /// Special tokens that a text spells are found, as the models' own tokenizers do.
    ///
    /// # Errors
    /// [`RunError::Purpose`] for a pair where texts cannot be told apart or do not fit, or a tokenizer that is not for this model.
    pub fn text(&self, tokenizer: &Tokenizer, first: &str, second: Option<&str>) -> Result<Text, RunError> {
        let frame = if second.is_some() { 3 } else { 2 };
        let purpose = |purpose| RunError::Purpose { architecture: self.architecture, purpose };
        let (Some(start), Some(end)) = (tokenizer.bos(), tokenizer.eos()) else {
            return Err(purpose("read text: its tokenizer has no token for a text's beginning or end"));
        };
        if second.is_some() && self.config.types < 2 {
            return Err(purpose("compare two texts: its tokens have one type"));
        }
        let room = self.config.max_tokens.checked_sub(frame).ok_or(purpose("read text: its context is too short"))?;
        let mut a = tokenizer.encode(first, Special::Parse);
        let mut b = second.map(|text| tokenizer.encode(text, Special::Parse)).unwrap_or_default();
        let uncut = a.len() + b.len() + frame;
        if uncut - frame > room {
            // The longer loses tokens until both are as long, then each in turn.
            let half = room / 2;
            let (of_a, of_b) = match (a.len() > room - half, b.len() > half) {
                (true, true) => (room - half, half),
                (true, false) => (room - b.len(), b.len()),
                _ => (a.len(), room - a.len()),
            };
            a.truncate(of_a);
            b.truncate(of_b);
        }
        let mut tokens = try_with_capacity(a.len() + b.len() + frame)?;
        tokens.push(start);
        tokens.extend(a);
        tokens.push(end);
        let types_from = tokens.len();
        if second.is_some() {
            tokens.extend(b);
            tokens.push(end);
        }
        Ok(Text { second: types_from, tokens, uncut })
    }
}
