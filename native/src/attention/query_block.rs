//! A block of queries against all keys that it sees.

use super::key_side::packed;
use super::score_rows::{exponentials, scale_row};
use crate::arena::View;
use crate::fault::Result;
use crate::micro_tiles::{Real, Sums, Tile, Wanted};
use crate::packing::Operand;

pub(super) const QUERIES: usize = 64;
pub(super) const KEYS: usize = 256;

#[derive(Clone, Copy)]
pub(super) struct Strided<'a, T> {
    pub data: &'a [T],
    pub strides: [usize; 4],
}

impl<'a, T> Strided<'a, T> {
    pub fn of(x: &'a View) -> Result<Strided<'a, T>>
    where
        T: Real,
    {
        Ok(Strided {
            data: x.tail::<T>()?,
            strides: [x.strides[0], x.strides[1], x.strides[2], x.strides[3]],
        })
    }
    /// The numbers from one row of one head on.
    pub fn from(&self, batch: usize, head: usize, row: usize) -> &'a [T] {
        let start = batch * self.strides[0] + head * self.strides[1] + row * self.strides[2];
        // Rows without numbers begin behind the end.
        &self.data[start.min(self.data.len())..]
    }
}

pub(super) struct Problem<'a, T> {
    pub q: Strided<'a, T>,
    pub k: Strided<'a, T>,
    pub v: Strided<'a, T>,
    pub bias: Option<Strided<'a, T>>,
    pub group: usize,
    pub queries: usize,
    pub keys: usize,
    pub dim: usize,
    pub value_dim: usize,
    pub scale: T,
    pub causal: bool,
}

/// What is carried along for the queries of one head.
struct Running<T> {
    /// The queries, packed.
    queries: Vec<T>,
    /// Largest score so far and the sum of exp(score - largest), by query.
    tops: Vec<T>,
    sums: Vec<T>,
}

impl<T: Real> Problem<'_, T> {
    /// Keys that the query at this place of the sequence sees.
    pub fn visible(&self, query: usize) -> usize {
        if self.causal {
            (query + 1 + self.keys)
                .saturating_sub(self.queries)
                .min(self.keys)
        } else {
            self.keys
        }
    }

    /// One block of queries of all heads that share a head of keys, written to `out`: rows `out_stride` apart, heads
    /// `value_dim`. Where asked for, the logarithm of the sum of exponentials of each row goes to `log_sums`: heads
    /// `queries` apart.
    ///
    /// # Safety
    /// `out` and `log_sums` must have room for the rows of the block.
    pub unsafe fn block(
        &self,
        batch: usize,
        kv_head: usize,
        first: usize,
        (out, out_stride): (*mut T, usize),
        log_sums: Option<*mut T>,
    ) {
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
                if let Some(log_sums) = log_sums {
                    let log_sum = running.tops[row] + crate::dtype::num::Float::ln(sum);
                    // SAFETY: as for the rows of the output.
                    unsafe { *log_sums.add(head * self.queries + row) = log_sum };
                }
            }
        }
    }

    /// Adds the bias of one query to its scores of the keys from `start` on.
    pub fn add_bias(&self, scores: &mut [T], batch: usize, head: usize, query: usize, start: usize) {
        let Some(bias) = &self.bias else { return };
        let from = batch * bias.strides[0] + head * bias.strides[1] + query * bias.strides[2];
        for (key, score) in scores.iter_mut().enumerate() {
            *score += bias.data[from + (start + key) * bias.strides[3]];
        }
    }
}
