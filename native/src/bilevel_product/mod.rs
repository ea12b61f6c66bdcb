//! Products with grids whose scales and zeros are codes themselves, from their codes. Every number is the f16 that
//! `bilevel_decode.rs` gives: a group has no more of them than its codes can tell apart, so that they are computed once a group
//! and looked up.
//!
//!   s = half(half(a - Z) S)   z likewise   table[k] = half(half(k - z) s)   y_i = sum over j of table[code_ij] x_j
//!
//! A row is a byte for each group of 16 columns, its scale code in the low half and its zero code in the high one, and then the
//! codes of each two groups, `bits` of each in their order, low bits first. S, Z and those of the zeros are f16,
//! [tiles of rows, 4, groups].

pub mod binding;
#[cfg(target_arch = "x86_64")]
mod kernel;
#[cfg(test)]
mod tests;

use crate::fault::Result;
use crate::float_rows::in_tasks;
use crate::half_steps::to_half;
use crate::packed_product::multiply_decoded;
use crate::parallel;
use half::f16;
use std::ops::Range;

/// Columns of a group; wider ones are several.
pub const GROUP: usize = 16;
/// Bytes behind the last row, which kernels may read.
pub const PAST: usize = 16;
/// Rows of inputs up to which codes are read for every four of them.
const FEW: usize = 16;

pub struct Bilevel<'a> {
    /// Of a code: 1 to 4.
    pub bits: usize,
    /// [rows, row bytes], and `PAST` bytes.
    pub bytes: &'a [u8],
    /// f16 bits, [tiles, 4, groups]: scales and zeros of the scales, then of the zeros.
    pub second: &'a [u16],
    pub rows: usize,
    /// Rows of a tile.
    pub height: usize,
    /// Groups of a row, an even number.
    pub groups: usize,
}

/// Groups as rows hold them.
pub const fn even(groups: usize) -> usize {
    groups.next_multiple_of(2)
}

pub const fn row_bytes(bits: usize, groups: usize) -> usize {
    groups + groups / 2 * 4 * bits
}

fn level(code: f32, zero: f32, scale: f32) -> f32 {
    to_half(to_half(code - zero) * scale)
}

impl Bilevel<'_> {
    fn row_bytes(&self) -> usize {
        row_bytes(self.bits, self.groups)
    }

    fn columns(&self) -> usize {
        self.groups * GROUP
    }

    /// Row of the second level that a row belongs to, [4, groups].
    fn second_of(&self, row: usize) -> &[u16] {
        &self.second[row / self.height * 4 * self.groups..][..4 * self.groups]
    }

    /// Columns of a row, of which `out` may have fewer.
    pub fn decode_row(&self, row: usize, out: &mut [f32]) {
        let second = self.second_of(row);
        let (heads, codes) = self.bytes[row * self.row_bytes()..][..self.row_bytes()].split_at(self.groups);
        for (group, out) in out.chunks_mut(GROUP).enumerate() {
            let number = |part: usize| f16::from_bits(second[part * self.groups + group]).to_f32();
            let (own, zero) = (f32::from(heads[group] & 15), f32::from(heads[group] >> 4));
            let scale = level(own, number(1), number(0));
            let zero = level(zero, number(3), number(2));
            let table: [f32; GROUP] = std::array::from_fn(|code| level(code as f32, zero, scale));
            let run = &codes[group * 2 * self.bits..][..2 * self.bits];
            let word = run
                .iter()
                .rev()
                .fold(0u64, |word, &byte| word << 8 | u64::from(byte));
            for (i, out) in out.iter_mut().enumerate() {
                *out = table[(word >> (i * self.bits)) as usize & ((1 << self.bits) - 1)];
            }
        }
    }

    /// Rows as f32 [rows, columns], `columns` of each.
    pub fn decode(&self, rows: Range<usize>, columns: usize, out: &mut [f32]) -> Result<()> {
        parallel::chunks(out, columns, |start, out| {
            self.decode_row(rows.start + start / columns, out);
        })
    }

    /// Rows from `first` on, as many as outputs are long, times one row of inputs or four, each of whole groups.
    fn multiply_rows(&self, first: usize, inputs: &[&[f32]], out: &mut [&mut [f32]]) {
        #[cfg(target_arch = "x86_64")]
        if kernel::is_there() {
            // SAFETY: the processor has the instructions.
            return unsafe { kernel::multiply_rows(self, first, inputs, out) };
        }
        let mut numbers = vec![0.0; self.columns()];
        for at in 0..out[0].len() {
            self.decode_row(first + at, &mut numbers);
            for (x, out) in inputs.iter().zip(out.iter_mut()) {
                out[at] = dot(&numbers, x);
            }
        }
    }
}

crate::simd! {
    fn dot(a: &[f32], b: &[f32]) -> f32 {
        let mut sums = [0.0f32; GROUP];
        for (a, b) in a.as_chunks::<GROUP>().0.iter().zip(b.as_chunks::<GROUP>().0) {
            for i in 0..GROUP {
                sums[i] += a[i] * b[i];
            }
        }
        sums.iter().sum()
    }
}

/// out [m, rows] = x [m, columns] times the transposed weight, whose last groups may have no columns.
pub fn multiply(weight: &Bilevel, x: &[f32], columns: usize, out: &mut [f32]) -> Result<()> {
    if x.len() > FEW * columns {
        let decode = |rows, out: &mut [f32]| weight.decode(rows, columns, out);
        return multiply_decoded((weight.rows, columns), decode, x, None, out);
    }
    let padded: Vec<Vec<f32>> = x
        .chunks_exact(columns)
        .map(|x| {
            let mut row = x.to_vec();
            row.resize(weight.columns(), 0.0);
            row
        })
        .collect();
    let inputs: Vec<&[f32]> = padded.iter().map(Vec::as_slice).collect();
    let size = (weight.rows, weight.row_bytes());
    in_tasks(size, inputs.len(), out, |start, which, lines| {
        weight.multiply_rows(start, &inputs[which], lines);
    })
}
