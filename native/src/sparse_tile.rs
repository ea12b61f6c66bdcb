//! Sixteen rows of a weight with a mask, one row a SIMD lane.

use std::sync::Mutex;

use crate::product::Real;
use crate::sweep::{LANES, Lanes};

/// 1 where the weight of a row lives, 0 where it is pruned.
pub type Lives = [u8; LANES];

/// Sixteen rows, in sweep order.
pub struct SparseTile<T, State> {
    pub values: Vec<Lanes<T>>,
    pub lives: Vec<Lives>,
    /// Rows that are there.
    pub height: usize,
    /// Scores of a slab, while it is chosen from.
    pub keys: Vec<[u64; LANES]>,
    /// Sum of e^2 of each row.
    pub loss: Lanes<T>,
    /// Never locked where tiles are changed, since they are borrowed there.
    pub state: Mutex<State>,
}

/// 0 where pruned.
#[inline(always)]
pub fn living<T: Real>(value: &Lanes<T>, lives: &Lives) -> Lanes<T> {
    let mut seen = [T::ZERO; LANES];
    for lane in 0..LANES {
        seen[lane] = if lives[lane] != 0 { value[lane] } else { T::ZERO };
    }
    seen
}
