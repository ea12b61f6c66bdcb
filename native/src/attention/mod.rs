//! Grouped-query attention in blocks: scores of 64 queries and 256 keys at a time, softmax carried along
//! (Milakov and Gimelshein, arXiv 1805.02867; Dao et al., arXiv 2205.14135). The whole score matrix never exists.

mod few_queries;
mod gradient;
mod gradient_block;
mod key_side;
mod query_block;
mod query_lanes;
mod score_lanes;
mod score_rows;

pub use gradient::attention_gradient;

use crate::arena::{View, view};
use crate::copy;
use crate::dtype::DType;
use crate::fault::{Fault, Result, border, js};
use crate::micro_tiles::Real;
use crate::parallel::{self, Shared};
use napi_derive::napi;
use query_block::{Problem, QUERIES, Strided};

#[derive(Clone, Copy)]
pub struct Options {
    pub scale: f64,
    pub causal: bool,
}

/// Refuses operands whose shapes or types do not go together.
fn check(q: &View, k: &View, v: &View, bias: Option<&View>) -> Result<()> {
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
    match q.dtype {
        DType::F32 | DType::F64 | DType::BF16 => Ok(()),
        other => Err(wrong(&format!("needs f32, f64 or bf16, not {}", other.name()))),
    }
}

/// q [batch, heads, queries, dim], k [batch, kvHeads, keys, dim], v [batch, kvHeads, keys, valueDim]; the result is
/// [batch, queries, heads, valueDim]. A query without any visible key gives NaN. Where they are `wanted`, the
/// logarithms of the sums of exp(score) follow, [batch, heads, queries] in f32, or f64 for f64.
pub fn attention(
    q: &View,
    k: &View,
    v: &View,
    bias: Option<&View>,
    options: Options,
    wanted: bool,
) -> Result<(View, Option<View>)> {
    check(q, k, v, bias)?;
    let (qs, ks, vs) = (wide(q)?, wide(k)?, wide(v)?);
    let bias = bias.map(wide_bias).transpose()?;
    let out = View::empty(qs.dtype, &[q.shape[0], q.shape[2], q.shape[1], v.shape[3]])?;
    let log_sums = if wanted {
        Some(View::empty(qs.dtype, &q.shape[..3])?)
    } else {
        None
    };
    if !out.is_empty() {
        let operands = (&qs, &ks, &vs, bias.as_ref());
        if qs.dtype == DType::F32 && q.shape[2] <= few_queries::FEW {
            let problem = Problem::of(operands, options)?;
            let log_sums = log_sums.as_ref().map(View::slice_mut).transpose()?;
            few_queries::few_queries(&problem, (ks.shape[0], ks.shape[1]), out.slice_mut()?, log_sums)?;
        } else if qs.dtype == DType::F32 {
            run::<f32>(operands, options, &out, log_sums.as_ref())?;
        } else {
            run::<f64>(operands, options, &out, log_sums.as_ref())?;
        }
    }
    let out = if q.dtype == DType::BF16 {
        copy::cast(&out, DType::BF16)?
    } else {
        out
    };
    Ok((out, log_sums))
}

/// In a type that is multiplied in, with a dense last axis.
fn wide(x: &View) -> Result<View> {
    if x.dtype == DType::BF16 {
        copy::cast(x, DType::F32)
    } else if x.strides[3] == 1 || x.shape[3] <= 1 {
        Ok(x.clone())
    } else {
        copy::copy(x)
    }
}

fn wide_bias(bias: &View) -> Result<View> {
    if bias.dtype == DType::BF16 {
        copy::cast(bias, DType::F32)
    } else {
        Ok(bias.clone())
    }
}

type Operands<'a> = (&'a View, &'a View, &'a View, Option<&'a View>);

