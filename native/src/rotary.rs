//! Rotary position embedding (Su et al. 2021, arXiv:2104.09864): pairs of a row turned by the angle of its token.

use crate::arena::{View, view};
use crate::copy;
use crate::dtype::{Compute, DType};
use crate::fault::{Fault, Result, border, js};
use crate::rows::Rows;
use crate::{parallel, simd};
use napi_derive::napi;

simd! {
    /// Pairs (i, i + pairs).
    fn turn_halves<T: Compute>(x: &[T], cos: &[T::Wide], sin: &[T::Wide], out: &mut [T]) {
        let pairs = cos.len();
        let (first, second) = x[..2 * pairs].split_at(pairs);
        let (a, b) = out[..2 * pairs].split_at_mut(pairs);
        for i in 0..pairs {
            let (x, y) = (first[i].widen(), second[i].widen());
            a[i] = T::narrow(x * cos[i] - y * sin[i]);
            b[i] = T::narrow(y * cos[i] + x * sin[i]);
        }
        out[2 * pairs..].copy_from_slice(&x[2 * pairs..]);
    }
}

simd! {
    /// Pairs (2i, 2i + 1).
    fn turn_neighbours<T: Compute>(x: &[T], cos: &[T::Wide], sin: &[T::Wide], out: &mut [T]) {
        let pairs = cos.len();
        let (from, _) = x[..2 * pairs].as_chunks::<2>();
        let (to, _) = out[..2 * pairs].as_chunks_mut::<2>();
        for i in 0..pairs {
            let (x, y) = (from[i][0].widen(), from[i][1].widen());
            to[i] = [T::narrow(x * cos[i] - y * sin[i]), T::narrow(y * cos[i] + x * sin[i])];
        }
        out[2 * pairs..].copy_from_slice(&x[2 * pairs..]);
    }
}

/// x [.., tokens, dim], cos and sin [tokens, rotated / 2]; dims past `rotated` pass through.
pub fn rotary(x: &View, cos: &View, sin: &View, interleaved: bool) -> Result<View> {
    let axes = x.shape.len();
    let fits = axes >= 2
        && cos.shape.len() == 2
        && *cos.shape == *sin.shape
        && cos.shape[0] == x.shape[axes - 2]
        && 2 * cos.shape[1] <= x.shape[axes - 1];
    if !fits {
        let (x, cos, sin) = (&*x.shape, &*cos.shape, &*sin.shape);
        return Err(Fault::shape(format!(
            "rotary: needs x [.., tokens, dim] with cos and sin [tokens, rotated / 2], got {x:?}, {cos:?} and {sin:?}"
        )));
    }
    let out = View::empty(x.dtype, &x.shape)?;
    let (tokens, pairs) = (cos.shape[0], cos.shape[1]);
    let wide = if x.dtype == DType::F64 {
        DType::F64
    } else {
        DType::F32
    };
    let (cos, sin) = (copy::cast(cos, wide)?, copy::cast(sin, wide)?);
    let (x, rows) = Rows::of(x)?;
    let width = rows.width.max(1);
    macro_rules! turn {
        ($T:ty, $W:ty) => {{
            let from = x.tail::<$T>()?;
            let (cos, sin) = (cos.slice::<$W>()?, sin.slice::<$W>()?);
            parallel::chunks(out.slice_mut::<$T>()?, rows.group() * width, |start, part| {
                for (index, out) in part.chunks_mut(width).enumerate() {
                    let row = start / width + index;
                    let (base, token) = (rows.base(row), row % tokens * pairs);
                    let (cos, sin) = (&cos[token..token + pairs], &sin[token..token + pairs]);
                    let from = &from[base..base + width];
                    if interleaved {
                        turn_neighbours::<$T>(from, cos, sin, out)
                    } else {
                        turn_halves::<$T>(from, cos, sin, out)
                    }
                }
            })
        }};
    }
    match x.dtype {
        DType::F32 => turn!(f32, f32),
        DType::F64 => turn!(f64, f64),
        DType::BF16 => turn!(half::bf16, f32),
        other => Err(Fault::shape(format!(
            "rotary: needs f32, f64 or bf16, got {}; cast it first",
            other.name()
        ))),
    }?;
    Ok(out)
}

#[napi(js_name = "rotary")]
pub fn rotary_border(x: u32, cos: u32, sin: u32, interleaved: bool) -> js::Result<u32> {
    border(|| Ok(rotary(&view(x)?, &view(cos)?, &view(sin)?, interleaved)?.into_handle()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(shape: &[usize], values: &[f32]) -> View {
        let x = View::empty(DType::F32, shape).unwrap();
        x.slice_mut::<f32>().unwrap().copy_from_slice(values);
        x
    }

    #[test]
    fn a_quarter_turn_swaps_a_pair_and_the_rest_passes_through() {
        // Token 0 does not turn; token 1 turns both pairs by a quarter: (a, b) -> (-b, a).
        let cos = tensor(&[2, 2], &[1.0, 1.0, 0.0, 0.0]);
        let sin = tensor(&[2, 2], &[0.0, 0.0, 1.0, 1.0]);
        let x = tensor(&[2, 5], &[1.0, 2.0, 3.0, 4.0, 5.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        let halves = rotary(&x, &cos, &sin, false).unwrap();
        assert_eq!(
            halves.slice::<f32>().unwrap(),
            [1.0, 2.0, 3.0, 4.0, 5.0, -3.0, -4.0, 1.0, 2.0, 5.0]
        );
        let neighbours = rotary(&x, &cos, &sin, true).unwrap();
        assert_eq!(
            neighbours.slice::<f32>().unwrap(),
            [1.0, 2.0, 3.0, 4.0, 5.0, -2.0, 1.0, -4.0, 3.0, 5.0]
        );
    }
}
