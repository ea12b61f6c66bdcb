//! Rows of inputs as the kernels read them: floats, or codes of 8 bits with a scale for each part of 32.

use crate::fault::Result;
use crate::parallel;
use crate::simd;

/// Inputs that share a scale where they are rounded.
pub const PART: usize = 32;

/// What products are made with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Activations {
    F32,
    /// Rounded to -127 .. 127 times a scale for each 32 of a row, which is the largest magnitude over 127.
    Int8,
}

/// One row, of whole parts.
pub struct Row {
    /// Empty where codes are enough.
    pub floats: Vec<f32>,
    pub codes: Vec<i8>,
    /// Of each part; empty for floats.
    pub scales: Vec<f32>,
    /// Of the inputs of each block, part or half of one.
    pub sums: Vec<f32>,
    /// -zero * sum of each four codes: what the integer sums of the kernels begin with. Empty for floats.
    pub starts: Vec<i32>,
    /// The same of each sixteen.
    pub half_starts: Vec<i32>,
    /// Scale and sum of each part, where parts lie in fours; else empty.
    pub pairs: Vec<f32>,
}

/// What a type of block needs of its inputs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Need {
    pub zero: i32,
    /// Inputs of one sum: 16, 32, or those of a group of a grid.
    pub summed: usize,
    /// The codes of each four parts lie in the order of `quads.rs`, with the starts of the four in front of theirs.
    pub quads: bool,
    /// Numbers are wanted where they are rounded too: what rounding leaves of them.
    pub floats: bool,
}

impl Row {
    pub fn new(x: &[f32], activations: Activations, need: Need) -> Row {
        match activations {
            Activations::F32 => Row {
                floats: x.to_vec(),
                codes: Vec::new(),
                scales: Vec::new(),
                sums: x.chunks_exact(need.summed).map(|x| x.iter().sum()).collect(),
                starts: Vec::new(),
                half_starts: Vec::new(),
                pairs: Vec::new(),
            },
            Activations::Int8 if need.floats => {
                let row = rounded(x, need);
                Row {
                    floats: restored(&row),
                    ..row
                }
            }
            Activations::Int8 => rounded(x, need),
        }
    }
}

fn rounded(x: &[f32], need: Need) -> Row {
    let mut codes = vec![0; x.len()];
    let mut scales = vec![0.0; x.len() / PART];
    round(x, &mut codes, &mut scales);
    // Neighbouring parts have scales of their own.
    let least = need.summed.min(PART);
    let sums = codes
        .chunks_exact(least)
        .enumerate()
        .map(|(index, codes)| {
            let sum: i32 = codes.iter().map(|&code: &i8| i32::from(code)).sum();
            scales[index * least / PART] * sum as f32
        })
        .collect::<Vec<f32>>()
        .chunks_exact(need.summed / least)
        .map(|sums| sums.iter().sum())
        .collect();
    let mut starts: Vec<i32> = codes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|four| -need.zero * four.iter().map(|&code| i32::from(code)).sum::<i32>())
        .collect();
    let half_starts = starts.chunks_exact(4).map(|four| four.iter().sum()).collect();
    let mut pairs = Vec::new();
    if need.quads {
        pairs = codes
            .as_chunks::<PART>()
            .0
            .iter()
            .zip(&scales)
            .flat_map(|(codes, &scale)| {
                let sum: i32 = codes.iter().map(|&code| i32::from(code)).sum();
                [scale, scale * sum as f32]
            })
            .collect();
        put_in_fours(&mut codes, &mut starts);
    }
    Row {
        floats: Vec::new(),
        codes,
        scales,
        sums,
        starts,
        half_starts,
        pairs,
    }
}

/// Low halves of each four parts in front of the high ones; the starts of both halves in one.
fn put_in_fours(codes: &mut [i8], starts: &mut [i32]) {
    const HALF: usize = PART / 2;
    let fours = codes.as_chunks_mut::<{ 4 * PART }>().0.iter_mut();
    for (codes, starts) in fours.zip(starts.as_chunks_mut::<PART>().0) {
        let (own, own_starts) = (*codes, *starts);
        for part in 0..4 {
            let (low, high) = own[part * PART..][..PART].split_at(HALF);
            codes[part * HALF..][..HALF].copy_from_slice(low);
            codes[4 * HALF + part * HALF..][..HALF].copy_from_slice(high);
            for i in 0..HALF / 4 {
                starts[part * HALF / 4 + i] =
                    own_starts[part * PART / 4 + i] + own_starts[part * PART / 4 + HALF / 4 + i];
            }
        }
    }
}

simd! {
    fn round(x: &[f32], codes: &mut [i8], scales: &mut [f32]) {
        let parts = x.as_chunks::<PART>().0.iter().zip(codes.as_chunks_mut::<PART>().0);
        for ((x, codes), scale) in parts.zip(scales) {
            let most = x.iter().fold(0.0f32, |most, x| if x.abs() > most { x.abs() } else { most });
            *scale = most / 127.0;
            // Below the smallest normal scale a quotient would not be finite.
            let factor = if *scale >= f32::MIN_POSITIVE { 1.0 / *scale } else { 0.0 };
            for (code, x) in codes.iter_mut().zip(x) {
                *code = (x * factor).round_ties_even() as i8;
            }
        }
    }
}

/// Every row of x.
pub fn rows(x: &[f32], columns: usize, activations: Activations, need: Need) -> Result<Vec<Row>> {
    let mut rows: Vec<Option<Row>> = (0..x.len() / columns).map(|_| None).collect();
    let each = if rows.len() > 16 { 4 } else { rows.len() };
    parallel::chunks(&mut rows, each, |start, rows| {
        for (at, row) in rows.iter_mut().enumerate() {
            *row = Some(Row::new(
                &x[(start + at) * columns..][..columns],
                activations,
                need,
            ));
        }
    })?;
    Ok(rows.into_iter().flatten().collect())
}

/// Rows of floats as rounding leaves them.
pub fn round_trip(x: &[f32], columns: usize) -> Result<Vec<f32>> {
    let mut out = vec![0.0; x.len()];
    parallel::chunks(&mut out, columns, |start, out| {
        let places = columns.next_multiple_of(PART);
        let mut row = x[start..start + columns].to_vec();
        row.resize(places, 0.0);
        let mut codes = vec![0; places];
        let mut scales = vec![0.0; places / PART];
        round(&row, &mut codes, &mut scales);
        restore(&codes, &scales, &mut row);
        out.copy_from_slice(&row[..columns]);
    })?;
    Ok(out)
}

simd! {
    fn restore(codes: &[i8], scales: &[f32], out: &mut [f32]) {
        let parts = codes.as_chunks::<PART>().0.iter().zip(out.as_chunks_mut::<PART>().0);
        for ((codes, out), scale) in parts.zip(scales) {
            for (out, code) in out.iter_mut().zip(codes) {
                *out = scale * f32::from(*code);
            }
        }
    }
}

/// What rounding makes of inputs, back as floats.
pub fn restored(row: &Row) -> Vec<f32> {
    let mut out = vec![0.0; row.codes.len()];
    restore(&row.codes, &row.scales, &mut out);
    out
}
