//! Folding many numbers into one in a fixed order that vectorises: 32 lanes, each over every 32nd element, then a
//! tree over the lanes in f64. The order depends on the length alone.

use crate::dtype::Compute;
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

/// Folds `term` of every element.
#[inline(always)]
pub fn fold<O: Fold, T: Compute>(x: &[T], term: impl Fn(T::Wide) -> T::Wide) -> f64 {
    let start = O::start::<T::Wide>();
    if x.len() < 2 * LANES {
        return to_f64(x.iter().fold(start, |total, &value| O::join(total, term(value.widen()))));
    }
    let mut total = [start; LANES];
    for span in x.chunks(SPAN) {
        let mut part = [start; LANES];
        let (lines, rest) = span.as_chunks::<LANES>();
        for line in lines {
            for lane in 0..LANES {
                part[lane] = O::join(part[lane], term(line[lane].widen()));
            }
        }
        for (lane, value) in rest.iter().enumerate() {
            part[lane] = O::join(part[lane], term(value.widen()));
        }
        for lane in 0..LANES {
            total[lane] = O::join(total[lane], part[lane]);
        }
    }
    let mut wide = total.map(to_f64);
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            wide[lane] = O::join(wide[lane], wide[lane + width]);
        }
        width /= 2;
    }
    wide[0]
}

#[inline(always)]
fn to_f64<F: Math>(x: F) -> f64 {
    x.to_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_counts_every_element_once() {
        for length in [0, 1, 63, 64, 65, 1000, 1024, 1025, 5000] {
            let x: Vec<f32> = (0..length).map(|i| (i % 7) as f32).collect();
            let want: f64 = x.iter().map(|&v| f64::from(v)).sum();
            assert_eq!(fold::<Sum, f32>(&x, |v| v), want);
        }
    }

    #[test]
    fn nan_wins_wherever_it_stands() {
        for position in [0, 5, 40, 99] {
            let mut x = vec![1.0f64; 100];
            x[position] = f64::NAN;
            assert!(fold::<Max, f64>(&x, |v| v).is_nan() && fold::<Min, f64>(&x, |v| v).is_nan());
        }
        assert_eq!(fold::<Max, f32>(&[-3.0, -1.0, -2.0], |v| v), -1.0);
        assert_eq!(fold::<Min, f32>(&[3.0; 100], |v| v), 3.0);
    }
}
