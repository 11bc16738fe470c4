//! Reads layers as trees into nothing: what `layer::read` costs, and what it makes of real ones.
//!   cargo run --release -p holdall-images --example layer FILE…
#![expect(clippy::print_stdout, reason = "an example is a command")]

use holdall::name::EntryName;
use holdall::reader::{Metadata, SpecialKind};
use holdall_images::Result;
use holdall_images::layer::{Compression, LayerSink, Limits, read};
use std::time::Instant;

/// Counts, and keeps nothing.
#[derive(Debug, Default)]
struct Counts {
    directories: u64,
    files: u64,
    file_bytes: u64,
    links: u64,
    others: u64,
    marks: u64,
}

impl LayerSink for Counts {
    fn directory(&mut self, _: &[EntryName], _: Metadata) -> Result<()> {
        self.directories += 1;
        Ok(())
    }

    fn begin_file(&mut self, _: &[EntryName], _: Metadata, _: u64) -> Result<()> {
        self.files += 1;
        Ok(())
    }

    fn data(&mut self, bytes: &[u8]) -> Result<()> {
        self.file_bytes += bytes.len() as u64;
        Ok(())
    }

    fn hole(&mut self, _: u64) -> Result<()> {
        Ok(())
    }

    fn end_file(&mut self) -> Result<()> {
        Ok(())
    }

    fn symlink(&mut self, _: &[EntryName], _: Metadata, _: &[u8]) -> Result<()> {
        self.others += 1;
        Ok(())
    }

    fn special(&mut self, _: &[EntryName], _: Metadata, _: SpecialKind, _: u32, _: u32) -> Result<()> {
        self.others += 1;
        Ok(())
    }

    fn hard_link(&mut self, _: &[EntryName], _: &[EntryName]) -> Result<()> {
        self.links += 1;
        Ok(())
    }

    fn whiteout(&mut self, _: &[EntryName]) -> Result<()> {
        self.marks += 1;
        Ok(())
    }

    fn opaque(&mut self, _: &[EntryName]) -> Result<()> {
        self.marks += 1;
        Ok(())
    }
}

fn main() -> std::io::Result<()> {
    for path in std::env::args_os().skip(1) {
        let mut file = std::fs::File::open(&path)?;
        let mut counts = Counts::default();
        let begun = Instant::now();
        let read = read(
            &mut file,
            Compression::Auto,
            &Limits::default(),
            &mut counts,
            &|| false,
        );
        let seconds = begun.elapsed().as_secs_f64();
        match read {
            Ok(summary) => println!(
                "{} {} bytes, {} entries, {seconds:.3} s, {counts:?} {:?}",
                summary.diff_id.to_hex(),
                summary.tar_bytes,
                summary.entries,
                summary.skipped
            ),
            Err(err) => println!("{}: {err}", path.display()),
        }
    }
    Ok(())
}
