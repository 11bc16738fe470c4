//! `holdall verify`: everything that is damaged, and the images and files that it touches.

mod checks;
mod contents;
mod html;
mod journal;
mod opening;
mod report;
mod report_file;
mod text;

use super::verify_images;
use crate::believe::{self, Judged};
use crate::exit::{Exit, ToolError};
use crate::output::Output;
use crate::progress::Progress;
use crate::{locate, signal, state};
use contents::Contents;
use holdall::format::custody::Event;
use holdall::generation;
use holdall::medium::{Medium, MediumFile};
use holdall::reader::{Disk, OpenOptions};
use holdall::trust::Policy;
use holdall::units::Generation;
use holdall::verify::{self, Journal, Sample, VerifyOptions};
use holdall_images::audit::{self, Audit};
use holdall_images::cosign::{ImageSigned, PublicKey};
use holdall_images::derivation::{self, Derivation, Deriving};
use journal::{KeptJournal, Subject};
use report::{CustodyEvent, Findings, Mode, Report, Resumed, Run, SignatureVerdict, Standing};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The disk
    medium: PathBuf,
    /// Also decode everything, and check each chunk's, blob's and layer's own hash
    #[arg(long)]
    full: bool,
    /// Of the packs, read and decode N frames alone, drawn at random; catalogue, lists and trees are checked as always. What a
    /// clean sample proves is said
    #[arg(long, value_name = "N", conflicts_with_all = ["full", "resume"], value_parser = clap::value_parser!(u64).range(1..))]
    sample: Option<u64>,
    /// Draw the same frames as the run that told this seed
    #[arg(long, value_name = "SEED", requires = "sample")]
    seed: Option<u64>,
    /// Go on with a check that was stopped, of this very generation and in the same mode: what it had read is not read again
    #[arg(long)]
    resume: bool,
    /// Write the report to a file as well: .html (one page, to print and sign), .json or .txt. May be given several times
    #[arg(long, value_name = "FILE")]
    report: Vec<PathBuf>,
    /// Check this generation instead of the newest
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    generation: Option<u32>,
    /// Check only what a mount checks first: ROOT, its signatures, policy, custody, pack set, and the catalogue's top
    #[arg(long, conflicts_with_all = ["full", "sample", "resume", "report", "images"])]
    signatures: bool,
    #[command(flatten)]
    images: verify_images::Args,
    #[command(flatten)]
    believe: believe::Args,
}

impl Args {
    const fn mode(&self) -> Mode {
        match (self.full, self.sample) {
            (true, _) => Mode::Full,
            (false, Some(_)) => Mode::Sample,
            (false, None) => Mode::Stored,
        }
    }
}

/// Runs the verb.
pub fn run(args: &Args, output: &Output, asked_state: Option<PathBuf>) -> Result<Exit, ToolError> {
    let state = state::folder(asked_state.clone())?;
    if args.signatures {
        return opening::run(args, &state, output);
    }
    // What cannot be judged by is told before hours of reading.
    let keys = args.images.keys()?;
    let policy = args.believe.policy()?;
    let medium = locate::medium(&args.medium)?;
    locate::has_generation(medium.as_ref(), args.generation)?;
    // What a policy says of it too; it is judged again when all of it was read.
    if (policy.is_some() || args.believe.requires_signature())
        && let Ok(disk) = locate::disk(&args.medium, args.generation, None)
        && let Ok(judged) = args.believe.judge(policy.as_ref(), &disk, &state)
        && let Some(refusal) = &judged.verdict.refusal
    {
        output.warn(&format!(
            "{}: it will be refused: {refusal}; what is on it is checked all the same",
            disk.name()
        ));
    }
    // Before anything is read, so that hours later it can be written.
    let files = report_file::open_all(&args.report, &args.medium)?;
    let started = jiff::Timestamp::now().as_second();
    let journal = open_journal(args, medium.as_ref(), output, asked_state)?.map(Arc::new);
    let progress = Progress::new(*output, "checked").keeping_warnings();
    let (mut report, opened) = match check(
        args,
        &medium,
        journal.as_ref(),
        (&keys, policy.as_ref(), &state),
        &progress,
    ) {
        Ok(checked) => checked,
        Err(error) => {
            progress.finish();
            tell_kept(journal.as_deref(), output);
            return Err(match error.exit() {
                Exit::Interrupted => ToolError::Stopped,
                _ => error,
            });
        }
    };
    progress.finish();
    report.run.started = started;
    report.run.seconds = progress.elapsed().as_secs_f64();
    for warning in &report.findings.warnings {
        output.warn(warning);
    }
    if let Some((disk, judged)) = &opened.judged {
        judged.say(disk, false, output);
    }
    text::print(&report, output)?;
    verify_images::print(opened.images.as_deref(), args.full, output)?;
    output.result(&report)?;
    for file in files {
        output.note(format!("report written to {}", file.write(&report)?.display()));
    }
    if let Some(journal) = journal {
        if report.findings.unreadable {
            tell_kept(Some(&journal), output);
        } else {
            journal.remove()?;
        }
    }
    let whole = !report.findings.is_damaged();
    let exit = verify_images::exit(opened.images.as_deref(), whole);
    if whole && let Some((disk, judged)) = opened.judged {
        // A disk of which an image is not signed as was asked is not accepted by anything else either.
        if judged.verdict.refusal.is_some() || exit == Exit::Done {
            judged.accept(&disk, &state, output)?;
        }
        if exit == Exit::Done {
            judged.log(&disk, Event::Verified, &how(args), &state, output);
        }
    }
    Ok(exit)
}

