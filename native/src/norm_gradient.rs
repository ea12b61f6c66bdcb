//! Gradients of RMS norm and layer norm: of x, weight and bias in one pass over the rows. What a row needs of its mean
//! and variance is computed again from x. With s = 1 / sqrt(variance + epsilon), h = (x - mean) s and g = dy weight:
//!
//!   layer norm  dx = s (g - mean(g) - h mean(g h)), dweight = sum of dy h over rows, dbias = sum of dy over rows
//!   RMS norm    the same with a mean of 0 that x does not move: dx = s (g - h mean(g h))

use crate::arena::{View, view};
use crate::dtype::Compute;
use crate::dtype::num::Float;
use crate::elementwise::alike;
use crate::fault::{Result, border, js};
use crate::lanes::{Itself, Square, SquareFrom, Sum, fold};
use crate::norm::parameter;
use crate::parallel::{self, Shared};
use crate::rows::Rows;
use crate::{simd, with_compute};
use napi_derive::napi;

/// Bands of rows whose sums are kept apart, at most: cut by shape, so that the bits are those of any number of threads.
const BANDS: usize = 64;

simd! {
    /// One row; adds dy h to `scales` and dy to `shifts`. `g` and `h` are room for a row.
    fn row<T: Compute>(
        x: &[T],
        weight: Option<&[T]>,
        dy: &[T],
        epsilon: f64,
        centred: bool,
        g: &mut [T::Wide],
        h: &mut [T::Wide],
        dx: &mut [T],
        scales: &mut [T::Wide],
        shifts: &mut [T::Wide],
    ) {
        let count = x.len() as f64;
        let number = |value: f64| <T::Wide as Float>::from_f64(value);
        let mean = if centred { fold::<Sum, Itself, T>(x, T::Wide::ZERO) / count } else { 0.0 };
        let mean = number(mean);
        let variance = if centred {
            fold::<Sum, SquareFrom, T>(x, mean)
        } else {
            fold::<Sum, Square, T>(x, T::Wide::ZERO)
        } / count;
        let scale = number(1.0 / (variance + epsilon).sqrt());
        for (h, x) in h.iter_mut().zip(x) {
            *h = (x.widen() - mean) * scale;
        }
        for (total, (dy, h)) in scales.iter_mut().zip(dy.iter().zip(h.iter())) {
            *total += dy.widen() * *h;
        }
        for (total, dy) in shifts.iter_mut().zip(dy) {
            *total += dy.widen();
        }
        match weight {
            Some(weight) => {
                for (g, (dy, w)) in g.iter_mut().zip(dy.iter().zip(weight)) {
                    *g = dy.widen() * w.widen();
                }
            }
            None => {
                for (g, dy) in g.iter_mut().zip(dy) {
                    *g = dy.widen();
                }
            }
        }
        let drift = if centred { fold::<Sum, Itself, T::Wide>(g, T::Wide::ZERO) / count } else { 0.0 };
        let drift = number(drift);
        // g is needed twice: the products take its place, and it comes back out of dy and weight.
        for (g, h) in g.iter_mut().zip(h.iter()) {
            *g = *g * *h;
        }
        let along = number(fold::<Sum, Itself, T::Wide>(g, T::Wide::ZERO) / count);
        match weight {
            Some(weight) => {
                for (o, ((dy, w), h)) in dx.iter_mut().zip(dy.iter().zip(weight).zip(h.iter())) {
                    *o = T::narrow(scale * (dy.widen() * w.widen() - drift - *h * along));
                }
            }
            None => {
                for (o, (dy, h)) in dx.iter_mut().zip(dy.iter().zip(h.iter())) {
                    *o = T::narrow(scale * (dy.widen() - drift - *h * along));
                }
            }
        }
    }
}

struct Gradients {
    x: View,
    weight: View,
    bias: View,
}

