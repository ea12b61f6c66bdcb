//! Threads that share the tasks of one kernel after another. The calling thread takes part, and a thread without work
//! looks for some for a short while before it sleeps: between two kernels of a forward pass lie a few microseconds,
//! and to wake a thread takes several times that.

use std::any::Any;
use std::cell::Cell;
use std::hint::spin_loop;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a thread looks for work before it sleeps.
const PATIENCE: Duration = Duration::from_micros(50);

type Body = dyn Fn(usize) + Send + Sync + 'static;

/// Tasks 0 to `count` of a caller that waits for them.
#[derive(Clone, Copy)]
struct Job {
    body: *const Body,
    count: usize,
}
// SAFETY: the body may be called from any thread, and its caller waits until nobody uses it.
unsafe impl Send for Job {}

#[derive(Default)]
struct State {
    /// Absent once every task is taken: no thread enters a job that its caller is about to end.
    job: Option<Job>,
    /// Threads inside of the job, its caller not counted.
    running: usize,
    sleeping: usize,
    panic: Option<Box<dyn Any + Send>>,
}

#[derive(Default)]
struct Board {
    state: Mutex<State>,
    /// Jobs so far; changes while `state` is held.
    jobs: AtomicU64,
    /// The first task of the job that nobody took.
    next: AtomicUsize,
    /// As `State::running`, to look at without the lock.
    running: AtomicUsize,
    work: Condvar,
    done: Condvar,
    quit: AtomicBool,
}

thread_local! {
    /// This thread runs a task: what it starts itself stays on it.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

impl Board {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs tasks until none is left. A panic is kept for the caller of the job, which then gets no further ones.
    fn take_tasks(&self, job: Job) {
        INSIDE.set(true);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            loop {
                let task = self.next.fetch_add(1, Ordering::Relaxed);
                if task >= job.count {
                    return;
                }
                // SAFETY: the caller of the job keeps its body until no thread is inside.
                unsafe { (*job.body)(task) };
            }
        }));
        INSIDE.set(false);
        if let Err(panic) = outcome {
            self.next.fetch_max(job.count, Ordering::Relaxed);
            self.state().panic.get_or_insert(panic);
        }
    }

    /// Life of a thread of the crew.
    fn serve(&self) {
        let mut seen = 0;
        while !self.quit.load(Ordering::Relaxed) {
            self.await_job(seen);
            let job = {
                let mut state = self.state();
                seen = self.jobs.load(Ordering::Relaxed);
                if state.job.is_some() {
                    state.running += 1;
                    self.running.store(state.running, Ordering::Relaxed);
                }
                state.job
            };
            let Some(job) = job else { continue };
            self.take_tasks(job);
            let mut state = self.state();
            state.running -= 1;
            self.running.store(state.running, Ordering::Release);
            if state.running == 0 {
                self.done.notify_one();
            }
        }
    }

    /// Returns once there was a job after `seen`, or the crew ends.
    fn await_job(&self, seen: u64) {
        let is_new = || self.jobs.load(Ordering::Relaxed) != seen || self.quit.load(Ordering::Relaxed);
        if look_for(is_new) {
            return;
        }
        let mut state = self.state();
        state.sleeping += 1;
        while !is_new() {
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.sleeping -= 1;
    }
}

/// Whether something became true within `PATIENCE`.
fn look_for(is_true: impl Fn() -> bool) -> bool {
    let start = Instant::now();
    loop {
        for _ in 0..32 {
            if is_true() {
                return true;
            }
            spin_loop();
        }
        if start.elapsed() > PATIENCE {
            return false;
        }
    }
}

pub struct Crew {
    board: Arc<Board>,
    threads: Vec<JoinHandle<()>>,
    /// Held by the caller whose job it is.
    turn: Mutex<()>,
}

