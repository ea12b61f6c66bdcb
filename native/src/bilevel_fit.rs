//! Grids of SpQR for a group of columns in 16 rows (Dettmers et al., arXiv 2306.03078, section 4.1): the range of each
//! row without its likely outliers, and scales and zeros that are codes themselves, shared by a run of rows.
//!
//!   s = (hi - lo) / (2^b - 1),   z = -lo / s          of a row
//!   code = clamp(round(s / S + Z), 0, 2^c - 1),   s~ = S (code - Z)      of a run of rows, likewise for z

use crate::half_steps::{LEAST_HALF, to_half};
use crate::sweep::{LANES, Lanes};

/// Scales are no smaller than the largest weight over this, so that zeros keep whole steps in f16.
const FAR: f64 = 1024.0;

/// How levels are put together.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Levels {
    /// half(half(code - z) s); s and z are codes themselves, shared by `run` rows.
    Bilevel {
        scale_bits: u32,
        zero_bits: u32,
        run: usize,
    },
    /// half(half(code - z) s); s is a code itself, z is one of the codes of the weights.
    WholeZeros { scale_bits: u32, run: usize },
    /// s code + offset, both f16.
    Offset,
    /// s (code - z), s in f16 and z one of the codes.
    Grid,
}

impl Levels {
    /// Zeros are codes, and 0 is a level.
    pub fn whole_zeros(&self) -> bool {
        matches!(self, Levels::WholeZeros { .. } | Levels::Grid)
    }
    /// Values are rounded to f16.
    pub fn halves(&self) -> bool {
        matches!(self, Levels::Bilevel { .. } | Levels::WholeZeros { .. })
    }
    pub fn run(&self) -> usize {
        match *self {
            Levels::Bilevel { run, .. } | Levels::WholeZeros { run, .. } => run,
            _ => LANES,
        }
    }
}

/// Levels of a group in 16 rows.
#[derive(Clone, Copy, Default)]
pub struct GroupLevels {
    pub scales: Lanes<f32>,
    /// Zeros, or offsets.
    pub zeros: Lanes<f32>,
    pub scale_codes: Lanes<u8>,
    pub zero_codes: Lanes<u8>,
    /// S and Z of the scales, then of the zeros, for each run of rows.
    pub second: [[f32; 4]; LANES],
}

pub struct BilevelFit {
    pub bits: u32,
    pub levels: Levels,
}

impl BilevelFit {
    pub fn top(&self) -> f64 {
        f64::from((1u32 << self.bits) - 1)
    }

    /// Scale and zero of the range of a row, not yet rounded but for zeros that are codes.
    pub fn plain(&self, low: f64, high: f64) -> (f64, f64) {
        let (low, high) = if self.levels.whole_zeros() || low == high {
            (low.min(0.0), high.max(0.0))
        } else {
            (low, high)
        };
        let scale = ((high - low) / self.top()).max(low.abs().max(high.abs()) / FAR);
        if scale == 0.0 {
            return (0.0, 0.0);
        }
        let zero = -low / scale;
        if self.levels.whole_zeros() {
            (scale, zero.round_ties_even().clamp(0.0, self.top()))
        } else {
            (scale, zero)
        }
    }

    /// The first `rows` of 16 rows, each on its own range.
    pub fn fit(&self, lows: &Lanes<f64>, highs: &Lanes<f64>, rows: usize) -> GroupLevels {
        let mut found = GroupLevels::default();
        let mut wanted = [(0.0, 0.0); LANES];
        for lane in 0..rows {
            wanted[lane] = self.plain(lows[lane], highs[lane]);
        }
        match self.levels {
            Levels::Offset => {
                for lane in 0..rows {
                    found.scales[lane] = stored_scale(wanted[lane].0);
                    found.zeros[lane] = to_half(lows[lane] as f32);
                }
            }
            Levels::Grid => {
                for lane in 0..rows {
                    let (low, high) = (lows[lane].min(0.0), highs[lane].max(0.0));
                    let scale = stored_scale(if low == high { 2.0 } else { high - low } / self.top());
                    let low = if low == high { -1.0 } else { low };
                    let zero = (-low / f64::from(scale)).round_ties_even().clamp(0.0, self.top());
                    found.scales[lane] = scale;
                    found.zeros[lane] = zero as f32;
                    found.zero_codes[lane] = zero as u8;
                }
            }
            Levels::Bilevel {
                scale_bits,
                zero_bits,
                run,
            } => {
                self.fit_runs(&mut found, &wanted, rows, run, scale_bits);
                for first in (0..rows).step_by(run) {
                    let lanes = first..(first + run).min(rows);
                    // Rows of zeros have no zero of their own.
                    let used = lanes.clone().filter(|&lane| wanted[lane].0 > 0.0);
                    let second = SecondLevel::fit(used.map(|lane| wanted[lane].1), zero_bits);
                    found.second[first / run][2..].copy_from_slice(&[second.scale, second.zero]);
                    let nearest_whole = |code: u32| {
                        let zero = second.value(code);
                        (zero - zero.round_ties_even().clamp(0.0, self.top() as f32)).abs()
                    };
                    for lane in lanes {
                        let code = if wanted[lane].0 > 0.0 {
                            second.code(wanted[lane].1)
                        } else {
                            second.least(nearest_whole)
                        };
                        found.zero_codes[lane] = code as u8;
                        found.zeros[lane] = second.value(code);
                    }
                }
            }
            Levels::WholeZeros { scale_bits, run } => {
                self.fit_runs(&mut found, &wanted, rows, run, scale_bits);
                for lane in 0..rows {
                    found.zeros[lane] = wanted[lane].1 as f32;
                    found.zero_codes[lane] = wanted[lane].1 as u8;
                }
            }
        }
        found
    }

