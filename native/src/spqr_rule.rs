//! The rule of the column sweep that keeps outliers beside a grid of small groups (SpQR; Dettmers et al., arXiv
//! 2306.03078, algorithm 1).
//!
//!   outlier where ((w - w^) / d)^2 > threshold; it is stored as w - w^ in f16, which is added to w^
//!
//! Differs from the published code: an outlier passes on what rounding it to f16 left, and has the code nearest to it.

use crate::affine_grid::{clamp, round_even};
use crate::bilevel_fit::{BilevelFit, GroupLevels, Levels};
use crate::half_steps::to_half;
use crate::parallel::Shared;
use crate::product::Real;
use crate::sweep::{LANES, Lanes, Rule};
use std::sync::{Mutex, PoisonError};

/// Where the results go: [rows, columns] and [rows, groups] in the order of the sweep, and [4, runs, groups].
pub struct Output {
    pub codes: Shared<u8>,
    pub scale_codes: Shared<u8>,
    pub zero_codes: Shared<u8>,
    pub scales: Shared<f32>,
    pub zeros: Shared<f32>,
    pub second: Shared<f32>,
    /// Of each tile.
    pub outliers: Mutex<Vec<Vec<Outlier>>>,
}

#[derive(Clone, Copy)]
pub struct Outlier {
    pub position: u32,
    pub lane: u8,
    pub residual: f32,
}

pub struct SpqrRule<'a, T> {
    pub fit: BilevelFit,
    pub rows: usize,
    pub columns: usize,
    pub group: usize,
    /// Of the factor, in sweep order.
    pub diagonal: &'a [T],
    /// Of squared errors over d^2; none keeps no outliers.
    pub threshold: Option<T>,
    /// Ranges are fitted without likely outliers.
    pub leave_one_out: bool,
    pub output: Output,
}

pub struct SpqrTile {
    groups: Vec<GroupLevels>,
    codes: Vec<[u8; LANES]>,
    outliers: Vec<Outlier>,
    rows: usize,
}

