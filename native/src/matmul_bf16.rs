//! Matrix products of bf16 operands with f32 sums.

use crate::arena::View;
use crate::copy;
use crate::dtype::DType;
use crate::fault::Result;
use crate::matmul::{Activation, Epilogue, batch_offsets, matrix_of, product};

/// The product in f32 of widened operands, rounded once to bf16 after the epilogue.
pub fn matmul(
    left: &View,
    right: &View,
    bias: Option<&View>,
    activation: Activation,
    residual: Option<&View>,
    shape: &[usize],
) -> Result<View> {
    let wide = |x: &View| copy::cast(x, DType::F32);
    let out = View::empty(DType::F32, shape)?;
    let (left, right) = (wide(left)?, wide(right)?);
    let (bias, residual) = (bias.map(wide).transpose()?, residual.map(wide).transpose()?);
    let epilogue = Epilogue {
        bias: bias.as_ref().map(View::slice::<f32>).transpose()?,
        activation,
        residual: residual.as_ref().map(View::slice::<f32>).transpose()?,
    };
    product(
        (left.tail()?, matrix_of(&left)),
        &batch_offsets(&left),
        (right.tail()?, matrix_of(&right)),
        &batch_offsets(&right),
        out.slice_mut()?,
        &epilogue,
    )?;
    copy::cast(&out, DType::BF16)
}