    /// Scales of each run of rows. Rows of zeros take the smallest.
    fn fit_runs(
        &self,
        found: &mut GroupLevels,
        wanted: &[(f64, f64); LANES],
        rows: usize,
        run: usize,
        bits: u32,
    ) {
        for first in (0..rows).step_by(run) {
            let lanes = first..(first + run).min(rows);
            let scales = lanes
                .clone()
                .map(|lane| wanted[lane].0)
                .filter(|&scale| scale > 0.0);
            let second = SecondLevel::fit(scales, bits);
            found.second[first / run][..2].copy_from_slice(&[second.scale, second.zero]);
            for lane in lanes {
                let code = if wanted[lane].0 > 0.0 {
                    second.code(wanted[lane].0)
                } else {
                    second.least(|code| second.value(code).abs())
                };
                found.scale_codes[lane] = code as u8;
                found.scales[lane] = second.value(code);
            }
        }
    }
}

/// A scale as f16: never 0, never infinite.
fn stored_scale(scale: f64) -> f32 {
    to_half(scale as f32).clamp(LEAST_HALF, 65504.0)
}

/// The grid of scales, or of zeros: value = half(half(code - zero) * scale).
#[derive(Clone, Copy)]
struct SecondLevel {
    scale: f32,
    zero: f32,
    top: u32,
}

impl SecondLevel {
    /// Of no values at all, a grid of zeros.
    fn fit(values: impl Iterator<Item = f64>, bits: u32) -> SecondLevel {
        let top = (1u32 << bits) - 1;
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(value), high.max(value))
        });
        let (low, high) = if low > high {
            (0.0, 0.0)
        } else if low == high {
            (low.min(0.0), high.max(0.0))
        } else {
            (low, high)
        };
        if low == high {
            return SecondLevel {
                scale: 0.0,
                zero: 0.0,
                top,
            };
        }
        let scale = stored_scale(((high - low) / f64::from(top)).max(low.abs().max(high.abs()) / FAR));
        let zero = to_half((-low / f64::from(scale)) as f32);
        SecondLevel { scale, zero, top }
    }

    fn value(&self, code: u32) -> f32 {
        to_half(to_half(code as f32 - self.zero) * self.scale)
    }

    fn code(&self, value: f64) -> u32 {
        if self.scale == 0.0 {
            return 0;
        }
        (value / f64::from(self.scale) + f64::from(self.zero))
            .round_ties_even()
            .clamp(0.0, f64::from(self.top)) as u32
    }

    /// The first code for which a measure is least.
    fn least(&self, measure: impl Fn(u32) -> f32) -> u32 {
        (0..=self.top)
            .min_by(|&a, &b| measure(a).total_cmp(&measure(b)))
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_of_a_run_lie_within_half_a_step_of_what_they_should_be_and_rows_of_zeros_do_not_widen_it() {
        let fit = BilevelFit {
            bits: 3,
            levels: Levels::Bilevel {
                scale_bits: 3,
                zero_bits: 3,
                run: 16,
            },
        };
        let lows: Lanes<f64> =
            std::array::from_fn(|lane| if lane == 3 { 0.0 } else { -0.7 - 0.01 * lane as f64 });
        let highs: Lanes<f64> = std::array::from_fn(|lane| if lane == 3 { 0.0 } else { 0.7 });
        let found = fit.fit(&lows, &highs, 16);
        for lane in (0..16).filter(|&lane| lane != 3) {
            let wanted = (highs[lane] - lows[lane]) / 7.0;
            assert!((f64::from(found.scales[lane]) - wanted).abs() < 0.15 / 7.0 / 7.0 / 1.9);
        }
        // A run of the same scales has exactly that, and one of zeros is 0.
        let same = fit.fit(&[-0.5; LANES], &[0.375; LANES], 16);
        assert_eq!(same.scales, [0.125; LANES]);
        assert_eq!(same.zeros, [4.0; LANES]);
        assert_eq!(fit.fit(&[0.0; LANES], &[0.0; LANES], 16).scales, [0.0; LANES]);
    }
}
