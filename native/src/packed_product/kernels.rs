//! Rows of blocks times rows of inputs, once for each instruction set. The sums of an output follow each other in an
//! order that depends on the length of the row alone, so that neither threads nor other rows change its bits.

use super::inputs::{Activations, PART, Row};
use super::part_steps::*;
use super::types::{Fields as _, Unpack};
use std::arch::x86_64::*;

/// out[m][i] = sum over columns of weight row i and input row m, for all rows of `weights`, of `row_bytes` each, with `run`
/// parts of 32 in a block of a grid.
///
/// # Safety
/// The instruction set is there, `weights` holds whole rows of `row_bytes`, inputs are as long as rows.
pub(super) type Kernel = unsafe fn(&[u8], usize, usize, &[Row], &mut [&mut [f32]]);

/// Where the numbers of a row of inputs lie.
#[derive(Clone, Copy)]
pub(super) struct Places {
    pub floats: *const f32,
    pub codes: *const i8,
    pub scales: *const f32,
    pub sums: *const f32,
    pub starts: *const i32,
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
            ..
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
                    (Activations::F32, 1) => all::<T, 1, false>,
                    (Activations::F32, _) => all::<T, 4, false>,
                    (Activations::Int8, 1) => all::<T, 1, true>,
                    (Activations::Int8, _) => all::<T, 4, true>,
                }
            }

            #[target_feature(enable = $features)]
            unsafe fn all<T: Unpack, const M: usize, const CODES: bool>(
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
                    let start = pair.as_ptr();
                    // SAFETY: the caller vouches for features and lengths.
                    unsafe {
                        if CODES {
                            integer_rows::<T, M, SIDE_BY_SIDE>(start, row_bytes, run, &inputs, out, at);
                        } else {
                            float_rows::<T, M, SIDE_BY_SIDE>(start, row_bytes, run, &inputs, out, at);
                        }
                    }
                    at += SIDE_BY_SIDE;
                }
                for row in rows.remainder().chunks_exact(row_bytes) {
                    let start = row.as_ptr();
                    // SAFETY: as above.
                    unsafe {
                        if CODES {
                            integer_rows::<T, M, 1>(start, row_bytes, run, &inputs, out, at);
                        } else {
                            float_rows::<T, M, 1>(start, row_bytes, run, &inputs, out, at);
                        }
                    }
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
