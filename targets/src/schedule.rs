//! How work is cut into tiles and shared by threads: by rows and columns of an output only, so that no sum is split and none depends on the
//! number of threads.

use core::marker::PhantomData;
#[cfg(target_has_atomic = "ptr")]
use core::sync::atomic::{AtomicUsize, Ordering};

/// Threads that run one job together.
pub trait Pool: Sync {
    /// Number of threads, the caller included.
    fn threads(&self) -> usize;

    /// Runs `job` on every thread that is free, the caller's among them, and returns when all that began have ended. The job shares
    /// out its work by itself, so it does not matter how many threads come.
    fn run(&self, job: &(dyn Fn() + Sync));
}

/// The calling thread alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Serial;

impl Pool for Serial {
    fn threads(&self) -> usize {
        1
    }

    fn run(&self, job: &(dyn Fn() + Sync)) {
        job();
    }
}

/// A counter on a line of its own, so that those who count elsewhere are not disturbed.
#[cfg(target_has_atomic = "ptr")]
#[repr(align(64))]
struct Counter(AtomicUsize);

/// The most ranges that [`share`] makes.
#[cfg(target_has_atomic = "ptr")]
const RANGES: usize = 16;

/// Calls `job` once for each index below `count`. Each thread walks along a range of its own, so that what a kernel prefetches is its own next
/// job's; one that is done with it helps with the others, so a thread that is held up does not hold up the rest.
#[cfg(target_has_atomic = "ptr")]
fn share(pool: &dyn Pool, count: usize, job: impl Fn(usize) + Sync) {
    if count <= 1 || pool.threads() == 1 {
        return (0..count).for_each(job);
    }
    let ranges = pool.threads().min(count).min(RANGES);
    let end = |range: usize| count / ranges * range + (count % ranges).min(range);
    let (arrived, next) = (AtomicUsize::new(0), [const { Counter(AtomicUsize::new(0)) }; RANGES]);
    pool.run(&|| {
        let mine = arrived.fetch_add(1, Ordering::Relaxed) % ranges;
        for range in (mine..ranges).chain(0..mine) {
            let (first, end) = (end(range), end(range + 1));
            loop {
                let index = first + next[range].0.fetch_add(1, Ordering::Relaxed);
                if index >= end {
                    break;
                }
                job(index);
            }
        }
    });
}

/// Without atomic operations there is one core.
#[cfg(not(target_has_atomic = "ptr"))]
fn share(_: &dyn Pool, count: usize, job: impl Fn(usize) + Sync) {
    (0..count).for_each(job);
}

/// A pointer that may go to another thread. Whoever uses it sees to it that no two threads touch the same element.
struct Shared<T>(*mut T);

// SAFETY: the pointer is only used by `for_each`, `for_tiles`, `for_column_tiles` and `for_row_ranges`, which give each element to one index, and each index to one thread.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    fn get(&self) -> *mut T {
        self.0
    }
}

/// Calls `job` once for each item, on any thread.
pub fn for_each<T: Send>(pool: &dyn Pool, items: &mut [T], job: impl Fn(&mut T) + Sync) {
    let first = Shared(items.as_mut_ptr());
    share(pool, items.len(), |index| {
        // SAFETY: `share` calls with each index below `items.len()` once, so this is the only reference to the item.
        job(unsafe { &mut *first.get().add(index) });
    });
}

/// A tile: a rectangle of a row-major matrix of `f32`, to be written to by one job.
#[derive(Debug)]
pub struct Tile<'a> {
    /// First element of the rectangle.
    start: *mut f32,
    /// Elements between the beginnings of two rows.
    stride: usize,
    first_row: usize,
    rows: usize,
    first_col: usize,
    cols: usize,
    matrix: PhantomData<&'a mut f32>,
}

