//! Rows of a gradient added up in the rows of the table that they were taken from.

use crate::arena::{View, view};
use crate::copy;
use crate::dtype::Compute;
use crate::dtype::num::Float;
use crate::fault::{Fault, Result, border, js};
use crate::indices::checked;
use crate::{parallel, simd, with_compute};
use napi_derive::napi;

simd! {
    fn add<T: Compute>(totals: &mut [T::Wide], x: &[T]) {
        for (total, x) in totals.iter_mut().zip(x) {
            *total += x.widen();
        }
    }
}

/// For every row of the table, where its positions begin in the second list: those of equal ids in ascending order.
fn by_row(ids: &[u32], rows: usize) -> (Vec<u32>, Vec<u32>) {
    let mut starts = vec![0u32; rows + 1];
    for &id in ids {
        starts[id as usize + 1] += 1;
    }
    for row in 0..rows {
        starts[row + 1] += starts[row];
    }
    let mut next = starts.clone();
    let mut positions = vec![0u32; ids.len()];
    for (position, &id) in ids.iter().enumerate() {
        positions[next[id as usize] as usize] = position as u32;
        next[id as usize] += 1;
    }
    (starts, positions)
}

/// [rows, ..] with row i the sum of dy [count, ..] at the positions where ids [count] is i, in ascending order of
/// position and rounded once; 0 where there are none.
pub fn index_add(rows: usize, ids: &View, dy: &View) -> Result<View> {
    if ids.shape.len() != 1 || dy.shape.is_empty() || dy.shape[0] != ids.shape[0] {
        let (ids, dy) = (&*ids.shape, &*dy.shape);
        return Err(Fault::shape(format!(
            "indexAdd: needs ids [count] and a source [count, ..], got {ids:?} and {dy:?}"
        )));
    }
    let mut shape = dy.shape.to_vec();
    shape[0] = rows;
    let out = View::empty(dy.dtype, &shape)?;
    let ids = copy::contiguous(ids)?;
    let ids = checked("indexAdd", &ids, rows)?;
    if u32::try_from(ids.len()).is_err() {
        return Err(Fault::shape("indexAdd: needs fewer than 2^32 ids"));
    }
    if out.is_empty() {
        return Ok(out);
    }
    let dy = copy::contiguous(dy)?;
    let inner: usize = shape[1..].iter().product();
    let (starts, positions) = by_row(ids, rows);
    with_compute!(dy.dtype, "indexAdd", T => {
        type Wide = <T as Compute>::Wide;
        let from = dy.slice::<T>()?;
        let group = (parallel::SMALL / inner).max(1);
        parallel::chunks(out.slice_mut::<T>()?, group * inner, |start, part| {
            let mut totals = vec![<Wide as Float>::ZERO; inner];
            for (index, out) in part.chunks_mut(inner).enumerate() {
                let row = start / inner + index;
                totals.fill(<Wide as Float>::ZERO);
                for &position in &positions[starts[row] as usize..starts[row + 1] as usize] {
                    add::<T>(&mut totals, &from[position as usize * inner..][..inner]);
                }
                for (o, total) in out.iter_mut().zip(&totals) {
                    *o = T::narrow(*total);
                }
            }
        })
    })?;
    Ok(out)
}

/// The gradient of a table [rows, ..] of which rows were taken by u32 ids.
#[napi(js_name = "indexAdd")]
pub fn index_add_border(rows: u32, ids: u32, dy: u32) -> js::Result<u32> {
    border(|| Ok(index_add(rows as usize, &view(ids)?, &view(dy)?)?.into_handle()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_equal_ids_are_summed_and_others_are_zero() {
        let dy = View::of(&[4, 2], &[1f32, 2.0, 10.0, 20.0, 100.0, 200.0, 1000.0, 2000.0]);
        let got = index_add(4, &View::of(&[4], &[2u32, 0, 2, 3]), &dy).unwrap();
        assert_eq!(
            got.slice::<f32>().unwrap(),
            [10.0, 20.0, 0.0, 0.0, 101.0, 202.0, 1000.0, 2000.0]
        );
        assert!(index_add(3, &View::of(&[4], &[2u32, 0, 2, 3]), &dy).is_err());
    }
}
