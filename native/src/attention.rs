//! Grouped-query attention in blocks: scores of 64 queries and 256 keys at a time, softmax carried along
//! (Milakov and Gimelshein, arXiv 1805.02867; Dao et al., arXiv 2205.14135). The whole score matrix never exists.

use crate::arena::{View, view};
use crate::copy;
use crate::dtype::DType;
use crate::fault::{Fault, Result, border, js};
use crate::micro_tiles::{Real, Sums, Tile, Wanted};
use crate::packing::{Operand, pack_sliver, packed_length};
use crate::parallel::{self, Shared};
use napi_derive::napi;

const QUERIES: usize = 64;
const KEYS: usize = 256;

#[derive(Clone, Copy)]
struct Strided<'a, T> {
    data: &'a [T],
    strides: [usize; 4],
}

impl<'a, T> Strided<'a, T> {
    fn of(x: &'a View) -> Result<Strided<'a, T>>
    where
        T: Real,
    {
        Ok(Strided {
            data: x.tail::<T>()?,
            strides: [x.strides[0], x.strides[1], x.strides[2], x.strides[3]],
        })
    }
    /// The numbers from one row of one head on.
    fn from(&self, batch: usize, head: usize, row: usize) -> &'a [T] {
        &self.data[batch * self.strides[0] + head * self.strides[1] + row * self.strides[2]..]
    }
}

struct Problem<'a, T> {
    q: Strided<'a, T>,
    k: Strided<'a, T>,
    v: Strided<'a, T>,
    bias: Option<Strided<'a, T>>,
    group: usize,
    queries: usize,
    keys: usize,
    dim: usize,
    value_dim: usize,
    scale: T,
    causal: bool,
}

crate::simd! {
    /// Turns one row of scores into exp(score - new_max); returns (new_max, sum of the row).
    fn exponentials<T: Real>(row: &mut [T], before: T) -> (T, T) {
        const LANES: usize = 16;
        let mut largest = [before; LANES];
        let body = row.len() / LANES * LANES;
        for chunk in row[..body].chunks_exact(LANES) {
            for lane in 0..LANES {
                largest[lane] = crate::dtype::num::Float::max(largest[lane], chunk[lane]);
            }
        }
        for (lane, &value) in row[body..].iter().enumerate() {
            largest[lane] = crate::dtype::num::Float::max(largest[lane], value);
        }
        let top = largest.iter().fold(before, |a, &b| crate::dtype::num::Float::max(a, b));
        if top == T::NEG_INFINITY {
            row.fill(T::ZERO);
            return (top, T::ZERO);
        }
        let mut sums = [T::ZERO; LANES];
        for chunk in row[..body].chunks_exact_mut(LANES) {
            for lane in 0..LANES {
                chunk[lane] = crate::dtype::num::Float::exp(chunk[lane] - top);
                sums[lane] += chunk[lane];
            }
        }
        for (lane, value) in row[body..].iter_mut().enumerate() {
            *value = crate::dtype::num::Float::exp(*value - top);
            sums[lane] += *value;
        }
        let mut total = T::ZERO;
        for sum in sums {
            total += sum;
        }
        (top, total)
    }
}

crate::simd! {
    fn scale_row<T: Real>(row: &mut [T], factor: T) {
        for value in row.iter_mut() {
            *value *= factor;
        }
    }
}

/// What is carried along for the queries of one head.
struct Running<T> {
    /// The queries, packed.
    queries: Vec<T>,
    /// Largest score so far and the sum of exp(score - largest), by query.
    tops: Vec<T>,
    sums: Vec<T>,
}

/// A matrix of `lanes` rows of `depth` numbers, or with its columns as lanes, packed in slivers.
fn packed<T: Real>(from: &[T], operand: Operand, thickness: usize) -> Vec<T> {
    let mut out = vec![T::ZERO; packed_length(operand.lanes, operand.depth, thickness)];
    let length = (operand.depth * thickness).max(1);
    for (sliver, line) in out.chunks_mut(length).enumerate() {
        let lane = sliver * thickness;
        let lanes = thickness.min(operand.lanes - lane);
        pack_sliver(
            &from[lane * operand.lane_stride..],
            Operand { lanes, ..operand },
            thickness,
            line,
        );
    }
    out
}

