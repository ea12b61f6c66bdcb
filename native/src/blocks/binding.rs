//! The border to JavaScript: names and lengths are checked here, arithmetic is elsewhere.

use super::{BlockParameters, BlockType, dequantize, quantize};
use crate::arena::{View, view};
use crate::copy;
use crate::dtype::DType;
use crate::fault::{Fault, Result, border, js};
use crate::parallel;
use napi::bindgen_prelude::{Float32Array, Int32Array, Uint8Array};
use napi_derive::napi;

fn type_of(name: &str) -> Result<BlockType> {
    BlockType::from_name(name)
        .ok_or_else(|| Fault::format("blocks: the type is none that Pare decodes; use one such as Q4_K"))
}

fn whole_blocks(block_type: BlockType, bytes: usize) -> Result<usize> {
    let size = block_type.block_bytes();
    if bytes.is_multiple_of(size) {
        return Ok(bytes / size);
    }
    Err(Fault::shape(format!(
        "{block_type:?}: {bytes} bytes are no whole blocks of {size}; give whole rows"
    )))
}

/// Zeroed memory, or the fault that there is none.
fn zeroed<T: Clone + Default>(length: usize) -> Result<Vec<T>> {
    let mut memory = Vec::new();
    memory
        .try_reserve_exact(length)
        .map_err(|_| Fault::memory(length.saturating_mul(size_of::<T>())))?;
    memory.resize(length, T::default());
    Ok(memory)
}

/// Decodes whole blocks of `type` into `out`, which has a value for each element.
#[napi]
pub fn blocks_dequantize(block_type: String, bytes: Uint8Array, mut out: Float32Array) -> js::Result<()> {
    border(|| {
        let block_type = type_of(&block_type)?;
        let needed = whole_blocks(block_type, bytes.len())?.saturating_mul(block_type.block_len());
        if out.len() != needed {
            return Err(Fault::shape(format!(
                "{block_type:?}: the result needs {needed} values, got {}; give an array of that length",
                out.len()
            )));
        }
        let (source, target) = (bytes.as_ptr_range(), out.as_ptr_range());
        if (source.start as usize) < target.end as usize && (target.start as usize) < source.end as usize {
            return Err(Fault::shape(format!(
                "{block_type:?}: the bytes and the result share memory; give the result its own"
            )));
        }
        // SAFETY: the array does not overlap the bytes, and JavaScript waits until this call returns.
        let out = unsafe { out.as_mut() };
        let bytes: &[u8] = &bytes;
        dequantize(block_type, bytes, out)
    })
}

/// Encodes rows of `columns` values; `importance` has a finite weight, not negative, for each column.
#[napi]
pub fn blocks_quantize(
    block_type: String,
    x: Float32Array,
    columns: u32,
    importance: Option<Float32Array>,
) -> js::Result<Uint8Array> {
    border(|| {
        let block_type = type_of(&block_type)?;
        let (columns, block_len) = (columns as usize, block_type.block_len());
        if columns == 0 || !x.len().is_multiple_of(columns) || !columns.is_multiple_of(block_len) {
            return Err(Fault::shape(format!(
                "{block_type:?}: {} values in rows of {columns} do not fill blocks of {block_len}; choose another type",
                x.len()
            )));
        }
        if let Some(importance) = &importance {
            check_importance(block_type, importance, columns)?;
        }
        let mut out = zeroed(x.len() / block_len * block_type.block_bytes())?;
        let (x, importance): (&[f32], Option<&[f32]>) = (&x, importance.as_deref());
        parallel::install(|| quantize(block_type, x, columns, importance, &mut out))?.map_err(|error| {
            Fault::numerical(format!(
                "{block_type:?}: the value in row {}, column {} is {}, finite values up to {} can be stored; repair the weight",
                error.position / columns,
                error.position % columns,
                error.value,
                block_type.largest()
            ))
        })?;
        Ok(out.into())
    })
}

fn check_importance(block_type: BlockType, importance: &[f32], columns: usize) -> Result<()> {
    if importance.len() != columns {
        return Err(Fault::shape(format!(
            "{block_type:?}: importance needs a value for each of {columns} columns, got {}",
            importance.len()
        )));
    }
    match importance.iter().position(|w| !w.is_finite() || *w < 0.0) {
        None => Ok(()),
        Some(at) => Err(Fault::numerical(format!(
            "{block_type:?}: importance must be finite and not negative, value {at} is {}; collect it again",
            importance[at]
        ))),
    }
}

