//! The way of weights into a file: read a row, encode it, rows in parallel, one piece of the file in memory at a time.

use crate::plan::{Data, Plan, Planned};
use crate::safetensors::Dtype;
use crate::{Error, Facts, Mixture};
use rayon::prelude::*;
use smidgen_gguf::{TensorType, Writer};
use smidgen_quant::{Format, packed::PANEL};
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes encoded before they are written.
const PIECE: usize = 1 << 22;
/// The version of the block formats, which ggml wants to know.
const QUANTIZATION_VERSION: u32 = 2;
/// The key that says so.
const VERSION: &str = "general.quantization_version";
/// The key of the mixture.
const FILE_TYPE: &str = "general.file_type";

/// How weights are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The formats; without a mixture weights keep theirs (F64 becomes F32).
    pub mixture: Option<Mixture>,
    /// Whether matrices are packed in panels, as [`pack`](crate::pack) does.
    pub packed: bool,
    /// Whether weights that are too large for their format become its largest value, and are no [`Error::Overflow`].
    pub clamp: bool,
}

/// What [`Options::clamp`] has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clamped {
    /// Weights that were made smaller.
    pub weights: u64,
    /// Tensors that they are in.
    pub tensors: u64,
}

/// Writes a plan. `progress` is told the bytes of weights written and how many there will be.
///
/// # Errors
/// [`Error::Dtype`], [`Error::NotFinite`], [`Error::Overflow`], [`Error::Encode`], [`Error::Write`], [`Error::Io`].
pub fn write(
    plan: &Plan,
    options: Options,
    out: &mut dyn Write,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Clamped, Error> {
    let Options { mixture, packed, clamp } = options;
    let facts = plan.facts();
    let kinds = plan.tensors.iter().map(|tensor| tensor.kind(mixture, &facts)).collect::<Result<Vec<_>, _>>()?;
    let mut writer = Writer::new();
    for (key, value) in plan.metadata.iter().filter(|(key, _)| !matches!(key.as_str(), FILE_TYPE | VERSION)) {
        value.write(|value| writer.metadata(key, value))?;
    }
    writer.metadata(FILE_TYPE, file_type(mixture, plan, &kinds))?;
    writer.metadata(VERSION, QUANTIZATION_VERSION)?;
    let mut total = 0_u64;
    for (tensor, kind) in plan.tensors.iter().zip(&kinds) {
        let panels = tensor.panels(*kind).filter(|_| packed);
        writer.tensor(&tensor.name, &tensor.dims, panels.unwrap_or(*kind))?;
        // The writer has checked that the size fits.
        total += kind.bytes(tensor.dims.iter().product()).unwrap_or(0);
    }
    let mut writer = writer.start(out)?;
    let mut done = 0;
    progress(0, total);
    let (mut piece, mut panels) = (Vec::new(), Vec::new());
    let mut all = Clamped::default();
    for (tensor, kind) in plan.tensors.iter().zip(kinds) {
        let cols = tensor.dims.first().copied().unwrap_or(1);
        let row_bytes = usize::try_from(kind.bytes(cols).unwrap_or(0)).unwrap_or(usize::MAX).max(1);
        let rows = usize::try_from(tensor.dims.iter().skip(1).product::<u64>()).unwrap_or(usize::MAX);
        let step = (PIECE / row_bytes).max(1).next_multiple_of(PANEL);
        let format = tensor.panels(kind).filter(|_| packed).and_then(|_| Format::from_id(kind.id()));
        let clamped = AtomicU64::new(0);
        for first in (0..rows).step_by(step) {
            let count = step.min(rows - first);
            piece.resize(count * row_bytes, 0);
            let row = |values: &mut Vec<f32>, (i, bytes): (usize, &mut [u8])| {
                let row = Row { tensor, kind, number: first + i, clamp };
                let changed = row.encode(cols as usize, values, bytes)?;
                clamped.fetch_add(changed, Ordering::Relaxed);
                Ok::<_, Error>(())
            };
            if piece.par_chunks_mut(row_bytes).enumerate().try_for_each_init(Vec::new, row).is_err() {
                // Of several errors the first is told, whichever thread came first.
                let mut values = Vec::new();
                piece.chunks_mut(row_bytes).enumerate().try_for_each(|next| row(&mut values, next))?;
            }
            if let Some(format) = format {
                panels.resize(piece.len(), 0);
                format.pack(row_bytes, &piece, &mut panels);
                writer.data(&panels)?;
            } else {
                writer.data(&piece)?;
            }
            done += piece.len() as u64;
            progress(done, total);
        }
        let weights = clamped.into_inner();
        all = Clamped { weights: all.weights + weights, tensors: all.tensors + u64::from(weights > 0) };
    }
    writer.finish()?;
    Ok(all)
}

/// The mixture's number; without one, that of the type of the largest tensor.
fn file_type(mixture: Option<Mixture>, plan: &Plan, kinds: &[TensorType]) -> u32 {
    let size = |tensor: &Planned| tensor.dims.iter().product::<u64>();
    let largest = plan.tensors.iter().zip(kinds).max_by_key(|(tensor, _)| size(tensor)).map(|(_, kind)| *kind);
    let like = || Mixture::ALL.iter().find(|mixture| Some(mixture.base().id()) == largest.map(TensorType::id)).copied();
    mixture.or_else(like).unwrap_or(Mixture::F32).file_type()
}

impl Plan<'_> {
    /// The facts that the rules of mixtures use.
    fn facts(&self) -> Facts {
        let number = |end: &str| {
            let value = self.metadata.iter().find(|(key, _)| key.ends_with(end)).map(|(_, value)| value);
            value.and_then(crate::Meta::as_u32)
        };
        let heads = number(".attention.head_count").unwrap_or(1);
        let architecture = self.metadata.iter().find(|(key, _)| key == "general.architecture").map(|(_, value)| value);
        Facts {
            tied: !self.tensors.iter().any(|tensor| tensor.name == "output.weight"),
            group: heads / number(".attention.head_count_kv").unwrap_or(heads).max(1),
            layers: number(".block_count").unwrap_or(0),
            bert: architecture.and_then(crate::Meta::as_str) == Some("bert"),
        }
    }
}

