//! Lanes of a register, added pair by pair.

use std::arch::x86_64::*;

#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn add_up_four(x: __m128) -> f32 {
    let pairs = _mm_add_ps(x, _mm_movehl_ps(x, x));
    _mm_cvtss_f32(_mm_add_ss(pairs, _mm_shuffle_ps::<1>(pairs, pairs)))
}

#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn add_up_eight(x: __m256) -> f32 {
    add_up_four(_mm_add_ps(
        _mm256_castps256_ps128(x),
        _mm256_extractf128_ps::<1>(x),
    ))
}

#[inline]
#[target_feature(enable = "avx512f,avx2")]
pub(crate) fn add_up_sixteen(x: __m512) -> f32 {
    let high = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(x)));
    add_up_eight(_mm256_add_ps(_mm512_castps512_ps256(x), high))
}
