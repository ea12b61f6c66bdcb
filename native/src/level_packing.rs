//! Codes of columns that have level counts of their own, column after column: a 64-bit word holds as many codes of a
//! column of N levels as fit, code r of the word times N^r. Columns of one level store nothing.
//!
//!   value = s (code - z),   s = (high - low) / (N - 1),   z = round(-low / s)      in f32, a range a row
//!
//! Columns of two levels may be centred instead: (low + high) / 2 - or + (high - low) / 8.

use crate::affine_grid::round_even;
use crate::fault::{Fault, Result};
use crate::parallel::{self, Shared};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Columns whose values are written together: those of a line of cache.
const STRIP: usize = 16;

/// Codes of `levels` levels in a word, 1 to 64; of one level, none is needed for any number.
pub fn codes_in_word(levels: u16) -> usize {
    if levels <= 1 {
        return usize::MAX;
    }
    let mut count = 0;
    let mut product = 1u128;
    while product * u128::from(levels) <= 1 << 64 {
        product *= u128::from(levels);
        count += 1;
    }
    count
}

/// Words of a column.
pub fn words_of(levels: u16, rows: usize) -> usize {
    if levels <= 1 {
        0
    } else {
        rows.div_ceil(codes_in_word(levels))
    }
}

/// Where the words of each column begin, and where the last ends. A column of no levels is none.
pub fn starts_of(levels: &[u16], rows: usize) -> Result<Vec<usize>> {
    let mut starts = Vec::with_capacity(levels.len() + 1);
    let mut total = 0usize;
    starts.push(0);
    for (column, &count) in levels.iter().enumerate() {
        if count == 0 {
            return Err(Fault::format(format!(
                "column {column} has no level; the weight is damaged"
            )));
        }
        total += words_of(count, rows);
        starts.push(total);
    }
    Ok(starts)
}

/// The codes of one column, the first in the lowest place of each word.
fn pack_column(codes: &[u16], levels: u16, words: &mut [u64]) {
    for (codes, word) in codes.chunks(codes_in_word(levels)).zip(words) {
        *word = codes
            .iter()
            .rev()
            .fold(0, |word, &code| word * u64::from(levels) + u64::from(code));
    }
}

/// codes [columns, rows], each below the levels of its column.
pub fn pack(codes: &[u16], levels: &[u16], rows: usize) -> Result<Vec<u64>> {
    let starts = starts_of(levels, rows)?;
    let mut words = vec![0u64; starts[levels.len()]];
    let out = Shared(words.as_mut_ptr());
    parallel::tasks(levels.len().div_ceil(STRIP), |strip| {
        for column in strip * STRIP..((strip + 1) * STRIP).min(levels.len()) {
            let (start, end) = (starts[column], starts[column + 1]);
            // SAFETY: the words of a column belong to the task of its strip alone.
            let words = unsafe { std::slice::from_raw_parts_mut(out.get().add(start), end - start) };
            pack_column(&codes[column * rows..(column + 1) * rows], levels[column], words);
        }
    })?;
    Ok(words)
}

/// False where a word holds more than its codes.
fn unpack_column(words: &[u64], levels: u16, codes: &mut [u16]) -> bool {
    if levels <= 1 {
        codes.fill(0);
        return true;
    }
    let count = codes_in_word(levels);
    let mut rest = 0;
    if levels.is_power_of_two() {
        let (mask, shift) = (u64::from(levels - 1), levels.trailing_zeros());
        for (codes, &word) in codes.chunks_mut(count).zip(words) {
            let mut word = word;
            for code in codes {
                *code = (word & mask) as u16;
                word >>= shift;
            }
            rest |= word;
        }
        return rest == 0;
    }
    let divisor = u64::from(levels);
    // floor(2^64 / N), since N is no power of two: quotients by it are right or one too small.
    let inverse = u64::MAX / divisor;
    for (codes, &word) in codes.chunks_mut(count).zip(words) {
        let mut word = word;
        for code in codes {
            let mut quotient = ((u128::from(word) * u128::from(inverse)) >> 64) as u64;
            let mut left = word - quotient * divisor;
            let short = u64::from(left >= divisor);
            quotient += short;
            left -= short * divisor;
            *code = left as u16;
            word = quotient;
        }
        rest |= word;
    }
    rest == 0
}

/// What a weight is stored as.
pub struct Packed<'a> {
    pub words: &'a [u64],
    /// Of each column.
    pub levels: &'a [u16],
    pub rows: usize,
}

