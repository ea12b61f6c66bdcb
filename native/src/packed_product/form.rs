//! The two kinds of packed weights behind one face.

use super::grid::Grid;
use super::inputs::{Need, PART};
use crate::blocks::BlockType;
use crate::fault::Result;
use crate::parallel;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As ggml lays them out.
    Blocks(BlockType),
    Grid(Grid),
}

impl Form {
    pub fn block_len(self) -> usize {
        match self {
            Form::Blocks(block_type) => block_type.block_len(),
            Form::Grid(grid) => grid.block_len(),
        }
    }

    pub fn block_bytes(self) -> usize {
        match self {
            Form::Blocks(block_type) => block_type.block_bytes(),
            Form::Grid(grid) => grid.block_bytes(),
        }
    }

    /// Bytes of a row of so many columns, which are whole blocks.
    pub fn row_bytes(self, columns: usize) -> usize {
        columns / self.block_len() * self.block_bytes()
    }

    /// Codes that kernels read, not floats.
    pub fn is_coded(self) -> bool {
        match self {
            Form::Blocks(block_type) => block_type.is_coded(),
            Form::Grid(_) => true,
        }
    }

    pub fn decode_row(self, bytes: &[u8], out: &mut [f32]) {
        match self {
            Form::Blocks(block_type) => block_type.dequantize_row(bytes, out),
            Form::Grid(grid) => grid.decode_row(bytes, out),
        }
    }

    /// Rows of `columns` as floats.
    pub fn decode(self, bytes: &[u8], columns: usize, out: &mut [f32]) -> Result<()> {
        let row_bytes = self.row_bytes(columns);
        parallel::chunks(out, columns, |start, out| {
            self.decode_row(&bytes[start / columns * row_bytes..][..row_bytes], out);
        })
    }

    /// What plain loops ask of inputs.
    pub fn plain_need(self) -> Need {
        Need {
            zero: 0,
            summed: PART,
        }
    }
}
