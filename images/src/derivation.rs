//! Deriving every tree of a disk from its layers again, and comparing: what a chainID stands for on the disk is
//! what its layers say, and nothing else.
//!
//! Reads an opened disk; writes nothing.

mod beneath;

use crate::config::{ImageConfig, MAX_CONFIG};
use crate::layer::{self, Compression, LayerSink, Limits};
use crate::manifest::{Content, Document, MAX_MANIFEST};
use crate::{Error, Result};
use beneath::{Beneath, entry_is};
use holdall::blob::BlobStream;
use holdall::format::codec::Encoder;
use holdall::format::content::Content as Stored;
use holdall::format::tree::{Node as StoredNode, TreeEntry};
use holdall::ids::{BlobId, Sha256};
use holdall::monitor::Monitor;
use holdall::name::EntryName;
use holdall::reader::{Chain, Directory, Disk, Layer, Links, Metadata, SpecialKind};
use holdall::tree::layer::{FileContent, LayerTree, NotATree};
use holdall::tree::merge::{Merge, Merged, MergedFolder, Upper, no_metadata};
use holdall::verify::{Journal, PartId, is_unreadable};
use std::collections::{BTreeMap, BTreeSet};

/// What was derived, and what came out otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Derivation {
    /// Layers whose trees were derived from their bytes.
    pub layers: u64,
    /// Chains whose trees were merged from their layers'.
    pub chains: u64,
    /// Of both, how many were derived by an earlier run that was stopped, and not in this one.
    pub taken_over: u64,
    /// Whether a tree could not be read, as against read and found to be wrong.
    pub unreadable: bool,
    /// Trees that are not what their layers say, or that could not be derived, with the reason.
    pub wrong: Vec<String>,
}

/// How to derive all trees.
pub struct Deriving<'a> {
    /// Told what is being derived.
    pub monitor: &'a dyn Monitor,
    /// Whether to stop.
    pub interrupted: &'a dyn Fn() -> bool,
    /// Where what was derived is kept, and taken over from.
    pub journal: Option<&'a dyn Journal>,
}

impl Deriving<'_> {
    /// What an earlier run found of that tree, or what `derive` finds now. Fails on interruption.
    fn verdict(
        &self,
        id: PartId,
        found: &mut Derivation,
        derive: impl FnOnce() -> Result<Option<String>>,
    ) -> Result<Option<String>> {
        if let Some(verdict) = self.journal.and_then(|journal| journal.part(&id)) {
            found.taken_over += 1;
            return Ok(verdict);
        }
        let verdict = match derive() {
            Ok(verdict) => verdict,
            Err(Error::Store(err)) if matches!(err.root_cause(), holdall::Error::Interrupted) => {
                return Err(Error::Store(err));
            }
            // It came to no verdict: another run has to try it again.
            Err(err) => {
                found.unreadable |= was_unreadable(&err);
                return Ok(Some(err.to_string()));
            }
        };
        if let Some(journal) = self.journal {
            journal.part_checked(id, &verdict);
        }
        Ok(verdict)
    }
}

/// Whether bytes of the disk could not be had.
fn was_unreadable(err: &Error) -> bool {
    match err {
        Error::Store(err) => is_unreadable(err),
        other => matches!(other, Error::Io { .. }),
    }
}

/// What tells a stored tree from all others, and where it lies.
fn tree_bytes(tree: &Directory) -> Vec<u8> {
    let mut out = Encoder::new();
    tree.stored().encode(&mut out);
    tree.stored().place.encode(&mut out);
    out.finish()
}

/// Derives all of the disk's trees. Fails only where the disk cannot be read at all, or on request.
pub fn derive_all(disk: &Disk, how: &Deriving<'_>) -> Result<Derivation> {
    let (monitor, interrupted) = (how.monitor, how.interrupted);
    let mut found = Derivation::default();
    let mut layers: BTreeMap<(Sha256, Sha256), Layer> = BTreeMap::new();
    for layer in disk.layers() {
        if interrupted() {
            return Err(holdall::Error::Interrupted.into());
        }
        let layer = match layer {
            Ok(layer) => layer,
            Err(err) => {
                found.wrong.push(err.to_string());
                break;
            }
        };
        let name = format!("layer {}", layer.diff_id.to_digest());
        monitor.step(&format!("deriving {name}"));
        found.layers += 1;
        let (diff_id, blob) = (layer.diff_id.as_bytes(), layer.blob.as_bytes());
        let id = PartId::of("layer", &[diff_id, blob, &tree_bytes(layer.tree().top())]);
        if let Some(why) = how.verdict(id, &mut found, || check_layer(disk, &layer, interrupted))? {
            found.wrong.push(format!("{name}: {why}"));
        }
        layers.insert((layer.diff_id, layer.blob), layer);
    }
    chains(disk, &layers, how, &mut found)?;
    Ok(found)
}

