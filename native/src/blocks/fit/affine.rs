//! A scale and a minimum.

use super::rounding::{integer, nearest, stored_scale};
use super::statistics::{extremes, lane_sum, largest, moments};
use super::{SUB_BLOCKS, weights_of};
use crate::blocks::{BlockParameters, BlockType, BlockType::*};
use crate::simd;

/// The steps that `fit_affine` tries: (top + first + step * t) / (max - min), t = 0 .. count - 1.
pub(super) struct Trials {
    /// Highest level.
    pub top: f32,
    pub first: f32,
    pub step: f32,
    pub count: usize,
    /// Compare absolute instead of squared errors.
    pub absolute: bool,
    /// Whether a minimum above 0 can be stored.
    pub signed_min: bool,
}

simd! {
    /// Scale and minimum for levels 0 .. top.
    pub(super) fn fit_affine(x: &[f32], weights: &[f32], trials: &Trials) -> (f32, f32) {
        let &Trials { top, first, step, count, absolute, signed_min } = trials;
        let (mut low, high) = extremes(x);
        if !signed_min {
            low = low.min(0.0);
        }
        if high <= low {
            return (0.0, low);
        }
        let mut best = ((high - low) / top, low);
        let mut least = affine_error(x, weights, best, top, absolute);
        let (sum_w, sum_x) = x.iter().zip(weights).fold((0.0, 0.0), |(sw, sx), (&x, &w)| (sw + w, sx + w * x));
        for trial in 0..count {
            let inverse = (top + first + step * trial as f32) / (high - low);
            let level = |x: f32| nearest((inverse * (x - low)).clamp(0.0, top));
            let (sum_xl, sum_ll) = moments(x, weights, |x| x.map(level));
            let sum_l = lane_sum(x, weights, |x, w| w * level(x));
            let determinant = sum_w * sum_ll - sum_l * sum_l;
            if determinant <= 0.0 {
                continue;
            }
            let mut candidate = (
                (sum_w * sum_xl - sum_x * sum_l) / determinant,
                (sum_ll * sum_x - sum_l * sum_xl) / determinant,
            );
            if candidate.1 > 0.0 && !signed_min {
                candidate = (sum_xl / sum_ll, 0.0);
            }
            if candidate.0 <= 0.0 {
                continue;
            }
            let error = affine_error(x, weights, candidate, top, absolute);
            if error < least {
                (least, best) = (error, candidate);
            }
        }
        best
    }
}

/// Weighted error when every element takes its nearest level.
#[inline(always)]
fn affine_error(x: &[f32], weights: &[f32], (scale, min): (f32, f32), top: f32, absolute: bool) -> f32 {
    let inverse = 1.0 / scale;
    lane_sum(x, weights, |x, w| {
        let level = nearest((inverse * (x - min)).clamp(0.0, top));
        let difference = scale * level + min - x;
        w * if absolute {
            difference.abs()
        } else {
            difference * difference
        }
    })
}

/// The trials of weighted fits of the reference, `make_qkx3_quants`.
pub(super) const WEIGHTED: Trials = Trials {
    top: 0.0,
    first: -0.9,
    step: 0.05,
    count: 36,
    absolute: false,
    signed_min: false,
};

/// d for numbers of at least 0 that are stored as its multiples 0 .. most: from steps near largest / most the one whose
/// least-squares d leaves the smallest weighted error, as `make_qp_quants` of the reference tries them.
fn weighted_step(values: &[f32], weights: &[f32], most: f32) -> f32 {
    let top = largest(values);
    if top <= 0.0 {
        return 0.0;
    }
    let (mut step, mut best) = (top / most, -1.0);
    for trial in -4..=4 {
        let inverse = (most + 0.1 * trial as f32) / top;
        let (xl, ll) = moments(values, weights, |x| {
            x.map(|x| nearest((inverse * x).clamp(0.0, most)))
        });
        if ll > 0.0 && xl * xl / ll > best {
            (best, step) = (xl * xl / ll, xl / ll);
        }
    }
    step
}

pub(super) fn fit_affine_block(
    block_type: BlockType,
    x: &[f32],
    importance: Option<&[f32]>,
    most: f32,
) -> BlockParameters {
    let trials = match block_type {
        Q2_K => Trials {
            top: 3.0,
            first: -0.5,
            step: 0.1,
            count: 16,
            absolute: true,
            signed_min: false,
        },
        Q4_K => Trials {
            top: 15.0,
            first: -1.0,
            step: 0.1,
            count: 21,
            absolute: false,
            signed_min: false,
        },
        _ => Trials {
            top: 31.0,
            first: -0.5,
            step: 0.1,
            count: 16,
            absolute: false,
            signed_min: false,
        },
    };
    let trials = match importance {
        Some(_) => Trials {
            top: trials.top,
            ..WEIGHTED
        },
        None => trials,
    };
    let sub_len = block_type.sub_len();
    let mut totals = [0.0f32; SUB_BLOCKS];
    let (mut scales, mut mins) = ([0.0f32; SUB_BLOCKS], [0.0f32; SUB_BLOCKS]);
    for (k, x) in x.chunks_exact(sub_len).enumerate() {
        let weights = weights_of(
            block_type,
            x,
            importance.map(|all| &all[k * sub_len..(k + 1) * sub_len]),
        );
        let (scale, min) = fit_affine(x, &weights, &trials);
        (scales[k], mins[k]) = (scale, -min);
        totals[k] = weights.iter().sum();
    }
    let step = |values: &[f32]| match importance {
        Some(_) => weighted_step(values, &totals, most),
        None => largest(values) / most,
    };
    let mut parameters = BlockParameters {
        d: stored_scale(step(&scales)),
        dmin: stored_scale(step(&mins)),
        ..BlockParameters::default()
    };
    for k in 0..block_type.sub_count() {
        parameters.scales[k] = integer(scales[k], parameters.d, 0.0, most);
        parameters.mins[k] = integer(mins[k], parameters.dmin, 0.0, most);
    }
    parameters
}
