//! A cache as bytes.

use super::{Cache, KvType, Slot, Store};
use crate::StateError;
use smidgen_quant::attention::{KEYS, SCALED};

/// The part of one array of a head that is in a state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    /// Bytes of an element: 4 of a `f32`, 2 of a binary16, 1 of an int8.
    width: usize,
    /// Whether it lies in panels.
    panels: bool,
    /// Elements for each key.
    per_key: usize,
    /// Keys.
    tokens: usize,
}

impl Part {
    fn elements(&self) -> usize {
        self.per_key * if self.panels { self.tokens.next_multiple_of(KEYS) } else { self.tokens }
    }

    fn bytes(&self) -> usize {
        self.elements() * self.width
    }

    /// Whether an element belongs to a key, and does not fill up a panel.
    fn is_used(&self, element: usize) -> bool {
        !self.panels || element / (self.per_key * KEYS) * KEYS + element % KEYS < self.tokens
    }

    /// Whether all numbers are such as the cache can have come by, and zeros fill up the panels.
    fn is_sound(&self, bytes: &[u8]) -> bool {
        bytes.chunks_exact(self.width).enumerate().all(|(i, element)| {
            let finite = match *element {
                // Finite: not all bits of the exponent are set.
                [a, b, c, d] => f32::from_le_bytes([a, b, c, d]).is_finite(),
                [_, high] => high & 0x7c != 0x7c,
                [byte] => byte != i8::MIN.cast_unsigned(),
                _ => false,
            };
            finite && (self.is_used(i) || element.iter().all(|byte| *byte == 0))
        })
    }
}

/// The arrays of a head that holds `tokens` tokens, in the order in which a state has them.
fn parts(slot: Slot, kind: KvType, tokens: usize) -> impl Iterator<Item = Part> {
    let part = move |width, panels, per_key| Part { width, panels, per_key, tokens };
    let Slot { key, value, .. } = slot;
    let parts = match kind {
        KvType::F32 => [Some(part(4, true, key)), Some(part(4, false, value)), None, None],
        KvType::F16 => [Some(part(2, true, key)), Some(part(2, false, value)), None, None],
        KvType::Q8_0 => [
            Some(part(1, true, key)),
            Some(part(2, true, key / SCALED)),
            Some(part(1, false, value)),
            Some(part(2, false, value / SCALED)),
        ],
    };
    parts.into_iter().flatten()
}

impl Cache {
    /// Bytes of the state of a cache that holds this many tokens.
    pub(crate) fn state_bytes(&self, tokens: usize) -> usize {
        let of = |slot| parts(slot, self.kind(), tokens).map(|part| part.bytes()).sum::<usize>();
        self.shape.heads().map(|(slot, _)| of(slot)).sum()
    }

    fn kind(&self) -> KvType {
        match self.store {
            Store::F32 { .. } => KvType::F32,
            Store::F16 { .. } => KvType::F16,
            Store::Q8 { .. } => KvType::Q8_0,
        }
    }

    /// Writes the first tokens' keys and values to as many bytes as their state has.
    pub(crate) fn save(&self, tokens: usize, mut out: &mut [u8]) {
        for (slot, start) in self.shape.heads() {
            for (number, part) in parts(slot, self.kind(), tokens).enumerate() {
                let (here, rest) = core::mem::take(&mut out).split_at_mut(part.bytes());
                out = rest;
                let start = begin(self.shape.capacity, part, slot, start);
                let range = start..start + part.elements();
                match self.store.array(number) {
                    Array::F32(values) => save(part, &values[range], here, |value| value.to_le_bytes()),
                    Array::F16(values) => save(part, &values[range], here, |value| value.to_le_bytes()),
                    Array::Int8(values) => save(part, &values[range], here, |value| value.to_le_bytes()),
                }
            }
        }
    }

    /// Whether the bytes are a state of this many tokens.
    ///
    /// # Errors
    /// [`StateError::Length`], [`StateError::Damaged`].
    pub(crate) fn check(&self, tokens: usize, mut state: &[u8]) -> Result<(), StateError> {
        let (expected, found) = (self.state_bytes(tokens), state.len());
        if expected != found {
            return Err(StateError::Length { expected, found });
        }
        for (slot, _) in self.shape.heads() {
            for part in parts(slot, self.kind(), tokens) {
                let (here, rest) = state.split_at(part.bytes());
                state = rest;
                if !part.is_sound(here) {
                    return Err(StateError::Damaged);
                }
            }
        }
        Ok(())
    }

