//! Images that the node had before ours took their names, so that unloading gives them back.

use super::error::{RegistrationError, Result};
use crate::containerd::api::services::images::v1::Image;
use holdall::ids::MediumId;
use holdall::index::{Changes, Table};
use prost::Message as _;

/// What is remembered for one medium in one namespace of containerd.
pub(super) struct Formers<'a> {
    table: &'a Table,
    prefix: String,
}

impl<'a> Formers<'a> {
    pub fn new(table: &'a Table, namespace: &str, medium: &MediumId) -> Self {
        Self {
            table,
            prefix: format!("former/{namespace}/{medium}/"),
        }
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
        bytes
            .map(|bytes| Image::decode(bytes.as_slice()))
            .transpose()
            .map_err(|err| RegistrationError::Malformed {
                place: format!("{}: {name}", self.table.path().display()),
                why: err.to_string(),
            })
    }

    pub fn forget(&self, name: &str) -> Result<()> {
        let mut changes = Changes::default();
        changes.delete(self.key(name));
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

/// The lease that keeps the contents of former images.
pub(super) fn lease(medium: &MediumId) -> String {
    format!("holdall-former-{medium}")
}
