//! Depthwise convolution: every channel has a window of its own, so channels are the lanes.

use super::correlate::{Ending, Pass};
use super::grid::Grid;
use super::places::{Places, segments};
use super::weight_gradient::{PARTS, add_parts};
use crate::arena::View;
use crate::fault::Result;
use crate::micro_tiles::{Real, zero};
use crate::parallel::{self, Shared};
use crate::simd;

/// Channels whose sums stay in registers, and targets or taps that share what is loaded for them.
const LANES: usize = 16;
const TILE: usize = 4;

/// Some targets: positions of their lowest sources, distances to the other taps, and where the sums go.
struct Targets<'a, T> {
    x: &'a [T],
    lefts: &'a [usize],
    taps: &'a [usize],
    /// [taps, channels]
    weights: &'a [T],
    ending: Ending<'a, T>,
    outs: &'a [usize],
    out: Shared<T>,
}

/// `TILE` targets (the last ones repeated where there are fewer) over `L` channels.
#[inline(always)]
fn tile<T: Real, const L: usize>(targets: &Targets<T>, first: usize, channel: usize) {
    let Targets {
        x,
        lefts,
        taps,
        weights,
        ending,
        outs,
        out,
    } = targets;
    let channels = weights.len() / taps.len().max(1);
    let count = TILE.min(lefts.len() - first);
    let begin = match ending.bias {
        Some(bias) => *bias[channel..]
            .first_chunk::<L>()
            .expect("a bias for every channel"),
        None => [zero::<T>(); L],
    };
    let mut sums = [begin; TILE];
    let places: [usize; TILE] = std::array::from_fn(|i| lefts[first + i.min(count - 1)] + channel);
    for (tap, &distance) in taps.iter().enumerate() {
        let w = weights[tap * channels + channel..]
            .first_chunk::<L>()
            .expect("weights of every channel");
        for i in 0..TILE {
            let x = x[places[i] + distance..]
                .first_chunk::<L>()
                .expect("sources of every channel");
            for lane in 0..L {
                sums[i][lane] += x[lane] * w[lane];
            }
        }
    }
    for i in 0..count {
        // SAFETY: the targets lie in the output and belong to the caller's task alone.
        let line = unsafe { &mut *out.get().add(outs[first + i] + channel).cast::<[T; L]>() };
        for lane in 0..L {
            let sum = sums[i][lane];
            line[lane] = if sum < ending.floor { ending.floor } else { sum };
        }
    }
}

simd! {
    fn all_targets<T: Real>(targets: &Targets<T>, channels: usize) {
        let dense = channels - channels % LANES;
        for first in (0..targets.lefts.len()).step_by(TILE) {
            for channel in (0..dense).step_by(LANES) {
                tile::<T, LANES>(targets, first, channel);
            }
            for channel in dense..channels {
                tile::<T, 1>(targets, first, channel);
            }
        }
    }
}

/// As `correlate` where every group is one channel; weights [taps of the kernel, channels], taps in row-major order.
pub fn correlate<T: Real>(
    pass: &Pass,
    source: &[T],
    weights: &[T],
    ending: Ending<T>,
    out: &mut [T],
) -> Result<()> {
    let (classes, channels) = (pass.classes(), pass.source.channels);
    let kernel_width: usize = pass.columns.iter().map(|class| class.taps.len()).sum();
    let weights: Vec<Vec<T>> = classes
        .iter()
        .map(|(rows, columns)| {
            let taps = rows
                .taps
                .iter()
                .flat_map(|row| columns.taps.iter().map(move |column| (row, column)));
            taps.flat_map(|(row, column)| {
                &weights[(row.index * kernel_width + column.index) * channels..][..channels]
            })
            .copied()
            .collect()
        })
        .collect();
    let chunks = pass.chunks(channels);
    let target = Shared(out.as_mut_ptr());
    parallel::try_tasks(chunks.count(), |task| {
        let chunk = chunks.get(task);
        let region = pass.region(&chunk, 0..channels);
        let grid = Grid::of(source, pass.source, &region)?;
        for (class, weights) in classes.iter().zip(&weights) {
            let places = Places::of(pass, *class, &chunk, &region, &grid);
            let (runs, length) = segments(*class, &grid);
            let taps: Vec<usize> = runs
                .iter()
                .flat_map(|run| (0..length).map(move |tap| run + tap * grid.pixel))
                .collect();
            all_targets::<T>(
                &Targets {
                    x: grid.numbers()?,
                    lefts: &places.lefts,
                    taps: &taps,
                    weights,
                    ending,
                    outs: &places.outs,
                    out: target,
                },
                channels,
            );
        }
        Ok(())
    })
}