impl<'a, T: Real> Problem<'a, T> {
    fn of((q, k, v, bias): Operands<'a>, Options { scale, causal }: Options) -> Result<Problem<'a, T>> {
        Ok(Problem {
            q: Strided::of(q)?,
            k: Strided::of(k)?,
            v: Strided::of(v)?,
            bias: bias.map(Strided::of).transpose()?,
            group: q.shape[1] / k.shape[1],
            queries: q.shape[2],
            keys: k.shape[2],
            dim: q.shape[3],
            value_dim: v.shape[3],
            scale: T::from_f64(scale),
            causal,
        })
    }
}

/// Tasks of a forward pass, about, where each has `QUERIES` queries or more.
const TASKS: usize = 32;

fn run<T: Real>(operands: Operands, options: Options, out: &View, log_sums: Option<&View>) -> Result<()> {
    let problem = Problem::<T>::of(operands, options)?;
    let (q, k, _, _) = operands;
    let (batches, heads, queries) = (q.shape[0], q.shape[1], q.shape[2]);
    let value_dim = problem.value_dim;
    let kv_heads = k.shape[1];
    // Few queries would leave lanes empty.
    let width = T::tile_shape().width;
    let as_lanes = queries >= 2 * width;
    let rows = if as_lanes {
        // Keys are packed once a task: as few tasks as keep many threads busy.
        let blocks = TASKS.div_ceil(batches * kv_heads).min(queries.div_ceil(QUERIES));
        queries.div_ceil(blocks).next_multiple_of(width)
    } else {
        QUERIES
    };
    let blocks = queries.div_ceil(rows);
    let target = Shared(out.slice_mut::<T>()?.as_mut_ptr());
    let log_sums = match log_sums {
        Some(log_sums) => Some(Shared(log_sums.slice_mut::<T>()?.as_mut_ptr())),
        None => None,
    };
    // The last blocks see the most keys: they go first, so that threads end together.
    parallel::tasks(batches * kv_heads * blocks, |task| {
        let (block, rest) = (
            blocks - 1 - task / (batches * kv_heads),
            task % (batches * kv_heads),
        );
        let (batch, kv_head) = (rest / kv_heads, rest % kv_heads);
        let (first, head) = (block * rows, kv_head * problem.group);
        let position = ((batch * queries + first) * heads + head) * value_dim;
        let row = (batch * heads + head) * queries + first;
        // SAFETY: rows `first ..` of this batch and these heads lie inside the outputs and belong to this task alone.
        unsafe {
            let out = (target.get().add(position), heads * value_dim);
            let log_sums = log_sums.map(|log_sums| log_sums.get().add(row));
            if as_lanes {
                let rows = rows.min(queries - first);
                problem.block_of_lanes((batch, kv_head), (first, rows), out, log_sums);
            } else {
                problem.block(batch, kv_head, first, out, log_sums);
            }
        };
    })
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
        let options = Options { scale, causal };
        let (out, _) = attention(&view(q)?, &view(k)?, &view(v)?, bias.as_ref(), options, false)?;
        Ok(out.into_handle())
    })
}

/// Handles of the result of `attention` and of the logarithms of the sums of exp(score), [batch, heads, queries].
#[napi(js_name = "attentionWithSums")]
pub fn attention_with_sums_border(
    q: u32,
    k: u32,
    v: u32,
    bias: Option<u32>,
    scale: f64,
    causal: bool,
) -> js::Result<Vec<u32>> {
    border(|| {
        let bias = bias.map(view).transpose()?;
        let options = Options { scale, causal };
        let (out, log_sums) = attention(&view(q)?, &view(k)?, &view(v)?, bias.as_ref(), options, true)?;
        Ok([out].into_iter().chain(log_sums).map(View::into_handle).collect())
    })
}

/// Handles of dq [batch, queries, heads, dim], dk [batch, keys, kvHeads, dim], dv [batch, keys, kvHeads, valueDim] and,
/// where `needs_bias`, of the gradient of the bias, [batch, heads, queries, keys].
#[napi(js_name = "attentionGradient")]
// A border function has its tensors and options side by side.
#[allow(clippy::too_many_arguments)]
pub fn attention_gradient_border(
    q: u32,
    k: u32,
    v: u32,
    bias: Option<u32>,
    out: u32,
    log_sums: u32,
    dout: u32,
    scale: f64,
    causal: bool,
    needs_bias: bool,
) -> js::Result<Vec<u32>> {
    border(|| {
        let bias = bias.map(view).transpose()?;
        let (q, k, v) = (view(q)?, view(k)?, view(v)?);
        let result = (&view(out)?, &view(log_sums)?, &view(dout)?);
        let options = Options { scale, causal };
        let found = attention_gradient((&q, &k, &v, bias.as_ref()), result, options, needs_bias)?;
        Ok(found.into_iter().map(View::into_handle).collect())
    })
}
