//! RMS norm (Zhang and Sennrich 2019, arXiv:1910.07467) and layer norm (Ba et al. 2016, arXiv:1607.06450) over the
//! last axis.

use crate::arena::{View, view};
use crate::copy;
use crate::dtype::Compute;
use crate::dtype::num::Float;
use crate::fault::{Fault, Result, border, js};
use crate::lanes::{Itself, Square, SquareFrom, Sum, fold};
use crate::rows::Rows;
use crate::{parallel, simd, with_compute};
use napi_derive::napi;

simd! {
    fn rms_row<T: Compute>(x: &[T], weight: Option<&[T]>, epsilon: f64, out: &mut [T]) {
        let mean = fold::<Sum, Square, T>(x, T::Wide::ZERO) / x.len() as f64;
        let scale = <T::Wide as Float>::from_f64(1.0 / (mean + epsilon).sqrt());
        match weight {
            Some(weight) => {
                for (o, (v, w)) in out.iter_mut().zip(x.iter().zip(weight)) {
                    *o = T::narrow(v.widen() * scale * w.widen());
                }
            }
            None => {
                for (o, v) in out.iter_mut().zip(x) {
                    *o = T::narrow(v.widen() * scale);
                }
            }
        }
    }
}

simd! {
    fn layer_row<T: Compute>(x: &[T], weight: &[T], bias: &[T], epsilon: f64, out: &mut [T]) {
        let count = x.len() as f64;
        let mean = <T::Wide as Float>::from_f64(fold::<Sum, Itself, T>(x, T::Wide::ZERO) / count);
        let variance = fold::<Sum, SquareFrom, T>(x, mean) / count;
        let scale = <T::Wide as Float>::from_f64(1.0 / (variance + epsilon).sqrt());
        for (o, (v, (w, b))) in out.iter_mut().zip(x.iter().zip(weight.iter().zip(bias))) {
            *o = T::narrow((v.widen() - mean) * scale * w.widen() + b.widen());
        }
    }
}

/// A weight or bias as a dense row of the type and width of x.
pub fn parameter(name: &str, x: &View, parameter: Option<&View>) -> Result<Option<View>> {
    let Some(parameter) = parameter else {
        return Ok(None);
    };
    let width = x.shape.last().copied().unwrap_or(1);
    if parameter.dtype != x.dtype || *parameter.shape != [width] {
        let (found, shape) = (parameter.dtype.name(), &*parameter.shape);
        return Err(Fault::shape(format!(
            "{name}: needs {} values of {}, got {shape:?} of {found}",
            width,
            x.dtype.name()
        )));
    }
    copy::contiguous(parameter).map(Some)
}

/// x / sqrt(mean(x^2) + epsilon) * weight
pub fn rms_norm(x: &View, weight: Option<&View>, epsilon: f64) -> Result<View> {
    let weight = parameter("rmsNorm", x, weight)?;
    let out = View::empty(x.dtype, &x.shape)?;
    let (x, rows) = Rows::of(x)?;
    let width = rows.width.max(1);
    with_compute!(x.dtype, "rmsNorm", T => {
        let from = x.tail::<T>()?;
        let weight = weight.as_ref().map(View::slice::<T>).transpose()?;
        parallel::chunks(out.slice_mut::<T>()?, rows.group() * width, |start, part| {
            for (index, out) in part.chunks_mut(width).enumerate() {
                let base = rows.base(start / width + index);
                rms_row::<T>(&from[base..base + width], weight, epsilon, out);
            }
        })
    })?;
    Ok(out)
}

/// (x - mean) / sqrt(variance + epsilon) * weight + bias, in two passes: the variance is that of x - mean.
pub fn layer_norm(x: &View, weight: Option<&View>, bias: Option<&View>, epsilon: f64) -> Result<View> {
    let width = x.shape.last().copied().unwrap_or(1);
    let weight = match parameter("layerNorm", x, weight)? {
        Some(weight) => weight,
        None => copy::fill(x.dtype, &[width], 1.0)?,
    };
    let bias = match parameter("layerNorm", x, bias)? {
        Some(bias) => bias,
        None => copy::fill(x.dtype, &[width], 0.0)?,
    };
    let out = View::empty(x.dtype, &x.shape)?;
    let (x, rows) = Rows::of(x)?;
    let width = rows.width.max(1);
    with_compute!(x.dtype, "layerNorm", T => {
        let from = x.tail::<T>()?;
        let (weight, bias) = (weight.slice::<T>()?, bias.slice::<T>()?);
        parallel::chunks(out.slice_mut::<T>()?, rows.group() * width, |start, part| {
            for (index, out) in part.chunks_mut(width).enumerate() {
                let base = rows.base(start / width + index);
                layer_row::<T>(&from[base..base + width], weight, bias, epsilon, out);
            }
        })
    })?;
    Ok(out)
}

#[napi(js_name = "rmsNorm")]
pub fn rms_norm_border(x: u32, weight: Option<u32>, epsilon: f64) -> js::Result<u32> {
    border(|| {
        let weight = weight.map(view).transpose()?;
        Ok(rms_norm(&view(x)?, weight.as_ref(), epsilon)?.into_handle())
    })
}

#[napi(js_name = "layerNorm")]
pub fn layer_norm_border(x: u32, weight: Option<u32>, bias: Option<u32>, epsilon: f64) -> js::Result<u32> {
    border(|| {
        let (weight, bias) = (weight.map(view).transpose()?, bias.map(view).transpose()?);
        Ok(layer_norm(&view(x)?, weight.as_ref(), bias.as_ref(), epsilon)?.into_handle())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DType;

    fn row(values: &[f32]) -> View {
        let x = View::empty(DType::F32, &[values.len()]).unwrap();
        x.slice_mut::<f32>().unwrap().copy_from_slice(values);
        x
    }

    #[test]
    fn rms_norm_divides_by_the_root_of_the_mean_square() {
        // Mean square of 3, 3, 3, 3 is 9; of 1, 7 it is 25.
        let x = row(&[1.0, 7.0]);
        assert_eq!(
            rms_norm(&x, None, 0.0).unwrap().slice::<f32>().unwrap(),
            [0.2, 7.0 * 0.2f32]
        );
        let weighted = rms_norm(&x, Some(&row(&[5.0, 0.0])), 0.0).unwrap();
        assert_eq!(weighted.slice::<f32>().unwrap(), [1.0, 0.0]);
    }

    #[test]
    fn layer_norm_centres_far_numbers_without_losing_them() {
        // A one-pass variance of numbers near 10000 would be noise in f32.
        let x = row(&[10_000.0, 10_002.0, 9_998.0, 10_000.0]);
        let got = layer_norm(&x, None, Some(&row(&[0.0, 0.0, 0.0, 1.0])), 0.0).unwrap();
        let root = 2f32.sqrt();
        let want = [0.0, root, -root, 1.0];
        got.slice::<f32>()
            .unwrap()
            .iter()
            .zip(want)
            .for_each(|(g, w)| assert!((g - w).abs() < 1e-6, "{g} {w}"));
    }

    #[test]
    fn a_weight_of_another_width_is_refused() {
        assert_eq!(
            rms_norm(&row(&[1.0, 2.0]), Some(&row(&[1.0])), 0.0)
                .err()
                .unwrap()
                .code,
            "PARE_E_SHAPE"
        );
    }
}
