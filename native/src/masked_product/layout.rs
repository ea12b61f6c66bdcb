//! How streams are put together.

use super::{CHUNK, Numbers, PAST};
use crate::fault::{Fault, Result};
use half::f16;

/// Codes of what lives, with steps and zeros [rows, groups].
pub struct Codes<'a> {
    pub codes: &'a [u8],
    pub steps: &'a [f32],
    pub zeros: &'a [f32],
}

impl Numbers {
    pub(super) fn head_bytes(self) -> usize {
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

    pub(super) fn living_bytes(self, count: usize) -> usize {
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