impl<T: Real> Problem<'_, T> {
    /// Keys that the query at this place of the sequence sees.
    fn visible(&self, query: usize) -> usize {
        if self.causal {
            (query + 1 + self.keys)
                .saturating_sub(self.queries)
                .min(self.keys)
        } else {
            self.keys
        }
    }

    /// One block of queries of all heads that share a head of keys, written to `out`: rows `out_stride` apart, heads
    /// `value_dim`.
    ///
    /// # Safety
    /// `out` must have room for the rows of the block.
    unsafe fn block(&self, batch: usize, kv_head: usize, first: usize, out: *mut T, out_stride: usize) {
        let rows = QUERIES.min(self.queries - first);
        let shape = T::tile_shape();
        let operand = |lanes, depth, lane_stride, depth_stride| Operand {
            lanes,
            depth,
            lane_stride,
            depth_stride,
        };
        // SAFETY: the caller gives room for the rows; a head of a row belongs to one call at a time.
        let line = |head: usize, row: usize| unsafe {
            std::slice::from_raw_parts_mut(out.add(row * out_stride + head * self.value_dim), self.value_dim)
        };
        let mut heads: Vec<Running<T>> = (0..self.group)
            .map(|head| Running {
                queries: packed(
                    self.q.from(batch, kv_head * self.group + head, first),
                    operand(rows, self.dim, self.q.strides[2], 1),
                    shape.height,
                ),
                tops: vec![T::NEG_INFINITY; rows],
                sums: vec![T::ZERO; rows],
            })
            .collect();
        for (head, row) in (0..self.group).flat_map(|head| (0..rows).map(move |row| (head, row))) {
            line(head, row).fill(T::ZERO);
        }
        let last = self.visible(first + rows - 1);
        let mut scores = vec![T::ZERO; rows * KEYS.min(last)];
        for start in (0..last).step_by(KEYS) {
            let count = KEYS.min(last - start);
            let keys = packed(
                self.k.from(batch, kv_head, start),
                operand(count, self.dim, self.k.strides[2], 1),
                shape.width,
            );
            let values = packed(
                self.v.from(batch, kv_head, start),
                operand(self.value_dim, count, 1, self.v.strides[2]),
                shape.width,
            );
            let tile = |columns| Tile {
                rows: (0, rows),
                columns: (0, columns),
            };
            for (head, running) in heads.iter_mut().enumerate() {
                let products = Sums::of((&running.queries, &keys, self.dim), tile(count), Wanted::All);
                products.pieces(|row, column, piece| {
                    let target = &mut scores[row * count + column..][..piece.len()];
                    target
                        .iter_mut()
                        .zip(piece)
                        .for_each(|(score, &product)| *score = product * self.scale);
                });
                for row in 0..rows {
                    let scores = &mut scores[row * count..(row + 1) * count];
                    self.add_bias(scores, batch, kv_head * self.group + head, first + row, start);
                    let seen = self.visible(first + row).saturating_sub(start).min(count);
                    scores[seen..].fill(T::NEG_INFINITY);
                    let before = running.tops[row];
                    let (top, sum) = exponentials::<T>(scores, before);
                    running.tops[row] = top;
                    if before == T::NEG_INFINITY {
                        running.sums[row] = sum;
                        continue;
                    }
                    let carry = crate::dtype::num::Float::exp(before - top);
                    running.sums[row] = running.sums[row] * carry + sum;
                    if before != top {
                        scale_row::<T>(line(head, row), carry);
                    }
                }
                let weights = packed(&scores, operand(rows, count, count, 1), shape.height);
                let mixed = Sums::of((&weights, &values, count), tile(self.value_dim), Wanted::All);
                mixed.pieces(|row, column, piece| {
                    let target = &mut line(head, row)[column..][..piece.len()];
                    target.iter_mut().zip(piece).for_each(|(x, &y)| *x += y);
                });
            }
        }
        for (head, running) in heads.iter().enumerate() {
            for (row, &sum) in running.sums.iter().enumerate() {
                scale_row::<T>(line(head, row), T::ONE / sum);
            }
        }
    }

    /// Adds the bias of one query to its scores of the keys from `start` on.
    fn add_bias(&self, scores: &mut [T], batch: usize, head: usize, query: usize, start: usize) {
        let Some(bias) = &self.bias else { return };
        let from = batch * bias.strides[0] + head * bias.strides[1] + query * bias.strides[2];
        for (key, score) in scores.iter_mut().enumerate() {
            *score += bias.data[from + (start + key) * bias.strides[3]];
        }
    }
}

fn dense_rows(x: &View) -> Result<View> {
    if x.strides[3] == 1 || x.shape[3] <= 1 {
        Ok(x.clone())
    } else {
        copy::copy(x)
    }
}