/// What was read, for the node's log.
fn how(args: &Args) -> String {
    match (args.full, args.sample) {
        (true, _) => "in full".to_owned(),
        (false, Some(frames)) => format!("a sample of {frames} frames"),
        (false, None) => "all that is stored".to_owned(),
    }
}

/// What an opened disk was judged by, besides damage.
#[derive(Debug, Default)]
struct Opened {
    /// By signatures and policy; none where ROOT and what it commits to contradict each other, which is damage.
    judged: Option<(Disk, Judged)>,
    /// By the images' own signatures, where that was asked.
    images: Option<Vec<ImageSigned>>,
}

/// The journal of this check; none for a sample, and where none can be kept, which costs the check nothing.
fn open_journal(
    args: &Args,
    medium: &dyn Medium,
    output: &Output,
    asked_state: Option<PathBuf>,
) -> Result<Option<KeptJournal>, ToolError> {
    if args.sample.is_some() {
        return Ok(None);
    }
    let current = generation::current(medium, args.generation.map(Generation::new))
        .map_err(|e| locate::opening(medium, e))?;
    let of = Subject::new(
        current.root.medium,
        current.root.generation,
        current.root_hash,
        args.mode(),
    );
    let opened = state::folder(asked_state).and_then(|folder| KeptJournal::open(&folder, &of, args.resume));
    let opened = match opened {
        Ok(Some(opened)) => opened,
        Ok(None) if args.resume => {
            return Err(ToolError::Refused(
                "another verify of this disk is running, and has what the stopped one left".to_owned(),
            ));
        }
        Ok(None) => {
            output.note(
                "another verify of this disk is running: --resume will not be able to take up this one",
            );
            return Ok(None);
        }
        Err(error) if args.resume => return Err(error),
        Err(error) => {
            output.note(format!("--resume will not be able to take up this run: {error}"));
            return Ok(None);
        }
    };
    match opened.told {
        Some(told) if args.resume => output.warn(&told),
        Some(told) => output.note(told),
        None => {}
    }
    Ok(Some(opened.journal))
}

/// Keeps what was checked of a run that came to no end, and says so.
fn tell_kept(journal: Option<&KeptJournal>, output: &Output) {
    let Some(journal) = journal else { return };
    match journal.keep() {
        Some(why) => output.warn(&why),
        None if journal.has_kept() => output.note(
            "what was read so far is kept: the same command with --resume goes on with it, and tries again what could not be read",
        ),
        None => {}
    }
}

/// A seed that nobody can know beforehand, and short enough that every reader of JSON keeps all its digits.
fn drawn_seed() -> Result<u64, ToolError> {
    let seed = getrandom::u64().map(|seed| seed >> 11);
    seed.map_err(|e| ToolError::io("the random number generator", std::io::Error::other(e)))
}

