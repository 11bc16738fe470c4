//! What a node keeps of itself: its record of accepted disks, and its log.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a test fails by panicking, and damages files of its own"
)]

mod sample;

use holdall::Error;
use holdall::custody::Witness;
use holdall::format::custody::Event;
use holdall::format::root::Root;
use holdall::ids::PageHash;
use holdall::medium::MemoryMedium;
use holdall::node::{NodeLog, Seen, SeenFolder, Sight};
use std::path::Path;
use std::sync::Barrier;

fn seen(series: &str, serial: u64) -> Seen {
    Seen {
        origin: "build-7".to_owned(),
        series: series.to_owned(),
        epoch: 1,
        serial,
        root: Some(PageHash::of(&serial.to_le_bytes())),
    }
}

/// Accepts a serial above what was seen; says whether it did.
fn accept(folder: &SeenFolder, serial: u64) -> bool {
    let noted = folder.update::<Error>("build-7", "prod", |sight| match sight {
        Sight::Seen(there) if there.serial >= serial => Err(Error::refused("lower")),
        _ => Ok(seen("prod", serial)),
    });
    noted.is_ok()
}

#[test]
fn of_two_processes_that_accept_one_serial_one_does() {
    for round in 0..50 {
        let state = tempfile::tempdir().unwrap();
        let folder = SeenFolder::accepted(state.path());
        folder.begin().unwrap();
        let together = Barrier::new(2);
        let accepted = std::thread::scope(|scope| {
            let both = [0, 1].map(|_| {
                scope.spawn(|| {
                    together.wait();
                    accept(&folder, 3)
                })
            });
            both.map(|one| usize::from(one.join().unwrap()))
                .iter()
                .sum::<usize>()
        });
        assert_eq!(accepted, 1, "round {round}");
    }
}

#[test]
fn what_is_set_of_one_series_says_nothing_of_another() {
    let state = tempfile::tempdir().unwrap();
    let folder = SeenFolder::accepted(state.path());
    folder.set(&seen("prod", 7)).unwrap();
    assert_eq!(folder.look("build-7", "prod"), Sight::Seen(seen("prod", 7)));
    assert_eq!(folder.look("build-7", "test"), Sight::NoRecord);
    folder.begin().unwrap();
    assert_eq!(folder.look("build-7", "test"), Sight::New);
    assert_eq!(folder.look("build-7", "prod"), Sight::Seen(seen("prod", 7)));
}

#[test]
fn a_record_that_is_gone_is_not_that_of_a_new_series() {
    for begun_first in [true, false] {
        let state = tempfile::tempdir().unwrap();
        let folder = SeenFolder::accepted(state.path());
        if begun_first {
            folder.begin().unwrap();
        }
        folder.set(&seen("prod", 7)).unwrap();
        folder.begin().unwrap();
        for entry in std::fs::read_dir(state.path().join("accepted")).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap() != "begun" {
                std::fs::remove_file(path).unwrap();
            }
        }
        let Sight::Bad(why) = folder.look("build-7", "prod") else {
            unreachable!("{begun_first}")
        };
        assert!(why.contains("is gone"), "{why}");
        assert_eq!(folder.all().unwrap().1.len(), 1);
    }
}

fn append(log: &NodeLog, note: &str) -> holdall::Result<()> {
    let medium = MemoryMedium::new();
    sample::init(&medium);
    let (root, hash): (Root, PageHash) =
        holdall::generation::read_root(&medium, holdall::units::Generation::new(1)).unwrap();
    log.append(Event::Mounted, &root, hash, &Witness::unnamed(), note, 1_000)
}

fn notes(log: &NodeLog) -> (Vec<String>, Option<String>) {
    let read = log.read().unwrap();
    let notes = read.records.into_iter().map(|record| record.note);
    (notes.collect(), read.broken.map(|e| e.to_string()))
}

fn files(state: &Path) -> (Vec<u8>, Option<Vec<u8>>) {
    let read = |name: &str| std::fs::read(state.join(name));
    (read("custody.log").unwrap(), read("custody.head").ok())
}

#[test]
fn a_head_that_is_lost_or_put_back_hides_no_record_and_costs_none() {
    let state = tempfile::tempdir().unwrap();
    let log = NodeLog::of(state.path());
    append(&log, "one").unwrap();
    let (_, old_head) = files(state.path());
    append(&log, "two").unwrap();
    append(&log, "three").unwrap();
    let (whole, _) = files(state.path());
    for head in [None, old_head] {
        match &head {
            None => std::fs::remove_file(state.path().join("custody.head")).unwrap(),
            Some(bytes) => std::fs::write(state.path().join("custody.head"), bytes).unwrap(),
        }
        let (_, broken) = notes(&log);
        assert!(
            broken.unwrap().contains("more than its head knows of"),
            "{head:?}"
        );
        assert!(append(&log, "four").is_err());
        assert_eq!(files(state.path()).0, whole);
    }
}

#[test]
fn what_a_cut_left_behind_the_head_is_kept_where_it_is_whole_and_cut_off_where_not() {
    let state = tempfile::tempdir().unwrap();
    let log = NodeLog::of(state.path());
    append(&log, "one").unwrap();
    let (one, head) = files(state.path());
    append(&log, "two").unwrap();
    let (two, _) = files(state.path());
    let file = |name: &str| state.path().join(name);
    for len in one.len() + 1..=two.len() {
        std::fs::write(file("custody.log"), two.get(..len).unwrap()).unwrap();
        std::fs::write(file("custody.head"), head.as_ref().unwrap()).unwrap();
        let (found, broken) = notes(&log);
        assert_eq!((found.len(), broken), (1, None), "{len}");
        append(&log, "three").unwrap();
        let (found, broken) = notes(&log);
        let kept: &[&str] = if len == two.len() {
            &["one", "two", "three"]
        } else {
            &["one", "three"]
        };
        assert!(found == kept && broken.is_none(), "{len}: {found:?} {broken:?}");
    }
}
