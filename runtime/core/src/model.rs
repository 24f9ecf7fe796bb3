//! Opening a model: which architecture it is, and what it can do.

use crate::models::bert::{self, Bert};
use crate::models::clip::{self, Clip};
use crate::models::llama::{self, Llama};
use crate::models::vit::{self, Vit};
use crate::source::Source;
use crate::{KvType, LoadError, Options, RunError};
use alloc::boxed::Box;
use alloc::string::String;
use smidgen_gguf::Gguf;

/// A checked model whose weights lie in the files that it was parsed from.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Model<'a> {
    /// The llama family.
    Llama(Box<Llama<'a>>),
    /// The BERT family.
    Bert(Box<Bert<'a>>),
    /// Vision transformers.
    Vit(Box<Vit<'a>>),
    /// Towers that see and read.
    Clip(Box<Clip<'a>>),
}

impl<'a> Model<'a> {
    /// The values of `general.architecture` that are supported.
    pub const ARCHITECTURES: &'static [&'static str] =
        &[llama::ARCHITECTURE, bert::ARCHITECTURE, vit::ARCHITECTURE, clip::ARCHITECTURE];

    /// Checks hyper-parameters and tensors of a model in one file, or in the parts of a split one, in order. Weights are not copied
    /// and, but for the norms, not read.
    ///
    /// # Errors
    /// All variants of [`LoadError`].
    pub fn parse(files: &[Gguf<'a>]) -> Result<Model<'a>, LoadError> {
        let source = Source::new(files)?;
        let name = source.get("general.architecture").and_then(|v| v.as_str()).ok_or(LoadError::NoArchitecture)?;
        match name {
            llama::ARCHITECTURE => Ok(Model::Llama(Box::new(Llama::parse(&source)?))),
            bert::ARCHITECTURE => Ok(Model::Bert(Box::new(Bert::parse(&source)?))),
            vit::ARCHITECTURE => Ok(Model::Vit(Box::new(Vit::parse(&source)?))),
            clip::ARCHITECTURE => Ok(Model::Clip(Box::new(Clip::parse(&source)?))),
            _ => Err(LoadError::UnknownArchitecture { name: name.chars().take(64).collect::<String>() }),
        }
    }

    /// `general.architecture`.
    pub fn architecture(&self) -> &'static str {
        match self {
            Model::Llama(_) => llama::ARCHITECTURE,
            Model::Bert(_) => bert::ARCHITECTURE,
            Model::Vit(_) => vit::ARCHITECTURE,
            Model::Clip(_) => clip::ARCHITECTURE,
        }
    }

    /// Number of tokens that the model knows; 0 for one that does not read.
    pub fn vocabulary(&self) -> usize {
        match self {
            Model::Llama(model) => model.config.vocabulary,
            Model::Bert(model) => model.config.vocabulary,
            Model::Clip(model) => model.text.as_ref().map_or(0, |text| text.config.vocabulary),
            Model::Vit(_) => 0,
        }
    }

    /// Tokens that the model was trained to look back on; 0 for one that does not read.
    pub fn context(&self) -> usize {
        match self {
            Model::Llama(model) => model.config.context,
            Model::Bert(model) => model.config.context,
            Model::Clip(model) => model.text.as_ref().map_or(0, |text| text.config.context),
            Model::Vit(_) => 0,
        }
    }

    /// The model, if it writes text.
    pub(crate) fn generator(&self) -> Result<&Llama<'a>, RunError> {
        match self {
            Model::Llama(model) => Ok(model),
            _ => Err(RunError::Purpose { architecture: self.architecture(), purpose: "write text" }),
        }
    }

    /// The model, if it embeds or classifies texts.
    ///
    /// # Errors
    /// [`RunError::Purpose`].
    pub fn text_encoder(&self) -> Result<&Bert<'a>, RunError> {
        match self {
            Model::Bert(model) => Ok(model),
            Model::Clip(model) => model.text_encoder(),
            _ => Err(RunError::Purpose { architecture: self.architecture(), purpose: "embed text" }),
        }
    }

    /// The model, if it sees.
    ///
    /// # Errors
    /// [`RunError::Purpose`].
    pub fn image_encoder(&self) -> Result<&Vit<'a>, RunError> {
        match self {
            Model::Vit(model) => Ok(model),
            Model::Clip(model) => model.image_encoder(),
            _ => Err(RunError::Purpose { architecture: self.architecture(), purpose: "take images" }),
        }
    }

    /// Bytes of memory that a session of one sequence takes beside the weights: the cache for `context` tokens, and scratch memory for
    /// `batch` tokens at a time. [`Options::bytes_needed`] counts several sequences.
    ///
    /// # Errors
    /// [`RunError::ContextTooLarge`] if the number overflows or the context is longer than [`crate::MAX_CONTEXT`]; [`RunError::Purpose`] for a
    /// model that does not write text.
    pub fn bytes_needed(&self, context: usize, kv: KvType, batch: usize) -> Result<usize, RunError> {
        Options { kv, batch, ..Options::new(context) }.bytes_needed(self)
    }
}
