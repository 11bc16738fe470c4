//! hosts.toml: the disk's registry as the first mirror of every registry, or of those that have a file of their own.

use super::text::Text;
use super::{Node, NodeFile, Plan, Present, Wish};
use crate::error::Result;
use std::path::Path;
use toml_edit::{Array, Item, Value};

const HEAD: &str = "# The transfer disk's registry is asked first: holdall node-config, and --undo.\n";

/// Plans the hosts.toml files under the folder that containerd's config names.
pub fn plan(wish: &Wish, folder: &Path, present: &dyn Present, plan: &mut Plan) -> Result<()> {
    let own = wish.registries.iter().map(String::as_str);
    for registry in std::iter::once("_default").chain(own) {
        let path = folder.join(registry).join("hosts.toml");
        let before = present.text(&path)?;
        let after = with_mirror(wish, &path, before.as_deref())?;
        plan.files.push(NodeFile { path, before, after });
    }
    // The first folder that is there wins, whatever is in it.
    for other in present.folders(folder)? {
        if other != "_default" && !wish.registries.contains(&other) {
            plan.warnings.push(format!(
                "{}: this registry has a folder of its own, so the mirror for all is not asked for it; --registry {} adds it there",
                folder.join(&other).display(),
                other.trim_end_matches('_').replacen('_', ":", 1)
            ));
        }
    }
    plan.notes.push(format!(
        "ctr finds the mirror with --hosts-dir {}",
        folder.display()
    ));
    Ok(())
}

/// A hosts.toml with the mirror before all other hosts.
fn with_mirror(wish: &Wish, path: &Path, before: Option<&str>) -> Result<String> {
    let mirror = wish.mirror();
    let mut text = Text::parse(path, before.unwrap_or_default())?;
    let keys = ["host", mirror.as_str()];
    let is_new = text.get(&keys).is_none();
    if is_new {
        let table = text.table(&keys)?;
        table.insert(
            "capabilities",
            Item::Value(Value::Array(Array::from_iter(["pull", "resolve"]))),
        );
        if wish.node == Node::Containerd2 {
            table.insert("dial_timeout", Item::Value("200ms".into()));
        }
        let gap = if before.is_some() { "\n" } else { "" };
        table.decor_mut().set_prefix(format!("{gap}{HEAD}"));
        // Hosts are asked in the order of the file.
        table.set_position(Some(0));
    }
    Ok(text.finish()?.0)
}
