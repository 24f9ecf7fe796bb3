//! How a pass is cut into tiles for threads. Nothing here can show in a result: tiles share out outputs, never a sum.
//!
//! A *tile* is a rectangle of an operation's output that one thread computes at a time, a *range* some neighbouring blocks of activations that one
//! thread rounds.

use smidgen_quant::packed::PANEL;

/// Tiles for each thread in one operation: more balance the threads better, fewer cost less.
const TILES_PER_THREAD: usize = 4;
/// The fewest tokens of a tile, where there are several rows of tiles. Kernels unpack weights for so many tokens at a time.
const TILE_ROWS: usize = 64;
/// The most ranges that the rounding of one input is cut into, and the most rows of tiles.
pub(crate) const RANGES: usize = 16;
/// The fewest blocks of a range where there is one thread for all of them.
const BLOCKS_ALONE: usize = 8;
/// Fewer values than this are rounded, or stored in a cache, by the calling thread alone.
pub(crate) const SMALL: usize = 1 << 13;

/// Tokens in a pass of some of `tokens`, at most `batch` and at most [`TILE_ROWS`] for each thread: what 64 tokens have in a layer of a small model
/// stays in the cache of a core from one operation to the next, what 256 have does not (its largest products were a quarter slower on a Xeon). The
/// passes are about equally long, since a short one reads the weights as often as a long one.
pub(crate) fn pass_len(tokens: usize, batch: usize, threads: usize) -> usize {
    let most = threads.max(1).saturating_mul(TILE_ROWS).min(batch).max(1);
    let passes = tokens.div_ceil(most).max(1);
    tokens.div_ceil(passes).next_multiple_of(4).clamp(1, most)
}

/// Tokens of a tile: each thread has some tokens of its own, if there are enough, so that it finds in its cache what it has computed before. Fewer
/// than [`TILE_ROWS`] would cost more, as weights are unpacked for so many at a time.
pub(crate) fn tile_rows(tokens: usize, threads: usize) -> usize {
    let down = (tokens / TILE_ROWS).clamp(1, threads.clamp(1, RANGES));
    tokens.div_ceil(down).next_multiple_of(4)
}

/// Outputs of a tile where there are so many outputs and `down` rows of tiles: whole panels.
pub(crate) fn tile_cols(outputs: usize, down: usize, threads: usize) -> usize {
    match threads {
        0 | 1 => outputs,
        threads => tile_panels(outputs.div_ceil(PANEL), threads.div_ceil(down.max(1))) * PANEL,
    }
}

/// How many of these panels make a tile: some [`TILES_PER_THREAD`] tiles for each thread, or up to twice as many if the threads are done sooner then.
fn tile_panels(panels: usize, threads: usize) -> usize {
    let most = panels.div_ceil(threads.saturating_mul(TILES_PER_THREAD)).max(1);
    let end = |tile: usize| panels.div_ceil(tile).div_ceil(threads) * tile;
    (most.div_ceil(2)..=most).rev().min_by_key(|tile| end(*tile)).unwrap_or(most)
}

/// Rows of a tile of an operation that works on each row by itself.
pub(crate) fn rows_of_rowwise_tile(rows: usize, threads: usize) -> usize {
    rows.div_ceil(threads.saturating_mul(TILES_PER_THREAD).max(1))
}

/// Blocks in each range of a row of tiles with these activations, of which a token has `blocks` blocks. Not all of them, also for one thread: a block
/// of all tokens lies together, and whole tokens one after another would write to as many places as they have blocks, which are often in the same
/// set of L1.
pub(crate) fn range_blocks(values: usize, blocks: usize, down: usize, threads: usize) -> usize {
    let least = match (values < SMALL, threads) {
        (true, _) => blocks,
        (_, 1) => BLOCKS_ALONE,
        _ => 1,
    };
    blocks.div_ceil((RANGES / down.max(1)).max(1)).max(least).min(blocks).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_are_about_equal_and_within_bounds() {
        for (threads, tokens, batch, expected) in [
            (1, 512, 256, 64),
            (2, 512, 256, 128),
            (8, 512, 256, 256),
            (1, 65, 256, 36),
            (2, 130, 256, 68),
            (1, 0, 256, 1),
            (1, 3, 256, 4),
            (4, 100, 1, 1),
            (4, 100, 7, 7),
            (0, 64, 256, 64),
        ] {
            assert_eq!(pass_len(tokens, batch, threads), expected, "{threads} threads, {tokens} tokens, {batch}");
        }
    }

    #[test]
    fn threads_end_together() {
        // 576, 192, 1,536 and 49,152 outputs: with tiles of a ninth, one of two threads would have five to do.
        for (panels, threads, expected) in [(36, 2, 3), (12, 2, 2), (96, 2, 12), (3072, 2, 384), (1, 4, 1), (0, 2, 1)] {
            assert_eq!(tile_panels(panels, threads), expected, "{panels} panels, {threads} threads");
        }
        for panels in 1..200usize {
            for threads in 2..9usize {
                let longest = |tile: usize| panels.div_ceil(tile).div_ceil(threads) * tile;
                assert!(longest(tile_panels(panels, threads)) <= longest(panels.div_ceil(threads * TILES_PER_THREAD)));
            }
        }
    }
}
