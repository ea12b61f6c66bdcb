//! Extremes and weighted sums over the elements of a sub-block.

/// Numbers that are taken at once; sub-blocks hold a multiple of them.
pub(super) const LANES: usize = 8;

#[inline]
pub(super) fn absmax(x: &[f32]) -> f32 {
    x.iter().fold(0.0, |max, v| v.abs().max(max))
}

/// The element of largest magnitude with its sign; of equals the first.
#[inline]
pub(super) fn largest(x: &[f32]) -> f32 {
    x.iter()
        .fold(0.0, |best: f32, &v| if v.abs() > best.abs() { v } else { best })
}

#[inline]
pub(super) fn extremes(x: &[f32]) -> (f32, f32) {
    x.iter()
        .fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &v| {
            (low.min(v), high.max(v))
        })
}

/// The sum of a term of every element and its weight, each lane on its own and then joined in order.
#[inline(always)]
pub(super) fn lane_sum(x: &[f32], weights: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let mut sums = [0.0; LANES];
    for (x, w) in x
        .as_chunks::<LANES>()
        .0
        .iter()
        .zip(weights.as_chunks::<LANES>().0)
    {
        for lane in 0..LANES {
            sums[lane] += term(x[lane], w[lane]);
        }
    }
    sums.iter().sum()
}

/// Sums of w x l and of w l^2, each lane on its own and then joined in order.
#[inline(always)]
pub(super) fn moments(
    x: &[f32],
    weights: &[f32],
    levels: impl Fn(&[f32; LANES]) -> [f32; LANES],
) -> (f32, f32) {
    let (mut xl, mut ll) = ([0.0; LANES], [0.0; LANES]);
    let (x, weights) = (x.as_chunks::<LANES>().0, weights.as_chunks::<LANES>().0);
    for (x, w) in x.iter().zip(weights) {
        let levels = levels(x);
        for lane in 0..LANES {
            let weighted = w[lane] * levels[lane];
            xl[lane] += weighted * x[lane];
            ll[lane] += weighted * levels[lane];
        }
    }
    (xl.iter().sum(), ll.iter().sum())
}
