//! Threads that wait for the next region spinning, and asleep when there is none for a while.
//!
//! A decoder hands out some hundred regions for each token, of 10 to 1000 microseconds each: waking
//! a sleeping thread for each would take longer than the work. Idle threads use no CPU.
//! Promises: [`ThreadPool::run`] returns when every thread has finished.

use std::fmt;
use std::hint::spin_loop;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

/// How long a thread spins for the next region before it sleeps.
const SPIN: Duration = Duration::from_micros(50);

/// Spins between looks at the clock, some microseconds in all.
const SPINS_PER_LOOK: usize = 64;

/// Spins within a region, some 20 microseconds, before a thread offers its CPU to others, and turns
/// of that before it sleeps in between: whoever it waits for may need this CPU.
const MAX_SPINS: usize = 1000;
const MAX_YIELDS: usize = MAX_SPINS + 500;

/// Persistent threads; the calling thread is one of them.
pub struct ThreadPool {
    shared: Arc<State>,
    workers: Vec<JoinHandle<()>>,
}

struct State {
    threads: usize,
    barrier: Barrier,
    /// Number of regions started; a change means that `job` is new.
    started: AtomicUsize,
    /// Workers that have finished the present region.
    finished: AtomicUsize,
    job: JobSlot,
    asleep: Vec<AtomicBool>,
    stop: AtomicBool,
}

/// One thread's view of a region.
#[derive(Debug)]
pub struct Worker<'a> {
    /// Which thread this is, from 0.
    pub index: usize,
    /// How many there are.
    pub threads: usize,
    barrier: &'a Barrier,
}

impl Worker<'_> {
    /// Waits until every thread of the region is here; what they wrote before is seen after.
    #[inline]
    pub fn barrier(&self) {
        self.barrier.wait(self.threads);
    }

    /// This thread's share of `0..total` in equal contiguous parts.
    pub fn share(&self, total: usize) -> Range<usize> {
        total * self.index / self.threads..total * (self.index + 1) / self.threads
    }
}

impl ThreadPool {
    /// Starts `threads - 1` threads (at least 0); the caller of [`ThreadPool::run`] is the other.
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub fn new(threads: usize) -> std::io::Result<Self> {
        let threads = threads.max(1);
        let shared = Arc::new(State {
            threads,
            barrier: Barrier::default(),
            started: AtomicUsize::new(0),
            finished: AtomicUsize::new(0),
            job: JobSlot::default(),
            asleep: (1..threads).map(|_| AtomicBool::new(false)).collect(),
            stop: AtomicBool::new(false),
        });
        let mut pool = ThreadPool { shared, workers: Vec::with_capacity(threads - 1) };
        for index in 1..threads {
            let shared = Arc::clone(&pool.shared);
            let builder = thread::Builder::new().name(format!("kernels-{index}"));
            pool.workers.push(builder.spawn(move || work(&shared, index))?);
        }
        Ok(pool)
    }

    /// Threads that work in a region.
    pub fn threads(&self) -> usize {
        self.shared.threads
    }

    /// Runs `job` once on every thread at the same time, and waits for all of them.
    ///
    /// A panic in `job` ends the process when there are several threads: the others would wait
    /// for ever at the next barrier.
    pub fn run<F: Fn(&Worker<'_>) + Sync>(&mut self, job: F) {
        let state = &*self.shared;
        let worker = Worker { index: 0, threads: state.threads, barrier: &state.barrier };
        if self.workers.is_empty() {
            return job(&worker);
        }
        state.finished.store(0, Ordering::Relaxed);
        // SAFETY: no worker reads the slot now, since `run` has waited for them all the last time
        // and has `self` alone; `job` outlives this call, which waits for them again.
        unsafe { state.job.set(&job) };
        // Sequentially consistent with `asleep`: either a worker sees the new number before it
        // sleeps, or we see that it is asleep.
        state.started.fetch_add(1, Ordering::SeqCst);
        for (asleep, worker) in state.asleep.iter().zip(&self.workers) {
            if asleep.swap(false, Ordering::SeqCst) {
                worker.thread().unpark();
            }
        }
        let guard = AbortOnPanic;
        job(&worker);
        spin_until(|| state.finished.load(Ordering::Acquire) == self.workers.len());
        drop(guard);
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.started.fetch_add(1, Ordering::SeqCst);
        for worker in self.workers.drain(..) {
            Thread::unpark(worker.thread());
            // A worker that panicked has ended the process already.
            let _ = worker.join();
        }
    }
}

impl fmt::Debug for ThreadPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadPool").field("threads", &self.shared.threads).finish()
    }
}

fn work(state: &State, index: usize) {
    let worker = Worker { index, threads: state.threads, barrier: &state.barrier };
    let mut seen = 0;
    loop {
        wait_for_start(state, &state.asleep[index - 1], seen);
        seen += 1;
        if state.stop.load(Ordering::SeqCst) {
            return;
        }
        let guard = AbortOnPanic;
        // SAFETY: `run` has set the slot before it counted this region, and keeps what it points
        // to until we have counted ourselves as finished.
        unsafe { state.job.call(&worker) };
        drop(guard);
        state.finished.fetch_add(1, Ordering::Release);
    }
}

