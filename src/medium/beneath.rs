//! What lies beneath a medium's own folder, reached without following a symbolic link: neither a reader nor a writer is led off the medium.

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, open, openat, openat2};
use nix::sys::stat::{Mode, SFlag, fstat, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::fs::File;
use std::io::Result;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

/// A medium's own folder. Its path is the operator's, and may have links in it.
#[derive(Debug)]
pub(super) struct Top(OwnedFd);

impl Top {
    /// The folder at this path. Nothing is kept open for longer than a call takes, so that a device can come and go.
    pub fn open(path: &Path) -> Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Self(open(path, flags, Mode::empty())?))
    }

    /// Opens a file or folder; where it is made, as the umask has it. `ELOOP`: a symbolic link stands on the way, or there.
    pub fn file(&self, path: &Path, flags: OFlag) -> Result<File> {
        Ok(File::from(at_once(self.0.as_fd(), path, flags)?))
    }

    /// Makes a folder, and those above it, where they are not there.
    pub fn make_folders(&self, path: &Path) -> Result<()> {
        let mut made = PathBuf::new();
        for part in path.components() {
            let above = if made.as_os_str().is_empty() {
                self.0.try_clone()?
            } else {
                self.folder(&made)?
            };
            made.push(part);
            match mkdirat(above, part.as_os_str(), Mode::from_bits_truncate(0o777)) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    /// Removes a file.
    pub fn remove(&self, path: &Path) -> Result<()> {
        let name = path.file_name().ok_or(Errno::EISDIR)?;
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => self.folder(parent)?,
            _ => self.0.try_clone()?,
        };
        Ok(unlinkat(folder, name, UnlinkatFlags::NoRemoveDir)?)
    }

    /// The names in a folder that are UTF-8, in no order, each with whether it is a folder itself.
    pub fn names(&self, path: &Path) -> Result<Vec<(String, bool)>> {
        let listed = at_once(self.0.as_fd(), path, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
        let folder = self.folder(path)?;
        let mut names = Vec::new();
        for entry in Dir::from_fd(listed)?.iter() {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else {
                continue;
            };
            let is_folder = match entry.file_type() {
                Some(kind) => kind == Type::Directory,
                // Not every file system says so in its listing.
                None => match fstatat(&folder, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
                    Ok(found) => kind(found.st_mode) == SFlag::S_IFDIR,
                    Err(Errno::ENOENT) => continue,
                    Err(e) => return Err(e.into()),
                },
            };
            names.push((name.to_owned(), is_folder));
        }
        Ok(names)
    }

    fn folder(&self, path: &Path) -> Result<OwnedFd> {
        Ok(at_once(self.0.as_fd(), path, OFlag::O_PATH | OFlag::O_DIRECTORY)?)
    }
}

fn kind(mode: nix::libc::mode_t) -> SFlag {
    SFlag::from_bits_truncate(mode) & SFlag::S_IFMT
}

/// A file's permissions before the umask; none may be given where none is made.
fn mode(flags: OFlag) -> Mode {
    if flags.contains(OFlag::O_CREAT) {
        Mode::from_bits_truncate(0o666)
    } else {
        Mode::empty()
    }
}

/// Opens a path in one call, in which the kernel refuses every link.
fn at_once(top: BorrowedFd<'_>, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
        .mode(mode(flags))
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
    match openat2(top, path, how) {
        // Before Linux 5.6, and in sandboxes that do not know the call.
        Err(Errno::ENOSYS | Errno::EPERM) => by_parts(top, path, flags),
        opened => opened,
    }
}

/// The same, folder by folder.
fn by_parts(top: BorrowedFd<'_>, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
    let mut above: Option<OwnedFd> = None;
    let mut parts = path.components().peekable();
    while let Some(part) = parts.next() {
        let Component::Normal(name) = part else {
            return Err(Errno::EXDEV);
        };
        let from = above.as_ref().map_or(top, |above| above.as_fd());
        let last = parts.peek().is_none();
        let with = if last { flags } else { OFlag::O_PATH };
        let found = openat(
            from,
            name,
            with | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC,
            mode(with),
        )?;
        if last {
            return Ok(found);
        }
        match kind(fstat(&found)?.st_mode) {
            SFlag::S_IFDIR => above = Some(found),
            SFlag::S_IFLNK => return Err(Errno::ELOOP),
            _ => return Err(Errno::ENOTDIR),
        }
    }
    Err(Errno::ENOENT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn no_link_leads_off_the_folder_by_one_call_or_part_by_part() {
        let place = tempfile::tempdir().unwrap();
        let (inside, outside) = (place.path().join("in"), place.path().join("out"));
        std::fs::create_dir_all(inside.join("a/b")).unwrap();
        std::fs::create_dir(&outside).unwrap();
        File::create(inside.join("a/b/file")).unwrap();
        File::create(outside.join("file")).unwrap();
        symlink("../../out", inside.join("a/away")).unwrap();
        symlink("b", inside.join("a/near")).unwrap();
        symlink("b/file", inside.join("a/link")).unwrap();
        let top = Top::open(&inside).unwrap();
        let reading = OFlag::O_RDONLY;
        let making = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
        let folder = OFlag::O_PATH | OFlag::O_DIRECTORY;
        for (path, flags, expected) in [
            ("a/b/file", reading, None),
            ("a/b", folder, None),
            ("a/away/file", reading, Some(Errno::ELOOP)),
            ("a/away/made", making, Some(Errno::ELOOP)),
            ("a/near/file", reading, Some(Errno::ELOOP)),
            ("a/link", reading, Some(Errno::ELOOP)),
            ("a/link", OFlag::O_PATH, None),
            ("a/b/file", making, Some(Errno::EEXIST)),
            ("a/b/file/more", reading, Some(Errno::ENOTDIR)),
            ("a/none/file", reading, Some(Errno::ENOENT)),
            ("../out/file", reading, Some(Errno::EXDEV)),
        ] {
            let path = Path::new(path);
            for opened in [
                at_once(top.0.as_fd(), path, flags),
                by_parts(top.0.as_fd(), path, flags),
            ] {
                assert_eq!(opened.err(), expected, "{}", path.display());
            }
        }
        assert!(top.make_folders(Path::new("a/away/made")).is_err());
        assert!(top.remove(Path::new("a/away/file")).is_err());
        assert!(top.names(Path::new("a/away")).is_err());
        assert_eq!(outside.read_dir().unwrap().count(), 1);
        top.make_folders(Path::new("c/d")).unwrap();
        top.file(Path::new("c/d/made"), making).unwrap();
        top.remove(Path::new("c/d/made")).unwrap();
        let mut names = top.names(Path::new("a")).unwrap();
        names.retain(|(name, _)| !name.starts_with('.'));
        names.sort();
        let expected = [("away", false), ("b", true), ("link", false), ("near", false)];
        assert_eq!(names, expected.map(|(name, folder)| (name.to_owned(), folder)));
    }
}
