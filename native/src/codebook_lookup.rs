//! The product of a few inputs with a weight of additive codebooks, by tables: for every group of inputs and every entry
//! their product is computed once, and an output adds up what its codes point at. Egiazarian et al. 2024,
//! arXiv:2401.06118, section 4.4.
//!
//!   T[j, m, k] = <C[m, k], x_j>,    y_i = s_i sum over j and m of T[j, m, b_ijm]

use crate::arena::{View, view};
use crate::copy;
use crate::dtype::DType;
use crate::fault::{Fault, Result, border, js};
use crate::parallel;
use napi_derive::napi;

/// Outputs of one task.
const CHUNK: usize = 256;

struct Tables<'a> {
    /// [column groups, out, books]
    codes: &'a [u8],
    /// [wide, books, entries], so that neighbours of a table are lanes.
    turned: Vec<f32>,
    scales: &'a [f32],
    out: usize,
    books: usize,
    count: usize,
    wide: usize,
}

crate::simd! {
    /// `turned` is [wide, entries of all books].
    fn table_of(turned: &[f32], x: &[f32], table: &mut [f32]) {
        table.fill(0.0);
        for (line, x) in turned.chunks_exact(table.len()).zip(x) {
            for (sum, c) in table.iter_mut().zip(line) {
                *sum += c * x;
            }
        }
    }
}

crate::simd! {
    fn add_entries(all: &Tables<'_>, tables: &[f32], first: usize, out: &mut [f32]) {
        let size = all.books * all.count;
        out.fill(0.0);
        for (group, table) in tables.chunks_exact(size).enumerate() {
            let start = (group * all.out + first) * all.books;
            let codes = &all.codes[start..start + out.len() * all.books];
            match all.books {
                1 => {
                    for (out, &code) in out.iter_mut().zip(codes) {
                        *out += table[code as usize];
                    }
                }
                2 => {
                    let (low, high) = table.split_at(all.count);
                    for (out, codes) in out.iter_mut().zip(codes.as_chunks::<2>().0) {
                        *out += low[codes[0] as usize] + high[codes[1] as usize];
                    }
                }
                books => {
                    for (out, codes) in out.iter_mut().zip(codes.chunks_exact(books)) {
                        for (book, &code) in codes.iter().enumerate() {
                            *out += table[book * all.count + code as usize];
                        }
                    }
                }
            }
        }
        for (out, scale) in out.iter_mut().zip(&all.scales[first..]) {
            *out *= scale;
        }
    }
}

fn multiply(all: &Tables, x: &[f32], tables: &mut [f32], out: &mut [f32]) -> Result<()> {
    let size = all.books * all.count;
    parallel::chunks(tables, 16 * size, |start, tables| {
        for (index, table) in tables.chunks_exact_mut(size).enumerate() {
            let group = start / size + index;
            table_of(&all.turned, &x[group * all.wide..][..all.wide], table);
        }
    })?;
    let tables = &*tables;
    parallel::chunks(out, CHUNK, |first, out| add_entries(all, tables, first, out))
}

/// codes u8 [in / wide, out, books]; codebooks f32 [books, 256 or fewer, 1, wide]; scales f32 [out]; x f32 [rows, in].
/// Result f32 [rows, out].
#[napi]
pub fn codebook_lookup(codes: u32, codebooks: u32, scales: u32, x: u32) -> js::Result<u32> {
    border(|| {
        let load = |handle: u32| copy::contiguous(&view(handle)?);
        let (codes, codebooks, scales, x) = (load(codes)?, load(codebooks)?, load(scales)?, load(x)?);
        let (&[column_groups, out, books], &[stored, count, 1, wide], &[rows, columns]) =
            (&*codes.shape, &*codebooks.shape, &*x.shape)
        else {
            return Err(Fault::shape(
                "codebookLookup: codes have 3 axes, codebooks 4 with one row a group, inputs 2",
            ));
        };
        if books == 0
            || count == 0
            || wide == 0
            || stored != books
            || *scales.shape != [out]
            || columns != column_groups * wide
        {
            return Err(Fault::shape(format!(
                "codebookLookup: codes {:?}, codebooks {:?}, scales {:?} and inputs {:?} do not fit",
                &*codes.shape, &*codebooks.shape, &*scales.shape, &*x.shape
            )));
        }
        let entries = codebooks.slice::<f32>()?;
        let all = Tables {
            codes: codes.slice()?,
            turned: (0..wide)
                .flat_map(|t| entries.iter().skip(t).step_by(wide).copied())
                .collect(),
            scales: scales.slice()?,
            out,
            books,
            count,
            wide,
        };
        if count < 256 && all.codes.iter().any(|&code| code as usize >= count) {
            return Err(Fault::shape(format!(
                "codebooks: a code is past the last of {count} entries"
            )));
        }
        let result = View::zeros(DType::F32, &[rows, out])?;
        let tables = View::empty(DType::F32, &[column_groups, books, count])?;
        if out > 0 && column_groups > 0 {
            let inputs = x.slice::<f32>()?.chunks_exact(columns);
            for (x, y) in inputs.zip(result.slice_mut::<f32>()?.chunks_exact_mut(out)) {
                multiply(&all, x, tables.slice_mut()?, y)?;
            }
        }
        Ok(result.into_handle())
    })
}
