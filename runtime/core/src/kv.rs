//! The key-value cache of one sequence, in the layout that the law of attention reads.

mod state;

use crate::RunError;
use crate::exec::Exec;
use crate::memory::{try_with_capacity, zeroed};
use crate::schedule::SMALL;
use alloc::vec::Vec;
use core::ops::Range;
use smidgen_quant::attention::{CHUNK, KEYS, Kv, KvMut, SCALED};
use smidgen_targets::{Serial, for_each};

/// Type of the cached keys and values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KvType {
    /// Unrounded: with [`Precision::F32`](crate::Precision::F32) the yardstick for the others. Twice the size of `F16`.
    F32,
    /// Binary16.
    #[default]
    F16,
    /// Int8 with a scale for every 32, about half the size. Needs heads of a multiple of 32.
    Q8_0,
}

/// What a layer keeps of each token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    /// Key-value heads.
    pub(crate) heads: usize,
    /// Values of a key.
    pub(crate) key: usize,
    /// Values of a value.
    pub(crate) value: usize,
}

/// Extents of a cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Of each layer, with where its keys and values begin, in elements for each token.
    slots: Vec<(Slot, [usize; 2])>,
    /// Keys, a multiple of [`CHUNK`].
    capacity: usize,
}

impl Shape {
    /// Room for `context` keys of each layer. None if the size overflows.
    pub(crate) fn new(layers: impl Iterator<Item = Slot>, context: usize) -> Option<Shape> {
        let (mut slots, mut start) = (Vec::new(), [0usize; 2]);
        for slot in layers {
            slots.try_reserve(1).ok()?;
            slots.push((slot, start));
            let [keys, values] = start;
            start = [
                keys.checked_add(slot.heads.checked_mul(slot.key)?)?,
                values.checked_add(slot.heads.checked_mul(slot.value)?)?,
            ];
        }
        let shape = Shape { slots, capacity: context.checked_next_multiple_of(CHUNK)? };
        shape.bytes(KvType::F32)?;
        Some(shape)
    }

    /// Elements for each token: of keys, of values.
    fn widths(&self) -> [usize; 2] {
        self.slots
            .last()
            .map_or([0; 2], |(slot, [keys, values])| [keys + slot.heads * slot.key, values + slot.heads * slot.value])
    }

    /// Bytes of a cache. None if the size overflows.
    pub(crate) fn bytes(&self, kind: KvType) -> Option<usize> {
        let [keys, values] = self.widths();
        let len = keys.checked_add(values)?.checked_mul(self.capacity)?;
        match kind {
            KvType::F32 => len.checked_mul(4),
            KvType::F16 => len.checked_mul(2),
            KvType::Q8_0 => len.checked_add(len / SCALED * 2),
        }
    }

    /// All heads of all layers: the layer's slot, and where the head's keys and values begin, in elements for each token.
    fn heads(&self) -> impl Iterator<Item = (Slot, [usize; 2])> {
        self.slots.iter().flat_map(|(slot, [keys, values])| {
            (0..slot.heads).map(move |head| (*slot, [keys + head * slot.key, values + head * slot.value]))
        })
    }
}

#[derive(Debug)]
enum Store {
    F32 { k: Vec<f32>, v: Vec<f32> },
    F16 { k: Vec<u16>, v: Vec<u16> },
    Q8 { k: Vec<i8>, k_scales: Vec<u16>, v: Vec<i8>, v_scales: Vec<u16> },
}

/// The cache of one sequence: for each layer, for each head, the arrays of [`Kv`].
#[derive(Debug)]
pub(crate) struct Cache {
    shape: Shape,
    store: Store,
}

/// Heads whose keys are stored at once.
const HEADS: usize = 16;

impl Cache {
    pub(crate) fn new(shape: &Shape, kind: KvType) -> Result<Cache, RunError> {
        let lens = shape.widths().map(|width| width.checked_mul(shape.capacity));
        let [Some(keys), Some(values)] = lens else {
            return Err(RunError::ContextTooLarge { context: shape.capacity });
        };
        let store = match kind {
            KvType::F32 => Store::F32 { k: zeroed(keys)?, v: zeroed(values)? },
            KvType::F16 => Store::F16 { k: zeroed(keys)?, v: zeroed(values)? },
            KvType::Q8_0 => {
                let sizes = shape.slots.iter().flat_map(|(slot, _)| [slot.key, slot.value]);
                if let Some(head_size) = sizes.into_iter().find(|size| !size.is_multiple_of(SCALED)) {
                    return Err(RunError::CacheHeadSize { head_size });
                }
                Store::Q8 {
                    k: zeroed(keys)?,
                    k_scales: zeroed(keys / SCALED)?,
                    v: zeroed(values)?,
                    v_scales: zeroed(values / SCALED)?,
                }
            }
        };
        let mut slots = try_with_capacity(shape.slots.len())?;
        slots.extend_from_slice(&shape.slots);
        Ok(Cache { shape: Shape { slots, ..*shape }, store })
    }

    /// Bits of a number of a key or a value, its share of a scale among them.
    pub(crate) fn element_bits(&self) -> u64 {
        match self.store {
            Store::F32 { .. } => 32,
            Store::F16 { .. } => 16,
            Store::Q8 { .. } => 8 + 16 / SCALED as u64,
        }
    }

    /// Whether keys and values are rounded when they are stored.
    pub(crate) fn is_rounded(&self) -> bool {
        !matches!(self.store, Store::F32 { .. })
    }

