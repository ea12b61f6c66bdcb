//! Scales of a block by the rules of the reference writers, rounded to what is stored.
//!
//! Each sub-block is fitted on its own (a scale, or a scale and a minimum, by weighted least squares over some
//! trial steps); the super-block's d and dmin then turn the results into small integers.
//! Differs from the reference: integer scales are computed from the stored f16 d, which is rounded away from zero
//! where it is subnormal, and trial steps do not depend on the minimum found so far.

use super::{BlockParameters, BlockType, BlockType::*, NON_LINEAR_LEVELS, NON_LINEAR_STEPS};
use crate::simd;
use half::f16;

/// Sub-blocks of the largest block.
const SUB_BLOCKS: usize = 16;
/// Elements of the longest sub-block.
const LONGEST_SUB: usize = 32;

pub(super) fn fit(block_type: BlockType, x: &[f32], importance: Option<&[f32]>) -> BlockParameters {
    assert!(block_type.is_coded(), "floats have no scales");
    let x = &x[..block_type.block_len()];
    match block_type {
        Q8_0 => single(absmax(x) / 127.0),
        Q4_0 | Q5_0 => {
            let half = block_type.zero_code() as f32;
            single(match importance {
                Some(_) => fit_symmetric(x, &weights_of(block_type, x, importance), half),
                None => largest(x) / -half,
            })
        }
        IQ4_NL => single(fit_non_linear(x, &weights_of(block_type, x, importance))),
        Q4_1 | Q5_1 => {
            let top = (block_type.code_count() - 1) as f32;
            let (scale, min) = match importance {
                Some(_) => {
                    let trial = Trials {
                        top,
                        first: -0.9,
                        step: 0.05,
                        count: 36,
                        absolute: false,
                        signed_min: true,
                    };
                    fit_affine(x, &weights_of(block_type, x, importance), &trial)
                }
                None => {
                    let (low, high) = extremes(x);
                    ((high - low) / top, low)
                }
            };
            let mut parameters = single(scale);
            parameters.dmin = stored(-min);
            parameters.mins[0] = 1;
            parameters
        }
        Q3_K => fit_symmetric_block(block_type, x, importance, 32.0),
        Q6_K => fit_symmetric_block(block_type, x, importance, 128.0),
        Q2_K => fit_affine_block(block_type, x, importance, 15.0),
        Q4_K | Q5_K => fit_affine_block(block_type, x, importance, 63.0),
        F32 | F16 | BF16 => unreachable!(),
    }
}

fn single(d: f32) -> BlockParameters {
    let mut parameters = BlockParameters {
        d: stored_scale(d),
        ..BlockParameters::default()
    };
    parameters.scales[0] = 1;
    parameters
}

/// The nearest f16; what would overflow stays at the largest.
fn stored(value: f32) -> f32 {
    f16::from_f32(value.clamp(-65504.0, 65504.0)).to_f32()
}

/// As `stored`, but a subnormal is rounded away from zero: the steps of subnormals are so wide that a scale
/// rounded down would clip the largest values, or lose them all.
fn stored_scale(value: f32) -> f32 {
    let near = f16::from_f32(value.clamp(-65504.0, 65504.0));
    let lost = near.to_f32().abs() < value.abs() && value.abs() < f16::MIN_POSITIVE.to_f32();
    if lost {
        f16::from_bits(near.to_bits() + 1).to_f32()
    } else {
        near.to_f32()
    }
}

/// Rounds half-to-even; exact for magnitudes below 2^22, and unlike `round_ties_even` a vector instruction on
/// every processor.
#[inline(always)]
fn nearest(x: f32) -> f32 {
    const SHIFT: f32 = 12582912.0;
    (x + SHIFT) - SHIFT
}

fn absmax(x: &[f32]) -> f32 {
    x.iter().fold(0.0, |max, v| v.abs().max(max))
}

