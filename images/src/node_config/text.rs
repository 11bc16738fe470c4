//! Changes to a TOML file that leave all else in it as it is.

use super::Change;
use crate::error::{Error, Result};
use std::path::Path;
use toml_edit::{DocumentMut, Item, Table, Value};

/// A TOML file under change.
pub struct Text<'a> {
    path: &'a Path,
    document: DocumentMut,
    /// Values of others that became ours.
    pub changes: Vec<Change>,
}

impl<'a> Text<'a> {
    pub fn parse(path: &'a Path, text: &str) -> Result<Self> {
        // The parser's own message quotes the line, and that may hold a secret.
        let document = text.parse::<DocumentMut>().map_err(|e| {
            let at = e.span().map_or(0, |s| s.start);
            let line = text
                .get(..at)
                .map_or(1, |before| before.matches('\n').count() + 1);
            Error::malformed(path.display().to_string(), format!("not TOML at line {line}"))
        })?;
        Ok(Self {
            path,
            document,
            changes: Vec::new(),
        })
    }

    /// The value at a path of keys, if there is one.
    pub fn get(&self, keys: &[&str]) -> Option<&Item> {
        keys.iter()
            .try_fold(self.document.as_item(), |at, key| at.get(key))
    }

    pub fn get_str(&self, keys: &[&str]) -> Option<&str> {
        self.get(keys).and_then(Item::as_str)
    }

    /// Whether nothing but comments is in it.
    pub fn is_empty(&self) -> bool {
        self.document.is_empty()
    }

    /// The table at a path of keys, made where it is not there.
    pub fn table(&mut self, keys: &[&str]) -> Result<&mut Table> {
        let path = self.path;
        let mut at = self.document.as_table_mut();
        for key in keys {
            let item = at.entry(key).or_insert_with(|| {
                let mut table = Table::new();
                table.set_implicit(true);
                Item::Table(table)
            });
            if item.is_inline_table() {
                // The same in brackets of its own, so that tables can be put into it.
                *item = match std::mem::take(item).into_table() {
                    Ok(table) => Item::Table(table),
                    Err(other) => other,
                };
            }
            at = item.as_table_mut().ok_or_else(|| {
                Error::malformed(path.display().to_string(), format!("{key:?} is not a table"))
            })?;
        }
        Ok(at)
    }

    /// Sets one value. One that was there and differs is remembered as a [`Change`]; the comment behind it stays.
    pub fn set(&mut self, keys: &[&str], value: impl Into<Value>) -> Result<()> {
        let Some((last, parents)) = keys.split_last() else {
            return Ok(());
        };
        let value = value.into();
        let path = self.path.to_owned();
        let table = self.table(parents)?;
        let change = match table.get_mut(last) {
            Some(Item::Value(old)) => {
                let (was, becomes) = (bare(old), bare(&value));
                let same = match (old.as_str(), value.as_str()) {
                    (Some(was), Some(becomes)) => was == becomes,
                    _ => was == becomes,
                };
                if same {
                    return Ok(());
                }
                let decor = old.decor().clone();
                *old = value;
                *old.decor_mut() = decor;
                Change {
                    path,
                    key: spelled(keys),
                    was,
                    becomes,
                }
            }
            Some(_) => {
                return Err(Error::malformed(
                    path.display().to_string(),
                    format!("{} is not a value", spelled(keys)),
                ));
            }
            None => {
                table.insert(last, Item::Value(value));
                return Ok(());
            }
        };
        self.changes.push(change);
        Ok(())
    }

    /// The text. It is read once more, so that nothing that another parser would refuse goes out.
    pub fn finish(self) -> Result<(String, Vec<Change>)> {
        let text = self.document.to_string();
        if text.parse::<DocumentMut>().is_err() {
            return Err(Error::unsupported(
                self.path.display().to_string(),
                "the way its tables are written; write them in brackets of their own",
            ));
        }
        Ok((text, self.changes))
    }
}

fn bare(value: &Value) -> String {
    let mut value = value.clone();
    value.decor_mut().clear();
    value.to_string()
}

fn spelled(keys: &[&str]) -> String {
    let plain = |key: &str| {
        key.chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
    };
    let keys: Vec<_> = keys
        .iter()
        .map(|key| {
            if plain(key) {
                (*key).to_owned()
            } else {
                format!("'{key}'")
            }
        })
        .collect();
    keys.join(".")
}
