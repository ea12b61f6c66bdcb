//! Norms whose statistics belong to groups of channels, with channels last: batch norm (Ioffe and Szegedy 2015,
//! arXiv:1502.03167; one sample of all rows, groups of one channel) and group norm (Wu and He 2018, arXiv:1803.08494;
//! every image is a sample). Memory is read twice: for the statistics, and for the result.
//!
//! Rows are cut into bands by shape alone. A band's mean and sum of squares around it are joined in f64 with those of
//! the others, in order (Chan, Golub and LeVeque 1979), so far numbers lose nothing and threads change no bits.

use crate::arena::{View, view};
use crate::copy;
use crate::dtype::num::Float;
use crate::dtype::{Compute, DType, Element};
use crate::fault::{Fault, Result, border, js};
use crate::math::Math;
use crate::parallel::{self, Shared};
use crate::{simd, with_compute};
use napi_derive::napi;

/// Channels whose sums stay in registers, and rows that are summed side by side.
const LANES: usize = 16;
const CHAINS: usize = 4;
/// Numbers of a band: its second reading comes from the first-level cache.
const BAND: usize = 1 << 13;

/// x as [samples, rows, channels].
#[derive(Clone, Copy)]
struct Layout {
    samples: usize,
    rows: usize,
    channels: usize,
    groups: usize,
    band_rows: usize,
}

impl Layout {
    fn of(x: &View, groups: usize) -> Result<Layout> {
        let &[samples, rows, channels] = &*x.shape else {
            return Err(Fault::shape(format!(
                "channelNorm: needs [samples, rows, channels], got {:?}",
                &*x.shape
            )));
        };
        if groups == 0 || channels % groups != 0 {
            return Err(Fault::shape(format!(
                "channelNorm: {channels} channels do not divide into {groups} groups"
            )));
        }
        let band_rows = (BAND / channels.max(1)).clamp(16, 512);
        Ok(Layout {
            samples,
            rows,
            channels,
            groups,
            band_rows,
        })
    }

    fn bands(&self) -> usize {
        self.rows.div_ceil(self.band_rows)
    }

    fn group_of(&self, channel: usize) -> usize {
        channel / (self.channels / self.groups)
    }

    /// Numbers that one statistic is taken over.
    fn count(&self) -> f64 {
        (self.rows * (self.channels / self.groups)) as f64
    }

    /// Calls `body(sample, numbers of a band, band)` for every band; bands are numbered through all samples.
    fn each(&self, body: impl Fn(usize, std::ops::Range<usize>, usize) + Send + Sync) -> Result<()> {
        let bands = self.bands();
        let run = |band: usize| {
            let (sample, first) = (band / bands, band % bands * self.band_rows);
            let last = (first + self.band_rows).min(self.rows);
            let start = sample * self.rows;
            body(sample, (start + first) * self.channels..(start + last) * self.channels, band);
        };
        if self.samples * self.rows * self.channels <= parallel::SMALL {
            (0..self.samples * bands).for_each(run);
            return Ok(());
        }
        parallel::tasks(self.samples * bands, run)
    }

    /// Two numbers a channel from every band, [samples, bands, 2, channels].
    fn fold(&self, body: impl Fn(usize, std::ops::Range<usize>, &mut [f64], &mut [f64]) + Send + Sync) -> Result<Vec<f64>> {
        let pair = 2 * self.channels;
        let mut folded = vec![0.0; self.samples * self.bands() * pair];
        let target = Shared(folded.as_mut_ptr());
        self.each(|sample, numbers, band| {
            // SAFETY: every band has a place of its own.
            let pair = unsafe { std::slice::from_raw_parts_mut(target.get().add(band * pair), pair) };
            let (first, second) = pair.split_at_mut(self.channels);
            body(sample, numbers, first, second);
        })?;
        Ok(folded)
    }
}

/// The sum of a term of every row for `L` channels; the order depends on the number of rows alone.
#[inline(always)]
fn down<W: Math, const L: usize>(rows: usize, term: impl Fn(usize) -> [W; L]) -> [W; L] {
    let mut sums = [[W::ZERO; L]; CHAINS];
    let whole = rows - rows % CHAINS;
    for row in (0..whole).step_by(CHAINS) {
        for chain in 0..CHAINS {
            let x = term(row + chain);
            for lane in 0..L {
                sums[chain][lane] += x[lane];
            }
        }
    }
    for row in whole..rows {
        let x = term(row);
        for lane in 0..L {
            sums[row - whole][lane] += x[lane];
        }
    }
    std::array::from_fn(|lane| (sums[0][lane] + sums[1][lane]) + (sums[2][lane] + sums[3][lane]))
}

