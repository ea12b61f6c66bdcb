//! One thread pool for all kernels. Work is cut by shape alone, never by the number of threads, so that every
//! thread count gives the same bits.

use crate::fault::{Fault, Result};
use rayon::{ThreadPool, ThreadPoolBuilder, prelude::*};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};

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
    let chunk = chunk.max(1);
    if output.len() <= chunk {
        if !output.is_empty() {
            body(0, output);
        }
        return Ok(());
    }
    install(|| {
        output
            .par_chunks_mut(chunk)
            .enumerate()
            .for_each(|(index, part)| body(index * chunk, part))
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
    install(|| (0..count).into_par_iter().for_each(body))
}

/// As `tasks`, ending with the first fault.
pub fn try_tasks(count: usize, body: impl Fn(usize) -> Result<()> + Send + Sync) -> Result<()> {
    if count <= 1 {
        return (0..count).try_for_each(body);
    }
    install(|| (0..count).into_par_iter().try_for_each(body))?
}

/// A pointer that tasks write through, each to places of its own.
#[derive(Clone, Copy)]
pub struct Shared<T>(pub *mut T);
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
