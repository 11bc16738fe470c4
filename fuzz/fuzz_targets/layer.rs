//! A layer: its compression, its tar, and the order in which the sink is told of it.
#![no_main]

use holdall::name::EntryName;
use holdall::reader::{Metadata, SpecialKind};
use holdall_images::Result;
use holdall_images::layer::{Compression, LayerError, LayerSink, Limits, read};
use libfuzzer_sys::fuzz_target;

/// Checks that it is told in order, and within the promises of [`LayerSink`].
#[derive(Default)]
struct Checking {
    open: Option<u64>,
}

impl Checking {
    fn path(&self, path: &[EntryName]) {
        assert!(self.open.is_none() && path.len() <= 256);
    }

    fn metadata(&self, metadata: &Metadata) {
        assert!(metadata.mode <= 0o7777 && metadata.mtime_nsec < 1_000_000_000);
        let names = metadata.xattrs.iter().map(|(name, _)| name);
        assert!(names.is_sorted_by(|a, b| a < b));
    }
}

impl LayerSink for Checking {
    fn directory(&mut self, path: &[EntryName], metadata: Metadata) -> Result<()> {
        self.path(path);
        self.metadata(&metadata);
        Ok(())
    }

    fn begin_file(&mut self, path: &[EntryName], metadata: Metadata, size: u64) -> Result<()> {
        self.path(path);
        self.metadata(&metadata);
        assert!(!path.is_empty());
        self.open = Some(size);
        Ok(())
    }

    fn data(&mut self, bytes: &[u8]) -> Result<()> {
        self.hole(bytes.len() as u64)
    }

    fn hole(&mut self, len: u64) -> Result<()> {
        let left = self.open.expect("a file is open");
        assert!(len > 0 && len <= left);
        self.open = Some(left - len);
        Ok(())
    }

    fn end_file(&mut self) -> Result<()> {
        assert_eq!(self.open.take(), Some(0));
        Ok(())
    }

    fn symlink(&mut self, path: &[EntryName], metadata: Metadata, target: &[u8]) -> Result<()> {
        self.path(path);
        self.metadata(&metadata);
        assert!((1..=4095).contains(&target.len()) && !target.contains(&0));
        Ok(())
    }

    fn special(
        &mut self,
        path: &[EntryName],
        metadata: Metadata,
        _: SpecialKind,
        major: u32,
        minor: u32,
    ) -> Result<()> {
        self.path(path);
        self.metadata(&metadata);
        assert!(major < 1 << 12 && minor < 1 << 20);
        Ok(())
    }

    fn hard_link(&mut self, path: &[EntryName], target: &[EntryName]) -> Result<()> {
        self.path(path);
        self.path(target);
        assert!(!path.is_empty() && !target.is_empty());
        Ok(())
    }

    fn whiteout(&mut self, path: &[EntryName]) -> Result<()> {
        self.path(path);
        assert!(!path.is_empty());
        Ok(())
    }

    fn opaque(&mut self, directory: &[EntryName]) -> Result<()> {
        self.path(directory);
        Ok(())
    }
}

/// Sums that are right, as no fuzzer guesses them.
fn mended(bytes: &[u8]) -> Vec<u8> {
    let mut tar = bytes.to_vec();
    for block in tar.as_chunks_mut::<512>().0 {
        if block[257..262] == *b"ustar" {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
            block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        }
    }
    tar
}

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits {
        plain_bytes: 16 << 20,
        plain_ratio: 1,
        zstd_window_log: 20,
        ..Limits::default()
    };
    let tar = mended(bytes);
    for (layer, compression) in [(bytes, Compression::Auto), (&tar, Compression::Plain)] {
        match read(
            &mut &layer[..],
            compression,
            &limits,
            &mut Checking::default(),
            &|| false,
        ) {
            Ok(summary) => assert!(summary.skipped.len() <= 101),
            Err(LayerError::NotATree(refusal)) => assert!(!refusal.to_string().is_empty()),
            Err(other) => panic!("{other}"),
        }
    }
});