#[inline(always)]
fn line<T: Compute, const L: usize>(x: &[T], at: usize) -> [T::Wide; L] {
    let line = x[at..].first_chunk::<L>().expect("rows hold all channels");
    std::array::from_fn(|lane| line[lane].widen())
}

#[inline(always)]
fn moments_of<T: Compute, const L: usize>(x: &[T], channels: usize, channel: usize, mean: &mut [f64], spread: &mut [f64]) {
    let rows = x.len() / channels;
    let at = |row: usize| line::<T, L>(x, row * channels + channel);
    let count = <T::Wide as Float>::from_f64(rows as f64);
    let centre: [T::Wide; L] = down::<T::Wide, L>(rows, at).map(|sum| sum / count);
    let squares = down::<T::Wide, L>(rows, |row| {
        let x = at(row);
        std::array::from_fn(|lane| {
            let distance = x[lane] - centre[lane];
            distance * distance
        })
    });
    for lane in 0..L {
        mean[channel + lane] = centre[lane].to_f64();
        spread[channel + lane] = squares[lane].to_f64();
    }
}

simd! {
    /// Mean and sum of squares around it of every channel of a band.
    fn moments<T: Compute>(x: &[T], channels: usize, mean: &mut [f64], spread: &mut [f64]) {
        let dense = channels - channels % LANES;
        for channel in (0..dense).step_by(LANES) {
            moments_of::<T, LANES>(x, channels, channel, mean, spread);
        }
        for channel in dense..channels {
            moments_of::<T, 1>(x, channels, channel, mean, spread);
        }
    }
}

#[inline(always)]
fn gradient_sums_of<T: Compute, const L: usize>(
    x: &[T],
    gradient: &[T],
    centre: &[T::Wide],
    channel: usize,
    plain: &mut [f64],
    weighted: &mut [f64],
) {
    let channels = centre.len();
    let rows = x.len() / channels;
    let middle = *centre[channel..].first_chunk::<L>().expect("a mean for every channel");
    let at = |row: usize| line::<T, L>(gradient, row * channels + channel);
    let sums = down::<T::Wide, L>(rows, at);
    let products = down::<T::Wide, L>(rows, |row| {
        let (x, g) = (line::<T, L>(x, row * channels + channel), at(row));
        std::array::from_fn(|lane| (x[lane] - middle[lane]) * g[lane])
    });
    for lane in 0..L {
        plain[channel + lane] = sums[lane].to_f64();
        weighted[channel + lane] = products[lane].to_f64();
    }
}

simd! {
    /// Sums of the gradient, and of the gradient times the distance of x from its mean, for every channel of a band.
    fn gradient_sums<T: Compute>(x: &[T], gradient: &[T], centre: &[T::Wide], plain: &mut [f64], weighted: &mut [f64]) {
        let channels = centre.len();
        let dense = channels - channels % LANES;
        for channel in (0..dense).step_by(LANES) {
            gradient_sums_of::<T, LANES>(x, gradient, centre, channel, plain, weighted);
        }
        for channel in dense..channels {
            gradient_sums_of::<T, 1>(x, gradient, centre, channel, plain, weighted);
        }
    }
}

/// Three numbers for every channel, [3, channels].
struct Factors<W> {
    numbers: Vec<W>,
    channels: usize,
}

impl<W: Math> Factors<W> {
    fn of(channels: usize, mut of_channel: impl FnMut(usize) -> [f64; 3]) -> Factors<W> {
        let mut numbers = vec![W::ZERO; 3 * channels];
        for channel in 0..channels {
            for (i, value) in of_channel(channel).into_iter().enumerate() {
                numbers[i * channels + channel] = W::from_f64(value);
            }
        }
        Factors { numbers, channels }
    }

    #[inline(always)]
    fn at<const L: usize>(&self, channel: usize) -> [[W; L]; 3] {
        std::array::from_fn(|i| {
            *self.numbers[i * self.channels + channel..].first_chunk::<L>().expect("factors of every channel")
        })
    }
}

