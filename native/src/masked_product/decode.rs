//! Streams as numbers: what lives of a chunk is widened side by side, and then each number goes to its place.

use super::{CHUNK, Masked, Numbers};
use crate::fault::Result;
use crate::float_rows::{Written, from_brain};
use crate::half_steps::from_half;
use crate::parallel;
use std::ops::Range;

impl Masked<'_> {
    /// Rows as f32 [rows, columns].
    pub fn decode(&self, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        let first = rows.start;
        parallel::chunks(out, self.columns, |start, out| {
            decode_row(self, first + start / self.columns, out);
        })
    }
}

crate::simd! {
    pub(super) fn decode_row(weight: &Masked, row: usize, out: &mut [f32]) {
        let mut rest = &weight.stream[weight.starts[row] as usize..];
        let mut heads = [(0.0, 0.0); 2];
        let mut numbers = [0.0f32; CHUNK];
        for (chunk, out) in out.chunks_mut(CHUNK).enumerate() {
            let (marks, behind) = rest.split_first_chunk::<8>().expect("a chunk has marks");
            let mut marks = u64::from_le_bytes(*marks);
            rest = behind;
            let begun = weight.numbers.heads(chunk);
            for head in heads.iter_mut().take(begun) {
                let (own, behind) = rest.split_at(weight.numbers.head_bytes());
                *head = head_of(own);
                rest = behind;
            }
            if begun == 1 {
                heads[1] = heads[0];
            }
            let count = marks.count_ones() as usize;
            let (living, behind) = rest.split_at(weight.numbers.living_bytes(count));
            rest = behind;
            let numbers = &mut numbers[..count];
            match weight.numbers {
                Numbers::Floats(Written::F32) => widen(living, numbers, |bytes| f32::from_le_bytes(*bytes)),
                Numbers::Floats(Written::F16) => widen(living, numbers, |bytes| from_half(u16::from_le_bytes(*bytes))),
                Numbers::Floats(Written::BF16) => widen(living, numbers, |bytes| from_brain(u16::from_le_bytes(*bytes))),
                Numbers::Codes { nibbles, .. } => {
                    if nibbles {
                        for (pair, byte) in numbers.chunks_mut(2).zip(living) {
                            pair[0] = f32::from(byte & 15);
                            if let Some(other) = pair.get_mut(1) {
                                *other = f32::from(byte >> 4);
                            }
                        }
                    } else {
                        widen(living, numbers, |&[byte]| f32::from(byte));
                    }
                    let (first, others) = numbers.split_at_mut((marks as u32).count_ones() as usize);
                    for (part, (step, zero)) in [first, others].into_iter().zip(heads) {
                        part.iter_mut().for_each(|number| *number = step * (*number - zero));
                    }
                }
            }
            out.fill(0.0);
            for number in numbers {
                out[marks.trailing_zeros() as usize] = *number;
                marks &= marks - 1;
            }
        }
    }
}

#[inline(always)]
fn widen<const BYTES: usize>(living: &[u8], numbers: &mut [f32], number: impl Fn(&[u8; BYTES]) -> f32) {
    for (out, bytes) in numbers.iter_mut().zip(living.as_chunks::<BYTES>().0) {
        *out = number(bytes);
    }
}

#[inline(always)]
fn head_of(bytes: &[u8]) -> (f32, f32) {
    match *bytes {
        [a, b, c, d] => (
            from_half(u16::from_le_bytes([a, b])),
            from_half(u16::from_le_bytes([c, d])),
        ),
        [a, b, c, d, e, f, g, h] => (f32::from_le_bytes([a, b, c, d]), f32::from_le_bytes([e, f, g, h])),
        _ => unreachable!("four bytes or eight"),
    }
}
