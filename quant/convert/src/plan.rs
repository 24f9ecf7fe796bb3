//! The plan of a converted file: its metadata, and for each tensor the source of its values. An architecture makes a [`Plan`] with
//! a [`Planner`]; nothing is read or written by it.

use crate::checkpoint::Checkpoint;
use crate::safetensors::{Dtype, Tensor};
use crate::{Error, Meta};
use smidgen_gguf::TensorType;
use smidgen_quant::Format;
use std::collections::HashSet;

/// Where a tensor's values come from, row by row.
#[derive(Clone, Debug)]
pub enum Data<'a> {
    /// Elements as they lie in a safetensors file.
    Stored {
        /// Their type.
        dtype: Dtype,
        /// The elements.
        bytes: &'a [u8],
    },
    /// Some of their rows (of a vector, elements), by number.
    Rows {
        /// Their type.
        dtype: Dtype,
        /// The elements.
        bytes: &'a [u8],
        /// The rows, in the order of the file that is written.
        rows: Vec<u32>,
    },
    /// A matrix that is stored with its columns one after another.
    Transposed {
        /// The elements' type.
        dtype: Dtype,
        /// The elements.
        bytes: &'a [u8],
    },
    /// Values that the conversion computed.
    Values(Vec<f32>),
    /// Blocks of another GGUF file, perhaps packed.
    Blocks {
        /// Their type.
        kind: TensorType,
        /// The blocks.
        bytes: &'a [u8],
    },
}

/// A tensor to write.
#[derive(Clone, Debug)]
pub struct Planned<'a> {
    /// The name in the GGUF file.
    pub name: String,
    /// The shape in GGUF's order: row length first.
    pub dims: Vec<u64>,
    /// The values.
    pub data: Data<'a>,
}

/// A file to write.
#[derive(Clone, Debug, Default)]
pub struct Plan<'a> {
    /// Keys and values in order; `general.file_type` and `general.quantization_version` are added when it is written.
    pub metadata: Vec<(String, Meta<'a>)>,
    /// Tensors in order.
    pub tensors: Vec<Planned<'a>>,
}

/// Makes a [`Plan`] from a [`Checkpoint`], and sees to it that every tensor of the checkpoint has a place.
#[derive(Debug)]
pub struct Planner<'c, 'a> {
    /// The model.
    pub checkpoint: &'c Checkpoint<'a>,
    architecture: &'static str,
    plan: Plan<'a>,
    used: HashSet<String>,
}

impl<'c, 'a> Planner<'c, 'a> {
    /// A plan for a file with this `general.architecture`.
    pub fn new(checkpoint: &'c Checkpoint<'a>, architecture: &'static str) -> Planner<'c, 'a> {
        let mut planner = Planner { checkpoint, architecture, plan: Plan::default(), used: HashSet::new() };
        planner.metadata("general.architecture", architecture);
        planner
    }

    /// Adds a key.
    pub fn metadata(&mut self, key: impl Into<String>, value: impl Into<Meta<'a>>) {
        self.plan.metadata.push((key.into(), value.into()));
    }

    /// Adds a key that begins with the name of the architecture.
    pub fn hyper(&mut self, key: &str, value: impl Into<Meta<'a>>) {
        self.metadata(format!("{}.{key}", self.architecture), value);
    }