/// The element of largest magnitude with its sign; of equals the first.
fn largest(x: &[f32]) -> f32 {
    x.iter()
        .fold(0.0, |best: f32, &v| if v.abs() > best.abs() { v } else { best })
}

fn extremes(x: &[f32]) -> (f32, f32) {
    x.iter()
        .fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &v| {
            (low.min(v), high.max(v))
        })
}

/// Weights of the least squares: the importance given, else those of the reference.
fn weights_of(block_type: BlockType, x: &[f32], importance: Option<&[f32]>) -> [f32; LONGEST_SUB] {
    let mut weights = [0.0; LONGEST_SUB];
    if let Some(importance) = importance {
        weights[..x.len()].copy_from_slice(importance);
        if weights.iter().any(|&w| w > 0.0) {
            return weights;
        }
    }
    let rms = (x.iter().map(|v| v * v).sum::<f32>() / x.len() as f32).sqrt();
    for (weight, v) in weights.iter_mut().zip(x) {
        *weight = match block_type {
            Q4_K | Q5_K | Q4_1 | Q5_1 => rms + v.abs(),
            Q2_K => v.abs(),
            _ => v * v,
        };
    }
    weights
}

simd! {
    /// The scale for levels -half .. half - 1: from steps near -half / M, M the largest element, the one whose
    /// least-squares scale leaves the smallest weighted error.
    fn fit_symmetric(x: &[f32], weights: &[f32], half: f32) -> f32 {
        let largest = largest(x);
        if largest == 0.0 {
            return 0.0;
        }
        let (mut scale, mut best) = (largest / -half, -1.0);
        for trial in -9..=9 {
            let inverse = -(half + 0.1 * trial as f32) / largest;
            let (xl, ll) = moments(x, weights, |x| x.map(|x| nearest((inverse * x).clamp(-half, half - 1.0))));
            // The error of the best scale xl / ll is the sum of w x^2 minus this.
            if ll > 0.0 && xl * xl / ll > best {
                (best, scale) = (xl * xl / ll, xl / ll);
            }
        }
        scale
    }
}

/// Improves a scale for few levels: one level at a time moves to where the least-squares scale gets better.
fn descend(x: &[f32], weights: &[f32], half: f32, scale: f32) -> f32 {
    if scale == 0.0 {
        return scale;
    }
    let mut levels = [0.0; LONGEST_SUB];
    let (mut xl, mut ll) = (0.0, 0.0);
    for ((level, &x), &w) in levels.iter_mut().zip(x).zip(weights) {
        *level = nearest((x / scale).clamp(-half, half - 1.0));
        xl += w * x * *level;
        ll += w * *level * *level;
    }
    const PASSES: usize = 5;
    for _ in 0..PASSES {
        let mut changed = false;
        for ((level, &x), &w) in levels.iter_mut().zip(x).zip(weights) {
            let (rest_xl, rest_ll) = (xl - w * x * *level, ll - w * *level * *level);
            if rest_xl == 0.0 {
                continue;
            }
            let other = nearest((x * rest_ll / rest_xl).clamp(-half, half - 1.0));
            let (new_xl, new_ll) = (rest_xl + w * x * other, rest_ll + w * other * other);
            if other != *level && new_ll > 0.0 && new_xl * new_xl * ll > xl * xl * new_ll {
                (xl, ll, *level, changed) = (new_xl, new_ll, other, true);
            }
        }
        if !changed {
            break;
        }
    }
    if ll > 0.0 { xl / ll } else { scale }
}

