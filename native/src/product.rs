//! Blocked matrix products over the micro kernel. Both operands are packed, then tiles of the output are computed,
//! each by one task. A number of the output is summed over the inner extent in an order that depends on that extent
//! alone, so neither tiles nor threads change its bits.

use crate::arena::View;
use crate::dtype::Compute;
use crate::fault::Result;
use crate::micro_kernel::{Micro, TileShape, prefetch};
use crate::packing::{Operand, pack_sliver, packed_length};
use crate::parallel::{self, Shared};

/// Numbers that matrices are multiplied in.
pub trait Real: Compute<Wide = Self> + crate::math::Math + Micro + pare_dense::Dense {}
impl Real for f32 {}
impl Real for f64 {}

/// Steps of the inner extent that one call of the micro kernel takes: a sliver of the right operand stays in the
/// first-level cache.
const DEPTH: usize = 256;
/// Steps that are packed at once.
const DEPTH_LIMIT: usize = 8 * DEPTH;
/// Numbers of the right operand that are packed at once: they stay in the last-level cache.
const PANEL: usize = 1 << 20;
/// Numbers of the left operand that are packed at once; the right one is packed again for each.
const LEFT_PANEL: usize = 2 * PANEL;
/// Numbers of the left operand over `DEPTH` steps that stay in the second-level cache.
const LEFT_TILE: usize = 96 * DEPTH;
/// Columns of the output in one task, at most.
const TILE_COLUMNS: usize = 256;
/// Multiplications below which one thread does all.
const FEW: usize = 1 << 18;

/// One operand of a batched product.
#[derive(Clone, Copy)]
pub struct Side<'a, S> {
    pub numbers: &'a [S],
    pub operand: Operand,
    /// Where each matrix of the batch begins.
    pub batches: &'a [usize],
}

/// Room for operands packed for the micro kernel.
pub struct Panel {
    buffer: View,
    pub thickness: usize,
}

impl Panel {
    pub fn new<T: Real>(lanes: usize, depth: usize, thickness: usize) -> Result<Panel> {
        let buffer = View::empty(T::DTYPE, &[packed_length(lanes, depth, thickness)])?;
        Ok(Panel { buffer, thickness })
    }

    pub fn numbers<T: Real>(&self) -> Result<&[T]> {
        self.buffer.slice::<T>()
    }

    #[allow(clippy::mut_from_ref, reason = "as View::slice_mut, which it passes on")]
    fn numbers_mut<T: Real>(&self) -> Result<&mut [T]> {
        self.buffer.slice_mut::<T>()
    }

    /// Packs one operand on all threads.
    pub fn fill<S: Compute<Wide: Real>>(&self, from: &[S], operand: Operand) -> Result<()> {
        let filling = Filling {
            from,
            operand,
            thickness: self.thickness,
            position: 0,
        };
        let out = Shared(self.numbers_mut::<S::Wide>()?.as_mut_ptr());
        parallel::tasks(filling.tasks(), |task| filling.run(task, out))
    }
}

/// Lanes of an operand that go into a panel from a position on.
#[derive(Clone, Copy)]
struct Filling<'a, S> {
    from: &'a [S],
    operand: Operand,
    thickness: usize,
    position: usize,
}

impl<S: Compute<Wide: Real>> Filling<'_, S> {
    /// Slivers that one task packs.
    fn slivers(&self) -> usize {
        ((1 << 14) / (self.operand.depth * self.thickness).max(1)).max(4)
    }

    fn tasks(&self) -> usize {
        self.operand.lanes.div_ceil(self.thickness * self.slivers())
    }

    /// Packs its slivers some steps at a time, since neighbours share pages of the operand.
    fn run(&self, task: usize, out: Shared<S::Wide>) {
        let Operand {
            lanes,
            depth,
            lane_stride,
            depth_stride,
        } = self.operand;
        for step in (0..depth).step_by(STEPS) {
            let steps = STEPS.min(depth - step);
            for sliver in task * self.slivers()..(task + 1) * self.slivers() {
                let lane = sliver * self.thickness;
                if lane >= lanes {
                    break;
                }
                let place = self.position + (sliver * depth + step) * self.thickness;
                // SAFETY: the panel has room for all slivers, and this one belongs to this task alone.
                let line =
                    unsafe { std::slice::from_raw_parts_mut(out.get().add(place), steps * self.thickness) };
                let operand = Operand {
                    lanes: self.thickness.min(lanes - lane),
                    depth: steps,
                    ..self.operand
                };
                let from = &self.from[lane * lane_stride + step * depth_stride..];
                pack_sliver(from, operand, self.thickness, line);
            }
        }
    }
}

/// Steps of a sliver that are packed before its neighbour's.
const STEPS: usize = 64;

