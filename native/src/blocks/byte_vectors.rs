//! Bytes of a block in registers, taken apart and widened to floats.

use std::arch::x86_64::*;

/// The f16 at byte `at`.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(crate) fn half(bytes: &[u8], at: usize) -> f32 {
    let bits = u16::from_le_bytes(*part(bytes, at));
    _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(bits.into())))
}

/// Signed bytes times a number.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(crate) fn times(bytes: __m128i, factor: f32) -> [f32; 16] {
    let mut products = [0.0; 16];
    scaled(bytes, _mm256_set1_ps(factor), &mut products);
    products
}

/// value = step * code
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(crate) fn scaled(codes: __m128i, step: __m256, out: &mut [f32; 16]) {
    for (codes, out) in widened(codes).into_iter().zip(out.as_chunks_mut::<8>().0) {
        store(_mm256_mul_ps(step, codes), out);
    }
}

/// value = step * code - offset, both rounded
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(crate) fn shifted(codes: __m128i, step: __m256, offset: __m256, out: &mut [f32; 16]) {
    for (codes, out) in widened(codes).into_iter().zip(out.as_chunks_mut::<8>().0) {
        store(_mm256_sub_ps(_mm256_mul_ps(step, codes), offset), out);
    }
}

/// Signed bytes as floats.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(crate) fn widened(codes: __m128i) -> [__m256; 2] {
    [codes, _mm_srli_si128::<8>(codes)].map(|codes| _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(codes)))
}

/// Low halves of the bytes, and high ones.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(crate) fn nibbles(bytes: __m128i) -> [__m128i; 2] {
    [bytes, _mm_srli_epi16::<4>(bytes)].map(|halves| _mm_and_si128(halves, _mm_set1_epi8(15)))
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(crate) fn wide_nibbles(bytes: __m128i) -> __m256i {
    let both = _mm256_set_m128i(_mm_srli_epi16::<4>(bytes), bytes);
    _mm256_and_si256(both, _mm256_set1_epi8(15))
}

/// 16 in each byte whose bit is set.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(crate) fn fifth_bits(bits: &[u8; 4]) -> __m256i {
    let all = _mm256_set1_epi32(i32::from_le_bytes(*bits));
    // Byte i / 8 of the four for element i, in either half of the register.
    let spread = _mm256_shuffle_epi8(
        all,
        _mm256_set_epi64x(
            0x0303_0303_0303_0303,
            0x0202_0202_0202_0202,
            0x0101_0101_0101_0101,
            0,
        ),
    );
    let own = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64 as i64);
    let set = _mm256_cmpeq_epi8(_mm256_and_si256(spread, own), own);
    _mm256_and_si256(set, _mm256_set1_epi8(16))
}

/// The halves of a register.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(crate) fn apart(both: __m256i) -> [__m128i; 2] {
    [_mm256_castsi256_si128(both), _mm256_extracti128_si256::<1>(both)]
}

/// `N` bytes from `start` on.
#[inline(always)]
pub(crate) fn part<const N: usize>(bytes: &[u8], start: usize) -> &[u8; N] {
    bytes[start..].first_chunk().expect("inside of the block")
}

#[inline(always)]
pub(crate) fn words(bytes: &[u8; 12]) -> [u32; 3] {
    [0, 4, 8].map(|at| u32::from_le_bytes(*part(bytes, at)))
}

#[inline(always)]
pub(crate) fn bytes_of(words: &[u32; 4]) -> &[u8; 16] {
    // SAFETY: both have 16 bytes, of which any bits are a value; x86 is little-endian.
    unsafe { &*words.as_ptr().cast() }
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(crate) fn load16(bytes: &[u8; 16]) -> __m128i {
    // SAFETY: 16 bytes are read, at any alignment.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(crate) fn load32(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: 32 bytes are read, at any alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(crate) fn store(values: __m256, out: &mut [f32; 8]) {
    // SAFETY: 8 numbers are written, at any alignment.
    unsafe { _mm256_storeu_ps(out.as_mut_ptr(), values) }
}

/// The 6-bit scales of Q3_K, 32 too large.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(crate) fn scales_of_q3(field: &[u8; 12]) -> __m128i {
    let [low, high, more] = words(field);
    let field = |four: u32, bits: u32| four & 0x0f0f_0f0f | (bits & 0x0303_0303) << 4;
    let fields = [
        field(low, more),
        field(high, more >> 2),
        field(low >> 4, more >> 4),
        field(high >> 4, more >> 6),
    ];
    load16(bytes_of(&fields))
}

/// d and dmin times the 6-bit scales and mins of Q4_K and Q5_K.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(crate) fn steps_and_offsets(head: &[u8; 16]) -> ([f32; 16], [f32; 16]) {
    let [low, middle, high] = words(part(head, 4));
    let top = |four: u32| (four >> 6 & 0x0303_0303) << 4;
    let scales = [low & 0x3f3f_3f3f, high & 0x0f0f_0f0f | top(low), 0, 0];
    let mins = [middle & 0x3f3f_3f3f, high >> 4 & 0x0f0f_0f0f | top(middle), 0, 0];
    (
        times(load16(bytes_of(&scales)), half(head, 0)),
        times(load16(bytes_of(&mins)), half(head, 2)),
    )
}
