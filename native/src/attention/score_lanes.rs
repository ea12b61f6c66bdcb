//! What happens to the scores of a sliver of queries, which stand side by side: keys go down.

use crate::dtype::num::Float;
use crate::micro_tiles::Real;
use crate::simd;

/// Partial sums of the exponentials of a query, as in `score_rows::exponentials`.
const PARTS: usize = 16;
/// The widest tile of a micro kernel.
const MOST_LANES: usize = 32;

simd! {
    pub(super) fn scale_all<T: Real>(numbers: &mut [T], factor: T) {
        for x in numbers.iter_mut() {
            *x *= factor;
        }
    }
}

simd! {
    /// Turns scores into exp(score - top) with the new largest score of each query, and carries the sums along. Returns
    /// what sums so far are multiplied by, a query each.
    pub(super) fn soften<T: Real>(scores: &mut [T], tops: &mut [T], sums: &mut [T]) -> [T; MOST_LANES] {
        match tops.len() {
            4 => soften_lanes::<T, 4>(scores, tops, sums),
            8 => soften_lanes::<T, 8>(scores, tops, sums),
            16 => soften_lanes::<T, 16>(scores, tops, sums),
            _ => soften_lanes::<T, 32>(scores, tops, sums),
        }
    }
}

#[inline(always)]
fn soften_lanes<T: Real, const LANES: usize>(
    scores: &mut [T],
    tops: &mut [T],
    sums: &mut [T],
) -> [T; MOST_LANES] {
    let (lines, _) = scores.as_chunks_mut::<LANES>();
    let mut top: [T; LANES] = std::array::from_fn(|lane| tops[lane]);
    for line in lines.iter() {
        for lane in 0..LANES {
            top[lane] = Float::max(top[lane], line[lane]);
        }
    }
    // Where nothing was seen yet, exp(-infinity - 0) is the 0 that is wanted.
    let shift: [T; LANES] = top.map(|top| if top == T::NEG_INFINITY { T::ZERO } else { top });
    for line in lines.iter_mut() {
        for lane in 0..LANES {
            line[lane] -= shift[lane];
        }
    }
    // One long loop, which the compiler makes one over vectors.
    for x in lines.as_flattened_mut() {
        *x = Float::exp(*x);
    }
    let mut parts = [[T::ZERO; LANES]; PARTS];
    for (key, line) in lines.iter().enumerate() {
        let part = &mut parts[key % PARTS];
        for lane in 0..LANES {
            part[lane] += line[lane];
        }
    }
    let mut total = [T::ZERO; LANES];
    for part in &parts {
        for lane in 0..LANES {
            total[lane] += part[lane];
        }
    }
    let mut carries = [T::ONE; MOST_LANES];
    for lane in 0..LANES {
        if tops[lane] == T::NEG_INFINITY {
            sums[lane] = total[lane];
        } else {
            let carry = Float::exp(tops[lane] - top[lane]);
            sums[lane] = sums[lane] * carry + total[lane];
            if tops[lane] != top[lane] {
                carries[lane] = carry;
            }
        }
        tops[lane] = top[lane];
    }
    carries
}
