//! Folding many numbers into one in a fixed order that vectorises: 32 lanes, each over every 32nd element, then a
//! tree over the lanes in f64. The order depends on the length alone.

use crate::dtype::Compute;
use crate::dtype::num::Float;
use crate::math::Math;

const LANES: usize = 32;
/// Elements whose lanes are folded by themselves, so that no long row of additions loses small numbers.
const SPAN: usize = 32 * LANES;

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
    let start = O::start::<T::Wide>();
    if x.len() < 2 * LANES {
        let mut total = start;
        for value in x {
            total = O::join(total, P::of(value.widen(), shift));
        }
        return total.to_f64();
    }
    let mut total = [start; LANES];
    for span in x.chunks(SPAN) {
        let mut part = [start; LANES];
        let (lines, rest) = span.as_chunks::<LANES>();
        for line in lines {
            for lane in 0..LANES {
                part[lane] = O::join(part[lane], P::of(line[lane].widen(), shift));
            }
        }
        for (lane, value) in rest.iter().enumerate() {
            part[lane] = O::join(part[lane], P::of(value.widen(), shift));
        }
        for lane in 0..LANES {
            total[lane] = O::join(total[lane], part[lane]);
        }
    }
    let mut wide = [0.0; LANES];
    for lane in 0..LANES {
        wide[lane] = total[lane].to_f64();
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            wide[lane] = O::join(wide[lane], wide[lane + width]);
        }
        width /= 2;
    }
    wide[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_counts_every_element_once() {
        for length in [0, 1, 63, 64, 65, 1000, 1024, 1025, 5000] {
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
