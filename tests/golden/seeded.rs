//! Logits of seeded models, as hashes: whatever machine runs this, a change of the law is noticed.

use smidgen::{KvType, Model, Options, Session};
use smidgen_gguf::Gguf;
use smidgen_quant::Format;
use smidgen_targets::Serial;
use smidgen_tests::seeded::{self, Shape};
use smidgen_tests::{Threads, best, kernel_sets};

/// FNV-1a of the bits, little-endian.
pub(crate) fn hash(logits: &[f32]) -> u64 {
    logits
        .iter()
        .flat_map(|v| v.to_bits().to_le_bytes())
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// The hash with a cache of f16, and with one of q8_0.
const GOLDEN: &[(Format, u64, u64)] = &[
    (Format::F32, 0xd67010ed5d00ab8b, 0x300254500c1ba95b),
    (Format::F16, 0x7e6ebe87cd7bda4a, 0xe9cefec934b62739),
    (Format::BF16, 0xb47f7dbf88d2d341, 0xbafd44bd4568d71c),
    (Format::Q4_0, 0xeaa80b88d7a9102d, 0xe8254ad870f573e4),
    (Format::Q4_1, 0xecd5369cae3cf868, 0x2a7174770e09a0c1),
    (Format::Q5_0, 0xe450ff67fad0159f, 0x04d57f0dc00e6a4d),
    (Format::Q5_1, 0x45715e613b731d06, 0xd537fee2d3b9c625),
    (Format::Q8_0, 0xa19b400b941f8853, 0x81952e984a7a7e41),
    (Format::Q2_K, 0xd2a79119a56057d5, 0x7db83addfcfad286),
    (Format::Q3_K, 0xb6e38df4d1209a13, 0xdb495c12da65bb14),
    (Format::Q4_K, 0x2d6ce001de0f011d, 0x7a31394b49405cb7),
    (Format::Q5_K, 0xdc474ad2d070c0ec, 0xc202be044baf7e1b),
    (Format::Q6_K, 0xb8fa563e7245c1ef, 0xd6f0ea6ebe17f74c),
    (Format::IQ4_NL, 0xfa4fd5865f958ae6, 0xf9a271bf2fbc0d50),
];

#[test]
fn logits_of_seeded_models() {
    let machines = kernel_sets();
    let mut found = vec![Vec::new(); machines.len()];
    for format in Format::ALL {
        let bytes = seeded::model(&Shape::default(), format).bytes();
        let model = Model::parse(&[Gguf::parse(&bytes).unwrap()]).unwrap();
        let tokens = seeded::tokens(70, model.vocabulary(), 5);
        for (kernels, found) in machines.iter().zip(&mut found) {
            let [f16, q8_0] = [KvType::F16, KvType::Q8_0].map(|kv| {
                let mut session = Session::new(&model, &Options { kv, ..Options::new(70) }, kernels).unwrap();
                hash(session.forward(0, &tokens, &Serial).unwrap())
            });
            found.push((format, f16, q8_0));
        }
    }
    for (kernels, found) in machines.iter().zip(&found) {
        for (format, f16, q8_0) in found {
            println!("    (Format::{}, 0x{f16:016x}, 0x{q8_0:016x}),", format.name());
        }
        assert_eq!(found, GOLDEN, "{}", kernels.name);
        println!("SAME: {}", kernels.name);
    }
}

/// For a few formats, the logits after a prompt of 40 tokens and after each of 32 tokens that follow greedily: the same on every machine,
/// with every table, one thread or four.
const CONTINUATIONS: &[(Format, u64, u64)] = &[
    (Format::Q4_0, 0x17d0e78be06e68e3, 0x2552aeeb8a9b0a64),
    (Format::Q8_0, 0x2285ec9fb9fab33e, 0xf05151c8e8996601),
    (Format::Q4_K, 0x61c127da014b7ed4, 0x2d7d7395a5320302),
    (Format::F16, 0x1fdae67aa4d7ba7a, 0x9470910d6e7173ef),
];

#[test]
fn a_prompt_and_32_generated_tokens() {
    let machines: Vec<_> = kernel_sets().into_iter().flat_map(|kernels| [(kernels, 1), (kernels, 4)]).collect();
    let mut found = vec![Vec::new(); machines.len()];
    for &(format, ..) in CONTINUATIONS {
        let bytes = seeded::model(&Shape::default(), format).bytes();
        let model = Model::parse(&[Gguf::parse(&bytes).unwrap()]).unwrap();
        let tokens = seeded::tokens(40, model.vocabulary(), 7);
        for (&(kernels, threads), found) in machines.iter().zip(&mut found) {
            let mut session = Session::new(&model, &Options::new(72), kernels).unwrap();
            let mut logits = session.forward(0, &tokens, &Threads(threads)).unwrap();
            let prompt = hash(logits);
            let mut generated = Vec::new();
            for _ in 0..32 {
                let next = best(logits);
                logits = session.forward(0, &[next], &Threads(threads)).unwrap();
                generated.extend_from_slice(logits);
            }
            found.push((format, prompt, hash(&generated)));
        }
    }
    for ((kernels, threads), found) in machines.iter().zip(&found) {
        for (format, prompt, generated) in found {
            println!("    (Format::{}, 0x{prompt:016x}, 0x{generated:016x}),", format.name());
        }
        assert_eq!(found, CONTINUATIONS, "{}, {threads} threads", kernels.name);
        println!("SAME: {}, {threads} threads", kernels.name);
    }
}
