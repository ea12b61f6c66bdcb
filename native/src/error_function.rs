//! erf: in f32 by two polynomials that vectorise (1e-7 absolute), in f64 by its series and the continued fraction
//! of erfc (Abramowitz and Stegun 7.1.6 and 7.1.14; about 1e-15).

use crate::exponential::exp_f32;

/// x + x p(x^2) below 1; 1 - exp(-q(|x|)) up to 4; there erf is 1 in f32.
#[inline(always)]
pub fn erf_f32(x: f32) -> f32 {
    let square = x * x;
    let p = -9.673_59e-6_f32;
    let p = p * square + 1.126_825_4e-4;
    let p = p * square - 8.484_396_4e-4;
    let p = p * square + 5.221_053_5e-3;
    let p = p * square - 2.686_543_8e-2;
    let p = p * square + 0.112_837_83;
    let p = p * square - 0.376_126_38;
    let p = p * square + 0.128_379_17;
    let magnitude = x.abs();
    let a = if magnitude > 4.0 { 4.0 } else { magnitude };
    let q = 6.582_856_6e-8_f32;
    let q = q * a - 3.095_204_2e-6;
    let q = q * a + 6.006_879e-5;
    let q = q * a - 6.733_375_5e-4;
    let q = q * a + 5.021_045e-3;
    let q = q * a - 2.699_949_8e-2;
    let q = q * a + 0.110_907_42;
    let q = q * a + 0.631_088_85;
    let q = q * a + 1.130_604_5;
    let q = q * a - 4.005_005e-4;
    if magnitude < 1.0 {
        x * p + x
    } else {
        (1.0 - exp_f32(-q)).copysign(x)
    }
}

pub fn erf_f64(x: f64) -> f64 {
    let magnitude = x.abs();
    let two_over_root_pi = std::f64::consts::FRAC_2_SQRT_PI;
    if magnitude < 2.5 {
        // All terms have one sign: nothing cancels.
        let (mut sum, mut term, mut n) = (1.0, 1.0, 0.0);
        while term > sum * 1e-17 {
            n += 1.0;
            term *= 2.0 * x * x / (2.0 * n + 1.0);
            sum += term;
        }
        return two_over_root_pi * (-x * x).exp() * x * sum;
    }
    if magnitude > 6.0 {
        return 1f64.copysign(x);
    }
    // NaN ends here and stays NaN.
    let mut fraction = 0.0;
    for k in (1..=60).rev() {
        fraction = 0.5 * f64::from(k) / (magnitude + fraction);
    }
    let erfc = 0.5 * two_over_root_pi * (-x * x).exp() / (magnitude + fraction);
    (1.0 - erfc).copysign(x)
}

#[cfg(test)]
mod tests {
    use super::{erf_f32, erf_f64};

    #[test]
    fn erf_in_f64_has_published_values() {
        // Abramowitz and Stegun, table 7.1, and DLMF 7.
        for (x, want) in [
            (0.5, 0.520_499_877_813_046_5),
            (1.0, 0.842_700_792_949_714_9),
            (2.0, 0.995_322_265_018_952_7),
            (2.4, 0.999_311_486_103_354_9),
            (3.0, 0.999_977_909_503_001_4),
        ] {
            assert!((erf_f64(x) - want).abs() < 2e-15, "erf({x}) = {}", erf_f64(x));
            assert_eq!(erf_f64(-x), -erf_f64(x));
        }
        // The series and the fraction meet.
        let step = erf_f64(2.5) - erf_f64(2.499_999_999);
        assert!((step - 2.178_284e-12).abs() < 2e-15, "{step:e}");
        assert!(erf_f64(f64::NAN).is_nan());
        assert_eq!(erf_f64(f64::INFINITY), 1.0);
    }

    #[test]
    fn erf_in_f32_is_within_a_tenth_of_a_millionth() {
        for step in -60_000..60_000 {
            let x = step as f32 * 1e-4;
            let (got, want) = (f64::from(erf_f32(x)), erf_f64(f64::from(x)));
            assert!((got - want).abs() <= 1e-7, "erf({x}) = {got}, want {want}");
            assert!(
                (got - want).abs() <= 1e-6 * want.abs(),
                "erf({x}) = {got}, want {want}"
            );
        }
        assert!(erf_f32(f32::NAN).is_nan());
        assert_eq!((erf_f32(f32::INFINITY), erf_f32(f32::NEG_INFINITY)), (1.0, -1.0));
    }
}
