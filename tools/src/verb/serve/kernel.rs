//! Chains as the kernel's own file systems: the EROFS images that the mount shows, each mounted once for all containers that start from it, and
//! for as long as there is one.
//!
//! Mounted as a file where the kernel can (Linux 6.12), by a loop device otherwise. Where neither goes, containers run from the FUSE tree.

use crate::output::Output;
use holdall::ids::Sha256;
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

#[derive(Debug)]
struct Mounted {
    /// Whether this kernel does not mount images that are files.
    by_loop: bool,
    /// Whether it was said that something is not mounted.
    said: bool,
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
    /// Chains that nothing stands on any more and that may still be mounted.
    released: Mutex<BTreeSet<Sha256>>,
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
                by_loop: false,
                said: false,
                chains: BTreeSet::new(),
            }),
            released: Mutex::default(),
            output,
        };
        for entry in std::fs::read_dir(&trees.folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            // Whatever else somebody has there is theirs.
            if name.to_str().is_some_and(|name| Sha256::from_hex(name).is_ok()) {
                take_away(&entry.path());
            }
        }
        trees
    }

    /// Where that chain is mounted, which it is until it is released; `None` where the kernel cannot, or the chain has no such image.
    pub fn directory(&self, chain: &Sha256) -> Option<PathBuf> {
        let mut mounted = self.mounted.lock();
        // Before it is looked at, and under the same lock: from here on it is taken away by nobody.
        self.released.lock().remove(chain);
        let found = self.mounted_at(chain, &mut mounted);
        drop(mounted);
        self.take_released();
        found
    }

    fn mounted_at(&self, chain: &Sha256, mounted: &mut Mounted) -> Option<PathBuf> {
        let (at, image) = (
            self.folder.join(chain.to_hex()),
            self.images.join(format!("{}.erofs", chain.to_hex())),
        );
        if mounted.chains.contains(chain) {
            return Some(at);
        }
        // What an image cannot have is no matter of the kernel's.
        if std::fs::metadata(&image).is_err() {
            return None;
        }
        // What goes wrong once may go the next time: a disk that was pulled comes back.
        match mount_one(&image, &at, &mut mounted.by_loop) {
            Ok(()) => {
                mounted.chains.insert(*chain);
                Some(at)
            }
            Err(why) => {
                remove(&at);
                if !std::mem::replace(&mut mounted.said, true) {
                    self.output.warn(&format!(
                        "{}: {why}; containers run from the FUSE tree where that is so",
                        image.display()
                    ));
                }
                None
            }
        }
    }

    /// Nothing stands on that chain any more: it is unmounted, with the others of which that is so and that were busy. Does not wait for a chain
    /// that is being mounted, which the disk may hold up: whoever mounts that one takes this one away.
    pub fn release(&self, chain: &Sha256) {
        self.released.lock().insert(*chain);
        self.take_released();
    }

    fn take_released(&self) {
        let Some(mut mounted) = self.mounted.try_lock() else {
            return;
        };
        self.released.lock().retain(|chain| {
            let at = self.folder.join(chain.to_hex());
            if mounted.chains.contains(chain) {
                match umount2(&at, MntFlags::empty()) {
                    // Somebody stands in it. What a container has of it is its own, and keeps nobody busy.
                    Err(Errno::EBUSY) => return true,
                    _ => mounted.chains.remove(chain),
                };
                remove(&at);
            }
            false
        });
    }

    /// Takes all mounts away. What a container still has below it stays for it.
    pub fn end(&self) {
        for chain in std::mem::take(&mut self.mounted.lock().chains) {
            take_away(&self.folder.join(chain.to_hex()));
        }
        remove(&self.folder);
    }
}

impl Drop for KernelTrees {
    fn drop(&mut self) {
        self.end();
    }
}

fn mount_one(image: &Path, at: &Path, by_loop: &mut bool) -> Result<(), String> {
    std::fs::create_dir_all(at).map_err(|e| format!("{}: {e}", at.display()))?;
    if !*by_loop {
        match mount_file(image, at) {
            Ok(()) => return Ok(()),
            // Kernels before 6.12 want a device; others say that the file beneath cannot be used so.
            Err(Errno::ENOTBLK | Errno::EINVAL | Errno::EOPNOTSUPP) => {}
            Err(e) => return Err(format!("not mounted as a file: {}", e.desc())),
        }
    }
    mount_by_loop(image, at)?;
    *by_loop = true;
    Ok(())
}

fn mount_file(image: &Path, at: &Path) -> Result<(), Errno> {
    let with = |options: Option<&str>| mount(Some(image), at, Some("erofs"), MsFlags::MS_RDONLY, options);
    // The image's own pages are not kept besides those of its files; kernels that do not know that option keep both.
    match with(Some("directio")) {
        Err(Errno::EINVAL | Errno::ENOTBLK) => with(None),
        done => done,
    }
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
