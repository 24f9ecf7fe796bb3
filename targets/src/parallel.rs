//! Work shared by threads, by rows and columns of an output only: a sum is never split, so it cannot depend on the number of threads.

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

/// The most stretches that [`share`] cuts.
#[cfg(target_has_atomic = "ptr")]
const STRETCHES: usize = 16;

/// Calls `job` once for each index below `count`. Each thread walks along a stretch of its own, so that what a kernel asks for ahead is its own
/// next job's; one that is done with it helps with the others, so a thread that is held up does not hold up the rest.
#[cfg(target_has_atomic = "ptr")]
fn share(pool: &dyn Pool, count: usize, job: impl Fn(usize) + Sync) {
    if count <= 1 || pool.threads() == 1 {
        return (0..count).for_each(job);
    }
    let stretches = pool.threads().min(count).min(STRETCHES);
    let end = |stretch: usize| count / stretches * stretch + (count % stretches).min(stretch);
    let (arrived, next) = (AtomicUsize::new(0), [const { Counter(AtomicUsize::new(0)) }; STRETCHES]);
    pool.run(&|| {
        let mine = arrived.fetch_add(1, Ordering::Relaxed) % stretches;
        for stretch in (mine..stretches).chain(0..mine) {
            let (first, end) = (end(stretch), end(stretch + 1));
            loop {
                let index = first + next[stretch].0.fetch_add(1, Ordering::Relaxed);
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

// SAFETY: the pointer is only used by `for_each`, `for_tiles`, `for_columns` and `for_parts`, which give each element to one index, and each index to one thread.
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

/// A rectangle of a row-major matrix of `f32`, to be written to.
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
}

/// Cuts a matrix with rows of `stride` elements into rectangles of at most `row_grain` by `col_grain` and calls `job` once for each.
pub fn for_tiles(
    pool: &dyn Pool,
    matrix: &mut [f32],
    stride: usize,
    row_grain: usize,
    col_grain: usize,
    job: impl Fn(Tile) + Sync,
) {
    let (row_grain, col_grain) = (row_grain.max(1), col_grain.max(1));
    let rows = matrix.len() / stride.max(1);
    let across = stride.div_ceil(col_grain);
    let start = Shared(matrix.as_mut_ptr());
    share(pool, rows.div_ceil(row_grain) * across, |index| {
        let (first_row, first_col) = (index / across * row_grain, index % across * col_grain);
        job(Tile {
            // SAFETY: `first_row < rows` and `first_col < stride`, so the element is inside the matrix.
            start: unsafe { start.get().add(first_row * stride + first_col) },
            stride,
            first_row,
            rows: row_grain.min(rows - first_row),
            first_col,
            cols: col_grain.min(stride - first_col),
            matrix: PhantomData,
        });
    });
}

/// A matrix with rows of `stride` elements, to be cut into pieces of at most `grain` columns.
#[derive(Debug)]
pub struct Columns<'a> {
    /// All rows, one after another. What does not fill a row is left out.
    pub matrix: &'a mut [f32],
    /// Elements of a row.
    pub stride: usize,
    /// Columns of a piece; the last has what is left.
    pub grain: usize,
}

/// Calls `job` once for each piece of each matrix, with the matrix's number and the band's. Threads meet once for all of them. A band has `height` rows, the
/// last one what is left; a piece's rows are counted in its band. The pieces of a band come together, so a thread mostly works on the same rows in one
/// operation after the other.
pub fn for_columns<const N: usize>(
    pool: &dyn Pool,
    matrices: [Columns; N],
    height: usize,
    job: impl Fn(usize, usize, Tile) + Sync,
) {
    let height = height.max(1);
    let mut ends = [0; N];
    let (mut end, mut bands) = (0, 0);
    let mut number = 0;
    let parts = matrices.map(|Columns { matrix, stride, grain }| {
        let (rows, grain) = (matrix.len() / stride.max(1), grain.max(1));
        end += stride.div_ceil(grain);
        ends[number] = end;
        number += 1;
        bands = bands.max(rows.div_ceil(height));
        (Shared(matrix.as_mut_ptr()), rows, stride, grain)
    });
    share(pool, bands * end, |index| {
        let (band, index) = (index / end, index % end);
        let number = ends.partition_point(|end| *end <= index);
        let (start, rows, stride, grain) = &parts[number];
        let (first_row, first) = (band * height, if number == 0 { 0 } else { ends[number - 1] });
        if first_row >= *rows {
            return;
        }
        let first_col = (index - first) * grain;
        let tile = Tile {
            // SAFETY: the matrix has row `first_row`, and `first_col < stride`, so the element is inside it. The matrices are disjoint.
            start: unsafe { start.get().add(first_row * stride + first_col) },
            stride: *stride,
            first_row: 0,
            rows: height.min(rows - first_row),
            first_col,
            cols: (*grain).min(stride - first_col),
            matrix: PhantomData,
        };
        job(number, band, tile);
    });
}

/// Cuts a matrix with rows of `stride` elements below the rows `ends` and into rectangles of at most `col_grain` columns, and calls
/// `job` once for each with the number of its cut. What lies below the last cut is left alone; so is everything if the cuts do not ascend or
/// leave the matrix. Cuts at the same row have nothing between them, and no job.
pub fn for_parts(
    pool: &dyn Pool,
    matrix: &mut [f32],
    stride: usize,
    ends: &[usize],
    col_grain: usize,
    job: impl Fn(usize, Tile) + Sync,
) {
    let (col_grain, rows) = (col_grain.max(1), matrix.len() / stride.max(1));
    let across = stride.div_ceil(col_grain);
    let start = Shared(matrix.as_mut_ptr());
    let ascending = ends.is_sorted() && ends.last().is_none_or(|end| *end <= rows);
    share(pool, if ascending { ends.len() * across } else { 0 }, |index| {
        let (cut, first_col) = (index / across, index % across * col_grain);
        let first_row = if cut == 0 { 0 } else { ends[cut - 1] };
        if first_row == ends[cut] {
            return;
        }
        job(
            cut,
            Tile {
                // SAFETY: `first_row` is below `ends[cut]`, which is at most `rows`, and `first_col < stride`: the element is inside the
                // matrix. The rows of two cuts are disjoint, since `ends` ascends.
                start: unsafe { start.get().add(first_row * stride + first_col) },
                stride,
                first_row,
                rows: ends[cut] - first_row,
                first_col,
                cols: col_grain.min(stride - first_col),
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
        for (rows, stride, row_grain, col_grain) in
            [(1, 7, 1, 3), (5, 8, 2, 8), (9, 33, 4, 5), (0, 4, 1, 1), (3, 1, 7, 9)]
        {
            for threads in [1, 2, 3, STRETCHES + 4] {
                let mut matrix = vec![0f32; rows * stride];
                for_tiles(&Threads(threads), &mut matrix, stride, row_grain, col_grain, |mut tile| {
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
            for_parts(&Threads(3), &mut matrix, 8, ends, 3, |cut, mut tile| {
                assert_eq!(tile.first_row() + tile.rows(), ends[cut]);
                for i in 0..tile.rows() {
                    tile.row(i).iter_mut().for_each(|x| *x += 1.0);
                }
            });
            let visited = if ends.contains(&9) { 9 * 8 } else { 0 };
            assert!(matrix.iter().enumerate().all(|(i, x)| *x == if i < visited { 1.0 } else { 0.0 }), "{ends:?}");
        }
        let (mut a, mut b, mut c, mut short) = ([0f32; 3 * 7], [0f32; 3 * 40], [0f32; 3 * 16], [0f32; 3]);
        let columns = |matrix, stride, grain| Columns { matrix, stride, grain };
        let all =
            [columns(&mut a[..], 7, 16), columns(&mut short, 4, 1), columns(&mut b, 40, 16), columns(&mut c, 16, 16)];
        // Bands of two rows and the one that is left.
        for_columns(&Threads(3), all, 2, |number, band, mut tile| {
            assert!(number != 1 && tile.first_col().is_multiple_of(16) && tile.first_row() == 0);
            assert_eq!(tile.rows(), 2 - band);
            let first = tile.first_col();
            for i in 0..tile.rows() {
                for (j, x) in tile.row(i).iter_mut().enumerate() {
                    *x += (100 * number + first + j) as f32 + 0.5 * (2 * band + i) as f32;
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
