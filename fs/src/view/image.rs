//! The folders below `images/`: repositories, tags and digests, platforms, and the link in each.
//!
//! Owns which folder stands at which path. Knows nothing of what is in a chain.
//!
//! `images/<repository…>/<tag or sha256:hex>/<platform>/rootfs` is a symlink to the chain below
//! `chains/`, and not that directory once more: a directory's inode cannot have two parents, and by way
//! of the link all images share what the kernel has cached of a chain.
//!
//! Several things can fall on one path: repository `a/b` and tag `b` of repository `a`. Then there is one
//! folder, and it shows what is in either; a name that both have is the platform's before the tag's, and
//! the tag's before the repository's. A folder's number comes from the first image name that leads to it,
//! or, where it is a tag's or platform's, from that image's name.

use super::View;
use super::attributes::Attributes;
use super::inode::{Fixed, Inode, Slot};
use crate::FsError;
use holdall::ids::Sha256;
use holdall::name::{ImageName, Reference, Repository, Tag};
use holdall::reader::{Image, RootFilesystem};
use holdall::units::len64;

/// The name of the link in a platform's folder.
pub(super) const ROOTFS: &str = "rootfs";

/// What stands at a path below `images/`.
#[derive(Debug)]
pub(super) enum Standing {
    /// A folder.
    Folder(Box<Folder>),
    /// The link to a chain's root directory.
    Link(Link),
}

impl Standing {
    fn inode(&self) -> Inode {
        match self {
            Self::Folder(folder) => folder.inode,
            Self::Link(link) => link.inode,
        }
    }
}

/// A folder below `images/`, or `images/` itself.
#[derive(Debug)]
pub(super) struct Folder {
    /// Its inode.
    pub(super) inode: Inode,
    /// Its path below `images/`; empty for that itself.
    pub(super) path: String,
    /// The image that its path names, with the image name's position.
    pub(super) image: Option<(u64, Image)>,
    /// Where it is a platform's folder: the link in it.
    pub(super) link: Option<Link>,
}

/// The link in a platform's folder.
#[derive(Debug, Clone)]
pub(super) struct Link {
    /// Its inode.
    pub(super) inode: Inode,
    target: String,
}

impl Folder {
    /// `images/` itself.
    pub(super) const fn top() -> Self {
        Self {
            inode: Inode::Fixed(Fixed::Images),
            path: String::new(),
            image: None,
            link: None,
        }
    }

    /// What the paths of all that lies in it begin with.
    pub(super) fn prefix(&self) -> String {
        if self.path.is_empty() {
            String::new()
        } else {
            format!("{}/", self.path)
        }
    }
}

/// What the last component of an image's path is.
pub(super) fn reference_text(reference: &Reference) -> String {
    match reference {
        Reference::Tag(tag) => tag.as_str().to_owned(),
        Reference::Digest(digest) => digest.to_digest(),
    }
}

fn reference_of(text: &str) -> Option<Reference> {
    if text.contains(':') {
        return Sha256::from_digest(text).ok().map(Reference::Digest);
    }
    Tag::parse(text).ok().map(Reference::Tag)
}

/// The folder of a path of that many components.
pub(super) fn folder_slot(components: usize) -> Slot {
    Slot::Folder(u16::try_from(components).unwrap_or(u16::MAX))
}

pub(super) fn components(path: &str) -> usize {
    path.split('/').count()
}

fn position_of(index: usize) -> u16 {
    u16::try_from(index).unwrap_or(u16::MAX)
}

impl View {
    /// What stands at that path below `images/`.
    pub(super) fn stands_at(&self, path: &str) -> Result<Option<Standing>, FsError> {
        if let Some((parent, ROOTFS)) = path.rsplit_once('/')
            && let Some(link) = self.link_in(parent)?
        {
            return Ok(Some(Standing::Link(link)));
        }
        let link = self.link_in(path)?;
        let image = self.image_named(path)?;
        let slot = folder_slot(components(path));
        let inode = match (&link, &image) {
            (Some(link), _) => match link.inode {
                Inode::Image {
                    position,
                    slot: Slot::Rootfs(platform),
                } => Inode::Image {
                    position,
                    slot: Slot::Platform(platform),
                },
                other => other,
            },
            (None, Some((position, _))) => Inode::Image {
                position: *position,
                slot,
            },
            (None, None) => match self.first_in(path)? {
                Some(position) => Inode::Image { position, slot },
                None => return Ok(None),
            },
        };
        Ok(Some(Standing::Folder(Box::new(Folder {
            inode,
            path: path.to_owned(),
            image,
            link,
        }))))
    }

    /// What has that inode below `images/`.
    pub(super) fn standing(&self, position: u64, slot: Slot) -> Result<Standing, FsError> {
        let nothing = || FsError::NoSuchInode {
            number: Inode::Image { position, slot }.number().unwrap_or(0),
        };
        let image = self.disk.image_at(position)?.ok_or_else(nothing)?;
        let path = format!(
            "{}/{}",
            image.name.repository,
            reference_text(&image.name.reference)
        );
        let platform = |at: u16| -> Result<String, FsError> {
            let all = self.disk.root_filesystems(&image.target.sha256)?;
            let found = all.into_iter().nth(at.into()).ok_or_else(nothing)?;
            Ok(found.platform)
        };
        let path = match slot {
            Slot::Folder(depth) => {
                let parts: Vec<&str> = path.split('/').take(depth.into()).collect();
                parts.join("/")
            }
            Slot::Platform(at) => format!("{path}/{}", platform(at)?),
            Slot::Rootfs(at) => format!("{path}/{}/{ROOTFS}", platform(at)?),
        };
        // A folder of a shorter path, or one that another name is the first to lead to, has a number of
        // its own.
        self.stands_at(&path)?
            .filter(|standing| standing.inode() == Inode::Image { position, slot })
            .ok_or_else(nothing)
    }

