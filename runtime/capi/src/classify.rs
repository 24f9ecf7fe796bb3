//! Embeddings and classes: of texts, images and sound.

use crate::failure::Failure;
use crate::session::{Run, Session};
use crate::types::*;
use crate::{guard, handle, memory};
#[cfg(feature = "encoders")]
use crate::{reserve, text::BYTES_PER_BYTE};
use std::ffi::c_char;

/// The form of the scores that the host asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Want {
    Embedding,
    Logits,
    Probabilities,
}

/// The number of values in the answer, by the width of an embedding and the number of classes; 0 of either is refused later.
fn values_of_one((width, classes): (usize, usize), want: Want) -> usize {
    if want == Want::Embedding { width } else { classes }
}

fn scores(flags: u32) -> Result<Want, Failure> {
    match flags {
        0 => Ok(Want::Probabilities),
        SMIDGEN_SCORES_LOGITS => Ok(Want::Logits),
        _ => Err(Failure::unsupported(format_args!("flags {flags:#x}: unknown bits are set"))),
    }
}

/// Computes the embedding of a text of `length` bytes (`SMIDGEN_TEXT_END`: null-terminated). A text that is too long for the model is truncated.
/// `count` receives the number of values, also if the buffer is too short for them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smidgen_embed_text(
    session: *mut smidgen_session,
    text: *const c_char,
    length: usize,
    values: *mut f32,
    capacity: usize,
    count: *mut usize,
) -> smidgen_status {
    guard::enter_with_memory(|| {
        let session = handle::get::<Session>(session)?;
        // SAFETY: the host gives a text of that length.
        let text = unsafe { memory::text(text, length, "text") }?;
        let values_of_one = values_of_one(session.model.reads(), Want::Embedding);
        // SAFETY: the host gives a place for the count.
        unsafe { memory::fits(values_of_one, values_of_one, capacity, count) }?;
        let found = session.with(|run| of_text(run, &session, text, Want::Embedding))?;
        // SAFETY: the host gives a buffer of that capacity, and a place for the count.
        unsafe { memory::give(&found, values, capacity, count) }
    })
}

/// Computes the embedding of an image, as `smidgen_embed_text` does of a text: its features, or with CLIP a vector that can be compared with
/// embeddings of texts by cosine similarity. The image may have any size.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smidgen_embed_image(
    session: *mut smidgen_session,
    image: *const smidgen_image,
    values: *mut f32,
    capacity: usize,
    count: *mut usize,
) -> smidgen_status {
    guard::enter_with_memory(|| {
        let session = handle::get::<Session>(session)?;
        // SAFETY: the host gives an image.
        let (width, height, pixels) = unsafe { pixels(image) }?;
        let values_of_one = values_of_one(session.model.sees(), Want::Embedding);
        // SAFETY: the host gives a place for the count.
        unsafe { memory::fits(values_of_one, values_of_one, capacity, count) }?;
        let found = session.with(|run| of_image(run, &session, width, height, &pixels, Want::Embedding))?;
        // SAFETY: the host gives a buffer of that capacity, and a place for the count.
        unsafe { memory::give(&found, values, capacity, count) }
    })
}

/// Computes the probabilities of a text's classes, or their logits with `SMIDGEN_SCORES_LOGITS`; `smidgen_model_label` has the names of the
/// classes. Probabilities are those of the model's problem type: of a single label they add up to 1, of multiple labels each is its own, and
/// of a regression they are the logits.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smidgen_classify_text(
    session: *mut smidgen_session,
    text: *const c_char,
    length: usize,
    flags: u32,
    values: *mut f32,
    capacity: usize,
    count: *mut usize,
) -> smidgen_status {
    guard::enter_with_memory(|| {
        let session = handle::get::<Session>(session)?;
        // SAFETY: the host gives a text of that length.
        let text = unsafe { memory::text(text, length, "text") }?;
        let want = scores(flags)?;
        let values_of_one = values_of_one(session.model.reads(), want);
        // SAFETY: the host gives a place for the count.
        unsafe { memory::fits(values_of_one, values_of_one, capacity, count) }?;
        let found = session.with(|run| of_text(run, &session, text, want))?;
        // SAFETY: the host gives a buffer of that capacity, and a place for the count.
        unsafe { memory::give(&found, values, capacity, count) }
    })
}

