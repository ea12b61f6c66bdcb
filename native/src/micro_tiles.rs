//! Tiles of a product over packed operands: micro tiles one after the other, in an order that keeps a sliver of the
//! right operand in the first-level cache and the tile in the second. A number of the output is summed over the inner
//! extent in an order that depends on that extent alone, so neither tiles nor threads change its bits.

use crate::dtype::Compute;
use crate::micro_kernel::{Micro, TileShape, prefetch};
use crate::tile_sizes::{even, fit, share};

/// Numbers that matrices are multiplied in.
pub trait Real: Compute<Wide = Self> + crate::math::Math + Micro + pare_dense::Dense {}
impl Real for f32 {}
impl Real for f64 {}

/// Rows and columns of the output that a task computes; both begin at multiples of the micro kernel's tile.
#[derive(Clone, Copy)]
pub struct Tile {
    pub rows: (usize, usize),
    pub columns: (usize, usize),
}

/// Tiles that cover the lower triangle of an [n, n] matrix.
pub fn lower_tiles<T: Micro>(n: usize) -> Vec<Tile> {
    let (shape, (rows, columns)) = (T::tile_shape(), fit::<T>().triangle);
    let (height, width) = (even(n, rows, shape.height), even(n, columns, shape.width));
    let tile = |row: usize, column: usize| Tile {
        rows: (row, (row + height).min(n)),
        columns: (column, (column + width).min(n)),
    };
    (0..n)
        .step_by(height)
        .flat_map(|row| (0..n).step_by(width).map(move |column| tile(row, column)))
        .filter(|tile| tile.columns.0 < tile.rows.1)
        .collect()
}

/// One call of the micro kernel: some steps of the inner extent for one micro tile.
struct Step<'a, T> {
    row: usize,
    column: usize,
    left: &'a [T],
    right: &'a [T],
    steps: usize,
    /// Nothing was summed before.
    first: bool,
}

/// Calls `body` for every micro tile of a tile and every share of the inner extent, so that the sliver of the right
/// operand stays in the first-level cache while the left one passes, and the tile in the second.
fn micro_tiles<T: Real>(
    (left, right, depth): (&[T], &[T], usize),
    tile: Tile,
    mut body: impl FnMut(Step<T>),
) {
    let TileShape { height, width } = T::tile_shape();
    let down = (tile.rows.1 - tile.rows.0).div_ceil(height);
    let most = share(depth);
    for step in (0..depth).step_by(most) {
        let steps = most.min(depth - step);
        for column in (tile.columns.0..tile.columns.1).step_by(width) {
            let b = &right[column * depth + step * width..][..steps * width];
            for (i, row) in (tile.rows.0..tile.rows.1).step_by(height).enumerate() {
                // The next sliver of the right operand comes into reach a share at a time.
                let share = b.len().div_ceil(down);
                let next = (column + width) * depth + step * width + i * share;
                prefetch(right, next..next + share);
                body(Step {
                    row,
                    column,
                    left: &left[row * depth + step * height..][..steps * height],
                    right: b,
                    steps,
                    first: step == 0,
                });
            }
        }
    }
}

/// The sums of one tile: micro tiles one after the other, each row-major, so that the output is touched once.
pub struct Sums<T> {
    numbers: Vec<T>,
    tile: Tile,
}

impl<T: Real> Sums<T> {
    /// left * right over one tile. Micro tiles whose first column lies behind their last row are left out where only
    /// the lower triangle is `wanted`.
    pub fn of(panels: (&[T], &[T], usize), tile: Tile, wanted: Wanted) -> Sums<T> {
        let TileShape { height, width } = T::tile_shape();
        let (rows, columns) = (tile.rows.1 - tile.rows.0, tile.columns.1 - tile.columns.0);
        let across = columns.div_ceil(width);
        let mut numbers = vec![zero::<T>(); rows.div_ceil(height) * height * across * width];
        let kernel = T::kernel();
        micro_tiles(panels, tile, |step| {
            let (row, column) = (step.row, step.column);
            if wanted == Wanted::Lower && column >= row + height {
                return;
            }
            let place = (row - tile.rows.0) / height * across + (column - tile.columns.0) / width;
            let sums = &mut numbers[place * height * width..][..height * width];
            // SAFETY: the slices hold the steps and one micro tile.
            unsafe {
                kernel(
                    step.steps,
                    step.left.as_ptr(),
                    step.right.as_ptr(),
                    sums.as_mut_ptr(),
                    width,
                    !step.first,
                );
            }
        });
        Sums { numbers, tile }
    }

    /// Calls `body(row, column, sums)` for every piece of a row that one micro tile holds.
    pub fn pieces(&self, mut body: impl FnMut(usize, usize, &[T])) {
        let TileShape { height, width } = T::tile_shape();
        let across = (self.tile.columns.1 - self.tile.columns.0).div_ceil(width);
        for row in self.tile.rows.0..self.tile.rows.1 {
            let (i, line) = (
                (row - self.tile.rows.0) / height,
                (row - self.tile.rows.0) % height,
            );
            for (j, column) in (self.tile.columns.0..self.tile.columns.1)
                .step_by(width)
                .enumerate()
            {
                let start = (i * across + j) * height * width + line * width;
                body(
                    row,
                    column,
                    &self.numbers[start..start + width.min(self.tile.columns.1 - column)],
                );
            }
        }
    }
}

/// Which part of a product is read.
#[derive(Clone, Copy, PartialEq)]
pub enum Wanted {
    All,
    Lower,
}

/// out (+)= left * right for the rows and columns of a tile; the rows of `out` begin `stride` numbers apart.
///
/// # Safety
/// `out` holds them, and nobody else uses them.
pub unsafe fn multiply_tile<T: Real>(
    panels: (&[T], &[T], usize),
    tile: Tile,
    out: *mut T,
    stride: usize,
    onto: bool,
) {
    let TileShape { height, width } = T::tile_shape();
    let kernel = T::kernel();
    let mut border = vec![zero::<T>(); height * width];
    micro_tiles(panels, tile, |step| {
        let (row, column) = (step.row, step.column);
        let (rows, columns) = (height.min(tile.rows.1 - row), width.min(tile.columns.1 - column));
        let add = onto || !step.first;
        let (left, right) = (step.left.as_ptr(), step.right.as_ptr());
        if rows == height && columns == width {
            // SAFETY: the slices hold the steps, and the caller vouches for the output.
            return unsafe {
                kernel(
                    step.steps,
                    left,
                    right,
                    out.add(row * stride + column),
                    stride,
                    add,
                )
            };
        }
        // SAFETY: the border holds one micro tile.
        unsafe { kernel(step.steps, left, right, border.as_mut_ptr(), width, false) };
        for (i, sums) in border.chunks_exact(width).take(rows).enumerate() {
            // SAFETY: the caller vouches for the rows and columns inside of the tile.
            let line =
                unsafe { std::slice::from_raw_parts_mut(out.add((row + i) * stride + column), columns) };
            for (x, &sum) in line.iter_mut().zip(sums) {
                *x = if add { *x + sum } else { sum };
            }
        }
    });
}

pub fn zero<T: Real>() -> T {
    <T as crate::dtype::num::Float>::ZERO
}
