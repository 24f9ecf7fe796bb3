//! Every kernel of every machine that can run here returns the bits of the scalar law.

use smidgen_quant::attention::{self, CHUNK, KEYS, Kv, KvMut, SCALED, Spec, Visible};
use smidgen_quant::ops::Pairs;
use smidgen_quant::{Q8, Q8K};
use smidgen_targets::{Format, Input, KernelSet, Layout, Tile, WeightMatrix, scalar};
use smidgen_tests::blocks::{Activations, Fill, weights};
use smidgen_tests::{Random, kernel_sets};

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn product(kernels: &KernelSet, rows: &WeightMatrix, x: &Activations) -> Vec<u32> {
    let mut out = vec![f32::NAN; rows.rows() * x.tokens];
    kernels.matmul(rows, &x.input(rows.format()), &mut Tile::new(&mut out, rows.rows()));
    bits(&out)
}

/// Compares all tables on one shape, plain and packed. The rows begin at an odd address.
fn compare(
    machines: &[&KernelSet],
    format: Format,
    rows: usize,
    cols: usize,
    values: Vec<f32>,
    fill: Fill,
    random: &mut Random,
) {
    let mut bytes = vec![0];
    bytes.extend(weights(format, rows * cols, 0.02, fill, random));
    let mut packed = vec![0; bytes.len()];
    let row_bytes = (bytes.len() - 1) / rows;
    format.pack(row_bytes, &bytes[1..], &mut packed[1..]);
    let plain = WeightMatrix::new(format, Layout::Plain, &bytes[1..], rows, cols).expect("the bytes of these rows");
    let packed = WeightMatrix::new(format, Layout::Packed, &packed[1..], rows, cols);
    assert_eq!(packed.is_some(), format.can_be_packed());
    let expected = product(&scalar::KERNELS, &plain, &Activations::new(&scalar::KERNELS, values.clone(), cols));
    for kernels in machines {
        for w in [Some(plain), packed].into_iter().flatten() {
            let got = product(kernels, &w, &Activations::new(kernels, values.clone(), cols));
            let (name, layout) = (format.name(), w.layout());
            assert!(
                got == expected,
                "{} {name} {layout:?} rows {rows} cols {cols} values {}",
                kernels.name,
                values.len()
            );
        }
    }
}

#[test]
fn products_of_every_format_at_every_edge() {
    let machines = kernel_sets();
    let mut random = Random(1);
    for format in Format::ALL {
        let block = format.block_len();
        let lengths: &[usize] =
            if block == 1 { &[1, 15, 16, 17, 40, 576] } else { &[block, 2 * block, 3 * block, 9 * block] };
        for cols in lengths {
            for rows in [1, 7, 8, 9, 15, 16, 17, 24, 33, 49] {
                for tokens in [1, 2, 3, 4, 5] {
                    let values = (0..tokens * cols).map(|_| random.float(1.0)).collect();
                    compare(&machines, format, rows, *cols, values, Fill::Random, &mut random);
                }
            }
        }
        for cols in [8192, 8192 + block] {
            let values = (0..cols).map(|_| random.float(1.0)).collect();
            compare(&machines, format, 33, cols, values, Fill::Random, &mut random);
        }
        for tokens in [63, 64, 65, 131] {
            let cols = if block == 1 { 32 } else { 2 * block };
            let values = (0..tokens * cols).map(|_| random.float(1.0) * 100.0).collect();
            compare(&machines, format, 49, cols, values, Fill::Random, &mut random);
        }
    }
}

#[test]
fn products_of_extreme_bytes_and_activations() {
    let machines = kernel_sets();
    let mut random = Random(2);
    for format in Format::ALL {
        let cols = if format.block_len() == 1 { 64 } else { 3 * format.block_len() };
        for fill in
            [Fill::Byte(0), Fill::Byte(0xff), Fill::Byte(0x80), Fill::Byte(0x7f), Fill::Byte(0xf0), Fill::Byte(0x0f)]
        {
            let patterns: [&dyn Fn(usize) -> f32; 5] = [
                &|_| 1.0,
                &|_| -1.0,
                &|i| if i % 2 == 0 { 1.0 } else { -1.0 },
                &|i| if i % 97 == 0 { 1e30 } else { 1e-30 },
                &|i| if i / 32 % 2 == 0 { 0.0 } else { -3.5 },
            ];
            for pattern in patterns {
                for tokens in [1, 3] {
                    let values = (0..tokens * cols).map(pattern).collect();
                    compare(&machines, format, 49, cols, values, fill, &mut random);
                }
            }
        }
    }
}

