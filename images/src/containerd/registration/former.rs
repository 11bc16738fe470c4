//! Images that the node had before ours took their names, so that unloading gives them back.

use super::MEDIUM_LABEL;
use super::error::{RegistrationError, Result};
use crate::containerd::api::services::images::v1::Image;
use holdall::ids::MediumId;
use holdall::index::{Changes, Table};
use prost::Message as _;

/// What is remembered for one medium in one namespace of containerd.
pub(super) struct Formers<'a> {
    table: &'a Table,
    medium: MediumId,
    /// What the keys of all media begin with.
    namespace: String,
    prefix: String,
}

impl<'a> Formers<'a> {
    pub fn new(table: &'a Table, namespace: &str, medium: &MediumId) -> Self {
        let namespace = format!("former/{namespace}/");
        Self {
            table,
            medium: *medium,
            prefix: format!("{namespace}{medium}/"),
            namespace,
        }
    }

    /// The medium and the image's name that a key is of.
    fn parse(&self, key: &[u8]) -> Option<(MediumId, String)> {
        let rest = key.strip_prefix(self.namespace.as_bytes())?;
        let (medium, name) = std::str::from_utf8(rest).ok()?.split_once('/')?;
        Some((MediumId::from_hex(medium).ok()?, name.to_owned()))
    }

    fn decode(&self, name: &str, bytes: &[u8]) -> Result<Image> {
        Image::decode(bytes).map_err(|err| RegistrationError::Malformed {
            place: format!("{}: {name}", self.table.path().display()),
            why: err.to_string(),
        })
    }

    fn key(&self, name: &str) -> Vec<u8> {
        format!("{}{name}", self.prefix).into_bytes()
    }

    /// Remembers an image by its name, durably. One that was remembered before was taken over by somebody else since.
    pub fn put(&self, image: &Image) -> Result<()> {
        let mut changes = Changes::default();
        changes.put(self.key(&image.name), image.encode_to_vec());
        Ok(self.table.write(changes)?)
    }

    pub fn get(&self, name: &str) -> Result<Option<Image>> {
        let bytes = self.table.get(&self.key(name))?;
        bytes.map(|bytes| self.decode(name, &bytes)).transpose()
    }

    pub fn forget(&self, name: &str) -> Result<()> {
        let mut changes = Changes::default();
        changes.delete(self.key(name));
        Ok(self.table.write(changes)?)
    }

    /// What other media of the same namespace took from this one.
    pub fn heirs(&self) -> Result<Vec<Heir>> {
        let own = self.medium.to_hex();
        let mut heirs = Vec::new();
        for row in self.table.scan(self.namespace.as_bytes(), b"") {
            let (key, bytes) = row?;
            let Some((medium, name)) = self.parse(&key) else {
                continue;
            };
            if medium != self.medium && self.decode(&name, &bytes)?.labels.get(MEDIUM_LABEL) == Some(&own) {
                let former = self.get(&name)?;
                heirs.push(Heir { key, medium, former });
            }
        }
        Ok(heirs)
    }

    /// From now on they give the names back to whom this medium had them from, durably.
    pub fn bequeath(&self, heirs: Vec<Heir>) -> Result<()> {
        let mut changes = Changes::default();
        for Heir { key, former, .. } in heirs {
            match former {
                Some(former) => changes.put(key, former.encode_to_vec()),
                None => changes.delete(key),
            }
        }
        Ok(self.table.write(changes)?)
    }

    /// The names for which an image is remembered.
    pub fn names(&self) -> Result<Vec<String>> {
        let names = self.table.scan(self.prefix.as_bytes(), b"").map(|row| {
            let (key, _) = row?;
            let name = key.get(self.prefix.len()..).unwrap_or_default();
            Ok(String::from_utf8_lossy(name).into_owned())
        });
        names.collect()
    }
}

/// A medium that took a name from another one.
pub(super) struct Heir {
    key: Box<[u8]>,
    pub medium: MediumId,
    /// Whom that one had the name from; nobody, if none.
    pub former: Option<Image>,
}

/// The lease that keeps the contents of former images.
pub(super) fn lease(medium: &MediumId) -> String {
    format!("holdall-former-{medium}")
}