/// Computes the probabilities of an image's classes, or their logits with `SMIDGEN_SCORES_LOGITS`, as `smidgen_classify_text` does. The image
/// may have any size.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smidgen_classify_image(
    session: *mut smidgen_session,
    image: *const smidgen_image,
    flags: u32,
    values: *mut f32,
    capacity: usize,
    count: *mut usize,
) -> smidgen_status {
    guard::enter_with_memory(|| {
        let session = handle::get::<Session>(session)?;
        // SAFETY: the host gives an image.
        let (width, height, pixels) = unsafe { pixels(image) }?;
        let want = scores(flags)?;
        let values_of_one = values_of_one(session.model.sees(), want);
        // SAFETY: the host gives a place for the count.
        unsafe { memory::fits(values_of_one, values_of_one, capacity, count) }?;
        let found = session.with(|run| of_image(run, &session, width, height, &pixels, want))?;
        // SAFETY: the host gives a buffer of that capacity, and a place for the count.
        unsafe { memory::give(&found, values, capacity, count) }
    })
}

/// Listens for the model's wake word in `samples` samples of sound (mono, 16 bits, 16,000 per second). The sound continues what the session has
/// heard so far, unless `flags` has `SMIDGEN_AUDIO_BEGIN`. The host sets `result->size` first. The word is the value of the metadata key
/// `micro.wake_word`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smidgen_classify_audio(
    session: *mut smidgen_session,
    pcm: *const i16,
    samples: usize,
    flags: u32,
    result: *mut smidgen_audio_result,
) -> smidgen_status {
    guard::enter(|| {
        let session = handle::get::<Session>(session)?;
        // SAFETY: the host gives so many samples.
        let pcm = unsafe { memory::slice(pcm, samples, "pcm") }?;
        if flags & !SMIDGEN_AUDIO_BEGIN != 0 {
            return Err(Failure::unsupported(format_args!("flags {flags:#x}: unknown bits are set")));
        }
        let mut found = smidgen_audio_result { size: 0, steps: 0, heard: 0, last: 0.0, largest: 0.0 };
        // SAFETY: the host gives a struct that begins with its size. What cannot be told is not to be heard.
        unsafe { memory::write(result, &found, "result") }?;
        session.with(|run| of_sound(run, &session, pcm, flags & SMIDGEN_AUDIO_BEGIN != 0, &mut found))?;
        // SAFETY: as above.
        unsafe { memory::write(result, &found, "result") }
    })
}

/// An image's extents and its pixels without gaps.
///
/// # Safety
/// `image` is null, or begins with its size, and its pixels can be read.
unsafe fn pixels<'h>(image: *const smidgen_image) -> Result<(usize, usize, std::borrow::Cow<'h, [u8]>), Failure> {
    if image.is_null() {
        return Err(Failure::null("image"));
    }
    // SAFETY: as the caller says.
    let image = unsafe { memory::read(image, "image") }?;
    if image.pixels.is_null() {
        return Err(Failure::null("pixels"));
    }
    // SAFETY: as the caller says.
    let bytes = unsafe { memory::slice(image.pixels, image.length, "pixels") }?;
    let (width, height) = (image.width as usize, image.height as usize);
    let wrong = || Failure::from(smidgen::RunError::ImageSize { width, height, bytes: bytes.len() });
    let row = width.checked_mul(3).filter(|row| *row > 0).ok_or_else(wrong)?;
    let stride = if image.stride == 0 { row } else { image.stride };
    let needed = height.checked_sub(1).and_then(|rows| rows.checked_mul(stride)?.checked_add(row)).ok_or_else(wrong)?;
    let bytes = bytes.get(..needed).filter(|_| stride >= row).ok_or_else(wrong)?;
    if stride == row {
        return Ok((width, height, bytes.into()));
    }
    let mut packed = Vec::new();
    packed.try_reserve_exact(row * height).map_err(|_| Failure::memory(row * height))?;
    bytes.chunks(stride).for_each(|line| packed.extend_from_slice(&line[..row]));
    Ok((width, height, packed.into()))
}

#[cfg(feature = "encoders")]
fn of_text(run: &mut Run, session: &Session, text: &str, want: Want) -> Result<Vec<f32>, Failure> {
    let model = session.model.network().ok_or_else(|| cannot(session, "take texts"))?.text_encoder()?;
    reserve::probe(text.len().saturating_mul(BYTES_PER_BYTE))?;
    let text = model.text(session.model.tokenizer()?, text, None)?;
    let encoder = run.text.as_mut().ok_or_else(|| cannot(session, "take texts"))?;
    one(want, model.head.as_ref(), |each| {
        run.pool.enter(|pool| match want {
            Want::Embedding => encoder.embed(&[text], pool, each),
            _ => encoder.classify(&[text], pool, each),
        });
    })
}

