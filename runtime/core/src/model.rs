//! Opening a model: which architecture it is, and what it can do.

#[cfg(feature = "encoders")]
use crate::encoder::image::ImageEncoder;
#[cfg(feature = "encoders")]
use crate::encoder::text::TextEncoder;
use crate::source::Source;
use crate::{Decoder, Key, KvType, LoadError, Options, RunError, Similarity, families};
use alloc::boxed::Box;
use alloc::string::String;
use smidgen_gguf::Gguf;

/// A checked model whose weights lie in the files that it was parsed from: what it can do. Callers ask for an ability, and need not know the family.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Model<'a> {
    /// `general.architecture`.
    pub architecture: &'static str,
    /// What writes text.
    pub decoder: Option<Box<Decoder<'a>>>,
    /// What embeds or classifies texts.
    #[cfg(feature = "encoders")]
    pub text_encoder: Option<Box<TextEncoder<'a>>>,
    /// What embeds or classifies images.
    #[cfg(feature = "encoders")]
    pub image_encoder: Option<Box<ImageEncoder<'a>>>,
    /// What the two encoders' embeddings have to do with each other, if an image can be held against texts.
    pub similarity: Option<Similarity>,
}

impl<'a> Model<'a> {
    /// The values of `general.architecture` that are supported.
    pub const ARCHITECTURES: &'static [&'static str] = &families::ARCHITECTURES;

    /// Checks hyper-parameters and tensors of a model in one file, or in the parts of a split one, in order. Weights are not copied
    /// and, but for the norms, not read.
    ///
    /// # Errors
    /// All variants of [`LoadError`].
    pub fn parse(files: &[Gguf<'a>]) -> Result<Model<'a>, LoadError> {
        let source = Source::new(files)?;
        let name = source.get("general.architecture").ok_or(LoadError::NoArchitecture)?;
        if let Some(offset) = name.not_utf8() {
            return Err(LoadError::NotUtf8 { key: Key { architecture: "general", name: "architecture" }, offset });
        }
        let name = name.as_str().ok_or(LoadError::NoArchitecture)?;
        families::load(&source, name)?
            .ok_or_else(|| LoadError::UnknownArchitecture { name: name.chars().take(64).collect::<String>() })
    }

    /// Number of tokens that the model knows; 0 for one that does not read.
    pub fn vocabulary(&self) -> usize {
        #[cfg(feature = "encoders")]
        let reads = self.text_encoder.as_ref().map(|model| model.config.vocabulary);
        #[cfg(not(feature = "encoders"))]
        let reads = None;
        self.decoder.as_ref().map(|model| model.vocabulary()).or(reads).unwrap_or(0)
    }

    /// Tokens that the model was trained to look back on; 0 for one that does not read.
    pub fn context(&self) -> usize {
        #[cfg(feature = "encoders")]
        let reads = self.text_encoder.as_ref().map(|model| model.config.context);
        #[cfg(not(feature = "encoders"))]
        let reads = None;
        self.decoder.as_ref().map(|model| model.context).or(reads).unwrap_or(0)
    }

    /// The model, if it writes text.
    ///
    /// # Errors
    /// [`RunError::Purpose`].
    pub fn decoder(&self) -> Result<&Decoder<'a>, RunError> {
        self.decoder.as_deref().ok_or(self.cannot("write text"))
    }

    /// The model, if it embeds or classifies texts.
    ///
    /// # Errors
    /// [`RunError::Purpose`].
    #[cfg(feature = "encoders")]
    pub fn text_encoder(&self) -> Result<&TextEncoder<'a>, RunError> {
        self.text_encoder.as_deref().ok_or(self.cannot("embed text"))
    }

    /// The model, if it sees.
    ///
    /// # Errors
    /// [`RunError::Purpose`].
    #[cfg(feature = "encoders")]
    pub fn image_encoder(&self) -> Result<&ImageEncoder<'a>, RunError> {
        self.image_encoder.as_deref().ok_or(self.cannot("take images"))
    }

    fn cannot(&self, purpose: &'static str) -> RunError {
        RunError::Purpose { architecture: self.architecture, purpose }
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
