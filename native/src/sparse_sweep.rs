//! The column sweep over a weight with a mask: pruned weights are decided as 0, and what they were worth goes to the
//! columns still to come (Frantar and Alistarh, arXiv 2301.00774, algorithm 1).
//!
//!   e = (w_i - q_i) / U_ii,   w_j <- w_j - e U_ij for j > i,   q_i = 0 where pruned, else what the rule decides
//!
//! The mask is given, or chosen by the score |w_i / U_ii| on weights that have all corrections of earlier columns: the
//! smallest of a slab of columns over all rows, or of every m neighbours of a row. A slab over all rows makes rows
//! meet, so slabs are done one after the other, and tiles of 16 rows side by side within. What a pruned weight has
//! gathered from earlier columns becomes its error, so that zeros stay zeros.

use std::sync::{Mutex, PoisonError};

use crate::fault::{Fault, Result};
use crate::group_choice::choose_of_group;
use crate::parallel::{self, Shared};
use crate::product::Real;
use crate::slab_choice::choose_of_slab;
use crate::sparse_tile::{SparseTile, living};
use crate::sweep::{LANES, Lanes, Rule};

/// Which weights a sweep prunes, beside those that the given mask prunes.
#[derive(Clone, Copy)]
pub enum Choice<'a> {
    None,
    /// Of each slab over all rows as many as `zeros` says; with `ties` all that equal the last of them too.
    Slabs {
        zeros: &'a [u32],
        ties: bool,
    },
    /// All but `kept` of every `of` neighbours.
    Groups {
        kept: usize,
        of: usize,
    },
}

pub struct SparseSweep<'a, T> {
    /// Row-major [rows, columns], original order of columns.
    pub weight: &'a [T],
    pub rows: usize,
    pub columns: usize,
    /// U transposed, row-major [columns, columns], in sweep order; none decides each column on its own.
    pub factor: Option<&'a [T]>,
    /// Column of the weight at each position of the sweep; none is first to last.
    pub order: Option<&'a [u32]>,
    /// 0 where a weight is pruned already, [rows, columns]; none prunes nothing.
    pub mask: Option<&'a [u8]>,
    pub choice: Choice<'a>,
    /// Columns of a slab.
    pub slab: usize,
    /// Columns between two updates of all later ones, within a slab. Changes speed, not results, but for `stale`.
    pub block: usize,
    /// Groups of the rule see their columns as they were when the block began.
    pub stale: bool,
    /// Columns that the rule looks at when a group begins.
    pub reach: usize,
}

