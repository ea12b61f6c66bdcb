//! Products with weights of which only some places live: a row is a stream of chunks of 64 columns, each a bit for every
//! column and then the numbers of the marked ones, so that a product reads what lives and nothing else.
//!
//!   chunk = marks (u64), step and zero of each group that begins here (codes alone), living numbers or codes
//!
//! Codes take 4 bits, low ones first, and begin at a byte in every chunk, or 8; value = step * (code - zero).

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub mod binding;
mod decode;
mod layout;
#[cfg(target_arch = "x86_64")]
mod reader;
#[cfg(test)]
mod tests;

use crate::fault::Result;
use crate::float_rows::{Written, in_tasks};
use crate::packed_product::{Activations, Need, PART, Row, dot, multiply_decoded, rounded_rows};

use decode::decode_row;
pub use layout::{Codes, pack};

/// Columns that share marks.
pub const CHUNK: usize = 64;
/// Bytes behind the last row, which kernels may read: a chunk of the widest numbers and what a load takes beyond it.
const PAST: usize = 384;
/// Rows of inputs up to which streams are read for every four of them.
const FEW: usize = 16;

/// What lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Numbers {
    Floats(Written),
    Codes {
        /// 4 bits a code, or 8.
        nibbles: bool,
        /// Columns that share a step: 32, or a multiple of 64.
        group: usize,
        /// Steps and zeros are f32, not f16.
        wide: bool,
    },
}

pub struct Masked<'a> {
    pub numbers: Numbers,
    /// Rows, and `PAST` bytes.
    pub stream: &'a [u8],
    /// Where each row begins, and the last ends.
    pub starts: &'a [u32],
    pub columns: usize,
}

impl Masked<'_> {
    pub fn rows(&self) -> usize {
        self.starts.len() - 1
    }

    fn chunks(&self) -> usize {
        self.columns.div_ceil(CHUNK)
    }
}

/// out [m, rows] = x [m, columns] times the transposed weight.
pub fn multiply(weight: &Masked, x: &[f32], activations: Activations, out: &mut [f32]) -> Result<()> {
    let many = x.len() / weight.columns;
    if many > FEW {
        let rounded = match activations {
            Activations::Int8 => Some(rounded_rows(x, weight.columns)?),
            Activations::F32 => None,
        };
        let x = rounded.as_deref().unwrap_or(x);
        return multiply_decoded(
            (weight.rows(), weight.columns),
            |rows, out| weight.decode(rows, out),
            x,
            None,
            out,
        );
    }
    let inputs: Vec<Row> = x
        .chunks_exact(weight.columns)
        .map(|x| {
            let mut padded = x.to_vec();
            padded.resize(weight.chunks() * CHUNK, 0.0);
            let need = Need {
                zero: 0,
                summed: PART,
                quads: false,
                floats: !weight.takes_codes(activations),
            };
            Row::new(&padded, activations, need)
        })
        .collect();
    let rows = weight.rows();
    let row_bytes = weight.stream.len().div_ceil(rows.max(1));
    in_tasks((rows, row_bytes), inputs.len(), out, |start, which, lines| {
        weight.multiply_rows(start, &inputs[which], activations, lines);
    })?;
    Ok(())
}

/// The kernel of a module for what lives and for one row of inputs or four, where its instructions are there.
#[cfg(target_arch = "x86_64")]
macro_rules! multiply_with {
    ($module:ident, $weight:expr, $first:expr, $inputs:expr, $with_codes:expr, $out:expr) => {
        // SAFETY: the processor has the instructions.
        unsafe {
            match ($weight.numbers, $inputs.len(), $with_codes) {
                (Numbers::Floats(written), 4, _) => {
                    $module::floats::<4>($weight, written, $first, $inputs, $out)
                }
                (Numbers::Floats(written), ..) => {
                    $module::floats::<1>($weight, written, $first, $inputs, $out)
                }
                (_, 4, true) => $module::codes::<4, true>($weight, $first, $inputs, $out),
                (_, _, true) => $module::codes::<1, true>($weight, $first, $inputs, $out),
                (_, 4, false) => $module::codes::<4, false>($weight, $first, $inputs, $out),
                (_, _, false) => $module::codes::<1, false>($weight, $first, $inputs, $out),
            }
        }
    };
}

impl Masked<'_> {
    /// Whether codes of the weight meet codes of the inputs.
    fn takes_codes(&self, activations: Activations) -> bool {
        #[cfg(target_arch = "x86_64")]
        {
            activations == Activations::Int8
                && matches!(self.numbers, Numbers::Codes { .. })
                && (avx512::is_there() || avx2::is_there())
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            let _ = activations;
            false
        }
    }

    /// Rows from `first` on, as many as outputs are long, times one row of inputs or four.
    fn multiply_rows(&self, first: usize, inputs: &[Row], activations: Activations, out: &mut [&mut [f32]]) {
        #[cfg(target_arch = "x86_64")]
        {
            let with_codes = self.takes_codes(activations);
            if avx512::is_there() {
                return multiply_with!(avx512, self, first, inputs, with_codes, out);
            } else if avx2::is_there() {
                return multiply_with!(avx2, self, first, inputs, with_codes, out);
            }
        }
        let _ = activations;
        let mut numbers = vec![0.0; self.chunks() * CHUNK];
        for at in 0..out[0].len() {
            decode_row(self, first + at, &mut numbers);
            for (x, out) in inputs.iter().zip(out.iter_mut()) {
                out[at] = dot(&numbers, &x.floats);
            }
        }
    }
}
