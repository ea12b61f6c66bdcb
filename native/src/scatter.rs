//! Elements set at, or added to, indexed places.

use crate::arena::{View, view};
use crate::copy;
use crate::dtype::{Compute, DType, Element};
use crate::fault::{Fault, Result, border, js};
use crate::indices::{Around, around, checked, compact, needs_axis};
use crate::parallel::{self, Shared};
use crate::{with_compute, with_width};
use napi_derive::napi;

/// Calls `put(target, source)` for every element of the source in row-major order. Tasks own ranges of columns of
/// one outer index, so that equal indices meet in one task.
fn place<T: Element>(
    out: &mut [T],
    source: &[T],
    ids: &[u32],
    repeated: bool,
    Around { outer, extent, inner }: Around,
    put: impl Fn(&mut T, T) + Send + Sync,
) -> Result<()> {
    const COLUMNS: usize = 256;
    let count = source.len() / (outer * inner);
    let blocks = inner.div_ceil(COLUMNS);
    let target = Shared(out.as_mut_ptr());
    let task = |task: usize| {
        let (outer, left) = (task / blocks, task % blocks * COLUMNS);
        let width = COLUMNS.min(inner - left);
        for i in 0..count {
            let line = outer * count + i;
            let source = &source[line * inner + left..][..width];
            for (column, &value) in source.iter().enumerate() {
                let id = if repeated {
                    ids[line]
                } else {
                    ids[line * inner + left + column]
                } as usize;
                // SAFETY: ids are below `extent`, and this task alone owns these columns of this outer index.
                put(
                    unsafe { &mut *target.get().add((outer * extent + id) * inner + left + column) },
                    value,
                );
            }
        }
    };
    if source.len() <= parallel::SMALL {
        (0..outer * blocks).for_each(task);
        return Ok(());
    }
    parallel::tasks(outer * blocks, task)
}

/// A copy of x with source set at, or added to, the indices along `axis`. bf16 adds in f32 and rounds once.
pub fn scatter(x: &View, index: &View, source: &View, axis: usize, mode: &str) -> Result<View> {
    needs_axis("scatter", x, axis)?;
    if source.dtype != x.dtype || *source.shape != *index.shape {
        let (source, index) = (&*source.shape, &*index.shape);
        return Err(Fault::shape(format!(
            "scatter: index {index:?} and source {source:?} must have one shape, and x and source one number type"
        )));
    }
    let (index, repeated) = compact("scatter", index, x, axis)?;
    let at = || around(&x.shape, axis);
    let ids = checked("scatter", &index, at().extent)?;
    if mode == "add" && x.dtype == DType::BF16 {
        let wide = copy::cast(x, DType::F32)?;
        if !source.is_empty() {
            let source = copy::cast(source, DType::F32)?;
            place(
                wide.slice_mut::<f32>()?,
                source.slice::<f32>()?,
                ids,
                repeated,
                at(),
                |to, value| *to += value,
            )?;
        }
        return copy::cast(&wide, DType::BF16);
    }
    let out = copy::copy(x)?;
    if source.is_empty() {
        return Ok(out);
    }
    let source = copy::contiguous(source)?;
    match mode {
        "set" => with_width!(x.dtype, T => {
            place(out.slice_mut::<T>()?, source.slice::<T>()?, ids, repeated, at(), |to, value| *to = value)
        })?,
        "add" => with_compute!(x.dtype, "scatter", T => {
            place(out.slice_mut::<T>()?, source.slice::<T>()?, ids, repeated, at(), |to: &mut T, value: T| {
                *to = T::narrow(to.widen() + value.widen());
            })
        })?,
        other => {
            return Err(Fault::shape(format!(
                "scatter: mode must be set or add, got {other}"
            )));
        }
    }
    Ok(out)
}

#[napi(js_name = "scatter")]
pub fn scatter_border(x: u32, index: u32, source: u32, axis: u32, mode: String) -> js::Result<u32> {
    border(|| Ok(scatter(&view(x)?, &view(index)?, &view(source)?, axis as usize, &mode)?.into_handle()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gather::gather;

    #[test]
    fn scatter_undoes_gather_and_adds_what_meets() {
        let x = View::of(&[2, 3], &[10f32, 11.0, 12.0, 13.0, 14.0, 15.0]);
        let index = View::of(&[2, 2], &[2u32, 0, 1, 1]);
        let got = gather(&x, &index, 1).unwrap();
        assert_eq!(got.slice::<f32>().unwrap(), [12.0, 10.0, 14.0, 14.0]);
        let zero = View::zeros(DType::F32, &[2, 3]).unwrap();
        let added = scatter(&zero, &index, &got, 1, "add").unwrap();
        assert_eq!(added.slice::<f32>().unwrap(), [10.0, 0.0, 12.0, 0.0, 28.0, 0.0]);
        let set = scatter(
            &zero,
            &index,
            &View::of(&[2, 2], &[1f32, 2.0, 3.0, 4.0]),
            1,
            "set",
        )
        .unwrap();
        assert_eq!(set.slice::<f32>().unwrap(), [2.0, 0.0, 1.0, 0.0, 4.0, 0.0]);
    }

    #[test]
    fn an_index_repeated_over_rows_scatters_like_a_full_one() {
        let (count, width) = (300, 700);
        let values: Vec<f32> = (0..count * width).map(|i| (i % 11) as f32).collect();
        let ids: Vec<u32> = (0..count as u32).map(|i| i * 7 % 5).collect();
        let source = View::of(&[count, width], &values);
        let zero = View::zeros(DType::F32, &[5, width]).unwrap();
        let repeated = View::of(&[count], &ids)
            .restrided(&[count, width], &[1, 0], 0)
            .unwrap();
        let full = copy::copy(&repeated).unwrap();
        let got = scatter(&zero, &repeated, &source, 0, "add").unwrap();
        assert_eq!(
            got.slice::<f32>().unwrap(),
            scatter(&zero, &full, &source, 0, "add")
                .unwrap()
                .slice::<f32>()
                .unwrap()
        );
        let want: f32 = (0..count)
            .filter(|&i| ids[i] == 3)
            .map(|i| values[i * width + 650])
            .sum();
        assert_eq!(got.slice::<f32>().unwrap()[3 * width + 650], want);
        let back = gather(&got, &repeated, 0).unwrap();
        assert_eq!(
            back.slice::<f32>().unwrap(),
            gather(&got, &full, 0).unwrap().slice::<f32>().unwrap()
        );
    }
}
