//! The folders below `images/`, listed by cookie.
//!
//! Owns in which order a folder's entries come, and that each comes once. Its cost is in what is listed:
//! what lies below an entry is stepped over, however many image names that is.
//!
//! First a platform's link, then an image's platforms, then a repository's tags and digests, then the
//! repositories below. An entry's index is the number set aside for it, or beyond those the position of
//! the first image name that leads to it: which is in the same order.

use super::View;
use super::attributes::Kind;
use super::image::{Folder, ROOTFS, Standing, components, folder_slot, reference_text};
use super::inode::{Fixed, Inode, PLATFORMS_MAX};
use super::listing::{DOTS, Emit, Listed};
use crate::FsError;
use std::ops::ControlFlow;

/// Cookies at which the platforms begin, after the link, and the image names, after the platforms.
const PLATFORMS: u64 = DOTS + 1;
const NAMES: u64 = PLATFORMS + PLATFORMS_MAX as u64;

impl View {
    pub(super) fn list_images(
        &self,
        folder: &Folder,
        cookie: u64,
        emit: Emit<'_>,
    ) -> Result<ControlFlow<()>, FsError> {
        let parent = match folder.path.rsplit_once('/') {
            _ if folder.path.is_empty() => Fixed::Root.number(),
            None => Fixed::Images.number(),
            Some((parent, _)) => match self.stands_at(parent)? {
                Some(Standing::Folder(parent)) => self.number(parent.inode)?,
                _ => Fixed::Images.number(),
            },
        };
        let own = self.number(folder.inode)?;
        if self.list_dots(own, parent, cookie, emit)?.is_break()
            || self.list_platforms(folder, cookie, emit)?.is_break()
            || self.list_references(folder, cookie, emit)?.is_break()
        {
            return Ok(ControlFlow::Break(()));
        }
        self.list_repositories(folder, cookie, emit)
    }

    /// A platform's link, and an image's platforms.
    fn list_platforms(
        &self,
        folder: &Folder,
        cookie: u64,
        emit: Emit<'_>,
    ) -> Result<ControlFlow<()>, FsError> {
        if let Some(link) = folder.link.as_ref().filter(|_| cookie <= DOTS) {
            let attributes = self.link_attributes(link)?;
            let listed = Listed {
                name: ROOTFS.as_bytes(),
                next: PLATFORMS,
                number: attributes.number,
                kind: Kind::Symlink,
                known: Some(attributes),
            };
            if emit(&listed)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        let Some((position, image)) = folder.image.as_ref().filter(|_| cookie < NAMES) else {
            return Ok(ControlFlow::Continue(()));
        };
        for (before, (inode, rootfs)) in (PLATFORMS..).zip(self.platforms(*position, image)?) {
            let hidden = folder.link.is_some() && rootfs.platform == ROOTFS;
            if hidden || cookie > before {
                continue;
            }
            if self
                .emit_folder(&rootfs.platform, before + 1, inode, emit)?
                .is_break()
            {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The tags and digests of the repository that the folder's path names.
    fn list_references(
        &self,
        folder: &Folder,
        cookie: u64,
        emit: Emit<'_>,
    ) -> Result<ControlFlow<()>, FsError> {
        if folder.path.is_empty() {
            return Ok(ControlFlow::Continue(()));
        }
        let bound = |end: char| self.disk.image_position(&format!("{}{end}", folder.path));
        let (start, end) = (bound('\0')?, bound('\u{1}')?);
        for position in start.max(cookie.saturating_sub(NAMES))..end {
            let Some(image) = self.disk.image_at(position)? else {
                break;
            };
            let name = reference_text(&image.name.reference);
            if self.emit_name(folder, &name, position, emit)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// What the repositories whose paths go on from the folder's are called next.
    fn list_repositories(
        &self,
        folder: &Folder,
        cookie: u64,
        emit: Emit<'_>,
    ) -> Result<ControlFlow<()>, FsError> {
        let prefix = folder.prefix();
        let mut at = self
            .disk
            .image_position(&prefix)?
            .max(cookie.saturating_sub(NAMES));
        while let Some(image) = self.disk.image_at(at)? {
            let repository = image.name.repository.as_str();
            let Some(rest) = repository.strip_prefix(&prefix) else {
                break;
            };
            let (name, inner) = rest
                .split_once('/')
                .map_or((rest, false), |(name, _)| (name, true));
            // `a` and what is below `a/` are two ranges, with `a-b` between them: in the second, `a` has
            // been listed if the first is there.
            if self.first_in(&format!("{prefix}{name}"))? == Some(at)
                && self.emit_name(folder, name, at, emit)?.is_break()
            {
                return Ok(ControlFlow::Break(()));
            }
            // Past all that begins with the name and a slash (of which '0' is the next), or past the
            // images of the name itself (NUL and the next).
            let past = format!("{prefix}{name}{}", if inner { '0' } else { '\u{1}' });
            at = self.disk.image_position(&past)?.max(at + 1);
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Emits what is called so, if it is the image name at `position` that it is listed by.
    fn emit_name(
        &self,
        folder: &Folder,
        name: &str,
        position: u64,
        emit: Emit<'_>,
    ) -> Result<ControlFlow<()>, FsError> {
        let path = folder.prefix() + name;
        let slot = folder_slot(components(&path));
        match self.stands_at(&path)? {
            Some(Standing::Folder(found)) if found.inode == (Inode::Image { position, slot }) => {
                self.emit_folder(name, NAMES + position + 1, found.inode, emit)
            }
            // Listed already: as a link, a platform or a tag.
            _ => Ok(ControlFlow::Continue(())),
        }
    }

    fn emit_folder(
        &self,
        name: &str,
        next: u64,
        inode: Inode,
        emit: Emit<'_>,
    ) -> Result<ControlFlow<()>, FsError> {
        let number = self.number(inode)?;
        emit(&Listed {
            name: name.as_bytes(),
            next,
            number,
            kind: Kind::Directory,
            known: Some(self.stamp.directory(number, 0, 1)),
        })
    }
}
