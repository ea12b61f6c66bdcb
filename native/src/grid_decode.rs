//! Numbers from codes: value = scale * (level(code) - zero) - offset, with a step a group of columns.

use crate::arena::{View, view};
use crate::copy;
use crate::dtype::DType;
use crate::fault::{Fault, Result, border, js};
use crate::parallel;
use napi_derive::napi;

pub struct GridArrays<'a> {
    pub codes: &'a [u8],
    pub columns: usize,
    /// Group of each column.
    pub group_of: &'a [u32],
    pub groups: usize,
    /// [rows, groups]
    pub scales: &'a [f32],
    /// [rows, groups]; none is the same zero everywhere.
    pub zeros: Option<&'a [f32]>,
    pub fixed_zero: f32,
    /// [rows, groups], subtracted; none is 0.
    pub offsets: Option<&'a [f32]>,
    /// Level of each code; none is the code itself.
    pub table: Option<&'a [f32]>,
}

pub fn decode(grid: &GridArrays, out: &mut [f32]) -> Result<()> {
    let columns = grid.columns.max(1);
    let rows = (parallel::SMALL / columns).max(1);
    parallel::chunks(out, rows * columns, |start, part| {
        for (index, line) in part.chunks_mut(columns).enumerate() {
            let row = start / columns + index;
            let (codes, base) = (&grid.codes[row * columns..(row + 1) * columns], row * grid.groups);
            for ((value, &code), &group) in line.iter_mut().zip(codes).zip(grid.group_of) {
                let place = base + group as usize;
                let level = grid.table.map_or(f32::from(code), |table| table[code as usize]);
                let zero = grid.zeros.map_or(grid.fixed_zero, |zeros| zeros[place]);
                let scaled = grid.scales[place] * (level - zero);
                *value = grid.offsets.map_or(scaled, |offsets| scaled - offsets[place]);
            }
        }
    })
}

/// codes u8 [rows, columns], groupOf u32 [columns], scales, zeros and offsets f32 [rows, groups]. Result f32.
#[napi]
#[allow(clippy::too_many_arguments)]
pub fn decode_grid(
    codes: u32,
    group_of: u32,
    scales: u32,
    zeros: Option<u32>,
    fixed_zero: f64,
    offsets: Option<u32>,
    table: Option<u32>,
) -> js::Result<u32> {
    border(|| {
        let load = |handle: u32| copy::contiguous(&view(handle)?);
        let (codes, group_of, scales) = (load(codes)?, load(group_of)?, load(scales)?);
        let (zeros, offsets, table) = (
            zeros.map(load).transpose()?,
            offsets.map(load).transpose()?,
            table.map(load).transpose()?,
        );
        if codes.shape.len() != 2
            || scales.shape.len() != 2
            || codes.shape[0] != scales.shape[0]
            || group_of.len() != codes.shape[1]
        {
            return Err(Fault::shape(format!(
                "grid: codes {:?}, groups {:?} and scales {:?} do not fit",
                &*codes.shape, &*group_of.shape, &*scales.shape
            )));
        }
        if [&zeros, &offsets]
            .into_iter()
            .flatten()
            .any(|x| x.shape != scales.shape)
        {
            return Err(Fault::shape(
                "grid: zeros and offsets need the shape of the scales",
            ));
        }
        let groups = scales.shape[1];
        let group_of = group_of.slice::<u32>()?;
        if group_of.iter().any(|&group| group as usize >= groups) {
            return Err(Fault::shape(format!(
                "grid: a column belongs to a group past the last of {groups}"
            )));
        }
        let data = codes.slice::<u8>()?;
        let table = table.as_ref().map(View::slice::<f32>).transpose()?;
        if let Some(table) = table
            && data.iter().any(|&code| code as usize >= table.len())
        {
            return Err(Fault::shape(format!(
                "grid: a code is past the {} levels of the table",
                table.len()
            )));
        }
        let out = View::empty(DType::F32, &codes.shape)?;
        let grid = GridArrays {
            codes: data,
            columns: codes.shape[1],
            group_of,
            groups,
            scales: scales.slice()?,
            zeros: zeros.as_ref().map(View::slice).transpose()?,
            fixed_zero: fixed_zero as f32,
            offsets: offsets.as_ref().map(View::slice).transpose()?,
            table,
        };
        decode(&grid, out.slice_mut()?)?;
        Ok(out.into_handle())
    })
}
