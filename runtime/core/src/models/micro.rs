//! int8 keyword and classifier networks for microcontrollers, in the arithmetic of TensorFlow Lite Micro's reference kernels
//! ([`smidgen_quant::fixed`]), bit for bit. Without allocation: weights stay in the file, and all else is in one arena that the caller
//! gives, whose size the file tells.
//!
//! The converter has made a plan: which operator follows which, and where in the arena each tensor lies. What is left to do here is to
//! check it and to walk it. The states of streaming models lie in the arena too, from one step to the next.

mod kernels;
mod plan;
mod wake;

use core::fmt;
use plan::{FILL, LOAD, Place, Words};
use smidgen_gguf::{Gguf, TensorType, Value};

pub use wake::{MAX_ROWS, MAX_WINDOW, Step, WakeWord};

/// `general.architecture`.
pub const ARCHITECTURE: &str = "micro";
/// Most dimensions of an input or output.
const MAX_DIMENSIONS: usize = 8;

/// Why a file is no model that can run. The text is one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each variant's text explains its fields")]
pub enum Error {
    /// `general.architecture` is not `micro`.
    Architecture,
    /// A metadata key is missing.
    MissingKey { key: &'static str },
    /// A metadata value is of another type or outside of its range.
    Key { key: &'static str },
    /// A tensor is missing, or of another type.
    Tensor { name: &'static str },
    /// A plan is no whole number of words, or of too many.
    PlanLength { bytes: usize },
    /// A word of a plan is not what it can be.
    Plan { field: &'static str, word: usize },
    /// The arena given is too small.
    Arena { needed: usize, given: usize },
    /// The input given is of another length.
    Input { expected: usize, given: usize },
    /// The model was not checked.
    Internal,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Architecture => write!(f, "general.architecture is not micro"),
            Error::MissingKey { key } => write!(f, "{key} is missing"),
            Error::Key { key } => write!(f, "{key} is not of the type or range that it should be"),
            Error::Tensor { name } => write!(f, "tensor {name} is missing or of another type"),
            Error::PlanLength { bytes } => write!(f, "a plan cannot be {bytes} bytes long"),
            Error::Plan { field, word } => write!(f, "plan: {field} at word {word}"),
            Error::Arena { needed, given } => write!(f, "the arena must be {needed} bytes, {given} were given"),
            Error::Input { expected, given } => write!(f, "the input must be {expected} values, {given} were given"),
            Error::Internal => write!(f, "the plan was not checked"),
        }
    }
}

impl core::error::Error for Error {}

/// The input or the output of a model.
#[derive(Clone)]
pub struct Port {
    dims: [usize; MAX_DIMENSIONS],
    n_dims: usize,
    place: Place,
    /// Whether its bytes have a sign: int8 or uint8.
    pub signed: bool,
    /// A value is `scale * (byte - zero_point)`.
    pub scale: f32,
    /// The byte that means 0.
    pub zero_point: i32,
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Port").field("shape", &self.shape()).field("signed", &self.signed).finish_non_exhaustive()
    }
}

impl Port {
    /// The extents, slowest first.
    pub fn shape(&self) -> &[usize] {
        self.dims.get(..self.n_dims).unwrap_or_default()
    }

    /// The product of the extents, which is at least 1: bytes.
    pub fn elements(&self) -> usize {
        let extent = self.place.extent;
        extent.rows.wrapping_mul(extent.columns).wrapping_mul(extent.channels)
    }

