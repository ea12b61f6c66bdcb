//! The functions that kernels apply to single numbers, in the two types that arithmetic runs in. In f32 they
//! vectorise; in f64 they are those of the standard library.

use crate::dtype::Compute;
use crate::dtype::num::Float;
use crate::error_function::{erf_f32, erf_f64};
use crate::exponential::expm1_f32;
use crate::logarithm::{log_f32, log1p_f32};
use crate::sigmoid::{sigmoid_f32, tanh_f32};
use crate::trigonometry::{REACH, cos_f32, sin_f32};

pub trait Math: Float + Compute<Wide = Self> {
    fn is_nan(self) -> bool;
    fn abs(self) -> Self;
    fn floor(self) -> Self;
    fn ceil(self) -> Self;
    /// To the nearest integer, of two equally near to the even one.
    fn round(self) -> Self;
    fn expm1(self) -> Self;
    fn log(self) -> Self;
    fn log1p(self) -> Self;
    fn sin(self) -> Self;
    fn cos(self) -> Self;
    /// True where `sin` and `cos` must be taken in f64.
    fn beyond_reach(self) -> bool;
    fn tanh(self) -> Self;
    fn sigmoid(self) -> Self;
    fn erf(self) -> Self;
    fn power(self, exponent: Self) -> Self;
}

impl Math for f32 {
    #[inline(always)]
    fn is_nan(self) -> bool {
        f32::is_nan(self)
    }
    #[inline(always)]
    fn abs(self) -> f32 {
        f32::abs(self)
    }
    #[inline(always)]
    fn floor(self) -> f32 {
        f32::floor(self)
    }
    #[inline(always)]
    fn ceil(self) -> f32 {
        f32::ceil(self)
    }
    #[inline(always)]
    fn round(self) -> f32 {
        f32::round_ties_even(self)
    }
    #[inline(always)]
    fn expm1(self) -> f32 {
        expm1_f32(self)
    }
    #[inline(always)]
    fn log(self) -> f32 {
        log_f32(self)
    }
    #[inline(always)]
    fn log1p(self) -> f32 {
        log1p_f32(self)
    }
    #[inline(always)]
    fn sin(self) -> f32 {
        sin_f32(self)
    }
    #[inline(always)]
    fn cos(self) -> f32 {
        cos_f32(self)
    }
    #[inline(always)]
    fn beyond_reach(self) -> bool {
        f32::abs(self) > REACH
    }
    #[inline(always)]
    fn tanh(self) -> f32 {
        tanh_f32(self)
    }
    #[inline(always)]
    fn sigmoid(self) -> f32 {
        sigmoid_f32(self)
    }
    #[inline(always)]
    fn erf(self) -> f32 {
        erf_f32(self)
    }
    #[inline(always)]
    fn power(self, exponent: f32) -> f32 {
        f32::powf(self, exponent)
    }
}

impl Math for f64 {
    #[inline(always)]
    fn is_nan(self) -> bool {
        f64::is_nan(self)
    }
    #[inline(always)]
    fn abs(self) -> f64 {
        f64::abs(self)
    }
    #[inline(always)]
    fn floor(self) -> f64 {
        f64::floor(self)
    }
    #[inline(always)]
    fn ceil(self) -> f64 {
        f64::ceil(self)
    }
    #[inline(always)]
    fn round(self) -> f64 {
        f64::round_ties_even(self)
    }
    #[inline(always)]
    fn expm1(self) -> f64 {
        f64::exp_m1(self)
    }
    #[inline(always)]
    fn log(self) -> f64 {
        f64::ln(self)
    }
    #[inline(always)]
    fn log1p(self) -> f64 {
        f64::ln_1p(self)
    }
    #[inline(always)]
    fn sin(self) -> f64 {
        f64::sin(self)
    }
    #[inline(always)]
    fn cos(self) -> f64 {
        f64::cos(self)
    }
    #[inline(always)]
    fn beyond_reach(self) -> bool {
        false
    }
    #[inline(always)]
    fn tanh(self) -> f64 {
        f64::tanh(self)
    }
    #[inline(always)]
    fn sigmoid(self) -> f64 {
        let e = (-f64::abs(self)).exp();
        (if self < 0.0 { e } else { 1.0 }) / (1.0 + e)
    }
    #[inline(always)]
    fn erf(self) -> f64 {
        erf_f64(self)
    }
    #[inline(always)]
    fn power(self, exponent: f64) -> f64 {
        f64::powf(self, exponent)
    }
}
