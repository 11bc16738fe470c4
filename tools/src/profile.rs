//! Profiles: what containers of images read first, as a file that people carry from a node to where disks are written.

use crate::exit::ToolError;
use crate::output::{Output, bytes};
use holdall::hot::Span;
use holdall::ids::Sha256;
use holdall::ingest::{Ingest, Runnable};
use holdall::name::ImageName;
use holdall::reader::Disk;
use holdall_fs::Recorded;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;

/// Longest profile that is read, in bytes.
const BYTES_MAX: u64 = 64 << 20;
/// The version of a profile's form.
const VERSION: u32 = 1;

/// A profile.
#[derive(Debug, Serialize, Deserialize)]
pub struct Profile {
    #[serde(rename = "holdall-profile")]
    version: u32,
    /// One for each chain of layers, and platform, of which something was read.
    images: Vec<OfImage>,
}

/// What containers of one image read first.
#[derive(Debug, Serialize, Deserialize)]
struct OfImage {
    /// Its full names.
    names: Vec<String>,
    /// In one word, as `linux-amd64`.
    platform: String,
    /// The chainID of its layers.
    chain: String,
    /// In the order in which it was read.
    reads: Vec<ReadOf>,
}

/// Bytes of a file.
#[derive(Debug, Serialize, Deserialize)]
struct ReadOf {
    /// Its path from the root of the image's file system, without a leading slash.
    path: String,
    from: u64,
    to: u64,
}

/// What became of one chain's hot list.
#[derive(Debug, Serialize)]
pub struct Listed {
    /// The images that start from it.
    pub images: Vec<String>,
    /// The chainID.
    pub chain: String,
    /// The chainID of what it follows in the profile: its own, or that of another version of the image.
    pub follows: String,
    /// Bytes of plaintext; none where there is too little for a list.
    pub bytes: Option<u64>,
    /// Spans of files that the image does not have.
    pub lost: usize,
    /// Whether the disk had it like that.
    pub same: bool,
}

impl Profile {
    /// Of what was recorded on a node; also the number of reads that it cannot say, as their file's path is not UTF-8.
    pub fn of(recorded: &[Recorded], disk: &Disk) -> Result<(Self, usize), ToolError> {
        let mut names: BTreeMap<(Sha256, String), Vec<String>> = BTreeMap::new();
        for image in disk.images(None, None) {
            let image = image.map_err(ToolError::Disk)?;
            for rootfs in disk
                .root_filesystems(&image.target.sha256)
                .map_err(ToolError::Disk)?
            {
                let of = names.entry((rootfs.chain, rootfs.platform)).or_default();
                of.push(image.name.to_string());
            }
        }
        let (mut images, mut unsaid) = (Vec::new(), 0);
        for Recorded { chain, spans } in recorded {
            let said = |span: &Span| {
                Some(ReadOf {
                    path: String::from_utf8(span.path.clone()).ok()?,
                    from: span.from,
                    to: span.to,
                })
            };
            let of_chain = names.iter().filter(|((of, _), _)| of == chain);
            for ((_, platform), names) in of_chain {
                let reads: Vec<ReadOf> = spans.iter().filter_map(said).collect();
                unsaid += spans.len() - reads.len();
                images.push(OfImage {
                    names: names.clone(),
                    platform: platform.clone(),
                    chain: chain.to_digest(),
                    reads,
                });
            }
        }
        let profile = Self {
            version: VERSION,
            images,
        };
        Ok((profile, unsaid))
    }

    /// Writes it under that name, in place of what had it, once it is whole.
    pub fn write(&self, path: &Path) -> Result<(), ToolError> {
        let failed = |e| ToolError::io(path.display(), e);
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
        let bytes = serde_json::to_vec(self).map_err(|e| failed(e.into()))?;
        file.write_all(&bytes).map_err(failed)?;
        file.persist(path).map_err(|e| failed(e.error))?;
        Ok(())
    }

