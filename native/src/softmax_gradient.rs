//! Gradients of softmax and its logarithm from their results, row by row while a row is in cache.

use crate::arena::{View, view};
use crate::dtype::Compute;
use crate::dtype::num::Float;
use crate::elementwise::alike;
use crate::fault::{Result, border, js};
use crate::lanes::{Itself, Sum, fold};
use crate::rows::Rows;
use crate::{parallel, simd, with_compute};
use napi_derive::napi;

simd! {
    /// y (dy - sum(dy y)); `products` is room for a row.
    fn softmax_row<T: Compute>(y: &[T], dy: &[T], products: &mut [T::Wide], out: &mut [T]) {
        for (p, (y, dy)) in products.iter_mut().zip(y.iter().zip(dy)) {
            *p = y.widen() * dy.widen();
        }
        let total = <T::Wide as Float>::from_f64(fold::<Sum, Itself, T::Wide>(products, T::Wide::ZERO));
        for (o, (y, dy)) in out.iter_mut().zip(y.iter().zip(dy)) {
            *o = T::narrow(y.widen() * (dy.widen() - total));
        }
    }
}

simd! {
    /// dy - exp(y) sum(dy)
    fn log_softmax_row<T: Compute>(y: &[T], dy: &[T], out: &mut [T]) {
        let total = <T::Wide as Float>::from_f64(fold::<Sum, Itself, T>(dy, T::Wide::ZERO));
        for (o, (y, dy)) in out.iter_mut().zip(y.iter().zip(dy)) {
            *o = T::narrow(dy.widen() - y.widen().exp() * total);
        }
    }
}

pub fn softmax_gradient(y: &View, dy: &View) -> Result<View> {
    alike("softmaxGradient", y, dy)?;
    let out = View::empty(y.dtype, &y.shape)?;
    let ((y, y_rows), (dy, dy_rows)) = (Rows::of(y)?, Rows::of(dy)?);
    let width = y_rows.width.max(1);
    with_compute!(y.dtype, "softmaxGradient", T => {
        let (y, dy) = (y.tail::<T>()?, dy.tail::<T>()?);
        parallel::chunks(out.slice_mut::<T>()?, y_rows.group() * width, |start, part| {
            let mut products = vec![<<T as Compute>::Wide as Float>::ZERO; width];
            for (index, out) in part.chunks_mut(width).enumerate() {
                let row = start / width + index;
                let (y, dy) = (&y[y_rows.base(row)..][..width], &dy[dy_rows.base(row)..][..width]);
                softmax_row::<T>(y, dy, &mut products, out);
            }
        })
    })?;
    Ok(out)
}

pub fn log_softmax_gradient(y: &View, dy: &View) -> Result<View> {
    alike("logSoftmaxGradient", y, dy)?;
    let out = View::empty(y.dtype, &y.shape)?;
    let ((y, y_rows), (dy, dy_rows)) = (Rows::of(y)?, Rows::of(dy)?);
    let width = y_rows.width.max(1);
    with_compute!(y.dtype, "logSoftmaxGradient", T => {
        let (y, dy) = (y.tail::<T>()?, dy.tail::<T>()?);
        parallel::chunks(out.slice_mut::<T>()?, y_rows.group() * width, |start, part| {
            for (index, out) in part.chunks_mut(width).enumerate() {
                let row = start / width + index;
                let (y, dy) = (&y[y_rows.base(row)..][..width], &dy[dy_rows.base(row)..][..width]);
                log_softmax_row::<T>(y, dy, out);
            }
        })
    })?;
    Ok(out)
}

/// y (dy - sum(dy y)) along the last axis, for y = softmax(x).
#[napi(js_name = "softmaxGradient")]
pub fn softmax_gradient_border(y: u32, dy: u32) -> js::Result<u32> {
    border(|| Ok(softmax_gradient(&view(y)?, &view(dy)?)?.into_handle()))
}

/// dy - exp(y) sum(dy) along the last axis, for y = logSoftmax(x).
#[napi(js_name = "logSoftmaxGradient")]
pub fn log_softmax_gradient_border(y: u32, dy: u32) -> js::Result<u32> {
    border(|| Ok(log_softmax_gradient(&view(y)?, &view(dy)?)?.into_handle()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gradient_along_the_row_of_ones_is_zero() {
        // Softmax does not change when all of a row grow alike.
        let y = View::filled(&[2, 40], |_| 1.0 / 40.0);
        let dy = View::filled(&[2, 40], |_| 3.0);
        let got = softmax_gradient(&y, &dy).unwrap();
        assert!(got.slice::<f32>().unwrap().iter().all(|v| v.abs() < 1e-6));
        let log = View::filled(&[2, 40], |_| (1.0f32 / 40.0).ln());
        let got = log_softmax_gradient(&log, &dy).unwrap();
        assert!(got.slice::<f32>().unwrap().iter().all(|v| v.abs() < 1e-5));
    }
}
