//! What containers start from: layers' trees, chains' merged trees, and which chain an image is.

use super::{Disk, Image, Walk};
use crate::blob::FrameSource;
use crate::error::Result;
use crate::format::catalogue::{Kind, Leaf, sort_key};
use crate::format::content::{Content, TreeRef};
use crate::ids::Sha256;
use crate::name::ImageName;
use crate::tree::{Directory, Rooted};
use std::sync::Arc;

/// The merged tree of a chain of layers: what a container that starts from them sees. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Chain {
    /// The chainID.
    pub id: Sha256,
    /// Its position among the disk's chains, from 0 in order of chainID.
    pub position: u64,
    tree: Rooted,
}

impl Chain {
    /// The root directory. Inode numbers are those of the chain's tree, and are small and not dense.
    #[must_use]
    pub const fn rootfs(&self) -> &Directory {
        self.tree.rootfs()
    }

    /// The tree that the root directory stands in, with the table of hard links.
    #[must_use]
    pub const fn tree(&self) -> &Rooted {
        &self.tree
    }
}

/// The tree of one layer, with its marks for the layers below.
#[derive(Debug, Clone)]
pub struct Layer {
    /// SHA-256 of the layer's tar.
    pub diff_id: Sha256,
    /// The digest of the blob that it was made from.
    pub blob: Sha256,
    tree: Rooted,
}

impl Layer {
    /// The tree.
    #[must_use]
    pub const fn tree(&self) -> &Rooted {
        &self.tree
    }
}

/// What a container of an image starts from, on one platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootFilesystem {
    /// The platform in one word, as `linux-amd64` or `linux-arm-v7`: 1 to 255 bytes that can be a file's name.
    pub platform: String,
    /// The chainID of all its layers; the disk has that chain.
    pub chain: Sha256,
}

impl Disk {
    fn tree_of(&self, leaf: &Leaf) -> Result<TreeRef> {
        match leaf.content {
            Content::Tree(tree) => Ok(tree),
            _ => Err(self.malformed(&leaf.name, "its content is no tree")),
        }
    }

    fn rooted(&self, leaf: &Leaf) -> Result<Rooted> {
        let source = Arc::clone(&self.inner.frames) as Arc<dyn FrameSource>;
        Rooted::open(source, self.tree_of(leaf)?, leaf.kind == Kind::Layer)
    }

    fn chain_id(&self, leaf: &Leaf) -> Result<Sha256> {
        Sha256::from_digest(&leaf.name).map_err(|e| self.malformed(&leaf.name, &e.to_string()))
    }

    fn chain_of(&self, leaf: &Leaf, position: u64) -> Result<Chain> {
        Ok(Chain {
            id: self.chain_id(leaf)?,
            position,
            tree: self.rooted(leaf)?,
        })
    }

    /// The leaf at a position among those of its kind.
    fn leaf_at(&self, kind: Kind, position: u64) -> Result<Option<Leaf>> {
        let (start, end) = self.inner.catalogue.range_of(kind)?;
        match start.checked_add(position).filter(|at| *at < end) {
            Some(at) => self.inner.catalogue.at(at),
            None => Ok(None),
        }
    }

    /// The chain of that chainID.
    pub fn chain(&self, id: &Sha256) -> Result<Option<Chain>> {
        let Some((at, leaf)) = self.inner.catalogue.get(Kind::Chain, &id.to_digest())? else {
            return Ok(None);
        };
        let (start, _) = self.inner.catalogue.range_of(Kind::Chain)?;
        self.chain_of(&leaf, at.saturating_sub(start)).map(Some)
    }

    /// Whether the disk has that chain; its tree is not opened.
    pub fn has_chain(&self, id: &Sha256) -> Result<bool> {
        Ok(self.chain_position(id)?.is_some())
    }

    /// The position of that chain; its tree is not opened.
    pub fn chain_position(&self, id: &Sha256) -> Result<Option<u64>> {
        let found = self.inner.catalogue.get(Kind::Chain, &id.to_digest())?;
        let (start, _) = self.inner.catalogue.range_of(Kind::Chain)?;
        Ok(found.map(|(at, _)| at.saturating_sub(start)))
    }

