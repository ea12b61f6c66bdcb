//! Decoding with AVX2: codes of 16 elements are taken apart as bytes, and widened at last. Operation by operation the
//! rounding is that of `decode.rs`, so the results have the same bits. Processors with AVX-512 run it too: behind it
//! memory is the limit already.

use super::byte_vectors::*;
use super::{BlockType, BlockType::*, NON_LINEAR_LEVELS};
use std::arch::x86_64::*;

/// Decodes whole blocks; false where the type has no loop here.
#[target_feature(enable = "avx2,f16c")]
pub(super) fn decode(block_type: BlockType, bytes: &[u8], out: &mut [f32]) -> bool {
    match block_type {
        F32 | BF16 => return false,
        F16 => halves(bytes, out),
        Q8_0 => each(bytes, out, |b, out| q8_0(b, out)),
        Q4_0 => each(bytes, out, |b, out| q4_0(b, out)),
        IQ4_NL => each(bytes, out, |b, out| iq4_nl(b, out)),
        Q4_1 => each(bytes, out, |b, out| q4_1(b, out)),
        Q5_0 => each(bytes, out, |b, out| q5_0(b, out)),
        Q5_1 => each(bytes, out, |b, out| q5_1(b, out)),
        Q2_K => each(bytes, out, |b, out| q2_k(b, out)),
        Q3_K => each(bytes, out, |b, out| q3_k(b, out)),
        Q4_K => each(bytes, out, |b, out| q4_k(b, out)),
        Q5_K => each(bytes, out, |b, out| q5_k(b, out)),
        Q6_K => each(bytes, out, |b, out| q6_k(b, out)),
    }
    true
}

/// Runs `decode` on every block and its values, 16 by 16.
#[inline(always)]
fn each<const BYTES: usize, const LINES: usize>(
    bytes: &[u8],
    out: &mut [f32],
    decode: impl Fn(&[u8; BYTES], &mut [[f32; 16]; LINES]),
) {
    let lines = out.as_chunks_mut::<16>().0;
    for (block, out) in bytes
        .as_chunks::<BYTES>()
        .0
        .iter()
        .zip(lines.as_chunks_mut::<LINES>().0)
    {
        decode(block, out);
    }
}

