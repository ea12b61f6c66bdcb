//! Which weights of a slab [rows, columns] are pruned: those with the smallest scores over all rows. The score of the
//! last one is found digit by digit from counts, which any number of threads adds up to the same numbers; of equal
//! scores the first in row-major order go first.

use crate::fault::{Fault, Result};
use crate::parallel;
use crate::product::Real;
use crate::sparse_sweep::{SparseSweep, SparseTile};
use crate::sweep::LANES;

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
    let keys = |tile: &SparseTile<T, State>, lane: usize, index: usize| {
        let position = start + index;
        key(
            tile.values[position][lane],
            pivots[index],
            tile.lives[position][lane] != 0,
        )
    };
    let width = end - start;
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
                for index in 0..width {
                    for lane in 0..tile.height {
                        let digits = keys(tile, lane, index) >> shift;
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
        let tile = &shared[index];
        equal[0] = (0..width)
            .map(|index| {
                (0..tile.height)
                    .filter(|&lane| keys(tile, lane, index) == last)
                    .count() as u64
            })
            .sum();
    })?;
    let mut before = 0;
    for count in &mut equal {
        before += std::mem::replace(count, before);
    }
    parallel::chunks(tiles, 1, |index, tile| {
        let tile = &mut tile[0];
        let mut seen = equal[index];
        for lane in 0..tile.height.min(LANES) {
            for column in 0..width {
                let own = keys(tile, lane, column);
                let pruned = own < last || own == last && (ties || seen < wanted);
                seen += u64::from(own == last);
                if pruned {
                    tile.lives[start + column][lane] = 0;
                }
            }
        }
    })
}
