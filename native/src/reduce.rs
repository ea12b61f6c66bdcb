//! Reductions over the trailing axes. The order of every sum depends on shape and strides alone: pieces of
//! `PIECE` elements (along rows) or bands of rows (down columns) are folded by themselves and joined in order, in f64.

use crate::arena::{View, view};
use crate::copy::{self, collapse, row_offset};
use crate::dtype::num::Float;
use crate::dtype::{Compute, DType, Element};
use crate::fault::{Fault, Result, border, js};
use crate::lanes::{ExpFrom, Fold, Itself, Max, Min, Product, Sum, fold};
use crate::math::Math;
use crate::parallel::{self, Shared};
use crate::rows::{BLOCK, Pieces, load};
use crate::{simd, with_compute};
use napi_derive::napi;

/// Elements of one reduction that are folded without interruption.
const PIECE: usize = parallel::SMALL;
/// Columns that one task folds, and rows of a band of one column.
const COLUMNS: usize = 1024;

/// Shape and strides, with axes joined where they can be.
struct Axes {
    shape: Vec<usize>,
    strides: Vec<usize>,
    count: usize,
}

impl Axes {
    fn of(shape: &[usize], strides: &[usize]) -> Axes {
        let joined = collapse(shape, [strides]);
        let [strides] = joined.strides;
        Axes {
            count: shape.iter().product(),
            shape: joined.shape,
            strides,
        }
    }

    fn width(&self) -> usize {
        *self.shape.last().expect("one axis")
    }

    fn stride(&self) -> usize {
        *self.strides.last().expect("one axis")
    }

