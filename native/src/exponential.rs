//! exp and expm1 in f32 that vectorise: 2^n * p(r) with r in [-ln 2 / 2, ln 2 / 2]; within 2 units in the last
//! place.

// Adding and subtracting 1.5 * 2^23 rounds to the nearest integer without a call.
const ROUND: f32 = 12_582_912.0;

/// (n, r) with x = n ln 2 + r.
#[inline(always)]
fn reduced(x: f32) -> (i32, f32) {
    // ln 2 in two parts, so that x - n * ln 2 is exact to f32.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    // The integer stands in the low bits of the mantissa.
    let integer = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    (integer, x - n * LN2_HIGH - n * LN2_LOW)
}

/// (e^r - 1 - r) / r^2.
#[inline(always)]
fn tail(r: f32) -> f32 {
    let p = 1.987_569_2e-4_f32;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    p * r + 0.5
}

/// x * 2^n, in two steps so that subnormal results are right.
#[inline(always)]
fn scaled(x: f32, n: i32) -> f32 {
    let power = |k: i32| f32::from_bits((k.wrapping_add(127) << 23) as u32);
    let half = n >> 1;
    x * power(half) * power(n.wrapping_sub(half))
}

/// e^x; 0 below -104, infinity above 88.7229, NaN for NaN.
#[inline(always)]
pub fn exp_f32(x: f32) -> f32 {
    let clamped = if x > 89.0 { 89.0 } else { x };
    let clamped = if clamped < -104.0 { -104.0 } else { clamped };
    let (n, r) = reduced(clamped);
    scaled(tail(r) * r * r + r + 1.0, n)
}

/// e^x - 1 without cancellation near 0.
#[inline(always)]
pub fn expm1_f32(x: f32) -> f32 {
    let clamped = if x > 89.0 { 89.0 } else { x };
    let clamped = if clamped < -18.0 { -18.0 } else { clamped };
    let (n, r) = reduced(clamped);
    // 2^n (e^r - 1) + 2^n - 1, with 2^n taken out.
    let part = tail(r) * r * r + r;
    let result = scaled(part + (1.0 - scaled(1.0, n.wrapping_neg())), n);
    let result = if n == 0 { part } else { result };
    if x == 0.0 { x } else { result }
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

    #[test]
    fn expm1_is_within_two_units_of_the_true_value() {
        for step in -30_000..30_000 {
            for scale in [0.003, 1e-4, 1e-6] {
                let x = step as f32 * scale;
                let (got, want) = (f64::from(super::expm1_f32(x)), f64::from(x).exp_m1());
                if want > f64::from(f32::MAX) {
                    continue;
                }
                let unit = f64::from(f32::EPSILON) * want.abs();
                assert!(
                    (got - want).abs() <= 2.0 * unit,
                    "expm1({x}) = {got}, want {want}"
                );
            }
        }
        assert!(super::expm1_f32(f32::NAN).is_nan());
        assert_eq!(super::expm1_f32(f32::INFINITY), f32::INFINITY);
        assert_eq!(super::expm1_f32(f32::NEG_INFINITY), -1.0);
        assert!(super::expm1_f32(-0.0).is_sign_negative());
    }
}
