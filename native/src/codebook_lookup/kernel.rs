//! Tables of 256 numbers in registers of 512 bits: a number is four bytes that lie apart, 64 codes find one byte each at a
//! time, and the bytes are put together to f32 again. What is added is what the table holds, bit for bit.

use super::{ENTRIES, LANE};
use crate::prefetch;
use crate::simd;
use std::arch::x86_64::*;

pub(super) fn is_there() -> bool {
    simd::level() == simd::Level::Avx512 && is_x86_feature_detected!("avx512vbmi")
}

/// Registers of sums of 64 outputs.
const SUMS: usize = LANE / 16;
/// Bytes of a table, and registers of one of its four planes.
const BYTES: usize = 4 * ENTRIES;
const REGISTERS: usize = ENTRIES / 64;

/// sums [64 or 128], in the order of `in_order`, plus what the codes [tables, sums] point at in tables whose bytes lie apart.
///
/// # Safety
/// The instructions are there, and each table has its codes.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
pub(super) unsafe fn add_entries(tables: &[[f32; ENTRIES]], codes: &[u8], sums: &mut [f32]) {
    // SAFETY: as the caller vouches.
    unsafe {
        match sums.len() / LANE {
            1 => add::<1>(tables, codes, sums),
            _ => add::<2>(tables, codes, sums),
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
unsafe fn add<const LANES: usize>(tables: &[[f32; ENTRIES]], codes: &[u8], sums: &mut [f32]) {
    assert_eq!(sums.len(), LANES * LANE);
    let count = tables.len();
    assert_eq!(codes.len(), count * sums.len());
    let mut all = [[_mm512_setzero_ps(); SUMS]; LANES];
    // SAFETY: the lengths were looked at.
    unsafe {
        for lane in 0..LANES {
            for part in 0..SUMS {
                all[lane][part] = _mm512_loadu_ps(sums.as_ptr().add(lane * LANE + 16 * part));
            }
        }
        for table in 0..count {
            prefetch::ahead(codes.as_ptr().wrapping_add(table * LANES * LANE), LANES * LANE);
            let start = tables.as_ptr().cast::<u8>().add(table * BYTES);
            let mut planes = [[_mm512_setzero_si512(); REGISTERS]; 4];
            for plane in 0..4 {
                for register in 0..REGISTERS {
                    planes[plane][register] =
                        _mm512_loadu_si512(start.add(plane * ENTRIES + 64 * register).cast());
                }
            }
            for lane in 0..LANES {
                let own = _mm512_loadu_si512(codes.as_ptr().add((table * LANES + lane) * LANE).cast());
                let is_high = _mm512_movepi8_mask(own);
                let mut bytes = [_mm512_setzero_si512(); 4];
                for plane in 0..4 {
                    let [a, b, c, d] = planes[plane];
                    let low = _mm512_permutex2var_epi8(a, own, b);
                    let high = _mm512_permutex2var_epi8(c, own, d);
                    bytes[plane] = _mm512_mask_blend_epi8(is_high, low, high);
                }
                let words = [
                    _mm512_unpacklo_epi8(bytes[0], bytes[1]),
                    _mm512_unpackhi_epi8(bytes[0], bytes[1]),
                    _mm512_unpacklo_epi8(bytes[2], bytes[3]),
                    _mm512_unpackhi_epi8(bytes[2], bytes[3]),
                ];
                let found = [
                    _mm512_unpacklo_epi16(words[0], words[2]),
                    _mm512_unpackhi_epi16(words[0], words[2]),
                    _mm512_unpacklo_epi16(words[1], words[3]),
                    _mm512_unpackhi_epi16(words[1], words[3]),
                ];
                for part in 0..SUMS {
                    all[lane][part] = _mm512_add_ps(all[lane][part], _mm512_castsi512_ps(found[part]));
                }
            }
        }
        for lane in 0..LANES {
            for part in 0..SUMS {
                _mm512_storeu_ps(sums.as_mut_ptr().add(lane * LANE + 16 * part), all[lane][part]);
            }
        }
    }
}

/// Products of x with the entries of a codebook, `lines` [x, ENTRIES], as four planes of bytes.
///
/// # Safety
/// The instructions are there, and a line for each input.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
pub(super) unsafe fn table_of(lines: &[f32], x: &[f32], table: &mut [f32; ENTRIES]) {
    assert!(lines.len() >= x.len() * ENTRIES);
    const ALL: usize = ENTRIES / 16;
    let mut sums = [_mm512_setzero_ps(); ALL];
    for (index, &x) in x.iter().enumerate() {
        let x = _mm512_set1_ps(x);
        for part in 0..ALL {
            // SAFETY: the lengths were looked at.
            let line = unsafe { _mm512_loadu_ps(lines.as_ptr().add(index * ENTRIES + 16 * part)) };
            sums[part] = _mm512_add_ps(sums[part], _mm512_mul_ps(line, x));
        }
    }
    // Byte `plane` of 32 numbers in two registers, to the low half or to the high one.
    let mut numbers = [0i8; 64];
    for i in 0..64 {
        numbers[i as usize] = (i as usize % 32 * 4) as i8;
    }
    // SAFETY: both are 64 bytes, and the table has four planes.
    unsafe {
        let numbers = _mm512_loadu_si512(numbers.as_ptr().cast());
        for plane in 0..4 {
            let own = _mm512_add_epi8(numbers, _mm512_set1_epi8(plane as i8));
            for register in 0..REGISTERS {
                let mut four = [_mm512_setzero_si512(); 4];
                for part in 0..4 {
                    four[part] = _mm512_castps_si512(sums[4 * register + part]);
                }
                let low = _mm512_permutex2var_epi8(four[0], own, four[1]);
                let high = _mm512_permutex2var_epi8(four[2], own, four[3]);
                let both = _mm512_mask_blend_epi64(0b1111_0000, low, high);
                let place = table
                    .as_mut_ptr()
                    .cast::<u8>()
                    .add(plane * ENTRIES + 64 * register);
                _mm512_storeu_si512(place.cast(), both);
            }
        }
    }
}

/// Puts sums of 64 outputs each, as registers left them, into the order of the outputs.
pub(super) fn in_order(sums: &mut [f32]) {
    for sums in sums.as_chunks_mut::<LANE>().0 {
        let own = *sums;
        for (place, sum) in own.into_iter().enumerate() {
            let (part, quarter, i) = (place / 16, place % 16 / 4, place % 4);
            sums[16 * quarter + 4 * part + i] = sum;
        }
    }
}
