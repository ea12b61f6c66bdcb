//! Tensors of one thread: views over buffers, and the integer handles that JavaScript holds. A buffer lives while a
//! view refers to it.

use crate::dtype::{DType, Element};
use crate::fault::{Fault, Result};
use crate::pool::{self, Buffer};
pub use crate::shape::{Dims, MAX_DIMS, element_count, row_major};
use std::cell::RefCell;
use std::rc::Rc;

#[derive(Default)]
struct Table {
    views: Vec<Option<View>>,
    free: Vec<u32>,
}

thread_local! {
    static TABLE: RefCell<Table> = RefCell::new(Table::default());
}

/// A strided window on a buffer; strides and offset count elements.
#[derive(Clone)]
pub struct View {
    pub buffer: Rc<Buffer>,
    pub dtype: DType,
    pub shape: Dims,
    pub strides: Dims,
    pub offset: usize,
}

impl View {
    /// A new contiguous tensor whose contents are whatever the pool held; the caller fills it.
    pub fn empty(dtype: DType, shape: &[usize]) -> Result<View> {
        View::make(dtype, shape, false)
    }

    pub fn zeros(dtype: DType, shape: &[usize]) -> Result<View> {
        View::make(dtype, shape, true)
    }

    fn make(dtype: DType, shape: &[usize], zeroed: bool) -> Result<View> {
        let bytes = element_count(shape)? * dtype.size();
        let buffer = Buffer::take(bytes, zeroed)?;
        Ok(View {
            buffer: Rc::new(buffer),
            dtype,
            shape: Dims::new(shape)?,
            strides: row_major(shape),
            offset: 0,
        })
    }

    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn is_contiguous(&self) -> bool {
        let mut step = 1;
        for axis in (0..self.shape.len()).rev() {
            if self.shape[axis] != 1 && self.strides[axis] != step {
                return self.is_empty();
            }
            step *= self.shape[axis];
        }
        true
    }

    /// A view with other extents and strides on the same buffer, refused where it would leave the buffer.
    pub fn restrided(&self, shape: &[usize], strides: &[usize], offset: usize) -> Result<View> {
        let wrong = || {
            Fault::shape(format!(
                "view: shape {shape:?}, strides {strides:?}, offset {offset} leave the buffer"
            ))
        };
        if shape.len() != strides.len() {
            return Err(wrong());
        }
        if element_count(shape)? > 0 {
            let last = shape
                .iter()
                .zip(strides)
                .try_fold(offset, |at, (&extent, &stride)| {
                    at.checked_add((extent - 1).checked_mul(stride)?)
                })
                .ok_or_else(wrong)?;
            if last >= self.buffer.bytes / self.dtype.size() {
                return Err(wrong());
            }
        }
        Ok(View {
            shape: Dims::new(shape)?,
            strides: Dims::new(strides)?,
            offset,
            ..self.clone()
        })
    }

    fn check<T: Element>(&self) -> Result<()> {
        let same = self.dtype == T::DTYPE
            || (self.dtype.size() == size_of::<T>()
                && !matches!(T::DTYPE, DType::F32 | DType::F64 | DType::BF16 | DType::F16));
        if same {
            Ok(())
        } else {
            Err(Fault::shape(format!(
                "kernel: needs {}, got {}; cast it first",
                T::DTYPE.name(),
                self.dtype.name()
            )))
        }
    }

    /// All elements of the buffer from this view's offset on; unsigned types may read any type of their width.
    pub fn tail<T: Element>(&self) -> Result<&[T]> {
        self.check::<T>()?;
        let total = self.buffer.bytes / size_of::<T>();
        let start = self.offset.min(total);
        // SAFETY: the buffer holds `total` elements, is aligned to 64 bytes, and every bit pattern is a valid element.
        Ok(unsafe { std::slice::from_raw_parts(self.buffer.pointer.cast::<T>().add(start), total - start) })
    }

