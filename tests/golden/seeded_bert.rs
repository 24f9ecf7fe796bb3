//! Embeddings and scores of seeded encoders, as hashes: whatever machine runs this, a change of the law is noticed.

use smidgen::Model;
use smidgen::encoder::text::{Options, Session};
use smidgen_gguf::Gguf;
use smidgen_quant::Format;
use smidgen_targets::Serial;
use smidgen_tests::kernel_sets;
use smidgen_tests::seeded_bert::{self, Shape};

/// FNV-1a of the bits, little-endian.
fn hash(values: &[f32]) -> u64 {
    values
        .iter()
        .flat_map(|v| v.to_bits().to_le_bytes())
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// The hash of embeddings, and of scores.
const GOLDEN: &[(Format, u64, u64)] = &[
    (Format::F32, 0xe741bc8d6efe6758, 0xbe4a8634034037bf),
    (Format::F16, 0xe2f1e412e0aa6b09, 0x78ac9f928e91f22f),
    (Format::Q4_0, 0x4deaaccbe0e75544, 0x23b27a89d49e2162),
    (Format::Q8_0, 0x8e38bdb52a674760, 0xcb2cc5053d49b9c9),
    (Format::Q4_K, 0x3302def4708b9d64, 0x40bc4fac1fe239f4),
];

#[test]
fn embeddings_and_scores_of_seeded_models() {
    for kernels in kernel_sets() {
        let mut found = Vec::new();
        for format in [Format::F32, Format::F16, Format::Q4_0, Format::Q8_0, Format::Q4_K] {
            let bytes = seeded_bert::model(&Shape::default(), format).bytes();
            let model = Model::parse(&[Gguf::parse(&bytes).unwrap()]).unwrap();
            let model = model.text_encoder().unwrap();
            let texts = seeded_bert::texts(&[9, 70, 16, 1], 97, 5);
            let mut session = Session::new(model, &Options::default(), kernels).unwrap();
            let (mut embeddings, mut scores) = (Vec::new(), Vec::new());
            session.embed(&texts, &Serial, |_, values| embeddings.extend_from_slice(values.unwrap()));
            session.classify(&texts, &Serial, |_, values| scores.extend_from_slice(values.unwrap()));
            let (embeddings, scores) = (hash(&embeddings), hash(&scores));
            println!("    (Format::{}, 0x{embeddings:016x}, 0x{scores:016x}),", format.name());
            found.push((format, embeddings, scores));
        }
        assert_eq!(found, GOLDEN, "{}", kernels.name);
    }
}
