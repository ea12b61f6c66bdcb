//! Changes of a state in place, by numbers of its own shape, and the sum of squares that gradients are clipped by.

use crate::arena::{View, view};
use crate::copy;
use crate::dtype::Compute;
use crate::dtype::num::Float;
use crate::fault::{Fault, Result, border, js};
use crate::math::Math;
use crate::parallel::{self, SMALL};
use crate::{simd, with_compute};
use napi_derive::napi;

/// Partial sums that run side by side in `squares`.
const LANES: usize = 32;

/// The numbers of x in row-major order, for a state of the same shape.
pub fn alike(name: &str, state: &View, x: &View) -> Result<View> {
    if *state.shape == *x.shape {
        return copy::contiguous(x);
    }
    let (needed, found) = (&*state.shape, &*x.shape);
    Err(Fault::shape(format!(
        "{name}: a state of shape {needed:?} cannot take numbers of shape {found:?}"
    )))
}

/// state = x, rounded to the type of the state.
pub fn assign(state: &View, x: &View) -> Result<()> {
    let x = copy::cast(&alike("assign", state, x)?, state.dtype)?;
    let from = x.bytes()?;
    let to = state.bytes_mut()?;
    if std::ptr::eq(from.as_ptr(), to.as_ptr()) {
        return Ok(());
    }
    parallel::chunks(to, SMALL * 4, |start, part| {
        part.copy_from_slice(&from[start..start + part.len()]);
    })
}

/// A number on the line from a (share 0) to b (share 1); exactly b at 1.
#[inline(always)]
pub fn between<F: Math>(a: F, b: F, share: F, rest: F) -> F {
    if share < rest {
        a + (b - a) * share
    } else {
        b - (b - a) * rest
    }
}

simd! {
    fn move_towards<T: Compute>(state: &mut [T], x: &[T], share: T::Wide, rest: T::Wide) {
        for (s, x) in state.iter_mut().zip(x) {
            *s = T::narrow(between(s.widen(), x.widen(), share, rest));
        }
    }
}

/// state += share (x - state)
pub fn lerp(state: &View, x: &View, share: f64) -> Result<()> {
    let x = copy::cast(&alike("lerp", state, x)?, state.dtype)?;
    with_compute!(state.dtype, "lerp", T => {
        let from = x.slice::<T>()?;
        let (share, rest) = (Float::from_f64(share), Float::from_f64(1.0 - share));
        parallel::chunks(state.slice_mut::<T>()?, SMALL, |start, part| {
            move_towards::<T>(part, &from[start..], share, rest);
        })
    })
}

simd! {
    fn squares<T: Compute>(x: &[T]) -> f64 {
        let mut total = [0.0; LANES];
        let (lines, rest) = x.as_chunks::<LANES>();
        for line in lines {
            for (total, x) in total.iter_mut().zip(line) {
                let x = x.widen().to_f64();
                *total += x * x;
            }
        }
        for (total, x) in total.iter_mut().zip(rest) {
            let x = x.widen().to_f64();
            *total += x * x;
        }
        total.iter().sum()
    }
}

/// The sum of all x^2, in f64 and in an order that depends on the number of elements alone.
pub fn sum_of_squares(x: &View) -> Result<f64> {
    let x = copy::contiguous(x)?;
    let mut sums = vec![0.0; x.len().div_ceil(SMALL)];
    with_compute!(x.dtype, "sumOfSquares", T => {
        let from = x.slice::<T>()?;
        parallel::chunks(&mut sums, 1, |index, sum| {
            sum[0] = squares::<T>(&from[index * SMALL..from.len().min((index + 1) * SMALL)]);
        })
    })?;
    Ok(sums.iter().fold(0.0, |total, sum| total + sum))
}

#[napi(js_name = "assign")]
pub fn assign_border(state: u32, x: u32) -> js::Result<()> {
    border(|| assign(&view(state)?, &view(x)?))
}

#[napi(js_name = "lerp")]
pub fn lerp_border(state: u32, x: u32, share: f64) -> js::Result<()> {
    border(|| lerp(&view(state)?, &view(x)?, share))
}

#[napi(js_name = "sumOfSquares")]
pub fn sum_of_squares_border(x: u32) -> js::Result<f64> {
    border(|| sum_of_squares(&view(x)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_moves_by_its_share_and_reaches_its_end_exactly() {
        let state = View::of(&[3], &[1.0f32, -2.0, 0.1]);
        let x = View::of(&[3], &[3.0f32, 2.0, 0.3]);
        lerp(&state, &x, 0.25).unwrap();
        assert_eq!(state.slice::<f32>().unwrap()[..2], [1.5, -1.0]);
        lerp(&state, &x, 1.0).unwrap();
        assert_eq!(state.slice::<f32>().unwrap(), [3.0, 2.0, 0.3]);
        lerp(&state, &View::of(&[3], &[9.0f64, 9.0, 9.0]), 0.0).unwrap();
        assert_eq!(state.slice::<f32>().unwrap(), [3.0, 2.0, 0.3]);
    }

    #[test]
    fn squares_of_large_and_small_numbers_are_summed_without_overflow() {
        let x = View::filled(&[100_003], |i| if i % 2 == 0 { 1e30 } else { 1e-30 });
        let want = 50_002.0 * f64::from(1e30f32).powi(2);
        assert!((sum_of_squares(&x).unwrap() / want - 1.0).abs() < 1e-12);
        assert_eq!(sum_of_squares(&View::of(&[2], &[3.0f32, 4.0])).unwrap(), 25.0);
        assert_eq!(sum_of_squares(&View::of::<f32>(&[0], &[])).unwrap(), 0.0);
        assert!(
            sum_of_squares(&View::of(&[2], &[f32::NAN, 1.0]))
                .unwrap()
                .is_nan()
        );
    }

    #[test]
    fn a_state_takes_numbers_of_another_type_rounded_and_no_other_shape() {
        let state = View::of(&[2], &[half::bf16::ZERO; 2]);
        assign(&state, &View::of(&[2], &[1.0f32 + 1.0 / 512.0, -3.0])).unwrap();
        assert_eq!(
            copy::cast(&state, crate::dtype::DType::F32)
                .unwrap()
                .slice::<f32>()
                .unwrap(),
            [1.0, -3.0]
        );
        assert!(assign(&state, &View::of(&[1], &[1.0f32])).is_err());
    }
}
