//! One result an element: functions of one tensor, of two of equal shape, and the choice between two.

use crate::arena::{View, view};
use crate::rows::{BLOCK, Pieces, load, readable};
use crate::copy::{self, Collapsed, collapse, row_offset};
use crate::dtype::num::Float;
use crate::dtype::{Compute, DType, Element};
use crate::fault::{Fault, Result, border, js};
use crate::math::Math;
use crate::{parallel, simd, with_compute, with_width};
use half::bf16;
use napi_derive::napi;
use std::marker::PhantomData;

/// A function of one number.
trait Map {
    type In: Element;
    type Out: Element;
    fn apply(x: Self::In) -> Self::Out;
    /// Puts right what `apply` may not reach, where it must run without branches.
    #[inline(always)]
    fn corrected(_x: Self::In, y: Self::Out) -> Self::Out {
        y
    }
    const CORRECTED: bool = false;
}

/// A function of two numbers.
trait Pair {
    type In: Element;
    type Out: Element;
    fn apply(a: Self::In, b: Self::In) -> Self::Out;
}

simd! {
    fn map_block<M: Map>(x: &[M::In], plan: &Collapsed<1>, start: usize, part: &mut [M::Out]) {
        let width = *plan.shape.last().expect("one axis");
        let stride = *plan.strides[0].last().expect("one axis");
        let mut buffer = [x[0]; BLOCK];
        let mut at = 0;
        for piece in Pieces::new(start, start + part.len(), width, BLOCK) {
            let base = row_offset(piece.row, &plan.shape, &plan.strides[0]) + piece.column * stride;
            let x = load(x, base, stride, piece.length, &mut buffer);
            let target = &mut part[at..at + piece.length];
            target.iter_mut().zip(x).for_each(|(t, &x)| *t = M::apply(x));
            if M::CORRECTED {
                target.iter_mut().zip(x).for_each(|(t, &x)| *t = M::corrected(x, *t));
            }
            at += piece.length;
        }
    }
}

simd! {
    fn pair_block<P: Pair>(a: &[P::In], b: &[P::In], plan: &Collapsed<2>, start: usize, part: &mut [P::Out]) {
        let width = *plan.shape.last().expect("one axis");
        let [stride_a, stride_b] = [0, 1].map(|i: usize| *plan.strides[i].last().expect("one axis"));
        let (mut buffer_a, mut buffer_b) = ([a[0]; BLOCK], [b[0]; BLOCK]);
        let mut at = 0;
        for piece in Pieces::new(start, start + part.len(), width, BLOCK) {
            let base = |i: usize, stride| row_offset(piece.row, &plan.shape, &plan.strides[i]) + piece.column * stride;
            let a = load(a, base(0, stride_a), stride_a, piece.length, &mut buffer_a);
            let b = load(b, base(1, stride_b), stride_b, piece.length, &mut buffer_b);
            let target = &mut part[at..at + piece.length];
            target.iter_mut().zip(a.iter().zip(b)).for_each(|(t, (&a, &b))| *t = P::apply(a, b));
            at += piece.length;
        }
    }
}

simd! {
    fn select_block<T: Element>(condition: &[u8], a: &[T], b: &[T], plan: &Collapsed<3>, start: usize, part: &mut [T]) {
        let width = *plan.shape.last().expect("one axis");
        let strides = [0, 1, 2].map(|i: usize| *plan.strides[i].last().expect("one axis"));
        let (mut buffer_c, mut buffer_a, mut buffer_b) = ([condition[0]; BLOCK], [a[0]; BLOCK], [b[0]; BLOCK]);
        let mut at = 0;
        for piece in Pieces::new(start, start + part.len(), width, BLOCK) {
            let base = |i: usize| row_offset(piece.row, &plan.shape, &plan.strides[i]) + piece.column * strides[i];
            let condition = load(condition, base(0), strides[0], piece.length, &mut buffer_c);
            let a = load(a, base(1), strides[1], piece.length, &mut buffer_a);
            let b = load(b, base(2), strides[2], piece.length, &mut buffer_b);
            let target = &mut part[at..at + piece.length];
            target
                .iter_mut()
                .zip(condition.iter().zip(a.iter().zip(b)))
                .for_each(|(t, (&c, (&a, &b)))| *t = if c != 0 { a } else { b });
            at += piece.length;
        }
    }
}

