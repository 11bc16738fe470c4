//! `holdall verify`: everything that is damaged, and the images and files that it touches.

use crate::exit::{Exit, ToolError};
use crate::locate;
use crate::output::{Output, bytes, one_line, plural, printable};
use crate::progress::Progress;
use crate::signal;
use holdall::reader::{Disk, OpenOptions};
use holdall::units::Generation;
use holdall::verify::{self, Report, VerifyOptions};
use holdall_images::audit::{self, Audit};
use holdall_images::derivation::{self, Derivation};
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;

/// Digests named for one image; of more, only their number.
const NAMED: usize = 5;

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The disk
    medium: PathBuf,
    /// Also decode everything, and check each chunk's, blob's and layer's own hash
    #[arg(long)]
    full: bool,
    /// Check this generation instead of the newest
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    generation: Option<u32>,
}

/// Runs the verb.
pub fn run(args: &Args, output: &Output) -> Result<Exit, ToolError> {
    let medium = locate::medium(&args.medium)?;
    let options = VerifyOptions {
        full: args.full,
        generation: args.generation.map(Generation::new),
        interrupted: signal::interrupted()?,
    };
    let progress = Progress::new(*output, "checked").keeping_warnings();
    let report = verify::verify(&medium, &options, &progress)?;
    // Of the generation that was checked, though another may have been committed since.
    let reading = OpenOptions {
        generation: Some(report.generation),
        ..OpenOptions::default()
    };
    let (audit, derivation) = match Disk::open(Arc::clone(&medium), &reading) {
        Ok(disk) => {
            let audit = audit::touched(&disk, &report.damaged_blobs);
            let interrupted = Arc::clone(&options.interrupted);
            let stop = move || interrupted.load(std::sync::atomic::Ordering::Relaxed);
            let derivation = args
                .full
                .then(|| derivation::derive_all(&disk, &progress, &stop))
                .transpose()?;
            (audit, derivation.unwrap_or_default())
        }
        // The report says why: without a catalogue no image can be named.
        Err(_) => (Audit::default(), Derivation::default()),
    };
    progress.finish();
    let whole = report.is_whole() && audit.is_whole() && derivation.wrong.is_empty();
    let warnings: Vec<String> = progress
        .warnings()
        .into_iter()
        .filter(|text| !report.damages.iter().any(|damage| damage.text == *text))
        .collect();
    warnings.iter().for_each(|warning| output.warn(warning));
    print(&report, &audit, &derivation, output)?;
    let seconds = progress.elapsed().as_secs_f64();
    let rate = |bytes: u64| {
        bytes.saturating_mul(1000) / u64::try_from(progress.elapsed().as_millis()).unwrap_or(1).max(1)
    };
    let checked = format!(
        "generation {} of {}: {}, {}, {} of packs, {} in the catalogue, {}; checked in {seconds:.1} s ({}/s)",
        report.generation,
        medium.name(),
        plural(report.packs, "pack"),
        plural(report.frames, "frame"),
        bytes(report.stored_bytes),
        report.leaves,
        plural(report.files, "loose file"),
        bytes(rate(report.stored_bytes)),
    );
    let verdict = if whole {
        "whole".to_owned()
    } else {
        format!(
            "damaged, in {}",
            plural(places(&report, &audit, &derivation), "place")
        )
    };
    output.say(checked)?;
    if args.full {
        output.say(format!(
            "{} and {} derived again from the layers' bytes",
            plural(derivation.layers, "layer"),
            plural(derivation.chains, "chain")
        ))?;
    }
    output.say(format!("root {}: {verdict}", report.root))?;
    output.result(&as_json(
        &report,
        &audit,
        &derivation,
        &warnings,
        args.full,
        whole,
    ))?;
    Ok(if whole { Exit::Done } else { Exit::Damage })
}

fn places(report: &Report, audit: &Audit, derivation: &Derivation) -> u64 {
    let others = audit.missing.len() + audit.unreadable.len() + derivation.wrong.len();
    report.damage_count() + holdall::units::len64(others)
}

fn print(report: &Report, audit: &Audit, derivation: &Derivation, output: &Output) -> Result<(), ToolError> {
    for damage in &report.damages {
        output.line(format!("damaged  {}", printable(&damage.text)))?;
    }
    if report.more_damages > 0 {
        output.line(format!(
            "damaged  and in {}",
            plural(report.more_damages, "more place")
        ))?;
    }
    for text in &derivation.wrong {
        output.line(format!("derived  {}", printable(text)))?;
    }
    for tree in &report.damaged_trees {
        output.line(format!("tree     {tree}: what starts from it may fail"))?;
    }
    for text in &audit.unreadable {
        output.line(format!("damaged  {}", printable(text)))?;
    }
    for (digest, referrer) in &audit.missing {
        output.line(format!(
            "missing  {}, which {} refers to",
            digest.to_digest(),
            referrer.to_digest()
        ))?;
    }
    for touched in &audit.touched {
        let mut digests: Vec<String> = touched
            .damaged
            .iter()
            .take(NAMED)
            .map(|digest| digest.to_digest())
            .collect();
        if touched.damaged.len() > NAMED {
            digests.push(format!("and {} more", touched.damaged.len() - NAMED));
        }
        output.line(format!("image    {}: {}", touched.name, digests.join(", ")))?;
    }
    for path in &report.damaged_files {
        output.line(format!("file     files/{}", one_line(path)))?;
    }
    if report.more_damaged_files > 0 {
        output.line(format!(
            "file     and {}",
            plural(report.more_damaged_files, "more file")
        ))?;
    }
    if report.catalogue_damaged {
        output.line("part of the catalogue cannot be read: images and files beyond these may be touched")?;
    }
    Ok(())
}

fn as_json(
    report: &Report,
    audit: &Audit,
    derivation: &Derivation,
    warnings: &[String],
    full: bool,
    whole: bool,
) -> serde_json::Value {
    let texts = report
        .damages
        .iter()
        .map(|damage| &damage.text)
        .chain(&audit.unreadable);
    let missing = audit
        .missing
        .iter()
        .map(|(digest, referrer)| json!({ "digest": digest.to_digest(), "referrer": referrer.to_digest() }));
    let touched = audit.touched.iter().map(|touched| {
        let digests = touched.damaged.iter().map(|digest| digest.to_digest());
        json!({ "name": touched.name.to_string(), "damaged": digests.collect::<Vec<_>>() })
    });
    json!({
        "medium": report.medium.to_hex(),
        "generation": report.generation.get(),
        "root": report.root.to_hex(),
        "full": full,
        "whole": whole,
        "packs": report.packs,
        "frames": report.frames,
        "stored_bytes": report.stored_bytes,
        "catalogue_entries": report.leaves,
        "files": report.files,
        "damages": texts.collect::<Vec<_>>(),
        "more_damages": report.more_damages,
        "missing": missing.collect::<Vec<_>>(),
        "images": touched.collect::<Vec<_>>(),
        "damaged_files": report.damaged_files,
        "more_damaged_files": report.more_damaged_files,
        "damaged_trees": report.damaged_trees,
        "derived": {
            "layers": derivation.layers,
            "chains": derivation.chains,
            "wrong": derivation.wrong,
        },
        "damaged_blobs": report.damaged_blobs.iter().map(|digest| digest.to_digest()).collect::<Vec<_>>(),
        "catalogue_damaged": report.catalogue_damaged,
        "warnings": warnings,
    })
}
