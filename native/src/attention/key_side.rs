//! What the gradients of attention need of one head of keys, packed once for all queries that read it.

use super::query_block::{Problem, Strided};
use crate::arena::View;
use crate::fault::Result;
use crate::micro_kernel::TileShape;
use crate::micro_tiles::Real;
use crate::packing::{Operand, pack_sliver, packed_length};

/// Keys of a block; a multiple of the width of every micro kernel.
pub(super) const KEYS: usize = 128;

/// Packs a strided matrix in slivers, each with room for `longer` steps more.
pub(super) fn pack<T: Real>(from: &[T], operand: Operand, thickness: usize, longer: usize, out: &mut [T]) {
    let length = (operand.depth + longer) * thickness;
    for sliver in 0..operand.lanes.div_ceil(thickness) {
        let lane = sliver * thickness;
        let lanes = thickness.min(operand.lanes - lane);
        let line = &mut out[sliver * length..][..operand.depth * thickness];
        pack_sliver(
            // Rows without numbers begin behind the end.
            &from[(lane * operand.lane_stride).min(from.len())..],
            Operand { lanes, ..operand },
            thickness,
            line,
        );
    }
}

/// The same in a memory of its own.
pub(super) fn packed<T: Real>(from: &[T], operand: Operand, thickness: usize) -> Vec<T> {
    let mut out = vec![T::ZERO; packed_length(operand.lanes, operand.depth, thickness)];
    pack(from, operand, thickness, 0, &mut out);
    out
}

/// What belongs to one head of keys for the whole of its task.
pub(super) struct KeySide {
    /// Keys and values as lanes, each followed by a step of ones.
    pub keys: View,
    pub values: View,
    /// Dims of the keys as lanes, block by block.
    pub dims: View,
    /// The gradients turned, [keys / width][dims / height] tiles.
    pub dkeys: View,
    pub dvalues: View,
}

impl KeySide {
    pub fn of<T: Real>(problem: &Problem<T>, batch: usize, kv_head: usize) -> Result<KeySide> {
        let TileShape { height, width } = T::tile_shape();
        let Problem {
            keys, dim, value_dim, ..
        } = *problem;
        let padded = keys.next_multiple_of(width);
        let lanes_of = |from: &Strided<T>, dim: usize| -> Result<View> {
            let out = View::empty(T::DTYPE, &[padded * (dim + 1)])?;
            let numbers = out.slice_mut::<T>()?;
            let operand = Operand {
                lanes: keys,
                depth: dim,
                lane_stride: from.strides[2],
                depth_stride: 1,
            };
            pack(from.from(batch, kv_head, 0), operand, width, 1, numbers);
            for sliver in numbers.chunks_mut((dim + 1) * width) {
                sliver[dim * width..].fill(T::ONE);
            }
            Ok(out)
        };
        let dims = View::empty(T::DTYPE, &[packed_length(dim, keys, width)])?;
        for start in (0..keys).step_by(KEYS) {
            let operand = Operand {
                lanes: dim,
                depth: KEYS.min(keys - start),
                lane_stride: 1,
                depth_stride: problem.k.strides[2],
            };
            let place = dim.next_multiple_of(width) * start;
            pack(
                problem.k.from(batch, kv_head, start),
                operand,
                width,
                0,
                &mut dims.slice_mut::<T>()?[place..],
            );
        }
        Ok(KeySide {
            keys: lanes_of(&problem.k, dim)?,
            values: lanes_of(&problem.v, value_dim)?,
            dims,
            dkeys: View::zeros(T::DTYPE, &[padded * dim.next_multiple_of(height)])?,
            dvalues: View::zeros(T::DTYPE, &[padded * value_dim.next_multiple_of(height)])?,
        })
    }
}
