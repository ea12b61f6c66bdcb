//! Chunks of 64 columns, 8 or 16 at a time, in registers of 256 bits: a table tells for each byte of marks which of the numbers
//! that follow each column takes.

use super::reader::Reader;
use super::{CHUNK, Masked, Numbers};
use crate::float_rows::Written;
use crate::packed_product::Row;
use crate::register_sums::add_up_eight;
use crate::simd;
use std::arch::x86_64::*;

pub(super) fn is_there() -> bool {
    simd::level() >= simd::Level::Avx2
        && is_x86_feature_detected!("f16c")
        && is_x86_feature_detected!("popcnt")
}

/// A shuffle of 16 bytes for each byte of marks. From byte `from` on each of 8 columns has `width` bytes: those of the number it
/// takes where it is marked, else 0. Bytes behind those of the columns are the count of marks.
const fn shuffles(width: usize, from: usize) -> [[u8; 16]; 256] {
    let mut all = [[0; 16]; 256];
    let mut marks = 0;
    while marks < 256 {
        let own = &mut all[marks];
        let (mut column, mut taken) = (0, 0);
        while column < 8 {
            let is_marked = marks >> column & 1 == 1;
            let mut byte = 0;
            while byte < width {
                let place = (taken * width + byte) as u8;
                own[from + column * width + byte] = if is_marked { place } else { DEAD };
                byte += 1;
            }
            taken += is_marked as usize;
            column += 1;
        }
        let mut behind = from + 8 * width;
        while behind < 16 {
            own[behind] = taken as u8;
            behind += 1;
        }
        marks += 1;
    }
    all
}

/// A shuffle makes it 0, and still does where a count is added.
const DEAD: u8 = 0x80;
/// Of numbers of 16 bits.
static PAIRS: [[u8; 16]; 256] = shuffles(2, 0);
/// The first 8 of 16 bytes; the others are the count of what these take, where the next 8 begin.
static FIRST: [[u8; 16]; 256] = shuffles(1, 0);
/// The other 8 of 16 bytes.
static SECOND: [[u8; 16]; 256] = shuffles(1, 8);

macro_rules! features {
    ($item:item) => {
        #[target_feature(enable = "avx2,fma,f16c,popcnt")]
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
        let x = float_inputs::<M>(weight, inputs);
        let width = written.bytes();
        for at in 0..out[0].len() {
            let mut reader = Reader::new(weight, first + at);
            let mut sums = [[_mm256_setzero_ps(); 2]; M];
            for chunk in 0..weight.chunks() {
                // SAFETY: the reader stays inside of the stream, and inputs fill whole chunks.
                unsafe {
                    let marks = reader.marks();
                    let mut place = reader.at;
                    reader.at = place.add(width * marks.count_ones() as usize);
                    for part in 0..8 {
                        let own = (marks >> (8 * part)) as u8;
                        let numbers = match written {
                            Written::F32 => singles(place, own),
                            Written::F16 => _mm256_cvtph_ps(words(place, own)),
                            Written::BF16 => {
                                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(words(place, own))))
                            }
                        };
                        place = place.add(width * own.count_ones() as usize);
                        for m in 0..M {
                            let x = _mm256_loadu_ps(x[m].add(chunk * CHUNK + 8 * part));
                            sums[m][part % 2] = _mm256_fmadd_ps(numbers, x, sums[m][part % 2]);
                        }
                    }
                }
            }
            for m in 0..M {
                out[m][at] = add_up_eight(_mm256_add_ps(sums[m][0], sums[m][1]));
            }
        }
    }
}

features! {
    /// Where inputs begin.
    #[inline]
    fn float_inputs<const M: usize>(weight: &Masked, inputs: &[Row]) -> [*const f32; M] {
        let mut x = [std::ptr::null(); M];
        for m in 0..M {
            assert!(inputs[m].floats.len() >= weight.chunks() * CHUNK, "inputs fill whole chunks");
            x[m] = inputs[m].floats.as_ptr();
        }
        x
    }
}

features! {
    /// Eight columns of f32.
    #[inline]
    unsafe fn singles(place: *const u8, marks: u8) -> __m256 {
        // SAFETY: `PAST` bytes follow the last chunk, and a table has 16 bytes for each byte of marks.
        unsafe {
            let places = _mm256_cvtepi8_epi32(_mm_loadl_epi64(FIRST[marks as usize].as_ptr().cast()));
            let numbers = _mm256_permutevar8x32_ps(_mm256_loadu_ps(place.cast()), places);
            _mm256_blendv_ps(numbers, _mm256_setzero_ps(), _mm256_castsi256_ps(places))
        }
    }
}

