//! `holdall unload`: a disk's images taken out of containerd again.

use crate::exit::{Exit, ToolError};
use crate::output::Output;
use crate::verb::serve::loader::{self, Registering};
use crate::{locate, state};
use holdall::ids::MediumId;
use holdall::index::Table;
use holdall_images::containerd::registration;
use serde_json::json;
use std::path::PathBuf;

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The disk
    #[arg(required_unless_present = "medium_id", conflicts_with = "medium_id")]
    medium: Option<PathBuf>,
    /// The disk's id, as `holdall info` shows it: for a disk that is not there any more
    #[arg(long, value_name = "ID", value_parser = MediumId::from_hex)]
    medium_id: Option<MediumId>,
    /// The unix socket that containerd answers on
    #[arg(
        long,
        value_name = "SOCKET",
        default_value = "/run/containerd/containerd.sock"
    )]
    containerd: PathBuf,
    /// containerd's namespace; Kubernetes uses k8s.io
    #[arg(long, default_value = "k8s.io")]
    namespace: String,
    /// The name that containerd's configuration gives to the snapshotter
    #[arg(long, value_name = "NAME", default_value = "holdall")]
    snapshotter_name: String,
}

/// Runs the verb.
pub fn run(args: &Args, output: &Output, asked_state: Option<PathBuf>) -> Result<Exit, ToolError> {
    let medium = match (&args.medium_id, &args.medium) {
        (Some(id), _) => *id,
        (None, Some(path)) => locate::disk(path, None, None)?.root().medium,
        (None, None) => return Err(ToolError::Usage("which disk?".to_owned())),
    };
    let options = Registering {
        socket: args.containerd.clone(),
        namespace: args.namespace.clone(),
        snapshotter: args.snapshotter_name.clone(),
        pinned: false,
        replace: false,
        links: None,
        first: Vec::new(),
    }
    .options()?;
    let table = Table::open(&loader::registration_folder(&state::folder(asked_state)?))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| ToolError::io("the runtime", e))?;
    let report = runtime.block_on(registration::unload(&medium, &options, &table))?;
    loader::tell_unloaded(&report, output)?;
    output.result(&json!({ "medium": medium.to_hex(), "images": report.images }))?;
    Ok(if report.is_whole() {
        Exit::Done
    } else {
        Exit::Failed
    })
}
