//! Metadata and tensors of a model's files, with errors that name them.

use crate::linear::Linear;
use crate::memory::{try_with_capacity, zeroed};
use crate::{Key, LoadError, TensorName};
use alloc::string::ToString;
use alloc::vec::Vec;
use core::cell::Cell;
use core::ops::Range;
use smidgen_gguf::{Gguf, Tensor, TensorType, Value};
use smidgen_targets::{Format, Layout, WeightMatrix};

/// Upper bound accepted from a file for the extent of a tensor or the number of heads.
pub(crate) const MAX_EXTENT: u64 = 1 << 31;

/// Metadata and tensors of a model's files.
pub(crate) struct Source<'f, 'a> {
    files: &'f [Gguf<'a>],
    /// Tensors of all files by name, and whether they were asked for.
    tensors: Vec<(Tensor<'a>, Cell<bool>)>,
    /// Which of [`SIGNIFICANT`] were asked for.
    asked: [Cell<bool>; SIGNIFICANT.len()],
}

/// Keys of decoders that change what is computed, each with the value by which it does not: a family that does not ask for one refuses another value.
const SIGNIFICANT: [(&str, f32); 34] = [
    ("expert_count", 0.0),
    ("attention.sliding_window", 0.0),
    ("attn_logit_softcapping", 0.0),
    ("final_logit_softcapping", 0.0),
    ("router_logit_softcapping", 0.0),
    ("logit_scale", 1.0),
    ("residual_scale", 1.0),
    ("embedding_scale", 1.0),
    ("attention.scale", 0.0),
    ("attention.output_scale", 1.0),
    ("attention.clamp_kqv", 0.0),
    ("attention.max_alibi_bias", 0.0),
    ("attention.temperature_scale", 0.0),
    ("attention.causal", 1.0),
    ("attention.q_lora_rank", 0.0),
    ("attention.kv_lora_rank", 0.0),
    ("attention.key_length_swa", 0.0),
    ("attention.value_length_swa", 0.0),
    ("attention.shared_kv_layers", 0.0),
    ("attention.group_norm_groups", 0.0),
    ("use_parallel_residual", 0.0),
    ("feed_forward_activation", 0.0),
    ("rope.dimension_sections", 0.0),
    ("rope.dimension_count_swa", 0.0),
    ("rope.freq_base_swa", 0.0),
    ("rope.scaling.type", 0.0),
    ("rope.scaling.factor", 1.0),
    ("rope.scaling.attn_factor", 1.0),
    ("rope.scaling.alpha", 0.0),
    ("rope.scaling.yarn_log_multiplier", 0.0),
    ("rope.scaling.yarn_ext_factor", 1.0),
    ("rope.scaling.yarn_attn_factor", 1.0),
    ("swiglu_clamp_exp", 0.0),
    ("leading_dense_block_count", 0.0),
];

