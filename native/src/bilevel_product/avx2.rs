//! Tables of a group in registers of 256 bits: 8 numbers, or 16 in two, of which 8 codes at a time find theirs.

use super::{Bilevel, GROUP};
use crate::register_sums::add_up_eight;
use crate::simd;
use std::arch::x86_64::*;

/// Groups whose scales and zeros are computed together.
const TOGETHER: usize = 8;

pub(super) fn is_there() -> bool {
    simd::level() >= simd::Level::Avx2 && is_x86_feature_detected!("f16c")
}

macro_rules! features {
    ($item:item) => {
        #[target_feature(enable = "avx2,fma,f16c")]
        $item
    };
}

features! {
    /// # Safety
    /// The instructions are there.
    pub(super) unsafe fn all<const BITS: usize, const M: usize>(
        weight: &Bilevel,
        first: usize,
        inputs: &[&[f32]],
        out: &mut [&mut [f32]],
    ) {
        let groups = weight.groups;
        let mut x = [std::ptr::null(); M];
        for m in 0..M {
            assert!(inputs[m].len() >= groups * GROUP, "inputs fill whole groups");
            x[m] = inputs[m].as_ptr();
        }
        let row_bytes = weight.row_bytes();
        assert!(weight.bytes.len() >= weight.rows * row_bytes + super::PAST, "bytes follow the last row");
        assert!(first + out[0].len() <= weight.rows, "rows are there");
        let b = BITS as i32;
        // The lowest bits alone tell which of eight numbers it is.
        let shifts = _mm256_setr_epi32(0, b, 2 * b, 3 * b, 4 * b, 5 * b, 6 * b, 7 * b);
        for at in 0..out[0].len() {
            let second = weight.second_of(first + at).as_ptr();
            let mut sums = [[_mm256_setzero_ps(); 2]; M];
            // SAFETY: whole rows, their second level and inputs as long as they are there, and bytes behind the last row.
            unsafe {
                let heads = weight.bytes.as_ptr().add((first + at) * row_bytes);
                let mut codes = heads.add(groups);
                for start in (0..groups).step_by(TOGETHER) {
                    let count = (groups - start).min(TOGETHER);
                    let (scales, zeros) = levels(heads.add(start), second.add(start), groups, count);
                    for group in 0..count {
                        let tables = tables::<BITS>(scales[group], zeros[group]);
                        for half in 0..2 {
                            let word = _mm256_set1_epi32(codes.cast::<i32>().read_unaligned());
                            codes = codes.add(BITS);
                            let which = _mm256_srlv_epi32(word, shifts);
                            let mut numbers = _mm256_permutevar8x32_ps(tables[0], which);
                            if BITS == 4 {
                                let others = _mm256_permutevar8x32_ps(tables[1], which);
                                let is_other = _mm256_castsi256_ps(_mm256_slli_epi32::<28>(which));
                                numbers = _mm256_blendv_ps(numbers, others, is_other);
                            }
                            let place = (start + group) * GROUP + 8 * half;
                            for m in 0..M {
                                sums[m][half] = _mm256_fmadd_ps(numbers, _mm256_loadu_ps(x[m].add(place)), sums[m][half]);
                            }
                        }
                    }
                }
            }
            for m in 0..M {
                out[m][at] = add_up_eight(_mm256_add_ps(sums[m][0], sums[m][1]));
            }
        }
    }
}

features! {
    /// Rounded to f16 and back.
    #[inline]
    fn halved(x: __m256) -> __m256 {
        _mm256_cvtph_ps(_mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x))
    }
}

features! {
    #[inline]
    fn level(codes: __m256, zeros: __m256, scales: __m256) -> __m256 {
        halved(_mm256_mul_ps(halved(_mm256_sub_ps(codes, zeros)), scales))
    }
}

features! {
    /// Scales and zeros of up to 8 groups.
    #[inline]
    unsafe fn levels(heads: *const u8, second: *const u16, groups: usize, count: usize) -> ([f32; 8], [f32; 8]) {
        let mut numbers = [_mm256_setzero_ps(); 4];
        // SAFETY: the second level has the groups, and bytes of codes and of `PAST` follow those of the heads.
        let heads = unsafe {
            for part in 0..4 {
                let place = second.wrapping_add(part * groups);
                let halves = if count == TOGETHER {
                    _mm_loadu_si128(place.cast())
                } else {
                    let mut own = [0u16; TOGETHER];
                    std::ptr::copy_nonoverlapping(place, own.as_mut_ptr(), count);
                    _mm_loadu_si128(own.as_ptr().cast())
                };
                numbers[part] = _mm256_cvtph_ps(halves);
            }
            _mm256_cvtepu8_epi32(_mm_loadl_epi64(heads.cast()))
        };
        let scale_codes = _mm256_cvtepi32_ps(_mm256_and_si256(heads, _mm256_set1_epi32(15)));
        let zero_codes = _mm256_cvtepi32_ps(_mm256_srli_epi32::<4>(heads));
        let (mut scales, mut zeros) = ([0.0; 8], [0.0; 8]);
        // SAFETY: both have 8 places.
        unsafe {
            _mm256_storeu_ps(scales.as_mut_ptr(), level(scale_codes, numbers[1], numbers[0]));
            _mm256_storeu_ps(zeros.as_mut_ptr(), level(zero_codes, numbers[3], numbers[2]));
        }
        (scales, zeros)
    }
}

features! {
    /// The number of each code, over and over where there are fewer than 8, and of codes from 8 on.
    #[inline]
    fn tables<const BITS: usize>(scale: f32, zero: f32) -> [__m256; 2] {
        let (scale, zero) = (_mm256_set1_ps(scale), _mm256_set1_ps(zero));
        let codes = match BITS {
            1 => _mm256_setr_ps(0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0),
            2 => _mm256_setr_ps(0.0, 1.0, 2.0, 3.0, 0.0, 1.0, 2.0, 3.0),
            _ => _mm256_setr_ps(0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0),
        };
        let first = level(codes, zero, scale);
        if BITS == 4 {
            let others = _mm256_add_ps(codes, _mm256_set1_ps(8.0));
            return [first, level(others, zero, scale)];
        }
        [first; 2]
    }
}
