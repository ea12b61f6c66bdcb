//! Products with weights that stay as they are stored: blocks of ggml times rows of inputs.
//!
//!   y[m, i] = sum over k of step_ik * <level_ik, x_mk> - offset_ik * sum(x_mk) + bias_i      k = sub-block of a row
//!
//! A few rows of inputs meet the codes in registers. For many, some rows of the weight at a time are decoded and go through
//! the dense product.

mod inputs;
#[cfg(target_arch = "x86_64")]
mod kernels;
mod many;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod types;

use crate::arena::{View, view};
use crate::blocks::BlockType;
use crate::copy;
use crate::dtype::DType;
use crate::fault::{Fault, Result, border, js};
use crate::parallel::{self, Shared};
use crate::simd;
use inputs::{Need, Row, restored};
use napi_derive::napi;

pub use inputs::{Activations, PART};

/// Rows of inputs up to which codes are read for every four of them: beyond, decoding once costs less.
const FEW: usize = 16;
/// Bytes of the weight that one task reads, about.
const TASK_BYTES: usize = 1 << 15;

/// Rows of blocks.
pub struct Packed<'a> {
    pub block_type: BlockType,
    /// [rows, row bytes]
    pub bytes: &'a [u8],
    pub rows: usize,
    /// Whole blocks.
    pub columns: usize,
}

impl Packed<'_> {
    fn row_bytes(&self) -> usize {
        self.columns / self.block_type.block_len() * self.block_type.block_bytes()
    }
}

/// out [m, rows] = x [m, columns] times the transposed weight, plus bias [rows].
pub fn multiply(
    weight: &Packed,
    x: &[f32],
    activations: Activations,
    bias: Option<&[f32]>,
    out: &mut [f32],
) -> Result<()> {
    let many = x.len() / weight.columns;
    let whole_parts = weight.columns.is_multiple_of(PART);
    if many > FEW || !whole_parts {
        let rounded = if activations == Activations::Int8 && whole_parts {
            Some(inputs::round_trip(x, weight.columns)?)
        } else {
            None
        };
        return many::multiply(weight, rounded.as_deref().unwrap_or(x), bias, out);
    }
    few(weight, x, activations, out)?;
    if let Some(bias) = bias {
        for line in out.chunks_exact_mut(weight.rows) {
            line.iter_mut().zip(bias).for_each(|(y, bias)| *y += bias);
        }
    }
    Ok(())
}

fn few(weight: &Packed, x: &[f32], activations: Activations, out: &mut [f32]) -> Result<()> {
    let (row_bytes, rows) = (weight.row_bytes(), weight.rows);
    let each = (TASK_BYTES / row_bytes.max(1))
        .clamp(1, rows.div_ceil(8).max(1))
        .next_multiple_of(2);
    let need = need_of(weight.block_type);
    let inputs: Vec<Row> = x
        .chunks_exact(weight.columns)
        .map(|x| Row::new(x, activations, need))
        .collect();
    let target = Shared(out.as_mut_ptr());
    parallel::tasks(rows.div_ceil(each), |task| {
        let start = task * each;
        let count = each.min(rows - start);
        let bytes = &weight.bytes[start * row_bytes..(start + count) * row_bytes];
        let mut first = 0;
        while first < inputs.len() {
            let group = if inputs.len() - first >= 4 { 4 } else { 1 };
            let mut lines: [&mut [f32]; 4] = Default::default();
            for (m, line) in lines.iter_mut().enumerate().take(group) {
                // SAFETY: these outputs belong to this task alone.
                *line = unsafe {
                    std::slice::from_raw_parts_mut(target.get().add((first + m) * rows + start), count)
                };
            }
            multiply_rows(
                weight.block_type,
                bytes,
                row_bytes,
                &inputs[first..first + group],
                activations,
                &mut lines[..group],
            );
            first += group;
        }
    })
}

/// What the kernels of a type ask of inputs.
fn need_of(block_type: BlockType) -> Need {
    #[cfg(target_arch = "x86_64")]
    if simd::level() >= simd::Level::Avx2 && block_type.is_coded() {
        return kernels::need_of(block_type);
    }
    let _ = block_type;
    Need {
        zero: 0,
        summed: PART,
    }
}

