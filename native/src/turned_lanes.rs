//! Lanes that lie straight on in memory, turned so that each step of all lanes lies side by side: squares of 16 or 8 numbers
//! in registers. Numbers are only moved, or widened from bf16.

use crate::dtype::Compute;
#[cfg(target_arch = "x86_64")]
use crate::simd;
use half::bf16;
use std::any::TypeId;

/// Turns whole squares of `from`, whose lanes begin `stride` apart, into lines of `THICKNESS` lanes; gives the steps that are
/// done, 0 where this machine or type has no kernel.
pub fn turn<S: Compute, const THICKNESS: usize>(
    from: &[S],
    stride: usize,
    lines: &mut [[S::Wide; THICKNESS]],
) -> usize {
    #[cfg(target_arch = "x86_64")]
    {
        let is_narrow = TypeId::of::<S>() == TypeId::of::<bf16>();
        let side = match simd::level() {
            simd::Level::Avx512 if THICKNESS.is_multiple_of(16) => 16,
            simd::Level::Avx2 if THICKNESS.is_multiple_of(8) => 8,
            _ => return 0,
        };
        if !is_narrow && TypeId::of::<S>() != TypeId::of::<f32>() {
            return 0;
        }
        let steps = lines.len() / side * side;
        if steps == 0 {
            return 0;
        }
        assert!(
            (THICKNESS - 1) * stride + steps <= from.len(),
            "every lane has its steps"
        );
        for lane in (0..THICKNESS).step_by(side) {
            for step in (0..steps).step_by(side) {
                // SAFETY: the types are those that were asked for, the processor has the instructions, and lanes and lines
                // hold the square.
                unsafe {
                    let from = from.as_ptr().add(lane * stride + step);
                    let to = lines.as_mut_ptr().add(step).cast::<f32>().add(lane);
                    match (side, is_narrow) {
                        (16, false) => wide::square::<f32>(from.cast(), stride, to, THICKNESS),
                        (16, true) => wide::square::<bf16>(from.cast(), stride, to, THICKNESS),
                        (_, false) => narrow::square::<f32>(from.cast(), stride, to, THICKNESS),
                        (_, true) => narrow::square::<bf16>(from.cast(), stride, to, THICKNESS),
                    }
                }
            }
        }
        steps
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = (from, stride, lines, TypeId::of::<bf16>());
        0
    }
}

#[cfg(target_arch = "x86_64")]
mod wide {
    use half::bf16;
    use std::arch::x86_64::*;

    pub(super) trait Load {
        /// # Safety
        /// AVX-512 is there, and sixteen numbers lie at the place.
        unsafe fn sixteen(place: *const Self) -> __m512;
    }

    impl Load for f32 {
        #[inline(always)]
        unsafe fn sixteen(place: *const f32) -> __m512 {
            // SAFETY: as the caller vouches.
            unsafe { _mm512_loadu_ps(place) }
        }
    }

    impl Load for bf16 {
        #[inline(always)]
        unsafe fn sixteen(place: *const bf16) -> __m512 {
            // SAFETY: as the caller vouches.
            unsafe {
                let words = _mm512_cvtepu16_epi32(_mm256_loadu_si256(place.cast()));
                _mm512_castsi512_ps(_mm512_slli_epi32::<16>(words))
            }
        }
    }

