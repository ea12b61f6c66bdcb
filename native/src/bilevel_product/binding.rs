//! The border to JavaScript: shapes and lengths are checked here.

use super::{Bilevel, GROUP, PAST, even, multiply, row_bytes};
use crate::arena::{View, view};
use crate::copy;
use crate::dtype::DType;
use crate::fault::{Fault, Result, border, js};
use half::f16;
use napi_derive::napi;

fn load(handle: u32) -> Result<View> {
    copy::contiguous(&view(handle)?)
}

fn wrong(what: impl std::fmt::Display) -> Fault {
    Fault::shape(format!("a grid of two levels: {what}"))
}

/// codes u8 [rows, columns] of 1 to 4 bits, scale_codes and zero_codes u8 [rows, groups] of at most 4; second f32
/// [4, tiles, groups], each an f16: scales and zeros of the scales, and of the zeros. Groups are of a multiple of 16 columns.
/// Handles of the bytes u8 and of the second level, the bits of f16 as u16 [tiles, 4, groups of 16].
#[napi]
pub fn pack_bilevel(
    bits: u32,
    codes: u32,
    scale_codes: u32,
    zero_codes: u32,
    second: u32,
) -> js::Result<Vec<u32>> {
    border(|| {
        let bits = bits as usize;
        let (codes, scale_codes, zero_codes) = (load(codes)?, load(scale_codes)?, load(zero_codes)?);
        let second = load(second)?;
        let (&[rows, columns], &[same, groups], &[4, tiles, across]) =
            (&*codes.shape, &*scale_codes.shape, &*second.shape)
        else {
            return Err(wrong("codes have 2 axes, scales and zeros 2, the second level 3"));
        };
        let width = columns.checked_div(groups).unwrap_or(0);
        if !(1..=4).contains(&bits)
            || same != rows
            || across != groups
            || zero_codes.shape != scale_codes.shape
            || width * groups != columns
            || width == 0
            || !width.is_multiple_of(GROUP)
            || tiles == 0
            || !rows.is_multiple_of(tiles)
        {
            return Err(wrong(
                "needs codes of 1 to 4 bits, groups of a multiple of 16 columns, and whole tiles",
            ));
        }
        let (codes, heads) = (
            codes.slice::<u8>()?,
            (scale_codes.slice::<u8>()?, zero_codes.slice::<u8>()?),
        );
        let fits = codes.iter().all(|&code| code < 1 << bits)
            && heads.0.iter().chain(heads.1).all(|&code| code < 16);
        if !fits {
            return Err(wrong("a code has more bits than it may; the weight is damaged"));
        }
        let (own, repeats) = (even(columns / GROUP), width / GROUP);
        let size = row_bytes(bits, own);
        let mut bytes = vec![0u8; rows * size + PAST];
        for (row, bytes) in bytes.chunks_exact_mut(size).take(rows).enumerate() {
            let (head, runs) = bytes.split_at_mut(own);
            for (group, head) in head.iter_mut().take(columns / GROUP).enumerate() {
                let at = row * groups + group / repeats;
                *head = heads.0[at] | heads.1[at] << 4;
            }
            for (column, &code) in codes[row * columns..(row + 1) * columns].iter().enumerate() {
                let bit = column * bits;
                let both = u16::from(code) << (bit % 8);
                runs[bit / 8] |= both as u8;
                if both >> 8 != 0 {
                    runs[bit / 8 + 1] |= (both >> 8) as u8;
                }
            }
        }
        let numbers = second.slice::<f32>()?;
        let mut halves = vec![0u16; tiles * 4 * own];
        for (index, half) in halves.iter_mut().enumerate() {
            let (tile, part, group) = (index / (4 * own), index / own % 4, index % own);
            if group < columns / GROUP {
                *half = f16::from_f32(numbers[(part * tiles + tile) * groups + group / repeats]).to_bits();
            }
        }
        let packed = View::empty(DType::U8, &[bytes.len()])?;
        packed.slice_mut::<u8>()?.copy_from_slice(&bytes);
        let levels = View::empty(DType::U16, &[tiles, 4, own])?;
        levels.slice_mut::<u16>()?.copy_from_slice(&halves);
        Ok(vec![packed.into_handle(), levels.into_handle()])
    })
}

/// Calls `body` with what `pack_bilevel` made for a weight [rows, columns].
fn with<T>(
    (bits, rows, columns): (usize, usize, usize),
    [bytes, second]: [&View; 2],
    body: impl FnOnce(&Bilevel, usize) -> Result<T>,
) -> Result<T> {
    let &[tiles, 4, groups] = &*second.shape else {
        return Err(wrong("the second level has 3 axes"));
    };
    let fits = (1..=4).contains(&bits)
        && tiles > 0
        && rows.is_multiple_of(tiles)
        && groups == even(columns.div_ceil(GROUP))
        && bytes.len() == rows * row_bytes(bits, groups) + PAST;
    if !fits || rows == 0 || columns == 0 {
        return Err(wrong(format!(
            "{} bytes and a second level {:?} do not fit [{rows}, {columns}] of {bits} bits",
            bytes.len(),
            &*second.shape
        )));
    }
    let weight = Bilevel {
        bits,
        bytes: bytes.slice()?,
        second: second.slice()?,
        rows,
        height: rows / tiles,
        groups,
    };
    body(&weight, columns)
}

/// x f32 [m, columns] times the transposed weight of `pack_bilevel`. Result f32 [m, rows].
pub(crate) fn product((bits, rows): (usize, usize), packed: [&View; 2], x: &View) -> Result<View> {
    let &[many, columns] = &*x.shape else {
        return Err(wrong("inputs have 2 axes"));
    };
    with((bits, rows, columns), packed, |weight, columns| {
        let out = View::zeros(DType::F32, &[many, weight.rows])?;
        multiply(weight, x.slice()?, columns, out.slice_mut()?)?;
        Ok(out)
    })
}

/// The weight of `pack_bilevel` as numbers, f32 [rows, columns].
#[napi]
pub fn unpack_bilevel(bits: u32, bytes: u32, second: u32, rows: u32, columns: u32) -> js::Result<u32> {
    border(|| {
        let (bytes, second) = (load(bytes)?, load(second)?);
        let size = (bits as usize, rows as usize, columns as usize);
        with(size, [&bytes, &second], |weight, columns| {
            let out = View::empty(DType::F32, &[weight.rows, columns])?;
            weight.decode(0..weight.rows, columns, out.slice_mut()?)?;
            Ok(out.into_handle())
        })
    })
}
