//! containerd's own config.toml: the proxy snapshotter, who uses it, and where hosts.toml files lie.
//!
//! Versions 2 and 3 of the file are changed. containerd 2 takes both, and finds in a file of version 2 what it has since moved.

use super::text::Text;
use super::{Node, NodeFile, Plan, Present, SNAPSHOTTER, Wish};
use crate::error::{Error, Result};
use std::path::{Path, PathBuf};
use toml_edit::{ArrayOfTables, InlineTable, Item, Table, Value};

const PATH: &str = "/etc/containerd/config.toml";
const CERTS: &str = "/etc/containerd/certs.d";
const CRI_V1: &str = "io.containerd.grpc.v1.cri";
const CRI_IMAGES: &str = "io.containerd.cri.v1.images";
const CRI_RUNTIME: &str = "io.containerd.cri.v1.runtime";
const TRANSFER: &str = "io.containerd.transfer.v1.local";

/// Plans config.toml; the one folder of hosts.toml files that it names then.
pub fn plan(wish: &Wish, present: &dyn Present, plan: &mut Plan) -> Result<PathBuf> {
    let path = Path::new(PATH);
    let before = present.text(path)?;
    let mut text = Text::parse(path, before.as_deref().unwrap_or_default())?;
    let version = version(wish, path, &mut text)?;
    look_out(path, &text, plan);

    let (images, runtime): (&[&str], &[&str]) = if version == 2 {
        (&["plugins", CRI_V1], &["plugins", CRI_V1])
    } else {
        (&["plugins", CRI_IMAGES], &["plugins", CRI_RUNTIME])
    };
    let under = |base: &[&'static str], keys: &[&'static str]| [base, keys].concat();

    proxy(wish, &mut text)?;
    // Any runtime in the file replaces containerd's own list, and without runc its CRI would not load. And containerd 2 looks for
    // the snapshotter of a file of version 2 only where that has runtimes.
    let needs_runtimes = wish.runtime_class.is_some() || (version == 2 && wish.node == Node::Containerd2);
    let runtimes = under(runtime, &["containerd", "runtimes"]);
    if needs_runtimes && text.get(&runtimes).is_none() {
        let runc = [runtimes.as_slice(), &["runc", "runtime_type"]].concat();
        text.set(&runc, "io.containerd.runc.v2")?;
    }
    if let Some(class) = &wish.runtime_class {
        let mut base: Vec<&str> = runtimes;
        base.push(class);
        let kind = [base.as_slice(), &["runtime_type"]].concat();
        if text.get(&kind).is_none() {
            text.set(&kind, "io.containerd.runc.v2")?;
        }
        text.set(&[base.as_slice(), &["snapshotter"]].concat(), SNAPSHOTTER)?;
        if wish.node == Node::Containerd2 {
            // By its new name in a file of version 2 too: it is not found again from the runtime's.
            let mut platform = vec!["plugins", CRI_IMAGES, "runtime_platforms"];
            platform.extend([class.as_str(), "snapshotter"]);
            text.set(&platform, SNAPSHOTTER)?;
        }
    } else {
        let key: &[&str] = if version == 2 {
            &["containerd", "snapshotter"]
        } else {
            &["snapshotter"]
        };
        text.set(&[images, key].concat(), SNAPSHOTTER)?;
    }
    if wish.node != Node::Containerd1_6 {
        unpack_rows(&mut text, path)?;
    }
    let config_path = config_path(&mut text, path, &under(images, &["registry"]))?;

    let (after, changes) = text.finish()?;
    plan.changes.extend(changes);
    plan.files.push(NodeFile {
        path: path.to_owned(),
        before,
        after,
    });
    Ok(config_path)
}

/// The file's version. A file with nothing in it gets one.
fn version(wish: &Wish, path: &Path, text: &mut Text<'_>) -> Result<i64> {
    let newest = if wish.node == Node::Containerd2 { 3 } else { 2 };
    if text.is_empty() {
        text.set(&["version"], newest)?;
        return Ok(newest);
    }
    let unsupported = |what: String| Err(Error::unsupported(path.display().to_string(), what));
    match text.get(&["version"]).map(Item::as_integer) {
        Some(Some(version @ (2 | 3))) if version <= newest => Ok(version),
        None | Some(Some(0 | 1)) => unsupported(
            "version 1 of containerd's config (it says no other). `containerd config dump` prints it as version 2 or 3: \
             put that in its place, or add `version = 2` where it has no `plugins`"
                .to_owned(),
        ),
        Some(Some(version)) => unsupported(format!(
            "version {version} of containerd's config for {}; up to {newest} is",
            wish.node.name()
        )),
        Some(None) => Err(Error::malformed(
            path.display().to_string(),
            "its version is not a number",
        )),
    }
}

