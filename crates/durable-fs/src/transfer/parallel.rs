//! Does the same work for each of many files, on several threads if that is faster.

use std::{
    collections::VecDeque,
    panic::resume_unwind,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use crate::Disk;

/// The number of files that one thread processes in the time that starting a thread takes.
const FILES_A_THREAD: usize = 16;

/// Does the work for each item, on as many threads as the disk suggests, and returns the results in
/// the order of the items. Calls `on_done` on the caller's thread with the number of further items
/// that are done.
///
/// Neighbouring items usually lie in one directory, and the kernel makes changes of one directory
/// one at a time. So the caller begins with the first item, and all other threads with the last.
pub(super) fn map_parallel<T: Send, A: Send>(
    disk: &dyn Disk,
    items: Vec<T>,
    work: impl Fn(T) -> A + Sync,
    on_done: impl FnMut(usize),
) -> Vec<A> {
    let most = items.len() / FILES_A_THREAD;
    let threads = if most > 1 { disk.threads().min(most) } else { 1 };
    share(threads, items, work, on_done)
}

fn share<T: Send, A: Send>(
    threads: usize,
    items: Vec<T>,
    work: impl Fn(T) -> A + Sync,
    mut on_done: impl FnMut(usize),
) -> Vec<A> {
    let todo = Mutex::new(items.into_iter().enumerate().collect::<VecDeque<_>>());
    // Each closure returns only the item and releases the lock, so no thread works with the lock
    // held.
    let first = || todo.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let last = || todo.lock().unwrap_or_else(PoisonError::into_inner).pop_back();
    let done = AtomicUsize::new(0);
    let answer = |(place, item): (usize, T)| {
        let answer = work(item);
        done.fetch_add(1, Ordering::Relaxed);
        (place, answer)
    };
    let mut answers = thread::scope(|scope| {
        let help = || std::iter::from_fn(last).map(answer).collect::<Vec<_>>();
        // A thread that cannot be started is skipped: it has no item yet.
        let begin = |_| thread::Builder::new().spawn_scoped(scope, help).ok();
        let helpers: Vec<_> = (1..threads).map_while(begin).collect();
        let mut answers = Vec::new();
        while let Some(item) = first() {
            answers.push(answer(item));
            on_done(done.swap(0, Ordering::Relaxed));
        }
        for helper in helpers {
            answers.extend(helper.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        on_done(done.swap(0, Ordering::Relaxed));
        answers
    });
    answers.sort_unstable_by_key(|&(place, _)| place);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, panic::AssertUnwindSafe, sync::Condvar, time::Duration};

    use super::*;

    /// Threads that wait for each other.
    #[derive(Default)]
    struct Meeting {
        come: Mutex<HashSet<thread::ThreadId>>,
        changed: Condvar,
    }

    impl Meeting {
        fn of(&self, wanted: usize) {
            let mut come = self.come.lock().expect("nobody panics with it");
            come.insert(thread::current().id());
            self.changed.notify_all();
            let long = Duration::from_secs(20);
            let come = self.changed.wait_timeout_while(come, long, |come| come.len() < wanted);
            let come = come.expect("nobody panics with it").0.len();
            assert!(come >= wanted, "of {wanted} threads {come} came");
        }
    }

    #[test]
    fn each_item_is_done_once_and_answered_in_its_place() {
        for threads in 1..5 {
            let mut on_done = 0;
            let answers = share(threads, (0..1000).collect(), |n: usize| 2 * n, |more| on_done += more);
            assert_eq!(answers, (0..1000).map(|n| 2 * n).collect::<Vec<_>>());
            assert_eq!(on_done, 1000);
            assert!(share(threads, Vec::new(), |n: usize| n, |_| {}).is_empty());
        }
    }

    #[test]
    fn the_work_is_shared() {
        let meeting = Meeting::default();
        share(3, vec![(); 30], |()| meeting.of(3), |_| {});
    }

    #[test]
    fn a_panic_of_a_thread_is_one_of_the_caller() {
        let (meeting, caller) = (Meeting::default(), thread::current().id());
        let work = |()| {
            meeting.of(2);
            assert_eq!(thread::current().id(), caller, "on another thread");
        };
        let go = || share(2, vec![(); 30], work, |_| {});
        let panic = std::panic::catch_unwind(AssertUnwindSafe(go)).expect_err("it panics");
        let text = panic.downcast_ref::<String>().expect("a message");
        assert!(text.contains("on another thread"), "{text}");
    }
}
