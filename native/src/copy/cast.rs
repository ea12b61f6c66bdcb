//! Conversion between number types.

use super::contiguous;
use crate::arena::View;
use crate::dtype::{DType, Element};
use crate::fault::Result;
use crate::{parallel, simd};
use half::{bf16, f16};

/// The values as another number type: floats round to nearest even, floats to integers cut towards zero and
/// saturate, integers to narrower integers wrap, anything but 0 is a true bool.
pub fn cast(x: &View, dtype: DType) -> Result<View> {
    let x = contiguous(x)?;
    if x.dtype == dtype {
        return Ok(x);
    }
    let out = View::empty(dtype, &x.shape)?;
    if x.dtype == DType::BF16 && dtype == DType::F32 {
        let from = x.slice::<bf16>()?;
        parallel::chunks(out.slice_mut::<f32>()?, parallel::SMALL, |start, part| {
            bf16_to_f32(&from[start..], part)
        })?;
        return Ok(out);
    }
    if x.dtype == DType::F32 && dtype == DType::BF16 {
        let from = x.slice::<f32>()?;
        parallel::chunks(out.slice_mut::<bf16>()?, parallel::SMALL, |start, part| {
            f32_to_bf16(&from[start..], part)
        })?;
        return Ok(out);
    }
    macro_rules! from {
        ($source:ty) => {
            match dtype {
                DType::F32 => convert::<$source, f32>(&x, &out),
                DType::F64 => convert::<$source, f64>(&x, &out),
                DType::BF16 => convert::<$source, bf16>(&x, &out),
                DType::F16 => convert::<$source, f16>(&x, &out),
                DType::I8 => convert::<$source, i8>(&x, &out),
                DType::I16 => convert::<$source, i16>(&x, &out),
                DType::I32 => convert::<$source, i32>(&x, &out),
                DType::U8 => convert::<$source, u8>(&x, &out),
                DType::U16 => convert::<$source, u16>(&x, &out),
                DType::U32 => convert::<$source, u32>(&x, &out),
                DType::U64 => convert::<$source, u64>(&x, &out),
                DType::Bool => truth::<$source>(&x, &out),
            }
        };
    }
    match x.dtype {
        DType::F32 => from!(f32),
        DType::F64 => from!(f64),
        DType::BF16 => from!(bf16),
        DType::F16 => from!(f16),
        DType::I8 => from!(i8),
        DType::I16 => from!(i16),
        DType::I32 => from!(i32),
        DType::U8 | DType::Bool => from!(u8),
        DType::U16 => from!(u16),
        DType::U32 => from!(u32),
        DType::U64 => from!(u64),
    }?;
    Ok(out)
}

/// Every number type can be read as f64 without loss but u64 above 2^53; it is only copied or read as an integer.
trait Number: Element {
    fn to_f64(self) -> f64;
    fn to_i128(self) -> Option<i128>;
    fn from_f64(value: f64) -> Self;
    fn from_i128(value: i128) -> Self;
}

macro_rules! integers {
    ($($rust:ty),*) => { $(impl Number for $rust {
        #[inline(always)]
        fn to_f64(self) -> f64 { self as f64 }
        #[inline(always)]
        fn to_i128(self) -> Option<i128> { Some(i128::from(self)) }
        #[inline(always)]
        fn from_f64(value: f64) -> Self { value as Self }
        #[inline(always)]
        fn from_i128(value: i128) -> Self { value as Self }
    })* };
}
integers!(i8, i16, i32, u8, u16, u32, u64);

macro_rules! floats {
    ($($rust:ty, $to:expr, $from:expr);*) => { $(impl Number for $rust {
        #[inline(always)]
        fn to_f64(self) -> f64 { $to(self) }
        #[inline(always)]
        fn to_i128(self) -> Option<i128> { None }
        #[inline(always)]
        fn from_f64(value: f64) -> Self { $from(value) }
        #[inline(always)]
        fn from_i128(value: i128) -> Self { $from(value as f64) }
    })* };
}
floats!(f32, |x: f32| f64::from(x), |v: f64| v as f32; f64, |x: f64| x, |v: f64| v;
    bf16, |x: bf16| f64::from(x), |v: f64| bf16::from_f32(to_odd(v)); f16, |x: f16| f64::from(x), |v: f64| f16::from_f32(to_odd(v)));

/// f64 to f32, cut towards zero, with the last bit set where anything was lost: what remains rounds to 16 bits as
/// the f64 would. (`half` drops 32 bits of an f64 before it rounds, and so takes some values for ties.)
#[inline(always)]
fn to_odd(value: f64) -> f32 {
    let near = value as f32;
    let wide = f64::from(near);
    if wide == value || value.is_nan() {
        return near;
    }
    let cut = if wide.abs() > value.abs() {
        near.to_bits() - 1
    } else {
        near.to_bits()
    };
    f32::from_bits(cut | 1)
}

fn convert<A: Number, B: Number>(x: &View, out: &View) -> Result<()> {
    let from = x.slice::<A>()?;
    parallel::chunks(out.slice_mut::<B>()?, parallel::SMALL, |start, part| {
        for (target, &value) in part.iter_mut().zip(&from[start..]) {
            *target = match value.to_i128() {
                Some(integer) => B::from_i128(integer),
                None => B::from_f64(value.to_f64()),
            };
        }
    })
}

fn truth<A: Number>(x: &View, out: &View) -> Result<()> {
    let from = x.slice::<A>()?;
    parallel::chunks(out.slice_mut::<u8>()?, parallel::SMALL, |start, part| {
        for (target, &value) in part.iter_mut().zip(&from[start..]) {
            *target = u8::from(value.to_f64() != 0.0);
        }
    })
}

simd! {
    pub fn bf16_to_f32(from: &[bf16], to: &mut [f32]) {
        for (target, value) in to.iter_mut().zip(from) {
            *target = f32::from_bits(u32::from(value.to_bits()) << 16);
        }
    }
}

simd! {
    pub fn f32_to_bf16(from: &[f32], to: &mut [bf16]) {
        for (target, &value) in to.iter_mut().zip(from) {
            let bits = value.to_bits();
            let rounded = (bits.wrapping_add(0x7fff) .wrapping_add((bits >> 16) & 1)) >> 16;
            let quiet = (bits >> 16) | 0x40;
            *target = bf16::from_bits(if value.is_nan() { quiet as u16 } else { rounded as u16 });
        }
    }
}
