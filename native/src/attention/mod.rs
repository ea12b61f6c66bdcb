//! Grouped-query attention in blocks: scores of 64 queries and 256 keys at a time, softmax carried along
//! (Milakov and Gimelshein, arXiv 1805.02867; Dao et al., arXiv 2205.14135). The whole score matrix never exists.

mod query_block;
mod score_rows;

use crate::arena::{View, view};
use crate::copy;
use crate::dtype::DType;
use crate::fault::{Fault, Result, border, js};
use crate::micro_tiles::Real;
use crate::parallel::{self, Shared};
use napi_derive::napi;
use query_block::{Problem, QUERIES, Strided};

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
