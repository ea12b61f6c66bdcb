//! Blocked matrix products over the micro kernel. Where the output has more columns than rows, the left operand is packed
//! for all threads; then every task packs a strip of the right one for itself and computes the columns of the output that
//! belong to it. The other way stands in `tall_product`.

use crate::dtype::Compute;
use crate::fault::Result;
use crate::micro_kernel::{Micro, TileShape};
pub use crate::micro_tiles::Real;
use crate::micro_tiles::{Tile, multiply_tile, zero};
use crate::packing::{Operand, packed_length};
use crate::panel::{Filling, Panel, Side};
use crate::parallel::{self, Shared};
use crate::tall_product::{is_tall, tall_product};
use crate::tile_sizes::{DEPTH, PANEL, even, fit};

/// Steps that are packed at once.
pub(crate) const DEPTH_LIMIT: usize = 8 * DEPTH;
/// Tasks that a product is cut into where it is large enough.
pub(crate) const TASKS: usize = 8;

/// Multiplications below which one thread does all.
const FEW: usize = 1 << 18;

/// What follows a line of the product once its sums are complete: the line, its first column and its position in
/// the output.
pub trait Finish<T>: Fn(&mut [T], usize, usize) + Send + Sync {}
impl<T, F: Fn(&mut [T], usize, usize) + Send + Sync> Finish<T> for F {}

/// out[b] = left[b] * right[b], row-major [batch, m, n], every line finished while it is in cache. bf16 operands are
/// widened as they are packed.
pub fn product<S: Compute<Wide: Real>>(
    left: Side<S>,
    right: Side<S>,
    out: &mut [S::Wide],
    finish: impl Finish<S::Wide>,
) -> Result<()> {
    let (m, n, k) = (left.operand.lanes, right.operand.lanes, left.operand.depth);
    if is_tall(m, n, k) {
        tall_product(left, right, out, finish)
    } else {
        wide_product(left, right, out, finish)
    }
}

/// The left operand is packed for all threads; then every task packs a strip of the right one for itself.
pub(crate) fn wide_product<S: Compute<Wide: Real>>(
    left: Side<S>,
    right: Side<S>,
    out: &mut [S::Wide],
    finish: impl Finish<S::Wide>,
) -> Result<()> {
    let (m, n, k) = (left.operand.lanes, right.operand.lanes, left.operand.depth);
    let batches = left.batches.len();
    let TileShape { height, width } = S::Wide::tile_shape();
    if k == 0 {
        out.fill(zero::<S::Wide>());
    }
    let depth = k.clamp(1, DEPTH_LIMIT);
    let rows = even(m, PANEL / depth, height);
    let fit = fit::<S::Wide>();
    let strip = even(n, (fit.strip / depth).min(n.div_ceil(TASKS)), width);
    // Small matrices of a batch are packed many at once.
    let group = if rows >= m && depth >= k {
        (PANEL / (rows * depth)).clamp(1, batches.max(1))
    } else {
        1
    };
    let round = Round {
        left,
        right,
        panel: Panel::new::<S::Wide>(rows * group, depth, height)?,
        strip,
        tile_rows: even(rows, fit.rows, height),
        alone: m * n * k * batches < FEW,
    };
    let out = Shared(out.as_mut_ptr());
    for batch in (0..batches).step_by(group) {
        for step in (0..k.max(1)).step_by(depth) {
            for row in (0..m).step_by(rows) {
                let part = Part {
                    batch,
                    batches: group.min(batches - batch),
                    row,
                    rows: rows.min(m - row),
                    step,
                    depth: depth.min(k - step),
                };
                round.pack(part)?;
                round.multiply(part, out, &finish)?;
            }
        }
    }
    Ok(())
}

/// Rows of the left operand that are packed at once, and the steps.
#[derive(Clone, Copy)]
struct Part {
    batch: usize,
    batches: usize,
    row: usize,
    rows: usize,
    step: usize,
    depth: usize,
}

