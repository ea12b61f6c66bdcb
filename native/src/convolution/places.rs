//! Where the targets of a chunk and their sources lie in memory.

use super::chunks::Chunk;
use super::correlate::Pass;
use super::grid::{Extents, Grid, Region};
use super::window::Class;
use crate::micro_tiles::Real;

/// The targets of a chunk in one pair of classes.
pub struct Places {
    /// Positions in a grid of the lowest source of every target.
    pub lefts: Vec<usize>,
    /// Positions of the targets in their batch.
    pub outs: Vec<usize>,
}

impl Places {
    pub fn of<T: Real>(
        pass: &Pass,
        (rows, columns): (&Class, &Class),
        chunk: &Chunk,
        region: &Region,
        grid: &Grid<T>,
    ) -> Places {
        let Extents {
            height,
            width,
            channels,
        } = pass.target;
        let (down, across) = (rows.indices(chunk.rows.clone()), columns.indices(0..width));
        let count = chunk.images.len() * down.len() * across.len();
        let (mut lefts, mut outs) = (Vec::with_capacity(count), Vec::with_capacity(count));
        let reads = !rows.taps.is_empty() && !columns.taps.is_empty();
        let place = |class: &Class, index: usize, start: isize| {
            ((index * class.step) as isize + class.lowest() - start) as usize
        };
        let (step, each) = (
            if reads { columns.step * grid.pixel } else { 0 },
            columns.each * channels,
        );
        for image in chunk.images.clone() {
            for i in down.clone() {
                let out = ((image * height + rows.first + i * rows.each) * width + columns.first) * channels;
                let left = if reads && !across.is_empty() {
                    (image - chunk.images.start) * grid.image
                        + place(rows, i, region.rows.start) * grid.row
                        + place(columns, across.start, region.columns.start) * grid.pixel
                } else {
                    0
                };
                lefts.extend((0..across.len()).map(|j| left + j * step));
                outs.extend(across.clone().map(|j| out + j * each));
            }
        }
        Places { lefts, outs }
    }
}

/// Distances in a grid from the lowest source to every run of taps, and taps of a run.
pub fn segments<T: Real>((rows, columns): (&Class, &Class), grid: &Grid<T>) -> (Vec<usize>, usize) {
    let (runs, length) = columns.runs();
    let mut segments = Vec::with_capacity(rows.taps.len() * runs.len());
    for tap in &rows.taps {
        for &run in &runs {
            let (down, across) = (tap.offset - rows.lowest(), run - columns.lowest());
            segments.push(down as usize * grid.row + across as usize * grid.pixel);
        }
    }
    (segments, length)
}
