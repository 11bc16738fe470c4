//! What an image's containers start from: its layers' trees, as they come in, and the chains merged of them.
//!
//! A layer that cannot be had as a tree, or an image whose config does not say what its layers are, is carried
//! all the same; it only cannot be run in place, and the operator is told.

use super::walk::Graph;
use crate::config::{ImageConfig, MAX_CONFIG};
use crate::layer::{self, Compression, LayerSink, Limits};
use crate::manifest::Descriptor;
use crate::{Error, Result, media_types};
use holdall::ids::Sha256;
use holdall::ingest::{Ingest, LayerFault, LayerWriter, StoredBlob, StoredTree};
use holdall::name::EntryName;
use holdall::reader::{Metadata, SpecialKind};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

/// What an image manifest's containers would start from.
#[derive(Debug, Clone)]
pub struct Stack {
    /// The config.
    pub config: Descriptor,
    /// The layers, lowest first.
    pub layers: Vec<Descriptor>,
}

impl Stack {
    /// The stack of a manifest that is a container image; None for an artifact.
    #[must_use]
    pub fn of(config: Option<&Descriptor>, layers: &[Descriptor]) -> Option<Self> {
        let config = config.filter(|config| media_types::is_image_config(&config.media_type))?;
        // Signatures and attestations have an image's config too, but layers of their own kinds.
        let image = layers
            .iter()
            .all(|layer| media_types::is_layer(&layer.media_type));
        (image && !layers.is_empty()).then(|| Self {
            config: config.clone(),
            layers: layers.to_vec(),
        })
    }
}

/// What came of reading a layer as a tree.
#[derive(Debug)]
pub enum Derived {
    /// Its tree, and the SHA-256 of its tar.
    Tree {
        /// The SHA-256.
        diff_id: Sha256,
        /// The tree.
        tree: StoredTree,
    },
    /// It cannot be had as one, for that reason.
    Not(String),
}

/// Why an image cannot be run in place on one platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotInPlace {
    /// The platform, as `linux/amd64`; or the manifest's digest where its config does not say one.
    pub platform: String,
    /// The reason.
    pub why: String,
}

/// What can be run in place of an image that was carried.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InPlace {
    /// Platforms, in one word each, with their chainIDs.
    pub platforms: BTreeMap<String, Sha256>,
    /// What cannot be run in place.
    pub not: Vec<NotInPlace>,
}

/// Hands a layer's entries to the store, and keeps apart what cannot be a tree from what failed.
pub(super) struct Entering {
    pub(super) writer: LayerWriter,
    /// Why the store took no more.
    pub(super) fault: Option<LayerFault>,
}

impl Entering {
    /// For a layer of that run.
    pub(super) fn new(ingest: &Ingest) -> Self {
        Self {
            writer: ingest.layer_writer(),
            fault: None,
        }
    }

    fn hand(
        &mut self,
        call: impl FnOnce(&mut LayerWriter) -> std::result::Result<(), LayerFault>,
    ) -> Result<()> {
        call(&mut self.writer).map_err(|fault| {
            let text = fault.to_string();
            self.fault = Some(fault);
            Error::refused(text)
        })
    }
}

impl LayerSink for Entering {
    fn directory(&mut self, path: &[EntryName], metadata: Metadata) -> Result<()> {
        self.hand(|writer| writer.directory(path, metadata))
    }
    fn begin_file(&mut self, path: &[EntryName], metadata: Metadata, size: u64) -> Result<()> {
        self.hand(|writer| writer.begin_file(path, metadata, size))
    }
    fn data(&mut self, bytes: &[u8]) -> Result<()> {
        self.hand(|writer| writer.data(bytes))
    }
    fn hole(&mut self, len: u64) -> Result<()> {
        self.hand(|writer| writer.hole(len))
    }
    fn end_file(&mut self) -> Result<()> {
        self.hand(LayerWriter::end_file)
    }
    fn symlink(&mut self, path: &[EntryName], metadata: Metadata, target: &[u8]) -> Result<()> {
        self.hand(|writer| writer.symlink(path, metadata, target))
    }
    fn special(
        &mut self,
        path: &[EntryName],
        metadata: Metadata,
        kind: SpecialKind,
        major: u32,
        minor: u32,
    ) -> Result<()> {
        self.hand(|writer| writer.special(path, metadata, kind, major, minor))
    }
    fn hard_link(&mut self, path: &[EntryName], target: &[EntryName]) -> Result<()> {
        self.hand(|writer| writer.hard_link(path, target))
    }
    fn whiteout(&mut self, path: &[EntryName]) -> Result<()> {
        self.hand(|writer| writer.whiteout(path))
    }
    fn opaque(&mut self, directory: &[EntryName]) -> Result<()> {
        self.hand(|writer| writer.opaque(directory))
    }
}