impl Planned<'_> {
    /// The type of the tensor in panels, if it can be packed: a matrix of at least one panel.
    fn panels(&self, kind: TensorType) -> Option<TensorType> {
        let matrix = matches!(self.dims[..], [_, rows] if rows >= PANEL as u64);
        kind.packed().filter(|_| matrix)
    }

    /// The type in which the tensor is written.
    fn kind(&self, mixture: Option<Mixture>, facts: &Facts) -> Result<TensorType, Error> {
        let wanted = mixture.and_then(|mixture| mixture.format(&self.name, &self.dims, facts));
        let matrix = self.dims.len() > 1;
        let stored = |dtype: Dtype| match dtype {
            Dtype::F16 if matrix && mixture.is_none() => Ok(Format::F16),
            Dtype::BF16 if matrix && mixture.is_none() => Ok(Format::BF16),
            Dtype::F16 | Dtype::BF16 | Dtype::F32 | Dtype::F64 => Ok(Format::F32),
            dtype => Err(self.unreadable(dtype.name())),
        };
        let format = match self.data {
            Data::Stored { dtype, .. } | Data::Rows { dtype, .. } | Data::Transposed { dtype, .. } => {
                stored(dtype).map(|kept| wanted.unwrap_or(kept))?
            }
            Data::Values(_) => wanted.unwrap_or(Format::F32),
            Data::Blocks { kind, .. } => {
                let plain = kind.unpacked().unwrap_or(kind);
                match wanted {
                    None => return Ok(plain),
                    Some(wanted) if wanted.id() == plain.id() => return Ok(plain),
                    Some(wanted) if Format::from_id(plain.id()).is_some() => wanted,
                    Some(_) => return Err(self.unreadable(kind.name())),
                }
            }
        };
        TensorType::from_id(format.id()).ok_or_else(|| self.unreadable(format.name()))
    }

    fn unreadable(&self, dtype: &str) -> Error {
        Error::Dtype { tensor: self.name.clone(), dtype: dtype.into() }
    }

    fn failed(&self, error: smidgen_quant::Error) -> Error {
        Error::Encode { tensor: self.name.clone(), error }
    }

    /// That there are fewer values than the shape promises.
    fn short(&self) -> Error {
        Error::MissingTensor { tensor: self.name.clone() }
    }

    /// Decodes row `row` into `values`.
    fn read(&self, row: usize, values: &mut [f32]) -> Result<(), Error> {
        match &self.data {
            Data::Stored { dtype, bytes } => self.decode(*dtype, bytes, row, values),
            Data::Rows { dtype, bytes, rows } if self.dims.len() > 1 => {
                let stored = *rows.get(row).ok_or_else(|| self.short())?;
                self.decode(*dtype, bytes, stored as usize, values)
            }
            Data::Rows { dtype, bytes, rows } => {
                let each = rows.iter().zip(values.chunks_exact_mut(1));
                each.into_iter().try_for_each(|(stored, value)| self.decode(*dtype, bytes, *stored as usize, value))
            }
            Data::Transposed { dtype, bytes } => {
                let rows = self.dims.get(1).map_or(1, |rows| *rows as usize);
                let each = values.chunks_exact_mut(1).enumerate();
                each.into_iter().try_for_each(|(col, value)| self.decode(*dtype, bytes, col * rows + row, value))
            }
            Data::Values(all) => {
                values.copy_from_slice(
                    all.get(row * values.len()..(row + 1) * values.len()).ok_or_else(|| self.short())?,
                );
                Ok(())
            }
            Data::Blocks { kind, bytes } => {
                let plain = kind.unpacked().unwrap_or(*kind);
                let format = Format::from_id(plain.id()).ok_or_else(|| self.unreadable(kind.name()))?;
                let len = format.bytes(values.len()).unwrap_or(0);
                let result = if *kind == plain {
                    format.decode(bytes.get(row * len..(row + 1) * len).ok_or_else(|| self.short())?, values)
                } else {
                    let mut blocks = vec![0; len];
                    copy_row(*kind, bytes, row, &mut blocks);
                    format.decode(&blocks, values)
                };
                result.map_err(|error| self.failed(error))
            }
        }
    }

    /// A weight as it is in the source, if that has more than 32 bits.
    fn wide(&self, row: usize, column: usize, cols: usize) -> Option<f64> {
        let (bytes, at) = match &self.data {
            Data::Stored { dtype: Dtype::F64, bytes } => (bytes, row * cols + column),
            Data::Rows { dtype: Dtype::F64, bytes, rows } if self.dims.len() > 1 => {
                (bytes, *rows.get(row)? as usize * cols + column)
            }
            Data::Rows { dtype: Dtype::F64, bytes, rows } => (bytes, *rows.get(column)? as usize),
            Data::Transposed { dtype: Dtype::F64, bytes } => {
                (bytes, column * self.dims.get(1).map_or(1, |rows| *rows as usize) + row)
            }
            _ => return None,
        };
        bytes.as_chunks().0.get(at).map(|bytes| f64::from_le_bytes(*bytes))
    }

    /// Decodes row `row` of the elements in `bytes`.
    fn decode(&self, dtype: Dtype, bytes: &[u8], row: usize, values: &mut [f32]) -> Result<(), Error> {
        let len = values.len() * dtype.bytes();
        let bytes = bytes.get(row * len..(row + 1) * len).ok_or_else(|| self.short())?;
        let format = match dtype {
            Dtype::F32 => Format::F32,
            Dtype::F16 => Format::F16,
            Dtype::BF16 => Format::BF16,
            Dtype::F64 => {
                for (value, bytes) in values.iter_mut().zip(bytes.as_chunks().0) {
                    *value = f64::from_le_bytes(*bytes) as f32;
                }
                return Ok(());
            }
            _ => return Err(self.unreadable(dtype.name())),
        };
        format.decode(bytes, values).map_err(|error| self.failed(error))
    }
}