#[target_feature(enable = "avx2,f16c")]
fn halves(bytes: &[u8], out: &mut [f32]) {
    let (lines, rest) = out.as_chunks_mut::<8>();
    let (wide, last) = bytes.as_chunks::<16>();
    for (bytes, line) in wide.iter().zip(lines) {
        store(_mm256_cvtph_ps(load16(bytes)), line);
    }
    for (bytes, value) in last.as_chunks::<2>().0.iter().zip(rest) {
        *value = half(bytes, 0);
    }
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
fn q8_0(b: &[u8; 34], out: &mut [[f32; 16]; 2]) {
    let d = _mm256_set1_ps(half(b, 0));
    scaled(load16(part(b, 2)), d, &mut out[0]);
    scaled(load16(part(b, 18)), d, &mut out[1]);
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
fn q4_0(b: &[u8; 18], out: &mut [[f32; 16]; 2]) {
    let d = _mm256_set1_ps(half(b, 0));
    for (codes, out) in nibbles(load16(part(b, 2))).into_iter().zip(out) {
        scaled(_mm_sub_epi8(codes, _mm_set1_epi8(8)), d, out);
    }
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
fn iq4_nl(b: &[u8; 18], out: &mut [[f32; 16]; 2]) {
    let d = _mm256_set1_ps(half(b, 0));
    let levels = load16(&NON_LINEAR_LEVELS.map(|level| level as u8));
    for (codes, out) in nibbles(load16(part(b, 2))).into_iter().zip(out) {
        scaled(_mm_shuffle_epi8(levels, codes), d, out);
    }
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
fn q4_1(b: &[u8; 20], out: &mut [[f32; 16]; 2]) {
    let (d, offset) = (_mm256_set1_ps(half(b, 0)), _mm256_set1_ps(-half(b, 2)));
    for (codes, out) in nibbles(load16(part(b, 4))).into_iter().zip(out) {
        shifted(codes, d, offset, out);
    }
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
fn q5_0(b: &[u8; 22], out: &mut [[f32; 16]; 2]) {
    let d = _mm256_set1_ps(half(b, 0));
    let codes = _mm256_or_si256(wide_nibbles(load16(part(b, 6))), fifth_bits(part(b, 2)));
    let codes = _mm256_sub_epi8(codes, _mm256_set1_epi8(16));
    for (codes, out) in apart(codes).into_iter().zip(out) {
        scaled(codes, d, out);
    }
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
fn q5_1(b: &[u8; 24], out: &mut [[f32; 16]; 2]) {
    let (d, offset) = (_mm256_set1_ps(half(b, 0)), _mm256_set1_ps(-half(b, 2)));
    let codes = _mm256_or_si256(wide_nibbles(load16(part(b, 8))), fifth_bits(part(b, 4)));
    for (codes, out) in apart(codes).into_iter().zip(out) {
        shifted(codes, d, offset, out);
    }
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
fn q2_k(b: &[u8; 84], out: &mut [[f32; 16]; 16]) {
    let fields = nibbles(load16(part(b, 0)));
    let [steps, offsets] = [times(fields[0], half(b, 80)), times(fields[1], half(b, 82))];
    for (run, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let mut low = load32(part(b, 16 + 32 * run));
        for (pair, out) in out.as_chunks_mut::<2>().0.iter_mut().enumerate() {
            let codes = _mm256_and_si256(low, _mm256_set1_epi8(3));
            low = _mm256_srli_epi16::<2>(low);
            for (half, (codes, out)) in apart(codes).into_iter().zip(out).enumerate() {
                let k = 8 * run + 2 * pair + half;
                shifted(codes, _mm256_set1_ps(steps[k]), _mm256_set1_ps(offsets[k]), out);
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
fn q3_k(b: &[u8; 110], out: &mut [[f32; 16]; 16]) {
    let scales = scales_of_q3(part(b, 96));
    let steps = times(_mm_sub_epi8(scales, _mm_set1_epi8(32)), half(b, 108));
    let mut third = load32(part(b, 0));
    for (run, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let mut low = load32(part(b, 32 + 32 * run));
        for (pair, out) in out.as_chunks_mut::<2>().0.iter_mut().enumerate() {
            let two = _mm256_and_si256(low, _mm256_set1_epi8(3));
            let one = _mm256_and_si256(third, _mm256_set1_epi8(1));
            let codes = _mm256_or_si256(two, _mm256_slli_epi16::<2>(one));
            (low, third) = (_mm256_srli_epi16::<2>(low), _mm256_srli_epi16::<1>(third));
            let codes = _mm256_sub_epi8(codes, _mm256_set1_epi8(4));
            for (half, (codes, out)) in apart(codes).into_iter().zip(out).enumerate() {
                scaled(codes, _mm256_set1_ps(steps[8 * run + 2 * pair + half]), out);
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
fn q4_k(b: &[u8; 144], out: &mut [[f32; 16]; 16]) {
    let (steps, offsets) = steps_and_offsets(part(b, 0));
    for (run, out) in out.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        let bytes = load32(part(b, 16 + 32 * run));
        let both = [bytes, _mm256_srli_epi16::<4>(bytes)];
        for (half, (codes, out)) in both.into_iter().zip(out.as_chunks_mut::<2>().0).enumerate() {
            let codes = _mm256_and_si256(codes, _mm256_set1_epi8(15));
            let (step, offset) = (steps[2 * run + half], offsets[2 * run + half]);
            for (codes, out) in apart(codes).into_iter().zip(out) {
                shifted(codes, _mm256_set1_ps(step), _mm256_set1_ps(offset), out);
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
fn q5_k(b: &[u8; 176], out: &mut [[f32; 16]; 16]) {
    let (steps, offsets) = steps_and_offsets(part(b, 0));
    let mut fifth = load32(part(b, 16));
    for (run, out) in out.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        let bytes = load32(part(b, 48 + 32 * run));
        let both = [bytes, _mm256_srli_epi16::<4>(bytes)];
        for (half, (low, out)) in both.into_iter().zip(out.as_chunks_mut::<2>().0).enumerate() {
            let one = _mm256_and_si256(fifth, _mm256_set1_epi8(1));
            fifth = _mm256_srli_epi16::<1>(fifth);
            let low = _mm256_and_si256(low, _mm256_set1_epi8(15));
            let codes = _mm256_or_si256(low, _mm256_slli_epi16::<4>(one));
            let (step, offset) = (steps[2 * run + half], offsets[2 * run + half]);
            for (codes, out) in apart(codes).into_iter().zip(out) {
                shifted(codes, _mm256_set1_ps(step), _mm256_set1_ps(offset), out);
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
fn q6_k(b: &[u8; 210], out: &mut [[f32; 16]; 16]) {
    let steps = times(load16(part(b, 192)), half(b, 208));
    for (run, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let low = [load32(part(b, 64 * run)), load32(part(b, 64 * run + 32))];
        let low = [
            low[0],
            low[1],
            _mm256_srli_epi16::<4>(low[0]),
            _mm256_srli_epi16::<4>(low[1]),
        ];
        let mut high = load32(part(b, 128 + 32 * run));
        for (pair, (low, out)) in low.into_iter().zip(out.as_chunks_mut::<2>().0).enumerate() {
            let low = _mm256_and_si256(low, _mm256_set1_epi8(15));
            let two = _mm256_and_si256(high, _mm256_set1_epi8(3));
            high = _mm256_srli_epi16::<2>(high);
            let codes = _mm256_or_si256(low, _mm256_slli_epi16::<4>(two));
            let codes = _mm256_sub_epi8(codes, _mm256_set1_epi8(32));
            for (half, (codes, out)) in apart(codes).into_iter().zip(out).enumerate() {
                scaled(codes, _mm256_set1_ps(steps[8 * run + 2 * pair + half]), out);
            }
        }
    }
}