    /// Fails where the medium is not there any more: unplugged, or its folder gone.
    pub fn check_there(&self) -> Result<()> {
        let root = crate::medium::MediumFile::Root(self.root().generation);
        match self.inner.medium.len(root)? {
            Some(_) => Ok(()),
            None => Err(crate::Error::missing(self.inner.medium.place(root))),
        }
    }

    /// Number of chains; [`Disk::chain_at`] counts them from 0 in order of chainID.
    pub fn chain_count(&self) -> Result<u64> {
        let (start, end) = self.inner.catalogue.range_of(Kind::Chain)?;
        Ok(end - start)
    }

    /// The chain at a position.
    pub fn chain_at(&self, position: u64) -> Result<Option<Chain>> {
        let leaf = self.leaf_at(Kind::Chain, position)?;
        leaf.map(|leaf| self.chain_of(&leaf, position)).transpose()
    }

    /// The chainID at a position; the tree is not opened.
    pub fn chain_id_at(&self, position: u64) -> Result<Option<Sha256>> {
        let leaf = self.leaf_at(Kind::Chain, position)?;
        leaf.map(|leaf| self.chain_id(&leaf)).transpose()
    }

    /// Every chain whose last layer has that diffID, in order of chainID of what is below it; first the layer by itself, if that is a chain.
    pub fn chains_ending_with(&self, diff_id: &Sha256) -> Result<Vec<Chain>> {
        let mut found = Vec::new();
        found.extend(self.chain(diff_id)?);
        for position in 0..self.chain_count()? {
            let Some(below) = self.chain_id_at(position)? else {
                break;
            };
            let both = format!("{} {}", below.to_digest(), diff_id.to_digest());
            found.extend(self.chain(&Sha256::of(both.as_bytes()))?);
        }
        Ok(found)
    }

    /// Number of layers' trees; [`Disk::layer_at`] counts them from 0 in order of diffID and blob.
    pub fn layer_count(&self) -> Result<u64> {
        let (start, end) = self.inner.catalogue.range_of(Kind::Layer)?;
        Ok(end - start)
    }

    /// The layer at a position.
    pub fn layer_at(&self, position: u64) -> Result<Option<Layer>> {
        let leaf = self.leaf_at(Kind::Layer, position)?;
        leaf.map(|leaf| self.layer_of(&leaf)).transpose()
    }

    /// The diffID of the layer at a position; its tree is not opened.
    pub fn diff_id_at(&self, position: u64) -> Result<Option<Sha256>> {
        let leaf = self.leaf_at(Kind::Layer, position)?;
        leaf.map(|leaf| Ok(self.layer_name(&leaf)?.0)).transpose()
    }

    /// The position of the first layer whose diffID is not before `hex`, the beginning of one; [`Disk::layer_count`] where there is none.
    pub fn layer_position(&self, hex: &str) -> Result<u64> {
        let (start, end) = self.inner.catalogue.range_of(Kind::Layer)?;
        let key = sort_key(Kind::Layer, &format!("sha256:{hex}"));
        let at = self.inner.catalogue.lower_bound(&key)?;
        Ok(at.clamp(start, end) - start)
    }

