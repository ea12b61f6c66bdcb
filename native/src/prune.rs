//! The border of the sparse sweep.

use crate::affine_grid::AffineGrid;
use crate::arena::{View, view};
use crate::copy;
use crate::dtype::DType;
use crate::fault::{Fault, Result, border, js};
use crate::grid_rule::{GridKind, GridRule, Output};
use crate::number_rule::NumberRule;
use crate::parallel::Shared;
use crate::product::Real;
use crate::sparse_sweep::{Choice, SparseSweep};
use napi_derive::napi;

#[napi(object)]
pub struct SparseOptions {
    /// Columns of a slab; of which `zeros` says how many weights each prunes.
    pub slab: u32,
    /// Columns between two updates of the later ones.
    pub block: u32,
    /// u32 [slabs]: weights that each slab prunes over all rows.
    pub zeros: Option<u32>,
    /// Prunes all weights that score as the last one of a slab.
    pub ties: Option<bool>,
    /// Prunes all but `kept` of every `of` neighbours.
    pub kept: Option<u32>,
    pub of: Option<u32>,
    /// Type that weights are rounded to without a grid, by its code.
    pub numbers: Option<u32>,
    /// 1 to 8 bits on an evenly spaced grid.
    pub bits: Option<u32>,
    /// Columns per scale.
    pub group_size: Option<u32>,
    pub symmetric: Option<bool>,
    /// Searches a narrower range for each group.
    pub search: Option<bool>,
    /// Scales are f16.
    pub half_scales: Option<bool>,
    /// Smallest zero that the file can hold, 0 or 1.
    pub zero_low: Option<u32>,
    /// Groups are fitted on the given weight before the sweep.
    pub static_groups: Option<bool>,
    /// Groups see their columns as they were when the block began.
    pub stale: Option<bool>,
}

#[napi(object)]
pub struct SparseResult {
    /// The chosen values, [rows, columns].
    pub dense: u32,
    /// u8 [rows, columns], 1 where a weight lives.
    pub mask: u32,
    /// Sum of e^2 / 2 of each row, [rows].
    pub losses: u32,
    /// u8 [rows, columns], with a grid only; with scales f32 and zeros u8, both [rows, groups].
    pub codes: Option<u32>,
    pub scales: Option<u32>,
    pub zeros: Option<u32>,
}

fn first_that_is_not_finite<T: Real>(values: &[T]) -> Option<usize> {
    values.iter().position(|value| !value.to_f64().is_finite())
}

fn grid_of(options: &SparseOptions) -> Result<Option<(AffineGrid, usize)>> {
    let Some(bits) = options.bits else { return Ok(None) };
    let group = options.group_size.unwrap_or(0) as usize;
    if !(1..=8).contains(&bits) || group == 0 {
        return Err(Fault::shape(
            "sparse sweep: needs 1 to 8 bits and groups of one column at least",
        ));
    }
    let grid = AffineGrid {
        bits,
        symmetric: options.symmetric.unwrap_or(false),
        search: options.search.unwrap_or(false),
        half_scales: options.half_scales.unwrap_or(true),
        zero_low: options.zero_low.unwrap_or(0).min(1),
    };
    Ok(Some((grid, group)))
}

/// What is beside the weight; views stay alive while the sweep reads them.
struct Given {
    factor: Option<View>,
    order: Option<View>,
    mask: Option<View>,
    zeros: Option<View>,
}

