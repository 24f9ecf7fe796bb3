//! Small TensorFlow Lite files, made by a writer of flatbuffers that knows no more than these need.

/// A value of a field.
#[derive(Clone)]
pub enum Value {
    Byte(i8),
    Int(i32),
    Float(f32),
    Bytes(Vec<u8>),
    Ints(Vec<i32>),
    Longs(Vec<i64>),
    Floats(Vec<f32>),
    Table(Table),
    Tables(Vec<Table>),
}
use Value::{Byte, Bytes, Float, Floats, Int, Ints, Longs, Tables};

/// Numbers of fields and their values.
pub type Table = Vec<(usize, Value)>;

/// Writes a table behind what is there, then what its fields point at, and says where the table is.
fn write(out: &mut Vec<u8>, table: &Table) -> usize {
    let count = table.iter().map(|(number, _)| number + 1).max().unwrap_or(0);
    let vtable = out.len();
    let mut offsets = vec![0_u16; count];
    for (place, (number, _)) in table.iter().enumerate() {
        offsets[*number] = 4 + 4 * place as u16;
    }
    for half in [4 + 2 * count as u16, 4 + 4 * table.len() as u16].into_iter().chain(offsets) {
        out.extend(half.to_le_bytes());
    }
    let at = out.len();
    out.extend(((at - vtable) as i32).to_le_bytes());
    out.resize(at + 4 + 4 * table.len(), 0);
    for (place, (_, value)) in table.iter().enumerate() {
        let field = at + 4 + 4 * place;
        let own = match value {
            Byte(value) => i32::from(*value).to_le_bytes(),
            Int(value) => value.to_le_bytes(),
            Float(value) => value.to_le_bytes(),
            other => ((pointed(out, other) - field) as u32).to_le_bytes(),
        };
        out[field..field + 4].copy_from_slice(&own);
    }
    at
}

/// Writes what an offset points at, and says where it is.
fn pointed(out: &mut Vec<u8>, value: &Value) -> usize {
    let at = out.len();
    let mut vector = |count: usize, bytes: Vec<u8>| {
        out.extend((count as u32).to_le_bytes());
        out.extend(bytes);
        at
    };
    match value {
        Bytes(values) => vector(values.len(), values.clone()),
        Ints(values) => vector(values.len(), values.iter().flat_map(|value| value.to_le_bytes()).collect()),
        Longs(values) => vector(values.len(), values.iter().flat_map(|value| value.to_le_bytes()).collect()),
        Floats(values) => vector(values.len(), values.iter().flat_map(|value| value.to_le_bytes()).collect()),
        Tables(tables) => {
            vector(tables.len(), vec![0; 4 * tables.len()]);
            for (i, table) in tables.iter().enumerate() {
                let field = at + 4 + 4 * i;
                let offset = (write(out, table) - field) as u32;
                out[field..field + 4].copy_from_slice(&offset.to_le_bytes());
            }
            at
        }
        Value::Table(table) => write(out, table),
        Byte(_) | Int(_) | Float(_) => unreachable!("these lie in the table"),
    }
}

/// A network in the making; a tensor is its number.
#[derive(Default)]
struct Network {
    tensors: Vec<Table>,
    buffers: Vec<Table>,
    codes: Vec<i32>,
    operators: Vec<Table>,
}

const INT32: i8 = 2;
const UINT8: i8 = 3;
const INT8: i8 = 9;
const RESOURCE: i8 = 13;

impl Network {
    fn new() -> Network {
        Network { buffers: vec![vec![]], ..Network::default() }
    }

    fn add(&mut self, kind: i8, shape: &[i32], scale: f32, zero: i64, data: Vec<u8>) -> i32 {
        let name = format!("t{}", self.tensors.len()).into_bytes();
        let buffer = if data.is_empty() { 0 } else { self.buffers.len() as i32 };
        if buffer > 0 {
            self.buffers.push(vec![(0, Bytes(data))]);
        }
        let quantization = vec![(2, Floats(vec![scale])), (3, Longs(vec![zero]))];
        self.tensors.push(vec![
            (0, Ints(shape.to_vec())),
            (1, Byte(kind)),
            (2, Int(buffer)),
            (3, Bytes(name)),
            (4, Value::Table(quantization)),
        ]);
        self.tensors.len() as i32 - 1
    }