    /// Offset of the row-major `index`.
    #[inline]
    fn offset(&self, index: usize) -> usize {
        row_offset(index / self.width(), &self.shape, &self.strides) + index % self.width() * self.stride()
    }
}

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
fn along<T: Compute, O: Fold>(
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

simd! {
    /// Folds rows `start..end` of the columns from `base` on into `total`, eight rows at a time.
    fn fold_columns<T: Compute, O: Fold>(x: &[T], base: usize, axes: &Axes, start: usize, end: usize, total: &mut [T::Wide]) {
        let width = total.len();
        let mut sums = [O::start::<T::Wide>(); COLUMNS];
        let sums = &mut sums[..width];
        let line = |row: usize| {
            let at = base + axes.offset(row);
            &x[at..at + width]
        };
        let mut row = start;
        while row + 8 <= end {
            let [a, b, c, d, e, f, g, h] = [0, 1, 2, 3, 4, 5, 6, 7].map(|i: usize| line(row + i));
            for i in 0..width {
                let left = O::join(O::join(a[i].widen(), b[i].widen()), O::join(c[i].widen(), d[i].widen()));
                let right = O::join(O::join(e[i].widen(), f[i].widen()), O::join(g[i].widen(), h[i].widen()));
                sums[i] = O::join(sums[i], O::join(left, right));
            }
            row += 8;
        }
        for row in row..end {
            for (sum, v) in sums.iter_mut().zip(line(row)) {
                *sum = O::join(*sum, v.widen());
            }
        }
        total.copy_from_slice(sums);
    }
}

/// Folds down columns where the kept axis is the dense one, reading memory in its own order.
fn down<T: Compute, O: Fold>(
    x: &[T],
    kept: &Axes,
    reduced: &Axes,
    out: &mut [T],
    finish: impl Fn(f64) -> f64 + Sync,
) -> Result<()> {
    let width = kept.width();
    let columns = width.min(COLUMNS);
    let band = ((1 << 18) / columns).clamp(16, 2048);
    let (bands, blocks, outer) = (
        reduced.count.div_ceil(band),
        width.div_ceil(columns),
        kept.count / width,
    );
    let mut partial = vec![O::start::<T::Wide>(); outer * bands * width];
    let target = Shared(partial.as_mut_ptr());
    let task = |index: usize| {
        let (matrix, rest) = (index / (bands * blocks), index % (bands * blocks));
        let (first, left) = (rest / blocks * band, rest % blocks * columns);
        let count = columns.min(width - left);
        let at = (matrix * bands + rest / blocks) * width + left;
        // SAFETY: (matrix, band, columns) lies inside `partial`, and each task owns its own part of it.
        let total = unsafe { std::slice::from_raw_parts_mut(target.get().add(at), count) };
        let base = row_offset(matrix, &kept.shape, &kept.strides) + left;
        fold_columns::<T, O>(x, base, reduced, first, (first + band).min(reduced.count), total);
    };
    let tasks = outer * bands * blocks;
    if reduced.count * kept.count <= parallel::SMALL {
        (0..tasks).for_each(task)
    } else {
        parallel::tasks(tasks, task)?
    }
    parallel::chunks(out, parallel::SMALL, |start, part| {
        for (index, target) in part.iter_mut().enumerate() {
            let (matrix, column) = ((start + index) / width, (start + index) % width);
            let total = (0..bands).fold(O::start::<f64>(), |total, band| {
                O::join(total, partial[(matrix * bands + band) * width + column].to_f64())
            });
            *target = T::narrow(<T::Wide as Float>::from_f64(finish(total)));
        }
    })
}

fn folded<T: Compute, O: Fold>(x: &View, kept: usize, finish: impl Fn(f64) -> f64 + Sync) -> Result<View> {
    let out = View::empty(x.dtype, &x.shape[..kept])?;
    if out.is_empty() {
        return Ok(out);
    }
    if x.is_empty() {
        out.slice_mut::<T>()?
            .fill(T::narrow(<T::Wide as Float>::from_f64(finish(O::start::<f64>()))));
        return Ok(out);
    }
    let stay = Axes::of(&x.shape[..kept], &x.strides[..kept]);
    let go = Axes::of(&x.shape[kept..], &x.strides[kept..]);
    let from = x.tail::<T>()?;
    let across = go.stride() != 1 && stay.stride() == 1 && stay.width() >= 8;
    let target = out.slice_mut::<T>()?;
    if across {
        down::<T, O>(from, &stay, &go, target, finish)?
    } else {
        along::<T, O>(from, &stay, &go, target, finish)?
    }
    Ok(out)
}

simd! {
    /// ln of the sum of e^x, with the largest taken out.
    fn log_sum_exp<T: Compute>(x: &[T]) -> f64 {
        let top = fold::<Max, Itself, T>(x, T::Wide::ZERO);
        if !top.is_finite() {
            return top;
        }
        let shift = <T::Wide as Float>::from_f64(top);
        top + fold::<Sum, ExpFrom, T>(x, shift).ln()
    }
}

simd! {
    /// The first position of the largest (or smallest) element; the first NaN where there is one.
    fn extreme<T: Compute, O: Fold>(x: &[T]) -> u32 {
        let best = <T::Wide as Float>::from_f64(fold::<O, Itself, T>(x, T::Wide::ZERO));
        let mut first = 0;
        for block in x.chunks(64) {
            // Without branches inside of a block, so that it vectorises.
            let mut any = false;
            for v in block {
                any |= v.widen() == best || (best.is_nan() && v.widen().is_nan());
            }
            if any {
                break;
            }
            first += block.len();
        }
        while first + 1 < x.len() && !(x[first].widen() == best || (best.is_nan() && x[first].widen().is_nan())) {
            first += 1;
        }
        first as u32
    }
}

/// One result a row of a row-major copy.
fn by_rows<T: Element, R: Element>(
    x: &View,
    kept: usize,
    dtype: DType,
    body: impl Fn(&[T]) -> R + Send + Sync,
) -> Result<View> {
    let out = View::empty(dtype, &x.shape[..kept])?;
    let x = copy::contiguous(x)?;
    let from = x.slice::<T>()?;
    let width: usize = x.shape[kept..].iter().product();
    parallel::chunks(
        out.slice_mut::<R>()?,
        (parallel::SMALL / width.max(1)).max(1),
        |start, part| {
            for (index, target) in part.iter_mut().enumerate() {
                *target = body(&from[(start + index) * width..][..width]);
            }
        },
    )?;
    Ok(out)
}

/// Reduces all axes after the first `kept`.
pub fn reduce(name: &str, x: &View, kept: usize) -> Result<View> {
    if kept > x.shape.len() {
        return Err(Fault::shape(format!(
            "{name}: cannot keep {kept} axes of {:?}",
            &*x.shape
        )));
    }
    let width: usize = x.shape[kept..].iter().product();
    let rows: usize = x.shape[..kept].iter().product();
    if matches!(name, "max" | "min" | "argmax" | "argmin") && width == 0 && rows > 0 {
        return Err(Fault::shape(format!(
            "{name}: needs at least one element, got {:?}",
            &*x.shape
        )));
    }
    if let "any" | "all" = name {
        if x.dtype != DType::Bool {
            return Err(Fault::shape(format!(
                "{name}: needs bool, got {}; cast it first",
                x.dtype.name()
            )));
        }
        return match name {
            "any" => by_rows::<u8, u8>(x, kept, DType::Bool, |row| u8::from(row.iter().any(|&v| v != 0))),
            _ => by_rows::<u8, u8>(x, kept, DType::Bool, |row| u8::from(row.iter().all(|&v| v != 0))),
        };
    }
    if name == "prod" {
        // In f64, where the product of a part does not overflow so soon.
        let wide = with_compute!(x.dtype, name, T => copy::cast(x, DType::F64).map(|wide| (wide, T::DTYPE)))?;
        return copy::cast(&folded::<f64, Product>(&wide.0, kept, |v| v)?, wide.1);
    }
    with_compute!(x.dtype, name, T => match name {
        "sum" => folded::<T, Sum>(x, kept, |v| v),
        "mean" => folded::<T, Sum>(x, kept, |v| v / width as f64),
        "max" => folded::<T, Max>(x, kept, |v| v),
        "min" => folded::<T, Min>(x, kept, |v| v),
        "logsumexp" => by_rows::<T, T>(x, kept, x.dtype, |row| T::narrow(<<T as Compute>::Wide as Float>::from_f64(log_sum_exp::<T>(row)))),
        "argmax" => by_rows::<T, u32>(x, kept, DType::U32, extreme::<T, Max>),
        "argmin" => by_rows::<T, u32>(x, kept, DType::U32, extreme::<T, Min>),
        _ => Err(Fault::shape(format!("reduce: no operation is called {name}"))),
    })
}

#[napi(js_name = "reduce")]
pub fn reduce_border(name: String, x: u32, kept: u32) -> js::Result<u32> {
    border(|| Ok(reduce(&name, &view(x)?, kept as usize)?.into_handle()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Multiples of a quarter below 2^22 add up exactly in f32.
    fn exact(i: usize) -> f32 {
        (i * 7919 % 23) as f32 * 0.25 - 2.0
    }

    #[test]
    fn sums_along_rows_and_down_columns_are_exact_on_exact_numbers() {
        for (rows, columns) in [(1, 1), (3, 100), (100, 3), (17, 70_000), (5000, 9), (300, 2500)] {
            let x = View::filled(&[rows, columns], exact);
            let along = reduce("sum", &x, 1).unwrap();
            for (row, &got) in along.slice::<f32>().unwrap().iter().enumerate() {
                assert_eq!(got, (0..columns).map(|c| exact(row * columns + c)).sum::<f32>());
            }
            let turned = x.restrided(&[columns, rows], &[1, columns], 0).unwrap();
            let down = reduce("sum", &turned, 1).unwrap();
            for (column, &got) in down.slice::<f32>().unwrap().iter().enumerate() {
                assert_eq!(got, (0..rows).map(|r| exact(r * columns + column)).sum::<f32>());
            }
            let all = reduce("mean", &turned, 0).unwrap();
            let want =
                (0..rows * columns).map(|i| f64::from(exact(i))).sum::<f64>() / (rows * columns) as f64;
            assert_eq!(all.slice::<f32>().unwrap(), [want as f32]);
        }
    }

    #[test]
    fn every_number_of_threads_gives_the_same_bits() {
        let x = View::filled(&[1000, 1500], |i| (i as f32 * 0.37).sin());
        let turned = x.restrided(&[1500, 1000], &[1, 1500], 0).unwrap();
        let bits = |threads: usize| {
            parallel::set_threads(threads).unwrap();
            let parts = [
                reduce("sum", &x, 0),
                reduce("sum", &turned, 1),
                reduce("logsumexp", &x, 1),
            ];
            parts.map(|part| {
                part.unwrap()
                    .slice::<f32>()
                    .unwrap()
                    .iter()
                    .map(|v| v.to_bits())
                    .collect::<Vec<_>>()
            })
        };
        let one = bits(1);
        assert_eq!(one, bits(2));
        assert_eq!(one, bits(3));
    }

    #[test]
    fn argmax_takes_the_first_of_equals_and_the_first_nan() {
        let first = |x: &View, name: &str| reduce(name, x, 0).unwrap().slice::<u32>().unwrap()[0];
        assert_eq!(first(&View::filled(&[200], |i| (i % 50) as f32), "argmax"), 49);
        assert_eq!(
            first(&View::filled(&[200], |i| (i % 50) as f32 + 1.0), "argmin"),
            0
        );
        let with_nan = View::filled(&[200], |i| if i == 70 || i == 130 { f32::NAN } else { i as f32 });
        assert_eq!((first(&with_nan, "argmax"), first(&with_nan, "argmin")), (70, 70));
        assert!(reduce("max", &with_nan, 0).unwrap().slice::<f32>().unwrap()[0].is_nan());
    }

    #[test]
    fn empty_sums_are_zero_and_empty_maxima_are_refused() {
        let x = View::filled(&[2, 0], |_| 0.0);
        assert_eq!(reduce("sum", &x, 1).unwrap().slice::<f32>().unwrap(), [0.0, 0.0]);
        assert_eq!(reduce("prod", &x, 1).unwrap().slice::<f32>().unwrap(), [1.0, 1.0]);
        assert_eq!(reduce("max", &x, 1).err().unwrap().code, "PARE_E_SHAPE");
    }

    #[test]
    fn logsumexp_of_equal_numbers_adds_the_logarithm_of_their_count() {
        let x = View::filled(&[1, 100], |_| 1000.0);
        let got = reduce("logsumexp", &x, 1).unwrap().slice::<f32>().unwrap()[0];
        assert!((f64::from(got) - (1000.0 + 100f64.ln())).abs() < 1e-4);
        let none = View::filled(&[1, 100], |_| f32::NEG_INFINITY);
        assert_eq!(
            reduce("logsumexp", &none, 1).unwrap().slice::<f32>().unwrap()[0],
            f32::NEG_INFINITY
        );
    }
}