/// A layer put together in memory; of each file only its length and hash.
#[derive(Default)]
pub(crate) struct Gathering {
    tree: LayerTree<FileContent>,
    /// Why it cannot be put together.
    pub(crate) fault: Option<NotATree>,
    open: Option<(Vec<EntryName>, Metadata, u64, blake3::Hasher)>,
}

impl Gathering {
    fn hand(
        &mut self,
        call: impl FnOnce(&mut LayerTree<FileContent>) -> std::result::Result<(), NotATree>,
    ) -> Result<()> {
        call(&mut self.tree).map_err(|fault| {
            let text = fault.to_string();
            self.fault = Some(fault);
            Error::refused(text)
        })
    }
}

impl LayerSink for Gathering {
    fn directory(&mut self, path: &[EntryName], metadata: Metadata) -> Result<()> {
        self.hand(|tree| tree.directory(path, metadata))
    }
    fn begin_file(&mut self, path: &[EntryName], metadata: Metadata, size: u64) -> Result<()> {
        self.open = Some((path.to_vec(), metadata, size, blake3::Hasher::new()));
        Ok(())
    }
    fn data(&mut self, bytes: &[u8]) -> Result<()> {
        if let Some((.., hasher)) = &mut self.open {
            hasher.update(bytes);
        }
        Ok(())
    }
    fn hole(&mut self, mut len: u64) -> Result<()> {
        const ZEROS: [u8; 4096] = [0; 4096];
        while let Some((.., hasher)) = self.open.as_mut().filter(|_| len > 0) {
            let now = usize::try_from(len).unwrap_or(ZEROS.len()).min(ZEROS.len());
            hasher.update(ZEROS.get(..now).unwrap_or_default());
            len -= holdall::units::len64(now);
        }
        Ok(())
    }
    fn end_file(&mut self) -> Result<()> {
        let Some((path, metadata, size, hasher)) = self.open.take() else {
            return Ok(());
        };
        let content = FileContent {
            size,
            blob_id: BlobId::from_bytes(*hasher.finalize().as_bytes()),
            content: Stored::Nothing,
        };
        self.hand(|tree| tree.file(&path, metadata, content))
    }
    fn symlink(&mut self, path: &[EntryName], metadata: Metadata, target: &[u8]) -> Result<()> {
        self.hand(|tree| tree.symlink(path, metadata, target))
    }
    fn special(
        &mut self,
        path: &[EntryName],
        metadata: Metadata,
        kind: SpecialKind,
        major: u32,
        minor: u32,
    ) -> Result<()> {
        self.hand(|tree| tree.special(path, metadata, kind, major, minor))
    }
    fn hard_link(&mut self, path: &[EntryName], target: &[EntryName]) -> Result<()> {
        self.hand(|tree| tree.hard_link(path, target))
    }
    fn whiteout(&mut self, path: &[EntryName]) -> Result<()> {
        self.hand(|tree| tree.whiteout(path))
    }
    fn opaque(&mut self, directory: &[EntryName]) -> Result<()> {
        self.hand(|tree| tree.opaque(directory))
    }
}

/// None where the layer's tree is what its bytes say.
fn check_layer(disk: &Disk, layer: &Layer, interrupted: &dyn Fn() -> bool) -> Result<Option<String>> {
    let Some(blob) = disk.blob(&layer.blob)? else {
        return Ok(Some(format!(
            "its blob {} is not on the disk",
            layer.blob.to_digest()
        )));
    };
    let mut bytes = BlobStream::new(disk.open_blob(&blob));
    let mut sink = Gathering::default();
    let read = layer::read(
        &mut bytes,
        Compression::Auto,
        &Limits::default(),
        &mut sink,
        interrupted,
    );
    let summary = match (sink.fault, read) {
        (Some(fault), _) => return Ok(Some(fault.to_string())),
        (None, Err(err)) => return Ok(Some(err.into_refusal(&blob.sha256.to_digest())?.to_string())),
        (None, Ok(summary)) => summary,
    };
    if summary.diff_id != layer.diff_id {
        return Ok(Some(format!("its tar is {}", summary.diff_id.to_digest())));
    }
    let tree = sink.tree.finish(Ok)?;
    let stored = layer.tree();
    let (metadata, marks) = tree.root_entry();
    if *stored.rootfs().metadata() != metadata.unwrap_or_else(no_metadata)
        || stored.rootfs_marks() != marks
        || stored.links().map_or(0, Links::len) != tree.groups()
    {
        return Ok(Some("its root differs".to_owned()));
    }
    let mut waiting: Below<'_> = vec![(
        String::new(),
        None,
        Upper::Memory(&tree, tree.root()),
        stored.rootfs().clone(),
    )];
    while let Some((path, _, upper, stored)) = waiting.pop() {
        match one_directory(&path, Merge::layer(&upper), &stored, 0)? {
            Ok(below) => waiting.extend(below),
            Err(why) => return Ok(Some(why)),
        }
    }
    Ok(None)
}