impl<'f, 'a> Source<'f, 'a> {
    pub(crate) fn new(files: &'f [Gguf<'a>]) -> Result<Source<'f, 'a>, LoadError> {
        let mut tensors = try_with_capacity(files.iter().map(|file| file.tensors().len()).sum())?;
        for file in files {
            tensors.extend(file.tensors().map(|tensor| (tensor, Cell::new(false))));
        }
        tensors.sort_unstable_by_key(|(tensor, _)| tensor.name);
        match tensors.windows(2).find(|pair| pair[0].0.name == pair[1].0.name) {
            Some(pair) => Err(LoadError::DuplicateTensor { name: pair[0].0.name.to_string() }),
            None => Ok(Source { files, tensors, asked: [const { Cell::new(false) }; SIGNIFICANT.len()] }),
        }
    }

    /// The value of a key in the first file that has it.
    pub(crate) fn get(&self, key: &str) -> Option<Value<'a>> {
        self.files.iter().find_map(|file| file.get(key))
    }

    pub(crate) fn value(&self, key: Key) -> Option<Value<'a>> {
        if let Some(at) = SIGNIFICANT.iter().position(|(name, _)| *name == key.name) {
            self.asked[at].set(true);
        }
        self.get(&key.to_string())
    }

    /// Refuses what a loader did not ask for though it changes what is computed: tensors, and keys that are known to. The layers `further` predict
    /// further tokens, and are not run.
    ///
    /// # Errors
    /// [`LoadError::SurplusTensor`], [`LoadError::SurplusKey`].
    pub(crate) fn refuse_rest(&self, architecture: &'static str, further: Range<usize>) -> Result<(), LoadError> {
        for ((name, neutral), asked) in SIGNIFICANT.iter().zip(&self.asked) {
            let key = Key { architecture, name };
            let Some(value) = self.get(&key.to_string()).filter(|_| !asked.get()) else { continue };
            let number = value.as_bool().map(|flag| f32::from(u8::from(flag))).or(value.as_f32());
            if number.or(value.as_u64().map(|value| value as f32)) != Some(*neutral) && value.as_str() != Some("none") {
                return Err(LoadError::SurplusKey { key });
            }
        }
        let not_run = |name: &str| {
            let number = name.strip_prefix("blk.").and_then(|rest| rest.split('.').next());
            number.and_then(|number| number.parse().ok()).is_some_and(|number| further.contains(&number))
        };
        let rest = self.tensors.iter().find(|(tensor, asked)| !asked.get() && !not_run(tensor.name));
        match rest {
            Some((tensor, _)) => Err(LoadError::SurplusTensor { name: tensor.name.chars().take(64).collect() }),
            None => Ok(()),
        }
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

    /// Truth values, if the key has an array of them.
    pub(crate) fn flags(&self, key: Key) -> Result<Option<Vec<bool>>, LoadError> {
        let Some(Value::Array(array)) = self.value(key) else { return Ok(None) };
        let mut flags = try_with_capacity(array.len())?;
        for value in array {
            let wrong = LoadError::KeyType { key, expected: "array of bool", found: value.kind() };
            flags.push(value.as_bool().or(value.as_u64().map(|value| value != 0)).ok_or(wrong)?);
        }
        Ok(Some(flags))
    }

    /// A finite number of each layer, from an array or one number for all.
    pub(crate) fn number_of_layer(&self, key: Key, layers: usize) -> Result<Vec<f32>, LoadError> {
        let number = |value: Value| match value.as_f32() {
            Some(number) if number.is_finite() => Ok(number),
            Some(value) => Err(LoadError::KeyNumber { key, value }),
            None => Err(LoadError::KeyType { key, expected: "float", found: value.kind() }),
        };
        let mut numbers = try_with_capacity(layers)?;
        match self.value(key).ok_or(LoadError::MissingKey { key })? {
            Value::Array(array) if array.len() != layers => {
                return Err(LoadError::KeyLength { key, expected: layers, found: array.len() });
            }
            Value::Array(array) => array.into_iter().try_for_each(|value| number(value).map(|n| numbers.push(n)))?,
            value => numbers.resize(layers, number(value)?),
        }
        Ok(numbers)
    }

    /// A truth value.
    pub(crate) fn flag(&self, key: Key) -> Result<Option<bool>, LoadError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        value.as_bool().map(Some).ok_or(LoadError::KeyType { key, expected: "bool", found: value.kind() })
    }

    pub(crate) fn text(&self, key: Key) -> Result<Option<&'a str>, LoadError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        if let Some(offset) = value.not_utf8() {
            return Err(LoadError::NotUtf8 { key, offset });
        }
        value.as_str().map(Some).ok_or(LoadError::KeyType { key, expected: "string", found: value.kind() })
    }

    /// The tensor of that name, if it is there.
    pub(crate) fn tensor(&self, name: TensorName) -> Option<Tensor<'a>> {
        let name = name.to_string();
        let at = self.tensors.binary_search_by_key(&name.as_str(), |(tensor, _)| tensor.name).ok()?;
        let (tensor, asked) = self.tensors.get(at)?;
        asked.set(true);
        Some(*tensor)
    }

    /// A vector of finite `f32`, copied; empty if the tensor is absent.
    pub(crate) fn vector(&self, name: TensorName, len: usize) -> Result<Vec<f32>, LoadError> {
        self.table(name, 1, len)
    }

    /// A table `[rows × cols]` of finite `f32`, copied; empty if the tensor is absent.
    pub(crate) fn table(&self, name: TensorName, rows: usize, cols: usize) -> Result<Vec<f32>, LoadError> {
        let Some(tensor) = self.tensor(name) else { return Ok(Vec::new()) };
        check_shape(name, &tensor, cols, rows)?;
        let len = rows.checked_mul(cols).ok_or(LoadError::OutOfMemory { bytes: usize::MAX })?;
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
    #[cfg(feature = "encoders")]
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

    /// The parts of a matrix that are products of one input, with parts of its bias, if there is one.
    pub(crate) fn fused<const N: usize>(
        &self,
        name: TensorName,
        bias: &'static str,
        outputs: [usize; N],
        inputs: usize,
    ) -> Result<[Linear<'a>; N], LoadError> {
        let rows = outputs.iter().try_fold(0usize, |sum, rows| sum.checked_add(*rows));
        let whole = self.linear(name, bias, rows.ok_or(LoadError::OutOfMemory { bytes: usize::MAX })?, inputs)?;
        let mut parts = outputs.map(|_| Linear { unrounded: Vec::new(), bias: Vec::new(), ..whole.clone() });
        let mut first = 0;
        for (part, rows) in parts.iter_mut().zip(outputs) {
            part.weight = whole.weight.part(first, rows).ok_or(LoadError::PackedParts { tensor: name })?;
            if !whole.bias.is_empty() {
                part.bias = whole.bias[first..first + rows].to_vec();
            }
            first += rows;
        }
        Ok(parts)
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
