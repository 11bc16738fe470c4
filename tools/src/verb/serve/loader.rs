//! What containerd sees of the disk: the snapshotter on its socket, and the images that are registered.

use super::kernel::KernelTrees;
use super::plugged::Plugged;
use super::stopping::Stop;
use crate::exit::ToolError;
use crate::output::{Output, printable};
use holdall::index::Table;
use holdall::medium::{DirectoryMedium, Medium as _, MediumFile, SlotNumber};
use holdall::name::ImageName;
use holdall::reader::Disk;
use holdall_images::containerd::registration::{
    self, ImageReport, LayerLinks, Outcome, RegistrationOptions, Report,
};
use holdall_images::containerd::snapshotter::service::serve;
use holdall_images::containerd::snapshotter::{Chains, SnapshotSocket, Snapshots};
use holdall_images::platform::Platform;
use sd_notify::NotifyState;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

/// How long until it is looked again for a disk or a containerd that is not there.
const AGAIN: Duration = Duration::from_millis(500);

/// Where images are registered.
#[derive(Debug, Clone)]
pub struct Registering {
    /// containerd's socket.
    pub socket: PathBuf,
    /// Its namespace.
    pub namespace: String,
    /// Our snapshotter, by the name that containerd has for it.
    pub snapshotter: String,
    /// Whether the kubelet may never remove them.
    pub pinned: bool,
    /// Whether names of other images are taken.
    pub replace: bool,
    /// Whether layers are linked into containerd's content store, and where that is.
    pub links: Option<LayerLinks>,
    /// The images that are registered before all others.
    pub first: Vec<ImageName>,
}

impl Registering {
    /// The same, as the images room has it.
    pub fn options(&self) -> Result<RegistrationOptions, ToolError> {
        Ok(RegistrationOptions {
            socket: self.socket.clone(),
            namespace: self.namespace.clone(),
            snapshotter: self.snapshotter.clone(),
            platform: Platform::parse(&format!("linux/{}", std::env::consts::ARCH))?,
            pinned: self.pinned,
            replace: self.replace,
            links: self.links.clone(),
            first: self.first.iter().map(ImageName::to_string).collect(),
        })
    }
}

/// The snapshotter, answering; dropped, it stops.
#[derive(Debug)]
pub struct Loader {
    plugged: Arc<Plugged>,
    registering: Option<Registering>,
    state: PathBuf,
    broken: Arc<AtomicBool>,
    _answering: JoinHandle<()>,
}

/// The folder of the snapshotter's state.
pub fn snapshotter_folder(state: &Path) -> PathBuf {
    state.join("snapshotter")
}

/// The folder in which it is remembered what registered images took the place of.
pub fn registration_folder(state: &Path) -> PathBuf {
    state.join("registration")
}

/// Makes the folder that a disk is mounted on where no other was named.
pub fn default_mountpoint(path: &str) -> Result<PathBuf, ToolError> {
    let path = PathBuf::from(path);
    // A mount that a killed process left there is taken away by the next mount.
    if std::fs::symlink_metadata(&path).is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound) {
        std::fs::create_dir_all(&path).map_err(|e| ToolError::io(path.display(), e))?;
    }
    Ok(path)
}

