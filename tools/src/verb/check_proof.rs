//! `holdall check-proof`: what a proof shows, and whether its signatures count here.

use crate::believe::{self, now, verdict_json};
use crate::exit::{Exit, ToolError};
use crate::output::{self, Output, one_line, time};
use holdall::Error;
use holdall::format::PROOF_MAX;
use holdall::format::catalogue::Kind;
use holdall::format::proof::Proof;
use holdall::format::root::State;
use holdall::ids::PageHash;
use holdall::node::Sight;
use holdall::signature::Found;
use holdall::trust::{Evidence, judge};
use holdall::units::len64;
use serde_json::json;
use sha2::Digest as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The proof, as `holdall prove` wrote it
    proof: PathBuf,
    /// Also compare this file with what is proven: the blob, manifest or file that left the disk
    #[arg(long, value_name = "FILE")]
    blob: Option<PathBuf>,
    /// The root that it must be under
    #[arg(long, value_name = "HASH", value_parser = PageHash::from_hex)]
    root: Option<PageHash>,
    #[command(flatten)]
    believe: believe::Args,
}

/// Runs the verb.
pub fn run(args: &Args, output: &Output) -> Result<Exit, ToolError> {
    let place = args.proof.display().to_string();
    let bytes = read(&args.proof)?;
    let proof = Proof::decode(&bytes, &place).map_err(|e| match e {
        // A path that leads elsewhere is no damage of a disk: it proves nothing.
        Error::Mismatch { place, .. } => ToolError::Store(Error::Untrusted {
            place,
            why: "it proves nothing: the leaf and its path do not lead to the catalogue hash of its ROOT"
                .to_owned(),
        }),
        Error::Malformed { place, why } => ToolError::NoProof { place, why },
        other => ToolError::Store(other),
    })?;
    let (leaf, root) = (proof.leaf(), proof.root());
    let hash = root.hash();
    let untrusted = |why: String| {
        Err(ToolError::Store(Error::Untrusted {
            place: place.clone(),
            why,
        }))
    };
    if let Some(wanted) = args.root.filter(|wanted| *wanted != hash) {
        return untrusted(format!("it is under root {hash}, not {wanted}"));
    }
    if let Some(blob) = &args.blob {
        if !speaks_of_bytes(leaf.kind) {
            return untrusted(format!(
                "it proves a {}, which has no bytes of its own that {} could be",
                kind_name(leaf.kind),
                blob.display()
            ));
        }
        let (sha256, size) = hash_of(blob)?;
        if sha256 != leaf.sha256.to_hex() || size != leaf.size {
            return untrusted(format!(
                "{} is not what it proves: sha256 {sha256} of {size} bytes, where it proves {} of {}",
                blob.display(),
                leaf.sha256,
                leaf.size
            ));
        }
    }
    let evidence = Evidence {
        root: root.clone(),
        root_hash: hash,
        signatures: proof
            .signatures()
            .iter()
            .map(|(signer, armored)| Found {
                signer: *signer,
                armored: Ok(armored.clone()),
            })
            .collect(),
        unread: 0,
        sealed: Vec::new(),
    };
    let policy = args.believe.policy()?;
    // A proof says what was on a disk once: that a newer one has come since does not make it wrong.
    let verdict = judge(
        policy.as_ref(),
        &evidence,
        &Sight::New,
        args.believe.requires_signature(),
        now(),
    );
    verdict.warnings.iter().for_each(|warning| output.warn(warning));
    let kind = kind_name(leaf.kind);
    let below = if leaf.kind == Kind::File { "files/" } else { "" };
    output.line(format!("proves   {kind} {below}{}", one_line(&leaf.name)))?;
    output.line(format!(
        "digest   {}, {} bytes",
        leaf.sha256.to_digest(),
        leaf.size
    ))?;
    if let Some(blob) = &args.blob {
        output.line(format!("file     {}: the same", blob.display()))?;
    }
    output.line(format!(
        "disk     origin {}, series {}, epoch {}, serial {}, generation {}, {}, of {}",
        one_line(&root.origin),
        one_line(&root.series),
        root.epoch,
        root.serial,
        root.generation,
        if root.state == State::Sealed {
            "sealed"
        } else {
            "open"
        },
        time(root.time)
    ))?;
    for signature in &verdict.signatures {
        let who = signature.identity.as_deref().unwrap_or("?");
        output.line(format!(
            "signed   {} ({}): {}",
            signature.signer,
            one_line(who),
            one_line(&signature.note)
        ))?;
    }
    let judged = match (&policy, &verdict.refusal) {
        (_, Some(_)) => "refused",
        (None, None) => "no policy: whether its signers are to be trusted is for you to know",
        (Some(_), None) => "accepted by the policy",
    };
    output.line(format!("root     {hash}: {judged}"))?;
    output.result(&json!({
        "kind": kind,
        "name": leaf.name,
        "media_type": leaf.media_type,
        "digest": leaf.sha256.to_digest(),
        "size": leaf.size,
        "disk": output::generation(root, hash),
        "origin": root.origin,
        "series": root.series,
        "serial": root.serial,
        "trust": verdict_json(policy.as_ref().map(|policy| policy.place.as_str()), &verdict),
    }))?;
    match verdict.refusal {
        Some(refusal) => Err(ToolError::Untrusted { place, refusal }),
        None => Ok(Exit::Done),
    }
}

const fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Image => "image",
        Kind::Blob => "blob",
        Kind::Referrer => "referrer",
        Kind::Absent => "left-out",
        Kind::Files => "tree",
        Kind::Layer => "layer",
        Kind::Chain => "chain",
        Kind::Rootfs => "root file system",
        Kind::File => "file",
        Kind::Hot => "hot list",
    }
}

/// Whether SHA-256 and size of such a leaf are those of bytes that leave a disk: of trees they are of a reference, and what was left out is not there.
const fn speaks_of_bytes(kind: Kind) -> bool {
    matches!(kind, Kind::Image | Kind::Blob | Kind::Referrer | Kind::File)
}

fn read(path: &Path) -> Result<Vec<u8>, ToolError> {
    let failed = |e| ToolError::io(path.display(), e);
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(u64::from(PROOF_MAX) + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    Ok(bytes)
}

/// SHA-256 and length of a file.
fn hash_of(path: &Path) -> Result<(String, u64), ToolError> {
    let failed = |e| ToolError::io(path.display(), e);
    let mut file = std::fs::File::open(path).map_err(failed)?;
    let (mut hash, mut size, mut buffer) = (sha2::Sha256::new(), 0, vec![0; 1 << 20]);
    loop {
        let n = file.read(&mut buffer).map_err(failed)?;
        if n == 0 {
            break;
        }
        hash.update(buffer.get(..n).unwrap_or_default());
        size += len64(n);
    }
    let digest: [u8; 32] = hash.finalize().into();
    Ok((holdall::ids::Sha256::from_bytes(digest).to_hex(), size))
}
