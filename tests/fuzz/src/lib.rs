//! What fuzz targets and the program that makes their first inputs share.

pub mod serve;

use libfuzzer_sys::fuzzer_mutate;
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

/// Mutates what comes before `end` and says how long all is then. What comes after, which is long and says little, stays as it is, at the next
/// multiple of `alignment`; but every fourth time anything may change.
pub fn mutate_front(
    data: &mut [u8],
    [size, max_size]: [usize; 2],
    seed: u32,
    end: usize,
    alignment: usize,
) -> Option<(usize, usize)> {
    let rest = data.get(end..size)?.to_vec();
    let most = max_size.checked_sub(rest.len() + alignment)?;
    if seed.is_multiple_of(4) || end == 0 || most < end {
        return None;
    }
    let len = fuzzer_mutate(data, end, most);
    let end = len.next_multiple_of(alignment);
    data.get_mut(len..end)?.fill(0);
    data.get_mut(end..end + rest.len())?.copy_from_slice(&rest);
    Some((end, end + rest.len()))
}

/// Mutates a GGUF file: seldom the data of its tensors.
pub fn mutate_gguf(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    let found = data.get(..size).and_then(|bytes| Gguf::parse(bytes).ok());
    let parts = found
        .and_then(|file| Some((usize::try_from(file.data_offset()).ok()?, usize::try_from(file.alignment()).ok()?)));
    let mutated = parts
        .filter(|(_, alignment)| *alignment <= 64)
        .and_then(|(end, alignment)| mutate_front(data, [size, max_size], seed, end, alignment));
    mutated.map_or_else(|| fuzzer_mutate(data, size, max_size), |(_, size)| size)
}
