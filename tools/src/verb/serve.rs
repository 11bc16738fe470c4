//! `holdall serve`: the loader. A registry; beside it, if asked, the mounted disk, a snapshotter for containerd,
//! and the disk's images registered with containerd; all in one process.

mod kernel;
pub mod loader;
mod plugged;
mod running;
mod stopping;

use crate::believe::Judged;
use crate::exit::{Exit, ToolError};
use crate::output::{self, Output};
use crate::progress::Warnings;
use crate::verb::mount;
use crate::{believe, cache_size, locate, signal, state};
use holdall::format::custody::Event;
use holdall::ids::PageHash;
use holdall::name::ImageName;
use holdall::reader::{Disk, RebuiltOptions};
use holdall_images::containerd::registration::LayerLinks;
use holdall_images::registry::{self, Awaited, RegistryOptions};
use loader::{Loader, Registering};
use serde_json::json;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::TcpListener;

/// Where the disk is mounted for a snapshotter that is not told where.
const MOUNTPOINT: &str = "/run/holdall/disk";

const UNSIGNED: &str = "containers would run from a disk that nobody vouches for: an image's name could stand for anything on it. \
    Give this node a policy (`holdall trust --help`), or --root HASH, as `holdall info` shows it where the disk was written, or --allow-unsigned";

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The disk
    medium: PathBuf,
    /// The loopback address and port to listen on; port 0 picks a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:5577")]
    listen: SocketAddr,
    /// Mount the disk on this empty folder as well [with --snapshotter or --containerd: /run/holdall/disk]
    #[arg(long, value_name = "FOLDER")]
    mount: Option<PathBuf>,
    /// Answer containerd as a snapshotter on this unix socket, so that containers start from the disk
    #[arg(long, value_name = "SOCKET")]
    snapshotter: Option<PathBuf>,
    /// Make the disk's images present in the containerd that answers on this unix socket
    #[arg(long, value_name = "SOCKET", requires = "snapshotter")]
    containerd: Option<PathBuf>,
    /// containerd's namespace; Kubernetes uses k8s.io
    #[arg(long, default_value = "k8s.io", requires = "containerd")]
    namespace: String,
    /// The name that containerd's configuration gives to the snapshotter
    #[arg(long, value_name = "NAME", default_value = "holdall", requires = "containerd")]
    snapshotter_name: String,
    /// Tell the kubelet never to remove the images
    #[arg(long, requires = "containerd")]
    pin: bool,
    /// Take names that the node has for other images; `holdall unload` gives them back
    #[arg(long, requires = "containerd")]
    replace: bool,
    /// Register this image of the disk before all others, as nginx:1.27; may be given several times. It can be run as soon
    /// as that is said
    #[arg(long, value_name = "NAME", requires = "containerd", value_parser = ImageName::parse_familiar)]
    first: Vec<ImageName>,
    /// Also link the layers into containerd's content store in this folder [as
    /// /var/lib/containerd/io.containerd.content.v1.content], so that images can be exported and unpacked elsewhere
    #[arg(long, value_name = "FOLDER", requires = "containerd")]
    link_layers: Option<PathBuf>,
    /// Let containers run from the FUSE tree, though the kernel could mount the disk's EROFS images and be faster
    #[arg(long, requires = "snapshotter")]
    fuse_trees: bool,
    #[command(flatten)]
    recording: mount::Recording,
    /// The root that the disk must have: what `holdall info` shows where the disk was written
    #[arg(long, value_name = "HASH", value_parser = PageHash::from_hex)]
    root: Option<PageHash>,
    /// Let containers run from a disk whose root nobody vouches for
    #[arg(long, conflicts_with = "root")]
    allow_unsigned: bool,
    /// Serve this generation instead of the newest
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    generation: Option<u32>,
    /// Memory for checked frames, as 64M
    #[arg(long, value_name = "BYTES", value_parser = cache_size::parse)]
    cache_size: Option<u64>,
    /// Keep up to so much of the layers that were made again on the node's own disk (in its state folder), as 10G: they are not made
    /// twice then
    #[arg(long, value_name = "BYTES", value_parser = cache_size::parse)]
    layer_cache: Option<u64>,
    #[command(flatten)]
    believe: believe::Args,
}

impl Args {
    /// Opens the disk, if it is the one to be trusted.
    fn open(&self, asked_state: Option<&PathBuf>, output: &Output) -> Result<(Disk, Judged), ToolError> {
        // Read once: what is looked for here and what it is judged by is the same policy.
        let policy = self.believe.policy()?;
        let rebuilt = match self.layer_cache {
            Some(most_bytes) => Some(RebuiltOptions {
                folder: state::folder(asked_state.cloned())?.join("layers"),
                most_bytes,
            }),
            None => None,
        };
        let direct = self.snapshotter.is_some();
        let disk = locate::disk_keeping(&self.medium, self.generation, self.cache_size, rebuilt, direct)?;
        disk.warnings().iter().for_each(|warning| output.warn(warning));
        match self.root {
            Some(root) if root != disk.root_hash() => {
                return Err(ToolError::Refused(format!(
                    "{}: its root is {}, not {root}: it is not the disk that --root names",
                    self.medium.display(),
                    disk.root_hash()
                )));
            }
            Some(_) => {}
            None if policy.is_some() || self.snapshotter.is_none() || self.allow_unsigned => {}
            None => return Err(ToolError::Refused(UNSIGNED.to_owned())),
        }
        let state = state::folder(asked_state.cloned())?;
        let judged = self
            .believe
            .believe(policy.as_ref(), &disk, self.root.is_some(), &state, output)?;
        Ok((disk, judged))
    }

