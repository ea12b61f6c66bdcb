//! The column sweep of the optimal-brain-surgeon family: columns are decided one after the other, and the error of
//! each is pushed onto the columns still to come.
//!
//! With H = X^T X and U upper such that H^-1 = U^T U (Frantar et al., arXiv 2210.17323, section 3.3):
//!   e = (w_i - q_i) / U_ii,   w_j <- w_j - e U_ij for j > i,   loss = sum e^2 / 2
//! Rows do not meet, so they run in tiles of 16 with one row a SIMD lane. Inside a block of columns a column
//! collects its corrections just before it is decided; after the block all later columns receive theirs. What is
//! decided (a grid level, a zero of a mask, an outlier) is the business of the rule.

use crate::fault::{Fault, Result};
use crate::parallel::{self, Shared};
use crate::product::Real;

pub const LANES: usize = 16;

/// One column of a tile: a value a row.
pub type Lanes<T> = [T; LANES];

/// Decides columns. A rule is shared by all tiles; what it remembers of one tile is its `Tile`.
pub trait Rule<T: Real>: Sync {
    type Tile: Send;
    /// A tile of `rows` rows from `first_row` on.
    fn tile(&self, first_row: usize, rows: usize) -> Self::Tile;
    /// True where the rule looks at the columns from `position` on before it decides them.
    fn starts_group(&self, position: usize) -> bool;
    /// Looks at the columns from `position` on. `columns` are in sweep order.
    fn begin_group(&self, tile: &mut Self::Tile, position: usize, columns: &[Lanes<T>]);
    /// The value that the column at `position` gets.
    fn decide(&self, tile: &mut Self::Tile, position: usize, column: &Lanes<T>) -> Lanes<T>;
    /// Takes the finished tile.
    fn finish(&self, tile: Self::Tile, first_row: usize, rows: usize);
}

pub struct Sweep<'a, T> {
    /// Row-major [rows, columns], original order of columns.
    pub weight: &'a [T],
    pub rows: usize,
    pub columns: usize,
    /// U transposed, row-major [columns, columns], in sweep order; none decides each column on its own.
    pub factor: Option<&'a [T]>,
    /// Column of the weight at each position of the sweep; none is first to last.
    pub order: Option<&'a [u32]>,
    /// Columns between two updates of all later columns. Changes speed, not results, but for `stale`.
    pub block: usize,
    /// Groups see their columns as they were when the block began, as the first published code does.
    pub stale: bool,
}

impl<T: Real> Sweep<'_, T> {
    fn column_at(&self, position: usize) -> usize {
        self.order.map_or(position, |order| order[position] as usize)
    }

    /// Runs the rule over all rows. `decided` receives the chosen values, `losses` one sum a row.
    pub fn run<R: Rule<T>>(&self, rule: &R, decided: &mut [T], losses: &mut [T]) -> Result<()> {
        let (rows, columns) = (self.rows, self.columns);
        let expected = [
            (self.weight.len(), rows * columns),
            (decided.len(), rows * columns),
            (losses.len(), rows),
        ];
        if expected.iter().any(|(got, want)| got != want)
            || self.factor.is_some_and(|f| f.len() != columns * columns)
        {
            return Err(Fault::shape(format!(
                "sweep: buffers do not fit {rows} rows of {columns} columns"
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
                    "sweep: the order must name each of {columns} columns once"
                )));
            }
        }
        let tiles = rows.div_ceil(LANES);
        let (values, sums) = (Shared(decided.as_mut_ptr()), Shared(losses.as_mut_ptr()));
        parallel::tasks(tiles, |index| {
            if parallel::aborted() {
                return;
            }
            let first = index * LANES;
            let height = LANES.min(rows - first);
            let mut tile: Vec<Lanes<T>> = (0..columns)
                .map(|position| {
                    let column = self.column_at(position);
                    std::array::from_fn(|lane| {
                        if lane < height {
                            self.weight[(first + lane) * columns + column]
                        } else {
                            T::ZERO
                        }
                    })
                })
                .collect();
            let mut state = rule.tile(first, height);
            let mut loss = [T::ZERO; LANES];
            sweep_tile::<T, R>(
                rule,
                &mut state,
                &mut tile,
                self.factor,
                self.block.max(1),
                self.stale,
                &mut loss,
            );
            rule.finish(state, first, height);
            for (position, value) in tile.iter().enumerate() {
                let column = self.column_at(position);
                for lane in 0..height {
                    // SAFETY: rows first .. first + height belong to this tile alone.
                    unsafe { *values.get().add((first + lane) * columns + column) = value[lane] };
                }
            }
            for lane in 0..height {
                // SAFETY: as above.
                unsafe { *sums.get().add(first + lane) = loss[lane] };
            }
        })?;
        if parallel::aborted() {
            Err(Fault::aborted())
        } else {
            Ok(())
        }
    }
}

crate::simd! {
    fn sweep_tile<T: Real, R: Rule<T>>(
        rule: &R, state: &mut R::Tile, tile: &mut [Lanes<T>], factor: Option<&[T]>, block: usize, stale: bool, loss: &mut Lanes<T>,
    ) {
        let columns = tile.len();
        let Some(factor) = factor else {
            for position in 0..columns {
                if rule.starts_group(position) {
                    rule.begin_group(state, position, &tile[position..]);
                }
                tile[position] = rule.decide(state, position, &tile[position]);
            }
            return;
        };
        let mut errors: Vec<Lanes<T>> = vec![[T::ZERO; LANES]; block.min(columns)];
        let mut start = 0;
        while start < columns {
            let mut end = (start + block).min(columns);
            if !stale {
                end = (start + 1..end).find(|&position| rule.starts_group(position)).unwrap_or(end);
            }
            for position in start..end {
                if rule.starts_group(position) {
                    rule.begin_group(state, position, &tile[position..]);
                }
                let row = &factor[position * columns..(position + 1) * columns];
                let mut value = tile[position];
                for (error, &u) in errors[..position - start].iter().zip(&row[start..position]) {
                    for lane in 0..LANES {
                        value[lane] -= error[lane] * u;
                    }
                }
                let chosen = rule.decide(state, position, &value);
                let error = &mut errors[position - start];
                for lane in 0..LANES {
                    error[lane] = (value[lane] - chosen[lane]) / row[position];
                    loss[lane] += error[lane] * error[lane];
                }
                tile[position] = chosen;
            }
            let errors = &errors[..end - start];
            let mut position = end;
            // Four columns at a time share each load of an error.
            while position + 4 <= columns {
                let rows: [&[T]; 4] = std::array::from_fn(|i| &factor[(position + i) * columns + start..(position + i) * columns + end]);
                let mut values: [Lanes<T>; 4] = std::array::from_fn(|i| tile[position + i]);
                for (index, error) in errors.iter().enumerate() {
                    for i in 0..4 {
                        let u = rows[i][index];
                        for lane in 0..LANES {
                            values[i][lane] -= error[lane] * u;
                        }
                    }
                }
                tile[position..position + 4].copy_from_slice(&values);
                position += 4;
            }
            for position in position..columns {
                let row = &factor[position * columns + start..position * columns + end];
                let mut value = tile[position];
                for (error, &u) in errors.iter().zip(row) {
                    for lane in 0..LANES {
                        value[lane] -= error[lane] * u;
                    }
                }
                tile[position] = value;
            }
            start = end;
        }
        for lane in loss.iter_mut() {
            *lane *= T::from_f64(0.5);
        }
    }
}
