//! One thread pool for all kernels. Work is cut by shape alone, never by the number of threads, so that every
//! thread count gives the same bits.

use crate::fault::{Fault, Result};
use rayon::{ThreadPool, ThreadPoolBuilder, prelude::*};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

static POOL: RwLock<Option<Arc<ThreadPool>>> = RwLock::new(None);

/// Elements below which a loop runs on the calling thread: waking others costs more.
pub const SMALL: usize = 1 << 15;

fn build(threads: usize) -> Result<Arc<ThreadPool>> {
    ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|index| format!("pare-{index}"))
        .build()
        .map(Arc::new)
        .map_err(|error| Fault {
            code: "PARE_E_RESOURCE",
            message: format!("threads: {threads} could not be started ({error}); use fewer"),
        })
}

pub fn set_threads(threads: usize) -> Result<()> {
    let pool = build(threads.clamp(1, 1024))?;
    *POOL
        .write()
        .map_err(|_| Fault::shape("threads: the pool is broken"))? = Some(pool);
    Ok(())
}

fn pool() -> Result<Arc<ThreadPool>> {
    let broken = |_| Fault::shape("threads: the pool is broken");
    if let Some(pool) = POOL
        .read()
        .map_err(|_| Fault::shape("threads: the pool is broken"))?
        .as_ref()
    {
        return Ok(pool.clone());
    }
    let mut slot = POOL.write().map_err(broken)?;
    if slot.is_none() {
        let asked = std::env::var("PARE_THREADS")
            .ok()
            .and_then(|text| text.parse().ok());
        let threads = asked.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
        *slot = Some(build(threads.clamp(1, 1024))?);
    }
    slot.clone()
        .ok_or_else(|| Fault::shape("threads: the pool is broken"))
}

pub fn threads() -> Result<usize> {
    Ok(pool()?.current_num_threads())
}

/// Runs `body` inside the pool.
pub fn install<T: Send>(body: impl FnOnce() -> T + Send) -> Result<T> {
    Ok(pool()?.install(body))
}

/// Calls `body(start, chunk)` on consecutive chunks of `output`, in parallel where there are several.
pub fn chunks<T: Send>(
    output: &mut [T],
    chunk: usize,
    body: impl Fn(usize, &mut [T]) + Send + Sync,
) -> Result<()> {
    let (chunk, length) = (chunk.max(1), output.len());
    let out = Shared(output.as_mut_ptr());
    tasks(length.div_ceil(chunk), |index| {
        let start = index * chunk;
        // SAFETY: the chunks lie in the output and do not overlap, and each belongs to one task.
        let part = unsafe { std::slice::from_raw_parts_mut(out.get().add(start), chunk.min(length - start)) };
        body(start, part)
    })
}

/// Calls `body(index)` for every task.
pub fn tasks(count: usize, body: impl Fn(usize) + Send + Sync) -> Result<()> {
    if count <= 1 {
        if count == 1 {
            body(0);
        }
        return Ok(());
    }
    spread(count, &body)
}

/// Compiled once for all kernels: the pool's splitting of work is more code than most of them.
#[inline(never)]
fn spread(count: usize, body: &(dyn Fn(usize) + Send + Sync)) -> Result<()> {
    install(|| (0..count).into_par_iter().for_each(body))
}

/// As `tasks`, ending with a fault where a task has one.
pub fn try_tasks(count: usize, body: impl Fn(usize) -> Result<()> + Send + Sync) -> Result<()> {
    let fault = Mutex::new(None);
    tasks(count, |index| {
        if let Err(found) = body(index) {
            *fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
        }
    })?;
    fault
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
        .map_or(Ok(()), Err)
}

/// A pointer that tasks write through, each to places of its own.
pub struct Shared<T>(pub *mut T);
impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Shared<T> {}
// SAFETY: every user writes disjoint places from different tasks and says so where it does.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}
impl<T> Shared<T> {
    pub fn get(self) -> *mut T {
        self.0
    }
}

static ABORTED: AtomicBool = AtomicBool::new(false);

/// Asks every long kernel of the process to stop (true), or lets work go on (false).
pub fn set_aborted(aborted: bool) {
    ABORTED.store(aborted, Ordering::Relaxed);
}

pub fn aborted() -> bool {
    ABORTED.load(Ordering::Relaxed)
}
