//! What a change of a weight of additive codebooks means for its codebooks and scales, codes fixed:
//!
//!   W = s_i sum_m C[m, b_ijm],    dC[m, k] = sum of s_i dW_ij over b_ijm = k,    ds_i = sum_j <sum_m C[m, b_ijm], dW_ij>

use crate::arena::{View, view};
use crate::copy;
use crate::fault::{Fault, Result, border, js};
use crate::micro_tiles::Real;
use crate::parallel::{self, Shared};
use crate::with_number;
use napi_derive::napi;

/// Parts that sums are made in, by shape alone.
const PARTS: usize = 8;

struct Books<'a, T> {
    /// [row groups, column groups, books]
    codes: &'a [u32],
    /// [books, count, high, wide]
    entries: &'a [T],
    /// [row groups]
    scales: &'a [T],
    /// dW, [row groups * high, column groups * wide]
    slopes: &'a [T],
    column_groups: usize,
    books: usize,
    count: usize,
    high: usize,
    wide: usize,
}

impl<T: Real> Books<'_, T> {
    /// One row a group, `N` columns: the usual shape, whose vectors are registers.
    #[inline(always)]
    fn narrow<const N: usize>(&self, row: usize, entries: &mut [T]) -> T {
        let scale = self.scales[row];
        let slopes = self.slopes[row * self.column_groups * N..][..self.column_groups * N]
            .as_chunks::<N>()
            .0;
        let codes = &self.codes[row * self.column_groups * self.books..];
        let (own, sums) = (self.entries.as_chunks::<N>().0, entries.as_chunks_mut::<N>().0);
        let mut slope = [T::ZERO; N];
        for (codes, dw) in codes.chunks_exact(self.books).zip(slopes) {
            let mut scaled = [T::ZERO; N];
            for t in 0..N {
                scaled[t] = dw[t] * scale;
            }
            for (book, &code) in codes.iter().enumerate() {
                let place = book * self.count + code as usize;
                let (entry, sum) = (&own[place], &mut sums[place]);
                for t in 0..N {
                    sum[t] += scaled[t];
                    slope[t] += entry[t] * dw[t];
                }
            }
        }
        slope.into_iter().fold(T::ZERO, |sum, x| sum + x)
    }

    #[inline(always)]
    fn general(&self, row: usize, entries: &mut [T]) -> T {
        let (columns, size) = (self.column_groups * self.wide, self.high * self.wide);
        let scale = self.scales[row];
        let mut slope = T::ZERO;
        for group in 0..self.column_groups {
            for book in 0..self.books {
                let code = self.codes[(row * self.column_groups + group) * self.books + book] as usize;
                let place = (book * self.count + code) * size;
                for a in 0..self.high {
                    for t in 0..self.wide {
                        let dw = self.slopes[(row * self.high + a) * columns + group * self.wide + t];
                        entries[place + a * self.wide + t] += scale * dw;
                        slope += self.entries[place + a * self.wide + t] * dw;
                    }
                }
            }
        }
        slope
    }
}

crate::simd! {
    fn gather_rows<T: Real>(all: &Books<'_, T>, first: usize, entries: &mut [T], slopes: &mut [T]) {
        for (row, slope) in slopes.iter_mut().enumerate() {
            *slope = match (all.high, all.wide) {
                (1, 8) => all.narrow::<8>(first + row, entries),
                (1, 4) => all.narrow::<4>(first + row, entries),
                (1, 16) => all.narrow::<16>(first + row, entries),
                _ => all.general(first + row, entries),
            };
        }
    }
}

fn gradient<T: Real>(all: &Books<T>, entries: &mut [T], scales: &mut [T]) -> Result<()> {
    if all.codes.iter().any(|&code| code as usize >= all.count) {
        return Err(Fault::shape(format!(
            "codebooks: a code is past the last of {} entries",
            all.count
        )));
    }
    let (rows, width) = (scales.len(), entries.len());
    let part = rows.div_ceil(PARTS).max(1);
    let mut sums = vec![T::ZERO; PARTS * width];
    let (sums_at, slopes_at) = (Shared(sums.as_mut_ptr()), Shared(scales.as_mut_ptr()));
    parallel::tasks(PARTS, |task| {
        let (first, last) = ((task * part).min(rows), ((task + 1) * part).min(rows));
        // SAFETY: each task writes its own part of the sums and the scales of its own rows.
        let (sums, slopes) = unsafe {
            (
                std::slice::from_raw_parts_mut(sums_at.get().add(task * width), width),
                std::slice::from_raw_parts_mut(slopes_at.get().add(first), last - first),
            )
        };
        gather_rows(all, first, sums, slopes);
    })?;
    entries.copy_from_slice(&sums[..width]);
    for part in sums.chunks_exact(width.max(1)).skip(1) {
        entries.iter_mut().zip(part).for_each(|(sum, &x)| *sum += x);
    }
    Ok(())
}

/// Slopes of codebooks and scales.
#[napi(object)]
pub struct CodebookSlopes {
    /// [books, count, high, wide]
    pub codebooks: u32,
    /// [row groups]
    pub scales: u32,
}

/// codes u32 [out / high, in / wide, books]; codebooks [books, count, high, wide], scales [out / high] and the gradient of
/// the weight [out, in] in f32 or f64.
#[napi]
pub fn codebook_gradient(
    codes: u32,
    codebooks: u32,
    scales: u32,
    gradient_of_weight: u32,
) -> js::Result<CodebookSlopes> {
    border(|| {
        let load = |handle: u32| copy::contiguous(&view(handle)?);
        let (codes, codebooks, scales) = (load(codes)?, load(codebooks)?, load(scales)?);
        let slopes = load(gradient_of_weight)?;
        let (&[row_groups, column_groups, books], &[stored, count, high, wide]) =
            (&*codes.shape, &*codebooks.shape)
        else {
            return Err(Fault::shape("codebooks: codes have 3 axes and codebooks 4"));
        };
        let fits = books > 0
            && stored == books
            && *scales.shape == [row_groups]
            && *slopes.shape == [row_groups * high, column_groups * wide]
            && scales.dtype == codebooks.dtype
            && slopes.dtype == codebooks.dtype;
        if !fits {
            return Err(Fault::shape(format!(
                "codebooks: codes {:?}, codebooks {:?}, scales {:?} and a gradient {:?} do not fit",
                &*codes.shape, &*codebooks.shape, &*scales.shape, &*slopes.shape
            )));
        }
        let (of_books, of_scales) = (
            View::empty(codebooks.dtype, &codebooks.shape)?,
            View::empty(scales.dtype, &scales.shape)?,
        );
        with_number!(codebooks.dtype, "codebookGradient", T => {
            let all = Books::<T> {
                codes: codes.slice()?,
                entries: codebooks.slice()?,
                scales: scales.slice()?,
                slopes: slopes.slice()?,
                column_groups,
                books,
                count,
                high,
                wide,
            };
            gradient(&all, of_books.slice_mut()?, of_scales.slice_mut()?)
        })?;
        Ok(CodebookSlopes {
            codebooks: of_books.into_handle(),
            scales: of_scales.into_handle(),
        })
    })
}
