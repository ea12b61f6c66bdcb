//! Sparse rows from a bit for each column and the values that are kept, in the order of the rows.

use crate::arena::{View, view};
use crate::blocks::BlockType;
use crate::copy;
use crate::dtype::DType;
use crate::fault::{Fault, Result, border, js};
use crate::parallel;
#[cfg(target_arch = "x86_64")]
use crate::simd;
use napi::bindgen_prelude::Uint8Array;
use napi_derive::napi;

/// Values that may be read behind the last one that is kept, all 0: expanding reads eight at a time.
const PAST: usize = 8;

/// The kept values, in one of the types that files have.
struct Kept<'a> {
    float: BlockType,
    bytes: &'a [u8],
}

impl Kept<'_> {
    fn len(&self) -> usize {
        self.bytes.len() / self.float.block_bytes()
    }

    /// The values of a row as f32, with zeros behind them.
    fn row(&self, start: usize, end: usize, near: &mut [f32]) {
        let (values, past) = near[..end - start + PAST].split_at_mut(end - start);
        let size = self.float.block_bytes();
        self.float
            .dequantize_row(&self.bytes[start * size..end * size], values);
        past.fill(0.0);
    }
}

/// Marks of the columns of one row; those past the last column do not count.
pub(crate) fn count(marks: &[u8], columns: usize) -> usize {
    let (words, bytes) = marks[..columns / 8].as_chunks::<8>();
    let whole: u32 = words
        .iter()
        .map(|word| u64::from_le_bytes(*word).count_ones())
        .chain(bytes.iter().map(|byte| byte.count_ones()))
        .sum();
    let rest = columns % 8;
    let last = if rest == 0 {
        0
    } else {
        marks[columns / 8] & ((1 << rest) - 1)
    };
    (whole + last.count_ones()) as usize
}

/// Puts `near`, which has `PAST` values more than the marks count, where the marks are.
fn expand(marks: &[u8], near: &[f32], out: &mut [f32]) {
    let mut next = 0;
    #[cfg(target_arch = "x86_64")]
    let done = if simd::level() >= simd::Level::Avx2 && is_x86_feature_detected!("popcnt") {
        // SAFETY: this machine has the features.
        next = unsafe { vectors::expand(marks, near, out) };
        out.len() / 8
    } else {
        0
    };
    #[cfg(not(target_arch = "x86_64"))]
    let done = 0;
    for (byte, out) in marks[done..].iter().zip(out[8 * done..].chunks_mut(8)) {
        for (bit, value) in out.iter_mut().enumerate() {
            let marked = byte >> bit & 1;
            *value = if marked == 1 { near[next] } else { 0.0 };
            next += marked as usize;
        }
    }
}

/// For each byte of marks, which of the next values each of its columns takes, a byte each.
pub(crate) static PLACES: [u64; 256] = {
    let mut places = [0; 256];
    let mut marks = 0;
    while marks < 256 {
        let (mut bit, mut next) = (0, 0);
        while bit < 8 {
            if marks >> bit & 1 == 1 {
                places[marks] |= next << (8 * bit);
                next += 1;
            }
            bit += 1;
        }
        marks += 1;
    }
    places
};

#[cfg(target_arch = "x86_64")]
mod vectors {
    use super::PLACES;
    use std::arch::x86_64::*;

    /// Whole bytes of marks; returns how many values they took.
    #[target_feature(enable = "avx2,popcnt")]
    pub fn expand(marks: &[u8], near: &[f32], out: &mut [f32]) -> usize {
        let own = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
        let mut next = 0;
        for (&byte, out) in marks.iter().zip(out.as_chunks_mut::<8>().0) {
            let values: &[f32; 8] = near[next..].first_chunk().expect("zeros follow the last value");
            let places = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(PLACES[byte as usize] as i64));
            let marked = _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(byte.into()), own), own);
            // SAFETY: eight numbers are read and eight written, at any alignment.
            unsafe {
                let placed = _mm256_permutevar8x32_ps(_mm256_loadu_ps(values.as_ptr()), places);
                _mm256_storeu_ps(
                    out.as_mut_ptr(),
                    _mm256_and_ps(placed, _mm256_castsi256_ps(marked)),
                );
            }
            next += byte.count_ones() as usize;
        }
        next
    }
}

