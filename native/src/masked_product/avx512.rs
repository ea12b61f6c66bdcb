//! Chunks of 64 columns in registers of 512 bits: what lives is spread to its places, and the rest is 0.

use super::reader::Reader;
use super::{CHUNK, Masked, Numbers};
use crate::float_rows::Written;
use crate::packed_product::Row;
use crate::simd;
use std::arch::x86_64::*;

/// Whether this machine spreads bytes and words by a mask.
pub(super) fn is_there() -> bool {
    simd::level() == simd::Level::Avx512
        && is_x86_feature_detected!("avx512vnni")
        && is_x86_feature_detected!("avx512vbmi2")
        && is_x86_feature_detected!("popcnt")
}

macro_rules! features {
    ($item:item) => {
        #[target_feature(
            enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vbmi2,avx2,fma,f16c,popcnt"
        )]
        $item
    };
}

features! {
    /// # Safety
    /// The instructions are there.
    pub(super) unsafe fn floats<const M: usize>(
        weight: &Masked,
        written: Written,
        first: usize,
        inputs: &[Row],
        out: &mut [&mut [f32]],
    ) {
        let mut x = [std::ptr::null(); M];
        for m in 0..M {
            assert!(inputs[m].floats.len() >= weight.chunks() * CHUNK, "inputs fill whole chunks");
            x[m] = inputs[m].floats.as_ptr();
        }
        for at in 0..out[0].len() {
            let mut reader = Reader::new(weight, first + at);
            let mut sums = [[_mm512_setzero_ps(); 2]; M];
            for chunk in 0..weight.chunks() {
                // SAFETY: the reader stays inside of the stream, and inputs fill whole chunks.
                unsafe {
                    let marks = reader.marks();
                    if written == Written::F32 {
                        for part in 0..4 {
                            let own = (marks >> (16 * part)) as u16;
                            let numbers = _mm512_maskz_expand_ps(own, _mm512_castsi512_ps(loaded(reader.at)));
                            reader.at = reader.at.add(4 * own.count_ones() as usize);
                            for m in 0..M {
                                let x = _mm512_loadu_ps(x[m].add(chunk * CHUNK + 16 * part));
                                sums[m][part % 2] = _mm512_fmadd_ps(numbers, x, sums[m][part % 2]);
                            }
                        }
                        continue;
                    }
                    for half in 0..2 {
                        let own = (marks >> (32 * half)) as u32;
                        let words = _mm512_maskz_expand_epi16(own, loaded(reader.at));
                        reader.at = reader.at.add(2 * own.count_ones() as usize);
                        let halves = [_mm512_castsi512_si256(words), _mm512_extracti64x4_epi64::<1>(words)];
                        for part in 0..2 {
                            let numbers = if written == Written::F16 {
                                _mm512_cvtph_ps(halves[part])
                            } else {
                                _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves[part])))
                            };
                            for m in 0..M {
                                let x = _mm512_loadu_ps(x[m].add(chunk * CHUNK + 32 * half + 16 * part));
                                sums[m][part] = _mm512_fmadd_ps(numbers, x, sums[m][part]);
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
    /// Codes times codes, or times floats.
    ///
    /// # Safety
    /// The instructions are there.
    pub(super) unsafe fn codes<const M: usize, const INT8: bool>(
        weight: &Masked,
        first: usize,
        inputs: &[Row],
        out: &mut [&mut [f32]],
    ) {
        let Numbers::Codes { nibbles, wide, .. } = weight.numbers else {
            return;
        };
        for input in &inputs[..M] {
            let length = if INT8 { input.codes.len() } else { input.floats.len() };
            assert!(length >= weight.chunks() * CHUNK, "inputs fill whole chunks");
        }
        for at in 0..out[0].len() {
            let mut reader = Reader::new(weight, first + at);
            let mut sums = [_mm512_setzero_ps(); M];
            let mut heads = [(0.0, 0.0); 2];
            for chunk in 0..weight.chunks() {
                // SAFETY: the reader stays inside of the stream, and inputs fill whole chunks.
                unsafe {
                    let marks = reader.marks();
                    reader.heads(weight, wide, chunk, &mut heads);
                    let count = marks.count_ones() as usize;
                    let own = if nibbles {
                        let pairs = _mm512_cvtepu8_epi16(_mm256_loadu_si256(reader.at.cast()));
                        let apart = _mm512_or_si512(pairs, _mm512_slli_epi16::<4>(pairs));
                        reader.at = reader.at.add(count.div_ceil(2));
                        _mm512_and_si512(apart, _mm512_set1_epi8(15))
                    } else {
                        let own = loaded(reader.at);
                        reader.at = reader.at.add(count);
                        own
                    };
                    let spread = _mm512_maskz_expand_epi8(marks, own);
                    if INT8 {
                        let living = _mm512_maskz_set1_epi8(marks, 1);
                        let zero = both(heads[0].1, heads[1].1);
                        for m in 0..M {
                            let x = _mm512_loadu_si512(inputs[m].codes.as_ptr().add(chunk * CHUNK).cast());
                            let products = _mm512_cvtepi32_ps(_mm512_dpbusd_epi32(_mm512_setzero_si512(), spread, x));
                            let seen = _mm512_cvtepi32_ps(_mm512_dpbusd_epi32(_mm512_setzero_si512(), living, x));
                            let scales = inputs[m].scales.as_ptr().add(2 * chunk);
                            let factors = both(heads[0].0 * *scales, heads[1].0 * *scales.add(1));
                            let levels = _mm512_fnmadd_ps(zero, seen, products);
                            sums[m] = _mm512_fmadd_ps(levels, factors, sums[m]);
                        }
                    } else {
                        let quarters = [
                            _mm512_castsi512_si128(spread),
                            _mm512_extracti32x4_epi32::<1>(spread),
                            _mm512_extracti32x4_epi32::<2>(spread),
                            _mm512_extracti32x4_epi32::<3>(spread),
                        ];
                        for part in 0..4 {
                            let codes = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(quarters[part]));
                            let living = (marks >> (16 * part)) as u16;
                            let levels = _mm512_maskz_sub_ps(living, codes, _mm512_set1_ps(heads[part / 2].1));
                            let numbers = _mm512_mul_ps(levels, _mm512_set1_ps(heads[part / 2].0));
                            for m in 0..M {
                                let x = _mm512_loadu_ps(inputs[m].floats.as_ptr().add(chunk * CHUNK + 16 * part));
                                sums[m] = _mm512_fmadd_ps(numbers, x, sums[m]);
                            }
                        }
                    }
                }
            }
            for m in 0..M {
                out[m][at] = _mm512_reduce_add_ps(sums[m]);
            }
        }
    }
}

/// 64 bytes, read before they are spread: to spread them from memory takes many times as long on some processors.
///
/// # Safety
/// The bytes are there.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn loaded(place: *const u8) -> __m512i {
    let bytes;
    // SAFETY: a load of 64 bytes, at any alignment, and nothing else.
    unsafe {
        std::arch::asm!(
            "vmovdqu64 {bytes}, [{place}]",
            bytes = out(zmm_reg) bytes,
            place = in(reg) place,
            options(pure, readonly, nostack, preserves_flags)
        );
    }
    bytes
}

/// One number in the low half of a register, another in the high one.
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn both(low: f32, high: f32) -> __m512 {
    _mm512_insertf32x8::<1>(_mm512_set1_ps(low), _mm256_set1_ps(high))
}
