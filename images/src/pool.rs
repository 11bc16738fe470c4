//! A bounded number of threads over a list of work, in the order of the list; the first error ends it.

use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Does `work` for each of `list` on at most `threads` threads; the results are in the order of the
/// list. After an error nothing more is begun, and the first of them is the result.
pub(crate) fn in_parallel<T: Sync, R: Send, E: Send>(
    list: &[T],
    threads: usize,
    work: impl Fn(&T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let threads = threads.clamp(1, list.len().max(1));
    if threads == 1 {
        return list.iter().map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let results = Mutex::new(Vec::with_capacity(list.len()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !failed.load(Ordering::Relaxed) {
                    let position = next.fetch_add(1, Ordering::Relaxed);
                    let Some(element) = list.get(position) else { break };
                    let result = work(element);
                    if result.is_err() {
                        failed.store(true, Ordering::Relaxed);
                    }
                    results.lock().push((position, result));
                }
            });
        }
    });
    let mut results = results.into_inner();
    // Work is begun in order, so that nothing before the first error is missing.
    results.sort_unstable_by_key(|(position, _)| *position);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_order_and_the_first_error_wins() {
        let list: Vec<u32> = (0..1000).collect();
        let doubled: Result<Vec<u32>, u32> = in_parallel(&list, 8, |n| Ok(n * 2));
        assert_eq!(doubled, Ok(list.iter().map(|n| n * 2).collect()));
        let failed: Result<Vec<u32>, u32> =
            in_parallel(&list, 8, |n| if *n >= 10 { Err(*n) } else { Ok(*n) });
        assert_eq!(failed, Err(10));
        assert_eq!(in_parallel(&[], 8, |n: &u32| Ok::<u32, u32>(*n)), Ok(Vec::new()));
    }
}
