//! `holdall add`: images and files become one generation, or nothing does.

mod plan;
mod report;
mod signed;

use crate::exit::{Exit, ToolError};
use crate::level::Effort;
use crate::output::Output;
use crate::profile::Profiles;
use crate::progress::Progress;
use crate::{locate, looking, signal, signatures, state};
use holdall::ingest::{FilesAdded, Ingest, IngestOptions};
use holdall::monitor::Monitor as _;
use holdall::name::ImageName;
use holdall_images::copy::{CopyOptions, Run};
use holdall_images::platform::Platform;
use holdall_images::remote::auth::AuthPlaces;
use holdall_images::source::Source;
use holdall_images::{ImageSource, RegistryOptions};
use plan::{Plan, Planned, What};
use report::Added;
use std::path::PathBuf;
use std::sync::Arc;

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = SOURCES)]
pub struct Args {
    /// The disk
    medium: PathBuf,
    /// What to add; see below
    #[arg(required = true, value_name = "SOURCE", value_parser = spelled)]
    sources: Vec<Spelled>,
    /// Name the one image of the one source, as docker.io/acme/api:1.2
    #[arg(long = "as", value_name = "NAME", value_parser = image_name)]
    as_name: Option<ImageName>,
    /// Of images for several platforms, carry only this one, as linux/arm64; can be given again
    #[arg(long = "platform", value_name = "PLATFORM", value_parser = Platform::parse)]
    platforms: Vec<Platform>,
    /// Let a derived name move, and the last of several images with one name win
    #[arg(long)]
    replace: bool,
    /// How much work is put into taking less room; the disk is read the same way whatever it is
    #[arg(long, value_enum, default_value_t)]
    level: Effort,
    /// Say what would be added, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Put loose files and folders into this folder below files/
    #[arg(long, value_name = "FOLDER")]
    into: Option<PathBuf>,
    /// Speak to this registry (host or host:port) without TLS; can be given again
    #[arg(long, value_name = "HOST")]
    plain_http: Vec<String>,
    /// Trust the certificates in this PEM file beside the system's
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Refuse all of it where an image is not signed with cosign by the owner of this public key; can be given again, and one
    /// of the keys is enough
    #[arg(long = "cosign-key", value_name = "FILE")]
    cosign_keys: Vec<PathBuf>,
    /// Lay together what containers read first, by what `serve --profile` recorded in this file of these images or of other versions of them; can be given again
    #[arg(long = "profile", value_name = "FILE")]
    profiles: Vec<PathBuf>,
}

const SOURCES: &str = "Sources:
  oci:DIR[:TAG]             an OCI image layout: all of it, or the image of that tag or digest
  oci-archive:FILE[:TAG]    a tar of such a layout
  docker-archive:FILE[:REF] what docker save wrote
  docker://REF              an image in a registry
  file:PATH                 a file, which becomes files/NAME
  dir:PATH                  a folder, which becomes files/NAME with all that is in it

All of them become one generation, or nothing does. Stopped half-way, the same add again writes only
what is missing.";

/// A source, and how it was spelled.
#[derive(Debug, Clone)]
struct Spelled {
    text: String,
    source: Source,
}

fn spelled(text: &str) -> Result<Spelled, holdall_images::Error> {
    Ok(Spelled {
        text: text.to_owned(),
        source: Source::parse(text)?,
    })
}

fn image_name(text: &str) -> Result<ImageName, holdall::name::NameError> {
    ImageName::parse_familiar(text)
}

impl Spelled {
    /// Names the source in a failure of it.
    fn failed<E: Into<ToolError>>(&self) -> impl Fn(E) -> ToolError {
        |error| ToolError::Source {
            source_text: self.text.clone(),
            error: Box::new(error.into()),
        }
    }
}