/// What in the file could keep it from working.
fn look_out(path: &Path, text: &Text<'_>, plan: &mut Plan) {
    let names = |key: &str| -> Vec<String> {
        let array = text.get(&[key]).and_then(Item::as_array);
        let strings = array.into_iter().flatten().filter_map(Value::as_str);
        strings.map(str::to_owned).collect()
    };
    let place = path.display();
    for name in names("disabled_plugins") {
        if name == "cri" || name == CRI_V1 || name == CRI_IMAGES || name == CRI_RUNTIME {
            plan.warnings.push(format!(
                "{place}: disabled_plugins has {name:?}: Kubernetes and crictl cannot use this containerd"
            ));
        }
        if name == TRANSFER {
            plan.warnings.push(format!(
                "{place}: disabled_plugins has {name:?}: containerd 2 pulls through it"
            ));
        }
    }
    let imports = names("imports");
    if !imports.is_empty() {
        plan.warnings.push(format!(
            "{place}: it imports {}: what those files set stands over what is set here",
            imports.join(", ")
        ));
    }
}

fn proxy(wish: &Wish, text: &mut Text<'_>) -> Result<()> {
    let base = ["proxy_plugins", SNAPSHOTTER];
    let is_new = text.get(&base).is_none();
    let shown = |path: &Path| path.display().to_string();
    text.set(&[base.as_slice(), &["type"]].concat(), "snapshot")?;
    text.set(&[base.as_slice(), &["address"]].concat(), shown(&wish.socket))?;
    text.set(
        &[base.as_slice(), &["exports", "root"]].concat(),
        shown(&wish.state),
    )?;
    if is_new {
        let table = text.table(&base)?;
        table
            .decor_mut()
            .set_prefix("\n# Containers start from a transfer disk: holdall node-config, and --undo.\n");
    }
    Ok(())
}

fn rows(snapshotter: &str) -> [(&str, &str); 3] {
    [
        ("platform", "linux"),
        ("snapshotter", snapshotter),
        ("differ", "walking"),
    ]
}

/// The transfer service unpacks only with snapshotters that have a row; any row replaces the built-in one, overlayfs's.
fn unpack_rows(text: &mut Text<'_>, path: &Path) -> Result<()> {
    const KEY: &str = "unpack_config";
    let table = text.table(&["plugins", TRANSFER])?;
    let ours = |name: Option<&str>| name == Some(SNAPSHOTTER);
    let as_table = |snapshotter: &str| {
        rows(snapshotter)
            .into_iter()
            .fold(Table::new(), |mut table, (key, value)| {
                table.insert(key, Item::Value(value.into()));
                table
            })
    };
    match table.get_mut(KEY) {
        None => {
            let mut array = ArrayOfTables::new();
            array.push(as_table("overlayfs"));
            array.push(as_table(SNAPSHOTTER));
            table.insert(KEY, Item::ArrayOfTables(array));
        }
        Some(Item::ArrayOfTables(array)) => {
            if !array
                .iter()
                .any(|row| ours(row.get("snapshotter").and_then(Item::as_str)))
            {
                array.push(as_table(SNAPSHOTTER));
            }
        }
        Some(Item::Value(Value::Array(array))) => {
            let has = |snapshotter: Option<&str>, array: &toml_edit::Array| {
                array.iter().any(|row| {
                    row.as_inline_table()
                        .and_then(|r| r.get("snapshotter"))
                        .and_then(Value::as_str)
                        == snapshotter
                })
            };
            let mut wanted = vec![SNAPSHOTTER];
            if array.is_empty() {
                wanted.insert(0, "overlayfs");
            }
            for snapshotter in wanted {
                if !has(Some(snapshotter), array) {
                    array.push(rows(snapshotter).into_iter().collect::<InlineTable>());
                }
            }
        }
        Some(_) => {
            return Err(Error::malformed(
                path.display().to_string(),
                format!("{KEY} of {TRANSFER} is not an array"),
            ));
        }
    }
    Ok(())
}

/// One folder of hosts.toml files: the one that the file names, or the usual one. Of a list the first is kept, as pulls
/// through the transfer service take the whole list for one name.
fn config_path(text: &mut Text<'_>, path: &Path, registry: &[&str]) -> Result<PathBuf> {
    for key in ["mirrors", "configs", "auths"] {
        let old = [registry, &[key]].concat();
        let is_set = text
            .get(&old)
            .and_then(Item::as_table_like)
            .is_some_and(|t| !t.is_empty());
        if is_set && key != "auths" {
            return Err(Error::refused(format!(
                "{}: its registry `{key}` cannot stand beside hosts.toml files, and containerd's CRI would not start: move them to hosts.toml first",
                path.display()
            )));
        }
    }
    let key = [registry, &["config_path"]].concat();
    let present = text.get_str(&key).unwrap_or_default();
    let first = present.split(':').find(|part| !part.is_empty());
    let wanted = first.unwrap_or(CERTS).to_owned();
    if !Path::new(&wanted).is_absolute() {
        return Err(Error::malformed(
            path.display().to_string(),
            format!("config_path {wanted:?} is not absolute"),
        ));
    }
    // An empty value is what containerd's own defaults print: nobody's wish.
    let was_default = present.is_empty();
    text.set(&key, wanted.as_str())?;
    if was_default {
        text.changes.retain(|change| change.was != "\"\"");
    }
    Ok(PathBuf::from(wanted))
}
