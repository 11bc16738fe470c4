//! `holdall mount`: the mounted disk, in the foreground.

use crate::exit::{Exit, ToolError};
use crate::output::{self, Output};
use crate::progress::Warnings;
use crate::{believe, cache_size, locate, signal, state};
use holdall::format::custody::Event;
use holdall_fs::{Detach, FsError, MountOptions, Mounted};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The disk
    medium: PathBuf,
    /// The empty folder to mount it on
    folder: PathBuf,
    /// Mount this generation instead of the newest
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    generation: Option<u32>,
    /// Let other users in [as root, or where /etc/fuse.conf has user_allow_other]
    #[arg(long)]
    allow_other: bool,
    /// Memory for checked frames, as 64M
    #[arg(long, value_name = "BYTES", value_parser = cache_size::parse)]
    cache_size: Option<u64>,
    #[command(flatten)]
    believe: believe::Args,
}

/// Mounts an opened disk, with the warnings of its readers on standard error.
pub fn mount(
    disk: holdall::reader::Disk,
    folder: &Path,
    allow_other: bool,
    output: Output,
) -> Result<Mounted, ToolError> {
    let options = MountOptions {
        allow_other: allow_other.then_some(true),
        monitor: Arc::new(Warnings(output)),
        ..MountOptions::default()
    };
    Ok(holdall_fs::mount(disk, folder, &options)?)
}

/// Unmounts in order; where something uses the mount, takes it out of sight and says so.
pub fn unmount(mounted: &Mounted, output: Output) -> Result<(), ToolError> {
    match mounted.unmount(Detach::WhenIdle) {
        Err(FsError::Busy { .. }) => {
            let place = mounted.mountpoint().display();
            output.note(format!(
                "{place}: in use; it goes on until it is let go, or a second Ctrl-C"
            ));
            Ok(mounted.unmount(Detach::Lazily)?)
        }
        other => Ok(other?),
    }
}

/// Runs the verb.
pub fn run(args: &Args, output: &Output, asked_state: Option<PathBuf>) -> Result<Exit, ToolError> {
    let disk = locate::disk_to_mount(&args.medium, args.generation, args.cache_size)?;
    disk.warnings().iter().for_each(|warning| output.warn(warning));
    let state = state::folder(asked_state)?;
    let judged = args
        .believe
        .believe(args.believe.policy()?.as_ref(), &disk, false, &state, output)?;
    // Before the mount, so that no signal can come between.
    let mut signals = signal::endings()?;
    let ending = signals.handle();
    let shown = output::generation(disk.root(), disk.root_hash());
    let generation = disk.root().generation;
    let mounted = mount(disk.clone(), &args.folder, args.allow_other, *output)?;
    judged.log(&disk, Event::Mounted, "", &state, output);
    drop(disk);
    let place = mounted.mountpoint().display();
    output.say(format!(
        "mounted generation {generation} of {} on {place}",
        args.medium.display()
    ))?;
    output.result(&json!({ "mounted": mounted.mountpoint(), "disk": shown, "trust": judged.as_json() }))?;
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| {
            let mut signals = signals.forever();
            let Some(_) = signals.next() else { return Ok(()) };
            let ended = unmount(&mounted, *output);
            if ended.is_ok() && signals.next().is_some() {
                std::process::exit(i32::from(Exit::Interrupted.code()));
            }
            ended
        });
        let ended = mounted.wait();
        ending.close();
        asked.join().unwrap_or(Ok(()))?;
        Ok(ended.map(|()| Exit::Done)?)
    })
}
