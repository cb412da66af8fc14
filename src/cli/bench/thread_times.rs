//! Processor time of this process's threads, by their names, as Linux counts it. It tells what work
//! costs far more steadily than the time that passes beside it.

use std::fs;
use std::time::Duration;

/// What all threads named `name` have run so far. `None` where the system does not tell.
pub(super) fn of_threads_named(name: &str) -> Option<Duration> {
    let mut ran = None;
    for task in fs::read_dir("/proc/self/task").ok()?.flatten() {
        let read = |file| fs::read_to_string(task.path().join(file)).ok();
        // A thread may end between the two.
        if read("comm").is_some_and(|comm| comm.trim_end() == name)
            && let Some(nanos) = read("schedstat").and_then(|stat| run_nanos(&stat))
        {
            ran = Some(ran.unwrap_or_default() + Duration::from_nanos(nanos));
        }
    }
    ran
}

/// The first of its three numbers.
fn run_nanos(schedstat: &str) -> Option<u64> {
    schedstat.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_number_is_the_time() {
        assert_eq!(run_nanos("456647 0 3\n"), Some(456_647));
        assert_eq!((run_nanos(""), run_nanos("x")), (None, None));
    }

    #[test]
    fn nobody_has_run_under_a_name_that_no_thread_has() {
        assert_eq!(of_threads_named("no such one"), None);
    }
}