impl<T: Real> Rule<T> for SpqrRule<'_, T> {
    type Tile = SpqrTile;

    fn tile(&self, _first_row: usize, rows: usize) -> SpqrTile {
        SpqrTile {
            groups: vec![GroupLevels::default(); self.columns / self.group],
            codes: vec![[0; LANES]; self.columns],
            outliers: Vec::new(),
            rows,
        }
    }

    fn starts_group(&self, position: usize) -> bool {
        position.is_multiple_of(self.group)
    }

    #[inline(always)]
    fn begin_group(&self, tile: &mut SpqrTile, position: usize, columns: &[Lanes<T>]) {
        let columns = &columns[..self.group];
        let diagonal = &self.diagonal[position..position + self.group];
        let threshold = self.threshold.filter(|_| self.leave_one_out);
        let (lows, highs) = self.fit.ranges(columns, diagonal, threshold);
        tile.groups[position / self.group] = self.fit.fit(&lows, &highs, tile.rows);
    }

    #[inline(always)]
    fn decide(&self, tile: &mut SpqrTile, position: usize, column: &Lanes<T>) -> Lanes<T> {
        let GroupLevels { scales, zeros, .. } = &tile.groups[position / self.group];
        let top = T::from_f64(self.fit.top());
        let wide = |x: f32| T::from_f64(f64::from(x));
        let (mut codes, mut values) = ([0.0f32; LANES], [0.0f32; LANES]);
        for lane in 0..LANES {
            // A scale of 0 makes every level worth 0 (or the offset), and the code nearest to the zero is taken.
            let usable = if scales[lane] > 0.0 {
                wide(scales[lane])
            } else {
                T::ONE
            };
            let target = if scales[lane] > 0.0 { column[lane] } else { T::ZERO };
            let zero = wide(zeros[lane]);
            let code = match self.fit.levels {
                Levels::Bilevel { .. } => round_even(clamp(target / usable + zero, T::ZERO, top)),
                Levels::Offset => round_even(clamp((target - zero) / usable, T::ZERO, top)),
                Levels::WholeZeros { .. } | Levels::Grid => {
                    round_even(clamp(target / usable, -zero, top - zero)) + zero
                }
            };
            codes[lane] = code.to_f64() as f32;
        }
        for lane in 0..LANES {
            values[lane] = match self.fit.levels {
                // A reader adds outliers, or 0, which leaves no negative zero.
                Levels::Bilevel { .. } | Levels::WholeZeros { .. } => {
                    to_half(to_half(codes[lane] - zeros[lane]) * scales[lane]) + 0.0
                }
                Levels::Offset => scales[lane] * codes[lane] + zeros[lane],
                Levels::Grid => scales[lane] * (codes[lane] - zeros[lane]),
            };
        }
        let mut chosen: Lanes<T> = std::array::from_fn(|lane| wide(values[lane]));
        for lane in 0..LANES {
            tile.codes[position][lane] = codes[lane] as u8;
        }
        let Some(threshold) = self.threshold else {
            return chosen;
        };
        for lane in 0..tile.rows {
            let error = (column[lane] - chosen[lane]) / self.diagonal[position];
            if error * error > threshold {
                let residual = to_half((column[lane] - chosen[lane]).to_f64() as f32);
                let sum = values[lane] + residual;
                chosen[lane] = wide(if self.fit.levels.halves() {
                    to_half(sum)
                } else {
                    sum
                });
                tile.outliers.push(Outlier {
                    position: position as u32,
                    lane: lane as u8,
                    residual,
                });
            }
        }
        chosen
    }

    fn finish(&self, tile: SpqrTile, first_row: usize, rows: usize) {
        let groups = tile.groups.len();
        let run = self.fit.levels.run();
        let runs = self.rows.div_ceil(run);
        for lane in 0..rows {
            let row = first_row + lane;
            for (position, code) in tile.codes.iter().enumerate() {
                // SAFETY: rows first_row .. first_row + rows belong to this tile alone, here and below.
                unsafe { *self.output.codes.get().add(row * self.columns + position) = code[lane] };
            }
            for (group, levels) in tile.groups.iter().enumerate() {
                let at = row * groups + group;
                // SAFETY: as above.
                unsafe {
                    *self.output.scale_codes.get().add(at) = levels.scale_codes[lane];
                    *self.output.zero_codes.get().add(at) = levels.zero_codes[lane];
                    *self.output.scales.get().add(at) = levels.scales[lane];
                    *self.output.zeros.get().add(at) = levels.zeros[lane];
                }
            }
        }
        for first in (0..rows).step_by(run) {
            for (group, levels) in tile.groups.iter().enumerate() {
                for (part, number) in levels.second[first / run].iter().enumerate() {
                    let at = (part * runs + (first_row + first) / run) * groups + group;
                    // SAFETY: a run lies within 16 rows, and so belongs to this tile alone.
                    unsafe { *self.output.second.get().add(at) = *number };
                }
            }
        }
        let mut all = self
            .output
            .outliers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        all[first_row / LANES] = tile.outliers;
    }
}

/// Outliers by rows: offsets [rows + 1], then positions and values.
pub fn by_rows(tiles: &[Vec<Outlier>], rows: usize) -> (Vec<u32>, Vec<u32>, Vec<f32>) {
    let mut offsets = vec![0u32; rows + 1];
    let (mut positions, mut values) = (Vec::new(), Vec::new());
    for row in 0..rows {
        // Within a tile they stand in the order of the sweep.
        for outlier in &tiles[row / LANES] {
            if usize::from(outlier.lane) == row % LANES {
                positions.push(outlier.position);
                values.push(outlier.residual);
            }
        }
        offsets[row + 1] = positions.len() as u32;
    }
    (offsets, positions, values)
}
