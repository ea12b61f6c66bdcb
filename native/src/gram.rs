//! accumulator += x^T x: tiles of one triangle are multiplied; the other is its mirror.

use crate::arena::{View, view};
use crate::copy;
use crate::dtype::DType;
use crate::fault::{Fault, Result, border, js};
use crate::micro_tiles::{Real, Sums, Tile, Wanted, lower_tiles};
use crate::packing::Operand;
use crate::panel::Panel;
use crate::parallel::{self, Shared};
use napi_derive::napi;

/// Rows summed in the type of x before they are added to the accumulator: bounds the error of f32 sums, which grow
/// in steps of some hundred rows.
const ROWS: usize = 2048;

/// x is [m, n] with a dense last axis; the accumulator is [n, n].
fn add_gram<T: Real, A: Real>(
    x: &[T],
    row_stride: usize,
    (m, n): (usize, usize),
    accumulator: &mut [A],
) -> Result<()> {
    let shape = T::tile_shape();
    let tiles = lower_tiles::<T>(n);
    let target = Shared(accumulator.as_mut_ptr());
    let rows = ROWS.min(m);
    let panels = (
        Panel::new::<T>(n, rows, shape.height)?,
        Panel::new::<T>(n, rows, shape.width)?,
    );
    for start in (0..m).step_by(ROWS) {
        let operand = Operand {
            lanes: n,
            depth: rows.min(m - start),
            lane_stride: 1,
            depth_stride: row_stride,
        };
        panels.0.fill(&x[start * row_stride..], operand)?;
        panels.1.fill(&x[start * row_stride..], operand)?;
        let (left, right) = (panels.0.numbers::<T>()?, panels.1.numbers::<T>()?);
        parallel::tasks(tiles.len(), |task| {
            let sums = Sums::of((left, right, operand.depth), tiles[task], Wanted::Lower);
            // SAFETY: places (i, j) of the lower triangle and their mirrors (j, i) belong to this tile alone.
            unsafe { add_mirrored(target.get(), n, tiles[task], &sums) };
        })?;
    }
    Ok(())
}

/// # Safety
/// The accumulator is [n, n], and nobody else touches the tile or its mirror.
unsafe fn add_mirrored<T: Real, A: Real>(accumulator: *mut A, n: usize, tile: Tile, sums: &Sums<T>) {
    sums.pieces(|i, column, sums| {
        let below = (i + 1).saturating_sub(column).min(sums.len());
        // SAFETY: the row i of the tile, up to the diagonal.
        let totals = unsafe { std::slice::from_raw_parts_mut(accumulator.add(i * n + column), below) };
        for (total, &sum) in totals.iter_mut().zip(sums) {
            *total += A::from_f64(sum.to_f64());
        }
    });
    for j in tile.columns.0..tile.columns.1 {
        for i in tile.rows.0.max(j + 1)..tile.rows.1 {
            // SAFETY: as promised by the caller.
            unsafe { *accumulator.add(j * n + i) = *accumulator.add(i * n + j) };
        }
    }
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
            add_gram::<f32, f32>(x.tail()?, x.strides[0], (m, n), accumulator.slice_mut()?)
        }
        (DType::F32, DType::F64) => {
            add_gram::<f32, f64>(x.tail()?, x.strides[0], (m, n), accumulator.slice_mut()?)
        }
        (DType::F64, DType::F64) => {
            add_gram::<f64, f64>(x.tail()?, x.strides[0], (m, n), accumulator.slice_mut()?)
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
