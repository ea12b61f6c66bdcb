//! The border to JavaScript: shapes and lengths are checked here.

use super::{Activations, CHUNK, Codes, Masked, Numbers, PAST, multiply, pack};
use crate::arena::{View, view};
use crate::copy;
use crate::dtype::DType;
use crate::fault::{Fault, Result, border, js};
use crate::float_rows::Written;
use napi::bindgen_prelude::Uint8Array;
use napi_derive::napi;

/// What lives: floats of a type, or codes of a grid.
#[napi(object)]
pub struct MaskedForm {
    /// `f32`, `f16` or `bf16`
    pub floats: Option<String>,
    /// 4 or 8, of codes.
    pub bits: Option<u32>,
    /// Columns that share a step: 32, or a multiple of 64.
    pub group: Option<u32>,
    /// Steps and zeros are f32, not f16.
    pub wide: Option<bool>,
}

fn numbers_of(form: &MaskedForm) -> Result<Numbers> {
    match form.floats.as_deref() {
        Some("f32") => Ok(Numbers::Floats(Written::F32)),
        Some("f16") => Ok(Numbers::Floats(Written::F16)),
        Some("bf16") => Ok(Numbers::Floats(Written::BF16)),
        Some(_) => Err(Fault::shape("masked weight: floats are f32, f16 or bf16")),
        None => codes_of(
            form.bits.unwrap_or(0),
            form.group.unwrap_or(0) as usize,
            form.wide.unwrap_or(false),
        ),
    }
}

pub(crate) fn codes_of(bits: u32, group: usize, wide: bool) -> Result<Numbers> {
    if ![4, 8].contains(&bits) || group != 32 && (group == 0 || !group.is_multiple_of(CHUNK)) {
        return Err(Fault::shape(
            "masked weight: needs 4 or 8 bits and groups of 32 or of a multiple of 64",
        ));
    }
    Ok(Numbers::Codes {
        nibbles: bits == 4,
        group,
        wide,
    })
}

/// marks u8 [rows, ceil(columns / 8)], bit c % 8 of byte c / 8 for column c; kept [marked] in the type of the form, or its codes
/// u8, with steps and zeros f32 [rows, groups]. Handles of a stream u8 and of where rows begin, u32 [rows + 1], and the length of
/// the stream.
#[napi]
// A border function has its tensors and options side by side.
#[allow(clippy::too_many_arguments)]
pub fn pack_masked(
    form: MaskedForm,
    marks: Uint8Array,
    rows: u32,
    columns: u32,
    kept: u32,
    steps: Option<u32>,
    zeros: Option<u32>,
) -> js::Result<Vec<u32>> {
    border(|| {
        let numbers = numbers_of(&form)?;
        let (rows, columns) = (rows as usize, columns as usize);
        let kept = copy::contiguous(&view(kept)?)?;
        let load = |handle: u32| copy::contiguous(&view(handle)?);
        let (steps, zeros) = (steps.map(load).transpose()?, zeros.map(load).transpose()?);
        let wanted = match numbers {
            Numbers::Floats(Written::F32) => DType::F32,
            Numbers::Floats(Written::F16) => DType::F16,
            Numbers::Floats(Written::BF16) => DType::BF16,
            Numbers::Codes { .. } => DType::U8,
        };
        if Some(marks.len()) != rows.checked_mul(columns.div_ceil(8)) || columns == 0 || kept.dtype != wanted
        {
            return Err(Fault::shape(format!(
                "masked weight: {} bytes of marks and numbers of type {} do not fit [{rows}, {columns}]",
                marks.len(),
                kept.dtype.name()
            )));
        }
        let codes = match (numbers, &steps, &zeros) {
            (Numbers::Codes { group, .. }, Some(steps), Some(zeros)) => {
                let groups = columns.div_ceil(group);
                if *steps.shape != [rows, groups] || zeros.shape != steps.shape {
                    return Err(Fault::shape(format!(
                        "masked weight: needs steps and zeros [{rows}, {groups}], got {:?}",
                        &*steps.shape
                    )));
                }
                Some(Codes {
                    codes: kept.slice()?,
                    steps: steps.slice()?,
                    zeros: zeros.slice()?,
                })
            }
            (Numbers::Codes { .. }, _, _) => {
                return Err(Fault::shape("masked weight: codes need steps and zeros"));
            }
            _ => None,
        };
        let floats = if codes.is_none() { kept.bytes()? } else { &[] };
        let (stream, starts) = pack(numbers, &marks, (rows, columns), floats, codes.as_ref())?;
        let out = View::empty(DType::U8, &[stream.len()])?;
        out.slice_mut::<u8>()?.copy_from_slice(&stream);
        let places = View::empty(DType::U32, &[starts.len()])?;
        places.slice_mut::<u32>()?.copy_from_slice(&starts);
        let length = stream.len() as u32;
        Ok(vec![out.into_handle(), places.into_handle(), length])
    })
}

fn weight_of<'a>(numbers: Numbers, stream: &'a View, starts: &'a View, columns: usize) -> Result<Masked<'a>> {
    let (bytes, places) = (stream.slice::<u8>()?, starts.slice::<u32>()?);
    let ends = places.last().map(|&end| end as usize + PAST);
    if ends != Some(bytes.len()) || columns == 0 || places.windows(2).any(|pair| pair[0] > pair[1]) {
        return Err(Fault::shape(format!(
            "masked weight: {} bytes and {} rows do not fit each other",
            bytes.len(),
            places.len()
        )));
    }
    Ok(Masked {
        numbers,
        stream: bytes,
        starts: places,
        columns,
    })
}

/// stream and starts of `packMasked`, x f32 [m, columns]. Result f32 [m, rows].
pub(crate) fn product(
    numbers: Numbers,
    [stream, starts]: [&View; 2],
    x: &View,
    activations: Activations,
) -> Result<View> {
    let &[many, columns] = &*x.shape else {
        return Err(Fault::shape("masked product: inputs have two axes"));
    };
    let weight = weight_of(numbers, stream, starts, columns)?;
    let out = View::empty(DType::F32, &[many, weight.rows()])?;
    if !out.is_empty() {
        multiply(&weight, x.slice()?, activations, out.slice_mut()?)?;
    }
    Ok(out)
}

/// stream and starts of `packMasked` as floats, f32 [rows, columns].
#[napi]
pub fn decode_masked(form: MaskedForm, stream: u32, starts: u32, columns: u32) -> js::Result<u32> {
    border(|| {
        let load = |handle: u32| copy::contiguous(&view(handle)?);
        let (stream, starts) = (load(stream)?, load(starts)?);
        let weight = weight_of(numbers_of(&form)?, &stream, &starts, columns as usize)?;
        let out = View::empty(DType::F32, &[weight.rows(), columns as usize])?;
        weight.decode(0..weight.rows(), out.slice_mut()?)?;
        Ok(out.into_handle())
    })
}
