//! A sink that remembers what it was told and checks that it was told in order, and tars made by hand.

use super::{Compression, LayerError, LayerSink, Limits, Reason, Summary, read};
use crate::Result;
use holdall::name::EntryName;
use holdall::reader::{Metadata, SpecialKind};

/// A part of a file as it was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Bytes(Vec<u8>),
    Hole(u64),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    Directory(Metadata),
    File(Metadata, u64, Vec<Part>),
    Symlink(Metadata, Vec<u8>),
    Special(Metadata, SpecialKind, u32, u32),
    HardLink(Vec<u8>),
    Whiteout,
    Opaque,
}

impl Told {
    pub(super) fn metadata(&self) -> &Metadata {
        match self {
            Self::Directory(metadata)
            | Self::File(metadata, ..)
            | Self::Symlink(metadata, _)
            | Self::Special(metadata, ..) => metadata,
            other => panic!("{other:?} has no metadata"),
        }
    }
}

/// What was told, in order, by path with slashes.
#[derive(Default)]
pub(super) struct Recording {
    pub(super) told: Vec<(Vec<u8>, Told)>,
    pub(super) open: Option<u64>,
    /// At which call it fails.
    pub(super) fail_at: Option<usize>,
    pub(super) calls: usize,
}

pub(super) fn joined(path: &[EntryName]) -> Vec<u8> {
    assert!(path.len() <= 256);
    let names: Vec<&[u8]> = path.iter().map(EntryName::as_bytes).collect();
    names.join(&b"/"[..])
}

impl Recording {
    fn call(&mut self) -> Result<()> {
        self.calls += 1;
        if self.fail_at == Some(self.calls) {
            return Err(crate::Error::refused("the sink is full"));
        }
        Ok(())
    }

    fn tell(&mut self, path: &[EntryName], told: Told) -> Result<()> {
        self.call()?;
        assert_eq!(self.open, None, "{told:?} within a file");
        self.told.push((joined(path), told));
        Ok(())
    }

    fn part(&mut self, part: Part, len: u64) -> Result<()> {
        self.call()?;
        let left = self.open.expect("no file was begun");
        assert!(len > 0 && len <= left, "{len} of {left} bytes");
        self.open = Some(left - len);
        match self.told.last_mut() {
            Some((_, Told::File(_, _, parts))) => match (parts.last_mut(), part) {
                (Some(Part::Bytes(bytes)), Part::Bytes(more)) => bytes.extend(more),
                (_, part) => parts.push(part),
            },
            other => panic!("{other:?} is no file"),
        }
        Ok(())
    }
}

impl LayerSink for Recording {
    fn directory(&mut self, path: &[EntryName], metadata: Metadata) -> Result<()> {
        self.tell(path, Told::Directory(metadata))
    }

    fn begin_file(&mut self, path: &[EntryName], metadata: Metadata, size: u64) -> Result<()> {
        assert!(!path.is_empty());
        self.tell(path, Told::File(metadata, size, Vec::new()))?;
        self.open = Some(size);
        Ok(())
    }

    fn data(&mut self, bytes: &[u8]) -> Result<()> {
        assert!(bytes.len() <= 1 << 20);
        self.part(Part::Bytes(bytes.to_vec()), bytes.len() as u64)
    }

    fn hole(&mut self, len: u64) -> Result<()> {
        self.part(Part::Hole(len), len)
    }

    fn end_file(&mut self) -> Result<()> {
        self.call()?;
        assert_eq!(self.open.take(), Some(0), "a file that is not whole");
        Ok(())
    }

    fn symlink(&mut self, path: &[EntryName], metadata: Metadata, target: &[u8]) -> Result<()> {
        assert!(!path.is_empty() && (1..=4095).contains(&target.len()) && !target.contains(&0));
        self.tell(path, Told::Symlink(metadata, target.to_vec()))
    }

    fn special(
        &mut self,
        path: &[EntryName],
        metadata: Metadata,
        kind: SpecialKind,
        major: u32,
        minor: u32,
    ) -> Result<()> {
        assert!(!path.is_empty());
        self.tell(path, Told::Special(metadata, kind, major, minor))
    }