/// A row on its way into the file.
struct Row<'t, 'a> {
    tensor: &'t Planned<'a>,
    kind: TensorType,
    number: usize,
    clamp: bool,
}

impl Row<'_, '_> {
    /// Writes the row's `cols` weights to `out`, which has the length of a row, and gives the number of those that were clamped. `values` is
    /// room for a row.
    fn encode(&self, cols: usize, values: &mut Vec<f32>, out: &mut [u8]) -> Result<u64, Error> {
        let Row { tensor, kind, number, .. } = *self;
        let format = Format::from_id(kind.id());
        if let Data::Blocks { kind: source, bytes } = &tensor.data
            && source.unpacked().unwrap_or(*source) == kind
        {
            copy_row(*source, bytes, number, out);
            return match format.and_then(|format| Some((format, format.first_non_finite(out)?))) {
                Some((format, block)) => Err(self.infinite_scale(format, block, out)),
                None => Ok(0),
            };
        }
        let format = format.ok_or_else(|| tensor.unreadable(kind.name()))?;
        values.resize(cols, 0.0);
        tensor.read(number, values)?;
        let mut clamped = 0;
        let mut peak = peak(values);
        if !peak.is_finite() {
            let wide = self.clamp_wide(values)?;
            // In every other format they are clamped once more.
            clamped = if format == Format::F32 { wide } else { 0 };
            peak = f32::MAX;
        }
        format.encode(values, out).map_err(|error| tensor.failed(error))?;
        // No scale is larger than the largest weight.
        if peak > Format::F16.largest() {
            clamped += self.clamp_blocks(format, values, out)?;
        }
        Ok(clamped)
    }