fn fit_symmetric_block(
    block_type: BlockType,
    x: &[f32],
    importance: Option<&[f32]>,
    most: f32,
) -> BlockParameters {
    let half = block_type.zero_code() as f32;
    let sub_len = block_type.sub_len();
    let mut scales = [0.0; SUB_BLOCKS];
    for (k, x) in x.chunks_exact(sub_len).enumerate() {
        let weights = weights_of(
            block_type,
            x,
            importance.map(|all| &all[k * sub_len..(k + 1) * sub_len]),
        );
        scales[k] = fit_symmetric(x, &weights, half);
        if block_type == Q3_K {
            scales[k] = descend(x, &weights, half, scales[k]);
        }
    }
    let mut parameters = BlockParameters {
        d: stored_scale(largest(&scales) / -most),
        ..BlockParameters::default()
    };
    for (stored, &scale) in parameters.scales.iter_mut().zip(&scales) {
        *stored = integer(scale, parameters.d, -most, most - 1.0);
    }
    parameters
}

/// The integer multiple of `d` nearest to `scale`.
fn integer(scale: f32, d: f32, least: f32, most: f32) -> i32 {
    if d == 0.0 {
        0
    } else {
        (scale / d).clamp(least, most).round_ties_even() as i32
    }
}

/// The steps that `fit_affine` tries: (top + first + step * t) / (max - min), t = 0 .. count - 1.
struct Trials {
    /// Highest level.
    top: f32,
    first: f32,
    step: f32,
    count: usize,
    /// Compare absolute instead of squared errors.
    absolute: bool,
    /// Whether a minimum above 0 can be stored.
    signed_min: bool,
}

simd! {
    /// Scale and minimum for levels 0 .. top.
    fn fit_affine(x: &[f32], weights: &[f32], trials: &Trials) -> (f32, f32) {
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

/// The sum of a term of every element and its weight, each lane on its own and then joined in order.
#[inline(always)]
fn lane_sum(x: &[f32], weights: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
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

fn fit_affine_block(
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
    let sub_len = block_type.sub_len();
    let (mut scales, mut mins) = ([0.0f32; SUB_BLOCKS], [0.0f32; SUB_BLOCKS]);
    for (k, x) in x.chunks_exact(sub_len).enumerate() {
        let weights = weights_of(
            block_type,
            x,
            importance.map(|all| &all[k * sub_len..(k + 1) * sub_len]),
        );
        let (scale, min) = fit_affine(x, &weights, &trials);
        (scales[k], mins[k]) = (scale, -min);
    }
    let mut parameters = BlockParameters {
        d: stored_scale(largest(&scales) / most),
        dmin: stored_scale(largest(&mins) / most),
        ..BlockParameters::default()
    };
    for k in 0..block_type.sub_count() {
        parameters.scales[k] = integer(scales[k], parameters.d, 0.0, most);
        parameters.mins[k] = integer(mins[k], parameters.dmin, 0.0, most);
    }
    parameters
}

simd! {
    /// The scale for the levels of IQ4_NL, found as in `fit_symmetric`.
    fn fit_non_linear(x: &[f32], weights: &[f32]) -> f32 {
        let largest = largest(x);
        if largest == 0.0 {
            return 0.0;
        }
        let first = NON_LINEAR_LEVELS[0] as f32;
        let (mut scale, mut best) = (largest / first, -1.0);
        for trial in -7..=7 {
            let inverse = (first + trial as f32) / largest;
            let (xl, ll) = moments(x, weights, |x| {
                let mut levels = [first; LANES];
                for (middle, gap) in NON_LINEAR_STEPS {
                    for lane in 0..LANES {
                        levels[lane] += if inverse * x[lane] > middle { gap } else { 0.0 };
                    }
                }
                levels
            });
            if ll > 0.0 && xl * xl / ll > best {
                (best, scale) = (xl * xl / ll, xl / ll);
            }
        }
        scale
    }
}

/// Numbers that are taken at once; sub-blocks hold a multiple of them.
const LANES: usize = 8;

/// Sums of w x l and of w l^2, each lane on its own and then joined in order.
#[inline(always)]
fn moments(x: &[f32], weights: &[f32], levels: impl Fn(&[f32; LANES]) -> [f32; LANES]) -> (f32, f32) {
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