impl<T: Real> SparseSweep<'_, T> {
    fn column_at(&self, position: usize) -> usize {
        self.order.map_or(position, |order| order[position] as usize)
    }

    /// U_jj, or 1 without a factor.
    pub fn pivot(&self, position: usize) -> T {
        self.factor
            .map_or(T::ONE, |factor| factor[position * self.columns + position])
    }

    fn check(&self, decided: usize, kept: usize, losses: usize) -> Result<()> {
        let (rows, columns) = (self.rows, self.columns);
        let size = rows * columns;
        let fits = [self.weight.len(), decided, kept]
            .iter()
            .all(|&length| length == size)
            && losses == rows
            && self.mask.is_none_or(|mask| mask.len() == size)
            && self.factor.is_none_or(|factor| factor.len() == columns * columns);
        if !fits {
            return Err(Fault::shape(format!(
                "sparse sweep: buffers do not fit {rows} rows of {columns} columns"
            )));
        }
        if let Some(order) = self.order {
            let mut seen = vec![false; columns];
            let whole = order.len() == columns
                && order
                    .iter()
                    .all(|&c| (c as usize) < columns && !std::mem::replace(&mut seen[c as usize], true));
            if !whole {
                return Err(Fault::shape(format!(
                    "sparse sweep: the order must name each of {columns} columns once"
                )));
            }
        }
        match self.choice {
            Choice::None => Ok(()),
            Choice::Slabs { zeros, .. } => {
                let fits = zeros.len() == columns.div_ceil(self.slab)
                    && zeros.iter().enumerate().all(|(index, &count)| {
                        count as usize <= rows * self.slab.min(columns - index * self.slab)
                    });
                if fits {
                    return Ok(());
                }
                Err(Fault::shape(
                    "sparse sweep: needs for each slab how many of its weights are pruned",
                ))
            }
            Choice::Groups { kept, of } => {
                let fits = of > 0 && kept <= of && columns.is_multiple_of(of) && self.slab.is_multiple_of(of);
                if fits && self.order.is_none() {
                    return Ok(());
                }
                Err(Fault::shape(format!(
                    "sparse sweep: {kept}:{of} needs slabs and rows of whole groups, in the order of the file"
                )))
            }
        }
    }

    fn load<R: Rule<T>>(&self, rule: &R, first: usize) -> SparseTile<T, R::Tile> {
        let height = LANES.min(self.rows - first);
        let mut values = vec![[T::ZERO; LANES]; self.columns];
        let mut lives = vec![[0; LANES]; self.columns];
        for lane in 0..height {
            let start = (first + lane) * self.columns;
            let row = &self.weight[start..start + self.columns];
            for (position, value) in values.iter_mut().enumerate() {
                value[lane] = row[self.column_at(position)];
            }
            let mask = self.mask.map(|mask| &mask[start..start + self.columns]);
            for (position, lives) in lives.iter_mut().enumerate() {
                lives[lane] = u8::from(mask.is_none_or(|mask| mask[self.column_at(position)] != 0));
            }
        }
        SparseTile {
            values,
            lives,
            height,
            keys: Vec::new(),
            loss: [T::ZERO; LANES],
            state: Mutex::new(rule.tile(first, height)),
        }
    }

    /// Runs the rule over all rows. `decided` receives the chosen values, `kept` 1 where a weight lives, `losses` half
    /// the sum of e^2 of each row.
    pub fn run<R: Rule<T>>(
        &self,
        rule: &R,
        decided: &mut [T],
        kept: &mut [u8],
        losses: &mut [T],
    ) -> Result<()> {
        let (rows, columns) = (self.rows, self.columns);
        let slab = self.slab.max(1);
        self.check(decided.len(), kept.len(), losses.len())?;
        let mut slots: Vec<Option<SparseTile<T, R::Tile>>> =
            (0..rows.div_ceil(LANES)).map(|_| None).collect();
        parallel::chunks(&mut slots, 1, |index, slot| {
            slot[0] = Some(self.load(rule, index * LANES));
        })?;
        let mut tiles: Vec<SparseTile<T, R::Tile>> = slots.into_iter().flatten().collect();
        for (index, start) in (0..columns).step_by(slab).enumerate() {
            let end = (start + slab).min(columns);
            if let Choice::Slabs { zeros, ties } = self.choice {
                choose_of_slab(self, &mut tiles, (start, end), zeros[index] as usize, ties)?;
            }
            parallel::chunks(&mut tiles, 1, |_, tile| {
                if !parallel::aborted() {
                    sweep_slab::<T, R>(self, rule, &mut tile[0], start, end);
                }
            })?;
            if parallel::aborted() {
                return Err(Fault::aborted());
            }
        }
        let (values, lives, sums) = (
            Shared(decided.as_mut_ptr()),
            Shared(kept.as_mut_ptr()),
            Shared(losses.as_mut_ptr()),
        );
        let mut done: Vec<Option<SparseTile<T, R::Tile>>> = tiles.into_iter().map(Some).collect();
        parallel::chunks(&mut done, 1, |index, tile| {
            let Some(tile) = tile[0].take() else { return };
            let first = index * LANES;
            for lane in 0..tile.height {
                for position in 0..columns {
                    let at = (first + lane) * columns + self.column_at(position);
                    // SAFETY: rows first .. first + height belong to this tile alone.
                    unsafe {
                        *values.get().add(at) = tile.values[position][lane];
                        *lives.get().add(at) = tile.lives[position][lane];
                    }
                }
                // SAFETY: as above.
                unsafe { *sums.get().add(first + lane) = tile.loss[lane] * T::from_f64(0.5) };
            }
            let state = tile.state.into_inner().unwrap_or_else(PoisonError::into_inner);
            rule.finish(state, first, tile.height);
        })
    }
}

