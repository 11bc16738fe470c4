//! What is on a disk, for a report that is kept: its images with what came along about them, and its loose files.

use crate::exit::ToolError;
use holdall::reader::{Directory, Disk, Entries, Node};
use holdall_images::inventory::{self, Attachment};
use serde::Serialize;

/// Images, and loose files, that a report lists; of more it has the number only.
pub const IMAGES_MAX: usize = 10_000;
/// Loose files that a report lists.
pub const FILES_MAX: usize = 1_000;

/// What is on a disk.
#[derive(Debug, Default, Serialize)]
pub struct Contents {
    pub images: Vec<ListedImage>,
    /// How many more there are.
    pub more_images: u64,
    pub files: Vec<ListedFile>,
    /// All files and links, those that are not listed among them.
    pub file_count: u64,
    pub file_bytes: u64,
    pub folder_count: u64,
    /// What of all this could not be looked up.
    pub failed: Vec<String>,
}

/// An image.
#[derive(Debug, Serialize)]
pub struct ListedImage {
    pub name: String,
    pub digest: String,
    pub media_type: String,
    pub platforms: Vec<ListedVariant>,
    pub about: Vec<ListedAttachment>,
    /// Bytes of all that it is made of, with what came along.
    pub bytes: u64,
    pub left_out: usize,
    /// Why nothing can be said of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub damage: Option<String>,
}

/// An image for one platform.
#[derive(Debug, Serialize)]
pub struct ListedVariant {
    pub platform: String,
    pub digest: String,
    pub layers: usize,
    pub bytes: u64,
    pub left_out: bool,
}

/// Something that came along about an image.
#[derive(Debug, Serialize)]
pub struct ListedAttachment {
    /// `signature`, `attestation`, `SBOM`, `scan report` or `other`.
    pub kind: &'static str,
    pub digest: String,
    /// The manifest that it is about.
    pub subject: String,
    pub types: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
}

/// A loose file or link.
#[derive(Debug, Serialize)]
pub struct ListedFile {
    pub path: String,
    pub bytes: u64,
    /// Of files; links have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

impl Contents {
    /// What is on that disk. What cannot be read is said, and the rest goes on.
    pub fn of(disk: &Disk) -> Self {
        let mut contents = Self::default();
        let listed = inventory::each_image(disk, |listed| -> Result<(), ToolError> {
            contents.list(listed);
            Ok(())
        });
        if let Err(e) = listed {
            contents
                .failed
                .push(format!("the list of images ends early: {e}"));
        }
        if let Err(e) = contents.list_files(disk) {
            contents.failed.push(format!("the list of files ends early: {e}"));
        }
        contents
    }

    fn list(&mut self, listed: inventory::Listed) {
        if self.images.len() >= IMAGES_MAX {
            self.more_images += 1;
            return;
        }
        let mut image = ListedImage {
            name: listed.name.to_string(),
            digest: listed.digest.to_digest(),
            media_type: String::new(),
            platforms: Vec::new(),
            about: Vec::new(),
            bytes: 0,
            left_out: 0,
            damage: None,
        };
        match listed.entry {
            Err(e) => image.damage = Some(e.to_string()),
            Ok(entry) => {
                image.media_type = entry.media_type;
                image.bytes = entry.bytes;
                image.left_out = entry.left_out;
                let variants = entry.variants.into_iter().map(|variant| ListedVariant {
                    platform: variant.platform,
                    digest: variant.digest.to_digest(),
                    layers: variant.layers,
                    bytes: variant.bytes,
                    left_out: variant.left_out,
                });
                image.platforms = variants.collect();
                image.about = entry.attachments.into_iter().map(attachment).collect();
            }
        }
        self.images.push(image);
    }

    /// Goes through all folders, holding one page of each that it is within.
    fn list_files(&mut self, disk: &Disk) -> Result<(), holdall::Error> {
        let Some(top) = disk.files()? else {
            return Ok(());
        };
        let mut within: Vec<(String, Directory, Entries)> = Vec::new();
        let entries = top.entries(0);
        within.push(("files".to_owned(), top, entries));
        while let Some((path, folder, entries)) = within.last_mut() {
            let Some(entry) = entries.next() else {
                within.pop();
                continue;
            };
            let entry = entry?;
            let below = format!("{path}/{}", entry.name);
            let (bytes, sha256) = match &entry.node {
                Node::Directory { .. } => {
                    self.folder_count += 1;
                    let folder = folder.open_directory(&entry)?;
                    let entries = folder.entries(0);
                    if within.len() > holdall::units::index(holdall::format::DEPTH_MAX) {
                        return Err(holdall::Error::malformed(below, "folders are nested too deep"));
                    }
                    within.push((below, folder, entries));
                    continue;
                }
                Node::File { size, sha256, .. } => (*size, sha256.map(|s| s.to_hex())),
                Node::Symlink { .. } | Node::Special { .. } | Node::Whiteout | Node::OutsideLink { .. } => {
                    (0, None)
                }
            };
            self.file_count += 1;
            self.file_bytes = self.file_bytes.saturating_add(bytes);
            if self.files.len() < FILES_MAX {
                self.files.push(ListedFile {
                    path: below,
                    bytes,
                    sha256,
                });
            }
        }
        Ok(())
    }

    /// Files and links that are not listed.
    pub fn more_files(&self) -> u64 {
        self.file_count
            .saturating_sub(holdall::units::len64(self.files.len()))
    }
}

fn attachment(one: Attachment) -> ListedAttachment {
    ListedAttachment {
        kind: one.about.name(),
        digest: one.digest.to_digest(),
        subject: one.subject.to_digest(),
        types: one.types,
        tag: one.tag,
    }
}
