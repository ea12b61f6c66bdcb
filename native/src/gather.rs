//! Elements taken by index.

use crate::arena::{Dims, View, view};
use crate::copy;
use crate::fault::{Result, border, js};
use crate::indices::{Around, around, checked, compact, needs_axis};
use crate::parallel;
use crate::with_width;
use napi_derive::napi;

/// Rows of x along axis 0.
pub fn index_select(x: &View, ids: &View) -> Result<View> {
    needs_axis("indexSelect", x, 0)?;
    let Around { extent, inner, .. } = around(&x.shape, 0);
    let shape: Vec<usize> = ids.shape.iter().chain(&x.shape[1..]).copied().collect();
    let out = View::empty(x.dtype, &shape)?;
    let ids = copy::contiguous(ids)?;
    let ids = checked("indexSelect", &ids, extent)?;
    if out.is_empty() {
        return Ok(out);
    }
    // A row must be dense; the rows may be anywhere.
    let row = View {
        shape: Dims::new(&x.shape[1..])?,
        strides: Dims::new(&x.strides[1..])?,
        ..x.clone()
    };
    let x = if row.is_contiguous() {
        x.clone()
    } else {
        copy::copy(x)?
    };
    let step = x.strides[0];
    with_width!(x.dtype, T => {
        let from = x.tail::<T>()?;
        let rows = (parallel::SMALL / inner).max(1);
        parallel::chunks(out.slice_mut::<T>()?, rows * inner, |start, part| {
            for (index, target) in part.chunks_mut(inner).enumerate() {
                let base = ids[start / inner + index] as usize * step;
                target.copy_from_slice(&from[base..base + inner]);
            }
        })
    })?;
    Ok(out)
}

/// result[.., i, ..] = x[.., index[.., i, ..], ..] along `axis`.
pub fn gather(x: &View, index: &View, axis: usize) -> Result<View> {
    needs_axis("gather", x, axis)?;
    let out = View::empty(x.dtype, &index.shape)?;
    let (index, repeated) = compact("gather", index, x, axis)?;
    let Around { extent, inner, .. } = around(&x.shape, axis);
    let ids = checked("gather", &index, extent)?;
    if out.is_empty() {
        return Ok(out);
    }
    let count = index.shape[axis];
    let x = copy::contiguous(x)?;
    with_width!(x.dtype, T => {
        let from = x.slice::<T>()?;
        let rows = (parallel::SMALL / inner).max(1);
        parallel::chunks(out.slice_mut::<T>()?, rows * inner, |start, part| {
            for (at, target) in part.chunks_mut(inner).enumerate() {
                // Line (outer, i) of the result, over all that stands after the axis.
                let line = start / inner + at;
                let base = line / count * extent * inner;
                if repeated {
                    let base = base + ids[line] as usize * inner;
                    target.copy_from_slice(&from[base..base + inner]);
                } else {
                    let ids = &ids[line * inner..][..inner];
                    for (column, (target, &id)) in target.iter_mut().zip(ids).enumerate() {
                        *target = from[base + id as usize * inner + column];
                    }
                }
            }
        })
    })?;
    Ok(out)
}

#[napi(js_name = "indexSelect")]
pub fn index_select_border(x: u32, ids: u32) -> js::Result<u32> {
    border(|| Ok(index_select(&view(x)?, &view(ids)?)?.into_handle()))
}

#[napi(js_name = "gather")]
pub fn gather_border(x: u32, index: u32, axis: u32) -> js::Result<u32> {
    border(|| Ok(gather(&view(x)?, &view(index)?, axis as usize)?.into_handle()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_select_takes_rows_in_the_order_of_ids() {
        let x = View::of(&[3, 2], &[0f32, 1.0, 2.0, 3.0, 4.0, 5.0]);
        let got = index_select(&x, &View::of(&[4], &[2u32, 0, 2, 1])).unwrap();
        assert_eq!(
            got.slice::<f32>().unwrap(),
            [4.0, 5.0, 0.0, 1.0, 4.0, 5.0, 2.0, 3.0]
        );
        let turned = x.restrided(&[2, 3], &[1, 2], 0).unwrap();
        let got = index_select(&turned, &View::of(&[1], &[1u32])).unwrap();
        assert_eq!(got.slice::<f32>().unwrap(), [1.0, 3.0, 5.0]);
        let message = index_select(&x, &View::of(&[1], &[3u32])).err().unwrap().message;
        assert_eq!(
            message,
            "indexSelect: index 3 is outside of an axis with 3 entries"
        );
    }
}