/// Blocks taken apart: one entry of `d` and `dmin` for each block, one of `scales` and `mins` for each
/// sub-block, one code for each element.
#[napi(object)]
pub struct UnpackedBlocks {
    pub codes: Uint8Array,
    pub scales: Int32Array,
    pub mins: Int32Array,
    pub d: Float32Array,
    pub dmin: Float32Array,
}

/// Takes whole blocks of a type with codes apart.
#[napi]
pub fn blocks_unpack(block_type: String, bytes: Uint8Array) -> js::Result<UnpackedBlocks> {
    border(|| {
        let block_type = type_of(&block_type)?;
        if !block_type.is_coded() {
            return Err(Fault::format(format!(
                "{block_type:?}: floats have no codes; decode them instead"
            )));
        }
        let (blocks, block_len) = (whole_blocks(block_type, bytes.len())?, block_type.block_len());
        let sub_count = block_type.sub_count();
        let mut codes: Vec<u8> = zeroed(blocks * block_len)?;
        let mut scales: Vec<i32> = zeroed(blocks * sub_count)?;
        let mut mins: Vec<i32> = zeroed(blocks * sub_count)?;
        let (mut d, mut dmin): (Vec<f32>, Vec<f32>) = (zeroed(blocks)?, zeroed(blocks)?);
        let mut parameters = BlockParameters::default();
        let parts = bytes
            .chunks_exact(block_type.block_bytes())
            .zip(codes.chunks_exact_mut(block_len));
        for (block, (bytes, codes)) in parts.enumerate() {
            block_type.unpack(bytes, &mut parameters, codes);
            let subs = block * sub_count..(block + 1) * sub_count;
            scales[subs.clone()].copy_from_slice(&parameters.scales[..sub_count]);
            mins[subs].copy_from_slice(&parameters.mins[..sub_count]);
            (d[block], dmin[block]) = (parameters.d, parameters.dmin);
        }
        Ok(UnpackedBlocks {
            codes: codes.into(),
            scales: scales.into(),
            mins: mins.into(),
            d: d.into(),
            dmin: dmin.into(),
        })
    })
}

/// bytes u8 [rows, bytes of a row] as f32 [rows, columns].
#[napi]
pub fn decode_blocks(block_type: String, bytes: u32, columns: u32) -> js::Result<u32> {
    border(|| {
        let block_type = type_of(&block_type)?;
        let bytes = copy::contiguous(&view(bytes)?)?;
        let columns = columns as usize;
        let row = columns / block_type.block_len() * block_type.block_bytes();
        let data = bytes.slice::<u8>()?;
        if !columns.is_multiple_of(block_type.block_len()) || (row > 0 && !data.len().is_multiple_of(row)) {
            return Err(Fault::shape(format!(
                "{block_type:?}: {} bytes are no rows of {columns} values; give whole rows",
                data.len()
            )));
        }
        let rows = data.len().checked_div(row).unwrap_or(0);
        let out = View::empty(DType::F32, &[rows, columns])?;
        let target = out.slice_mut::<f32>()?;
        dequantize(block_type, data, target)?;
        Ok(out.into_handle())
    })
}

/// f32 [rows, columns] for `decode_blocks_into`, which fills it; until then it holds whatever the memory held.
#[napi]
pub fn blocks_target(rows: u32, columns: u32) -> js::Result<u32> {
    border(|| Ok(View::empty(DType::F32, &[rows as usize, columns as usize])?.into_handle()))
}

/// Decodes whole blocks into a row-major f32 tensor (or some rows of one) that only its owner changes.
#[napi]
pub fn decode_blocks_into(block_type: String, bytes: Uint8Array, target: u32) -> js::Result<()> {
    border(|| {
        let block_type = type_of(&block_type)?;
        let target = view(target)?;
        let needed = whole_blocks(block_type, bytes.len())?.saturating_mul(block_type.block_len());
        let out = target.slice_mut::<f32>()?;
        if out.len() != needed {
            return Err(Fault::shape(format!(
                "{block_type:?}: {} values do not fill {:?}",
                needed, &*target.shape
            )));
        }
        let bytes: &[u8] = &bytes;
        dequantize(block_type, bytes, out)
    })
}
