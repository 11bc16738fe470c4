//! `holdall verify --images`: whether each image of the disk is signed.

use crate::exit::{Exit, ToolError};
use crate::output::Output;
use crate::signatures;
use holdall::reader::Disk;
use holdall_images::cosign::disk::images_signed;
use holdall_images::cosign::{ImageSigned, PublicKey};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

/// The arguments, beside those of `verify`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Also check that each image is signed with cosign by one of the keys given. A signature is of a digest: --full checks
    /// besides that the bytes are those that the digests say
    #[arg(long, requires = "cosign_keys")]
    images: bool,
    /// The public key of a signer, as cosign generate-key-pair writes it to cosign.pub; can be given again
    #[arg(long = "cosign-key", value_name = "FILE", requires = "images")]
    cosign_keys: Vec<PathBuf>,
}

impl Args {
    /// The keys; empty where signatures are not asked about.
    pub fn keys(&self) -> Result<Vec<PublicKey>, ToolError> {
        signatures::keys(&self.cosign_keys)
    }
}

/// Judges the images of the disk. None where no key was given.
pub fn judge(
    disk: &Disk,
    keys: &[PublicKey],
    interrupted: &AtomicBool,
) -> Result<Option<Vec<ImageSigned>>, ToolError> {
    if keys.is_empty() {
        return Ok(None);
    }
    let stop = || interrupted.load(Ordering::Relaxed);
    Ok(Some(images_signed(disk, keys, &stop)?))
}

/// Prints what was found, and what a signature does not say.
pub fn print(judged: Option<&[ImageSigned]>, full: bool, output: &Output) -> Result<(), ToolError> {
    signatures::print(judged, output)?;
    if judged.is_some() && !full {
        output.note("signatures are of digests; --full compares the bytes beneath with them");
    }
    Ok(())
}

/// How `verify` ends: damage is told before anything else.
pub fn exit(judged: Option<&[ImageSigned]>, whole: bool) -> Exit {
    let trusted = judged.is_none_or(|images| signatures::unsigned(images).next().is_none());
    match (whole, trusted) {
        (false, _) => Exit::Damage,
        (true, false) => Exit::Untrusted,
        (true, true) => Exit::Done,
    }
}
