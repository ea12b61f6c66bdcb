//! Rows turned by a Kronecker product of two small matrices behind an order, or back: the random orthogonal maps of Chee et
//! al. 2023, arXiv:2307.13304, section 4.
//!
//!   there    t_p = f_c x_c for the column c at place p,    y = L T R
//!   back     t = L X R,                                    y_c = f_c t_p
//!
//! T and X are the first a * b numbers of a row as a tile [a, b], L is [a, a], R is [b, b]; the numbers past the tile stay.

use crate::arena::{View, view};
use crate::copy;
use crate::dtype::DType;
use crate::fault::{Fault, Result, border, js};
use crate::{indices, parallel};
use napi_derive::napi;
use std::borrow::Cow;

#[cfg(test)]
mod tests;

/// Neighbours of a row that are summed side by side, and rows of a tile.
const LANES: usize = 16;
const HEIGHT: usize = 4;
/// Multiplications of one task, at least.
const TASK: usize = 1 << 17;

struct Turn<'a> {
    left: &'a [f32],
    /// [b, width], 0 past the last column.
    right: Cow<'a, [f32]>,
    a: usize,
    b: usize,
    /// b in whole lanes.
    width: usize,
    /// Column at each place.
    order: &'a [u32],
    /// Of each column.
    factors: Option<&'a [f32]>,
    back: bool,
}

/// out [R, ..] of R rows of `left`, for the lanes from `first` on.
#[inline(always)]
fn strip<const R: usize>(left: &[f32], right: &[f32], width: usize, first: usize, out: &mut [f32]) {
    let depth = right.len() / width;
    let rows: [&[f32]; R] = std::array::from_fn(|r| &left[r * depth..][..depth]);
    let mut sums = [[0.0f32; LANES]; R];
    for (k, line) in right.chunks_exact(width).enumerate() {
        let line = &line[first..first + LANES];
        for r in 0..R {
            for lane in 0..LANES {
                sums[r][lane] += rows[r][k] * line[lane];
            }
        }
    }
    for r in 0..R {
        out[r * width + first..][..LANES].copy_from_slice(&sums[r]);
    }
}

crate::simd! {
    /// out [rows, width] = left [rows, depth] right [depth, width], of whole lanes.
    fn product(left: &[f32], right: &[f32], width: usize, out: &mut [f32]) {
        let depth = right.len() / width;
        // Lanes outermost: those of all depths fit the nearest cache.
        for first in (0..width).step_by(LANES) {
            for (index, out) in out.chunks_mut(HEIGHT * width).enumerate() {
                let left = &left[index * HEIGHT * depth..];
                match out.len() / width {
                    HEIGHT => strip::<HEIGHT>(left, right, width, first, out),
                    3 => strip::<3>(left, right, width, first, out),
                    2 => strip::<2>(left, right, width, first, out),
                    _ => strip::<1>(left, right, width, first, out),
                }
            }
        }
    }
}

/// As `product`, `rows` of the output at a time on a thread of its own.
fn shared_product(left: &[f32], right: &[f32], width: usize, rows: usize, out: &mut [f32]) -> Result<()> {
    let depth = right.len() / width;
    parallel::chunks(out, rows * width, |start, out| {
        product(&left[start / width * depth..], right, width, out);
    })
}

