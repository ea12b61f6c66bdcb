//! Tensors joined along an axis.

use crate::arena::{View, view};
use crate::copy;
use crate::fault::{Fault, Result, border, js};
use crate::indices::needs_axis;
use crate::parallel::{self, Shared};
use crate::with_width;
use napi_derive::napi;

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

    #[test]
    fn concat_joins_along_any_axis() {
        let a = View::of(&[2, 1], &[1f32, 2.0]);
        let b = View::of(&[2, 2], &[3f32, 4.0, 5.0, 6.0]);
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
