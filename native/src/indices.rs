//! Indices along one axis of a tensor: u32, checked against the axis that they point into.

use crate::arena::{Dims, View};
use crate::copy;
use crate::dtype::DType;
use crate::fault::{Fault, Result};

/// Extents before, along and after an axis.
pub struct Around {
    pub outer: usize,
    pub extent: usize,
    pub inner: usize,
}

pub fn around(shape: &[usize], axis: usize) -> Around {
    Around {
        outer: shape[..axis].iter().product(),
        extent: shape[axis],
        inner: shape[axis + 1..].iter().product(),
    }
}

pub fn needs_axis(name: &str, x: &View, axis: usize) -> Result<()> {
    if axis < x.shape.len() {
        return Ok(());
    }
    Err(Fault::shape(format!(
        "{name}: {:?} has no axis {axis}",
        &*x.shape
    )))
}

/// Row-major indices, all below `extent`.
pub fn checked<'a>(name: &str, index: &'a View, extent: usize) -> Result<&'a [u32]> {
    if index.dtype != DType::U32 {
        return Err(Fault::shape(format!(
            "{name}: indices must be u32, got {}",
            index.dtype.name()
        )));
    }
    let ids = index.slice::<u32>()?;
    match ids.iter().find(|&&id| id as usize >= extent) {
        None => Ok(ids),
        Some(id) => Err(Fault::shape(format!(
            "{name}: index {id} is outside of an axis with {extent} entries"
        ))),
    }
}

/// The index, reduced to [outer, count, 1] where it is the same for all that stands after the axis.
pub fn compact(name: &str, index: &View, x: &View, axis: usize) -> Result<(View, bool)> {
    let fits = index.shape.len() == x.shape.len()
        && (0..x.shape.len()).all(|i| i == axis || index.shape[i] == x.shape[i]);
    if !fits {
        let (index, x) = (&*index.shape, &*x.shape);
        return Err(Fault::shape(format!(
            "{name}: index {index:?} may differ from {x:?} only along axis {axis}"
        )));
    }
    let after = axis + 1..x.shape.len();
    let repeated = after
        .clone()
        .all(|i| index.strides[i] == 0 || index.shape[i] == 1)
        && !index.is_empty();
    if !repeated {
        return Ok((copy::contiguous(index)?, false));
    }
    let mut shape = index.shape.to_vec();
    shape[after].fill(1);
    Ok((
        copy::contiguous(&View {
            shape: Dims::new(&shape)?,
            ..index.clone()
        })?,
        true,
    ))
}
