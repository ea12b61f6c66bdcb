//! The border of greedy optimal brain surgeon.

use super::rounding::Levels;
use super::{Problem, WIDEST_BLOCK};
use crate::arena::{View, view};
use crate::copy;
use crate::dtype::DType;
use crate::fault::{Fault, Result, border, js};
use napi::bindgen_prelude::Uint8Array;
use napi_derive::napi;

#[napi(object)]
pub struct ObsTrace {
    /// The unit that went at each step, u32 [rows, units].
    pub order: u32,
    /// What each step cost, f64 [rows, units].
    pub losses: u32,
    /// The first row whose inverse lost its positive diagonal; results of such rows mean nothing.
    pub failed: Option<u32>,
}

#[napi(object)]
pub struct ObsRows {
    /// f64 [levels, rows, columns] from counts, else [rows, columns].
    pub dense: u32,
    /// f64 [rows]; not from counts.
    pub losses: Option<u32>,
    /// u8 [rows, columns], where weights were rounded.
    pub codes: Option<u32>,
    /// u8 [rows, columns], 0 where a weight is gone; from groups.
    pub kept: Option<u32>,
    pub failed: Option<u32>,
}

#[napi(object)]
pub struct ObsGrid {
    /// Codes are 0 ..= top, at most 255.
    pub top: u32,
    /// f64 [rows, groups]
    pub scales: u32,
    /// f64 [rows, groups]
    pub zeros: u32,
    /// u32 [columns]
    pub group_of: u32,
    /// u32 [columns]: the order of the columns, where it is not the greedy one.
    pub order: Option<u32>,
}

/// Weight, inverse and mask, alive for as long as the problem.
struct Held {
    weight: View,
    inverse: View,
    mask: Option<Uint8Array>,
    rows: usize,
    columns: usize,
}

impl Held {
    fn new(weight: u32, inverse: u32, mask: Option<Uint8Array>) -> Result<Held> {
        let (weight, inverse) = (
            copy::contiguous(&view(weight)?)?,
            copy::contiguous(&view(inverse)?)?,
        );
        let &[rows, columns] = &*weight.shape else {
            return Err(Fault::shape(format!(
                "obs: needs a matrix, got {:?}",
                &*weight.shape
            )));
        };
        if *inverse.shape != [columns, columns]
            || mask.as_ref().is_some_and(|mask| mask.len() != rows * columns)
        {
            return Err(Fault::shape(format!(
                "obs: inverse {:?} or mask do not fit a weight [{rows}, {columns}]",
                &*inverse.shape
            )));
        }
        if weight.slice::<f64>()?.iter().any(|x| !x.is_finite()) {
            return Err(Fault::numerical(
                "obs: a weight is not finite; the model is damaged",
            ));
        }
        Ok(Held {
            weight,
            inverse,
            mask,
            rows,
            columns,
        })
    }

    fn problem(&self) -> Result<Problem<'_>> {
        Ok(Problem {
            rows: self.rows,
            columns: self.columns,
            weight: self.weight.slice::<f64>()?,
            inverse: self.inverse.slice::<f64>()?,
            mask: self.mask.as_deref(),
        })
    }
}

fn width_of(width: u32, columns: usize) -> Result<usize> {
    let width = width as usize;
    if width == 0 || width > WIDEST_BLOCK || columns == 0 {
        return Err(Fault::shape(format!(
            "obs: blocks have 1 to {WIDEST_BLOCK} columns, got {width} of {columns}"
        )));
    }
    Ok(width)
}

/// weight f64 [rows, columns], inverse f64 [columns, columns], mask [rows * columns] with 0 where a weight is gone already.
/// Units are `width` neighbouring columns.
#[napi]
pub fn obs_trace(weight: u32, inverse: u32, mask: Option<Uint8Array>, width: u32) -> js::Result<ObsTrace> {
    border(|| {
        let held = Held::new(weight, inverse, mask)?;
        let width = width_of(width, held.columns)?;
        let shape = [held.rows, held.columns.div_ceil(width)];
        let (order, losses) = (View::zeros(DType::U32, &shape)?, View::zeros(DType::F64, &shape)?);
        let failed = held
            .problem()?
            .trace(width, order.slice_mut()?, losses.slice_mut()?)?;
        Ok(ObsTrace {
            order: order.into_handle(),
            losses: losses.into_handle(),
            failed: failed.map(|row| row as u32),
        })
    })
}