/// Runs the verb.
pub fn run(args: Args, output: &Output, asked_state: Option<PathBuf>) -> Result<Exit, ToolError> {
    check(&args)?;
    let keys = signatures::keys(&args.cosign_keys)?;
    let profiles = Profiles::read(&args.profiles)?;
    let interrupted = signal::interrupted()?;
    let options = IngestOptions {
        witness: state::witness(),
        state: state::folder(asked_state)?,
        interrupted: Arc::clone(&interrupted),
        level: args.level.into(),
    };
    let medium = looking::to_write(&args.medium, args.dry_run)?;
    let progress = Arc::new(Progress::new(*output, "added"));
    let monitor: Arc<dyn holdall::monitor::Monitor> = Arc::clone(&progress) as _;
    let ingest = Ingest::open(medium, &options, monitor)?;
    let registry = RegistryOptions {
        plain_http: args.plain_http.clone(),
        extra_ca: args.ca.clone(),
        auth: AuthPlaces::from_environment(),
    };
    // Kept open to the end: what is read twice is then the same twice.
    let sources = open(&args, &registry)?;
    let copy = Run::new(
        &ingest,
        CopyOptions {
            platforms: args.platforms.clone(),
            replace: args.replace,
        },
    );
    let mut plan = plan::make(&args, &sources, &copy, &interrupted)?;
    plan.signed = signed::check(&args, &plan.sources, &copy, &keys, output)?;
    plan.check_room(&ingest, output)?;
    if args.dry_run {
        report::planned(&plan, &ingest, output)?;
        return Ok(Exit::Done);
    }
    let added = carry(&plan, &copy, &ingest, &progress);
    let done = added.and_then(|mut added| {
        added.hot = profiles.apply(&ingest, true)?;
        Ok((added, ingest.commit()?))
    });
    progress.finish();
    let (added, committed) = done?;
    report::committed(&added, &committed, &plan, &progress, output)?;
    Ok(Exit::Done)
}

/// What the command line alone can be refused for.
fn check(args: &Args) -> Result<(), ToolError> {
    let loose = |spelled: &Spelled| matches!(spelled.source, Source::File(_) | Source::Dir(_));
    if args.as_name.is_some() && (args.sources.len() != 1 || args.sources.iter().any(loose)) {
        return Err(ToolError::Usage(
            "--as names one image: give it with exactly one source of images".to_owned(),
        ));
    }
    if args.into.is_some() && !args.sources.iter().any(loose) {
        return Err(ToolError::Usage(
            "--into is for file: and dir:, and there is none".to_owned(),
        ));
    }
    if !args.cosign_keys.is_empty() && args.sources.iter().all(loose) {
        return Err(ToolError::Usage(
            "--cosign-key is for images, and there are none".to_owned(),
        ));
    }
    Ok(())
}

/// Opens every source of images; none for loose files, which need no opening.
fn open(args: &Args, registry: &RegistryOptions) -> Result<Vec<Option<Box<dyn ImageSource>>>, ToolError> {
    let open = |spelled: &Spelled| match spelled.source {
        Source::File(_) | Source::Dir(_) => Ok(None),
        _ => holdall_images::open(&spelled.source, registry)
            .map(Some)
            .map_err(spelled.failed()),
    };
    args.sources.iter().map(open).collect()
}

/// Takes everything in.
fn carry(plan: &Plan<'_>, copy: &Run<'_>, ingest: &Ingest, progress: &Progress) -> Result<Added, ToolError> {
    let mut added = Added::default();
    for Planned { spelled, what } in &plan.sources {
        match what {
            What::Images { source, chosen } => {
                for image in chosen {
                    added
                        .images
                        .extend(copy.copy_image(*source, image).map_err(spelled.failed())?);
                }
            }
            What::Loose {
                path,
                into,
                name,
                measure,
            } => {
                progress.step(&format!("{} as {}", spelled.text, plan::below_files(into, name)));
                progress.expect(measure.bytes);
                let files: FilesAdded = ingest
                    .add_path(path, into, name.clone())
                    .map_err(spelled.failed())?;
                added.files.push((plan::below_files(into, name), files));
            }
        }
    }
    Ok(added)
}

/// The folders of `--into`.
fn into_folders(args: &Args) -> Result<Vec<holdall::name::EntryName>, ToolError> {
    use std::os::unix::ffi::OsStrExt as _;
    args.into
        .as_ref()
        .map_or(Ok(Vec::new()), |into| locate::names(into.as_os_str().as_bytes()))
}
