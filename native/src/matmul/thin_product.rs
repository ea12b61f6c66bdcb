//! Products of which one side has few rows or columns.

use crate::fault::Result;
use crate::panel::Side;
use crate::parallel::{self, Shared};
use crate::product::{Finish, Real};
use pare_dense::{Accum, MatMut, MatRef, Par};

/// Below this many rows or columns packing costs more than it saves, and faer's matrix-vector kernels take over.
pub(super) const THIN: usize = 4;

/// Lines of the long side of a thin product that one task takes.
const THIN_LINES: usize = 512;

/// out[b] = left[b] * right[b] where one side has few rows or columns; no operand is packed.
pub(super) fn thin_product<T: Real>(
    left: Side<T>,
    right: Side<T>,
    out: &mut [T],
    finish: impl Finish<T>,
) -> Result<()> {
    let (a, b) = (left.operand, right.operand);
    let (m, n, k) = (a.lanes, b.lanes, a.depth);
    let (height, width) = (m.min(THIN_LINES), n.min(THIN_LINES));
    let (down, across) = (m.div_ceil(height), n.div_ceil(width));
    let target = Shared(out.as_mut_ptr());
    let tile = |task: usize| {
        let (batch, rest) = (task / (down * across), task % (down * across));
        let (top, start) = (rest / across * height, rest % across * width);
        let (rows, columns) = (height.min(m - top), width.min(n - start));
        let x = &left.numbers[left.batches[batch] + top * a.lane_stride..];
        let y = &right.numbers[right.batches[batch] + start * b.lane_stride..];
        let place = batch * m * n + top * n + start;
        // SAFETY: the strides were checked against the buffers when the views were made, and the tile
        // (batch, top, start) of the output belongs to this task alone.
        unsafe {
            let x = MatRef::from_raw_parts(
                x.as_ptr(),
                rows,
                k,
                a.lane_stride as isize,
                a.depth_stride as isize,
            );
            let y = MatRef::from_raw_parts(
                y.as_ptr(),
                k,
                columns,
                b.depth_stride as isize,
                b.lane_stride as isize,
            );
            let tile = MatMut::from_raw_parts_mut(target.get().add(place), rows, columns, n as isize, 1);
            T::multiply(tile, Accum::Replace, x, y, T::ONE, Par::Seq);
        }
        for row in 0..rows {
            let position = place + row * n;
            // SAFETY: as above; rows of the tile do not overlap.
            let line = unsafe { std::slice::from_raw_parts_mut(target.get().add(position), columns) };
            finish(line, start, position);
        }
    };
    let tasks = left.batches.len() * down * across;
    if m * n * k * left.batches.len() < 1 << 18 {
        (0..tasks).for_each(tile);
        return Ok(());
    }
    parallel::tasks(tasks, tile)
}
