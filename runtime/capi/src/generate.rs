//! Generating text.

use crate::failure::Failure;
use crate::model::Model;
use crate::session::{Run, Session};
use crate::types::*;
use crate::{guard, handle, memory};
use std::ffi::c_void;

/// Generates text after a prompt, and calls `token` with each piece as soon as it is final. The prompt is always the whole conversation so far:
/// the session reuses the tokens of its context up to the first that differs from the prompt, and drops the rest. `token`, `params` and `result`
/// may be null. A cancelled generation is not an error: see `result->finish`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smidgen_generate(
    session: *mut smidgen_session,
    prompt: *const u32,
    count: usize,
    params: *const smidgen_generate_params,
    token: smidgen_token_fn,
    user: *mut c_void,
    result: *mut smidgen_generate_result,
) -> smidgen_status {
    guard::enter_with_memory(|| {
        let session = handle::get::<Session>(session)?;
        // SAFETY: the host gives so many tokens.
        let prompt = unsafe { memory::slice(prompt, count, "prompt") }?;
        // SAFETY: the host gives a struct that begins with its size.
        let params = unsafe { memory::read(params, "params") }?;
        // SAFETY: the host gives so many texts.
        let stops = unsafe { memory::slice(params.stops, params.stop_count, "stops") }?;
        // SAFETY: the host gives texts that end with zeros.
        let stops = stops.iter().map(|stop| unsafe { memory::text(*stop, SMIDGEN_TEXT_END, "stop") });
        let stops = stops.collect::<Result<Vec<&str>, Failure>>()?;
        if params.flags != 0 {
            return Err(Failure::unsupported(format_args!("flags {:#x}: unknown bits are set", params.flags)));
        }
        if !result.is_null() {
            let zeros = smidgen_generate_result { size: 0, reused: 0, computed: 0, generated: 0, finish: 0 };
            // SAFETY: the host gives a struct that begins with its size.
            unsafe { memory::write(result, &zeros, "result") }?;
        }
        let mut each = |text: &mut Vec<u8>| {
            let Some(token) = token else { return true };
            let length = text.len();
            text.push(0);
            // SAFETY: the host's function, with what the host gave for it, and a text that ends with a zero.
            guard::outside(|| unsafe { token(user, text.as_ptr().cast(), length) }) == 0
        };
        let done = session.with(|run| {
            session.begin();
            let done = generate(run, &session, prompt, &params, &stops, &mut each);
            // Who cancelled it finds it cancelled, also where that came too late to change anything.
            let cancelled = session.end();
            done.map(|done| {
                if cancelled { smidgen_generate_result { finish: SMIDGEN_FINISH_CANCELLED, ..done } } else { done }
            })
        })?;
        // SAFETY: as above.
        if result.is_null() { Ok(()) } else { unsafe { memory::write(result, &done, "result") } }
    })
}

/// Writes the tokens of the session: those of the last prompt and those generated after it, or those of the state that was restored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smidgen_session_tokens(
    session: *mut smidgen_session,
    tokens: *mut u32,
    capacity: usize,
    count: *mut usize,
) -> smidgen_status {
    guard::enter(|| {
        let found = handle::get::<Session>(session)?.with(|run| Ok(run.conversation()))?;
        // SAFETY: the host gives a buffer of that capacity, and a place for the count.
        unsafe { memory::give(&found, tokens, capacity, count) }
    })
}

/// Resets the session: its context, and the sound that it has heard, are forgotten.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smidgen_session_reset(session: *mut smidgen_session) -> smidgen_status {
    guard::enter(|| handle::get::<Session>(session)?.with(Run::reset))
}

