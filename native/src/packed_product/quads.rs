//! Four parts of 32 codes at a time in registers of 512 bits, for inputs of 8 bits: a lane of 128 bits for each part, first
//! with the low halves of the parts, then with the high ones.
//!
//!   lane p   (code_lo . x_lo + code_hi . x_hi of part p) * step_p * scale_p
//!   besides  offset_p * sum_p for each part
//!
//! Inputs lie in that order, `inputs.rs`. What is left of a row behind its last four parts goes the way of `kernels.rs`.

use super::inputs::Row;
use super::kernels::{Kernel, Places, avx512, places};
use super::types::*;
use crate::blocks::NON_LINEAR_LEVELS;
use crate::prefetch;
use crate::register_sums::add_up_eight;
use std::arch::x86_64::*;

/// Parts that go together.
pub(super) const QUAD: usize = 4;

/// What is beside the step of a block.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Beside {
    Nothing,
    /// value = step * code + beside
    Added,
    /// value = step * (code - beside)
    Zero,
}

pub(super) trait Quads: Unpack {
    const BESIDE: Beside;
    /// Bytes of a block in front of its codes, and of a part.
    const HEAD: usize;
    const PART_BYTES: usize;

    /// Step and what is beside it of four blocks in turns.
    ///
    /// # Safety
    /// The instructions of `all` are there, and whole blocks lie at the places.
    unsafe fn steps(blocks: [*const u8; QUAD]) -> __m256;

    /// Low and high halves of four parts as unsigned bytes.
    ///
    /// # Safety
    /// As `steps`, with whole parts.
    unsafe fn halves(parts: [*const u8; QUAD]) -> [__m512i; 2];
}

macro_rules! quads {
    ([$(const $parameter:ident: $kind:ty),*] $name:ty: $beside:ident, head $head:expr, $part_bytes:expr;
     |$blocks:ident| $steps:expr; |$parts:ident| $halves:expr) => {
        impl<$(const $parameter: $kind),*> Quads for $name {
            const BESIDE: Beside = Beside::$beside;
            const HEAD: usize = $head;
            const PART_BYTES: usize = $part_bytes;
            #[inline(always)]
            unsafe fn steps($blocks: [*const u8; QUAD]) -> __m256 {
                // SAFETY: the caller vouches for instructions and bytes.
                unsafe { $steps }
            }
            #[inline(always)]
            unsafe fn halves($parts: [*const u8; QUAD]) -> [__m512i; 2] {
                // SAFETY: as above.
                unsafe { $halves }
            }
        }
    };
}

quads!([] Q8_0: Nothing, head 2, 32; |blocks| single_steps(blocks); |parts| {
    let flip = _mm512_set1_epi8(-128);
    [_mm512_xor_si512(lanes(parts, 0), flip), _mm512_xor_si512(lanes(parts, 16), flip)]
});
quads!([] Q4_0: Nothing, head 2, 16; |blocks| single_steps(blocks); |parts| nibbles_of(lanes(parts, 0)));
quads!([] IQ4_NL: Nothing, head 2, 16; |blocks| single_steps(blocks); |parts| {
    let levels = NON_LINEAR_LEVELS.map(|level| level as u8 ^ 128);
    let table = _mm512_broadcast_i32x4(_mm_loadu_si128(levels.as_ptr().cast()));
    let [low, high] = nibbles_of(lanes(parts, 0));
    [_mm512_shuffle_epi8(table, low), _mm512_shuffle_epi8(table, high)]
});
quads!([] Q4_1: Added, head 4, 16; |blocks| pairs_of_halves(blocks); |parts| nibbles_of(lanes(parts, 0)));
quads!([] Q5_0: Nothing, head 2, 20; |blocks| single_steps(blocks); |parts| with_bits::<16>(
    nibbles_of(lanes(parts, 4)),
    parts,
    0
));
quads!([] Q5_1: Added, head 4, 20; |blocks| pairs_of_halves(blocks); |parts| with_bits::<16>(
    nibbles_of(lanes(parts, 4)),
    parts,
    0
));
quads!([const BITS: usize, const WIDE: bool] OnGrid<BITS, WIDE>: Zero, head if WIDE { 8 } else { 4 }, 4 * BITS;
|blocks| {
    let pairs = if WIDE { pairs_of_floats(blocks) } else { pairs_of_halves(blocks) };
    let zero = f32::from(Self::ZERO);
    _mm256_sub_ps(pairs, _mm256_setr_ps(0.0, zero, 0.0, zero, 0.0, zero, 0.0, zero))
};
|parts| match BITS {
    2 => pairs_of_bits(parts),
    3 => with_bits::<4>(pairs_of_bits(parts), parts, 8),
    4 => nibbles_of(lanes(parts, 0)),
    _ => [lanes(parts, 0), lanes(parts, 16)],
});

