//! Functions of a dense row that are more than one fold.

use crate::dtype::Compute;
use crate::dtype::num::Float;
use crate::lanes::{ExpFrom, Fold, Itself, Max, Sum, fold};
use crate::math::Math;
use crate::simd;

simd! {
    /// ln of the sum of e^x, with the largest taken out.
    pub(super) fn log_sum_exp<T: Compute>(x: &[T]) -> f64 {
        let top = fold::<Max, Itself, T>(x, T::Wide::ZERO);
        if !top.is_finite() {
            return top;
        }
        let shift = <T::Wide as Float>::from_f64(top);
        top + fold::<Sum, ExpFrom, T>(x, shift).ln()
    }
}

simd! {
    /// The first position of the largest (or smallest) element; the first NaN where there is one.
    pub(super) fn extreme<T: Compute, O: Fold>(x: &[T]) -> u32 {
        let best = <T::Wide as Float>::from_f64(fold::<O, Itself, T>(x, T::Wide::ZERO));
        let mut first = 0;
        for block in x.chunks(64) {
            // Without branches inside of a block, so that it vectorises.
            let mut any = false;
            for v in block {
                any |= v.widen() == best || (best.is_nan() && v.widen().is_nan());
            }
            if any {
                break;
            }
            first += block.len();
        }
        while first + 1 < x.len() && !(x[first].widen() == best || (best.is_nan() && x[first].widen().is_nan())) {
            first += 1;
        }
        first as u32
    }
}