    fn read(path: &Path) -> Result<Self, ToolError> {
        let failed = |e| ToolError::io(path.display(), e);
        let refused = |why: String| ToolError::Refused(format!("{}: not a profile: {why}", path.display()));
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(failed)?;
        file.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > BYTES_MAX {
            return Err(refused("longer than 64 MiB".to_owned()));
        }
        let profile: Self = serde_json::from_slice(&bytes).map_err(|e| refused(e.to_string()))?;
        if profile.version != VERSION {
            return Err(refused(format!(
                "of version {}, and this reads {VERSION}",
                profile.version
            )));
        }
        Ok(profile)
    }
}

impl OfImage {
    /// Whether it is of another version of that image: the same repository, on the same platform.
    fn is_like(&self, image: &Runnable) -> bool {
        let same =
            |name: &String| ImageName::parse(name).is_ok_and(|name| name.repository == image.name.repository);
        self.platform == image.platform && self.names.iter().any(same)
    }

    fn spans(&self) -> Vec<Span> {
        let span = |read: &ReadOf| Span {
            path: read.path.trim_start_matches('/').as_bytes().to_vec(),
            from: read.from,
            to: read.to,
        };
        self.reads.iter().map(span).collect()
    }
}

/// Several profiles; of what they have of one image, the last says.
#[derive(Debug)]
pub struct Profiles(Vec<Profile>);

impl Profiles {
    /// Reads them all.
    pub fn read(paths: &[std::path::PathBuf]) -> Result<Self, ToolError> {
        paths
            .iter()
            .map(|path| Profile::read(path))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// What is known of the image: by its chain, else by another version of it.
    fn of(&self, image: &Runnable) -> Option<&OfImage> {
        let all = || self.0.iter().rev().flat_map(|profile| &profile.images);
        let chain = image.chain.to_digest();
        all()
            .find(|of| of.chain == chain)
            .or_else(|| all().find(|of| of.is_like(image)))
    }

    /// Lists what is known of each image that the medium has, or will with this run; or only finds out, and writes nothing.
    pub fn apply(&self, ingest: &Ingest, write: bool) -> Result<Vec<Listed>, ToolError> {
        let mut by_chain: BTreeMap<Sha256, (Vec<String>, &OfImage)> = BTreeMap::new();
        for image in ingest.runnable()? {
            let Some(known) = self.of(&image) else { continue };
            let (names, follows) = by_chain.entry(image.chain).or_insert_with(|| (Vec::new(), known));
            names.push(image.name.to_string());
            // What was recorded of this very chain goes before what is known of a version.
            if known.chain == image.chain.to_digest() {
                *follows = known;
            }
        }
        let mut all = Vec::new();
        for (chain, (images, known)) in by_chain {
            let spans = known.spans();
            let list = if write {
                ingest.put_hot(&chain, &spans)?
            } else {
                ingest.measure_hot(&chain, &spans)?
            };
            all.push(Listed {
                images,
                chain: chain.to_digest(),
                follows: known.chain.clone(),
                bytes: list.map(|list| list.bytes),
                lost: list.map_or(0, |list| list.lost),
                same: list.is_some_and(|list| list.same),
            });
        }
        Ok(all)
    }
}

/// Says of each image how much of it is laid together.
pub fn tell(all: &[Listed], output: &Output) -> Result<(), ToolError> {
    for listed in all {
        let what = match listed.bytes {
            None => "too little is read first for a list".to_owned(),
            Some(n) if listed.same => format!("{} are read first, laid together before", bytes(n)),
            Some(n) => format!("{} are read first, laid together", bytes(n)),
        };
        let version = if listed.follows == listed.chain {
            ""
        } else {
            ", as another version did"
        };
        let lost = match listed.lost {
            0 => String::new(),
            n => format!(", {n} reads of files that it does not have"),
        };
        output.say(format!("{}  {what}{version}{lost}", listed.images.join(" ")))?;
    }
    Ok(())
}
