use super::*;
use crate::blob::keeping::Kept;
use crate::blob::{BlobReader, FrameSource, RemadeCache};
use crate::error::Error;
use crate::format::content::{Content, Place, RecipeRef, TreeRef};
use crate::format::links::ROOTFS;
use crate::format::tree::{Metadata, Node, TreeEntry, TreePage};
use crate::ids::{BlobId, PageHash, Sha256};
use crate::name::EntryName;
use crate::pack::Frame;
use crate::units::len64;
use holdall_recipe::outboard::OutboardWriter;
use holdall_recipe::table::{MadePart, Matter, TableWriter};
use std::time::Duration;

/// Bytes of a window.
const WINDOW: usize = 1 << 20;
const PLENTY: usize = 1 << 30;
const MODE: Metadata = Metadata {
    mode: 0o755,
    uid: 0,
    gid: 0,
    mtime_sec: 0,
    mtime_nsec: 0,
    xattrs: Vec::new(),
};

/// A source of nothing but a layer's tree that is empty.
#[derive(Debug, Default)]
struct Bare(RemadeCache);

impl FrameSource for Bare {
    fn frame(&self, _: &Place) -> Result<Arc<Frame>> {
        Err(Error::missing("a frame"))
    }
    fn name_of(&self, _: &Place) -> String {
        "a page".to_owned()
    }
    fn remade(&self) -> &RemadeCache {
        &self.0
    }
    fn tree_page(&self, _: &PageHash, _: u8, _: &Place) -> Result<Arc<TreePage>> {
        Ok(Arc::new(TreePage::Leaf(vec![TreeEntry {
            name: EntryName::new(ROOTFS.as_bytes())?,
            metadata: MODE,
            node: Node::directory(TreeRef::EMPTY),
        }])))
    }
}

/// A layer whose recipe keeps all of it, in parts of these lengths.
struct Layer {
    bytes: Vec<u8>,
    hashes: (Sha256, BlobId),
    recipe: RecipeRef,
}

impl Layer {
    fn of(parts: &[usize]) -> Self {
        let mut bytes = vec![0; parts.iter().sum()];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        let (mut table, mut recipe, mut end) = (TableWriter::default(), Vec::new(), 0);
        for length in parts {
            let kept = bytes[end..end + length].to_vec();
            end += length;
            recipe.extend(table.part(MadePart {
                end: len64(end),
                plain_end: 0,
                first: false,
                phase: 0,
                carry: 0,
                matter: Matter::Kept(kept),
            }));
        }
        let mut outboard = OutboardWriter::default();
        outboard.update(&bytes);
        let (blob_id, outboard) = outboard.finish();
        recipe.extend(table.finish(&[], &outboard));
        let tree = TreeRef {
            entries: 1,
            inodes: 2,
            subdirectories: 1,
            ..TreeRef::EMPTY
        };
        Self {
            hashes: (Sha256::of(&bytes), BlobId::from_bytes(blob_id)),
            bytes,
            recipe: RecipeRef {
                size: len64(recipe.len()),
                recipe: Content::Inline(recipe),
                tree,
            },
        }
    }

    fn size(&self) -> u64 {
        len64(self.bytes.len())
    }

    /// The window of that number, as `reading` comes to it; the layer is opened anew where the reader keeps none.
    fn window(&self, reading: &Reading, source: &Arc<dyn FrameSource>, number: usize) -> Result<Bytes> {
        let layer = reading.layer(|| {
            let cache = RemadeCache::default();
            cache.layer(source, &self.hashes, self.size(), &self.recipe)
        })?;
        layer.slice_at(reading, len64(number * WINDOW), WINDOW)
    }

    fn reader(&self, source: &Arc<dyn FrameSource>) -> BlobReader {
        let content = Content::Recipe(Box::new(self.recipe.clone()));
        BlobReader::of_blob(Arc::clone(source), self.hashes, self.size(), content)
    }
}

fn bare() -> Arc<dyn FrameSource> {
    Arc::new(Bare::default())
}

fn keeping([layers, windows, edges, ahead]: [usize; 4]) -> &'static Keeping {
    Box::leak(Box::new(Keeping {
        layers: Kept::new(layers, Duration::MAX),
        windows: Kept::new(windows, Duration::MAX),
        edges: Kept::new(edges, Duration::MAX),
        ahead: Kept::new(ahead, Duration::MAX),
    }))
}

#[test]
fn readers_hold_no_more_windows_than_there_is_room_for_and_give_back_what_they_leave() {
    let window = Bytes::from_static(b"a window");
    let keeping = keeping([0, window.len() * 4, 0, 0]);
    let readers: Vec<Reading> = (0..6).map(|_| Reading::within(keeping)).collect();
    for reader in &readers {
        reader.come_to(3);
        reader.hold(3, &window);
    }
    let holding = || readers.iter().filter(|reader| reader.held(3).is_some()).count();
    assert_eq!(holding(), 4);
    readers.iter().take(2).for_each(|reader| reader.leave(3));
    assert_eq!(holding(), 2);
    readers[5].hold(3, &window);
    assert_eq!(holding(), 3);
    drop(readers);
    for reader in [(); 4].map(|()| Reading::within(keeping)) {
        reader.come_to(0);
        reader.hold(0, &window);
        assert!(reader.held(0).is_some());
    }
}

