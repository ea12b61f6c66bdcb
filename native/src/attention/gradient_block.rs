//! The gradients of one head of keys and of the queries that read it, a block of queries and keys at a time. Micro
//! kernels write the scores as the slivers of a right operand of keys, so that the sums over queries read them as they
//! are; only the one over keys has them turned.
//!
//! The packed rows are one step longer than the heads: queries end in -log_sums against keys that end in 1, so that a
//! product is the logarithm of a probability, and gradients end in -sum(dO O) against values that end in 1.

use super::key_side::{KEYS, KeySide, pack};
use super::query_block::{Problem, QUERIES, Strided};
use crate::dtype::num::Float;
use crate::fault::Result;
use crate::lanes::{Itself, Sum, fold};
use crate::micro_kernel::TileShape;
use crate::micro_tiles::Real;
use crate::packing::{Operand, pack_sliver, packed_length};
use crate::parallel::Shared;
use crate::simd;

simd! {
    /// Logarithms of probabilities P become P, and dP - sum(dO O) becomes dS.
    fn slopes<T: Real>(scores: &mut [T], slopes: &mut [T]) {
        for (score, slope) in scores.iter_mut().zip(slopes) {
            let probability = Float::exp(*score);
            *score = probability;
            *slope = probability * *slope;
        }
    }
}

simd! {
    /// sum(a b); `products` is room for a row.
    fn dot<T: Real>(a: &[T], b: &[T], products: &mut [T]) -> f64 {
        for (p, (a, b)) in products.iter_mut().zip(a.iter().zip(b)) {
            *p = *a * *b;
        }
        fold::<Sum, Itself, T>(products, T::ZERO)
    }
}

/// Calls the micro kernel for every tile of `down` slivers of the left operand and one sliver of the right one.
///
/// # Safety
/// `out` holds `down` tiles, each row-major and `width` wide, one after the other.
unsafe fn column<T: Real>(depth: usize, left: &[T], right: &[T], down: usize, out: &mut [T], add: bool) {
    let TileShape { height, width } = T::tile_shape();
    let kernel = T::kernel();
    for row in 0..down {
        let (left, right) = (
            &left[row * depth * height..][..depth * height],
            &right[..depth * width],
        );
        let out = &mut out[row * height * width..][..height * width];
        // SAFETY: the slices hold the steps and one tile.
        unsafe { kernel(depth, left.as_ptr(), right.as_ptr(), out.as_mut_ptr(), width, add) };
    }
}

/// Where the result of attention came from, and where its gradients go.
pub(super) struct Gradients<'a, T> {
    pub problem: Problem<'a, T>,
    pub out: Strided<'a, T>,
    pub dout: Strided<'a, T>,
    pub log_sums: &'a [T],
    pub heads: usize,
    pub dq: Shared<T>,
    pub dk: Shared<T>,
    pub dv: Shared<T>,
    pub dbias: Option<Shared<T>>,
}

/// A block of queries of one head.
struct QuerySide<T> {
    batch: usize,
    head: usize,
    first: usize,
    rows: usize,
    /// Scaled queries, then -log_sums: [rows, dim + 1], packed by row, and by dim.
    queries: Vec<T>,
    query_dims: Vec<T>,
    /// Gradients of the result, then -sum(dO O): [rows, valueDim + 1], packed by row, and by dim.
    gradients: Vec<T>,
    gradient_dims: Vec<T>,
    /// The gradient of the queries, [rows / height][dim / width] tiles.
    dqueries: Vec<T>,
}

/// Room for a block of scores, slivers of `width` keys over all rows; dS is packed by row beside them.
struct Room<T> {
    scores: Vec<T>,
    slopes: Vec<T>,
    turned: Vec<T>,
}

