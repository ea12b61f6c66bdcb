//! The border of the column sweep that keeps outliers.

use crate::arena::{View, view};
use crate::bilevel_fit::{BilevelFit, Levels};
use crate::copy;
use crate::dtype::{DType, Element};
use crate::fault::{Fault, Result, border, js};
use crate::parallel::Shared;
use crate::product::Real;
use crate::spqr_rule::{Output, SpqrRule, by_rows};
use crate::sweep::{LANES, Sweep};
use napi_derive::napi;
use std::sync::{Mutex, PoisonError};

#[napi(object)]
pub struct SpqrOptions {
    /// 1 to 8, of the weights.
    pub bits: u32,
    /// Columns that share a scale; it divides the columns.
    pub group_size: u32,
    /// 1 to 8, of scales; none stores them as f16.
    pub scale_bits: Option<u32>,
    /// 1 to 8, of zeros; with scales that are codes.
    pub zero_bits: Option<u32>,
    /// 1, 2, 4, 8 or 16 rows that share the scales of scales and zeros.
    pub run: u32,
    /// Zeros are codes of the weights, and the ranges hold 0.
    pub round_zero: bool,
    /// Times the mean over columns of their variance over d^2; none keeps no outliers.
    pub threshold: Option<f64>,
    /// Ranges are fitted without likely outliers.
    pub leave_one_out: bool,
    /// Columns between two updates of the later ones.
    pub block: u32,
}

#[napi(object)]
pub struct SpqrResult {
    /// The chosen values, [rows, columns] in the order of the weight.
    pub dense: u32,
    /// Sum of e^2 / 2 of each row, [rows].
    pub losses: u32,
    /// u8 [rows, columns], in sweep order as all that follows.
    pub codes: u32,
    /// u8 [rows, groups]
    pub scale_codes: u32,
    pub zero_codes: u32,
    /// f32 [rows, groups]; zeros, or offsets.
    pub scales: u32,
    pub zeros: u32,
    /// f32 [4, runs, groups]: scales and zeros of the scales, then of the zeros.
    pub second: u32,
    /// u32 [rows + 1], u32 [outliers], f32 [outliers], by rows.
    pub row_offsets: u32,
    pub outlier_columns: u32,
    pub outlier_values: u32,
    /// What squared errors over d^2 were held against.
    pub threshold: f64,
}

fn levels_of(options: &SpqrOptions) -> Result<Levels> {
    let run = options.run as usize;
    let bits_fit = |bits: u32| (1..=8).contains(&bits);
    if !bits_fit(options.bits)
        || !options.scale_bits.is_none_or(bits_fit)
        || !options.zero_bits.is_none_or(bits_fit)
    {
        return Err(Fault::shape("spqr: bits must be from 1 to 8"));
    }
    if ![1, 2, 4, 8, LANES].contains(&run) {
        return Err(Fault::shape(format!(
            "spqr: runs of 1, 2, 4, 8 or 16 rows are possible, got {run}"
        )));
    }
    Ok(
        match (options.scale_bits, options.zero_bits, options.round_zero) {
            (Some(scale_bits), _, true) => Levels::WholeZeros { scale_bits, run },
            (Some(scale_bits), Some(zero_bits), false) => Levels::Bilevel {
                scale_bits,
                zero_bits,
                run,
            },
            (Some(_), None, false) => return Err(Fault::shape("spqr: zeros between levels need bits")),
            (None, _, true) => Levels::Grid,
            (None, _, false) => Levels::Offset,
        },
    )
}

/// The mean over columns of their unbiased variance over d^2. `order` names the column at each position of `diagonal`.
fn mean_sensitivity<T: Real>(weight: &[T], rows: usize, diagonal: &[T], order: Option<&[u32]>) -> f64 {
    let columns = diagonal.len();
    let mut means = vec![0.0; columns];
    for row in weight.chunks_exact(columns) {
        for (mean, value) in means.iter_mut().zip(row) {
            *mean += value.to_f64() / rows as f64;
        }
    }
    let mut squares = vec![0.0; columns];
    for row in weight.chunks_exact(columns) {
        for ((square, mean), value) in squares.iter_mut().zip(&means).zip(row) {
            *square += (value.to_f64() - mean).powi(2);
        }
    }
    let others = rows.saturating_sub(1).max(1) as f64;
    let total: f64 = (0..columns)
        .map(|position| {
            let column = order.map_or(position, |order| order[position] as usize);
            squares[column] / others / diagonal[position].to_f64().powi(2)
        })
        .sum();
    total / columns as f64
}

fn handle_of<E: Element>(values: &[E]) -> Result<u32> {
    let made = View::empty(E::DTYPE, &[values.len()])?;
    made.slice_mut::<E>()?.copy_from_slice(values);
    Ok(made.into_handle())
}

