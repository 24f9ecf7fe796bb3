//! Logits of seeded models, as hashes: whatever machine runs this, a change of the law is noticed.

use smidgen::{KvType, Model, Options, Session};
use smidgen_gguf::Gguf;
use smidgen_quant::Format;
use smidgen_targets::{Serial, available};
use smidgen_tests::seeded::{self, Shape};

/// FNV-1a of the bits, little-endian.
fn hash(logits: &[f32]) -> u64 {
    logits
        .iter()
        .flat_map(|v| v.to_bits().to_le_bytes())
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// The hash with a cache of f16, and with one of q8_0.
const GOLDEN: &[(Format, u64, u64)] = &[
    (Format::F32, 0xb573d6a0a0f6cc51, 0x0bf2b8c928171178),
    (Format::F16, 0x13dfce2f30bfbfb3, 0x94954e3f3204d7e7),
    (Format::BF16, 0x4611d96f11dee8dd, 0x97dfc9f272f44f4c),
    (Format::Q4_0, 0x2965b33b6947c30c, 0xcfa3428efcb4847d),
    (Format::Q4_1, 0x1df2a53aef306008, 0xc051600c31c80c8e),
    (Format::Q5_0, 0x4bc47a4142424fc8, 0xe13e5130a52a139b),
    (Format::Q5_1, 0x30a551a131cf33ff, 0xc4184f876e6842e3),
    (Format::Q8_0, 0xa7c6a66d82cf7dc3, 0x02039273fb4ea320),
    (Format::Q2_K, 0xa99427283cf722d9, 0xeeaacf79bc7be20b),
    (Format::Q3_K, 0xca392b85d86d2e7d, 0xdd6c21c2d6fd6d28),
    (Format::Q4_K, 0x3f4b7a6f38dccf6f, 0x7a31394b49405cb7),
    (Format::Q5_K, 0xdc474ad2d070c0ec, 0xc202be044baf7e1b),
    (Format::Q6_K, 0x8bd78e2cf6398470, 0xad67a0b320064858),
    (Format::IQ4_NL, 0xe24400adbd52536f, 0xd8fb1b0d739dd8f4),
];

#[test]
fn logits_of_seeded_models() {
    for kernels in available() {
        let mut found = Vec::new();
        for format in Format::ALL {
            let bytes = seeded::model(&Shape::default(), format).bytes();
            let model = Model::parse(&[Gguf::parse(&bytes).unwrap()]).unwrap();
            let tokens = seeded::tokens(70, model.vocabulary(), 5);
            let [f16, q8_0] = [KvType::F16, KvType::Q8_0].map(|kv| {
                let mut session = Session::new(&model, &Options { kv, ..Options::new(70) }, kernels).unwrap();
                hash(session.forward(0, &tokens, &Serial).unwrap())
            });
            println!("    (Format::{}, 0x{f16:016x}, 0x{q8_0:016x}),", format.name());
            found.push((format, f16, q8_0));
        }
        assert_eq!(found, GOLDEN, "{}", kernels.name);
    }
}
