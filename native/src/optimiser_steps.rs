//! Steps of optimisers: one pass over a parameter, its gradient and its moments, of which all but the gradient change
//! in place. Every number depends on those at its own place alone, so that the threads cannot change a bit.
//!
//! The order of roundings is that of PyTorch's single-tensor loops (torch/optim/sgd.py, adam.py).

use crate::arena::{View, view};
use crate::copy;
use crate::dtype::num::Float;
use crate::dtype::{Compute, DType};
use crate::fault::{Fault, Result, border, js};
use crate::math::Math;
use crate::parallel::{self, SMALL, Shared};
use crate::simd;
use crate::updates::{alike, between};
use half::bf16;
use napi_derive::napi;
use std::rc::Rc;

/// Numbers of one step of SGD: p -= rate * d, where d is made of scale * g + decay * p.
#[napi(object)]
#[derive(Clone, Copy)]
pub struct SgdStep {
    pub rate: f64,
    /// Factor on the gradient: the share of a batch, and that of clipping.
    pub scale: f64,
    /// L2 penalty, added to the gradient.
    pub decay: f64,
    pub momentum: f64,
    /// Factor on the gradient where it joins the momentum: 1 - dampening.
    pub fresh: f64,
    pub nesterov: bool,
}

/// Numbers of one step of Adam, with the corrections for the start of its moments from 0.
#[napi(object)]
#[derive(Clone, Copy)]
pub struct AdamStep {
    /// rate / (1 - beta1^t)
    pub rate: f64,
    pub scale: f64,
    /// L2 penalty, added to the gradient (Adam).
    pub decay: f64,
    /// Factor on the parameter before its step: 1 - rate * decay (AdamW), or 1.
    pub keep: f64,
    pub beta1: f64,
    pub beta2: f64,
    /// sqrt(1 - beta2^t)
    pub correction: f64,
    pub epsilon: f64,
}

/// The numbers above in the type of the parameter.
struct Descent<F> {
    rate: F,
    scale: F,
    decay: F,
    momentum: F,
    fresh: F,
    nesterov: bool,
}

struct Moments<F> {
    rate: F,
    scale: F,
    decay: F,
    keep: F,
    /// 1 - beta1 and beta1.
    first: (F, F),
    /// beta2 and 1 - beta2.
    second: (F, F),
    correction: F,
    epsilon: F,
}

simd! {
    fn descend<F: Math, G: Compute<Wide = F>>(p: &mut [F], g: &[G], step: &Descent<F>) {
        for (p, g) in p.iter_mut().zip(g) {
            *p = *p - step.rate * (g.widen() * step.scale + step.decay * *p);
        }
    }
}

simd! {
    fn descend_with_momentum<F: Math, G: Compute<Wide = F>>(p: &mut [F], m: &mut [F], g: &[G], step: &Descent<F>) {
        for ((p, m), g) in p.iter_mut().zip(m).zip(g) {
            let g = g.widen() * step.scale + step.decay * *p;
            *m = *m * step.momentum + g * step.fresh;
            let direction = if step.nesterov { g + step.momentum * *m } else { *m };
            *p = *p - step.rate * direction;
        }
    }
}

simd! {
    fn adam_part<F: Math, G: Compute<Wide = F>>(p: &mut [F], m: &mut [F], v: &mut [F], g: &[G], step: &Moments<F>) {
        for (((p, m), v), g) in p.iter_mut().zip(m).zip(v).zip(g) {
            let kept = *p * step.keep;
            let g = g.widen() * step.scale + step.decay * kept;
            *m = between(*m, g, step.first.0, step.first.1);
            *v = *v * step.second.0 + g * g * step.second.1;
            *p = kept - step.rate * (*m / (v.sqrt() / step.correction + step.epsilon));
        }
    }
}

/// What a step reads and changes, checked: the states are row-major, of one type and shape and apart in memory.
struct Places<F: 'static> {
    states: Vec<Shared<F>>,
    length: usize,
    gradient: View,
}

impl<F: Math> Places<F> {
    fn of(name: &str, states: &[&View], gradient: &View) -> Result<Places<F>> {
        let shares = |one: &View, other: &View| Rc::ptr_eq(&one.buffer, &other.buffer);
        let mut pointers = Vec::new();
        for (index, state) in states.iter().enumerate() {
            alike(name, states[0], state)?;
            if states[..index].iter().any(|other| shares(other, state)) {
                return Err(Fault::shape(format!(
                    "{name}: two states of a step are one memory"
                )));
            }
            pointers.push(Shared(state.slice_mut::<F>()?.as_mut_ptr()));
        }
        let mut gradient = alike(name, states[0], gradient)?;
        if states.iter().any(|state| shares(state, &gradient)) {
            gradient = copy::copy(&gradient)?;
        }
        Ok(Places {
            states: pointers,
            length: states[0].len(),
            gradient,
        })
    }

    /// Calls `body` with the same piece of each of the N states and of the gradient.
    fn each<G: Compute<Wide = F>, const N: usize>(
        &self,
        body: impl Fn([&mut [F]; N], &[G]) + Send + Sync,
    ) -> Result<()> {
        let (gradient, length) = (self.gradient.slice::<G>()?, self.length);
        let states: [Shared<F>; N] = std::array::from_fn(|index| self.states[index]);
        parallel::tasks(length.div_ceil(SMALL), |index| {
            let start = index * SMALL;
            let count = SMALL.min(length - start);
            // SAFETY: a state holds `length` numbers and shares no memory with another; a piece belongs to one task.
            let parts =
                states.map(|state| unsafe { std::slice::from_raw_parts_mut(state.get().add(start), count) });
            body(parts, &gradient[start..start + count]);
        })
    }
}

