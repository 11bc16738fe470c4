//! Chains as the kernel's own file systems: the EROFS images that the mount shows, each mounted once for all containers that start from it.
//!
//! Mounted as a file where the kernel can (Linux 6.12), by a loop device otherwise, and left to the FUSE tree where neither goes.

use crate::output::Output;
use holdall::ids::Sha256;
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// How images are mounted on this kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    File,
    Loop,
    /// Not at all.
    None,
}

#[derive(Debug)]
struct Mounted {
    way: Way,
    chains: BTreeSet<Sha256>,
}

/// The mounts of one disk's chains.
#[derive(Debug)]
pub struct KernelTrees {
    /// Where the mount shows the images.
    images: PathBuf,
    /// Where they are mounted: beside the disk's mountpoint.
    folder: PathBuf,
    mounted: Mutex<Mounted>,
    output: Output,
}

/// The folder beside a disk's mountpoint in which its chains are mounted.
pub fn folder_beside(mountpoint: &Path) -> PathBuf {
    let mut folder = mountpoint.as_os_str().to_owned();
    folder.push(".erofs");
    PathBuf::from(folder)
}

impl KernelTrees {
    /// Of the disk that will be mounted there. What a process that was killed left mounted is taken away: it leads nowhere.
    pub fn beside(mountpoint: &Path, output: Output) -> Self {
        let trees = Self {
            images: mountpoint.join("erofs/chains/sha256"),
            folder: folder_beside(mountpoint),
            mounted: Mutex::new(Mounted {
                way: Way::File,
                chains: BTreeSet::new(),
            }),
            output,
        };
        for entry in std::fs::read_dir(&trees.folder).into_iter().flatten().flatten() {
            take_away(&entry.path());
        }
        trees
    }

    /// Where that chain is mounted, which it is from now on; `None` where the kernel cannot, or the chain has no such image.
    pub fn directory(&self, chain: &Sha256) -> Option<PathBuf> {
        let mut mounted = self.mounted.lock();
        let (at, image) = (
            self.folder.join(chain.to_hex()),
            self.images.join(format!("{}.erofs", chain.to_hex())),
        );
        if mounted.chains.contains(chain) {
            return Some(at);
        }
        // What an image cannot have is no matter of the kernel's.
        if mounted.way == Way::None || std::fs::metadata(&image).is_err() {
            return None;
        }
        if let Err(error) = std::fs::create_dir_all(&at) {
            self.output.warn(&format!(
                "{}: {error}: containers run from the FUSE tree",
                at.display()
            ));
            mounted.way = Way::None;
            return None;
        }
        while mounted.way != Way::None {
            let done = match mounted.way {
                Way::File => mount_file(&image, &at),
                Way::Loop => mount_by_loop(&image, &at),
                Way::None => break,
            };
            let Err(why) = done else {
                mounted.chains.insert(*chain);
                return Some(at);
            };
            let next = if mounted.way == Way::File {
                Way::Loop
            } else {
                Way::None
            };
            self.output.note(format!(
                "{}: {why}; {}",
                image.display(),
                if next == Way::Loop {
                    "tried by a loop device"
                } else {
                    "containers run from the FUSE tree"
                }
            ));
            mounted.way = next;
        }
        None
    }

    /// Takes all mounts away. What a container still has below it stays for it.
    pub fn end(&self) {
        let mut mounted = self.mounted.lock();
        mounted.way = Way::None;
        for chain in std::mem::take(&mut mounted.chains) {
            take_away(&self.folder.join(chain.to_hex()));
        }
        remove(&self.folder);
    }
}

fn mount_file(image: &Path, at: &Path) -> Result<(), String> {
    // The image's own pages are not kept besides those of its files; kernels that do not know that option keep both.
    let direct = mount(
        Some(image),
        at,
        Some("erofs"),
        MsFlags::MS_RDONLY,
        Some("directio"),
    );
    let done = match direct {
        Err(Errno::EINVAL | Errno::ENOTBLK) => {
            mount(Some(image), at, Some("erofs"), MsFlags::MS_RDONLY, None::<&str>)
        }
        done => done,
    };
    done.map_err(|e| format!("not mounted as a file: {}", e.desc()))
}

fn mount_by_loop(image: &Path, at: &Path) -> Result<(), String> {
    let said = Command::new("mount")
        .args(["-t", "erofs", "-o", "ro,loop"])
        .args([image, at])
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("mount(8): {e}"))?;
    if said.status.success() {
        Ok(())
    } else {
        let why = String::from_utf8_lossy(&said.stderr);
        Err(format!("not mounted by a loop device: {}", why.trim()))
    }
}

fn take_away(at: &Path) {
    // Busy where somebody stands in it: then it goes when they have left.
    let _none_there = umount2(at, MntFlags::empty()).or_else(|_| umount2(at, MntFlags::MNT_DETACH));
    remove(at);
}

#[expect(
    clippy::disallowed_methods,
    reason = "an empty folder of the node's own, where something was mounted"
)]
fn remove(folder: &Path) {
    let _stays_where_not_empty = std::fs::remove_dir(folder);
}