#[test]
fn only_the_window_behind_the_last_is_in_order() {
    let reader = Reading::default();
    let in_order = |number| reader.come_to(number).in_order;
    assert!(!in_order(0));
    assert!(in_order(1));
    assert!(!in_order(1));
    assert!(in_order(2));
    assert!(!in_order(9));
    assert!(in_order(10));
    assert!(!in_order(0));
}

#[test]
fn what_is_begun_is_kept_only_by_a_reader_that_is_still_in_the_window_before() {
    let reader = Reading::within(keeping([0, 0, 0, 10]));
    let ahead = |number| Ahead {
        number,
        parts: Vec::new(),
    };
    reader.come_to(5);
    assert!(reader.look_ahead(5, ahead(6), 10));
    assert!(!reader.look_ahead(4, ahead(5), 10), "it has gone on");
    assert_eq!(reader.come_to(6).begun.map(|begun| begun.number), Some(6));
    assert!(!reader.look_ahead(6, ahead(7), 11), "there is no room");
    assert!(reader.look_ahead(6, ahead(7), 10));
    assert!(reader.come_to(9).begun.is_none());
    assert!(reader.come_to(7).begun.is_none());
}

#[test]
fn a_part_is_kept_only_where_it_goes_on_beyond_the_window_and_there_is_room_for_it() {
    let source = bare();
    let layer = Layer::of(&[WINDOW + 100_000, WINDOW - 100_000, WINDOW - 1, 2, 500_000]);
    for (room, kept) in [
        (PLENTY, [Some(0), None, Some(3), None]),
        (1, [None; 4]),
        (2, [None, None, Some(3), None]),
    ] {
        let reading = Reading::within(keeping([PLENTY, PLENTY, room, 0]));
        let mut read = Vec::new();
        for (number, kept) in kept.into_iter().enumerate() {
            read.extend_from_slice(&layer.window(&reading, &source, number).unwrap());
            let edge = reading.keeping.edges.get(reading.reader);
            assert_eq!(
                edge.map(|edge| edge.number()),
                kept,
                "window {number}, room {room}"
            );
        }
        assert!(read == layer.bytes);
    }
}

#[test]
fn a_layer_is_let_go_of_at_its_end_and_by_a_reader_that_is_dropped() {
    let source = bare();
    let layer = Layer::of(&[WINDOW + 1, WINDOW, 500_000]);
    let keeping = keeping([PLENTY; 4]);
    let reading = Reading::within(keeping);
    let reader = reading.reader;
    let halfway = Reading::within(keeping);
    for number in 0..3 {
        layer.window(&reading, &source, number).unwrap();
        assert_eq!(keeping.layers.get(reader).is_some(), number < 2);
    }
    assert!(keeping.windows.get(reader).is_none() && keeping.edges.get(reader).is_none());
    assert!(keeping.ahead.take(reader).is_none());
    let reader = halfway.reader;
    layer.window(&halfway, &source, 0).unwrap();
    assert!(keeping.layers.get(reader).is_some() && keeping.edges.get(reader).is_some());
    drop(halfway);
    assert!(keeping.layers.get(reader).is_none() && keeping.edges.get(reader).is_none());
}

#[test]
fn a_layer_that_is_opened_anew_on_the_way_is_still_compared_with_its_digest() {
    let source = bare();
    let mut layer = Layer::of(&[700_000; 4]);
    layer.hashes.0 = Sha256::of(b"another layer");
    // No room for the layer: each window opens it again.
    let reading = Reading::within(keeping([0; 4]));
    assert!(layer.window(&reading, &source, 0).is_ok());
    assert!(layer.window(&reading, &source, 1).is_ok());
    let last = layer.window(&reading, &source, 2);
    let said = last.map(|bytes| bytes.len()).unwrap_err();
    assert!(said.is_damage(), "{said}");
}

#[test]
fn a_source_goes_with_its_last_reader_though_it_keeps_the_layers_that_were_read() {
    let source = bare();
    let layer = Layer::of(&[WINDOW + 1, WINDOW, 500_000]);
    let (whole, halfway) = (layer.reader(&source), layer.reader(&source));
    let mut read = vec![0; layer.bytes.len()];
    assert_eq!(whole.read_at(0, &mut read).unwrap(), read.len());
    assert!(read == layer.bytes);
    assert!(!halfway.slice_at(0, 10).unwrap().is_empty());
    let left = Arc::downgrade(&source);
    drop((whole, source));
    assert!(left.upgrade().is_some());
    assert!(!halfway.slice_at(len64(WINDOW), 10).unwrap().is_empty());
    drop(halfway);
    assert!(left.upgrade().is_none());
}