/// Runs `$body` with `$F` the type of the parameter and `$G` that of the gradient.
macro_rules! with_types {
    ($name:expr, $parameter:expr, $gradient:expr, $F:ident, $G:ident => $body:expr) => {
        match ($parameter.dtype, $gradient.dtype) {
            (DType::F32, DType::F32) => {
                type $F = f32;
                type $G = f32;
                $body
            }
            (DType::F32, DType::BF16) => {
                type $F = f32;
                type $G = bf16;
                $body
            }
            (DType::F64, DType::F64) => {
                type $F = f64;
                type $G = f64;
                $body
            }
            (parameter, gradient) => Err(Fault::shape(format!(
                "{}: needs a parameter of f32 or f64 and a gradient of its type, or bf16 for f32, got {} and {}",
                $name,
                parameter.name(),
                gradient.name()
            ))),
        }
    };
}

pub fn sgd(parameter: &View, momentum: Option<&View>, gradient: &View, step: SgdStep) -> Result<()> {
    with_types!("sgdStep", parameter, gradient, F, G => {
        let numbers = Descent::<F> {
            rate: Float::from_f64(step.rate),
            scale: Float::from_f64(step.scale),
            decay: Float::from_f64(step.decay),
            momentum: Float::from_f64(step.momentum),
            fresh: Float::from_f64(step.fresh),
            nesterov: step.nesterov,
        };
        match momentum {
            None => Places::<F>::of("sgdStep", &[parameter], gradient)?
                .each::<G, 1>(|[p], g| descend::<F, G>(p, g, &numbers)),
            Some(momentum) => Places::<F>::of("sgdStep", &[parameter, momentum], gradient)?
                .each::<G, 2>(|[p, m], g| descend_with_momentum::<F, G>(p, m, g, &numbers)),
        }
    })
}

pub fn adam(parameter: &View, first: &View, second: &View, gradient: &View, step: AdamStep) -> Result<()> {
    with_types!("adamStep", parameter, gradient, F, G => {
        let numbers = Moments::<F> {
            rate: Float::from_f64(step.rate),
            scale: Float::from_f64(step.scale),
            decay: Float::from_f64(step.decay),
            keep: Float::from_f64(step.keep),
            first: (Float::from_f64(1.0 - step.beta1), Float::from_f64(step.beta1)),
            second: (Float::from_f64(step.beta2), Float::from_f64(1.0 - step.beta2)),
            correction: Float::from_f64(step.correction),
            epsilon: Float::from_f64(step.epsilon),
        };
        Places::<F>::of("adamStep", &[parameter, first, second], gradient)?
            .each::<G, 3>(|[p, m, v], g| adam_part::<F, G>(p, m, v, g, &numbers))
    })
}

#[napi(js_name = "sgdStep")]
pub fn sgd_border(parameter: u32, momentum: Option<u32>, gradient: u32, step: SgdStep) -> js::Result<()> {
    border(|| {
        let momentum = momentum.map(view).transpose()?;
        sgd(&view(parameter)?, momentum.as_ref(), &view(gradient)?, step)
    })
}

#[napi(js_name = "adamStep")]
pub fn adam_border(parameter: u32, first: u32, second: u32, gradient: u32, step: AdamStep) -> js::Result<()> {
    border(|| {
        adam(
            &view(parameter)?,
            &view(first)?,
            &view(second)?,
            &view(gradient)?,
            step,
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: SgdStep = SgdStep {
        rate: 0.5,
        scale: 1.0,
        decay: 0.0,
        momentum: 0.0,
        fresh: 1.0,
        nesterov: false,
    };

    #[test]
    fn momentum_gathers_gradients_and_nesterov_looks_ahead() {
        for (nesterov, want) in [(false, [0.5, -0.25]), (true, [0.25, -0.625])] {
            let (p, m) = (View::of(&[1], &[1.0f32]), View::of(&[1], &[0.0f32]));
            let step = SgdStep {
                momentum: 0.5,
                nesterov,
                ..PLAIN
            };
            for want in want {
                sgd(&p, Some(&m), &View::of(&[1], &[1.0f32]), step).unwrap();
                assert_eq!(p.slice::<f32>().unwrap(), [want]);
            }
        }
    }

    #[test]
    fn a_gradient_that_is_the_parameter_itself_is_read_before_it_changes() {
        let p = View::of(&[2], &[2.0f64, -4.0]);
        sgd(&p, None, &p, PLAIN).unwrap();
        assert_eq!(p.slice::<f64>().unwrap(), [1.0, -2.0]);
        assert!(sgd(&p, Some(&p), &View::of(&[2], &[1.0f64; 2]), PLAIN).is_err());
    }

    #[test]
    fn other_types_and_shapes_are_refused() {
        let (p, g) = (View::of(&[2], &[1.0f32; 2]), View::of(&[2], &[1.0f64; 2]));
        assert!(sgd(&p, None, &g, PLAIN).is_err());
        assert!(sgd(&p, None, &View::of(&[1], &[1.0f32]), PLAIN).is_err());
        assert!(sgd(&p, Some(&g), &View::of(&[2], &[1.0f32; 2]), PLAIN).is_err());
    }
}