    /// Every layer's tree, in order of diffID and blob; for who checks them.
    pub fn layers(&self) -> impl Iterator<Item = Result<Layer>> + '_ {
        self.layer_leaves().map(|leaf| self.layer_of(&leaf?))
    }

    fn layer_of(&self, leaf: &Leaf) -> Result<Layer> {
        let (diff_id, blob) = self.layer_name(leaf)?;
        Ok(Layer {
            diff_id,
            blob,
            tree: self.rooted(leaf)?,
        })
    }

    /// DiffID and blob of every layer that has a tree, in that order; no tree is opened.
    pub fn layer_names(&self) -> impl Iterator<Item = Result<(Sha256, Sha256)>> + '_ {
        self.layer_leaves().map(|leaf| self.layer_name(&leaf?))
    }

    fn layer_leaves(&self) -> impl Iterator<Item = Result<Leaf>> + '_ {
        let (range, failed) = match self.inner.catalogue.range_of(Kind::Layer) {
            Ok((start, end)) => (start..end, None),
            Err(e) => (0..0, Some(Err(e))),
        };
        failed.into_iter().chain(range.map(|at| {
            let leaf = self.inner.catalogue.at(at)?;
            leaf.ok_or_else(|| self.malformed("layers", "there are fewer than it counts"))
        }))
    }

    fn layer_name(&self, leaf: &Leaf) -> Result<(Sha256, Sha256)> {
        let ids = leaf.name.split_once('/').and_then(|(diff_id, blob)| {
            Some((
                Sha256::from_digest(diff_id).ok()?,
                Sha256::from_digest(blob).ok()?,
            ))
        });
        ids.ok_or_else(|| self.malformed(&leaf.name, "not a diffID and a digest"))
    }

    /// What containers of the manifest or index `target` start from, in order of platform; empty where
    /// it cannot be run in place.
    pub fn root_filesystems(&self, target: &Sha256) -> Result<Vec<RootFilesystem>> {
        let prefix = format!("{}/", target.to_digest());
        let mut walk = Walk::new(self, sort_key(Kind::Rootfs, &prefix));
        let mut found = Vec::new();
        while let Some(leaf) = walk.next(self)? {
            let Some(platform) = leaf
                .name
                .strip_prefix(&prefix)
                .filter(|_| leaf.kind == Kind::Rootfs)
            else {
                break;
            };
            if crate::name::EntryName::new(platform.as_bytes()).is_err() {
                return Err(self.malformed(&leaf.name, "its platform cannot be a file's name"));
            }
            found.push(RootFilesystem {
                platform: platform.to_owned(),
                chain: leaf.sha256,
            });
        }
        Ok(found)
    }

    /// What containers of every manifest and index start from; for who checks them. Ends after the first error.
    pub fn all_root_filesystems(&self) -> impl Iterator<Item = Result<(Sha256, RootFilesystem)>> + '_ {
        let range = self.inner.catalogue.range_of(Kind::Rootfs);
        let (range, failed) = match range {
            Ok((start, end)) => (start..end, None),
            Err(e) => (0..0, Some(Err(e))),
        };
        failed.into_iter().chain(range.map(|at| {
            let leaf = self.inner.catalogue.at(at)?;
            let leaf = leaf.ok_or_else(|| self.malformed("images", "there are fewer than it counts"))?;
            let parts = leaf.name.split_once('/');
            let parts = parts.and_then(|(target, word)| Some((Sha256::from_digest(target).ok()?, word)));
            let (target, word) =
                parts.ok_or_else(|| self.malformed(&leaf.name, "not a digest and a platform"))?;
            let found = RootFilesystem {
                platform: word.to_owned(),
                chain: leaf.sha256,
            };
            Ok((target, found))
        }))
    }

    /// Number of image names; [`Disk::image_at`] counts them from 0 in the order of [`Disk::images`].
    pub fn image_count(&self) -> Result<u64> {
        let (start, end) = self.inner.catalogue.range_of(Kind::Image)?;
        Ok(end - start)
    }

    /// The image at a position.
    pub fn image_at(&self, position: u64) -> Result<Option<Image>> {
        let leaf = self.leaf_at(Kind::Image, position)?;
        leaf.map(|leaf| self.image_of(leaf)).transpose()
    }

    /// The position of the first image whose repository is at or after `repository`, in byte order of
    /// repositories; [`Disk::image_count`] where there is none. `repository` need not be a whole one.
    pub fn image_position(&self, repository: &str) -> Result<u64> {
        let (start, _) = self.inner.catalogue.range_of(Kind::Image)?;
        let mut key = vec![Kind::Image.tag()];
        key.extend_from_slice(repository.as_bytes());
        Ok(self.inner.catalogue.lower_bound(&key)?.saturating_sub(start))
    }

    /// The position of the image of that name.
    pub fn image_position_of(&self, name: &ImageName) -> Result<Option<u64>> {
        let (start, _) = self.inner.catalogue.range_of(Kind::Image)?;
        let found = self.inner.catalogue.get(Kind::Image, &name.to_string())?;
        Ok(found.map(|(at, _)| at.saturating_sub(start)))
    }
}
