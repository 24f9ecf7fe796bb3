//! A weight matrix as it lies in a file.

use crate::Tile;
use smidgen_quant::packed::{LONGEST_BLOCK, PANEL};
use smidgen_quant::{Format, Input};

/// How the rows of a weight matrix lie in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One after another.
    Plain,
    /// In panels, see [`smidgen_quant::packed`].
    Packed,
}

/// A weight matrix `[rows × cols]` as it lies in a file.
#[derive(Clone, Copy, Debug)]
pub struct WeightMatrix<'a> {
    format: Format,
    layout: Layout,
    data: &'a [u8],
    rows: usize,
    cols: usize,
    row_bytes: usize,
}

impl<'a> WeightMatrix<'a> {
    /// `rows` rows of `cols` weights each. None unless `data` has exactly their bytes, a row fills whole blocks, and the format can have
    /// the layout.
    pub fn new(format: Format, layout: Layout, data: &'a [u8], rows: usize, cols: usize) -> Option<WeightMatrix<'a>> {
        let row_bytes = format.bytes(cols)?;
        let fits = row_bytes.checked_mul(rows)? == data.len() && (layout == Layout::Plain || format.can_be_packed());
        fits.then_some(WeightMatrix { format, layout, data, rows, cols, row_bytes })
    }

    /// Rows `first .. first + rows` as a matrix of their own. None if there are not as many, or if a panel would be cut.
    pub fn part(&self, first: usize, rows: usize) -> Option<WeightMatrix<'a>> {
        let end = first.checked_add(rows).filter(|end| *end <= self.rows)?;
        // What follows the packed rows is plain, and must be the last rows of the part too.
        let whole = |row: usize| row.is_multiple_of(PANEL) || row == self.rows;
        let fits = self.layout == Layout::Plain || (whole(first) && whole(end));
        fits.then(|| WeightMatrix { data: self.bytes(first, rows), rows, ..*self })
    }

    /// The block format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// How the rows lie.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Number of rows: outputs of a product.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Weights in a row: inputs of a product.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Bytes of a row.
    pub fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    /// Rows from the first on that lie in panels.
    pub(crate) fn packed_rows(&self) -> usize {
        match self.layout {
            Layout::Plain => 0,
            Layout::Packed => self.rows / PANEL * PANEL,
        }
    }

    /// The bytes of rows `first .. first + count`, which are all plain or whole panels.
    #[inline(always)]
    pub(crate) fn bytes(&self, first: usize, count: usize) -> &'a [u8] {
        &self.data[first * self.row_bytes..][..count * self.row_bytes]
    }

    /// The bytes of row `r` if they lie together.
    #[inline(always)]
    pub fn row(&self, r: usize) -> Option<&'a [u8]> {
        (r >= self.packed_rows()).then(|| self.bytes(r, 1))
    }

    /// The bytes of blocks `first ..` of row `r`, as a plain row has them, as many whole blocks as `out` holds and the row has. Returns
    /// what was filled.
    pub fn blocks<'o>(&self, r: usize, first: usize, out: &'o mut [u8]) -> &'o [u8] {
        let block = self.format.block_bytes();
        let from = (first * block).min(self.row_bytes);
        let len = (self.row_bytes - from).min(out.len() / block * block);
        let out = &mut out[..len];
        match self.row(r) {
            Some(row) => out.copy_from_slice(&row[from..from + len]),
            None => {
                let panel = self.bytes(r / PANEL * PANEL, PANEL);
                for (i, out) in out.chunks_exact_mut(block).enumerate() {
                    self.format.block_of_panel(panel, r % PANEL, from + i * block, out);
                }
            }
        }
        out
    }

    /// The reference: the product of row `r` with token `t` of `x`.
    pub(crate) fn dot(&self, r: usize, x: &Input, t: usize) -> f32 {
        if let Some(row) = self.row(r) {
            return self.format.dot(row, x, t);
        }
        let mut block = [0; LONGEST_BLOCK];
        let block = &mut block[..self.format.block_bytes()];
        let blocks = self.cols / self.format.block_len();
        (0..blocks).fold(0.0, |acc, b| self.format.accumulate(acc, self.blocks(r, b, block), x, b, t))
    }

    /// Columns of the tile that are worked on as panels, as groups of `group` plain rows, and one by one: where the first and the second
    /// end. Tiles begin at a panel unless all of their rows are plain. Rows without weights are left to the reference.
    #[inline(never)]
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    pub(crate) fn parts(&self, out: &Tile, group: usize) -> (usize, usize) {
        if self.cols == 0 {
            return (0, 0);
        }
        // Packed rows that are no whole panel of this tile are left to the reference.
        let first_plain = self.packed_rows().saturating_sub(out.first_col()).min(out.cols());
        let packed = if out.first_col().is_multiple_of(PANEL) { first_plain / PANEL * PANEL } else { 0 };
        if first_plain > packed { (packed, packed) } else { (packed, packed + (out.cols() - packed) / group * group) }
    }

    /// Computes the tile's columns from `first` on by the reference.
    pub(crate) fn by_reference(&self, x: &Input, out: &mut Tile, first: usize) {
        let (first_row, first_token) = (out.first_col(), out.first_row());
        for t in 0..out.rows() {
            for (c, y) in out.row(t).iter_mut().enumerate().skip(first) {
                *y = self.dot(first_row + c, x, first_token + t);
            }
        }
    }
}