/// Directories that are to be compared: path, what is below, what is laid over, what is stored.
type Below<'a> = Vec<(String, Option<Directory>, Upper<'a>, Directory)>;

fn one_directory<'a>(
    path: &str,
    merge: Merge<'a>,
    stored: &Directory,
    groups_below: u64,
) -> Result<std::result::Result<Below<'a>, String>> {
    let mut below = Vec::new();
    let mut entries = stored.entries(0);
    for merged in merge {
        let merged = merged?;
        let Some(entry) = entries.next().transpose()? else {
            return Ok(Err(format!("/{path}: entries are missing")));
        };
        let here = format!("{path}/{}", entry.name);
        let here = here.trim_start_matches('/').to_owned();
        let found = entry.stored();
        let same = match merged {
            Merged::Kept(kept) => kept.stored().canonical() == found.canonical(),
            Merged::Regrouped(..) => false,
            Merged::New(new) => same_entry(new, found, groups_below),
            Merged::Folder(MergedFolder {
                name,
                metadata,
                marks,
                lower,
                upper,
            }) => {
                let same = name == found.name
                    && metadata.unwrap_or_else(no_metadata) == found.metadata
                    && matches!(&found.node, StoredNode::Directory { marks: found, .. } if *found == marks);
                if same {
                    below.push((here.clone(), lower, upper, stored.open_directory(&entry)?));
                }
                same
            }
        };
        if !same {
            return Ok(Err(format!("/{here} is not what the layer has there")));
        }
    }
    if let Some(entry) = entries.next().transpose()? {
        return Ok(Err(format!("{path}/{}: no layer has it", entry.name)));
    }
    Ok(Ok(below))
}

/// Whether an entry from a layer is the stored one.
fn same_entry(mut new: TreeEntry, found: &TreeEntry, groups_below: u64) -> bool {
    if let Some(link @ 1..) = new.node.link_mut() {
        *link += groups_below;
    }
    entry_is(new, found)
}

/// Checks every chain that an image starts from, and those below it.
fn chains(
    disk: &Disk,
    layers: &BTreeMap<(Sha256, Sha256), Layer>,
    how: &Deriving<'_>,
    found: &mut Derivation,
) -> Result<()> {
    let mut checked = BTreeSet::new();
    for rootfs in disk.all_root_filesystems() {
        let (target, rootfs) = match rootfs {
            Ok(rootfs) => rootfs,
            Err(err) => {
                found.wrong.push(err.to_string());
                break;
            }
        };
        let name = format!("{}/{}", target.to_digest(), rootfs.platform);
        match stack(disk, &target) {
            // An index: its children are listed for themselves.
            Ok(None) => {}
            Ok(Some((config, blobs))) => {
                if config.chain_ids().last() != Some(&rootfs.chain)
                    || config.platform.to_string().replace('/', "-") != rootfs.platform
                {
                    found
                        .wrong
                        .push(format!("{name}: its config says another chain or platform"));
                    continue;
                }
                check_stack(disk, (&config, &blobs), layers, &mut checked, how, found)?;
            }
            Err(err) => found.wrong.push(format!("{name}: {err}")),
        }
    }
    for position in 0..disk.chain_count()? {
        match disk.chain_at(position) {
            Ok(Some(chain)) if !checked.contains(&chain.id) => found.wrong.push(format!(
                "chain {}: no image says what it is made of",
                chain.id.to_digest()
            )),
            Ok(_) => {}
            Err(err) => found.wrong.push(err.to_string()),
        }
    }
    Ok(())
}

/// The config and the layers of an image manifest; None for an index.
fn stack(disk: &Disk, manifest: &Sha256) -> Result<Option<(ImageConfig, Vec<Sha256>)>> {
    let missing = |digest: &Sha256| Error::missing(format!("{}: {}", disk.name(), digest.to_digest()));
    let blob = disk.blob(manifest)?.ok_or_else(|| missing(manifest))?;
    let bytes = disk.read_small(&blob, MAX_MANIFEST)?;
    let document = Document::parse(&bytes, &blob.media_type, &manifest.to_digest())?;
    let Content::Manifest {
        config: Some(config),
        layers,
    } = document.content
    else {
        return Ok(None);
    };
    let blob = disk
        .blob(&config.digest)?
        .ok_or_else(|| missing(&config.digest))?;
    let bytes = disk.read_small(&blob, MAX_CONFIG)?;
    let config = ImageConfig::parse(&bytes, &config.digest.to_digest())?;
    Ok(Some((config, layers.iter().map(|layer| layer.digest).collect())))
}

