//! Copies that turn matrices.

use super::row_offset;
use crate::dtype::Element;
use crate::fault::Result;
use crate::parallel;

/// Copies where the last but one axis is the dense one: in square tiles, read and written along whole cache lines.
pub(super) fn transpose_copy<T: Element>(
    from: &[T],
    shape: &[usize],
    strides: &[usize],
    to: &mut [T],
) -> Result<()> {
    const TILE: usize = 32;
    let axes = shape.len();
    let (rows, columns, stride) = (shape[axes - 2], shape[axes - 1], strides[axes - 1]);
    let outer_shape: Vec<usize> = shape[..axes - 2].iter().copied().chain([1]).collect();
    let outer_strides: Vec<usize> = strides[..axes - 2].iter().copied().chain([0]).collect();
    let bands = rows.div_ceil(TILE);
    let target = parallel::Shared(to.as_mut_ptr());
    let matrices = to.len() / (rows * columns);
    let task = |task: usize| {
        let (matrix, top) = (task / bands, task % bands * TILE);
        let base = row_offset(matrix, &outer_shape, &outer_strides) + top;
        let height = TILE.min(rows - top);
        let mut tile = [[from[base]; TILE]; TILE];
        for left in (0..columns).step_by(TILE) {
            let width = TILE.min(columns - left);
            for (column, line) in tile[..width].iter_mut().enumerate() {
                let at = base + (left + column) * stride;
                line[..height].copy_from_slice(&from[at..at + height]);
            }
            for row in 0..height {
                let at = (matrix * rows + top + row) * columns + left;
                // SAFETY: (matrix, row, columns) lies inside `to`, and each task owns its rows.
                let line = unsafe { std::slice::from_raw_parts_mut(target.get().add(at), width) };
                for (to, column) in line.iter_mut().zip(&tile) {
                    *to = column[row];
                }
            }
        }
    };
    if to.len() <= parallel::SMALL {
        (0..matrices * bands).for_each(task);
        return Ok(());
    }
    parallel::tasks(matrices * bands, task)
}
