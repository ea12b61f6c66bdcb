//! The threads of all kernels. Work is cut by shape alone, never by the number of threads, so that every
//! thread count gives the same bits.

use crate::crew::Crew;
use crate::fault::{Fault, Result};
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

/// The threads of the process: a crew for our kernels, and a pool for those of libraries once one asks for it.
struct Threads {
    count: usize,
    crew: Crew,
    pool: OnceLock<ThreadPool>,
}

static THREADS: RwLock<Option<Arc<Threads>>> = RwLock::new(None);

/// Elements below which a loop runs on the calling thread: waking others costs more.
pub const SMALL: usize = 1 << 15;

fn refused(threads: usize, error: impl std::fmt::Display) -> Fault {
    Fault {
        code: "PARE_E_RESOURCE",
        message: format!("threads: {threads} could not be started ({error}); use fewer"),
    }
}

fn broken<T>(_: PoisonError<T>) -> Fault {
    Fault::shape("threads: the pool is broken")
}

fn start(threads: usize) -> Result<Arc<Threads>> {
    let count = threads.clamp(1, 1024);
    let crew = Crew::new(count).map_err(|error| refused(count, error))?;
    let pool = OnceLock::new();
    Ok(Arc::new(Threads { count, crew, pool }))
}

pub fn set_threads(threads: usize) -> Result<()> {
    let started = start(threads)?;
    *THREADS.write().map_err(broken)? = Some(started);
    Ok(())
}

fn current() -> Result<Arc<Threads>> {
    if let Some(threads) = THREADS.read().map_err(broken)?.as_ref() {
        return Ok(threads.clone());
    }
    let mut slot = THREADS.write().map_err(broken)?;
    if let Some(threads) = slot.as_ref() {
        return Ok(threads.clone());
    }
    let asked = std::env::var("PARE_THREADS")
        .ok()
        .and_then(|text| text.parse().ok());
    let count = asked.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let threads = start(count)?;
    *slot = Some(threads.clone());
    Ok(threads)
}

pub fn threads() -> Result<usize> {
    Ok(current()?.count)
}

/// Runs `body` inside the pool of the libraries.
pub fn install<T: Send>(body: impl FnOnce() -> T + Send) -> Result<T> {
    let threads = current()?;
    if threads.pool.get().is_none() {
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads.count)
            .thread_name(|index| format!("pare-pool-{index}"))
            .build()
            .map_err(|error| refused(threads.count, error))?;
        // Where another thread was first, its pool stays.
        let _ = threads.pool.set(pool);
    }
    let pool = threads
        .pool
        .get()
        .ok_or_else(|| Fault::shape("threads: the pool is broken"))?;
    Ok(pool.install(body))
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
    current()?.crew.share(count, &body);
    Ok(())
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
