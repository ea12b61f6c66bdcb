//! Folds along rows, in pieces.

use super::axes::Axes;
use crate::copy::row_offset;
use crate::dtype::Compute;
use crate::dtype::num::Float;
use crate::fault::Result;
use crate::lanes::{Fold, Itself, fold};
use crate::parallel;
use crate::rows::{BLOCK, Pieces, load};
use crate::simd;

/// Elements of one reduction that are folded without interruption.
const PIECE: usize = parallel::SMALL;

simd! {
    fn fold_dense<T: Compute, O: Fold>(x: &[T]) -> f64 {
        fold::<O, Itself, T>(x, T::Wide::ZERO)
    }
}

/// Folds the positions `start..end` of one reduction.
fn fold_rows<T: Compute, O: Fold>(x: &[T], base: usize, axes: &Axes, start: usize, end: usize) -> f64 {
    let (width, stride) = (axes.width(), axes.stride());
    let mut total = O::start::<f64>();
    let mut buffer = [x[base]; BLOCK];
    let limit = if stride == 1 { PIECE } else { BLOCK };
    for piece in Pieces::new(start, end, width, limit) {
        let at = base + row_offset(piece.row, &axes.shape, &axes.strides) + piece.column * stride;
        let part = load(x, at, stride, piece.length, &mut buffer);
        total = O::join(total, fold_dense::<T, O>(part));
    }
    total
}

/// Folds along rows; `finish` turns each total into a result.
pub(super) fn along<T: Compute, O: Fold>(
    x: &[T],
    kept: &Axes,
    reduced: &Axes,
    out: &mut [T],
    finish: impl Fn(f64) -> f64 + Sync,
) -> Result<()> {
    let narrow = |total: f64| T::narrow(<T::Wide as Float>::from_f64(finish(total)));
    let pieces = reduced.count.div_ceil(PIECE);
    if pieces <= 1 {
        return parallel::chunks(out, (PIECE / reduced.count.max(1)).max(1), |start, part| {
            for (index, target) in part.iter_mut().enumerate() {
                *target = narrow(fold_rows::<T, O>(
                    x,
                    kept.offset(start + index),
                    reduced,
                    0,
                    reduced.count,
                ));
            }
        });
    }
    let mut partial = vec![0.0; kept.count * pieces];
    parallel::chunks(&mut partial, 1, |task, total| {
        let start = task % pieces * PIECE;
        let end = (start + PIECE).min(reduced.count);
        total[0] = fold_rows::<T, O>(x, kept.offset(task / pieces), reduced, start, end);
    })?;
    for (target, totals) in out.iter_mut().zip(partial.chunks(pieces)) {
        *target = narrow(
            totals
                .iter()
                .fold(O::start::<f64>(), |total, &part| O::join(total, part)),
        );
    }
    Ok(())
}