    /// What an operator computes.
    fn computed(&mut self, shape: &[i32]) -> i32 {
        self.add(INT8, shape, 0.1, -3, vec![])
    }

    fn weights(&mut self, shape: &[i32]) -> i32 {
        let data = (0..shape.iter().product::<i32>()).map(|i| (i * 37 + 11) as u8).collect();
        self.add(INT8, shape, 0.02, 0, data)
    }

    fn ints(&mut self, shape: &[i32], values: &[i32]) -> i32 {
        self.add(INT32, shape, 1.0, 0, values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    fn op(&mut self, code: i32, inputs: &[i32], outputs: &[i32], options: Table) {
        let index = self.codes.iter().position(|known| *known == code).unwrap_or(self.codes.len());
        if index == self.codes.len() {
            self.codes.push(code);
        }
        self.operators.push(vec![
            (0, Int(index as i32)),
            (1, Ints(inputs.to_vec())),
            (2, Ints(outputs.to_vec())),
            (4, Value::Table(options)),
        ]);
    }

    fn graph(&self, inputs: &[i32], outputs: &[i32]) -> Table {
        vec![
            (0, Tables(self.tensors.clone())),
            (1, Ints(inputs.to_vec())),
            (2, Ints(outputs.to_vec())),
            (3, Tables(self.operators.clone())),
        ]
    }

    fn file(&self, graphs: Vec<Table>) -> Vec<u8> {
        let codes = self.codes.iter().map(|code| vec![(0, Byte((*code).min(127) as i8)), (3, Int(*code))]);
        let model =
            vec![(0, Int(3)), (1, Tables(codes.collect())), (2, Tables(graphs)), (4, Tables(self.buffers.clone()))];
        let mut out = b"\0\0\0\0TFL3".to_vec();
        let root = write(&mut out, &model) as u32;
        out[..4].copy_from_slice(&root.to_le_bytes());
        out
    }
}

/// Convolutions, pools, a product, classes.
fn classifier() -> Vec<u8> {
    let mut net = Network::new();
    let input = net.computed(&[1, 6, 6, 2]);
    let (filter, bias) = (net.weights(&[4, 3, 3, 2]), net.ints(&[4], &[10, -20, 30, 0]));
    let first = net.computed(&[1, 6, 6, 4]);
    let strides = |padding, window: &[(usize, i32)]| {
        let mut table = vec![(0, Byte(padding)), (1, Int(1)), (2, Int(1))];
        table.extend(window.iter().map(|(number, value)| (*number, Int(*value))));
        table
    };
    net.op(3, &[input, filter, bias], &[first], strides(0, &[]));
    let (filter, second) = (net.weights(&[1, 3, 3, 4]), net.computed(&[1, 4, 4, 4]));
    net.op(4, &[first, filter, -1], &[second], strides(1, &[(3, 1)]));
    let third = net.computed(&[1, 3, 3, 4]);
    net.op(1, &[second], &[third], strides(1, &[(3, 2), (4, 2)]));
    let fourth = net.computed(&[1, 2, 2, 4]);
    net.op(17, &[third], &[fourth], strides(1, &[(3, 2), (4, 2)]));
    let (shape, flat) = (net.ints(&[2], &[1, 16]), net.computed(&[1, 16]));
    net.op(22, &[fourth, shape], &[flat], vec![]);
    let (matrix, bias, scores) = (net.weights(&[3, 16]), net.ints(&[3], &[1, 2, 3]), net.computed(&[1, 3]));
    net.op(9, &[flat, matrix, bias], &[scores], vec![(0, Byte(1))]);
    let classes = net.add(INT8, &[1, 3], 1.0 / 256.0, -128, vec![]);
    net.op(25, &[scores], &[classes], vec![(0, Float(1.0))]);
    let graph = net.graph(&[input], &[classes]);
    net.file(vec![graph])
}

/// What moves and joins data: slices, splits, concatenations, sums, borders, means, tables.
fn mover() -> Vec<u8> {
    let mut net = Network::new();
    let input = net.computed(&[1, 4, 4, 2]);
    let (axis, left, right) = (net.ints(&[1], &[3]), net.computed(&[1, 4, 4, 1]), net.computed(&[1, 4, 4, 1]));
    net.op(49, &[axis, input], &[left, right], vec![(0, Int(2))]);
    let sum = net.computed(&[1, 4, 4, 1]);
    net.op(0, &[left, right], &[sum], vec![(0, Byte(0))]);
    let joined = net.computed(&[1, 4, 4, 3]);
    net.op(2, &[left, sum, right], &[joined], vec![(0, Int(3))]);
    let (begin, size, part) =
        (net.ints(&[4], &[0, 1, 0, 0]), net.ints(&[4], &[1, 2, 4, 3]), net.computed(&[1, 2, 4, 3]));
    net.op(65, &[joined, begin, size], &[part], vec![]);
    let (pads, padded) = (net.ints(&[4, 2], &[0, 0, 1, 1, 0, 0, 0, 0]), net.computed(&[1, 4, 4, 3]));
    net.op(34, &[part, pads], &[padded], vec![]);
    let positive = net.computed(&[1, 4, 4, 3]);
    net.op(19, &[padded], &[positive], vec![]);
    let (axes, mean) = (net.ints(&[2], &[1, 2]), net.computed(&[1, 3]));
    net.op(40, &[positive, axes], &[mean], vec![]);
    let probability = net.add(INT8, &[1, 3], 1.0 / 256.0, -128, vec![]);
    net.op(14, &[mean], &[probability], vec![]);
    let output = net.add(UINT8, &[1, 3], 1.0 / 256.0, 0, vec![]);
    net.op(114, &[probability], &[output], vec![]);
    let graph = net.graph(&[input], &[output]);
    net.file(vec![graph])
}

/// A stream: a state of two rows moves on with each step.
fn stream() -> Vec<u8> {
    let mut net = Network::new();
    let input = net.computed(&[1, 1, 1, 4]);
    let handle = net.add(RESOURCE, &[1], 1.0, 0, vec![]);
    let shared = vec![(0, Bytes(vec![])), (1, Bytes(b"state".to_vec()))];
    net.op(129, &[], &[], vec![(0, Int(1))]);
    net.op(142, &[], &[handle], shared.clone());
    let state = net.computed(&[1, 2, 1, 4]);
    net.op(143, &[handle], &[state], vec![]);
    let window = net.computed(&[1, 3, 1, 4]);
    net.op(2, &[state, input], &[window], vec![(0, Int(1))]);
    let (begin, end, step) = (net.ints(&[4], &[0, 1, 0, 0]), net.ints(&[4], &[1, 3, 1, 4]), net.ints(&[4], &[1; 4]));
    let next = net.computed(&[1, 2, 1, 4]);
    net.op(45, &[window, begin, end, step], &[next], vec![]);
    net.op(144, &[handle, next], &[], vec![]);
    let (filter, output) = (net.weights(&[2, 3, 1, 4]), net.computed(&[1, 1, 1, 2]));
    net.op(3, &[window, filter, -1], &[output], vec![(0, Byte(1)), (1, Int(1)), (2, Int(1))]);
    let graph = net.graph(&[input], &[output]);
    let mut start = Network { codes: net.codes, buffers: net.buffers, ..Network::new() };
    let handle = start.add(RESOURCE, &[1], 1.0, 0, vec![]);
    let first = start.weights(&[1, 2, 1, 4]);
    start.op(142, &[], &[handle], shared);
    start.op(144, &[handle, first], &[], vec![]);
    let second = start.graph(&[], &[]);
    start.file(vec![graph, second])
}

/// Every file and its name.
pub fn files() -> Vec<(&'static str, Vec<u8>)> {
    vec![("classifier", classifier()), ("mover", mover()), ("stream", stream())]
}
