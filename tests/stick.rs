//! A stick that is smaller than it says is found out before anything is signed.
//!
//! The stick is a loop device over a file of a small FUSE file system, which has far less memory than the file is long: what is written beyond it
//! lands on what lies before it, or nowhere, as on such sticks; no write ever fails.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stderr,
    missing_docs,
    reason = "a test fails by panicking, and makes files of its own"
)]

mod stage;

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite,
    Request, WriteFlags,
};
use stage::{Stage, noise, sh};
use std::ffi::OsStr;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

/// What the stick says that it holds.
const CLAIMED: u64 = 160 << 20;

/// What becomes of a write beyond what there is.
#[derive(Clone, Copy, Debug)]
enum Beyond {
    /// It lands at the beginning again.
    Wraps,
    /// It is lost; what is read there is zero.
    Drops,
    /// There is nothing beyond: an honest stick.
    Nothing,
}

struct Stick {
    memory: Mutex<Vec<u8>>,
    beyond: Beyond,
}

fn attr(ino: u64) -> FileAttr {
    let device = ino == 2;
    FileAttr {
        ino: INodeNo(ino),
        size: if device { CLAIMED } else { 0 },
        blocks: 0,
        atime: SystemTime::UNIX_EPOCH,
        mtime: SystemTime::UNIX_EPOCH,
        ctime: SystemTime::UNIX_EPOCH,
        crtime: SystemTime::UNIX_EPOCH,
        kind: if device {
            FileType::RegularFile
        } else {
            FileType::Directory
        },
        perm: 0o700,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

const KEEP: Duration = Duration::from_secs(3600);

impl Stick {
    /// Where a byte really lies; `None` where it is lost.
    fn place(&self, offset: u64, len: usize) -> Option<usize> {
        let at = usize::try_from(offset).unwrap();
        match self.beyond {
            Beyond::Wraps => Some(at % len),
            Beyond::Drops | Beyond::Nothing => (at < len).then_some(at),
        }
    }
}

impl Filesystem for Stick {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if name == "device" {
            reply.entry(&KEEP, &attr(2), Generation(0));
        } else {
            reply.error(Errno::ENOENT);
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&KEEP, &attr(ino.0));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        // Past the cache: what is read is what the stick has.
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let memory = self.memory.lock().unwrap();
        let end = (offset + u64::from(size)).min(CLAIMED);
        let bytes: Vec<u8> = (offset..end)
            .map(|at| self.place(at, memory.len()).map_or(0, |at| memory[at]))
            .collect();
        reply.data(&bytes);
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut memory = self.memory.lock().unwrap();
        let len = memory.len();
        for (at, byte) in (offset..).zip(data) {
            if let Some(at) = self.place(at, len) {
                memory[at] = *byte;
            }
        }
        reply.written(u32::try_from(data.len()).unwrap());
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.ok();
    }
}

/// A mounted stick, taken apart in order at its end.
struct Plugged {
    stage: Stage,
    device: String,
    _session: BackgroundSession,
}

impl Plugged {
    fn new(beyond: Beyond, memory: usize) -> Self {
        let stage = Stage::new();
        let (fuse, folder) = (stage.path("fuse"), stage.path("stick"));
        std::fs::create_dir(&fuse).unwrap();
        std::fs::create_dir(&folder).unwrap();
        let stick = Stick {
            memory: Mutex::new(vec![0; memory]),
            beyond,
        };
        let session = fuser::spawn_mount(stick, &fuse, &Config::default()).unwrap();
        let device = sh(&format!("losetup --find --show {}/device", fuse.display()))
            .trim()
            .to_owned();
        let plugged = Self {
            stage,
            device,
            _session: session,
        };
        sh(&format!(
            "mkfs.ext4 -q -O ^has_journal -E lazy_itable_init=0,nodiscard {0} && mount {0} {1}",
            plugged.device,
            folder.display()
        ));
        plugged
    }
}

impl Drop for Plugged {
    fn drop(&mut self) {
        let _as_far_as_it_goes = Command::new("umount").arg(self.stage.path("stick")).status();
        let _as_far_as_it_goes = Command::new("losetup").args(["-d", &self.device]).status();
    }
}

#[test]
fn a_stick_that_is_smaller_than_it_says_is_not_signed() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: a loop device needs root");
        return;
    }
    for (beyond, memory) in [
        (Beyond::Nothing, usize::try_from(CLAIMED).unwrap()),
        (Beyond::Drops, 40 << 20),
        (Beyond::Wraps, 40 << 20),
    ] {
        let plugged = Plugged::new(beyond, memory);
        let stage = &plugged.stage;
        let disk = stage.path("stick/disk");
        let disk = disk.to_str().unwrap();
        let key = stage.path("key");
        sh(&format!(
            "ssh-keygen -q -t ed25519 -N '' -C alice -f {}",
            key.display()
        ));
        stage.run(["init", disk]).code(0);
        let file = stage.path("noise");
        std::fs::write(&file, noise(90 << 20, 1)).unwrap();
        // Every write is taken, and every sync says that it is done: nothing is noticed yet.
        stage
            .run(["add", disk, &format!("file:{}", file.display())])
            .code(0);
        let sealed = stage.run(["seal", disk, "--key", key.to_str().unwrap()]);
        let signatures = sh(&format!("find {disk} -name '*.sig' | wc -l"));
        match beyond {
            Beyond::Nothing => {
                sealed.code(0).says("read back, signed by alice");
                assert_eq!(signatures.trim(), "1");
            }
            Beyond::Drops | Beyond::Wraps => {
                assert_eq!(sealed.code, 3, "{beyond:?}: {sealed:?}");
                sealed.says("the device does not have what was written to it");
                assert_eq!(signatures.trim(), "0", "{beyond:?}");
            }
        }
    }
}
