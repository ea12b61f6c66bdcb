//! The threads of all kernels. Work is cut by shape alone, never by the number of threads, so that every
//! thread count gives the same bits.

use crate::crew::Crew;
use crate::fault::{Fault, Result};
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::ffi::OsString;
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

/// Threads that can be asked for, at most.
const MOST: usize = 1024;

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
    let count = threads.clamp(1, MOST);
    let crew = Crew::new(count).map_err(|error| refused(count, error))?;
    let pool = OnceLock::new();
    Ok(Arc::new(Threads { count, crew, pool }))
}

/// The number that `PARE_THREADS` asks for; none where it is not set or empty.
fn asked(text: Option<OsString>) -> Result<Option<usize>> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let text = text.to_string_lossy();
    match text.parse() {
        Ok(count) if (1..=MOST).contains(&count) => Ok(Some(count)),
        _ => {
            let found: String = text.chars().take(40).flat_map(char::escape_debug).collect();
            Err(Fault::option(format!(
                "PARE_THREADS: needs a whole number from 1 to {MOST}, got {found}; leave it out to use all cores"
            )))
        }
    }
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
    let asked = asked(std::env::var_os("PARE_THREADS"))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_threads_is_taken_as_it_is_or_refused() {
        let of = |text: &str| asked(Some(text.into()));
        assert_eq!(asked(None).unwrap(), None);
        assert_eq!(of("").unwrap(), None);
        assert_eq!((of("1").unwrap(), of("1024").unwrap()), (Some(1), Some(1024)));
        for text in [
            "abc",
            "0",
            "-1",
            "1e9",
            "1025",
            "2.5",
            " 2",
            "99999999999999999999999",
        ] {
            let fault = of(text).err().unwrap();
            assert_eq!(fault.code, "PARE_E_OPTION");
            assert!(
                fault.message.contains(&format!("got {text};")),
                "{}",
                fault.message
            );
        }
        let fault = of(&"\u{1b}[2J".repeat(1000)).err().unwrap();
        assert!(fault.message.len() < 500 && !fault.message.contains('\u{1b}'));
    }
}