    fn hard_link(&mut self, path: &[EntryName], target: &[EntryName]) -> Result<()> {
        assert!(!path.is_empty() && !target.is_empty());
        self.tell(path, Told::HardLink(joined(target)))
    }

    fn whiteout(&mut self, path: &[EntryName]) -> Result<()> {
        assert!(!path.is_empty());
        self.tell(path, Told::Whiteout)
    }

    fn opaque(&mut self, directory: &[EntryName]) -> Result<()> {
        self.tell(directory, Told::Opaque)
    }
}

/// Reads a layer from memory with the default limits.
pub(super) fn record(bytes: &[u8]) -> std::result::Result<(Recording, Summary), LayerError> {
    record_within(bytes, &Limits::default())
}

pub(super) fn record_within(
    mut bytes: &[u8],
    limits: &Limits,
) -> std::result::Result<(Recording, Summary), LayerError> {
    let mut sink = Recording::default();
    let summary = read(&mut bytes, Compression::Auto, limits, &mut sink, &|| false)?;
    assert!(bytes.is_empty(), "the source was not read to its end");
    Ok((sink, summary))
}

/// Why a layer is refused; anything else fails the test.
pub(super) fn refused(bytes: &[u8]) -> Reason {
    refused_within(bytes, &Limits::default())
}

pub(super) fn refused_within(bytes: &[u8], limits: &Limits) -> Reason {
    match record_within(bytes, limits) {
        Err(LayerError::NotATree(refusal)) => {
            assert!(refusal.to_string().len() < 2000);
            refusal.reason
        }
        Err(other) => panic!("failed: {other}"),
        Ok((sink, _)) => panic!("taken: {} entries", sink.told.len()),
    }
}

/// A tar made by hand. Headers are ustar's if nothing else is said.
#[derive(Default, Clone)]
pub(super) struct Tar(pub(super) Vec<u8>);

impl Tar {
    pub(super) fn header(kind: u8, name: &[u8], size: u64) -> [u8; 512] {
        let mut block = [0; 512];
        block[..name.len()].copy_from_slice(name);
        block[100..107].copy_from_slice(b"0000644");
        block[108..115].copy_from_slice(b"0000001");
        block[116..123].copy_from_slice(b"0000002");
        block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
        block[136..147].copy_from_slice(b"00000000003");
        block[156] = kind;
        block[257..265].copy_from_slice(b"ustar\x0000");
        sum(&mut block);
        block
    }

    /// An entry with this payload, its header changed by `change`.
    pub(super) fn changed(
        mut self,
        kind: u8,
        name: &[u8],
        payload: &[u8],
        change: impl FnOnce(&mut [u8; 512]),
    ) -> Self {
        let mut header = Self::header(kind, name, payload.len() as u64);
        change(&mut header);
        sum(&mut header);
        self.0.extend_from_slice(&header);
        self.0.extend_from_slice(payload);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(super) fn add(self, kind: u8, name: &[u8], payload: &[u8]) -> Self {
        self.changed(kind, name, payload, |_| {})
    }

    pub(super) fn link(self, kind: u8, name: &[u8], target: &[u8]) -> Self {
        self.changed(kind, name, b"", |block| {
            block[157..157 + target.len()].copy_from_slice(target);
        })
    }

    pub(super) fn pax(self, records: &[(&str, &[u8])]) -> Self {
        self.add(b'x', b"PaxHeaders/x", &pax(records))
    }

    pub(super) fn end(mut self) -> Vec<u8> {
        self.0.extend([0; 1024]);
        self.0
    }
}

pub(super) fn pax(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let mut len = rest + 1;
        while rest + len.to_string().len() != len {
            len += 1;
        }
        bytes.extend_from_slice(format!("{len} {key}=").as_bytes());
        bytes.extend_from_slice(value);
        bytes.push(b'\n');
    }
    bytes
}

pub(super) fn sum(block: &mut [u8; 512]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
}