fn check_stack(
    disk: &Disk,
    (config, blobs): (&ImageConfig, &[Sha256]),
    layers: &BTreeMap<(Sha256, Sha256), Layer>,
    checked: &mut BTreeSet<Sha256>,
    how: &Deriving<'_>,
    found: &mut Derivation,
) -> Result<()> {
    let mut below: Option<Chain> = None;
    for ((diff_id, blob), id) in config.diff_ids.iter().zip(blobs).zip(config.chain_ids()) {
        let name = format!("chain {}", id.to_digest());
        let chain = match disk.chain(&id) {
            Ok(Some(chain)) => chain,
            Ok(None) => {
                found.wrong.push(format!("{name}: it is not on the disk"));
                return Ok(());
            }
            Err(err) => {
                found.wrong.push(format!("{name}: {err}"));
                return Ok(());
            }
        };
        if (how.interrupted)() {
            return Err(holdall::Error::Interrupted.into());
        }
        if checked.insert(id) {
            let Some(layer) = layers.get(&(*diff_id, *blob)) else {
                found
                    .wrong
                    .push(format!("{name}: no tree of its last layer is on the disk"));
                return Ok(());
            };
            let under = below.as_ref().map(|below| tree_bytes(below.tree().top()));
            let part = PartId::of(
                "chain",
                &[
                    id.as_bytes(),
                    &under.unwrap_or_default(),
                    &tree_bytes(layer.tree().top()),
                    &tree_bytes(chain.tree().top()),
                ],
            );
            match how.verdict(part, found, || check_chain(below.as_ref(), layer, &chain))? {
                None => found.chains += 1,
                Some(why) => found.wrong.push(format!("{name}: {why}")),
            }
        }
        below = Some(chain);
    }
    Ok(())
}

/// Whether the layer has names for files of the layers below, or entries that go where links of theirs lead: such a chain takes
/// several passes to make.
fn reaches_below(below: Option<&Chain>, upper: &Upper<'_>) -> Result<bool> {
    let mut waiting = vec![(below.map(|below| below.rootfs().clone()), upper.clone())];
    while let Some((lower, upper)) = waiting.pop() {
        let mut merge = Merge::chain(lower.as_ref(), &upper);
        for merged in merge.by_ref() {
            match merged? {
                Merged::New(entry) if matches!(entry.node, StoredNode::OutsideLink(_)) => return Ok(true),
                Merged::Folder(folder) => waiting.push((folder.lower, folder.upper)),
                _ => {}
            }
        }
        if !merge.redirects().is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// None where the chain's tree is the one below with the layer laid over it.
fn check_chain(below: Option<&Chain>, layer: &Layer, chain: &Chain) -> Result<Option<String>> {
    let marks = layer.tree().rootfs_marks();
    let groups = |links: Option<&Links>| links.map_or(0, Links::len);
    let groups_below = below.map_or(0, |below| groups(below.tree().links()));
    let own = Some(layer.tree().rootfs().metadata().clone()).filter(|_| !marks.implied);
    let metadata = own.or_else(|| below.map(|below| below.rootfs().metadata().clone()));
    if *chain.rootfs().metadata() != metadata.unwrap_or_else(no_metadata) {
        return Ok(Some("its root differs".to_owned()));
    }
    let upper = Upper::Stored(layer.tree().rootfs().clone());
    // Decided by the layer and what is below it, which were checked, and not by the chain, which is being checked.
    if reaches_below(below, &upper)? {
        let mut beneath = Beneath::new(below.map(Chain::rootfs), groups_below);
        beneath.lay(
            &upper,
            (
                Some(layer.tree().rootfs().metadata().clone()).filter(|_| !marks.implied),
                marks,
            ),
        )?;
        if groups(chain.tree().links()) != beneath.groups_below() + groups(layer.tree().links()) {
            return Ok(Some("its hard links are not those of its layers".to_owned()));
        }
        let differs = beneath.differs(chain.rootfs())?;
        return Ok(differs.map(|path| format!("{path} is not what its layers have there")));
    }
    if groups(chain.tree().links()) != groups_below + groups(layer.tree().links()) {
        return Ok(Some("its hard links are not those of its layers".to_owned()));
    }
    let lower = below
        .filter(|_| !marks.opaque)
        .map(|below| below.rootfs().clone());
    let mut waiting: Below<'_> = vec![(String::new(), lower, upper, chain.rootfs().clone())];
    while let Some((path, lower, upper, stored)) = waiting.pop() {
        match one_directory(&path, Merge::chain(lower.as_ref(), &upper), &stored, groups_below)? {
            Ok(below) => waiting.extend(below),
            Err(why) => return Ok(Some(why)),
        }
    }
    Ok(None)
}
