//! Rows of blocks times rows of inputs, once for each instruction set. The sums of an output follow each other in an
//! order that depends on the length of the row alone, so that neither threads nor other rows change its bits.

use super::inputs::{Activations, PART, Row};
use super::part_steps::*;
use super::types::{Fields as _, Unpack};
use crate::register_sums::*;
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
    pub pairs: *const f32,
}

pub(super) fn places<const M: usize>(inputs: &[Row]) -> [Places; M] {
    assert!(inputs.len() >= M, "as many rows of inputs as the kernel takes");
    std::array::from_fn(|m| {
        let Row {
            floats,
            codes,
            scales,
            sums,
            starts,
            pairs,
            ..
        } = &inputs[m];
        Places {
            floats: floats.as_ptr(),
            codes: codes.as_ptr(),
            scales: scales.as_ptr(),
            sums: sums.as_ptr(),
            starts: starts.as_ptr(),
            pairs: pairs.as_ptr(),
        }
    })
}

/// Neighbouring blocks of a row that have sums of their own, since a sum waits for the one before. Two rows side by side
/// would do as well from the caches, but are read from memory at a third of the rate of one.
const SIDE_BY_SIDE: usize = 2;

macro_rules! kernels {
    ($module:ident, $features:literal, $dot:ident, $float:ident, $lanes:ty, $zero:ident, $add:ident, $add_up:ident) => {
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
                for (at, row) in weights.chunks_exact(row_bytes).enumerate() {
                    // SAFETY: the caller vouches for features and lengths.
                    let sums = unsafe {
                        if CODES {
                            integer_row::<T, M>(row, run, &inputs, 0)
                        } else {
                            float_row::<T, M>(row, run, &inputs)
                        }
                    };
                    for m in 0..M {
                        out[m][at] = sums[m];
                    }
                }
            }

            /// From the block `first` on.
            #[inline]
            #[target_feature(enable = $features)]
            pub(in super::super) unsafe fn integer_row<T: Unpack, const M: usize>(
                row: &[u8],
                run: usize,
                inputs: &[Places; M],
                first: usize,
            ) -> [f32; M] {
                let mut sums = [[_mm256_setzero_ps(); M]; SIDE_BY_SIDE];
                let mut offsets = [[_mm_setzero_ps(); M]; SIDE_BY_SIDE];
                let (size, blocks) = (T::bytes(run), row.len() / T::bytes(run));
                let mut block = first;
                // SAFETY: the caller vouches for whole rows, for inputs as long as they, and for the features.
                unsafe {
                    while block + SIDE_BY_SIDE <= blocks {
                        let start = row.as_ptr().add(block * size);
                        integer_blocks::<T, M, SIDE_BY_SIDE>(
                            start,
                            run,
                            inputs,
                            block,
                            &mut sums,
                            &mut offsets,
                        );
                        block += SIDE_BY_SIDE;
                    }
                    while block < blocks {
                        let start = row.as_ptr().add(block * size);
                        integer_blocks::<T, M, 1>(start, run, inputs, block, &mut sums, &mut offsets);
                        block += 1;
                    }
                }
                let mut out = [0.0; M];
                for m in 0..M {
                    out[m] = add_up_eight(_mm256_add_ps(sums[0][m], sums[1][m]))
                        - add_up_four(_mm_add_ps(offsets[0][m], offsets[1][m]));
                }
                out
            }

            #[inline]
            #[target_feature(enable = $features)]
            unsafe fn integer_blocks<T: Unpack, const M: usize, const R: usize>(
                weights: *const u8,
                run: usize,
                inputs: &[Places; M],
                block: usize,
                sums: &mut [[__m256; M]; SIDE_BY_SIDE],
                offsets: &mut [[__m128; M]; SIDE_BY_SIDE],
            ) {
                let (count, size) = (T::parts(run), T::bytes(run));
                let mut bytes: [&[u8]; R] = [&[]; R];
                let mut fields = [T::Fields::default(); R];
                for r in 0..R {
                    // SAFETY: the caller vouches for the blocks and the features.
                    unsafe {
                        bytes[r] = std::slice::from_raw_parts(weights.add(r * size), size);
                        fields[r] = T::fields(bytes[r]);
                    }
                }
                for part in 0..count {
                    for r in 0..R {
                        // SAFETY: as above.
                        let codes = unsafe { T::codes(bytes[r], part) };
                        let own = (block + r) * count + part;
                        for m in 0..M {
                            // SAFETY: inputs are as long as rows, and have a start for each 4 of them.
                            let (products, scale) = unsafe {
                                let x = _mm256_loadu_si256(inputs[m].codes.add(own * PART).cast());
                                let start = _mm256_loadu_si256(inputs[m].starts.add(own * PART / 4).cast());
                                ($dot::<T>(start, codes, x), *inputs[m].scales.add(own))
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
                for r in 0..R {
                    // SAFETY: inputs are as long as rows.
                    unsafe { add_offsets::<T, M>(&fields[r], inputs, block + r, &mut offsets[r]) };
                }
            }

            #[inline]
            #[target_feature(enable = $features)]
            unsafe fn float_row<T: Unpack, const M: usize>(
                row: &[u8],
                run: usize,
                inputs: &[Places; M],
            ) -> [f32; M] {
                let mut sums: [[$lanes; M]; SIDE_BY_SIDE] = [[$zero(); M]; SIDE_BY_SIDE];
                let mut offsets = [[_mm_setzero_ps(); M]; SIDE_BY_SIDE];
                let (size, blocks) = (T::bytes(run), row.len() / T::bytes(run));
                let mut block = 0;
                // SAFETY: the caller vouches for whole rows, for inputs as long as they, and for the features.
                unsafe {
                    while block + SIDE_BY_SIDE <= blocks {
                        let start = row.as_ptr().add(block * size);
                        float_blocks::<T, M, SIDE_BY_SIDE>(
                            start,
                            run,
                            inputs,
                            block,
                            &mut sums,
                            &mut offsets,
                        );
                        block += SIDE_BY_SIDE;
                    }
                    while block < blocks {
                        let start = row.as_ptr().add(block * size);
                        float_blocks::<T, M, 1>(start, run, inputs, block, &mut sums, &mut offsets);
                        block += 1;
                    }
                }
                let mut out = [0.0; M];
                for m in 0..M {
                    out[m] = $add_up($add(sums[0][m], sums[1][m]))
                        - add_up_four(_mm_add_ps(offsets[0][m], offsets[1][m]));
                }
                out
            }

            #[inline]
            #[target_feature(enable = $features)]
            unsafe fn float_blocks<T: Unpack, const M: usize, const R: usize>(
                weights: *const u8,
                run: usize,
                inputs: &[Places; M],
                block: usize,
                sums: &mut [[$lanes; M]; SIDE_BY_SIDE],
                offsets: &mut [[__m128; M]; SIDE_BY_SIDE],
            ) {
                let (count, size) = (T::parts(run), T::bytes(run));
                let mut bytes: [&[u8]; R] = [&[]; R];
                let mut fields = [T::Fields::default(); R];
                for r in 0..R {
                    // SAFETY: the caller vouches for the blocks and the features.
                    unsafe {
                        bytes[r] = std::slice::from_raw_parts(weights.add(r * size), size);
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
                        let own = (block + r) * count + part;
                        for m in 0..M {
                            // SAFETY: inputs are as long as rows.
                            let x = unsafe { &*inputs[m].floats.add(own * PART).cast() };
                            sums[r][m] = $float::<T>(sums[r][m], levels, x, steps);
                        }
                    }
                }
                for r in 0..R {
                    // SAFETY: inputs are as long as rows.
                    unsafe { add_offsets::<T, M>(&fields[r], inputs, block + r, &mut offsets[r]) };
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
    _mm512_add_ps,
    add_up_sixteen
);
kernels!(
    avx2,
    "avx2,fma,f16c",
    dot_avx2,
    float_avx2,
    __m256,
    _mm256_setzero_ps,
    _mm256_add_ps,
    add_up_eight
);
