//! The range of each of 16 rows in a group of columns, without its likely outliers (Dettmers et al., arXiv 2306.03078,
//! algorithm 1).

use crate::affine_grid::{clamp, round_even};
use crate::bilevel_fit::BilevelFit;
use crate::product::Real;
use crate::sweep::{LANES, Lanes};

impl BilevelFit {
    /// The rows' lowest and highest values without likely outliers: those whose absence lowers the squared error of the
    /// group, over d^2, by more than `threshold`. A row that has nothing else keeps all.
    ///
    /// Only the lowest and the highest value change the range where they go; the gain of any other is its own error.
    #[inline(always)]
    pub fn ranges<T: Real>(
        &self,
        columns: &[Lanes<T>],
        diagonal: &[T],
        threshold: Option<T>,
    ) -> (Lanes<f64>, Lanes<f64>) {
        let ends = Ends::of(columns);
        let wide = |x: &Lanes<T>| std::array::from_fn(|lane| x[lane].to_f64());
        let (all_lows, all_highs) = (wide(&ends.low), wide(&ends.high));
        let Some(threshold) = threshold.filter(|_| columns.len() > 1) else {
            return (all_lows, all_highs);
        };
        let nobody = [columns.len(); LANES];
        let mut own = vec![[T::ZERO; LANES]; columns.len()];
        let whole = self.errors(columns, diagonal, &ends.low, &ends.high, &nobody, Some(&mut own));
        let (low_at, high_at) = (&ends.low_at, &ends.high_at);
        let without_low = self.errors(columns, diagonal, &ends.second_low, &ends.high, low_at, None);
        let without_high = self.errors(columns, diagonal, &ends.low, &ends.second_high, high_at, None);
        let (mut low, mut high) = ([-T::NEG_INFINITY; LANES], [T::NEG_INFINITY; LANES]);
        for (index, column) in columns.iter().enumerate() {
            for lane in 0..LANES {
                let gain = if index == low_at[lane] {
                    whole[lane] - without_low[lane]
                } else if index == high_at[lane] {
                    whole[lane] - without_high[lane]
                } else {
                    own[index][lane]
                };
                let kept = gain <= threshold;
                let value = column[lane];
                low[lane] = if kept && value < low[lane] {
                    value
                } else {
                    low[lane]
                };
                high[lane] = if kept && value > high[lane] {
                    value
                } else {
                    high[lane]
                };
            }
        }
        let (mut lows, mut highs) = (wide(&low), wide(&high));
        for lane in 0..LANES {
            if lows[lane] > highs[lane] {
                (lows[lane], highs[lane]) = (all_lows[lane], all_highs[lane]);
            }
        }
        (lows, highs)
    }

    /// Sums of squared errors over d^2 of all values but the one at `without`, on the grid of a range.
    #[inline(always)]
    fn errors<T: Real>(
        &self,
        columns: &[Lanes<T>],
        diagonal: &[T],
        low: &Lanes<T>,
        high: &Lanes<T>,
        without: &[usize; LANES],
        mut own: Option<&mut [Lanes<T>]>,
    ) -> Lanes<T> {
        let (mut scales, mut zeros) = ([T::ONE; LANES], [T::ZERO; LANES]);
        for lane in 0..LANES {
            let (scale, zero) = self.plain(low[lane].to_f64(), high[lane].to_f64());
            // On a range of nothing all values are 0, and each code is worth that.
            scales[lane] = T::from_f64(if scale > 0.0 { scale } else { 1.0 });
            zeros[lane] = T::from_f64(zero);
        }
        let top = T::from_f64(self.top());
        let mut sums = [T::ZERO; LANES];
        for (index, column) in columns.iter().enumerate() {
            let d = diagonal[index];
            for lane in 0..LANES {
                let code = round_even(clamp(column[lane] / scales[lane] + zeros[lane], T::ZERO, top));
                let error = (scales[lane] * (code - zeros[lane]) - column[lane]) / d;
                let squared = error * error;
                if let Some(own) = own.as_deref_mut() {
                    own[index][lane] = squared;
                }
                sums[lane] += if index == without[lane] { T::ZERO } else { squared };
            }
        }
        sums
    }
}

