//! sin and cos in f32 that vectorise: reduced by quarter turns in f64, then a polynomial in f32; within 2 units in
//! the last place up to `REACH`.

/// Up to here the reduction is good; `Math::sin` of larger arguments must go through f64.
pub const REACH: f32 = 67_108_864.0;

/// The quarter turn nearest to x (its last two bits count) and what is left, in [-pi/4, pi/4].
#[inline(always)]
fn quarter(x: f32) -> (u32, f32) {
    const ROUND: f64 = 6_755_399_441_055_744.0;
    // pi / 2 in two parts; a product of the first with a number below 2^20 is exact.
    const HIGH: f64 = f64::from_bits(0x3ff9_21fb_5440_0000);
    const LOW: f64 = 6.077_100_506_506_192e-11;
    let wide = f64::from(x);
    let shifted = wide * std::f64::consts::FRAC_2_PI + ROUND;
    let n = shifted - ROUND;
    (shifted.to_bits() as u32, (wide - n * HIGH - n * LOW) as f32)
}

#[inline(always)]
fn wave(turns: u32, r: f32) -> f32 {
    let z = r * r;
    let s = 2.724_839_8e-6_f32;
    let s = s * z - 1.984_007_5e-4;
    let s = s * z + 8.333_332e-3;
    let s = s * z - 0.166_666_67;
    let sine = if r == 0.0 { r } else { s * z * r + r };
    let c = -2.729_964_3e-7_f32;
    let c = c * z + 2.480_059e-5;
    let c = c * z - 1.388_888_8e-3;
    let c = c * z + 4.166_666_8e-2;
    let cosine = c * z * z - 0.5 * z + 1.0;
    let value = if turns & 1 == 0 { sine } else { cosine };
    f32::from_bits(value.to_bits() ^ ((turns & 2) << 30))
}

#[inline(always)]
pub fn sin_f32(x: f32) -> f32 {
    let (turns, r) = quarter(x);
    wave(turns, r)
}

#[inline(always)]
pub fn cos_f32(x: f32) -> f32 {
    let (turns, r) = quarter(x);
    wave(turns.wrapping_add(1), r)
}

#[cfg(test)]
mod tests {
    use super::{REACH, cos_f32, sin_f32};

    #[test]
    fn sin_and_cos_are_within_two_units_of_the_true_value() {
        let check = |x: f32| {
            for (got, want) in [(sin_f32(x), f64::from(x).sin()), (cos_f32(x), f64::from(x).cos())] {
                // Near a zero of the function the reduced argument carries an error of x 2^-53.
                let bound = 2.0 * f64::from(f32::EPSILON) * want.abs() + f64::from(x).abs() * f64::EPSILON;
                assert!(
                    (f64::from(got) - want).abs() <= bound,
                    "{x} gives {got}, want {want}"
                );
            }
        };
        for step in -200_000..200_000 {
            check(step as f32 * 1e-4);
            check(step as f32 * 0.37);
        }
        for x in [1e-8, 1e-30, 1e6, 12_345_678.0, REACH, -REACH] {
            check(x);
        }
        assert!(sin_f32(-0.0).is_sign_negative());
        assert!(sin_f32(f32::INFINITY).is_nan() && cos_f32(f32::NAN).is_nan());
    }
}
