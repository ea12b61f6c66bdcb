//! Numbers from a bit for each place, codes of the places that are marked, and a scale and a zero a group of columns:
//! value = scale * (code - zero) where marked, else 0.

use crate::arena::{View, view};
use crate::bitmask::{PLACES, count};
use crate::copy;
use crate::dtype::DType;
use crate::fault::{Fault, Result, border, js};
use crate::parallel;
use napi::bindgen_prelude::Uint8Array;
use napi_derive::napi;

pub struct MaskedGrid<'a> {
    /// [rows, ceil(columns / 8)]: bit c % 8 of byte c / 8 marks column c.
    pub marks: &'a [u8],
    /// Of the marked places, row after row.
    pub codes: &'a [u8],
    /// Group of each column.
    pub group_of: &'a [u32],
    pub groups: usize,
    /// [rows, groups], both.
    pub scales: &'a [f32],
    pub zeros: &'a [f32],
}

/// `out` is [rows, columns].
pub fn decode(grid: &MaskedGrid, rows: usize, out: &mut [f32]) -> Result<()> {
    let columns = grid.group_of.len();
    let width = columns.div_ceil(8);
    let mut starts = Vec::with_capacity(rows + 1);
    let mut total = 0;
    for row in 0..rows {
        starts.push(total);
        total += count(&grid.marks[row * width..(row + 1) * width], columns);
    }
    starts.push(total);
    if total != grid.codes.len() {
        return Err(Fault::format(format!(
            "a masked grid of [{rows}, {columns}] marks {total} places for {} codes; it is damaged",
            grid.codes.len()
        )));
    }
    let rows_of_task = (parallel::SMALL / columns.max(1)).max(1);
    parallel::chunks(out, rows_of_task * columns, |start, out| {
        // Codes that are read past the last marked place count for nothing.
        let mut near = vec![0; columns + PAST];
        let mut steps = vec![(0.0, 0.0); columns];
        for (index, out) in out.chunks_mut(columns).enumerate() {
            let row = start / columns + index;
            let codes = &grid.codes[starts[row]..starts[row + 1]];
            near[..codes.len()].copy_from_slice(codes);
            let of_row = row * grid.groups..(row + 1) * grid.groups;
            let (scales, zeros) = (&grid.scales[of_row.clone()], &grid.zeros[of_row]);
            for (step, &group) in steps.iter_mut().zip(grid.group_of) {
                *step = (scales[group as usize], zeros[group as usize]);
            }
            expand(&grid.marks[row * width..(row + 1) * width], &near, &steps, out);
        }
    })
}

/// Codes that may be read behind those of a row.
const PAST: usize = 8;

/// A row: `near` has the codes of the marked places and `PAST` more, `steps` scale and zero of each column.
fn expand(marks: &[u8], near: &[u8], steps: &[(f32, f32)], out: &mut [f32]) {
    let mut next = 0;
    for ((&byte, out), steps) in marks.iter().zip(out.chunks_mut(8)).zip(steps.chunks(8)) {
        let codes: &[u8; 8] = near[next..]
            .first_chunk()
            .expect("codes follow the last one of a row");
        // Which of the next codes each column takes, so that columns do not wait for each other.
        let places = PLACES[byte as usize].to_le_bytes();
        for (bit, (value, &(scale, zero))) in out.iter_mut().zip(steps).enumerate() {
            let level = f32::from(codes[places[bit] as usize & 7]) - zero;
            // All bits of the value, or none: marks follow no pattern that a branch could be foretold from.
            let marked = 0u32.wrapping_sub(u32::from(byte >> bit & 1));
            *value = f32::from_bits((scale * level).to_bits() & marked);
        }
        next += byte.count_ones() as usize;
    }
}

/// marks as in `MaskedGrid`; codes u8 [marked], groupOf u32 [columns], scales and zeros f32 [rows, groups]. Result f32
/// [rows, columns], 0 where nothing is marked.
#[napi]
pub fn decode_masked_grid(
    marks: Uint8Array,
    codes: u32,
    group_of: u32,
    scales: u32,
    zeros: u32,
) -> js::Result<u32> {
    border(|| {
        let load = |handle: u32| copy::contiguous(&view(handle)?);
        let (codes, group_of, scales, zeros) = (load(codes)?, load(group_of)?, load(scales)?, load(zeros)?);
        let columns = group_of.len();
        if scales.shape.len() != 2 || zeros.shape != scales.shape {
            return Err(Fault::shape(
                "masked grid: scales and zeros need the shape [rows, groups]",
            ));
        }
        let (rows, groups) = (scales.shape[0], scales.shape[1]);
        if Some(marks.len()) != rows.checked_mul(columns.div_ceil(8)) {
            return Err(Fault::shape(format!(
                "masked grid: {} bytes of marks do not fit [{rows}, {columns}]",
                marks.len()
            )));
        }
        let group_of = group_of.slice::<u32>()?;
        if group_of.iter().any(|&group| group as usize >= groups) {
            return Err(Fault::shape(format!(
                "masked grid: a column belongs to a group past the last of {groups}"
            )));
        }
        let grid = MaskedGrid {
            marks: &marks,
            codes: codes.slice::<u8>()?,
            group_of,
            groups,
            scales: scales.slice::<f32>()?,
            zeros: zeros.slice::<f32>()?,
        };
        let out = View::empty(DType::F32, &[rows, columns])?;
        decode(&grid, rows, out.slice_mut()?)?;
        Ok(out.into_handle())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_go_to_the_marked_places_of_their_rows_and_take_the_steps_of_their_groups() {
        let grid = MaskedGrid {
            marks: &[0b1000_0001, 0b1, 0b10, 0],
            codes: &[3, 1, 2, 7],
            group_of: &[0, 0, 0, 0, 0, 0, 0, 1, 1],
            groups: 2,
            scales: &[0.5, 2.0, 1.0, 4.0],
            zeros: &[1.0, 4.0, 3.0, 0.0],
        };
        let mut out = [f32::NAN; 18];
        decode(&grid, 2, &mut out).unwrap();
        let mut want = [0.0; 18];
        (want[0], want[7], want[8], want[10]) = (1.0, -6.0, -4.0, 4.0);
        assert_eq!(out, want);
        let short = MaskedGrid {
            codes: &[3, 1, 2],
            ..grid
        };
        assert_eq!(decode(&short, 2, &mut out).unwrap_err().code, "PARE_E_FORMAT");
    }
}
