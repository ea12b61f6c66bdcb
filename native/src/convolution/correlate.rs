//! Sums over windows: the outputs of a convolution from its inputs, and with the taps turned the gradient of its
//! inputs from that of its outputs. A task copies the region that its targets read with its border, and multiplies
//! tiles of targets by weights that were packed once.

use super::chunks::{Chunk, Chunks};
use super::grid::{Extents, Grid, Region};
use super::kernel::{Call, WindowKernel};
use super::places::{Places, segments};
use super::window::{Class, sources};
use crate::arena::View;
use crate::dtype::num::Float;
use crate::fault::Result;
use crate::micro_kernel::TileShape;
use crate::micro_tiles::{Real, zero};
use crate::packing::{Operand, pack_sliver, packed_length};
use crate::parallel::{self, Shared};
use crate::tile_sizes::even;
use std::ops::Range;

/// Numbers of the source that a task reads, about: they stay in the second-level cache.
const SOURCE: usize = 1 << 15;
const MOST_TARGETS: usize = 1024;
/// Steps of the sums that one call of the kernel takes, about.
const STEPS: usize = 320;

/// Which targets read which sources.
pub struct Pass {
    pub rows: Vec<Class>,
    pub columns: Vec<Class>,
    pub images: usize,
    pub groups: usize,
    pub source: Extents,
    pub target: Extents,
}

/// The weights of a convolution, by the distances from one number to the next.
#[derive(Clone, Copy)]
pub struct Weights<'a, T> {
    pub numbers: &'a [T],
    pub group: usize,
    pub row: usize,
    pub column: usize,
    /// Between channels of the source.
    pub depth: usize,
    /// Between channels of the target.
    pub lane: usize,
}

/// What follows the sums: a bias for every channel of the target, then the larger of sum and floor.
#[derive(Clone, Copy)]
pub struct Ending<'a, T> {
    pub bias: Option<&'a [T]>,
    pub floor: T,
}

impl<T: Real> Ending<'_, T> {
    pub fn none() -> Self {
        Ending {
            bias: None,
            floor: <T as Float>::NEG_INFINITY,
        }
    }
}

impl Pass {
    /// Channels of source and target in one group.
    pub fn depth(&self) -> usize {
        self.source.channels / self.groups
    }
    pub fn lanes(&self) -> usize {
        self.target.channels / self.groups
    }

    pub fn chunks(&self, depth: usize) -> Chunks {
        let Extents { height, width, .. } = self.target;
        let read = |extent: usize, classes: &[Class]| {
            classes.iter().map(|class| class.step).max().unwrap_or(1) * extent
        };
        let each = read(1, &self.rows) * read(1, &self.columns) * depth;
        Chunks::new(
            self.images,
            height,
            width,
            (SOURCE / each.max(1)).clamp(96, MOST_TARGETS),
        )
    }

    /// What the targets of a chunk read of some channels.
    pub fn region(&self, chunk: &Chunk, channels: Range<usize>) -> Region {
        Region {
            images: chunk.images.clone(),
            rows: sources(&self.rows, &chunk.rows),
            columns: sources(&self.columns, &(0..self.target.width)),
            channels,
        }
    }

    /// Pairs of classes, of rows and of columns.
    pub fn classes(&self) -> Vec<(&Class, &Class)> {
        let pairs = |rows| self.columns.iter().map(move |columns| (rows, columns));
        self.rows.iter().flat_map(pairs).collect()
    }
}

