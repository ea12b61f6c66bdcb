//! Greedy optimal brain surgeon over rows: the column whose removal (or rounding) costs least goes first, the others are
//! moved to make up for it, and the inverse Hessian of the row loses the column.
//! Frantar and Alistarh 2022, arXiv:2208.11580, algorithms 1 to 3.
//!
//! All rows begin with the same inverse [columns, columns]. Rows do not meet, so that a thread needs room for one inverse
//! whatever the number of rows. What is kept of a row is the order in which its units (columns or blocks) went, and what
//! each cost; weights at chosen counts come from a second run in that order, which repeats the first one bit by bit.

pub mod border;
mod choice;
mod rounding;
mod row;
#[cfg(test)]
mod tests;

use crate::fault::{Fault, Result};
use crate::parallel::{self, Shared};
pub use choice::WIDEST_BLOCK;
use choice::{Blocks, Singles};
use row::Row;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Rows of one task.
const ROWS: usize = 4;

pub struct Problem<'a> {
    pub rows: usize,
    pub columns: usize,
    /// [rows, columns]
    pub weight: &'a [f64],
    /// Of the Hessian, [columns, columns].
    pub inverse: &'a [f64],
    /// [rows, columns], 0 where a weight is 0 already and stays it.
    pub mask: Option<&'a [u8]>,
}

/// Rows from the first to the last; the lowest row whose inverse lost its positive diagonal.
pub type Failed = Option<usize>;

