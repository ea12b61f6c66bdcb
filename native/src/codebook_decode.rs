//! Numbers from additive codebooks: a group of weights is a sum of entries, one of each codebook, times the scale of its
//! rows.

use crate::arena::{View, view};
use crate::copy;
use crate::fault::{Fault, Result, border, js};
use crate::micro_tiles::Real;
use crate::parallel;
use crate::with_number;
use napi_derive::napi;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

struct Books<'a, T> {
    /// [row groups, column groups, books]
    codes: &'a [u32],
    /// [books, entries, high, wide]
    entries: &'a [T],
    /// [row groups]
    scales: &'a [T],
    column_groups: usize,
    books: usize,
    /// Entries of one book.
    count: usize,
    high: usize,
    wide: usize,
}

impl<T: Real> Books<'_, T> {
    /// The sum of the entries of one group, in their type and in the order of the books; false where a code is past the last one.
    fn sum(&self, codes: &[u32], sum: &mut [T]) -> bool {
        let size = sum.len();
        for (book, &code) in codes.iter().enumerate() {
            if code as usize >= self.count {
                return false;
            }
            let start = (book * self.count + code as usize) * size;
            let entry = &self.entries[start..start + size];
            if book == 0 {
                sum.copy_from_slice(entry);
            } else {
                sum.iter_mut().zip(entry).for_each(|(sum, &x)| *sum += x);
            }
        }
        true
    }

    /// The one row of a row group, in groups of `N` columns with entries of `BOOKS` books each.
    #[inline(always)]
    fn narrow<const BOOKS: usize, const N: usize>(&self, codes: &[u32], scale: T, out: &mut [T]) -> bool {
        let entries = self.entries.as_chunks::<N>().0;
        let book: [&[[T; N]]; BOOKS] =
            std::array::from_fn(|book| &entries[book * self.count..(book + 1) * self.count]);
        for (codes, out) in codes
            .as_chunks::<BOOKS>()
            .0
            .iter()
            .zip(out.as_chunks_mut::<N>().0)
        {
            let mut sum = [T::ZERO; N];
            for number in 0..BOOKS {
                let Some(entry) = book[number].get(codes[number] as usize) else {
                    return false;
                };
                for i in 0..N {
                    sum[i] = if number == 0 { entry[i] } else { sum[i] + entry[i] };
                }
            }
            for i in 0..N {
                out[i] = sum[i] * scale;
            }
        }
        true
    }

    /// All rows of one row group.
    fn general(&self, codes: &[u32], scale: T, out: &mut [T]) -> bool {
        let mut sum = vec![T::ZERO; self.high * self.wide];
        let columns = self.column_groups * self.wide;
        for (group, codes) in codes.chunks_exact(self.books).enumerate() {
            if !self.sum(codes, &mut sum) {
                return false;
            }
            for (row, sum) in sum.chunks_exact(self.wide).enumerate() {
                let start = row * columns + group * self.wide;
                let out = &mut out[start..start + self.wide];
                out.iter_mut().zip(sum).for_each(|(out, &x)| *out = x * scale);
            }
        }
        true
    }
}

crate::simd! {
    fn group_of_rows<T: Real>(all: &Books<'_, T>, codes: &[u32], scale: T, out: &mut [T]) -> bool {
        match (all.books, all.high, all.wide) {
            (1, 1, 8) => all.narrow::<1, 8>(codes, scale, out),
            (2, 1, 8) => all.narrow::<2, 8>(codes, scale, out),
            _ => all.general(codes, scale, out),
        }
    }
}

fn decode<T: Real>(all: &Books<T>, out: &mut [T]) -> Result<()> {
    let group = all.high * all.column_groups * all.wide;
    if group == 0 {
        return Ok(());
    }
    let groups_of_task = (parallel::SMALL / group).max(1);
    let past = AtomicBool::new(false);
    parallel::chunks(out, groups_of_task * group, |start, out| {
        for (index, out) in out.chunks_mut(group).enumerate() {
            let row = start / group + index;
            let width = all.column_groups * all.books;
            let codes = &all.codes[row * width..(row + 1) * width];
            if !group_of_rows(all, codes, all.scales[row], out) {
                past.store(true, Relaxed);
            }
        }
    })?;
    if past.into_inner() {
        return Err(Fault::shape(format!(
            "codebooks: a code is past the last of {} entries",
            all.count
        )));
    }
    Ok(())
}

/// codes u32 [out / high, in / wide, books], codebooks [books, entries, high, wide] and scales [out / high] in f32 or f64.
/// Result [out, in] in their type.
#[napi]
pub fn decode_codebooks(codes: u32, codebooks: u32, scales: u32) -> js::Result<u32> {
    border(|| {
        let load = |handle: u32| copy::contiguous(&view(handle)?);
        let (codes, codebooks, scales) = (load(codes)?, load(codebooks)?, load(scales)?);
        let (&[row_groups, column_groups, books], &[stored, count, high, wide]) =
            (&*codes.shape, &*codebooks.shape)
        else {
            return Err(Fault::shape("codebooks: codes have 3 axes and codebooks 4"));
        };
        if books == 0 || stored != books || *scales.shape != [row_groups] {
            return Err(Fault::shape(format!(
                "codebooks: codes {:?}, codebooks {:?} and scales {:?} do not fit",
                &*codes.shape, &*codebooks.shape, &*scales.shape
            )));
        }
        if scales.dtype != codebooks.dtype {
            return Err(Fault::shape(
                "codebooks: codebooks and scales need one number type",
            ));
        }
        let out = View::empty(codebooks.dtype, &[row_groups * high, column_groups * wide])?;
        with_number!(codebooks.dtype, "codebooks", T => {
            let all = Books::<T> {
                codes: codes.slice()?,
                entries: codebooks.slice()?,
                scales: scales.slice()?,
                column_groups,
                books,
                count,
                high,
                wide,
            };
            decode(&all, out.slice_mut()?)
        })?;
        Ok(out.into_handle())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every shape of a group against the formula, number by number.
    #[test]
    fn groups_of_any_shape_are_the_sums_of_their_entries_times_the_scale() {
        for (books, high, wide) in [(1, 1, 8), (2, 1, 8), (3, 1, 8), (2, 1, 3), (2, 2, 4)] {
            let (row_groups, column_groups, count) = (3, 5, 4);
            let codes: Vec<u32> = (0..row_groups * column_groups * books)
                .map(|i| (i * 7 % count) as u32)
                .collect();
            let entries: Vec<f32> = (0..books * count * high * wide)
                .map(|i| i as f32 * 0.25 - 3.0)
                .collect();
            let scales = [0.5, -2.0, 4.0];
            let mut all = Books {
                codes: &codes,
                entries: &entries,
                scales: &scales,
                column_groups,
                books,
                count,
                high,
                wide,
            };
            let columns = column_groups * wide;
            let mut out = vec![f32::NAN; row_groups * high * columns];
            decode(&all, &mut out).unwrap();
            for (i, value) in out.iter().enumerate() {
                let (row, column) = (i / columns, i % columns);
                let group = row / high * column_groups + column / wide;
                let entry = |book: usize| {
                    let code = codes[group * books + book] as usize;
                    entries[((book * count + code) * high + row % high) * wide + column % wide]
                };
                let sum: f32 = (0..books).map(entry).sum();
                assert_eq!(*value, scales[row / high] * sum);
            }
            let wrong: Vec<u32> = codes.iter().map(|code| code + 1).collect();
            all.codes = &wrong;
            assert_eq!(decode(&all, &mut out).unwrap_err().code, "PARE_E_SHAPE");
        }
    }
}
