//! The border to JavaScript: shapes and lengths are checked here.

use super::{ENTRIES, Lookup, multiply, pack, padded, turned, unpack};
use crate::arena::{View, view};
use crate::copy;
use crate::dtype::DType;
use crate::fault::{Fault, Result, border, js};
use napi_derive::napi;

fn load(handle: u32) -> Result<View> {
    copy::contiguous(&view(handle)?)
}

/// codes u32 [out, groups, books]; codebooks f32 [books, 256 or fewer, 1, wide]. Handles of the codes u8 in the order of
/// `codebook_lookup`, and of the codebooks f32 [books, wide, 256].
#[napi]
pub fn pack_lookup(codes: u32, codebooks: u32) -> js::Result<Vec<u32>> {
    border(|| {
        let (codes, codebooks) = (load(codes)?, load(codebooks)?);
        let (&[out, groups, books], &[stored, count, 1, wide]) = (&*codes.shape, &*codebooks.shape) else {
            return Err(Fault::shape(
                "packLookup: codes have 3 axes, codebooks 4 with one row a group",
            ));
        };
        if stored != books || count > ENTRIES {
            return Err(Fault::shape(format!(
                "packLookup: codes {:?} and codebooks {:?} do not fit, or these have more than {ENTRIES} entries",
                &*codes.shape, &*codebooks.shape
            )));
        }
        let packed = pack(codes.slice()?, (out, groups * books), count)?;
        let lines = turned(codebooks.slice()?, books, count, wide);
        let result = View::empty(DType::U8, &[packed.len()])?;
        result.slice_mut::<u8>()?.copy_from_slice(&packed);
        let turned = View::empty(DType::F32, &[books, wide, ENTRIES])?;
        turned.slice_mut::<f32>()?.copy_from_slice(&lines);
        Ok(vec![result.into_handle(), turned.into_handle()])
    })
}

/// What `pack_lookup` made, as codes u32 [out, groups, books] again.
#[napi]
pub fn unpack_lookup(codes: u32, out: u32, groups: u32, books: u32) -> js::Result<u32> {
    border(|| {
        let codes = load(codes)?;
        let shape = [out, groups, books].map(|size| size as usize);
        let pairs = shape[1] * shape[2];
        if codes.len() != padded(shape[0]) * pairs {
            return Err(Fault::shape(format!(
                "unpackLookup: {} codes do not fit {shape:?}",
                codes.len()
            )));
        }
        let result = View::zeros(DType::U32, &shape)?;
        unpack(codes.slice()?, (shape[0], pairs), result.slice_mut()?);
        Ok(result.into_handle())
    })
}

/// codes and codebooks of `pack_lookup`; scales f32 [out]; x f32 [rows, in]. Result f32 [rows, out].
pub(crate) fn product([codes, codebooks, scales]: [&View; 3], x: &View) -> Result<View> {
    let (&[books, wide, ENTRIES], &[out], &[rows, columns]) = (&*codebooks.shape, &*scales.shape, &*x.shape)
    else {
        return Err(Fault::shape(
            "codebookLookup: codebooks are those of packLookup, scales have 1 axis, inputs 2",
        ));
    };
    let groups = columns.checked_div(wide).unwrap_or(0);
    if groups * wide != columns || codes.len() != padded(out) * groups * books {
        return Err(Fault::shape(format!(
            "codebookLookup: {} codes, codebooks {:?}, scales {:?} and inputs {:?} do not fit",
            codes.len(),
            &*codebooks.shape,
            &*scales.shape,
            &*x.shape
        )));
    }
    let result = View::zeros(DType::F32, &[rows, out])?;
    if codes.is_empty() {
        return Ok(result);
    }
    let weight = Lookup {
        codes: codes.slice()?,
        out,
        groups,
        books,
    };
    let inputs = x.slice::<f32>()?.chunks_exact(columns);
    for (x, y) in inputs.zip(result.slice_mut::<f32>()?.chunks_exact_mut(out)) {
        multiply(&weight, codebooks.slice()?, scales.slice()?, x, y)?;
    }
    Ok(result)
}