fn map<M: Map>(x: &View) -> Result<View> {
    let out = View::empty(M::Out::DTYPE, &x.shape)?;
    if out.is_empty() {
        return Ok(out);
    }
    let x = readable(x)?;
    let plan = collapse(&x.shape, [&x.strides]);
    let from = x.tail::<M::In>()?;
    parallel::chunks(out.slice_mut::<M::Out>()?, parallel::SMALL, |start, part| {
        map_block::<M>(from, &plan, start, part)
    })?;
    Ok(out)
}

fn pair<P: Pair>(a: &View, b: &View, dtype: DType) -> Result<View> {
    let out = View::empty(dtype, &a.shape)?;
    if out.is_empty() {
        return Ok(out);
    }
    let (a, b) = (readable(a)?, readable(b)?);
    let plan = collapse(&a.shape, [&a.strides, &b.strides]);
    let (left, right) = (a.tail::<P::In>()?, b.tail::<P::In>()?);
    parallel::chunks(out.slice_mut::<P::Out>()?, parallel::SMALL, |start, part| {
        pair_block::<P>(left, right, &plan, start, part)
    })?;
    Ok(out)
}

/// Shapes equal and types equal, or a fault that names the operation.
fn alike(name: &str, a: &View, b: &View) -> Result<()> {
    if *a.shape != *b.shape {
        return Err(Fault::shape(format!("{name}: needs equal shapes, got {:?} and {:?}", &*a.shape, &*b.shape)));
    }
    if a.dtype != b.dtype {
        let (a, b) = (a.dtype.name(), b.dtype.name());
        return Err(Fault::shape(format!("{name}: needs one number type, got {a} and {b}; cast one of them")));
    }
    Ok(())
}

fn unknown(what: &str, name: &str) -> Fault {
    Fault::shape(format!("{what}: no operation is called {name}"))
}

/// A function of one number in the type that arithmetic runs in.
trait Real {
    fn apply<F: Math>(x: F) -> F;
    #[inline(always)]
    fn corrected<F: Math>(_x: F, y: F) -> F {
        y
    }
    const CORRECTED: bool = false;
}

struct Wide<T, R>(PhantomData<(T, R)>);

impl<T: Compute, R: Real> Map for Wide<T, R> {
    type In = T;
    type Out = T;
    #[inline(always)]
    fn apply(x: T) -> T {
        T::narrow(R::apply(x.widen()))
    }
    #[inline(always)]
    fn corrected(x: T, y: T) -> T {
        if x.widen().beyond_reach() { T::narrow(R::corrected(x.widen(), y.widen())) } else { y }
    }
    const CORRECTED: bool = R::CORRECTED;
}

macro_rules! reals {
    ($($name:ident $function:expr;)*) => { $(
        struct $name;
        impl Real for $name {
            #[inline(always)]
            fn apply<F: Math>(x: F) -> F {
                let function: fn(F) -> F = $function;
                function(x)
            }
        }
    )* };
}