    /// The keys and values that the attention of one head reads, from key `first` on, a multiple of [`KEYS`].
    pub(crate) fn head(&self, layer: usize, head: usize, first: usize) -> Kv<'_> {
        let (Slot { key, value, .. }, [keys, values]) = self.shape.slots[layer];
        let capacity = self.shape.capacity;
        let range = |start: usize, size: usize, head: usize| {
            let from = (start + head * size) * capacity;
            from + first * size..from + capacity * size
        };
        let (keys, values) = (range(keys, key, head), range(values, value, head));
        match &self.store {
            Store::F32 { k, v } => Kv::F32 { k: &k[keys], v: &v[values] },
            Store::F16 { k, v } => Kv::F16 { k: &k[keys], v: &v[values] },
            Store::Q8 { k, k_scales, v, v_scales } => {
                let scales = |range: &Range<usize>| range.start / SCALED..range.end / SCALED;
                Kv::Q8 {
                    k_scales: &k_scales[scales(&keys)],
                    v_scales: &v_scales[scales(&values)],
                    k: &k[keys],
                    v: &v[values],
                }
            }
        }
    }

    /// The heads of a layer, to be written to.
    fn heads_mut(&mut self, layer: usize) -> impl Iterator<Item = KvMut<'_>> {
        let (Slot { heads, key, value }, [keys, values]) = self.shape.slots[layer];
        let capacity = self.shape.capacity;
        let (key, value) = (key * capacity, value * capacity);
        let (keys, values) =
            (keys * capacity..keys * capacity + heads * key, values * capacity..values * capacity + heads * value);
        let (f32, f16, q8) = match &mut self.store {
            Store::F32 { k, v } => (Some((&mut k[keys], &mut v[values])), None, None),
            Store::F16 { k, v } => (None, Some((&mut k[keys], &mut v[values])), None),
            Store::Q8 { k, k_scales, v, v_scales } => {
                let scales = |range: &Range<usize>| range.start / SCALED..range.end / SCALED;
                let (of_keys, of_values) = (&mut k_scales[scales(&keys)], &mut v_scales[scales(&values)]);
                (None, None, Some(((&mut k[keys], of_keys), (&mut v[values], of_values))))
            }
        };
        let f32 = f32.into_iter().flat_map(move |(k, v)| k.chunks_exact_mut(key).zip(v.chunks_exact_mut(value)));
        let f16 = f16.into_iter().flat_map(move |(k, v)| k.chunks_exact_mut(key).zip(v.chunks_exact_mut(value)));
        let q8 = q8.into_iter().flat_map(move |((k, k_scales), (v, v_scales))| {
            let keys = k.chunks_exact_mut(key).zip(k_scales.chunks_exact_mut(key / SCALED));
            keys.zip(v.chunks_exact_mut(value).zip(v_scales.chunks_exact_mut(value / SCALED)))
        });
        let plain = f32.map(|(k, v)| KvMut::F32 { k, v }).chain(f16.map(|(k, v)| KvMut::F16 { k, v }));
        plain.chain(q8.map(|((k, k_scales), (v, v_scales))| KvMut::Q8 { k, k_scales, v, v_scales }))
    }

    /// Stores consecutive tokens from key `first` on; `k` is `[tokens × heads × key]`, `v` `[tokens × heads × value]`.
    pub(crate) fn store(&mut self, exec: &Exec, layer: usize, first: usize, k: &[f32], v: &[f32]) {
        let (Slot { heads, key, value }, _) = self.shape.slots[layer];
        let pool = if k.len() < SMALL { &Serial } else { exec.pool };
        let mut left = self.heads_mut(layer).enumerate();
        loop {
            let mut some: [_; HEADS] = core::array::from_fn(|_| left.next());
            let count = some.iter().flatten().count();
            for_each(pool, &mut some[..count], |slot| {
                let Some((head, kv)) = slot else { return };
                let tokens = k.chunks_exact(heads * key).zip(v.chunks_exact(heads * value));
                for (t, (k, v)) in tokens.enumerate() {
                    (exec.kernels.store)(kv, first + t, &k[*head * key..][..key], &v[*head * value..][..value]);
                }
            });
            if count < HEADS {
                return;
            }
        }
    }

    /// Copies keys `from .. to` of another cache of the same shape and kind.
    pub(crate) fn copy(&mut self, other: &Cache, from: usize, to: usize) {
        let capacity = self.shape.capacity;
        // Keys lie in panels, so whole panels are copied.
        let (from, to) = (from / KEYS * KEYS, to.next_multiple_of(KEYS).min(capacity));
        let Cache { shape, store } = self;
        for (Slot { key, value, .. }, [keys, values]) in shape.heads() {
            let range = |start: usize, size: usize| start * capacity + from * size..start * capacity + to * size;
            let (keys, values) = (range(keys, key), range(values, value));
            let scales = |range: &Range<usize>| range.start / SCALED..range.end / SCALED;
            match (&mut *store, &other.store) {
                (Store::F32 { k, v }, Store::F32 { k: other_k, v: other_v }) => {
                    k[keys.clone()].copy_from_slice(&other_k[keys]);
                    v[values.clone()].copy_from_slice(&other_v[values]);
                }
                (Store::F16 { k, v }, Store::F16 { k: other_k, v: other_v }) => {
                    k[keys.clone()].copy_from_slice(&other_k[keys]);
                    v[values.clone()].copy_from_slice(&other_v[values]);
                }
                (
                    Store::Q8 { k, k_scales, v, v_scales },
                    Store::Q8 { k: other_k, k_scales: other_ks, v: other_v, v_scales: other_vs },
                ) => {
                    k_scales[scales(&keys)].copy_from_slice(&other_ks[scales(&keys)]);
                    v_scales[scales(&values)].copy_from_slice(&other_vs[scales(&values)]);
                    k[keys.clone()].copy_from_slice(&other_k[keys]);
                    v[values.clone()].copy_from_slice(&other_v[values]);
                }
                _ => {}
            }
        }
    }
}
