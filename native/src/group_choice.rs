//! Which of m neighbouring weights of a row are pruned: those with the smallest scores on weights that have all
//! corrections so far; of equal scores the first go first.

use crate::product::Real;
use crate::slab_choice::key;
use crate::sparse_sweep::{SparseSweep, correct};
use crate::sparse_tile::SparseTile;
use crate::sweep::Lanes;

/// Prunes all but `kept` of the `of` columns from `position` on, by their scores on current weights: `errors` are those
/// that the columns have yet to receive, of the positions before.
pub fn choose_of_group<T: Real, State>(
    sweep: &SparseSweep<T>,
    tile: &mut SparseTile<T, State>,
    position: usize,
    (kept, of): (usize, usize),
    errors: &[Lanes<T>],
) {
    let current: Vec<Lanes<T>> = (position..position + of)
        .map(|column| {
            let mut value = tile.values[column];
            if let Some(factor) = sweep.factor {
                let from = column * sweep.columns + position - errors.len();
                correct(&mut value, errors, &factor[from..from + errors.len()]);
            }
            value
        })
        .collect();
    let zeros = of - kept;
    if zeros == 0 {
        return;
    }
    let mut ranked: Vec<(u64, usize)> = Vec::with_capacity(of);
    for lane in 0..tile.height {
        ranked.clear();
        ranked.extend(current.iter().enumerate().map(|(i, value)| {
            let lives = tile.lives[position + i][lane] != 0;
            (key(value[lane], sweep.pivot(position + i), lives), i)
        }));
        ranked.select_nth_unstable(zeros - 1);
        for &(_, i) in &ranked[..zeros] {
            tile.lives[position + i][lane] = 0;
        }
    }
}
