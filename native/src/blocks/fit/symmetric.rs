//! A scale alone: levels lie around zero.

use super::rounding::{integer, nearest, stored_scale};
use super::statistics::{largest, moments};
use super::{LONGEST_SUB, SUB_BLOCKS, weights_of};
use crate::blocks::{BlockParameters, BlockType, BlockType::*};
use crate::simd;

simd! {
    /// The scale for levels -half .. half - 1: from steps near -half / M, M the largest element, the one whose
    /// least-squares scale leaves the smallest weighted error.
    pub(super) fn fit_symmetric(x: &[f32], weights: &[f32], half: f32) -> f32 {
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

pub(super) fn fit_symmetric_block(
    block_type: BlockType,
    x: &[f32],
    importance: Option<&[f32]>,
    most: f32,
) -> BlockParameters {
    let half = block_type.zero_code() as f32;
    let sub_len = block_type.sub_len();
    let (mut scales, mut totals) = ([0.0; SUB_BLOCKS], [0.0; SUB_BLOCKS]);
    for (k, x) in x.chunks_exact(sub_len).enumerate() {
        let weights = weights_of(
            block_type,
            x,
            importance.map(|all| &all[k * sub_len..(k + 1) * sub_len]),
        );
        totals[k] = weights.iter().sum();
        scales[k] = fit_symmetric(x, &weights, half);
        if block_type == Q3_K {
            scales[k] = descend(x, &weights, half, scales[k]);
        }
    }
    let step = match importance {
        Some(_) if block_type == Q3_K => fit_symmetric(&scales, &totals, most),
        _ => largest(&scales) / -most,
    };
    let mut parameters = BlockParameters {
        d: stored_scale(step),
        ..BlockParameters::default()
    };
    for (stored, &scale) in parameters.scales.iter_mut().zip(&scales) {
        *stored = integer(scale, parameters.d, -most, most - 1.0);
    }
    parameters
}
