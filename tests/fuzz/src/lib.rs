//! What fuzz targets and the program that makes their first inputs share.

use smidgen::{KvType, Model, Options, Session};
use smidgen_gguf::Gguf;
use smidgen_quant::Format;
use smidgen_targets::detect;
use smidgen_tests::seeded::{self, Shape};

/// Tokens that the sessions of [`sessions`] can hold.
pub const CONTEXT: usize = 40;

/// Extents of the smallest model that has every part.
pub const SMALL: Shape = Shape {
    layers: 1,
    embedding: 32,
    heads: 2,
    kv_heads: 1,
    head_size: 32,
    feed_forward: 32,
    vocabulary: 8,
    rotated: 32,
    tied: true,
    biases: false,
    seed: 1,
};

/// A session of the small model with each type of cache. They live as long as the program.
pub fn sessions() -> [Session<'static, 'static>; 2] {
    let bytes = seeded::model(&SMALL, Format::Q8_0).bytes().leak();
    let file = Gguf::parse(bytes).expect("a good file");
    let model: &Model<'static> = Box::leak(Box::new(Model::parse(&[file]).expect("a good model")));
    [KvType::F16, KvType::Q8_0].map(|kv| {
        let options = Options { kv, batch: 8, ..Options::new(CONTEXT) };
        Session::new(model, &options, detect()).expect("a session")
    })
}
