//! The key-value cache of one sequence, in the layout that the law of attention reads.

mod state;

use crate::RunError;
use crate::exec::Exec;
use crate::memory::zeroed;
use crate::schedule::SMALL;
use alloc::vec::Vec;
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

/// Extents of a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) layers: usize,
    /// Key-value heads.
    pub(crate) heads: usize,
    pub(crate) head_size: usize,
    /// Keys, a multiple of [`CHUNK`].
    pub(crate) capacity: usize,
}

impl Shape {
    /// Room for `context` keys. None if the size overflows.
    pub(crate) fn new(layers: usize, heads: usize, head_size: usize, context: usize) -> Option<Shape> {
        let shape = Shape { layers, heads, head_size, capacity: context.checked_next_multiple_of(CHUNK)? };
        shape.bytes(KvType::F16)?;
        Some(shape)
    }

    /// Values of all keys (the same number as of all values).
    fn len(&self) -> Option<usize> {
        self.layers.checked_mul(self.heads)?.checked_mul(self.head_size)?.checked_mul(self.capacity)
    }

    /// Bytes of a cache. None if the size overflows.
    pub(crate) fn bytes(&self, kind: KvType) -> Option<usize> {
        let len = self.len()?;
        match kind {
            KvType::F32 => len.checked_mul(8),
            KvType::F16 => len.checked_mul(4),
            KvType::Q8_0 => len.checked_mul(2)?.checked_add(len / SCALED * 4),
        }
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
    pub(crate) fn new(shape: Shape, kind: KvType) -> Result<Cache, RunError> {
        let len = shape.len().ok_or(RunError::ContextTooLarge { context: shape.capacity })?;
        let store = match kind {
            KvType::F32 => Store::F32 { k: zeroed(len)?, v: zeroed(len)? },
            KvType::F16 => Store::F16 { k: zeroed(len)?, v: zeroed(len)? },
            KvType::Q8_0 if !shape.head_size.is_multiple_of(SCALED) => {
                return Err(RunError::CacheHeadSize { head_size: shape.head_size });
            }
            KvType::Q8_0 => Store::Q8 {
                k: zeroed(len)?,
                k_scales: zeroed(len / SCALED)?,
                v: zeroed(len)?,
                v_scales: zeroed(len / SCALED)?,
            },
        };
        Ok(Cache { shape, store })
    }

    /// Whether keys and values are rounded when they are stored.
    pub(crate) fn is_rounded(&self) -> bool {
        !matches!(self.store, Store::F32 { .. })
    }

    /// The keys and values that the attention of one head reads.
    pub(crate) fn head(&self, layer: usize, head: usize) -> Kv<'_> {
        let n = self.shape.head_size * self.shape.capacity;
        let at = (layer * self.shape.heads + head) * n;
        match &self.store {
            Store::F32 { k, v } => Kv::F32 { k: &k[at..at + n], v: &v[at..at + n] },
            Store::F16 { k, v } => Kv::F16 { k: &k[at..at + n], v: &v[at..at + n] },
            Store::Q8 { k, k_scales, v, v_scales } => {
                let (scales_at, scales) = (at / SCALED, n / SCALED);
                Kv::Q8 {
                    k: &k[at..at + n],
                    k_scales: &k_scales[scales_at..scales_at + scales],
                    v: &v[at..at + n],
                    v_scales: &v_scales[scales_at..scales_at + scales],
                }
            }
        }
    }

