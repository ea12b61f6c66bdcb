//! The gate of SwiGLU (Shazeer 2020, arXiv:2002.05202): silu(gate) up, and its gradients in one pass.

use super::binary::{Real2, each2};
use super::{alike, needs_float};
use crate::arena::View;
use crate::dtype::num::Float;
use crate::dtype::{Compute, DType};
use crate::fault::Result;
use crate::math::Math;
use crate::parallel::{self, Shared};
use crate::rows::Rows;
use crate::walk::pair;
use crate::{simd, with_compute};
use half::bf16;

struct Swiglu;
impl Real2 for Swiglu {
    #[inline(always)]
    fn apply<F: Math>(gate: F, up: F) -> F {
        gate / (F::ONE + (-gate).exp()) * up
    }
}

/// silu(gate) up
pub fn swiglu(gate: &View, up: &View) -> Result<View> {
    alike("swiglu", gate, up)?;
    match gate.dtype {
        DType::F32 => pair::<f32, f32>(gate, up, gate.dtype, each2::<f32, Swiglu>),
        DType::F64 => pair::<f64, f64>(gate, up, gate.dtype, each2::<f64, Swiglu>),
        DType::BF16 => pair::<bf16, bf16>(gate, up, gate.dtype, each2::<f32, Swiglu>),
        other => Err(needs_float("swiglu", other)),
    }
}

simd! {
    fn row<T: Compute>(gate: &[T], up: &[T], dy: &[T], dgate: &mut [T], dup: &mut [T]) {
        let inputs = gate.iter().zip(up.iter().zip(dy));
        for ((dgate, dup), (gate, (up, dy))) in dgate.iter_mut().zip(dup).zip(inputs) {
            let (gate, up, dy) = (gate.widen(), up.widen(), dy.widen());
            let s = gate.sigmoid();
            let one = <T::Wide as Float>::ONE;
            let slope = s * (one + gate * (one - s));
            *dgate = T::narrow(dy * up * slope);
            *dup = T::narrow(dy * (gate * s));
        }
    }
}

/// The gradients of gate and up.
pub fn swiglu_gradient(gate: &View, up: &View, dy: &View) -> Result<[View; 2]> {
    alike("swigluGradient", gate, up)?;
    alike("swigluGradient", gate, dy)?;
    let dgate = View::empty(gate.dtype, &gate.shape)?;
    let dup = View::empty(gate.dtype, &gate.shape)?;
    let ((gate, gates), (up, ups), (dy, dys)) = (Rows::of(gate)?, Rows::of(up)?, Rows::of(dy)?);
    let width = gates.width.max(1);
    with_compute!(gate.dtype, "swigluGradient", T => {
        let (gate, up, dy) = (gate.tail::<T>()?, up.tail::<T>()?, dy.tail::<T>()?);
        let second = Shared(dup.slice_mut::<T>()?.as_mut_ptr());
        parallel::chunks(dgate.slice_mut::<T>()?, gates.group() * width, |start, part| {
            for (index, dgate) in part.chunks_mut(width).enumerate() {
                let at = start / width + index;
                // SAFETY: row `at` of the second output belongs to the task that owns it in the first.
                let dup = unsafe { std::slice::from_raw_parts_mut(second.get().add(at * width), width) };
                row::<T>(
                    &gate[gates.base(at)..][..width],
                    &up[ups.base(at)..][..width],
                    &dy[dys.base(at)..][..width],
                    dgate,
                    dup,
                );
            }
        })
    })?;
    Ok([dgate, dup])
}