    fn parse(file: &Gguf<'_>, words: &Words<'_>, keys: &Keys) -> Result<Port, Error> {
        let scale = match require(file, keys.scale)? {
            Value::F32(scale) if scale.is_finite() && scale > 0.0 => Some(scale),
            _ => None,
        };
        let signed = match require(file, keys.kind)?.as_str() {
            Some("int8") => true,
            Some("uint8") => false,
            _ => return Err(Error::Key { key: keys.kind }),
        };
        let zero = require(file, keys.zero_point)?.as_i64().and_then(|zero| i32::try_from(zero).ok());
        let range = if signed { -128..=127 } else { 0..=255 };
        let (mut dims, n_dims) = ([1; MAX_DIMENSIONS], list(file, keys.shape, &mut [])?);
        let shape = dims.get_mut(..n_dims).ok_or(Error::Key { key: keys.shape })?;
        list(file, keys.shape, shape)?;
        let elements = shape.iter().try_fold(1_usize, |product, dim| product.checked_mul(*dim));
        let [mut extent, mut view] = [[0; 3]; 2];
        for (key, values) in [(keys.extent, &mut extent), (keys.view, &mut view)] {
            if list(file, key, values)? != values.len() {
                return Err(Error::Key { key });
            }
        }
        // A place inside of the arena has no more elements than bytes.
        let place = words.port(extent, view).ok_or(Error::Key { key: keys.view })?;
        let port = Port {
            dims,
            n_dims,
            place,
            signed,
            scale: scale.ok_or(Error::Key { key: keys.scale })?,
            zero_point: zero.filter(|zero| range.contains(zero)).ok_or(Error::Key { key: keys.zero_point })?,
        };
        if elements == Some(port.elements()) { Ok(port) } else { Err(Error::Key { key: keys.shape }) }
    }
}

/// The keys of a port.
struct Keys {
    shape: &'static str,
    kind: &'static str,
    scale: &'static str,
    zero_point: &'static str,
    extent: &'static str,
    view: &'static str,
}

const INPUT: Keys = Keys {
    shape: "micro.input.shape",
    kind: "micro.input.type",
    scale: "micro.input.scale",
    zero_point: "micro.input.zero_point",
    extent: "micro.input.extent",
    view: "micro.input.view",
};

const OUTPUT: Keys = Keys {
    shape: "micro.output.shape",
    kind: "micro.output.type",
    scale: "micro.output.scale",
    zero_point: "micro.output.zero_point",
    extent: "micro.output.extent",
    view: "micro.output.view",
};

/// A checked model. Small, and cheap to clone: everything else is in the file and in the caller's arena.
#[derive(Clone)]
pub struct Micro<'a> {
    plan: Words<'a>,
    reset: Words<'a>,
    input: Port,
    output: Port,
}

impl fmt::Debug for Micro<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Micro").field("input", &self.input).field("output", &self.output).finish_non_exhaustive()
    }
}

impl<'a> Micro<'a> {
    /// Checks a whole model. After this, nothing can fail but the caller's own arguments.
    ///
    /// # Errors
    /// All variants of [`Error`] but the last three.
    pub fn parse(file: &Gguf<'a>) -> Result<Micro<'a>, Error> {
        const ARENA: &str = "micro.arena_length";
        if file.get("general.architecture").and_then(|value| value.as_str()) != Some(ARCHITECTURE) {
            return Err(Error::Architecture);
        }
        let arena = require(file, ARENA)?.as_u64().and_then(|length| u32::try_from(length).ok());
        let arena = arena.and_then(|length| usize::try_from(length).ok()).ok_or(Error::Key { key: ARENA })?;
        let tensor = |name: &'static str, kind: TensorType| {
            let found = file.tensor(name).filter(|tensor| tensor.kind == kind);
            found.map(|tensor| tensor.data).ok_or(Error::Tensor { name })
        };
        let weights = tensor("weights", TensorType::I8)?;
        let plan = Words::new(tensor("plan", TensorType::I32)?, weights, arena)?;
        let reset = Words::new(
            if file.tensor("reset").is_some() { tensor("reset", TensorType::I32)? } else { &[] },
            weights,
            arena,
        )?;
        let (mut words, mut resets) = (plan, reset);
        while words.next(None)?.is_some() {}
        while let Some(code) = resets.next(None)? {
            if code != FILL && code != LOAD {
                return Err(Error::Plan { field: "operator of the reset", word: 0 });
            }
        }
        let (input, output) = (Port::parse(file, &plan, &INPUT)?, Port::parse(file, &plan, &OUTPUT)?);
        Ok(Micro { plan, reset, input, output })
    }

