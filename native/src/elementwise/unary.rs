//! Functions of one number.

use super::{needs_float, unknown};
use crate::arena::View;
use crate::dtype::DType;
use crate::fault::Result;
use crate::math::Math;
use crate::simd;
use crate::walk::{Map, map};
use half::bf16;

/// A function of one number.
trait Real {
    fn apply<F: Math>(x: F) -> F;
    /// Puts right what `apply` does not reach where it must run without branches.
    #[inline(always)]
    fn corrected<F: Math>(_x: F, y: F) -> F {
        y
    }
    const CORRECTED: bool = false;
}

simd! {
    fn each<F: Math, R: Real>(x: &[F], out: &mut [F]) {
        for (o, &x) in out.iter_mut().zip(x) {
            *o = R::apply(x);
        }
        if R::CORRECTED {
            for (o, &x) in out.iter_mut().zip(x) {
                if x.beyond_reach() {
                    *o = R::corrected(x, *o);
                }
            }
        }
    }
}

macro_rules! reals {
    ($($name:ident $x:ident $value:expr;)*) => { $(
        struct $name;
        impl Real for $name {
            #[inline(always)]
            fn apply<F: Math>($x: F) -> F {
                $value
            }
        }
    )* };
}

#[inline(always)]
fn relu<F: Math>(x: F) -> F {
    if x < F::ZERO { F::ZERO } else { x }
}

#[inline(always)]
fn gelu_erf<F: Math>(x: F) -> F {
    F::from_f64(0.5) * x * (F::ONE + (x * F::from_f64(std::f64::consts::FRAC_1_SQRT_2)).erf())
}

#[inline(always)]
fn sign<F: Math>(x: F) -> F {
    // Zeros and NaN are their own sign.
    let one = if x > F::ZERO { F::ONE } else { x };
    if x < F::ZERO { -F::ONE } else { one }
}

/// 0.5 x (1 + tanh(u)) is x / (1 + e^-2u), u = sqrt(2 / pi) (x + 0.044715 x^3).
#[inline(always)]
fn gelu_tanh<F: Math>(x: F) -> F {
    let scale = F::from_f64(-2.0 * std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2);
    let u = scale * (x + F::from_f64(0.044715) * x * x * x);
    x / (F::ONE + u.exp())
}

reals! {
    Neg x -x;
    Abs x x.abs();
    Sign x sign(x);
    Exp x x.exp();
    Expm1 x x.expm1();
    Log x x.log();
    Log1p x x.log1p();
    Sqrt x x.sqrt();
    Rsqrt x F::ONE / x.sqrt();
    Reciprocal x F::ONE / x;
    Square x x * x;
    Tanh x x.tanh();
    Sigmoid x x.sigmoid();
    Silu x x / (F::ONE + (-x).exp());
    Relu x relu(x);
    GeluErf x gelu_erf(x);
    GeluTanh x gelu_tanh(x);
    Erf x x.erf();
    Floor x x.floor();
    Ceil x x.ceil();
    Round x x.round();
}

struct Sin;
impl Real for Sin {
    #[inline(always)]
    fn apply<F: Math>(x: F) -> F {
        x.sin()
    }
    #[inline(always)]
    fn corrected<F: Math>(x: F, _y: F) -> F {
        F::from_f64(x.to_f64().sin())
    }
    const CORRECTED: bool = true;
}

struct Cos;
impl Real for Cos {
    #[inline(always)]
    fn apply<F: Math>(x: F) -> F {
        x.cos()
    }
    #[inline(always)]
    fn corrected<F: Math>(x: F, _y: F) -> F {
        F::from_f64(x.to_f64().cos())
    }
    const CORRECTED: bool = true;
}

fn unary_kernel<F: Math>(name: &str) -> Result<Map<F, F>> {
    Ok(match name {
        "neg" => each::<F, Neg>,
        "abs" => each::<F, Abs>,
        "sign" => each::<F, Sign>,
        "exp" => each::<F, Exp>,
        "expm1" => each::<F, Expm1>,
        "log" => each::<F, Log>,
        "log1p" => each::<F, Log1p>,
        "sqrt" => each::<F, Sqrt>,
        "rsqrt" => each::<F, Rsqrt>,
        "reciprocal" => each::<F, Reciprocal>,
        "square" => each::<F, Square>,
        "sin" => each::<F, Sin>,
        "cos" => each::<F, Cos>,
        "tanh" => each::<F, Tanh>,
        "sigmoid" => each::<F, Sigmoid>,
        "silu" => each::<F, Silu>,
        "relu" => each::<F, Relu>,
        "geluErf" => each::<F, GeluErf>,
        "geluTanh" => each::<F, GeluTanh>,
        "erf" => each::<F, Erf>,
        "floor" => each::<F, Floor>,
        "ceil" => each::<F, Ceil>,
        "round" => each::<F, Round>,
        _ => return Err(unknown("unary", name)),
    })
}

pub fn unary(name: &str, x: &View) -> Result<View> {
    match x.dtype {
        DType::F32 => map::<f32, f32>(x, x.dtype, unary_kernel(name)?),
        DType::F64 => map::<f64, f64>(x, x.dtype, unary_kernel(name)?),
        DType::BF16 => map::<bf16, bf16>(x, x.dtype, unary_kernel(name)?),
        other => Err(needs_float(name, other)),
    }
}
