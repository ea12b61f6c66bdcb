//! Folding many numbers into one in a fixed order that vectorises: 128 lanes, each over every 128th element, then a
//! tree over the lanes that ends in f64. The order depends on the length alone.

use crate::dtype::Compute;
use crate::dtype::num::Float;
use crate::math::Math;

/// So many that the compiler keeps the loop over them and makes it one over vectors.
const LANES: usize = 128;
/// Below this length, and in the tree below this width, numbers are folded one by one in f64.
const FEW: usize = 16;

/// An associative step and where it starts.
pub trait Fold: Send + Sync {
    fn start<F: Math>() -> F;
    fn join<F: Math>(total: F, x: F) -> F;
}

pub struct Sum;
impl Fold for Sum {
    #[inline(always)]
    fn start<F: Math>() -> F {
        F::ZERO
    }
    #[inline(always)]
    fn join<F: Math>(total: F, x: F) -> F {
        total + x
    }
}

pub struct Product;
impl Fold for Product {
    #[inline(always)]
    fn start<F: Math>() -> F {
        F::ONE
    }
    #[inline(always)]
    fn join<F: Math>(total: F, x: F) -> F {
        total * x
    }
}

/// NaN wins and stays.
pub struct Max;
impl Fold for Max {
    #[inline(always)]
    fn start<F: Math>() -> F {
        F::NEG_INFINITY
    }
    #[inline(always)]
    fn join<F: Math>(total: F, x: F) -> F {
        if x > total || x.is_nan() { x } else { total }
    }
}

pub struct Min;
impl Fold for Min {
    #[inline(always)]
    fn start<F: Math>() -> F {
        -F::NEG_INFINITY
    }
    #[inline(always)]
    fn join<F: Math>(total: F, x: F) -> F {
        if x < total || x.is_nan() { x } else { total }
    }
}

/// What is folded of each element, given one number that is the same for all. A type and not a closure: a closure
/// that is not inlined would lose the instruction set of its caller.
pub trait Term {
    fn of<F: Math>(x: F, shift: F) -> F;
}

macro_rules! terms {
    ($($(#[$meta:meta])* $name:ident $x:ident $shift:ident $value:expr;)*) => { $(
        $(#[$meta])*
        pub struct $name;
        impl Term for $name {
            #[inline(always)]
            fn of<F: Math>($x: F, $shift: F) -> F {
                $value
            }
        }
    )* };
}
terms! {
    /// x
    Itself x _shift x;
    /// x^2
    Square x _shift x * x;
    /// (x - shift)^2
    SquareFrom x shift (x - shift) * (x - shift);
    /// e^(x - shift)
    ExpFrom x shift (x - shift).exp();
}

/// Folds a term of every element.
#[inline(always)]
pub fn fold<O: Fold, P: Term, T: Compute>(x: &[T], shift: T::Wide) -> f64 {
    let mut result = O::start::<f64>();
    if x.len() < FEW {
        for value in x {
            result = O::join(result, P::of(value.widen(), shift).to_f64());
        }
        return result;
    }
    let mut total = [O::start::<T::Wide>(); LANES];
    let (lines, rest) = x.as_chunks::<LANES>();
    for line in lines {
        for (total, value) in total.iter_mut().zip(line) {
            *total = O::join(*total, P::of(value.widen(), shift));
        }
    }
    for (total, value) in total.iter_mut().zip(rest) {
        *total = O::join(*total, P::of(value.widen(), shift));
    }
    let mut width = LANES / 2;
    while width >= FEW {
        let (low, high) = total.split_at_mut(width);
        for (low, high) in low.iter_mut().zip(high) {
            *low = O::join(*low, *high);
        }
        width /= 2;
    }
    for lane in &total[..FEW] {
        result = O::join(result, lane.to_f64());
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_counts_every_element_once() {
        for length in [0, 1, 15, 16, 127, 128, 129, 1000, 1024, 1025, 5000] {
            let x: Vec<f32> = (0..length).map(|i| (i % 7) as f32).collect();
            let want: f64 = x.iter().map(|&v| f64::from(v)).sum();
            assert_eq!(fold::<Sum, Itself, f32>(&x, 0.0), want);
        }
    }

    #[test]
    fn nan_wins_wherever_it_stands() {
        for position in [0, 5, 40, 99] {
            let mut x = vec![1.0f64; 100];
            x[position] = f64::NAN;
            assert!(fold::<Max, Itself, f64>(&x, 0.0).is_nan() && fold::<Min, Itself, f64>(&x, 0.0).is_nan());
        }
        assert_eq!(fold::<Max, Itself, f32>(&[-3.0, -1.0, -2.0], 0.0), -1.0);
        assert_eq!(fold::<Min, Itself, f32>(&[3.0; 100], 0.0), 3.0);
    }
}