    /// # Safety
    /// AVX-512 is there; 16 lanes of 16 numbers lie `stride` apart, and 16 lines `thickness` apart have room.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    pub(super) unsafe fn square<S: Load>(from: *const S, stride: usize, to: *mut f32, thickness: usize) {
        let mut rows = [_mm512_setzero_ps(); 16];
        for lane in 0..16 {
            // SAFETY: as the caller vouches.
            rows[lane] = unsafe { S::sixteen(from.add(lane * stride)) };
        }
        // Squares of 4 first: number 4 q + i of lanes 4 b .. 4 b + 3 comes to quarter q of fours[4 b + i].
        let mut fours = [_mm512_setzero_ps(); 16];
        for b in 0..4 {
            let [r0, r1, r2, r3] = [rows[4 * b], rows[4 * b + 1], rows[4 * b + 2], rows[4 * b + 3]];
            let (low01, high01) = (_mm512_unpacklo_ps(r0, r1), _mm512_unpackhi_ps(r0, r1));
            let (low23, high23) = (_mm512_unpacklo_ps(r2, r3), _mm512_unpackhi_ps(r2, r3));
            fours[4 * b] = _mm512_shuffle_ps::<0b01_00_01_00>(low01, low23);
            fours[4 * b + 1] = _mm512_shuffle_ps::<0b11_10_11_10>(low01, low23);
            fours[4 * b + 2] = _mm512_shuffle_ps::<0b01_00_01_00>(high01, high23);
            fours[4 * b + 3] = _mm512_shuffle_ps::<0b11_10_11_10>(high01, high23);
        }
        for i in 0..4 {
            let [a, b, c, d] = [fours[i], fours[4 + i], fours[8 + i], fours[12 + i]];
            let (even_ab, odd_ab) = (
                _mm512_shuffle_f32x4::<0b10_00_10_00>(a, b),
                _mm512_shuffle_f32x4::<0b11_01_11_01>(a, b),
            );
            let (even_cd, odd_cd) = (
                _mm512_shuffle_f32x4::<0b10_00_10_00>(c, d),
                _mm512_shuffle_f32x4::<0b11_01_11_01>(c, d),
            );
            let quarters = [
                _mm512_shuffle_f32x4::<0b10_00_10_00>(even_ab, even_cd),
                _mm512_shuffle_f32x4::<0b10_00_10_00>(odd_ab, odd_cd),
                _mm512_shuffle_f32x4::<0b11_01_11_01>(even_ab, even_cd),
                _mm512_shuffle_f32x4::<0b11_01_11_01>(odd_ab, odd_cd),
            ];
            for q in 0..4 {
                // SAFETY: as the caller vouches.
                unsafe { _mm512_storeu_ps(to.add((4 * q + i) * thickness), quarters[q]) };
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod narrow {
    use half::bf16;
    use std::arch::x86_64::*;

    pub(super) trait Load {
        /// # Safety
        /// AVX2 is there, and eight numbers lie at the place.
        unsafe fn eight(place: *const Self) -> __m256;
    }

    impl Load for f32 {
        #[inline(always)]
        unsafe fn eight(place: *const f32) -> __m256 {
            // SAFETY: as the caller vouches.
            unsafe { _mm256_loadu_ps(place) }
        }
    }

    impl Load for bf16 {
        #[inline(always)]
        unsafe fn eight(place: *const bf16) -> __m256 {
            // SAFETY: as the caller vouches.
            unsafe {
                let words = _mm256_cvtepu16_epi32(_mm_loadu_si128(place.cast()));
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(words))
            }
        }
    }

    /// # Safety
    /// AVX2 is there; 8 lanes of 8 numbers lie `stride` apart, and 8 lines `thickness` apart have room.
    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn square<S: Load>(from: *const S, stride: usize, to: *mut f32, thickness: usize) {
        let mut rows = [_mm256_setzero_ps(); 8];
        for lane in 0..8 {
            // SAFETY: as the caller vouches.
            rows[lane] = unsafe { S::eight(from.add(lane * stride)) };
        }
        let mut fours = [_mm256_setzero_ps(); 8];
        for b in 0..2 {
            let [r0, r1, r2, r3] = [rows[4 * b], rows[4 * b + 1], rows[4 * b + 2], rows[4 * b + 3]];
            let (low01, high01) = (_mm256_unpacklo_ps(r0, r1), _mm256_unpackhi_ps(r0, r1));
            let (low23, high23) = (_mm256_unpacklo_ps(r2, r3), _mm256_unpackhi_ps(r2, r3));
            fours[4 * b] = _mm256_shuffle_ps::<0b01_00_01_00>(low01, low23);
            fours[4 * b + 1] = _mm256_shuffle_ps::<0b11_10_11_10>(low01, low23);
            fours[4 * b + 2] = _mm256_shuffle_ps::<0b01_00_01_00>(high01, high23);
            fours[4 * b + 3] = _mm256_shuffle_ps::<0b11_10_11_10>(high01, high23);
        }
        for i in 0..4 {
            let low = _mm256_permute2f128_ps::<0x20>(fours[i], fours[4 + i]);
            let high = _mm256_permute2f128_ps::<0x31>(fours[i], fours[4 + i]);
            // SAFETY: as the caller vouches.
            unsafe {
                _mm256_storeu_ps(to.add(i * thickness), low);
                _mm256_storeu_ps(to.add((4 + i) * thickness), high);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<S: Compute<Wide = f32>, const THICKNESS: usize>(number: impl Fn(usize) -> S) {
        for (steps, stride) in [(1, 5), (8, 8), (16, 40), (37, 37), (64, 129)] {
            let from: Vec<S> = (0..THICKNESS * stride).map(&number).collect();
            let mut lines = vec![[f32::NAN; THICKNESS]; steps];
            let done = turn::<S, THICKNESS>(&from, stride, &mut lines);
            assert!(done <= steps);
            for (step, line) in lines.iter().enumerate() {
                for (lane, found) in line.iter().enumerate() {
                    if step < done {
                        assert_eq!(*found, from[lane * stride + step].widen());
                    } else {
                        assert!(found.is_nan(), "steps behind the last square are left alone");
                    }
                }
            }
        }
    }

    #[test]
    fn every_number_comes_to_its_step_and_lane() {
        check::<f32, 16>(|i| i as f32);
        check::<f32, 32>(|i| i as f32);
        check::<f32, 8>(|i| i as f32);
        check::<f32, 6>(|i| i as f32);
        check::<bf16, 16>(|i| bf16::from_f32(i as f32));
        check::<bf16, 32>(|i| bf16::from_f32(i as f32));
    }
}