#[test]
fn a_tile_is_the_same_part_of_the_whole() {
    let machines = kernel_sets();
    let mut random = Random(3);
    for format in Format::ALL {
        let cols = if format.block_len() == 1 { 48 } else { 2 * format.block_len() };
        let bytes = weights(format, 40 * cols, 0.1, Fill::Random, &mut random);
        let mut packed = vec![0; bytes.len()];
        format.pack(bytes.len() / 40, &bytes, &mut packed);
        let plain = WeightMatrix::new(format, Layout::Plain, &bytes, 40, cols);
        let packed = WeightMatrix::new(format, Layout::Packed, &packed, 40, cols);
        let values: Vec<f32> = (0..7 * cols).map(|_| random.float(1.0)).collect();
        for w in [plain, packed].into_iter().flatten() {
            for kernels in &machines {
                let x = Activations::new(kernels, values.clone(), cols);
                let whole = product(kernels, &w, &x);
                for col_grain in [24, 5, 32] {
                    let mut out = vec![0.0; 7 * 40];
                    smidgen_targets::for_tiles(&smidgen_targets::Serial, &mut out, 40, 3, col_grain, |mut tile| {
                        kernels.matmul(&w, &x.input(format), &mut tile);
                    });
                    assert!(bits(&out) == whole, "{} {} {:?}", kernels.name, format.name(), w.layout());
                }
            }
        }
    }
}

#[test]
fn products_of_nothing_are_zero() {
    for kernels in kernel_sets() {
        for (format, tokens) in [(Format::Q4_0, 1), (Format::Q4_0, 9), (Format::Q6_K, 1), (Format::Q6_K, 9)] {
            let w = WeightMatrix::new(format, Layout::Plain, &[], 33, 0).unwrap();
            let input = match format {
                Format::Q4_0 => Input::Q8(Q8 { qs: &[], scales: &[], sums: &[], offsets: &[], tokens, cols: 0 }),
                _ => Input::Q8K(Q8K { qs: &[], scales: &[], sums: &[], tokens, cols: 0 }),
            };
            let mut out = vec![f32::NAN; 33 * tokens];
            kernels.matmul(&w, &input, &mut Tile::new(&mut out, 33));
            assert!(out.iter().all(|x| *x == 0.0), "{} {} {tokens}", kernels.name, format.name());
        }
    }
}

#[test]
fn operations_between_products() {
    let machines = kernel_sets();
    let mut random = Random(4);
    for len in [1usize, 2, 15, 16, 17, 31, 64, 576, 1000] {
        let (x, y): (Vec<f32>, Vec<f32>) = (0..len).map(|_| (random.float(1.0) * 20.0, random.float(1.0))).unzip();
        let reference = &scalar::KERNELS;
        for kernels in &machines {
            let run = |k: &KernelSet| {
                // Rows of the weights' length, and what is left.
                let mut norm = x.clone();
                (k.rms_norm)(&mut norm, &y[..len.div_ceil(3)], 1e-5);
                let mut layer_norm = x.clone();
                (k.layer_norm)(&mut layer_norm, &y[..len.div_ceil(2)], &x, 1e-5);
                let activations = [k.gelu, k.gelu_tanh, k.gelu_quick].map(|activation| {
                    let mut values = x.clone();
                    activation(&mut values);
                    bits(&values)
                });
                let (mut gate, mut sum, mut turned, mut rounded) = (x.clone(), x.clone(), x.clone(), x.clone());
                (k.round)(&mut rounded);
                (k.silu_mul)(&mut gate, &y);
                (k.add)(&mut sum, &y);
                // Heads of a third of the values, of which some dimensions stay.
                let (head_dim, mut halves, mut capped) = (len.div_ceil(3), x.clone(), x.clone());
                let table: Vec<f32> = y.iter().take(head_dim / 4 * 2).copied().collect();
                (k.rope)(&mut turned, head_dim, &table, Pairs::Neighbours);
                (k.rope)(&mut halves, head_dim, &table, Pairs::Halves);
                (k.softcap)(&mut capped, 7.5);
                let rest = [halves, capped].map(|values| bits(&values));
                ([norm, layer_norm, gate, sum, turned, rounded].map(|values| bits(&values)), activations, rest)
            };
            assert!(run(kernels) == run(reference), "{} len {len}", kernels.name);
            assert!((kernels.finite)(&x) && (kernels.finite)(&vec![f32::MAX; len]), "{} len {len}", kernels.name);
            for odd in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                for at in 0..len {
                    let mut x = x.clone();
                    x[at] = odd;
                    assert!(!(kernels.finite)(&x), "{} {odd} at {at} of {len}", kernels.name);
                }
            }
        }
    }
}