/// 16 bytes of each place, from `at` on.
#[inline(always)]
unsafe fn lanes([a, b, c, d]: [*const u8; QUAD], at: usize) -> __m512i {
    // SAFETY: the caller vouches for the bytes and the instructions.
    unsafe {
        let low = _mm256_castsi128_si256(_mm_loadu_si128(a.add(at).cast()));
        let high = _mm256_castsi128_si256(_mm_loadu_si128(c.add(at).cast()));
        let low = _mm256_inserti128_si256::<1>(low, _mm_loadu_si128(b.add(at).cast()));
        let high = _mm256_inserti128_si256::<1>(high, _mm_loadu_si128(d.add(at).cast()));
        _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
    }
}

#[inline(always)]
unsafe fn nibbles_of(bytes: __m512i) -> [__m512i; 2] {
    // SAFETY: the caller vouches for the instructions.
    unsafe {
        let low = _mm512_set1_epi8(15);
        [
            _mm512_and_si512(bytes, low),
            _mm512_and_si512(_mm512_srli_epi16::<4>(bytes), low),
        ]
    }
}

/// Two bits of each code, eight bytes a part: code i in bits 2 * (i / 8) of byte i % 8.
#[inline(always)]
unsafe fn pairs_of_bits(parts: [*const u8; QUAD]) -> [__m512i; 2] {
    // SAFETY: the caller vouches for the bytes and the instructions.
    unsafe {
        let [a, b, c, d] = parts.map(|part| part.cast::<i64>().read_unaligned());
        let all = _mm512_setr_epi64(a, a, b, b, c, c, d, d);
        let two = _mm512_set1_epi8(3);
        let [low, high] = [
            _mm512_setr_epi64(0, 2, 0, 2, 0, 2, 0, 2),
            _mm512_setr_epi64(4, 6, 4, 6, 4, 6, 4, 6),
        ];
        [
            _mm512_and_si512(_mm512_srlv_epi64(all, low), two),
            _mm512_and_si512(_mm512_srlv_epi64(all, high), two),
        ]
    }
}

/// Puts one more bit into each code that has it among the 32 bits of its part, from `at` on.
#[inline(always)]
unsafe fn with_bits<const BIT: i8>(
    [low, high]: [__m512i; 2],
    places: [*const u8; QUAD],
    at: usize,
) -> [__m512i; 2] {
    // SAFETY: the caller vouches for the bytes and the instructions.
    unsafe {
        let bits = places.map(|place| u64::from(place.add(at).cast::<u32>().read_unaligned()));
        let of_low = bits[0] & 0xffff | (bits[1] & 0xffff) << 16 | (bits[2] & 0xffff) << 32 | bits[3] << 48;
        let of_high = bits[0] >> 16 | (bits[1] >> 16) << 16 | (bits[2] >> 16) << 32 | (bits[3] >> 16) << 48;
        let bit = _mm512_set1_epi8(BIT);
        [
            _mm512_mask_add_epi8(low, of_low, low, bit),
            _mm512_mask_add_epi8(high, of_high, high, bit),
        ]
    }
}

/// The f16 in front of each block.
#[inline(always)]
unsafe fn single_steps(blocks: [*const u8; QUAD]) -> __m256 {
    // SAFETY: the caller vouches for the bytes and the instructions.
    unsafe {
        let [a, b, c, d] = blocks.map(|block| i32::from(block.cast::<u16>().read_unaligned()));
        _mm256_cvtph_ps(_mm_setr_epi32(a, b, c, d))
    }
}

/// Two f16 in front of each block.
#[inline(always)]
unsafe fn pairs_of_halves(blocks: [*const u8; QUAD]) -> __m256 {
    // SAFETY: the caller vouches for the bytes and the instructions.
    unsafe {
        let [a, b, c, d] = blocks.map(|block| block.cast::<i32>().read_unaligned());
        _mm256_cvtph_ps(_mm_setr_epi32(a, b, c, d))
    }
}

/// Two f32 in front of each block.
#[inline(always)]
unsafe fn pairs_of_floats(blocks: [*const u8; QUAD]) -> __m256 {
    // SAFETY: the caller vouches for the bytes and the instructions.
    unsafe {
        let [a, b, c, d] = blocks.map(|block| block.cast::<i64>().read_unaligned());
        _mm256_castsi256_ps(_mm256_setr_epi64x(a, b, c, d))
    }
}

