//! From a graph to a plan. Tensors are placed so that what only moves data costs nothing: parts of concatenations are computed where they
//! belong, slices and splits are views, convolutions with padding find the border around their input, and states of streaming models
//! are the window that the next operator reads.

use super::Error;
use super::flatbuffer::Table;
use super::graph::{Graph, Kind, Operator, Tensor};
use super::memory::{Memory, Place, Record, extent};
use super::{ops, shapes};
use std::collections::HashMap;

/// Where a tensor should be computed: a part of another, perhaps after it has changed its shape.
#[derive(Clone, Copy)]
struct Want {
    parent: usize,
    start: [usize; 3],
    reshaped: bool,
}

/// A graph on its way to a plan.
pub(super) struct Lower<'g, 'a> {
    pub(super) graph: &'g Graph<'a>,
    pub(super) memory: Memory,
    places: Vec<Option<Place>>,
    wants: Vec<Option<Want>>,
    /// Rows above, below, columns left and right that convolutions want around a tensor, and whether it has them.
    pads: Vec<[usize; 4]>,
    padded: Vec<bool>,
    /// The states, by name.
    variables: HashMap<String, Place>,
    handles: HashMap<usize, String>,
    /// Windows: outputs of concatenations that begin with a state.
    windows: HashMap<usize, usize>,
    /// The operator that is being lowered.
    pub(super) index: usize,
}

