//! Logits of a small model for every switch of a decoder, as hashes: whatever machine runs this, a change of the law is noticed.

use super::seeded::hash;
use smidgen::{KvType, Model, Options, Session};
use smidgen_gguf::Gguf;
use smidgen_targets::Serial;
use smidgen_tests::switches::{CONTEXT, all};
use smidgen_tests::{kernel_sets, seeded};

/// The hash with a cache of f16, and with one of q8_0.
const GOLDEN: &[(&str, u64, u64)] = &[
    ("halves and biases", 0x901877b80f0f8a26, 0xae425ef87351faa7),
    ("YaRN", 0xc8d549a77a1d72e4, 0xa61fdeff365429ff),
    ("norms of heads", 0x73d816ec4873077d, 0x156c98d6e63a455a),
    ("alternating windows, softcaps, norms around, an embedding's scale", 0x6267ca3d6e71262a, 0x76e918de621be6a9),
    ("two rotations", 0x1b1bdcd948093b86, 0x1b370c6dd34664d3),
    ("one product for three, one for two, LongRoPE, a window", 0x9325f797c155ab82, 0xdb89f75fb14c5641),
    ("parallel blocks, layer norms, part of a head turns", 0xc6ba2e27e6baeecb, 0xc8b1041bb070a9e8),
    ("parallel blocks with two norms", 0x4594419710d65aa4, 0x79dd61522d11e3e6),
    ("learned positions", 0x6831668858cbc411, 0x57a6e3575873453a),
    ("ALiBi, a norm of the embedding", 0xf4322f14716aa845, 0x324cd534d1f0d59a),
    ("norms after blocks and of all heads, windows by a pattern", 0x4883c7fbf7620ae8, 0x259213e9ef933ded),
    ("a squared ReLU", 0x57a74c1e9b56c3e7, 0xf229c76cfb0e11ac),
    ("xIELU", 0xc1b48804d6ee4716, 0x4b6647352f2a2c76),
    ("factors", 0xf56f5daf671c8efe, 0xff4815717df5bb50),
    ("layers that do not turn", 0x67ffa5abdbee978c, 0x1ca84e5dd58fb7cf),
    ("norms of heads that have turned", 0x0c42f30560b0b75f, 0x158d4ffc4ea94c8f),
    ("norms of heads that have their own", 0x7e9b3931cca9fbf9, 0x3df01d1da64e6b0d),
    ("a factor of logits", 0xd72a66c5cee75170, 0xa50634601af80680),
    ("keys of another size than values", 0x973a407755cfec29, 0xf7c8fc5fd5df7738),
];

#[test]
fn logits_of_every_switch() {
    for kernels in kernel_sets() {
        let mut found = Vec::new();
        for switch in all() {
            let bytes = switch.file.bytes();
            let model = Model::parse(&[Gguf::parse(&bytes).unwrap()]).unwrap();
            let tokens = seeded::tokens(70, model.vocabulary(), 5);
            let [f16, q8_0] = [KvType::F16, KvType::Q8_0].map(|kv| {
                let mut session = Session::new(&model, &Options { kv, ..Options::new(CONTEXT) }, kernels).unwrap();
                hash(session.forward(0, &tokens, &Serial).unwrap())
            });
            found.push((switch.name, f16, q8_0));
        }
        if found != GOLDEN {
            for (name, f16, q8_0) in &found {
                println!("    ({name:?}, 0x{f16:016x}, 0x{q8_0:016x}),");
            }
        }
        assert_eq!(found, GOLDEN, "{}", kernels.name);
        println!("SAME: {}", kernels.name);
    }
}
