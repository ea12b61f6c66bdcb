//! One number an element: functions of one tensor, and of two of equal shape. Each operation
//! is a loop over dense elements in f32 or f64; `walk.rs` brings the blocks of strided tensors to it, bf16 in f32.
//! The loops are `for` loops: what an iterator calls may not be inlined, and then loses the instruction set.

use crate::arena::{View, view};
use crate::dtype::DType;
use crate::fault::{Fault, Result, border, js};
use crate::math::Math;
use crate::simd;
use crate::walk::{Map, Pair, map, pair};
use half::bf16;
use napi_derive::napi;

/// Shapes equal and types equal, or a fault that names the operation.
pub fn alike(name: &str, a: &View, b: &View) -> Result<()> {
    if *a.shape != *b.shape {
        return Err(Fault::shape(format!(
            "{name}: needs equal shapes, got {:?} and {:?}",
            &*a.shape, &*b.shape
        )));
    }
    if a.dtype != b.dtype {
        let (a, b) = (a.dtype.name(), b.dtype.name());
        return Err(Fault::shape(format!(
            "{name}: needs one number type, got {a} and {b}; cast one of them"
        )));
    }
    Ok(())
}

pub fn unknown(what: &str, name: &str) -> Fault {
    Fault::shape(format!("{what}: no operation is called {name}"))
}

pub fn needs_float(name: &str, found: DType) -> Fault {
    Fault::shape(format!(
        "{name}: needs f32, f64 or bf16, got {}; cast it first",
        found.name()
    ))
}

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

/// A function of two numbers.
trait Real2 {
    fn apply<F: Math>(a: F, b: F) -> F;
}

simd! {
    fn each2<F: Math, R: Real2>(a: &[F], b: &[F], out: &mut [F]) {
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

#[napi(js_name = "unary")]
pub fn unary_border(name: String, x: u32) -> js::Result<u32> {
    border(|| Ok(unary(&name, &view(x)?)?.into_handle()))
}

#[napi(js_name = "binary")]
pub fn binary_border(name: String, a: u32, b: u32) -> js::Result<u32> {
    border(|| Ok(binary(&name, &view(a)?, &view(b)?)?.into_handle()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::Dims;
    use crate::copy;

    fn floats(x: Result<View>) -> Vec<f32> {
        copy::cast(&x.unwrap(), DType::F32)
            .unwrap()
            .slice::<f32>()
            .unwrap()
            .to_vec()
    }

    #[test]
    fn operands_may_be_broadcast_turned_and_stepped() {
        let (rows, columns) = (300, 700);
        let a = View::filled(&[rows, columns], |i| i as f32);
        let row = View::filled(&[columns], |i| 0.5 * i as f32)
            .restrided(&[rows, columns], &[0, 1], 0)
            .unwrap();
        let column = View::filled(&[rows], |i| 0.25 * i as f32)
            .restrided(&[rows, columns], &[1, 0], 0)
            .unwrap();
        let turned = View::filled(&[columns, rows], |i| i as f32)
            .restrided(&[rows, columns], &[1, rows], 0)
            .unwrap();
        let stepped = View::filled(&[rows, 3 * columns], |i| i as f32)
            .restrided(&[rows, columns], &[3 * columns, 3], 1)
            .unwrap();
        for other in [row, column, turned, stepped] {
            let (got, dense) = (floats(binary("add", &a, &other)), floats(copy::copy(&other)));
            assert!(
                got.iter()
                    .zip(&dense)
                    .enumerate()
                    .all(|(i, (g, d))| *g == i as f32 + d)
            );
            assert_eq!(
                floats(binary("sub", &other, &a)),
                got.iter()
                    .enumerate()
                    .map(|(i, g)| g - 2.0 * i as f32)
                    .collect::<Vec<_>>()
            );
            assert_eq!(
                floats(unary("neg", &other)),
                dense.iter().map(|d| -d).collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn nan_wins_and_halves_round_to_even() {
        let a = View::filled(&[4], |i| [1.0, f32::NAN, 3.0, -0.5][i]);
        let b = View::filled(&[4], |i| [2.0, 0.0, f32::NAN, -2.5][i]);
        for name in ["maximum", "minimum"] {
            let got = floats(binary(name, &a, &b));
            assert!(got[1].is_nan() && got[2].is_nan(), "{name}");
        }
        let x = View::filled(&[5], |i| [0.5, 1.5, 2.5, -0.5, -1.5][i]);
        assert_eq!(floats(unary("round", &x)), [0.0, 2.0, 2.0, 0.0, -2.0]);
        assert_eq!(floats(unary("relu", &a))[..1], [1.0]);
        assert!(floats(unary("relu", &a))[1].is_nan());
    }

    #[test]
    fn far_angles_are_as_good_as_near_ones() {
        let x = View::filled(&[3], |i| [1e10, -3e20, f32::INFINITY][i]);
        let got = floats(unary("sin", &x));
        assert_eq!(got[..2], [1e10f32, -3e20].map(|v| f64::from(v).sin() as f32));
        assert!(got[2].is_nan());
    }

    #[test]
    fn bf16_rounds_once() {
        let x = copy::cast(&View::filled(&[600], |i| 1.0 + i as f32 / 128.0), DType::BF16).unwrap();
        let wide = floats(Ok(x.clone()));
        let want: Vec<f32> = wide.iter().map(|v| bf16::from_f32(v * v).to_f32()).collect();
        assert_eq!(floats(unary("square", &x)), want);
    }

    #[test]
    fn nothing_stays_nothing() {
        let none = View {
            shape: Dims::new(&[0]).unwrap(),
            ..View::filled(&[3], |i| i as f32)
        };
        assert!(unary("exp", &none).unwrap().is_empty());
    }
}