#[inline(always)]
fn affine_of<T: Compute, const L: usize>(x: &[T], factors: &Factors<T::Wide>, channel: usize, out: &mut [T]) {
    let [centre, scale, shift] = factors.at::<L>(channel);
    let x = line::<T, L>(x, channel);
    for lane in 0..L {
        out[channel + lane] = T::narrow((x[lane] - centre[lane]) * scale[lane] + shift[lane]);
    }
}

simd! {
    /// (x - centre) * scale + shift
    fn affine<T: Compute>(x: &[T], factors: &Factors<T::Wide>, out: &mut [T]) {
        let channels = factors.channels;
        let dense = channels - channels % LANES;
        for (x, out) in x.chunks_exact(channels).zip(out.chunks_exact_mut(channels)) {
            for channel in (0..dense).step_by(LANES) {
                affine_of::<T, LANES>(x, factors, channel, out);
            }
            for channel in dense..channels {
                affine_of::<T, 1>(x, factors, channel, out);
            }
        }
    }
}

#[inline(always)]
fn input_gradient_of<T: Compute, const L: usize>(
    (x, gradient): (&[T], &[T]),
    (centre, factors): (&[T::Wide], &Factors<T::Wide>),
    channel: usize,
    out: &mut [T],
) {
    let [scale, slope, shift] = factors.at::<L>(channel);
    let centre = *centre[channel..].first_chunk::<L>().expect("a mean for every channel");
    let (x, g) = (line::<T, L>(x, channel), line::<T, L>(gradient, channel));
    for lane in 0..L {
        out[channel + lane] = T::narrow(g[lane] * scale[lane] - (x[lane] - centre[lane]) * slope[lane] - shift[lane]);
    }
}

simd! {
    /// gradient * scale - (x - centre) * slope - shift
    fn input_gradient<T: Compute>(x: &[T], gradient: &[T], centre: &[T::Wide], factors: &Factors<T::Wide>, out: &mut [T]) {
        let channels = factors.channels;
        let dense = channels - channels % LANES;
        let rows = x.chunks_exact(channels).zip(gradient.chunks_exact(channels));
        for (pair, out) in rows.zip(out.chunks_exact_mut(channels)) {
            for channel in (0..dense).step_by(LANES) {
                input_gradient_of::<T, LANES>(pair, (centre, factors), channel, out);
            }
            for channel in dense..channels {
                input_gradient_of::<T, 1>(pair, (centre, factors), channel, out);
            }
        }
    }
}

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
    Ok(copy::cast(&copy::contiguous(parameter)?, DType::F64)?.slice::<f64>()?.to_vec())
}

/// Mean and variance (over n) of every group of a sample, from those of its bands; [2][samples, groups].
fn join(layout: &Layout, folded: &[f64]) -> [Vec<f64>; 2] {
    let Layout { samples, rows, channels, groups, band_rows } = *layout;
    let mut means = vec![0.0; samples * groups];
    let mut variances = means.clone();
    let (bands, width) = (layout.bands(), channels / groups);
    for (at, (mean, variance)) in means.iter_mut().zip(&mut variances).enumerate() {
        let (sample, group) = (at / groups, at % groups);
        let mut total = 0.0;
        for band in 0..bands {
            let count = band_rows.min(rows - band * band_rows) as f64;
            let pair = &folded[(sample * bands + band) * 2 * channels..][..2 * channels];
            for channel in group * width..(group + 1) * width {
                let distance = pair[channel] - *mean;
                let grown = total + count;
                *variance += pair[channels + channel] + distance * distance * (total * count / grown);
                *mean += distance * (count / grown);
                total = grown;
            }
        }
        *variance /= layout.count();
    }
    [means, variances]
}

fn stored<W: Element + Math>(shape: &[usize], values: &[f64]) -> Result<View> {
    let out = View::empty(W::DTYPE, shape)?;
    let numbers = out.slice_mut::<W>()?;
    numbers.iter_mut().zip(values).for_each(|(to, &x)| *to = W::from_f64(x));
    Ok(out)
}

