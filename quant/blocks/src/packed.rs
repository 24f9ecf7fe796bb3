//! Panels: the same bytes in the order in which kernels read them.
//!
//! A packed tensor holds its rows in panels of [`PANEL`]. In a panel, block follows block, and in a block each field of the format's struct
//! lies together for all rows, lowest row first; a field is 2 bytes (a binary16 scale) or 4 (everything else, cut into double
//! words). So a vector register is filled by one load, and a panel is read from its first byte to its last. Rows that do not fill
//! a panel follow as they were.
//!
//! Byte `i` of block `b` of row `r`, in a field of `s` bytes that begins at byte `f` of the block, is at
//! `r / 16 * panel + b * 16 * block_bytes + 16 * f + r % 16 * s + (i - f)`. Packing moves bytes and changes none.

use crate::format::Format;

/// Rows in a panel.
pub const PANEL: usize = 16;
/// Bytes of the longest block that can be packed.
pub const LONGEST_BLOCK: usize = 256;

impl Format {
    /// Whether the format can be packed.
    pub const fn can_be_packed(self) -> bool {
        !self.fields().is_empty()
    }

    /// Calls `each` for every field of a block with its offset and size.
    #[inline(always)]
    fn each_field(self, mut each: impl FnMut(usize, usize)) {
        let mut offset = 0;
        for (size, count) in self.fields() {
            for _ in 0..*count {
                each(offset, *size);
                offset += size;
            }
        }
    }

    /// Packs the rows in `plain`, of `row_bytes` each, into `packed`, which has the same length.
    /// Does nothing for a format that is not packed or lengths that do not fit.
    pub fn pack(self, row_bytes: usize, plain: &[u8], packed: &mut [u8]) {
        self.permute(row_bytes, plain.len(), packed.len(), |from, to, size| {
            packed[to..to + size].copy_from_slice(&plain[from..from + size]);
        });
    }

    /// The reverse of [`pack`](Format::pack).
    pub fn unpack(self, row_bytes: usize, packed: &[u8], plain: &mut [u8]) {
        self.permute(row_bytes, plain.len(), packed.len(), |to, from, size| {
            plain[to..to + size].copy_from_slice(&packed[from..from + size]);
        });
    }

    /// Calls `each` with the plain place, the packed place and the size of everything.
    fn permute(self, row_bytes: usize, plain: usize, packed: usize, mut each: impl FnMut(usize, usize, usize)) {
        let block_bytes = self.block_bytes();
        let whole_rows = row_bytes > 0 && plain.is_multiple_of(row_bytes) && row_bytes.is_multiple_of(block_bytes);
        if !self.can_be_packed() || !whole_rows || plain != packed {
            return;
        }
        let panel = PANEL * row_bytes;
        for first in (0..plain / panel * panel).step_by(panel) {
            for b in (0..row_bytes).step_by(block_bytes) {
                self.each_field(|offset, size| {
                    for r in 0..PANEL {
                        let to = first + PANEL * (b + offset) + r * size;
                        each(first + r * row_bytes + b + offset, to, size);
                    }
                });
            }
        }
        let rest = plain / panel * panel;
        each(rest, rest, plain - rest);
    }

    /// Copies the block at offset `b` of a plain row from a panel, row `r` of it, into `block`, which has the length of a block.
    #[inline]
    pub fn block_of_panel(self, panel: &[u8], r: usize, b: usize, block: &mut [u8]) {
        self.each_field(|offset, size| {
            let from = PANEL * (b + offset) + r * size;
            block[offset..offset + size].copy_from_slice(&panel[from..from + size]);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::vec;
    use std::vec::Vec;

    #[test]
    fn fields_fill_blocks() {
        for format in Format::ALL {
            let bytes: usize = format.fields().iter().map(|(size, count)| size * count).sum();
            assert_eq!(bytes, if format.can_be_packed() { format.block_bytes() } else { 0 });
            assert!(format.block_bytes() <= LONGEST_BLOCK);
            for at in format.scales().iter().filter(|_| format.can_be_packed()) {
                let mut found = false;
                format.each_field(|offset, size| found |= offset == *at && size == 2);
                assert!(found, "{} scale at {at}", format.name());
            }
        }
    }

    #[test]
    fn unpacking_undoes_packing() {
        for format in Format::ALL.into_iter().filter(|format| format.can_be_packed()) {
            for rows in [1, 15, 16, 17, 40] {
                let row_bytes = 3 * format.block_bytes();
                let plain: Vec<u8> = (0..rows * row_bytes).map(|i| ((i * 131) >> 3) as u8).collect();
                let (mut packed, mut back) = (vec![0; plain.len()], vec![0; plain.len()]);
                format.pack(row_bytes, &plain, &mut packed);
                assert!(rows < PANEL || packed != plain);
                format.unpack(row_bytes, &packed, &mut back);
                assert!(back == plain, "{} {rows}", format.name());
                let mut block = vec![0; format.block_bytes()];
                for r in 0..rows / PANEL * PANEL {
                    let panel = &packed[r / PANEL * PANEL * row_bytes..][..PANEL * row_bytes];
                    format.block_of_panel(panel, r % PANEL, format.block_bytes(), &mut block);
                    assert_eq!(block, plain[r * row_bytes + format.block_bytes()..][..format.block_bytes()]);
                }
            }
        }
    }
}
