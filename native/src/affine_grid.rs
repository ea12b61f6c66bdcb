//! Grids of evenly spaced levels: value = scale * (code - zero), codes 0 .. 2^bits - 1.

use crate::product::Real;

/// How scale and zero of a group of weights are found.
#[derive(Clone, Copy, Debug)]
pub struct AffineGrid {
    pub bits: u32,
    /// The zero stands in the middle of the codes, and the range is as wide on both sides.
    pub symmetric: bool,
    /// Shrinks the range by 0 to 79 hundredths and keeps the one with the least sum of |error|^2.4.
    pub search: bool,
    /// Scales are rounded to f16 before anything is rounded with them.
    pub half_scales: bool,
    /// Zeros lie in zero_low .. 2^bits - 1: GPTQ's first file version cannot hold 0.
    pub zero_low: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AffineParameters {
    pub scale: f64,
    pub zero: f64,
}

/// The nearest whole number, halves to even; exact for |x| < 2^22.
#[inline(always)]
pub fn round_even<T: Real>(x: T) -> T {
    // 1.5 * 2^(mantissa bits) pushes the fraction out of the mantissa.
    let magic = T::from_f64(if size_of::<T>() == 4 {
        12_582_912.0
    } else {
        6_755_399_441_055_744.0
    });
    (x + magic) - magic
}

#[inline(always)]
pub fn clamp<T: Real>(x: T, low: T, high: T) -> T {
    let x = if x < low { low } else { x };
    if x > high { high } else { x }
}

impl AffineGrid {
    pub fn top(&self) -> f64 {
        f64::from((1u32 << self.bits) - 1)
    }

    /// A scale as it is stored: never 0, never beyond the range of its type.
    fn stored(&self, scale: f64) -> f64 {
        if !self.half_scales {
            return f64::from((scale as f32).max(f32::MIN_POSITIVE));
        }
        let rounded = half::f16::from_f64(scale).to_f64();
        rounded.clamp(half::f16::from_bits(1).to_f64(), half::f16::MAX.to_f64())
    }

    /// Parameters for the range low <= 0 <= high.
    fn for_range(&self, low: f64, high: f64) -> AffineParameters {
        let scale = self.stored((high - low) / self.top());
        let zero = if self.symmetric {
            (self.top() + 1.0) / 2.0
        } else {
            (-low / scale)
                .round_ties_even()
                .clamp(f64::from(self.zero_low), self.top())
        };
        AffineParameters { scale, zero }
    }

    /// Fits one group.
    pub fn fit<T: Real>(&self, group: &[T]) -> AffineParameters {
        let (mut low, mut high) = (0.0f64, 0.0f64);
        for &value in group {
            low = low.min(value.to_f64());
            high = high.max(value.to_f64());
        }
        if self.symmetric {
            high = high.max(-low);
            low = -high;
        }
        if low == 0.0 && high == 0.0 {
            (low, high) = (-1.0, 1.0);
        }
        let full = self.for_range(low, high);
        if !self.search {
            return full;
        }
        let error = |p: &AffineParameters| -> f64 {
            group
                .iter()
                .map(|&value| {
                    let value = value.to_f64();
                    let code = ((value / p.scale).round_ties_even() + p.zero).clamp(0.0, self.top());
                    (p.scale * (code - p.zero) - value).abs().powf(2.4)
                })
                .sum()
        };
        let mut best = (error(&full), full);
        for step in 1..80 {
            let shrink = 1.0 - f64::from(step) / 100.0;
            let candidate = self.for_range(low * shrink, high * shrink);
            let candidate_error = error(&candidate);
            if candidate_error < best.0 {
                best = (candidate_error, candidate);
            }
        }
        best.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: AffineGrid = AffineGrid {
        bits: 3,
        symmetric: false,
        search: false,
        half_scales: false,
        zero_low: 0,
    };

    #[test]
    fn an_asymmetric_grid_spans_the_range_with_zero_in_it() {
        let p = PLAIN.fit(&[-0.5f64, 3.0]);
        assert_eq!(
            p,
            AffineParameters {
                scale: 0.5,
                zero: 1.0
            }
        );
        let p = PLAIN.fit(&[1.0f64, 3.5]);
        assert_eq!(
            p,
            AffineParameters {
                scale: 0.5,
                zero: 0.0
            }
        );
    }

    #[test]
    fn a_symmetric_grid_without_negative_values_still_has_both_sides() {
        let p = AffineGrid {
            symmetric: true,
            ..PLAIN
        }
        .fit(&[0.0f64, 3.5]);
        assert_eq!(
            p,
            AffineParameters {
                scale: 1.0,
                zero: 4.0
            }
        );
    }

    #[test]
    fn zeros_only_keep_a_usable_scale() {
        let p = AffineGrid {
            half_scales: true,
            ..PLAIN
        }
        .fit(&[0.0f32; 8]);
        assert!(p.scale > 0.0 && p.scale.is_finite());
    }

    #[test]
    fn a_zero_that_the_format_cannot_hold_is_never_fitted() {
        let p = AffineGrid { zero_low: 1, ..PLAIN }.fit(&[0.0f64, 1.0, 3.5]);
        assert_eq!(p.zero, 1.0);
    }

    #[test]
    fn the_search_never_has_a_larger_error_than_the_full_range_and_often_a_smaller_one() {
        let cost = |p: AffineParameters, group: &[f64]| -> f64 {
            let code = |v: f64| ((v / p.scale).round_ties_even() + p.zero).clamp(0.0, 7.0);
            group
                .iter()
                .map(|&v| (p.scale * (code(v) - p.zero) - v).abs().powf(2.4))
                .sum()
        };
        let searching = AffineGrid {
            search: true,
            ..PLAIN
        };
        let mut smaller = 0;
        for phase in 0..20 {
            let group: Vec<f64> = (0..64)
                .map(|i| (f64::from(i * i + phase) * 0.7).sin().powi(3))
                .collect();
            let (found, full) = (
                cost(searching.fit(&group), &group),
                cost(PLAIN.fit(&group), &group),
            );
            assert!(found <= full);
            smaller += usize::from(found < full);
        }
        assert!(smaller >= 5, "{smaller} of 20");
    }

    #[test]
    fn halves_round_to_even() {
        for (x, want) in [
            (0.5f32, 0.0),
            (1.5, 2.0),
            (2.5, 2.0),
            (-0.5, 0.0),
            (-1.5, -2.0),
            (3.2, 3.0),
        ] {
            assert_eq!(round_even(x), want);
        }
    }
}