    /// Takes over a state that was found good.
    pub(crate) fn restore(&mut self, tokens: usize, mut state: &[u8]) {
        let (kind, shape) = (self.kind(), &self.shape);
        for (slot, start) in shape.heads() {
            for (number, part) in parts(slot, kind, tokens).enumerate() {
                let (here, rest) = state.split_at(part.bytes());
                state = rest;
                let start = begin(shape.capacity, part, slot, start);
                let range = start..start + part.elements();
                match self.store.array_mut(number) {
                    ArrayMut::F32(values) => restore(here, &mut values[range], f32::from_le_bytes),
                    ArrayMut::F16(values) => restore(here, &mut values[range], u16::from_le_bytes),
                    ArrayMut::Int8(values) => restore(here, &mut values[range], i8::from_le_bytes),
                }
            }
        }
    }
}

/// Where the elements of a part begin in its array, for the head whose keys and values begin at `start`.
fn begin(capacity: usize, part: Part, slot: Slot, start: [usize; 2]) -> usize {
    let (start, size) = if part.panels { (start[0], slot.key) } else { (start[1], slot.value) };
    // Scales are fewer.
    start * capacity / (size / part.per_key.max(1)).max(1)
}

/// Writes the elements of a part, and zeros where it fills up a panel.
fn save<T: Copy, const N: usize>(part: Part, values: &[T], out: &mut [u8], bytes: impl Fn(T) -> [u8; N]) {
    for (i, (out, value)) in out.as_chunks_mut::<N>().0.iter_mut().zip(values).enumerate() {
        *out = if part.is_used(i) { bytes(*value) } else { [0; N] };
    }
}

fn restore<T, const N: usize>(bytes: &[u8], values: &mut [T], value: impl Fn([u8; N]) -> T) {
    for (to, bytes) in values.iter_mut().zip(bytes.as_chunks::<N>().0) {
        *to = value(*bytes);
    }
}

enum Array<'a> {
    F32(&'a [f32]),
    F16(&'a [u16]),
    Int8(&'a [i8]),
}

enum ArrayMut<'a> {
    F32(&'a mut [f32]),
    F16(&'a mut [u16]),
    Int8(&'a mut [i8]),
}

impl Store {
    /// The arrays in the order of [`parts`].
    fn array(&self, number: usize) -> Array<'_> {
        match (self, number) {
            (Store::F32 { k, .. }, 0) => Array::F32(k),
            (Store::F32 { v, .. }, _) => Array::F32(v),
            (Store::F16 { k, .. }, 0) => Array::F16(k),
            (Store::F16 { v, .. }, _) => Array::F16(v),
            (Store::Q8 { k, .. }, 0) => Array::Int8(k),
            (Store::Q8 { k_scales, .. }, 1) => Array::F16(k_scales),
            (Store::Q8 { v, .. }, 2) => Array::Int8(v),
            (Store::Q8 { v_scales, .. }, _) => Array::F16(v_scales),
        }
    }

    fn array_mut(&mut self, number: usize) -> ArrayMut<'_> {
        match (self, number) {
            (Store::F32 { k, .. }, 0) => ArrayMut::F32(k),
            (Store::F32 { v, .. }, _) => ArrayMut::F32(v),
            (Store::F16 { k, .. }, 0) => ArrayMut::F16(k),
            (Store::F16 { v, .. }, _) => ArrayMut::F16(v),
            (Store::Q8 { k, .. }, 0) => ArrayMut::Int8(k),
            (Store::Q8 { k_scales, .. }, 1) => ArrayMut::F16(k_scales),
            (Store::Q8 { v, .. }, 2) => ArrayMut::Int8(v),
            (Store::Q8 { v_scales, .. }, _) => ArrayMut::F16(v_scales),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Shape;
    use super::*;

    /// One form for one state: what fills up a panel is no place to hide bytes in.
    #[test]
    fn what_no_key_has_is_zero() {
        let slot = Slot { heads: 2, key: SCALED, value: SCALED };
        for kind in [KvType::F32, KvType::F16, KvType::Q8_0] {
            let cache = Cache::new(&Shape::new([slot].into_iter(), KEYS).unwrap(), kind).unwrap();
            let mut state = alloc::vec![0; cache.state_bytes(KEYS - 1)];
            cache.save(KEYS - 1, &mut state);
            assert_eq!(cache.check(KEYS - 1, &state), Ok(()));
            let refused = (0..state.len()).filter(|&at| {
                state[at] = 1;
                let found = cache.check(KEYS - 1, &state);
                state[at] = 0;
                found == Err(StateError::Damaged)
            });
            // In each head and each row of its keys, the last element of the panel.
            let bytes = match kind {
                KvType::F32 => 4 * SCALED,
                KvType::F16 => 2 * SCALED,
                KvType::Q8_0 => SCALED + 2,
            };
            assert_eq!(refused.count(), 2 * bytes, "{kind:?}");
        }
    }
}