fn run<T: Real>(
    weight: &View,
    factor: Option<&View>,
    order: Option<&[u32]>,
    options: &SpqrOptions,
) -> Result<SpqrResult> {
    let (rows, columns) = (weight.shape[0], weight.shape[1]);
    let levels = levels_of(options)?;
    let group = options.group_size as usize;
    let divides = |rows: usize| !levels.halves() || rows.is_multiple_of(levels.run());
    if group == 0 || columns == 0 || !columns.is_multiple_of(group) || !divides(rows) {
        return Err(Fault::shape(format!(
            "spqr: groups of {group} columns and runs of {} rows do not divide [{rows}, {columns}]",
            options.run
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
    let factor = factor.map(View::slice::<T>).transpose()?;
    if factor.is_some_and(|factor| factor.len() != columns * columns)
        || order.is_some_and(|order| order.len() != columns || order.iter().any(|&c| c as usize >= columns))
    {
        return Err(Fault::shape(format!(
            "spqr: factor and order do not fit {columns} columns"
        )));
    }
    let diagonal: Vec<T> = (0..columns)
        .map(|position| factor.map_or(T::ONE, |factor| factor[position * columns + position]))
        .collect();
    let threshold = options
        .threshold
        .map(|threshold| threshold * mean_sensitivity(data, rows, &diagonal, order));
    let (groups, runs) = (columns / group, rows.div_ceil(levels.run()));
    let dense = View::empty(T::DTYPE, &[rows, columns])?;
    let losses = View::zeros(T::DTYPE, &[rows])?;
    let codes = View::empty(DType::U8, &[rows, columns])?;
    let scale_codes = View::empty(DType::U8, &[rows, groups])?;
    let zero_codes = View::empty(DType::U8, &[rows, groups])?;
    let scales = View::empty(DType::F32, &[rows, groups])?;
    let zeros = View::empty(DType::F32, &[rows, groups])?;
    let second = View::empty(DType::F32, &[4, runs, groups])?;
    let rule = SpqrRule {
        fit: BilevelFit {
            bits: options.bits,
            levels,
        },
        rows,
        columns,
        group,
        diagonal: &diagonal,
        threshold: threshold.map(T::from_f64),
        leave_one_out: options.leave_one_out,
        output: Output {
            codes: Shared(codes.slice_mut::<u8>()?.as_mut_ptr()),
            scale_codes: Shared(scale_codes.slice_mut::<u8>()?.as_mut_ptr()),
            zero_codes: Shared(zero_codes.slice_mut::<u8>()?.as_mut_ptr()),
            scales: Shared(scales.slice_mut::<f32>()?.as_mut_ptr()),
            zeros: Shared(zeros.slice_mut::<f32>()?.as_mut_ptr()),
            second: Shared(second.slice_mut::<f32>()?.as_mut_ptr()),
            outliers: Mutex::new(vec![Vec::new(); rows.div_ceil(LANES)]),
        },
    };
    let sweep = Sweep {
        weight: data,
        rows,
        columns,
        factor,
        order,
        block: options.block as usize,
        stale: false,
    };
    sweep.run(&rule, dense.slice_mut::<T>()?, losses.slice_mut::<T>()?)?;
    if dense
        .slice::<T>()?
        .iter()
        .any(|value| !value.to_f64().is_finite())
    {
        return Err(Fault::numerical(
            "spqr: weights leave the range of f16, which ends at 65504; leave this layer out",
        ));
    }
    let tiles = rule
        .output
        .outliers
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    let (offsets, positions, values) = by_rows(&tiles, rows);
    Ok(SpqrResult {
        dense: dense.into_handle(),
        losses: losses.into_handle(),
        codes: codes.into_handle(),
        scale_codes: scale_codes.into_handle(),
        zero_codes: zero_codes.into_handle(),
        scales: scales.into_handle(),
        zeros: zeros.into_handle(),
        second: second.into_handle(),
        row_offsets: handle_of(&offsets)?,
        outlier_columns: handle_of(&positions)?,
        outlier_values: handle_of(&values)?,
        threshold: threshold.unwrap_or(f64::INFINITY),
    })
}

/// Sweeps weight [rows, columns] (f32 or f64) with `factor` as `sweepGrid` does, and keeps outliers beside the grid.
#[napi]
pub fn sweep_spqr(
    weight: u32,
    factor: Option<u32>,
    order: Option<u32>,
    options: SpqrOptions,
) -> js::Result<SpqrResult> {
    border(|| {
        let weight = copy::contiguous(&view(weight)?)?;
        if weight.shape.len() != 2 {
            return Err(Fault::shape(format!(
                "spqr: needs a matrix, got shape {:?}",
                &*weight.shape
            )));
        }
        let factor = factor.map(|f| copy::contiguous(&view(f)?)).transpose()?;
        let order = order.map(|o| copy::contiguous(&view(o)?)).transpose()?;
        let order = order.as_ref().map(View::slice::<u32>).transpose()?;
        match weight.dtype {
            DType::F32 => run::<f32>(&weight, factor.as_ref(), order, &options),
            DType::F64 => run::<f64>(&weight, factor.as_ref(), order, &options),
            other => Err(Fault::shape(format!(
                "spqr: needs f32 or f64, got {}",
                other.name()
            ))),
        }
    })
}
