use super::*;

/// Makes parts that are their number; fails on `fails`, panics on `panics`, and takes its time.
#[derive(Default)]
struct Numbers {
    fails: Option<usize>,
    panics: Option<usize>,
    takes: Duration,
    made: AtomicUsize,
}

impl Make for Numbers {
    fn make(&self, part: usize) -> Result<Bytes> {
        std::thread::sleep(self.takes);
        self.made.fetch_add(1, Ordering::SeqCst);
        assert_ne!(self.panics, Some(part), "a model that errs");
        if self.fails == Some(part) {
            return Err(Error::missing("a file"));
        }
        Ok(Bytes::from(part.to_string()))
    }

    fn name(&self) -> String {
        "numbers".to_owned()
    }
}

fn parts(maker: &Arc<Numbers>, numbers: std::ops::Range<usize>) -> Vec<Arc<Part>> {
    let part = |number| Part::new(Arc::clone(maker) as Arc<dyn Make>, number);
    numbers.map(part).collect()
}

#[test]
fn a_part_is_made_once_however_many_wait_for_it_and_however_often_it_is_ordered() {
    let maker = Arc::new(Numbers::default());
    let ordered = parts(&maker, 0..20);
    let threads = Threads::of_process();
    threads.order(&ordered, Urgency::Ahead);
    threads.order(&ordered, Urgency::Now);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for part in &ordered {
                    assert_eq!(part.bytes().unwrap(), part.number().to_string());
                }
            });
        }
    });
    assert_eq!(maker.made.load(Ordering::SeqCst), 20);
}

#[test]
fn a_panic_or_an_error_is_told_to_all_who_wait_and_the_threads_go_on() {
    let maker = Arc::new(Numbers {
        fails: Some(1),
        panics: Some(2),
        ..Numbers::default()
    });
    let threads = Threads::of_process();
    // More often than there are threads that it could end.
    let rounds = threads.started.load(Ordering::Relaxed) * 2 + 1;
    for _ in 0..rounds {
        let ordered = parts(&maker, 0..4);
        threads.order(&ordered, Urgency::Now);
        for part in &ordered {
            let fails = matches!(part.number(), 1 | 2);
            assert_eq!(part.bytes().is_err(), fails);
            assert_eq!(part.bytes().is_err(), fails);
            assert_eq!(part.is_sound(), !fails);
        }
        // A model that errs is damage, and not a request that makes no sense.
        let said = ordered[2].bytes().unwrap_err();
        assert!(said.is_damage());
        assert_eq!(said.to_string(), "numbers: malformed: making part 2 of it failed");
    }
    let start = std::time::Instant::now();
    let after = parts(&maker, 5..6);
    threads.order(&after, Urgency::Now);
    assert_eq!(after[0].bytes().unwrap(), "5");
    assert!(
        start.elapsed() < PATIENCE,
        "a thread made it, and not whoever waited"
    );
}

#[test]
fn parts_that_were_dropped_are_not_begun() {
    let maker = Arc::new(Numbers {
        takes: Duration::from_millis(20),
        ..Numbers::default()
    });
    let threads = Threads::of_process();
    let ordered = parts(&maker, 0..1000);
    threads.order(&ordered, Urgency::Ahead);
    drop(ordered);
    // What is ordered behind them is made, and of them only those that were begun.
    let after = parts(&maker, 0..1);
    threads.order(&after, Urgency::Ahead);
    after[0].bytes().unwrap();
    assert!(maker.made.load(Ordering::SeqCst) < 500);
    assert_eq!(Arc::strong_count(&maker), 2, "they hold nothing");
}

#[test]
fn whoever_waits_in_vain_for_a_thread_makes_the_part() {
    let maker = Arc::new(Numbers::default());
    let never_ordered = parts(&maker, 7..8);
    assert_eq!(never_ordered[0].bytes().unwrap(), "7");
}
