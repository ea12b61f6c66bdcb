//! Moving elements by index. Indices are u32 and are checked against the axis that they point into.

use crate::arena::{Dims, View, view};
use crate::copy;
use crate::dtype::{Compute, DType, Element};
use crate::fault::{Fault, Result, border, js};
use crate::parallel::{self, Shared};
use crate::{with_compute, with_width};
use napi_derive::napi;

/// Extents before, along and after an axis.
struct Around {
    outer: usize,
    extent: usize,
    inner: usize,
}

fn around(shape: &[usize], axis: usize) -> Around {
    Around {
        outer: shape[..axis].iter().product(),
        extent: shape[axis],
        inner: shape[axis + 1..].iter().product(),
    }
}

fn needs_axis(name: &str, x: &View, axis: usize) -> Result<()> {
    if axis < x.shape.len() {
        return Ok(());
    }
    Err(Fault::shape(format!(
        "{name}: {:?} has no axis {axis}",
        &*x.shape
    )))
}

/// Row-major indices, all below `extent`.
fn checked<'a>(name: &str, index: &'a View, extent: usize) -> Result<&'a [u32]> {
    if index.dtype != DType::U32 {
        return Err(Fault::shape(format!(
            "{name}: indices must be u32, got {}",
            index.dtype.name()
        )));
    }
    let ids = index.slice::<u32>()?;
    match ids.iter().find(|&&id| id as usize >= extent) {
        None => Ok(ids),
        Some(id) => Err(Fault::shape(format!(
            "{name}: index {id} is outside of an axis with {extent} entries"
        ))),
    }
}

/// The index, reduced to [outer, count, 1] where it is the same for all that stands after the axis.
fn compact(name: &str, index: &View, x: &View, axis: usize) -> Result<(View, bool)> {
    let fits = index.shape.len() == x.shape.len()
        && (0..x.shape.len()).all(|i| i == axis || index.shape[i] == x.shape[i]);
    if !fits {
        let (index, x) = (&*index.shape, &*x.shape);
        return Err(Fault::shape(format!(
            "{name}: index {index:?} may differ from {x:?} only along axis {axis}"
        )));
    }
    let after = axis + 1..x.shape.len();
    let repeated = after
        .clone()
        .all(|i| index.strides[i] == 0 || index.shape[i] == 1)
        && !index.is_empty();
    if !repeated {
        return Ok((copy::contiguous(index)?, false));
    }
    let mut shape = index.shape.to_vec();
    shape[after].fill(1);
    Ok((
        copy::contiguous(&View {
            shape: Dims::new(&shape)?,
            ..index.clone()
        })?,
        true,
    ))
}

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

