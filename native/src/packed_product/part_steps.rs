//! Steps of `kernels.rs`: 32 codes times their inputs, offsets, and sums over lanes.

use super::inputs::PART;
use super::kernels::Places;
use super::types::{Fields as _, Unpack};
use std::arch::x86_64::*;

#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx512vnni,avx2")]
pub(super) fn dot_vnni<T: Unpack>(start: __m256i, codes: __m256i, x: __m256i) -> __m256i {
    _mm256_dpbusd_epi32(start, codes, x)
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn dot_avx2<T: Unpack>(start: __m256i, codes: __m256i, x: __m256i) -> __m256i {
    let ones = _mm256_set1_epi16(1);
    if T::ZERO == 128 {
        // Sums of two products of whole bytes would not fit 16 bits.
        let levels = _mm256_xor_si256(codes, _mm256_set1_epi8(-128));
        let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(levels), _mm256_sign_epi8(x, levels));
        return _mm256_madd_epi16(pairs, ones);
    }
    _mm256_add_epi32(start, _mm256_madd_epi16(_mm256_maddubs_epi16(codes, x), ones))
}

#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx2")]
pub(super) fn float_avx512<T: Unpack>(
    sum: __m512,
    levels: __m256i,
    x: &[f32; PART],
    steps: [f32; 2],
) -> __m512 {
    let [low, high] = [
        _mm256_castsi256_si128(levels),
        _mm256_extracti128_si256::<1>(levels),
    ]
    .map(|levels| _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(levels)));
    // SAFETY: 16 floats are read of each half.
    let [x, y] = unsafe { [_mm512_loadu_ps(x.as_ptr()), _mm512_loadu_ps(x.as_ptr().add(16))] };
    if T::HALVES {
        let sum = _mm512_fmadd_ps(_mm512_mul_ps(low, x), _mm512_set1_ps(steps[0]), sum);
        return _mm512_fmadd_ps(_mm512_mul_ps(high, y), _mm512_set1_ps(steps[1]), sum);
    }
    let products = _mm512_fmadd_ps(high, y, _mm512_mul_ps(low, x));
    _mm512_fmadd_ps(products, _mm512_set1_ps(steps[0]), sum)
}

#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn float_avx2<T: Unpack>(
    sum: __m256,
    levels: __m256i,
    x: &[f32; PART],
    steps: [f32; 2],
) -> __m256 {
    let [low, high] = [
        _mm256_castsi256_si128(levels),
        _mm256_extracti128_si256::<1>(levels),
    ];
    let mut sum = sum;
    for (half, levels) in [low, high].into_iter().enumerate() {
        let first = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(levels));
        let second = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128::<8>(levels)));
        // SAFETY: 8 floats are read of each.
        let [x, y] = unsafe {
            let x = x.as_ptr().add(16 * half);
            [_mm256_loadu_ps(x), _mm256_loadu_ps(x.add(8))]
        };
        let products = _mm256_fmadd_ps(second, y, _mm256_mul_ps(first, x));
        sum = _mm256_fmadd_ps(products, _mm256_set1_ps(steps[half]), sum);
    }
    sum
}

/// Offsets of a block times the sums of their inputs, four side by side.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn add_offsets<T: Unpack, const M: usize>(
    fields: &T::Fields,
    inputs: &[Places; M],
    block: usize,
    sums: &mut [__m128; M],
) {
    if !T::OFFSETS {
        return;
    }
    let count = if T::SINGLE {
        1
    } else if T::HALVES {
        16
    } else {
        8
    };
    let fields = fields.offsets();
    for m in 0..M {
        // SAFETY: the caller vouches for the sums, and blocks have as many offsets.
        unsafe {
            let own = inputs[m].sums.add(count * block);
            if T::SINGLE {
                sums[m] = _mm_fmadd_ss(_mm_load_ss(fields), _mm_load_ss(own), sums[m]);
                continue;
            }
            for i in (0..count).step_by(4) {
                sums[m] = _mm_fmadd_ps(_mm_loadu_ps(fields.add(i)), _mm_loadu_ps(own.add(i)), sums[m]);
            }
        }
    }
}