impl<T: Real> Gradients<'_, T> {
    /// The gradients of one head of keys and of all queries that read it.
    ///
    /// # Safety
    /// Nobody else may write to them.
    pub unsafe fn of_head(&self, batch: usize, kv_head: usize, side: &mut KeySide) -> Result<()> {
        let TileShape { height, .. } = T::tile_shape();
        let queries = QUERIES.next_multiple_of(height);
        let size = queries * KEYS;
        let mut room = Room {
            scores: vec![T::ZERO; size],
            slopes: vec![T::ZERO; size],
            turned: vec![T::ZERO; size],
        };
        for head in kv_head * self.problem.group..(kv_head + 1) * self.problem.group {
            for first in (0..self.problem.queries).step_by(queries) {
                let mut block = self.query_side(batch, head, first, queries);
                let last = self.problem.visible(first + block.rows - 1);
                for start in (0..last).step_by(KEYS) {
                    // SAFETY: as promised by the caller.
                    unsafe { self.block(&mut block, side, start, KEYS.min(last - start), &mut room)? };
                }
                // SAFETY: as promised by the caller.
                unsafe { self.write_queries(&block) };
            }
        }
        let problem = &self.problem;
        let [dk, dv] = [
            (&side.dkeys, problem.dim, self.dk),
            (&side.dvalues, problem.value_dim, self.dv),
        ];
        for (turned, dim, out) in [dk, dv] {
            // SAFETY: as promised by the caller.
            unsafe { self.write_keys(turned.slice::<T>()?, batch, kv_head, dim, out) };
        }
        Ok(())
    }

    fn query_side(&self, batch: usize, head: usize, first: usize, most: usize) -> QuerySide<T> {
        let Problem {
            queries,
            dim,
            value_dim,
            scale,
            q,
            ..
        } = self.problem;
        let TileShape { height, width } = T::tile_shape();
        let rows = most.min(queries - first);
        let mut scaled = vec![T::ZERO; rows * (dim + 1)];
        let log_sums = &self.log_sums[(batch * self.heads + head) * queries + first..];
        for (row, line) in scaled.chunks_exact_mut(dim + 1).enumerate() {
            let (numbers, last) = line.split_at_mut(dim);
            for (to, &x) in numbers.iter_mut().zip(q.from(batch, head, first + row)) {
                *to = x * scale;
            }
            last[0] = -log_sums[row];
        }
        let mut gradients = vec![T::ZERO; rows * (value_dim + 1)];
        let mut products = vec![T::ZERO; value_dim];
        for (row, line) in gradients.chunks_exact_mut(value_dim + 1).enumerate() {
            let (numbers, last) = line.split_at_mut(value_dim);
            let dout = &self.dout.from(batch, head, first + row)[..value_dim];
            let out = &self.out.from(batch, head, first + row)[..value_dim];
            numbers.copy_from_slice(dout);
            last[0] = T::from_f64(-dot::<T>(dout, out, &mut products));
        }
        let packed = |from: &[T], lanes: usize, depth: usize, strides: (usize, usize)| {
            let operand = Operand {
                lanes,
                depth,
                lane_stride: strides.0,
                depth_stride: strides.1,
            };
            let mut out = vec![T::ZERO; packed_length(lanes, depth, height)];
            pack(from, operand, height, 0, &mut out);
            out
        };
        QuerySide {
            batch,
            head,
            first,
            rows,
            queries: packed(&scaled, rows, dim + 1, (dim + 1, 1)),
            query_dims: packed(&scaled, dim, rows, (1, dim + 1)),
            gradients: packed(&gradients, rows, value_dim + 1, (value_dim + 1, 1)),
            gradient_dims: packed(&gradients, value_dim, rows, (1, value_dim + 1)),
            dqueries: vec![T::ZERO; rows.next_multiple_of(height) * dim.next_multiple_of(width)],
        }
    }

    /// Adds what a block of keys gives to all gradients.
    ///
    /// # Safety
    /// As `of_head`.
    unsafe fn block(
        &self,
        block: &mut QuerySide<T>,
        side: &mut KeySide,
        start: usize,
        count: usize,
        room: &mut Room<T>,
    ) -> Result<()> {
        let TileShape { height, width } = T::tile_shape();
        let Problem {
            keys, dim, value_dim, ..
        } = self.problem;
        let rows = block.rows;
        let down = rows.div_ceil(height);
        let sliver = down * height * width;
        let across = count.div_ceil(width);
        let (scores, slopes) = (
            &mut room.scores[..across * sliver],
            &mut room.slopes[..across * sliver],
        );
        let (key_lanes, value_lanes) = (side.keys.slice::<T>()?, side.values.slice::<T>()?);
        for (at, (scores, slopes)) in scores
            .chunks_mut(sliver)
            .zip(slopes.chunks_mut(sliver))
            .enumerate()
        {
            let place = start + at * width;
            // SAFETY: a sliver of scores holds the tiles of all rows.
            unsafe {
                column(
                    dim + 1,
                    &block.queries,
                    &key_lanes[place * (dim + 1)..],
                    down,
                    scores,
                    false,
                );
                column(
                    value_dim + 1,
                    &block.gradients,
                    &value_lanes[place * (value_dim + 1)..],
                    down,
                    slopes,
                    false,
                );
            }
        }
        self.add_bias(scores, block, start, count, sliver);
        self.hide(scores, block, start, count, sliver);
        self::slopes::<T>(scores, slopes);
        // SAFETY: as promised by the caller.
        unsafe { self.write_bias(slopes, block, start, count, sliver) };
        let (tall, value_tall) = (dim.div_ceil(height), value_dim.div_ceil(height));
        let (dkeys, dvalues) = (side.dkeys.slice_mut::<T>()?, side.dvalues.slice_mut::<T>()?);
        for (at, (scores, slopes)) in scores.chunks(sliver).zip(slopes.chunks(sliver)).enumerate() {
            let place = start + at * width;
            // SAFETY: the gradients of `width` keys are the tiles of all dims.
            unsafe {
                let out = &mut dkeys[place * tall * height..];
                column(rows, &block.query_dims, slopes, tall, out, true);
                let out = &mut dvalues[place * value_tall * height..];
                column(rows, &block.gradient_dims, scores, value_tall, out, true);
            }
        }
        let dims = &side.dims.slice::<T>()?[dim.next_multiple_of(width) * start..];
        let full = KEYS.min(keys - start);
        let wide = dim.div_ceil(width);
        for row in 0..down {
            let turned = &mut room.turned[..count * height];
            for (at, slopes) in slopes.chunks(sliver).enumerate() {
                let depth = width.min(count - at * width);
                let operand = Operand {
                    lanes: height,
                    depth,
                    lane_stride: width,
                    depth_stride: 1,
                };
                let line = &mut turned[at * width * height..][..depth * height];
                pack_sliver(&slopes[row * height * width..], operand, height, line);
            }
            for part in 0..wide {
                let out = &mut block.dqueries[(row * wide + part) * height * width..];
                // SAFETY: one tile of the gradient of the queries.
                unsafe { column(count, turned, &dims[part * full * width..], 1, out, true) };
            }
        }
        Ok(())
    }

    /// Adds the bias to the scores of the keys from `start` on.
    fn add_bias(&self, scores: &mut [T], block: &QuerySide<T>, start: usize, count: usize, sliver: usize) {
        let Some(bias) = &self.problem.bias else { return };
        let width = T::tile_shape().width;
        for (at, scores) in scores.chunks_mut(sliver).enumerate() {
            let lanes = width.min(count - at * width);
            for row in 0..block.rows {
                let from = bias.from(block.batch, block.head, block.first + row);
                let key = start + at * width;
                for (lane, score) in scores[row * width..][..lanes].iter_mut().enumerate() {
                    *score += from[(key + lane) * bias.strides[3]];
                }
            }
        }
    }

    /// Minus infinity where a query does not see a key, up to the end of the last sliver, which goes on where the block
    /// ends at the last key that any query sees.
    fn hide(&self, scores: &mut [T], block: &QuerySide<T>, start: usize, count: usize, sliver: usize) {
        let width = T::tile_shape().width;
        let end = count.next_multiple_of(width).min(self.problem.keys - start);
        if self.problem.visible(block.first) >= start + end {
            return;
        }
        for row in 0..block.rows {
            let seen = self.problem.visible(block.first + row).saturating_sub(start);
            for key in seen..end {
                scores[key / width * sliver + row * width + key % width] = T::NEG_INFINITY;
            }
        }
    }

    /// # Safety
    /// As `of_head`.
    unsafe fn write_bias(
        &self,
        slopes: &[T],
        block: &QuerySide<T>,
        start: usize,
        count: usize,
        sliver: usize,
    ) {
        let Some(dbias) = self.dbias else { return };
        let width = T::tile_shape().width;
        let Problem { queries, keys, .. } = self.problem;
        for row in 0..block.rows {
            let place =
                ((block.batch * self.heads + block.head) * queries + block.first + row) * keys + start;
            // SAFETY: keys `start ..` of this query, which belong to the task.
            let line = unsafe { std::slice::from_raw_parts_mut(dbias.get().add(place), count) };
            for (at, part) in line.chunks_mut(width).enumerate() {
                part.copy_from_slice(&slopes[at * sliver + row * width..][..part.len()]);
            }
        }
    }

    /// # Safety
    /// As `of_head`.
    unsafe fn write_queries(&self, block: &QuerySide<T>) {
        let TileShape { height, width } = T::tile_shape();
        let Problem {
            queries, dim, scale, ..
        } = self.problem;
        let wide = dim.div_ceil(width);
        for row in 0..block.rows {
            let place = ((block.batch * queries + block.first + row) * self.heads + block.head) * dim;
            // SAFETY: one query of this head, which belongs to the task.
            let line = unsafe { std::slice::from_raw_parts_mut(self.dq.get().add(place), dim) };
            for (part, line) in line.chunks_mut(width).enumerate() {
                let tile = (row / height * wide + part) * height * width;
                let from = &block.dqueries[tile + row % height * width..];
                for (to, &x) in line.iter_mut().zip(from) {
                    *to = x * scale;
                }
            }
        }
    }

    /// Turns the gradients of keys or values back.
    ///
    /// # Safety
    /// As `of_head`.
    unsafe fn write_keys(&self, turned: &[T], batch: usize, kv_head: usize, dim: usize, out: Shared<T>) {
        let TileShape { height, width } = T::tile_shape();
        let Problem { keys, group, .. } = self.problem;
        let tall = dim.next_multiple_of(height);
        for key in 0..keys {
            let place = ((batch * keys + key) * (self.heads / group) + kv_head) * dim;
            // SAFETY: one key of this head, which belongs to the task.
            let line = unsafe { std::slice::from_raw_parts_mut(out.get().add(place), dim) };
            let from = key / width * tall * width + key % width;
            for (at, to) in line.iter_mut().enumerate() {
                *to = turned[from + at * width];
            }
        }
    }
}
