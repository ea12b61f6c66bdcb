//! One truth an element: tests of one tensor and comparisons of two, and the choice between two that follows them.

use crate::arena::{View, view};
use crate::copy;
use crate::dtype::DType;
use crate::elementwise::{alike, needs_float, unknown};
use crate::fault::{Fault, Result, border, js};
use crate::math::Math;
use crate::walk::{Map, Pair, choose, map, pair};
use crate::{simd, with_width};
use half::bf16;
use napi_derive::napi;

fn needs_bool(name: &str, x: &View) -> Result<()> {
    if x.dtype == DType::Bool {
        return Ok(());
    }
    Err(Fault::shape(format!(
        "{name}: needs bool, got {}; cast it first",
        x.dtype.name()
    )))
}

simd! {
    fn nan_flags<F: Math>(x: &[F], out: &mut [u8]) {
        for (o, x) in out.iter_mut().zip(x) {
            *o = u8::from(x.is_nan());
        }
    }
}

simd! {
    /// A product with 0 is 0 unless the number is infinite or NaN.
    fn finite_flags<F: Math>(x: &[F], out: &mut [u8]) {
        for (o, &x) in out.iter_mut().zip(x) {
            *o = u8::from(x * F::ZERO == F::ZERO);
        }
    }
}

simd! {
    fn inverted_flags(x: &[u8], out: &mut [u8]) {
        for (o, &x) in out.iter_mut().zip(x) {
            *o = u8::from(x == 0);
        }
    }
}

fn test_kernel<F: Math>(name: &str) -> Result<Map<F, u8>> {
    Ok(match name {
        "isNan" => nan_flags::<F>,
        "isFinite" => finite_flags::<F>,
        _ => return Err(unknown("test", name)),
    })
}

pub fn test(name: &str, x: &View) -> Result<View> {
    if name == "logicalNot" {
        needs_bool(name, x)?;
        return map::<u8, u8>(x, DType::Bool, inverted_flags);
    }
    match x.dtype {
        DType::F32 => map::<f32, u8>(x, DType::Bool, test_kernel(name)?),
        DType::F64 => map::<f64, u8>(x, DType::Bool, test_kernel(name)?),
        DType::BF16 => map::<bf16, u8>(x, DType::Bool, test_kernel(name)?),
        other => Err(needs_float(name, other)),
    }
}

/// A relation of two values of one type.
trait Relation {
    fn holds<T: PartialOrd>(a: T, b: T) -> bool;
}

macro_rules! relations {
    ($($name:ident $operator:tt;)*) => { $(
        struct $name;
        impl Relation for $name {
            #[inline(always)]
            fn holds<T: PartialOrd>(a: T, b: T) -> bool {
                a $operator b
            }
        }
    )* };
}

relations! {
    Equal ==;
    NotEqual !=;
    Less <;
    LessEqual <=;
}

/// Types that are compared as they are.
trait Comparable: PartialOrd + Copy {}
impl<T: PartialOrd + Copy> Comparable for T {}

simd! {
    fn related<T: Comparable, R: Relation>(a: &[T], b: &[T], out: &mut [u8]) {
        for (o, (&a, &b)) in out.iter_mut().zip(a.iter().zip(b)) {
            *o = u8::from(R::holds(a, b));
        }
    }
}

simd! {
    fn both(a: &[u8], b: &[u8], out: &mut [u8]) {
        for (o, (&a, &b)) in out.iter_mut().zip(a.iter().zip(b)) {
            *o = u8::from((a != 0) & (b != 0));
        }
    }
}

simd! {
    fn either(a: &[u8], b: &[u8], out: &mut [u8]) {
        for (o, (&a, &b)) in out.iter_mut().zip(a.iter().zip(b)) {
            *o = u8::from((a | b) != 0);
        }
    }
}

