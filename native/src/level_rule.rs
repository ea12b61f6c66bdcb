//! The rule of the column sweep that gives every column a number of levels of its own, on a range a row (BAQ, arXiv
//! 2506.05664; the grid is that of GPTQ without groups).

use crate::affine_grid::{clamp, round_even};
use crate::half_steps::to_half;
use crate::level_packing::{centre_of, step_of};
use crate::parallel::Shared;
use crate::product::Real;
use crate::sweep::{LANES, Lanes, Rule};

pub struct LevelRule<'a, T> {
    pub rows: usize,
    pub columns: usize,
    /// Column of the weight at each position of the sweep.
    pub order: Option<&'a [u32]>,
    /// Levels of each column, from 1 on.
    pub levels: &'a [u16],
    /// Of each row, in f16.
    pub lows: &'a [f32],
    pub highs: &'a [f32],
    /// Columns of two levels have them around the middle of the range.
    pub centred: bool,
    /// Of the factor, in sweep order.
    pub diagonal: &'a [T],
    /// [columns, rows]
    pub codes: Shared<u16>,
    /// Losses of each column of the weight, [tiles, columns]
    pub losses: Shared<f64>,
    /// Values outside of the range of their row, [tiles].
    pub clipped: Shared<u32>,
}

pub struct LevelTile {
    lows: Lanes<f32>,
    highs: Lanes<f32>,
    codes: Vec<[u16; LANES]>,
    losses: Vec<f64>,
    clipped: u32,
    rows: usize,
}

/// The lowest and highest value of a row with 0 in between, in f16; from -1 to 1 where all is 0.
pub fn range_of<T: Real>(row: &[T]) -> (f32, f32) {
    let (mut low, mut high) = (0.0f64, 0.0f64);
    for value in row {
        low = low.min(value.to_f64());
        high = high.max(value.to_f64());
    }
    let (low, high) = (to_half(low as f32), to_half(high as f32));
    if low == 0.0 && high == 0.0 {
        (-1.0, 1.0)
    } else {
        (low, high)
    }
}

impl<T: Real> Rule<T> for LevelRule<'_, T> {
    type Tile = LevelTile;

    fn tile(&self, first_row: usize, rows: usize) -> LevelTile {
        let of = |all: &[f32], other: f32| {
            std::array::from_fn(|lane| if lane < rows { all[first_row + lane] } else { other })
        };
        LevelTile {
            lows: of(self.lows, -1.0),
            highs: of(self.highs, 1.0),
            codes: vec![[0; LANES]; self.columns],
            losses: vec![0.0; self.columns],
            clipped: 0,
            rows,
        }
    }

    fn starts_group(&self, _position: usize) -> bool {
        false
    }

    fn begin_group(&self, _tile: &mut LevelTile, _position: usize, _columns: &[Lanes<T>]) {}

    #[inline(always)]
    fn decide(&self, tile: &mut LevelTile, position: usize, column: &Lanes<T>) -> Lanes<T> {
        let place = self.order.map_or(position, |order| order[position] as usize);
        let count = self.levels[place];
        let (lows, highs) = (tile.lows, tile.highs);
        let wide = |x: f32| T::from_f64(f64::from(x));
        let (mut codes, mut values) = ([T::ZERO; LANES], [0.0f32; LANES]);
        if count == 2 && self.centred {
            for lane in 0..LANES {
                let (middle, half) = centre_of(lows[lane], highs[lane]);
                let above = column[lane] >= wide(middle);
                codes[lane] = if above { T::ONE } else { T::ZERO };
                values[lane] = if above { middle + half } else { middle - half };
            }
        } else if count > 1 {
            let top = T::from_f64(f64::from(count - 1));
            for lane in 0..LANES {
                let (step, zero) = step_of(count, lows[lane], highs[lane]);
                let low = -wide(zero);
                codes[lane] = round_even(clamp(column[lane] / wide(step), low, top + low)) - low;
                values[lane] = step * (codes[lane].to_f64() as f32 - zero);
            }
        }
        let chosen: Lanes<T> = std::array::from_fn(|lane| wide(values[lane]));
        let mut errors = [T::ZERO; LANES];
        for lane in 0..LANES {
            errors[lane] = (column[lane] - chosen[lane]) / self.diagonal[position];
            tile.codes[position][lane] = codes[lane].to_f64() as u16;
        }
        for lane in 0..tile.rows {
            let outside = column[lane] < wide(lows[lane]) || column[lane] > wide(highs[lane]);
            tile.clipped += u32::from(outside);
            tile.losses[place] += errors[lane].to_f64().powi(2) * 0.5;
        }
        chosen
    }

    fn finish(&self, tile: LevelTile, first_row: usize, rows: usize) {
        let index = first_row / LANES;
        for (position, codes) in tile.codes.iter().enumerate() {
            let place = self.order.map_or(position, |order| order[position] as usize);
            for lane in 0..rows {
                // SAFETY: rows first_row .. first_row + rows, and the sums of this tile, belong to it alone.
                unsafe { *self.codes.get().add(place * self.rows + first_row + lane) = codes[lane] };
            }
        }
        for (column, loss) in tile.losses.iter().enumerate() {
            // SAFETY: as above.
            unsafe { *self.losses.get().add(index * self.columns + column) = *loss };
        }
        // SAFETY: as above.
        unsafe { *self.clipped.get().add(index) = tile.clipped };
    }
}
