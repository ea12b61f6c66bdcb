//! The gradient of the weights of a convolution: for every tap the product of inputs and output gradients, summed over
//! all positions. The positions are cut into parts by shape alone; every part sums on its own, and the parts are added
//! in order, so that the bits do not depend on the number of threads.

use super::correlate::Pass;
use super::grid::Grid;
use super::kernel::{Call, WindowKernel};
use crate::arena::View;
use crate::dtype::num::Float;
use crate::fault::Result;
use crate::micro_kernel::TileShape;
use crate::micro_tiles::{Real, zero};
use crate::parallel::{self, Shared};

/// Parts that positions are cut into, and numbers in all of them together, at most.
pub const PARTS: usize = 16;
const PARTIAL: usize = 1 << 22;
/// Channels of the input that one task takes.
const CHANNELS: usize = 64;
/// Positions whose products pass through the first-level cache together.
const POSITIONS: usize = 128;

/// A forward pass (source: inputs, target: outputs); out [target channels, taps, source channels / groups].
pub fn weight_gradient<T: Real + WindowKernel>(
    pass: &Pass,
    x: &[T],
    gradient: &[T],
    out: &mut [T],
) -> Result<()> {
    let (rows, columns) = (&pass.rows[0], &pass.columns[0]);
    let (depth, lanes) = (pass.depth(), pass.lanes());
    let taps = rows.taps.len() * columns.taps.len();
    let TileShape { height, width } = T::tile_shape();
    let across = lanes.next_multiple_of(width);
    let block = depth.min(CHANNELS);
    let blocks = depth.div_ceil(block);
    let chunks = pass.chunks(block);
    let parts = (PARTIAL / out.len().max(1)).clamp(1, PARTS).min(chunks.count());
    let piece = taps * block * across;
    let whole = pass.groups * blocks * piece;
    let partial = View::zeros(T::DTYPE, &[parts * whole])?;
    let sums = Shared(partial.slice_mut::<T>()?.as_mut_ptr());
    let kernel = T::window_kernel();
    parallel::try_tasks(parts * pass.groups * blocks, |task| {
        let (part, group, first) = (
            task / (pass.groups * blocks),
            task / blocks % pass.groups,
            task % blocks * block,
        );
        let channels = block.min(depth - first);
        let count = taps * channels;
        let mut nowhere = vec![zero::<T>(); across];
        let mut outs: Vec<*mut T> = (0..count)
            .map(|row| sums.get().wrapping_add(task * piece + row * across))
            .collect();
        outs.resize(count.next_multiple_of(height), nowhere.as_mut_ptr());
        for index in part * chunks.count() / parts..(part + 1) * chunks.count() / parts {
            let chunk = chunks.get(index);
            let channel = group * depth + first;
            let region = pass.region(&chunk, channel..channel + channels);
            let grid = Grid::of(x, pass.source, &region)?;
            let numbers = grid.numbers()?;
            let across_image = pass.target.width;
            let positions = chunk.images.len() * chunk.rows.len() * across_image;
            let start = (chunk.images.start * pass.target.height + chunk.rows.start) * across_image;
            let from = &gradient[start * pass.target.channels..];
            // Where one tile holds all lanes they lie as the kernel wants them.
            let copied = ([lanes, pass.target.channels] != [width; 2])
                .then(|| panels(from, pass, group, positions, width))
                .transpose()?;
            let right = match &copied {
                Some(copied) => copied.slice::<T>()?,
                None => from,
            };
            let mut lefts: Vec<*const T> = Vec::with_capacity(outs.len());
            for row in &rows.taps {
                for column in &columns.taps {
                    let (down, over) = (row.offset - rows.lowest(), column.offset - columns.lowest());
                    let at = down as usize * grid.row + over as usize * grid.pixel;
                    lefts.extend(numbers[at..at + channels].iter().map(std::ptr::from_ref));
                }
            }
            lefts.resize(outs.len(), lefts[0]);
            let lines: Vec<usize> = (0..chunk.images.len())
                .flat_map(|image| (0..chunk.rows.len()).map(move |row| (image, row)))
                .map(|(image, row)| image * grid.image + row * rows.step * grid.row)
                .collect();
            let together = (POSITIONS / across_image).max(1);
            for (i, segments) in lines.chunks(together).enumerate() {
                for column in (0..lanes).step_by(width) {
                    let right = &right[column * positions + i * together * across_image * width..];
                    for row in (0..count).step_by(height) {
                        // SAFETY: lefts, segments and steps stay in the grid, which covers the region of the chunk,
                        // and the right operand in the gradients, whose lanes fill the tile; the sums belong to
                        // this task alone.
                        unsafe {
                            kernel(&Call {
                                lefts: lefts[row..].as_ptr(),
                                segments: segments.as_ptr(),
                                segment_count: segments.len(),
                                steps: across_image,
                                left_step: columns.step * grid.pixel,
                                right: right.as_ptr(),
                                right_step: width,
                                start: right.as_ptr(),
                                onto: true,
                                floor: <T as Float>::NEG_INFINITY,
                                outs: outs[row..].as_ptr(),
                                column,
                            })
                        };
                    }
                }
            }
        }
        Ok(())
    })?;
    let partial = partial.slice_mut::<T>()?;
    add_parts(partial, whole)?;
    parallel::chunks(out, taps * depth, |start, line| {
        let channel = start / (taps * depth);
        let (group, lane) = (channel / lanes, channel % lanes);
        for (tap, line) in line.chunks_exact_mut(depth).enumerate() {
            for (i, to) in line.iter_mut().enumerate() {
                let channels = block.min(depth - i / block * block);
                let at = (group * blocks + i / block) * piece + (tap * channels + i % block) * across;
                *to = partial[at + lane];
            }
        }
    })
}

/// Adds all parts, of `whole` numbers each, to the first one, in order.
pub fn add_parts<T: Real>(partial: &mut [T], whole: usize) -> Result<()> {
    let (total, rest) = partial.split_at_mut(whole);
    parallel::chunks(total, parallel::SMALL, |start, total| {
        for part in rest.chunks_exact(whole) {
            total
                .iter_mut()
                .zip(&part[start..])
                .for_each(|(sum, &x)| *sum += x);
        }
    })
}

/// The gradients of one group at some positions, [slivers, positions, width]: dense for the kernel, with zeros where lanes
/// do not fill the last sliver.
fn panels<T: Real>(from: &[T], pass: &Pass, group: usize, positions: usize, width: usize) -> Result<View> {
    let (lanes, channels) = (pass.lanes(), pass.target.channels);
    let copy = View::empty(T::DTYPE, &[lanes.div_ceil(width), positions, width])?;
    let panels = copy.slice_mut::<T>()?.chunks_exact_mut(positions * width);
    for (panel, first) in panels.zip((0..lanes).step_by(width)) {
        let filled = width.min(lanes - first);
        for (to, from) in panel.chunks_exact_mut(width).zip(from.chunks(channels)) {
            to[..filled].copy_from_slice(&from[group * lanes + first..][..filled]);
            to[filled..].fill(zero());
        }
    }
    Ok(copy)
}
