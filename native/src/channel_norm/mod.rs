//! Norms whose statistics belong to groups of channels, with channels last: batch norm (Ioffe and Szegedy 2015,
//! arXiv:1502.03167; one sample of all rows, groups of one channel) and group norm (Wu and He 2018, arXiv:1803.08494;
//! every image is a sample). Memory is read twice: for the statistics, and for the result.
//!
//! Rows are cut into bands by shape alone. A band's mean and sum of squares around it are joined in f64 with those of
//! the others, in order (Chan, Golub and LeVeque 1979), so far numbers lose nothing and threads change no bits.

mod bands;
mod columns;
mod gradient;
#[cfg(test)]
mod tests;

use crate::arena::{View, view};
use crate::copy;
use crate::dtype::num::Float;
use crate::dtype::{Compute, DType, Element};
use crate::fault::{Fault, Result, border, js};
use crate::math::Math;
use crate::parallel::Shared;
use crate::with_compute;
use bands::{Layout, join};
use columns::{Added, Factors, affine, moments};
pub use gradient::{Found, channel_norm_gradient};
use napi_derive::napi;

/// Numbers of a parameter as f64, or one and the same number where there is none.
fn parameter(x: &View, parameter: Option<&View>, otherwise: f64) -> Result<Vec<f64>> {
    let channels = x.shape.last().copied().unwrap_or(1);
    let Some(parameter) = parameter else {
        return Ok(vec![otherwise; channels]);
    };
    if parameter.dtype != x.dtype || *parameter.shape != [channels] {
        return Err(Fault::shape(format!(
            "channelNorm: needs {channels} values of {}, got {:?} of {}",
            x.dtype.name(),
            &*parameter.shape,
            parameter.dtype.name()
        )));
    }
    Ok(copy::cast(&copy::contiguous(parameter)?, DType::F64)?
        .slice::<f64>()?
        .to_vec())
}

fn stored<W: Element + Math>(shape: &[usize], values: &[f64]) -> Result<View> {
    let out = View::empty(W::DTYPE, shape)?;
    let numbers = out.slice_mut::<W>()?;
    numbers
        .iter_mut()
        .zip(values)
        .for_each(|(to, &x)| *to = W::from_f64(x));
    Ok(out)
}

/// What follows a norm, in the same pass.
#[derive(Default)]
pub struct Ending<'a> {
    /// Added to the norm; of the shape and type of x.
    pub residual: Option<&'a View>,
    /// Numbers below 0 become 0.
    pub relu: bool,
}

fn alike(x: &View, other: &View) -> Result<View> {
    if other.dtype == x.dtype && *other.shape == *x.shape {
        return copy::contiguous(other);
    }
    Err(Fault::shape(format!(
        "channelNorm: needs {} {:?} like x, got {} {:?}",
        x.dtype.name(),
        &*x.shape,
        other.dtype.name(),
        &*other.shape
    )))
}

/// (x - mean) / sqrt(variance + epsilon) * weight + bias, with mean and variance of every group of a sample.
pub fn channel_norm(
    x: &View,
    weight: Option<&View>,
    bias: Option<&View>,
    ending: Ending,
    groups: usize,
    epsilon: f64,
) -> Result<[View; 3]> {
    let layout = Layout::of(x, groups)?;
    let residual = ending.residual.map(|residual| alike(x, residual)).transpose()?;
    let Layout {
        samples, channels, ..
    } = layout;
    let (weight, bias) = (parameter(x, weight, 1.0)?, parameter(x, bias, 0.0)?);
    let out = View::empty(x.dtype, &x.shape)?;
    let x = copy::contiguous(x)?;
    with_compute!(x.dtype, "channelNorm", T => {
        let from = x.slice::<T>()?;
        let folded = layout.fold(|_, numbers, mean, spread| moments::<T>(&from[numbers], channels, mean, spread))?;
        let [means, variances] = join(&layout, &folded);
        let factors: Vec<Factors<<T as Compute>::Wide>> = (0..samples)
            .map(|sample| Factors::of(channels, |channel| {
                let at = sample * groups + layout.group_of(channel);
                [means[at], weight[channel] / (variances[at] + epsilon).sqrt(), bias[channel]]
            }))
            .collect();
        let residual = residual.as_ref().map(View::slice::<T>).transpose()?;
        type Wide = <T as Compute>::Wide;
        let floor = if ending.relu { Wide::ZERO } else { <Wide as Float>::NEG_INFINITY };
        let target = Shared(out.slice_mut::<T>()?.as_mut_ptr());
        layout.each(|sample, numbers, _| {
            let residual = residual.map_or(&[] as &[T], |residual| &residual[numbers.clone()]);
            // SAFETY: bands do not overlap.
            let out = unsafe { std::slice::from_raw_parts_mut(target.get().add(numbers.start), numbers.len()) };
            affine::<T>(&from[numbers], &factors[sample], Added { residual, floor }, out);
        })?;
        Ok([
            out,
            stored::<<T as Compute>::Wide>(&[samples, groups], &means)?,
            stored::<<T as Compute>::Wide>(&[samples, groups], &variances)?,
        ])
    })
}

