use super::*;
use holdall::monitor::Silent;
use http_body_util::BodyExt as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// A blob in memory, in frames of 100,000 bytes, that can be damaged from an offset on.
struct InMemory {
    bytes: Bytes,
    damaged_from: u64,
    furthest: AtomicU64,
}

impl Slices for InMemory {
    fn slice_at(&self, offset: u64, max: usize) -> holdall::Result<Bytes> {
        if offset >= self.damaged_from {
            return Err(holdall::Error::mismatch(
                format!("packs/000001.pack at {offset}"),
                "frame",
            ));
        }
        let start = usize::try_from(offset).unwrap();
        let frame_end = (start / 100_000 + 1) * 100_000;
        let end = frame_end.min(start + max).min(self.bytes.len());
        self.furthest
            .fetch_max(u64::try_from(end).unwrap(), Ordering::SeqCst);
        Ok(self.bytes.slice(start..end))
    }
    fn read_ahead(&self, _: u64) {}
}

#[derive(Default)]
struct Heard(Mutex<Vec<String>>);
impl Monitor for Heard {
    fn warn(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }
}

fn blob(length: usize, damaged_from: u64) -> Arc<InMemory> {
    let bytes = (0..length)
        .map(|at| u8::try_from(at % 251).unwrap())
        .collect::<Vec<_>>()
        .into();
    Arc::new(InMemory {
        bytes,
        damaged_from,
        furthest: AtomicU64::new(0),
    })
}

fn body(turns: &Turns, blob: &Arc<InMemory>, start: u64, end: u64) -> Body {
    let stretch = Stretch {
        slices: Arc::clone(blob) as Arc<dyn Slices>,
        place: "blob".into(),
        start,
        end,
    };
    let first = stretch.read_batch().unwrap();
    Body::stream(turns.clone(), stretch, first)
}

#[tokio::test]
async fn any_stretch_of_a_blob_comes_out_exactly() {
    let turns = Turns::new(2, Arc::new(Silent));
    let blob = blob(3_000_001, u64::MAX);
    for (start, end) in [
        (0, 3_000_001),
        (0, 0),
        (1, 2),
        (99_999, 100_001),
        (524_287, 2_000_000),
        (3_000_000, 3_000_001),
    ] {
        let got = body(&turns, &blob, start, end)
            .collect()
            .await
            .unwrap()
            .to_bytes();
        assert_eq!(
            got,
            blob.bytes[usize::try_from(start).unwrap()..usize::try_from(end).unwrap()]
        );
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_has_one_batch_read_ahead_and_holds_no_turn() {
    let turns = Turns::new(1, Arc::new(Silent));
    let blob = blob(5_000_000, u64::MAX);
    let mut stuck = body(&turns, &blob, 0, 5_000_000);
    stuck.frame().await.unwrap().unwrap();
    // The only turn is free again for another client, whose body is read to its end.
    let other = body(&turns, &blob, 0, 900_000)
        .collect()
        .await
        .unwrap()
        .to_bytes();
    assert_eq!(other.len(), 900_000);
    assert!(blob.furthest.load(Ordering::SeqCst) <= 2 * BATCH_BYTES);
}

#[tokio::test]
async fn damage_in_the_middle_breaks_the_body_off_and_is_reported() {
    let heard = Arc::new(Heard::default());
    let turns = Turns::new(2, Arc::clone(&heard) as Arc<dyn Monitor>);
    let blob = blob(3_000_000, 1_500_000);
    let mut body = body(&turns, &blob, 0, 3_000_000);
    let mut bytes = 0;
    let err = loop {
        match body.frame().await.unwrap() {
            Ok(frame) => bytes += frame.into_data().unwrap().len(),
            Err(err) => break err,
        }
    };
    assert!(matches!(
        err,
        RegistryError::Store(holdall::Error::Mismatch { .. })
    ));
    assert!(bytes <= 1_500_000);
    assert!(body.frame().await.is_none());
    assert!(heard.0.lock().unwrap()[0].contains("packs/000001.pack at 1500000"));
}
