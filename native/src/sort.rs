//! Ordering along the last axis. Numbers become unsigned keys of the same order with the position below them, so
//! that equal numbers keep their order and every number of threads gives the same bits.

use crate::arena::{View, view};
use crate::copy;
use crate::dtype::{Compute, DType};
use crate::fault::{Fault, Result, border, js};
use crate::parallel::{self, Shared};
use crate::with_compute;
use half::bf16;
use napi_derive::napi;
use rayon::prelude::*;

/// A number with its position, in one integer that orders like the pair.
trait Packed: Compute {
    type Pair: Ord + Copy + Send;
    /// The smaller, the earlier; NaN comes last, or first where asked.
    fn pack(self, descending: bool, nan_first: bool, position: u32) -> Self::Pair;
    fn position(pair: Self::Pair) -> u32;
}

/// Bits whose unsigned order is that of the numbers; both zeros are equal.
#[inline(always)]
fn key_f32(x: f32) -> u32 {
    let bits = (x + 0.0).to_bits();
    bits ^ (((bits as i32) >> 31) as u32 | 0x8000_0000)
}

#[inline(always)]
fn key_f64(x: f64) -> u64 {
    let bits = (x + 0.0).to_bits();
    bits ^ (((bits as i64) >> 63) as u64 | 1 << 63)
}

macro_rules! packed {
    ($rust:ty, $pair:ty, $key:ident) => {
        impl Packed for $rust {
            type Pair = $pair;
            #[inline(always)]
            fn pack(self, descending: bool, nan_first: bool, position: u32) -> $pair {
                let x = self.widen();
                let key = if descending { !$key(x) } else { $key(x) };
                let key = if !x.is_nan() {
                    key
                } else if nan_first {
                    0
                } else {
                    !0
                };
                <$pair>::from(key) << 32 | <$pair>::from(position)
            }
            #[inline(always)]
            fn position(pair: $pair) -> u32 {
                pair as u32
            }
        }
    };
}
packed!(f32, u64, key_f32);
packed!(bf16, u64, key_f32);
packed!(f64, u128, key_f64);

/// What is asked of each row.
#[derive(Clone, Copy)]
struct Order {
    /// Entries of the result.
    take: usize,
    descending: bool,
    nan_first: bool,
}

fn row<T: Packed>(x: &[T], order: Order, alone: bool, values: &mut [T], indices: &mut [u32]) {
    let pack = |(position, &v): (usize, &T)| v.pack(order.descending, order.nan_first, position as u32);
    let mut pairs: Vec<T::Pair> = x.iter().enumerate().map(pack).collect();
    if 0 < order.take && order.take < pairs.len() {
        pairs.select_nth_unstable(order.take - 1);
    }
    pairs.truncate(order.take);
    if alone {
        pairs.par_sort_unstable()
    } else {
        pairs.sort_unstable()
    }
    for ((value, index), &pair) in values.iter_mut().zip(indices).zip(&pairs) {
        *index = T::position(pair);
        *value = x[*index as usize];
    }
}

fn ordered<T: Packed>(x: &View, order: Order) -> Result<(View, View)> {
    let axes = x.shape.len();
    let width = x.shape[axes - 1];
    let mut shape = x.shape.to_vec();
    shape[axes - 1] = order.take;
    let (values, indices) = (View::empty(x.dtype, &shape)?, View::empty(DType::U32, &shape)?);
    if values.is_empty() {
        return Ok((values, indices));
    }
    let x = copy::contiguous(x)?;
    let (from, to, at) = (
        x.slice::<T>()?,
        values.slice_mut::<T>()?,
        indices.slice_mut::<u32>()?,
    );
    let rows = from.len() / width;
    if rows == 1 {
        parallel::install(|| row(from, order, true, to, at))?;
        return Ok((values, indices));
    }
    let (to, at) = (Shared(to.as_mut_ptr()), Shared(at.as_mut_ptr()));
    let one = |index: usize| {
        // SAFETY: row `index` of both results belongs to this task alone.
        let (values, indices) = unsafe {
            (
                std::slice::from_raw_parts_mut(to.get().add(index * order.take), order.take),
                std::slice::from_raw_parts_mut(at.get().add(index * order.take), order.take),
            )
        };
        row(&from[index * width..][..width], order, false, values, indices);
    };
    let group = (4096 / width).max(1);
    parallel::tasks(rows.div_ceil(group), |task| {
        (task * group..((task + 1) * group).min(rows)).for_each(one)
    })?;
    Ok((values, indices))
}