fn gradients(name: &str, x: &View, weight: Option<&View>, dy: &View, epsilon: f64) -> Result<Gradients> {
    alike(name, x, dy)?;
    let centred = name == "layerNormGradient";
    let weight = parameter(name, x, weight)?;
    let width = x.shape.last().copied().unwrap_or(1);
    let dx = View::empty(x.dtype, &x.shape)?;
    let dweight = View::empty(x.dtype, &[width])?;
    let dbias = View::empty(x.dtype, &[width])?;
    let ((x, x_rows), (dy, dy_rows)) = (Rows::of(x)?, Rows::of(dy)?);
    let band = x_rows.group().max(x_rows.count.div_ceil(BANDS));
    let bands = if width == 0 {
        0
    } else {
        x_rows.count.div_ceil(band)
    };
    with_compute!(x.dtype, name, T => {
        type Wide = <T as Compute>::Wide;
        let (x, dy) = (x.tail::<T>()?, dy.tail::<T>()?);
        let weight = weight.as_ref().map(View::slice::<T>).transpose()?;
        let target = Shared(dx.slice_mut::<T>()?.as_mut_ptr());
        // Sums of each band: dy h, then dy.
        let mut sums = vec![<Wide as Float>::ZERO; bands * 2 * width];
        parallel::chunks(&mut sums, 2 * width, |start, sums| {
            let (scales, shifts) = sums.split_at_mut(width);
            let mut room = vec![<Wide as Float>::ZERO; 2 * width];
            let (g, h) = room.split_at_mut(width);
            let first = start / (2 * width) * band;
            for index in first..(first + band).min(x_rows.count) {
                // SAFETY: the row lies in the output, and belongs to this band alone.
                let dx = unsafe { std::slice::from_raw_parts_mut(target.get().add(index * width), width) };
                let (x, dy) = (&x[x_rows.base(index)..][..width], &dy[dy_rows.base(index)..][..width]);
                row::<T>(x, weight, dy, epsilon, centred, g, h, dx, scales, shifts);
            }
        })?;
        let mut totals = vec![0.0; 2 * width];
        for band in sums.chunks(2 * width.max(1)) {
            for (total, sum) in totals.iter_mut().zip(band) {
                *total += sum.to_f64();
            }
        }
        let (scales, shifts) = totals.split_at(width);
        for (out, totals) in [(&dweight, scales), (&dbias, shifts)] {
            for (o, &total) in out.slice_mut::<T>()?.iter_mut().zip(totals) {
                *o = T::narrow(<Wide as Float>::from_f64(total));
            }
        }
        Ok(())
    })?;
    Ok(Gradients {
        x: dx,
        weight: dweight,
        bias: dbias,
    })
}

/// The gradients of x and weight.
pub fn rms_norm_gradient(x: &View, weight: Option<&View>, dy: &View, epsilon: f64) -> Result<[View; 2]> {
    let Gradients { x, weight, .. } = gradients("rmsNormGradient", x, weight, dy, epsilon)?;
    Ok([x, weight])
}

/// The gradients of x, weight and bias.
pub fn layer_norm_gradient(x: &View, weight: Option<&View>, dy: &View, epsilon: f64) -> Result<[View; 3]> {
    let Gradients { x, weight, bias } = gradients("layerNormGradient", x, weight, dy, epsilon)?;
    Ok([x, weight, bias])
}

/// Handles of dx and dweight.
#[napi(js_name = "rmsNormGradient")]
pub fn rms_norm_gradient_border(x: u32, weight: Option<u32>, dy: u32, epsilon: f64) -> js::Result<Vec<u32>> {
    border(|| {
        let weight = weight.map(view).transpose()?;
        let found = rms_norm_gradient(&view(x)?, weight.as_ref(), &view(dy)?, epsilon)?;
        Ok(found.into_iter().map(View::into_handle).collect())
    })
}

/// Handles of dx, dweight and dbias.
#[napi(js_name = "layerNormGradient")]
pub fn layer_norm_gradient_border(
    x: u32,
    weight: Option<u32>,
    dy: u32,
    epsilon: f64,
) -> js::Result<Vec<u32>> {
    border(|| {
        let weight = weight.map(view).transpose()?;
        let found = layer_norm_gradient(&view(x)?, weight.as_ref(), &view(dy)?, epsilon)?;
        Ok(found.into_iter().map(View::into_handle).collect())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_two_has_the_gradient_worked_out_by_hand() {
        // x = 1, 7: the mean square is 25, so h = x / 5; g = dy = 1, 0; mean(g h) = 0.1; dx = (g - 0.1 h) / 5.
        let x = View::of(&[2], &[1f32, 7.0]);
        let dy = View::of(&[2], &[1f32, 0.0]);
        let [dx, dweight] = rms_norm_gradient(&x, None, &dy, 0.0).unwrap();
        let near = |got: &View, want: [f32; 2]| {
            let got = got.slice::<f32>().unwrap();
            assert!(
                (got[0] - want[0]).abs() < 1e-6 && (got[1] - want[1]).abs() < 1e-6,
                "{got:?}"
            );
        };
        near(&dx, [0.196, -0.028]);
        near(&dweight, [0.2, 0.0]);
        // Two numbers are normalised to -1 and 1 whatever they are: only the weights move the result.
        let [dx, dweight, dbias] = layer_norm_gradient(&x, None, &dy, 0.0).unwrap();
        near(&dx, [0.0, 0.0]);
        near(&dweight, [-1.0, 0.0]);
        near(&dbias, [1.0, 0.0]);
    }
}
