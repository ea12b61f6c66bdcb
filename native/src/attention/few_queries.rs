//! Few queries against many keys, as when a text is written: keys and values are read once, where they lie, in parts that
//! threads share. Each query has the bits that it has alone.
//!
//!   top_p = max of the scores of part p,   sum_p = sum of exp(score - top_p),   mixed_p = sum of exp(score - top_p) value
//!   out = sum of exp(top_p - top) mixed_p / sum of exp(top_p - top) sum_p           top = max of the top_p

use super::query_block::Problem;
use super::score_rows::exponentials;
use crate::fault::Result;
use crate::parallel::{self, Shared};
use crate::simd;

/// Queries up to which this is the way.
pub(super) const FEW: usize = 16;
/// Keys of a part: with their values about what the nearest cache holds.
const PART_KEYS: usize = 128;

/// Rows of a matrix that lie `stride` apart.
#[derive(Clone, Copy)]
struct Rows<'a> {
    data: &'a [f32],
    stride: usize,
    width: usize,
}

impl<'a> Rows<'a> {
    #[inline(always)]
    fn row(&self, index: usize) -> &'a [f32] {
        // Rows without numbers begin behind the end.
        &self.data[(index * self.stride).min(self.data.len())..][..self.width]
    }
}

/// All queries of all heads; `out` is [batch, queries, heads, valueDim]. Where asked for, the logarithms of the sums of
/// exp(score) go to `log_sums`, [batch, heads, queries].
pub(super) fn few_queries(
    problem: &Problem<f32>,
    (batches, kv_heads): (usize, usize),
    out: &mut [f32],
    mut log_sums: Option<&mut [f32]>,
) -> Result<()> {
    let Problem {
        group,
        queries,
        value_dim,
        ..
    } = *problem;
    let parts = problem.visible(queries - 1).div_ceil(PART_KEYS).max(1);
    let lines = group * queries;
    // Of each line of a part: top, sum, mixed values.
    let line_len = 2 + value_dim;
    let mut found = vec![0.0f32; batches * kv_heads * parts * lines * line_len];
    let target = Shared(found.as_mut_ptr());
    let each = lines * line_len;
    parallel::tasks(batches * kv_heads * parts, |task| {
        let (head, part) = (task / parts, task % parts);
        // SAFETY: these lines belong to this task alone.
        let own = unsafe { std::slice::from_raw_parts_mut(target.get().add(task * each), each) };
        attend_part(problem, (head / kv_heads, head % kv_heads), part, own);
    })?;
    let heads = kv_heads * group;
    for (index, out) in out.chunks_exact_mut(value_dim.max(1)).enumerate() {
        let (head, row) = (index % heads, index / heads);
        let (batch, query) = (row / queries, row % queries);
        let first = (batch * kv_heads + head / group) * parts * each;
        let line = (head % group * queries + query) * line_len;
        let of_part = |part: usize| &found[first + part * each + line..][..line_len];
        let log_sum = merge(parts, of_part, out);
        if let Some(log_sums) = &mut log_sums {
            log_sums[(batch * heads + head) * queries + query] = log_sum;
        }
    }
    Ok(())
}

/// What the lines of all parts give together. Returns the logarithm of the sum of exponentials.
fn merge<'a>(parts: usize, of_part: impl Fn(usize) -> &'a [f32], out: &mut [f32]) -> f32 {
    let top = (0..parts).fold(f32::NEG_INFINITY, |top, part| top.max(of_part(part)[0]));
    let mut total = 0.0;
    out.fill(0.0);
    for part in 0..parts {
        let line = of_part(part);
        // A part of which nothing is seen adds nothing.
        let carry = if line[0] == f32::NEG_INFINITY {
            0.0
        } else {
            (line[0] - top).exp()
        };
        total += carry * line[1];
        out.iter_mut().zip(&line[2..]).for_each(|(x, y)| *x += carry * y);
    }
    out.iter_mut().for_each(|x| *x /= total);
    top + total.ln()
}

