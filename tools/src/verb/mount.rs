//! `holdall mount`: the mounted disk, in the foreground.

use crate::exit::{Exit, ToolError};
use crate::output::{self, Output};
use crate::profile::Profile;
use crate::progress::Warnings;
use crate::{believe, cache_size, locate, signal, state};
use holdall::format::custody::Event;
use holdall::reader::Disk;
use holdall_fs::{Detach, FsError, MountOptions, Mounted, Recorder};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

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
    recording: Recording,
    #[command(flatten)]
    believe: believe::Args,
}

/// Whether it is recorded what containers read first.
#[derive(Debug, clap::Args)]
pub struct Recording {
    /// Record what is read first of each image's files, and write it to this file at the end: `repack` and `add` lay it together
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,
    /// How long reads of an image count as its first ones, from the very first on, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30, requires = "profile")]
    profile_seconds: u32,
}

impl Recording {
    /// What records, if anything does.
    pub fn recorder(&self) -> Option<Arc<Recorder>> {
        let within = Duration::from_secs(self.profile_seconds.into());
        self.profile.as_ref().map(|_| Arc::new(Recorder::new(within)))
    }

    /// Writes down what was recorded. That it could not be done is a warning: mounts and containers are let go of all the same.
    pub fn write(&self, recorder: Option<&Recorder>, disk: &Disk, output: &Output) -> Result<(), ToolError> {
        let (Some(recorder), Some(path)) = (recorder, &self.profile) else {
            return Ok(());
        };
        let written = recorder
            .recorded(disk)
            .map_err(ToolError::Disk)
            .and_then(|recorded| Ok((recorded.len(), Profile::of(&recorded, disk)?)))
            .and_then(|(chains, (profile, unsaid))| profile.write(path).map(|()| (chains, unsaid)));
        let (chains, unsaid) = match written {
            Ok(written) => written,
            Err(error) => {
                output.warn(&format!("the profile is not written: {error}"));
                return Ok(());
            }
        };
        if unsaid > 0 {
            output.warn(&format!(
                "{unsaid} reads are left out: their files' paths are not UTF-8"
            ));
        }
        output.say(format!(
            "{}: what was read first of {}",
            path.display(),
            output::plural(chains as u64, "chain of layers")
        ))
    }
}

/// Mounts an opened disk, with the warnings of its readers on standard error, and what is read of chains told to a recorder.
pub fn mount(
    disk: Disk,
    folder: &Path,
    allow_other: bool,
    recorder: Option<Arc<Recorder>>,
    output: Output,
) -> Result<Mounted, ToolError> {
    let options = MountOptions {
        recorder,
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
    let recorder = args.recording.recorder();
    let mounted = mount(
        disk.clone(),
        &args.folder,
        args.allow_other,
        recorder.clone(),
        *output,
    )?;
    judged.log(&disk, Event::Mounted, "", &state, output);
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
        args.recording.write(recorder.as_deref(), &disk, output)?;
        Ok(ended.map(|()| Exit::Done)?)
    })
}