/// Rows of a weight times one row of inputs or four.
fn multiply_rows(
    block_type: BlockType,
    bytes: &[u8],
    row_bytes: usize,
    inputs: &[Row],
    activations: Activations,
    out: &mut [&mut [f32]],
) {
    #[cfg(target_arch = "x86_64")]
    if simd::level() >= simd::Level::Avx2 && block_type.is_coded() && is_x86_feature_detected!("f16c") {
        let kernel = kernels::kernel_of(block_type, activations, inputs.len());
        // SAFETY: the processor has the instructions, and the caller gave whole rows.
        return unsafe { kernel(bytes, row_bytes, inputs, out) };
    }
    plain_rows(block_type, bytes, row_bytes, inputs, activations, out);
}

/// The same by decoding each row, in part of a sum for each lane.
fn plain_rows(
    block_type: BlockType,
    bytes: &[u8],
    row_bytes: usize,
    inputs: &[Row],
    activations: Activations,
    out: &mut [&mut [f32]],
) {
    let columns = row_bytes / block_type.block_bytes() * block_type.block_len();
    let mut numbers = vec![0.0; columns];
    let inputs: Vec<_> = inputs
        .iter()
        .map(|row| match activations {
            Activations::F32 => row.floats.clone(),
            Activations::Int8 => restored(row),
        })
        .collect();
    for (at, bytes) in bytes.chunks_exact(row_bytes).enumerate() {
        block_type.dequantize_row(bytes, &mut numbers);
        for (x, out) in inputs.iter().zip(out.iter_mut()) {
            out[at] = dot(&numbers, x);
        }
    }
}

simd! {
    fn dot(a: &[f32], b: &[f32]) -> f32 {
        let mut sums = [0.0f32; PART];
        let (a, rest_a) = a.as_chunks::<PART>();
        let (b, rest_b) = b.as_chunks::<PART>();
        for (a, b) in a.iter().zip(b) {
            for i in 0..PART {
                sums[i] += a[i] * b[i];
            }
        }
        let rest: f32 = rest_a.iter().zip(rest_b).map(|(a, b)| a * b).sum();
        sums.iter().sum::<f32>() + rest
    }
}

fn activations_of(name: &str) -> Result<Activations> {
    match name {
        "f32" => Ok(Activations::F32),
        "int8" => Ok(Activations::Int8),
        _ => Err(Fault::shape("packedProduct: activations are f32 or int8")),
    }
}

/// bytes u8 [rows, bytes of a row] in blocks of `type`, x f32 [m, columns], bias f32 [rows]. Result f32 [m, rows].
#[napi]
pub fn packed_product(
    block_type: String,
    bytes: u32,
    x: u32,
    bias: Option<u32>,
    activations: String,
) -> js::Result<u32> {
    border(|| {
        let block_type = BlockType::from_name(&block_type)
            .ok_or_else(|| Fault::format("packedProduct: the type is none that Pare decodes"))?;
        let activations = activations_of(&activations)?;
        let load = |handle: u32| copy::contiguous(&view(handle)?);
        let (bytes, x, bias) = (load(bytes)?, load(x)?, bias.map(load).transpose()?);
        let (&[rows, row_bytes], &[many, columns]) = (&*bytes.shape, &*x.shape) else {
            return Err(Fault::shape("packedProduct: bytes and inputs have two axes"));
        };
        let fits = columns > 0
            && columns.is_multiple_of(block_type.block_len())
            && columns / block_type.block_len() * block_type.block_bytes() == row_bytes
            && bias.as_ref().is_none_or(|bias| *bias.shape == [rows]);
        if !fits {
            return Err(Fault::shape(format!(
                "packedProduct: {row_bytes} bytes a row of {block_type:?} and a bias of {:?} do not fit {columns} inputs and {rows} outputs",
                bias.as_ref().map(|bias| bias.shape.to_vec())
            )));
        }
        let out = View::empty(DType::F32, &[many, rows])?;
        let weight = Packed {
            block_type,
            bytes: bytes.slice()?,
            rows,
            columns,
        };
        if !out.is_empty() {
            let bias = bias.as_ref().map(View::slice::<f32>).transpose()?;
            multiply(&weight, x.slice()?, activations, bias, out.slice_mut()?)?;
        }
        Ok(out.into_handle())
    })
}
