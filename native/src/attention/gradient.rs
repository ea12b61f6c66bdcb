//! Gradients of attention (Dao et al., arXiv 2205.14135, algorithm 4). The probabilities are computed again block by
//! block from the logarithm of the sum of exponentials of each row. With O the result, in the letters of the paper:
//!
//!   P = exp(scale Q K^T + bias - log_sums)      dV = P^T dO
//!   dS = P (dO V^T - sum(dO O))                 dQ = scale dS K, dK = scale dS^T Q, dbias = dS
//!
//! A task owns a head of keys, so that the sums of dK and dV over its queries run in one order for any number of threads.

use super::gradient_block::Gradients;
use super::key_side::KeySide;
use super::query_block::{Problem, Strided};
use super::{Operands, Options, check, wide, wide_bias};
use crate::arena::View;
use crate::copy;
use crate::dtype::DType;
use crate::fault::{Fault, Result};
use crate::micro_tiles::Real;
use crate::parallel::{self, Shared};

/// dq [batch, queries, heads, dim], dk [batch, keys, kvHeads, dim], dv [batch, keys, kvHeads, valueDim] and, where it is
/// needed, dbias [batch, heads, queries, keys]. `result` holds the output of `attention` and its logarithms of sums,
/// and the gradient of that output.
pub fn attention_gradient(
    operands: Operands,
    (out, log_sums, dout): (&View, &View, &View),
    options: Options,
    needs_bias: bool,
) -> Result<Vec<View>> {
    let (q, k, v, bias) = operands;
    check(q, k, v, bias)?;
    let (batches, heads, queries, keys) = (q.shape[0], q.shape[1], q.shape[2], k.shape[2]);
    let shape = [batches, queries, heads, v.shape[3]];
    let [qs, ks, vs] = [wide(q)?, wide(k)?, wide(v)?];
    let fits = *out.shape == shape
        && *dout.shape == shape
        && out.dtype == q.dtype
        && dout.dtype == q.dtype
        && log_sums.dtype == qs.dtype
        && *log_sums.shape == q.shape[..3];
    if !fits {
        return Err(Fault::shape(format!(
            "attentionGradient: needs the result {shape:?}, its gradient and its sums {:?}, got {:?}, {:?} and {:?}",
            &q.shape[..3],
            &*out.shape,
            &*dout.shape,
            &*log_sums.shape
        )));
    }
    let (outs, douts, log_sums) = (wide(out)?, wide(dout)?, copy::contiguous(log_sums)?);
    let bias = bias.map(wide_bias).transpose()?;
    let mut found = vec![
        View::zeros(qs.dtype, &[batches, queries, heads, q.shape[3]])?,
        View::zeros(qs.dtype, &[batches, keys, k.shape[1], k.shape[3]])?,
        View::zeros(qs.dtype, &[batches, keys, k.shape[1], v.shape[3]])?,
    ];
    if needs_bias {
        // What no query sees is not visited.
        found.push(View::zeros(qs.dtype, &[batches, heads, queries, keys])?);
    }
    if !q.is_empty() && !k.is_empty() && !v.is_empty() {
        let operands = (&qs, &ks, &vs, bias.as_ref());
        let result = (&outs, &log_sums, &douts);
        if qs.dtype == DType::F32 {
            run::<f32>(operands, result, options, &found)?;
        } else {
            run::<f64>(operands, result, options, &found)?;
        }
    }
    if q.dtype == DType::BF16 {
        return found.iter().map(|x| copy::cast(x, DType::BF16)).collect();
    }
    Ok(found)
}

/// A [batch, rows, heads, ..] tensor as [batch, heads, rows, ..].
fn by_head<T: Real>(x: &View) -> Result<Strided<'_, T>> {
    let Strided { data, strides } = Strided::of(x)?;
    let [batch, row, head, column] = strides;
    Ok(Strided {
        data,
        strides: [batch, head, row, column],
    })
}

fn run<T: Real>(
    operands: Operands,
    (out, log_sums, dout): (&View, &View, &View),
    options: Options,
    found: &[View],
) -> Result<()> {
    let (q, k, _, _) = operands;
    let (batches, heads, kv_heads) = (q.shape[0], q.shape[1], k.shape[1]);
    let pointer = |x: &View| -> Result<Shared<T>> { Ok(Shared(x.slice_mut::<T>()?.as_mut_ptr())) };
    let gradients = Gradients {
        problem: Problem::<T>::of(operands, options)?,
        out: by_head(out)?,
        dout: by_head(dout)?,
        log_sums: log_sums.slice::<T>()?,
        heads,
        dq: pointer(&found[0])?,
        dk: pointer(&found[1])?,
        dv: pointer(&found[2])?,
        dbias: found.get(3).map(pointer).transpose()?,
    };
    parallel::try_tasks(batches * kv_heads, |task| {
        let (batch, kv_head) = (task / kv_heads, task % kv_heads);
        let mut side = KeySide::of(&gradients.problem, batch, kv_head)?;
        // SAFETY: the gradients of this batch, of this head of keys and of its queries belong to this task alone.
        unsafe { gradients.of_head(batch, kv_head, &mut side) }
    })
}
