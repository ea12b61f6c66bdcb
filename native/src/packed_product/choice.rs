//! Which kernel multiplies which form on this machine.

use super::form::Form;
use super::inputs::{Activations, Need, PART, Row};
use super::kernels::{Kernel, avx2, avx512};
use super::many_codes;
use super::quads;
use crate::blocks::BlockType;
use crate::fault::Result;
use crate::simd;

macro_rules! each_type {
    ($form:expr, $type:ident => $body:expr) => {{
        use super::types::*;
        macro_rules! pick {
            ($own:ty) => {{
                type $type = $own;
                $body
            }};
        }
        match $form {
            Form::Blocks(block_type) => match block_type {
                BlockType::Q8_0 => pick!(Q8_0),
                BlockType::Q4_0 => pick!(Q4_0),
                BlockType::Q4_1 => pick!(Q4_1),
                BlockType::Q5_0 => pick!(Q5_0),
                BlockType::Q5_1 => pick!(Q5_1),
                BlockType::IQ4_NL => pick!(IQ4_NL),
                BlockType::Q2_K => pick!(Q2_K),
                BlockType::Q3_K => pick!(Q3_K),
                BlockType::Q4_K => pick!(Q4_K),
                BlockType::Q5_K => pick!(Q5_K),
                BlockType::Q6_K => pick!(Q6_K),
                BlockType::F32 | BlockType::F16 | BlockType::BF16 => unreachable!("floats have no codes"),
            },
            Form::Grid(grid) => match (grid.bits, grid.wide) {
                (2, false) => pick!(OnGrid<2, false>),
                (2, true) => pick!(OnGrid<2, true>),
                (3, false) => pick!(OnGrid<3, false>),
                (3, true) => pick!(OnGrid<3, true>),
                (4, false) => pick!(OnGrid<4, false>),
                (4, true) => pick!(OnGrid<4, true>),
                (_, false) => pick!(OnGrid<8, false>),
                (_, true) => pick!(OnGrid<8, true>),
            },
        }
    }};
}

/// The best kernel of this machine, or of what was asked for.
pub(super) fn kernel_of(form: Form, activations: Activations, inputs: usize) -> Kernel {
    if let Some(kernel) = quads_of(form, activations, inputs) {
        return kernel;
    }
    each_type!(form, T => if has_vnni() {
        avx512::kernel::<T>(activations, inputs)
    } else {
        avx2::kernel::<T>(activations, inputs)
    })
}

fn has_vnni() -> bool {
    simd::level() == simd::Level::Avx512 && is_x86_feature_detected!("avx512vnni")
}

/// The kernel over four parts at a time, where there is one.
pub(super) fn quads_of(form: Form, activations: Activations, inputs: usize) -> Option<Kernel> {
    use super::types::*;
    if !has_vnni() || activations != Activations::Int8 {
        return None;
    }
    match form {
        Form::Blocks(block_type) => match block_type {
            BlockType::Q8_0 => Some(quads::kernel::<Q8_0>(inputs)),
            BlockType::Q4_0 => Some(quads::kernel::<Q4_0>(inputs)),
            BlockType::Q4_1 => Some(quads::kernel::<Q4_1>(inputs)),
            BlockType::Q5_0 => Some(quads::kernel::<Q5_0>(inputs)),
            BlockType::Q5_1 => Some(quads::kernel::<Q5_1>(inputs)),
            BlockType::IQ4_NL => Some(quads::kernel::<IQ4_NL>(inputs)),
            _ => None,
        },
        Form::Grid(grid) if quads::fits_run(grid.run) => Some(match (grid.bits, grid.wide) {
            (2, false) => quads::kernel::<OnGrid<2, false>>(inputs),
            (2, true) => quads::kernel::<OnGrid<2, true>>(inputs),
            (3, false) => quads::kernel::<OnGrid<3, false>>(inputs),
            (3, true) => quads::kernel::<OnGrid<3, true>>(inputs),
            (4, false) => quads::kernel::<OnGrid<4, false>>(inputs),
            (4, true) => quads::kernel::<OnGrid<4, true>>(inputs),
            (_, false) => quads::kernel::<OnGrid<8, false>>(inputs),
            (_, true) => quads::kernel::<OnGrid<8, true>>(inputs),
        }),
        Form::Grid(_) => None,
    }
}

pub(super) fn need_of(form: Form) -> Need {
    let run = run_of(form);
    each_type!(form, T => Need {
        zero: T::ZERO.into(),
        summed: match (T::SINGLE, T::HALVES) {
            (true, _) => T::parts(run) * PART,
            (_, true) => PART / 2,
            (_, false) => PART,
        },
        quads: false,
        floats: false,
    })
}

/// Parts in a block of a grid; of ggml's blocks each type knows its own.
pub(super) fn run_of(form: Form) -> usize {
    match form {
        Form::Blocks(_) => 0,
        Form::Grid(grid) => grid.run,
    }
}

/// `many_codes::multiply` of a type.
type ManyCodes = fn((&[u8], usize, usize), usize, &[Row], Option<&[f32]>, &mut [f32]) -> Result<()>;

/// The way of many rows in codes, where the processor has its instructions.
pub(super) fn many_codes_of(form: Form) -> Option<ManyCodes> {
    if !has_vnni() || !form.is_coded() {
        return None;
    }
    Some(each_type!(form, T => many_codes::multiply::<T>))
}
