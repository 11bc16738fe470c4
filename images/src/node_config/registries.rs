//! registries.yaml of K3s and RKE2, from which they write their containerd's hosts.toml files.
//!
//! Their containerd's config is theirs too; what a template has to add to it is told, not written.

use super::{Node, NodeFile, Plan, Present, SNAPSHOTTER, Wish};
use crate::error::{Error, Result};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Plans registries.yaml and tells what else is to be done.
pub fn plan(wish: &Wish, present: &dyn Present, plan: &mut Plan) -> Result<()> {
    let (name, unit) = match wish.node {
        Node::Rke2 => ("rke2", "rke2-server (or rke2-agent)"),
        _ => ("k3s", "k3s (or k3s-agent)"),
    };
    let path = PathBuf::from(format!("/etc/rancher/{name}/registries.yaml"));
    let before = present.text(&path)?;
    let mut after = before.clone().unwrap_or_default();
    let registries = wish.registries.iter().map(String::as_str);
    // Inserted one above the other, so that the one for all stands first.
    let mut wanted: Vec<&str> = std::iter::once("*").chain(registries).collect();
    wanted.reverse();
    for registry in wanted {
        after = with_mirror(&after, &path, registry, &wish.mirror())?;
    }
    plan.files.push(NodeFile { path, before, after });
    plan.notes.push(template(wish, name));
    plan.notes.push(format!("restart it: systemctl restart {unit}"));
    Ok(())
}

/// The file with a mirror of this registry's. YAML is changed by lines here, and only where its lines are plain.
fn with_mirror(text: &str, path: &Path, registry: &str, mirror: &str) -> Result<String> {
    let refuse = |why: &str| {
        Error::unsupported(
            path.display().to_string(),
            format!("{why}; add to its mirrors by hand: \"{registry}\": {{endpoint: [\"{mirror}\"]}}"),
        )
    };
    if text.contains('\t') {
        return Err(refuse("tabs"));
    }
    let entry =
        |indent: &str| format!("{indent}\"{registry}\":\n{indent}  endpoint:\n{indent}    - \"{mirror}\"\n");
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let is_blank = |line: &&str| line.trim().is_empty() || line.trim_start().starts_with('#');
    let without_comment = |line: &str| line.split(" #").next().unwrap_or(line).trim_end().to_owned();
    let Some(at) = lines.iter().position(|line| line.starts_with("mirrors")) else {
        if lines
            .iter()
            .any(|l| l.starts_with(['{', '-', '"', '\'', '.']) && !l.starts_with("---"))
        {
            return Err(refuse("a shape of YAML that is not plain"));
        }
        let gap = if text.is_empty() || text.ends_with('\n') {
            ""
        } else {
            "\n"
        };
        return Ok(format!("{text}{gap}mirrors:\n{}", entry("  ")));
    };
    let (head, rest) = lines.split_at(at + 1);
    if head.last().is_none_or(|line| without_comment(line) != "mirrors:") {
        return Err(refuse("mirrors that do not stand on lines of their own"));
    }
    let first = rest.iter().find(|line| !is_blank(line));
    let indent: String = first.map_or_else(String::new, |l| l.chars().take_while(|c| *c == ' ').collect());
    let indent = if indent.is_empty() {
        "  ".to_owned()
    } else {
        indent
    };
    let mut inside = rest.iter().take_while(|l| is_blank(l) || l.starts_with(' '));
    let named = |line: &str| {
        let key = line.trim_end().strip_prefix(&indent)?;
        let key = without_comment(key);
        let key = key.strip_suffix(':')?.trim_matches(['"', '\'']).to_owned();
        (key == registry).then_some(())
    };
    let block: Vec<&str> = inside.by_ref().copied().collect();
    if let Some(own) = block.iter().position(|line| named(line).is_some()) {
        let deeper = format!("{indent} ");
        let mut lines = block
            .iter()
            .skip(own + 1)
            .take_while(|l| is_blank(l) || l.starts_with(&deeper));
        if lines.any(|line| line.contains(mirror)) {
            return Ok(text.to_owned());
        }
        return Err(refuse("this registry has mirrors already"));
    }
    let mut out: String = head.concat();
    if !out.ends_with('\n') {
        out.push('\n');
    }
    out.push_str(&entry(&indent));
    out.push_str(&rest.concat());
    Ok(out)
}

/// What a template of the distribution's has to add for the snapshotter.
fn template(wish: &Wish, name: &str) -> String {
    let folder = format!("/var/lib/rancher/{name}/agent/etc/containerd");
    let mut out = format!(
        "to run containers from the disk, and not only pull from it, its containerd has to know the snapshotter. {name} writes that config \
         from a template: {folder}/config.toml.tmpl, or config-v3.toml.tmpl where it has containerd 2. Not tried with {name} yet; the lines are\n\
         {{{{ template \"base\" . }}}}\n[proxy_plugins.{SNAPSHOTTER}]\n  type = \"snapshot\"\n  address = {:?}\n[proxy_plugins.{SNAPSHOTTER}.exports]\n  root = {:?}\n",
        wish.socket.display().to_string(),
        wish.state.display().to_string()
    );
    if wish.runtime_class.is_none() {
        let _infallible = write!(
            out,
            "and in /etc/rancher/{name}/config.yaml: snapshotter: {SNAPSHOTTER}"
        );
    }
    out
}