fn wait_for_start(state: &State, asleep: &AtomicBool, seen: usize) {
    let is_new = || state.started.load(Ordering::SeqCst) != seen;
    let since = Instant::now();
    while since.elapsed() < SPIN {
        for _ in 0..SPINS_PER_LOOK {
            if is_new() {
                return;
            }
            spin_loop();
        }
    }
    loop {
        // Anew each time: a wake-up may have been meant for the region before, and took the mark.
        asleep.store(true, Ordering::SeqCst);
        if is_new() {
            break;
        }
        thread::park();
    }
    asleep.store(false, Ordering::SeqCst);
}

/// Spins; when it takes longer than regions should, lets others run meanwhile.
fn spin_until(done: impl Fn() -> bool) {
    let mut turns = 0_usize;
    while !done() {
        turns += 1;
        match turns {
            0..MAX_SPINS => spin_loop(),
            MAX_SPINS..MAX_YIELDS => thread::yield_now(),
            _ => thread::sleep(SPIN),
        }
    }
}

/// Counts arrivals; the last one lets all go on.
#[derive(Debug, Default)]
struct Barrier {
    arrived: AtomicUsize,
    round: AtomicUsize,
}

impl Barrier {
    #[inline]
    fn wait(&self, threads: usize) {
        if threads == 1 {
            return;
        }
        let round = self.round.load(Ordering::Relaxed);
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == threads {
            self.arrived.store(0, Ordering::Relaxed);
            self.round.store(round.wrapping_add(1), Ordering::Release);
        } else {
            spin_until(|| self.round.load(Ordering::Acquire) != round);
        }
    }
}

/// A borrowed closure without its type and lifetime, and how to call it.
type Job = (*const (), unsafe fn(*const (), &Worker<'_>));

#[derive(Default)]
struct JobSlot(std::cell::UnsafeCell<Option<Job>>);

// SAFETY: written only while no worker reads (see `run`), and the closure is `Sync`.
unsafe impl Sync for JobSlot {}
// SAFETY: the pointer is used only between `set` and the end of that region.
unsafe impl Send for JobSlot {}

impl JobSlot {
    /// # Safety
    /// No thread is in `call`, and `job` lives until every thread has returned from it.
    unsafe fn set<F: Fn(&Worker<'_>) + Sync>(&self, job: &F) {
        unsafe fn call<F: Fn(&Worker<'_>) + Sync>(job: *const (), worker: &Worker<'_>) {
            // SAFETY: `set` made the pointer from a `&F` that still lives.
            unsafe { (*job.cast::<F>())(worker) }
        }
        // SAFETY: nobody else looks at the slot.
        unsafe { *self.0.get() = Some((std::ptr::from_ref(job).cast(), call::<F>)) };
    }

    /// # Safety
    /// Between `set` and the end of its region.
    unsafe fn call(&self, worker: &Worker<'_>) {
        // SAFETY: nobody writes the slot during a region, and the closure lives.
        unsafe {
            let (job, call) = (*self.0.get()).expect("set before the region was counted");
            call(job, worker);
        }
    }
}

struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_thread_runs_every_region() {
        for threads in [1, 2, 3] {
            let mut pool = ThreadPool::new(threads).unwrap();
            let counts: Vec<AtomicUsize> = (0..threads).map(|_| AtomicUsize::new(0)).collect();
            for _ in 0..50 {
                pool.run(|worker| {
                    counts[worker.index].fetch_add(1, Ordering::Relaxed);
                });
            }
            assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 50));
        }
    }

    #[test]
    fn what_was_written_before_a_barrier_is_seen_after() {
        let mut pool = ThreadPool::new(3).unwrap();
        let parts: Vec<AtomicUsize> = (0..3).map(|_| AtomicUsize::new(0)).collect();
        for turn in 1..30 {
            pool.run(|worker| {
                parts[worker.index].store(turn, Ordering::Relaxed);
                worker.barrier();
                assert!(parts.iter().all(|part| part.load(Ordering::Relaxed) == turn));
                worker.barrier();
            });
        }
    }

    #[test]
    fn late_wake_ups_do_no_harm() {
        let mut pool = ThreadPool::new(2).unwrap();
        let ran = AtomicUsize::new(0);
        for _ in 0..3 {
            thread::park_timeout(SPIN * 20);
            // As when `run` comes to wake a thread that has done its part and sleeps again.
            pool.shared.asleep[0].swap(false, Ordering::SeqCst);
            pool.workers[0].thread().unpark();
            thread::park_timeout(SPIN * 20);
            pool.run(|_| {
                ran.fetch_add(1, Ordering::Relaxed);
            });
        }
        assert_eq!(ran.load(Ordering::Relaxed), 6);
    }

    #[test]
    fn sleeping_threads_wake() {
        let mut pool = ThreadPool::new(2).unwrap();
        for _ in 0..3 {
            thread::park_timeout(SPIN * 20);
            let ran = AtomicUsize::new(0);
            pool.run(|_| {
                ran.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!(ran.load(Ordering::Relaxed), 2);
        }
    }
}
