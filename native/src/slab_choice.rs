//! Which weights of a slab [rows, columns] are pruned: those with the smallest scores over all rows. The score of the
//! last one is found digit by digit from counts, which any number of threads adds up to the same numbers; of equal
//! scores the first in row-major order go first.

use crate::fault::{Fault, Result};
use crate::parallel;
use crate::product::Real;
use crate::sparse_sweep::SparseSweep;
use crate::sparse_tile::{Lives, SparseTile};
use crate::sweep::{LANES, Lanes};

/// Rises with |w / u|, the order of w^2 / u^2 without its under- and overflow; 0 for what is pruned already.
#[inline(always)]
pub fn key<T: Real>(w: T, u: T, lives: bool) -> u64 {
    // The sign bit is free, since the score has none.
    if lives {
        (w / u).to_f64().to_bits() | 1 << 63
    } else {
        0
    }
}

/// Bits of one digit of a key.
const DIGIT: u32 = 12;
const COUNTS: usize = 1 << DIGIT;
/// Tiles are counted in this many parts at most.
const PARTS: usize = 64;

/// Where digits begin, from the highest; those of f32 scores end with the last bit that they can have.
fn shifts<T>() -> &'static [u32] {
    if size_of::<T>() == 4 {
        &[52, 40, 28]
    } else {
        &[52, 40, 28, 16, 4, 0]
    }
}

/// Prunes `zeros` weights of the slab, or more where more were pruned before; with `ties` also those whose score equals
/// that of the last one.
pub fn choose_of_slab<T: Real, State: Send>(
    sweep: &SparseSweep<T>,
    tiles: &mut [SparseTile<T, State>],
    (start, end): (usize, usize),
    zeros: usize,
    ties: bool,
) -> Result<()> {
    if zeros == 0 {
        return Ok(());
    }
    let pivots: Vec<T> = (start..end).map(|position| sweep.pivot(position)).collect();
    parallel::chunks(tiles, 1, |_, tile| {
        let SparseTile {
            values, lives, keys, ..
        } = &mut tile[0];
        keys.resize(end - start, [0; LANES]);
        score(&values[start..end], &lives[start..end], &pivots, keys);
    })?;
    let part = tiles.len().div_ceil(PARTS).max(1);
    let mut counts = vec![0u32; COUNTS * tiles.len().div_ceil(part)];
    let (mut prefix, mut wanted, mut above) = (0u64, zeros as u64, 64u32);
    for &shift in shifts::<T>() {
        let bits = above - shift;
        let shared = &*tiles;
        parallel::chunks(&mut counts, COUNTS, |first, counts| {
            counts.fill(0);
            let from = first / COUNTS * part;
            for tile in &shared[from..(from + part).min(shared.len())] {
                for keys in &tile.keys {
                    for key in &keys[..tile.height] {
                        let digits = key >> shift;
                        if digits >> bits == prefix {
                            counts[(digits & ((1 << bits) - 1)) as usize] += 1;
                        }
                    }
                }
            }
        })?;
        if parallel::aborted() {
            return Err(Fault::aborted());
        }
        let mut totals = vec![0u64; 1 << bits];
        for part in counts.chunks_exact(COUNTS) {
            for (total, &count) in totals.iter_mut().zip(part) {
                *total += u64::from(count);
            }
        }
        let mut digit = 0;
        while wanted > totals[digit] {
            wanted -= totals[digit];
            digit += 1;
        }
        prefix = prefix << bits | digit as u64;
        above = shift;
    }
    let last = prefix << above;
    // How many equal ones come before each tile.
    let mut equal = vec![0u64; tiles.len()];
    let shared = &*tiles;
    parallel::chunks(&mut equal, 1, |index, equal| {
        let SparseTile { keys, height, .. } = &shared[index];
        let alike = |keys: &[u64; LANES]| keys[..*height].iter().filter(|&&key| key == last).count() as u64;
        equal[0] = keys.iter().map(alike).sum();
    })?;
    let mut before = 0;
    for count in &mut equal {
        before += std::mem::replace(count, before);
    }
    parallel::chunks(tiles, 1, |index, tile| {
        let SparseTile {
            keys, lives, height, ..
        } = &mut tile[0];
        let mut seen = equal[index];
        for lane in 0..*height {
            for (keys, lives) in keys.iter().zip(&mut lives[start..end]) {
                let own = keys[lane];
                let pruned = own < last || own == last && (ties || seen < wanted);
                seen += u64::from(own == last);
                if pruned {
                    lives[lane] = 0;
                }
            }
        }
        keys.clear();
    })
}

crate::simd! {
    fn score<T: Real>(values: &[Lanes<T>], lives: &[Lives], pivots: &[T], keys: &mut [[u64; LANES]]) {
        for (((value, lives), &pivot), keys) in values.iter().zip(lives).zip(pivots).zip(keys) {
            for lane in 0..LANES {
                keys[lane] = key(value[lane], pivot, lives[lane] != 0);
            }
        }
    }
}
