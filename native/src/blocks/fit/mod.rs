//! Scales of a block by the rules of the reference writers, rounded to what is stored.
//!
//! Each sub-block is fitted on its own (a scale, or a scale and a minimum, by weighted least squares over some
//! trial steps); the super-block's d and dmin then turn the results into small integers.
//! Differs from the reference: integer scales are computed from the stored f16 d, which is rounded away from zero
//! where it is subnormal, and trial steps do not depend on the minimum found so far.

mod affine;
mod non_linear;
mod rounding;
mod statistics;
mod symmetric;

use super::{BlockParameters, BlockType, BlockType::*};
use affine::{Trials, WEIGHTED, fit_affine, fit_affine_block};
use non_linear::fit_non_linear;
use rounding::{stored, stored_scale};
use statistics::{absmax, extremes, largest};
use symmetric::{fit_symmetric, fit_symmetric_block};

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
                        signed_min: true,
                        ..WEIGHTED
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
