//! Operands of a product packed for the micro kernel, on one thread or on all.

use crate::arena::View;
use crate::dtype::Compute;
use crate::fault::Result;
use crate::micro_tiles::Real;
use crate::packing::{Operand, pack_sliver, packed_length};
use crate::parallel::{self, Shared};

/// One operand of a batched product.
#[derive(Clone, Copy)]
pub struct Side<'a, S> {
    pub numbers: &'a [S],
    pub operand: Operand,
    /// Where each matrix of the batch begins.
    pub batches: &'a [usize],
}

impl<'a, S> Side<'a, S> {
    /// The numbers of one matrix from a lane and step on.
    pub fn from(&self, batch: usize, lane: usize, step: usize) -> &'a [S] {
        let Operand {
            lane_stride,
            depth_stride,
            ..
        } = self.operand;
        let begin = self.batches[batch] + lane * lane_stride + step * depth_stride;
        &self.numbers[begin.min(self.numbers.len())..]
    }
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
    pub fn numbers_mut<T: Real>(&self) -> Result<&mut [T]> {
        self.buffer.slice_mut::<T>()
    }

    /// Packs one operand on this thread.
    pub fn fill_alone<S: Compute<Wide: Real>>(&self, from: &[S], operand: Operand) -> Result<()> {
        let (filling, out) = self.filling(from, operand)?;
        (0..filling.tasks()).for_each(|task| filling.run(task, out));
        Ok(())
    }

    /// Packs one operand on all threads.
    pub fn fill<S: Compute<Wide: Real>>(&self, from: &[S], operand: Operand) -> Result<()> {
        let (filling, out) = self.filling(from, operand)?;
        parallel::tasks(filling.tasks(), |task| filling.run(task, out))
    }

    fn filling<'a, S: Compute<Wide: Real>>(
        &self,
        from: &'a [S],
        operand: Operand,
    ) -> Result<(Filling<'a, S>, Shared<S::Wide>)> {
        let filling = Filling {
            from,
            operand,
            thickness: self.thickness,
            position: 0,
        };
        Ok((filling, Shared(self.numbers_mut::<S::Wide>()?.as_mut_ptr())))
    }
}

/// Lanes of an operand that go into a panel from a position on.
#[derive(Clone, Copy)]
pub struct Filling<'a, S> {
    pub from: &'a [S],
    pub operand: Operand,
    pub thickness: usize,
    pub position: usize,
}

impl<S: Compute<Wide: Real>> Filling<'_, S> {
    /// Slivers that one task packs.
    fn slivers(&self) -> usize {
        ((1 << 14) / (self.operand.depth * self.thickness).max(1)).max(4)
    }

    pub fn tasks(&self) -> usize {
        self.operand.lanes.div_ceil(self.thickness * self.slivers())
    }

    /// Packs its slivers some steps at a time, since neighbours share pages of the operand.
    pub fn run(&self, task: usize, out: Shared<S::Wide>) {
        let Operand {
            lanes,
            depth,
            lane_stride,
            depth_stride,
        } = self.operand;
        let most = if depth_stride == 1 { LONG_STEPS } else { STEPS };
        for step in (0..depth).step_by(most) {
            let steps = most.min(depth - step);
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

/// Steps of a sliver that are packed before its neighbour's: few where the next one lies on the same pages, many
/// where each lane is read straight on.
const STEPS: usize = 64;
const LONG_STEPS: usize = 512;