/// Rows and columns of the output that a task computes; both begin at multiples of the micro kernel's tile.
#[derive(Clone, Copy)]
pub struct Tile {
    pub rows: (usize, usize),
    pub columns: (usize, usize),
}

/// Extents of tiles that cover [rows, columns] evenly.
fn tile_extents<T: Micro>(rows: usize, columns: usize) -> (usize, usize) {
    let TileShape { height, width } = T::tile_shape();
    let even = |extent: usize, limit: usize, unit: usize| {
        let parts = extent.div_ceil(limit).max(1);
        extent.div_ceil(parts).next_multiple_of(unit).max(unit)
    };
    let share = size_of::<T>() / 4;
    (
        even(rows, LEFT_TILE / DEPTH / share, height),
        even(columns, TILE_COLUMNS / share, width),
    )
}

/// Tiles that cover the lower triangle of an [n, n] matrix.
pub fn lower_tiles<T: Micro>(n: usize) -> Vec<Tile> {
    let (height, width) = tile_extents::<T>(n, n);
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

/// The sums of one tile: micro tiles one after the other, each row-major, so that the output is touched once.
pub struct Sums<T> {
    numbers: Vec<T>,
    tile: Tile,
}

impl<T: Real> Sums<T> {
    /// left * right over one tile. Micro tiles whose first column lies behind their last row are left out where only
    /// the lower triangle is `wanted`.
    pub fn of((left, right, depth): (&[T], &[T], usize), tile: Tile, wanted: Wanted) -> Sums<T> {
        let TileShape { height, width } = T::tile_shape();
        let (rows, columns) = (tile.rows.1 - tile.rows.0, tile.columns.1 - tile.columns.0);
        let (down, across) = (rows.div_ceil(height), columns.div_ceil(width));
        let mut numbers = vec![zero::<T>(); down * height * across * width];
        for step in (0..depth).step_by(DEPTH) {
            let steps = DEPTH.min(depth - step);
            for (j, column) in (tile.columns.0..tile.columns.1).step_by(width).enumerate() {
                let b = &right[column * depth + step * width..][..steps * width];
                for (i, row) in (tile.rows.0..tile.rows.1).step_by(height).enumerate() {
                    if wanted == Wanted::Lower && column >= row + height {
                        continue;
                    }
                    let a = &left[row * depth + step * height..][..steps * height];
                    let sums = &mut numbers[(i * across + j) * height * width..][..height * width];
                    // The next sliver of the right operand comes into reach a share at a time.
                    let share = b.len().div_ceil(down);
                    let next = (column + width) * depth + step * width + i * share;
                    prefetch(right, next..next + share);
                    // SAFETY: the slices hold `steps` steps and one micro tile.
                    unsafe { T::update_tile(steps, a.as_ptr(), b.as_ptr(), sums.as_mut_ptr(), step > 0) };
                }
            }
        }
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
    let batches = left.batches.len();
    let TileShape { height, width } = S::Wide::tile_shape();
    if k == 0 {
        out.fill(zero::<S::Wide>());
    }
    let depth = k.clamp(1, DEPTH_LIMIT);
    let chunk = |lanes: usize, thickness: usize, panel: usize| {
        let fitting = (panel / depth / thickness).max(1) * thickness;
        let parts = lanes.div_ceil(fitting).max(1);
        lanes.div_ceil(parts).next_multiple_of(thickness).max(thickness)
    };
    let (rows, columns) = (chunk(m, height, LEFT_PANEL), chunk(n, width, PANEL));
    // Small matrices of a batch are packed many at once.
    let whole = rows >= m && columns >= n && depth >= k;
    let room = PANEL / (rows.max(columns) * depth);
    let group = if whole { room.clamp(1, batches.max(1)) } else { 1 };
    let round = Round {
        left,
        right,
        panels: (
            Panel::new::<S::Wide>(rows * group, depth, height)?,
            Panel::new::<S::Wide>(columns * group, depth, width)?,
        ),
        alone: m * n * k * batches < FEW,
    };
    let out = Shared(out.as_mut_ptr());
    for batch in (0..batches).step_by(group) {
        for step in (0..k.max(1)).step_by(depth) {
            for row in (0..m).step_by(rows) {
                for column in (0..n).step_by(columns) {
                    let part = Part {
                        batch,
                        batches: group.min(batches - batch),
                        row,
                        rows: rows.min(m - row),
                        column,
                        columns: columns.min(n - column),
                        step,
                        depth: depth.min(k - step),
                    };
                    round.pack(part)?;
                    round.multiply(part, out, &finish)?;
                }
            }
        }
    }
    Ok(())
}

/// What is packed and multiplied at once.
#[derive(Clone, Copy)]
struct Part {
    batch: usize,
    batches: usize,
    row: usize,
    rows: usize,
    column: usize,
    columns: usize,
    step: usize,
    depth: usize,
}

struct Round<'a, S: Compute<Wide: Real>> {
    left: Side<'a, S>,
    right: Side<'a, S>,
    panels: (Panel, Panel),
    /// The work repays no second thread.
    alone: bool,
}

impl<S: Compute<Wide: Real>> Round<'_, S> {
    fn each(&self, count: usize, body: impl Fn(usize) + Send + Sync) -> Result<()> {
        if self.alone {
            (0..count).for_each(body);
            return Ok(());
        }
        parallel::tasks(count, body)
    }

    /// Packs the operands of a part; the left one stays while the columns advance.
    fn pack(&self, part: Part) -> Result<()> {
        let pointers = (
            Shared(self.panels.0.numbers_mut::<S::Wide>()?.as_mut_ptr()),
            Shared(self.panels.1.numbers_mut::<S::Wide>()?.as_mut_ptr()),
        );
        let mut jobs = Vec::new();
        for batch in 0..part.batches {
            let sides = [
                (&self.left, &self.panels.0, pointers.0, part.row, part.rows),
                (&self.right, &self.panels.1, pointers.1, part.column, part.columns),
            ];
            for (side, panel, out, lane, lanes) in &sides[usize::from(part.column > 0)..] {
                let operand = side.operand;
                let begin = side.batches[part.batch + batch]
                    + lane * operand.lane_stride
                    + part.step * operand.depth_stride;
                let filling = Filling {
                    from: &side.numbers[begin.min(side.numbers.len())..],
                    operand: Operand {
                        lanes: *lanes,
                        depth: part.depth,
                        ..operand
                    },
                    thickness: panel.thickness,
                    position: batch * packed_length(*lanes, part.depth, panel.thickness),
                };
                jobs.extend((0..filling.tasks()).map(|task| (filling, task, *out)));
            }
        }
        self.each(jobs.len(), |job| {
            let (filling, task, out) = &jobs[job];
            filling.run(*task, *out);
        })
    }

    fn multiply(&self, part: Part, out: Shared<S::Wide>, finish: &impl Finish<S::Wide>) -> Result<()> {
        let (m, n, k) = (
            self.left.operand.lanes,
            self.right.operand.lanes,
            self.left.operand.depth,
        );
        let (left, right) = (
            self.panels.0.numbers::<S::Wide>()?,
            self.panels.1.numbers::<S::Wide>()?,
        );
        let lengths = (
            packed_length(part.rows, part.depth, self.panels.0.thickness),
            packed_length(part.columns, part.depth, self.panels.1.thickness),
        );
        let (height, width) = tile_extents::<S::Wide>(part.rows, part.columns);
        let (down, across) = (part.rows.div_ceil(height), part.columns.div_ceil(width));
        self.each(part.batches * down * across, |task| {
            let (batch, rest) = (task / (down * across), task % (down * across));
            let (row, column) = (rest / across * height, rest % across * width);
            let tile = Tile {
                rows: (row, (row + height).min(part.rows)),
                columns: (column, (column + width).min(part.columns)),
            };
            let panels = (
                &left[batch * lengths.0..],
                &right[batch * lengths.1..],
                part.depth,
            );
            let sums = Sums::of(panels, tile, Wanted::All);
            let place = (part.batch + batch) * m * n;
            sums.pieces(|row, column, sums| {
                let position = place + (part.row + row) * n + part.column + column;
                // SAFETY: the tile lies in the output and belongs to this task alone.
                let line = unsafe { std::slice::from_raw_parts_mut(out.get().add(position), sums.len()) };
                if part.step == 0 {
                    copy(sums, line);
                } else {
                    line.iter_mut().zip(sums).for_each(|(x, &sum)| *x += sum);
                }
            });
            if part.step + part.depth < k {
                return;
            }
            for row in tile.rows.0..tile.rows.1 {
                let position = place + (part.row + row) * n + part.column + tile.columns.0;
                let columns = tile.columns.1 - tile.columns.0;
                // SAFETY: as above.
                let line = unsafe { std::slice::from_raw_parts_mut(out.get().add(position), columns) };
                finish(line, part.column + tile.columns.0, position);
            }
        })
    }
}

/// A copy of a few vectors, which a call of memcpy would dominate.
#[inline(always)]
fn copy<T: Copy>(from: &[T], to: &mut [T]) {
    let ((from, from_rest), (to, to_rest)) = (from.as_chunks::<8>(), to.as_chunks_mut::<8>());
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
    for (to, from) in to_rest.iter_mut().zip(from_rest) {
        *to = *from;
    }
}

fn zero<T: Real>() -> T {
    <T as crate::dtype::num::Float>::ZERO
}
