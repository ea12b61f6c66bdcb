//! Softmax and its logarithm over the last axis, row by row while a row is in cache. A row of -infinity gives NaN.

use crate::arena::{View, view};
use crate::dtype::Compute;
use crate::dtype::num::Float;
use crate::fault::{Result, border, js};
use crate::lanes::{ExpFrom, Itself, Max, Sum, fold};
use crate::rows::Rows;
use crate::{parallel, simd, with_compute};
use napi_derive::napi;

simd! {
    fn softmax_row<T: Compute>(x: &[T], powers: &mut [T::Wide], out: &mut [T])
    {
        let top = <T::Wide as Float>::from_f64(fold::<Max, Itself, T>(x, T::Wide::ZERO));
        for (p, v) in powers.iter_mut().zip(x) {
            *p = (v.widen() - top).exp();
        }
        let total = fold::<Sum, Itself, T::Wide>(powers, T::Wide::ZERO);
        let scale = <T::Wide as Float>::from_f64(1.0 / total);
        for (o, p) in out.iter_mut().zip(powers) {
            *o = T::narrow(*p * scale);
        }
    }
}

simd! {
    fn log_softmax_row<T: Compute>(x: &[T], out: &mut [T]) {
        let top = <T::Wide as Float>::from_f64(fold::<Max, Itself, T>(x, T::Wide::ZERO));
        let total = <T::Wide as Float>::from_f64(fold::<Sum, ExpFrom, T>(x, top).ln());
        for (o, v) in out.iter_mut().zip(x) {
            *o = T::narrow(v.widen() - top - total);
        }
    }
}

pub fn softmax(x: &View) -> Result<View> {
    let out = View::empty(x.dtype, &x.shape)?;
    let (x, rows) = Rows::of(x)?;
    let width = rows.width.max(1);
    with_compute!(x.dtype, "softmax", T => {
        let from = x.tail::<T>()?;
        parallel::chunks(out.slice_mut::<T>()?, rows.group() * width, |start, part| {
            let mut powers = vec![<<T as Compute>::Wide as Float>::ZERO; width];
            for (index, out) in part.chunks_mut(width).enumerate() {
                let base = rows.base(start / width + index);
                softmax_row::<T>(&from[base..base + width], &mut powers, out);
            }
        })
    })?;
    Ok(out)
}

pub fn log_softmax(x: &View) -> Result<View> {
    let out = View::empty(x.dtype, &x.shape)?;
    let (x, rows) = Rows::of(x)?;
    let width = rows.width.max(1);
    with_compute!(x.dtype, "logSoftmax", T => {
        let from = x.tail::<T>()?;
        parallel::chunks(out.slice_mut::<T>()?, rows.group() * width, |start, part| {
            for (index, out) in part.chunks_mut(width).enumerate() {
                let base = rows.base(start / width + index);
                log_softmax_row::<T>(&from[base..base + width], out);
            }
        })
    })?;
    Ok(out)
}

#[napi(js_name = "softmax")]
pub fn softmax_border(x: u32) -> js::Result<u32> {
    border(|| Ok(softmax(&view(x)?)?.into_handle()))
}

#[napi(js_name = "logSoftmax")]
pub fn log_softmax_border(x: u32) -> js::Result<u32> {
    border(|| Ok(log_softmax(&view(x)?)?.into_handle()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DType;

    #[test]
    fn softmax_is_that_of_f64_rounded() {
        let x = View::empty(DType::F32, &[3, 101]).unwrap();
        x.slice_mut::<f32>()
            .unwrap()
            .iter_mut()
            .enumerate()
            .for_each(|(i, v)| *v = (i as f32 * 0.7).sin() * 20.0);
        let (got, log) = (softmax(&x).unwrap(), log_softmax(&x).unwrap());
        for row in 0..3 {
            let line: Vec<f64> = x.slice::<f32>().unwrap()[row * 101..][..101]
                .iter()
                .map(|&v| f64::from(v))
                .collect();
            let total: f64 = line.iter().map(|v| v.exp()).sum();
            for (i, v) in line.iter().enumerate() {
                let want = v.exp() / total;
                // The difference from the largest, up to 40, is rounded before exp, and exp is within 2 units.
                assert!(
                    (f64::from(got.slice::<f32>().unwrap()[row * 101 + i]) - want).abs()
                        <= (40.0 / 16_777_216.0 + 6e-7) * want
                );
                let want = want.ln();
                assert!(
                    (f64::from(log.slice::<f32>().unwrap()[row * 101 + i]) - want).abs()
                        <= 1e-6 * want.abs().max(1.0)
                );
            }
        }
    }

    #[test]
    fn a_row_of_minus_infinity_is_nan() {
        let x = View::empty(DType::F32, &[1, 70]).unwrap();
        x.slice_mut::<f32>().unwrap().fill(f32::NEG_INFINITY);
        assert!(
            softmax(&x)
                .unwrap()
                .slice::<f32>()
                .unwrap()
                .iter()
                .all(|v| v.is_nan())
        );
    }
}
