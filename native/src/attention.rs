//! Grouped-query attention in blocks: scores of 64 queries and 256 keys at a time, softmax carried along
//! (Milakov and Gimelshein, arXiv 1805.02867; Dao et al., arXiv 2205.14135). The whole score matrix never exists.

use crate::arena::{View, view};
use crate::copy;
use crate::dtype::DType;
use crate::fault::{Fault, Result, border, js};
use crate::parallel::{self, Shared};
use crate::product::Real;
use napi_derive::napi;
use pare_dense::{Accum, MatMut, MatRef, Par};

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
    fn at(&self, batch: usize, head: usize, row: usize) -> *const T {
        self.data[batch * self.strides[0] + head * self.strides[1] + row * self.strides[2]..].as_ptr()
    }
    fn row_stride(&self) -> isize {
        self.strides[2] as isize
    }
}

struct Problem<'a, T> {
    q: Strided<'a, T>,
    k: Strided<'a, T>,
    v: Strided<'a, T>,
    bias: Option<Strided<'a, T>>,
    heads: usize,
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

impl<T: Real> Problem<'_, T> {
    /// One block of queries of one head, written to `out` with rows `out_stride` apart.
    ///
    /// # Safety
    /// `out` must have room for the block's rows.
    unsafe fn block(&self, batch: usize, head: usize, first: usize, out: *mut T, out_stride: usize) {
        let rows = QUERIES.min(self.queries - first);
        let kv_head = head / self.group;
        let mut scores = vec![T::ZERO; rows * KEYS.min(self.keys)];
        let mut sums = vec![T::ZERO; rows];
        let mut tops = vec![T::NEG_INFINITY; rows];
        let shift = self.keys as isize - self.queries as isize;
        let visible = |row: usize| {
            if self.causal {
                (first as isize + row as isize + 1 + shift).clamp(0, self.keys as isize) as usize
            } else {
                self.keys
            }
        };
        for row in 0..rows {
            // SAFETY: the caller gives room for the rows.
            unsafe { std::slice::from_raw_parts_mut(out.add(row * out_stride), self.value_dim) }
                .fill(T::ZERO);
        }
        let last = visible(rows - 1);
        for start in (0..last).step_by(KEYS) {
            let count = KEYS.min(last - start);
            // SAFETY: the blocks lie inside q, k, v, whose extents were checked; scores and out are our own.
            let (q, k, mut s) = unsafe {
                (
                    MatRef::from_raw_parts(
                        self.q.at(batch, head, first),
                        rows,
                        self.dim,
                        self.q.row_stride(),
                        1,
                    ),
                    MatRef::from_raw_parts(
                        self.k.at(batch, kv_head, start),
                        self.dim,
                        count,
                        1,
                        self.k.row_stride(),
                    ),
                    MatMut::from_raw_parts_mut(scores.as_mut_ptr(), rows, count, count as isize, 1),
                )
            };
            T::multiply(s.as_mut(), Accum::Replace, q, k, self.scale, Par::Seq);
            for row in 0..rows {
                let line = &mut scores[row * count..(row + 1) * count];
                if let Some(bias) = &self.bias {
                    let from =
                        batch * bias.strides[0] + head * bias.strides[1] + (first + row) * bias.strides[2];
                    for (key, value) in line.iter_mut().enumerate() {
                        *value += bias.data[from + (start + key) * bias.strides[3]];
                    }
                }
                let seen = visible(row).saturating_sub(start).min(count);
                line[seen..].fill(T::NEG_INFINITY);
                let before = tops[row];
                let (top, sum) = exponentials::<T>(line, before);
                let carry = if before == top {
                    T::ONE
                } else {
                    crate::dtype::num::Float::exp(before - top)
                };
                if before != top && before != T::NEG_INFINITY {
                    // SAFETY: as above.
                    scale_row::<T>(
                        unsafe { std::slice::from_raw_parts_mut(out.add(row * out_stride), self.value_dim) },
                        carry,
                    );
                }
                sums[row] = if before == T::NEG_INFINITY {
                    sum
                } else {
                    sums[row] * carry + sum
                };
                tops[row] = top;
            }
            // SAFETY: as above.
            let (p, v, o) = unsafe {
                (
                    MatRef::from_raw_parts(scores.as_ptr(), rows, count, count as isize, 1),
                    MatRef::from_raw_parts(
                        self.v.at(batch, kv_head, start),
                        count,
                        self.value_dim,
                        self.v.row_stride(),
                        1,
                    ),
                    MatMut::from_raw_parts_mut(out, rows, self.value_dim, out_stride as isize, 1),
                )
            };
            T::multiply(o, Accum::Add, p, v, T::ONE, Par::Seq);
        }
        for (row, &sum) in sums.iter().enumerate() {
            // SAFETY: as above.
            scale_row::<T>(
                unsafe { std::slice::from_raw_parts_mut(out.add(row * out_stride), self.value_dim) },
                T::ONE / sum,
            );
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
        heads,
        group: heads / k.shape[1],
        queries,
        keys: k.shape[2],
        dim,
        value_dim,
        scale: T::from_f64(scale),
        causal,
    };
    let blocks = queries.div_ceil(QUERIES);
    let target = Shared(out.slice_mut::<T>()?.as_mut_ptr());
    // The last blocks see the most keys: they go first, so that threads end together.
    parallel::tasks(batches * heads * blocks, |task| {
        let (block, rest) = (blocks - 1 - task / (batches * heads), task % (batches * heads));
        let (batch, head) = (rest / problem.heads, rest % problem.heads);
        let first = block * QUERIES;
        let position = ((batch * queries + first) * heads + head) * value_dim;
        // SAFETY: rows `first ..` of this batch and head lie inside the output and belong to this task alone.
        unsafe { problem.block(batch, head, first, target.get().add(position), heads * value_dim) };
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
