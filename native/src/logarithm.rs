//! Natural logarithm in f32 that vectorises: x = 2^e m with m in [sqrt(1/2), sqrt(2)), then a polynomial in m - 1;
//! within 2 units in the last place.

/// ln x; -infinity for 0, NaN below 0.
#[inline(always)]
pub fn log_f32(x: f32) -> f32 {
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    const SQRT_HALF: u32 = 0x3f35_04f3;
    let subnormal = x < f32::MIN_POSITIVE;
    let lifted = if subnormal { x * 8_388_608.0 } else { x };
    let bits = lifted.to_bits();
    let exponent = (bits.wrapping_sub(SQRT_HALF) as i32) >> 23;
    let f = f32::from_bits(bits.wrapping_sub((exponent << 23) as u32)) - 1.0;
    let e = (exponent - if subnormal { 23 } else { 0 }) as f32;
    let p = 0.071_507_93_f32;
    let p = p * f - 0.115_727_5;
    let p = p * f + 0.116_618_34;
    let p = p * f - 0.124_108_66;
    let p = p * f + 0.142_498_9;
    let p = p * f - 0.166_684_87;
    let p = p * f + 0.200_007_1;
    let p = p * f - 0.249_999_9;
    let p = p * f + 0.333_333_3;
    let square = f * f;
    let small = f * square * p - 0.5 * square + e * LN2_LOW;
    let result = small + f + e * LN2_HIGH;
    let result = if x == f32::INFINITY { x } else { result };
    let result = if x == 0.0 { f32::NEG_INFINITY } else { result };
    // Negative numbers and NaN.
    if x >= 0.0 { result } else { f32::NAN }
}

/// ln(1 + x), exact to f32 near 0 too.
#[inline(always)]
pub fn log1p_f32(x: f32) -> f32 {
    let u = 1.0 + x;
    // What the sum lost, as a part of it.
    let lost = (x - (u - 1.0)) / u;
    let result = log_f32(u) + if lost.is_finite() { lost } else { 0.0 };
    if x == 0.0 { x } else { result }
}

#[cfg(test)]
mod tests {
    use super::{log_f32, log1p_f32};

    #[test]
    fn log_is_within_two_units_of_the_true_value() {
        for step in 0..400_000u32 {
            let x = f32::from_bits(1 + step * 5341);
            if !x.is_finite() {
                break;
            }
            let (got, want) = (f64::from(log_f32(x)), f64::from(x).ln());
            assert!(
                (got - want).abs() <= 2.0 * f64::from(f32::EPSILON) * want.abs(),
                "ln({x}) = {got}, want {want}"
            );
        }
        assert_eq!(log_f32(0.0), f32::NEG_INFINITY);
        assert_eq!(log_f32(f32::INFINITY), f32::INFINITY);
        assert!(log_f32(-1.0).is_nan() && log_f32(f32::NAN).is_nan());
        assert_eq!(log_f32(1.0), 0.0);
    }

    #[test]
    fn log1p_is_within_three_units_of_the_true_value() {
        for step in -9_999..60_000 {
            for scale in [1e-4, 1e-6, 1e-9, 0.1] {
                let x = step as f32 * scale;
                if x <= -1.0 {
                    continue;
                }
                let (got, want) = (f64::from(log1p_f32(x)), f64::from(x).ln_1p());
                let bound = 3.0 * f64::from(f32::EPSILON) * want.abs();
                assert!((got - want).abs() <= bound, "log1p({x}) = {got}, want {want}");
            }
        }
        assert_eq!(log1p_f32(-1.0), f32::NEG_INFINITY);
        assert_eq!(log1p_f32(f32::INFINITY), f32::INFINITY);
        assert!(log1p_f32(-1.5).is_nan() && log1p_f32(f32::NAN).is_nan());
    }
}
