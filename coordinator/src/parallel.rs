//! Blocking calls in parallel.

use std::{
    panic::resume_unwind,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

/// Applies `work` to every item on several threads until one fails. Returns the results, or the first error, in the order of
/// the items. Calls in progress end after an error; no other begins.
pub fn try_map<T: Sync, R: Send, E: Send>(
    threads: usize,
    items: &[T],
    work: impl Fn(&T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let (next, has_failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let take = || {
        let mut done = Vec::new();
        while !has_failed.load(Ordering::Relaxed) {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else { break };
            let result = work(item).inspect_err(|_| has_failed.store(true, Ordering::Relaxed));
            done.push((at, result));
        }
        done
    };
    let mut done: Vec<(usize, Result<R, E>)> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.min(items.len())).map(|_| scope.spawn(take)).collect();
        // All threads end before a panic of one continues here.
        let ended: Vec<_> = workers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        ended.into_iter().flat_map(|done| done.unwrap_or_else(|panic| resume_unwind(panic))).collect()
    });
    done.sort_unstable_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_the_order_of_the_items() {
        let items: Vec<u32> = (0..1000).collect();
        let double = |item: &u32| Ok::<_, ()>(item * 2);
        assert_eq!(try_map(7, &items, double).unwrap(), (0..1000).map(|item| item * 2).collect::<Vec<_>>());
        assert!(try_map(7, &[], double).unwrap().is_empty());
    }

    #[test]
    fn no_call_begins_after_an_error() {
        let items: Vec<usize> = (0..1000).collect();
        let calls = AtomicUsize::new(0);
        let fail_from_3 = |item: &usize| {
            calls.fetch_add(1, Ordering::Relaxed);
            if *item < 3 { Ok(*item) } else { Err(*item) }
        };
        assert_eq!(try_map(1, &items, fail_from_3), Err(3));
        assert_eq!(calls.load(Ordering::Relaxed), 4);
        assert!(try_map(7, &items, fail_from_3).is_err());
    }
}