/// Whether blocks of so many parts come in fours: alone, in pairs, or in whole fours.
pub(super) const fn fits_run(run: usize) -> bool {
    run == 1 || run == 2 || run.is_multiple_of(QUAD)
}

pub(super) fn kernel<T: Quads>(inputs: usize) -> Kernel {
    if inputs == 1 { all::<T, 1> } else { all::<T, 4> }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
unsafe fn all<T: Quads, const M: usize>(
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
            match T::parts(run) {
                1 => row_of::<T, M, 1>(row, run, &inputs),
                2 => row_of::<T, M, 2>(row, run, &inputs),
                _ => row_of::<T, M, QUAD>(row, run, &inputs),
            }
        };
        for m in 0..M {
            out[m][at] = sums[m];
        }
    }
}

/// `RUN` parts of a block go together: all that it has, or four of them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
unsafe fn row_of<T: Quads, const M: usize, const RUN: usize>(
    row: &[u8],
    run: usize,
    inputs: &[Places; M],
) -> [f32; M] {
    let mut sums = [_mm512_setzero_ps(); M];
    let mut beside = [_mm256_setzero_ps(); M];
    let (size, parts) = (T::bytes(run), T::parts(run));
    let blocks = row.len() / size;
    let together = QUAD / RUN;
    let whole = blocks / together * together;
    let mut quad = 0;
    // SAFETY: the caller vouches for whole rows, for inputs as long as they, and for the features.
    unsafe {
        for block in (0..whole).step_by(together) {
            let start = row.as_ptr().add(block * size);
            let mut own = [start; QUAD];
            for (index, place) in own.iter_mut().enumerate() {
                *place = start.add(index / RUN * size);
            }
            prefetch::ahead(start, together * size);
            let steps = T::steps(own);
            for four in 0..parts / RUN {
                let mut places = own;
                for (index, place) in places.iter_mut().enumerate() {
                    *place = place.add(T::HEAD + (four * QUAD + index % RUN) * T::PART_BYTES);
                }
                add_quad::<T, M>(T::halves(places), steps, inputs, quad, &mut sums, &mut beside);
                quad += 1;
            }
        }
    }
    let mut out = [0.0; M];
    for m in 0..M {
        let odd = _mm256_blend_ps::<0b0101_0101>(beside[m], _mm256_setzero_ps());
        let high = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(sums[m])));
        let sum = _mm256_add_ps(_mm512_castps512_ps256(sums[m]), high);
        out[m] = add_up_eight(_mm256_add_ps(sum, odd));
    }
    if whole < blocks {
        // SAFETY: as above.
        let rest = unsafe { avx512::integer_row::<T, M>(row, run, inputs, whole) };
        for m in 0..M {
            out[m] += rest[m];
        }
    }
    out
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
unsafe fn add_quad<T: Quads, const M: usize>(
    [low, high]: [__m512i; 2],
    steps: __m256,
    inputs: &[Places; M],
    quad: usize,
    sums: &mut [__m512; M],
    beside: &mut [__m256; M],
) {
    for m in 0..M {
        // SAFETY: the caller vouches for the inputs.
        let (start, x, pairs) = unsafe {
            let start = if T::ZERO == 0 {
                _mm512_setzero_si512()
            } else {
                _mm512_loadu_si512(inputs[m].starts.add(quad * 8 * QUAD).cast())
            };
            let x = inputs[m].codes.add(quad * 32 * QUAD);
            let x = [_mm512_loadu_si512(x.cast()), _mm512_loadu_si512(x.add(64).cast())];
            (start, x, _mm256_loadu_ps(inputs[m].pairs.add(quad * 2 * QUAD)))
        };
        let products = _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(start, low, x[0]), high, x[1]);
        let factors = _mm256_mul_ps(steps, pairs);
        match T::BESIDE {
            Beside::Nothing => {}
            Beside::Added => beside[m] = _mm256_add_ps(beside[m], factors),
            Beside::Zero => {
                beside[m] = _mm256_fnmadd_ps(_mm256_moveldup_ps(steps), factors, beside[m]);
            }
        }
        let own = _mm512_setr_epi32(0, 0, 0, 0, 2, 2, 2, 2, 4, 4, 4, 4, 6, 6, 6, 6);
        let factors = _mm512_permutexvar_ps(own, _mm512_castps256_ps512(factors));
        sums[m] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(products), factors, sums[m]);
    }
}
