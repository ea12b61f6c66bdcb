//! The border of columns with level counts of their own: the sweep, and codes as they are stored.

use crate::arena::{View, view};
use crate::copy;
use crate::dtype::DType;
use crate::fault::{Fault, Result, border, js};
use crate::level_packing::{Packed, pack};
use crate::level_rule::{LevelRule, range_of};
use crate::parallel::Shared;
use crate::product::Real;
use crate::sweep::{LANES, Sweep};
use napi_derive::napi;

#[napi(object)]
pub struct LevelResult {
    /// The chosen values, [rows, columns].
    pub dense: u32,
    /// f64 [columns]: sum of e^2 / 2 of each column.
    pub losses: u32,
    /// u64 [words]
    pub words: u32,
    /// f32 [rows], each an f16.
    pub lows: u32,
    pub highs: u32,
    /// Values outside of the range of their row when their turn came.
    pub clipped: f64,
}

struct Request<'a> {
    weight: &'a View,
    factor: Option<&'a View>,
    order: Option<&'a [u32]>,
    levels: &'a [u16],
    centred: bool,
}

fn run<T: Real>(request: &Request) -> Result<LevelResult> {
    let (weight, order, levels) = (request.weight, request.order, request.levels);
    let (rows, columns) = (weight.shape[0], weight.shape[1]);
    if levels.len() != columns || levels.contains(&0) {
        return Err(Fault::shape(format!(
            "levels: each of {columns} columns needs at least one level"
        )));
    }
    let data = weight.slice::<T>()?;
    if let Some(bad) = data.iter().position(|value| !value.to_f64().is_finite()) {
        return Err(Fault::numerical(format!(
            "sweep: row {}, column {} of the weight is not finite; the model is damaged",
            bad / columns,
            bad % columns
        )));
    }
    let factor = request.factor.map(View::slice::<T>).transpose()?;
    if factor.is_some_and(|factor| factor.len() != columns * columns)
        || order.is_some_and(|order| {
            order.len() != columns || order.iter().any(|&column| column as usize >= columns)
        })
    {
        return Err(Fault::shape(format!(
            "levels: factor and order do not fit {columns} columns"
        )));
    }
    let diagonal: Vec<T> = (0..columns)
        .map(|position| factor.map_or(T::ONE, |factor| factor[position * columns + position]))
        .collect();
    let (lows, highs): (Vec<f32>, Vec<f32>) = (0..rows)
        .map(|row| range_of(&data[row * columns..(row + 1) * columns]))
        .unzip();
    if let Some(row) = (0..rows).find(|&row| !lows[row].is_finite() || !highs[row].is_finite()) {
        return Err(Fault::numerical(format!(
            "levels: row {row} leaves the range of f16, which ends at 65504; leave this layer out"
        )));
    }
    let tiles = rows.div_ceil(LANES);
    let dense = View::empty(T::DTYPE, &[rows, columns])?;
    let codes = View::empty(DType::U16, &[columns, rows])?;
    let of_tiles = View::empty(DType::F64, &[tiles, columns])?;
    let mut clipped = vec![0u32; tiles];
    let mut of_rows = vec![T::ZERO; rows];
    let rule = LevelRule {
        rows,
        columns,
        order,
        levels,
        lows: &lows,
        highs: &highs,
        centred: request.centred,
        diagonal: &diagonal,
        codes: Shared(codes.slice_mut::<u16>()?.as_mut_ptr()),
        losses: Shared(of_tiles.slice_mut::<f64>()?.as_mut_ptr()),
        clipped: Shared(clipped.as_mut_ptr()),
    };
    let sweep = Sweep {
        weight: data,
        rows,
        columns,
        factor,
        order,
        block: 128,
        stale: false,
    };
    sweep.run(&rule, dense.slice_mut::<T>()?, &mut of_rows)?;
    let losses = View::zeros(DType::F64, &[columns])?;
    let sums = losses.slice_mut::<f64>()?;
    for tile in of_tiles.slice::<f64>()?.chunks_exact(columns.max(1)) {
        sums.iter_mut().zip(tile).for_each(|(sum, loss)| *sum += loss);
    }
    let words = pack(codes.slice::<u16>()?, levels, rows)?;
    let made = |values: &[f32]| -> Result<u32> {
        let made = View::empty(DType::F32, &[rows])?;
        made.slice_mut::<f32>()?.copy_from_slice(values);
        Ok(made.into_handle())
    };
    Ok(LevelResult {
        dense: dense.into_handle(),
        losses: losses.into_handle(),
        words: words_handle(&words)?,
        lows: made(&lows)?,
        highs: made(&highs)?,
        clipped: clipped.iter().map(|&count| f64::from(count)).sum(),
    })
}

