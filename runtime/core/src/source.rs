//! Metadata and tensors of a model's files, with errors that name them.

use crate::linear::Linear;
use crate::memory::{try_with_capacity, zeroed};
use crate::{Key, LoadError, TensorName};
use alloc::string::ToString;
use alloc::vec::Vec;
use smidgen_gguf::{Gguf, Tensor, TensorType, Value};
use smidgen_targets::{Format, Layout, WeightMatrix};

/// Upper bound accepted from a file for the extent of a tensor or the number of heads.
pub(crate) const MAX_EXTENT: u64 = 1 << 31;

/// Metadata and tensors of a model's files.
pub(crate) struct Source<'f, 'a> {
    files: &'f [Gguf<'a>],
    /// Tensors of all files by name.
    tensors: Vec<Tensor<'a>>,
}

impl<'f, 'a> Source<'f, 'a> {
    pub(crate) fn new(files: &'f [Gguf<'a>]) -> Result<Source<'f, 'a>, LoadError> {
        let mut tensors = try_with_capacity(files.iter().map(|file| file.tensors().len()).sum())?;
        for file in files {
            tensors.extend(file.tensors());
        }
        tensors.sort_unstable_by_key(|tensor| tensor.name);
        match tensors.windows(2).find(|pair| pair[0].name == pair[1].name) {
            Some(pair) => Err(LoadError::DuplicateTensor { name: pair[0].name.to_string() }),
            None => Ok(Source { files, tensors }),
        }
    }

    /// The value of a key in the first file that has it.
    pub(crate) fn get(&self, key: &str) -> Option<Value<'a>> {
        self.files.iter().find_map(|file| file.get(key))
    }

    pub(crate) fn value(&self, key: Key) -> Option<Value<'a>> {
        self.get(&key.to_string())
    }

    /// An integer from `least` to [`MAX_EXTENT`].
    pub(crate) fn integer(&self, key: Key, least: u64) -> Result<Option<usize>, LoadError> {
        self.value(key).map(|value| integer_of(key, value, least)).transpose()
    }

    pub(crate) fn required(&self, key: Key, least: u64) -> Result<usize, LoadError> {
        self.integer(key, least)?.ok_or(LoadError::MissingKey { key })
    }

    /// An integer, or an array of one for each layer that are all the same.
    pub(crate) fn per_layer(&self, key: Key, layers: usize) -> Result<Option<usize>, LoadError> {
        let Some(Value::Array(array)) = self.value(key) else { return self.integer(key, 1) };
        if array.len() != layers {
            return Err(LoadError::KeyLength { key, expected: layers, found: array.len() });
        }
        let mut common = None;
        for value in array {
            let value = integer_of(key, value, 1)?;
            if common.replace(value).is_some_and(|other| other != value) {
                return Err(LoadError::LayersDiffer { key });
            }
        }
        Ok(common)
    }

    /// A positive finite number.
    pub(crate) fn number(&self, key: Key) -> Result<Option<f32>, LoadError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let number = value.as_f32().ok_or(LoadError::KeyType { key, expected: "float", found: value.kind() })?;
        if number.is_finite() && number > 0.0 {
            Ok(Some(number))
        } else {
            Err(LoadError::KeyNumber { key, value: number })
        }
    }

    /// A truth value.
    pub(crate) fn flag(&self, key: Key) -> Result<Option<bool>, LoadError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        value.as_bool().map(Some).ok_or(LoadError::KeyType { key, expected: "bool", found: value.kind() })
    }

    pub(crate) fn text(&self, key: Key) -> Result<Option<&'a str>, LoadError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        value.as_str().map(Some).ok_or(LoadError::KeyType { key, expected: "string", found: value.kind() })
    }

    /// The tensor of that name, if it is there.
    pub(crate) fn tensor(&self, name: TensorName) -> Option<Tensor<'a>> {
        let name = name.to_string();
        let at = self.tensors.binary_search_by_key(&name.as_str(), |tensor| tensor.name).ok()?;
        self.tensors.get(at).copied()
    }

    /// A vector of finite `f32`, copied; empty if the tensor is absent.
    pub(crate) fn vector(&self, name: TensorName, len: usize) -> Result<Vec<f32>, LoadError> {
        let Some(tensor) = self.tensor(name) else { return Ok(Vec::new()) };
        check_shape(name, &tensor, len, 1)?;
        let format = match format_of(tensor.kind) {
            Some((format @ (Format::F32 | Format::F16 | Format::BF16), _)) => format,
            _ => return Err(LoadError::TensorKind { tensor: name, found: tensor.kind }),
        };
        let mut values = zeroed(len)?;
        if format.decode(tensor.data, &mut values).is_err() {
            return Err(LoadError::TensorKind { tensor: name, found: tensor.kind });
        }
        match values.iter().position(|value| !value.is_finite()) {
            Some(index) => Err(LoadError::WeightNotFinite { tensor: name, index }),
            None => Ok(values),
        }
    }

    pub(crate) fn required_vector(&self, name: TensorName, len: usize) -> Result<Vec<f32>, LoadError> {
        let values = self.vector(name, len)?;
        if values.is_empty() { Err(LoadError::MissingTensor { tensor: name }) } else { Ok(values) }
    }

    /// The weights and the bias of a convolution `[outputs × channels · height · width]` of a kernel of this width, height and number of
    /// channels, as a matrix.
    pub(crate) fn convolution(
        &self,
        name: TensorName,
        bias: &'static str,
        outputs: usize,
        kernel: [usize; 3],
    ) -> Result<Linear<'a>, LoadError> {
        let tensor = self.tensor(name).ok_or(LoadError::MissingTensor { tensor: name })?;
        let unsupported = LoadError::TensorKind { tensor: name, found: tensor.kind };
        let inputs = kernel.iter().try_fold(1usize, |size, extent| size.checked_mul(*extent));
        let inputs = inputs.ok_or(unsupported.clone())?;
        let [width, height, channels] = kernel.map(|extent| extent as u64);
        if tensor.dims != [width, height, channels, outputs as u64] {
            let expected = [inputs as u64, outputs as u64];
            return Err(LoadError::TensorShape { tensor: name, expected, found: tensor.dims });
        }
        let (format, layout) = match format_of(tensor.kind) {
            Some((format @ (Format::F32 | Format::F16 | Format::BF16), layout)) => (format, layout),
            _ => return Err(unsupported),
        };
        let weight = WeightMatrix::new(format, layout, tensor.data, outputs, inputs).ok_or(unsupported)?;
        Ok(Linear {
            name,
            weight,
            bias: self.vector(TensorName { part: bias, ..name }, outputs)?,
            unrounded: Vec::new(),
        })
    }

    /// The matrix `[outputs × inputs]` of a name.
    pub(crate) fn matrix(
        &self,
        name: TensorName,
        outputs: usize,
        inputs: usize,
    ) -> Result<WeightMatrix<'a>, LoadError> {
        let tensor = self.tensor(name).ok_or(LoadError::MissingTensor { tensor: name })?;
        check_shape(name, &tensor, inputs, outputs)?;
        let unsupported = LoadError::TensorKind { tensor: name, found: tensor.kind };
        let (format, layout) = format_of(tensor.kind).ok_or(unsupported.clone())?;
        WeightMatrix::new(format, layout, tensor.data, outputs, inputs).ok_or(unsupported)
    }

    /// A matrix with a bias, if there is one.
    pub(crate) fn linear(
        &self,
        name: TensorName,
        bias: &'static str,
        outputs: usize,
        inputs: usize,
    ) -> Result<Linear<'a>, LoadError> {
        let weight = self.matrix(name, outputs, inputs)?;
        Ok(Linear {
            name,
            weight,
            bias: self.vector(TensorName { part: bias, ..name }, outputs)?,
            unrounded: Vec::new(),
        })
    }
}

fn integer_of(key: Key, value: Value, least: u64) -> Result<usize, LoadError> {
    let Some(integer) = value.as_u64() else {
        return Err(LoadError::KeyType { key, expected: "non-negative integer", found: value.kind() });
    };
    match usize::try_from(integer) {
        Ok(size) if (least..=MAX_EXTENT).contains(&integer) => Ok(size),
        _ => Err(LoadError::KeyRange { key, value: integer, least, most: MAX_EXTENT }),
    }
}

fn check_shape(name: TensorName, tensor: &Tensor, inputs: usize, outputs: usize) -> Result<(), LoadError> {
    let expected = [inputs as u64, outputs as u64];
    if tensor.dims == [expected[0], expected[1], 1, 1] {
        Ok(())
    } else {
        Err(LoadError::TensorShape { tensor: name, expected, found: tensor.dims })
    }
}

/// The format and the layout of a tensor type, if its tensors can be multiplied.
pub(crate) fn format_of(kind: TensorType) -> Option<(Format, Layout)> {
    let layout = if kind.unpacked().is_some() { Layout::Packed } else { Layout::Plain };
    Some((Format::from_id(kind.unpacked().unwrap_or(kind).id())?, layout))
}
