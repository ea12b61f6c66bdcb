//! Rows of blocks times rows of inputs, once for each instruction set. The sums of an output follow each other in an
//! order that depends on the length of the row alone, so that neither threads nor other rows change its bits.

use super::form::Form;
use super::inputs::{Activations, Need, PART, Row};
use super::types::{Fields as _, Unpack};
use crate::blocks::BlockType;
use crate::simd;
use std::arch::x86_64::*;

/// out[m][i] = sum over columns of weight row i and input row m, for all rows of `weights`, of `row_bytes` each, with `run`
/// parts of 32 in a block of a grid.
///
/// # Safety
/// The instruction set is there, `weights` holds whole rows of `row_bytes`, inputs are as long as rows.
pub(super) type Kernel = unsafe fn(&[u8], usize, usize, &[Row], &mut [&mut [f32]]);

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
                run: usize,
                inputs: &[Row],
                out: &mut [&mut [f32]],
            ) {
                let inputs = places::<M>(inputs);
                let mut rows = weights.chunks_exact(SIDE_BY_SIDE * row_bytes);
                let mut at = 0;
                for pair in rows.by_ref() {
                    // SAFETY: the caller vouches for features and lengths.
                    unsafe {
                        integer_rows::<T, M, SIDE_BY_SIDE>(pair.as_ptr(), row_bytes, run, &inputs, out, at)
                    };
                    at += SIDE_BY_SIDE;
                }
                for row in rows.remainder().chunks_exact(row_bytes) {
                    // SAFETY: as above.
                    unsafe { integer_rows::<T, M, 1>(row.as_ptr(), row_bytes, run, &inputs, out, at) };
                    at += 1;
                }
            }

            #[inline]
            #[target_feature(enable = $features)]
            unsafe fn integer_rows<T: Unpack, const M: usize, const R: usize>(
                weights: *const u8,
                row_bytes: usize,
                run: usize,
                inputs: &[Places; M],
                out: &mut [&mut [f32]],
                at: usize,
            ) {
                let mut sums = [[_mm256_setzero_ps(); M]; R];
                let mut offsets = [[_mm_setzero_ps(); M]; R];
                let (count, size) = (T::parts(run), T::bytes(run));
                for block in 0..row_bytes / size {
                    let parts = block * count;
                    let mut bytes: [&[u8]; R] = [&[]; R];
                    let mut fields = [T::Fields::default(); R];
                    for r in 0..R {
                        // SAFETY: the caller vouches for whole rows, and for the features.
                        unsafe {
                            let start = weights.add(r * row_bytes + block * size);
                            bytes[r] = std::slice::from_raw_parts(start, size);
                            fields[r] = T::fields(bytes[r]);
                        }
                    }
                    for part in 0..count {
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
                    unsafe { add_offsets::<T, M, R>(&fields, inputs, block, &mut offsets) };
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
                run: usize,
                inputs: &[Row],
                out: &mut [&mut [f32]],
            ) {
                let inputs = places::<M>(inputs);
                let mut rows = weights.chunks_exact(SIDE_BY_SIDE * row_bytes);
                let mut at = 0;
                for pair in rows.by_ref() {
                    // SAFETY: the caller vouches for features and lengths.
                    unsafe {
                        float_rows::<T, M, SIDE_BY_SIDE>(pair.as_ptr(), row_bytes, run, &inputs, out, at)
                    };
                    at += SIDE_BY_SIDE;
                }
                for row in rows.remainder().chunks_exact(row_bytes) {
                    // SAFETY: as above.
                    unsafe { float_rows::<T, M, 1>(row.as_ptr(), row_bytes, run, &inputs, out, at) };
                    at += 1;
                }
            }

            #[inline]
            #[target_feature(enable = $features)]
            unsafe fn float_rows<T: Unpack, const M: usize, const R: usize>(
                weights: *const u8,
                row_bytes: usize,
                run: usize,
                inputs: &[Places; M],
                out: &mut [&mut [f32]],
                at: usize,
            ) {
                let mut sums: [[$lanes; M]; R] = [[$zero(); M]; R];
                let mut offsets = [[_mm_setzero_ps(); M]; R];
                let (count, size) = (T::parts(run), T::bytes(run));
                for block in 0..row_bytes / size {
                    let parts = block * count;
                    let mut bytes: [&[u8]; R] = [&[]; R];
                    let mut fields = [T::Fields::default(); R];
                    for r in 0..R {
                        // SAFETY: the caller vouches for whole rows, and for the features.
                        unsafe {
                            let start = weights.add(r * row_bytes + block * size);
                            bytes[r] = std::slice::from_raw_parts(start, size);
                            fields[r] = T::fields(bytes[r]);
                        }
                    }
                    for part in 0..count {
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
                    unsafe { add_offsets::<T, M, R>(&fields, inputs, block, &mut offsets) };
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
    block: usize,
    offsets: &mut [[__m128; M]; R],
) {
    if !T::OFFSETS {
        return;
    }
    // Of a block.
    let count = if T::SINGLE {
        1
    } else if T::HALVES {
        16
    } else {
        8
    };
    for r in 0..R {
        let fields = fields[r].offsets();
        for m in 0..M {
            // SAFETY: the caller vouches for the sums, and blocks have as many offsets.
            unsafe {
                let sums = inputs[m].sums.add(count * block);
                if T::SINGLE {
                    offsets[r][m] = _mm_fmadd_ss(_mm_load_ss(fields), _mm_load_ss(sums), offsets[r][m]);
                    continue;
                }
                for i in (0..count).step_by(4) {
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
    ($form:expr, $type:ident => $body:expr) => {{
        use super::types::*;
        macro_rules! pick {
            ($own:ty) => {{
                type $type = $own;
                $body
            }};
        }
        match $form {
            Form::Blocks(block_type) => match block_type {
                BlockType::Q8_0 => pick!(Q8_0),
                BlockType::Q4_0 => pick!(Q4_0),
                BlockType::Q4_1 => pick!(Q4_1),
                BlockType::Q5_0 => pick!(Q5_0),
                BlockType::Q5_1 => pick!(Q5_1),
                BlockType::IQ4_NL => pick!(IQ4_NL),
                BlockType::Q2_K => pick!(Q2_K),
                BlockType::Q3_K => pick!(Q3_K),
                BlockType::Q4_K => pick!(Q4_K),
                BlockType::Q5_K => pick!(Q5_K),
                BlockType::Q6_K => pick!(Q6_K),
                BlockType::F32 | BlockType::F16 | BlockType::BF16 => unreachable!("floats have no codes"),
            },
            Form::Grid(grid) => match (grid.bits, grid.wide) {
                (2, false) => pick!(OnGrid<2, false>),
                (2, true) => pick!(OnGrid<2, true>),
                (3, false) => pick!(OnGrid<3, false>),
                (3, true) => pick!(OnGrid<3, true>),
                (4, false) => pick!(OnGrid<4, false>),
                (4, true) => pick!(OnGrid<4, true>),
                (_, false) => pick!(OnGrid<8, false>),
                (_, true) => pick!(OnGrid<8, true>),
            },
        }
    }};
}

/// The best kernel of this machine, or of what was asked for.
pub(super) fn kernel_of(form: Form, activations: Activations, inputs: usize) -> Kernel {
    let wide = simd::level() == simd::Level::Avx512 && is_x86_feature_detected!("avx512vnni");
    each_type!(form, T => if wide {
        avx512::kernel::<T>(activations, inputs)
    } else {
        avx2::kernel::<T>(activations, inputs)
    })
}

pub(super) fn need_of(form: Form) -> Need {
    let run = run_of(form);
    each_type!(form, T => Need {
        zero: T::ZERO.into(),
        summed: match (T::SINGLE, T::HALVES) {
            (true, _) => T::parts(run) * PART,
            (_, true) => PART / 2,
            (_, false) => PART,
        },
    })
}

/// Parts in a block of a grid; of ggml's blocks each type knows its own.
pub(super) fn run_of(form: Form) -> usize {
    match form {
        Form::Blocks(_) => 0,
        Form::Grid(grid) => grid.run,
    }
}
