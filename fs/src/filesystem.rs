//! The one file that implements `fuser::Filesystem`: it translates between the kernel and the view.
//!
//! Owns what the kernel is told about caching. As a generation never changes, everything is cached for
//! as long as the kernel likes: names (those that are not there too), attributes, link targets, pages
//! and listings. Extended attributes it caches only above an overlay, so they are asked for each time;
//! but by few: whoever executes a file, or asks for them. Decides nothing about the tree.

use crate::FsError;
use crate::ending::Ending;
use crate::view::{Attributes, Extent, Kind, View};
use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    IoctlFlags, KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyDirectoryPlus,
    ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyXattr, Request,
};
use holdall::monitor::Monitor;
use holdall::units::index;
use quick_cache::sync::Cache;
use std::cell::RefCell;
use std::ffi::OsStr;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// How long the kernel may keep names and attributes.
const KEEP: Duration = Duration::from_secs(24 * 3600);
/// What stat(2) gives as the size to read by.
const BLOCK_BYTES: u32 = 128 << 10;
/// What statfs(2) counts in.
const STATFS_BLOCK_BYTES: u32 = 4096;
/// Read-ahead requests that the kernel may have under way at once, over all files.
const MAX_BACKGROUND: u16 = 64;
/// The longest request; the kernel takes no more than this (256 pages) whatever is offered.
const MAX_REQUEST_BYTES: u32 = 1 << 20;
/// Errors told once each; older ones are told again when they come back.
const ERRORS_REMEMBERED: usize = 256;
/// Inode numbers are never used for anything else within one mount.
const GENERATION: Generation = Generation(0);

