//! Blocks of ggml in registers: 32 codes at a time as bytes, and what they are scaled and shifted by.
//!
//!   value = step * (code - ZERO) - offset

use crate::blocks::NON_LINEAR_LEVELS;
use crate::blocks::byte_vectors::*;
use std::arch::x86_64::*;

/// What a block scales and shifts its codes by.
pub(super) trait Fields: Copy + Default {
    /// Of a half of a part.
    fn step(&self, part: usize, half: usize) -> f32;
    fn offsets(&self) -> *const f32;
}

/// One step, one offset.
#[derive(Clone, Copy, Default)]
pub(super) struct Single {
    step: f32,
    offset: f32,
}

impl Fields for Single {
    #[inline(always)]
    fn step(&self, _part: usize, _half: usize) -> f32 {
        self.step
    }
    #[inline(always)]
    fn offsets(&self) -> *const f32 {
        &self.offset
    }
}

/// One of each for every part of 32.
#[derive(Clone, Copy, Default)]
pub(super) struct OfParts {
    steps: [f32; 16],
    offsets: [f32; 16],
}

impl Fields for OfParts {
    #[inline(always)]
    fn step(&self, part: usize, _half: usize) -> f32 {
        self.steps[part]
    }
    #[inline(always)]
    fn offsets(&self) -> *const f32 {
        self.offsets.as_ptr()
    }
}

/// One of each for every half of a part.
#[derive(Clone, Copy, Default)]
pub(super) struct OfHalves {
    steps: [f32; 16],
    offsets: [f32; 16],
}

impl Fields for OfHalves {
    #[inline(always)]
    fn step(&self, part: usize, half: usize) -> f32 {
        self.steps[2 * part + half]
    }
    #[inline(always)]
    fn offsets(&self) -> *const f32 {
        self.offsets.as_ptr()
    }
}

/// How the codes of a type come into registers.
pub(super) trait Unpack {
    type Fields: Fields;
    /// A block has one step and one offset.
    const SINGLE: bool;
    const ZERO: u8;
    /// Each half of a part has a step of its own.
    const HALVES: bool = false;
    const OFFSETS: bool = false;

    /// Parts of 32 codes in a block; grids are told.
    fn parts(run: usize) -> usize;
    fn bytes(run: usize) -> usize;

    /// # Safety
    /// AVX2 and F16C are there.
    unsafe fn fields(block: &[u8]) -> Self::Fields;

    /// 32 codes as unsigned bytes.
    ///
    /// # Safety
    /// As `fields`.
    unsafe fn codes(block: &[u8], part: usize) -> __m256i;
}

macro_rules! unpack {
    ($name:ident: $bytes:literal bytes, $parts:literal parts, zero $zero:literal, $fields_type:ident $(, $flag:ident)*;
     |$b:ident| $fields:expr; |$block:ident, $part:ident| $codes:expr) => {
        #[allow(non_camel_case_types)]
        pub(super) struct $name;
        impl Unpack for $name {
            type Fields = $fields_type;
            const SINGLE: bool = $parts == 1;
            const ZERO: u8 = $zero;
            $(const $flag: bool = true;)*
            #[inline(always)]
            fn parts(_run: usize) -> usize {
                $parts
            }
            #[inline(always)]
            fn bytes(_run: usize) -> usize {
                $bytes
            }
            #[inline(always)]
            unsafe fn fields($b: &[u8]) -> Self::Fields {
                // SAFETY: the caller vouches for the features.
                unsafe { $fields }
            }
            #[inline(always)]
            unsafe fn codes($block: &[u8], $part: usize) -> __m256i {
                // SAFETY: as above.
                unsafe { $codes }
            }
        }
    };
}

unpack!(Q8_0: 34 bytes, 1 parts, zero 128, Single;
    |b| Single { step: half(b, 0), offset: 0.0 };
    |b, _part| _mm256_xor_si256(load32(part(b, 2)), _mm256_set1_epi8(-128)));
unpack!(Q4_0: 18 bytes, 1 parts, zero 8, Single;
    |b| Single { step: half(b, 0), offset: 0.0 };
    |b, _part| wide_nibbles(load16(part(b, 2))));
unpack!(IQ4_NL: 18 bytes, 1 parts, zero 128, Single;
|b| Single { step: half(b, 0), offset: 0.0 };
|b, _part| {
    let levels = load16(&NON_LINEAR_LEVELS.map(|level| level as u8 ^ 128));
    _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(levels), wide_nibbles(load16(part(b, 2))))
});
unpack!(Q4_1: 20 bytes, 1 parts, zero 0, Single, OFFSETS;
    |b| Single { step: half(b, 0), offset: -half(b, 2) };
    |b, _part| wide_nibbles(load16(part(b, 4))));
unpack!(Q5_0: 22 bytes, 1 parts, zero 16, Single;
    |b| Single { step: half(b, 0), offset: 0.0 };
    |b, _part| _mm256_or_si256(wide_nibbles(load16(part(b, 6))), fifth_bits(part(b, 2))));
unpack!(Q5_1: 24 bytes, 1 parts, zero 0, Single, OFFSETS;
    |b| Single { step: half(b, 0), offset: -half(b, 2) };
    |b, _part| _mm256_or_si256(wide_nibbles(load16(part(b, 8))), fifth_bits(part(b, 4))));
