//! Many queries against all keys that they see, with the queries as lanes of vectors. Micro kernels write the scores as a
//! sliver of a right operand: keys one after the other, the queries of the sliver side by side. Softmax then goes down
//! the keys without a step across lanes, and the probabilities are an operand of the next product as they stand.
//!
//! Every sum runs in the order of `query_block`, so that both ways give the same bits.

use super::key_side::packed;
use super::query_block::{KEYS, Problem};
use super::score_lanes::{scale_all, soften};
use crate::dtype::num::Float;
use crate::micro_kernel::TileShape;
use crate::micro_tiles::Real;
use crate::packing::Operand;

/// What is carried along for the queries of one head; slivers of queries one after the other.
struct Running<T> {
    queries: Vec<T>,
    /// Largest score so far and the sum of exp(score - largest), by query.
    tops: Vec<T>,
    sums: Vec<T>,
    /// Values mixed so far: [valueDim / height] tiles a sliver.
    mixed: Vec<T>,
}

impl<T: Real> Problem<'_, T> {
    /// As `block`, for `rows` queries from `first` on.
    ///
    /// # Safety
    /// As `block`.
    pub unsafe fn block_of_lanes(
        &self,
        (batch, kv_head): (usize, usize),
        (first, rows): (usize, usize),
        (out, out_stride): (*mut T, usize),
        log_sums: Option<*mut T>,
    ) {
        let TileShape { height, width } = T::tile_shape();
        let slivers = rows.div_ceil(width);
        let tall = self.value_dim.next_multiple_of(height);
        let operand = |lanes, depth, lane_stride, depth_stride| Operand {
            lanes,
            depth,
            lane_stride,
            depth_stride,
        };
        let mut heads: Vec<Running<T>> = (0..self.group)
            .map(|head| Running {
                queries: packed(
                    self.q.from(batch, kv_head * self.group + head, first),
                    operand(rows, self.dim, self.q.strides[2], 1),
                    width,
                ),
                tops: vec![T::NEG_INFINITY; slivers * width],
                sums: vec![T::ZERO; slivers * width],
                mixed: vec![T::ZERO; slivers * tall * width],
            })
            .collect();
        let last = self.visible(first + rows - 1);
        let mut scores = vec![T::ZERO; KEYS.min(last).next_multiple_of(height) * width];
        for start in (0..last).step_by(KEYS) {
            let count = KEYS.min(last - start);
            let keys = packed(
                self.k.from(batch, kv_head, start),
                operand(count, self.dim, self.k.strides[2], 1),
                height,
            );
            let values = packed(
                self.v.from(batch, kv_head, start),
                operand(self.value_dim, count, 1, self.v.strides[2]),
                height,
            );
            for (head, running) in heads.iter_mut().enumerate() {
                for sliver in 0..slivers {
                    let lanes = width.min(rows - sliver * width);
                    let query = first + sliver * width;
                    let seen = self.visible(query + lanes - 1).saturating_sub(start).min(count);
                    if seen > 0 {
                        let place = (batch, kv_head * self.group + head, query, start);
                        self.sliver(
                            running,
                            sliver,
                            (&keys, &values, count),
                            &mut scores,
                            seen,
                            place,
                            lanes,
                        );
                    }
                }
            }
        }
        for (head, running) in heads.iter().enumerate() {
            for row in 0..rows {
                let (sliver, lane) = (row / width, row % width);
                let place = row * out_stride + head * self.value_dim;
                // SAFETY: the caller gives room for the rows; a head of a row belongs to one call at a time.
                let line = unsafe { std::slice::from_raw_parts_mut(out.add(place), self.value_dim) };
                let (factor, from) = (
                    T::ONE / running.sums[row],
                    &running.mixed[sliver * tall * width + lane..],
                );
                for (at, x) in line.iter_mut().enumerate() {
                    *x = from[at * width] * factor;
                }
                if let Some(log_sums) = log_sums {
                    let log_sum = running.tops[row] + Float::ln(running.sums[row]);
                    // SAFETY: as for the rows of the output.
                    unsafe { *log_sums.add(head * self.queries + row) = log_sum };
                }
            }
        }
    }

    /// Adds what a block of keys gives to one sliver of queries, of which the last sees `seen` keys of it.
    // One call for each sliver and block: a record of these would be made and taken apart in between.
    #[allow(clippy::too_many_arguments)]
    fn sliver(
        &self,
        running: &mut Running<T>,
        sliver: usize,
        (keys, values, count): (&[T], &[T], usize),
        scores: &mut [T],
        seen: usize,
        (batch, head, query, start): (usize, usize, usize, usize),
        lanes: usize,
    ) {
        let TileShape { height, width } = T::tile_shape();
        let kernel = T::kernel();
        let dim = self.dim;
        let queries = &running.queries[sliver * dim * width..][..dim * width];
        for (at, out) in scores
            .chunks_exact_mut(height * width)
            .take(seen.div_ceil(height))
            .enumerate()
        {
            let keys = &keys[at * dim * height..][..dim * height];
            // SAFETY: the slices hold the steps and one tile.
            unsafe {
                kernel(
                    dim,
                    keys.as_ptr(),
                    queries.as_ptr(),
                    out.as_mut_ptr(),
                    width,
                    false,
                )
            };
        }
        let scores = &mut scores[..seen * width];
        scale_all::<T>(scores, self.scale);
        for lane in 0..lanes {
            if let Some(bias) = &self.bias {
                let from = &bias.from(batch, head, query + lane)[start * bias.strides[3]..];
                for key in 0..seen {
                    scores[key * width + lane] += from[key * bias.strides[3]];
                }
            }
            for key in self.visible(query + lane).saturating_sub(start)..seen {
                scores[key * width + lane] = T::NEG_INFINITY;
            }
        }
        let here = sliver * width..(sliver + 1) * width;
        let carries = soften::<T>(scores, &mut running.tops[here.clone()], &mut running.sums[here]);
        let tall = self.value_dim.next_multiple_of(height);
        let mixed = &mut running.mixed[sliver * tall * width..][..tall * width];
        if carries[..width].iter().any(|&carry| carry != T::ONE) {
            for line in mixed.chunks_exact_mut(width) {
                for (x, carry) in line.iter_mut().zip(&carries) {
                    *x *= *carry;
                }
            }
        }
        for (at, out) in mixed.chunks_exact_mut(height * width).enumerate() {
            let values = &values[at * count * height..][..seen * height];
            // SAFETY: the slices hold the steps and one tile.
            unsafe {
                kernel(
                    seen,
                    values.as_ptr(),
                    scores.as_ptr(),
                    out.as_mut_ptr(),
                    width,
                    start > 0,
                )
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::View;
    use crate::attention::Options;

    #[test]
    fn the_bits_are_those_of_queries_as_rows() {
        // batch, kv heads, group, queries, keys, dim, value dim, bias
        for (kv, group, queries, keys, dim, value_dim, biased, causal) in [
            (2, 1, 100, 100, 24, 20, false, true),
            (1, 3, 70, 600, 32, 32, true, true),
            (1, 2, 64, 300, 16, 7, true, false),
        ] {
            let number = |seed: usize| move |i: usize| ((i * seed % 113) as f32 - 56.0) / 31.0;
            let q = View::filled(&[1, kv * group, queries, dim], number(37));
            let k = View::filled(&[1, kv, keys, dim], number(41));
            let v = View::filled(&[1, kv, keys, value_dim], number(43));
            let bias = View::filled(&[1, kv * group, queries, keys], |i| {
                if i % 17 == 0 {
                    f32::NEG_INFINITY
                } else {
                    number(29)(i)
                }
            });
            let options = Options { scale: 0.3, causal };
            let problem = Problem::<f32>::of((&q, &k, &v, biased.then_some(&bias)), options).unwrap();
            let stride = kv * group * value_dim;
            let mut found = [(); 2].map(|_| (vec![0f32; queries * stride], vec![0f32; kv * group * queries]));
            for kv_head in 0..kv {
                let head = kv_head * group;
                for first in (0..queries).step_by(64) {
                    let (out, sums) = &mut found[0];
                    let rows = out[first * stride + head * value_dim..].as_mut_ptr();
                    let sums = sums[head * queries + first..].as_mut_ptr();
                    // SAFETY: room for all queries of all heads.
                    unsafe { problem.block(0, kv_head, first, (rows, stride), Some(sums)) };
                }
                let (out, sums) = &mut found[1];
                let rows = out[head * value_dim..].as_mut_ptr();
                let sums = sums[head * queries..].as_mut_ptr();
                // SAFETY: as above.
                unsafe { problem.block_of_lanes((0, kv_head), (0, queries), (rows, stride), Some(sums)) };
            }
            let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&found[0].0), bits(&found[1].0));
            assert_eq!(bits(&found[0].1), bits(&found[1].1));
        }
    }
}