thread_local! {
    /// Where a reply is put together that no slice covers; at most one request long.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A view as the kernel sees it.
pub(crate) struct Projection {
    view: View,
    monitor: Arc<dyn Monitor>,
    told: Cache<String, ()>,
    /// The kernel does without OPEN (OPENDIR) requests once it is told ENOSYS.
    opens_spared: bool,
    directory_opens_spared: bool,
    ending: Arc<Ending>,
}

impl Projection {
    pub(crate) fn new(view: View, monitor: Arc<dyn Monitor>, ending: Arc<Ending>) -> Self {
        let told = Cache::new(ERRORS_REMEMBERED);
        Self {
            view,
            monitor,
            told,
            opens_spared: false,
            directory_opens_spared: false,
            ending,
        }
    }

    /// Runs one request against the view. A fault in our own code costs that request only: an unwound
    /// thread would never answer again, and with the last of them the mount would hang.
    fn answer<T>(
        &self,
        operation: &'static str,
        ino: INodeNo,
        run: impl FnOnce(&View) -> Result<T, FsError>,
    ) -> Result<T, Errno> {
        let number = ino.0;
        catch_unwind(AssertUnwindSafe(|| run(&self.view)))
            .unwrap_or(Err(FsError::Fault { operation, number }))
            .map_err(|err| {
                self.tell(operation, number, &err);
                Errno::from_i32(err.errno() as i32)
            })
    }

    /// The caller of a system call sees only a number; the place goes to the monitor, once.
    fn tell(&self, operation: &'static str, number: u64, err: &FsError) {
        let text = format!("{operation}, inode {number}: {err}");
        if self.told.get(&text).is_none() {
            self.monitor.warn(&text);
            self.told.insert(text, ());
        }
    }
}

impl Drop for Projection {
    fn drop(&mut self) {
        // The session drops its file system last, however it ends.
        self.ending.reach();
    }
}

fn file_type(kind: Kind) -> FileType {
    match kind {
        Kind::Directory => FileType::Directory,
        Kind::File => FileType::RegularFile,
        Kind::Symlink => FileType::Symlink,
        Kind::CharDevice => FileType::CharDevice,
        Kind::BlockDevice => FileType::BlockDevice,
        Kind::Fifo => FileType::NamedPipe,
        Kind::Socket => FileType::Socket,
    }
}

/// A time that may lie before 1970; one that the host cannot express is 1970.
fn system_time(seconds: i64, nanoseconds: u32) -> SystemTime {
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let epoch = SystemTime::UNIX_EPOCH;
    let time = if seconds < 0 {
        epoch.checked_sub(whole)
    } else {
        epoch.checked_add(whole)
    };
    time.and_then(|time| time.checked_add(Duration::from_nanos(nanoseconds.into())))
        .unwrap_or(epoch)
}

/// A device number as the kernel's `new_decode_dev` takes it apart: 12 bits of major, 20 of minor.
fn device_number(major: u32, minor: u32) -> u32 {
    (minor & 0xff) | ((major & 0xfff) << 8) | ((minor & 0xf_ff00) << 12)
}

fn file_attr(attributes: &Attributes) -> FileAttr {
    let time = system_time(attributes.mtime_sec, attributes.mtime_nsec);
    FileAttr {
        ino: INodeNo(attributes.number),
        size: attributes.size,
        blocks: if attributes.kind == Kind::File {
            attributes.size.div_ceil(512)
        } else {
            0
        },
        atime: time,
        mtime: time,
        ctime: time,
        crtime: time,
        kind: file_type(attributes.kind),
        perm: attributes.mode,
        nlink: attributes.nlink,
        uid: attributes.uid,
        gid: attributes.gid,
        rdev: device_number(attributes.major, attributes.minor),
        blksize: BLOCK_BYTES,
        flags: 0,
    }
}

/// What stands for "no such name" in an entry that the kernel keeps: inode 0, whatever the rest.
fn absent() -> FileAttr {
    let time = SystemTime::UNIX_EPOCH;
    FileAttr {
        ino: INodeNo(0),
        size: 0,
        blocks: 0,
        atime: time,
        mtime: time,
        ctime: time,
        crtime: time,
        kind: FileType::RegularFile,
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 0,
        flags: 0,
    }
}

/// What stands for "none of that name". Of labels and access lists, which every `ls -l` asks for twice
/// an entry, it is "not supported": nothing is decided by them on this mount, so that a caller who then
/// asks no more misses nothing. For one that is there, the value is given.
fn no_xattr(name: &OsStr) -> Errno {
    let never = [
        "security.selinux",
        "system.posix_acl_access",
        "system.posix_acl_default",
    ];
    Errno::from_i32(if never.iter().any(|never| name == *never) {
        nix::errno::Errno::EOPNOTSUPP as i32
    } else {
        nix::errno::Errno::ENODATA as i32
    })
}

/// Room of 0 bytes asks how much is needed.
fn reply_xattr(reply: ReplyXattr, bytes: &[u8], room: u32) {
    match u32::try_from(bytes.len()) {
        Ok(needed) if room == 0 => reply.size(needed),
        Ok(needed) if needed <= room => reply.data(bytes),
        _ => reply.error(Errno::from_i32(nix::errno::Errno::ERANGE as i32)),
    }
}

impl Filesystem for Projection {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        let offered = config.capabilities();
        for wanted in [
            InitFlags::FUSE_ASYNC_READ,
            InitFlags::FUSE_MAX_PAGES,
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_CACHE_SYMLINKS,
            // Not by the kernel's guess: attributes cost a listing nothing here, and a directory's later
            // pages would come without.
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_NO_OPEN_SUPPORT,
            InitFlags::FUSE_NO_OPENDIR_SUPPORT,
        ] {
            // An older kernel without one of them is slower, and nothing else.
            let _ = config.add_capabilities(wanted);
        }
        self.opens_spared = offered.contains(InitFlags::FUSE_NO_OPEN_SUPPORT);
        self.directory_opens_spared = offered.contains(InitFlags::FUSE_NO_OPENDIR_SUPPORT);
        // Refused only where out of bounds, which these are not. The read-ahead that the kernel offers
        // is the most it takes at this point, and is what fuser answers; `mount` raises it later.
        let _ = config.set_max_background(MAX_BACKGROUND);
        let _ = config.set_congestion_threshold(MAX_BACKGROUND / 4 * 3);
        // This bounds reads too: the number of pages in a request follows from it.
        let _ = config.set_max_write(MAX_REQUEST_BYTES);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.answer("lookup", parent, |view| view.lookup(parent.0, name.as_bytes())) {
            Ok(found) => {
                let attr = found.as_ref().map_or_else(absent, file_attr);
                reply.entry(&KEEP, &attr, GENERATION);
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.answer("getattr", ino, |view| view.getattr(ino.0)) {
            Ok(attributes) => reply.attr(&KEEP, &file_attr(&attributes)),
            Err(errno) => reply.error(errno),
        }
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        match self.answer("readlink", ino, |view| view.readlink(ino.0)) {
            Ok(target) => reply.data(&target),
            Err(errno) => reply.error(errno),
        }
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        if self.opens_spared {
            reply.error(Errno::ENOSYS);
        } else {
            reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE);
        }
    }

    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        if self.directory_opens_spared {
            reply.error(Errno::ENOSYS);
        } else {
            reply.opened(
                FileHandle(0),
                FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_CACHE_DIR,
            );
        }
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        BUFFER.with_borrow_mut(|buffer| {
            match self.answer("read", ino, |view| view.read(ino.0, offset, index(size), buffer)) {
                Ok(piece) => reply.data(&piece),
                Err(errno) => reply.error(errno),
            }
        });
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let listed = self.answer("readdir", ino, |view| {
            view.readdir(ino.0, offset, &mut |entry| {
                let name = OsStr::from_bytes(entry.name);
                let full = reply.add(INodeNo(entry.number), entry.next, file_type(entry.kind), name);
                Ok(if full {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                })
            })
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }

    fn readdirplus(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let listed = self.answer("readdirplus", ino, |view| {
            view.readdir(ino.0, offset, &mut |entry| {
                let (attributes, kept) = view.attributes(entry)?;
                let (attr, keep) = (file_attr(&attributes), if kept { KEEP } else { Duration::ZERO });
                let name = OsStr::from_bytes(entry.name);
                let full = reply.add(INodeNo(entry.number), entry.next, name, &keep, &attr, GENERATION);
                Ok(if full {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                })
            })
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }

    fn statfs(&self, _: &Request, ino: INodeNo, reply: ReplyStatfs) {
        match self.answer("statfs", ino, View::extent) {
            // Full, as every file system that is only read.
            Ok(Extent { bytes, inodes }) => {
                let blocks = bytes.div_ceil(u64::from(STATFS_BLOCK_BYTES));
                reply.statfs(
                    blocks,
                    0,
                    0,
                    inodes,
                    0,
                    STATFS_BLOCK_BYTES,
                    255,
                    STATFS_BLOCK_BYTES,
                );
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn getxattr(&self, _: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        match self.answer("getxattr", ino, |view| view.xattr(ino.0, name.as_bytes())) {
            Ok(Some(value)) => reply_xattr(reply, &value, size),
            Ok(None) => reply.error(no_xattr(name)),
            Err(errno) => reply.error(errno),
        }
    }

    fn listxattr(&self, _: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        match self.answer("listxattr", ino, |view| view.xattrs(ino.0)) {
            Ok(names) => reply_xattr(reply, &names, size),
            Err(errno) => reply.error(errno),
        }
    }

    // Requests that are answered once with ENOSYS and never sent again.

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn lseek(&self, _: &Request, _: INodeNo, _: FileHandle, _: i64, _: i32, reply: ReplyLseek) {
        // The kernel then seeks by size alone; no holes are shown.
        reply.error(Errno::ENOSYS);
    }

    fn ioctl(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: IoctlFlags,
        _: u32,
        _: &[u8],
        _: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(Errno::ENOTTY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_keep_their_nanoseconds() {
        let time = system_time(-2, 800_000_000);
        let before = SystemTime::UNIX_EPOCH.duration_since(time).unwrap();
        assert_eq!(before, Duration::new(1, 200_000_000));
        for hostile in [(i64::MAX, u32::MAX), (i64::MIN, u32::MAX), (i64::MIN, 0)] {
            let _ = system_time(hostile.0, hostile.1);
        }
    }

    #[test]
    fn device_numbers_are_packed_as_the_kernel_unpacks_them() {
        for (major, minor) in [(1, 3), (8, 1), (259, 65_537), (0xfff, 0xf_ffff)] {
            let packed = device_number(major, minor);
            assert_eq!((packed & 0xf_ff00) >> 8, major);
            assert_eq!((packed & 0xff) | ((packed >> 12) & 0xf_ff00), minor);
        }
    }
}