unpack!(Q2_K: 84 bytes, 8 parts, zero 0, OfHalves, HALVES, OFFSETS;
    |b| {
        let fields = nibbles(load16(part(b, 0)));
        OfHalves { steps: times(fields[0], half(b, 80)), offsets: times(fields[1], half(b, 82)) }
    };
    |b, part_index| two_bits(load32(part(b, 16 + 32 * (part_index / 4))), part_index % 4));
unpack!(Q3_K: 110 bytes, 8 parts, zero 4, OfHalves, HALVES;
|b| {
    let steps = times(_mm_sub_epi8(scales_of_q3(part(b, 96)), _mm_set1_epi8(32)), half(b, 108));
    OfHalves { steps, offsets: [0.0; 16] }
};
|b, part_index| {
    let two = two_bits(load32(part(b, 32 + 32 * (part_index / 4))), part_index % 4);
    let third = _mm256_srl_epi16(load32(part(b, 0)), _mm_cvtsi32_si128(part_index as i32));
    _mm256_or_si256(two, _mm256_slli_epi16::<2>(_mm256_and_si256(third, _mm256_set1_epi8(1))))
});
unpack!(Q4_K: 144 bytes, 8 parts, zero 0, OfParts, OFFSETS;
    |b| {
        let (steps, offsets) = steps_and_offsets(part(b, 0));
        OfParts { steps, offsets }
    };
    |b, part_index| nibble_half(load32(part(b, 16 + 32 * (part_index / 2))), part_index % 2));
unpack!(Q5_K: 176 bytes, 8 parts, zero 0, OfParts, OFFSETS;
|b| {
    let (steps, offsets) = steps_and_offsets(part(b, 0));
    OfParts { steps, offsets }
};
|b, part_index| {
    let low = nibble_half(load32(part(b, 48 + 32 * (part_index / 2))), part_index % 2);
    let fifth = _mm256_srl_epi16(load32(part(b, 16)), _mm_cvtsi32_si128(part_index as i32));
    _mm256_or_si256(low, _mm256_slli_epi16::<4>(_mm256_and_si256(fifth, _mm256_set1_epi8(1))))
});
unpack!(Q6_K: 210 bytes, 8 parts, zero 32, OfHalves, HALVES;
|b| OfHalves { steps: times(load16(part(b, 192)), half(b, 208)), offsets: [0.0; 16] };
|b, part_index| {
    let (run, r) = (part_index / 4, part_index % 4);
    let low = nibble_half(load32(part(b, 64 * run + 32 * (r & 1))), r >> 1);
    let high = two_bits(load32(part(b, 128 + 32 * run)), r);
    _mm256_or_si256(low, _mm256_slli_epi16::<4>(high))
});

/// A group of a grid: step and zero, then parts of 32 codes.
pub(super) struct OnGrid<const BITS: usize, const WIDE: bool>;

impl<const BITS: usize, const WIDE: bool> Unpack for OnGrid<BITS, WIDE> {
    type Fields = Single;
    const SINGLE: bool = true;
    const ZERO: u8 = if BITS == 8 { 128 } else { 0 };
    const OFFSETS: bool = true;
    #[inline(always)]
    fn parts(run: usize) -> usize {
        run
    }
    #[inline(always)]
    fn bytes(run: usize) -> usize {
        Self::HEAD + 4 * BITS * run
    }
    #[inline(always)]
    unsafe fn fields(block: &[u8]) -> Single {
        let (step, zero) = if WIDE {
            let [step, zero] = [0, 4].map(|at| f32::from_le_bytes(*part(block, at)));
            (step, zero)
        } else {
            // SAFETY: the caller vouches for the features.
            unsafe { (half(block, 0), half(block, 2)) }
        };
        Single {
            step,
            offset: step * (zero - f32::from(Self::ZERO)),
        }
    }
    #[inline(always)]
    unsafe fn codes(block: &[u8], index: usize) -> __m256i {
        let bytes = &block[Self::HEAD + 4 * BITS * index..];
        // SAFETY: as above.
        unsafe {
            match BITS {
                2 => spread_pairs(part(bytes, 0)),
                3 => {
                    let third = _mm256_srli_epi16::<2>(fifth_bits(part(bytes, 8)));
                    _mm256_or_si256(spread_pairs(part(bytes, 0)), third)
                }
                4 => wide_nibbles(load16(part(bytes, 0))),
                _ => load32(part(bytes, 0)),
            }
        }
    }
}

impl<const BITS: usize, const WIDE: bool> OnGrid<BITS, WIDE> {
    const HEAD: usize = if WIDE { 8 } else { 4 };
}

/// Bits 2 * (i / 8) and the next of byte i % 8, for each i.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn spread_pairs(bytes: &[u8; 8]) -> __m256i {
    let all = _mm256_set1_epi64x(i64::from_le_bytes(*bytes));
    let shifted = _mm256_srlv_epi64(all, _mm256_setr_epi64x(0, 2, 4, 6));
    _mm256_and_si256(shifted, _mm256_set1_epi8(3))
}

/// Low halves of the bytes, or high ones.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn nibble_half(bytes: __m256i, which: usize) -> __m256i {
    let shifted = _mm256_srl_epi16(bytes, _mm_cvtsi32_si128(4 * which as i32));
    _mm256_and_si256(shifted, _mm256_set1_epi8(15))
}

/// Bits 2 * `place` and the next of each byte.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn two_bits(bytes: __m256i, place: usize) -> __m256i {
    let shifted = _mm256_srl_epi16(bytes, _mm_cvtsi32_si128(2 * place as i32));
    _mm256_and_si256(shifted, _mm256_set1_epi8(3))
}
