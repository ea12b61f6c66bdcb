//! Whole matrices: rows in parallel, in fixed parts, so that the number of threads does not show in the result.

use super::{BlockParameters, BlockType, BlockType::*, LONGEST_BLOCK};
use crate::fault::Result;
use crate::parallel;
use half::{bf16, f16};
use rayon::prelude::*;

/// A value that cannot be encoded, and its position.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RowError {
    pub position: usize,
    pub value: f32,
}

pub(super) fn quantize_row(
    block_type: BlockType,
    x: &[f32],
    importance: Option<&[f32]>,
    out: &mut [u8],
) -> std::result::Result<(), RowError> {
    let (block_len, block_bytes) = (block_type.block_len(), block_type.block_bytes());
    let blocks = x.len() / block_len;
    assert_eq!(x.len(), blocks * block_len, "whole blocks");
    assert_eq!(out.len(), blocks * block_bytes, "bytes for each block");
    let most = block_type.largest();
    if let Some(position) = x.iter().position(|v| v.is_nan() || v.abs() > most) {
        return Err(RowError {
            position,
            value: x[position],
        });
    }
    match block_type {
        F32 => x
            .iter()
            .zip(out.as_chunks_mut::<4>().0)
            .for_each(|(v, out)| *out = v.to_le_bytes()),
        F16 => x
            .iter()
            .zip(out.as_chunks_mut::<2>().0)
            .for_each(|(v, out)| *out = f16::from_f32(*v).to_le_bytes()),
        BF16 => x
            .iter()
            .zip(out.as_chunks_mut::<2>().0)
            .for_each(|(v, out)| *out = bf16::from_f32(*v).to_le_bytes()),
        _ => {
            let weights = importance.and_then(|importance| element_weights(block_type, x, importance));
            let mut codes = [0; LONGEST_BLOCK];
            for (i, (x, out)) in x
                .chunks_exact(block_len)
                .zip(out.chunks_exact_mut(block_bytes))
                .enumerate()
            {
                let weights = weights
                    .as_deref()
                    .map(|all| &all[i * block_len..(i + 1) * block_len]);
                let parameters: BlockParameters = block_type.fit(x, weights);
                block_type.quantize_with(x, &parameters, &mut codes[..block_len]);
                block_type.pack(&parameters, &codes[..block_len], out);
            }
        }
    }
    Ok(())
}

/// What the error of each element of a row counts for, w_i = importance_i * sqrt(sigma^2 + x_i^2): large weights are
/// rounded with more care. sigma^2 is the mean square of the block, or twice it, or of the row, by the type; Q6_K takes
/// the importance alone (`quantize_row_*_impl` of ggml-quants.c). Nothing where the importance is 0 everywhere, or the
/// type leaves no choice.
fn element_weights(block_type: BlockType, x: &[f32], importance: &[f32]) -> Option<Vec<f32>> {
    // The scale of weights does not matter to a fit, and numbers up to 1 do not overflow.
    let most = importance.iter().fold(0.0, |most: f32, &w| w.max(most));
    if most == 0.0 || block_type == Q8_0 {
        return None;
    }
    let (span, factor) = match block_type {
        Q4_0 | Q4_1 | Q5_0 | Q5_1 => (x.len().max(1), 1.0),
        Q2_K => (block_type.block_len(), 1.0),
        _ => (block_type.block_len(), 2.0),
    };
    let mut weights: Vec<f32> = importance.iter().map(|w| w / most).collect();
    if block_type != Q6_K {
        for (x, weights) in x.chunks(span).zip(weights.chunks_mut(span)) {
            let variance = factor * x.iter().map(|x| x * x).sum::<f32>() / x.len() as f32;
            for (x, weight) in x.iter().zip(weights) {
                *weight *= (variance + x * x).sqrt();
            }
        }
    }
    Some(weights)
}

/// Encodes rows of `columns` values; `importance` says for each column what an error there counts for: the mean square of
/// that input. The error is that of the first
/// value that cannot be encoded, its position counted over the whole matrix.
pub fn quantize(
    block_type: BlockType,
    x: &[f32],
    columns: usize,
    importance: Option<&[f32]>,
    out: &mut [u8],
) -> std::result::Result<(), RowError> {
    let row_bytes = columns / block_type.block_len() * block_type.block_bytes();
    let first = x
        .par_chunks(columns.max(1))
        .zip(out.par_chunks_mut(row_bytes.max(1)))
        .enumerate()
        .filter_map(|(row, (x, out))| {
            let error = quantize_row(block_type, x, importance, out).err()?;
            Some(RowError {
                position: row * columns + error.position,
                ..error
            })
        })
        .min_by_key(|error| error.position);
    first.map_or(Ok(()), Err)
}

/// Decodes whole blocks.
pub fn dequantize(block_type: BlockType, bytes: &[u8], out: &mut [f32]) -> Result<()> {
    /// Elements that one task decodes.
    const PART: usize = 1 << 16;
    let (block_len, block_bytes) = (block_type.block_len(), block_type.block_bytes());
    assert_eq!(
        bytes.len() / block_bytes * block_len,
        out.len(),
        "a value for each element"
    );
    parallel::chunks(out, PART, |start, out| {
        let first = start / block_len * block_bytes;
        let length = out.len() / block_len * block_bytes;
        block_type.dequantize_row(&bytes[first..first + length], out);
    })
}
