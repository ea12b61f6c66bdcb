//! What happens to one row of scores, or of the sums that they weigh.

use crate::dtype::num::Float;
use crate::micro_tiles::Real;
use crate::simd;

simd! {
    /// Turns one row of scores into exp(score - new_max); returns (new_max, sum of the row).
    pub(super) fn exponentials<T: Real>(row: &mut [T], before: T) -> (T, T) {
        const LANES: usize = 16;
        let mut largest = [before; LANES];
        let body = row.len() / LANES * LANES;
        for chunk in row[..body].chunks_exact(LANES) {
            for lane in 0..LANES {
                largest[lane] = Float::max(largest[lane], chunk[lane]);
            }
        }
        for (lane, &value) in row[body..].iter().enumerate() {
            largest[lane] = Float::max(largest[lane], value);
        }
        let top = largest.iter().fold(before, |a, &b| Float::max(a, b));
        if top == T::NEG_INFINITY {
            row.fill(T::ZERO);
            return (top, T::ZERO);
        }
        let mut sums = [T::ZERO; LANES];
        for chunk in row[..body].chunks_exact_mut(LANES) {
            for lane in 0..LANES {
                chunk[lane] = Float::exp(chunk[lane] - top);
                sums[lane] += chunk[lane];
            }
        }
        for (lane, value) in row[body..].iter_mut().enumerate() {
            *value = Float::exp(*value - top);
            sums[lane] += *value;
        }
        let mut total = T::ZERO;
        for sum in sums {
            total += sum;
        }
        (top, total)
    }
}

simd! {
    pub(super) fn scale_row<T: Real>(row: &mut [T], factor: T) {
        for value in row.iter_mut() {
            *value *= factor;
        }
    }
}
