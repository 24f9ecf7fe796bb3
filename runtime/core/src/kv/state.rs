//! A cache as bytes.

use super::{Cache, KvType, Shape, Store};
use crate::StateError;
use smidgen_quant::attention::{KEYS, SCALED};

/// The part of one array of a head that is in a state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    /// Whether it is of binary16, and not of int8.
    wide: bool,
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
        self.elements() * if self.wide { 2 } else { 1 }
    }

    /// Whether an element belongs to a key, and does not fill up a panel.
    fn is_used(&self, element: usize) -> bool {
        !self.panels || element / (self.per_key * KEYS) * KEYS + element % KEYS < self.tokens
    }

    /// Whether all numbers are such as the cache can have come by, and zeros fill up the panels.
    fn is_sound(&self, bytes: &[u8]) -> bool {
        const EXPONENT: u8 = 0x7c;
        let width = if self.wide { 2 } else { 1 };
        if bytes
            .chunks_exact(width)
            .enumerate()
            .any(|(i, element)| !self.is_used(i) && element.iter().any(|byte| *byte != 0))
        {
            return false;
        }
        if self.wide {
            // Finite: not all bits of the exponent are set.
            bytes.chunks_exact(2).all(|pair| pair.last().is_some_and(|high| high & EXPONENT != EXPONENT))
        } else {
            bytes.iter().all(|byte| *byte != i8::MIN.cast_unsigned())
        }
    }
}

impl Shape {
    /// The arrays of a head that holds `tokens` tokens, in the order in which a state has them.
    fn parts(&self, kind: KvType, tokens: usize) -> impl Iterator<Item = Part> + Clone {
        let part = move |wide, panels, per_key| Part { wide, panels, per_key, tokens };
        let (whole, scales) = (self.head_size, self.head_size / SCALED);
        let parts = match kind {
            KvType::F16 => [Some(part(true, true, whole)), Some(part(true, false, whole)), None, None],
            KvType::Q8_0 => [
                Some(part(false, true, whole)),
                Some(part(true, true, scales)),
                Some(part(false, false, whole)),
                Some(part(true, false, scales)),
            ],
        };
        parts.into_iter().flatten()
    }
}

impl Cache {
    /// Bytes of the state of a cache that holds this many tokens.
    pub(crate) fn state_bytes(&self, tokens: usize) -> usize {
        let head: usize = self.shape.parts(self.kind(), tokens).map(|part| part.bytes()).sum();
        head * self.shape.layers * self.shape.heads
    }

    fn kind(&self) -> KvType {
        match self.store {
            Store::F16 { .. } => KvType::F16,
            Store::Q8 { .. } => KvType::Q8_0,
        }
    }

    /// Writes the first tokens' keys and values to as many bytes as their state has.
    pub(crate) fn save(&self, tokens: usize, mut out: &mut [u8]) {
        for head in 0..self.shape.layers * self.shape.heads {
            for (number, part) in self.shape.parts(self.kind(), tokens).enumerate() {
                let (here, rest) = core::mem::take(&mut out).split_at_mut(part.bytes());
                out = rest;
                let start = head * self.shape.capacity * part.per_key;
                let range = start..start + part.elements();
                match self.store.array(number) {
                    Array::Wide(values) => {
                        for (i, (bytes, value)) in here.chunks_exact_mut(2).zip(&values[range]).enumerate() {
                            bytes.copy_from_slice(&if part.is_used(i) { *value } else { 0 }.to_le_bytes());
                        }
                    }
                    Array::Narrow(values) => {
                        for (i, (byte, value)) in here.iter_mut().zip(&values[range]).enumerate() {
                            *byte = if part.is_used(i) { value.cast_unsigned() } else { 0 };
                        }
                    }
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
        for _ in 0..self.shape.layers * self.shape.heads {
            for part in self.shape.parts(self.kind(), tokens) {
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
        for head in 0..self.shape.layers * self.shape.heads {
            for (number, part) in self.shape.parts(self.kind(), tokens).enumerate() {
                let (here, rest) = state.split_at(part.bytes());
                state = rest;
                let start = head * self.shape.capacity * part.per_key;
                let range = start..start + part.elements();
                match self.store.array_mut(number) {
                    ArrayMut::Wide(values) => {
                        for (value, bytes) in values[range].iter_mut().zip(here.as_chunks().0) {
                            *value = u16::from_le_bytes(*bytes);
                        }
                    }
                    ArrayMut::Narrow(values) => {
                        for (value, byte) in values[range].iter_mut().zip(here) {
                            *value = byte.cast_signed();
                        }
                    }
                }
            }
        }
    }
}

enum Array<'a> {
    Wide(&'a [u16]),
    Narrow(&'a [i8]),
}

enum ArrayMut<'a> {
    Wide(&'a mut [u16]),
    Narrow(&'a mut [i8]),
}

impl Store {
    /// The arrays in the order of [`Shape::parts`].
    fn array(&self, number: usize) -> Array<'_> {
        match (self, number) {
            (Store::F16 { k, .. }, 0) => Array::Wide(k),
            (Store::F16 { v, .. }, _) => Array::Wide(v),
            (Store::Q8 { k, .. }, 0) => Array::Narrow(k),
            (Store::Q8 { k_scales, .. }, 1) => Array::Wide(k_scales),
            (Store::Q8 { v, .. }, 2) => Array::Narrow(v),
            (Store::Q8 { v_scales, .. }, _) => Array::Wide(v_scales),
        }
    }

    fn array_mut(&mut self, number: usize) -> ArrayMut<'_> {
        match (self, number) {
            (Store::F16 { k, .. }, 0) => ArrayMut::Wide(k),
            (Store::F16 { v, .. }, _) => ArrayMut::Wide(v),
            (Store::Q8 { k, .. }, 0) => ArrayMut::Narrow(k),
            (Store::Q8 { k_scales, .. }, 1) => ArrayMut::Wide(k_scales),
            (Store::Q8 { v, .. }, 2) => ArrayMut::Narrow(v),
            (Store::Q8 { v_scales, .. }, _) => ArrayMut::Wide(v_scales),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One form for one state: what fills up a panel is no place to hide bytes in.
    #[test]
    fn what_no_key_has_is_zero() {
        for kind in [KvType::F16, KvType::Q8_0] {
            let cache = Cache::new(Shape::new(1, 2, SCALED, KEYS).unwrap(), kind).unwrap();
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
            let bytes = if kind == KvType::F16 { 2 * SCALED } else { SCALED + 2 };
            assert_eq!(refused.count(), 2 * bytes, "{kind:?}");
        }
    }
}
