//! Convolution of images with channels last, and its gradients. One dimension is an image of height 1.

mod chunks;
mod correlate;
mod depthwise;
mod fitted;
mod grid;
mod kernel;
mod places;
#[cfg(test)]
mod tests;
mod unfold;
mod weight_gradient;
mod window;

use crate::arena::{View, view};
use crate::copy;
use crate::dtype::DType;
use crate::dtype::num::Float;
use crate::fault::{Fault, Result, border, js};
use crate::micro_tiles::Real;
use correlate::Ending;
use fitted::Fitted;
pub use fitted::Geometry;
use kernel::WindowKernel;
use napi_derive::napi;

/// Runs in f32 or f64; bf16 through f32, rounded once.
fn computed(
    inputs: &[&View],
    shape: &[usize],
    single: impl Fn(&[View], &View) -> Result<()>,
    double: impl Fn(&[View], &View) -> Result<()>,
) -> Result<View> {
    let dtype = inputs[0].dtype;
    if inputs.iter().any(|input| input.dtype != dtype) {
        return Err(Fault::shape("convolution: needs operands of one number type"));
    }
    let wide = if dtype == DType::BF16 { DType::F32 } else { dtype };
    let operands = inputs
        .iter()
        .map(|input| {
            copy::contiguous(&if wide == dtype {
                (*input).clone()
            } else {
                copy::cast(input, wide)?
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let out = View::empty(wide, shape)?;
    if !out.is_empty() {
        match wide {
            DType::F32 => single(&operands, &out)?,
            DType::F64 => double(&operands, &out)?,
            other => {
                return Err(Fault::shape(format!(
                    "convolution: needs f32, f64 or bf16, got {}; cast it first",
                    other.name()
                )));
            }
        }
    }
    if wide == dtype {
        Ok(out)
    } else {
        copy::cast(&out, dtype)
    }
}

fn run_forward<T: Real + WindowKernel>(
    fitted: &Fitted,
    operands: &[View],
    relu: bool,
    out: &View,
) -> Result<()> {
    let (x, weight, out) = (
        operands[0].slice::<T>()?,
        operands[1].slice::<T>()?,
        out.slice_mut::<T>()?,
    );
    let ending = Ending {
        bias: operands.get(2).map(View::slice::<T>).transpose()?,
        floor: if relu { T::ZERO } else { <T as Float>::NEG_INFINITY },
    };
    if fitted.is_depthwise() {
        let weight = depthwise::turned(weight, fitted.output.channels)?;
        return depthwise::correlate(&fitted.forward(), x, weight.slice::<T>()?, ending, out);
    }
    correlate::correlate(&fitted.forward(), x, fitted.weights(weight, false), ending, out)
}

/// x [batch, height, width, in], weight [out, kh, kw, in / groups], bias [out].
pub fn convolution(x: &View, weight: &View, bias: Option<&View>, fields: &[u32], relu: bool) -> Result<View> {
    let fitted = Fitted::new(&x.shape, &weight.shape, fields)?;
    let mut inputs = vec![x, weight];
    if let Some(bias) = bias {
        if *bias.shape != [fitted.output.channels] {
            let (found, need) = (&*bias.shape, fitted.output.channels);
            return Err(Fault::shape(format!(
                "convolution: needs a bias [{need}], got {found:?}"
            )));
        }
        inputs.push(bias);
    }
    computed(
        &inputs,
        &fitted.output_shape(),
        |operands, out| run_forward::<f32>(&fitted, operands, relu, out),
        |operands, out| run_forward::<f64>(&fitted, operands, relu, out),
    )
}

fn needs_gradient(fitted: &Fitted, gradient: &View) -> Result<()> {
    if *gradient.shape == fitted.output_shape() {
        return Ok(());
    }
    let (need, found) = (fitted.output_shape(), &*gradient.shape);
    Err(Fault::shape(format!(
        "convolution: needs a gradient of shape {need:?}, got {found:?}"
    )))
}

fn run_input_gradient<T: Real + WindowKernel>(fitted: &Fitted, operands: &[View], out: &View) -> Result<()> {
    let (gradient, weight) = (operands[0].slice::<T>()?, operands[1].slice::<T>()?);
    let out = out.slice_mut::<T>()?;
    if fitted.is_depthwise() {
        let weight = depthwise::turned(weight, fitted.output.channels)?;
        return depthwise::correlate(
            &fitted.backward(),
            gradient,
            weight.slice::<T>()?,
            Ending::none(),
            out,
        );
    }
    let weights = fitted.weights(weight, true);
    correlate::correlate(&fitted.backward(), gradient, weights, Ending::none(), out)
}

/// The gradient of x [.., height, width, in] from that of the output.
pub fn input_gradient(gradient: &View, weight: &View, size: (usize, usize), fields: &[u32]) -> Result<View> {
    let images = gradient.shape.first().copied().unwrap_or(0);
    let groups = fields.last().map_or(0, |&groups| groups as usize);
    let channels = weight.shape.last().copied().unwrap_or(0).saturating_mul(groups);
    let shape = [images, size.0, size.1, channels];
    let fitted = Fitted::new(&shape, &weight.shape, fields)?;
    needs_gradient(&fitted, gradient)?;
    computed(
        &[gradient, weight],
        &shape,
        |operands, out| run_input_gradient::<f32>(&fitted, operands, out),
        |operands, out| run_input_gradient::<f64>(&fitted, operands, out),
    )
}

fn run_weight_gradient<T: Real + WindowKernel>(fitted: &Fitted, operands: &[View], out: &View) -> Result<()> {
    let (x, gradient) = (operands[0].slice::<T>()?, operands[1].slice::<T>()?);
    let out = out.slice_mut::<T>()?;
    if fitted.images == 0 {
        out.fill(T::ZERO);
        return Ok(());
    }
    if fitted.is_depthwise() {
        return depthwise::weight_gradient(&fitted.forward(), x, gradient, out);
    }
    weight_gradient::weight_gradient(&fitted.forward(), x, gradient, out)
}

/// The gradient of the weight [out, kh, kw, in / groups], summed over all positions.
pub fn weight_gradient(x: &View, gradient: &View, kernel: (usize, usize), fields: &[u32]) -> Result<View> {
    let groups = fields.last().map_or(1, |&groups| groups.max(1) as usize);
    let (out, channels) = (
        gradient.shape.last().copied().unwrap_or(0),
        x.shape.last().copied().unwrap_or(0),
    );
    let shape = [out, kernel.0, kernel.1, channels / groups];
    let fitted = Fitted::new(&x.shape, &shape, fields)?;
    needs_gradient(&fitted, gradient)?;
    computed(
        &[x, gradient],
        &shape,
        |operands, out| run_weight_gradient::<f32>(&fitted, operands, out),
        |operands, out| run_weight_gradient::<f64>(&fitted, operands, out),
    )
}

/// The inputs of every window, [groups, batch * positions, kh * kw * in / groups].
pub fn unfold(x: &View, kernel: (usize, usize), fields: &[u32]) -> Result<View> {
    let groups = fields.last().map_or(1, |&groups| groups.max(1) as usize);
    let depth = x.shape.last().copied().unwrap_or(0) / groups;
    let fitted = Fitted::new(&x.shape, &[groups, kernel.0, kernel.1, depth], fields)?;
    let positions = fitted.images * fitted.output.height * fitted.output.width;
    computed(
        &[x],
        &[groups, positions, kernel.0 * kernel.1 * depth],
        |operands, out| unfold::unfold::<f32>(&fitted.forward(), operands[0].slice()?, out.slice_mut()?),
        |operands, out| unfold::unfold::<f64>(&fitted.forward(), operands[0].slice()?, out.slice_mut()?),
    )
}

/// x [batch, height, width, in], weight [out, kh, kw, in / groups], bias [out]; geometry: strides, zeros before and
/// after, dilations (each for rows, then columns), groups.
#[napi(js_name = "convolution")]
pub fn convolution_border(
    x: u32,
    weight: u32,
    bias: Option<u32>,
    geometry: Vec<u32>,
    relu: bool,
) -> js::Result<u32> {
    border(|| {
        let bias = bias.map(view).transpose()?;
        Ok(convolution(&view(x)?, &view(weight)?, bias.as_ref(), &geometry, relu)?.into_handle())
    })
}

#[napi(js_name = "convolutionInputGradient")]
pub fn input_gradient_border(
    gradient: u32,
    weight: u32,
    height: u32,
    width: u32,
    geometry: Vec<u32>,
) -> js::Result<u32> {
    border(|| {
        let size = (height as usize, width as usize);
        Ok(input_gradient(&view(gradient)?, &view(weight)?, size, &geometry)?.into_handle())
    })
}

#[napi(js_name = "convolutionWeightGradient")]
pub fn weight_gradient_border(
    x: u32,
    gradient: u32,
    kernel_height: u32,
    kernel_width: u32,
    geometry: Vec<u32>,
) -> js::Result<u32> {
    border(|| {
        let kernel = (kernel_height as usize, kernel_width as usize);
        Ok(weight_gradient(&view(x)?, &view(gradient)?, kernel, &geometry)?.into_handle())
    })
}

#[napi(js_name = "unfold")]
pub fn unfold_border(x: u32, kernel_height: u32, kernel_width: u32, geometry: Vec<u32>) -> js::Result<u32> {
    border(|| {
        let kernel = (kernel_height as usize, kernel_width as usize);
        Ok(unfold(&view(x)?, kernel, &geometry)?.into_handle())
    })
}
