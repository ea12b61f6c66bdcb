//! Tables of a group in a register: 8 numbers of each of two groups, or 16 of one, and 16 codes at a time find theirs.

use super::{Bilevel, GROUP};
use crate::simd;
use std::arch::x86_64::*;

pub(super) fn is_there() -> bool {
    simd::level() == simd::Level::Avx512
        && is_x86_feature_detected!("avx512vbmi")
        && is_x86_feature_detected!("f16c")
}

macro_rules! features {
    ($item:item) => {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx2,fma,f16c")]
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
        for at in 0..out[0].len() {
            let second = weight.second_of(first + at).as_ptr();
            let mut sums = [[_mm512_setzero_ps(); 2]; M];
            // SAFETY: whole rows, their second level and inputs as long as they are there, and bytes behind the last row.
            unsafe {
                let heads = weight.bytes.as_ptr().add((first + at) * row_bytes);
                let mut codes = heads.add(groups);
                for start in (0..groups).step_by(16) {
                    let count = (groups - start).min(16);
                    let (scales, zeros) = levels(heads.add(start), second.add(start), groups, count);
                    for pair in 0..count / 2 {
                        let numbers = numbers_of::<BITS>(codes, pair, scales, zeros);
                        codes = codes.add(4 * BITS);
                        let place = (start + 2 * pair) * GROUP;
                        for m in 0..M {
                            for half in 0..2 {
                                let x = _mm512_loadu_ps(x[m].add(place + GROUP * half));
                                sums[m][half] = _mm512_fmadd_ps(numbers[half], x, sums[m][half]);
                            }
                        }
                    }
                }
            }
            for m in 0..M {
                out[m][at] = _mm512_reduce_add_ps(_mm512_add_ps(sums[m][0], sums[m][1]));
            }
        }
    }
}

features! {
    /// Rounded to f16 and back.
    #[inline]
    fn halved(x: __m512) -> __m512 {
        _mm512_cvtph_ps(_mm512_cvtps_ph::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x))
    }
}

features! {
    #[inline]
    fn level(codes: __m512, zeros: __m512, scales: __m512) -> __m512 {
        halved(_mm512_mul_ps(halved(_mm512_sub_ps(codes, zeros)), scales))
    }
}

features! {
    /// Scales and zeros of up to 16 groups.
    #[inline]
    unsafe fn levels(heads: *const u8, second: *const u16, groups: usize, count: usize) -> (__m512, __m512) {
        let own = 0xffff >> (16 - count);
        // SAFETY: only the bytes of the groups are read.
        let (heads, second) = unsafe {
            let mut numbers = [_mm512_setzero_ps(); 4];
            for part in 0..4 {
                let place = second.wrapping_add(part * groups).cast();
                numbers[part] = _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(own, place));
            }
            (_mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(own, heads.cast())), numbers)
        };
        let scale_codes = _mm512_cvtepi32_ps(_mm512_and_si512(heads, _mm512_set1_epi32(15)));
        let zero_codes = _mm512_cvtepi32_ps(_mm512_srli_epi32::<4>(heads));
        (level(scale_codes, second[1], second[0]), level(zero_codes, second[3], second[2]))
    }
}

features! {
    /// 32 numbers of the groups `2 * pair` and the next of those that scales and zeros are of.
    #[inline]
    unsafe fn numbers_of<const BITS: usize>(
        codes: *const u8,
        pair: usize,
        scales: __m512,
        zeros: __m512,
    ) -> [__m512; 2] {
        let b = BITS as i8;
        // Eight codes are `BITS` bytes: each eight to a word of 64 bits, and every code to a byte of it.
        let mut order = [0i8; 16];
        let mut shifts = [0i8; 16];
        let mut low = [0i8; 16];
        for i in 0..8 {
            order[i as usize] = i;
            order[8 + i as usize] = b + i;
            shifts[i as usize] = b * i;
            shifts[8 + i as usize] = b * i;
            low[i as usize] = i;
            low[8 + i as usize] = i;
        }
        // SAFETY: the codes are there, and bytes behind them.
        let (bytes, order, shifts) = unsafe {
            (
                _mm_loadu_si128(codes.cast()),
                _mm_loadu_si128(order.as_ptr().cast()),
                _mm_loadu_si128(shifts.as_ptr().cast()),
            )
        };
        let second = _mm_add_epi8(order, _mm_set1_epi8(2 * b));
        let order = _mm256_set_m128i(second, order);
        let shifts = _mm256_broadcastsi128_si256(shifts);
        let words = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(bytes), order);
        let apart = _mm256_multishift_epi64_epi8(shifts, words);
        let which = _mm512_set1_epi32(2 * pair as i32);
        if BITS == 4 {
            let indices = [_mm256_castsi256_si128(apart), _mm256_extracti128_si256::<1>(apart)];
            let of_codes = _mm512_setr_ps(
                0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0,
            );
            let mut numbers = [_mm512_setzero_ps(); 2];
            for half in 0..2 {
                let own = _mm512_add_epi32(which, _mm512_set1_epi32(half as i32));
                let (scale, zero) = (_mm512_permutexvar_ps(own, scales), _mm512_permutexvar_ps(own, zeros));
                let index = _mm512_cvtepu8_epi32(indices[half]);
                numbers[half] = _mm512_permutexvar_ps(index, level(of_codes, zero, scale));
            }
            return numbers;
        }
        let own = _mm512_add_epi32(which, _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1));
        let of_codes = _mm512_setr_ps(
            0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0,
        );
        let (scale, zero) = (_mm512_permutexvar_ps(own, scales), _mm512_permutexvar_ps(own, zeros));
        let table = level(of_codes, zero, scale);
        // The second group's numbers lie 8 places behind those of the first.
        let mask = _mm256_set1_epi8((1 << BITS) - 1);
        let beyond = _mm256_set_m128i(_mm_set1_epi8(8), _mm_setzero_si128());
        let indices = _mm256_or_si256(_mm256_and_si256(apart, mask), beyond);
        [
            _mm512_permutexvar_ps(_mm512_cvtepu8_epi32(_mm256_castsi256_si128(indices)), table),
            _mm512_permutexvar_ps(_mm512_cvtepu8_epi32(_mm256_extracti128_si256::<1>(indices)), table),
        ]
    }
}
