//! How kernels walk strided views: rows along the last axis, cut into blocks that fit the first-level cache.

use crate::arena::{MAX_DIMS, View};
use crate::copy::{self, row_offset};
use crate::dtype::Element;
use crate::fault::Result;
use crate::parallel;

/// Elements of a block.
pub const BLOCK: usize = 512;

/// Part of one row: `length` elements from `column` of row `row`.
#[derive(Debug, PartialEq, Clone, Copy)]
pub struct Piece {
    pub row: usize,
    pub column: usize,
    pub length: usize,
}

/// The pieces, at most `limit` long, of the row-major positions `start..end` of rows of `width` elements.
pub struct Pieces {
    row: usize,
    column: usize,
    left: usize,
    width: usize,
    limit: usize,
}

impl Pieces {
    #[inline(always)]
    pub fn new(start: usize, end: usize, width: usize, limit: usize) -> Pieces {
        let width = width.max(1);
        Pieces {
            row: start / width,
            column: start % width,
            left: end - start,
            width,
            limit,
        }
    }
}

impl Iterator for Pieces {
    type Item = Piece;
    #[inline(always)]
    fn next(&mut self) -> Option<Piece> {
        if self.left == 0 {
            return None;
        }
        let length = (self.width - self.column).min(self.left).min(self.limit);
        let piece = Piece {
            row: self.row,
            column: self.column,
            length,
        };
        self.left -= length;
        self.column += length;
        if self.column == self.width {
            self.column = 0;
            self.row += 1;
        }
        Some(piece)
    }
}

/// `length` elements from `base` on, `stride` apart: the slice itself where it is dense, else gathered in `buffer`.
#[inline]
pub fn load<'a, T: Element>(
    from: &'a [T],
    base: usize,
    stride: usize,
    length: usize,
    buffer: &'a mut [T; BLOCK],
) -> &'a [T] {
    if stride == 1 {
        return &from[base..base + length];
    }
    let buffer = &mut buffer[..length];
    if stride == 0 {
        buffer.fill(from[base]);
    } else {
        // The last access proves all others.
        let from = &from[base..base + (length - 1) * stride + 1];
        buffer
            .iter_mut()
            .enumerate()
            .for_each(|(i, b)| *b = from[i * stride]);
    }
    buffer
}

/// `x`, or a row-major copy of it where a large tensor would be read across the grain of its memory.
pub fn readable(x: &View) -> Result<View> {
    let far = x.strides.last().is_some_and(|&stride| stride > 16) && x.shape.last().is_some_and(|&n| n > 1);
    if far && x.len() > parallel::SMALL {
        copy::copy(x)
    } else {
        Ok(x.clone())
    }
}

/// A tensor whose last axis is dense, as rows.
pub struct Rows {
    pub count: usize,
    pub width: usize,
    shape: [usize; MAX_DIMS],
    strides: [usize; MAX_DIMS],
    axes: usize,
}

impl Rows {
    /// The rows of `x`, or of a copy of it where its last axis is not dense. Without axes it is one row of one.
    pub fn of(x: &View) -> Result<(View, Rows)> {
        let axes = x.shape.len();
        let dense = axes == 0 || x.strides[axes - 1] == 1 || x.shape[axes - 1] <= 1;
        let view = if dense { x.clone() } else { copy::copy(x)? };
        let width = x.shape.last().copied().unwrap_or(1);
        let (mut shape, mut strides) = ([1; MAX_DIMS], [0; MAX_DIMS]);
        shape[..axes].copy_from_slice(&view.shape);
        strides[..axes].copy_from_slice(&view.strides);
        let axes = axes.max(1);
        Ok((
            view,
            Rows {
                count: shape[..axes - 1].iter().product(),
                width,
                shape,
                strides,
                axes,
            },
        ))
    }

    /// Where row `index` begins in the tail of the view.
    #[inline(always)]
    pub fn base(&self, index: usize) -> usize {
        row_offset(index, &self.shape[..self.axes], &self.strides[..self.axes])
    }

    /// Rows that one task takes.
    pub fn group(&self) -> usize {
        (parallel::SMALL / self.width.max(1)).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_a_range_in_order() {
        let pieces: Vec<Piece> = Pieces::new(5, 17, 7, 4).collect();
        let piece = |row, column, length| Piece { row, column, length };
        assert_eq!(
            pieces,
            [piece(0, 5, 2), piece(1, 0, 4), piece(1, 4, 3), piece(2, 0, 3)]
        );
        assert_eq!(Pieces::new(3, 3, 7, 4).count(), 0);
    }

    #[test]
    fn load_reads_dense_repeated_and_strided_elements() {
        let from: Vec<u32> = (0..20).collect();
        let mut buffer = [0; BLOCK];
        assert_eq!(load(&from, 3, 1, 4, &mut buffer), [3, 4, 5, 6]);
        assert_eq!(load(&from, 3, 0, 3, &mut buffer), [3, 3, 3]);
        assert_eq!(load(&from, 1, 6, 4, &mut buffer), [1, 7, 13, 19]);
    }
}
