//! Embeddings of positions, for images of any size.

use super::image::ImageEncoder;
use crate::RunError;
use crate::linear::decode_parts;
use crate::memory::zeroed;
use alloc::vec::Vec;
use smidgen_quant::activation::K_BLOCK;

impl ImageEncoder<'_> {
    /// What is added to the tokens of an image of `columns` by `rows` patches, `[prefix + rows · columns × width]`: the embeddings that the
    /// model has, those of patches resized by a bicubic filter (a = -3/4, centres at half pixels, edges repeated, no antialiasing), as
    /// DINOv2 does it.
    pub(super) fn position_embeddings(&self, columns: usize, rows: usize) -> Result<Vec<f32>, RunError> {
        let (width, prefix, grid) = (self.width(), self.config.prefix, self.config.grid());
        let mut own = zeroed(self.positions.weight.rows().saturating_mul(width))?;
        for (number, row) in own.chunks_exact_mut(width).enumerate() {
            decode_parts(&self.positions.weight, number, &mut [0.0; K_BLOCK], |first, part| {
                row[first..first + part.len()].copy_from_slice(part);
            });
        }
        if (columns, rows) == (grid, grid) {
            return Ok(own);
        }
        let (start, patches) = own.split_at(prefix * width);
        let len = columns.saturating_mul(rows).saturating_add(prefix).saturating_mul(width);
        let mut resized = zeroed(len)?;
        resized[..start.len()].copy_from_slice(start);
        for (number, out) in resized[start.len()..].chunks_exact_mut(width).enumerate() {
            for (y, by_y) in taps(number / columns, rows, grid) {
                for (x, by_x) in taps(number % columns, columns, grid) {
                    let position = &patches[(y * grid + x) * width..][..width];
                    out.iter_mut().zip(position).for_each(|(out, value)| *out += by_y * (by_x * value));
                }
            }
        }
        Ok(resized)
    }
}

/// The four of `from` places that make place `at` of `to`, and their shares.
fn taps(at: usize, to: usize, from: usize) -> [(usize, f32); 4] {
    const A: f64 = -0.75;
    let near = |x: f64| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let far = |x: f64| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
    // At least -1/2; one is added so that the conversion rounds down.
    let center = (at as f64 + 0.5) * (from as f64 / to as f64) - 0.5;
    let base = (center + 1.0) as usize;
    let t = center + 1.0 - base as f64;
    let shares = [far(1.0 + t), near(t), near(1.0 - t), far(2.0 - t)];
    core::array::from_fn(|i| ((base + i).saturating_sub(2).min(from - 1), shares[i] as f32))
}

#[cfg(test)]
mod tests {
    use super::taps;

    #[test]
    fn shares_add_up_and_edges_repeat() {
        for (to, from) in [(16, 37), (20, 37), (37, 37), (50, 37), (7, 1), (1, 7)] {
            for at in 0..to {
                let taps = taps(at, to, from);
                let sum: f32 = taps.iter().map(|(_, share)| share).sum();
                assert!((sum - 1.0).abs() < 1e-6 && taps.iter().all(|(place, _)| *place < from), "{at} {to} {from}");
            }
        }
        assert_eq!(taps(0, 2, 4).map(|(place, _)| place), [0, 0, 1, 2]);
        assert_eq!(
            taps(1, 2, 4).map(|(place, share)| (place, share)),
            [(1, -0.09375), (2, 0.59375), (3, 0.59375), (3, -0.09375)]
        );
        assert_eq!(taps(3, 5, 5).map(|(_, share)| share), [0.0, 1.0, 0.0, 0.0]);
    }
}