    /// The heads of a layer, to be written to.
    fn heads_mut(&mut self, layer: usize) -> impl Iterator<Item = KvMut<'_>> {
        let n = self.shape.head_size * self.shape.capacity;
        let (from, len) = (layer * self.shape.heads * n, self.shape.heads * n);
        let (f32, f16, q8) = match &mut self.store {
            Store::F32 { k, v } => (Some((&mut k[from..from + len], &mut v[from..from + len])), None, None),
            Store::F16 { k, v } => (None, Some((&mut k[from..from + len], &mut v[from..from + len])), None),
            Store::Q8 { k, k_scales, v, v_scales } => {
                let scales = from / SCALED..(from + len) / SCALED;
                let keys = (&mut k[from..from + len], &mut k_scales[scales.clone()]);
                (None, None, Some((keys, (&mut v[from..from + len], &mut v_scales[scales]))))
            }
        };
        let f32 = f32.into_iter().flat_map(move |(k, v)| k.chunks_exact_mut(n).zip(v.chunks_exact_mut(n)));
        let f16 = f16.into_iter().flat_map(move |(k, v)| k.chunks_exact_mut(n).zip(v.chunks_exact_mut(n)));
        let q8 = q8.into_iter().flat_map(move |((k, k_scales), (v, v_scales))| {
            let keys = k.chunks_exact_mut(n).zip(k_scales.chunks_exact_mut(n / SCALED));
            keys.zip(v.chunks_exact_mut(n).zip(v_scales.chunks_exact_mut(n / SCALED)))
        });
        let plain = f32.map(|(k, v)| KvMut::F32 { k, v }).chain(f16.map(|(k, v)| KvMut::F16 { k, v }));
        plain.chain(q8.map(|((k, k_scales), (v, v_scales))| KvMut::Q8 { k, k_scales, v, v_scales }))
    }

    /// Stores consecutive tokens from position `first` on; `k` and `v` are `[tokens × heads × head_size]`.
    pub(crate) fn store(&mut self, exec: &Exec, layer: usize, first: usize, k: &[f32], v: &[f32]) {
        let Shape { heads, head_size, .. } = self.shape;
        let pool = if k.len() < SMALL { &Serial } else { exec.pool };
        let mut left = self.heads_mut(layer).enumerate();
        loop {
            let mut some: [_; HEADS] = core::array::from_fn(|_| left.next());
            let count = some.iter().flatten().count();
            for_each(pool, &mut some[..count], |slot| {
                let Some((head, kv)) = slot else { return };
                let tokens = k.chunks_exact(heads * head_size).zip(v.chunks_exact(heads * head_size));
                for (t, (k, v)) in tokens.enumerate() {
                    let range = *head * head_size..(*head + 1) * head_size;
                    (exec.kernels.store)(kv, first + t, &k[range.clone()], &v[range]);
                }
            });
            if count < HEADS {
                return;
            }
        }
    }

    /// Copies positions `from .. to` of another cache of the same shape and type. Both hold the same before `from`.
    pub(crate) fn copy(&mut self, other: &Cache, from: usize, to: usize) {
        let Shape { layers, heads, head_size, capacity } = self.shape;
        // Keys lie in panels, so whole panels are copied.
        let (from, to) = (from / KEYS * KEYS, to.next_multiple_of(KEYS).min(capacity));
        for head in 0..layers * heads {
            let start = head * capacity;
            let range = (start + from) * head_size..(start + to) * head_size;
            let scales = range.start / SCALED..range.end / SCALED;
            match (&mut self.store, &other.store) {
                (Store::F32 { k, v }, Store::F32 { k: other_k, v: other_v }) => {
                    k[range.clone()].copy_from_slice(&other_k[range.clone()]);
                    v[range.clone()].copy_from_slice(&other_v[range]);
                }
                (Store::F16 { k, v }, Store::F16 { k: other_k, v: other_v }) => {
                    k[range.clone()].copy_from_slice(&other_k[range.clone()]);
                    v[range.clone()].copy_from_slice(&other_v[range]);
                }
                (
                    Store::Q8 { k, k_scales, v, v_scales },
                    Store::Q8 { k: other_k, k_scales: other_ks, v: other_v, v_scales: other_vs },
                ) => {
                    k[range.clone()].copy_from_slice(&other_k[range.clone()]);
                    v[range.clone()].copy_from_slice(&other_v[range]);
                    k_scales[scales.clone()].copy_from_slice(&other_ks[scales.clone()]);
                    v_scales[scales.clone()].copy_from_slice(&other_vs[scales]);
                }
                _ => {}
            }
        }
    }
}
