//! What registering an image takes: read from the disk, nothing said to containerd yet.

use super::error::{RegistrationError, Result};
use crate::config::{ImageConfig, MAX_CONFIG};
use crate::containerd::snapshotter::Chains;
use crate::manifest::{Content, Descriptor, Document, MAX_MANIFEST};
use crate::media_types;
use crate::platform::Platform;
use bytes::Bytes;
use holdall::ids::Sha256;
use holdall::name::{ImageName, Reference};
use holdall::reader::{Disk, Image};
use std::collections::BTreeMap;

/// Deepest nesting of indexes that is followed.
const MAX_DEPTH: usize = 4;
/// Most manifests of one image that are for one platform.
const MAX_MANIFESTS: usize = 64;

/// A manifest, index or config to be written.
#[derive(Debug, Clone)]
pub(super) struct ContentPlan {
    pub bytes: Bytes,
    /// What keeps the rest from being collected, as long as this is there.
    pub labels: BTreeMap<String, String>,
}

/// An image to be registered.
#[derive(Debug, Clone)]
pub(super) struct ImagePlan {
    /// The disk's name of it.
    pub name: String,
    /// The names that it gets: that one, and one by digest.
    pub names: Vec<String>,
    pub media_type: String,
    pub target: Sha256,
    pub size: u64,
    /// Its contents by digest.
    pub contents: BTreeMap<Sha256, ContentPlan>,
    /// Its root file systems: the chainID of all layers of each.
    pub chains: Vec<Sha256>,
    /// Those of its layers that the disk has as bytes, and their lengths.
    pub layers: BTreeMap<Sha256, u64>,
}

/// Reads what registering takes.
pub(super) struct Planner<'a> {
    pub disk: &'a Disk,
    pub chains: &'a dyn Chains,
    pub platform: &'a Platform,
    pub snapshotter: &'a str,
}

impl Planner<'_> {
    /// What registering that image takes; an error where it cannot run in place on this node.
    pub fn plan(&self, image: &Image) -> Result<ImagePlan> {
        let by_digest = ImageName {
            repository: image.name.repository.clone(),
            reference: Reference::Digest(image.target.sha256),
        };
        let name = image.name.to_string();
        let mut names = vec![name.clone()];
        let by_digest = by_digest.to_string();
        if by_digest != name {
            names.push(by_digest);
        }
        let mut plan = ImagePlan {
            name,
            names,
            media_type: image.target.media_type.clone(),
            target: image.target.sha256,
            size: image.target.size,
            contents: BTreeMap::new(),
            chains: Vec::new(),
            layers: BTreeMap::new(),
        };
        let target = Descriptor::new(&image.target.media_type, image.target.sha256, image.target.size);
        self.manifest(&mut plan, &target, 0)?;
        if plan.chains.is_empty() {
            return Err(RegistrationError::not_runnable(format!(
                "nothing in it is for {}",
                self.platform
            )));
        }
        Ok(plan)
    }

    fn read(&self, digest: &Sha256, limit: u64) -> Result<Option<Bytes>> {
        match self.disk.blob(digest)? {
            Some(blob) => Ok(Some(self.disk.read_small(&blob, limit)?)),
            None => Ok(None),
        }
    }

    fn place(&self, digest: &Sha256) -> String {
        format!("{}: {}", self.disk.name(), digest.to_digest())
    }

    /// Takes a manifest or index into the plan. What is not on the disk, or for another platform, is left out.
    fn manifest(&self, plan: &mut ImagePlan, descriptor: &Descriptor, depth: usize) -> Result<()> {
        let digest = descriptor.digest;
        if depth > MAX_DEPTH || plan.contents.len() > 2 * MAX_MANIFESTS {
            return Err(RegistrationError::not_runnable(
                "its index is too large or too deep",
            ));
        }
        if plan.contents.contains_key(&digest) {
            return Ok(());
        }
        let Some(bytes) = self.read(&digest, MAX_MANIFEST)? else {
            return Ok(());
        };
        let document = Document::parse(&bytes, &descriptor.media_type, &self.place(&digest))?;
        let mut labels = BTreeMap::new();
        match document.content {
            Content::Index(children) => {
                for (n, child) in children.iter().enumerate() {
                    labels.insert(
                        format!("containerd.io/gc.ref.content.m.{n}"),
                        child.digest.to_digest(),
                    );
                    if child
                        .platform
                        .as_ref()
                        .is_none_or(|platform| self.platform.matches(platform))
                        && media_types::is_manifest(&child.media_type)
                    {
                        self.manifest(plan, child, depth + 1)?;
                    }
                }
            }
            Content::Manifest { config, layers } => {
                let Some(config) = config.filter(|config| media_types::is_image_config(&config.media_type))
                else {
                    return if depth > 0 {
                        Ok(())
                    } else {
                        Err(RegistrationError::not_runnable("it is no container image"))
                    };
                };
                labels.insert(
                    "containerd.io/gc.ref.content.config".to_owned(),
                    config.digest.to_digest(),
                );
                for (n, layer) in layers.iter().enumerate() {
                    labels.insert(
                        format!("containerd.io/gc.ref.content.l.{n}"),
                        layer.digest.to_digest(),
                    );
                }
                if !self.config(plan, &config, layers.len())? {
                    return Ok(());
                }
                for layer in &layers {
                    if let Some(blob) = self.disk.blob(&layer.digest)? {
                        plan.layers.insert(layer.digest, blob.size);
                    }
                }
            }
        }
        plan.contents.insert(digest, ContentPlan { bytes, labels });
        Ok(())
    }

    /// Takes a config and its chains into the plan; false where it is for another platform.
    fn config(&self, plan: &mut ImagePlan, descriptor: &Descriptor, layers: usize) -> Result<bool> {
        let digest = descriptor.digest;
        let place = self.place(&digest);
        let bytes = self
            .read(&digest, MAX_CONFIG)?
            .ok_or_else(|| crate::Error::missing(place.clone()))?;
        let config = ImageConfig::parse(&bytes, &place)?;
        if !self.platform.matches(&config.platform.described()) {
            return Ok(false);
        }
        let chains = config.chain_ids();
        if chains.len() != layers {
            let why = format!("{} diff_ids for {layers} layers", chains.len());
            return Err(crate::Error::malformed(place, why).into());
        }
        let Some(top) = chains.last() else {
            return Err(RegistrationError::not_runnable("it has no layers"));
        };
        let there = self
            .chains
            .has(top)
            .map_err(|absent| RegistrationError::not_runnable(absent.to_string()))?;
        if !there {
            return Err(RegistrationError::not_runnable(format!(
                "the disk has no tree for {}: it can be pulled, not run in place",
                top.to_digest()
            )));
        }
        let labels = BTreeMap::from([(
            format!("containerd.io/gc.ref.snapshot.{}", self.snapshotter),
            top.to_digest(),
        )]);
        plan.contents.insert(digest, ContentPlan { bytes, labels });
        plan.chains.push(*top);
        Ok(true)
    }
}
