//! Tensors of one thread: pooled buffers, views over them, and the integer handles that JavaScript holds.
//!
//! A buffer lives while a view refers to it. Freed memory stays in a pool, since fresh pages cost more than the
//! arithmetic on them; the pool keeps at most `POOL_LIMIT` bytes.

use crate::dtype::{DType, Element};
use crate::fault::{Fault, Result};
use std::alloc::{Layout, alloc, alloc_zeroed, dealloc};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

pub const MAX_DIMS: usize = 8;
const ALIGNMENT: usize = 64;
const DEFAULT_POOL_LIMIT: usize = 128 << 20;

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

pub struct Buffer {
    pointer: *mut u8,
    bytes: usize,
    capacity: usize,
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let _ = POOL.try_with(|pool| {
            pool.borrow_mut()
                .give_back(self.pointer, self.capacity, self.bytes)
        });
    }
}

#[derive(Default)]
struct Pool {
    free: BTreeMap<usize, Vec<*mut u8>>,
    free_bytes: usize,
    limit: Option<usize>,
    live: usize,
    peak: usize,
}

/// Capacities are rounded up to an eighth of a power of two, so that freed buffers fit their successors.
fn size_class(bytes: usize) -> usize {
    let bytes = bytes.max(ALIGNMENT);
    let step = (bytes.next_power_of_two() / 16).max(ALIGNMENT);
    bytes.div_ceil(step) * step
}

/// Buffers from this size on lie on huge pages where the system grants them: large operands are read in an order
/// that small pages would pay for with a table walk a row, and fresh ones with a fault every 4 KiB.
const HUGE_PAGE: usize = 2 << 20;

fn layout(capacity: usize) -> Layout {
    let alignment = if capacity >= HUGE_PAGE {
        HUGE_PAGE
    } else {
        ALIGNMENT
    };
    Layout::from_size_align(capacity, alignment).expect("capacities are below isize::MAX")
}

fn ask_for_huge_pages(pointer: *mut u8, capacity: usize) {
    #[cfg(target_os = "linux")]
    if capacity >= HUGE_PAGE && !pointer.is_null() {
        // SAFETY: advice on a block that we own; where it is refused nothing changes.
        unsafe { libc::madvise(pointer.cast(), capacity, libc::MADV_HUGEPAGE) };
    }
}

/// glibc raises the size from which a block is a mapping of its own whenever a larger one is freed; freed weights
/// would then stay resident in the heap. A fixed threshold gives them back to the system.
fn fix_mapping_threshold() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        static ONCE: std::sync::Once = std::sync::Once::new();
        // SAFETY: mallopt takes two integers and has no other preconditions.
        ONCE.call_once(|| unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 20);
        });
    }
}

impl Pool {
    fn take(&mut self, bytes: usize, zeroed: bool) -> Result<Buffer> {
        fix_mapping_threshold();
        let capacity = size_class(bytes);
        let mut recycled = false;
        let pointer = match self.free.get_mut(&capacity).and_then(Vec::pop) {
            Some(pointer) => {
                self.free_bytes -= capacity;
                recycled = true;
                pointer
            }
            None => {
                // SAFETY: the layout has a size above zero.
                let pointer = unsafe {
                    if zeroed && capacity < HUGE_PAGE {
                        alloc_zeroed(layout(capacity))
                    } else {
                        alloc(layout(capacity))
                    }
                };
                ask_for_huge_pages(pointer, capacity);
                pointer
            }
        };
        if pointer.is_null() {
            return Err(Fault::memory(bytes));
        }
        if zeroed && (recycled || capacity >= HUGE_PAGE) {
            // SAFETY: the block has `capacity` bytes, at least `bytes`.
            unsafe { std::ptr::write_bytes(pointer, 0, bytes) };
        }
        self.live += bytes;
        self.peak = self.peak.max(self.live);
        Ok(Buffer {
            pointer,
            bytes,
            capacity,
        })
    }

    fn give_back(&mut self, pointer: *mut u8, capacity: usize, bytes: usize) {
        self.live -= bytes;
        if self.free_bytes + capacity <= self.limit.unwrap_or(DEFAULT_POOL_LIMIT) {
            self.free.entry(capacity).or_default().push(pointer);
            self.free_bytes += capacity;
        } else {
            // SAFETY: the pointer came from `alloc` with this very layout and nobody else holds it.
            unsafe { dealloc(pointer, layout(capacity)) };
        }
    }

    fn trim(&mut self) {
        for (&capacity, pointers) in &self.free {
            for &pointer in pointers {
                // SAFETY: as in `give_back`.
                unsafe { dealloc(pointer, layout(capacity)) };
            }
        }
        self.free.clear();
        self.free_bytes = 0;
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.trim();
    }
}

#[derive(Default)]
struct Table {
    views: Vec<Option<View>>,
    free: Vec<u32>,
}

thread_local! {
    static POOL: RefCell<Pool> = RefCell::new(Pool::default());
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
        let buffer = POOL.with(|pool| pool.borrow_mut().take(bytes, zeroed))?;
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
    POOL.with(|pool| {
        let pool = pool.borrow();
        Memory {
            live: pool.live,
            peak: pool.peak,
            pooled: pool.free_bytes,
            handles,
        }
    })
}

/// Forgets the peak so far, so that the next one can be measured.
pub fn reset_peak() {
    POOL.with(|pool| {
        let mut pool = pool.borrow_mut();
        pool.peak = pool.live;
    });
}

/// Bytes of freed memory that this thread keeps for reuse; what exceeds it is returned at once.
pub fn set_pool_limit(bytes: usize) {
    POOL.with(|pool| {
        let mut pool = pool.borrow_mut();
        pool.limit = Some(bytes);
        if pool.free_bytes > bytes {
            pool.trim();
        }
    });
}

/// Returns all freed memory of this thread to the system.
pub fn trim_pool() {
    POOL.with(|pool| pool.borrow_mut().trim());
}