fn words_handle(words: &[u64]) -> Result<u32> {
    let made = View::empty(DType::U64, &[words.len()])?;
    made.slice_mut::<u64>()?.copy_from_slice(words);
    Ok(made.into_handle())
}

/// Sweeps weight [rows, columns] (f32 or f64) with `factor` as `sweepGrid` does; levels u16 [columns].
#[napi]
pub fn sweep_levels(
    weight: u32,
    factor: Option<u32>,
    order: Option<u32>,
    levels: u32,
    centred: bool,
) -> js::Result<LevelResult> {
    border(|| {
        let weight = copy::contiguous(&view(weight)?)?;
        if weight.shape.len() != 2 {
            return Err(Fault::shape(format!(
                "levels: needs a matrix, got shape {:?}",
                &*weight.shape
            )));
        }
        let factor = factor.map(|f| copy::contiguous(&view(f)?)).transpose()?;
        let order = order.map(|o| copy::contiguous(&view(o)?)).transpose()?;
        let levels = copy::contiguous(&view(levels)?)?;
        let request = Request {
            weight: &weight,
            factor: factor.as_ref(),
            order: order.as_ref().map(View::slice::<u32>).transpose()?,
            levels: levels.slice::<u16>()?,
            centred,
        };
        match weight.dtype {
            DType::F32 => run::<f32>(&request),
            DType::F64 => run::<f64>(&request),
            other => Err(Fault::shape(format!(
                "levels: needs f32 or f64, got {}",
                other.name()
            ))),
        }
    })
}

/// codes u16 [columns, rows], levels u16 [columns]. Result u64 [words].
#[napi]
pub fn pack_levels(codes: u32, levels: u32) -> js::Result<u32> {
    border(|| {
        let (codes, levels) = (
            copy::contiguous(&view(codes)?)?,
            copy::contiguous(&view(levels)?)?,
        );
        let levels = levels.slice::<u16>()?;
        let &[columns, rows] = &*codes.shape else {
            return Err(Fault::shape("levels: codes have two axes"));
        };
        let numbers = codes.slice::<u16>()?;
        let past = |(column, &count): (usize, &u16)| {
            numbers[column * rows..(column + 1) * rows]
                .iter()
                .any(|&code| code >= count)
        };
        if levels.len() != columns || levels.iter().enumerate().any(past) {
            return Err(Fault::shape(
                "levels: every code must be below the levels of its column",
            ));
        }
        words_handle(&pack(numbers, levels, rows)?)
    })
}

fn with_packed<R>(
    words: u32,
    levels: u32,
    rows: u32,
    body: impl FnOnce(&Packed) -> Result<R>,
) -> js::Result<R> {
    border(|| {
        let (words, levels) = (
            copy::contiguous(&view(words)?)?,
            copy::contiguous(&view(levels)?)?,
        );
        body(&Packed {
            words: words.slice::<u64>()?,
            levels: levels.slice::<u16>()?,
            rows: rows as usize,
        })
    })
}

/// words u64, levels u16 [columns]. Result u16 [rows, columns].
#[napi]
pub fn unpack_levels(words: u32, levels: u32, rows: u32) -> js::Result<u32> {
    with_packed(words, levels, rows, |packed| {
        let out = View::empty(DType::U16, &[packed.rows, packed.levels.len()])?;
        packed.unpack(out.slice_mut::<u16>()?)?;
        Ok(out.into_handle())
    })
}

/// words u64, levels u16 [columns], lows and highs f32 [rows]. Result f32 [rows, columns].
#[napi]
pub fn decode_levels(words: u32, levels: u32, lows: u32, highs: u32, centred: bool) -> js::Result<u32> {
    let rows = border(|| Ok(view(lows)?.len() as u32))?;
    with_packed(words, levels, rows, |packed| {
        let (lows, highs) = (copy::contiguous(&view(lows)?)?, copy::contiguous(&view(highs)?)?);
        if highs.len() != packed.rows {
            return Err(Fault::shape(format!(
                "levels: {} lows and {} highs do not fit",
                packed.rows,
                highs.len()
            )));
        }
        let out = View::empty(DType::F32, &[packed.rows, packed.levels.len()])?;
        packed.decode(lows.slice()?, highs.slice()?, centred, out.slice_mut()?)?;
        Ok(out.into_handle())
    })
}
