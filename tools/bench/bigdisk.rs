//! `holdall-bench-disk DIR ENTRIES PACKS`: writes a disk of that many catalogue entries and packs, to
//! measure that opening one does not grow with it. Small blobs, spread over small packs.

use holdall::catalogue::CatalogueWriter;
use holdall::custody::Witness;
use holdall::format::catalogue::{Kind, Leaf};
use holdall::format::content::{Content, ListRef, Place};
use holdall::format::custody::Event;
use holdall::format::frame::{FrameChunk, FrameKind};
use holdall::generation::{self, Labels};
use holdall::ids::{BlobId, ChunkId, PageHash, Sha256};
use holdall::medium::{DirectoryMedium, Medium, MediumFile};
use holdall::pack::{Encoder, Level, PackWriter, PlainFrame};
use holdall::units::{PackNumber, len32, len64};
use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

/// The bytes of the n-th blob: long enough not to be kept inline.
fn bytes_of(n: u64) -> Vec<u8> {
    let mut bytes = vec![0; 2100];
    let mut hash = blake3::Hasher::new();
    hash.update(&n.to_le_bytes());
    hash.finalize_xof().fill(&mut bytes);
    bytes
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let usage = "usage: holdall-bench-disk DIR ENTRIES PACKS";
    let dir = args.next().ok_or(usage)?;
    let entries: u64 = args.next().ok_or(usage)?.parse()?;
    let packs: u64 = args.next().ok_or(usage)?.parse()?;
    let medium = DirectoryMedium::create(Path::new(&dir))?;
    let labels = Labels {
        origin: "bench".to_owned(),
        series: "bench".to_owned(),
    };
    let root = generation::init(&medium, &labels, &Witness::unnamed(), 0)?;
    let current = generation::current(&medium, None)?;
    let mut encoder = Encoder::new(Level::Fast)?;
    let mut set = Vec::new();
    let mut leaves = BTreeMap::new();
    let share = entries.div_ceil(packs);
    for pack in 0..packs {
        let number = PackNumber::new(u32::try_from(pack + 1)?);
        let mut writer = PackWriter::create(&medium, root.medium, number)?;
        let mine: Vec<u64> = (pack * share..((pack + 1) * share).min(entries)).collect();
        for part in mine.chunks(400) {
            let mut frame = PlainFrame {
                kind: FrameKind::Plaintext,
                plain: Vec::new(),
                chunks: Vec::new(),
            };
            let mut starts = Vec::new();
            for n in part {
                let bytes = bytes_of(*n);
                let id = ChunkId::of(&bytes);
                starts.push((*n, len32(frame.plain.len()), id, Sha256::of(&bytes)));
                frame.chunks.push(FrameChunk {
                    id,
                    len: len32(bytes.len()),
                });
                frame.plain.extend_from_slice(&bytes);
            }
            let encoded = encoder.encode(frame, None)?;
            let at = writer.append(&encoded)?;
            for (n, start, id, sha256) in starts {
                let place = Place {
                    pack: number,
                    frame: at,
                    frame_bytes: encoded.header.frame_bytes(),
                    start,
                };
                let list = ListRef {
                    depth: 0,
                    hash: PageHash::from_bytes(*id.as_bytes()),
                    place,
                };
                let blob = Leaf {
                    kind: Kind::Blob,
                    name: sha256.to_digest(),
                    media_type: String::new(),
                    sha256,
                    blob_id: BlobId::from_bytes(*id.as_bytes()),
                    size: 2100,
                    content: Content::List(list),
                };
                if n % 100 == 0 {
                    let image = Leaf {
                        kind: Kind::Image,
                        name: format!("docker.io/bench/r{}:t{n}", n / 1000),
                        media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
                        ..blob.clone()
                    };
                    leaves.insert(image.sort_key(), image);
                }
                leaves.insert(blob.sort_key(), blob);
            }
        }
        set.push(writer.finish()?.record);
    }
    let number = generation::next_number(&medium, &root)?;
    let mut writer = CatalogueWriter::new(medium.create(MediumFile::Catalogue(number))?);
    let count = len64(leaves.len());
    for (_, leaf) in leaves {
        writer.push(leaf)?;
    }
    let catalogue = writer.finish()?;
    let making = generation::Making {
        event: Event::Added,
        serial: current.root.serial + 1,
        epoch: current.root.epoch,
        expires: None,
        time: 0,
        witness: &Witness::unnamed(),
        note: "-".to_owned(),
    };
    generation::commit(&medium, &current, number, &catalogue, &set, making)?;
    let mut out = std::io::stdout().lock();
    std::io::Write::write_all(
        &mut out,
        format!("{count} entries, {packs} packs in {dir}\n").as_bytes(),
    )?;
    Ok(())
}