fn needs_axis(name: &str, x: &View) -> Result<usize> {
    match x.shape.last() {
        Some(&width) if width <= u32::MAX as usize => Ok(width),
        _ => Err(Fault::shape(format!(
            "{name}: needs an axis of at most 2^32 - 1 entries, got {:?}",
            &*x.shape
        ))),
    }
}

/// Stable order of the last axis with NaN last: values and u32 positions.
pub fn sort(x: &View, descending: bool) -> Result<(View, View)> {
    let take = needs_axis("sort", x)?;
    with_compute!(x.dtype, "sort", T => ordered::<T>(x, Order { take, descending, nan_first: false }))
}

/// The k largest (or smallest) of the last axis in order; the earliest of equals; NaN counts as largest.
pub fn top_k(x: &View, k: usize, largest: bool) -> Result<(View, View)> {
    let width = needs_axis("topK", x)?;
    if k > width {
        return Err(Fault::shape(format!("topK: k must be at most {width}, got {k}")));
    }
    with_compute!(x.dtype, "topK", T => ordered::<T>(x, Order { take: k, descending: largest, nan_first: largest }))
}

#[napi(js_name = "sort")]
pub fn sort_border(x: u32, descending: bool) -> js::Result<Vec<u32>> {
    border(|| {
        let (values, indices) = sort(&view(x)?, descending)?;
        Ok(vec![values.into_handle(), indices.into_handle()])
    })
}

#[napi(js_name = "topK")]
pub fn top_k_border(x: u32, k: u32, largest: bool) -> js::Result<Vec<u32>> {
    border(|| {
        let (values, indices) = top_k(&view(x)?, k as usize, largest)?;
        Ok(vec![values.into_handle(), indices.into_handle()])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::Element;

    fn tensor<T: Element>(shape: &[usize], values: &[T]) -> View {
        let x = View::empty(T::DTYPE, shape).unwrap();
        x.slice_mut::<T>().unwrap().copy_from_slice(values);
        x
    }

    fn positions(result: Result<(View, View)>) -> Vec<u32> {
        result.unwrap().1.slice::<u32>().unwrap().to_vec()
    }

    #[test]
    fn sorting_is_stable_and_leaves_nan_last_in_both_directions() {
        let x = tensor(&[7], &[1f32, f32::NAN, -2.0, 0.0, -0.0, f32::NEG_INFINITY, 1.0]);
        assert_eq!(positions(sort(&x, false)), [5, 2, 3, 4, 0, 6, 1]);
        assert_eq!(positions(sort(&x, true)), [0, 6, 3, 4, 2, 5, 1]);
        let x = tensor(&[4], &[1f64, f64::NAN, -2.0, f64::INFINITY]);
        assert_eq!(positions(sort(&x, false)), [2, 0, 3, 1]);
    }

    #[test]
    fn top_k_agrees_with_sorting() {
        let values: Vec<f32> = (0..6000).map(|i| (i * 7919 % 97) as f32).collect();
        let x = tensor(&[3, 2000], &values);
        for largest in [true, false] {
            let all = positions(sort(&x, largest));
            let top = positions(top_k(&x, 30, largest));
            for row in 0..3 {
                assert_eq!(top[row * 30..][..30], all[row * 2000..][..30]);
            }
        }
        assert_eq!(
            positions(top_k(&tensor(&[3], &[1f32, f32::NAN, 2.0]), 2, true)),
            [1, 2]
        );
        assert_eq!(
            positions(top_k(&tensor(&[3], &[1f32, f32::NAN, 2.0]), 3, false)),
            [0, 2, 1]
        );
        assert_eq!(top_k(&x, 2001, true).err().unwrap().code, "PARE_E_SHAPE");
    }
}
