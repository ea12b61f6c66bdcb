//! Grids in blocks of their own: a block is a group of columns, a step and a zero in front of the codes.
//!
//!   value = step * (code - zero)
//!
//! Codes follow in parts of 32: 4 bits as nibbles, low ones first; 2 bits in 8 bytes, code i in bits 2 * (i / 8) of byte
//! i % 8; 3 bits so too, and their third bits in 4 bytes more; 8 bits as bytes. Step and zero are f16, or f32 where f16 does
//! not hold them.

use super::inputs::PART;
use crate::blocks::half_of;
use crate::fault::Result;
use crate::parallel;
use half::f16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// 2, 3, 4 or 8.
    pub bits: usize,
    /// Parts of 32 codes in a block.
    pub run: usize,
    /// Steps and zeros are f32.
    pub wide: bool,
}

impl Grid {
    pub fn head_bytes(self) -> usize {
        if self.wide { 8 } else { 4 }
    }

    pub fn block_len(self) -> usize {
        PART * self.run
    }

    pub fn block_bytes(self) -> usize {
        self.head_bytes() + 4 * self.bits * self.run
    }

    fn head(self, block: &[u8]) -> (f32, f32) {
        let four = |at: usize| f32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]);
        if self.wide {
            (four(0), four(4))
        } else {
            (half_of(block, 0), half_of(block, 2))
        }
    }

    fn code(self, part: &[u8], i: usize) -> u8 {
        let two = |part: &[u8]| part[i % 8] >> (2 * (i / 8)) & 3;
        match self.bits {
            2 => two(part),
            3 => two(part) | (part[8 + i / 8] >> (i % 8) & 1) << 2,
            4 => part[i % 16] >> (4 * (i / 16)) & 15,
            _ => part[i],
        }
    }

    fn put(self, part: &mut [u8], i: usize, code: u8) {
        match self.bits {
            2 => part[i % 8] |= (code & 3) << (2 * (i / 8)),
            3 => {
                part[i % 8] |= (code & 3) << (2 * (i / 8));
                part[8 + i / 8] |= (code >> 2 & 1) << (i % 8);
            }
            4 => part[i % 16] |= (code & 15) << (4 * (i / 16)),
            _ => part[i] = code,
        }
    }

    /// A row of codes in the order of its blocks, with a step and a zero for each.
    fn pack_row(self, codes: impl Fn(usize) -> u8, steps: &[f32], zeros: &[f32], out: &mut [u8]) {
        out.fill(0);
        for (index, block) in out.chunks_exact_mut(self.block_bytes()).enumerate() {
            let (head, rest) = block.split_at_mut(self.head_bytes());
            if self.wide {
                head[..4].copy_from_slice(&steps[index].to_le_bytes());
                head[4..].copy_from_slice(&zeros[index].to_le_bytes());
            } else {
                head[..2].copy_from_slice(&f16::from_f32(steps[index]).to_le_bytes());
                head[2..].copy_from_slice(&f16::from_f32(zeros[index]).to_le_bytes());
            }
            for (part, bytes) in rest.chunks_exact_mut(4 * self.bits).enumerate() {
                let first = index * self.block_len() + part * PART;
                (0..PART).for_each(|i| self.put(bytes, i, codes(first + i)));
            }
        }
    }

    /// Whole blocks as floats.
    pub fn decode_row(self, bytes: &[u8], out: &mut [f32]) {
        let blocks = bytes.chunks_exact(self.block_bytes());
        for (block, out) in blocks.zip(out.chunks_exact_mut(self.block_len())) {
            let (step, zero) = self.head(block);
            let parts = block[self.head_bytes()..].chunks_exact(4 * self.bits);
            for (part, out) in parts.zip(out.chunks_exact_mut(PART)) {
                for (i, out) in out.iter_mut().enumerate() {
                    *out = step * (f32::from(self.code(part, i)) - zero);
                }
            }
        }
    }
}

/// What a grid is packed from: codes [rows, columns], steps and zeros [rows, blocks]. Place p of a packed row is column
/// `order[p]`, or nothing where that is past the last.
pub struct Codes<'a> {
    pub codes: &'a [u8],
    pub columns: usize,
    pub order: &'a [u32],
    pub steps: &'a [f32],
    pub zeros: &'a [f32],
}

pub fn pack(grid: Grid, from: &Codes, out: &mut [u8]) -> Result<()> {
    let blocks = from.order.len() / grid.block_len();
    let row_bytes = blocks * grid.block_bytes();
    parallel::chunks(out, row_bytes, |start, out| {
        let row = start / row_bytes;
        let codes = &from.codes[row * from.columns..][..from.columns];
        let place = |p: usize| codes.get(from.order[p] as usize).copied().unwrap_or(0);
        let own = row * blocks..(row + 1) * blocks;
        grid.pack_row(place, &from.steps[own.clone()], &from.zeros[own], out);
    })
}
