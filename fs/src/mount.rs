//! A disk mounted: options, the session's threads, read-ahead, and the way out again.
//!
//! Owns the life of a mount. Knows nothing of what is shown; requests go to `filesystem`.
//!
//! If the process is killed, the kernel is left with a mount that answers ENOTCONN; nothing else
//! remains, and the next mount there takes it away, as `fusermount3 -u` does.

use crate::FsError;
use crate::ending::Ending;
use crate::filesystem::Projection;
use crate::mountpoint::{self, MountEntry};
use crate::recorder::Recorder;
use crate::view::View;
use fuser::{BackgroundSession, Config, MountOption, Session, SessionACL};
use holdall::monitor::{Monitor, Silent};
use holdall::reader::Disk;
use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use nix::unistd::{getegid, geteuid};
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

const FUSE_DEVICE: &str = "/dev/fuse";
const FUSE_CONF: &str = "/etc/fuse.conf";
/// How long an orderly unmount waits for the threads, and an unused mount for its first answer between
/// two looks at them. The wait is for tidiness: the mount is gone from sight before it begins.
const FAREWELL: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How to mount.
#[derive(Clone)]
pub struct MountOptions {
    /// Threads that answer; `None` is one a core, at least 2 and at most 8.
    pub threads: Option<usize>,
    /// Whether other users may look inside; `None` is wherever they may be let in: always as root, else
    /// where /etc/fuse.conf has `user_allow_other`.
    pub allow_other: Option<bool>,
    /// How far the kernel reads ahead, in KiB. Needs root; without, it stays at the kernel's 128.
    pub read_ahead_kib: u32,
    /// Is told each error that a reader of the mount met, with its place.
    pub monitor: Arc<dyn Monitor>,
    /// Is told what is read of chains' files.
    pub recorder: Option<Arc<Recorder>>,
}

impl Default for MountOptions {
    fn default() -> Self {
        Self {
            threads: None,
            allow_other: None,
            read_ahead_kib: 8192,
            monitor: Arc::new(Silent),
            recorder: None,
        }
    }
}

impl std::fmt::Debug for MountOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            threads,
            allow_other,
            read_ahead_kib,
            monitor: _,
            recorder,
        } = self;
        f.debug_struct("MountOptions")
            .field("threads", threads)
            .field("allow_other", allow_other)
            .field("read_ahead_kib", read_ahead_kib)
            .field("recorder", recorder)
            .finish_non_exhaustive()
    }
}

/// How to unmount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detach {
    /// Refuse while anything of the mount is in use.
    WhenIdle,
    /// Take it out of sight now; what is in use goes on being answered until it is let go.
    Lazily,
}

/// A mounted disk. Dropping it unmounts: in order where it is idle, else lazily.
#[derive(Debug)]
pub struct Mounted {
    mountpoint: PathBuf,
    /// `major:minor` of the mount.
    device: String,
    ending: Arc<Ending>,
    session: Option<BackgroundSession>,
}

/// Mounts `disk` on the empty directory `mountpoint`. Returns once the mount has answered; its threads
/// go on in the background.
pub fn mount(disk: Disk, mountpoint: &Path, options: &MountOptions) -> Result<Mounted, FsError> {
    let mountpoint = mountpoint::prepare(mountpoint)?;
    // Each thread opens it for a handle of its own, so fusermount3 opening it for us is not enough.
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(FUSE_DEVICE)
        .map_err(|source| FsError::NoFuse { source })?;
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let mut config = Config::default();
    config.n_threads = Some(options.threads.unwrap_or(cores.clamp(2, 8)).max(1));
    config.clone_fd = true;
    config.acl = if options.allow_other.unwrap_or_else(others_allowed) {
        SessionACL::All
    } else {
        SessionACL::Owner
    };
    config.mount_options = vec![
        MountOption::RO,
        MountOption::NoSuid,
        MountOption::NoDev,
        MountOption::DefaultPermissions,
        MountOption::FSName("holdall".into()),
        // Not `Subtype`: that reaches fusermount3 only, and this the kernel too.
        MountOption::CUSTOM("subtype=holdall".into()),
    ];
    let ending = Arc::new(Ending::default());
    let view = View::new(disk, geteuid().as_raw(), getegid().as_raw()).recorded_by(options.recorder.clone());
    let measuring = view.measuring();
    let projection = Projection::new(view, Arc::clone(&options.monitor), Arc::clone(&ending));
    let refused = |source| FsError::Mount {
        mountpoint: mountpoint.clone(),
        source,
    };
    let session = Session::new(projection, &mountpoint, &config)
        .and_then(Session::spawn)
        .map_err(refused)?;
    let at = mountpoint::mounted_at(&mountpoint).map_err(refused)?;
    let device = at.map(|MountEntry { device, .. }| device).unwrap_or_default();
    let mounted = Mounted {
        mountpoint,
        device,
        ending,
        session: Some(session),
    };
    mounted.await_answer()?;
    // Without it, statfs shows a disk of no size.
    let _best_effort = std::thread::Builder::new()
        .name("holdall-size".into())
        .spawn(measuring);
    raise_read_ahead(&mounted.device, options.read_ahead_kib);
    Ok(mounted)
}

/// Whether other users can be let in at all.
fn others_allowed() -> bool {
    geteuid().is_root()
        || std::fs::read_to_string(FUSE_CONF)
            .is_ok_and(|conf| conf.lines().any(|line| line.trim() == "user_allow_other"))
}

