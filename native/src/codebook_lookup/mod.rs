//! The product of a few inputs with a weight of additive codebooks, by tables: for every group of inputs and every entry
//! their product is computed once, and an output adds up what its codes point at. Egiazarian et al. 2024,
//! arXiv:2401.06118, section 4.4.
//!
//!   T[j, m, k] = <C[m, k], x_j>,    y_i = s_i sum over j and m of T[j, m, b_ijm]
//!
//! Codes lie as they are read: tables that fit the nearest cache together, `TILE` pairs (j, m), are used for all outputs of a task
//! before the next ones, and neighbouring codes are those of `BLOCK` outputs for one table. Tasks take pairs apart, not outputs, so
//! that a table is made once: those of `slabs` runs of tiles have sums of their own, which are added in their order.

pub mod binding;
#[cfg(target_arch = "x86_64")]
mod kernel;
#[cfg(test)]
mod tests;

use crate::arena::View;
use crate::dtype::DType;
use crate::fault::{Fault, Result};
use crate::parallel::{self, Shared};
use std::ops::Range;

/// Entries of a table, of which codes of fewer bits use the first.
pub const ENTRIES: usize = 256;
/// Tables that go together.
const TILE: usize = 16;
/// Outputs that go together; the last ones are filled up to a whole number of `LANE`.
const BLOCK: usize = 128;
const LANE: usize = 64;
/// Bytes of codes that are asked for with each table.
const ASKED: usize = 1024;
/// Tiles whose sums go together, at least, and how often an output is summed at most.
const RUN: usize = 4;
const SLABS: usize = 8;

/// Codes in the order of the products.
pub struct Lookup<'a> {
    pub codes: &'a [u8],
    pub out: usize,
    pub groups: usize,
    pub books: usize,
}

/// Outputs as codes are laid out for them.
const fn padded(out: usize) -> usize {
    out.next_multiple_of(LANE)
}

/// Calls `each(output, pair, place)` for every code.
fn places(out: usize, pairs: usize, mut each: impl FnMut(usize, usize, usize)) {
    for first_pair in (0..pairs).step_by(TILE) {
        let own = TILE.min(pairs - first_pair);
        for first in (0..out).step_by(BLOCK) {
            let width = BLOCK.min(padded(out) - first);
            let start = first_pair * padded(out) + first * own;
            for pair in 0..own {
                for row in 0..width.min(out - first) {
                    each(first + row, first_pair + pair, start + pair * width + row);
                }
            }
        }
    }
}

/// Codes [out, groups * books] in the order of the products. Each is below `count`.
pub fn pack(codes: &[u32], (out, pairs): (usize, usize), count: usize) -> Result<Vec<u8>> {
    if let Some(code) = codes.iter().find(|&&code| code as usize >= count.min(ENTRIES)) {
        return Err(Fault::shape(format!(
            "codebooks: code {code} is past the last of {count} entries, or of {ENTRIES}; the weight is damaged"
        )));
    }
    let mut packed = vec![0; padded(out) * pairs];
    places(out, pairs, |row, pair, place| {
        packed[place] = codes[row * pairs + pair] as u8
    });
    Ok(packed)
}

pub fn unpack(packed: &[u8], (out, pairs): (usize, usize), codes: &mut [u32]) {
    places(out, pairs, |row, pair, place| {
        codes[row * pairs + pair] = packed[place].into()
    });
}

/// Codebooks [books, count, wide] as [books, wide, ENTRIES], so that neighbours of a table are lanes.
pub fn turned(codebooks: &[f32], books: usize, count: usize, wide: usize) -> Vec<f32> {
    let mut turned = vec![0.0; books * wide * ENTRIES];
    for (index, &number) in codebooks.iter().enumerate() {
        let (book, entry, t) = (index / (count * wide), index / wide % count, index % wide);
        turned[(book * wide + t) * ENTRIES + entry] = number;
    }
    turned
}

crate::simd! {
    /// Products of x with the entries of a codebook, `lines` [wide, ENTRIES].
    fn table_of(lines: &[f32], x: &[f32], table: &mut [f32; ENTRIES]) {
        table.fill(0.0);
        for (line, x) in lines.as_chunks::<ENTRIES>().0.iter().zip(x) {
            for (sum, c) in table.iter_mut().zip(line) {
                *sum += c * x;
            }
        }
    }
}

