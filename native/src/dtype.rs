//! Number types of tensors. The numbers of the enum are the order of `DTYPES` in src/tensor/dtype.ts.

use crate::fault::{Fault, Result};
use half::{bf16, f16};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DType {
    F32,
    F64,
    BF16,
    F16,
    I8,
    I16,
    I32,
    U8,
    U16,
    U32,
    U64,
    Bool,
}

pub const ALL: [DType; 12] = [
    DType::F32,
    DType::F64,
    DType::BF16,
    DType::F16,
    DType::I8,
    DType::I16,
    DType::I32,
    DType::U8,
    DType::U16,
    DType::U32,
    DType::U64,
    DType::Bool,
];

impl DType {
    pub fn from_code(code: u32) -> Result<DType> {
        ALL.get(code as usize)
            .copied()
            .ok_or_else(|| Fault::shape(format!("dtype: no number type has code {code}")))
    }

    pub fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::F64 => "f64",
            DType::BF16 => "bf16",
            DType::F16 => "f16",
            DType::I8 => "i8",
            DType::I16 => "i16",
            DType::I32 => "i32",
            DType::U8 => "u8",
            DType::U16 => "u16",
            DType::U32 => "u32",
            DType::U64 => "u64",
            DType::Bool => "bool",
        }
    }

    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            DType::I8 | DType::U8 | DType::Bool => 1,
            DType::BF16 | DType::F16 | DType::I16 | DType::U16 => 2,
            DType::F32 | DType::I32 | DType::U32 => 4,
            DType::F64 | DType::U64 => 8,
        }
    }
}

/// A Rust type that is stored in tensors of one number type.
pub trait Element: Copy + Send + Sync + 'static {
    const DTYPE: DType;
}

macro_rules! element {
    ($($rust:ty => $dtype:ident),*) => { $(impl Element for $rust { const DTYPE: DType = DType::$dtype; })* };
}
element!(f32 => F32, f64 => F64, bf16 => BF16, f16 => F16, i8 => I8, i16 => I16, i32 => I32, u8 => U8, u16 => U16, u32 => U32, u64 => U64);

/// The types that arithmetic runs in. bf16 computes in f32 and rounds once when it is stored.
pub trait Compute: Element {
    type Wide: crate::math::Math;
    fn widen(self) -> Self::Wide;
    fn narrow(wide: Self::Wide) -> Self;
}

/// The little of a float that generic kernels need.
pub mod num {
    pub trait Float:
        Copy
        + Send
        + Sync
        + PartialOrd
        + 'static
        + std::ops::Add<Output = Self>
        + std::ops::Sub<Output = Self>
        + std::ops::Mul<Output = Self>
        + std::ops::Div<Output = Self>
        + std::ops::Neg<Output = Self>
        + std::ops::AddAssign
    {
        const ZERO: Self;
        const ONE: Self;
        const NEG_INFINITY: Self;
        fn from_f64(value: f64) -> Self;
        fn to_f64(self) -> f64;
        fn exp(self) -> Self;
        fn ln(self) -> Self;
        fn sqrt(self) -> Self;
        fn max(self, other: Self) -> Self;
    }
    impl Float for f32 {
        const ZERO: f32 = 0.0;
        const ONE: f32 = 1.0;
        const NEG_INFINITY: f32 = f32::NEG_INFINITY;
        #[inline(always)]
        fn from_f64(value: f64) -> f32 {
            value as f32
        }
        #[inline(always)]
        fn to_f64(self) -> f64 {
            f64::from(self)
        }
        #[inline(always)]
        fn exp(self) -> f32 {
            crate::exponential::exp_f32(self)
        }
        #[inline(always)]
        fn ln(self) -> f32 {
            f32::ln(self)
        }
        #[inline(always)]
        fn sqrt(self) -> f32 {
            f32::sqrt(self)
        }
        #[inline(always)]
        fn max(self, other: f32) -> f32 {
            if other > self { other } else { self }
        }
    }
    impl Float for f64 {
        const ZERO: f64 = 0.0;
        const ONE: f64 = 1.0;
        const NEG_INFINITY: f64 = f64::NEG_INFINITY;
        #[inline(always)]
        fn from_f64(value: f64) -> f64 {
            value
        }
        #[inline(always)]
        fn to_f64(self) -> f64 {
            self
        }
        #[inline(always)]
        fn exp(self) -> f64 {
            f64::exp(self)
        }
        #[inline(always)]
        fn ln(self) -> f64 {
            f64::ln(self)
        }
        #[inline(always)]
        fn sqrt(self) -> f64 {
            f64::sqrt(self)
        }
        #[inline(always)]
        fn max(self, other: f64) -> f64 {
            if other > self { other } else { self }
        }
    }
}

/// Without branches, so that loops over it vectorise.
#[inline(always)]
pub fn bf16_to_f32(x: bf16) -> f32 {
    f32::from_bits(u32::from(x.to_bits()) << 16)
}

/// Rounds to the nearest, of two equally near to the even one; NaN stays NaN.
#[inline(always)]
pub fn f32_to_bf16(x: f32) -> bf16 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff).wrapping_add((bits >> 16) & 1) >> 16;
    let quiet = (bits >> 16) | 0x40;
    bf16::from_bits(if x.is_nan() { quiet as u16 } else { rounded as u16 })
}

macro_rules! compute {
    ($($rust:ty, $wide:ty, $to:expr, $from:expr);*) => { $(impl Compute for $rust {
        type Wide = $wide;
        #[inline(always)]
        fn widen(self) -> $wide { $to(self) }
        #[inline(always)]
        fn narrow(wide: $wide) -> $rust { $from(wide) }
    })* };
}
compute!(f32, f32, |x: f32| x, |x: f32| x; f64, f64, |x: f64| x, |x: f64| x; bf16, f32, bf16_to_f32, f32_to_bf16);

/// Runs `$body` with `$T` bound to the computing type of `$dtype`; other types end in a shape fault that names `$what`.
#[macro_export]
macro_rules! with_compute {
    ($dtype:expr, $what:expr, $T:ident => $body:expr) => {
        match $dtype {
            $crate::dtype::DType::F32 => {
                type $T = f32;
                $body
            }
            $crate::dtype::DType::F64 => {
                type $T = f64;
                $body
            }
            $crate::dtype::DType::BF16 => {
                type $T = half::bf16;
                $body
            }
            other => Err($crate::fault::Fault::shape(format!(
                "{}: needs f32, f64 or bf16, got {}; cast it first",
                $what,
                other.name()
            ))),
        }
    };
}

/// Runs `$body` with `$T` bound to an unsigned integer as wide as the elements: for kernels that only move data.
#[macro_export]
macro_rules! with_width {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype.size() {
            1 => {
                type $T = u8;
                $body
            }
            2 => {
                type $T = u16;
                $body
            }
            4 => {
                type $T = u32;
                $body
            }
            _ => {
                type $T = u64;
                $body
            }
        }
    };
}
