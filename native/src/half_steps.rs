//! From f32 to f16 and back in loops that vectorise.

/// The smallest number of f16 above 0.
pub const LEAST_HALF: f32 = 5.960_464_5e-8;
/// The nearest f16, as f32: halves to even, infinite from 65520 on.
#[inline(always)]
pub fn to_half(x: f32) -> f32 {
    let bits = x.to_bits();
    let rounded = f32::from_bits(bits.wrapping_add(0xfff + ((bits >> 13) & 1)) & !0x1fff);
    // Numbers from 0.5 to 1 have steps of 2^-24, as the small ones of f16 do.
    let small = ((x.abs() + 0.5) - 0.5).copysign(x);
    let rounded = if x.abs() < 6.103_515_6e-5 { small } else { rounded };
    if rounded.abs() > 65504.0 {
        f32::INFINITY.copysign(x)
    } else {
        rounded
    }
}

/// Bits of f16 as a number.
#[inline(always)]
pub fn from_half(bits: u16) -> f32 {
    let magnitude = u32::from(bits & 0x7fff);
    // Exponents of f32 are 112 higher, and that of what is no number is the highest.
    let beyond = if magnitude < 0x7c00 { 112 << 23 } else { 224 << 23 };
    let normal = f32::from_bits((magnitude << 13) + beyond);
    let small = magnitude as i32 as f32 * LEAST_HALF;
    let number = if magnitude < 0x0400 { small } else { normal };
    f32::from_bits(number.to_bits() | u32::from(bits & 0x8000) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_of_halves_are_the_numbers_of_the_half_crate() {
        for bits in 0..=u16::MAX {
            let want = half::f16::from_bits(bits).to_f32();
            let found = from_half(bits);
            assert!(
                found.to_bits() == want.to_bits() || found.is_nan() && want.is_nan(),
                "{bits:x}: {found} {want}"
            );
        }
    }

    #[test]
    fn halves_are_those_of_the_half_crate_for_every_exponent_and_fraction() {
        for high in 0..=0xffffu32 {
            for low in [0u32, 1, 0xfff, 0x1000, 0x1001, 0x2fff, 0x7fff, 0x8000, 0xffff] {
                let x = f32::from_bits(high << 16 | low);
                if x.is_nan() {
                    continue;
                }
                let want = half::f16::from_f32(x).to_f32();
                assert_eq!(to_half(x).to_bits(), want.to_bits(), "{x}");
            }
        }
    }
}
