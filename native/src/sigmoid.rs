//! The logistic function and tanh in f32, from exp and expm1.

use crate::exponential::{exp_f32, expm1_f32};

/// 1 / (1 + e^-x), right in both tails.
#[inline(always)]
pub fn sigmoid_f32(x: f32) -> f32 {
    let e = exp_f32(-x.abs());
    (if x < 0.0 { e } else { 1.0 }) / (1.0 + e)
}

#[inline(always)]
pub fn tanh_f32(x: f32) -> f32 {
    let magnitude = x.abs();
    // tanh 10 is 1 in f32.
    let clamped = if magnitude > 10.0 { 10.0 } else { magnitude };
    let t = expm1_f32(2.0 * clamped);
    (t / (t + 2.0)).copysign(x)
}

#[cfg(test)]
mod tests {
    use super::{sigmoid_f32, tanh_f32};

    #[test]
    fn sigmoid_and_tanh_are_within_three_units_of_the_true_value() {
        for step in -40_000..40_000 {
            for scale in [0.002, 1e-5] {
                let x = step as f32 * scale;
                let wide = f64::from(x);
                let near = |got: f32, want: f64| {
                    let bound = 3.0 * f64::from(f32::EPSILON) * want.abs();
                    assert!(
                        (f64::from(got) - want).abs() <= bound,
                        "{x} gives {got}, want {want}"
                    );
                };
                near(sigmoid_f32(x), 1.0 / (1.0 + (-wide).exp()));
                near(tanh_f32(x), wide.tanh());
            }
        }
        assert!(tanh_f32(f32::NAN).is_nan() && sigmoid_f32(f32::NAN).is_nan());
        assert_eq!(
            (tanh_f32(f32::INFINITY), tanh_f32(f32::NEG_INFINITY)),
            (1.0, -1.0)
        );
        assert_eq!(
            (sigmoid_f32(f32::INFINITY), sigmoid_f32(f32::NEG_INFINITY)),
            (1.0, 0.0)
        );
    }
}
