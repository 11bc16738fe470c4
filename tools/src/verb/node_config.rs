//! `holdall node-config`: sets a node's containerd, K3s or RKE2 to run from a disk, shows what that would be, or takes it back.

mod journal;

use crate::exit::{Exit, ToolError};
use crate::output::Output;
use crate::state;
use clap::ValueEnum;
use holdall_images::node_config::{self, Node, NodeFile, Plan, Present, Wish};
use journal::Journal;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What runs containers on the node [what `containerd --version` says]
    #[arg(long = "for", value_name = "NODE", value_enum)]
    node: Option<For>,
    /// The address that `holdall serve` listens on
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:5577")]
    listen: SocketAddr,
    /// The snapshotter's socket
    #[arg(long, value_name = "SOCKET", default_value = node_config::DEFAULT_SOCKET)]
    snapshotter: PathBuf,
    /// Use the snapshotter for this runtime class only, and leave all other pods as they are
    #[arg(long, value_name = "NAME")]
    runtime_class: Option<String>,
    /// A registry with a folder or an entry of its own, which gets the mirror too; may be repeated
    #[arg(long, value_name = "HOST")]
    registry: Vec<String>,
    /// The folder that holds the node's file system
    #[arg(long, value_name = "FOLDER", default_value = "/")]
    root: PathBuf,
    /// Write the files, and keep what they were for --undo
    #[arg(long)]
    write: bool,
    /// Put every file back as it was before --write
    #[arg(long, conflicts_with_all = ["write", "node", "runtime_class", "registry"])]
    undo: bool,
    /// With --write or --undo: even where a file was changed by others since
    #[arg(long)]
    force: bool,
}

/// What runs containers, as the command line spells it.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum For {
    #[value(name = "containerd-1.6")]
    Containerd1_6,
    #[value(name = "containerd-1.7")]
    Containerd1_7,
    #[value(name = "containerd-2")]
    Containerd2,
    #[value(name = "k3s")]
    K3s,
    #[value(name = "rke2")]
    Rke2,
}

impl From<For> for Node {
    fn from(node: For) -> Self {
        match node {
            For::Containerd1_6 => Self::Containerd1_6,
            For::Containerd1_7 => Self::Containerd1_7,
            For::Containerd2 => Self::Containerd2,
            For::K3s => Self::K3s,
            For::Rke2 => Self::Rke2,
        }
    }
}

/// A node's file system, in a folder.
struct Root<'a>(&'a Path);

impl Root<'_> {
    /// Where a path of the node's is on this machine.
    fn place(&self, path: &Path) -> PathBuf {
        self.0.join(path.strip_prefix("/").unwrap_or(path))
    }
}

impl Present for Root<'_> {
    fn text(&self, path: &Path) -> holdall_images::Result<Option<String>> {
        let place = self.place(path);
        let failed = |source| holdall_images::Error::Io {
            place: place.display().to_string(),
            source,
        };
        let Some(bytes) = read(&place).map_err(failed)? else {
            return Ok(None);
        };
        String::from_utf8(bytes)
            .map(Some)
            .map_err(|_| holdall_images::Error::Malformed {
                place: place.display().to_string(),
                why: "not UTF-8".to_owned(),
            })
    }

    fn folders(&self, path: &Path) -> holdall_images::Result<Vec<String>> {
        let place = self.place(path);
        let failed = |source| holdall_images::Error::Io {
            place: place.display().to_string(),
            source,
        };
        let entries = match std::fs::read_dir(&place) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(failed(e)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed)?;
            if entry.path().is_dir() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort();
        Ok(names)
    }
}

/// A file's bytes, none where it is not there. Only a file of a config's size is read, and never through a link: it would be
/// replaced, and not what it leads to.
fn read(place: &Path) -> std::io::Result<Option<Vec<u8>>> {
    use std::io::Read as _;
    let opened = std::fs::File::options()
        .read(true)
        .custom_flags(nix::fcntl::OFlag::O_NOFOLLOW.bits() | nix::fcntl::OFlag::O_NONBLOCK.bits())
        .open(place);
    let file = match opened {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) if e.raw_os_error() == Some(nix::errno::Errno::ELOOP as i32) => {
            return Err(std::io::Error::other(
                "a symbolic link, which would be replaced: name what it leads to, or make it a file",
            ));
        }
        Err(e) => return Err(e),
    };
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other("not a file"));
    }
    let mut bytes = Vec::new();
    file.take(node_config::MAX_FILE + 1).read_to_end(&mut bytes)?;
    if holdall::units::len64(bytes.len()) > node_config::MAX_FILE {
        return Err(std::io::Error::other(format!(
            "over {} bytes: no config",
            node_config::MAX_FILE
        )));
    }
    Ok(Some(bytes))
}