impl Problem<'_> {
    /// Calls `body` for every row with room for it; false from there means a failure.
    fn each(
        &self,
        width: usize,
        body: impl Fn(&mut Row, usize) -> Result<bool> + Send + Sync,
    ) -> Result<Failed> {
        let failed = AtomicUsize::new(usize::MAX);
        parallel::try_tasks(self.rows.div_ceil(ROWS), |task| {
            let mut room = Row::new(self.columns, width)?;
            for index in task * ROWS..((task + 1) * ROWS).min(self.rows) {
                if parallel::aborted() {
                    return Err(Fault::aborted());
                }
                room.begin(&self.weight[index * self.columns..][..self.columns], self.inverse)?;
                if !body(&mut room, index)? {
                    failed.fetch_min(index, Ordering::Relaxed);
                }
            }
            Ok(())
        })?;
        let failed = failed.into_inner();
        Ok((failed != usize::MAX).then_some(failed))
    }

    fn is_kept(&self, row: usize, column: usize) -> bool {
        self.mask
            .is_none_or(|mask| mask[row * self.columns + column] != 0)
    }

    /// Removes what the mask removed before. `closing` hears each place before it goes.
    fn isolate(&self, row: &mut Row, index: usize, mut closing: impl FnMut(Event)) -> Result<bool> {
        if self.mask.is_none() {
            return Ok(true);
        }
        for column in (0..self.columns).filter(|&column| !self.is_kept(index, column)) {
            let place = place_of(row, column);
            row.weight[place] = 0.0;
            closing(Event::Closing(row, place));
            if row
                .remove(place, 0.0, |stays| closing(Event::Moved(stays)))?
                .is_none()
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Removes units of `width` columns until none is left: order and losses [rows, units].
    pub fn trace(&self, width: usize, order: &mut [u32], losses: &mut [f64]) -> Result<Failed> {
        let units = self.columns.div_ceil(width);
        let (order, losses) = (Shared(order.as_mut_ptr()), Shared(losses.as_mut_ptr()));
        self.each(width, |row, index| {
            // SAFETY: one row of the results belongs to one task.
            let (order, losses) = unsafe {
                (
                    std::slice::from_raw_parts_mut(order.get().add(index * units), units),
                    std::slice::from_raw_parts_mut(losses.get().add(index * units), units),
                )
            };
            let (mut singles, mut blocks) = (
                Singles::new(self.columns, self.columns.max(1), usize::MAX),
                Blocks::new(width),
            );
            if !self.isolate(row, index, |event| event.tell(&mut singles))? {
                return Ok(false);
            }
            let mut next = 0;
            for unit in
                (0..units).filter(|&unit| self.columns_of(unit, width).all(|c| !self.is_kept(index, c)))
            {
                (order[next], losses[next]) = (unit as u32, 0.0);
                next += 1;
            }
            for step in next..units {
                let found = if width == 1 {
                    singles.next(row).map(|place| row.live[place] as usize)
                } else {
                    blocks.next(row)
                };
                let Some(unit) = found else { return Ok(false) };
                order[step] = unit as u32;
                let Some(loss) = self.remove_unit(row, unit, width, |event| event.tell(&mut singles))? else {
                    return Ok(false);
                };
                losses[step] = loss;
            }
            Ok(losses.iter().all(|loss| loss.is_finite()))
        })
    }

    fn columns_of(&self, unit: usize, width: usize) -> std::ops::Range<usize> {
        unit * width..((unit + 1) * width).min(self.columns)
    }

    /// Removes what is left of a unit.
    fn remove_unit(
        &self,
        row: &mut Row,
        unit: usize,
        width: usize,
        mut closing: impl FnMut(Event),
    ) -> Result<Option<f64>> {
        let mut total = 0.0;
        for column in self.columns_of(unit, width) {
            let Ok(place) = row.live.binary_search(&(column as u32)) else {
                continue;
            };
            if row.gone[place] {
                continue;
            }
            closing(Event::Closing(row, place));
            match row.remove(place, 0.0, |stays| closing(Event::Moved(stays)))? {
                Some(loss) => total += loss,
                None => return Ok(None),
            }
        }
        Ok(Some(total))
    }

    /// The rows after the first `counts[level][row]` units of `order` [rows, units]: out [levels, rows, columns].
    pub fn rows_at(&self, width: usize, order: &[u32], counts: &[u32], out: &mut [f64]) -> Result<Failed> {
        let (rows, columns) = (self.rows, self.columns);
        let units = columns.div_ceil(width);
        let levels = counts.len() / rows.max(1);
        let out = Shared(out.as_mut_ptr());
        self.each(width, |row, index| {
            let mut wanted: Vec<usize> = (0..levels).collect();
            wanted.sort_by_key(|level| counts[level * rows + index]);
            if !self.isolate(row, index, |_| {})? {
                return Ok(false);
            }
            let mut done = 0;
            for level in wanted {
                while done < counts[level * rows + index] as usize {
                    let unit = order[index * units + done] as usize;
                    if self.remove_unit(row, unit, width, |_| {})?.is_none() {
                        return Ok(false);
                    }
                    done += 1;
                }
                row.finish();
                // SAFETY: this row of this level belongs to this task.
                let target = unsafe {
                    std::slice::from_raw_parts_mut(out.get().add((level * rows + index) * columns), columns)
                };
                target.copy_from_slice(&row.decided);
            }
            Ok(row.decided.iter().all(|x| x.is_finite()))
        })
    }

    /// Removes columns until `zeros` of every `group` neighbours are gone: out and what is kept [rows, columns], losses [rows].
    pub fn groups(
        &self,
        group: usize,
        zeros: usize,
        out: &mut [f64],
        kept: &mut [u8],
        losses: &mut [f64],
    ) -> Result<Failed> {
        let columns = self.columns;
        let (out, kept, losses) = (
            Shared(out.as_mut_ptr()),
            Shared(kept.as_mut_ptr()),
            Shared(losses.as_mut_ptr()),
        );
        self.each(1, |row, index| {
            let mut singles = Singles::new(columns, group, zeros);
            if !self.isolate(row, index, |event| event.tell(&mut singles))? {
                return Ok(false);
            }
            let mut total = 0.0;
            while let Some(place) = singles.next(row) {
                singles.close(row, place);
                match row.remove(place, 0.0, |stays| singles.moved(stays))? {
                    Some(loss) => total += loss,
                    None => return Ok(false),
                }
            }
            row.finish();
            // SAFETY: one row of the results belongs to one task.
            unsafe {
                std::slice::from_raw_parts_mut(out.get().add(index * columns), columns)
                    .copy_from_slice(&row.decided);
                std::slice::from_raw_parts_mut(kept.get().add(index * columns), columns)
                    .copy_from_slice(&row.kept);
                *losses.get().add(index) = total;
            }
            Ok(row.decided.iter().all(|x| x.is_finite()))
        })
    }
}

/// What a chooser is told.
pub enum Event<'a> {
    Closing(&'a Row, usize),
    Moved(&'a [usize]),
}

impl Event<'_> {
    fn tell(self, singles: &mut Singles) {
        match self {
            Event::Closing(row, place) => singles.close(row, place),
            Event::Moved(stays) => singles.moved(stays),
        }
    }
}

/// The place of a column that M is over.
fn place_of(row: &Row, column: usize) -> usize {
    row.live.binary_search(&(column as u32)).unwrap_or(0)
}