/// Checks all there is to check, and puts the report together.
fn check(
    args: &Args,
    medium: &Arc<dyn Medium>,
    journal: Option<&Arc<KeptJournal>>,
    (keys, policy, state): (&[PublicKey], Option<&Policy>, &Path),
    progress: &Progress,
) -> Result<(Report, Opened), ToolError> {
    let sample = args.sample.map(|frames| {
        let seed = args.seed.map_or_else(drawn_seed, Ok)?;
        Ok::<_, ToolError>(Sample { frames, seed })
    });
    let options = VerifyOptions {
        full: args.full,
        sample: sample.transpose()?,
        generation: args.generation.map(Generation::new),
        interrupted: signal::interrupted()?,
        journal: journal.map(|journal| Arc::clone(journal) as Arc<dyn Journal>),
    };
    let found =
        verify::verify(medium, &options, progress).map_err(|e| locate::opening(medium.as_ref(), e))?;
    // What is said of the disk, kept of the run and judged is of the very ROOT that was read, whatever the medium has there since.
    if journal.is_some_and(|journal| !journal.is_of(&found.root)) {
        return Err(ToolError::Disk(holdall::Error::mismatch(
            medium.place(MediumFile::Root(found.generation)),
            "the ROOT that was there a moment before",
        )));
    }
    let disk = Disk::at(Arc::clone(medium), found.current.clone(), &OpenOptions::default());
    let (audit, derivation) = match &disk {
        Ok(disk) => {
            let audit = audit::touched(disk, &found.damaged_blobs);
            let stop = || options.interrupted.load(Ordering::Relaxed);
            let how = Deriving {
                monitor: progress,
                interrupted: &stop,
                journal: options.journal.as_deref(),
            };
            let derivation = args
                .full
                .then(|| derivation::derive_all(disk, &how))
                .transpose()?;
            (audit, derivation.unwrap_or_default())
        }
        // The report says why: without a catalogue no image can be named.
        Err(_) => (Audit::default(), Derivation::default()),
    };
    if derivation.unreadable
        && let Ok(disk) = &disk
    {
        disk.check_there()?;
    }
    let mut opened = Opened::default();
    if let Ok(disk) = &disk {
        opened.images = verify_images::judge(disk, keys, &options.interrupted)?;
        opened.judged = match args.believe.judge(policy, disk, state) {
            Ok(judged) => Some((disk.clone(), judged)),
            // Of what ROOT commits to: it was found above as well, and is in the report.
            Err(ToolError::Disk(_)) => None,
            Err(error) => return Err(error),
        };
    }
    let judged = opened.judged.as_ref().map(|(_, judged)| judged);
    let contents = match &disk {
        Ok(disk) if !args.report.is_empty() => Some(Contents::of(disk)),
        _ => None,
    };
    let root = &found.current.root;
    let pack_bytes = generation::pack_set(medium.as_ref(), root)
        .ok()
        .map_or(0, |set| set.iter().map(|pack| u64::from(pack.pack_bytes)).sum());
    let warnings = progress.warnings().into_iter();
    let warnings = warnings.filter(|text| !found.damages.iter().any(|damage| damage.text == *text));
    let resumed = journal.and_then(|journal| journal.earlier());
    let mut checks = checks::all(&found, &audit, &derivation, args.mode());
    checks.push(checks::trust(judged));
    checks.extend(opened.images.as_deref().map(checks::images));
    let findings = Findings::of(&found, &audit, &derivation, (args.full, warnings.collect()));
    let has_policy = match judged {
        Some(judged) => judged.policy.is_some(),
        None => args.believe.policy()?.is_some(),
    };
    let standing = Standing::of(
        judged,
        opened.images.as_deref(),
        (has_policy, findings.is_damaged()),
    );
    let report = Report {
        standing,
        run: Run::here(args.mode(), medium.name()),
        sample: found
            .sampled
            .map(|sampled| report::Sample::of(&sampled, pack_bytes)),
        resumed: resumed.map(|earlier| Resumed {
            begun: earlier.begun,
            kept: earlier.kept,
            packs: found.taken_over.packs,
            pack_bytes: found.taken_over.bytes,
            contents: found.taken_over.contents,
            trees: derivation.taken_over,
        }),
        checks,
        disk: Some(report::Disk::of(root, found.root)),
        contents,
        signatures: judged.map_or_else(Vec::new, SignatureVerdict::all),
        trust: judged.map(Judged::as_json),
        images_signed: opened.images.as_deref().map(crate::signatures::as_json),
        custody: found.custody.iter().map(CustodyEvent::of).collect(),
        findings,
    };
    Ok((report, opened))
}