#[cfg(feature = "language")]
fn generate(
    run: &mut Run,
    session: &Session,
    prompt: &[u32],
    params: &smidgen_generate_params,
    stops: &[&str],
    each: &mut dyn FnMut(&mut Vec<u8>) -> bool,
) -> Result<smidgen_generate_result, Failure> {
    use smidgen::generate::{Finish, Request, generate};
    use std::ops::ControlFlow;
    let model: &Model = &session.model;
    let tokenizer = model.tokenizer()?;
    let mut sampler = smidgen::Sampler::new(sampling(params))?;
    sampler.reserve(prompt.len())?;
    let Run { language, rest, pool, .. } = run;
    let language = language.as_mut().ok_or_else(|| cannot_write(model))?;
    let vocabulary = language.vocabulary();
    if let Some(token) = prompt.iter().find(|token| **token as usize >= vocabulary) {
        return Err(Failure::argument(format_args!(
            "token {token} is out of range; the vocabulary has {vocabulary} tokens"
        )));
    }
    if prompt.is_empty() {
        return Err(smidgen::RunError::NoTokens.into());
    }
    let context = language.options().context;
    if prompt.len() > context {
        return Err(smidgen::RunError::ContextFull { context, used: 0, tokens: prompt.len() }.into());
    }
    // The conversation so far is in the cache, up to where the host now writes it otherwise.
    let same = language.resume(0, prompt);
    rest.clear();
    rest.try_reserve(context - same + 1).map_err(|_| Failure::memory(4 * (context - same + 1)))?;
    prompt[..same].iter().for_each(|token| sampler.accept(*token));
    let is_end = |token| tokenizer.is_end(token);
    let max_tokens = if params.max_tokens == 0 { usize::MAX } else { params.max_tokens as usize };
    let request = Request { prompt: &prompt[same..], max_tokens, stops, is_end: &is_end };
    let mut decoder = tokenizer.decoder_after(prompt, false);
    let mut buffer = Vec::new();
    let mut piece = |text: &str| {
        buffer.clear();
        buffer.extend_from_slice(text.as_bytes());
        let goes_on = (text.is_empty() || each(&mut buffer)) && !session.is_cancelled();
        if goes_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    let generated = pool.enter(|pool| generate(language, &mut sampler, &mut decoder, &request, pool, &mut piece));
    let generated = match generated {
        Ok(generated) => generated,
        Err(error) => {
            // What was generated is lost; what is left is known.
            language.truncate(0, prompt.len());
            return Err(error.into());
        }
    };
    let conversation = prompt.iter().chain(&generated.tokens);
    rest.extend(conversation.skip(language.len(0)));
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let computed = language.len(0).min(prompt.len()) - same;
    Ok(smidgen_generate_result {
        size: 0,
        reused: count(same),
        computed: count(computed),
        generated: count(generated.tokens.len()),
        finish: match generated.finish {
            Finish::End => SMIDGEN_FINISH_END,
            Finish::Stop => SMIDGEN_FINISH_STOP,
            Finish::Length => SMIDGEN_FINISH_LENGTH,
            Finish::ContextFull => SMIDGEN_FINISH_CONTEXT_FULL,
            Finish::Cancelled => SMIDGEN_FINISH_CANCELLED,
        },
    })
}

#[cfg(feature = "language")]
fn sampling(params: &smidgen_generate_params) -> smidgen::Sampling {
    let or = |value: f32, default: f32| if value == 0.0 { default } else { value };
    smidgen::Sampling {
        temperature: params.temperature,
        top_k: params.top_k as usize,
        top_p: or(params.top_p, 1.0),
        min_p: params.min_p,
        repetition_penalty: or(params.repetition_penalty, 1.0),
        frequency_penalty: params.frequency_penalty,
        presence_penalty: params.presence_penalty,
        window: if params.penalty_window == 0 { 64 } else { params.penalty_window as usize },
        seed: params.seed,
    }
}

#[cfg(not(feature = "language"))]
fn generate(
    _: &mut Run,
    session: &Session,
    _: &[u32],
    _: &smidgen_generate_params,
    _: &[&str],
    _: &mut dyn FnMut(&mut Vec<u8>) -> bool,
) -> Result<smidgen_generate_result, Failure> {
    Err(cannot_write(&session.model))
}

/// The failure of a model, or a build, that cannot generate text.
pub(crate) fn cannot_write(model: &Model) -> Failure {
    let architecture = model.architecture();
    let here = if cfg!(feature = "language") { "this model" } else { "this build of the library" };
    Failure::unsupported(format_args!("{here} does not generate text (architecture {architecture})"))
}

impl Run {
    /// The tokens that the language model holds, and the rest.
    #[cfg(feature = "language")]
    pub(crate) fn conversation(&self) -> Vec<u32> {
        let held = self.language.as_ref().map(|language| language.tokens(0).flatten());
        held.into_iter().flatten().chain(self.rest.iter().copied()).collect()
    }

    #[cfg(not(feature = "language"))]
    pub(crate) fn conversation(&self) -> Vec<u32> {
        Vec::new()
    }

    /// The information about the session that the host can ask for.
    pub(crate) fn info(&self) -> smidgen_session_info {
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let threads = count(self.threads());
        #[cfg_attr(not(feature = "language"), expect(unused_mut, reason = "there is nothing to add"))]
        let mut info = smidgen_session_info { size: 0, bytes: self.bytes, context: 0, used: 0, threads, reserved: 0 };
        #[cfg(feature = "language")]
        if let Some(language) = &self.language {
            (info.context, info.used) = (count(language.options().context), count(language.len(0)));
        }
        info
    }

    fn reset(&mut self) -> Result<(), Failure> {
        #[cfg(feature = "language")]
        if let Some(language) = &mut self.language {
            language.truncate(0, 0);
            self.rest.clear();
        }
        #[cfg(feature = "audio")]
        if let Some(audio) = &mut self.audio {
            audio.reset()?;
        }
        Ok(())
    }
}
