//! Directories, listed by cookie.
//!
//! Owns the order of entries and what a cookie means. Knows nothing of the kernel's buffers: the
//! caller says when it has enough.
//!
//! A cookie is the number of entries that came before: 0 begins with `.`, 1 with `..`, and entry
//! `index` of the directory follows cookie `index + 2`. Below `images/` the index is that of the first
//! image name that leads to the entry, after the numbers set aside for a platform's link and for
//! platforms; below `layers/` it is the first byte of a folder's diffIDs, and a layer's position. It stays valid for as long as the generation.

use super::View;
use super::attributes::{Attributes, Kind, kind_of, names_of};
use super::image::Folder;
use super::inode::{Fixed, Inode, TreeName};
use crate::FsError;
use holdall::reader::Node;
use holdall::units::len64;
use std::ops::ControlFlow;

/// One entry of a listing.
#[derive(Debug)]
pub struct Listed<'a> {
    /// Its name; not necessarily UTF-8.
    pub name: &'a [u8],
    /// What to ask for to go on after this entry.
    pub next: u64,
    /// Its inode number.
    pub number: u64,
    /// What it is.
    pub kind: Kind,
    /// Where listing came across them anyway; [`View::attributes`] finds the others.
    pub(super) known: Option<Attributes>,
}

/// What a listing calls for each entry; `Break` where it has no room for this one.
pub type Emit<'a> = &'a mut dyn FnMut(&Listed<'_>) -> Result<ControlFlow<()>, FsError>;

/// Entries before those of the directory itself.
pub(super) const DOTS: u64 = 2;

impl View {
    /// Lists the directory `number` from `cookie` on (0: from the start), until `emit` breaks or the
    /// end. An error after the first entry only ends the listing: it comes again, as an error, when
    /// the caller asks to go on from there.
    pub fn readdir(&self, number: u64, cookie: u64, emit: Emit<'_>) -> Result<(), FsError> {
        let mut emitted = false;
        let listed = self.list(number, cookie, &mut |entry| {
            let flow = emit(entry)?;
            emitted |= flow.is_continue();
            Ok(flow)
        });
        match listed {
            Err(_) if emitted => Ok(()),
            Err(err) => Err(err),
            Ok(_) => Ok(()),
        }
    }

    /// The attributes of a listed entry, and whether they may be kept: of an EROFS image that was never asked for it is not known whether there
    /// is one and how large, and what stands in for them is good for no more than the listing.
    pub fn attributes(&self, listed: &Listed<'_>) -> Result<(Attributes, bool), FsError> {
        if let Some(known) = listed.known {
            return Ok((known, true));
        }
        match self.inode(listed.number)? {
            Inode::ChainImage(_) | Inode::LayerImage(_) => Ok(self.listed_image(listed.number)),
            inode => Ok((self.attributes_of(inode)?, true)),
        }
    }

    fn list(&self, number: u64, cookie: u64, emit: Emit<'_>) -> Result<ControlFlow<()>, FsError> {
        let inode = self.inode(number)?;
        if let Some((tree, inode)) = inode.in_tree() {
            return self.list_tree(number, tree, inode, cookie, emit);
        }
        match inode {
            Inode::Fixed(Fixed::Images) => self.list_images(&Folder::top(), cookie, emit),
            Inode::Image { position, slot } => {
                self.list_images(&self.image_folder(position, slot)?, cookie, emit)
            }
            Inode::Fixed(fixed) if fixed.kind() == Kind::Directory => {
                let parent = fixed.parent().number();
                if self.list_dots(number, parent, cookie, emit)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                let index = cookie.saturating_sub(DOTS);
                match fixed {
                    Fixed::ChainsSha256 => self.list_chains(index, emit),
                    Fixed::ErofsChainsSha256 => self.list_chain_images(index, emit),
                    Fixed::LayersSha256 => self.list_layer_folders(index, emit),
                    fixed if fixed.holds_blobs() => self.list_blobs(index, emit),
                    fixed => self.list_fixed(fixed, index, emit),
                }
            }
            Inode::LayerFolder(byte) => {
                let parent = Fixed::LayersSha256.number();
                if self.list_dots(number, parent, cookie, emit)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                self.list_layer_images(byte, cookie.saturating_sub(DOTS), emit)
            }
            other => Err(self.wrong_kind(other, number, Kind::Directory)),
        }
    }

    /// `.` and `..`, as far as `cookie` is not past them.
    pub(super) fn list_dots(
        &self,
        own: u64,
        parent: u64,
        cookie: u64,
        emit: Emit<'_>,
    ) -> Result<ControlFlow<()>, FsError> {
        for (before, name, number) in [(0, &b"."[..], own), (1, b"..", parent)] {
            if cookie <= before {
                // Number and kind are all that the kernel looks at for these two.
                let known = Some(self.stamp.directory(number, 0, 2));
                let listed = Listed {
                    name,
                    next: before + 1,
                    number,
                    kind: Kind::Directory,
                    known,
                };
                if emit(&listed)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn list_fixed(&self, fixed: Fixed, index: u64, emit: Emit<'_>) -> Result<ControlFlow<()>, FsError> {
        for (position, (name, inode)) in (0..).zip(fixed.children()) {
            if position < index {
                continue;
            }
            let kind = match inode {
                Inode::Fixed(fixed) => fixed.kind(),
                // Of the others, only the root of the loose files is a fixed entry.
                _ => Kind::Directory,
            };
            let number = self.number(*inode)?;
            let listed = Listed {
                name: name.as_bytes(),
                next: position + 1 + DOTS,
                number,
                kind,
                known: None,
            };
            if emit(&listed)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn list_blobs(&self, index: u64, emit: Emit<'_>) -> Result<ControlFlow<()>, FsError> {
        for position in index..self.disk.blob_count()? {
            let Some(blob) = self.disk.blob_at(position)? else {
                break;
            };
            let attributes = self.blob_attributes(position, &blob)?;
            let name = blob.sha256.to_hex();
            let next = position + 1 + DOTS;
            let (number, kind) = (attributes.number, attributes.kind);
            let listed = Listed {
                name: name.as_bytes(),
                next,
                number,
                kind,
                known: Some(attributes),
            };
            if emit(&listed)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn list_chains(&self, index: u64, emit: Emit<'_>) -> Result<ControlFlow<()>, FsError> {
        for position in index..self.disk.chain_count()? {
            let chain = self.chain(position)?;
            let (number, root) = self.chain_root(&chain)?;
            self.keep_open(number, || Ok(root.clone()));
            let name = chain.id.to_hex();
            let listed = Listed {
                name: name.as_bytes(),
                next: position + 1 + DOTS,
                number,
                kind: Kind::Directory,
                known: Some(Attributes::of_directory(number, &root)),
            };
            if emit(&listed)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn list_tree(
        &self,
        number: u64,
        tree: TreeName,
        inode: u64,
        cookie: u64,
        emit: Emit<'_>,
    ) -> Result<ControlFlow<()>, FsError> {
        let directory = self.directory(tree, inode)?;
        let parent = self.parent_of(tree, directory.as_ref())?;
        if self.list_dots(number, parent, cookie, emit)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        let Some(directory) = directory else {
            return Ok(ControlFlow::Continue(()));
        };
        let index = cookie.saturating_sub(DOTS);
        // The end is known; it need not be looked for.
        if index >= directory.len() {
            return Ok(ControlFlow::Continue(()));
        }
        // Who lists a directory may well go on into those in it.
        directory.read_directories_ahead(index);
        for (position, entry) in (index..).zip(directory.entries(index)) {
            let entry = entry?;
            let number = self.number(tree.inode(entry.inode))?;
            let listed = Listed {
                name: entry.name.as_bytes(),
                next: position + 1 + DOTS,
                number,
                kind: kind_of(&entry.node),
                known: Some(Attributes::of_entry(number, &entry)),
            };
            if emit(&listed)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            if matches!(entry.node, Node::Directory { .. }) {
                self.keep_open(number, || directory.open_directory(&entry));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

impl View {
    /// Entries in a fixed directory, for its size, and its names. Registries and layers' folders are not counted.
    pub(super) fn counts_of(&self, fixed: Fixed) -> Result<(u64, u32), FsError> {
        Ok(match fixed {
            Fixed::Images | Fixed::LayersSha256 => (0, 1),
            Fixed::ErofsChainsSha256 => (self.disk.chain_count()?, 2),
            Fixed::ChainsSha256 => {
                let chains = self.disk.chain_count()?;
                (chains, names_of(chains))
            }
            fixed if fixed.holds_blobs() => (self.disk.blob_count()?, 2),
            fixed => {
                let children = fixed.children();
                let directory = |(_, inode): &&(&str, Inode)| match inode {
                    Inode::Fixed(fixed) => fixed.kind() == Kind::Directory,
                    inode => matches!(inode, Inode::File(0)),
                };
                let directories = children.iter().filter(directory).count();
                (len64(children.len()), names_of(len64(directories)))
            }
        })
    }
}
