//! An open model.

use crate::failure::Failure;
use crate::memory;
#[cfg(feature = "chat")]
use crate::reserve;
use crate::types::*;
use crate::{guard, log};
#[cfg(feature = "audio")]
use smidgen::models::micro::{self, WakeWord};
use smidgen::tokenizer::Tokenizer;
use smidgen_gguf::Gguf;
use smidgen_host::ModelFile;
use smidgen_targets::KernelSet;

/// A model's parts; each borrows from those after it, and they are dropped in this order.
pub(crate) struct Model {
    #[cfg(feature = "chat")]
    pub(crate) template: Option<smidgen_host::ChatTemplate>,
    pub(crate) tokenizer: Option<Tokenizer<'static>>,
    pub(crate) network: Network,
    pub(crate) parts: Vec<Gguf<'static>>,
    pub(crate) kernels: &'static KernelSet,
    pub(crate) bytes: u64,
    _source: Source,
}

/// The networks.
pub(crate) enum Network {
    Model(smidgen::Model<'static>),
    #[cfg(feature = "audio")]
    Micro(Box<WakeWord<'static>>),
}

/// Where the bytes are. They stay where they are when this is moved.
pub(crate) enum Source {
    File(ModelFile),
    Copy(Vec<u8>),
    /// The host's, which promises to keep them.
    Host(&'static [u8]),
}

impl Source {
    /// A copy of bytes.
    pub(crate) fn copy(bytes: &[u8]) -> Result<Source, Failure> {
        let mut copy = Vec::new();
        copy.try_reserve_exact(bytes.len()).map_err(|_| Failure::memory(bytes.len()))?;
        copy.extend_from_slice(bytes);
        Ok(Source::Copy(copy))
    }

    fn parts(&self) -> Result<Vec<Gguf<'static>>, Failure> {
        let parts = match self {
            Source::File(file) => file.parts()?,
            Source::Copy(bytes) => vec![Gguf::parse(bytes)?],
            Source::Host(bytes) => vec![Gguf::parse(bytes)?],
        };
        // SAFETY: only the lifetime changes. What is borrowed is a mapping or a heap block, which stays in its place until `Source` is
        // dropped; `Model` drops it last and hands out no part of itself for longer than it is borrowed.
        Ok(unsafe { std::mem::transmute::<Vec<Gguf<'_>>, Vec<Gguf<'static>>>(parts) })
    }

    fn bytes(&self) -> Vec<&[u8]> {
        match self {
            Source::File(file) => file.bytes(),
            Source::Copy(bytes) => vec![bytes],
            Source::Host(bytes) => vec![bytes],
        }
    }
}

impl Model {
    /// Checks a model and makes it ready for sessions.
    pub(crate) fn new(source: Source, params: &smidgen_model_params) -> Result<Model, Failure> {
        let kernels = kernels(params)?;
        let parts = source.parts()?;
        let first = parts.first().ok_or_else(|| Failure::argument("no file"))?;
        #[cfg(feature = "audio")]
        let is_micro = first.get("general.architecture").and_then(|value| value.as_str()) == Some(micro::ARCHITECTURE);
        #[cfg(feature = "audio")]
        let network = if is_micro {
            Network::Micro(Box::new(WakeWord::parse(first).map_err(|error| Failure::new(SMIDGEN_ERROR_FORMAT, error))?))
        } else {
            Network::Model(smidgen::Model::parse(&parts)?)
        };
        #[cfg(not(feature = "audio"))]
        let network = Network::Model(smidgen::Model::parse(&parts)?);
        let tokenizer = first.get("tokenizer.ggml.model").map(|_| Tokenizer::parse(first)).transpose()?;
        for warning in tokenizer.iter().flat_map(Tokenizer::warnings) {
            log::write(SMIDGEN_LOG_WARNING, &warning.to_string());
        }
        let bytes = source.bytes().iter().map(|part| part.len() as u64).sum();
        let model = Model {
            #[cfg(feature = "chat")]
            template: template(first, tokenizer.as_ref())?,
            tokenizer,
            network,
            parts,
            kernels,
            bytes,
            _source: source,
        };
        model.read(params)?;
        let architecture = model.architecture();
        log::write(SMIDGEN_LOG_INFO, &format!("model opened: {architecture}, {bytes} bytes, kernels {}", kernels.name));
        Ok(model)
    }

    pub(crate) fn architecture(&self) -> &'static str {
        match &self.network {
            Network::Model(model) => model.architecture,
            #[cfg(feature = "audio")]
            Network::Micro(_) => micro::ARCHITECTURE,
        }
    }

    pub(crate) fn tokenizer(&self) -> Result<&Tokenizer<'static>, Failure> {
        let architecture = self.architecture();
        let none = || Failure::unsupported(format_args!("this model (architecture {architecture}) has no tokenizer"));
        self.tokenizer.as_ref().ok_or_else(none)
    }

