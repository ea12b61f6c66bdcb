//! Memory of tensors. Freed memory stays in a pool of its thread, since fresh pages cost more than the arithmetic on
//! them; a pool keeps at most `POOL_LIMIT` bytes unless told otherwise, or all that repeated work takes at once.

use crate::fault::{Fault, Result};
use std::alloc::{Layout, alloc, alloc_zeroed, dealloc};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

const ALIGNMENT: usize = 64;
const POOL_LIMIT: usize = 128 << 20;

/// A block of memory that returns to the pool of the thread that drops it.
pub struct Buffer {
    pub pointer: *mut u8,
    /// What was asked for.
    pub bytes: usize,
    capacity: usize,
}

impl Buffer {
    /// Memory from the pool, with whatever it held unless it is to be zeros.
    pub fn take(bytes: usize, zeroed: bool) -> Result<Buffer> {
        POOL.with(|pool| pool.borrow_mut().take(bytes, zeroed))
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let _ = POOL.try_with(|pool| {
            pool.borrow_mut()
                .give_back(self.pointer, self.capacity, self.bytes)
        });
    }
}

/// Bytes that the pools of all threads hold, alive or kept for reuse.
static HELD: AtomicUsize = AtomicUsize::new(0);
/// What `HELD` may not pass.
static MEMORY_LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Counts a new block, where the limit leaves room for it.
fn reserve(capacity: usize) -> bool {
    let limit = MEMORY_LIMIT.load(Relaxed);
    let more = |held: usize| held.checked_add(capacity).filter(|&sum| sum <= limit);
    HELD.fetch_update(Relaxed, Relaxed, more).is_ok()
}

#[derive(Default)]
struct Pool {
    free: BTreeMap<usize, Vec<*mut u8>>,
    free_bytes: usize,
    /// Whether freed memory is kept up to where it and what is alive reach the peak.
    keeps_peak: bool,
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
                // Memory kept for other sizes makes room, so that the peak does not grow by it.
                if self.keeps_peak && self.free_bytes > POOL_LIMIT && self.held() + capacity > self.peak {
                    self.trim();
                }
                if !reserve(capacity) {
                    self.trim();
                    if !reserve(capacity) {
                        return Err(Fault::memory_limit(bytes, held(), MEMORY_LIMIT.load(Relaxed)));
                    }
                }
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
            HELD.fetch_sub(capacity, Relaxed);
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
        let below_peak = self.keeps_peak && self.held() + capacity <= self.peak;
        if below_peak || self.free_bytes + capacity <= POOL_LIMIT {
            self.free.entry(capacity).or_default().push(pointer);
            self.free_bytes += capacity;
        } else {
            // SAFETY: the pointer came from `alloc` with this very layout and nobody else holds it.
            unsafe { dealloc(pointer, layout(capacity)) };
            HELD.fetch_sub(capacity, Relaxed);
        }
    }

    /// Bytes alive and kept.
    fn held(&self) -> usize {
        self.live + self.free_bytes
    }

    fn trim(&mut self) {
        for (&capacity, pointers) in &self.free {
            for &pointer in pointers {
                // SAFETY: as in `give_back`.
                unsafe { dealloc(pointer, layout(capacity)) };
            }
        }
        HELD.fetch_sub(self.free_bytes, Relaxed);
        self.free.clear();
        self.free_bytes = 0;
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.trim();
    }
}

thread_local! {
    static POOL: RefCell<Pool> = RefCell::new(Pool::default());
}

/// Bytes of this thread.
pub struct Use {
    pub live: usize,
    pub peak: usize,
    pub pooled: usize,
}

pub fn used() -> Use {
    POOL.with(|pool| {
        let pool = pool.borrow();
        Use {
            live: pool.live,
            peak: pool.peak,
            pooled: pool.free_bytes,
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

/// Whether this thread keeps freed memory up to the most that was alive at once, beyond the limit of its pool. When that
/// ends with more than the limit kept, all of it is returned.
pub fn keep_peak(keeps: bool) {
    POOL.with(|pool| {
        let mut pool = pool.borrow_mut();
        pool.keeps_peak = keeps;
        if !keeps && pool.free_bytes > POOL_LIMIT {
            pool.trim();
        }
    });
}

/// Bytes that the pools of all threads hold.
pub fn held() -> usize {
    HELD.load(Relaxed)
}

/// What the pools of all threads may hold together. An allocation that would pass it first gives back what its own
/// thread keeps for reuse, and then fails.
pub fn set_memory_limit(bytes: usize) {
    MEMORY_LIMIT.store(bytes, Relaxed);
}

/// Returns all freed memory of this thread to the system.
pub fn trim_pool() {
    POOL.with(|pool| pool.borrow_mut().trim());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The limit is one of the process, and other tests allocate meanwhile: only sizes far beyond theirs tell anything.
    #[test]
    fn an_allocation_past_the_limit_trims_the_pool_and_then_fails_and_later_ones_succeed() {
        const LARGE: usize = 8 << 30;
        set_memory_limit(held() + (1 << 30));
        drop(Buffer::take(96 << 20, false).unwrap());
        assert!(used().pooled >= 96 << 20);
        let fault = Buffer::take(LARGE, false).err().expect("the limit holds");
        assert_eq!(fault.code, "PARE_E_MEMORY");
        assert_eq!(used().pooled, 0);
        assert!(Buffer::take(1 << 20, true).is_ok());
        set_memory_limit(usize::MAX);
    }

    #[test]
    fn where_the_peak_is_kept_freed_memory_stays_up_to_it_and_other_sizes_do_not_add_to_it() {
        const BLOCK: usize = 40 << 20;
        let blocks = || {
            (0..5)
                .map(|_| Buffer::take(BLOCK, false).unwrap())
                .collect::<Vec<_>>()
        };
        drop(blocks());
        assert!(used().pooled <= POOL_LIMIT);
        keep_peak(true);
        drop(blocks());
        assert_eq!(used().pooled, 5 * BLOCK);
        let other = Buffer::take(3 * BLOCK, false).unwrap();
        assert!(used().pooled + used().live <= used().peak);
        drop(other);
        drop(blocks());
        keep_peak(false);
        assert!(used().pooled <= POOL_LIMIT);
    }
}
