//! Numbers from codes: value = scale * (level(code) - zero) - offset, with a step a group of columns.

use crate::arena::{View, view};
use crate::copy;
use crate::dtype::DType;
use crate::fault::{Fault, Result, border, js};
use crate::parallel;
use crate::simd;
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

/// Neighbouring columns of one group.
struct Run {
    start: usize,
    end: usize,
    group: usize,
}

fn runs_of(group_of: &[u32]) -> Vec<Run> {
    let mut start = 0;
    group_of
        .chunk_by(|a, b| a == b)
        .map(|run| {
            start += run.len();
            Run {
                start: start - run.len(),
                end: start,
                group: run[0] as usize,
            }
        })
        .collect()
}

/// Columns of a run on average, from which on one group at a time is faster than one column at a time.
const LONG_RUN: usize = 8;

pub fn decode(grid: &GridArrays, out: &mut [f32]) -> Result<()> {
    let columns = grid.columns.max(1);
    let rows = (parallel::SMALL / columns).max(1);
    let runs = runs_of(grid.group_of);
    let in_runs = grid.table.is_none() && columns >= LONG_RUN * runs.len();
    parallel::chunks(out, rows * columns, |start, part| {
        for (index, line) in part.chunks_mut(columns).enumerate() {
            let row = start / columns + index;
            let (codes, base) = (&grid.codes[row * columns..(row + 1) * columns], row * grid.groups);
            if in_runs {
                decode_runs(grid, &runs, codes, base, line);
            } else {
                decode_columns(grid, codes, base, line);
            }
        }
    })
}

/// A row, one group after another. Without offsets 0 is subtracted, which changes no number.
fn decode_runs(grid: &GridArrays, runs: &[Run], codes: &[u8], base: usize, line: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if simd::level() >= simd::Level::Avx2 {
        // SAFETY: this machine has the features.
        return unsafe { decode_runs_avx2(grid, runs, codes, base, line) };
    }
    for run in runs {
        let step = Step::of(grid, base + run.group);
        for (value, &code) in line[run.start..run.end]
            .iter_mut()
            .zip(&codes[run.start..run.end])
        {
            *value = step.value(code);
        }
    }
}

/// What the codes of a group are worth.
#[derive(Clone, Copy)]
struct Step {
    scale: f32,
    zero: f32,
    offset: f32,
}

impl Step {
    #[inline(always)]
    fn of(grid: &GridArrays, place: usize) -> Step {
        Step {
            scale: grid.scales[place],
            zero: grid.zeros.map_or(grid.fixed_zero, |zeros| zeros[place]),
            offset: grid.offsets.map_or(0.0, |offsets| offsets[place]),
        }
    }

    #[inline(always)]
    fn value(self, code: u8) -> f32 {
        self.scale * (f32::from(code) - self.zero) - self.offset
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn decode_runs_avx2(grid: &GridArrays, runs: &[Run], codes: &[u8], base: usize, line: &mut [f32]) {
    use std::arch::x86_64::*;
    for run in runs {
        let step = Step::of(grid, base + run.group);
        let [scale, zero, offset] = [step.scale, step.zero, step.offset].map(|x| _mm256_set1_ps(x));
        let (codes, last) = codes[run.start..run.end].as_chunks::<8>();
        let (values, rest) = line[run.start..run.end].as_chunks_mut::<8>();
        for (codes, values) in codes.iter().zip(values) {
            // SAFETY: eight bytes are read and eight numbers written, at any alignment.
            unsafe {
                let wide = _mm256_cvtepu8_epi32(_mm_loadl_epi64(codes.as_ptr().cast()));
                let level = _mm256_sub_ps(_mm256_cvtepi32_ps(wide), zero);
                let value = _mm256_sub_ps(_mm256_mul_ps(scale, level), offset);
                _mm256_storeu_ps(values.as_mut_ptr(), value);
            }
        }
        for (value, &code) in rest.iter_mut().zip(last) {
            *value = step.value(code);
        }
    }
}

/// A row whose neighbouring columns have different groups, or whose levels come from a table.
fn decode_columns(grid: &GridArrays, codes: &[u8], base: usize, line: &mut [f32]) {
    for ((value, &code), &group) in line.iter_mut().zip(codes).zip(grid.group_of) {
        let place = base + group as usize;
        let level = grid.table.map_or(f32::from(code), |table| table[code as usize]);
        let zero = grid.zeros.map_or(grid.fixed_zero, |zeros| zeros[place]);
        let scaled = grid.scales[place] * (level - zero);
        *value = grid.offsets.map_or(scaled, |offsets| scaled - offsets[place]);
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_neighbours_decode_to_the_bits_of_columns_one_by_one() {
        let (rows, columns) = (5, 77usize);
        let codes: Vec<u8> = (0..rows * columns).map(|i| (i * 37 % 256) as u8).collect();
        let numbers = |factor: f32, count: usize| -> Vec<f32> {
            (0..count).map(|i| factor * ((i * 7 % 11) as f32 - 5.0)).collect()
        };
        for width in [9, 16, 77] {
            let group_of: Vec<u32> = (0..columns).map(|column| (column / width) as u32).collect();
            let groups = columns.div_ceil(width);
            let (scales, zeros) = (numbers(0.3, rows * groups), numbers(1.7, rows * groups));
            let offsets = numbers(0.7, rows * groups);
            for (zeros, offsets) in [(None, None), (Some(&zeros[..]), None), (None, Some(&offsets[..]))] {
                let grid = GridArrays {
                    codes: &codes,
                    columns,
                    group_of: &group_of,
                    groups,
                    scales: &scales,
                    zeros,
                    fixed_zero: 8.0,
                    offsets,
                    table: None,
                };
                let (mut runs, mut plain) = (vec![0.0; rows * columns], vec![0.0; rows * columns]);
                decode(&grid, &mut runs).unwrap();
                for (row, line) in plain.chunks_mut(columns).enumerate() {
                    decode_columns(
                        &grid,
                        &codes[row * columns..(row + 1) * columns],
                        row * groups,
                        line,
                    );
                }
                let bits = |x: &[f32]| x.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&runs), bits(&plain));
            }
        }
    }
}