    fn check(&self) -> Result<(), ToolError> {
        if self.snapshotter.is_some()
            && self.root.is_none()
            && !self.allow_unsigned
            && self.believe.policy()?.is_none()
        {
            return Err(ToolError::Refused(UNSIGNED.to_owned()));
        }
        Ok(())
    }
}

/// Who reads what is said may go away: the containers do not end for that.
fn heard(said: Result<(), ToolError>) -> Result<(), ToolError> {
    match said {
        Err(ToolError::Closed) => Ok(()),
        other => other,
    }
}

/// Longest wait, once all is answered, for calls of clients that have gone.
const SETTLING: std::time::Duration = std::time::Duration::from_secs(3);

/// Runs the verb.
pub fn run(args: &Args, output: &Output, asked_state: Option<PathBuf>) -> Result<Exit, ToolError> {
    let options = RegistryOptions::default();
    options.check(args.listen)?;
    args.check()?;
    // Before anything is begun, so that no signal can come between.
    let signals = signal::endings()?;
    let failed = |e| ToolError::io("the server's threads", e);
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.clamp(2, 4))
        .thread_name("serve")
        .enable_all()
        .build()
        .map_err(failed)?;
    let listener = runtime
        .block_on(TcpListener::bind(args.listen))
        .map_err(|e| ToolError::io(args.listen, e))?;
    let address = listener.local_addr().map_err(|e| ToolError::io(args.listen, e))?;
    let mountpoint = match (&args.mount, &args.snapshotter) {
        (Some(folder), _) => Some(folder.clone()),
        (None, Some(_)) => Some(loader::default_mountpoint(MOUNTPOINT)?),
        (None, None) => None,
    };
    let stop = stopping::Stop::default();
    let watched = mountpoint.clone().map(|mountpoint| running::Places {
        mountpoint,
        state: args.snapshotter.as_ref().map(|_| asked_state.clone()),
    });
    let watched = watched.map(|places| places.resolve()).transpose()?;
    stopping::listen(signals, stop.clone(), watched, *output).map_err(failed)?;
    let _entered = runtime.enter();
    // From now on clients are told what is waited for, and have the disk as soon as it is there.
    let awaited = Awaited::default();
    let answering = runtime.spawn({
        let (awaited, asked, monitor) = (awaited.clone(), stop.asked(), Arc::new(Warnings(*output)));
        async move { registry::serve(listener, awaited, &options, monitor, asked).await }
    });
    let mut loader = match &args.snapshotter {
        Some(socket) => {
            let state = state::folder(asked_state.clone())?;
            let chains = mountpoint.clone().unwrap_or_default();
            let registering = args.containerd.as_ref().map(|socket| Registering {
                socket: socket.clone(),
                namespace: args.namespace.clone(),
                snapshotter: args.snapshotter_name.clone(),
                pinned: args.pin,
                replace: args.replace,
                links: args.link_layers.as_ref().map(|content| LayerLinks {
                    store: content.clone(),
                    blobs: mountpoint.clone().unwrap_or_default().join("blobs/sha256"),
                }),
                first: args.first.clone(),
            });
            Some(Loader::start(
                socket,
                &state,
                (&chains, !args.fuse_trees),
                registering,
                &stop,
                *output,
            )?)
        }
        None => None,
    };
    // containerd may be waiting for the snapshotter's socket: the node's other images do not need the disk.
    loader::notify_ready(loader.is_some());
    let open = || args.open(asked_state.as_ref(), output);
    let (disk, judged) = match &loader {
        Some(_) => match loader::wait_for_disk(open, &args.medium, &stop, output)? {
            Some(opened) => opened,
            None => return Ok(Exit::Done),
        },
        None => open()?,
    };
    awaited.come(disk.clone());
    let recorder = args.recording.recorder();
    let mounted = mountpoint
        .as_deref()
        .map(|folder| mount::mount(disk.clone(), folder, false, recorder.clone(), *output))
        .transpose()?;
    judged.log(
        &disk,
        Event::Served,
        "",
        &state::folder(asked_state.clone())?,
        output,
    );
    let generation = disk.root().generation;
    heard(output.line(format!(
        "serving generation {generation} of {} on http://{address}",
        args.medium.display()
    )))?;
    if let Some(mounted) = &mounted {
        heard(output.line(format!("mounted on {}", mounted.mountpoint().display())))?;
    }
    let registered = match &mut loader {
        Some(loader) => loader.plug(&disk, &runtime, &stop, output)?,
        None => None,
    };
    heard(output.result(&json!({
        "serving": format!("http://{address}"),
        "mounted": mounted.as_ref().map(holdall_fs::Mounted::mountpoint),
        "snapshotter": args.snapshotter,
        "registered": registered,
        "disk": output::generation(disk.root(), disk.root_hash()),
    })))?;
    loader::notify_ready(true);
    let served = runtime.block_on(answering);
    loader::notify_stopping();
    heard(args.recording.write(recorder.as_deref(), &disk, output))?;
    let broken = loader.as_ref().is_some_and(Loader::is_broken);
    if let Some(loader) = &loader {
        loader.end();
    }
    drop(loader);
    // The state's database must be closed before the process ends. A call that the device holds is not waited for.
    runtime.shutdown_timeout(SETTLING);
    if let Some(mounted) = &mounted {
        mount::unmount(mounted, *output)?;
        mounted.wait()?;
    }
    served.map_err(|e| ToolError::io("the registry", e.into()))??;
    // The warning has said why; whoever started us is to start us again.
    Ok(if broken { Exit::Failed } else { Exit::Done })
}
