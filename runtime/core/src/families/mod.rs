//! Families of models: one file each, which says how the tensors and hyper-parameters of a file become blocks. Nothing outside this folder knows a
//! family by name. `docs/adding-a-model.md` walks through one.

mod apertus;
#[cfg(feature = "encoders")]
mod bert;
#[cfg(feature = "encoders")]
mod clip;
mod cohere;
mod exaone;
mod falcon;
mod gemma;
mod glm;
mod gpt;
mod gptneox;
mod granite;
mod hunyuan;
mod hyper;
mod llama;
mod nemotron;
mod olmo;
mod phi;
mod qwen;
mod seed;
mod smollm;
mod stablelm;
mod starcoder;
#[cfg(feature = "encoders")]
mod tower;
#[cfg(feature = "encoders")]
mod vit;

use crate::source::Source;
use crate::{Decoder, LoadError, Model};
use alloc::boxed::Box;
use hyper::Hyper;

/// Makes a decoder of a file.
type Load = for<'f, 'a> fn(&Hyper<'_, 'f, 'a>) -> Result<Decoder<'a>, LoadError>;

/// Makes a model of a file.
type LoadEncoder = for<'f, 'a> fn(&Source<'f, 'a>) -> Result<Model<'a>, LoadError>;

/// Decoders by the value of `general.architecture`.
const DECODERS: &[(&str, Load)] = &[
    ("llama", llama::load),
    ("internlm2", llama::load),
    ("ernie4_5", llama::load),
    ("qwen2", qwen::load2),
    ("qwen3", qwen::load3),
    ("gemma", gemma::load1),
    ("gemma2", gemma::load2),
    ("gemma3", gemma::load3),
    ("phi2", phi::load2),
    ("phi3", phi::load3),
    ("command-r", cohere::load1),
    ("cohere2", cohere::load2),
    ("gpt2", gpt::load),
    ("starcoder", gpt::load),
    ("bloom", gpt::load_bloom),
    ("starcoder2", starcoder::load2),
    ("gptneox", gptneox::load),
    ("falcon", falcon::load),
    ("stablelm", stablelm::load),
    ("olmo2", olmo::load2),
    ("granite", granite::load),
    ("minicpm", granite::load_minicpm),
    ("smollm3", smollm::load3),
    ("exaone4", exaone::load4),
    ("glm4", glm::load4),
    ("hunyuan-dense", hunyuan::load),
    ("nemotron", nemotron::load),
    ("seed_oss", seed::load),
    ("apertus", apertus::load),
];

/// Encoders, likewise.
#[cfg(feature = "encoders")]
const ENCODERS: &[(&str, LoadEncoder)] =
    &[(bert::ARCHITECTURE, load_bert), (vit::ARCHITECTURE, load_vit), (clip::ARCHITECTURE, clip::load)];

/// This build has none.
#[cfg(not(feature = "encoders"))]
const ENCODERS: &[(&str, LoadEncoder)] = &[];

/// The names of all architectures.
pub(crate) const ARCHITECTURES: [&str; DECODERS.len() + ENCODERS.len()] = {
    let mut names = [""; DECODERS.len() + ENCODERS.len()];
    let mut i = 0;
    while i < names.len() {
        names[i] = if i < DECODERS.len() { DECODERS[i].0 } else { ENCODERS[i - DECODERS.len()].0 };
        i += 1;
    }
    names
};

/// The model of a file. None if its architecture is none of these.
pub(crate) fn load<'a>(source: &Source<'_, 'a>, name: &str) -> Result<Option<Model<'a>>, LoadError> {
    if let Some((_, load)) = ENCODERS.iter().find(|(known, _)| *known == name) {
        return load(source).map(Some);
    }
    let Some((architecture, load)) = DECODERS.iter().find(|(known, _)| *known == name) else { return Ok(None) };
    let hyper = Hyper::parse(source, architecture)?;
    let decoder = load(&hyper)?;
    source.refuse_rest(architecture, hyper.layers..hyper.layers + hyper.further)?;
    Ok(Some(Model { decoder: Some(Box::new(decoder)), ..nothing(architecture) }))
}

#[cfg(feature = "encoders")]
fn load_bert<'a>(source: &Source<'_, 'a>) -> Result<Model<'a>, LoadError> {
    let model = bert::load(source)?;
    source.refuse_rest(bert::ARCHITECTURE, 0..0)?;
    Ok(Model { text_encoder: Some(Box::new(model)), ..nothing(bert::ARCHITECTURE) })
}

#[cfg(feature = "encoders")]
fn load_vit<'a>(source: &Source<'_, 'a>) -> Result<Model<'a>, LoadError> {
    let model = vit::load(source)?;
    source.refuse_rest(vit::ARCHITECTURE, 0..0)?;
    Ok(Model { image_encoder: Some(Box::new(model)), ..nothing(vit::ARCHITECTURE) })
}

/// A model that can do nothing.
fn nothing<'a>(architecture: &'static str) -> Model<'a> {
    Model {
        architecture,
        decoder: None,
        #[cfg(feature = "encoders")]
        text_encoder: None,
        #[cfg(feature = "encoders")]
        image_encoder: None,
        similarity: None,
    }
}