/// x * scale + shift for every channel of x [.., channels].
pub fn scale_shift(x: &View, scale: &View, shift: &View) -> Result<View> {
    let rows = x.shape[..x.shape.len().saturating_sub(1)].iter().product();
    let channels = x.shape.last().copied().unwrap_or(1);
    let dense = copy::contiguous(x)?;
    let flat = dense.restrided(
        &[1, rows, channels],
        &[rows * channels, channels, 1],
        dense.offset,
    )?;
    let layout = Layout::of(&flat, 1)?;
    let (scale, shift) = (
        parameter(&flat, Some(scale), 1.0)?,
        parameter(&flat, Some(shift), 0.0)?,
    );
    let out = View::empty(x.dtype, &x.shape)?;
    with_compute!(x.dtype, "scaleShift", T => {
        let from = flat.slice::<T>()?;
        let factors = Factors::<<T as Compute>::Wide>::of(channels, |channel| [0.0, scale[channel], shift[channel]]);
        let target = Shared(out.slice_mut::<T>()?.as_mut_ptr());
        layout.each(|_, numbers, _| {
            // SAFETY: bands do not overlap.
            let out = unsafe { std::slice::from_raw_parts_mut(target.get().add(numbers.start), numbers.len()) };
            let added = Added { residual: &[], floor: <<T as Compute>::Wide as Float>::NEG_INFINITY };
            affine::<T>(&from[numbers], &factors, added, out);
        })
    })?;
    Ok(out)
}

fn handles(views: impl IntoIterator<Item = View>) -> Vec<u32> {
    views.into_iter().map(View::into_handle).collect()
}

/// x [samples, rows, channels]; gives the result, and mean and variance [samples, groups]. A residual is added, and with
/// relu numbers below 0 become 0.
#[napi(js_name = "channelNorm")]
pub fn channel_norm_border(
    x: u32,
    weight: Option<u32>,
    bias: Option<u32>,
    residual: Option<u32>,
    relu: bool,
    groups: u32,
    epsilon: f64,
) -> js::Result<Vec<u32>> {
    border(|| {
        let [weight, bias, residual] = [weight, bias, residual].map(|part| part.map(view));
        let (weight, bias, residual) = (weight.transpose()?, bias.transpose()?, residual.transpose()?);
        channel_norm(
            &view(x)?,
            weight.as_ref(),
            bias.as_ref(),
            Ending {
                residual: residual.as_ref(),
                relu,
            },
            groups as usize,
            epsilon,
        )
        .map(handles)
    })
}

/// Gradients of x, weight and bias, and with `of_sum` that of what the residual was added to; `floored` is the result
/// where it had relu.
#[napi(js_name = "channelNormGradient")]
// A border function has its tensors and options side by side.
#[allow(clippy::too_many_arguments)]
pub fn channel_norm_gradient_border(
    x: u32,
    gradient: u32,
    weight: Option<u32>,
    mean: u32,
    variance: u32,
    floored: Option<u32>,
    of_sum: bool,
    groups: u32,
    epsilon: f64,
) -> js::Result<Vec<u32>> {
    border(|| {
        let weight = weight.map(view).transpose()?;
        let floored = floored.map(view).transpose()?;
        let found = Found {
            mean: &view(mean)?,
            variance: &view(variance)?,
            floored: floored.as_ref(),
        };
        let (x, gradient) = (view(x)?, view(gradient)?);
        channel_norm_gradient(
            &x,
            &gradient,
            weight.as_ref(),
            found,
            of_sum,
            groups as usize,
            epsilon,
        )
        .map(handles)
    })
}

#[napi(js_name = "scaleShift")]
pub fn scale_shift_border(x: u32, scale: u32, shift: u32) -> js::Result<u32> {
    border(|| Ok(scale_shift(&view(x)?, &view(scale)?, &view(shift)?)?.into_handle()))
}