    /// The elements in row-major order; the view must be contiguous.
    pub fn slice<T: Element>(&self) -> Result<&[T]> {
        if !self.is_contiguous() {
            return Err(Fault::shape(
                "kernel: needs a contiguous tensor; this is a defect of Pare",
            ));
        }
        Ok(&self.tail::<T>()?[..self.len()])
    }

    /// The elements for writing. For tensors just made, and for state that only its owner changes.
    #[allow(clippy::mut_from_ref)]
    pub fn slice_mut<T: Element>(&self) -> Result<&mut [T]> {
        let length = self.slice::<T>()?.len();
        // SAFETY: bounds as in `tail`. Kernels write only to outputs that they made and to state passed for
        // writing; the border takes one call at a time on a thread, and buffers never leave their thread.
        Ok(unsafe {
            std::slice::from_raw_parts_mut(self.buffer.pointer.cast::<T>().add(self.offset), length)
        })
    }

    pub fn bytes(&self) -> Result<&[u8]> {
        if !self.is_contiguous() {
            return Err(Fault::shape(
                "kernel: needs a contiguous tensor; this is a defect of Pare",
            ));
        }
        let size = self.dtype.size();
        // SAFETY: a contiguous view covers len() elements from its offset, checked when it was made.
        Ok(unsafe {
            std::slice::from_raw_parts(self.buffer.pointer.add(self.offset * size), self.len() * size)
        })
    }

    #[allow(clippy::mut_from_ref)]
    pub fn bytes_mut(&self) -> Result<&mut [u8]> {
        let length = self.bytes()?.len();
        // SAFETY: as in `bytes` and `slice_mut`.
        Ok(unsafe {
            std::slice::from_raw_parts_mut(self.buffer.pointer.add(self.offset * self.dtype.size()), length)
        })
    }

    /// Stores the view and returns its handle.
    pub fn into_handle(self) -> u32 {
        TABLE.with(|table| {
            let mut table = table.borrow_mut();
            match table.free.pop() {
                Some(handle) => {
                    table.views[handle as usize] = Some(self);
                    handle
                }
                None => {
                    table.views.push(Some(self));
                    (table.views.len() - 1) as u32
                }
            }
        })
    }
}

#[cfg(test)]
impl View {
    /// An f32 tensor for a test, from the position of each number.
    pub fn filled(shape: &[usize], value: impl Fn(usize) -> f32) -> View {
        let x = View::empty(DType::F32, shape).unwrap();
        let numbers = x.slice_mut::<f32>().unwrap();
        numbers.iter_mut().enumerate().for_each(|(i, v)| *v = value(i));
        x
    }

    /// A tensor for a test with these numbers, row-major.
    pub fn of<T: Element>(shape: &[usize], values: &[T]) -> View {
        let x = View::empty(T::DTYPE, shape).unwrap();
        x.slice_mut::<T>().unwrap().copy_from_slice(values);
        x
    }
}

/// The view behind a handle.
pub fn view(handle: u32) -> Result<View> {
    TABLE.with(|table| {
        table.borrow().views.get(handle as usize).cloned().flatten().ok_or_else(|| {
            Fault::shape(format!("tensor: handle {handle} is not alive on this thread; it left its scope or another thread made it"))
        })
    })
}

pub fn release(handle: u32) {
    let view = TABLE.with(|table| {
        let mut table = table.borrow_mut();
        let view = table.views.get_mut(handle as usize).and_then(Option::take);
        if view.is_some() {
            table.free.push(handle);
        }
        view
    });
    drop(view);
}

pub struct Memory {
    pub live: usize,
    pub peak: usize,
    pub pooled: usize,
    pub handles: usize,
}

pub fn memory() -> Memory {
    let handles = TABLE.with(|table| {
        let table = table.borrow();
        table.views.len() - table.free.len()
    });
    let pool::Use { live, peak, pooled } = pool::used();
    Memory {
        live,
        peak,
        pooled,
        handles,
    }
}
