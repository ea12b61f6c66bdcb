//! Products with at least as many rows as columns. The right operand is packed for all threads, one share of the inner
//! extent after the other; then every task packs rows of the left one for itself, a share at a time, so that they come
//! from the second-level cache for all columns.

use crate::dtype::Compute;
use crate::fault::Result;
use crate::micro_kernel::{Micro, TileShape};
use crate::micro_tiles::{Tile, multiply_tile};
use crate::packing::{Operand, packed_length};
use crate::panel::{Filling, Panel, Side};
use crate::parallel::{self, Shared};
use crate::product::{DEPTH_LIMIT, Finish, Real, TASKS};
use crate::tile_sizes::{PANEL, even, fit, share};

/// Multiplications from which packing the right operand apart repays.
const MANY: usize = 1 << 22;
/// Rows of a task, at least: each number of the right operand is read once for all of them.
const LEAST_ROWS: usize = 32;

/// Whether `tall_product` is the way for [m, k] times [k, n].
pub(crate) fn is_tall(m: usize, n: usize, k: usize) -> bool {
    m >= n && m >= LEAST_ROWS * TASKS && m * n * k >= MANY
}

/// out[b] = left[b] * right[b], row-major [batch, m, n], every line finished while it is in cache.
pub(crate) fn tall_product<S: Compute<Wide: Real>>(
    left: Side<S>,
    right: Side<S>,
    out: &mut [S::Wide],
    finish: impl Finish<S::Wide>,
) -> Result<()> {
    let (m, n, k) = (left.operand.lanes, right.operand.lanes, left.operand.depth);
    let TileShape { height, width } = S::Wide::tile_shape();
    let depth = k.min(DEPTH_LIMIT);
    let columns = even(n, PANEL / depth, width);
    let rows = even(m, fit::<S::Wide>().rows.min(m.div_ceil(TASKS)), height);
    let panel = Panel::new::<S::Wide>(columns, depth, width)?;
    let out = Shared(out.as_mut_ptr());
    for batch in 0..left.batches.len() {
        for column in (0..n).step_by(columns) {
            for step in (0..k).step_by(depth) {
                let part = Part {
                    batch,
                    column,
                    columns: columns.min(n - column),
                    step,
                    depth: depth.min(k - step),
                };
                part.pack(right, &panel)?;
                let packed = panel.numbers::<S::Wide>()?;
                parallel::try_tasks(m.div_ceil(rows), |task| {
                    let row = task * rows;
                    let rows = rows.min(m - row);
                    let place = (batch * m + row) * n + column;
                    // SAFETY: these rows lie in the output and belong to this task alone.
                    unsafe { part.multiply(left, packed, (row, rows), (out.get().add(place), n))? };
                    if step + part.depth == k {
                        for row in 0..rows {
                            let position = place + row * n;
                            // SAFETY: as above.
                            let line = unsafe {
                                std::slice::from_raw_parts_mut(out.get().add(position), part.columns)
                            };
                            finish(line, column, position);
                        }
                    }
                    Ok(())
                })?;
            }
        }
    }
    Ok(())
}

/// Columns of the right operand that are packed at once, and the steps.
struct Part {
    batch: usize,
    column: usize,
    columns: usize,
    step: usize,
    depth: usize,
}

impl Part {
    /// First step and steps of every share of the inner extent.
    fn shares(&self) -> impl Iterator<Item = (usize, usize)> {
        let (depth, most) = (self.depth, share(self.depth));
        (0..depth)
            .step_by(most)
            .map(move |step| (step, most.min(depth - step)))
    }

    /// Packs the right operand, share after share.
    fn pack<S: Compute<Wide: Real>>(&self, right: Side<S>, panel: &Panel) -> Result<()> {
        let out = Shared(panel.numbers_mut::<S::Wide>()?.as_mut_ptr());
        let fillings: Vec<_> = self
            .shares()
            .map(|(step, steps)| Filling {
                from: right.from(self.batch, self.column, self.step + step),
                operand: Operand {
                    lanes: self.columns,
                    depth: steps,
                    ..right.operand
                },
                thickness: panel.thickness,
                position: packed_length(self.columns, step, panel.thickness),
            })
            .collect();
        let tasks = fillings.first().map_or(0, Filling::tasks);
        parallel::tasks(fillings.len() * tasks, |job| {
            let filling = &fillings[job / tasks];
            if job % tasks < filling.tasks() {
                filling.run(job % tasks, out);
            }
        })
    }

    /// Rows of the left operand times the columns of the panel.
    ///
    /// # Safety
    /// As `multiply_tile`.
    unsafe fn multiply<S: Compute<Wide: Real>>(
        &self,
        left: Side<S>,
        right: &[S::Wide],
        (row, rows): (usize, usize),
        (out, stride): (*mut S::Wide, usize),
    ) -> Result<()> {
        let TileShape { height, width } = S::Wide::tile_shape();
        let packed = Panel::new::<S::Wide>(rows, share(self.depth), height)?;
        let tile = Tile {
            rows: (0, rows),
            columns: (0, self.columns),
        };
        for (step, steps) in self.shares() {
            let operand = Operand {
                lanes: rows,
                depth: steps,
                ..left.operand
            };
            packed.fill_alone(left.from(self.batch, row, self.step + step), operand)?;
            let share = &right[packed_length(self.columns, step, width)..];
            let panels = (packed.numbers::<S::Wide>()?, share, steps);
            // SAFETY: passed on.
            unsafe { multiply_tile(panels, tile, out, stride, self.step + step > 0) };
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::View;
    use crate::product::wide_product;

    /// The turned product has fewer rows than columns, so that it goes the other way, with the same sums.
    #[test]
    fn the_bits_are_those_of_the_turned_product() {
        for (m, k, n) in [(300, 300, 90), (521, 2100, 70), (258, 1100, 258)] {
            let left = View::filled(&[m, k], |i| ((i * 37 % 101) as f32 - 50.0) / 7.0);
            let right = View::filled(&[k, n], |i| ((i * 53 % 89) as f32 - 44.0) / 3.0);
            assert!(is_tall(m, n, k));
            let side = |lanes, lane_stride, depth_stride, x: &'static [f32]| Side {
                numbers: x,
                operand: Operand {
                    lanes,
                    depth: k,
                    lane_stride,
                    depth_stride,
                },
                batches: &[0],
            };
            let numbers = |x: &View| -> &'static [f32] { x.slice::<f32>().unwrap().to_vec().leak() };
            let (a, b) = (side(m, k, 1, numbers(&left)), side(n, 1, n, numbers(&right)));
            let mut tall = vec![0f32; m * n];
            tall_product(a, b, &mut tall, |line: &mut [f32], column, position| {
                line.iter_mut()
                    .enumerate()
                    .for_each(|(i, x)| *x += ((column + i) * 3 + position / n) as f32);
            })
            .unwrap();
            let mut turned = vec![0f32; m * n];
            let wide = [side(n, 1, n, numbers(&right)), side(m, k, 1, numbers(&left))];
            wide_product(wide[0], wide[1], &mut turned, |_: &mut [f32], _, _| {}).unwrap();
            for row in 0..m {
                for column in 0..n {
                    let want = turned[column * m + row] + (column * 3 + row) as f32;
                    assert_eq!(tall[row * n + column], want);
                }
            }
        }
    }
}