impl Packed<'_> {
    fn checked(&self) -> Result<Vec<usize>> {
        let starts = starts_of(self.levels, self.rows)?;
        let needed = starts[self.levels.len()];
        if needed == self.words.len() {
            return Ok(starts);
        }
        Err(Fault::format(format!(
            "levels of {} columns need {needed} words for {} rows, got {}; the weight is damaged",
            self.levels.len(),
            self.rows,
            self.words.len()
        )))
    }

    /// Calls `take(column, codes)` for every column.
    fn columns(&self, take: impl Fn(usize, &[u16]) + Send + Sync) -> Result<()> {
        let starts = self.checked()?;
        let damaged = AtomicBool::new(false);
        parallel::tasks(self.levels.len().div_ceil(STRIP), |strip| {
            let mut codes = vec![0; self.rows];
            for column in strip * STRIP..((strip + 1) * STRIP).min(self.levels.len()) {
                let words = &self.words[starts[column]..starts[column + 1]];
                if !unpack_column(words, self.levels[column], &mut codes) {
                    damaged.store(true, Relaxed);
                }
                take(column, &codes);
            }
        })?;
        if damaged.into_inner() {
            return Err(Fault::format(
                "a word of levels holds more than its codes; the weight is damaged",
            ));
        }
        Ok(())
    }

    /// codes [rows, columns]
    pub fn unpack(&self, out: &mut [u16]) -> Result<()> {
        let columns = self.levels.len();
        let out = Shared(out.as_mut_ptr());
        self.columns(|column, codes| {
            for (row, &code) in codes.iter().enumerate() {
                // SAFETY: the column belongs to this task alone, and lies in [rows, columns].
                unsafe { *out.get().add(row * columns + column) = code };
            }
        })
    }

    /// Values f32 [rows, columns].
    pub fn decode(&self, lows: &[f32], highs: &[f32], centred: bool, out: &mut [f32]) -> Result<()> {
        let columns = self.levels.len();
        let out = Shared(out.as_mut_ptr());
        self.columns(|column, codes| {
            let mut values = vec![0.0; codes.len()];
            values_of(codes, self.levels[column], lows, highs, centred, &mut values);
            for (row, &value) in values.iter().enumerate() {
                // SAFETY: as above.
                unsafe { *out.get().add(row * columns + column) = value };
            }
        })
    }
}

/// The step and the zero of a row in a column of at least two levels.
#[inline(always)]
pub fn step_of(levels: u16, low: f32, high: f32) -> (f32, f32) {
    let step = (high - low) / f32::from(levels - 1);
    (step, round_even(-low / step))
}

/// The middle of two centred levels, and half their distance.
#[inline(always)]
pub fn centre_of(low: f32, high: f32) -> (f32, f32) {
    ((low + high) * 0.5, (high - low) * 0.125)
}

crate::simd! {
    fn values_of(codes: &[u16], levels: u16, lows: &[f32], highs: &[f32], centred: bool, out: &mut [f32]) {
        let rows = codes.iter().zip(lows.iter().zip(highs)).zip(out);
        if levels == 1 {
            rows.for_each(|(_, value)| *value = 0.0);
        } else if levels == 2 && centred {
            for ((&code, (&low, &high)), value) in rows {
                let (middle, half) = centre_of(low, high);
                *value = if code == 0 { middle - half } else { middle + half };
            }
        } else {
            for ((&code, (&low, &high)), value) in rows {
                let (step, zero) = step_of(levels, low, high);
                *value = step * (f32::from(code) - zero);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_any_level_count_come_back_from_words_that_hold_as_many_as_fit() {
        for (levels, count) in [(2, 64), (3, 40), (5, 27), (6, 24), (256, 8), (65535, 4)] {
            assert_eq!(codes_in_word(levels), count, "{levels}");
        }
        let mut state = 1u64;
        for levels in (1..300).chain([1000, 1024, 4095, 40000, 65535]) {
            for rows in [1usize, 63, 64, 131] {
                let codes: Vec<u16> = (0..rows)
                    .map(|row| {
                        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        // The largest words too.
                        if row < 64 {
                            levels - 1
                        } else {
                            ((state >> 33) % u64::from(levels)) as u16
                        }
                    })
                    .collect();
                let words = pack(&codes, &[levels], rows).unwrap();
                assert_eq!(words.len(), words_of(levels, rows));
                let mut found = vec![9; rows];
                assert!(unpack_column(&words, levels, &mut found));
                assert_eq!(found, codes, "{levels}");
            }
        }
    }

    #[test]
    fn words_that_hold_more_than_their_codes_and_columns_without_levels_are_damage() {
        let mut codes = [0; 3];
        assert!(!unpack_column(&[27], 3, &mut codes));
        assert!(unpack_column(&[26], 3, &mut codes));
        assert_eq!(codes, [2, 2, 2]);
        assert!(!unpack_column(&[8], 2, &mut codes));
        assert_eq!(starts_of(&[2, 0], 3).unwrap_err().code, "PARE_E_FORMAT");
    }
}