struct Round<'a, S: Compute<Wide: Real>> {
    left: Side<'a, S>,
    right: Side<'a, S>,
    /// The left operand of a part.
    panel: Panel,
    /// Columns of the output in one task.
    strip: usize,
    tile_rows: usize,
    /// The work repays no second thread.
    alone: bool,
}

impl<S: Compute<Wide: Real>> Round<'_, S> {
    fn each(&self, count: usize, body: impl Fn(usize) -> Result<()> + Send + Sync) -> Result<()> {
        if self.alone {
            return (0..count).try_for_each(body);
        }
        parallel::try_tasks(count, body)
    }

    /// Packs the left operand of a part.
    fn pack(&self, part: Part) -> Result<()> {
        let out = Shared(self.panel.numbers_mut::<S::Wide>()?.as_mut_ptr());
        let operand = self.left.operand;
        let fillings: Vec<_> = (0..part.batches)
            .map(|batch| Filling {
                from: self.left.from(part.batch + batch, part.row, part.step),
                operand: Operand {
                    lanes: part.rows,
                    depth: part.depth,
                    ..operand
                },
                thickness: self.panel.thickness,
                position: batch * packed_length(part.rows, part.depth, self.panel.thickness),
            })
            .collect();
        let tasks = fillings.first().map_or(0, Filling::tasks);
        self.each(part.batches * tasks, |job| {
            fillings[job / tasks].run(job % tasks, out);
            Ok(())
        })
    }

    /// Every task packs a strip of the right operand for itself, while it is on its way through the caches, and
    /// multiplies all rows of the part by it, or some where there are few strips.
    fn multiply(&self, part: Part, out: Shared<S::Wide>, finish: &impl Finish<S::Wide>) -> Result<()> {
        let TileShape { height, width } = S::Wide::tile_shape();
        let (right, strip, tile_rows) = (self.right, self.strip, self.tile_rows);
        let (m, n, k) = (self.left.operand.lanes, right.operand.lanes, right.operand.depth);
        let left = self.panel.numbers::<S::Wide>()?;
        let strips = n.div_ceil(strip);
        let tiles = part.rows.div_ceil(tile_rows);
        let shares = TASKS.div_ceil((strips * part.batches).max(1)).min(tiles);
        let share_rows = tiles.div_ceil(shares.max(1)) * tile_rows;
        self.each(part.batches * strips * shares, |task| {
            let (batch, rest) = (task / (strips * shares), task % (strips * shares));
            let (first, column) = (rest / strips * share_rows, rest % strips * strip);
            let columns = strip.min(n - column);
            let packed = Panel::new::<S::Wide>(columns, part.depth, width)?;
            packed.fill_alone(
                right.from(part.batch + batch, column, part.step),
                Operand {
                    lanes: columns,
                    depth: part.depth,
                    ..right.operand
                },
            )?;
            let left = &left[batch * packed_length(part.rows, part.depth, height)..];
            let panels = (left, packed.numbers::<S::Wide>()?, part.depth);
            let last = (first + share_rows).min(part.rows);
            for row in (first..last).step_by(tile_rows) {
                let tile = Tile {
                    rows: (row, (row + tile_rows).min(last)),
                    columns: (0, columns),
                };
                let place = ((part.batch + batch) * m + part.row) * n + column;
                // SAFETY: rows and columns of the tile lie in the output and belong to this task alone.
                unsafe { multiply_tile(panels, tile, out.get().add(place), n, part.step > 0) };
                if part.step + part.depth < k {
                    continue;
                }
                for row in tile.rows.0..tile.rows.1 {
                    let position = place + row * n;
                    // SAFETY: as above.
                    let line = unsafe { std::slice::from_raw_parts_mut(out.get().add(position), columns) };
                    finish(line, column, position);
                }
            }
            Ok(())
        })
    }
}