/// Runs the verb.
pub fn run(args: Args, output: &Output, asked_state: Option<PathBuf>) -> Result<Exit, ToolError> {
    let state = state::folder(asked_state)?;
    let state = std::path::absolute(&state).map_err(|e| ToolError::io(state.display(), e))?;
    let root = Root(&args.root);
    if args.undo {
        return undo(&root, &state, args.force, output);
    }
    if args.force && !args.write {
        return Err(ToolError::Usage("--force goes with --write or --undo".to_owned()));
    }
    let node = match args.node {
        Some(node) => node.into(),
        None if args.root == Path::new("/") => installed()?,
        None => return Err(ToolError::Usage("--root needs --for".to_owned())),
    };
    let wish = Wish {
        node,
        listen: args.listen,
        socket: args.snapshotter,
        state: state.clone(),
        runtime_class: args.runtime_class,
        registries: args.registry,
    };
    let plan = node_config::plan(&wish, &root)?;
    if args.write {
        journal::write(&root, &state, &plan.files, args.force)?;
    }
    tell(node, &plan, args.write, output)?;
    Ok(Exit::Done)
}

/// What is installed on this machine.
fn installed() -> Result<Node, ToolError> {
    let unknown = |why: String| ToolError::Usage(format!("{why}; say what runs containers here with --for"));
    let said = std::process::Command::new("containerd")
        .arg("--version")
        .output()
        .map_err(|e| unknown(format!("containerd --version: {e}")))?;
    let line = String::from_utf8_lossy(&said.stdout);
    Node::of_version_line(&line)
        .ok_or_else(|| unknown(format!("containerd --version says {:?}", line.trim())))
}

fn tell(node: Node, plan: &Plan, written: bool, output: &Output) -> Result<(), ToolError> {
    for file in &plan.files {
        let place = file.path.display();
        let what = match (&file.before, file.before.as_ref() == Some(&file.after)) {
            (_, true) => "is so already",
            (None, _) if written => "written; it was not there before",
            (Some(_), _) if written => "changed; what it was is kept for --undo",
            (None, _) => "would be new",
            (Some(_), _) => "would change",
        };
        output.say(format!("{place}: {what}"))?;
        if !written {
            output.line(diff(file).trim_end())?;
        }
    }
    for change in &plan.changes {
        let (place, key) = (change.path.display(), &change.key);
        let verb = if written { "was" } else { "is" };
        output.warn(&format!(
            "{place}: {key} {verb} {}, of another's, and {} {}",
            change.was,
            if written { "is now" } else { "would become" },
            change.becomes
        ));
    }
    for warning in &plan.warnings {
        output.warn(warning);
    }
    if !written {
        output.note("nothing was written: --write does, and --undo takes it back");
    }
    for note in &plan.notes {
        output.note(note);
    }
    let files: Vec<Value> = plan
        .files
        .iter()
        .map(|file| {
            json!({
                "path": file.path, "is_new": file.before.is_none(),
                "changes": file.before.as_ref() != Some(&file.after), "text": file.after, "diff": diff(file),
            })
        })
        .collect();
    let changes: Vec<Value> = plan
        .changes
        .iter()
        .map(|c| json!({ "path": c.path, "key": c.key, "was": c.was, "becomes": c.becomes }))
        .collect();
    output.result(&json!({
        "for": node.name(), "written": written, "files": files, "changed_values": changes,
        "warnings": plan.warnings, "notes": plan.notes,
    }))
}

/// A unified diff; empty where nothing changes.
fn diff(file: &NodeFile) -> String {
    let before = file.before.as_deref().unwrap_or_default();
    let path = file.path.display().to_string();
    let old = if file.before.is_some() {
        path.as_str()
    } else {
        "/dev/null"
    };
    similar::TextDiff::from_lines(before, file.after.as_str())
        .unified_diff()
        .header(old, &path)
        .to_string()
}

fn undo(root: &Root<'_>, state: &Path, force: bool, output: &Output) -> Result<Exit, ToolError> {
    let Some(journal) = Journal::load(root, state)? else {
        return Err(ToolError::NotThere {
            place: root.place(state).display().to_string(),
            what: "nothing to undo: no --write of node-config is remembered".to_owned(),
        });
    };
    let undone = journal.undo(root, state, force)?;
    for (path, what) in &undone {
        output.say(format!("{}: {what}", path.display()))?;
    }
    output.note("restart what runs containers, so that it reads its files again");
    let files: Vec<Value> = undone
        .iter()
        .map(|(path, what)| json!({ "path": path, "what": what }))
        .collect();
    output.result(&json!({ "undone": files }))?;
    Ok(Exit::Done)
}
