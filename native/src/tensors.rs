//! The border of the arena: how JavaScript makes, reads, views and releases tensors.

use crate::arena::{self, View, view};
use crate::copy;
use crate::dtype::DType;
use crate::fault::{Fault, Result, border, js};
use crate::{parallel, pool, simd};
use napi::bindgen_prelude::Uint8Array;
use napi_derive::napi;

pub fn extents(shape: &[u32]) -> Vec<usize> {
    shape.iter().map(|&extent| extent as usize).collect()
}

/// A position or stride that JavaScript holds as a number.
pub fn index(value: f64, what: &str) -> Result<usize> {
    if (0.0..=9_007_199_254_740_992.0).contains(&value) && value.fract() == 0.0 {
        return Ok(value as usize);
    }
    Err(Fault::shape(format!(
        "{what}: needs a whole number from 0 to 2^53, got {value}"
    )))
}

/// A tensor with a copy of packed little-endian bytes.
#[napi]
pub fn upload(dtype: u32, shape: Vec<u32>, bytes: Uint8Array) -> js::Result<u32> {
    border(|| {
        let shape = extents(&shape);
        let out = View::empty(DType::from_code(dtype)?, &shape)?;
        let target = out.bytes_mut()?;
        if target.len() != bytes.len() {
            return Err(Fault::shape(format!(
                "upload: shape {shape:?} needs {} bytes, got {}",
                target.len(),
                bytes.len()
            )));
        }
        target.copy_from_slice(&bytes);
        Ok(out.into_handle())
    })
}

/// Overwrites a contiguous state tensor in place.
#[napi]
pub fn overwrite(state: u32, bytes: Uint8Array) -> js::Result<()> {
    border(|| {
        let state = view(state)?;
        let target = state.bytes_mut()?;
        if target.len() != bytes.len() {
            return Err(Fault::shape(format!(
                "overwrite: needs {} bytes, got {}",
                target.len(),
                bytes.len()
            )));
        }
        target.copy_from_slice(&bytes);
        Ok(())
    })
}

/// Copies the packed bytes of a tensor into `target`.
#[napi]
pub fn download(handle: u32, mut target: Uint8Array) -> js::Result<()> {
    border(|| {
        let x = copy::contiguous(&view(handle)?)?;
        let bytes = x.bytes()?;
        if target.len() != bytes.len() {
            return Err(Fault::shape(format!(
                "download: the tensor has {} bytes, the target {}",
                bytes.len(),
                target.len()
            )));
        }
        // SAFETY: JavaScript waits for this call, so nobody else touches its array meanwhile.
        unsafe { target.as_mut() }.copy_from_slice(bytes);
        Ok(())
    })
}

#[napi]
pub fn fill(dtype: u32, shape: Vec<u32>, value: f64) -> js::Result<u32> {
    border(|| Ok(copy::fill(DType::from_code(dtype)?, &extents(&shape), value)?.into_handle()))
}

/// Another window on the buffer of `base`; strides and offset count elements of the buffer.
#[napi]
pub fn restride(base: u32, shape: Vec<u32>, strides: Vec<f64>, offset: f64) -> js::Result<u32> {
    border(|| {
        let strides = strides
            .iter()
            .map(|&s| index(s, "stride"))
            .collect::<Result<Vec<_>>>()?;
        Ok(view(base)?
            .restrided(&extents(&shape), &strides, index(offset, "offset")?)?
            .into_handle())
    })
}

#[napi]
pub fn release(handle: u32) {
    arena::release(handle);
}

/// A row-major copy, or the same tensor where it is row-major already.
#[napi]
pub fn contiguous(x: u32) -> js::Result<u32> {
    border(|| Ok(copy::contiguous(&view(x)?)?.into_handle()))
}

/// A row-major copy in a buffer of its own.
#[napi]
pub fn duplicate(x: u32) -> js::Result<u32> {
    border(|| Ok(copy::copy(&view(x)?)?.into_handle()))
}

#[napi]
pub fn cast(x: u32, dtype: u32) -> js::Result<u32> {
    border(|| Ok(copy::cast(&view(x)?, DType::from_code(dtype)?)?.into_handle()))
}

#[napi(object)]
pub struct MemoryUse {
    /// Bytes in tensors that are alive on this thread.
    pub live: f64,
    /// The largest `live` since the thread began or the peak was reset.
    pub peak: f64,
    /// Freed bytes kept for reuse.
    pub pooled: f64,
    /// Tensors alive.
    pub tensors: u32,
}

#[napi]
pub fn memory() -> MemoryUse {
    let memory = arena::memory();
    MemoryUse {
        live: memory.live as f64,
        peak: memory.peak as f64,
        pooled: memory.pooled as f64,
        tensors: memory.handles as u32,
    }
}

#[napi]
pub fn reset_peak() {
    pool::reset_peak();
}

/// Whether freed memory is kept up to the most that was alive at once on this thread.
#[napi]
pub fn keep_peak(keeps: bool) {
    pool::keep_peak(keeps);
}

/// Bytes that tensors of all threads may take, with what is kept for reuse; infinity for no limit.
#[napi]
pub fn set_memory_limit(bytes: f64) -> js::Result<()> {
    border(|| {
        let limit = if bytes == f64::INFINITY {
            usize::MAX
        } else {
            index(bytes, "memory limit")?
        };
        pool::set_memory_limit(limit);
        Ok(())
    })
}

/// Bytes that tensors of all threads take now, with what is kept for reuse.
#[napi]
pub fn held_memory() -> f64 {
    pool::held() as f64
}

#[napi]
pub fn trim_pool() {
    pool::trim_pool();
}

#[napi]
pub fn set_threads(threads: u32) -> js::Result<()> {
    border(|| parallel::set_threads(threads as usize))
}

#[napi]
pub fn threads() -> js::Result<u32> {
    border(|| Ok(parallel::threads()? as u32))
}

/// The instruction set that kernels run with: portable, avx2 or avx512.
#[napi]
pub fn instruction_set() -> &'static str {
    simd::name(simd::level())
}

#[napi]
pub fn has_bf16() -> bool {
    simd::has_bf16()
}

/// Tells long kernels of every thread of the process to stop, or lets them run again.
#[napi]
pub fn set_aborted(aborted: bool) {
    parallel::set_aborted(aborted);
}
