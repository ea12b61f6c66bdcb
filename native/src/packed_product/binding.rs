//! The border to JavaScript: types, shapes and lengths are checked here.

use super::form::MOST_PARTS;
use super::grid::{Codes, pack};
use super::{Activations, Form, Grid, PART, Packed, Product, multiply, repeat};
use crate::arena::{View, view};
use crate::blocks::BlockType;
use crate::copy;
use crate::dtype::DType;
use crate::fault::{Fault, Result, border, js};
use napi_derive::napi;

/// How a weight is packed: blocks of ggml by the name of their type, or a grid.
#[napi(object)]
pub struct PackedForm {
    pub block_type: Option<String>,
    /// 2, 3, 4 or 8, of a grid.
    pub bits: Option<u32>,
    /// Columns that share a step, a multiple of 32, of a grid.
    pub group: Option<u32>,
    /// Steps and zeros are f32, not f16.
    pub wide: Option<bool>,
}

pub(crate) fn form_of(form: &PackedForm) -> Result<Form> {
    if let Some(name) = &form.block_type {
        return BlockType::from_name(name)
            .map(Form::Blocks)
            .ok_or_else(|| Fault::format("packed product: the type of blocks is none that Pare decodes"));
    }
    let (bits, group) = (form.bits.unwrap_or(0) as usize, form.group.unwrap_or(0) as usize);
    if ![2, 3, 4, 8].contains(&bits)
        || !(1..=MOST_PARTS).contains(&(group / PART))
        || !group.is_multiple_of(PART)
    {
        return Err(Fault::shape(format!(
            "packed grid: needs 2, 3, 4 or 8 bits and groups of a multiple of {PART}, got {bits} and {group}"
        )));
    }
    Ok(Form::Grid(Grid {
        bits,
        run: group / PART,
        wide: form.wide.unwrap_or(false),
    }))
}

/// The number of a form, which `decoder_block` takes.
#[napi]
pub fn packed_form_code(form: PackedForm) -> js::Result<u32> {
    border(|| Ok(form_of(&form)?.code()))
}

pub(crate) fn activations_of(name: &str) -> Result<Activations> {
    match name {
        "f32" => Ok(Activations::F32),
        "int8" => Ok(Activations::Int8),
        _ => Err(Fault::shape("packed product: activations are f32 or int8")),
    }
}

/// A weight whose bytes u8 [rows, bytes of a row] and bias f32 [rows] fit inputs of so many columns.
pub(crate) fn checked<'a>(
    form: Form,
    bytes: &'a View,
    columns: usize,
    bias: Option<&View>,
) -> Result<Packed<'a>> {
    let &[rows, row_bytes] = &*bytes.shape else {
        return Err(Fault::shape("packed product: bytes have two axes"));
    };
    let fits = columns > 0
        && columns.is_multiple_of(form.block_len())
        && form.row_bytes(columns) == row_bytes
        && bias.is_none_or(|bias| *bias.shape == [rows]);
    if !fits {
        return Err(Fault::shape(format!(
            "packed product: {row_bytes} bytes a row of {form:?} and a bias of {:?} do not fit {columns} inputs and {rows} outputs",
            bias.map(|bias| bias.shape.to_vec())
        )));
    }
    Ok(Packed {
        form,
        bytes: bytes.slice()?,
        rows,
        columns,
    })
}

/// bytes u8 [rows, bytes of a row], x f32 [m, columns]. Result f32 [m, rows].
pub(crate) fn product(form: Form, bytes: &View, x: &View, activations: Activations) -> Result<View> {
    let &[many, columns] = &*x.shape else {
        return Err(Fault::shape("packed product: inputs have two axes"));
    };
    let weight = checked(form, bytes, columns, None)?;
    let out = View::empty(DType::F32, &[many, weight.rows])?;
    if !out.is_empty() {
        let own = Product {
            weight,
            bias: None,
            out: out.slice_mut()?,
        };
        multiply(&mut [own], x.slice()?, activations)?;
    }
    Ok(out)
}

/// Multiplies a weight u8 [rows, bytes of a row] with one row of inputs f32 [columns] so many times on this thread alone: what
/// the kernel does where all lies in the nearest cache, for figures of products to stand beside.
#[napi]
pub fn repeat_packed_product(
    form: PackedForm,
    bytes: u32,
    x: u32,
    activations: String,
    times: u32,
) -> js::Result<f64> {
    border(|| {
        let form = form_of(&form)?;
        let activations = activations_of(&activations)?;
        let (bytes, x) = (copy::contiguous(&view(bytes)?)?, copy::contiguous(&view(x)?)?);
        let columns = x.len();
        let rows = bytes.shape[0];
        let weight = checked(form, &bytes, columns, None)?;
        let mut out = vec![0.0; rows];
        repeat(&weight, x.slice()?, activations, times as usize, &mut out)?;
        Ok(out.iter().map(|&y| f64::from(y)).sum())
    })
}

/// Packs codes u8 [rows, columns] with steps and zeros f32 [rows, blocks]. Place p of a packed row is column `order[p]`
/// (u32 [blocks * group]), or nothing where that is past the last. Result u8 [rows, bytes of a row].
#[napi]
pub fn pack_grid(form: PackedForm, codes: u32, order: u32, steps: u32, zeros: u32) -> js::Result<u32> {
    border(|| {
        let Form::Grid(grid) = form_of(&form)? else {
            return Err(Fault::shape("packed grid: blocks of ggml are packed already"));
        };
        let load = |handle: u32| copy::contiguous(&view(handle)?);
        let (codes, order, steps, zeros) = (load(codes)?, load(order)?, load(steps)?, load(zeros)?);
        let &[rows, columns] = &*codes.shape else {
            return Err(Fault::shape("packed grid: codes have two axes"));
        };
        let blocks = order.len() / grid.block_len();
        if !order.len().is_multiple_of(grid.block_len())
            || *steps.shape != [rows, blocks]
            || steps.shape != zeros.shape
        {
            return Err(Fault::shape(format!(
                "packed grid: {} places and steps {:?} do not fit {rows} rows in groups of {}",
                order.len(),
                &*steps.shape,
                grid.block_len()
            )));
        }
        let out = View::empty(DType::U8, &[rows, blocks * grid.block_bytes()])?;
        if !out.is_empty() {
            let from = Codes {
                codes: codes.slice()?,
                columns,
                order: order.slice()?,
                steps: steps.slice()?,
                zeros: zeros.slice()?,
            };
            pack(grid, &from, out.slice_mut()?)?;
        }
        Ok(out.into_handle())
    })
}

/// bytes u8 [rows, bytes of a row] as floats, f32 [rows, places].
#[napi]
pub fn decode_packed(form: PackedForm, bytes: u32) -> js::Result<u32> {
    border(|| {
        let form = form_of(&form)?;
        let bytes = copy::contiguous(&view(bytes)?)?;
        let &[rows, row_bytes] = &*bytes.shape else {
            return Err(Fault::shape("packed weight: bytes have two axes"));
        };
        if !row_bytes.is_multiple_of(form.block_bytes()) {
            return Err(Fault::shape(format!(
                "packed weight: {row_bytes} bytes a row are no whole blocks of {form:?}"
            )));
        }
        let places = row_bytes / form.block_bytes() * form.block_len();
        let out = View::empty(DType::F32, &[rows, places])?;
        if !out.is_empty() {
            form.decode(bytes.slice()?, places, out.slice_mut()?)?;
        }
        Ok(out.into_handle())
    })
}
