//! Products with grids whose scales and zeros are codes themselves, from their codes. Every number is the f16 that
//! `bilevel_decode.rs` gives: a group has no more of them than its codes can tell apart, so that they are computed once a group
//! and looked up.
//!
//!   s = half(half(a - Z) S)   z likewise   table[k] = half(half(k - z) s)   y_i = sum over j of table[code_ij] x_j
//!
//! A row is a byte for each group of 16 columns, its scale code in the low half and its zero code in the high one, and then the
//! codes of each two groups, `bits` of each in their order, low bits first. S, Z and those of the zeros are f16,
//! [tiles of rows, 4, groups].

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub mod binding;
#[cfg(test)]
mod tests;

use crate::fault::Result;
use crate::float_rows::in_tasks;
use crate::half_steps::{from_half, to_half};
use crate::packed_product::{dot, multiply_decoded};
use crate::parallel;
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

/// The kernel of a module for the bits of the codes and for one row of inputs or four, where its instructions are there.
#[cfg(target_arch = "x86_64")]
macro_rules! multiply_with {
    ($module:ident, $weight:expr, $first:expr, $inputs:expr, $out:expr) => {
        // SAFETY: the processor has the instructions.
        unsafe {
            match ($weight.bits, $inputs.len()) {
                (1, 4) => $module::all::<1, 4>($weight, $first, $inputs, $out),
                (2, 4) => $module::all::<2, 4>($weight, $first, $inputs, $out),
                (3, 4) => $module::all::<3, 4>($weight, $first, $inputs, $out),
                (_, 4) => $module::all::<4, 4>($weight, $first, $inputs, $out),
                (1, _) => $module::all::<1, 1>($weight, $first, $inputs, $out),
                (2, _) => $module::all::<2, 1>($weight, $first, $inputs, $out),
                (3, _) => $module::all::<3, 1>($weight, $first, $inputs, $out),
                (_, _) => $module::all::<4, 1>($weight, $first, $inputs, $out),
            }
        }
    };
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

    /// Rows as f32 [rows, columns], `columns` of each.
    pub fn decode(&self, rows: Range<usize>, columns: usize, out: &mut [f32]) -> Result<()> {
        parallel::chunks(out, columns, |start, out| {
            decode_row(self, rows.start + start / columns, out);
        })
    }

    /// Rows from `first` on, as many as outputs are long, times one row of inputs or four, each of whole groups.
    fn multiply_rows(&self, first: usize, inputs: &[&[f32]], out: &mut [&mut [f32]]) {
        #[cfg(target_arch = "x86_64")]
        if avx512::is_there() {
            return multiply_with!(avx512, self, first, inputs, out);
        } else if avx2::is_there() {
            return multiply_with!(avx2, self, first, inputs, out);
        }
        let mut numbers = vec![0.0; self.columns()];
        for at in 0..out[0].len() {
            decode_row(self, first + at, &mut numbers);
            for (x, out) in inputs.iter().zip(out.iter_mut()) {
                out[at] = dot(&numbers, x);
            }
        }
    }
}

/// Groups whose tables are computed side by side: so many that the compiler makes loops over vectors of them.
const TOGETHER: usize = 32;

/// Numbers of one code of each group.
#[inline(always)]
fn levels(
    codes: &[f32; TOGETHER],
    zeros: &[f32; TOGETHER],
    scales: &[f32; TOGETHER],
    out: &mut [f32; TOGETHER],
) {
    for i in 0..TOGETHER {
        out[i] = to_half(to_half(codes[i] - zeros[i]) * scales[i]);
    }
}

crate::simd! {
    /// Columns of a row, of which `out` may have fewer.
    pub fn decode_row(weight: &Bilevel, row: usize, out: &mut [f32]) {
        let (groups, bits) = (weight.groups, weight.bits);
        let second = weight.second_of(row);
        // Eight bytes of codes are read for each group, of which the last may belong to no row.
        let (heads, codes) = weight.bytes[row * weight.row_bytes()..].split_at(groups);
        let mut tables = [[0.0; TOGETHER]; GROUP];
        for (start, out) in (0..groups).step_by(TOGETHER).zip(out.chunks_mut(TOGETHER * GROUP)) {
            let count = TOGETHER.min(groups - start);
            let mut parts = [[0.0; TOGETHER]; 4];
            for (part, numbers) in parts.iter_mut().enumerate() {
                let own = &second[part * groups + start..][..count];
                numbers.iter_mut().zip(own).for_each(|(number, &bits)| *number = from_half(bits));
            }
            let (mut scale_codes, mut zero_codes) = ([0.0; TOGETHER], [0.0; TOGETHER]);
            for (i, head) in heads[start..start + count].iter().enumerate() {
                scale_codes[i] = f32::from(head & 15);
                zero_codes[i] = f32::from(head >> 4);
            }
            let (mut scales, mut zeros) = ([0.0; TOGETHER], [0.0; TOGETHER]);
            levels(&scale_codes, &parts[1], &parts[0], &mut scales);
            levels(&zero_codes, &parts[3], &parts[2], &mut zeros);
            for (code, table) in tables[..1 << bits].iter_mut().enumerate() {
                levels(&[code as f32; TOGETHER], &zeros, &scales, table);
            }
            for (i, out) in out.chunks_mut(GROUP).enumerate() {
                let run = codes[(start + i) * 2 * bits..].first_chunk();
                let mut word = u64::from_le_bytes(*run.expect("bytes follow the last row"));
                for number in out {
                    *number = tables[word as usize & ((1 << bits) - 1) & (GROUP - 1)][i % TOGETHER];
                    word >>= bits;
                }
            }
        }
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
