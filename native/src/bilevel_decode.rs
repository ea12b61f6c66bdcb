//! Numbers from grids whose scales and zeros are codes themselves: first of each group of columns, then of a tile of rows.
//! Every step is rounded to f16, as the readers of SpQR files compute.
//!
//!   s = S (code - Z)     z likewise, or the zero code itself     value = s (code - z)

use crate::arena::{View, view};
use crate::copy;
use crate::dtype::DType;
use crate::fault::{Fault, Result, border, js};
use crate::half_steps::to_half;
use crate::parallel;
use napi_derive::napi;

struct Bilevel<'a> {
    /// [rows, columns]
    codes: &'a [u8],
    /// [rows, groups]
    scale_codes: &'a [u8],
    zero_codes: &'a [u8],
    /// [tiles, groups]
    scale_scales: &'a [f32],
    scale_zeros: &'a [f32],
    /// Scales and zeros of the zeros, [tiles, groups]; none takes the zero codes as they are.
    zeros: Option<(&'a [f32], &'a [f32])>,
    rows: usize,
    groups: usize,
    /// Columns of a group.
    width: usize,
    /// Rows of a tile.
    height: usize,
}

#[inline(always)]
fn level(code: f32, zero: f32, scale: f32) -> f32 {
    to_half(to_half(code - zero) * scale)
}

crate::simd! {
    fn decode_row(all: &Bilevel<'_>, row: usize, out: &mut [f32]) {
        let columns = all.groups * all.width;
        let codes = &all.codes[row * columns..(row + 1) * columns];
        for group in 0..all.groups {
            let at = row * all.groups + group;
            let tile = row / all.height * all.groups + group;
            let scale_code = f32::from(all.scale_codes[at]);
            let zero_code = f32::from(all.zero_codes[at]);
            let scale = level(scale_code, all.scale_zeros[tile], all.scale_scales[tile]);
            let zero = all.zeros.map_or(zero_code, |(scales, zeros)| level(zero_code, zeros[tile], scales[tile]));
            let columns = group * all.width..(group + 1) * all.width;
            for (value, &code) in out[columns.clone()].iter_mut().zip(&codes[columns]) {
                *value = level(f32::from(code), zero, scale);
            }
        }
    }
}

fn decode(all: &Bilevel, out: &mut [f32]) -> Result<()> {
    let columns = all.groups * all.width;
    if columns == 0 || all.rows == 0 {
        return Ok(());
    }
    let rows_of_task = (parallel::SMALL / columns).max(1);
    parallel::chunks(out, rows_of_task * columns, |start, out| {
        for (index, out) in out.chunks_exact_mut(columns).enumerate() {
            decode_row(all, start / columns + index, out);
        }
    })
}

/// codes u8 [rows, columns], scale_codes and zero_codes u8 [rows, groups]; scales and zeros of the scales, and of the
/// zeros where these are not whole, f32 [tiles, groups]. Result f32 [rows, columns].
#[napi]
pub fn decode_bilevel(
    codes: u32,
    scale_codes: u32,
    zero_codes: u32,
    scale_scales: u32,
    scale_zeros: u32,
    zero_scales: Option<u32>,
    zero_zeros: Option<u32>,
) -> js::Result<u32> {
    border(|| {
        let load = |handle: u32| copy::contiguous(&view(handle)?);
        let (codes, scale_codes, zero_codes) = (load(codes)?, load(scale_codes)?, load(zero_codes)?);
        let second = (load(scale_scales)?, load(scale_zeros)?);
        let zeros = match (zero_scales, zero_zeros) {
            (Some(scales), Some(zeros)) => Some((load(scales)?, load(zeros)?)),
            _ => None,
        };
        let wrong = || Fault::shape("a grid of two levels: its codes, scales and zeros do not fit together");
        let (&[rows, columns], &[same, groups], &[tiles, across]) =
            (&*codes.shape, &*scale_codes.shape, &*second.0.shape)
        else {
            return Err(wrong());
        };
        let all_second = [
            Some(&second.1),
            zeros.as_ref().map(|z| &z.0),
            zeros.as_ref().map(|z| &z.1),
        ];
        let fits = same == rows
            && across == groups
            && groups > 0
            && tiles > 0
            && columns % groups == 0
            && rows % tiles == 0
            && zero_codes.shape == scale_codes.shape
            && all_second
                .into_iter()
                .flatten()
                .all(|part| part.shape == second.0.shape);
        if !fits {
            return Err(wrong());
        }
        let all = Bilevel {
            codes: codes.slice()?,
            scale_codes: scale_codes.slice()?,
            zero_codes: zero_codes.slice()?,
            scale_scales: second.0.slice()?,
            scale_zeros: second.1.slice()?,
            zeros: zeros
                .as_ref()
                .map(|(scales, zeros)| Ok::<_, Fault>((scales.slice()?, zeros.slice()?)))
                .transpose()?,
            rows,
            groups,
            width: columns / groups,
            height: rows / tiles,
        };
        let out = View::empty(DType::F32, &[rows, columns])?;
        decode(&all, out.slice_mut()?)?;
        Ok(out.into_handle())
    })
}
