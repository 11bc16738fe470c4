//! `holdall serve`: a read-only registry, and the mounted disk beside it if asked, in one process.

use crate::exit::{Exit, ToolError};
use crate::output::{self, Output};
use crate::progress::Warnings;
use crate::verb::mount;
use crate::{cache_size, locate, signal};
use holdall_images::registry::{self, RegistryOptions};
use serde_json::json;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::Notify;

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The disk
    medium: PathBuf,
    /// The loopback address and port to listen on; port 0 picks a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:5577")]
    listen: SocketAddr,
    /// Mount the disk on this empty folder as well
    #[arg(long, value_name = "FOLDER")]
    mount: Option<PathBuf>,
    /// Serve this generation instead of the newest
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    generation: Option<u32>,
    /// Memory for checked frames, as 64M
    #[arg(long, value_name = "BYTES", value_parser = cache_size::parse)]
    cache_size: Option<u64>,
}

/// Runs the verb.
pub fn run(args: &Args, output: &Output) -> Result<Exit, ToolError> {
    let options = RegistryOptions::default();
    options.check(args.listen)?;
    let disk = locate::disk(&args.medium, args.generation, args.cache_size)?;
    disk.warnings().iter().for_each(|warning| output.warn(warning));
    let mut signals = signal::endings()?;
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
    let mounted = args
        .mount
        .as_deref()
        .map(|folder| mount::mount(disk.clone(), folder, false, *output))
        .transpose()?;
    let stop = Arc::new(Notify::new());
    let asked = Arc::clone(&stop);
    // Ends with the process: it waits for a second signal while open answers are finished.
    let waiting = std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            let mut signals = signals.forever();
            if signals.next().is_some() {
                asked.notify_one();
            }
            if signals.next().is_some() {
                std::process::exit(i32::from(Exit::Interrupted.code()));
            }
        });
    waiting.map_err(failed)?;
    let generation = disk.root().generation;
    output.line(format!(
        "serving generation {generation} of {} on http://{address}",
        args.medium.display()
    ))?;
    if let Some(mounted) = &mounted {
        output.line(format!("mounted on {}", mounted.mountpoint().display()))?;
    }
    output.result(&json!({
        "serving": format!("http://{address}"),
        "mounted": mounted.as_ref().map(holdall_fs::Mounted::mountpoint),
        "disk": output::generation(disk.root(), disk.root_hash()),
    }))?;
    let served = runtime.block_on(registry::serve(
        listener,
        disk,
        &options,
        Arc::new(Warnings(*output)),
        async move {
            stop.notified().await;
        },
    ));
    runtime.shutdown_background();
    if let Some(mounted) = &mounted {
        mount::unmount(mounted, *output)?;
        mounted.wait()?;
    }
    Ok(served.map(|()| Exit::Done)?)
}
