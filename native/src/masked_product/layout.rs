//! How streams are put together and taken apart.

use super::{CHUNK, Masked, Numbers, PAST};
use crate::blocks::half_of;
use crate::fault::{Fault, Result};
use crate::float_rows::Written;
use crate::parallel;
use half::{bf16, f16};
use std::ops::Range;

/// Codes of what lives, with steps and zeros [rows, groups].
pub struct Codes<'a> {
    pub codes: &'a [u8],
    pub steps: &'a [f32],
    pub zeros: &'a [f32],
}

impl Numbers {
    fn head_bytes(self) -> usize {
        match self {
            Numbers::Codes { wide: true, .. } => 8,
            Numbers::Codes { .. } => 4,
            Numbers::Floats(_) => 0,
        }
    }

    /// Groups that begin in a chunk.
    pub(super) fn heads(self, chunk: usize) -> usize {
        match self {
            Numbers::Codes { group: 32, .. } => 2,
            Numbers::Codes { group, .. } => usize::from((chunk * CHUNK).is_multiple_of(group)),
            Numbers::Floats(_) => 0,
        }
    }

    fn living_bytes(self, count: usize) -> usize {
        match self {
            Numbers::Floats(written) => count * written.bytes(),
            Numbers::Codes { nibbles: true, .. } => count.div_ceil(2),
            Numbers::Codes { .. } => count,
        }
    }
}

/// The marks of a chunk of a row [ceil(columns / 8)]; those past the last column are 0.
fn marks_of(row: &[u8], columns: usize, chunk: usize) -> u64 {
    let mut bytes = [0; 8];
    let own = &row[(8 * chunk).min(row.len())..row.len().min(8 * chunk + 8)];
    bytes[..own.len()].copy_from_slice(own);
    let left = columns - chunk * CHUNK;
    let marks = u64::from_le_bytes(bytes);
    if left >= CHUNK {
        marks
    } else {
        marks & ((1 << left) - 1)
    }
}

/// Puts rows of marks [rows, ceil(columns / 8)] and what they mark together: numbers as bytes, or codes. Gives the stream
/// and where rows begin.
pub fn pack(
    numbers: Numbers,
    marks: &[u8],
    (rows, columns): (usize, usize),
    floats: &[u8],
    codes: Option<&Codes>,
) -> Result<(Vec<u8>, Vec<u32>)> {
    let (width, chunks) = (columns.div_ceil(8), columns.div_ceil(CHUNK));
    let (mut stream, mut starts) = (Vec::new(), Vec::with_capacity(rows + 1));
    let total: usize = (0..rows)
        .map(|row| crate::bitmask::count(&marks[row * width..(row + 1) * width], columns))
        .sum();
    let given = match (numbers, codes) {
        (Numbers::Floats(written), _) => floats.len() / written.bytes(),
        (_, Some(codes)) => codes.codes.len(),
        _ => 0,
    };
    if given != total {
        return Err(Fault::format(format!(
            "masked weight: [{rows}, {columns}] marks {total} places for {given} numbers; it is damaged"
        )));
    }
    let mut next = 0;
    for row in 0..rows {
        starts.push(start_of(stream.len())?);
        let mut group = 0;
        for chunk in 0..chunks {
            let marked = marks_of(&marks[row * width..(row + 1) * width], columns, chunk);
            let count = marked.count_ones() as usize;
            stream.extend(marked.to_le_bytes());
            match (numbers, codes) {
                (Numbers::Codes { nibbles, wide, .. }, Some(all)) => {
                    let groups = all.steps.len() / rows;
                    for _ in 0..numbers.heads(chunk) {
                        // A last group of 32 may have no columns.
                        let at = row * groups + group.min(groups - 1);
                        for number in [all.steps[at], all.zeros[at]] {
                            if wide {
                                stream.extend(number.to_le_bytes());
                            } else {
                                stream.extend(f16::from_f32(number).to_le_bytes());
                            }
                        }
                        group += 1;
                    }
                    let own = &all.codes[next..next + count];
                    if nibbles {
                        stream.extend(
                            own.chunks(2)
                                .map(|pair| pair[0] & 15 | pair.get(1).map_or(0, |code| code << 4)),
                        );
                    } else {
                        stream.extend(own);
                    }
                }
                (Numbers::Floats(written), _) => {
                    stream.extend(&floats[next * written.bytes()..(next + count) * written.bytes()]);
                }
                _ => {}
            }
            next += count;
        }
    }
    starts.push(start_of(stream.len())?);
    stream.resize(stream.len() + PAST, 0);
    Ok((stream, starts))
}

fn start_of(length: usize) -> Result<u32> {
    u32::try_from(length)
        .map_err(|_| Fault::shape("masked weight: needs at most 4 GiB of living numbers; split the matrix"))
}

impl Masked<'_> {
    /// Rows as f32 [rows, columns].
    pub fn decode(&self, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        let first = rows.start;
        parallel::chunks(out, self.columns, |start, out| {
            self.decode_row(first + start / self.columns, out);
        })
    }

    pub(super) fn decode_row(&self, row: usize, out: &mut [f32]) {
        let mut rest = &self.stream[self.starts[row] as usize..];
        let mut heads = [(0.0, 0.0); 2];
        for (chunk, out) in out.chunks_mut(CHUNK).enumerate() {
            let (marks, behind) = rest.split_first_chunk::<8>().expect("a chunk has marks");
            let marks = u64::from_le_bytes(*marks);
            rest = behind;
            let begun = self.numbers.heads(chunk);
            for head in 0..begun {
                let (own, behind) = rest.split_at(self.numbers.head_bytes());
                heads[head] = head_of(own);
                rest = behind;
            }
            if begun == 1 {
                heads[1] = heads[0];
            }
            let (living, behind) = rest.split_at(self.numbers.living_bytes(marks.count_ones() as usize));
            rest = behind;
            let mut next = 0;
            for (column, value) in out.iter_mut().enumerate() {
                *value = 0.0;
                if marks >> column & 1 == 1 {
                    let (step, zero) = heads[column / 32];
                    *value = self.value(living, next, step, zero);
                    next += 1;
                }
            }
        }
    }

    fn value(&self, living: &[u8], index: usize, step: f32, zero: f32) -> f32 {
        match self.numbers {
            Numbers::Floats(Written::F32) => {
                let bytes = living[4 * index..].first_chunk().expect("four bytes");
                f32::from_le_bytes(*bytes)
            }
            Numbers::Floats(Written::F16) => half_of(living, 2 * index),
            Numbers::Floats(Written::BF16) => {
                bf16::from_le_bytes([living[2 * index], living[2 * index + 1]]).to_f32()
            }
            Numbers::Codes { nibbles: true, .. } => {
                step * (f32::from(living[index / 2] >> (4 * (index % 2)) & 15) - zero)
            }
            Numbers::Codes { .. } => step * (f32::from(living[index]) - zero),
        }
    }
}

fn head_of(bytes: &[u8]) -> (f32, f32) {
    match *bytes {
        [a, b, c, d] => (
            f16::from_le_bytes([a, b]).to_f32(),
            f16::from_le_bytes([c, d]).to_f32(),
        ),
        [a, b, c, d, e, f, g, h] => (f32::from_le_bytes([a, b, c, d]), f32::from_le_bytes([e, f, g, h])),
        _ => unreachable!("four bytes or eight"),
    }
}
