//! Extents and strides of tensors.

use crate::fault::{Fault, Result};

pub const MAX_DIMS: usize = 8;

/// A short list of extents or strides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Dims {
    length: usize,
    values: [usize; MAX_DIMS],
}

impl Dims {
    pub fn new(values: &[usize]) -> Result<Dims> {
        if values.len() > MAX_DIMS {
            return Err(Fault::shape(format!(
                "shape: at most {MAX_DIMS} dimensions are supported, got {}",
                values.len()
            )));
        }
        let mut dims = Dims {
            length: values.len(),
            values: [0; MAX_DIMS],
        };
        dims.values[..values.len()].copy_from_slice(values);
        Ok(dims)
    }
    pub fn as_slice(&self) -> &[usize] {
        &self.values[..self.length]
    }
}

impl std::ops::Deref for Dims {
    type Target = [usize];
    fn deref(&self) -> &[usize] {
        self.as_slice()
    }
}

/// Number of elements, or a fault where it does not fit.
pub fn element_count(shape: &[usize]) -> Result<usize> {
    shape
        .iter()
        .try_fold(1usize, |product, &extent| product.checked_mul(extent))
        .filter(|&count| count <= isize::MAX as usize / 8)
        .ok_or_else(|| Fault::shape(format!("shape: {shape:?} has more elements than memory can hold")))
}

pub fn row_major(shape: &[usize]) -> Dims {
    let mut strides = [0; MAX_DIMS];
    let mut step = 1;
    for axis in (0..shape.len()).rev() {
        strides[axis] = step;
        step *= shape[axis].max(1);
    }
    Dims {
        length: shape.len(),
        values: strides,
    }
}
