//! Products with weights that stay packed: blocks of ggml as they lie in a file, or grids in blocks of their own.
//!
//!   y[m, i] = sum over k of step_ik * <level_ik, x_mk> - offset_ik * sum(x_mk) + bias_i      k = sub-block of a row
//!
//! A few rows of inputs meet the codes in registers. For many, some rows of the weight at a time are decoded and go through
//! the dense product.

pub mod binding;
#[cfg(target_arch = "x86_64")]
mod choice;
mod form;
mod grid;
mod inputs;
#[cfg(target_arch = "x86_64")]
mod kernels;
mod many;
#[cfg(target_arch = "x86_64")]
mod many_codes;
#[cfg(target_arch = "x86_64")]
mod part_steps;
#[cfg(target_arch = "x86_64")]
mod quads;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod types;

use crate::fault::Result;
use crate::float_rows::{self, TASK_BYTES, TASKS_OF_A_THREAD, in_fours};
use crate::parallel::{self, Shared};
use crate::simd;
use std::ops::Range;

pub use form::Form;
pub use grid::Grid;
#[cfg(test)]
pub use inputs::restored;
pub use inputs::{Activations, Need, PART, Row, round_trip as rounded_rows};
pub use many::multiply_decoded;

/// Rows of inputs up to which codes are read for every four of them: beyond, decoding once costs less.
const FEW: usize = 16;
/// Rows of blocks.
pub struct Packed<'a> {
    pub form: Form,
    /// [rows, row bytes]
    pub bytes: &'a [u8],
    pub rows: usize,
    /// Whole blocks.
    pub columns: usize,
}

impl Packed<'_> {
    fn row_bytes(&self) -> usize {
        self.form.row_bytes(self.columns)
    }
}

/// A weight, a bias [rows], and where their product goes, [m, rows].
pub struct Product<'a> {
    pub weight: Packed<'a>,
    pub bias: Option<&'a [f32]>,
    pub out: &'a mut [f32],
}

/// out = x [m, columns] times the transposed weight, plus the bias, of each product: few rows of all of them go side by side.
pub fn multiply(products: &mut [Product], x: &[f32], activations: Activations) -> Result<()> {
    if products.iter().all(|product| product.is_few(x, activations)) {
        few(products, x, activations)?;
        for Product { weight, bias, out } in products {
            if let Some(bias) = bias {
                for line in out.chunks_exact_mut(weight.rows) {
                    line.iter_mut().zip(*bias).for_each(|(y, bias)| *y += bias);
                }
            }
        }
        return Ok(());
    }
    products
        .iter_mut()
        .try_for_each(|product| many(product, x, activations))
}

impl Product<'_> {
    fn is_few(&self, x: &[f32], activations: Activations) -> bool {
        let columns = self.weight.columns;
        let fits = columns.is_multiple_of(PART)
            || activations == Activations::F32 && self.weight.form.written().is_some();
        x.len() <= FEW * columns && fits
    }
}

fn many(Product { weight, bias, out }: &mut Product, x: &[f32], activations: Activations) -> Result<()> {
    let whole_parts = weight.columns.is_multiple_of(PART);
    #[cfg(target_arch = "x86_64")]
    if whole_parts
        && activations == Activations::Int8
        && let Some(multiply) = choice::many_codes_of(weight.form)
    {
        let inputs = inputs::rows(x, weight.columns, activations, choice::need_of(weight.form))?;
        let packed = (weight.bytes, weight.row_bytes(), choice::run_of(weight.form));
        return multiply(packed, weight.rows, &inputs, *bias, out);
    }
    let rounded = if activations == Activations::Int8 && whole_parts {
        Some(inputs::round_trip(x, weight.columns)?)
    } else {
        None
    };
    let row_bytes = weight.row_bytes();
    let decode = |rows: Range<usize>, out: &mut [f32]| {
        let bytes = &weight.bytes[rows.start * row_bytes..rows.end * row_bytes];
        weight.form.decode(bytes, weight.columns, out)
    };
    let x = rounded.as_deref().unwrap_or(x);
    multiply_decoded((weight.rows, weight.columns), decode, x, *bias, out)
}

/// Rows of a weight that one thread reads in one go.
struct Task {
    product: usize,
    /// Which of the inputs, as its form needs them.
    inputs: usize,
    start: usize,
    count: usize,
}