    /// The model, unless it is of the kind for microcontrollers.
    pub(crate) fn network(&self) -> Option<&smidgen::Model<'static>> {
        match &self.network {
            Network::Model(model) => Some(model),
            #[cfg(feature = "audio")]
            Network::Micro(_) => None,
        }
    }

    /// Names of the classes, and how many classes there are.
    pub(crate) fn classes(&self) -> (&[String], usize) {
        // A wake word is one class, whose name is in the metadata.
        let Some(model) = self.network() else { return (&[], 1) };
        let text = model.text_encoder().ok().and_then(|text| text.head.as_ref());
        // The scores of a head that is for comparing with texts are an embedding.
        let image = model.image_encoder().ok().filter(|_| model.similarity.is_none());
        let image = image.and_then(|image| image.head.as_ref());
        let text = text.map(|head| (head.labels.as_slice(), head.output.weight.rows()));
        text.or(image.map(|head| (head.labels.as_slice(), head.output.weight.rows()))).unwrap_or((&[], 0))
    }

    /// Values of a text's embedding, and classes of texts.
    pub(crate) fn reads(&self) -> (usize, usize) {
        let text = self.network().and_then(|model| model.text_encoder().ok());
        text.map_or((0, 0), |text| (text.width(), text.head.as_ref().map_or(0, |head| head.output.weight.rows())))
    }

    /// Values of an image's embedding, and classes of images.
    pub(crate) fn sees(&self) -> (usize, usize) {
        let Some(model) = self.network() else { return (0, 0) };
        let outputs =
            |image: &smidgen::encoder::image::ImageEncoder| image.head.as_ref().map(|head| head.output.weight.rows());
        match model.image_encoder() {
            // The scores of its head are the embedding.
            Ok(image) if model.similarity.is_some() => (outputs(image).unwrap_or(0), 0),
            Ok(image) => (image.width(), outputs(image).unwrap_or(0)),
            Err(_) => (0, 0),
        }
    }

    pub(crate) fn info(&self) -> smidgen_model_info {
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let when = |holds: bool, ability: u32| if holds { ability } else { 0 };
        let (_, classes) = self.classes();
        let mut info = smidgen_model_info {
            size: 0,
            bytes: self.bytes,
            abilities: when(classes > 0, SMIDGEN_CAN_CLASSIFY),
            vocabulary: 0,
            context: 0,
            width: 0,
            classes: count(classes),
            reserved: 0,
        };
        let Some(model) = self.network() else {
            info.abilities |= SMIDGEN_CAN_HEAR;
            return info;
        };
        let (text, image) = (model.text_encoder().ok(), model.image_encoder().ok());
        let writes = cfg!(feature = "language") && model.decoder.is_some();
        info.abilities |= when(writes, SMIDGEN_CAN_GENERATE);
        #[cfg(feature = "chat")]
        {
            info.abilities |= when(writes && self.template.is_some(), SMIDGEN_CAN_CHAT);
        }
        info.abilities |= when(cfg!(feature = "encoders") && text.is_some(), SMIDGEN_CAN_READ);
        info.abilities |= when(cfg!(feature = "encoders") && image.is_some(), SMIDGEN_CAN_SEE);
        info.vocabulary = count(model.vocabulary());
        info.context = count(model.context());
        info.width = count(self.reads().0.max(self.sees().0));
        info
    }

    /// Reads all bytes once and calls the host's progress callback, if there is one.
    fn read(&self, params: &smidgen_model_params) -> Result<(), Failure> {
        const STEP: usize = 4 << 20;
        const PAGE: usize = 4096;
        let Some(progress) = params.progress else { return Ok(()) };
        let mut done = 0;
        let mut tell = |bytes: u64| {
            done += bytes;
            // SAFETY: the host's function, with what the host gave for it.
            match guard::outside(|| unsafe { progress(params.progress_user, done, self.bytes) }) {
                0 => Ok(()),
                _ => Err(Failure::new(SMIDGEN_ERROR_CANCELLED, "the progress callback asked to stop")),
            }
        };
        tell(0)?;
        for part in self._source.bytes() {
            for step in part.chunks(STEP) {
                std::hint::black_box(step.iter().step_by(PAGE).fold(0_u8, |sum, byte| sum ^ byte));
                tell(step.len() as u64)?;
            }
        }
        Ok(())
    }
}

fn kernels(params: &smidgen_model_params) -> Result<&'static KernelSet, Failure> {
    if params.target.is_null() {
        return Ok(smidgen_targets::detect());
    }
    // SAFETY: the host says that a zero ends the name.
    let name = unsafe { memory::text(params.target, SMIDGEN_TEXT_END, "target") }?;
    smidgen_targets::named(name).ok_or_else(|| {
        let names: Vec<_> = smidgen_targets::available().map(|kernels| kernels.name).collect();
        Failure::unsupported(format_args!("target {name:?} is not available; this machine has {}", names.join(", ")))
    })
}

/// The chat template. One with an error counts as none, since the model can be used without.
#[cfg(feature = "chat")]
fn template(first: &Gguf, tokenizer: Option<&Tokenizer>) -> Result<Option<smidgen_host::ChatTemplate>, Failure> {
    let source = first.get("tokenizer.chat_template");
    if let Some(offset) = source.and_then(|source| source.not_utf8()) {
        log::write(SMIDGEN_LOG_WARNING, &format!("tokenizer.chat_template is not UTF-8 (at byte {offset})"));
    }
    let source = source.and_then(|source| source.as_str());
    let (Some(source), Some(tokenizer)) = (source, tokenizer) else { return Ok(None) };
    let spelled = |id: Option<u32>| id.and_then(|id| tokenizer.token_text(id)).unwrap_or_default();
    reserve::probe(crate::text::TEMPLATE)?;
    match smidgen_host::ChatTemplate::parse(source, spelled(tokenizer.bos()), spelled(tokenizer.eos())) {
        Ok(template) => Ok(Some(template)),
        // The system's fault, not the template's.
        Err(error @ smidgen_host::Error::Spawn { .. }) => Err(error.into()),
        Err(error) => {
            log::write(SMIDGEN_LOG_WARNING, &error.to_string());
            Ok(None)
        }
    }
}
