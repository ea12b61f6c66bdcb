//! Optimal brain quantisation: columns are rounded instead of removed.

use super::choice::Grid;
use super::{Event, Failed, Problem, place_of};
use crate::fault::Result;
use crate::parallel::Shared;

/// Scales and zeros [rows, groups], the group of each column, and the order of the columns where it is not the greedy one.
pub struct Levels<'a> {
    pub top: f64,
    pub scales: &'a [f64],
    pub zeros: &'a [f64],
    pub group_of: &'a [u32],
    pub groups: usize,
    pub order: Option<&'a [u32]>,
}

impl Levels<'_> {
    fn copy_row(&self, row: usize, grid: &mut Grid) {
        for (column, &group) in self.group_of.iter().enumerate() {
            grid.scales[column] = self.scales[row * self.groups + group as usize];
            grid.zeros[column] = self.zeros[row * self.groups + group as usize];
        }
    }
}

impl Problem<'_> {
    /// Rounds every column that the mask keeps: codes and values [rows, columns], losses [rows]. A column that it does not
    /// keep is 0 and has the code of its zero.
    pub fn quantize(
        &self,
        levels: &Levels,
        codes: &mut [u8],
        out: &mut [f64],
        losses: &mut [f64],
    ) -> Result<Failed> {
        let columns = self.columns;
        let (codes, out, losses) = (
            Shared(codes.as_mut_ptr()),
            Shared(out.as_mut_ptr()),
            Shared(losses.as_mut_ptr()),
        );
        self.each(1, |row, index| {
            let mut grid = Grid::new(columns, levels.top);
            levels.copy_row(index, &mut grid);
            // SAFETY: one row of the results belongs to one task.
            let codes = unsafe { std::slice::from_raw_parts_mut(codes.get().add(index * columns), columns) };
            for (code, &zero) in codes.iter_mut().zip(&grid.zeros) {
                *code = zero as u8;
            }
            let isolated = self.isolate(row, index, |event| match event {
                Event::Closing(_, place) => grid.close(place),
                Event::Moved(stays) => grid.moved(stays),
            })?;
            if !isolated {
                return Ok(false);
            }
            let kept = (0..columns).filter(|&column| self.is_kept(index, column)).count();
            let mut total = 0.0;
            let mut given = levels
                .order
                .map(|order| order.iter().filter(|&&c| self.is_kept(index, c as usize)));
            for _ in 0..kept {
                let place = match &mut given {
                    Some(order) => order.next().map(|&column| place_of(row, column as usize)),
                    None => grid.next(row),
                };
                let Some(place) = place else { return Ok(false) };
                let (code, value) = grid.nearest(row, place);
                codes[row.live[place] as usize] = code as u8;
                grid.close(place);
                match row.remove(place, value, |stays| grid.moved(stays))? {
                    Some(loss) => total += loss,
                    None => return Ok(false),
                }
            }
            // SAFETY: as above.
            unsafe {
                std::slice::from_raw_parts_mut(out.get().add(index * columns), columns)
                    .copy_from_slice(&row.decided);
                *losses.get().add(index) = total;
            }
            Ok(total.is_finite())
        })
    }
}