features! {
    /// Eight columns of 16 bits.
    #[inline]
    unsafe fn words(place: *const u8, marks: u8) -> __m128i {
        // SAFETY: as above.
        unsafe {
            _mm_shuffle_epi8(
                _mm_loadu_si128(place.cast()),
                _mm_loadu_si128(PAIRS[marks as usize].as_ptr().cast()),
            )
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
            let mut sums = [_mm256_setzero_ps(); M];
            let mut heads = [(0.0, 0.0); 2];
            for chunk in 0..weight.chunks() {
                // SAFETY: the reader stays inside of the stream, and inputs fill whole chunks.
                unsafe {
                    let marks = reader.marks();
                    reader.heads(weight, wide, chunk, &mut heads);
                    let count = marks.count_ones() as usize;
                    let apart;
                    let living = if nibbles {
                        apart = nibbles_of(reader.at);
                        apart.as_ptr().cast()
                    } else {
                        reader.at
                    };
                    reader.at = reader.at.add(if nibbles { count.div_ceil(2) } else { count });
                    let mut taken = 0;
                    for half in 0..2 {
                        let (step, zero) = heads[half];
                        let mut places = [_mm_setzero_si128(); 2];
                        let mut spread = [_mm_setzero_si128(); 2];
                        for part in 0..2 {
                            let own = marks >> (32 * half + 16 * part);
                            places[part] = places_of(own as u16);
                            // Each 32 bytes of those that are apart begin 16 codes behind the ones before.
                            let place = if nibbles { taken + (taken & !15) } else { taken };
                            spread[part] = _mm_shuffle_epi8(_mm_loadu_si128(living.add(place).cast()), places[part]);
                            taken += (own as u16).count_ones() as usize;
                        }
                        let column = chunk * CHUNK + 32 * half;
                        if INT8 {
                            let spread = _mm256_set_m128i(spread[1], spread[0]);
                            let places = _mm256_set_m128i(places[1], places[0]);
                            let marked = _mm256_add_epi8(_mm256_set1_epi8(1), _mm256_cmpgt_epi8(_mm256_setzero_si256(), places));
                            for m in 0..M {
                                let x = _mm256_loadu_si256(inputs[m].codes.as_ptr().add(column).cast());
                                let products = if nibbles { sums_of_fours(spread, x) } else { sums_of_wide(spread, x) };
                                let seen = sums_of_fours(marked, x);
                                let levels = _mm256_fnmadd_ps(_mm256_set1_ps(zero), seen, products);
                                let scale = *inputs[m].scales.as_ptr().add(2 * chunk + half);
                                sums[m] = _mm256_fmadd_ps(levels, _mm256_set1_ps(step * scale), sums[m]);
                            }
                            continue;
                        }
                        let mut parts = [_mm256_setzero_ps(); M];
                        for part in 0..4 {
                            let (mut own, mut where_from) = (spread[part / 2], places[part / 2]);
                            if part % 2 == 1 {
                                own = _mm_srli_si128::<8>(own);
                                where_from = _mm_srli_si128::<8>(where_from);
                            }
                            let codes = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(own));
                            let levels = _mm256_sub_ps(codes, _mm256_set1_ps(zero));
                            let dead = _mm256_castsi256_ps(_mm256_cvtepi8_epi32(where_from));
                            let levels = _mm256_blendv_ps(levels, _mm256_setzero_ps(), dead);
                            for m in 0..M {
                                let x = _mm256_loadu_ps(inputs[m].floats.as_ptr().add(column + 8 * part));
                                parts[m] = _mm256_fmadd_ps(levels, x, parts[m]);
                            }
                        }
                        for m in 0..M {
                            sums[m] = _mm256_fmadd_ps(parts[m], _mm256_set1_ps(step), sums[m]);
                        }
                    }
                }
            }
            for m in 0..M {
                out[m][at] = add_up_eight(sums[m]);
            }
        }
    }
}

features! {
    /// 32 codes from each code `16 * i` on, a byte each: 16 from any place on lie together in one of the four.
    #[inline]
    unsafe fn nibbles_of(place: *const u8) -> [__m256i; 4] {
        let mut apart = [_mm256_setzero_si256(); 4];
        for i in 0..4 {
            // SAFETY: `PAST` bytes follow the last chunk.
            let pairs = unsafe { _mm256_cvtepu8_epi16(_mm_loadu_si128(place.add(8 * i).cast())) };
            let both = _mm256_or_si256(pairs, _mm256_slli_epi16::<4>(pairs));
            apart[i] = _mm256_and_si256(both, _mm256_set1_epi8(15));
        }
        apart
    }
}

features! {
    /// For each of 16 columns the place of its code among those that the marks take, and for others a negative number.
    #[inline]
    fn places_of(marks: u16) -> __m128i {
        let [low, high] = marks.to_le_bytes();
        // SAFETY: each entry of the tables is 16 bytes.
        unsafe {
            _mm_add_epi8(
                _mm_loadu_si128(FIRST[low as usize].as_ptr().cast()),
                _mm_loadu_si128(SECOND[high as usize].as_ptr().cast()),
            )
        }
    }
}

features! {
    /// Products of levels up to 64 and codes of inputs, those of each four added.
    #[inline]
    fn sums_of_fours(levels: __m256i, x: __m256i) -> __m256 {
        let pairs = _mm256_maddubs_epi16(levels, x);
        _mm256_cvtepi32_ps(_mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
    }
}

features! {
    /// Products of levels up to 255, of which two do not fit in 16 bits, and codes of inputs.
    #[inline]
    fn sums_of_wide(levels: __m256i, x: __m256i) -> __m256 {
        let low = _mm256_madd_epi16(
            _mm256_cvtepu8_epi16(_mm256_castsi256_si128(levels)),
            _mm256_cvtepi8_epi16(_mm256_castsi256_si128(x)),
        );
        let high = _mm256_madd_epi16(
            _mm256_cvtepu8_epi16(_mm256_extracti128_si256::<1>(levels)),
            _mm256_cvtepi8_epi16(_mm256_extracti128_si256::<1>(x)),
        );
        _mm256_cvtepi32_ps(_mm256_add_epi32(low, high))
    }
}
