//! Layers as links: in containerd's own content store, to the files of the mounted disk. Undocumented in containerd, and so
//! only where it is asked for. What needs a layer's bytes (export, push, another snapshotter) then finds them.

use super::client::Client;
use super::error::{RegistrationError, Result};
use holdall::ids::Sha256;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// A link can be collected before it is declared; then it is made again.
const TRIES: usize = 3;

/// Where layers are linked, and to what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerLinks {
    /// containerd's content store on this machine: `io.containerd.content.v1.content` in its root.
    pub store: PathBuf,
    /// The folder of the mounted disk that shows blobs by the hex of their SHA-256.
    pub blobs: PathBuf,
}

/// Links a layer, once it is sure that it stays.
pub(super) async fn one(
    client: &Client,
    links: &LayerLinks,
    lease: &str,
    digest: &Sha256,
    size: u64,
) -> Result<()> {
    let mut result = Ok(());
    for _ in 0..TRIES {
        if client.content_labels(digest).await?.is_some() {
            client.lease_content(lease, &digest.to_digest()).await?;
            if client.content_labels(digest).await?.is_some() {
                return Ok(());
            }
        }
        let link = links.store.join("blobs/sha256").join(digest.to_hex());
        make(&link, &links.blobs.join(digest.to_hex()))?;
        result = client.declare_content(digest, size).await;
        if result.is_ok() {
            break;
        }
    }
    result
}

/// Makes the link, unless there is something by that name: what nobody declared is collected in time.
fn make(link: &Path, target: &Path) -> Result<()> {
    let failed =
        |place: &Path, err| RegistrationError::from(crate::Error::io(place.display().to_string(), err));
    std::fs::metadata(target).map_err(|err| failed(target, err))?;
    match std::os::unix::fs::symlink(target, link) {
        Err(err) if err.kind() != ErrorKind::AlreadyExists => Err(failed(link, err)),
        _ => Ok(()),
    }
}
