//! The best of many short vectors for one of them: what k-means assigns with, and what a search of codes decides with.
//!
//!   score(k) = <c_k, x> - factor * penalty_k, and the first k with the largest wins
//!
//! Entries lie turned, one number of all of them after the other, so that neighbours are lanes.

use crate::micro_tiles::Real;

const LANES: usize = 32;

/// Vectors of one codebook.
pub struct Entries<T> {
    pub count: usize,
    /// Numbers of one vector.
    pub size: usize,
    /// The count, filled up to whole lanes.
    pub padded: usize,
    /// [size, padded]
    turned: Vec<T>,
}

impl<T: Real> Entries<T> {
    /// `entries` is [count, size].
    pub fn new(entries: &[T], size: usize) -> Entries<T> {
        let count = entries.len() / size.max(1);
        let padded = count.next_multiple_of(LANES);
        let mut turned = vec![T::ZERO; size * padded];
        for (k, entry) in entries.chunks_exact(size.max(1)).enumerate() {
            for (t, &number) in entry.iter().enumerate() {
                turned[t * padded + k] = number;
            }
        }
        Entries {
            count,
            size,
            padded,
            turned,
        }
    }

    /// Penalties of the entries, infinite where there is none, so that it never wins.
    pub fn penalties(&self, of: impl Fn(usize) -> T) -> Vec<T> {
        (0..self.padded)
            .map(|k| if k < self.count { of(k) } else { -T::NEG_INFINITY })
            .collect()
    }

    /// The numbers of an entry.
    #[inline(always)]
    pub fn entry(&self, k: usize, out: &mut [T]) {
        for (t, out) in out.iter_mut().enumerate() {
            *out = self.turned[t * self.padded + k];
        }
    }

    #[inline(always)]
    fn lanes(&self, first: usize, penalties: &[T], factor: T, x: &[T]) -> [T; LANES] {
        let penalties: &[T; LANES] = penalties[first..].first_chunk().expect("whole lanes");
        let mut scores = [T::ZERO; LANES];
        for i in 0..LANES {
            scores[i] = -(factor * penalties[i]);
        }
        for (t, &x) in x.iter().enumerate() {
            let numbers: &[T; LANES] = self.turned[t * self.padded + first..]
                .first_chunk()
                .expect("whole lanes");
            for i in 0..LANES {
                scores[i] += numbers[i] * x;
            }
        }
        scores
    }

    /// The score of one entry, with the bits that `best` compares.
    #[inline(always)]
    pub fn score(&self, k: usize, penalties: &[T], factor: T, x: &[T]) -> T {
        let mut score = -(factor * penalties[k]);
        for (t, &x) in x.iter().enumerate() {
            score += self.turned[t * self.padded + k] * x;
        }
        score
    }

    /// The scores of all entries, [padded].
    #[inline(always)]
    pub fn scores(&self, penalties: &[T], factor: T, x: &[T], out: &mut [T]) {
        for (block, out) in out.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
            *out = self.lanes(block * LANES, penalties, factor, x);
        }
    }

    /// The first entry with the largest score, and the score.
    #[inline(always)]
    pub fn best(&self, penalties: &[T], factor: T, x: &[T]) -> (usize, T) {
        let mut values = [T::NEG_INFINITY; LANES];
        let mut blocks = [0u32; LANES];
        for block in 0..self.padded / LANES {
            let scores = self.lanes(block * LANES, penalties, factor, x);
            for i in 0..LANES {
                let better = scores[i] > values[i];
                values[i] = if better { scores[i] } else { values[i] };
                blocks[i] = if better { block as u32 } else { blocks[i] };
            }
        }
        let mut best = (0, T::NEG_INFINITY);
        for i in 0..LANES {
            let k = blocks[i] as usize * LANES + i;
            if values[i] > best.1 || (values[i] == best.1 && k < best.0) {
                best = (k, values[i]);
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equal_entries_wins_and_padding_never_does() {
        let vectors: Vec<f32> = (0..70).flat_map(|k| [(k % 35) as f32, 1.0]).collect();
        let entries = Entries::new(&vectors, 2);
        let penalties = entries.penalties(|_| 0.5);
        assert_eq!(entries.best(&penalties, 2.0, &[1.0, -3.0]), (34, 30.0));
        assert_eq!(entries.best(&penalties, 2.0, &[-1.0, 0.0]), (0, -1.0));
        let mut scores = vec![0.0; entries.padded];
        entries.scores(&penalties, 2.0, &[1.0, -3.0], &mut scores);
        for (k, &score) in scores.iter().enumerate() {
            let expected = if k < 70 {
                (k % 35) as f32 - 3.0 - 1.0
            } else {
                f32::NEG_INFINITY
            };
            assert_eq!(score, expected);
            if k < 70 {
                assert_eq!(entries.score(k, &penalties, 2.0, &[1.0, -3.0]), expected);
            }
        }
    }
}