fn run<T: Real>(
    q: &View,
    k: &View,
    v: &View,
    bias: Option<&View>,
    scale: f64,
    causal: bool,
    out: &View,
) -> Result<()> {
    let (batches, heads, queries) = (q.shape[0], q.shape[1], q.shape[2]);
    let (dim, value_dim) = (q.shape[3], v.shape[3]);
    let problem = Problem::<T> {
        q: Strided::of(q)?,
        k: Strided::of(k)?,
        v: Strided::of(v)?,
        bias: bias.map(Strided::of).transpose()?,
        group: heads / k.shape[1],
        queries,
        keys: k.shape[2],
        dim,
        value_dim,
        scale: T::from_f64(scale),
        causal,
    };
    let (blocks, kv_heads) = (queries.div_ceil(QUERIES), k.shape[1]);
    let target = Shared(out.slice_mut::<T>()?.as_mut_ptr());
    // The last blocks see the most keys: they go first, so that threads end together.
    parallel::tasks(batches * kv_heads * blocks, |task| {
        let (block, rest) = (
            blocks - 1 - task / (batches * kv_heads),
            task % (batches * kv_heads),
        );
        let (batch, kv_head) = (rest / kv_heads, rest % kv_heads);
        let first = block * QUERIES;
        let position = ((batch * queries + first) * heads + kv_head * problem.group) * value_dim;
        // SAFETY: rows `first ..` of this batch and these heads lie inside the output and belong to this task alone.
        unsafe {
            problem.block(
                batch,
                kv_head,
                first,
                target.get().add(position),
                heads * value_dim,
            )
        };
    })
}

/// q [batch, heads, queries, dim], k [batch, kvHeads, keys, dim], v [batch, kvHeads, keys, valueDim]; the result is
/// [batch, queries, heads, valueDim]. A query without any visible key gives NaN.
pub fn attention(
    q: &View,
    k: &View,
    v: &View,
    bias: Option<&View>,
    scale: f64,
    causal: bool,
) -> Result<View> {
    let wrong = |why: &str| {
        Fault::shape(format!(
            "attention: {why}, got q {:?}, k {:?}, v {:?}",
            &*q.shape, &*k.shape, &*v.shape
        ))
    };
    if q.shape.len() != 4 || k.shape.len() != 4 || v.shape.len() != 4 {
        return Err(wrong("needs four axes each"));
    }
    let fits = q.shape[0] == k.shape[0]
        && k.shape[..3] == v.shape[..3]
        && q.shape[3] == k.shape[3]
        && k.shape[1] > 0
        && q.shape[1].is_multiple_of(k.shape[1]);
    if !fits {
        return Err(wrong(
            "needs equal batches and dims, and a number of key heads that divides that of the query heads",
        ));
    }
    if q.dtype != k.dtype || q.dtype != v.dtype || bias.is_some_and(|b| b.dtype != q.dtype) {
        return Err(wrong("needs one number type"));
    }
    if let Some(bias) = bias
        && *bias.shape != [q.shape[0], q.shape[1], q.shape[2], k.shape[2]]
    {
        return Err(wrong("needs a bias of [batch, heads, queries, keys]"));
    }
    let wide = |x: &View| -> Result<View> {
        if x.dtype == DType::BF16 {
            copy::cast(x, DType::F32)
        } else {
            dense_rows(x)
        }
    };
    let (qs, ks, vs) = (wide(q)?, wide(k)?, wide(v)?);
    let bias = match bias {
        Some(b) if b.dtype == DType::BF16 => Some(copy::cast(b, DType::F32)?),
        other => other.cloned(),
    };
    let out = View::empty(qs.dtype, &[q.shape[0], q.shape[2], q.shape[1], v.shape[3]])?;
    if !out.is_empty() {
        match qs.dtype {
            DType::F32 => run::<f32>(&qs, &ks, &vs, bias.as_ref(), scale, causal, &out)?,
            DType::F64 => run::<f64>(&qs, &ks, &vs, bias.as_ref(), scale, causal, &out)?,
            other => return Err(wrong(&format!("needs f32, f64 or bf16, not {}", other.name()))),
        }
    }
    if q.dtype == DType::BF16 {
        copy::cast(&out, DType::BF16)
    } else {
        Ok(out)
    }
}

#[napi(js_name = "attention")]
pub fn attention_border(
    q: u32,
    k: u32,
    v: u32,
    bias: Option<u32>,
    scale: f64,
    causal: bool,
) -> js::Result<u32> {
    border(|| {
        let bias = bias.map(view).transpose()?;
        Ok(attention(&view(q)?, &view(k)?, &view(v)?, bias.as_ref(), scale, causal)?.into_handle())
    })
}