    /// The folder of that inode.
    pub(super) fn image_folder(&self, position: u64, slot: Slot) -> Result<Folder, FsError> {
        match self.standing(position, slot)? {
            Standing::Folder(folder) => Ok(*folder),
            Standing::Link(link) => Err(FsError::WrongKind {
                number: self.number(link.inode)?,
                found: super::Kind::Symlink,
                wanted: super::Kind::Directory,
            }),
        }
    }

    /// The image that a path names, and its name's position.
    fn image_named(&self, path: &str) -> Result<Option<(u64, Image)>, FsError> {
        let Some((repository, reference)) = path.rsplit_once('/') else {
            return Ok(None);
        };
        let (Ok(repository), Some(reference)) = (Repository::parse(repository), reference_of(reference))
        else {
            return Ok(None);
        };
        let name = ImageName {
            repository,
            reference,
        };
        let Some(position) = self.disk.image_position_of(&name)? else {
            return Ok(None);
        };
        Ok(self.disk.image_at(position)?.map(|image| (position, image)))
    }

    /// What containers of an image start from, with its platforms' folders.
    pub(super) fn platforms(
        &self,
        position: u64,
        image: &Image,
    ) -> Result<impl Iterator<Item = (Inode, RootFilesystem)>, FsError> {
        let all = self.disk.root_filesystems(&image.target.sha256)?;
        let folder = move |at| Inode::Image {
            position,
            slot: Slot::Platform(position_of(at)),
        };
        Ok(all
            .into_iter()
            .enumerate()
            .map(move |(at, rootfs)| (folder(at), rootfs)))
    }

    /// The link in the platform's folder at that path; `None` where no such folder is.
    fn link_in(&self, path: &str) -> Result<Option<Link>, FsError> {
        let Some((image, platform)) = path.rsplit_once('/') else {
            return Ok(None);
        };
        let Some((position, image)) = self.image_named(image)? else {
            return Ok(None);
        };
        let all = self.disk.root_filesystems(&image.target.sha256)?;
        let found = all
            .iter()
            .zip(0..)
            .find(|(rootfs, _)| rootfs.platform == platform);
        Ok(found.map(|(rootfs, at)| Link {
            inode: Inode::Image {
                position,
                slot: Slot::Rootfs(position_of(at)),
            },
            // Up through the folders of the path, and out of `images/`.
            target: format!(
                "{}chains/sha256/{}",
                "../".repeat(components(path) + 1),
                rootfs.chain.to_hex()
            ),
        }))
    }

    /// The position of the first image name in a folder that repositories make; `None` where none does.
    pub(super) fn first_in(&self, path: &str) -> Result<Option<u64>, FsError> {
        // The names of repository `a` come before those below `a/`, but others may lie between.
        for (from, inner) in [(format!("{path}\0"), false), (format!("{path}/"), true)] {
            let position = self.disk.image_position(&from)?;
            if let Some(image) = self.disk.image_at(position)? {
                let repository = image.name.repository.as_str();
                if (inner && repository.starts_with(&from)) || (!inner && repository == path) {
                    return Ok(Some(position));
                }
            }
        }
        Ok(None)
    }

    /// What that name is in a folder below `images/`.
    pub(super) fn lookup_image(&self, folder: &Folder, name: &[u8]) -> Result<Option<Attributes>, FsError> {
        // A catalogue's names are text without NULs, and a NUL ends a repository there.
        let Ok(name) = std::str::from_utf8(name) else {
            return Ok(None);
        };
        if name.is_empty() || name.contains(['/', '\0']) {
            return Ok(None);
        }
        let found = self.stands_at(&(folder.prefix() + name))?;
        found.map(|found| self.standing_attributes(&found)).transpose()
    }

    /// The attributes of what stands somewhere below `images/`.
    pub(super) fn standing_attributes(&self, standing: &Standing) -> Result<Attributes, FsError> {
        Ok(match standing {
            Standing::Folder(folder) => self.stamp.directory(self.number(folder.inode)?, 0, 1),
            Standing::Link(link) => self.link_attributes(link)?,
        })
    }

    /// The attributes of a link to a chain.
    pub(super) fn link_attributes(&self, link: &Link) -> Result<Attributes, FsError> {
        Ok(self
            .stamp
            .symlink(self.number(link.inode)?, len64(link.target.len())))
    }

    /// Where a link below `images/` points.
    pub(super) fn image_link(&self, number: u64, position: u64, slot: Slot) -> Result<Vec<u8>, FsError> {
        match self.standing(position, slot)? {
            Standing::Link(link) => Ok(link.target.into_bytes()),
            Standing::Folder(_) => Err(FsError::WrongKind {
                number,
                found: super::Kind::Directory,
                wanted: super::Kind::Symlink,
            }),
        }
    }
}