/// Keys, their scales, values, their scales.
type Int8 = (Vec<i8>, Vec<u16>, Vec<i8>, Vec<u16>);

/// A cache of random keys and values, as the three kinds of arrays.
struct Cache {
    float: (Vec<f32>, Vec<f32>),
    half: (Vec<u16>, Vec<u16>),
    int8: Option<Int8>,
}

impl Cache {
    /// Keys of `key` dimensions and values of `value`.
    fn random(keys: usize, [key, value]: [usize; 2], random: &mut Random) -> Cache {
        let room = keys.next_multiple_of(CHUNK);
        let scaled = key.is_multiple_of(SCALED) && value.is_multiple_of(SCALED);
        let mut cache = Cache {
            // No more than a kernel may read.
            float: (vec![f32::NAN; keys.next_multiple_of(KEYS) * key], vec![0.0; keys * value]),
            half: (vec![0; room * key], vec![0; room * value]),
            int8: scaled.then(|| {
                let scales = |dims: usize| vec![0; room * dims / SCALED];
                (vec![0; room * key], scales(key), vec![0; room * value], scales(value))
            }),
        };
        let (dims, mut keys_of) = (key, Vec::new());
        for j in 0..keys {
            let key: Vec<f32> = (0..dims).map(|_| random.float(1.0) * 8.0).collect();
            let value: Vec<f32> = (0..value).map(|_| random.float(1.0)).collect();
            keys_of.extend_from_slice(&key);
            cache.float.1[j * value.len()..][..value.len()].copy_from_slice(&value);
            attention::store(&mut KvMut::F16 { k: &mut cache.half.0, v: &mut cache.half.1 }, j, &key, &value);
            if let Some((k, k_scales, v, v_scales)) = &mut cache.int8 {
                attention::store(&mut KvMut::Q8 { k, k_scales, v, v_scales }, j, &key, &value);
            }
        }
        let panels = cache.float.0.chunks_mut(KEYS * dims).zip(keys_of.chunks(KEYS * dims));
        panels.for_each(|(panel, keys)| attention::fill_panel(keys, dims, panel));
        cache
    }

    fn kinds(&self) -> impl Iterator<Item = (&'static str, Kv<'_>)> {
        let plain = [
            ("f32", Kv::F32 { k: &self.float.0, v: &self.float.1 }),
            ("f16", Kv::F16 { k: &self.half.0, v: &self.half.1 }),
        ];
        let int8 = self.int8.as_ref().map(|(k, k_scales, v, v_scales)| Kv::Q8 { k, k_scales, v, v_scales });
        plain.into_iter().chain(int8.map(|kv| ("q8_0", kv)))
    }
}