impl Crew {
    /// A crew of `size`, the calling thread counted in.
    pub fn new(size: usize) -> std::io::Result<Crew> {
        let mut crew = Crew {
            board: Arc::default(),
            threads: Vec::new(),
            turn: Mutex::new(()),
        };
        for index in 1..size {
            let board = crew.board.clone();
            let thread = std::thread::Builder::new().name(format!("pare-{index}"));
            crew.threads.push(thread.spawn(move || board.serve())?);
        }
        Ok(crew)
    }

    /// Calls `body` for tasks 0 to `count`, and returns when all are done. From inside of a task, or while another
    /// thread has the crew, it does them alone.
    pub fn share(&self, count: usize, body: &(dyn Fn(usize) + Send + Sync)) {
        let alone = self.threads.is_empty() || count < 2 || INSIDE.get();
        let Some(turn) = (if alone { None } else { self.turn.try_lock().ok() }) else {
            return (0..count).for_each(body);
        };
        // SAFETY: only the lifetime is lost, and this call outlasts every use.
        let body =
            unsafe { std::mem::transmute::<*const (dyn Fn(usize) + Send + Sync + '_), *const Body>(body) };
        let job = Job { body, count };
        let board = &*self.board;
        {
            let mut state = board.state();
            state.job = Some(job);
            board.next.store(0, Ordering::Relaxed);
            board.jobs.fetch_add(1, Ordering::Relaxed);
            for _ in 0..state.sleeping.min(count - 1) {
                board.work.notify_one();
            }
        }
        board.take_tasks(job);
        board.state().job = None;
        look_for(|| board.running.load(Ordering::Acquire) == 0);
        let mut state = board.state();
        while state.running > 0 {
            state = board.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if let Some(panic) = state.panic.take() {
            drop(state);
            drop(turn);
            resume_unwind(panic);
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        {
            let _state = self.board.state();
            self.board.quit.store(true, Ordering::Relaxed);
            self.board.work.notify_all();
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once_whatever_the_size() {
        for size in [1, 2, 3, 8] {
            let crew = Crew::new(size).unwrap();
            for count in [0, 1, 2, 7, 1000] {
                let times: Vec<_> = (0..count).map(|_| AtomicUsize::new(0)).collect();
                crew.share(count, &|task| {
                    times[task].fetch_add(1, Ordering::Relaxed);
                });
                assert!(times.iter().all(|each| each.load(Ordering::Relaxed) == 1));
            }
        }
    }

    #[test]
    fn many_jobs_in_a_row_end_also_after_the_threads_fell_asleep() {
        let crew = Crew::new(3).unwrap();
        let sum = AtomicUsize::new(0);
        for round in 0..3000 {
            if round % 500 == 0 {
                std::thread::sleep(PATIENCE * 10);
            }
            crew.share(4, &|task| {
                sum.fetch_add(task, Ordering::Relaxed);
            });
        }
        assert_eq!(sum.load(Ordering::Relaxed), 3000 * 6);
    }

    #[test]
    fn tasks_may_start_jobs_and_several_threads_may_share_a_crew() {
        let crew = Crew::new(3).unwrap();
        let sum = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        crew.share(5, &|_| {
                            crew.share(3, &|inner| {
                                sum.fetch_add(inner, Ordering::Relaxed);
                            });
                        });
                    }
                });
            }
        });
        assert_eq!(sum.load(Ordering::Relaxed), 4 * 200 * 5 * 3);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_crew_goes_on() {
        let crew = Crew::new(3).unwrap();
        for guilty in [0, 99] {
            let found = catch_unwind(AssertUnwindSafe(|| {
                crew.share(100, &|task| assert!(task != guilty, "task {task}"));
            }));
            let panic = found.unwrap_err();
            assert_eq!(panic.downcast_ref::<String>().unwrap(), &format!("task {guilty}"));
            let sum = AtomicUsize::new(0);
            crew.share(10, &|task| {
                sum.fetch_add(task, Ordering::Relaxed);
            });
            assert_eq!(sum.load(Ordering::Relaxed), 45);
            assert!(!crew.turn.is_poisoned());
        }
    }
}
