//! Beam search over the codes of additive codebooks (Egiazarian et al. 2024, arXiv:2401.06118, section 3.2), for
//! every row group on its own. With D = W - W^, codes that are changed in group j of the columns (G) cost
//!
//!   L(k) = const - 2 s <C[m, k], u> + s^2 tr(C[m, k] H_GG C[m, k]^T),    u = (D H)[:, G] + p H_GG,  p = s C[m, old]
//!
//! u is computed when a visit comes to a group, and follows its changes while the visits stay there.

mod row_block;

use crate::arena::{View, view};
use crate::copy;
use crate::dtype::DType;
use crate::fault::{Fault, Result, border, js};
use crate::matrices::unless_aborted;
use crate::micro_tiles::Real;
use crate::nearest_entry::Entries;
use crate::parallel::{self, Shared};
use crate::with_number;
use napi_derive::napi;
use row_block::search_block;

/// Row groups that pass together over the columns, so that each part of H is read once for all of them.
const BLOCK: usize = 8;

/// What all row groups share.
pub struct Search<'a, T> {
    /// [row groups * high, columns]
    weight: &'a [T],
    /// [row groups]
    scales: &'a [T],
    /// [books, count, high, wide]
    entries: &'a [T],
    books: Vec<Entries<T>>,
    /// H in panels, [column groups, columns, wide]: the columns of H that belong to a group.
    panels: Vec<T>,
    /// tr(C H_GG C^T) of the entries, by column group and book.
    penalties: Vec<Vec<T>>,
    columns: usize,
    column_groups: usize,
    high: usize,
    wide: usize,
    /// Pairs of a column group and a book, in the order of the search.
    visits: &'a [u32],
    /// Hypotheses of a row group.
    beam: usize,
}

struct Shape {
    column_groups: usize,
    count: usize,
    high: usize,
    wide: usize,
}

impl<'a, T: Real> Search<'a, T> {
    fn new(
        [weight, hessian, entries, scales]: [&'a [T]; 4],
        Shape {
            column_groups,
            count,
            high,
            wide,
        }: Shape,
        visits: &'a [u32],
        beam: usize,
    ) -> Result<Search<'a, T>> {
        let (columns, size) = (column_groups * wide, high * wide);
        let mut panels = vec![T::ZERO; columns * columns];
        parallel::chunks(&mut panels, (columns * wide).max(1), |start, panel| {
            let group = start / (columns * wide);
            for (row, out) in panel.chunks_exact_mut(wide).enumerate() {
                out.copy_from_slice(&hessian[row * columns + group * wide..][..wide]);
            }
        })?;
        let books: Vec<Entries<T>> = entries
            .chunks_exact(count * size)
            .map(|entries| Entries::new(entries, size))
            .collect();
        let mut penalties: Vec<Vec<T>> = vec![Vec::new(); column_groups * books.len()];
        parallel::chunks(&mut penalties, 1, |place, out| {
            let (group, book) = (place / books.len(), place % books.len());
            let own = &hessian[group * wide * columns..];
            out[0] = books[book].penalties(|k| {
                let entry = &entries[(book * count + k) * size..][..size];
                let mut sum = T::ZERO;
                for row in entry.chunks_exact(wide) {
                    for (i, &a) in row.iter().enumerate() {
                        let line = &own[i * columns + group * wide..][..wide];
                        let inner = line.iter().zip(row).fold(T::ZERO, |sum, (&h, &b)| sum + h * b);
                        sum += a * inner;
                    }
                }
                sum
            });
        })?;
        Ok(Search {
            weight,
            scales,
            entries,
            books,
            panels,
            penalties,
            columns,
            column_groups,
            high,
            wide,
            visits,
            beam,
        })
    }