fn decode(marks: &[u8], kept: &Kept, rows: usize, columns: usize, out: &mut [f32]) -> Result<()> {
    let width = columns.div_ceil(8);
    let mut starts = Vec::with_capacity(rows + 1);
    let mut total = 0;
    for marks in marks.chunks_exact(width.max(1)) {
        starts.push(total);
        total += count(marks, columns);
    }
    starts.push(total);
    if total != kept.len() {
        return Err(Fault::format(format!(
            "a bitmask of [{rows}, {columns}] marks {total} places for {} values; it is damaged",
            kept.len()
        )));
    }
    let rows_of_task = (parallel::SMALL / columns.max(1)).max(1);
    parallel::chunks(out, rows_of_task * columns, |start, out| {
        let mut near = vec![0.0; columns + PAST];
        for (index, out) in out.chunks_mut(columns).enumerate() {
            let row = start / columns + index;
            kept.row(starts[row], starts[row + 1], &mut near);
            expand(&marks[row * width..(row + 1) * width], &near, out);
        }
    })
}

/// marks: [rows, ceil(columns / 8)], bit c % 8 of byte c / 8 for column c; kept f32, f16 or bf16 [marked]. Result f32
/// [rows, columns], 0 where nothing is kept.
#[napi]
pub fn decode_bitmask(marks: Uint8Array, kept: u32, rows: u32, columns: u32) -> js::Result<u32> {
    border(|| {
        let (rows, columns) = (rows as usize, columns as usize);
        if Some(marks.len()) != rows.checked_mul(columns.div_ceil(8)) {
            return Err(Fault::shape(format!(
                "bitmask: {} bytes of marks do not fit [{rows}, {columns}]",
                marks.len()
            )));
        }
        let kept = copy::contiguous(&view(kept)?)?;
        let float = match kept.dtype {
            DType::F32 => BlockType::F32,
            DType::F16 => BlockType::F16,
            DType::BF16 => BlockType::BF16,
            other => {
                return Err(Fault::shape(format!(
                    "bitmask: values of type {} are not expanded; cast them to f32",
                    other.name()
                )));
            }
        };
        let values = Kept {
            float,
            bytes: kept.bytes()?,
        };
        let out = View::empty(DType::F32, &[rows, columns])?;
        decode(&marks, &values, rows, columns, out.slice_mut()?)?;
        Ok(out.into_handle())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_of_marks_puts_its_values_in_their_places_in_rows_of_any_width() {
        for columns in [1usize, 3, 8, 9, 16, 21] {
            let (rows, width) = (256, columns.div_ceil(8));
            let marks: Vec<u8> = (0..rows * width)
                .map(|i| (i / width + 37 * (i % width)) as u8)
                .collect();
            let marked = |row: usize, column: usize| marks[row * width + column / 8] >> (column % 8) & 1 == 1;
            let mut kept = Vec::new();
            let mut want = vec![0.0; rows * columns];
            for row in 0..rows {
                for column in (0..columns).filter(|&column| marked(row, column)) {
                    kept.push(kept.len() as f32 + 1.0);
                    want[row * columns + column] = kept.len() as f32;
                }
            }
            let mut bytes: Vec<u8> = kept.iter().flat_map(|x: &f32| x.to_le_bytes()).collect();
            let mut out = vec![f32::NAN; rows * columns];
            let mut expand = |bytes: &[u8]| {
                let float = BlockType::F32;
                decode(&marks, &Kept { float, bytes }, rows, columns, &mut out).map(|()| out.clone())
            };
            assert_eq!(expand(&bytes).unwrap(), want, "{columns} columns");
            bytes.truncate(bytes.len() - 4);
            assert_eq!(expand(&bytes).unwrap_err().code, "PARE_E_FORMAT");
        }
    }

    #[test]
    fn halves_of_both_kinds_are_widened() {
        // 1.5 and -2 in each.
        for (float, bytes) in [
            (BlockType::F16, [0, 0x3e, 0, 0xc0]),
            (BlockType::BF16, [0xc0, 0x3f, 0, 0xc0]),
        ] {
            let mut out = [f32::NAN; 3];
            let kept = Kept { float, bytes: &bytes };
            decode(&[0b101], &kept, 1, 3, &mut out).unwrap();
            assert_eq!(out, [1.5, 0.0, -2.0]);
        }
    }
}