fn few(products: &mut [Product], x: &[f32], activations: Activations) -> Result<()> {
    let bytes: usize = products.iter().map(|product| product.weight.bytes.len()).sum();
    let task_bytes = bytes
        .div_ceil(TASKS_OF_A_THREAD * parallel::threads()?)
        .max(TASK_BYTES);
    let mut inputs: Vec<(Need, Vec<Row>)> = Vec::new();
    let mut tasks = Vec::new();
    for (product, Product { weight, .. }) in products.iter().enumerate() {
        let need = need_of(weight.form, activations);
        let known = inputs.iter().position(|(known, _)| *known == need);
        let own = known.unwrap_or(inputs.len());
        if known.is_none() {
            inputs.push((need, inputs::rows(x, weight.columns, activations, need)?));
        }
        let each = task_bytes.div_ceil(weight.row_bytes().max(1));
        tasks.extend((0..weight.rows).step_by(each).map(|start| Task {
            product,
            inputs: own,
            start,
            count: each.min(weight.rows - start),
        }));
    }
    let targets: Vec<_> = products
        .iter_mut()
        .map(|product| Shared(product.out.as_mut_ptr()))
        .collect();
    let products = &*products;
    parallel::tasks(tasks.len(), |task| {
        let Task {
            product,
            inputs: own,
            start,
            count,
        } = tasks[task];
        let Packed {
            form, bytes, rows, ..
        } = products[product].weight;
        let row_bytes = products[product].weight.row_bytes();
        let bytes = &bytes[start * row_bytes..(start + count) * row_bytes];
        let inputs = &inputs[own].1;
        let target = (targets[product].get(), rows);
        // SAFETY: these outputs belong to this task alone.
        unsafe {
            in_fours(target, inputs.len(), (start, count), |which, lines| {
                multiply_rows(form, bytes, row_bytes, &inputs[which], activations, lines);
            });
        }
    })
}

/// The product of one row of inputs, so many times on this thread.
pub fn repeat(
    weight: &Packed,
    x: &[f32],
    activations: Activations,
    times: usize,
    out: &mut [f32],
) -> Result<()> {
    let inputs = inputs::rows(x, weight.columns, activations, need_of(weight.form, activations))?;
    for _ in 0..times {
        let bytes = std::hint::black_box(weight.bytes);
        multiply_rows(
            weight.form,
            bytes,
            weight.row_bytes(),
            &inputs,
            activations,
            &mut [&mut *out],
        );
    }
    Ok(())
}

/// Whether codes meet inputs in registers here.
#[cfg(target_arch = "x86_64")]
fn has_kernel(form: Form) -> bool {
    simd::level() >= simd::Level::Avx2 && is_x86_feature_detected!("f16c") && form.is_coded()
}

/// What the kernels of a form ask of inputs.
fn need_of(form: Form, activations: Activations) -> Need {
    #[cfg(target_arch = "x86_64")]
    if has_kernel(form) {
        return Need {
            quads: choice::quads_of(form, activations, 1).is_some(),
            ..choice::need_of(form)
        };
    }
    form.plain_need()
}

/// Rows of a weight times one row of inputs or four.
fn multiply_rows(
    form: Form,
    bytes: &[u8],
    row_bytes: usize,
    inputs: &[Row],
    activations: Activations,
    out: &mut [&mut [f32]],
) {
    #[cfg(target_arch = "x86_64")]
    if has_kernel(form) {
        let kernel = choice::kernel_of(form, activations, inputs.len());
        // SAFETY: the processor has the instructions, and the caller gave whole rows.
        return unsafe { kernel(bytes, row_bytes, choice::run_of(form), inputs, out) };
    }
    if let Some(written) = form.written() {
        let mut floats: [&[f32]; 4] = Default::default();
        for (floats, row) in floats.iter_mut().zip(inputs) {
            *floats = &row.floats;
        }
        let columns = row_bytes / written.bytes();
        return float_rows::multiply_rows(written, bytes, columns, &floats[..inputs.len()], out);
    }
    plain_rows(form, bytes, row_bytes, inputs, out);
}

/// The same by decoding each row.
fn plain_rows(form: Form, bytes: &[u8], row_bytes: usize, inputs: &[Row], out: &mut [&mut [f32]]) {
    let mut numbers = vec![0.0; row_bytes / form.block_bytes() * form.block_len()];
    for (at, bytes) in bytes.chunks_exact(row_bytes).enumerate() {
        form.decode_row(bytes, &mut numbers);
        for (x, out) in inputs.iter().zip(out.iter_mut()) {
            out[at] = dot(&numbers, &x.floats);
        }
    }
}

simd! {
    /// Of two as long as each other.
    pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
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