/// The loop of a comparison; what is greater is less with its operands exchanged.
fn compare_kernel<T: Comparable>(name: &str) -> Result<Pair<T, u8>> {
    Ok(match name {
        "equal" => related::<T, Equal>,
        "notEqual" => related::<T, NotEqual>,
        "less" | "greater" => related::<T, Less>,
        "lessEqual" | "greaterEqual" => related::<T, LessEqual>,
        _ => return Err(unknown("compare", name)),
    })
}

/// Compares numbers of any one type; the logical ones take bool.
pub fn compare(name: &str, a: &View, b: &View) -> Result<View> {
    alike(name, a, b)?;
    if let "logicalAnd" | "logicalOr" = name {
        needs_bool(name, a)?;
        return pair::<u8, u8>(
            a,
            b,
            DType::Bool,
            if name == "logicalAnd" { both } else { either },
        );
    }
    let (a, b) = if name.starts_with("greater") {
        (b, a)
    } else {
        (a, b)
    };
    match a.dtype {
        DType::F32 => pair::<f32, u8>(a, b, DType::Bool, compare_kernel(name)?),
        DType::F64 => pair::<f64, u8>(a, b, DType::Bool, compare_kernel(name)?),
        DType::BF16 => pair::<bf16, u8>(a, b, DType::Bool, compare_kernel(name)?),
        DType::I32 => pair::<i32, u8>(a, b, DType::Bool, compare_kernel(name)?),
        DType::U32 => pair::<u32, u8>(a, b, DType::Bool, compare_kernel(name)?),
        DType::U64 => pair::<u64, u8>(a, b, DType::Bool, compare_kernel(name)?),
        // Every value of a narrow type is one of a wider type.
        DType::F16 => compare_as(DType::F32, name, a, b),
        DType::I8 | DType::I16 | DType::U8 | DType::U16 | DType::Bool => compare_as(DType::I32, name, a, b),
    }
}

/// Operands already exchanged for what is greater.
fn compare_as(dtype: DType, name: &str, a: &View, b: &View) -> Result<View> {
    let (a, b) = (copy::cast(a, dtype)?, copy::cast(b, dtype)?);
    if dtype == DType::F32 {
        return pair::<f32, u8>(&a, &b, DType::Bool, compare_kernel(name)?);
    }
    pair::<i32, u8>(&a, &b, DType::Bool, compare_kernel(name)?)
}

/// `a` where the condition holds, `b` elsewhere; any number type.
pub fn select(condition: &View, a: &View, b: &View) -> Result<View> {
    alike("where", a, b)?;
    needs_bool("where", condition)?;
    if *condition.shape != *a.shape {
        let (c, a) = (&*condition.shape, &*a.shape);
        return Err(Fault::shape(format!(
            "where: needs equal shapes, got {c:?} and {a:?}"
        )));
    }
    with_width!(a.dtype, T => choose::<T>(condition, a, b))
}

#[napi(js_name = "test")]
pub fn test_border(name: String, x: u32) -> js::Result<u32> {
    border(|| Ok(test(&name, &view(x)?)?.into_handle()))
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

    #[test]
    fn comparisons_see_every_type_and_choices_follow_them() {
        let (a, b) = (View::filled(&[3], |i| i as f32), View::filled(&[3], |_| 1.0));
        for dtype in [
            DType::F32,
            DType::F64,
            DType::BF16,
            DType::F16,
            DType::I8,
            DType::U16,
            DType::U32,
            DType::U64,
        ] {
            let (a, b) = (copy::cast(&a, dtype).unwrap(), copy::cast(&b, dtype).unwrap());
            let flags = |name: &str| compare(name, &a, &b).unwrap().bytes().unwrap().to_vec();
            assert_eq!(flags("less"), [1, 0, 0], "{}", dtype.name());
            assert_eq!(flags("greaterEqual"), [0, 1, 1]);
            assert_eq!(flags("notEqual"), [1, 0, 1]);
            let chosen = select(&compare("less", &a, &b).unwrap(), &a, &b);
            let chosen = copy::cast(&chosen.unwrap(), DType::F32).unwrap();
            assert_eq!(chosen.slice::<f32>().unwrap(), [0.0, 1.0, 1.0]);
        }
    }
}
