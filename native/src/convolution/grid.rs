//! Part of a batch of images as windows read it: with its border of zeros, and the channels of one group dense.

use crate::arena::View;
use crate::dtype::Element;
use crate::fault::Result;
use crate::micro_tiles::{Real, zero};
use std::ops::Range;

/// Extents of one image, channels last.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Extents {
    pub height: usize,
    pub width: usize,
    pub channels: usize,
}

impl Extents {
    pub fn of(shape: &[usize]) -> Extents {
        Extents {
            height: shape[1],
            width: shape[2],
            channels: shape[3],
        }
    }

    /// Numbers of one image.
    pub fn size(&self) -> usize {
        self.height * self.width * self.channels
    }
}

/// What is read of a batch: rows and columns may lie outside of the images.
#[derive(Clone)]
pub struct Region {
    pub images: Range<usize>,
    pub rows: Range<isize>,
    pub columns: Range<isize>,
    pub channels: Range<usize>,
}

enum Numbers<'a, T> {
    There(&'a [T]),
    Copied(View),
}

/// A region of a batch, its first number at position 0.
pub struct Grid<'a, T> {
    numbers: Numbers<'a, T>,
    /// Numbers from one pixel, row or image to the next.
    pub pixel: usize,
    pub row: usize,
    pub image: usize,
}

impl<'a, T: Real> Grid<'a, T> {
    /// The region of the images `from`; the images themselves where it needs no border and all channels.
    pub fn of(from: &'a [T], extents: Extents, region: &Region) -> Result<Grid<'a, T>> {
        let Extents {
            height,
            width,
            channels,
        } = extents;
        let inside = region.rows.start >= 0
            && region.rows.end <= height as isize
            && region.columns.start >= 0
            && region.columns.end <= width as isize;
        if inside && region.channels.len() == channels {
            let first = region.images.start * extents.size()
                + (region.rows.start as usize * width + region.columns.start as usize) * channels;
            return Ok(Grid {
                numbers: Numbers::There(&from[first.min(from.len())..]),
                pixel: channels,
                row: width * channels,
                image: extents.size(),
            });
        }
        let pixel = region.channels.len();
        let row = region.columns.len() * pixel;
        let image = region.rows.len() * row;
        let copy = View::empty(<T as Element>::DTYPE, &[region.images.len() * image])?;
        fill(from, extents, region, copy.slice_mut::<T>()?);
        Ok(Grid {
            numbers: Numbers::Copied(copy),
            pixel,
            row,
            image,
        })
    }

    pub fn numbers(&self) -> Result<&[T]> {
        match &self.numbers {
            Numbers::There(numbers) => Ok(numbers),
            Numbers::Copied(view) => view.slice::<T>(),
        }
    }
}

/// Copies a region; what lies outside of the images is zero.
pub fn fill<T: Real>(from: &[T], extents: Extents, region: &Region, to: &mut [T]) {
    let Extents {
        height,
        width,
        channels,
    } = extents;
    let pixel = region.channels.len();
    let line = region.columns.len() * pixel;
    if line == 0 || to.is_empty() {
        return;
    }
    let before = (-region.columns.start).clamp(0, region.columns.len() as isize) as usize;
    let first = region.columns.start.clamp(0, width as isize) as usize;
    let last = region.columns.end.clamp(first as isize, width as isize) as usize;
    let rows = region.rows.len();
    for (index, line) in to.chunks_exact_mut(line).enumerate() {
        let (image, row) = (
            region.images.start + index / rows,
            region.rows.start + (index % rows) as isize,
        );
        if row < 0 || row >= height as isize {
            line.fill(zero());
            continue;
        }
        let (left, rest) = line.split_at_mut(before * pixel);
        let (middle, right) = rest.split_at_mut((last - first) * pixel);
        left.fill(zero());
        right.fill(zero());
        let source = &from[((image * height + row as usize) * width + first) * channels..];
        if pixel == channels {
            middle.copy_from_slice(&source[..middle.len()]);
            continue;
        }
        for (to, from) in middle.chunks_exact_mut(pixel).zip(source.chunks(channels)) {
            to.copy_from_slice(&from[region.channels.clone()]);
        }
    }
}
