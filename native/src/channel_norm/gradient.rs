//! The way back through a norm of channels: sums over the rows of every band, and then the gradient of x.

use super::bands::Layout;
use super::columns::{Factors, gradient_sums, input_gradient, masked};
use super::{alike, parameter, stored};
use crate::arena::View;
use crate::copy;
use crate::dtype::num::Float;
use crate::dtype::{Compute, DType};
use crate::fault::{Fault, Result};
use crate::parallel::Shared;
use crate::with_compute;

/// What a norm gave.
pub struct Found<'a> {
    pub mean: &'a View,
    pub variance: &'a View,
    /// The result, where numbers below 0 became 0.
    pub floored: Option<&'a View>,
}

/// Gradients of x, weight and bias of a norm; and with `of_sum` that of the sum of norm and residual.
pub fn channel_norm_gradient(
    x: &View,
    gradient: &View,
    weight: Option<&View>,
    Found {
        mean,
        variance,
        floored,
    }: Found,
    of_sum: bool,
    groups: usize,
    epsilon: f64,
) -> Result<Vec<View>> {
    let layout = Layout::of(x, groups)?;
    let Layout {
        samples, channels, ..
    } = layout;
    if gradient.dtype != x.dtype
        || *gradient.shape != *x.shape
        || [mean, variance].iter().any(|s| *s.shape != [samples, groups])
    {
        return Err(Fault::shape(format!(
            "channelNorm: needs a gradient and statistics that fit x {:?}, got {:?} and {:?}",
            &*x.shape, &*gradient.shape, &*mean.shape
        )));
    }
    let weight = parameter(x, weight, 1.0)?;
    let floored = floored.map(|floored| alike(x, floored)).transpose()?;
    let out = View::empty(x.dtype, &x.shape)?;
    // Where the sum's gradient is asked for, it has a place of its own.
    let arrived = match floored {
        Some(_) if of_sum => Some(View::empty(x.dtype, &x.shape)?),
        _ => None,
    };
    let (x, gradient) = (copy::contiguous(x)?, copy::contiguous(gradient)?);
    let numbers = |x: &View| -> Result<Vec<f64>> {
        Ok(copy::cast(&copy::contiguous(x)?, DType::F64)?
            .slice::<f64>()?
            .to_vec())
    };
    let means = numbers(mean)?;
    let roots: Vec<f64> = numbers(variance)?
        .iter()
        .map(|v| 1.0 / (v + epsilon).sqrt())
        .collect();
    with_compute!(x.dtype, "channelNorm", T => {
        type Wide = <T as Compute>::Wide;
        let (from, g) = (x.slice::<T>()?, gradient.slice::<T>()?);
        let of_channels = |sample: usize| (0..channels).map(move |channel| sample * groups + layout.group_of(channel));
        let centres: Vec<Vec<Wide>> = (0..samples)
            .map(|sample| of_channels(sample).map(|at| <Wide as Float>::from_f64(means[at])).collect())
            .collect();
        let floored = floored.as_ref().map(View::slice::<T>).transpose()?;
        let target = Shared(out.slice_mut::<T>()?.as_mut_ptr());
        let sum_target = match &arrived {
            Some(arrived) => Shared(arrived.slice_mut::<T>()?.as_mut_ptr()),
            None => Shared(target.get()),
        };
        let folded = layout.fold(|sample, numbers, plain, weighted| {
            let (x, mut g) = (&from[numbers.clone()], &g[numbers.clone()]);
            if let Some(floored) = floored {
                // SAFETY: bands do not overlap.
                let of_sum = unsafe { std::slice::from_raw_parts_mut(sum_target.get().add(numbers.start), numbers.len()) };
                masked::<T>(&floored[numbers], g, of_sum);
                g = of_sum;
            }
            gradient_sums::<T>(x, g, &centres[sample], plain, weighted)
        })?;
        let mut sums = vec![0.0; samples * 2 * channels];
        for (band, pair) in folded.chunks_exact((2 * channels).max(1)).enumerate() {
            let total = &mut sums[band / layout.bands() * 2 * channels..];
            total.iter_mut().zip(pair).for_each(|(total, x)| *total += x);
        }
        let (mut weight_gradient, mut bias_gradient) = (vec![0.0; channels], vec![0.0; channels]);
        let mut factors = Vec::with_capacity(samples);
        for (sample, pair) in sums.chunks_exact((2 * channels).max(1)).enumerate() {
            let (plain, weighted) = pair.split_at(channels);
            // Means over a group of the gradient of the normalized x, and of its product with the normalized x.
            let (mut shifts, mut slopes) = (vec![0.0; groups], vec![0.0; groups]);
            for (channel, at) in of_channels(sample).enumerate() {
                let group = layout.group_of(channel);
                shifts[group] += weight[channel] * plain[channel] / layout.count();
                slopes[group] += weight[channel] * weighted[channel] * roots[at] / layout.count();
                bias_gradient[channel] += plain[channel];
                weight_gradient[channel] += weighted[channel] * roots[at];
            }
            factors.push(Factors::<Wide>::of(channels, |channel| {
                let group = layout.group_of(channel);
                let root = roots[sample * groups + group];
                [weight[channel] * root, slopes[group] * root * root, shifts[group] * root]
            }));
        }
        let has_arrived = arrived.is_some();
        layout.each(|sample, numbers, _| {
            // SAFETY: bands do not overlap.
            let out = unsafe { std::slice::from_raw_parts_mut(target.get().add(numbers.start), numbers.len()) };
            if floored.is_none() {
                out.copy_from_slice(&g[numbers.clone()]);
            } else if has_arrived {
                // SAFETY: the bands of both outputs do not overlap, and nobody writes to this one now.
                out.copy_from_slice(unsafe { std::slice::from_raw_parts(sum_target.get().add(numbers.start), numbers.len()) });
            }
            input_gradient::<T>(&from[numbers], &centres[sample], &factors[sample], out);
        })?;
        let dtype = x.dtype;
        let parameter = |values: &[f64]| copy::cast(&stored::<Wide>(&[channels], values)?, dtype);
        let mut all = vec![out, parameter(&weight_gradient)?, parameter(&bias_gradient)?];
        if of_sum {
            all.push(arrived.unwrap_or(gradient));
        }
        Ok(all)
    })
}
