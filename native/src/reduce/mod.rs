//! Reductions over the trailing axes. The order of every sum depends on shape and strides alone: pieces of
//! `PIECE` elements (along rows) or bands of rows (down columns) are folded by themselves and joined in order, in f64.

mod along_rows;
mod axes;
mod down_columns;
mod row_functions;

use crate::arena::{View, view};
use crate::copy;
use crate::dtype::num::Float;
use crate::dtype::{Compute, DType, Element};
use crate::fault::{Fault, Result, border, js};
use crate::lanes::{Fold, Max, Min, Product, Sum};
use crate::parallel;
use crate::with_compute;
use along_rows::along;
use axes::Axes;
use down_columns::down;
use napi_derive::napi;
use row_functions::{extreme, log_sum_exp};

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