    /// Bytes of the arena.
    pub fn arena_len(&self) -> usize {
        self.plan.arena
    }

    /// What a step takes.
    pub fn input(&self) -> &Port {
        &self.input
    }

    /// What a step gives.
    pub fn output(&self) -> &Port {
        &self.output
    }

    /// Gives the states of a streaming model their first values. Must come before the first [`infer`](Self::infer) with an arena, and
    /// may come between streams.
    ///
    /// # Errors
    /// [`Error::Arena`].
    pub fn reset(&self, arena: &mut [u8]) -> Result<(), Error> {
        walk(self.reset, self.arena(arena)?)
    }

    /// Runs a step. `input` holds the bytes of [`input`](Self::input), of int8 or uint8; `output` is filled with those of
    /// [`output`](Self::output) as far as it reaches.
    ///
    /// # Errors
    /// [`Error::Arena`], [`Error::Input`].
    pub fn infer(&self, arena: &mut [u8], input: &[u8], output: &mut [u8]) -> Result<(), Error> {
        let arena = self.arena(arena)?;
        if input.len() != self.input.elements() {
            return Err(Error::Input { expected: self.input.elements(), given: input.len() });
        }
        runs(&self.input.place, arena, input.chunks_exact(self.input.place.extent.channels.max(1)), |arena, input| {
            kernels::copy(input, arena);
        })?;
        walk(self.plan, arena)?;
        let channels = self.output.place.extent.channels.max(1);
        runs(&self.output.place, arena, output.chunks_mut(channels), |arena, output| {
            kernels::copy(arena, output);
        })
    }

    /// The part of the caller's arena that is used.
    fn arena<'b>(&self, arena: &'b mut [u8]) -> Result<&'b mut [u8], Error> {
        let given = arena.len();
        arena.get_mut(..self.plan.arena).ok_or(Error::Arena { needed: self.plan.arena, given })
    }
}

fn walk(mut words: Words<'_>, arena: &mut [u8]) -> Result<(), Error> {
    while words.next(Some(&mut *arena))?.is_some() {}
    Ok(())
}

/// Goes over the channels of each row and column of a place, together with pieces of what is outside.
fn runs<T>(
    place: &Place,
    arena: &mut [u8],
    mut pieces: impl Iterator<Item = T>,
    each: impl Fn(&mut [u8], T),
) -> Result<(), Error> {
    let bytes = arena.get_mut(place.range.clone()).ok_or(Error::Internal)?;
    for y in 0..place.extent.rows {
        for x in 0..place.extent.columns {
            let Some(piece) = pieces.next() else { return Ok(()) };
            let channels =
                bytes.get_mut(place.view.at(y, x)..).and_then(|bytes| bytes.get_mut(..place.extent.channels));
            each(channels.ok_or(Error::Internal)?, piece);
        }
    }
    Ok(())
}

fn require<'a>(file: &Gguf<'a>, key: &'static str) -> Result<Value<'a>, Error> {
    file.get(key).ok_or(Error::MissingKey { key })
}

/// The numbers of an array, as many as there is room for, and how many there are.
fn list(file: &Gguf<'_>, key: &'static str, out: &mut [usize]) -> Result<usize, Error> {
    let array = require(file, key)?.as_array().ok_or(Error::Key { key })?;
    for (out, value) in out.iter_mut().zip(array.iter()) {
        let value = value.as_u64().and_then(|value| u32::try_from(value).ok());
        *out = value.and_then(|value| usize::try_from(value).ok()).ok_or(Error::Key { key })?;
    }
    Ok(array.len())
}
