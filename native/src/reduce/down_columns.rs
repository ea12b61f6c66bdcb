//! Folds down columns, in bands of rows.

use super::axes::Axes;
use crate::copy::row_offset;
use crate::dtype::Compute;
use crate::dtype::num::Float;
use crate::fault::Result;
use crate::lanes::Fold;
use crate::parallel::{self, Shared};
use crate::simd;

/// Columns that one task folds, and rows of a band of one column.
const COLUMNS: usize = 1024;

simd! {
    /// Folds rows `start..end` of the columns from `base` on into `total`, eight rows at a time.
    fn fold_columns<T: Compute, O: Fold>(x: &[T], base: usize, axes: &Axes, start: usize, end: usize, total: &mut [T::Wide]) {
        let width = total.len();
        let mut sums = [O::start::<T::Wide>(); COLUMNS];
        let sums = &mut sums[..width];
        let line = |row: usize| {
            let at = base + axes.offset(row);
            &x[at..at + width]
        };
        let mut row = start;
        while row + 8 <= end {
            let [a, b, c, d, e, f, g, h] = [0, 1, 2, 3, 4, 5, 6, 7].map(|i: usize| line(row + i));
            for i in 0..width {
                let left = O::join(O::join(a[i].widen(), b[i].widen()), O::join(c[i].widen(), d[i].widen()));
                let right = O::join(O::join(e[i].widen(), f[i].widen()), O::join(g[i].widen(), h[i].widen()));
                sums[i] = O::join(sums[i], O::join(left, right));
            }
            row += 8;
        }
        for row in row..end {
            for (sum, v) in sums.iter_mut().zip(line(row)) {
                *sum = O::join(*sum, v.widen());
            }
        }
        total.copy_from_slice(sums);
    }
}

/// Folds down columns where the kept axis is the dense one, reading memory in its own order.
pub(super) fn down<T: Compute, O: Fold>(
    x: &[T],
    kept: &Axes,
    reduced: &Axes,
    out: &mut [T],
    finish: impl Fn(f64) -> f64 + Sync,
) -> Result<()> {
    let width = kept.width();
    let columns = width.min(COLUMNS);
    let band = ((1 << 18) / columns).clamp(16, 2048);
    let (bands, blocks, outer) = (
        reduced.count.div_ceil(band),
        width.div_ceil(columns),
        kept.count / width,
    );
    let mut partial = vec![O::start::<T::Wide>(); outer * bands * width];
    let target = Shared(partial.as_mut_ptr());
    let task = |index: usize| {
        let (matrix, rest) = (index / (bands * blocks), index % (bands * blocks));
        let (first, left) = (rest / blocks * band, rest % blocks * columns);
        let count = columns.min(width - left);
        let at = (matrix * bands + rest / blocks) * width + left;
        // SAFETY: (matrix, band, columns) lies inside `partial`, and each task owns its own part of it.
        let total = unsafe { std::slice::from_raw_parts_mut(target.get().add(at), count) };
        let base = row_offset(matrix, &kept.shape, &kept.strides) + left;
        fold_columns::<T, O>(x, base, reduced, first, (first + band).min(reduced.count), total);
    };
    let tasks = outer * bands * blocks;
    if reduced.count * kept.count <= parallel::SMALL {
        (0..tasks).for_each(task)
    } else {
        parallel::tasks(tasks, task)?
    }
    parallel::chunks(out, parallel::SMALL, |start, part| {
        for (index, target) in part.iter_mut().enumerate() {
            let (matrix, column) = ((start + index) / width, (start + index) % width);
            let total = (0..bands).fold(O::start::<f64>(), |total, band| {
                O::join(total, partial[(matrix * bands + band) * width + column].to_f64())
            });
            *target = T::narrow(<T::Wide as Float>::from_f64(finish(total)));
        }
    })
}
