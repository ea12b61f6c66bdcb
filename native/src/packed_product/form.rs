//! The two kinds of packed weights behind one face.

use super::grid::Grid;
use super::inputs::{Need, PART};
use crate::blocks::BlockType;
use crate::fault::Result;
use crate::float_rows::Written;
use crate::parallel;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As ggml lays them out.
    Blocks(BlockType),
    Grid(Grid),
}

/// A code above all types of blocks is that of a grid: its bits, its parts, and whether steps are f32.
const GRID: u32 = 1 << 31;
const WIDE: u32 = 1 << 30;
const RUN_BITS: u32 = 24;
/// Parts of a block of a grid, at most.
pub const MOST_PARTS: usize = (1 << RUN_BITS) - 1;

impl Form {
    /// A number for calls that come often.
    pub fn code(self) -> u32 {
        match self {
            Form::Blocks(own) => BlockType::ALL
                .iter()
                .position(|&each| each == own)
                .expect("one of all") as u32,
            Form::Grid(Grid { bits, run, wide }) => {
                GRID | if wide { WIDE } else { 0 } | (bits as u32) << RUN_BITS | run as u32
            }
        }
    }

    pub fn from_code(code: u32) -> Option<Form> {
        if code & GRID == 0 {
            return BlockType::ALL.get(code as usize).copied().map(Form::Blocks);
        }
        let (bits, run) = ((code >> RUN_BITS & 15) as usize, code as usize & MOST_PARTS);
        ([2, 3, 4, 8].contains(&bits) && run > 0).then_some(Form::Grid(Grid {
            bits,
            run,
            wide: code & WIDE != 0,
        }))
    }

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

    /// How its numbers are written down, where they are floats.
    pub fn written(self) -> Option<Written> {
        match self {
            Form::Blocks(BlockType::F32) => Some(Written::F32),
            Form::Blocks(BlockType::F16) => Some(Written::F16),
            Form::Blocks(BlockType::BF16) => Some(Written::BF16),
            _ => None,
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
            quads: false,
            floats: true,
        }
    }
}
