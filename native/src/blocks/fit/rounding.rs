//! Numbers as a block stores them, and levels.

use half::f16;

/// The nearest f16; what would overflow stays at the largest.
pub(super) fn stored(value: f32) -> f32 {
    f16::from_f32(value.clamp(-65504.0, 65504.0)).to_f32()
}

/// As `stored`, but a subnormal is rounded away from zero: the steps of subnormals are so wide that a scale
/// rounded down would clip the largest values, or lose them all.
pub(super) fn stored_scale(value: f32) -> f32 {
    let near = f16::from_f32(value.clamp(-65504.0, 65504.0));
    let lost = near.to_f32().abs() < value.abs() && value.abs() < f16::MIN_POSITIVE.to_f32();
    if lost {
        f16::from_bits(near.to_bits() + 1).to_f32()
    } else {
        near.to_f32()
    }
}

/// The integer multiple of `d` nearest to `scale`.
pub(super) fn integer(scale: f32, d: f32, least: f32, most: f32) -> i32 {
    if d == 0.0 {
        0
    } else {
        (scale / d).clamp(least, most).round_ties_even() as i32
    }
}

/// Rounds half-to-even; exact for magnitudes below 2^22, and unlike `round_ties_even` a vector instruction on
/// every processor.
#[inline(always)]
pub(super) fn nearest(x: f32) -> f32 {
    const SHIFT: f32 = 12582912.0;
    (x + SHIFT) - SHIFT
}