/// INIT can lower the kernel's read-ahead but not raise it past 128 KiB; sysfs can. Without root, or
/// without sysfs, reading is slower and nothing else, so failure is not an error.
fn raise_read_ahead(device: &str, kib: u32) {
    let path = format!("/sys/class/bdi/{device}/read_ahead_kb");
    let _ = OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| write!(file, "{kib}"));
}

/// What `fusermount3 -u` said of a mountpoint: the way out for those who may not umount(2).
pub(crate) fn fusermount(mountpoint: &Path, lazily: bool) -> io::Result<Output> {
    let run = |program: &str| {
        let mut command = Command::new(program);
        command.env("LC_ALL", "C").stdin(Stdio::null()).arg("-u");
        if lazily {
            command.arg("-z");
        }
        command.arg("--").arg(mountpoint).output()
    };
    match run("fusermount3") {
        Err(err) if err.kind() == io::ErrorKind::NotFound => run("fusermount"),
        other => other,
    }
}

impl Mounted {
    /// Where the disk is mounted: the absolute path.
    #[must_use]
    pub fn mountpoint(&self) -> &Path {
        &self.mountpoint
    }

    /// Unmounts. In use: [`FsError::Busy`], and the mount stays, unless it is to be done lazily.
    /// Unmounted already: nothing to do.
    pub fn unmount(&self, how: Detach) -> Result<(), FsError> {
        if self.ending.is_reached() && !self.is_mounted() {
            return Ok(());
        }
        let mountpoint = || self.mountpoint.clone();
        let there = mountpoint::mounted_at(&self.mountpoint).map_err(|source| FsError::Unmount {
            mountpoint: mountpoint(),
            source,
        })?;
        match there {
            None => return Ok(()),
            Some(there) if there.device != self.device => {
                return Err(FsError::Covered {
                    mountpoint: mountpoint(),
                });
            }
            Some(_) => {}
        }
        let flags = if how == Detach::Lazily {
            MntFlags::MNT_DETACH
        } else {
            MntFlags::empty()
        };
        match umount2(&self.mountpoint, flags | MntFlags::UMOUNT_NOFOLLOW) {
            // EINVAL: somebody was faster.
            Ok(()) | Err(Errno::EINVAL) => {}
            Err(Errno::EBUSY) => {
                return Err(FsError::Busy {
                    mountpoint: mountpoint(),
                });
            }
            Err(Errno::EPERM) => self.fusermount(how)?,
            Err(err) => {
                return Err(FsError::Unmount {
                    mountpoint: mountpoint(),
                    source: err.into(),
                });
            }
        }
        if how == Detach::WhenIdle {
            // Bounded, as a copy of the mount in another mount namespace keeps the session alive.
            self.ending.wait_for(FAREWELL);
        }
        Ok(())
    }

    /// Waits until the disk is unmounted by whomever and nothing uses it any more.
    pub fn wait(&self) -> Result<(), FsError> {
        self.ending.wait();
        if self.is_mounted() {
            return Err(FsError::Stopped {
                mountpoint: self.mountpoint.clone(),
            });
        }
        Ok(())
    }

    /// Whether this very mount is the topmost one at its mountpoint.
    fn is_mounted(&self) -> bool {
        mountpoint::mounted_at(&self.mountpoint).is_ok_and(|at| at.is_some_and(|at| at.device == self.device))
    }

    /// Asks for the root's attributes until an answer comes or the threads have ended; the question is
    /// put by a thread of its own, as it cannot be taken back.
    fn await_answer(&self) -> Result<(), FsError> {
        let (tell, told) = channel();
        let path = self.mountpoint.clone();
        let ask = std::thread::Builder::new().name("holdall-mount".into());
        let refused = |source| FsError::Mount {
            mountpoint: self.mountpoint.clone(),
            source,
        };
        ask.spawn(move || tell.send(path.metadata().map(drop)))
            .map_err(refused)?;
        loop {
            match told.recv_timeout(LOOK_EVERY) {
                Ok(answer) => return answer.map_err(refused),
                Err(RecvTimeoutError::Timeout) if !self.ending.is_reached() => {}
                Err(_) => {
                    return Err(FsError::Stopped {
                        mountpoint: self.mountpoint.clone(),
                    });
                }
            }
        }
    }

    /// The way out for those who may not umount(2).
    fn fusermount(&self, how: Detach) -> Result<(), FsError> {
        let failed = |source| FsError::Unmount {
            mountpoint: self.mountpoint.clone(),
            source,
        };
        let output = fusermount(&self.mountpoint, how == Detach::Lazily).map_err(failed)?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        if said.contains("busy") {
            return Err(FsError::Busy {
                mountpoint: self.mountpoint.clone(),
            });
        }
        Err(failed(io::Error::other(said)))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.ending.is_reached() && self.is_mounted() {
            // Nobody answers any more. This closes the last handle, so that whoever waits gets ENOTCONN.
            drop(self.session.take());
        }
        if self.unmount(Detach::WhenIdle).is_err() {
            let _ = self.unmount(Detach::Lazily);
        }
        // fuser's own handle unmounts whatever it finds at that path when it is dropped, which by now
        // may be another's mount, or the one beneath. So it is let go unused: all it holds is a handle
        // of a connection that has ended, or ends with its last user.
        if let Some(session) = self.session.take() {
            std::mem::forget(session);
        }
    }
}
