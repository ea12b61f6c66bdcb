//! The innermost step of a matrix product: a small tile of the output stays in registers while `depth` rank-one
//! updates pass. The operands come from packed panels: `height` numbers of the left and `width` of the right for
//! every step (Goto and van de Geijn 2008, "Anatomy of high-performance matrix multiplication", section 4).

use crate::simd::{Level, level};

/// Extents of the tile in registers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TileShape {
    pub height: usize,
    pub width: usize,
}

/// Asks for numbers that will be read soon; those outside of `from` are not asked for.
#[inline(always)]
pub fn prefetch<T>(from: &[T], range: std::ops::Range<usize>) {
    #[cfg(target_arch = "x86_64")]
    for place in range.step_by((64 / size_of::<T>()).max(1)) {
        let Some(number) = from.get(place) else { return };
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint, for an address inside of a slice.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(number).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (from, range);
}

/// Numbers that have a kernel.
pub trait Micro: Copy + Send + Sync + 'static {
    fn tile_shape() -> TileShape;

    /// The kernel for this machine.
    fn kernel() -> Kernel<Self>;
}

/// `kernel(depth, left, right, out, stride, add)`: out (+)= left * right for one tile, whose rows begin `stride` numbers
/// apart.
///
/// # Safety
/// `left` holds height * depth numbers, `right` width * depth, and every row of `out` width.
pub type Kernel<T> = unsafe fn(usize, *const T, *const T, *mut T, usize, bool);

/// One rank-one update of the sums; both operands move on.
#[cfg(target_arch = "x86_64")]
macro_rules! step {
    ($zero:ident, $splat:ident, $load:ident, $fused:ident, $height:literal x $vectors:literal of $lanes:literal,
     $left:ident, $right:ident, $sums:ident) => {
        // SAFETY: step by step, `depth` times height and width numbers, which the caller vouches for.
        unsafe {
            let mut b = [$zero(); $vectors];
            for v in 0..$vectors {
                b[v] = $load($right.add(v * $lanes));
            }
            for row in 0..$height {
                let a = $splat(*$left.add(row));
                for v in 0..$vectors {
                    $sums[row][v] = $fused(a, b[v], $sums[row][v]);
                }
            }
            $left = $left.add($height);
            $right = $right.add($vectors * $lanes);
        }
    };
}

#[cfg(target_arch = "x86_64")]
macro_rules! vector_kernel {
    ($name:ident, $T:ty, $features:literal, $height:literal x $vectors:literal of $lanes:literal,
     $zero:ident, $splat:ident, $load:ident, $store:ident, $fused:ident, $plus:ident) => {
        /// # Safety
        /// As `Kernel`, on a machine with the features.
        #[target_feature(enable = $features)]
        unsafe fn $name(
            depth: usize,
            mut left: *const $T,
            mut right: *const $T,
            out: *mut $T,
            stride: usize,
            add: bool,
        ) {
            use std::arch::x86_64::*;
            let mut sums = [[$zero(); $vectors]; $height];
            // Four steps a turn: the counting of one would take a sixth of the time.
            for _ in 0..depth / 4 {
                step!($zero, $splat, $load, $fused, $height x $vectors of $lanes, left, right, sums);
                step!($zero, $splat, $load, $fused, $height x $vectors of $lanes, left, right, sums);
                step!($zero, $splat, $load, $fused, $height x $vectors of $lanes, left, right, sums);
                step!($zero, $splat, $load, $fused, $height x $vectors of $lanes, left, right, sums);
            }
            for _ in 0..depth % 4 {
                step!($zero, $splat, $load, $fused, $height x $vectors of $lanes, left, right, sums);
            }
            for row in 0..$height {
                for v in 0..$vectors {
                    // SAFETY: the caller vouches for the width of every row.
                    unsafe {
                        let place = out.add(row * stride + v * $lanes);
                        let sum = if add {
                            $plus($load(place), sums[row][v])
                        } else {
                            sums[row][v]
                        };
                        $store(place, sum);
                    }
                }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
vector_kernel!(f32_avx2, f32, "avx2,fma", 6 x 2 of 8,
    _mm256_setzero_ps, _mm256_set1_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_fmadd_ps, _mm256_add_ps);
#[cfg(target_arch = "x86_64")]
vector_kernel!(f64_avx2, f64, "avx2,fma", 6 x 2 of 4,
    _mm256_setzero_pd, _mm256_set1_pd, _mm256_loadu_pd, _mm256_storeu_pd, _mm256_fmadd_pd, _mm256_add_pd);
#[cfg(target_arch = "x86_64")]
vector_kernel!(f32_avx512, f32, "avx512f", 14 x 2 of 16,
    _mm512_setzero_ps, _mm512_set1_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_fmadd_ps, _mm512_add_ps);
#[cfg(target_arch = "x86_64")]
vector_kernel!(f64_avx512, f64, "avx512f", 14 x 2 of 8,
    _mm512_setzero_pd, _mm512_set1_pd, _mm512_loadu_pd, _mm512_storeu_pd, _mm512_fmadd_pd, _mm512_add_pd);

/// For machines without a kernel of their own: the compiler finds the vectors in the loop over columns.
macro_rules! portable_kernel {
    ($name:ident, $T:ty, $height:literal x $width:literal) => {
        /// # Safety
        /// As `Kernel`.
        unsafe fn $name(
            depth: usize,
            left: *const $T,
            right: *const $T,
            out: *mut $T,
            stride: usize,
            add: bool,
        ) {
            let mut sums = [[0.0; $width]; $height];
            for step in 0..depth {
                // SAFETY: `depth` times height and width numbers, which the caller vouches for.
                let (a, b) = unsafe {
                    (
                        &*left.add(step * $height).cast::<[$T; $height]>(),
                        &*right.add(step * $width).cast::<[$T; $width]>(),
                    )
                };
                for row in 0..$height {
                    for column in 0..$width {
                        sums[row][column] += a[row] * b[column];
                    }
                }
            }
            for row in 0..$height {
                for column in 0..$width {
                    // SAFETY: the caller vouches for the width of every row.
                    let place = unsafe { &mut *out.add(row * stride + column) };
                    *place = if add {
                        *place + sums[row][column]
                    } else {
                        sums[row][column]
                    };
                }
            }
        }
    };
}
portable_kernel!(f32_portable, f32, 4 x 8);
portable_kernel!(f64_portable, f64, 4 x 4);

macro_rules! micro {
    ($T:ty, $portable:ident $ph:literal x $pw:literal, $avx2:ident $ah:literal x $aw:literal, $avx512:ident $bh:literal x $bw:literal) => {
        impl Micro for $T {
            fn tile_shape() -> TileShape {
                let (height, width) = match level() {
                    Level::Portable => ($ph, $pw),
                    Level::Avx2 => ($ah, $aw),
                    Level::Avx512 => ($bh, $bw),
                };
                TileShape { height, width }
            }

            fn kernel() -> Kernel<$T> {
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
micro!(f32, f32_portable 4 x 8, f32_avx2 6 x 16, f32_avx512 14 x 32);
micro!(f64, f64_portable 4 x 4, f64_avx2 6 x 8, f64_avx512 14 x 16);
