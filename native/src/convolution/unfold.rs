//! The inputs of every window side by side, as a matrix for each group: what statistics of a convolution are made of.

use super::correlate::Pass;
use super::grid::Grid;
use super::places::{Places, segments};
use crate::fault::Result;
use crate::micro_tiles::Real;
use crate::parallel::{self, Shared};

/// A forward pass; out [groups, images * positions, taps * source channels / groups].
pub fn unfold<T: Real>(pass: &Pass, x: &[T], out: &mut [T]) -> Result<()> {
    let (class, depth) = ((&pass.rows[0], &pass.columns[0]), pass.depth());
    let width = class.0.taps.len() * class.1.taps.len() * depth;
    let positions = pass.images * pass.target.height * pass.target.width;
    let chunks = pass.chunks(depth);
    let target = Shared(out.as_mut_ptr());
    parallel::try_tasks(chunks.count() * pass.groups, |task| {
        let (chunk, group) = (chunks.get(task / pass.groups), task % pass.groups);
        let region = pass.region(&chunk, group * depth..(group + 1) * depth);
        let grid = Grid::of(x, pass.source, &region)?;
        let (numbers, (segments, run)) = (grid.numbers()?, segments(class, &grid));
        let places = Places::of(pass, class, &chunk, &region, &grid);
        for (&left, &place) in places.lefts.iter().zip(&places.outs) {
            let row = group * positions + place / pass.target.channels;
            // SAFETY: every position of a group is one row of the output and belongs to one task.
            let line = unsafe { std::slice::from_raw_parts_mut(target.get().add(row * width), width) };
            for (to, segment) in line.chunks_exact_mut(run * depth).zip(&segments) {
                to.copy_from_slice(&numbers[left + segment..][..run * depth]);
            }
        }
        Ok(())
    })
}