fn attend_part(problem: &Problem<f32>, (batch, kv_head): (usize, usize), part: usize, lines: &mut [f32]) {
    let Problem {
        group,
        queries,
        dim,
        value_dim,
        ..
    } = *problem;
    let start = part * PART_KEYS;
    let keys = Rows {
        data: problem.k.from(batch, kv_head, start),
        stride: problem.k.strides[2],
        width: dim,
    };
    let values = Rows {
        data: problem.v.from(batch, kv_head, start),
        stride: problem.v.strides[2],
        width: value_dim,
    };
    let mut scores = [0.0; PART_KEYS];
    for (line, out) in lines.chunks_exact_mut(2 + value_dim).enumerate() {
        let (head, query) = (kv_head * group + line / queries, line % queries);
        let seen = problem.visible(query).saturating_sub(start).min(PART_KEYS);
        let scores = &mut scores[..seen];
        let own = &problem.q.from(batch, head, query)[..dim];
        dots(own, keys, problem.scale, scores);
        problem.add_bias(scores, batch, head, query, start);
        let (top, sum) = exponentials::<f32>(scores, f32::NEG_INFINITY);
        let (head, mixed) = out.split_at_mut(2);
        head.copy_from_slice(&[top, sum]);
        mix(scores, values, mixed);
    }
}

/// score = scale times query times key
fn dots(query: &[f32], keys: Rows, scale: f32, scores: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if simd::level() >= simd::Level::Avx2 {
        // SAFETY: the processor has the instructions.
        return unsafe { dots_avx2(query, keys, scale, scores) };
    }
    for (index, score) in scores.iter_mut().enumerate() {
        *score = dot(query, keys.row(index)) * scale;
    }
}

fn dot(query: &[f32], key: &[f32]) -> f32 {
    const LANES: usize = 8;
    let ((query, rest), (key, rest_key)) = (query.as_chunks::<LANES>(), key.as_chunks::<LANES>());
    let mut sums = [0.0f32; LANES];
    for (q, k) in query.iter().zip(key) {
        for lane in 0..LANES {
            sums[lane] += q[lane] * k[lane];
        }
    }
    let tail: f32 = rest.iter().zip(rest_key).map(|(q, k)| q * k).sum();
    sums.iter().sum::<f32>() + tail
}

/// Four keys side by side, whose lanes are then summed together: on their own, lanes take longer than products.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn dots_avx2(query: &[f32], keys: Rows, scale: f32, scores: &mut [f32]) {
    use std::arch::x86_64::*;
    let whole = query.len() / 8 * 8;
    let mut groups = scores.chunks_exact_mut(4);
    let mut index = 0;
    for four in groups.by_ref() {
        let rows = [
            keys.row(index),
            keys.row(index + 1),
            keys.row(index + 2),
            keys.row(index + 3),
        ];
        let mut sums = [_mm256_setzero_ps(); 4];
        for place in (0..whole).step_by(8) {
            // SAFETY: query and keys are as wide, and eight numbers follow.
            unsafe {
                let own = _mm256_loadu_ps(query.as_ptr().add(place));
                for key in 0..4 {
                    sums[key] =
                        _mm256_fmadd_ps(own, _mm256_loadu_ps(rows[key].as_ptr().add(place)), sums[key]);
                }
            }
        }
        let pairs = [_mm256_hadd_ps(sums[0], sums[1]), _mm256_hadd_ps(sums[2], sums[3])];
        let halves = _mm256_hadd_ps(pairs[0], pairs[1]);
        let all = _mm_add_ps(_mm256_castps256_ps128(halves), _mm256_extractf128_ps::<1>(halves));
        // SAFETY: there are four scores.
        unsafe { _mm_storeu_ps(four.as_mut_ptr(), all) };
        for (score, row) in four.iter_mut().zip(rows) {
            let tail: f32 = query[whole..].iter().zip(&row[whole..]).map(|(q, k)| q * k).sum();
            *score = (*score + tail) * scale;
        }
        index += 4;
    }
    for (index, score) in groups
        .into_remainder()
        .iter_mut()
        .enumerate()
        .map(|(i, score)| (index + i, score))
    {
        *score = dot(query, keys.row(index)) * scale;
    }
}

/// Numbers of a row that are summed side by side.
const WIDE: usize = 64;

simd! {
    /// out = sum of weight times row
    fn mix(weights: &[f32], rows: Rows, out: &mut [f32]) {
        let whole = out.len() / WIDE * WIDE;
        for (start, out) in (0..whole).step_by(WIDE).zip(out.as_chunks_mut::<WIDE>().0) {
            let mut sums = [0.0f32; WIDE];
            for (index, weight) in weights.iter().enumerate() {
                let row = &rows.data[index * rows.stride + start..][..WIDE];
                for lane in 0..WIDE {
                    sums[lane] += weight * row[lane];
                }
            }
            *out = sums;
        }
        for (place, out) in out.iter_mut().enumerate().skip(whole) {
            *out = 0.0;
            for (index, weight) in weights.iter().enumerate() {
                *out += weight * rows.data[index * rows.stride + place];
            }
        }
    }
}
