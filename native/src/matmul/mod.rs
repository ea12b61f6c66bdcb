//! Matrix products in f32, f64 and bf16 with an epilogue: bias, activation, residual.

mod epilogue;
mod thin_product;

pub use epilogue::{Activation, Epilogue, activation_of, finish};

use crate::arena::{View, view};
use crate::copy;
use crate::dtype::DType;
use crate::fault::{Fault, Result, border, js};
use crate::float_rows::{self, Written};
use crate::packing::Operand;
use crate::panel::Side;
use crate::product::{Real, product};
use half::bf16;
use napi_derive::napi;
use thin_product::{THIN, thin_product};

/// [.., m, k] times [.., k, n]; leading axes are equal.
pub fn matmul(
    left: &View,
    right: &View,
    bias: Option<&View>,
    activation: Activation,
    residual: Option<&View>,
) -> Result<View> {
    let wrong = |why: String| {
        Fault::shape(format!(
            "matmul: {why}, got {:?} times {:?}",
            &*left.shape, &*right.shape
        ))
    };
    let axes = left.shape.len();
    if axes < 2 || right.shape.len() != axes || left.shape[..axes - 2] != right.shape[..axes - 2] {
        return Err(wrong("needs equal leading axes".into()));
    }
    if left.shape[axes - 1] != right.shape[axes - 2] {
        return Err(wrong(
            "needs as many columns on the left as rows on the right".into(),
        ));
    }
    if left.dtype != right.dtype {
        return Err(wrong(format!(
            "needs one number type, got {} and {}",
            left.dtype.name(),
            right.dtype.name()
        )));
    }
    let mut shape = left.shape.to_vec();
    shape[axes - 1] = right.shape[axes - 1];
    let columns = shape[axes - 1];
    if let Some(bias) = bias
        && (bias.dtype != left.dtype || bias.len() != columns)
    {
        return Err(wrong(format!(
            "needs a bias of {columns} values of the same number type"
        )));
    }
    let residual = residual.map(copy::contiguous).transpose()?;
    if let Some(residual) = &residual
        && (residual.dtype != left.dtype || *residual.shape != *shape)
    {
        return Err(wrong(format!(
            "needs a residual of shape {shape:?} and the same number type"
        )));
    }
    let bias = bias.map(copy::contiguous).transpose()?;
    let out = View::empty(left.dtype, &shape)?;
    if out.is_empty() {
        return Ok(out);
    }
    match left.dtype {
        DType::F32 => run::<f32>(left, right, bias.as_ref(), activation, residual.as_ref(), &out)?,
        DType::F64 => run::<f64>(left, right, bias.as_ref(), activation, residual.as_ref(), &out)?,
        DType::BF16 => return run_bf16(left, right, bias.as_ref(), activation, residual.as_ref(), &shape),
        other => {
            return Err(Fault::shape(format!(
                "matmul: needs f32, f64 or bf16, got {}; cast it first",
                other.name()
            )));
        }
    }
    Ok(out)
}

fn run<T: Real>(
    left: &View,
    right: &View,
    bias: Option<&View>,
    activation: Activation,
    residual: Option<&View>,
    out: &View,
) -> Result<()> {
    let epilogue = Epilogue {
        bias: bias.map(View::slice::<T>).transpose()?,
        activation,
        residual: residual.map(View::slice::<T>).transpose()?,
    };
    let (left_batches, right_batches) = (batch_offsets(left), batch_offsets(right));
    let left = Side {
        numbers: left.tail::<T>()?,
        operand: rows_of(left),
        batches: &left_batches,
    };
    let right = Side {
        numbers: right.tail::<T>()?,
        operand: columns_of(right),
        batches: &right_batches,
    };
    let end = |line: &mut [T], column: usize, position: usize| finish(line, &epilogue, column, position);
    let out = out.slice_mut::<T>()?;
    if left.operand.lanes.min(right.operand.lanes) < THIN {
        return thin_product(left, right, out, end);
    }
    product(left, right, out, end)
}

