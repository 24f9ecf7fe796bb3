//! The graphs of a TensorFlow Lite file, schema version 3: tensors with their quantization, and operators in the order in which they run.

use super::Error;
use super::flatbuffer::{Table, Vector};

/// Most tensors, operators or buffers.
const MOST: usize = 1 << 14;
/// Most dimensions of a tensor.
const MAX_DIMENSIONS: usize = 8;
/// Most elements of a tensor.
const MAX_ELEMENTS: usize = 1 << 24;
/// Most inputs or outputs of an operator.
const MAX_OPERANDS: usize = 1 << 10;

/// Types of elements that matter here, by the schema's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Int32,
    UInt8,
    Int8,
    Resource,
    Other(i32),
}

impl Kind {
    fn bytes(self) -> Option<usize> {
        match self {
            Kind::Int32 => Some(4),
            Kind::UInt8 | Kind::Int8 => Some(1),
            Kind::Resource | Kind::Other(_) => None,
        }
    }

    /// The schema's name.
    pub(super) fn name(self) -> String {
        match self {
            Kind::Int32 => "int32".into(),
            Kind::UInt8 => "uint8".into(),
            Kind::Int8 => "int8".into(),
            Kind::Resource => "resource".into(),
            Kind::Other(0) => "float32".into(),
            Kind::Other(1) => "float16".into(),
            Kind::Other(4) => "int64".into(),
            Kind::Other(7) => "int16".into(),
            Kind::Other(number) => format!("number {number}"),
        }
    }
}

/// A tensor.
pub(super) struct Tensor<'a> {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    pub(super) kind: Kind,
    /// The elements of a constant.
    pub(super) data: Option<&'a [u8]>,
    scales: Vector<'a, 4>,
    zeros: Vector<'a, 8>,
}

impl Tensor<'_> {
    /// The product of the shape.
    pub(super) fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Number of scales: one, or one for each channel.
    pub(super) fn scales(&self) -> usize {
        self.scales.elements.len()
    }

    /// The scale of a channel, which is positive and finite.
    pub(super) fn scale(&self, channel: usize) -> Result<f32, Error> {
        let channel = if self.scales() == 1 { 0 } else { channel };
        let scale = self.scales.elements.get(channel).map(|bytes| f32::from_le_bytes(*bytes));
        scale
            .filter(|scale| scale.is_finite() && *scale > 0.0)
            .ok_or_else(|| Error::Quantization { tensor: self.name.clone(), field: "scale" })
    }

    /// The zero point of the whole tensor.
    pub(super) fn zero(&self) -> Result<i32, Error> {
        let zero = self.zeros.elements.first().map_or(0, |bytes| i64::from_le_bytes(*bytes));
        let range = if self.kind == Kind::UInt8 { 0..=255 } else { -128..=127 };
        i32::try_from(zero)
            .ok()
            .filter(|zero| range.contains(zero))
            .ok_or_else(|| Error::Quantization { tensor: self.name.clone(), field: "zero_point" })
    }

    /// That zero is zero, as it must be for weights.
    pub(super) fn symmetric(&self) -> Result<(), Error> {
        if self.zeros.elements.iter().all(|bytes| i64::from_le_bytes(*bytes) == 0) {
            return Ok(());
        }
        Err(Error::Quantization { tensor: self.name.clone(), field: "zero_point" })
    }

    /// The numbers of an int32 constant.
    pub(super) fn ints(&self) -> Result<Vec<i32>, Error> {
        let data = self.data.filter(|_| self.kind == Kind::Int32);
        let data = data.ok_or_else(|| Error::NotConstant { tensor: self.name.clone() })?;
        Ok(data.as_chunks().0.iter().map(|bytes| i32::from_le_bytes(*bytes)).collect())
    }

    /// The bytes of an int8 constant.
    pub(super) fn weights(&self) -> Result<&[u8], Error> {
        self.data.filter(|_| self.kind == Kind::Int8).ok_or_else(|| Error::NotConstant { tensor: self.name.clone() })
    }
}

/// An operator.
pub(super) struct Operator<'a> {
    /// The schema's number.
    pub(super) code: i32,
    pub(super) inputs: Vec<Option<usize>>,
    pub(super) outputs: Vec<usize>,
    pub(super) options: Option<Table<'a>>,
}

/// A graph.
pub(super) struct Graph<'a> {
    pub(super) tensors: Vec<Tensor<'a>>,
    pub(super) inputs: Vec<usize>,
    pub(super) outputs: Vec<usize>,
    pub(super) operators: Vec<Operator<'a>>,
}

