//! Convolution of images with channels last, and its gradients. One dimension is an image of height 1.

mod chunks;
mod correlate;
mod depthwise;
mod grid;
mod kernel;
mod unfold;
mod weight_gradient;
mod window;

use crate::arena::{View, view};
use crate::copy;
use crate::dtype::DType;
use crate::dtype::num::Float;
use crate::fault::{Fault, Result, border, js};
use crate::micro_tiles::Real;
use correlate::{Ending, Pass, Weights};
use grid::Extents;
use kernel::WindowKernel;
use napi_derive::napi;
pub use window::Window;

/// How the windows of a convolution lie.
#[derive(Clone, Copy, Debug)]
pub struct Geometry {
    pub rows: Window,
    pub columns: Window,
    pub groups: usize,
}

/// What JavaScript calls it: strides, zeros before and after, dilations (each for rows, then columns), groups.
const FIELDS: usize = 9;

impl Geometry {
    pub fn new(kernel: (usize, usize), fields: &[u32]) -> Result<Geometry> {
        let wrong = |why: &str| Fault::shape(format!("convolution: {why}, got kernel {kernel:?} and {fields:?}"));
        let Ok([down, across, top, bottom, left, right, dilation_down, dilation_across, groups]) =
            <[u32; FIELDS]>::try_from(fields).map(|fields| fields.map(|field| field as usize))
        else {
            return Err(wrong("needs nine numbers"));
        };
        if [down, across, dilation_down, dilation_across, groups, kernel.0, kernel.1].contains(&0) {
            return Err(wrong("needs strides, dilations, groups and taps from 1 on"));
        }
        let window = |kernel, stride, before, after, dilation| Window {
            kernel,
            stride,
            before,
            after,
            dilation,
        };
        Ok(Geometry {
            rows: window(kernel.0, down, top, bottom, dilation_down),
            columns: window(kernel.1, across, left, right, dilation_across),
            groups,
        })
    }
}

/// A convolution whose shapes fit together.
struct Fitted {
    geometry: Geometry,
    images: usize,
    input: Extents,
    output: Extents,
}

impl Fitted {
    fn new(input: &[usize], weight: &[usize], fields: &[u32]) -> Result<Fitted> {
        let wrong = |why: &str| Fault::shape(format!("convolution: {why}, got x {input:?} and weight {weight:?}"));
        if input.len() != 4 || weight.len() != 4 {
            return Err(wrong("needs x [batch, height, width, in] and weight [out, kh, kw, in / groups]"));
        }
        let geometry = Geometry::new((weight[1], weight[2]), fields)?;
        let (extents, groups) = (Extents::of(input), geometry.groups);
        if weight[0] % groups != 0 || weight[3].checked_mul(groups) != Some(extents.channels) {
            return Err(wrong("needs channels that the groups divide"));
        }
        let outputs = (
            geometry.rows.outputs(extents.height),
            geometry.columns.outputs(extents.width),
        );
        let (Some(height), Some(width)) = outputs else {
            return Err(wrong("needs images that hold the window"));
        };
        Ok(Fitted {
            geometry,
            images: input[0],
            input: extents,
            output: Extents {
                height,
                width,
                channels: weight[0],
            },
        })
    }

    fn is_depthwise(&self) -> bool {
        self.geometry.groups == self.input.channels && self.input.channels == self.output.channels
    }

    fn output_shape(&self) -> [usize; 4] {
        [self.images, self.output.height, self.output.width, self.output.channels]
    }

    /// Sums for outputs over inputs.
    fn forward(&self) -> Pass {
        let Geometry { rows, columns, groups } = self.geometry;
        Pass {
            rows: rows.forward(),
            columns: columns.forward(),
            images: self.images,
            groups,
            source: self.input,
            target: self.output,
        }
    }

    /// Sums for inputs over outputs.
    fn backward(&self) -> Pass {
        let Geometry { rows, columns, groups } = self.geometry;
        Pass {
            rows: rows.backward(),
            columns: columns.backward(),
            images: self.images,
            groups,
            source: self.output,
            target: self.input,
        }
    }

    fn weights<'a, T>(&self, numbers: &'a [T], is_backward: bool) -> Weights<'a, T> {
        let depth = self.input.channels / self.geometry.groups;
        let row = self.geometry.columns.kernel * depth;
        let out = self.geometry.rows.kernel * row;
        Weights {
            numbers,
            group: self.output.channels / self.geometry.groups * out,
            row,
            column: depth,
            depth: if is_backward { out } else { 1 },
            lane: if is_backward { 1 } else { out },
        }
    }
}

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
        .map(|input| copy::contiguous(&if wide == dtype { (*input).clone() } else { copy::cast(input, wide)? }))
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
    if wide == dtype { Ok(out) } else { copy::cast(&out, dtype) }
}