    /// Changes codes [row groups, column groups, books]; `gains` gets by how much the loss of each row group fell.
    fn run(&self, codes: &mut [u32], gains: &mut [f64]) -> Result<()> {
        let (rows, width) = (gains.len(), self.column_groups * self.books.len());
        let (codes, gains) = (Shared(codes.as_mut_ptr()), Shared(gains.as_mut_ptr()));
        parallel::tasks(rows.div_ceil(BLOCK), |task| {
            let first = task * BLOCK;
            let count = BLOCK.min(rows - first);
            // SAFETY: each task has the codes and gains of its own row groups.
            let (codes, gains) = unsafe {
                (
                    std::slice::from_raw_parts_mut(codes.get().add(first * width), count * width),
                    std::slice::from_raw_parts_mut(gains.get().add(first), count),
                )
            };
            search_block(self, first, codes, gains);
        })?;
        unless_aborted()
    }
}

/// Codes and what they gained.
#[napi(object)]
pub struct FoundCodes {
    /// u32 [out / high, in / wide, books]
    pub codes: u32,
    /// f64 [out / high]: by how much tr(D H D^T) of the row group fell.
    pub gains: u32,
}

/// weight [out, in], hessian [in, in], codebooks [books, count, high, wide] and scales [out / high] in f32 or f64; codes u32
/// [out / high, in / wide, books]; visits u32 [.., 2].
#[napi]
// The macro hands over each handle for itself, and adds one argument of its own to the seven.
#[allow(clippy::too_many_arguments)]
pub fn beam_search(
    weight: u32,
    hessian: u32,
    codes: u32,
    codebooks: u32,
    scales: u32,
    visits: u32,
    beam: u32,
) -> js::Result<FoundCodes> {
    border(|| {
        let load = |handle: u32| copy::contiguous(&view(handle)?);
        let (weight, hessian, codebooks, scales) =
            (load(weight)?, load(hessian)?, load(codebooks)?, load(scales)?);
        let (codes, visits) = (copy::copy(&view(codes)?)?, load(visits)?);
        let (&[row_groups, column_groups, books], &[stored, count, high, wide]) =
            (&*codes.shape, &*codebooks.shape)
        else {
            return Err(Fault::shape("codebooks: codes have 3 axes and codebooks 4"));
        };
        let columns = column_groups * wide;
        let fits = books > 0
            && count > 0
            && stored == books
            && high * wide > 0
            && *scales.shape == [row_groups]
            && *weight.shape == [row_groups * high, columns]
            && *hessian.shape == [columns, columns]
            && matches!(&*visits.shape, [_, 2])
            && beam > 0
            && [&hessian, &codebooks, &scales]
                .iter()
                .all(|x| x.dtype == weight.dtype);
        if !fits {
            return Err(Fault::shape(format!(
                "beamSearch: weight {:?}, Hessian {:?}, codes {:?}, codebooks {:?}, scales {:?} and visits {:?} do not fit",
                &*weight.shape,
                &*hessian.shape,
                &*codes.shape,
                &*codebooks.shape,
                &*scales.shape,
                &*visits.shape
            )));
        }
        let places = visits.slice::<u32>()?;
        let known = |pair: &[u32; 2]| (pair[0] as usize) < column_groups && (pair[1] as usize) < books;
        if codes.slice::<u32>()?.iter().any(|&code| code as usize >= count)
            || !places.as_chunks::<2>().0.iter().all(known)
        {
            return Err(Fault::shape("beamSearch: a code or a visit is past the last"));
        }
        let gains = View::zeros(DType::F64, &[row_groups])?;
        with_number!(weight.dtype, "beamSearch", T => {
            let numbers = [&weight, &hessian, &codebooks, &scales].map(|x| x.slice::<T>());
            let [Ok(weight), Ok(hessian), Ok(entries), Ok(scales)] = numbers else {
                return Err(Fault::shape("beamSearch: the tensors have different number types"));
            };
            let shape = Shape { column_groups, count, high, wide };
            Search::<T>::new([weight, hessian, entries, scales], shape, places, beam as usize)?
                .run(codes.slice_mut()?, gains.slice_mut()?)
        })?;
        Ok(FoundCodes {
            codes: codes.into_handle(),
            gains: gains.into_handle(),
        })
    })
}