/// The lowest and highest value of each row with their places, and the next ones.
struct Ends<T> {
    low: Lanes<T>,
    second_low: Lanes<T>,
    low_at: [usize; LANES],
    high: Lanes<T>,
    second_high: Lanes<T>,
    high_at: [usize; LANES],
}

impl<T: Real> Ends<T> {
    #[inline(always)]
    fn of(columns: &[Lanes<T>]) -> Self {
        let mut ends = Ends {
            low: [-T::NEG_INFINITY; LANES],
            second_low: [-T::NEG_INFINITY; LANES],
            low_at: [0; LANES],
            high: [T::NEG_INFINITY; LANES],
            second_high: [T::NEG_INFINITY; LANES],
            high_at: [0; LANES],
        };
        for (index, column) in columns.iter().enumerate() {
            for lane in 0..LANES {
                let value = column[lane];
                if value < ends.low[lane] {
                    ends.second_low[lane] = ends.low[lane];
                    ends.low[lane] = value;
                    ends.low_at[lane] = index;
                } else if value < ends.second_low[lane] {
                    ends.second_low[lane] = value;
                }
                if value > ends.high[lane] {
                    ends.second_high[lane] = ends.high[lane];
                    ends.high[lane] = value;
                    ends.high_at[lane] = index;
                } else if value > ends.second_high[lane] {
                    ends.second_high[lane] = value;
                }
            }
        }
        ends
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bilevel_fit::Levels;

    #[test]
    fn ranges_without_likely_outliers_are_those_of_plain_loops_over_every_absent_value() {
        let mut state = 7u32;
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state >> 8) / f64::from(1 << 24) - 0.5
        };
        for whole in [false, true] {
            let levels = if whole { Levels::Grid } else { Levels::Offset };
            let fit = BilevelFit { bits: 3, levels };
            for round in 0..20 {
                let columns: Vec<Lanes<f64>> = (0..16)
                    .map(|i| std::array::from_fn(|_| random() * if i == 5 { 4.0 } else { 1.0 }))
                    .collect();
                let diagonal: Vec<f64> = (0..16).map(|_| 0.6 + random()).collect();
                let threshold = 0.002 * f64::from(round);
                let (lows, highs) = fit.ranges(&columns, &diagonal, Some(threshold));
                for lane in 0..LANES {
                    let row: Vec<f64> = columns.iter().map(|column| column[lane]).collect();
                    let error = |absent: Option<usize>| {
                        let others: Vec<usize> = (0..16).filter(|&i| Some(i) != absent).collect();
                        let low = others.iter().fold(f64::INFINITY, |low, &i| low.min(row[i]));
                        let high = others.iter().fold(f64::NEG_INFINITY, |high, &i| high.max(row[i]));
                        let (scale, zero) = fit.plain(low, high);
                        others
                            .iter()
                            .map(|&i| {
                                let code = (row[i] / scale + zero).clamp(0.0, 7.0).round_ties_even();
                                ((scale * (code - zero) - row[i]) / diagonal[i]).powi(2)
                            })
                            .sum::<f64>()
                    };
                    let all = error(None);
                    let kept: Vec<f64> = (0..16)
                        .filter(|&i| all - error(Some(i)) <= threshold)
                        .map(|i| row[i])
                        .collect();
                    let kept = if kept.is_empty() { row } else { kept };
                    assert_eq!(lows[lane], kept.iter().copied().fold(f64::INFINITY, f64::min));
                    assert_eq!(
                        highs[lane],
                        kept.iter().copied().fold(f64::NEG_INFINITY, f64::max)
                    );
                }
            }
        }
    }
}
