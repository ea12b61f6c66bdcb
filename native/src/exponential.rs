//! exp in f32 that vectorises: 2^n * p(r) with r in [-ln 2 / 2, ln 2 / 2]; within 2 units in the last place.

/// e^x; 0 below -104, infinity above 88.7229, NaN for NaN.
#[inline(always)]
pub fn exp_f32(x: f32) -> f32 {
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    // ln 2 in two parts, so that x - n * ln 2 is exact to f32.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let clamped = if x > 89.0 { 89.0 } else { x };
    let clamped = if clamped < -104.0 { -104.0 } else { clamped };
    // Adding and subtracting 1.5 * 2^23 rounds to the nearest integer without a call.
    const ROUND: f32 = 12_582_912.0;
    let n = (clamped * LOG2_E + ROUND) - ROUND;
    let r = clamped - n * LN2_HIGH - n * LN2_LOW;
    let p = 1.987_569_2e-4_f32;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 0.5;
    let e = p * r * r + r + 1.0;
    // 2^n in two steps keeps subnormal results right.
    let half = (n * 0.5 + ROUND) - ROUND;
    let rest = n - half;
    let scale = |k: f32| f32::from_bits((((k as i32) + 127) << 23) as u32);
    let result = e * scale(half) * scale(rest);
    if x.is_nan() { x } else { result }
}

#[cfg(test)]
mod tests {
    #[test]
    fn exp_is_within_two_units_of_the_true_value() {
        for step in -10_300..8_870 {
            let x = step as f32 * 0.01;
            let (got, want) = (f64::from(super::exp_f32(x)), f64::from(x).exp());
            let unit = f64::from(f32::EPSILON) * want.max(f64::from(f32::MIN_POSITIVE));
            assert!((got - want).abs() <= 2.0 * unit, "exp({x}) = {got}, want {want}");
        }
        assert!(super::exp_f32(f32::NAN).is_nan());
        assert_eq!(super::exp_f32(f32::INFINITY), f32::INFINITY);
        assert_eq!(super::exp_f32(f32::NEG_INFINITY), 0.0);
    }
}