#[inline(always)]
pub fn correct<T: Real>(value: &mut Lanes<T>, errors: &[Lanes<T>], row: &[T]) {
    for (error, &u) in errors.iter().zip(row) {
        for lane in 0..LANES {
            value[lane] -= error[lane] * u;
        }
    }
}

crate::simd! {
    fn sweep_slab<T: Real, R: Rule<T>>(
        sweep: &SparseSweep<T>, rule: &R, tile: &mut SparseTile<T, R::Tile>, from: usize, to: usize,
    ) {
        let columns = sweep.columns;
        let mut errors: Vec<Lanes<T>> = vec![[T::ZERO; LANES]; sweep.block.max(1).min(to - from)];
        let mut start = from;
        while start < to {
            let mut end = (start + errors.len()).min(to);
            if !sweep.stale {
                end = (start + 1..end).find(|&position| rule.starts_group(position)).unwrap_or(end);
            }
            for position in start..end {
                if let Choice::Groups { kept, of } = sweep.choice
                    && position.is_multiple_of(of)
                {
                    let pending = if sweep.factor.is_some() { &errors[..position - start] } else { &[] };
                    choose_of_group(sweep, tile, position, (kept, of), pending);
                }
                let state = tile.state.get_mut().unwrap_or_else(PoisonError::into_inner);
                if rule.starts_group(position) {
                    let last = (position + sweep.reach).min(columns);
                    let mut seen = tile.values[position..last].to_vec();
                    for (value, lives) in seen.iter_mut().zip(&tile.lives[position..last]) {
                        *value = living(value, lives);
                    }
                    rule.begin_group(state, position, &seen);
                }
                let lives = &tile.lives[position];
                let mut value = tile.values[position];
                let Some(factor) = sweep.factor else {
                    tile.values[position] = living(&rule.decide(state, position, &living(&value, lives)), lives);
                    continue;
                };
                let row = &factor[position * columns..(position + 1) * columns];
                correct(&mut value, &errors[..position - start], &row[start..position]);
                let chosen = living(&rule.decide(state, position, &living(&value, lives)), lives);
                let error = &mut errors[position - start];
                for lane in 0..LANES {
                    error[lane] = (value[lane] - chosen[lane]) / row[position];
                    tile.loss[lane] += error[lane] * error[lane];
                }
                tile.values[position] = chosen;
            }
            if let Some(factor) = sweep.factor {
                push(&mut tile.values[end..], &errors[..end - start], &factor[end * columns..], columns, start);
            }
            start = end;
        }
    }
}

/// Gives later columns the errors of a block that begins at `start`; `factor` begins with the row of the first of them.
/// Four columns at a time share each load of an error.
#[inline(always)]
fn push<T: Real>(later: &mut [Lanes<T>], errors: &[Lanes<T>], factor: &[T], columns: usize, start: usize) {
    let row = |index: usize| &factor[index * columns + start..][..errors.len()];
    let (fours, rest) = later.as_chunks_mut::<4>();
    let done = 4 * fours.len();
    for (four, values) in fours.iter_mut().enumerate() {
        let rows: [&[T]; 4] = std::array::from_fn(|i| row(4 * four + i));
        let mut sums = *values;
        for (index, error) in errors.iter().enumerate() {
            for i in 0..4 {
                let u = rows[i][index];
                for lane in 0..LANES {
                    sums[i][lane] -= error[lane] * u;
                }
            }
        }
        *values = sums;
    }
    for (index, value) in rest.iter_mut().enumerate() {
        correct(value, errors, row(done + index));
    }
}
