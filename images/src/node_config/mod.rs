//! A node's configuration for the snapshotter and the registry mirror: from what its files hold to what they shall hold.
//!
//! Pure text: it reads no file and writes none. The caller shows it each file's present text, and keeps, writes or
//! undoes what comes out. What a foreign file says stays, with its comments; a value of another's that has to change
//! is a [`Change`], so that the operator can be told.

mod containerd;
mod hosts;
mod registries;
mod text;

use crate::error::{Error, Result};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// The name that containerd knows the snapshotter by.
pub const SNAPSHOTTER: &str = "holdall";

/// The snapshotter's socket, where none is named.
pub const DEFAULT_SOCKET: &str = "/run/holdall/snapshotter.sock";

/// A config file that is longer is not taken in, in bytes.
pub const MAX_FILE: u64 = 4 << 20;

/// What runs containers on the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node {
    /// containerd 1.6.
    Containerd1_6,
    /// containerd 1.7.
    Containerd1_7,
    /// containerd 2.
    Containerd2,
    /// K3s, which writes its containerd's config itself.
    K3s,
    /// RKE2, which writes its containerd's config itself.
    Rke2,
}

impl Node {
    /// The node that `containerd --version` speaks of: `containerd PACKAGE 1.7.24~ds1 …`, with or without a `v`.
    /// None for a version that is not known.
    pub fn of_version_line(line: &str) -> Option<Self> {
        let version = line.split_whitespace().nth(2)?;
        let mut numbers = version.strip_prefix('v').unwrap_or(version).split('.');
        match (numbers.next()?, numbers.next()?) {
            ("1", "6") => Some(Self::Containerd1_6),
            ("1", "7") => Some(Self::Containerd1_7),
            ("2", _) => Some(Self::Containerd2),
            _ => None,
        }
    }

    /// As the command line spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Containerd1_6 => "containerd-1.6",
            Self::Containerd1_7 => "containerd-1.7",
            Self::Containerd2 => "containerd-2",
            Self::K3s => "k3s",
            Self::Rke2 => "rke2",
        }
    }
}

/// What the node is to be set to.
#[derive(Debug, Clone)]
pub struct Wish {
    /// What runs containers.
    pub node: Node,
    /// Where `holdall serve` listens.
    pub listen: SocketAddr,
    /// The snapshotter's socket, absolute.
    pub socket: PathBuf,
    /// The folder of Holdall's state on the node, absolute: the file system that kubelet watches for room.
    pub state: PathBuf,
    /// Use the snapshotter for this runtime class only, and not as the CRI's own.
    pub runtime_class: Option<String>,
    /// Registries that get a hosts.toml of their own beside the one for all.
    pub registries: Vec<String>,
}

impl Wish {
    /// The mirror's URL. An address that means "all" is asked by the loopback's.
    fn mirror(&self) -> String {
        let ip = match self.listen.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        format!("http://{}", SocketAddr::new(ip, self.listen.port()))
    }
}

/// A value of another's that becomes ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The file.
    pub path: PathBuf,
    /// The key, from the file's top.
    pub key: String,
    /// What it is, as the file spells it.
    pub was: String,
    /// What it becomes.
    pub becomes: String,
}

/// A file as it is and as it shall be.
#[derive(Debug, Clone)]
pub struct NodeFile {
    /// Where, on the node.
    pub path: PathBuf,
    /// Its present text; none where it is not there.
    pub before: Option<String>,
    /// Its text to be; equal to `before` where nothing has to be done.
    pub after: String,
}

/// Everything to be done, and what to know about it.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// The files, in the order in which to write them.
    pub files: Vec<NodeFile>,
    /// Values of others that change.
    pub changes: Vec<Change>,
    /// What could keep the node from working as wished.
    pub warnings: Vec<String>,
    /// What is left to do by hand.
    pub notes: Vec<String>,
}

/// The node's files as they are. Paths are the node's.
pub trait Present {
    /// A file's text; none where there is no such file.
    fn text(&self, path: &Path) -> Result<Option<String>>;
    /// The names of the folders in a folder, sorted; empty where it is not there.
    fn folders(&self, path: &Path) -> Result<Vec<String>>;
}

/// Plans what makes the node as wished.
///
/// # Errors
/// [`Error::Refused`] where the wish cannot be had of this node, [`Error::Malformed`] and [`Error::Unsupported`] for a
/// file of the node's that is not understood, and what `present` says.
pub fn plan(wish: &Wish, present: &dyn Present) -> Result<Plan> {
    check(wish)?;
    let mut plan = Plan::default();
    match wish.node {
        Node::Containerd1_6 | Node::Containerd1_7 | Node::Containerd2 => {
            let config_path = containerd::plan(wish, present, &mut plan)?;
            hosts::plan(wish, &config_path, present, &mut plan)?;
            plan.notes
                .push("restart containerd: systemctl restart containerd".to_owned());
        }
        Node::K3s | Node::Rke2 => registries::plan(wish, present, &mut plan)?,
    }
    if let Some(class) = &wish.runtime_class {
        plan.notes.push(format!(
            "Kubernetes needs a RuntimeClass for it:\napiVersion: node.k8s.io/v1\nkind: RuntimeClass\nmetadata:\n  name: {class}\nhandler: {class}"
        ));
    }
    Ok(plan)
}

fn check(wish: &Wish) -> Result<()> {
    for (what, path) in [("socket", &wish.socket), ("state folder", &wish.state)] {
        let text = path.to_str().unwrap_or_default();
        if !path.is_absolute() || text.chars().any(char::is_control) {
            return Err(Error::refused(format!(
                "the {what} {} has to be an absolute path in UTF-8",
                path.display()
            )));
        }
    }
    if let Some(class) = &wish.runtime_class {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
        if class.is_empty() || class.len() > 63 || !class.chars().all(plain) {
            return Err(Error::refused(format!(
                "{class:?} is no runtime class: at most 63 lower-case letters, digits, dashes and dots"
            )));
        }
        if wish.node == Node::Containerd1_6 {
            return Err(Error::refused(
                "containerd 1.6 has one snapshotter for all pods: without a runtime class, or with containerd 1.7 or later",
            ));
        }
    }
    for registry in &wish.registries {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | ':' | '_');
        if registry.is_empty() || registry.starts_with('.') || !registry.chars().all(plain) {
            return Err(Error::refused(format!(
                "{registry:?} is no registry: a host's name and, where it has one, its port"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
