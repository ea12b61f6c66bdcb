//! Moving elements: strided views into row-major order, and conversion between number types.

mod cast;
mod strides;
mod transpose;

pub use cast::{bf16_to_f32, cast, f32_to_bf16};
pub use strides::{Collapsed, collapse, row_offset};

use crate::arena::{Dims, View, row_major};
use crate::dtype::DType;
use crate::fault::Result;
use crate::parallel;
use crate::with_width;
use transpose::transpose_copy;

/// The same values in row-major order; the view itself where it has it already.
pub fn contiguous(x: &View) -> Result<View> {
    if x.is_contiguous() { Ok(x.clone()) } else { copy(x) }
}

/// A new row-major tensor with the values of `x`.
pub fn copy(x: &View) -> Result<View> {
    let out = View::empty(x.dtype, &x.shape)?;
    with_width!(x.dtype, T => copy_elements::<T>(x.tail::<T>()?, x, out.slice_mut::<T>()?))?;
    Ok(out)
}

fn copy_elements<T: crate::dtype::Element>(from: &[T], x: &View, to: &mut [T]) -> Result<()> {
    if to.is_empty() {
        return Ok(());
    }
    let plan = collapse(&x.shape, [&x.strides]);
    let strides = &plan.strides[0];
    let (row, stride) = (
        *plan.shape.last().expect("one axis"),
        *strides.last().expect("one axis"),
    );
    if stride != 1 && plan.shape.len() >= 2 && strides[plan.shape.len() - 2] == 1 {
        return transpose_copy(from, &plan.shape, strides, to);
    }
    let rows = (parallel::SMALL / row.max(1)).max(1);
    parallel::chunks(to, rows * row, |start, part| {
        for (index, target) in part.chunks_mut(row).enumerate() {
            let base = row_offset(start / row + index, &plan.shape, strides);
            match stride {
                1 => target.copy_from_slice(&from[base..base + row]),
                0 => target.fill(from[base]),
                _ => target
                    .iter_mut()
                    .enumerate()
                    .for_each(|(i, t)| *t = from[base + i * stride]),
            }
        }
    })
}

/// A new tensor filled with one value.
pub fn fill(dtype: DType, shape: &[usize], value: f64) -> Result<View> {
    if value == 0.0 && value.is_sign_positive() {
        return View::zeros(dtype, shape);
    }
    let one = View::empty(DType::F64, &[1])?;
    one.slice_mut::<f64>()?[0] = value;
    let one = cast(&one, dtype)?;
    let strides = row_major(shape);
    let zero_strides = vec![0; strides.len()];
    copy(&View {
        shape: Dims::new(shape)?,
        strides: Dims::new(&zero_strides)?,
        ..one
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turned_views_are_copied_in_their_own_order() {
        for (batch, rows, columns) in [(1, 1, 5), (2, 33, 70), (3, 200, 131)] {
            let x = View::empty(DType::U32, &[batch, columns, rows]).unwrap();
            x.slice_mut::<u32>()
                .unwrap()
                .iter_mut()
                .enumerate()
                .for_each(|(i, v)| *v = i as u32);
            let turned = x
                .restrided(&[batch, rows, columns], &[rows * columns, 1, rows], 0)
                .unwrap();
            let got = copy(&turned).unwrap();
            for (i, &value) in got.slice::<u32>().unwrap().iter().enumerate() {
                let (matrix, row, column) = (i / (rows * columns), i / columns % rows, i % columns);
                assert_eq!(value as usize, (matrix * columns + column) * rows + row);
            }
        }
    }
}