    /// Clamps what is infinite as `f32` but was finite in the source; everything else that is not finite is an error.
    fn clamp_wide(&self, values: &mut [f32]) -> Result<u64, Error> {
        let mut clamped = 0;
        let cols = values.len();
        for (column, value) in values.iter_mut().enumerate().filter(|(_, value)| !value.is_finite()) {
            match self.tensor.wide(self.number, column, cols).filter(|wide| wide.is_finite()) {
                None => return Err(self.not_finite(column, *value)),
                Some(wide) if !self.clamp => return Err(self.overflow(Format::F32, column, wide)),
                Some(_) => *value = value.clamp(f32::MIN, f32::MAX),
            }
            clamped += 1;
        }
        Ok(clamped)
    }

    /// Encodes again, clamped, the blocks of which some weight is too large.
    fn clamp_blocks(&self, format: Format, values: &mut [f32], out: &mut [u8]) -> Result<u64, Error> {
        let (len, bytes, largest) = (format.block_len(), format.block_bytes(), format.largest());
        let (mut values, mut out, mut first, mut clamped) = (values, out, 0, 0);
        while let Some(block) = format.first_overflow(values, out) {
            let (Some(rest), Some(blocks)) = (values.get_mut(block * len..), out.get_mut(block * bytes..)) else {
                break;
            };
            let (Some((weights, rest)), Some((place, blocks))) =
                (rest.split_at_mut_checked(len), blocks.split_at_mut_checked(bytes))
            else {
                break;
            };
            first += block * len;
            if !self.clamp {
                let largest = weights.iter().enumerate().rev().max_by(|a, b| a.1.abs().total_cmp(&b.1.abs()));
                let (column, value) = largest.map_or((0, 0.0), |(column, value)| (column, *value));
                return Err(self.overflow(format, first + column, value.into()));
            }
            for weight in weights.iter_mut().filter(|weight| weight.abs() > largest) {
                *weight = weight.clamp(-largest, largest);
                clamped += 1;
            }
            format.encode(weights, place).map_err(|error| self.tensor.failed(error))?;
            first += len;
            (values, out) = (rest, blocks);
        }
        Ok(clamped)
    }

    fn overflow(&self, format: Format, column: usize, value: f64) -> Error {
        Error::Overflow { tensor: self.tensor.name.clone(), row: self.number, column, value, format }
    }

    fn not_finite(&self, column: usize, value: f32) -> Error {
        Error::NotFinite { tensor: self.tensor.name.clone(), row: self.number, column, value }
    }

    /// That a block of this row, which is copied, has a scale or weight that is not finite.
    fn infinite_scale(&self, format: Format, block: usize, out: &[u8]) -> Error {
        let (len, bytes) = (format.block_len(), format.block_bytes());
        let mut values = vec![0.0; len];
        // Whatever cannot be decoded has been refused before.
        let _ = format.decode(out.get(block * bytes..(block + 1) * bytes).unwrap_or_default(), &mut values);
        let column = values.iter().position(|value| !value.is_finite()).unwrap_or(0);
        self.not_finite(block * len + column, values.get(column).copied().unwrap_or(f32::NAN))
    }
}

/// The largest magnitude; not finite if some value is not.
fn peak(values: &[f32]) -> f32 {
    f32::from_bits(values.iter().fold(0, |peak, value| peak.max(value.to_bits() & (u32::MAX >> 1))))
}

/// Copies a row of blocks, taking it out of its panel if `kind` is packed.
fn copy_row(kind: TensorType, bytes: &[u8], row: usize, out: &mut [u8]) {
    let len = out.len();
    let format = kind.unpacked().and_then(|plain| Format::from_id(plain.id()));
    let panel = row / PANEL * PANEL * len;
    match (format, bytes.get(panel..panel + PANEL * len)) {
        (Some(format), Some(panel)) => {
            for (b, block) in out.chunks_exact_mut(format.block_bytes()).enumerate() {
                format.block_of_panel(panel, row % PANEL, b * format.block_bytes(), block);
            }
        }
        // Rows after the last whole panel lie as they were.
        _ => out.copy_from_slice(bytes.get(row * len..(row + 1) * len).unwrap_or(&vec![0; len])),
    }
}