#[test]
fn keys_and_values_are_stored() {
    let mut random = Random(6);
    for head_dim in [2, 8, 24, 32, 48, 64, 96, 264] {
        let mut values: Vec<f32> =
            (0..3 * head_dim).map(|i| random.float(1.0) * 8f32.powi(i as i32 % 17 - 8)).collect();
        // Above and at what binary16 holds, between its numbers, and below the smallest.
        values.splice(..2, [1e9, -65520.0]);
        values[head_dim] = 1.0 + 3.0 / 2048.0;
        values[head_dim + 1] = -3e-8;
        let stored = |store: fn(&mut KvMut, usize, &[f32], &[f32])| {
            let size = CHUNK * head_dim;
            let (mut k, mut v) = (vec![0; size], vec![0; size]);
            let (mut k8, mut v8) = (vec![0; size], vec![0; size]);
            let (mut k_scales, mut v_scales) = (vec![0; size / SCALED], vec![0; size / SCALED]);
            for j in [0, 1, KEYS - 1, KEYS, CHUNK - 1] {
                let (key, value) = (&values[j % 2 * head_dim..][..head_dim], &values[2 * head_dim..]);
                store(&mut KvMut::F16 { k: &mut k, v: &mut v }, j, key, value);
                if head_dim.is_multiple_of(SCALED) {
                    let (k_scales, v_scales) = (&mut k_scales, &mut v_scales);
                    store(&mut KvMut::Q8 { k: &mut k8, k_scales, v: &mut v8, v_scales }, j, value, key);
                }
            }
            (k, v, k8, v8, k_scales, v_scales)
        };
        let expected = stored(attention::store);
        assert!(expected.0.contains(&0x7bff) && expected.0.contains(&0xfbff));
        for kernels in kernel_sets() {
            assert!(stored(kernels.store) == expected, "{} head {head_dim}", kernels.name);
        }
    }
}

/// Compares all kernel sets on queries that see these keys.
fn attend(kernel_sets: &[&KernelSet], cache: &Cache, visible: &[Visible], spec: &Spec, random: &mut Random) {
    let q: Vec<f32> = (0..visible.len() * spec.key).map(|_| random.float(1.0) * 3.0).collect();
    for (kind, kv) in cache.kinds() {
        let mut expected = vec![0.0; visible.len() * spec.value];
        attention::attention(&q, visible, spec, &kv, &mut expected);
        assert!(expected.iter().all(|x| x.is_finite()));
        for kernels in kernel_sets {
            let mut got = vec![f32::NAN; expected.len()];
            (kernels.attention)(&q, visible, spec, &kv, &mut got);
            assert!(bits(&got) == bits(&expected), "{} {kind} {spec:?} queries {}", kernels.name, visible.len());
        }
    }
}

/// As many keys as queries are asked to see. Also more queries than walk over a cache together.
const SEEN: [usize; 19] = [1, 2, 15, 16, 17, 63, 64, 65, 66, 127, 128, 129, 130, 199, 200, 3, 200, 1, 64];
const QUERIES: [usize; 12] = [1, 2, 3, 4, 5, 8, 11, 15, 16, 19, 64, 76];

#[test]
fn attention_over_every_kind_of_cache() {
    let kernel_sets = kernel_sets();
    let mut random = Random(5);
    for head_dim in [2, 8, 24, 32, 48, 64, 96, 128, 256, 264] {
        let cache = Cache::random(200, [head_dim; 2], &mut random);
        let visible: Vec<_> = SEEN.repeat(4).into_iter().map(|to| Visible { from: 0, to }).collect();
        for count in QUERIES {
            attend(&kernel_sets, &cache, &visible[..count], &Spec::new(head_dim, 0.125), &mut random);
        }
    }
}

/// Windows that begin anywhere, keys of another size than values, softcaps, sinks and slopes, by themselves and together.
#[test]
fn attention_with_every_switch() {
    let kernel_sets = kernel_sets();
    let mut random = Random(7);
    let (sinks, slopes) = ([0.5, -3.0, 40.0], [0.25, 0.0625, 0.5]);
    for [key, value] in [[16, 16], [64, 64], [32, 64], [96, 32], [24, 8], [12, 20], [264, 32]] {
        let cache = Cache::random(200, [key, value], &mut random);
        for window in [1, 5, 16, 64, 65, 130, 200] {
            let window = |to: usize| Visible { from: to.saturating_sub(window), to };
            let visible: Vec<_> = SEEN.repeat(4).into_iter().map(window).collect();
            for (number, count) in QUERIES.into_iter().enumerate() {
                let plain = Spec { value, ..Spec::new(key, 0.125) };
                let spec = match number % 4 {
                    0 => plain,
                    1 => Spec { softcap: Some(5.0), ..plain },
                    2 => Spec { sinks: &sinks, ..plain },
                    _ => Spec { slopes: &slopes, softcap: Some(30.0), sinks: &sinks, ..plain },
                };
                attend(&kernel_sets, &cache, &visible[..count], &spec, &mut random);
            }
        }
    }
}