#[inline(always)]
fn half<F: Math>() -> F {
    F::from_f64(0.5)
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
    Neg |x| -x;
    Abs |x| x.abs();
    Sign sign;
    Exp |x| x.exp();
    Expm1 |x| x.expm1();
    Log |x| x.log();
    Log1p |x| x.log1p();
    Sqrt |x| x.sqrt();
    Rsqrt |x| F::ONE / x.sqrt();
    Reciprocal |x| F::ONE / x;
    Square |x| x * x;
    Tanh |x| x.tanh();
    Sigmoid |x| x.sigmoid();
    Silu |x| x / (F::ONE + (-x).exp());
    Relu |x| if x < F::ZERO { F::ZERO } else { x };
    GeluErf |x| half::<F>() * x * (F::ONE + (x * F::from_f64(std::f64::consts::FRAC_1_SQRT_2)).erf());
    GeluTanh gelu_tanh;
    Erf |x| x.erf();
    Floor |x| x.floor();
    Ceil |x| x.ceil();
    Round |x| x.round();
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

pub fn unary(name: &str, x: &View) -> Result<View> {
    with_compute!(x.dtype, name, T => match name {
        "neg" => map::<Wide<T, Neg>>(x),
        "abs" => map::<Wide<T, Abs>>(x),
        "sign" => map::<Wide<T, Sign>>(x),
        "exp" => map::<Wide<T, Exp>>(x),
        "expm1" => map::<Wide<T, Expm1>>(x),
        "log" => map::<Wide<T, Log>>(x),
        "log1p" => map::<Wide<T, Log1p>>(x),
        "sqrt" => map::<Wide<T, Sqrt>>(x),
        "rsqrt" => map::<Wide<T, Rsqrt>>(x),
        "reciprocal" => map::<Wide<T, Reciprocal>>(x),
        "square" => map::<Wide<T, Square>>(x),
        "sin" => map::<Wide<T, Sin>>(x),
        "cos" => map::<Wide<T, Cos>>(x),
        "tanh" => map::<Wide<T, Tanh>>(x),
        "sigmoid" => map::<Wide<T, Sigmoid>>(x),
        "silu" => map::<Wide<T, Silu>>(x),
        "relu" => map::<Wide<T, Relu>>(x),
        "geluErf" => map::<Wide<T, GeluErf>>(x),
        "geluTanh" => map::<Wide<T, GeluTanh>>(x),
        "erf" => map::<Wide<T, Erf>>(x),
        "floor" => map::<Wide<T, Floor>>(x),
        "ceil" => map::<Wide<T, Ceil>>(x),
        "round" => map::<Wide<T, Round>>(x),
        _ => Err(unknown("unary", name)),
    })
}

struct IsNan<T>(PhantomData<T>);
impl<T: Compute> Map for IsNan<T> {
    type In = T;
    type Out = u8;
    #[inline(always)]
    fn apply(x: T) -> u8 {
        u8::from(x.widen().is_nan())
    }
}

struct IsFinite<T>(PhantomData<T>);
impl<T: Compute> Map for IsFinite<T> {
    type In = T;
    type Out = u8;
    #[inline(always)]
    fn apply(x: T) -> u8 {
        // A difference with itself is 0 unless the number is infinite or NaN.
        u8::from(x.widen() - x.widen() == <T::Wide as Float>::ZERO)
    }
}

struct LogicalNot;
impl Map for LogicalNot {
    type In = u8;
    type Out = u8;
    #[inline(always)]
    fn apply(x: u8) -> u8 {
        u8::from(x == 0)
    }
}

fn as_bool(x: View) -> View {
    View { dtype: DType::Bool, ..x }
}

fn needs_bool(name: &str, x: &View) -> Result<()> {
    if x.dtype == DType::Bool {
        return Ok(());
    }
    Err(Fault::shape(format!("{name}: needs bool, got {}; cast it first", x.dtype.name())))
}

pub fn test(name: &str, x: &View) -> Result<View> {
    let out = match name {
        "isNan" => with_compute!(x.dtype, name, T => map::<IsNan<T>>(x)),
        "isFinite" => with_compute!(x.dtype, name, T => map::<IsFinite<T>>(x)),
        "logicalNot" => needs_bool(name, x).and_then(|()| map::<LogicalNot>(x)),
        _ => Err(unknown("test", name)),
    }?;
    Ok(as_bool(out))
}

/// A function of two numbers in the type that arithmetic runs in.
trait Real2 {
    fn apply<F: Math>(a: F, b: F) -> F;
}

struct Wide2<T, R>(PhantomData<(T, R)>);

impl<T: Compute, R: Real2> Pair for Wide2<T, R> {
    type In = T;
    type Out = T;
    #[inline(always)]
    fn apply(a: T, b: T) -> T {
        T::narrow(R::apply(a.widen(), b.widen()))
    }
}

macro_rules! reals2 {
    ($($name:ident $function:expr;)*) => { $(
        struct $name;
        impl Real2 for $name {
            #[inline(always)]
            fn apply<F: Math>(a: F, b: F) -> F {
                let function: fn(F, F) -> F = $function;
                function(a, b)
            }
        }
    )* };
}

reals2! {
    Add |a, b| a + b;
    Sub |a, b| a - b;
    Mul |a, b| a * b;
    Div |a, b| a / b;
    Pow |a, b| if b == F::ONE + F::ONE { a * a } else { a.power(b) };
    Maximum |a, b| if b > a || b.is_nan() { b } else { a };
    Minimum |a, b| if b < a || b.is_nan() { b } else { a };
}

pub fn binary(name: &str, a: &View, b: &View) -> Result<View> {
    alike(name, a, b)?;
    with_compute!(a.dtype, name, T => match name {
        "add" => pair::<Wide2<T, Add>>(a, b, a.dtype),
        "sub" => pair::<Wide2<T, Sub>>(a, b, a.dtype),
        "mul" => pair::<Wide2<T, Mul>>(a, b, a.dtype),
        "div" => pair::<Wide2<T, Div>>(a, b, a.dtype),
        "pow" => pair::<Wide2<T, Pow>>(a, b, a.dtype),
        "maximum" => pair::<Wide2<T, Maximum>>(a, b, a.dtype),
        "minimum" => pair::<Wide2<T, Minimum>>(a, b, a.dtype),
        _ => Err(unknown("binary", name)),
    })
}

/// Numbers that compare as what they stand for.
trait Ordered: Element {
    type Key: PartialOrd;
    fn key(self) -> Self::Key;
}

macro_rules! ordered {
    ($($rust:ty)*) => { $(impl Ordered for $rust {
        type Key = $rust;
        #[inline(always)]
        fn key(self) -> $rust { self }
    })* };
}
ordered!(f32 f64 i32 u32 u64);

impl Ordered for bf16 {
    type Key = f32;
    #[inline(always)]
    fn key(self) -> f32 {
        self.widen()
    }
}

macro_rules! comparisons {
    ($($name:ident $operator:tt;)*) => { $(
        struct $name<T>(PhantomData<T>);
        impl<T: Ordered> Pair for $name<T> {
            type In = T;
            type Out = u8;
            #[inline(always)]
            fn apply(a: T, b: T) -> u8 {
                u8::from(a.key() $operator b.key())
            }
        }
    )* };
}

comparisons! {
    Equal ==;
    NotEqual !=;
    Less <;
    LessEqual <=;
}

struct And;
impl Pair for And {
    type In = u8;
    type Out = u8;
    #[inline(always)]
    fn apply(a: u8, b: u8) -> u8 {
        u8::from((a != 0) & (b != 0))
    }
}

struct Or;
impl Pair for Or {
    type In = u8;
    type Out = u8;
    #[inline(always)]
    fn apply(a: u8, b: u8) -> u8 {
        u8::from((a | b) != 0)
    }
}

fn compare_as<T: Ordered>(name: &str, a: &View, b: &View) -> Result<View> {
    match name {
        "equal" => pair::<Equal<T>>(a, b, DType::Bool),
        "notEqual" => pair::<NotEqual<T>>(a, b, DType::Bool),
        "less" => pair::<Less<T>>(a, b, DType::Bool),
        "lessEqual" => pair::<LessEqual<T>>(a, b, DType::Bool),
        "greater" => pair::<Less<T>>(b, a, DType::Bool),
        "greaterEqual" => pair::<LessEqual<T>>(b, a, DType::Bool),
        _ => Err(unknown("compare", name)),
    }
}

/// Compares numbers of any one type; the logical ones take bool.
pub fn compare(name: &str, a: &View, b: &View) -> Result<View> {
    alike(name, a, b)?;
    if let "logicalAnd" | "logicalOr" = name {
        needs_bool(name, a)?;
        return if name == "logicalAnd" { pair::<And>(a, b, DType::Bool) } else { pair::<Or>(a, b, DType::Bool) };
    }
    match a.dtype {
        DType::F32 => compare_as::<f32>(name, a, b),
        DType::F64 => compare_as::<f64>(name, a, b),
        DType::BF16 => compare_as::<bf16>(name, a, b),
        DType::I32 => compare_as::<i32>(name, a, b),
        DType::U32 => compare_as::<u32>(name, a, b),
        DType::U64 => compare_as::<u64>(name, a, b),
        DType::F16 => compare_as::<f32>(name, &copy::cast(a, DType::F32)?, &copy::cast(b, DType::F32)?),
        DType::I8 | DType::I16 | DType::U8 | DType::U16 | DType::Bool => {
            compare_as::<i32>(name, &copy::cast(a, DType::I32)?, &copy::cast(b, DType::I32)?)
        }
    }
}

/// `a` where the condition holds, `b` elsewhere; any number type.
pub fn select(condition: &View, a: &View, b: &View) -> Result<View> {
    alike("where", a, b)?;
    needs_bool("where", condition)?;
    if *condition.shape != *a.shape {
        let (c, a) = (&*condition.shape, &*a.shape);
        return Err(Fault::shape(format!("where: needs equal shapes, got {c:?} and {a:?}")));
    }
    let out = View::empty(a.dtype, &a.shape)?;
    if out.is_empty() {
        return Ok(out);
    }
    let (condition, a, b) = (readable(condition)?, readable(a)?, readable(b)?);
    let plan = collapse(&a.shape, [&condition.strides, &a.strides, &b.strides]);
    let flags = condition.tail::<u8>()?;
    with_width!(a.dtype, T => {
        let (left, right) = (a.tail::<T>()?, b.tail::<T>()?);
        parallel::chunks(out.slice_mut::<T>()?, parallel::SMALL, |start, part| {
            select_block::<T>(flags, left, right, &plan, start, part)
        })
    })?;
    Ok(out)
}

#[napi(js_name = "unary")]
pub fn unary_border(name: String, x: u32) -> js::Result<u32> {
    border(|| Ok(unary(&name, &view(x)?)?.into_handle()))
}

#[napi(js_name = "test")]
pub fn test_border(name: String, x: u32) -> js::Result<u32> {
    border(|| Ok(test(&name, &view(x)?)?.into_handle()))
}

#[napi(js_name = "binary")]
pub fn binary_border(name: String, a: u32, b: u32) -> js::Result<u32> {
    border(|| Ok(binary(&name, &view(a)?, &view(b)?)?.into_handle()))
}

#[napi(js_name = "compare")]
pub fn compare_border(name: String, a: u32, b: u32) -> js::Result<u32> {
    border(|| Ok(compare(&name, &view(a)?, &view(b)?)?.into_handle()))
}

#[napi(js_name = "select")]
pub fn select_border(condition: u32, a: u32, b: u32) -> js::Result<u32> {
    border(|| Ok(select(&view(condition)?, &view(a)?, &view(b)?)?.into_handle()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::Dims;

    fn tensor(shape: &[usize], value: impl Fn(usize) -> f32) -> View {
        let x = View::empty(DType::F32, shape).unwrap();
        x.slice_mut::<f32>().unwrap().iter_mut().enumerate().for_each(|(i, v)| *v = value(i));
        x
    }

    fn floats(x: Result<View>) -> Vec<f32> {
        copy::cast(&x.unwrap(), DType::F32).unwrap().slice::<f32>().unwrap().to_vec()
    }

    #[test]
    fn operands_may_be_broadcast_turned_and_stepped() {
        let (rows, columns) = (300, 700);
        let a = tensor(&[rows, columns], |i| i as f32);
        let row = tensor(&[columns], |i| 0.5 * i as f32).restrided(&[rows, columns], &[0, 1], 0).unwrap();
        let column = tensor(&[rows], |i| 0.25 * i as f32).restrided(&[rows, columns], &[1, 0], 0).unwrap();
        let turned = tensor(&[columns, rows], |i| i as f32).restrided(&[rows, columns], &[1, rows], 0).unwrap();
        let stepped = tensor(&[rows, 3 * columns], |i| i as f32).restrided(&[rows, columns], &[3 * columns, 3], 1).unwrap();
        for other in [row, column, turned, stepped] {
            let (got, dense) = (floats(binary("add", &a, &other)), floats(copy::copy(&other)));
            assert!(got.iter().zip(&dense).enumerate().all(|(i, (g, d))| *g == i as f32 + d));
            assert_eq!(floats(binary("sub", &other, &a)), got.iter().enumerate().map(|(i, g)| g - 2.0 * i as f32).collect::<Vec<_>>());
            assert_eq!(floats(unary("neg", &other)), dense.iter().map(|d| -d).collect::<Vec<_>>());
        }
    }

    #[test]
    fn nan_wins_and_halves_round_to_even() {
        let a = tensor(&[4], |i| [1.0, f32::NAN, 3.0, -0.5][i]);
        let b = tensor(&[4], |i| [2.0, 0.0, f32::NAN, -2.5][i]);
        for name in ["maximum", "minimum"] {
            let got = floats(binary(name, &a, &b));
            assert!(got[1].is_nan() && got[2].is_nan(), "{name}");
        }
        let x = tensor(&[5], |i| [0.5, 1.5, 2.5, -0.5, -1.5][i]);
        assert_eq!(floats(unary("round", &x)), [0.0, 2.0, 2.0, 0.0, -2.0]);
        assert_eq!(floats(unary("relu", &a))[..1], [1.0]);
        assert!(floats(unary("relu", &a))[1].is_nan());
    }

    #[test]
    fn far_angles_are_as_good_as_near_ones() {
        let x = tensor(&[3], |i| [1e10, -3e20, f32::INFINITY][i]);
        let got = floats(unary("sin", &x));
        assert_eq!(got[..2], [1e10f32, -3e20].map(|v| f64::from(v).sin() as f32));
        assert!(got[2].is_nan());
    }

    #[test]
    fn bf16_rounds_once() {
        let x = copy::cast(&tensor(&[600], |i| 1.0 + i as f32 / 128.0), DType::BF16).unwrap();
        let wide = floats(Ok(x.clone()));
        let want: Vec<f32> = wide.iter().map(|v| bf16::from_f32(v * v).to_f32()).collect();
        assert_eq!(floats(unary("square", &x)), want);
    }

    #[test]
    fn comparisons_see_every_type_and_choices_follow_them() {
        let (a, b) = (tensor(&[3], |i| i as f32), tensor(&[3], |_| 1.0));
        for dtype in [DType::F32, DType::F64, DType::BF16, DType::F16, DType::I8, DType::U16, DType::U32, DType::U64] {
            let (a, b) = (copy::cast(&a, dtype).unwrap(), copy::cast(&b, dtype).unwrap());
            let flags = |name: &str| compare(name, &a, &b).unwrap().bytes().unwrap().to_vec();
            assert_eq!(flags("less"), [1, 0, 0], "{}", dtype.name());
            assert_eq!(flags("greaterEqual"), [0, 1, 1]);
            assert_eq!(flags("notEqual"), [1, 0, 1]);
            let chosen = select(&compare("less", &a, &b).unwrap(), &a, &b);
            assert_eq!(floats(chosen), [0.0, 1.0, 1.0]);
        }
        let none = View { shape: Dims::new(&[0]).unwrap(), ..a };
        assert!(unary("exp", &none).unwrap().is_empty());
    }
}