fn run<T: Real>(weight: &View, given: &Given, options: &SparseOptions) -> Result<SparseResult> {
    let (rows, columns) = (weight.shape[0], weight.shape[1]);
    let data = weight.slice::<T>()?;
    if let Some(bad) = first_that_is_not_finite(data) {
        return Err(Fault::numerical(format!(
            "row {}, column {} of the weight is not finite; the model is damaged",
            bad / columns,
            bad % columns
        )));
    }
    let order = given.order.as_ref().map(View::slice::<u32>).transpose()?;
    let choice = match (&given.zeros, options.kept, options.of) {
        (Some(zeros), None, None) => Choice::Slabs {
            zeros: zeros.slice::<u32>()?,
            ties: options.ties.unwrap_or(false),
        },
        (None, Some(kept), Some(of)) => Choice::Groups {
            kept: kept as usize,
            of: of as usize,
        },
        (None, None, None) => Choice::None,
        _ => {
            return Err(Fault::shape(
                "sparse sweep: prunes by slabs or by groups, not both",
            ));
        }
    };
    let grid = grid_of(options)?;
    let sweep = SparseSweep {
        weight: data,
        rows,
        columns,
        factor: given.factor.as_ref().map(View::slice::<T>).transpose()?,
        order,
        mask: given.mask.as_ref().map(View::slice::<u8>).transpose()?,
        choice,
        slab: options.slab.max(1) as usize,
        block: options.block.max(1) as usize,
        stale: options.stale.unwrap_or(false),
        reach: grid.as_ref().map_or(0, |(_, group)| *group),
    };
    let dense = View::empty(T::DTYPE, &[rows, columns])?;
    let mask = View::empty(DType::U8, &[rows, columns])?;
    let losses = View::zeros(T::DTYPE, &[rows])?;
    let (decided, kept, sums) = (
        dense.slice_mut::<T>()?,
        mask.slice_mut::<u8>()?,
        losses.slice_mut::<T>()?,
    );
    let (mut codes, mut scales, mut zeros) = (None, None, None);
    match grid {
        None => {
            let rule = NumberRule {
                stored: options.numbers.map_or(Ok(T::DTYPE), DType::from_code)?,
            };
            sweep.run(&rule, decided, kept, sums)?;
        }
        Some((grid, group)) => {
            let groups = columns.div_ceil(group);
            let made = (
                View::empty(DType::U8, &[rows, columns])?,
                View::empty(DType::F32, &[rows, groups])?,
                View::empty(DType::U8, &[rows, groups])?,
            );
            let rule = GridRule {
                kind: GridKind::Affine(grid, group),
                columns,
                order,
                fixed: options.static_groups.unwrap_or(false).then_some(data),
                output: Output::Codes {
                    codes: Shared(made.0.slice_mut::<u8>()?.as_mut_ptr()),
                    scales: Shared(made.1.slice_mut::<f32>()?.as_mut_ptr()),
                    zeros: Shared(made.2.slice_mut::<u8>()?.as_mut_ptr()),
                },
            };
            sweep.run(&rule, decided, kept, sums)?;
            (codes, scales, zeros) = (Some(made.0), Some(made.1), Some(made.2));
        }
    }
    if let Some(bad) = first_that_is_not_finite(decided) {
        return Err(Fault::numerical(format!(
            "the corrected weight in row {}, column {} is past the range of its type; store wider numbers or raise the damping",
            bad / columns,
            bad % columns
        )));
    }
    Ok(SparseResult {
        dense: dense.into_handle(),
        mask: mask.into_handle(),
        losses: losses.into_handle(),
        codes: codes.map(View::into_handle),
        scales: scales.map(View::into_handle),
        zeros: zeros.map(View::into_handle),
    })
}

/// Prunes weight [rows, columns] (f32 or f64) column by column, and rounds what lives to a grid or to a number type.
/// `factor` is U transposed with H^-1 = U^T U, in sweep order and in the weight's type; without it nothing is corrected.
/// `mask` u8 [rows, columns] is 0 where a weight is pruned already.
#[napi]
pub fn sparse_sweep(
    weight: u32,
    factor: Option<u32>,
    order: Option<u32>,
    mask: Option<u32>,
    options: SparseOptions,
) -> js::Result<SparseResult> {
    border(|| {
        let load = |handle: u32| copy::contiguous(&view(handle)?);
        let weight = load(weight)?;
        if weight.shape.len() != 2 {
            return Err(Fault::shape(format!(
                "sparse sweep: needs a matrix, got shape {:?}",
                &*weight.shape
            )));
        }
        let given = Given {
            factor: factor.map(load).transpose()?,
            order: order.map(load).transpose()?,
            mask: mask.map(load).transpose()?,
            zeros: options.zeros.map(load).transpose()?,
        };
        if given
            .factor
            .as_ref()
            .is_some_and(|factor| factor.dtype != weight.dtype)
        {
            return Err(Fault::shape(
                "sparse sweep: factor and weight must have one number type",
            ));
        }
        match weight.dtype {
            DType::F32 => run::<f32>(&weight, &given, &options),
            DType::F64 => run::<f64>(&weight, &given, &options),
            other => Err(Fault::shape(format!(
                "sparse sweep: needs f32 or f64, got {}",
                other.name()
            ))),
        }
    })
}