/// Reads all graphs of a file, the main one first.
pub(super) fn read(bytes: &[u8]) -> Result<Vec<Graph<'_>>, Error> {
    let model = Table::root(bytes, b"TFL3", "model")?;
    let version = model.int(0, "version", 0)?;
    if version != 3 {
        return Err(Error::Version { version });
    }
    let codes = model.vector(1, "operator_codes")?.tables("operator_codes", MOST)?;
    let codes = codes.iter().map(code).collect::<Result<Vec<_>, _>>()?;
    let buffers = model.vector(4, "buffers")?.tables("buffers", MOST)?;
    let buffers = buffers
        .iter()
        .map(|buffer| Ok(buffer.vector::<1>(0, "data")?.elements.as_flattened()))
        .collect::<Result<Vec<_>, Error>>()?;
    let graphs = model.vector(2, "subgraphs")?.tables("subgraphs", 16)?;
    graphs.iter().map(|table| graph(table, &codes, &buffers)).collect()
}

/// The number of an operator, which once had a byte and now has four.
fn code(table: &Table<'_>) -> Result<i32, Error> {
    Ok(table.byte(0, "deprecated_builtin_code")?.max(table.int(3, "builtin_code", 0)?))
}

fn graph<'a>(table: &Table<'a>, codes: &[i32], buffers: &[&'a [u8]]) -> Result<Graph<'a>, Error> {
    let tensors = table.vector(0, "tensors")?.tables("tensors", MOST)?;
    let tensors = tensors.iter().map(|table| tensor(table, buffers)).collect::<Result<Vec<_>, _>>()?;
    let list = |table: &Table<'a>, number, field| {
        let numbers = table.vector::<4>(number, field)?;
        if numbers.elements.len() > MAX_OPERANDS {
            return Err(Error::TooMany { field, found: numbers.elements.len(), most: MAX_OPERANDS });
        }
        let tensor = |index: i32| match usize::try_from(index) {
            Ok(index) if index < tensors.len() => Ok(Some(index)),
            Err(_) if index == -1 => Ok(None),
            _ => Err(Error::Index { field, index: index.into(), count: tensors.len() }),
        };
        numbers.ints().map(tensor).collect::<Result<Vec<_>, _>>()
    };
    let present = |list: Vec<Option<usize>>| list.into_iter().flatten().collect::<Vec<_>>();
    let operators = table.vector(3, "operators")?.tables("operators", MOST)?;
    let operator = |table: &Table<'a>| {
        let index = table.index(0, "opcode_index")?;
        let code = codes.get(index).copied();
        Ok(Operator {
            code: code.ok_or(Error::Index { field: "opcode_index", index: index as i64, count: codes.len() })?,
            inputs: list(table, 1, "operator inputs")?,
            outputs: present(list(table, 2, "operator outputs")?),
            options: table.table(4, "builtin_options")?,
        })
    };
    let operators = operators.iter().map(operator).collect::<Result<Vec<_>, Error>>()?;
    let (inputs, outputs) = (present(list(table, 1, "inputs")?), present(list(table, 2, "outputs")?));
    Ok(Graph { tensors, inputs, outputs, operators })
}

fn tensor<'a>(table: &Table<'a>, buffers: &[&'a [u8]]) -> Result<Tensor<'a>, Error> {
    let name: String = table.text(3, "tensor name")?.chars().take(120).collect();
    let wrong = |field| Error::Shape { tensor: name.clone(), field };
    let dims = table.vector::<4>(0, "shape")?;
    if dims.elements.len() > MAX_DIMENSIONS {
        return Err(wrong("shape"));
    }
    let kind = match table.byte(1, "type")? {
        2 => Kind::Int32,
        3 => Kind::UInt8,
        9 => Kind::Int8,
        13 => Kind::Resource,
        number => Kind::Other(number),
    };
    let dim = |dim: i32| usize::try_from(dim).ok().filter(|dim| *dim > 0).ok_or(wrong("shape"));
    let shape = dims.ints().map(dim).collect::<Result<Vec<_>, _>>()?;
    let elements = shape.iter().try_fold(1_usize, |product, dim| product.checked_mul(*dim));
    let elements = elements.filter(|elements| *elements <= MAX_ELEMENTS).ok_or(wrong("shape"))?;
    let index = table.index(2, "buffer")?;
    let data = buffers.get(index).copied();
    let data = data.ok_or(Error::Index { field: "buffer", index: index as i64, count: buffers.len() })?;
    let data = Some(data).filter(|data| !data.is_empty());
    if let (Some(data), Some(bytes)) = (data, kind.bytes())
        && data.len() != elements * bytes
    {
        return Err(wrong("data"));
    }
    let quantization = table.table(4, "quantization")?;
    let (scales, zeros) = match quantization {
        Some(table) => (table.vector(2, "scale")?, table.vector(3, "zero_point")?),
        None => (Vector::EMPTY, Vector::EMPTY),
    };
    Ok(Tensor { name, shape, kind, data, scales, zeros })
}
