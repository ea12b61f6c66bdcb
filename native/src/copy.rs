//! Moving elements: strided views into row-major order, and conversion between number types.

use crate::arena::{Dims, View, row_major};
use crate::dtype::DType;
use crate::fault::Result;
use crate::parallel;
use crate::with_width;
use half::{bf16, f16};

/// Extents and strides with neighbouring axes joined where one stride pattern covers both, and ones dropped.
pub struct Collapsed<const N: usize> {
    pub shape: Vec<usize>,
    pub strides: [Vec<usize>; N],
}

pub fn collapse<const N: usize>(shape: &[usize], strides: [&[usize]; N]) -> Collapsed<N> {
    let mut result = Collapsed {
        shape: Vec::new(),
        strides: [const { Vec::new() }; N],
    };
    for axis in 0..shape.len() {
        if shape[axis] == 1 {
            continue;
        }
        let joins = !result.shape.is_empty()
            && (0..N).all(|i| result.strides[i].last() == Some(&(strides[i][axis] * shape[axis])));
        if joins {
            *result.shape.last_mut().expect("not empty") *= shape[axis];
            for i in 0..N {
                *result.strides[i].last_mut().expect("not empty") = strides[i][axis];
            }
        } else {
            result.shape.push(shape[axis]);
            for i in 0..N {
                result.strides[i].push(strides[i][axis]);
            }
        }
    }
    if result.shape.is_empty() {
        result.shape.push(1);
        for i in 0..N {
            result.strides[i].push(0);
        }
    }
    result
}

/// Offset of the row-major `index` over all axes but the last.
#[inline]
pub fn row_offset(mut index: usize, shape: &[usize], strides: &[usize]) -> usize {
    let mut offset = 0;
    for axis in (0..shape.len() - 1).rev() {
        offset += index % shape[axis] * strides[axis];
        index /= shape[axis];
    }
    offset
}

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

/// Copies where the last but one axis is the dense one: in square tiles, read and written along whole cache lines.
fn transpose_copy<T: crate::dtype::Element>(
    from: &[T],
    shape: &[usize],
    strides: &[usize],
    to: &mut [T],
) -> Result<()> {
    const TILE: usize = 32;
    let axes = shape.len();
    let (rows, columns, stride) = (shape[axes - 2], shape[axes - 1], strides[axes - 1]);
    let outer_shape: Vec<usize> = shape[..axes - 2].iter().copied().chain([1]).collect();
    let outer_strides: Vec<usize> = strides[..axes - 2].iter().copied().chain([0]).collect();
    let bands = rows.div_ceil(TILE);
    let target = parallel::Shared(to.as_mut_ptr());
    let matrices = to.len() / (rows * columns);
    let task = |task: usize| {
        let (matrix, top) = (task / bands, task % bands * TILE);
        let base = row_offset(matrix, &outer_shape, &outer_strides) + top;
        let height = TILE.min(rows - top);
        let mut tile = [[from[base]; TILE]; TILE];
        for left in (0..columns).step_by(TILE) {
            let width = TILE.min(columns - left);
            for (column, line) in tile[..width].iter_mut().enumerate() {
                let at = base + (left + column) * stride;
                line[..height].copy_from_slice(&from[at..at + height]);
            }
            for row in 0..height {
                let at = (matrix * rows + top + row) * columns + left;
                // SAFETY: (matrix, row, columns) lies inside `to`, and each task owns its rows.
                let line = unsafe { std::slice::from_raw_parts_mut(target.get().add(at), width) };
                for (to, column) in line.iter_mut().zip(&tile) {
                    *to = column[row];
                }
            }
        }
    };
    if to.len() <= parallel::SMALL {
        (0..matrices * bands).for_each(task);
        return Ok(());
    }
    parallel::tasks(matrices * bands, task)
}

/// A view of `x` with the leading axes repeated to `shape` (numpy's broadcasting).
pub fn broadcast(x: &View, shape: &[usize]) -> Result<View> {
    let shift = shape.len() - x.shape.len();
    let mut strides = [0; crate::arena::MAX_DIMS];
    for axis in 0..x.shape.len() {
        strides[shift + axis] = if x.shape[axis] == 1 { 0 } else { x.strides[axis] };
    }
    Ok(View {
        shape: Dims::new(shape)?,
        strides: Dims::new(&strides[..shape.len()])?,
        ..x.clone()
    })
}

/// Every number type can be read as f64 without loss but u64 above 2^53; it is only copied or read as an integer.
trait Number: crate::dtype::Element {
    fn to_f64(self) -> f64;
    fn to_i128(self) -> Option<i128>;
    fn from_f64(value: f64) -> Self;
    fn from_i128(value: i128) -> Self;
}

macro_rules! integers {
    ($($rust:ty),*) => { $(impl Number for $rust {
        #[inline(always)]
        fn to_f64(self) -> f64 { self as f64 }
        #[inline(always)]
        fn to_i128(self) -> Option<i128> { Some(i128::from(self)) }
        #[inline(always)]
        fn from_f64(value: f64) -> Self { value as Self }
        #[inline(always)]
        fn from_i128(value: i128) -> Self { value as Self }
    })* };
}
integers!(i8, i16, i32, u8, u16, u32, u64);

