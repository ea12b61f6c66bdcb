//! Rows of blocks times rows of inputs, once for each instruction set. The sums of an output follow each other in an
//! order that depends on the length of the row alone, so that neither threads nor other rows change its bits.

use super::inputs::{Activations, Need, PART, Row};
use super::types::{Fields as _, Unpack};
use crate::blocks::BlockType;
use crate::simd;
use std::arch::x86_64::*;

/// out[m][i] = sum over columns of weight row i and input row m, for all rows of `weights`.
///
/// # Safety
/// The instruction set is there, `weights` holds whole rows of `row_bytes`, inputs are as long as rows.
pub(super) type Kernel = unsafe fn(&[u8], usize, &[Row], &mut [&mut [f32]]);

/// Where the numbers of a row of inputs lie.
#[derive(Clone, Copy)]
struct Places {
    floats: *const f32,
    codes: *const i8,
    scales: *const f32,
    sums: *const f32,
    starts: *const i32,
}

fn places<const M: usize>(inputs: &[Row]) -> [Places; M] {
    assert!(inputs.len() >= M, "as many rows of inputs as the kernel takes");
    std::array::from_fn(|m| {
        let Row {
            floats,
            codes,
            scales,
            sums,
            starts,
        } = &inputs[m];
        Places {
            floats: floats.as_ptr(),
            codes: codes.as_ptr(),
            scales: scales.as_ptr(),
            sums: sums.as_ptr(),
            starts: starts.as_ptr(),
        }
    })
}

/// Weight rows that run side by side, since a sum waits for the one before.
const SIDE_BY_SIDE: usize = 2;