/// Waits for a disk that is not plugged in yet; what is wrong with one that is ends the wait. None where it was
/// asked to stop meanwhile.
pub fn wait_for_disk<Opened>(
    open: impl Fn() -> Result<Opened, ToolError>,
    medium: &Path,
    stop: &Stop,
    output: &Output,
) -> Result<Option<Opened>, ToolError> {
    let (mut said, mut was_there) = (false, false);
    loop {
        if stop.is_asked() {
            return Ok(None);
        }
        match open() {
            Ok(opened) => return Ok(Some(opened)),
            // A disk that is there and lacks something is a damaged one; between one look and the next it may have come.
            Err(error) if is_absent(&error) && !(was_there && is_there(medium)) => {
                was_there = is_there(medium);
                if !said {
                    output.note(format!(
                        "{}: no disk yet ({error}); waiting for it",
                        medium.display()
                    ));
                    notify_status("waiting for the disk");
                    said = true;
                }
                std::thread::sleep(AGAIN);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Whether a disk is there by what it is opened by.
fn is_there(medium: &Path) -> bool {
    let slot = |disk: DirectoryMedium| disk.len(MediumFile::Slot(SlotNumber::Zero));
    DirectoryMedium::open(medium)
        .and_then(slot)
        .is_ok_and(|len| len.is_some())
}

/// Whether something is not there: the disk, or what it should have.
fn is_absent(error: &ToolError) -> bool {
    error.store().is_some_and(|error| match error.root_cause() {
        holdall::Error::Missing { .. } => true,
        holdall::Error::Io { source, .. } => matches!(
            source.kind(),
            std::io::ErrorKind::NotFound | std::io::ErrorKind::NotConnected
        ),
        _ => false,
    })
}

impl Loader {
    /// Answers on the socket, without a disk so far. Must run within a tokio runtime.
    pub fn start(
        socket: &Path,
        state: &Path,
        (mountpoint, kernel): (&Path, bool),
        registering: Option<Registering>,
        stop: &Stop,
        output: Output,
    ) -> Result<Self, ToolError> {
        let mountpoint =
            std::path::absolute(mountpoint).map_err(|e| ToolError::io(mountpoint.display(), e))?;
        let kernel = kernel.then(|| KernelTrees::beside(&mountpoint, output));
        let plugged = Arc::new(Plugged::new(&mountpoint, kernel));
        let chains = Arc::clone(&plugged) as Arc<dyn Chains>;
        let snapshots = Arc::new(Snapshots::open(&snapshotter_folder(state), chains)?);
        if let Some(folder) = socket.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(|e| ToolError::io(folder.display(), e))?;
        }
        let socket = SnapshotSocket::bind(socket)?;
        let (asked, ending) = (stop.asked(), stop.clone());
        let broken = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&broken);
        let answering = tokio::spawn(async move {
            if let Err(error) = serve(snapshots, &socket, asked).await {
                output.warn(&format!("the snapshotter has stopped: {error}"));
                ended.store(true, Ordering::Relaxed);
                ending.ask();
            }
        });
        Ok(Self {
            plugged,
            registering,
            state: state.to_owned(),
            broken,
            _answering: answering,
        })
    }

    /// Takes away what stands on the disk's mount.
    pub fn end(&self) {
        self.plugged.end();
    }

    /// True where the snapshotter ended though nobody asked it to.
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// The disk is mounted: the snapshotter has its chains from now on, and its images are registered.
    pub fn plug(
        &mut self,
        disk: &Disk,
        runtime: &Runtime,
        stop: &Stop,
        output: &Output,
    ) -> Result<Option<Report>, ToolError> {
        self.plugged.plug(disk.clone());
        let Some(registering) = &self.registering else {
            return Ok(None);
        };
        for name in &registering.first {
            if disk.image(name)?.is_none() {
                output.warn(&format!("--first {name}: the disk has no image of that name"));
            }
        }
        let options = registering.options()?;
        let table = Table::open(&registration_folder(&self.state))?;
        let mut said = false;
        // Who reads what is said may go away.
        let told = |image: &ImageReport| {
            let _heard = tell_one(image, output);
        };
        let report = loop {
            let chains = Arc::clone(&self.plugged) as Arc<dyn Chains>;
            match runtime.block_on(registration::register(disk, chains, &options, &table, &told)) {
                Ok(report) => break report,
                // containerd is not there yet, or went away meanwhile.
                Err(error) if error.is_final() && !stop.is_asked() => {
                    if !said {
                        output.note(format!("{error}; waiting for it"));
                        notify_status("waiting for containerd");
                        said = true;
                    }
                    std::thread::sleep(AGAIN);
                }
                Err(_) if stop.is_asked() => return Ok(None),
                // Containers may run from the mount by now: it does not end for this.
                Err(error) => {
                    output.warn(&format!("the images are not registered: {error}"));
                    return Ok(None);
                }
            }
        };
        super::heard(tell(&report, output))?;
        Ok(Some(report))
    }
}

/// Says what became of each image that was taken out, and of all.
pub fn tell_unloaded(report: &Report, output: &Output) -> Result<(), ToolError> {
    report
        .images
        .iter()
        .try_for_each(|image| tell_one(image, output))?;
    let count = |outcome| report.count(outcome);
    output.line(format!(
        "{} images: {} removed, {} given back, {} left to others, {} failed",
        report.images.len(),
        count(Outcome::Removed),
        count(Outcome::Restored),
        count(Outcome::Kept),
        count(Outcome::Failed),
    ))
}

/// Says what became of all images.
fn tell(report: &Report, output: &Output) -> Result<(), ToolError> {
    let count = |outcome| report.count(outcome);
    output.line(format!(
        "{} images: {} registered, {} replaced, {} present before, {} in conflict, {} left out, {} failed",
        report.images.len(),
        count(Outcome::Registered),
        count(Outcome::Replaced),
        count(Outcome::Present),
        count(Outcome::Conflict),
        count(Outcome::Skipped),
        count(Outcome::Failed),
    ))
}

/// Says what became of an image.
fn tell_one(image: &ImageReport, output: &Output) -> Result<(), ToolError> {
    let why = image.why.as_deref().map(|why| format!(": {}", printable(why)));
    let text = format!("{}  {}{}", image.name, image.outcome, why.unwrap_or_default());
    match image.outcome {
        Outcome::Failed | Outcome::Conflict => {
            output.warn(&text);
            Ok(())
        }
        _ => output.say(text),
    }
}

/// Tells systemd, where it started us, that others may go on.
pub fn notify_ready(ready: bool) {
    if ready {
        // Without a systemd there is nobody to tell.
        let _nobody_listens = sd_notify::notify(&[NotifyState::Ready, NotifyState::Status("serving")]);
    }
}

/// Tells systemd what is going on.
pub fn notify_status(text: &str) {
    let _nobody_listens = sd_notify::notify(&[NotifyState::Status(text)]);
}

/// Tells systemd that we are on the way out.
pub fn notify_stopping() {
    let _nobody_listens = sd_notify::notify(&[NotifyState::Stopping]);
}
