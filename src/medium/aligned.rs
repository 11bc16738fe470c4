//! Reads past the kernel's cache: offset, length and memory at multiples of a block.

use super::buffers::Buffers;
use crate::units::{index64, len64};
use bytes::Bytes;
use std::fs::File;
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

/// Of this every device's block size is a divisor.
const BLOCK: usize = 4096;

/// Exactly `len` bytes from `offset` of a file opened with `O_DIRECT`, in one private buffer.
pub(super) fn read(file: &File, buffers: &Arc<Buffers>, offset: u64, len: usize) -> Result<Bytes> {
    let start = offset - offset % len64(BLOCK);
    let skip = index64(offset - start);
    let span = (skip + len).next_multiple_of(BLOCK);
    let mut buffer = buffers.take(span + BLOCK);
    let first = buffer.as_ptr().align_offset(BLOCK);
    let mut done = 0;
    while done < skip + len {
        let into = buffer.get_mut(first + done..first + span).unwrap_or_default();
        match file.read_at(into, start + len64(done)) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => done += n,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
        // The file ends within a block: what is missing cannot be asked for at an odd offset.
        if done < skip + len && done % BLOCK != 0 {
            return Err(Error::from(ErrorKind::UnexpectedEof));
        }
    }
    Ok(buffers.lend(buffer, first + skip, first + skip + len))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::OpenOptionsExt as _;

    #[test]
    fn what_is_read_past_the_cache_is_what_is_there() {
        let mut file = tempfile::NamedTempFile::new_in(".").unwrap();
        let bytes: Vec<u8> = (0..100_001_u32).map(|n| (n % 251) as u8).collect();
        std::io::Write::write_all(&mut file, &bytes).unwrap();
        file.as_file().sync_all().unwrap();
        let buffers = Arc::new(Buffers::default());
        let flags = nix::fcntl::OFlag::O_DIRECT.bits();
        let Ok(direct) = std::fs::OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open(file.path())
        else {
            return;
        };
        for (offset, len) in [
            (0, 1),
            (0, 100_001),
            (4095, 2),
            (4096, 4096),
            (99_999, 2),
            (12_345, 60_000),
        ] {
            let found = read(&direct, &buffers, offset as u64, len).unwrap();
            assert!(found == bytes[offset..offset + len], "{len} at {offset}");
        }
        assert_eq!(
            read(&direct, &buffers, 100_000, 2).unwrap_err().kind(),
            ErrorKind::UnexpectedEof
        );
        assert_eq!(
            read(&direct, &buffers, 200_000, 1).unwrap_err().kind(),
            ErrorKind::UnexpectedEof
        );
    }
}