impl<'a> Tile<'a> {
    /// The whole of a matrix with rows of `stride` elements. What does not fill a row is left out.
    pub fn new(matrix: &'a mut [f32], stride: usize) -> Tile<'a> {
        let rows = matrix.len() / stride.max(1);
        Tile { start: matrix.as_mut_ptr(), stride, first_row: 0, rows, first_col: 0, cols: stride, matrix: PhantomData }
    }

    /// Number in the matrix of the first row.
    pub fn first_row(&self) -> usize {
        self.first_row
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number in the matrix of the first column.
    pub fn first_col(&self) -> usize {
        self.first_col
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The rectangle's part of its row `i`, counted from its own first.
    #[inline(always)]
    pub fn row(&mut self, i: usize) -> &mut [f32] {
        assert!(i < self.rows);
        // SAFETY: the rectangle lies inside one matrix that it borrows mutably together with disjoint rectangles only, and row `i` is in it.
        unsafe { core::slice::from_raw_parts_mut(self.start.add(i * self.stride), self.cols) }
    }

    /// All of a rectangle that is as wide as the matrix, whose rows lie together.
    pub fn whole_rows(&mut self) -> &mut [f32] {
        assert!(self.cols == self.stride);
        // SAFETY: as in `row`; the rows leave no gap.
        unsafe { core::slice::from_raw_parts_mut(self.start, self.rows * self.stride) }
    }
}

/// Cuts a matrix with rows of `stride` elements into tiles of at most `tile_rows` by `tile_cols` and calls `job` once for each.
pub fn for_tiles(
    pool: &dyn Pool,
    matrix: &mut [f32],
    stride: usize,
    tile_rows: usize,
    tile_cols: usize,
    job: impl Fn(Tile) + Sync,
) {
    let (tile_rows, tile_cols) = (tile_rows.max(1), tile_cols.max(1));
    let rows = matrix.len() / stride.max(1);
    let across = stride.div_ceil(tile_cols);
    let start = Shared(matrix.as_mut_ptr());
    share(pool, rows.div_ceil(tile_rows) * across, |index| {
        let (first_row, first_col) = (index / across * tile_rows, index % across * tile_cols);
        job(Tile {
            // SAFETY: `first_row < rows` and `first_col < stride`, so the element is inside the matrix.
            start: unsafe { start.get().add(first_row * stride + first_col) },
            stride,
            first_row,
            rows: tile_rows.min(rows - first_row),
            first_col,
            cols: tile_cols.min(stride - first_col),
            matrix: PhantomData,
        });
    });
}

/// A matrix of outputs, to be cut into tiles of at most `tile_cols` columns.
#[derive(Debug)]
pub struct Matrix<'a> {
    /// All rows, one after another. What does not fill a row is left out.
    pub values: &'a mut [f32],
    /// Elements of a row.
    pub stride: usize,
    /// Columns of a tile; the last has what is left.
    pub tile_cols: usize,
}

/// Cuts each matrix into tiles of `tile_rows` rows (the last ones of what is left) and its own number of columns, and calls `job` once for each,
/// with the matrix's number and that of the row of tiles. Threads meet once for all of them. A tile's rows are counted from its own first. The
/// tiles of a row of tiles come together, so a thread mostly works on the same rows in one operation after the other.
pub fn for_column_tiles<const N: usize>(
    pool: &dyn Pool,
    matrices: [Matrix; N],
    tile_rows: usize,
    job: impl Fn(usize, usize, Tile) + Sync,
) {
    let tile_rows = tile_rows.max(1);
    let mut ends = [0; N];
    let (mut end, mut down) = (0, 0);
    let mut number = 0;
    let matrices = matrices.map(|Matrix { values, stride, tile_cols }| {
        let (rows, tile_cols) = (values.len() / stride.max(1), tile_cols.max(1));
        end += stride.div_ceil(tile_cols);
        ends[number] = end;
        number += 1;
        down = down.max(rows.div_ceil(tile_rows));
        (Shared(values.as_mut_ptr()), rows, stride, tile_cols)
    });
    share(pool, down * end, |index| {
        let (row_of_tiles, index) = (index / end, index % end);
        let number = ends.partition_point(|end| *end <= index);
        let (start, rows, stride, tile_cols) = &matrices[number];
        let (first_row, first) = (row_of_tiles * tile_rows, if number == 0 { 0 } else { ends[number - 1] });
        if first_row >= *rows {
            return;
        }
        let first_col = (index - first) * tile_cols;
        let tile = Tile {
            // SAFETY: the matrix has row `first_row`, and `first_col < stride`, so the element is inside it. The matrices are disjoint.
            start: unsafe { start.get().add(first_row * stride + first_col) },
            stride: *stride,
            first_row: 0,
            rows: tile_rows.min(rows - first_row),
            first_col,
            cols: (*tile_cols).min(stride - first_col),
            matrix: PhantomData,
        };
        job(number, row_of_tiles, tile);
    });
}

/// Cuts a matrix with rows of `stride` elements into ranges of rows, each of which ends where `ends` says, and these into tiles of at most
/// `tile_cols` columns, and calls `job` once for each with the number of its range. Rows after the last range are left alone; so is everything if
/// the ends do not ascend or leave the matrix. An empty range has no job.
pub fn for_row_ranges(
    pool: &dyn Pool,
    matrix: &mut [f32],
    stride: usize,
    ends: &[usize],
    tile_cols: usize,
    job: impl Fn(usize, Tile) + Sync,
) {
    let (tile_cols, rows) = (tile_cols.max(1), matrix.len() / stride.max(1));
    let across = stride.div_ceil(tile_cols);
    let start = Shared(matrix.as_mut_ptr());
    let ascending = ends.is_sorted() && ends.last().is_none_or(|end| *end <= rows);
    share(pool, if ascending { ends.len() * across } else { 0 }, |index| {
        let (range, first_col) = (index / across, index % across * tile_cols);
        let first_row = if range == 0 { 0 } else { ends[range - 1] };
        if first_row == ends[range] {
            return;
        }
        job(
            range,
            Tile {
                // SAFETY: `first_row` is below `ends[range]`, which is at most `rows`, and `first_col < stride`: the element is inside the
                // matrix. The rows of two ranges are disjoint, since `ends` ascends.
                start: unsafe { start.get().add(first_row * stride + first_col) },
                stride,
                first_row,
                rows: ends[range] - first_row,
                first_col,
                cols: tile_cols.min(stride - first_col),
                matrix: PhantomData,
            },
        );
    });
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;
    use std::vec;

    struct Threads(usize);
    impl Pool for Threads {
        fn threads(&self) -> usize {
            self.0
        }
        fn run(&self, job: &(dyn Fn() + Sync)) {
            std::thread::scope(|scope| {
                for _ in 0..self.0 {
                    scope.spawn(job);
                }
            });
        }
    }

    #[test]
    fn every_element_is_visited_once() {
        for (rows, stride, tile_rows, tile_cols) in
            [(1, 7, 1, 3), (5, 8, 2, 8), (9, 33, 4, 5), (0, 4, 1, 1), (3, 1, 7, 9)]
        {
            for threads in [1, 2, 3, RANGES + 4] {
                let mut matrix = vec![0f32; rows * stride];
                for_tiles(&Threads(threads), &mut matrix, stride, tile_rows, tile_cols, |mut tile| {
                    let (first_row, first_col) = (tile.first_row(), tile.first_col());
                    for i in 0..tile.rows() {
                        for (j, x) in tile.row(i).iter_mut().enumerate() {
                            *x += 1.0 + ((first_row + i) * stride + first_col + j) as f32;
                        }
                    }
                });
                assert!(matrix.iter().enumerate().all(|(i, x)| *x == 1.0 + i as f32));
            }
        }
        let mut matrix = vec![0f32; 10 * 8];
        for ends in [&[3, 3, 4, 9][..], &[0, 9], &[9], &[], &[4, 3], &[11]] {
            matrix.fill(0.0);
            for_row_ranges(&Threads(3), &mut matrix, 8, ends, 3, |range, mut tile| {
                assert_eq!(tile.first_row() + tile.rows(), ends[range]);
                for i in 0..tile.rows() {
                    tile.row(i).iter_mut().for_each(|x| *x += 1.0);
                }
            });
            let visited = if ends.contains(&9) { 9 * 8 } else { 0 };
            assert!(matrix.iter().enumerate().all(|(i, x)| *x == if i < visited { 1.0 } else { 0.0 }), "{ends:?}");
        }
        let (mut a, mut b, mut c, mut short) = ([0f32; 3 * 7], [0f32; 3 * 40], [0f32; 3 * 16], [0f32; 3]);
        let matrix = |values, stride, tile_cols| Matrix { values, stride, tile_cols };
        let all = [matrix(&mut a[..], 7, 16), matrix(&mut short, 4, 1), matrix(&mut b, 40, 16), matrix(&mut c, 16, 16)];
        // Tiles of two rows and the one that is left.
        for_column_tiles(&Threads(3), all, 2, |number, row_of_tiles, mut tile| {
            assert!(number != 1 && tile.first_col().is_multiple_of(16) && tile.first_row() == 0);
            assert_eq!(tile.rows(), 2 - row_of_tiles);
            let first = tile.first_col();
            for i in 0..tile.rows() {
                for (j, x) in tile.row(i).iter_mut().enumerate() {
                    *x += (100 * number + first + j) as f32 + 0.5 * (2 * row_of_tiles + i) as f32;
                }
            }
        });
        for (number, stride, matrix) in [(0, 7, &a[..]), (2, 40, &b), (3, 16, &c)] {
            let expected = |i: usize| (100 * number + i % stride) as f32 + 0.5 * (i / stride) as f32;
            assert!(matrix.iter().enumerate().all(|(i, x)| *x == expected(i)), "{number}");
        }
        assert_eq!(short, [0.0; 3]);
        let mut items = [0; 100];
        for_each(&Threads(3), &mut items, |item| *item += 1);
        assert_eq!(items, [1; 100]);
    }
}