impl<'g, 'a> Lower<'g, 'a> {
    /// Lowers the main graph; the others are those that set states.
    pub(super) fn new(graphs: &'g [Graph<'a>]) -> Result<Lower<'g, 'a>, Error> {
        let graph = graphs.first().ok_or(Error::Index { field: "subgraphs", index: 0, count: 0 })?;
        let count = graph.tensors.len();
        let mut lower = Lower {
            graph,
            memory: Memory::default(),
            places: vec![None; count],
            wants: vec![None; count],
            pads: vec![[0; 4]; count],
            padded: vec![false; count],
            variables: HashMap::new(),
            handles: HashMap::new(),
            windows: HashMap::new(),
            index: 0,
        };
        let (&[input], &[output]) = (&graph.inputs[..], &graph.outputs[..]) else {
            return Err(Error::Ports { inputs: graph.inputs.len(), outputs: graph.outputs.len() });
        };
        lower.states(graphs)?;
        lower.wishes()?;
        let place = lower.output(input)?;
        lower.memory.touch(place.buffer, 0);
        for (index, operator) in graph.operators.iter().enumerate() {
            lower.index = index;
            lower.operator(operator)?;
        }
        let mut place = lower.input(output)?;
        if lower.memory.keeps(place.buffer) {
            place = lower.copied(output, place);
            lower.places[output] = Some(place);
        }
        lower.memory.touch(place.buffer, lower.memory.records.len());
        let mut windows: Vec<_> = lower.windows.iter().map(|(&window, &state)| (window, state)).collect();
        windows.sort_unstable();
        for (window, state) in windows {
            let (all, kept) = (graph.tensors[window].elements(), graph.tensors[state].elements());
            let Place { buffer, .. } = lower.input(window)?;
            lower.memory.push(Record::new(11).at(buffer, all - kept).at(buffer, 0).sizes(&[kept]));
        }
        Ok(lower)
    }

    pub(super) fn fail(&self, reason: &'static str) -> Error {
        let code = self.graph.operators.get(self.index).map_or(-1, |operator| operator.code);
        Error::Operator { index: self.index, name: ops::name(code), reason }
    }

    pub(super) fn tensor(&self, tensor: usize) -> &'g Tensor<'a> {
        &self.graph.tensors[tensor]
    }

    pub(super) fn extent(&self, tensor: usize) -> [usize; 3] {
        extent(&self.tensor(tensor).shape)
    }

    /// An operand that must be there.
    pub(super) fn operand(&self, operator: &Operator<'_>, number: usize) -> Result<usize, Error> {
        operator.inputs.get(number).copied().flatten().ok_or_else(|| self.fail("an input is missing"))
    }

    /// An operator's result.
    pub(super) fn result(&self, operator: &Operator<'_>, number: usize) -> Result<usize, Error> {
        operator.outputs.get(number).copied().ok_or_else(|| self.fail("an output is missing"))
    }

    /// A field of an operator's options.
    pub(super) fn option(
        &self,
        operator: &Operator<'a>,
        read: impl FnOnce(&Table<'a>) -> Result<i32, Error>,
        default: i32,
    ) -> Result<i32, Error> {
        operator.options.as_ref().map_or(Ok(default), read)
    }

    /// Where a computed tensor of bytes is.
    pub(super) fn input(&self, tensor: usize) -> Result<Place, Error> {
        let found = self.tensor(tensor);
        if !matches!(found.kind, Kind::Int8 | Kind::UInt8) {
            return Err(Error::Kind { tensor: found.name.clone(), kind: found.kind.name() });
        }
        self.places[tensor].ok_or_else(|| Error::NotComputed { tensor: found.name.clone() })
    }

    /// Where a tensor is, without gaps.
    pub(super) fn dense(&mut self, tensor: usize) -> Result<Place, Error> {
        let place = self.input(tensor)?;
        if place.is_dense(self.extent(tensor)) { Ok(place) } else { Ok(self.copied(tensor, place)) }
    }

    pub(super) fn copied(&mut self, tensor: usize, from: Place) -> Place {
        let extent = self.extent(tensor);
        let to = Place::dense(self.memory.buffer(extent.iter().product(), false), 0, extent);
        self.copy(extent, from, to);
        to
    }

    pub(super) fn copy(&mut self, extent: [usize; 3], from: Place, to: Place) {
        self.memory.push(Record::new(8).sizes(&extent).place(from).place(to));
    }

    /// Where a tensor is to be computed.
    pub(super) fn output(&mut self, tensor: usize) -> Result<Place, Error> {
        let found = self.tensor(tensor);
        if !matches!(found.kind, Kind::Int8 | Kind::UInt8) {
            return Err(Error::Kind { tensor: found.name.clone(), kind: found.kind.name() });
        }
        if self.places[tensor].is_some() {
            return Err(Error::NotComputed { tensor: found.name.clone() });
        }
        let extent = self.extent(tensor);
        if let Some(Want { parent, start, reshaped }) = self.wants[tensor] {
            let whole = match self.places[parent] {
                Some(place) => place,
                None => {
                    // What is wanted of it has been looked after.
                    let place = self.output(parent)?;
                    self.places[parent] = Some(place);
                    place
                }
            };
            let part = whole.part(start);
            if !reshaped || whole.is_dense(self.extent(parent)) {
                let place = if reshaped { Place::dense(part.buffer, part.offset, extent) } else { part };
                self.places[tensor] = Some(place);
                return Ok(place);
            }
        }
        let place = if self.windows.contains_key(&tensor) {
            Place::dense(self.memory.buffer(found.elements(), true), 0, extent)
        } else {
            let place = self.bordered(tensor, self.pads[tensor])?;
            self.padded[tensor] = true;
            place
        };
        self.places[tensor] = Some(place);
        Ok(place)
    }

    /// Where an operator's result is wanted, if that is decided.
    fn wanted(&self, tensor: usize) -> Option<Place> {
        let Want { parent, start, .. } = self.wants[tensor]?;
        self.places[parent].or_else(|| self.wanted(parent)).map(|whole| whole.part(start))
    }

    /// Whether the bytes from a tensor's first to its last overlap those of another, as parts of a concatenation of channels do.
    pub(super) fn entangled(&self, a: usize, a_place: &Place, b: usize, b_place: &Place) -> bool {
        let (a_span, b_span) = (a_place.span(self.extent(a)), b_place.span(self.extent(b)));
        a_place.buffer == b_place.buffer && a_span.start < b_span.end && b_span.start < a_span.end
    }

    /// Results that would be written between the bytes of what the operator reads get places of their own.
    pub(super) fn disentangle(&mut self, operator: &Operator<'_>) {
        for &output in &operator.outputs {
            let Some(to) = self.wanted(output) else { continue };
            let read =
                |&input: &usize| self.places[input].is_some_and(|from| self.entangled(input, &from, output, &to));
            if operator.inputs.iter().flatten().any(read) {
                self.wants[output] = None;
            }
        }
    }

    /// A new buffer for a tensor with rows above and below and columns left and right that hold zeros.
    fn bordered(&mut self, tensor: usize, [top, bottom, left, right]: [usize; 4]) -> Result<Place, Error> {
        let [rows, columns, channels] = self.extent(tensor);
        let row = (left + columns + right) * channels;
        let size = row * (top + rows + bottom);
        if size > 1 << 30 {
            return Err(Error::TooLarge);
        }
        let buffer = self.memory.buffer(size, false);
        let zero = self.tensor(tensor).zero()?;
        let inner = columns * channels;
        let head = top * row + left * channels;
        let place = Place { buffer, offset: head, row, column: channels };
        let last = head + (rows - 1) * row + inner;
        for (at, count, len) in [(0, 1, head), (head + inner, rows - 1, row - inner), (last, 1, size - last)] {
            if count > 0 && len > 0 {
                let strip = Place { buffer, offset: at, row, column: len };
                self.memory.push(Record::new(9).sizes(&[count, 1, len]).place(strip).ints(&[zero]));
            }
        }
        Ok(place)
    }

    /// A tensor's place, with at least these borders around it.
    pub(super) fn with_border(&mut self, tensor: usize, pads: [usize; 4]) -> Result<Place, Error> {
        let place = self.input(tensor)?;
        let enough = self.padded[tensor] && pads.iter().zip(&self.pads[tensor]).all(|(want, have)| want <= have);
        if pads == [0; 4] || enough {
            return Ok(place);
        }
        let to = self.bordered(tensor, pads)?;
        self.copy(self.extent(tensor), place, to);
        Ok(to)
    }

    /// Says where a tensor is that need not be computed.
    pub(super) fn alias(&mut self, tensor: usize, place: Place) -> Result<(), Error> {
        if self.places[tensor].is_some_and(|found| !found.same(&place, self.extent(tensor))) {
            return Err(Error::NotComputed { tensor: self.tensor(tensor).name.clone() });
        }
        self.places[tensor] = Some(place);
        Ok(())
    }

    /// Where a tensor already is to be, if so.
    pub(super) fn decided(&self, tensor: usize) -> Option<Place> {
        self.places[tensor]
    }

    /// Looks ahead: borders, and parts of concatenations.
    fn wishes(&mut self) -> Result<(), Error> {
        let graph = self.graph;
        let mut producer = vec![None; graph.tensors.len()];
        let mut users = vec![0_usize; graph.tensors.len()];
        for operator in &graph.operators {
            operator.outputs.iter().for_each(|&output| producer[output] = Some(operator));
            operator.inputs.iter().flatten().for_each(|&input| users[input] += 1);
        }
        for (index, operator) in graph.operators.iter().enumerate().rev() {
            self.index = index;
            if let Some((tensor, pads)) = shapes::border(self, operator)? {
                self.pads[tensor].iter_mut().zip(pads).for_each(|(most, pad)| *most = pad.max(*most));
            }
            if operator.code != ops::CONCATENATION {
                continue;
            }
            let parent = self.result(operator, 0)?;
            let axis = shapes::axis(self, operator)?;
            let mut start = [0; 3];
            for mut tensor in operator.inputs.iter().flatten().copied() {
                let here = start;
                start[axis] += self.extent(tensor)[axis];
                let contiguous = self.extent(parent)[..axis].iter().all(|dim| *dim == 1);
                let mut reshaped = false;
                // A tensor that only changes its shape is computed there too.
                loop {
                    if tensor == parent || self.wants[tensor].is_some() {
                        break;
                    }
                    self.wants[tensor] = Some(Want { parent, start: here, reshaped });
                    match producer[tensor] {
                        Some(Operator { code: ops::RESHAPE, inputs, .. }) if contiguous && users[tensor] == 1 => {
                            let Some(source) = inputs.first().copied().flatten() else { break };
                            tensor = source;
                            reshaped = true;
                        }
                        _ => break,
                    }
                }
            }
        }
        Ok(())
    }

    /// Finds the states, their first values, and the windows that they are part of.
    fn states(&mut self, graphs: &'g [Graph<'a>]) -> Result<(), Error> {
        let graph = self.graph;
        let mut firsts: HashMap<String, Vec<u8>> = HashMap::new();
        for operator in graph.operators.iter().filter(|operator| operator.code == ops::CALL_ONCE) {
            let index = operator.options.map_or(Ok(0), |options| options.index(0, "init_subgraph_index"))?;
            let wrong = Error::Index { field: "init_subgraph_index", index: index as i64, count: graphs.len() };
            let start = graphs.get(index).filter(|_| index > 0).ok_or(wrong)?;
            let mut handles = HashMap::new();
            for operator in &start.operators {
                match (operator.code, &operator.inputs[..], &operator.outputs[..]) {
                    (ops::VAR_HANDLE, _, &[handle]) => drop(handles.insert(handle, ops::shared_name(operator)?)),
                    (ops::ASSIGN_VARIABLE, &[Some(handle), Some(value)], _) => {
                        let tensor = &start.tensors[value];
                        let name = handles.get(&handle).ok_or(Error::NotComputed { tensor: tensor.name.clone() })?;
                        firsts.insert(name.clone(), tensor.weights()?.to_vec());
                    }
                    _ => return Err(self.fail("the graph that it calls does more than to set states")),
                }
            }
        }
        let mut reads: HashMap<&str, Vec<(usize, usize)>> = HashMap::new();
        let mut writes = reads.clone();
        let mut handles = HashMap::new();
        for (index, operator) in graph.operators.iter().enumerate() {
            match (operator.code, &operator.inputs[..], &operator.outputs[..]) {
                (ops::VAR_HANDLE, _, &[handle]) => drop(handles.insert(handle, ops::shared_name(operator)?)),
                _ => continue,
            }
            self.index = index;
        }
        for (index, operator) in graph.operators.iter().enumerate() {
            let (list, tensor) = match (operator.code, &operator.inputs[..], &operator.outputs[..]) {
                (ops::READ_VARIABLE, _, &[value]) => (&mut reads, value),
                (ops::ASSIGN_VARIABLE, &[_, Some(value)], _) => (&mut writes, value),
                _ => continue,
            };
            self.index = index;
            let handle = operator.inputs.first().copied().flatten().and_then(|handle| handles.get(&handle));
            let name = handle.ok_or_else(|| self.fail("its variable has no handle"))?;
            list.entry(name.as_str()).or_default().push((index, tensor));
        }
        let mut names: Vec<_> = handles.values().cloned().collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let get = |list: &HashMap<&str, Vec<_>>| list.get(name.as_str()).cloned().unwrap_or_default();
            let (reads, writes) = (get(&reads), get(&writes));
            let Some(&(_, tensor)) = reads.first().or(writes.first()) else { continue };
            let size = self.tensor(tensor).elements();
            let same = |&(_, other): &(usize, usize)| self.tensor(other).elements() == size;
            if !reads.iter().chain(&writes).all(same) {
                return Err(Error::Shape { tensor: name, field: "shape" });
            }
            let first = firsts.remove(&name).unwrap_or_else(|| vec![0; size]);
            if first.len() != size {
                return Err(Error::Shape { tensor: name, field: "first value" });
            }
            let window = match (&reads[..], &writes[..]) {
                (&[(read, state)], &[(write, value)]) if read < write => self.window(state, value)?,
                _ => None,
            };
            let place = match window {
                Some(window) => {
                    self.windows.insert(window, state_of(&reads));
                    let place = self.output(window)?;
                    Place::dense(place.buffer, 0, self.extent(tensor))
                }
                None => Place::dense(self.memory.buffer(size, true), 0, self.extent(tensor)),
            };
            self.first(&first, place);
            self.variables.insert(name, place);
        }
        self.handles = handles;
        Ok(())
    }

    /// The concatenation that begins with a state and whose end is its next value.
    fn window(&mut self, state: usize, value: usize) -> Result<Option<usize>, Error> {
        let graph = self.graph;
        let Some(index) = graph.operators.iter().position(|operator| operator.outputs.contains(&value)) else {
            return Ok(None);
        };
        let slice = &graph.operators[index];
        let Some(window) = slice.inputs.first().copied().flatten().filter(|_| slice.code == ops::STRIDED_SLICE) else {
            return Ok(None);
        };
        let concat = graph.operators.iter().position(|operator| operator.outputs.contains(&window));
        let Some(concat) = concat.filter(|&index| graph.operators[index].code == ops::CONCATENATION) else {
            return Ok(None);
        };
        if graph.operators[concat].inputs.first() != Some(&Some(state)) || self.windows.contains_key(&window) {
            return Ok(None);
        }
        self.index = concat;
        let axis = shapes::axis(self, &graph.operators[concat])?;
        self.index = index;
        let start = shapes::slice_start(self, slice)?;
        let (whole, part) = (self.extent(window), self.extent(value));
        let contiguous = whole[..axis].iter().all(|dim| *dim == 1);
        let end = (0..3).all(|i| start[i] + part[i] == whole[i] && (i == axis || start[i] == 0));
        Ok((contiguous && end && part == self.extent(state)).then_some(window))
    }

    /// Sets a state's first value.
    fn first(&mut self, bytes: &[u8], place: Place) {
        let record = match bytes {
            [value, rest @ ..] if rest.iter().all(|other| other == value) => {
                let len = bytes.len();
                let strip = Place { row: len, column: len, ..place };
                Record::new(9).sizes(&[1, 1, len]).place(strip).ints(&[(*value).into()])
            }
            _ => {
                let at = self.memory.constant(bytes);
                Record::new(12).sizes(&[at]).at(place.buffer, place.offset).sizes(&[bytes.len()])
            }
        };
        self.memory.reset.push(record);
    }

    /// The state that a handle stands for.
    pub(super) fn state(&self, operator: &Operator<'_>) -> Result<Place, Error> {
        let name = self.handles.get(&self.operand(operator, 0)?);
        let variable = name.and_then(|name| self.variables.get(name));
        variable.copied().ok_or_else(|| self.fail("its variable has no handle"))
    }

    /// Whether a state is part of a window, which moves by itself.
    pub(super) fn moves(&self, state: Place) -> bool {
        let window = |window: &usize| self.places[*window].is_some_and(|place| place.buffer == state.buffer);
        self.windows.keys().any(window)
    }
}

fn state_of(reads: &[(usize, usize)]) -> usize {
    reads.first().map_or(0, |(_, tensor)| *tensor)
}