/// Reads a layer as a tree into the store. The error is that of the store, or of the reading of `source`, which
/// may not have been read to its end where the layer is no tree.
pub fn derive(ingest: &Ingest, source: &mut dyn Read, place: &str) -> Result<Derived> {
    let mut sink = Entering::new(ingest);
    let read = layer::read(source, Compression::Auto, &Limits::default(), &mut sink, &|| {
        ingest.interrupted()
    });
    let Entering { writer, fault } = sink;
    match (fault, read) {
        (Some(LayerFault::NotATree(why)), _) => Ok(Derived::Not(why.to_string())),
        (Some(LayerFault::Store(err)), _) => Err(err.into()),
        (None, Ok(summary)) => match writer.finish() {
            Ok((tree, _)) => Ok(Derived::Tree {
                diff_id: summary.diff_id,
                tree,
            }),
            Err(LayerFault::NotATree(why)) => Ok(Derived::Not(why.to_string())),
            Err(LayerFault::Store(err)) => not_a_tree(err).map(Derived::Not),
        },
        (None, Err(err)) => Ok(Derived::Not(err.into_refusal(place)?.to_string())),
    }
}

/// The reason where there can be no tree; any other error is the run's.
fn not_a_tree(err: holdall::Error) -> Result<String> {
    match err {
        holdall::Error::NoTree { .. } => Ok(err.to_string()),
        err => Err(err.into()),
    }
}

/// Puts the trees of a graph's images into the catalogue. `derived` has those of the layers that came in with this run.
pub fn put_all(
    ingest: &Ingest,
    graph: &Graph,
    mut derived: BTreeMap<Sha256, Derived>,
    target: &Sha256,
) -> Result<InPlace> {
    let mut made = InPlace::default();
    let mut by_manifest: BTreeMap<Sha256, (String, Sha256)> = BTreeMap::new();
    for (digest, stack) in &graph.stacks {
        let found = one(ingest, stack, &mut derived)?;
        match found {
            Some(Ok((platform, chain))) => {
                ingest.put_root_filesystem(digest, &platform, &chain)?;
                by_manifest.insert(*digest, (platform, chain));
            }
            Some(Err(not)) => {
                let platform = not.platform.clone().unwrap_or_else(|| digest.to_digest());
                ingest.monitor().warn(&format!(
                    "{}: cannot be run in place ({platform}): {}; it is carried as it is",
                    digest.to_digest(),
                    not.why
                ));
                made.not.push(NotInPlace {
                    platform,
                    why: not.why,
                });
            }
            None => {}
        }
    }
    for index in graph.children.keys() {
        for (platform, chain) in platforms_of(graph, index, &by_manifest) {
            ingest.put_root_filesystem(index, &platform, &chain)?;
        }
    }
    made.platforms = platforms_of(graph, target, &by_manifest);
    Ok(made)
}

/// The platforms of a manifest or index; of several for one platform the first is what clients take.
fn platforms_of(
    graph: &Graph,
    target: &Sha256,
    by_manifest: &BTreeMap<Sha256, (String, Sha256)>,
) -> BTreeMap<String, Sha256> {
    let mut found = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut waiting = vec![*target];
    while let Some(digest) = waiting.pop() {
        if !seen.insert(digest) {
            continue;
        }
        if let Some((platform, chain)) = by_manifest.get(&digest) {
            found.entry(platform.clone()).or_insert(*chain);
        }
        waiting.extend(graph.children.get(&digest).into_iter().flatten().rev());
    }
    found
}

struct Not {
    platform: Option<String>,
    why: String,
}

type Found = std::result::Result<(String, Sha256), Not>;