fn run_forward<T: Real + WindowKernel>(fitted: &Fitted, operands: &[View], relu: bool, out: &View) -> Result<()> {
    let (x, weight, out) = (operands[0].slice::<T>()?, operands[1].slice::<T>()?, out.slice_mut::<T>()?);
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
            return Err(Fault::shape(format!("convolution: needs a bias [{need}], got {found:?}")));
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
        return depthwise::correlate(&fitted.backward(), gradient, weight.slice::<T>()?, Ending::none(), out);
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
pub fn convolution_border(x: u32, weight: u32, bias: Option<u32>, geometry: Vec<u32>, relu: bool) -> js::Result<u32> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parallel;

    struct Case {
        images: usize,
        size: (usize, usize),
        channels: (usize, usize),
        kernel: (usize, usize),
        fields: [u32; 9],
    }

    const fn case(images: usize, size: (usize, usize), channels: (usize, usize), kernel: (usize, usize), fields: [u32; 9]) -> Case {
        Case { images, size, channels, kernel, fields }
    }

    /// Odd channels, strides, borders, dilations and groups; one long enough for several chunks and parts.
    const CASES: [Case; 12] = [
        case(2, (5, 7), (3, 5), (3, 3), [1, 1, 1, 1, 1, 1, 1, 1, 1]),
        case(9, (9, 8), (16, 16), (3, 3), [1, 1, 1, 1, 1, 1, 1, 1, 1]),
        case(3, (8, 9), (6, 34), (3, 3), [2, 2, 0, 1, 0, 1, 1, 1, 1]),
        case(1, (7, 7), (4, 6), (5, 3), [3, 2, 2, 1, 0, 3, 1, 2, 2]),
        case(2, (6, 6), (7, 9), (1, 1), [2, 2, 0, 0, 0, 0, 1, 1, 1]),
        case(2, (6, 5), (20, 18), (1, 1), [1, 1, 0, 0, 0, 0, 1, 1, 1]),
        case(2, (1, 19), (5, 7), (1, 4), [1, 2, 0, 0, 5, 1, 1, 2, 1]),
        case(2, (9, 9), (18, 18), (3, 3), [1, 1, 1, 1, 1, 1, 1, 1, 18]),
        case(2, (11, 8), (35, 35), (5, 5), [2, 2, 1, 2, 1, 2, 1, 1, 35]),
        case(1, (4, 4), (2, 3), (2, 2), [1, 1, 3, 0, 0, 4, 1, 1, 1]),
        case(3, (20, 40), (130, 8), (3, 2), [1, 1, 1, 0, 0, 1, 1, 1, 1]),
        case(40, (12, 12), (4, 4), (3, 3), [1, 1, 1, 1, 1, 1, 2, 2, 2]),
    ];

    /// Multiples of a quarter, so that all sums are exact.
    fn exact(seed: usize) -> impl Fn(usize) -> f32 {
        move |i| ((i * 7919 + seed * 31) % 17) as f32 * 0.25 - 2.0
    }

    /// Calls `body(output, input, weight)` with the positions of every product.
    fn products(fitted: &Fitted, mut body: impl FnMut(usize, usize, usize)) {
        let Fitted { geometry: Geometry { rows, columns, groups }, images, input, output } = *fitted;
        let (depth, lanes) = (input.channels / groups, output.channels / groups);
        for image in 0..images {
            for (i, j) in (0..output.height).flat_map(|i| (0..output.width).map(move |j| (i, j))) {
                for (k, l) in (0..rows.kernel).flat_map(|k| (0..columns.kernel).map(move |l| (k, l))) {
                    let (y, x) = (i * rows.stride + k * rows.dilation, j * columns.stride + l * columns.dilation);
                    let inside = y >= rows.before
                        && y - rows.before < input.height
                        && x >= columns.before
                        && x - columns.before < input.width;
                    if !inside {
                        continue;
                    }
                    let pixel = (image * input.height + y - rows.before) * input.width + x - columns.before;
                    let place = (image * output.height + i) * output.width + j;
                    for out in 0..output.channels {
                        for c in 0..depth {
                            body(
                                place * output.channels + out,
                                pixel * input.channels + out / lanes * depth + c,
                                ((out * rows.kernel + k) * columns.kernel + l) * depth + c,
                            );
                        }
                    }
                }
            }
        }
    }

    fn check(case: &Case) {
        let Case { images, size, channels, kernel, fields } = case;
        let x = View::filled(&[*images, size.0, size.1, channels.0], exact(1));
        let weight = View::filled(&[channels.1, kernel.0, kernel.1, channels.0 / fields[8] as usize], exact(2));
        let bias = View::filled(&[channels.1], exact(3));
        let fitted = Fitted::new(&x.shape, &weight.shape, fields).unwrap();
        let gradient = View::filled(&fitted.output_shape(), exact(4));
        let numbers = |view: &View| view.slice::<f32>().unwrap().to_vec();
        let (xs, ws, gs) = (numbers(&x), numbers(&weight), numbers(&gradient));
        let mut want = vec![0f32; gs.len()];
        let (mut want_x, mut want_w) = (vec![0f32; xs.len()], vec![0f32; ws.len()]);
        products(&fitted, |out, at, w| {
            want[out] += xs[at] * ws[w];
            want_x[at] += gs[out] * ws[w];
            want_w[w] += gs[out] * xs[at];
        });
        let biases = numbers(&bias);
        let ended: Vec<f32> = want
            .iter()
            .enumerate()
            .map(|(i, sum)| (sum + biases[i % channels.1]).max(0.0))
            .collect();
        assert_eq!(numbers(&convolution(&x, &weight, None, fields, false).unwrap()), want);
        assert_eq!(numbers(&convolution(&x, &weight, Some(&bias), fields, true).unwrap()), ended);
        assert_eq!(numbers(&input_gradient(&gradient, &weight, *size, fields).unwrap()), want_x);
        assert_eq!(numbers(&super::weight_gradient(&x, &gradient, *kernel, fields).unwrap()), want_w);
        let double = copy::cast(&convolution(
            &copy::cast(&x, DType::F64).unwrap(),
            &copy::cast(&weight, DType::F64).unwrap(),
            None,
            fields,
            false,
        ).unwrap(), DType::F32).unwrap();
        assert_eq!(numbers(&double), want);
    }

    #[test]
    fn outputs_and_gradients_are_the_sums_of_the_definition() {
        CASES.iter().for_each(check);
    }

    #[test]
    fn every_number_of_threads_gives_the_same_bits() {
        let fields = [1, 1, 1, 1, 1, 1, 1, 1, 1];
        let x = View::filled(&[30, 11, 13, 16], |i| (i as f32 * 0.37).sin());
        let weight = View::filled(&[16, 3, 3, 16], |i| (i as f32 * 0.73).sin());
        let bits = |threads: usize| {
            parallel::set_threads(threads).unwrap();
            let out = convolution(&x, &weight, None, &fields, false).unwrap();
            let parts = [
                input_gradient(&out, &weight, (11, 13), &fields).unwrap(),
                super::weight_gradient(&x, &out, (3, 3), &fields).unwrap(),
                out,
            ];
            parts.map(|part| part.slice::<f32>().unwrap().iter().map(|v| v.to_bits()).collect::<Vec<_>>())
        };
        let one = bits(1);
        assert_eq!(one, bits(2));
        assert_eq!(one, bits(3));
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        let code = |result: Result<View>| result.err().unwrap().code;
        let fields = [1, 1, 0, 0, 0, 0, 1, 1, 1];
        let x = View::filled(&[1, 4, 4, 2], |_| 0.0);
        let weight = |shape: &[usize]| View::filled(shape, |_| 0.0);
        for (shape, fields) in [
            ([1, 5, 1, 2], fields),
            ([1, 3, 3, 3], fields),
            ([1, 0, 3, 2], fields),
            ([1, 3, 3, 2], [0, 1, 0, 0, 0, 0, 1, 1, 1]),
            ([3, 3, 3, 1], [1, 1, 0, 0, 0, 0, 1, 1, 2]),
        ] {
            assert_eq!(code(convolution(&x, &weight(&shape), None, &fields, false)), "PARE_E_SHAPE");
        }
        let gradient = View::filled(&[1, 3, 2, 1], |_| 0.0);
        assert_eq!(code(super::weight_gradient(&x, &gradient, (3, 3), &fields)), "PARE_E_SHAPE");
        assert_eq!(code(input_gradient(&gradient, &weight(&[1, 3, 3, 2]), (4, 4), &fields)), "PARE_E_SHAPE");
    }
}
