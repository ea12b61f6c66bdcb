//! Loops over the rows of a band with channels as lanes.

use crate::dtype::Compute;
use crate::dtype::num::Float;
use crate::math::Math;
use crate::simd;

/// Channels whose sums stay in registers, and rows that are summed side by side.
const LANES: usize = 16;
const CHAINS: usize = 4;

/// The numbers of `L` channels from a position on.
#[inline(always)]
fn line<T, const L: usize>(x: &[T], at: usize) -> &[T; L] {
    x[at..].first_chunk::<L>().expect("rows hold all channels")
}

/// The sum of a term of every row for `L` channels, in an order that depends on the number of rows alone: `CHAINS` sums
/// of every `CHAINS`th row, and one of the rows that are left over.
macro_rules! down {
    ($W:ty, $L:ident, $rows:expr, |$row:ident, $lane:ident| $term:expr) => {{
        let mut sums = [[<$W>::ZERO; $L]; CHAINS];
        let mut rest = [<$W>::ZERO; $L];
        let whole = $rows - $rows % CHAINS;
        for first in (0..whole).step_by(CHAINS) {
            for chain in 0..CHAINS {
                let $row = first + chain;
                for $lane in 0..$L {
                    sums[chain][$lane] += $term;
                }
            }
        }
        for $row in whole..$rows {
            for $lane in 0..$L {
                rest[$lane] += $term;
            }
        }
        for lane in 0..$L {
            rest[lane] += (sums[0][lane] + sums[1][lane]) + (sums[2][lane] + sums[3][lane]);
        }
        rest
    }};
}

#[inline(always)]
fn moments_of<T: Compute, const L: usize>(
    x: &[T],
    channels: usize,
    channel: usize,
    mean: &mut [f64],
    spread: &mut [f64],
) {
    let rows = x.len() / channels;
    let count = <T::Wide as Float>::from_f64(rows as f64);
    let mut centre = down!(T::Wide, L, rows, |row, lane| line::<T, L>(
        x,
        row * channels + channel
    )[lane]
        .widen());
    for lane in 0..L {
        centre[lane] = centre[lane] / count;
    }
    let squares = down!(T::Wide, L, rows, |row, lane| {
        let distance = line::<T, L>(x, row * channels + channel)[lane].widen() - centre[lane];
        distance * distance
    });
    for lane in 0..L {
        mean[channel + lane] = centre[lane].to_f64();
        spread[channel + lane] = squares[lane].to_f64();
    }
}