/// (x - mean) / sqrt(variance + epsilon) * weight + bias, with mean and variance of every group of a sample.
pub fn channel_norm(
    x: &View,
    weight: Option<&View>,
    bias: Option<&View>,
    groups: usize,
    epsilon: f64,
) -> Result<[View; 3]> {
    let layout = Layout::of(x, groups)?;
    let Layout { samples, channels, .. } = layout;
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
        let target = Shared(out.slice_mut::<T>()?.as_mut_ptr());
        layout.each(|sample, numbers, _| {
            // SAFETY: bands do not overlap.
            let out = unsafe { std::slice::from_raw_parts_mut(target.get().add(numbers.start), numbers.len()) };
            affine::<T>(&from[numbers], &factors[sample], out);
        })?;
        Ok([
            out,
            stored::<<T as Compute>::Wide>(&[samples, groups], &means)?,
            stored::<<T as Compute>::Wide>(&[samples, groups], &variances)?,
        ])
    })
}

/// Gradients of x, weight and bias of a norm whose mean and variance are given.
pub fn channel_norm_gradient(
    x: &View,
    gradient: &View,
    weight: Option<&View>,
    (mean, variance): (&View, &View),
    groups: usize,
    epsilon: f64,
) -> Result<[View; 3]> {
    let layout = Layout::of(x, groups)?;
    let Layout { samples, channels, .. } = layout;
    if gradient.dtype != x.dtype || *gradient.shape != *x.shape || [mean, variance].iter().any(|s| *s.shape != [samples, groups]) {
        return Err(Fault::shape(format!(
            "channelNorm: needs a gradient and statistics that fit x {:?}, got {:?} and {:?}",
            &*x.shape, &*gradient.shape, &*mean.shape
        )));
    }
    let weight = parameter(x, weight, 1.0)?;
    let out = View::empty(x.dtype, &x.shape)?;
    let (x, gradient) = (copy::contiguous(x)?, copy::contiguous(gradient)?);
    let numbers = |x: &View| -> Result<Vec<f64>> {
        Ok(copy::cast(&copy::contiguous(x)?, DType::F64)?.slice::<f64>()?.to_vec())
    };
    let means = numbers(mean)?;
    let roots: Vec<f64> = numbers(variance)?.iter().map(|v| 1.0 / (v + epsilon).sqrt()).collect();
    with_compute!(x.dtype, "channelNorm", T => {
        type Wide = <T as Compute>::Wide;
        let (from, g) = (x.slice::<T>()?, gradient.slice::<T>()?);
        let of_channels = |sample: usize| (0..channels).map(move |channel| sample * groups + layout.group_of(channel));
        let centres: Vec<Vec<Wide>> = (0..samples)
            .map(|sample| of_channels(sample).map(|at| <Wide as Float>::from_f64(means[at])).collect())
            .collect();
        let folded = layout.fold(|sample, numbers, plain, weighted| {
            gradient_sums::<T>(&from[numbers.clone()], &g[numbers], &centres[sample], plain, weighted)
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
        let target = Shared(out.slice_mut::<T>()?.as_mut_ptr());
        layout.each(|sample, numbers, _| {
            // SAFETY: bands do not overlap.
            let out = unsafe { std::slice::from_raw_parts_mut(target.get().add(numbers.start), numbers.len()) };
            input_gradient::<T>(&from[numbers.clone()], &g[numbers], &centres[sample], &factors[sample], out);
        })?;
        let dtype = x.dtype;
        let parameter = |values: &[f64]| copy::cast(&stored::<Wide>(&[channels], values)?, dtype);
        Ok([out, parameter(&weight_gradient)?, parameter(&bias_gradient)?])
    })
}

/// x * scale + shift for every channel of x [.., channels].
pub fn scale_shift(x: &View, scale: &View, shift: &View) -> Result<View> {
    let rows = x.shape[..x.shape.len().saturating_sub(1)].iter().product();
    let channels = x.shape.last().copied().unwrap_or(1);
    let dense = copy::contiguous(x)?;
    let flat = dense.restrided(&[1, rows, channels], &[rows * channels, channels, 1], dense.offset)?;
    let layout = Layout::of(&flat, 1)?;
    let (scale, shift) = (parameter(&flat, Some(scale), 1.0)?, parameter(&flat, Some(shift), 0.0)?);
    let out = View::empty(x.dtype, &x.shape)?;
    with_compute!(x.dtype, "scaleShift", T => {
        let from = flat.slice::<T>()?;
        let factors = Factors::<<T as Compute>::Wide>::of(channels, |channel| [0.0, scale[channel], shift[channel]]);
        let target = Shared(out.slice_mut::<T>()?.as_mut_ptr());
        layout.each(|_, numbers, _| {
            // SAFETY: bands do not overlap.
            let out = unsafe { std::slice::from_raw_parts_mut(target.get().add(numbers.start), numbers.len()) };
            affine::<T>(&from[numbers], &factors, out);
        })
    })?;
    Ok(out)
}

fn handles(views: [View; 3]) -> Vec<u32> {
    views.into_iter().map(View::into_handle).collect()
}

/// x [samples, rows, channels]; gives the result, and mean and variance [samples, groups].
#[napi(js_name = "channelNorm")]
pub fn channel_norm_border(
    x: u32,
    weight: Option<u32>,
    bias: Option<u32>,
    groups: u32,
    epsilon: f64,
) -> js::Result<Vec<u32>> {
    border(|| {
        let (weight, bias) = (weight.map(view).transpose()?, bias.map(view).transpose()?);
        channel_norm(&view(x)?, weight.as_ref(), bias.as_ref(), groups as usize, epsilon).map(handles)
    })
}

/// Gradients of x, weight and bias.
#[napi(js_name = "channelNormGradient")]
pub fn channel_norm_gradient_border(
    x: u32,
    gradient: u32,
    weight: Option<u32>,
    mean: u32,
    variance: u32,
    groups: u32,
    epsilon: f64,
) -> js::Result<Vec<u32>> {
    border(|| {
        let weight = weight.map(view).transpose()?;
        let statistics = (&view(mean)?, &view(variance)?);
        let (x, gradient) = (view(x)?, view(gradient)?);
        channel_norm_gradient(&x, &gradient, weight.as_ref(), statistics, groups as usize, epsilon).map(handles)
    })
}

#[napi(js_name = "scaleShift")]
pub fn scale_shift_border(x: u32, scale: u32, shift: u32) -> js::Result<u32> {
    border(|| Ok(scale_shift(&view(x)?, &view(scale)?, &view(shift)?)?.into_handle()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(x: &View) -> &[f32] {
        x.slice::<f32>().unwrap()
    }

    #[test]
    fn channels_of_a_batch_get_mean_zero_and_variance_one_also_far_from_zero() {
        // 300 rows are several bands; a one-pass variance of numbers near 10000 would be noise in f32.
        for channels in [3, 16, 35] {
            let x = View::filled(&[1, 300, channels], |i| 10_000.0 + ((i / channels) % 4) as f32);
            let [out, mean, variance] = channel_norm(&x, None, None, channels, 0.0).unwrap();
            assert!(numbers(&mean).iter().all(|&m| m == 10_001.5));
            assert!(numbers(&variance).iter().all(|&v| (v - 1.25).abs() < 1e-6));
            for (i, &y) in numbers(&out).iter().enumerate() {
                let want = (((i / channels) % 4) as f32 - 1.5) / 1.25f32.sqrt();
                assert!((y - want).abs() < 1e-5, "{y} {want}");
            }
        }
    }

    #[test]
    fn every_number_of_threads_gives_the_same_bits() {
        let x = View::filled(&[3, 1500, 18], |i| (i as f32 * 0.37).sin());
        let g = View::filled(&[3, 1500, 18], |i| (i as f32 * 0.73).sin());
        let bits = |threads: usize| {
            parallel::set_threads(threads).unwrap();
            let [out, mean, variance] = channel_norm(&x, None, None, 6, 1e-5).unwrap();
            let gradients = channel_norm_gradient(&x, &g, None, (&mean, &variance), 6, 1e-5).unwrap();
            let all = [out, mean, variance].into_iter().chain(gradients);
            all.flat_map(|x| numbers(&x).iter().map(|v| v.to_bits()).collect::<Vec<_>>()).collect::<Vec<_>>()
        };
        let one = bits(1);
        assert_eq!(one, bits(2));
        assert_eq!(one, bits(3));
    }

    #[test]
    fn groups_that_do_not_divide_the_channels_are_refused() {
        let x = View::filled(&[1, 2, 6], |_| 0.0);
        assert_eq!(channel_norm(&x, None, None, 4, 0.0).err().unwrap().code, "PARE_E_SHAPE");
        assert_eq!(channel_norm(&x, Some(&View::filled(&[5], |_| 0.0)), None, 3, 0.0).err().unwrap().code, "PARE_E_SHAPE");
    }
}
