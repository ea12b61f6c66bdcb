//! Gradients of functions of one number: dy f'(x), from x where that is what f' is made of, from y = f(x) where y is.

use super::binary::{Real2, each2};
use super::{alike, needs_float, unknown};
use crate::arena::View;
use crate::dtype::DType;
use crate::fault::Result;
use crate::math::Math;
use crate::walk::{Pair, pair};
use half::bf16;

macro_rules! gradients {
    ($($name:ident $kept:ident $dy:ident $value:expr;)*) => { $(
        struct $name;
        impl Real2 for $name {
            #[inline(always)]
            fn apply<F: Math>($kept: F, $dy: F) -> F {
                $value
            }
        }
    )* };
}

gradients! {
    Silu x dy dy * silu_slope(x);
    GeluErf x dy dy * gelu_erf_slope(x);
    GeluTanh x dy dy * gelu_tanh_slope(x);
    Tanh y dy dy * (F::ONE - y * y);
    Sigmoid y dy dy * (y * (F::ONE - y));
    // NaN is passed on, as relu passes it on.
    Relu y dy if y > F::ZERO { dy } else { y * F::ZERO };
}

/// s (1 + x (1 - s)), s the logistic function of x
#[inline(always)]
fn silu_slope<F: Math>(x: F) -> F {
    let s = x.sigmoid();
    s * (F::ONE + x * (F::ONE - s))
}

/// P(normal < x) + x times its density
#[inline(always)]
fn gelu_erf_slope<F: Math>(x: F) -> F {
    let half = F::from_f64(0.5);
    let below = half + half * (x * F::from_f64(std::f64::consts::FRAC_1_SQRT_2)).erf();
    let density = F::from_f64(0.5 * std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2)
        * (-half * x * x).exp();
    below + x * density
}

/// With gelu = x s and s the logistic function of 2u, u = sqrt(2 / pi) (x + 0.044715 x^3): s + x s (1 - s) 2u'
#[inline(always)]
fn gelu_tanh_slope<F: Math>(x: F) -> F {
    let scale = F::from_f64(2.0 * std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2);
    let cubic = F::from_f64(0.044715) * x * x;
    let s = (scale * x * (F::ONE + cubic)).sigmoid();
    let slope = scale * (F::ONE + F::from_f64(3.0) * cubic);
    s + x * s * (F::ONE - s) * slope
}

fn gradient_kernel<F: Math>(name: &str) -> Result<Pair<F, F>> {
    Ok(match name {
        "silu" => each2::<F, Silu>,
        "geluErf" => each2::<F, GeluErf>,
        "geluTanh" => each2::<F, GeluTanh>,
        "tanh" => each2::<F, Tanh>,
        "sigmoid" => each2::<F, Sigmoid>,
        "relu" => each2::<F, Relu>,
        _ => return Err(unknown("unaryGradient", name)),
    })
}

/// dy f'(x); `kept` is x for silu, geluErf and geluTanh, and y = f(x) for tanh, sigmoid and relu.
pub fn unary_gradient(name: &str, kept: &View, dy: &View) -> Result<View> {
    alike(name, kept, dy)?;
    match kept.dtype {
        DType::F32 => pair::<f32, f32>(kept, dy, kept.dtype, gradient_kernel(name)?),
        DType::F64 => pair::<f64, f64>(kept, dy, kept.dtype, gradient_kernel(name)?),
        DType::BF16 => pair::<bf16, bf16>(kept, dy, kept.dtype, gradient_kernel(name)?),
        other => Err(needs_float(name, other)),
    }
}
