//! The axes that stay and those that go, each as one index.

use crate::copy::{collapse, row_offset};

/// Shape and strides, with axes joined where they can be.
pub(super) struct Axes {
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
    pub count: usize,
}

impl Axes {
    pub fn of(shape: &[usize], strides: &[usize]) -> Axes {
        let joined = collapse(shape, [strides]);
        let [strides] = joined.strides;
        Axes {
            count: shape.iter().product(),
            shape: joined.shape,
            strides,
        }
    }

    pub fn width(&self) -> usize {
        *self.shape.last().expect("one axis")
    }

    pub fn stride(&self) -> usize {
        *self.strides.last().expect("one axis")
    }

    /// Offset of the row-major `index`.
    #[inline]
    pub fn offset(&self, index: usize) -> usize {
        row_offset(index / self.width(), &self.shape, &self.strides) + index % self.width() * self.stride()
    }
}
