use super::*;
use crate::media_types::OCI_MANIFEST;
use flate2::write::GzEncoder;
use holdall::generation::{self, Labels};
use holdall::ingest::IngestOptions;
use holdall::medium::{Medium, MemoryMedium};
use holdall::monitor::Silent;
use holdall::reader::{Disk, OpenOptions};
use holdall::verify::{VerifyOptions, verify};
use std::io::Write as _;
use std::sync::Arc;

const PLACE: &str = "a layer";

/// A gzipped tar of one file, which these bytes are of.
fn layer(contents: &[u8]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(contents.len().try_into().unwrap());
    header.set_mode(0o644);
    tar.append_data(&mut header, "file", contents).unwrap();
    let mut gzip = GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    gzip.write_all(&tar.into_inner().unwrap()).unwrap();
    gzip.finish().unwrap()
}

fn noise(len: usize, seed: u8) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new()
        .update(&[seed])
        .finalize_xof()
        .fill(&mut out);
    out
}

/// A disk with what `write` puts on it.
fn disk(write: impl FnOnce(&Ingest)) -> (Arc<dyn Medium>, Disk) {
    let medium: Arc<dyn Medium> = Arc::new(MemoryMedium::new());
    let labels = Labels {
        origin: "o".into(),
        series: "s".into(),
    };
    generation::init(medium.as_ref(), &labels, &holdall::custody::Witness::unnamed(), 0).unwrap();
    let state = tempfile::tempdir().unwrap();
    let options = IngestOptions {
        witness: holdall::custody::Witness::unnamed(),
        level: holdall::pack::Level::default(),
        state: state.path().to_owned(),
        interrupted: Arc::default(),
    };
    let ingest = Ingest::open(Arc::clone(&medium), &options, Arc::new(Silent)).unwrap();
    write(&ingest);
    ingest.commit().unwrap();
    let disk = Disk::open(Arc::clone(&medium), &OpenOptions::default()).unwrap();
    (medium, disk)
}

fn parts(ingest: &Ingest, bytes: &[u8]) -> Parts {
    let blob = Descriptor::new("", Sha256::of(bytes), bytes.len().try_into().unwrap());
    take_apart(
        ingest,
        Box::new(std::io::Cursor::new(bytes.to_vec())),
        &blob,
        PLACE,
    )
    .unwrap()
    .unwrap()
}

/// All bytes of the layer with that digest, or the error, and how many bytes came before it.
fn read(disk: &Disk, digest: &Sha256) -> std::result::Result<Vec<u8>, (usize, holdall::Error)> {
    let reader = disk.open_blob(&disk.blob(digest).unwrap().unwrap());
    let mut out = Vec::new();
    loop {
        match reader.slice_at(holdall::units::len64(out.len()), 64 << 10) {
            Ok(slice) if slice.is_empty() => return Ok(out),
            Ok(slice) => out.extend_from_slice(&slice),
            Err(err) => return Err((out.len(), err)),
        }
    }
}

fn is_whole(medium: &Arc<dyn Medium>) -> bool {
    let options = VerifyOptions {
        full: true,
        ..VerifyOptions::default()
    };
    verify(medium, &options, &Silent).unwrap().is_whole()
}

#[test]
fn a_layer_that_was_taken_apart_comes_back() {
    let bytes = layer(&noise(5_000_000, 1));
    let (medium, disk) = disk(|ingest| {
        let Parts {
            identity,
            recipe,
            tree,
            ..
        } = parts(ingest, &bytes);
        let size = bytes.len().try_into().unwrap();
        let stored = ingest
            .remade_blob(&identity.sha256, &identity.blob_id, size, &recipe, &tree)
            .unwrap();
        ingest.put_blob(&stored, None).unwrap();
    });
    assert!(read(&disk, &Sha256::of(&bytes)).unwrap() == bytes);
    assert!(is_whole(&medium));
}

#[test]
fn a_recipe_with_the_files_of_another_layer_gives_an_error_that_names_the_layer_and_no_byte() {
    let (bytes, others) = (layer(&noise(500_000, 1)), layer(&noise(500_000, 2)));
    let (medium, disk) = disk(|ingest| {
        let mine = parts(ingest, &bytes);
        let other = parts(ingest, &others);
        let size = bytes.len().try_into().unwrap();
        let Identity { sha256, blob_id, .. } = mine.identity;
        let stored = ingest
            .remade_blob(&sha256, &blob_id, size, &mine.recipe, &other.tree)
            .unwrap();
        ingest.put_blob(&stored, None).unwrap();
    });
    let (before, error) = read(&disk, &Sha256::of(&bytes)).unwrap_err();
    assert_eq!(before, 0);
    let blob_id = BlobId::of(&bytes).to_string();
    assert!(
        error.is_damage() && error.to_string().contains(&blob_id),
        "{error}"
    );
    assert!(!is_whole(&medium));
}

