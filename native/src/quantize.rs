//! The border of the column sweep with grids.

use crate::affine_grid::AffineGrid;
use crate::arena::{View, view};
use crate::blocks::BlockType;
use crate::copy;
use crate::dtype::DType;
use crate::fault::{Fault, Result, border, js};
use crate::grid_rule::{GridKind, GridRule, Output};
use crate::parallel::Shared;
use crate::product::Real;
use crate::sweep::Sweep;
use napi_derive::napi;

#[napi(object)]
pub struct GridOptions {
    /// 2, 3, 4 or 8 bits on an evenly spaced grid; not with `blockType`.
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
    /// One of ggml's types, e.g. `Q3_K`.
    pub block_type: Option<String>,
    /// Groups are fitted on the given weight before the sweep.
    pub static_groups: Option<bool>,
    /// Columns between two updates of the later ones.
    pub block: Option<u32>,
    /// Groups see their columns as they were when the block began.
    pub stale: Option<bool>,
}

#[napi(object)]
pub struct GridResult {
    /// The chosen values, [rows, columns].
    pub dense: u32,
    /// Sum of e^2 / 2 of each row, [rows].
    pub losses: u32,
    /// u8 [rows, columns], affine grids only; with scales f32 and zeros u8, both [rows, groups].
    pub codes: Option<u32>,
    pub scales: Option<u32>,
    pub zeros: Option<u32>,
    /// u8 [rows, bytes of a row], block types only.
    pub blocks: Option<u32>,
}

fn kind_of(options: &GridOptions) -> Result<GridKind> {
    if let Some(name) = &options.block_type {
        let block = BlockType::from_name(name)
            .filter(|block| block.is_coded())
            .ok_or_else(|| Fault::shape(format!("sweep: {name} is not a block type with codes")))?;
        return Ok(GridKind::Block(block));
    }
    let bits = options
        .bits
        .filter(|bits| (1..=8).contains(bits))
        .ok_or_else(|| Fault::shape("sweep: bits must be from 1 to 8"))?;
    let group = options
        .group_size
        .filter(|&g| g > 0)
        .ok_or_else(|| Fault::shape("sweep: the group size must be above 0"))?;
    let grid = AffineGrid {
        bits,
        symmetric: options.symmetric.unwrap_or(false),
        search: options.search.unwrap_or(false),
        half_scales: options.half_scales.unwrap_or(true),
        zero_low: options.zero_low.unwrap_or(0).min(1),
    };
    Ok(GridKind::Affine(grid, group as usize))
}

fn run<T: Real>(
    weight: &View,
    factor: Option<&View>,
    order: Option<&[u32]>,
    options: &GridOptions,
) -> Result<GridResult> {
    let (rows, columns) = (weight.shape[0], weight.shape[1]);
    let kind = kind_of(options)?;
    let data = weight.slice::<T>()?;
    if let Some(bad) = data.iter().position(|value| !value.to_f64().is_finite()) {
        return Err(Fault::numerical(format!(
            "sweep: row {}, column {} of the weight is not finite; the model is damaged",
            bad / columns,
            bad % columns
        )));
    }
    let static_groups = options.static_groups.unwrap_or(false);
    let dense = View::empty(T::DTYPE, &[rows, columns])?;
    let losses = View::zeros(T::DTYPE, &[rows])?;
    let mut result = GridResult {
        dense: 0,
        losses: 0,
        codes: None,
        scales: None,
        zeros: None,
        blocks: None,
    };
    let (mut codes, mut scales, mut zeros, mut blocks) = (None, None, None, None);
    let output = match &kind {
        GridKind::Affine(_, group) => {
            let groups = columns.div_ceil(*group);
            let made = (
                View::empty(DType::U8, &[rows, columns])?,
                View::empty(DType::F32, &[rows, groups])?,
                View::empty(DType::U8, &[rows, groups])?,
            );
            let output = Output::Codes {
                codes: Shared(made.0.slice_mut::<u8>()?.as_mut_ptr()),
                scales: Shared(made.1.slice_mut::<f32>()?.as_mut_ptr()),
                zeros: Shared(made.2.slice_mut::<u8>()?.as_mut_ptr()),
            };
            (codes, scales, zeros) = (Some(made.0), Some(made.1), Some(made.2));
            output
        }
        GridKind::Block(block) => {
            if !columns.is_multiple_of(block.block_len()) {
                return Err(Fault::shape(format!(
                    "sweep: blocks of {} do not divide {columns} columns",
                    block.block_len()
                )));
            }
            if order.is_some() && !static_groups {
                return Err(Fault::shape(
                    "sweep: block types keep neighbouring columns together, so another order needs static groups",
                ));
            }
            let bytes = View::empty(
                DType::U8,
                &[rows, columns / block.block_len() * block.block_bytes()],
            )?;
            let output = Output::Blocks(Shared(bytes.slice_mut::<u8>()?.as_mut_ptr()));
            blocks = Some(bytes);
            output
        }
    };
    let rule = GridRule {
        kind,
        columns,
        order,
        fixed: static_groups.then_some(data),
        output,
    };
    let sweep = Sweep {
        weight: data,
        rows,
        columns,
        factor: factor.map(View::slice::<T>).transpose()?,
        order,
        block: options.block.unwrap_or(128) as usize,
        stale: options.stale.unwrap_or(false),
    };
    sweep.run(&rule, dense.slice_mut::<T>()?, losses.slice_mut::<T>()?)?;
    result.dense = dense.into_handle();
    result.losses = losses.into_handle();
    result.codes = codes.map(View::into_handle);
    result.scales = scales.map(View::into_handle);
    result.zeros = zeros.map(View::into_handle);
    result.blocks = blocks.map(View::into_handle);
    Ok(result)
}

/// Rounds weight [rows, columns] (f32 or f64) to a grid, column by column. `factor` is U transposed with
/// H^-1 = U^T U, in sweep order and in the weight's type; without it each weight is rounded to its nearest level.
#[napi]
pub fn sweep_grid(
    weight: u32,
    factor: Option<u32>,
    order: Option<u32>,
    options: GridOptions,
) -> js::Result<GridResult> {
    border(|| {
        let weight = copy::contiguous(&view(weight)?)?;
        if weight.shape.len() != 2 {
            return Err(Fault::shape(format!(
                "sweep: needs a matrix, got shape {:?}",
                &*weight.shape
            )));
        }
        let factor = factor.map(|f| copy::contiguous(&view(f)?)).transpose()?;
        if factor.as_ref().is_some_and(|f| f.dtype != weight.dtype) {
            return Err(Fault::shape("sweep: factor and weight must have one number type"));
        }
        let order = order.map(|o| copy::contiguous(&view(o)?)).transpose()?;
        let order = order.as_ref().map(View::slice::<u32>).transpose()?;
        match weight.dtype {
            DType::F32 => run::<f32>(&weight, factor.as_ref(), order, &options),
            DType::F64 => run::<f64>(&weight, factor.as_ref(), order, &options),
            other => Err(Fault::shape(format!(
                "sweep: needs f32 or f64, got {}",
                other.name()
            ))),
        }
    })
}
