//! Functions of two numbers.

use super::{alike, needs_float, unknown};
use crate::arena::View;
use crate::dtype::DType;
use crate::fault::Result;
use crate::math::Math;
use crate::simd;
use crate::walk::{Pair, pair};
use half::bf16;

/// A function of two numbers.
pub(super) trait Real2 {
    fn apply<F: Math>(a: F, b: F) -> F;
}

simd! {
    pub(super) fn each2<F: Math, R: Real2>(a: &[F], b: &[F], out: &mut [F]) {
        for (o, (&a, &b)) in out.iter_mut().zip(a.iter().zip(b)) {
            *o = R::apply(a, b);
        }
    }
}

macro_rules! reals2 {
    ($($name:ident $a:ident $b:ident $value:expr;)*) => { $(
        struct $name;
        impl Real2 for $name {
            #[inline(always)]
            fn apply<F: Math>($a: F, $b: F) -> F {
                $value
            }
        }
    )* };
}

reals2! {
    Add a b a + b;
    Sub a b a - b;
    Mul a b a * b;
    Div a b a / b;
    Pow a b if b == F::ONE + F::ONE { a * a } else { a.power(b) };
    Maximum a b if b > a || b.is_nan() { b } else { a };
    Minimum a b if b < a || b.is_nan() { b } else { a };
}

fn binary_kernel<F: Math>(name: &str) -> Result<Pair<F, F>> {
    Ok(match name {
        "add" => each2::<F, Add>,
        "sub" => each2::<F, Sub>,
        "mul" => each2::<F, Mul>,
        "div" => each2::<F, Div>,
        "pow" => each2::<F, Pow>,
        "maximum" => each2::<F, Maximum>,
        "minimum" => each2::<F, Minimum>,
        _ => return Err(unknown("binary", name)),
    })
}

pub fn binary(name: &str, a: &View, b: &View) -> Result<View> {
    alike(name, a, b)?;
    match a.dtype {
        DType::F32 => pair::<f32, f32>(a, b, a.dtype, binary_kernel(name)?),
        DType::F64 => pair::<f64, f64>(a, b, a.dtype, binary_kernel(name)?),
        DType::BF16 => pair::<bf16, bf16>(a, b, a.dtype, binary_kernel(name)?),
        other => Err(needs_float(name, other)),
    }
}