#[test]
fn a_recipe_of_another_layer_does_not_even_open() {
    let bytes = layer(&noise(500_000, 1));
    let (medium, disk) = disk(|ingest| {
        let parts = parts(ingest, &bytes);
        let size = bytes.len().try_into().unwrap();
        let stored = ingest
            .remade_blob(
                &parts.identity.sha256,
                &BlobId::of(b"another"),
                size,
                &parts.recipe,
                &parts.tree,
            )
            .unwrap();
        ingest.put_blob(&stored, Some(OCI_MANIFEST)).unwrap();
    });
    let (before, error) = read(&disk, &Sha256::of(&bytes)).unwrap_err();
    assert!(before == 0 && error.is_damage(), "{error}");
    assert!(!is_whole(&medium));
}

#[test]
fn a_layer_under_a_digest_that_is_not_its_own_never_comes_whole() {
    // Several windows of 1 MiB: the first ones leave, the last one does not.
    let bytes = layer(&noise(5_000_000, 1));
    let digest = Sha256::of(b"a digest that somebody trusts");
    let (medium, disk) = disk(|ingest| {
        let parts = parts(ingest, &bytes);
        let size = bytes.len().try_into().unwrap();
        let stored = ingest
            .remade_blob(&digest, &parts.identity.blob_id, size, &parts.recipe, &parts.tree)
            .unwrap();
        ingest.put_blob(&stored, None).unwrap();
    });
    for _ in 0..2 {
        let (before, error) = read(&disk, &digest).unwrap_err();
        assert!(before < bytes.len(), "{before}");
        assert!(
            error.is_damage() && error.to_string().contains(&digest.to_digest()),
            "{error}"
        );
    }
    assert!(!is_whole(&medium));
}

/// A disk with one layer of several windows of 1 MiB, and the layer.
fn disk_of_windows() -> (Disk, Vec<u8>) {
    let bytes = layer(&noise(13_000_000, 3));
    let (_, disk) = disk(|ingest| {
        let parts = parts(ingest, &bytes);
        let size = bytes.len().try_into().unwrap();
        let Identity { sha256, blob_id, .. } = parts.identity;
        let stored = ingest
            .remade_blob(&sha256, &blob_id, size, &parts.recipe, &parts.tree)
            .unwrap();
        ingest.put_blob(&stored, None).unwrap();
    });
    (disk, bytes)
}

#[test]
fn a_layer_read_in_order_has_the_bytes_that_it_has_read_in_any_order() {
    let (disk, bytes) = disk_of_windows();
    let digest = Sha256::of(&bytes);
    assert!(read(&disk, &digest).unwrap() == bytes);
    let reader = disk.open_blob(&disk.blob(&digest).unwrap().unwrap());
    let piece = 700_000;
    let mut places: Vec<usize> = (0..bytes.len()).step_by(piece).collect();
    for pass in 1..4 {
        // Each pass another order: in order, backwards, and by leaps, with clones in turn.
        let count = places.len();
        places = (0..count)
            .filter_map(|at| places.get(at * (count - pass) % count))
            .copied()
            .collect();
        for at in &places {
            let mut buf = vec![0; piece];
            let read = reader
                .clone()
                .read_at(holdall::units::len64(*at), &mut buf)
                .unwrap();
            assert!(bytes.get(*at..*at + read) == buf.get(..read));
            assert_eq!(read, piece.min(bytes.len() - at));
        }
    }
}

#[test]
fn readers_that_go_away_in_the_middle_leave_the_others_their_layer() {
    let (disk, bytes) = disk_of_windows();
    let digest = Sha256::of(&bytes);
    for windows in 1..6 {
        let reader = disk.open_blob(&disk.blob(&digest).unwrap().unwrap());
        // The next window has been begun when the reader goes.
        for window in 0..windows {
            assert!(!reader.slice_at(window << 20, 1).unwrap().is_empty());
        }
    }
    assert!(read(&disk, &digest).unwrap() == bytes);
}

#[test]
fn many_readers_at_once_all_get_the_layer() {
    let (disk, bytes) = disk_of_windows();
    let digest = Sha256::of(&bytes);
    std::thread::scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| assert!(read(&disk, &digest).unwrap() == bytes));
        }
    });
}