macro_rules! floats {
    ($($rust:ty, $to:expr, $from:expr);*) => { $(impl Number for $rust {
        #[inline(always)]
        fn to_f64(self) -> f64 { $to(self) }
        #[inline(always)]
        fn to_i128(self) -> Option<i128> { None }
        #[inline(always)]
        fn from_f64(value: f64) -> Self { $from(value) }
        #[inline(always)]
        fn from_i128(value: i128) -> Self { $from(value as f64) }
    })* };
}
floats!(f32, |x: f32| f64::from(x), |v: f64| v as f32; f64, |x: f64| x, |v: f64| v;
    bf16, |x: bf16| f64::from(x), |v: f64| bf16::from_f32(to_odd(v)); f16, |x: f16| f64::from(x), |v: f64| f16::from_f32(to_odd(v)));

/// f64 to f32, cut towards zero, with the last bit set where anything was lost: what remains rounds to 16 bits as
/// the f64 would. (`half` drops 32 bits of an f64 before it rounds, and so takes some values for ties.)
#[inline(always)]
fn to_odd(value: f64) -> f32 {
    let near = value as f32;
    let wide = f64::from(near);
    if wide == value || value.is_nan() {
        return near;
    }
    let cut = if wide.abs() > value.abs() {
        near.to_bits() - 1
    } else {
        near.to_bits()
    };
    f32::from_bits(cut | 1)
}

/// The values as another number type: floats round to nearest even, floats to integers cut towards zero and
/// saturate, integers to narrower integers wrap, anything but 0 is a true bool.
pub fn cast(x: &View, dtype: DType) -> Result<View> {
    let x = contiguous(x)?;
    if x.dtype == dtype {
        return Ok(x);
    }
    let out = View::empty(dtype, &x.shape)?;
    if x.dtype == DType::BF16 && dtype == DType::F32 {
        let from = x.slice::<bf16>()?;
        parallel::chunks(out.slice_mut::<f32>()?, parallel::SMALL, |start, part| {
            bf16_to_f32(&from[start..], part)
        })?;
        return Ok(out);
    }
    if x.dtype == DType::F32 && dtype == DType::BF16 {
        let from = x.slice::<f32>()?;
        parallel::chunks(out.slice_mut::<bf16>()?, parallel::SMALL, |start, part| {
            f32_to_bf16(&from[start..], part)
        })?;
        return Ok(out);
    }
    macro_rules! from {
        ($source:ty) => {
            match dtype {
                DType::F32 => convert::<$source, f32>(&x, &out),
                DType::F64 => convert::<$source, f64>(&x, &out),
                DType::BF16 => convert::<$source, bf16>(&x, &out),
                DType::F16 => convert::<$source, f16>(&x, &out),
                DType::I8 => convert::<$source, i8>(&x, &out),
                DType::I16 => convert::<$source, i16>(&x, &out),
                DType::I32 => convert::<$source, i32>(&x, &out),
                DType::U8 => convert::<$source, u8>(&x, &out),
                DType::U16 => convert::<$source, u16>(&x, &out),
                DType::U32 => convert::<$source, u32>(&x, &out),
                DType::U64 => convert::<$source, u64>(&x, &out),
                DType::Bool => truth::<$source>(&x, &out),
            }
        };
    }
    match x.dtype {
        DType::F32 => from!(f32),
        DType::F64 => from!(f64),
        DType::BF16 => from!(bf16),
        DType::F16 => from!(f16),
        DType::I8 => from!(i8),
        DType::I16 => from!(i16),
        DType::I32 => from!(i32),
        DType::U8 | DType::Bool => from!(u8),
        DType::U16 => from!(u16),
        DType::U32 => from!(u32),
        DType::U64 => from!(u64),
    }?;
    Ok(out)
}

fn convert<A: Number, B: Number>(x: &View, out: &View) -> Result<()> {
    let from = x.slice::<A>()?;
    parallel::chunks(out.slice_mut::<B>()?, parallel::SMALL, |start, part| {
        for (target, &value) in part.iter_mut().zip(&from[start..]) {
            *target = match value.to_i128() {
                Some(integer) => B::from_i128(integer),
                None => B::from_f64(value.to_f64()),
            };
        }
    })
}

fn truth<A: Number>(x: &View, out: &View) -> Result<()> {
    let from = x.slice::<A>()?;
    parallel::chunks(out.slice_mut::<u8>()?, parallel::SMALL, |start, part| {
        for (target, &value) in part.iter_mut().zip(&from[start..]) {
            *target = u8::from(value.to_f64() != 0.0);
        }
    })
}

crate::simd! {
    pub fn bf16_to_f32(from: &[bf16], to: &mut [f32]) {
        for (target, value) in to.iter_mut().zip(from) {
            *target = f32::from_bits(u32::from(value.to_bits()) << 16);
        }
    }
}

crate::simd! {
    pub fn f32_to_bf16(from: &[f32], to: &mut [bf16]) {
        for (target, &value) in to.iter_mut().zip(from) {
            let bits = value.to_bits();
            let rounded = (bits.wrapping_add(0x7fff) .wrapping_add((bits >> 16) & 1)) >> 16;
            let quiet = (bits >> 16) | 0x40;
            *target = bf16::from_bits(if value.is_nan() { quiet as u16 } else { rounded as u16 });
        }
    }
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
