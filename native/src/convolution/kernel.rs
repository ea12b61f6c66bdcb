//! The innermost step of a convolution: a small tile of sums stays in registers, as in a matrix product, but its left
//! operand is not packed. Every row of the tile has a place of its own in the source, from which it reads the same
//! segments, so that one copy of an image with its border serves all taps (indirect convolution: Dukhan 2019,
//! arXiv:1907.02129, here with one level of pointers).

use crate::simd::{Level, level};

/// What one call computes, for row r and column v of the tile, over all segments s and steps i:
/// `outs[r][v] = max(floor, start[v] + sum of lefts[r][segments[s] + i * left_step] * right[(s * steps + i) * right_step + v])`.
pub struct Call<T> {
    /// As many as the tile has rows.
    pub lefts: *const *const T,
    pub segments: *const usize,
    pub segment_count: usize,
    pub steps: usize,
    pub left_step: usize,
    pub right: *const T,
    pub right_step: usize,
    /// As many numbers as the tile has columns; not read where the sums go onto what `outs` hold.
    pub start: *const T,
    pub onto: bool,
    pub floor: T,
    /// As many as the tile has rows.
    pub outs: *const *mut T,
    /// Numbers from which on every row of `outs` is written.
    pub column: usize,
}

/// # Safety
/// All that the call reads and writes lies in memory that it may use, and the machine has the instruction set.
pub type Kernel<T> = unsafe fn(&Call<T>);

/// Numbers that have a kernel, with the tile of the matrix product.
pub trait WindowKernel: Copy {
    fn window_kernel() -> Kernel<Self>;
}

#[cfg(target_arch = "x86_64")]
macro_rules! vector_kernel {
    ($name:ident, $T:ty, $features:literal, $height:literal x $vectors:literal of $lanes:literal,
     $splat:ident, $load:ident, $store:ident, $fused:ident, $max:ident) => {
        /// # Safety
        /// As `Kernel`.
        #[target_feature(enable = $features)]
        unsafe fn $name(call: &Call<$T>) {
            use std::arch::asm;
            use std::arch::x86_64::*;
            let mut sums = [[$splat(0.0); $vectors]; $height];
            for row in 0..$height {
                for v in 0..$vectors {
                    // SAFETY: the caller vouches for rows and columns of the tile.
                    sums[row][v] = unsafe {
                        if call.onto {
                            $load((*call.outs.add(row)).add(call.column + v * $lanes))
                        } else {
                            $load(call.start.add(v * $lanes))
                        }
                    };
                }
            }
            let (mut place, left_step, right_step) = (0, call.left_step, call.right_step);
            // SAFETY: the caller vouches for the rows of the tile.
            let lefts: [*const $T; $height] = std::array::from_fn(|row| unsafe { *call.lefts.add(row) });
            for segment in 0..call.segment_count {
                // SAFETY: the caller vouches for segments, their steps, and the right operand.
                unsafe {
                    let mut at = *call.segments.add(segment);
                    for _ in 0..call.steps {
                        let mut b = [$splat(0.0); $vectors];
                        for v in 0..$vectors {
                            b[v] = $load(call.right.add(place + v * $lanes));
                        }
                        for row in 0..$height {
                            let a = $splat(*lefts[row].add(at));
                            for v in 0..$vectors {
                                sums[row][v] = $fused(a, b[v], sums[row][v]);
                            }
                        }
                        at += left_step;
                        place += right_step;
                        // Nothing: but the compiler may not know by how much both went on. It would keep a pointer
                        // for every row and several steps, more than there are registers, and sums would go to the
                        // stack, whose delay then limits every step.
                        // It emits no instruction and reads no memory: only its two registers count as changed.
                        asm!("/* {0} {1} */", inout(reg) at, inout(reg) place, options(pure, nomem, nostack, preserves_flags));
                    }
                }
            }
            let floor = $splat(call.floor);
            for row in 0..$height {
                for v in 0..$vectors {
                    // SAFETY: the caller vouches for rows and columns of the tile. Of a NaN and a number the
                    // instruction takes the second operand, so NaN stays.
                    unsafe {
                        $store(
                            (*call.outs.add(row)).add(call.column + v * $lanes),
                            $max(floor, sums[row][v]),
                        )
                    };
                }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
vector_kernel!(f32_avx2, f32, "avx2,fma", 6 x 2 of 8,
    _mm256_set1_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_fmadd_ps, _mm256_max_ps);
#[cfg(target_arch = "x86_64")]
vector_kernel!(f64_avx2, f64, "avx2,fma", 6 x 2 of 4,
    _mm256_set1_pd, _mm256_loadu_pd, _mm256_storeu_pd, _mm256_fmadd_pd, _mm256_max_pd);
#[cfg(target_arch = "x86_64")]
vector_kernel!(f32_avx512, f32, "avx512f", 14 x 2 of 16,
    _mm512_set1_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_fmadd_ps, _mm512_max_ps);
#[cfg(target_arch = "x86_64")]
vector_kernel!(f64_avx512, f64, "avx512f", 14 x 2 of 8,
    _mm512_set1_pd, _mm512_loadu_pd, _mm512_storeu_pd, _mm512_fmadd_pd, _mm512_max_pd);

macro_rules! portable_kernel {
    ($name:ident, $T:ty, $height:literal x $width:literal) => {
        /// # Safety
        /// As `Kernel`.
        unsafe fn $name(call: &Call<$T>) {
            let mut sums = [[0.0; $width]; $height];
            for row in 0..$height {
                for column in 0..$width {
                    // SAFETY: the caller vouches for rows and columns of the tile.
                    sums[row][column] = unsafe {
                        if call.onto {
                            *(*call.outs.add(row)).add(call.column + column)
                        } else {
                            *call.start.add(column)
                        }
                    };
                }
            }
            for segment in 0..call.segment_count {
                for step in 0..call.steps {
                    let at = (segment * call.steps + step) * call.right_step;
                    // SAFETY: the caller vouches for segments, their steps, and the right operand.
                    let (offset, b) = unsafe {
                        (
                            *call.segments.add(segment) + step * call.left_step,
                            &*call.right.add(at).cast::<[$T; $width]>(),
                        )
                    };
                    for row in 0..$height {
                        // SAFETY: as above.
                        let a = unsafe { *(*call.lefts.add(row)).add(offset) };
                        for column in 0..$width {
                            sums[row][column] += a * b[column];
                        }
                    }
                }
            }
            for row in 0..$height {
                for column in 0..$width {
                    let sum = sums[row][column];
                    // SAFETY: as above.
                    unsafe {
                        *(*call.outs.add(row)).add(call.column + column) =
                            if sum < call.floor { call.floor } else { sum };
                    }
                }
            }
        }
    };
}
portable_kernel!(f32_portable, f32, 4 x 8);
portable_kernel!(f64_portable, f64, 4 x 4);

macro_rules! window_kernel {
    ($T:ty, $portable:ident, $avx2:ident, $avx512:ident) => {
        impl WindowKernel for $T {
            fn window_kernel() -> Kernel<$T> {
                match level() {
                    #[cfg(target_arch = "x86_64")]
                    Level::Avx512 => $avx512,
                    #[cfg(target_arch = "x86_64")]
                    Level::Avx2 => $avx2,
                    _ => $portable,
                }
            }
        }
    };
}
window_kernel!(f32, f32_portable, f32_avx2, f32_avx512);
window_kernel!(f64, f64_portable, f64_avx2, f64_avx512);