    /// The value of a key that begins with the name of the architecture, if it was added.
    pub(crate) fn hyper_value(&self, key: &str) -> Option<&Meta<'a>> {
        let key = format!("{}.{key}", self.architecture);
        self.plan.metadata.iter().find(|(known, _)| *known == key).map(|(_, value)| value)
    }

    /// A tensor of the checkpoint, which from now on counts as used, with its shape checked (in the order of the checkpoint: slowest
    /// extent first).
    ///
    /// # Errors
    /// [`Error::MissingTensor`], [`Error::WrongShape`].
    pub fn take(&mut self, source: &str, shape: &[u64]) -> Result<&'c Tensor<'a>, Error> {
        let missing = || Error::MissingTensor { tensor: source.into() };
        let tensor = self.checkpoint.tensor(source).ok_or_else(missing)?;
        if tensor.shape != shape {
            let (found, expected) = (tensor.shape.clone(), shape.to_vec());
            return Err(Error::WrongShape { tensor: source.into(), found, expected });
        }
        self.used.insert(source.into());
        Ok(tensor)
    }

    /// Adds a tensor of the checkpoint as `name`, with the same shape.
    ///
    /// # Errors
    /// Those of [`take`](Planner::take).
    pub fn tensor(&mut self, name: impl Into<String>, source: &str, shape: &[u64]) -> Result<(), Error> {
        let Tensor { dtype, data, .. } = *self.take(source, shape)?;
        self.add(name, shape, Data::Stored { dtype, bytes: data });
        Ok(())
    }

    /// Adds a weight and its bias: `name.weight` from `source.weight` of `[outputs, inputs]`, and `name.bias` from `source.bias` of
    /// `[outputs]` if it is there.
    ///
    /// # Errors
    /// Those of [`take`](Planner::take).
    pub fn linear(&mut self, name: &str, source: &str, outputs: u64, inputs: u64) -> Result<(), Error> {
        self.product(name, source, outputs, inputs, None)
    }

    /// The same where the configuration says whether there is a bias; `None` if it says nothing.
    ///
    /// # Errors
    /// Those of [`take`](Planner::take).
    pub fn product(
        &mut self,
        name: &str,
        source: &str,
        outputs: u64,
        inputs: u64,
        biased: Option<bool>,
    ) -> Result<(), Error> {
        self.tensor(format!("{name}.weight"), &format!("{source}.weight"), &[outputs, inputs])?;
        let bias = format!("{source}.bias");
        if biased.unwrap_or_else(|| self.has(&bias)) {
            self.tensor(format!("{name}.bias"), &bias, &[outputs])?;
        }
        Ok(())
    }

    /// Adds a layer norm: weight and bias of `[len]`.
    ///
    /// # Errors
    /// Those of [`take`](Planner::take).
    pub fn norm(&mut self, name: &str, source: &str, len: u64) -> Result<(), Error> {
        self.tensor(format!("{name}.weight"), &format!("{source}.weight"), &[len])?;
        self.tensor(format!("{name}.bias"), &format!("{source}.bias"), &[len])
    }

    /// Adds a tensor with any values; the shape is in the order of the checkpoint.
    pub fn add(&mut self, name: impl Into<String>, shape: &[u64], data: Data<'a>) {
        let dims = shape.iter().rev().copied().collect();
        self.plan.tensors.push(Planned { name: name.into(), dims, data });
    }

    /// Whether the checkpoint has a tensor.
    pub fn has(&self, source: &str) -> bool {
        self.checkpoint.tensor(source).is_some()
    }

    /// The plan, if every tensor of the checkpoint has been used or `needless` says that inference does without it.
    ///
    /// # Errors
    /// [`Error::UnusedTensor`].
    pub fn finish(self, needless: impl Fn(&str) -> bool) -> Result<Plan<'a>, Error> {
        match self.checkpoint.names().find(|name| !self.used.contains(*name) && !needless(name)) {
            Some(name) => Err(Error::UnusedTensor { tensor: name.into() }),
            None => Ok(self.plan),
        }
    }
}

impl<'a> Tensor<'a> {
    /// The values, for a tensor that is small.
    ///
    /// # Errors
    /// [`Error::Dtype`] for a type of no weights.
    pub(crate) fn floats(&self) -> Result<Vec<f32>, Error> {
        let count = self.data.len() / self.dtype.bytes();
        let mut values = vec![0.0; count];
        let unreadable = || Error::Dtype { tensor: self.name.clone(), dtype: self.dtype.name().into() };
        let format = match self.dtype {
            Dtype::F32 => Format::F32,
            Dtype::F16 => Format::F16,
            Dtype::BF16 => Format::BF16,
            _ => return Err(unreadable()),
        };
        format.decode(self.data, &mut values).map_err(|_| unreadable())?;
        Ok(values)
    }

    /// `count` rows (steps of the first extent) from `first` on, for a tensor that holds several of ours; fewer at its end.
    pub fn rows(&self, first: u64, count: u64) -> Data<'a> {
        let row = self.shape.iter().skip(1).product::<u64>().saturating_mul(self.dtype.bytes() as u64);
        let at = |rows: u64| usize::try_from(rows.saturating_mul(row)).unwrap_or(usize::MAX).min(self.data.len());
        let bytes = self.data.get(at(first)..at(first.saturating_add(count))).unwrap_or_default();
        Data::Stored { dtype: self.dtype, bytes }
    }
}