simd! {
    /// Mean and sum of squares around it of every channel of a band.
    pub fn moments<T: Compute>(x: &[T], channels: usize, mean: &mut [f64], spread: &mut [f64]) {
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
    let middle = *line::<T::Wide, L>(centre, channel);
    let sums = down!(T::Wide, L, rows, |row, lane| line::<T, L>(
        gradient,
        row * channels + channel
    )[lane]
        .widen());
    let products = down!(T::Wide, L, rows, |row, lane| {
        let at = row * channels + channel;
        (line::<T, L>(x, at)[lane].widen() - middle[lane]) * line::<T, L>(gradient, at)[lane].widen()
    });
    for lane in 0..L {
        plain[channel + lane] = sums[lane].to_f64();
        weighted[channel + lane] = products[lane].to_f64();
    }
}

simd! {
    /// Sums of the gradient, and of the gradient times the distance of x from its mean, for every channel of a band.
    pub fn gradient_sums<T: Compute>(x: &[T], gradient: &[T], centre: &[T::Wide], plain: &mut [f64], weighted: &mut [f64]) {
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
pub struct Factors<W> {
    numbers: Vec<W>,
    channels: usize,
}

impl<W: Math> Factors<W> {
    pub fn of(channels: usize, mut of_channel: impl FnMut(usize) -> [f64; 3]) -> Factors<W> {
        let mut numbers = vec![W::ZERO; 3 * channels];
        for channel in 0..channels {
            for (i, value) in of_channel(channel).into_iter().enumerate() {
                numbers[i * channels + channel] = W::from_f64(value);
            }
        }
        Factors { numbers, channels }
    }

    /// Those of `L` channels.
    #[inline(always)]
    fn at<const L: usize>(&self, channel: usize) -> [&[W; L]; 3] {
        let of = |i: usize| line::<W, L>(&self.numbers, i * self.channels + channel);
        [of(0), of(1), of(2)]
    }
}

/// What follows a norm: a residual is added (none where it is empty), and the result is the larger of sum and floor.
#[derive(Clone, Copy)]
pub struct Added<'a, T: Compute> {
    pub residual: &'a [T],
    pub floor: T::Wide,
}

#[inline(always)]
fn affine_of<T: Compute, const L: usize, const ADDS: bool>(
    x: &[T],
    factors: &Factors<T::Wide>,
    Added { residual, floor }: Added<T>,
    channel: usize,
    out: &mut [T],
) {
    let channels = factors.channels;
    let [centre, scale, shift] = factors.at::<L>(channel).map(|line| *line);
    let lines = x.chunks_exact(channels).zip(out.chunks_exact_mut(channels));
    for (row, (x, out)) in lines.enumerate() {
        let (x, out) = (line::<T, L>(x, channel), &mut out[channel..channel + L]);
        let residual = if ADDS {
            line::<T, L>(residual, row * channels + channel)
        } else {
            x
        };
        for lane in 0..L {
            let mut value = (x[lane].widen() - centre[lane]) * scale[lane] + shift[lane];
            if ADDS {
                value += residual[lane].widen();
            }
            out[lane] = T::narrow(if value < floor { floor } else { value });
        }
    }
}

#[inline(always)]
fn affine_rows<T: Compute, const ADDS: bool>(
    x: &[T],
    factors: &Factors<T::Wide>,
    added: Added<T>,
    out: &mut [T],
) {
    let channels = factors.channels;
    let dense = channels - channels % LANES;
    for channel in (0..dense).step_by(LANES) {
        affine_of::<T, LANES, ADDS>(x, factors, added, channel, out);
    }
    for channel in dense..channels {
        affine_of::<T, 1, ADDS>(x, factors, added, channel, out);
    }
}

simd! {
    /// max(floor, (x - centre) * scale + shift + residual)
    pub fn affine<T: Compute>(x: &[T], factors: &Factors<T::Wide>, added: Added<T>, out: &mut [T]) {
        if added.residual.is_empty() {
            affine_rows::<T, false>(x, factors, added, out);
        } else {
            affine_rows::<T, true>(x, factors, added, out);
        }
    }
}

simd! {
    /// The gradient where y = max(0, x) is above 0, and 0 elsewhere; NaN of y is passed on.
    pub fn masked<T: Compute>(y: &[T], gradient: &[T], out: &mut [T]) {
        for ((&y, &g), out) in y.iter().zip(gradient).zip(out) {
            let wide = y.widen();
            *out = if wide > T::Wide::ZERO { g } else { T::narrow(wide * T::Wide::ZERO) };
        }
    }
}

#[inline(always)]
fn input_gradient_of<T: Compute, const L: usize>(
    x: &[T],
    centre: &[T::Wide],
    factors: &Factors<T::Wide>,
    channel: usize,
    gradient: &mut [T],
) {
    let channels = factors.channels;
    let [scale, slope, shift] = factors.at::<L>(channel).map(|line| *line);
    let centre = *line::<T::Wide, L>(centre, channel);
    for (x, g) in x.chunks_exact(channels).zip(gradient.chunks_exact_mut(channels)) {
        let (x, g) = (line::<T, L>(x, channel), &mut g[channel..channel + L]);
        for lane in 0..L {
            let distance = x[lane].widen() - centre[lane];
            g[lane] = T::narrow(g[lane].widen() * scale[lane] - distance * slope[lane] - shift[lane]);
        }
    }
}

simd! {
    /// gradient <- gradient * scale - (x - centre) * slope - shift
    pub fn input_gradient<T: Compute>(x: &[T], centre: &[T::Wide], factors: &Factors<T::Wide>, gradient: &mut [T]) {
        let channels = factors.channels;
        let dense = channels - channels % LANES;
        for channel in (0..dense).step_by(LANES) {
            input_gradient_of::<T, LANES>(x, centre, factors, channel, gradient);
        }
        for channel in dense..channels {
            input_gradient_of::<T, 1>(x, centre, factors, channel, gradient);
        }
    }
}