macro_rules! kernels {
    ($module:ident, $features:literal, $dot:ident, $float:ident, $lanes:ty, $zero:ident, $add_up:ident) => {
        pub(super) mod $module {
            use super::*;

            pub fn kernel<T: Unpack>(activations: Activations, inputs: usize) -> Kernel {
                match (activations, inputs) {
                    (Activations::F32, 1) => floats::<T, 1>,
                    (Activations::F32, _) => floats::<T, 4>,
                    (Activations::Int8, 1) => integers::<T, 1>,
                    (Activations::Int8, _) => integers::<T, 4>,
                }
            }

            #[target_feature(enable = $features)]
            unsafe fn integers<T: Unpack, const M: usize>(
                weights: &[u8],
                row_bytes: usize,
                inputs: &[Row],
                out: &mut [&mut [f32]],
            ) {
                let inputs = places::<M>(inputs);
                let mut rows = weights.chunks_exact(SIDE_BY_SIDE * row_bytes);
                let mut at = 0;
                for pair in rows.by_ref() {
                    // SAFETY: the caller vouches for features and lengths.
                    unsafe { integer_rows::<T, M, SIDE_BY_SIDE>(pair.as_ptr(), row_bytes, &inputs, out, at) };
                    at += SIDE_BY_SIDE;
                }
                for row in rows.remainder().chunks_exact(row_bytes) {
                    // SAFETY: as above.
                    unsafe { integer_rows::<T, M, 1>(row.as_ptr(), row_bytes, &inputs, out, at) };
                    at += 1;
                }
            }

            #[inline]
            #[target_feature(enable = $features)]
            unsafe fn integer_rows<T: Unpack, const M: usize, const R: usize>(
                weights: *const u8,
                row_bytes: usize,
                inputs: &[Places; M],
                out: &mut [&mut [f32]],
                at: usize,
            ) {
                let mut sums = [[_mm256_setzero_ps(); M]; R];
                let mut offsets = [[_mm_setzero_ps(); M]; R];
                for block in 0..row_bytes / T::BYTES {
                    let parts = block * T::PARTS;
                    let mut bytes: [&[u8]; R] = [&[]; R];
                    let mut fields = [T::Fields::default(); R];
                    for r in 0..R {
                        // SAFETY: the caller vouches for whole rows, and for the features.
                        unsafe {
                            let start = weights.add(r * row_bytes + block * T::BYTES);
                            bytes[r] = std::slice::from_raw_parts(start, T::BYTES);
                            fields[r] = T::fields(bytes[r]);
                        }
                    }
                    for part in 0..T::PARTS {
                        for r in 0..R {
                            // SAFETY: as above.
                            let codes = unsafe { T::codes(bytes[r], part) };
                            for m in 0..M {
                                let place = (parts + part) * PART;
                                // SAFETY: inputs are as long as rows, and have a start for each 4 of them.
                                let (products, scale) = unsafe {
                                    let x = _mm256_loadu_si256(inputs[m].codes.add(place).cast());
                                    let start = _mm256_loadu_si256(inputs[m].starts.add(place / 4).cast());
                                    (
                                        $dot::<T>(start, codes, x),
                                        *inputs[m].scales.add(parts + part),
                                    )
                                };
                                let low = scale * fields[r].step(part, 0);
                                let step = if T::HALVES {
                                    let high = scale * fields[r].step(part, 1);
                                    _mm256_set_m128(_mm_set1_ps(high), _mm_set1_ps(low))
                                } else {
                                    _mm256_set1_ps(low)
                                };
                                sums[r][m] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(products), step, sums[r][m]);
                            }
                        }
                    }
                    // SAFETY: inputs are as long as rows.
                    unsafe { add_offsets::<T, M, R>(&fields, inputs, parts, &mut offsets) };
                }
                for r in 0..R {
                    for m in 0..M {
                        out[m][at + r] = add_up_eight(sums[r][m]) - add_up_four(offsets[r][m]);
                    }
                }
            }

            #[target_feature(enable = $features)]
            unsafe fn floats<T: Unpack, const M: usize>(
                weights: &[u8],
                row_bytes: usize,
                inputs: &[Row],
                out: &mut [&mut [f32]],
            ) {
                let inputs = places::<M>(inputs);
                let mut rows = weights.chunks_exact(SIDE_BY_SIDE * row_bytes);
                let mut at = 0;
                for pair in rows.by_ref() {
                    // SAFETY: the caller vouches for features and lengths.
                    unsafe { float_rows::<T, M, SIDE_BY_SIDE>(pair.as_ptr(), row_bytes, &inputs, out, at) };
                    at += SIDE_BY_SIDE;
                }
                for row in rows.remainder().chunks_exact(row_bytes) {
                    // SAFETY: as above.
                    unsafe { float_rows::<T, M, 1>(row.as_ptr(), row_bytes, &inputs, out, at) };
                    at += 1;
                }
            }

            #[inline]
            #[target_feature(enable = $features)]
            unsafe fn float_rows<T: Unpack, const M: usize, const R: usize>(
                weights: *const u8,
                row_bytes: usize,
                inputs: &[Places; M],
                out: &mut [&mut [f32]],
                at: usize,
            ) {
                let mut sums: [[$lanes; M]; R] = [[$zero(); M]; R];
                let mut offsets = [[_mm_setzero_ps(); M]; R];
                for block in 0..row_bytes / T::BYTES {
                    let parts = block * T::PARTS;
                    let mut bytes: [&[u8]; R] = [&[]; R];
                    let mut fields = [T::Fields::default(); R];
                    for r in 0..R {
                        // SAFETY: the caller vouches for whole rows, and for the features.
                        unsafe {
                            let start = weights.add(r * row_bytes + block * T::BYTES);
                            bytes[r] = std::slice::from_raw_parts(start, T::BYTES);
                            fields[r] = T::fields(bytes[r]);
                        }
                    }
                    for part in 0..T::PARTS {
                        for r in 0..R {
                            // SAFETY: as above.
                            let codes = unsafe { T::codes(bytes[r], part) };
                            let levels = if T::ZERO == 128 {
                                _mm256_xor_si256(codes, _mm256_set1_epi8(-128))
                            } else {
                                _mm256_sub_epi8(codes, _mm256_set1_epi8(T::ZERO as i8))
                            };
                            let steps = [fields[r].step(part, 0), fields[r].step(part, 1)];
                            for m in 0..M {
                                // SAFETY: inputs are as long as rows.
                                let x = unsafe { &*inputs[m].floats.add((parts + part) * PART).cast() };
                                sums[r][m] = $float::<T>(sums[r][m], levels, x, steps);
                            }
                        }
                    }
                    // SAFETY: inputs are as long as rows.
                    unsafe { add_offsets::<T, M, R>(&fields, inputs, parts, &mut offsets) };
                }
                for r in 0..R {
                    for m in 0..M {
                        out[m][at + r] = $add_up(sums[r][m]) - add_up_four(offsets[r][m]);
                    }
                }
            }
        }
    };
}

kernels!(
    avx512,
    "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c",
    dot_vnni,
    float_avx512,
    __m512,
    _mm512_setzero_ps,
    add_up_sixteen
);
kernels!(
    avx2,
    "avx2,fma,f16c",
    dot_avx2,
    float_avx2,
    __m256,
    _mm256_setzero_ps,
    add_up_eight
);