/// The rows after the first counts[level][row] units of `order` (u32 [rows, units]); counts u32 [levels, rows].
#[napi]
pub fn obs_rows(
    weight: u32,
    inverse: u32,
    mask: Option<Uint8Array>,
    width: u32,
    order: u32,
    counts: u32,
) -> js::Result<ObsRows> {
    border(|| {
        let held = Held::new(weight, inverse, mask)?;
        let width = width_of(width, held.columns)?;
        let units = held.columns.div_ceil(width);
        let (order, counts) = (
            copy::contiguous(&view(order)?)?,
            copy::contiguous(&view(counts)?)?,
        );
        let fits = *order.shape == [held.rows, units]
            && counts.shape.len() == 2
            && counts.shape[1] == held.rows
            && order.slice::<u32>()?.iter().all(|&unit| (unit as usize) < units)
            && counts
                .slice::<u32>()?
                .iter()
                .all(|&count| count as usize <= units);
        if !fits {
            return Err(Fault::shape(format!(
                "obs: order {:?} or counts {:?} do not fit {} rows of {units} units",
                &*order.shape, &*counts.shape, held.rows
            )));
        }
        let dense = View::zeros(DType::F64, &[counts.shape[0], held.rows, held.columns])?;
        let failed = held
            .problem()?
            .rows_at(width, order.slice()?, counts.slice()?, dense.slice_mut()?)?;
        Ok(ObsRows {
            dense: dense.into_handle(),
            losses: None,
            codes: None,
            kept: None,
            failed: failed.map(|row| row as u32),
        })
    })
}

/// Removes columns until `zeros` of every `group` neighbours are gone.
#[napi]
pub fn obs_groups(
    weight: u32,
    inverse: u32,
    mask: Option<Uint8Array>,
    group: u32,
    zeros: u32,
) -> js::Result<ObsRows> {
    border(|| {
        let held = Held::new(weight, inverse, mask)?;
        if group == 0 || zeros > group || !held.columns.is_multiple_of(group as usize) {
            return Err(Fault::shape(format!(
                "obs: {zeros} zeros in groups of {group} do not fit {} columns",
                held.columns
            )));
        }
        let dense = View::zeros(DType::F64, &[held.rows, held.columns])?;
        let losses = View::zeros(DType::F64, &[held.rows])?;
        let kept = View::zeros(DType::U8, &[held.rows, held.columns])?;
        let failed = held.problem()?.groups(
            group as usize,
            zeros as usize,
            dense.slice_mut()?,
            kept.slice_mut()?,
            losses.slice_mut()?,
        )?;
        Ok(ObsRows {
            dense: dense.into_handle(),
            losses: Some(losses.into_handle()),
            codes: None,
            kept: Some(kept.into_handle()),
            failed: failed.map(|row| row as u32),
        })
    })
}

/// Rounds the columns that the mask keeps to the levels of a grid.
#[napi]
pub fn obs_quantize(
    weight: u32,
    inverse: u32,
    mask: Option<Uint8Array>,
    grid: ObsGrid,
) -> js::Result<ObsRows> {
    border(|| {
        let held = Held::new(weight, inverse, mask)?;
        let (rows, columns) = (held.rows, held.columns);
        let contiguous = |handle: u32| copy::contiguous(&view(handle)?);
        let (scales, zeros, group_of) = (
            contiguous(grid.scales)?,
            contiguous(grid.zeros)?,
            contiguous(grid.group_of)?,
        );
        let order = grid.order.map(contiguous).transpose()?;
        let groups = scales.shape.get(1).copied().unwrap_or(0);
        let mut seen = vec![false; columns];
        let whole = order
            .as_ref()
            .map(View::slice::<u32>)
            .transpose()?
            .is_none_or(|order| {
                order.len() == columns
                    && order
                        .iter()
                        .all(|&c| (c as usize) < columns && !std::mem::replace(&mut seen[c as usize], true))
            });
        let top = f64::from(grid.top);
        let fits = whole
            && grid.top <= 255
            && *scales.shape == [rows, groups]
            && *zeros.shape == [rows, groups]
            && *group_of.shape == [columns]
            && group_of
                .slice::<u32>()?
                .iter()
                .all(|&group| (group as usize) < groups)
            && scales
                .slice::<f64>()?
                .iter()
                .all(|scale| *scale > 0.0 && scale.is_finite())
            && zeros
                .slice::<f64>()?
                .iter()
                .all(|zero| (0.0..=top).contains(zero) && zero.fract() == 0.0);
        if !fits {
            return Err(Fault::shape(format!(
                "obs: the grid does not fit a weight [{rows}, {columns}]"
            )));
        }
        let dense = View::zeros(DType::F64, &[rows, columns])?;
        let losses = View::zeros(DType::F64, &[rows])?;
        let codes = View::zeros(DType::U8, &[rows, columns])?;
        let levels = Levels {
            top,
            scales: scales.slice()?,
            zeros: zeros.slice()?,
            group_of: group_of.slice()?,
            groups,
            order: order.as_ref().map(View::slice).transpose()?,
        };
        let failed = held.problem()?.quantize(
            &levels,
            codes.slice_mut()?,
            dense.slice_mut()?,
            losses.slice_mut()?,
        )?;
        Ok(ObsRows {
            dense: dense.into_handle(),
            losses: Some(losses.into_handle()),
            codes: Some(codes.into_handle()),
            kept: None,
            failed: failed.map(|row| row as u32),
        })
    })
}
