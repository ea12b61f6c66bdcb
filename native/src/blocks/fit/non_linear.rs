//! A scale for levels that are not evenly spaced.

use super::statistics::{LANES, largest, moments};
use crate::blocks::{NON_LINEAR_LEVELS, NON_LINEAR_STEPS};
use crate::simd;

simd! {
    /// The scale for the levels of IQ4_NL, found as in `fit_symmetric`.
    pub(super) fn fit_non_linear(x: &[f32], weights: &[f32]) -> f32 {
        let largest = largest(x);
        if largest == 0.0 {
            return 0.0;
        }
        let first = NON_LINEAR_LEVELS[0] as f32;
        let (mut scale, mut best) = (largest / first, -1.0);
        for trial in -7..=7 {
            let inverse = (first + trial as f32) / largest;
            let (xl, ll) = moments(x, weights, |x| {
                let mut levels = [first; LANES];
                for (middle, gap) in NON_LINEAR_STEPS {
                    for lane in 0..LANES {
                        levels[lane] += if inverse * x[lane] > middle { gap } else { 0.0 };
                    }
                }
                levels
            });
            if ll > 0.0 && xl * xl / ll > best {
                (best, scale) = (xl * xl / ll, xl / ll);
            }
        }
        scale
    }
}
