//! accumulator += x^T x, by tiles of one triangle; the other is its mirror.

use crate::arena::{View, view};
use crate::copy;
use crate::dtype::DType;
use crate::fault::{Fault, Result, border, js};
use crate::matmul::Real;
use crate::parallel::{self, Shared};
use napi_derive::napi;
use pare_dense::{Accum, MatMut, MatRef, Par};

/// Rows summed in the type of x before they are added to the accumulator: bounds the error of f32 sums.
const ROWS: usize = 512;

/// Edge of a tile: wide enough to repay packing, narrow enough that the diagonal tiles waste little.
fn tile_edge(n: usize) -> usize {
    let tiles = n.div_ceil(192).max(1);
    n.div_ceil(tiles).next_multiple_of(16).min(n.max(1))
}

/// x is [m, n] with a dense last axis; the accumulator is [n, n].
fn add_gram<T: Real, A: Real>(
    x: &[T],
    row_stride: usize,
    m: usize,
    n: usize,
    accumulator: &mut [A],
) -> Result<()> {
    let edge = tile_edge(n);
    let tiles = n.div_ceil(edge);
    let pairs: Vec<(usize, usize)> = (0..tiles)
        .flat_map(|i| (0..=i).map(move |j| (i * edge, j * edge)))
        .collect();
    let target = Shared(accumulator.as_mut_ptr());
    parallel::tasks(pairs.len(), |task| {
        let (top, left) = pairs[task];
        let (height, width) = (edge.min(n - top), edge.min(n - left));
        let mut tile = vec![T::ZERO; height * width];
        for start in (0..m).step_by(ROWS) {
            let rows = ROWS.min(m - start);
            // SAFETY: rows start .. start + rows and columns top .. top + height lie inside x; the tile is our own.
            let (a, b, out) = unsafe {
                (
                    MatRef::from_raw_parts(
                        x[start * row_stride + top..].as_ptr(),
                        height,
                        rows,
                        1,
                        row_stride as isize,
                    ),
                    MatRef::from_raw_parts(
                        x[start * row_stride + left..].as_ptr(),
                        rows,
                        width,
                        row_stride as isize,
                        1,
                    ),
                    MatMut::from_raw_parts_mut(tile.as_mut_ptr(), height, width, width as isize, 1),
                )
            };
            T::multiply(out, Accum::Replace, a, b, T::ONE, Par::Seq);
            for row in 0..height {
                for column in 0..width {
                    let value = A::from_f64(tile[row * width + column].to_f64());
                    let (i, j) = (top + row, left + column);
                    if top == left && j > i {
                        continue;
                    }
                    // SAFETY: (i, j) and its mirror (j, i) belong to this pair of tiles alone.
                    unsafe {
                        let sum = *target.get().add(i * n + j) + value;
                        *target.get().add(i * n + j) = sum;
                        *target.get().add(j * n + i) = sum;
                    }
                }
            }
        }
    })
}

pub fn add(accumulator: &View, x: &View) -> Result<()> {
    let wrong = |why: &str| {
        Fault::shape(format!(
            "gram: {why}, got accumulator {:?} and x {:?}",
            &*accumulator.shape, &*x.shape
        ))
    };
    if x.shape.len() != 2 || *accumulator.shape != [x.shape[1], x.shape[1]] {
        return Err(wrong("needs x [m, n] and an accumulator [n, n]"));
    }
    let x = if x.dtype == DType::BF16 {
        copy::cast(x, DType::F32)?
    } else {
        x.clone()
    };
    let x = if x.strides[1] == 1 || x.shape[1] <= 1 {
        x
    } else {
        copy::copy(&x)?
    };
    let (m, n) = (x.shape[0], x.shape[1]);
    if m == 0 || n == 0 {
        return Ok(());
    }
    match (x.dtype, accumulator.dtype) {
        (DType::F32, DType::F32) => {
            add_gram::<f32, f32>(x.tail()?, x.strides[0], m, n, accumulator.slice_mut()?)
        }
        (DType::F32, DType::F64) => {
            add_gram::<f32, f64>(x.tail()?, x.strides[0], m, n, accumulator.slice_mut()?)
        }
        (DType::F64, DType::F64) => {
            add_gram::<f64, f64>(x.tail()?, x.strides[0], m, n, accumulator.slice_mut()?)
        }
        (have, want) => Err(wrong(&format!(
            "cannot add products of {} into {}",
            have.name(),
            want.name()
        ))),
    }
}

/// In place: accumulator [n, n] (f32 or f64) += x^T x for x [m, n] in f32, f64 or bf16.
#[napi(js_name = "addGram")]
pub fn add_gram_border(accumulator: u32, x: u32) -> js::Result<()> {
    border(|| add(&view(accumulator)?, &view(x)?))
}