#[cfg(feature = "encoders")]
fn of_image(
    run: &mut Run,
    session: &Session,
    width: usize,
    height: usize,
    pixels: &[u8],
    want: Want,
) -> Result<Vec<f32>, Failure> {
    let network = session.model.network().ok_or_else(|| cannot(session, "take images"))?;
    let model = network.image_encoder()?;
    // The scores of such a model are its embedding.
    let is_compared = network.similarity.is_some();
    if is_compared && want != Want::Embedding {
        return Err(cannot(session, "classify images; compare embeddings of images and texts instead"));
    }
    let planes = model.planes(&smidgen::frontend::image::Image::new(width, height, pixels)?)?;
    let encoder = run.image.as_mut().ok_or_else(|| cannot(session, "take images"))?;
    one(want, model.head.as_ref(), |each| {
        run.pool.enter(|pool| match want {
            Want::Embedding if !is_compared => encoder.features(&[planes], pool, each),
            _ => encoder.classify(&[planes], pool, each),
        });
    })
}

/// The one result of an encoder.
#[cfg(feature = "encoders")]
fn one(
    want: Want,
    head: Option<&smidgen::encoder::Head>,
    ask: impl FnOnce(&mut dyn FnMut(usize, Result<&[f32], smidgen::RunError>)),
) -> Result<Vec<f32>, Failure> {
    let mut found = Err(smidgen::RunError::NoTokens.into());
    ask(&mut |_, values| {
        found = values.map_err(Failure::from).and_then(|values| {
            let mut copy = Vec::new();
            copy.try_reserve_exact(values.len()).map_err(|_| Failure::memory(4 * values.len()))?;
            copy.extend_from_slice(values);
            Ok(copy)
        });
    });
    let values = found?;
    // As doubles, twice, and as floats.
    reserve::probe(values.len().saturating_mul(20))?;
    Ok(match want {
        Want::Probabilities => {
            let problem = head.map(|head| head.problem).unwrap_or_default();
            problem.probabilities(&values).into_iter().map(|value| value as f32).collect()
        }
        _ => values,
    })
}

#[cfg(not(feature = "encoders"))]
fn of_text(_: &mut Run, session: &Session, _: &str, _: Want) -> Result<Vec<f32>, Failure> {
    Err(cannot(session, "take texts"))
}

#[cfg(not(feature = "encoders"))]
fn of_image(_: &mut Run, session: &Session, _: usize, _: usize, _: &[u8], _: Want) -> Result<Vec<f32>, Failure> {
    Err(cannot(session, "take images"))
}

/// The failure of a model, or a build, that does not have the ability.
fn cannot(session: &Session, what: &str) -> Failure {
    let architecture = session.model.architecture();
    Failure::unsupported(format_args!(
        "this model or this build of the library cannot {what} (architecture {architecture})"
    ))
}

/// A wake word that is listened for.
#[cfg(feature = "audio")]
pub(crate) struct Listener {
    word: smidgen::models::micro::WakeWord<'static>,
    arena: Vec<u8>,
    frontend: smidgen::frontend::audio::Frontend,
}

#[cfg(feature = "audio")]
impl Listener {
    pub(crate) fn new(word: &smidgen::models::micro::WakeWord<'static>) -> Result<Listener, Failure> {
        let bytes = word.model().arena_len();
        let mut arena = Vec::new();
        arena.try_reserve_exact(bytes).map_err(|_| Failure::memory(bytes))?;
        arena.resize(bytes, 0);
        let mut listener = Listener { word: word.clone(), arena, frontend: Default::default() };
        listener.reset()?;
        Ok(listener)
    }

    pub(crate) fn reset(&mut self) -> Result<(), Failure> {
        self.frontend.reset();
        self.word.reset(&mut self.arena).map_err(internal)
    }
}

#[cfg(feature = "audio")]
fn internal(error: smidgen::models::micro::Error) -> Failure {
    Failure::new(SMIDGEN_ERROR_INTERNAL, error)
}

#[cfg(feature = "audio")]
fn of_sound(
    run: &mut Run,
    session: &Session,
    mut pcm: &[i16],
    begin: bool,
    result: &mut smidgen_audio_result,
) -> Result<(), Failure> {
    let listener = run.audio.as_mut().ok_or_else(|| cannot(session, "take sound"))?;
    if begin {
        listener.reset()?;
    }
    while !pcm.is_empty() {
        let (taken, features) = listener.frontend.push(pcm);
        pcm = pcm.get(taken..).unwrap_or_default();
        let Some(features) = features else { continue };
        let Some(step) = listener.word.hear(&features, &mut listener.arena).map_err(internal)? else { continue };
        result.steps = result.steps.saturating_add(1);
        result.heard = result.heard.saturating_add(u32::from(step.heard));
        result.last = f32::from(step.output) / 256.0;
        result.largest = result.largest.max(result.last);
    }
    Ok(())
}

#[cfg(not(feature = "audio"))]
fn of_sound(_: &mut Run, session: &Session, _: &[i16], _: bool, _: &mut smidgen_audio_result) -> Result<(), Failure> {
    Err(cannot(session, "take sound"))
}