/// The chain of one image manifest; None for one that no Linux runs.
fn one(ingest: &Ingest, stack: &Stack, derived: &mut BTreeMap<Sha256, Derived>) -> Result<Option<Found>> {
    let Some(config) = ingest.known_blob(&stack.config.digest)? else {
        return Ok(None);
    };
    let place = format!("config {}", stack.config.digest.to_digest());
    let not = |platform: Option<&ImageConfig>, why: String| {
        Ok(Some(Err(Not {
            platform: platform.map(|config| config.platform.to_string()),
            why,
        })))
    };
    if config.size > MAX_CONFIG {
        return not(None, format!("its config is longer than {MAX_CONFIG} bytes"));
    }
    let bytes = ingest.read_known(&config, MAX_CONFIG)?;
    let config = match ImageConfig::parse(&bytes, &place) {
        Ok(config) => config,
        Err(err) => return not(None, err.to_string()),
    };
    if config.platform.os() != "linux" {
        return Ok(None);
    }
    if config.diff_ids.len() != stack.layers.len() {
        let why = format!(
            "its config names {} layers, its manifest {}",
            config.diff_ids.len(),
            stack.layers.len()
        );
        return not(Some(&config), why);
    }
    let platform = config.platform.to_string().replace('/', "-");
    if EntryName::new(platform.as_bytes()).is_err() {
        return not(
            None,
            "its platform is no word that a folder can be named by".to_owned(),
        );
    }
    let mut chain: Option<StoredTree> = None;
    // Listed only when all of them are there: a chain that no image starts from is nobody's.
    let mut made = Vec::new();
    let layers = stack.layers.iter().zip(&config.diff_ids).zip(config.chain_ids());
    for ((layer, diff_id), chain_id) in layers {
        let name = format!("layer {}", layer.digest.to_digest());
        let tree = match layer_tree(ingest, layer, diff_id, derived)? {
            Ok(tree) => tree,
            Err(why) => return not(Some(&config), format!("{name}: {why}")),
        };
        let merged = match ingest.known_chain(&chain_id)? {
            Some(known) => known,
            None => match ingest.merge(chain.as_ref(), &tree) {
                Ok(merged) => merged,
                Err(err) => {
                    let why = not_a_tree(err)?;
                    return not(Some(&config), format!("{name}: {why}"));
                }
            },
        };
        made.push((chain_id, merged.clone()));
        chain = Some(merged);
    }
    for (chain_id, tree) in &made {
        ingest.put_chain(chain_id, tree);
    }
    match made.last() {
        Some((chain, _)) => Ok(Some(Ok((platform, *chain)))),
        None => not(Some(&config), "it has no layers".to_owned()),
    }
}

/// The tree of one layer, from this run or an earlier one; else made from the bytes that the medium has.
fn layer_tree(
    ingest: &Ingest,
    layer: &Descriptor,
    diff_id: &Sha256,
    derived: &mut BTreeMap<Sha256, Derived>,
) -> Result<std::result::Result<StoredTree, String>> {
    if let Some(known) = ingest.known_layer(diff_id, &layer.digest)? {
        return Ok(Ok(known));
    }
    if let Entry::Vacant(vacant) = derived.entry(layer.digest) {
        let Some(blob) = ingest.known_blob(&layer.digest)? else {
            return Ok(Err("the disk does not carry it".to_owned()));
        };
        vacant.insert(derive_known(ingest, &blob)?);
    }
    Ok(match derived.get(&layer.digest) {
        Some(Derived::Tree { diff_id: found, tree }) => {
            ingest.put_layer(found, &layer.digest, tree);
            if found == diff_id {
                Ok(tree.clone())
            } else {
                let (said, found) = (diff_id.to_digest(), found.to_digest());
                Err(format!(
                    "the config says that its tar is {said}, but it is {found}"
                ))
            }
        }
        Some(Derived::Not(why)) => Err(why.clone()),
        None => Err("it was not read".to_owned()),
    })
}

fn derive_known(ingest: &Ingest, blob: &StoredBlob) -> Result<Derived> {
    let mut reader = ingest.open_known(blob)?;
    let place = format!("{}: {}", ingest.medium_name(), blob.sha256.to_digest());
    derive(ingest, &mut reader, &place)
}