/// Tensors one after another along `axis`.
pub fn concat(parts: &[View], axis: usize) -> Result<View> {
    let Some(first) = parts.first() else {
        return Err(Fault::shape("concat: needs at least one tensor"));
    };
    needs_axis("concat", first, axis)?;
    let mut shape = first.shape.to_vec();
    shape[axis] = 0;
    for part in parts {
        let fits = part.dtype == first.dtype
            && part.shape.len() == shape.len()
            && (0..shape.len()).all(|i| i == axis || part.shape[i] == shape[i]);
        if !fits {
            let (part, first) = (&*part.shape, &*first.shape);
            return Err(Fault::shape(format!(
                "concat: {part:?} and {first:?} may differ only along axis {axis}"
            )));
        }
        shape[axis] += part.shape[axis];
    }
    let out = View::empty(first.dtype, &shape)?;
    let total = shape[axis..].iter().product::<usize>();
    let mut at = 0;
    for part in parts {
        let run = part.shape[axis..].iter().product::<usize>();
        if part.is_empty() {
            continue;
        }
        let part = copy::contiguous(part)?;
        with_width!(part.dtype, T => {
            let from = part.slice::<T>()?;
            let target = Shared(out.slice_mut::<T>()?.as_mut_ptr());
            let piece = run.min(parallel::SMALL);
            let pieces = run.div_ceil(piece);
            let group = (parallel::SMALL / run).max(1);
            let runs = from.len() / run;
            let move_piece = |outer: usize, left: usize| {
                let width = piece.min(run - left);
                let source = &from[outer * run + left..][..width];
                // SAFETY: each run of the result belongs to one part, and each piece of it to one task.
                unsafe { std::ptr::copy_nonoverlapping(source.as_ptr(), target.get().add(outer * total + at + left), width) };
            };
            parallel::tasks(runs.div_ceil(group) * pieces, |task| {
                let (first, left) = (task / pieces * group, task % pieces * piece);
                (first..(first + group).min(runs)).for_each(|outer| move_piece(outer, left));
            })
        })?;
        at += run;
    }
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

#[napi(js_name = "scatter")]
pub fn scatter_border(x: u32, index: u32, source: u32, axis: u32, mode: String) -> js::Result<u32> {
    border(|| Ok(scatter(&view(x)?, &view(index)?, &view(source)?, axis as usize, &mode)?.into_handle()))
}

#[napi(js_name = "concat")]
pub fn concat_border(parts: Vec<u32>, axis: u32) -> js::Result<u32> {
    border(|| {
        let parts = parts.into_iter().map(view).collect::<Result<Vec<_>>>()?;
        Ok(concat(&parts, axis as usize)?.into_handle())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor<T: Element>(shape: &[usize], values: &[T]) -> View {
        let x = View::empty(T::DTYPE, shape).unwrap();
        x.slice_mut::<T>().unwrap().copy_from_slice(values);
        x
    }

    #[test]
    fn index_select_takes_rows_in_the_order_of_ids() {
        let x = tensor(&[3, 2], &[0f32, 1.0, 2.0, 3.0, 4.0, 5.0]);
        let got = index_select(&x, &tensor(&[4], &[2u32, 0, 2, 1])).unwrap();
        assert_eq!(
            got.slice::<f32>().unwrap(),
            [4.0, 5.0, 0.0, 1.0, 4.0, 5.0, 2.0, 3.0]
        );
        let turned = x.restrided(&[2, 3], &[1, 2], 0).unwrap();
        let got = index_select(&turned, &tensor(&[1], &[1u32])).unwrap();
        assert_eq!(got.slice::<f32>().unwrap(), [1.0, 3.0, 5.0]);
        let message = index_select(&x, &tensor(&[1], &[3u32])).err().unwrap().message;
        assert_eq!(
            message,
            "indexSelect: index 3 is outside of an axis with 3 entries"
        );
    }

    #[test]
    fn scatter_undoes_gather_and_adds_what_meets() {
        let x = tensor(&[2, 3], &[10f32, 11.0, 12.0, 13.0, 14.0, 15.0]);
        let index = tensor(&[2, 2], &[2u32, 0, 1, 1]);
        let got = gather(&x, &index, 1).unwrap();
        assert_eq!(got.slice::<f32>().unwrap(), [12.0, 10.0, 14.0, 14.0]);
        let zero = View::zeros(DType::F32, &[2, 3]).unwrap();
        let added = scatter(&zero, &index, &got, 1, "add").unwrap();
        assert_eq!(added.slice::<f32>().unwrap(), [10.0, 0.0, 12.0, 0.0, 28.0, 0.0]);
        let set = scatter(&zero, &index, &tensor(&[2, 2], &[1f32, 2.0, 3.0, 4.0]), 1, "set").unwrap();
        assert_eq!(set.slice::<f32>().unwrap(), [2.0, 0.0, 1.0, 0.0, 4.0, 0.0]);
    }

    #[test]
    fn an_index_repeated_over_rows_scatters_like_a_full_one() {
        let (count, width) = (300, 700);
        let values: Vec<f32> = (0..count * width).map(|i| (i % 11) as f32).collect();
        let ids: Vec<u32> = (0..count as u32).map(|i| i * 7 % 5).collect();
        let source = tensor(&[count, width], &values);
        let zero = View::zeros(DType::F32, &[5, width]).unwrap();
        let repeated = tensor(&[count], &ids)
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

    #[test]
    fn concat_joins_along_any_axis() {
        let a = tensor(&[2, 1], &[1f32, 2.0]);
        let b = tensor(&[2, 2], &[3f32, 4.0, 5.0, 6.0]);
        assert_eq!(
            concat(&[a.clone(), b.clone()], 1)
                .unwrap()
                .slice::<f32>()
                .unwrap(),
            [1.0, 3.0, 4.0, 2.0, 5.0, 6.0]
        );
        let turned = b.restrided(&[2, 2], &[1, 2], 0).unwrap();
        assert_eq!(
            concat(&[b, turned], 0).unwrap().slice::<f32>().unwrap(),
            [3.0, 4.0, 5.0, 6.0, 3.0, 5.0, 4.0, 6.0]
        );
        assert_eq!(concat(&[], 0).err().unwrap().code, "PARE_E_SHAPE");
    }
}