/// Sums in f32, rounded once to bf16 after the epilogue.
fn run_bf16(
    left: &View,
    right: &View,
    bias: Option<&View>,
    activation: Activation,
    residual: Option<&View>,
    shape: &[usize],
) -> Result<View> {
    let wide = |x: &View| copy::cast(x, DType::F32);
    let out = View::empty(DType::F32, shape)?;
    let (bias, residual) = (bias.map(wide).transpose()?, residual.map(wide).transpose()?);
    if let Some(found) = few_rows_of_bf16(left, right, &out)? {
        let epilogue = Epilogue {
            bias: bias.as_ref().map(View::slice::<f32>).transpose()?,
            activation,
            residual: residual.as_ref().map(View::slice::<f32>).transpose()?,
        };
        for (row, line) in found.chunks_exact_mut(columns_of(right).lanes).enumerate() {
            finish(line, &epilogue, 0, row * columns_of(right).lanes);
        }
        return copy::cast(&out, DType::BF16);
    }
    let thin = rows_of(left).lanes.min(columns_of(right).lanes) < THIN;
    if thin {
        run::<f32>(
            &wide(left)?,
            &wide(right)?,
            bias.as_ref(),
            activation,
            residual.as_ref(),
            &out,
        )?;
        return copy::cast(&out, DType::BF16);
    }
    let epilogue = Epilogue {
        bias: bias.as_ref().map(View::slice::<f32>).transpose()?,
        activation,
        residual: residual.as_ref().map(View::slice::<f32>).transpose()?,
    };
    product(
        Side {
            numbers: left.tail::<bf16>()?,
            operand: rows_of(left),
            batches: &batch_offsets(left),
        },
        Side {
            numbers: right.tail::<bf16>()?,
            operand: columns_of(right),
            batches: &batch_offsets(right),
        },
        out.slice_mut::<f32>()?,
        |line: &mut [f32], column, position| finish(line, &epilogue, column, position),
    )?;
    copy::cast(&out, DType::BF16)
}

/// Few rows of one matrix [rows, k] times columns [k, n] that lie in rows of their own, as those of a weight do.
fn few_rows_of_bf16<'a>(left: &View, right: &View, out: &'a View) -> Result<Option<&'a mut [f32]>> {
    let (rows, columns) = (rows_of(left), columns_of(right));
    let (n, k) = (columns.lanes, columns.depth);
    let fits = left.shape.len() == 2
        && rows.lanes < THIN
        && k > 0
        && columns.depth_stride == 1
        && columns.lane_stride == k;
    if !fits || !float_rows::has_kernel() {
        return Ok(None);
    }
    let x = copy::contiguous(&copy::cast(left, DType::F32)?)?;
    let inputs: Vec<&[f32]> = x.slice::<f32>()?.chunks_exact(k).collect();
    let weight = right.restrided(&[n, k], &[k, 1], right.offset)?;
    let out = out.slice_mut::<f32>()?;
    float_rows::multiply((Written::BF16, weight.bytes()?), k, &inputs, out)?;
    Ok(Some(out))
}

/// Offsets of the batches of a [.., rows, columns] view, in row-major order of its leading axes.
fn batch_offsets(x: &View) -> Vec<usize> {
    let leading = x.shape.len() - 2;
    let count: usize = x.shape[..leading].iter().product();
    (0..count)
        .map(|mut index| {
            let mut offset = 0;
            for axis in (0..leading).rev() {
                offset += index % x.shape[axis] * x.strides[axis];
                index /= x.shape[axis];
            }
            offset
        })
        .collect()
}

/// Rows as lanes: the left operand.
fn rows_of(x: &View) -> Operand {
    let axes = x.shape.len();
    Operand {
        lanes: x.shape[axes - 2],
        depth: x.shape[axes - 1],
        lane_stride: x.strides[axes - 2],
        depth_stride: x.strides[axes - 1],
    }
}

/// Columns as lanes: the right operand.
fn columns_of(x: &View) -> Operand {
    let axes = x.shape.len();
    Operand {
        lanes: x.shape[axes - 1],
        depth: x.shape[axes - 2],
        lane_stride: x.strides[axes - 1],
        depth_stride: x.strides[axes - 2],
    }
}

/// [.., m, k] times [.., k, n], then + bias [n], activation, + residual [.., m, n].
#[napi(js_name = "matmul")]
pub fn matmul_border(
    left: u32,
    right: u32,
    bias: Option<u32>,
    activation: String,
    residual: Option<u32>,
) -> js::Result<u32> {
    border(|| {
        let bias = bias.map(view).transpose()?;
        let residual = residual.map(view).transpose()?;
        let out = matmul(
            &view(left)?,
            &view(right)?,
            bias.as_ref(),
            activation_of(&activation)?,
            residual.as_ref(),
        )?;
        Ok(out.into_handle())
    })
}