/// Lines of positions that follow each other in the gradients: where each begins in a grid, and its length and step.
struct Lines<'a, T> {
    x: &'a [T],
    starts: &'a [usize],
    length: usize,
    step: usize,
    gradient: &'a [T],
    channels: usize,
}

/// Adds the products of at most `TILE` taps to their sums, over `L` channels.
#[inline(always)]
fn add_taps<T: Real, const L: usize>(lines: &Lines<T>, taps: &[usize], channel: usize, sums: &mut [T]) {
    let Lines {
        x,
        starts,
        length,
        step,
        gradient,
        channels,
    } = *lines;
    let mut totals = [[zero::<T>(); L]; TILE];
    let taps_of: [usize; TILE] = std::array::from_fn(|i| taps[i.min(taps.len() - 1)] + channel);
    for (line, start) in starts.iter().enumerate() {
        for i in 0..length {
            let g = gradient[(line * length + i) * channels + channel..]
                .first_chunk::<L>()
                .expect("gradients of every channel");
            for tap in 0..TILE {
                let x = x[start + i * step + taps_of[tap]..]
                    .first_chunk::<L>()
                    .expect("inputs of every channel");
                for lane in 0..L {
                    totals[tap][lane] += x[lane] * g[lane];
                }
            }
        }
    }
    for (tap, total) in totals.iter().enumerate().take(taps.len()) {
        let sums = &mut sums[tap * channels + channel..][..L];
        sums.iter_mut().zip(total).for_each(|(sum, &x)| *sum += x);
    }
}

simd! {
    fn all_taps<T: Real>(lines: &Lines<T>, taps: &[usize], sums: &mut [T]) {
        let channels = lines.channels;
        let dense = channels - channels % LANES;
        for (taps, sums) in taps.chunks(TILE).zip(sums.chunks_mut(TILE * channels)) {
            for channel in (0..dense).step_by(LANES) {
                add_taps::<T, LANES>(lines, taps, channel, sums);
            }
            for channel in dense..channels {
                add_taps::<T, 1>(lines, taps, channel, sums);
            }
        }
    }
}

/// The gradient of the weights, out [channels, taps], in parts that are added in order.
pub fn weight_gradient<T: Real>(pass: &Pass, x: &[T], gradient: &[T], out: &mut [T]) -> Result<()> {
    let (class, channels) = ((&pass.rows[0], &pass.columns[0]), pass.source.channels);
    let taps = class.0.taps.len() * class.1.taps.len();
    let chunks = pass.chunks(channels);
    let parts = PARTS.min(chunks.count());
    let whole = taps * channels;
    let mut partial = vec![zero::<T>(); parts * whole];
    let sums = Shared(partial.as_mut_ptr());
    parallel::try_tasks(parts, |part| {
        // SAFETY: every part belongs to one task.
        let sums = unsafe { std::slice::from_raw_parts_mut(sums.get().add(part * whole), whole) };
        for index in part * chunks.count() / parts..(part + 1) * chunks.count() / parts {
            let chunk = chunks.get(index);
            let region = pass.region(&chunk, 0..channels);
            let grid = Grid::of(x, pass.source, &region)?;
            let (runs, length) = segments(class, &grid);
            let taps: Vec<usize> = runs
                .iter()
                .flat_map(|run| (0..length).map(move |tap| run + tap * grid.pixel))
                .collect();
            let starts: Vec<usize> = (0..chunk.images.len())
                .flat_map(|image| (0..chunk.rows.len()).map(move |row| (image, row)))
                .map(|(image, row)| image * grid.image + row * class.0.step * grid.row)
                .collect();
            let first = (chunk.images.start * pass.target.height + chunk.rows.start) * pass.target.width;
            let lines = Lines {
                x: grid.numbers()?,
                starts: &starts,
                length: pass.target.width,
                step: class.1.step * grid.pixel,
                gradient: &gradient[first * channels..],
                channels,
            };
            all_taps::<T>(&lines, &taps, sums);
        }
        Ok(())
    })?;
    add_parts(&mut partial, whole)?;
    for (at, to) in out.iter_mut().enumerate() {
        *to = partial[at % taps * channels + at / taps];
    }
    Ok(())
}

/// [channels, taps] as [taps, channels].
pub fn turned<T: Real>(weights: &[T], channels: usize) -> Result<View> {
    let taps = weights.len() / channels.max(1);
    let turned = View::empty(T::DTYPE, &[weights.len()])?;
    for (at, to) in turned.slice_mut::<T>()?.iter_mut().enumerate() {
        *to = weights[at % channels * taps + at / channels];
    }
    Ok(turned)
}