crate::simd! {
    /// sums[row] += table[code of row] for each table.
    fn add_entries(tables: &[[f32; ENTRIES]], codes: &[u8], sums: &mut [f32]) {
        for (table, codes) in tables.iter().zip(codes.chunks_exact(sums.len())) {
            for (sum, &code) in sums.iter_mut().zip(codes) {
                *sum += table[code as usize];
            }
        }
    }
}

/// Whether tables are looked up in registers here.
fn in_registers() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        kernel::is_there()
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// y = x [groups * wide] times the transposed weight, with codebooks as `turned` gives them. The order of the sums depends on the
/// shape alone.
pub fn multiply(weight: &Lookup, lines: &[f32], scales: &[f32], x: &[f32], y: &mut [f32]) -> Result<()> {
    let (width, pairs) = (padded(weight.out), weight.groups * weight.books);
    let tiles = pairs.div_ceil(TILE);
    let run = TILE * tiles.div_ceil(SLABS).max(RUN);
    let slabs = pairs.div_ceil(run);
    // Where there are more threads than slabs, several make the tables of one.
    let parts = parallel::threads()?.div_ceil(slabs);
    let each = BLOCK * width.div_ceil(BLOCK).div_ceil(parts);
    let parts = width.div_ceil(each);
    let sums = View::empty(DType::F32, &[slabs * width])?;
    let target = Shared(sums.slice_mut::<f32>()?.as_mut_ptr());
    parallel::tasks(slabs * parts, |task| {
        let (slab, first) = (task / parts, task % parts * each);
        let own = each.min(width - first);
        // SAFETY: there is a sum of each output for each slab, and these belong to this task alone.
        let sums = unsafe { std::slice::from_raw_parts_mut(target.get().add(slab * width + first), own) };
        weight.add_up(lines, x, slab * run..pairs.min((slab + 1) * run), first, sums);
    })?;
    let sums: &mut [f32] = sums.slice_mut()?;
    let (all, others) = sums.split_at_mut(width);
    for others in others.chunks_exact(width) {
        all.iter_mut().zip(others).for_each(|(all, other)| *all += *other);
    }
    #[cfg(target_arch = "x86_64")]
    if in_registers() {
        kernel::in_order(all);
    }
    for ((y, sum), scale) in y.iter_mut().zip(all).zip(scales) {
        *y = *sum * scale;
    }
    Ok(())
}

impl Lookup<'_> {
    /// Sums over a run of pairs, whole tiles but for the last one, of outputs from `first` on: whole blocks, or those that are left.
    fn add_up(&self, lines: &[f32], x: &[f32], run: Range<usize>, first: usize, sums: &mut [f32]) {
        let all = padded(self.out);
        let wide = x.len() / self.groups;
        let fast = in_registers();
        sums.fill(0.0);
        let mut tables = [[0.0; ENTRIES]; TILE];
        for first_pair in run.clone().step_by(TILE) {
            let own = TILE.min(run.end - first_pair);
            let mut place = first_pair * all + first * own;
            for (pair, table) in (first_pair..run.end).zip(&mut tables) {
                let lines = &lines[pair % self.books * wide * ENTRIES..][..wide * ENTRIES];
                let x = &x[pair / self.books * wide..][..wide];
                #[cfg(target_arch = "x86_64")]
                if fast {
                    // Memory works while tables are made.
                    let index = pair - first_pair;
                    crate::prefetch::ahead(self.codes.as_ptr().wrapping_add(place + index * ASKED), ASKED);
                    // SAFETY: the processor has the instructions, and there is a line for each input.
                    unsafe { kernel::table_of(lines, x, table) };
                    continue;
                }
                table_of(lines, x, table);
            }
            for sums in sums.chunks_mut(BLOCK) {
                let codes = &self.codes[place..place + own * sums.len()];
                place += codes.len();
                #[cfg(target_arch = "x86_64")]
                if fast {
                    // SAFETY: the processor has the instructions, and there is a table for each row of codes.
                    unsafe { kernel::add_entries(&tables[..own], codes, sums) };
                    continue;
                }
                add_entries(&tables[..own], codes, sums);
            }
        }
        let _ = fast;
    }
}
