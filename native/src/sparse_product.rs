//! The product of rows of inputs with a sparse matrix by rows (CSR).
//!
//!   y[m, i] = sum over the entries e of row i of value_e * x[m, column_e]
//!
//! Up to 16 inputs go side by side, their numbers of one column next to each other, so that an entry is read once for all of them.

use crate::arena::View;
use crate::dtype::DType;
use crate::fault::{Fault, Result};
use crate::parallel::{self, Shared};
use std::ops::Range;

/// Sums of a row that go side by side, since one waits for the one before.
const SUMS: usize = 4;
/// Entries that one task reads, about.
const TASK: usize = 1 << 14;

struct Sparse<'a> {
    /// [rows + 1]
    starts: &'a [u32],
    columns: Columns<'a>,
    values: &'a [f32],
}

/// Of each entry.
#[derive(Clone, Copy)]
enum Columns<'a> {
    Narrow(&'a [u16]),
    Wide(&'a [u32]),
}

trait Index: Copy {
    fn place(self) -> usize;
}

impl Index for u16 {
    #[inline(always)]
    fn place(self) -> usize {
        self.into()
    }
}

impl Index for u32 {
    #[inline(always)]
    fn place(self) -> usize {
        self as usize
    }
}

/// Sums of the entries of a row for `W` inputs, x [columns, W].
#[inline(always)]
fn sums_of<C: Index, const W: usize>(columns: &[C], values: &[f32], x: &[[f32; W]]) -> [f32; W] {
    let mut sums = [[0.0f32; W]; SUMS];
    let mut add = |sum: usize, column: C, value: f32| {
        let own = &x[column.place()];
        for lane in 0..W {
            sums[sum][lane] += value * own[lane];
        }
    };
    let (fours, rest) = columns.as_chunks::<SUMS>();
    let (four_values, rest_values) = values.as_chunks::<SUMS>();
    for (columns, values) in fours.iter().zip(four_values) {
        for sum in 0..SUMS {
            add(sum, columns[sum], values[sum]);
        }
    }
    for (sum, (&column, &value)) in rest.iter().zip(rest_values).enumerate() {
        add(sum, column, value);
    }
    std::array::from_fn(|lane| (sums[0][lane] + sums[1][lane]) + (sums[2][lane] + sums[3][lane]))
}

macro_rules! lanes {
    ($name:ident, $width:literal) => {
        crate::simd! {
            /// out[lane][i] of the rows, for as many lanes as there are outputs.
            fn $name(weight: &Sparse<'_>, rows: Range<usize>, x: &[[f32; $width]], out: &mut [&mut [f32]]) {
                for (at, row) in rows.enumerate() {
                    let own = weight.starts[row] as usize..weight.starts[row + 1] as usize;
                    let values = &weight.values[own.clone()];
                    let sums = match weight.columns {
                        Columns::Narrow(columns) => sums_of::<u16, $width>(&columns[own], values, x),
                        Columns::Wide(columns) => sums_of::<u32, $width>(&columns[own], values, x),
                    };
                    for (out, sum) in out.iter_mut().zip(sums) {
                        out[at] = sum;
                    }
                }
            }
        }
    };
}

lanes!(rows_of_one, 1);
lanes!(rows_of_four, 4);
lanes!(rows_of_sixteen, 16);

/// Rows of inputs [lanes, columns] as [columns, W], 0 in lanes that there are none for.
fn turned<const W: usize>(x: &[f32], columns: usize) -> Vec<[f32; W]> {
    let mut turned = vec![[0.0; W]; columns];
    for (lane, x) in x.chunks_exact(columns).enumerate() {
        for (lanes, x) in turned.iter_mut().zip(x) {
            lanes[lane] = *x;
        }
    }
    turned
}

/// `rows_of_one` and the others.
type Kernel<const W: usize> = fn(&Sparse<'_>, Range<usize>, &[[f32; W]], &mut [&mut [f32]]);

/// Rows of up to `W` inputs, [lanes, columns].
fn side_by_side<const W: usize>(
    weight: &Sparse,
    x: &[f32],
    columns: usize,
    kernel: Kernel<W>,
    out: &mut [f32],
) -> Result<()> {
    let (rows, lanes) = (weight.starts.len() - 1, x.len() / columns);
    let x = turned::<W>(x, columns);
    let each = (rows * TASK).div_ceil(weight.values.len().max(1)).clamp(1, rows);
    let target = Shared(out.as_mut_ptr());
    parallel::tasks(rows.div_ceil(each), |task| {
        let own = task * each..((task + 1) * each).min(rows);
        let mut lines: [&mut [f32]; W] = std::array::from_fn(|_| <&mut [f32]>::default());
        for (lane, line) in lines.iter_mut().enumerate().take(lanes) {
            // SAFETY: these outputs of each input belong to this task alone.
            *line = unsafe {
                std::slice::from_raw_parts_mut(target.get().add(lane * rows + own.start), own.len())
            };
        }
        kernel(weight, own, &x, &mut lines[..lanes]);
    })
}

/// out [m, rows] = x [m, columns] times the transposed weight.
fn multiply(weight: &Sparse, x: &[f32], columns: usize, out: &mut [f32]) -> Result<()> {
    let rows = weight.starts.len() - 1;
    for (x, out) in x.chunks(16 * columns).zip(out.chunks_mut(16 * rows)) {
        match x.len() / columns {
            1 => side_by_side(weight, x, columns, rows_of_one, out)?,
            2..=4 => side_by_side(weight, x, columns, rows_of_four, out)?,
            _ => side_by_side(weight, x, columns, rows_of_sixteen, out)?,
        }
    }
    Ok(())
}

/// starts u32 [rows + 1]; columns u16 or u32 and values f32, one of each for every entry; x f32 [m, in]. Result f32
/// [m, rows].
pub fn product([starts, columns, values]: [&View; 3], x: &View) -> Result<View> {
    let &[many, width] = &*x.shape else {
        return Err(Fault::shape("sparseProduct: inputs have 2 axes"));
    };
    let own = Sparse {
        starts: starts.slice()?,
        columns: match columns.dtype {
            DType::U16 => Columns::Narrow(columns.slice()?),
            _ => Columns::Wide(columns.slice()?),
        },
        values: values.slice()?,
    };
    let entries = values.len();
    let in_order = own.starts.windows(2).all(|pair| pair[0] <= pair[1])
        && own.starts.first() == Some(&0)
        && own.starts.last().is_some_and(|&last| last as usize == entries);
    if columns.len() != entries || !in_order {
        return Err(Fault::shape(format!(
            "sparseProduct: {} starts, {} columns and {entries} values do not fit together",
            starts.len(),
            columns.len()
        )));
    }
    let out = View::zeros(DType::F32, &[many, own.starts.len() - 1])?;
    if !out.is_empty() && width > 0 {
        multiply(&own, x.slice()?, width, out.slice_mut()?)?;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_the_entries_however_many_inputs_there_are() {
        let number = |i: usize| ((i * 7919 + 13) % 257) as f32 / 64.0 - 2.0;
        for (rows, width, most) in [(1, 1, 1), (7, 40, 9), (300, 129, 30), (64, 1000, 700)] {
            let mut starts = vec![0u32];
            let mut narrow = Vec::new();
            for row in 0..rows {
                // Some rows are empty, and some places are met twice.
                let count = row * 31 % (most + 1);
                narrow.extend((0..count).map(|e| ((row * 17 + e * e * 5) % width) as u16));
                starts.push(narrow.len() as u32);
            }
            let wide: Vec<u32> = narrow.iter().map(|&column| column.into()).collect();
            let values: Vec<f32> = (0..wide.len()).map(number).collect();
            for many in [1, 2, 4, 5, 16, 37] {
                let x: Vec<f32> = (0..many * width).map(|i| number(3 * i + 1)).collect();
                let product = |columns, count: usize| {
                    let weight = Sparse {
                        starts: &starts,
                        columns,
                        values: &values,
                    };
                    let mut out = vec![f32::NAN; count * rows];
                    multiply(&weight, &x[..count * width], width, &mut out).unwrap();
                    out
                };
                let out = product(Columns::Narrow(&narrow), many);
                assert_eq!(out, product(Columns::Wide(&wide), many));
                assert_eq!(
                    out[..rows],
                    product(Columns::Wide(&wide), 1),
                    "of one input alone"
                );
                for m in 0..many {
                    for row in 0..rows {
                        let own = starts[row] as usize..starts[row + 1] as usize;
                        let terms =
                            own.map(|e| f64::from(values[e]) * f64::from(x[m * width + wide[e] as usize]));
                        let (want, size) =
                            terms.fold((0.0, 0.0), |(sum, size), own| (sum + own, size + own.abs()));
                        let found = f64::from(out[m * rows + row]);
                        assert!((found - want).abs() <= size * 64.0 * f64::from(f32::EPSILON));
                    }
                }
            }
        }
    }
}