/// out = bias + the sums of source times weights, for every target.
pub fn correlate<T: Real + WindowKernel>(
    pass: &Pass,
    source: &[T],
    weights: Weights<T>,
    ending: Ending<T>,
    out: &mut [T],
) -> Result<()> {
    let (classes, depth, lanes) = (pass.classes(), pass.depth(), pass.lanes());
    let TileShape { height, width } = T::tile_shape();
    let across = lanes.next_multiple_of(width);
    let taps_of = |(rows, columns): &(&Class, &Class)| rows.taps.len() * columns.taps.len();
    let packed = classes
        .iter()
        .map(|class| pack(pass, *class, weights))
        .collect::<Result<Vec<_>>>()?;
    let packed = packed.iter().map(View::slice::<T>).collect::<Result<Vec<_>>>()?;
    let mut starts = vec![zero::<T>(); pass.groups * across];
    if let Some(bias) = ending.bias {
        for (to, from) in starts
            .chunks_exact_mut(across)
            .zip(bias.chunks_exact(lanes.max(1)))
        {
            to[..lanes].copy_from_slice(from);
        }
    }
    let chunks = pass.chunks(depth);
    let target = Shared(out.as_mut_ptr());
    let kernel = T::window_kernel();
    parallel::try_tasks(chunks.count() * pass.groups, |task| {
        let (chunk, group) = (chunks.get(task / pass.groups), task % pass.groups);
        let region = pass.region(&chunk, group * depth..(group + 1) * depth);
        let grid = Grid::of(source, pass.source, &region)?;
        let numbers = grid.numbers()?;
        let mut border = vec![zero::<T>(); height * width];
        let border_rows: Vec<*mut T> = (0..height)
            .map(|row| border[row * width..].as_mut_ptr())
            .collect();
        // Where rows of a tile write that have no target.
        let mut nowhere = vec![zero::<T>(); across];
        for (class, packed) in classes.iter().zip(&packed) {
            let places = Places::of(pass, *class, &chunk, &region, &grid);
            let count = places.lefts.len();
            if count == 0 {
                continue;
            }
            let (segments, run) = segments(*class, &grid);
            let padded = count.next_multiple_of(height);
            // SAFETY: positions lie in the grid, and targets in the output.
            let mut lefts: Vec<*const T> = places
                .lefts
                .iter()
                .map(|&at| unsafe { numbers.as_ptr().add(at) })
                .collect();
            lefts.resize(padded, lefts[count - 1]);
            let to = |at: &usize| target.get().wrapping_add(at + group * lanes);
            let mut outs: Vec<*mut T> = places.outs.iter().map(to).collect();
            outs.resize(padded, nowhere.as_mut_ptr());
            let sliver = taps_of(class) * depth * width;
            let packed = &packed[group * across / width * sliver..];
            let steps = run * depth;
            // Segments whose weights stay in the first-level cache while the targets pass.
            let share = even(segments.len(), STEPS / steps.max(1), 1);
            for column in (0..lanes).step_by(width) {
                let call = |part: Range<usize>, place: usize, outs: *const *mut T, first: usize| Call {
                    lefts: lefts[place..].as_ptr(),
                    segments: segments[part.start..].as_ptr(),
                    segment_count: part.len(),
                    steps,
                    left_step: 1,
                    right: packed[column / width * sliver + part.start * steps * width..].as_ptr(),
                    right_step: width,
                    start: starts[group * across + column..].as_ptr(),
                    onto: part.start > 0,
                    floor: if part.end == segments.len() {
                        ending.floor
                    } else {
                        <T as Float>::NEG_INFINITY
                    },
                    outs,
                    column: first,
                };
                if lanes - column >= width {
                    for part in (0..segments.len().max(1)).step_by(share) {
                        let part = part..(part + share).min(segments.len());
                        for place in (0..count).step_by(height) {
                            // SAFETY: all sources of these targets lie in the grid, which covers the region of the
                            // chunk; the targets belong to this task alone, and `nowhere` has room for a line.
                            unsafe { kernel(&call(part.clone(), place, outs[place..].as_ptr(), column)) };
                        }
                    }
                    continue;
                }
                for place in (0..count).step_by(height) {
                    // SAFETY: as above, and the border holds a tile.
                    unsafe { kernel(&call(0..segments.len(), place, border_rows.as_ptr(), 0)) };
                    for row in 0..height.min(count - place) {
                        // SAFETY: the line belongs to this task alone; nobody else uses the border now.
                        unsafe {
                            std::ptr::copy_nonoverlapping(
                                border_rows[row],
                                outs[place + row].add(column),
                                lanes - column,
                            )
                        };
                    }
                }
            }
        }
        Ok(())
    })
}

/// The weights of a pair of classes for the kernel: by group and sliver of lanes; in it by tap and channel.
fn pack<T: Real>(pass: &Pass, (rows, columns): (&Class, &Class), weights: Weights<T>) -> Result<View> {
    let (depth, lanes, width) = (pass.depth(), pass.lanes(), T::tile_shape().width);
    let taps = rows.taps.len() * columns.taps.len();
    let sliver = taps * depth * width;
    let packed = View::empty(
        T::DTYPE,
        &[pass.groups * packed_length(lanes, taps * depth, width)],
    )?;
    let slivers = lanes.div_ceil(width);
    parallel::chunks(packed.slice_mut::<T>()?, sliver, |start, part| {
        let (group, lane) = (start / sliver / slivers, start / sliver % slivers * width);
        let pairs = rows
            .taps
            .iter()
            .flat_map(|row| columns.taps.iter().map(move |column| (row, column)));
        for ((row, column), part) in pairs.zip(part.chunks_exact_mut(depth * width)) {
            let first = group * weights.group + row.index * weights.row + column.index * weights.column;
            let operand = Operand {
                lanes: width.min(lanes - lane),
                depth,
                lane_stride: weights.lane,
                depth_stride: weights.depth,
            };
            pack_sliver(
                &weights.numbers[first + lane * weights.lane..],
                operand,
                width,
                part,
            );
        }
    })?;
    Ok(packed)
}
