//! What follows a product before it leaves the cache.

use crate::fault::{Fault, Result};
use crate::product::Real;

/// What happens to a tile of the product before it leaves the cache.
#[derive(Clone, Copy, PartialEq)]
pub enum Activation {
    None,
    Relu,
    Silu,
}

pub struct Epilogue<'a, T> {
    /// One value a column.
    pub bias: Option<&'a [T]>,
    pub activation: Activation,
    /// Added last; row-major, as large as the product.
    pub residual: Option<&'a [T]>,
}

#[inline]
pub fn finish<T: Real>(line: &mut [T], epilogue: &Epilogue<T>, column: usize, position: usize) {
    if let Some(bias) = epilogue.bias {
        line.iter_mut().zip(&bias[column..]).for_each(|(x, &b)| *x += b);
    }
    match epilogue.activation {
        Activation::None => {}
        Activation::Relu => line
            .iter_mut()
            .for_each(|x| *x = if *x < T::ZERO { T::ZERO } else { *x }),
        Activation::Silu => line
            .iter_mut()
            .for_each(|x| *x = *x / (T::ONE + <T as crate::dtype::num::Float>::exp(-*x))),
    }
    if let Some(residual) = epilogue.residual {
        line.iter_mut()
            .zip(&residual[position..])
            .for_each(|(x, &r)| *x += r);
    }
}

pub fn activation_of(name: &str) -> Result<Activation> {
    match name {
        "none" => Ok(Activation::None),
        "relu" => Ok(Activation::Relu),
        "silu" => Ok(Activation::Silu),
        other => Err(Fault::shape(format!(
            "matmul: no activation is called {other}; use none, relu or silu"
        ))),
    }
}