impl Turn<'_> {
    /// L T R of a tile, as [a, width]; a row that is alone is shared out among threads.
    fn tile(&self, tile: &[f32], alone: bool) -> Result<Vec<f32>> {
        let rows = |depth: usize| {
            let least = TASK.div_ceil(depth * self.width).next_multiple_of(HEIGHT);
            if alone { least } else { self.a }
        };
        let mut inner = vec![0.0; self.a * self.width];
        shared_product(tile, &self.right, self.width, rows(self.b), &mut inner)?;
        let mut outer = vec![0.0; inner.len()];
        shared_product(self.left, &inner, self.width, rows(self.a), &mut outer)?;
        Ok(outer)
    }

    fn factor(&self, column: usize) -> f32 {
        self.factors.map_or(1.0, |factors| factors[column])
    }

    fn row(&self, x: &[f32], alone: bool, y: &mut [f32]) -> Result<()> {
        let head = self.a * self.b;
        let columns = self.order.iter().map(|&column| column as usize);
        let sorted = if self.back {
            Cow::Borrowed(x)
        } else {
            Cow::Owned(
                columns
                    .clone()
                    .map(|column| x[column] * self.factor(column))
                    .collect(),
            )
        };
        let tile = self.tile(&sorted[..head], alone)?;
        let turned = tile.chunks_exact(self.width).flat_map(|line| &line[..self.b]);
        let all = turned.chain(&sorted[head..]);
        if self.back {
            for (column, &t) in columns.zip(all) {
                y[column] = t * self.factor(column);
            }
        } else {
            y.iter_mut().zip(all).for_each(|(y, &t)| *y = t);
        }
        Ok(())
    }
}

/// `right` [b, b] with lines of whole lanes.
fn padded(right: &[f32], b: usize, width: usize) -> Cow<'_, [f32]> {
    if b == width {
        return Cow::Borrowed(right);
    }
    let mut lines = vec![0.0; b * width];
    for (line, from) in lines.chunks_exact_mut(width).zip(right.chunks_exact(b)) {
        line[..b].copy_from_slice(from);
    }
    Cow::Owned(lines)
}

pub fn turn(
    x: &View,
    order: &View,
    (left, right): (&View, &View),
    factors: Option<&View>,
    back: bool,
) -> Result<View> {
    let (&[rows, size], &[a, high], &[b, wide]) = (&*x.shape, &*left.shape, &*right.shape) else {
        return Err(Fault::shape(
            "kroneckerTurn: inputs and both factors have two axes",
        ));
    };
    let fits = a == high
        && b == wide
        && (1..=size).contains(&a.saturating_mul(b))
        && *order.shape == [size]
        && factors.is_none_or(|factors| *factors.shape == [size]);
    if !fits {
        return Err(Fault::shape(format!(
            "kroneckerTurn: factors {:?} and {:?}, an order {:?} and factors of columns {:?} do not fit inputs {:?}",
            &*left.shape,
            &*right.shape,
            &*order.shape,
            factors.map(|factors| factors.shape.to_vec()),
            &*x.shape
        )));
    }
    let width = b.next_multiple_of(LANES);
    let all = Turn {
        left: left.slice()?,
        right: padded(right.slice()?, b, width),
        a,
        b,
        width,
        order: indices::checked("kroneckerTurn", order, size)?,
        factors: factors.map(View::slice::<f32>).transpose()?,
        back,
    };
    let out = View::zeros(DType::F32, &[rows, size])?;
    let (x, y) = (x.slice::<f32>()?, out.slice_mut::<f32>()?);
    if rows == 1 {
        all.row(x, true, y)?;
    } else {
        let y = parallel::Shared(y.as_mut_ptr());
        parallel::try_tasks(rows, |row| {
            // SAFETY: a row of the output belongs to one task alone.
            let y = unsafe { std::slice::from_raw_parts_mut(y.get().add(row * size), size) };
            all.row(&x[row * size..][..size], false, y)
        })?;
    }
    Ok(out)
}

/// x f32 [rows, size], order u32 [size], left f32 [a, a], right f32 [b, b] with a * b up to the size, factors f32 [size]. Result
/// f32 [rows, size]; a row has the same bits alone, among others, and for every number of threads.
#[napi]
pub fn kronecker_turn(
    x: u32,
    order: u32,
    left: u32,
    right: u32,
    factors: Option<u32>,
    back: bool,
) -> js::Result<u32> {
    border(|| {
        let load = |handle: u32| copy::contiguous(&view(handle)?);
        let (x, order, factors) = (load(x)?, load(order)?, factors.map(load).transpose()?);
        let (left, right) = (load(left)?, load(right)?);
        Ok(turn(&x, &order, (&left, &right), factors.as_ref(), back)?.into_handle())
    })
}