#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx512vnni,avx2")]
fn dot_vnni<T: Unpack>(start: __m256i, codes: __m256i, x: __m256i) -> __m256i {
    _mm256_dpbusd_epi32(start, codes, x)
}

#[inline]
#[target_feature(enable = "avx2")]
fn dot_avx2<T: Unpack>(start: __m256i, codes: __m256i, x: __m256i) -> __m256i {
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
fn float_avx512<T: Unpack>(sum: __m512, levels: __m256i, x: &[f32; PART], steps: [f32; 2]) -> __m512 {
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
fn float_avx2<T: Unpack>(sum: __m256, levels: __m256i, x: &[f32; PART], steps: [f32; 2]) -> __m256 {
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

/// Offsets times the sums of their inputs, four side by side.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn add_offsets<T: Unpack, const M: usize, const R: usize>(
    fields: &[T::Fields; R],
    inputs: &[Places; M],
    parts: usize,
    offsets: &mut [[__m128; M]; R],
) {
    if !T::OFFSETS {
        return;
    }
    let each = if T::HALVES { 2 } else { 1 };
    for r in 0..R {
        let fields = fields[r].offsets();
        for m in 0..M {
            // SAFETY: the caller vouches for the sums, and blocks have as many offsets.
            unsafe {
                let sums = inputs[m].sums.add(each * parts);
                if T::PARTS == 1 {
                    offsets[r][m] = _mm_fmadd_ss(_mm_load_ss(fields), _mm_load_ss(sums), offsets[r][m]);
                    continue;
                }
                for i in (0..each * T::PARTS).step_by(4) {
                    let [own, sums] = [_mm_loadu_ps(fields.add(i)), _mm_loadu_ps(sums.add(i))];
                    offsets[r][m] = _mm_fmadd_ps(own, sums, offsets[r][m]);
                }
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn add_up_four(x: __m128) -> f32 {
    let pairs = _mm_add_ps(x, _mm_movehl_ps(x, x));
    _mm_cvtss_f32(_mm_add_ss(pairs, _mm_shuffle_ps::<1>(pairs, pairs)))
}

#[inline]
#[target_feature(enable = "avx2")]
fn add_up_eight(x: __m256) -> f32 {
    add_up_four(_mm_add_ps(
        _mm256_castps256_ps128(x),
        _mm256_extractf128_ps::<1>(x),
    ))
}

#[inline]
#[target_feature(enable = "avx512f,avx2")]
fn add_up_sixteen(x: __m512) -> f32 {
    let high = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(x)));
    add_up_eight(_mm256_add_ps(_mm512_castps512_ps256(x), high))
}

macro_rules! each_type {
    ($block_type:expr, $type:ident => $body:expr) => {{
        use super::types::*;
        match $block_type {
            BlockType::Q8_0 => {
                type $type = Q8_0;
                $body
            }
            BlockType::Q4_0 => {
                type $type = Q4_0;
                $body
            }
            BlockType::Q4_1 => {
                type $type = Q4_1;
                $body
            }
            BlockType::Q5_0 => {
                type $type = Q5_0;
                $body
            }
            BlockType::Q5_1 => {
                type $type = Q5_1;
                $body
            }
            BlockType::IQ4_NL => {
                type $type = IQ4_NL;
                $body
            }
            BlockType::Q2_K => {
                type $type = Q2_K;
                $body
            }
            BlockType::Q3_K => {
                type $type = Q3_K;
                $body
            }
            BlockType::Q4_K => {
                type $type = Q4_K;
                $body
            }
            BlockType::Q5_K => {
                type $type = Q5_K;
                $body
            }
            BlockType::Q6_K => {
                type $type = Q6_K;
                $body
            }
            BlockType::F32 | BlockType::F16 | BlockType::BF16 => unreachable!("floats have no codes"),
        }
    }};
}

/// The best kernel of this machine, or of what was asked for.
pub(super) fn kernel_of(block_type: BlockType, activations: Activations, inputs: usize) -> Kernel {
    let wide = simd::level() == simd::Level::Avx512 && is_x86_feature_detected!("avx512vnni");
    each_type!(block_type, T => if wide {
        avx512::kernel::<T>(activations, inputs)
    } else {
        avx2::kernel::<T>(activations, inputs)
    })
}

pub(super) fn need_of(block_type: BlockType) -> Need {
    each_type!(block_type, T => Need {
        zero: T::ZERO.into(),
        summed: if T::HALVES { PART / 2 } else { PART },
    })
}
