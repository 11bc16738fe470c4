//! The report as text: what a terminal shows, and the whole of it in a file.

use super::contents::Contents;
use super::report::{Disk, Report, Sample};
use crate::exit::ToolError;
use crate::output::{Output, bytes, one_line, plural, printable, time};
use holdall::units::len64;
use std::fmt::Write as _;

/// Digests named for one image; of more, only their number.
const NAMED: usize = 5;

/// What is damaged, one thing a line.
pub fn damage(report: &Report) -> Vec<String> {
    let found = &report.findings;
    let mut lines = Vec::new();
    if found.damaged_frames > 0 && found.places() > found.damaged_frames {
        // What needs a frame is named as well, so that one that is damaged may make many lines.
        let least = if found.more_damages > 0 { "at least " } else { "" };
        lines.push(format!(
            "{least}{} damaged; {} touched",
            plural(found.damaged_frames, "frame"),
            plural(len64(found.images.len()), "image")
        ));
    }
    let damages = found.damages.iter();
    lines.extend(damages.map(|text| format!("damaged  {}", printable(text))));
    if found.more_damages > 0 {
        lines.push(format!(
            "damaged  and in {}",
            plural(found.more_damages, "more place")
        ));
    }
    let wrong = found.derived.wrong.iter();
    lines.extend(wrong.map(|text| format!("derived  {}", printable(text))));
    let trees = found.damaged_trees.iter();
    lines.extend(trees.map(|tree| format!("tree     {}: what starts from it may fail", printable(tree))));
    let missing = found.missing.iter();
    lines.extend(missing.map(|one| format!("missing  {}, which {} refers to", one.digest, one.referrer)));
    for touched in &found.images {
        let mut digests: Vec<String> = touched.damaged.iter().take(NAMED).cloned().collect();
        if touched.damaged.len() > NAMED {
            digests.push(format!("and {} more", touched.damaged.len() - NAMED));
        }
        lines.push(format!("image    {}: {}", touched.name, digests.join(", ")));
    }
    let files = found.damaged_files.iter();
    lines.extend(files.map(|path| format!("file     files/{}", one_line(path))));
    if found.more_damaged_files > 0 {
        lines.push(format!(
            "file     and {}",
            plural(found.more_damaged_files, "more file")
        ));
    }
    if found.catalogue_damaged {
        let text = "part of the catalogue cannot be read: images and files beyond these may be touched";
        lines.push(text.to_owned());
    }
    lines
}

/// What was checked, and the verdict.
fn summary(report: &Report) -> Vec<String> {
    let (found, run) = (&report.findings, &report.run);
    let millis = std::time::Duration::try_from_secs_f64(run.seconds).map_or(1, |time| time.as_millis());
    let of = |n: u64| n.saturating_mul(1000) / u64::try_from(millis).unwrap_or(u64::MAX).max(1);
    let looked_at = match &report.sample {
        None => format!(
            "{}, {}, {} of packs",
            plural(found.packs, "pack"),
            plural(found.frames, "frame"),
            bytes(found.stored_bytes)
        ),
        Some(sample) => drawn(sample, found.packs),
    };
    // What was taken over was not read in this time.
    let taken = report.resumed.as_ref().map_or(0, |resumed| resumed.pack_bytes);
    let mut lines = vec![format!(
        "generation {} of {}: {looked_at}, {} in the catalogue, {}; checked in {:.1} s ({}/s)",
        found.generation,
        run.place,
        found.catalogue_entries,
        plural(found.files, "loose file"),
        run.seconds,
        bytes(of(found.stored_bytes.saturating_sub(taken))),
    )];
    if found.full {
        lines.push(format!(
            "{} and {} derived again from the layers' bytes",
            plural(found.derived.layers, "layer"),
            plural(found.derived.chains, "chain")
        ));
    }
    lines.extend(report.sample.as_ref().map(|sample| sample.proves.clone()));
    if let Some(resumed) = &report.resumed {
        lines.push(format!("taken over: {}", resumed.text()));
    }
    lines
}

fn drawn(sample: &Sample, packs: u64) -> String {
    format!(
        "a sample of {} of {} frames ({} of {} of packs), drawn by --seed {}, and of the rest of {} only tables, lists and trees",
        sample.drawn,
        sample.frames,
        bytes(sample.drawn_bytes),
        bytes(sample.pack_bytes),
        sample.seed,
        plural(packs, "pack")
    )
}

fn verdict(report: &Report) -> String {
    format!("root {}: {}", report.findings.root, report.findings.verdict())
}

/// Prints it for people. The verdict and what is damaged are the result; the rest is left out by -q, but for what a sample
/// was drawn by and what was taken over: without those the result would say more than is known.
pub fn print(report: &Report, output: &Output) -> Result<(), ToolError> {
    for line in damage(report) {
        output.line(line)?;
    }
    for line in summary(report) {
        output.say(line)?;
    }
    if output.is_quiet() {
        if let Some(sample) = &report.sample {
            output.line(format!(
                "a sample of {} of {} frames, drawn by --seed {}",
                sample.drawn, sample.frames, sample.seed
            ))?;
        }
        return Ok(());
    }
    output.line(verdict(report))
}

/// The report's headline; why it is refused stands as it was said.
fn headline(report: &Report) -> String {
    let text = report.headline();
    if text.starts_with("REFUSED") {
        text
    } else {
        text.to_uppercase()
    }
}

/// The whole report, for a file.
pub fn whole(report: &Report) -> String {
    let (found, run) = (&report.findings, &report.run);
    let mut out = String::new();
    let mut line = |text: &str| {
        let _a_string_takes_all = writeln!(out, "{text}");
    };
    line("HOLDALL VERIFICATION REPORT");
    line("");
    line(&headline(report));
    summary(report).iter().for_each(|text| line(text));
    line(&format!(
        "checked {} by {} on {} with holdall {}: {}",
        time(run.started),
        one_line(&run.user),
        one_line(&run.host),
        run.version,
        run.mode.text()
    ));
    if let Some(disk) = &report.disk {
        line("");
        line("THE DISK");
        said(disk).iter().for_each(|text| line(text));
    }
    line("");
    line("WHAT WAS CHECKED");
    for check in &report.checks {
        line(&format!(
            "{:<36} {:<13} {}",
            check.what,
            check.outcome.text(),
            check.detail
        ));
    }
    let damaged = damage(report);
    if !damaged.is_empty() {
        line("");
        line("DAMAGE");
        damaged.iter().for_each(|text| line(&one_line(text)));
    }
    for warning in &found.warnings {
        line(&format!("warning  {}", one_line(warning)));
    }
    if let Some(contents) = &report.contents {
        listed(contents).iter().for_each(|text| line(text));
    }
    line("");
    line("SIGNATURES");
    for one in &report.signatures {
        line(&format!(
            "{}  {}  {}",
            one_line(&one.signer),
            one_line(&one.fingerprint),
            one_line(&one.verdict)
        ));
    }
    if report.signatures.is_empty() {
        line("none checked");
    }
    line("");
    line("CUSTODY");
    for one in &report.custody {
        line(&format!(
            "{}  {}  {}  {}  serial {}  {}  {}",
            time(one.when),
            one_line(&one.event),
            one_line(&one.who),
            one_line(&one.host),
            one.serial,
            one_line(&one.root),
            one_line(&one.note)
        ));
    }
    if report.custody.is_empty() {
        line("none checked");
    }
    if let Some(disk) = &report.disk {
        line("");
        line("ROOT, IN FULL");
        disk.root_text.lines().for_each(|text| line(&one_line(text)));
    }
    line("");
    for role in ["Checked by", "Released by", "Received by"] {
        line(&format!(
            "{role:<12} name ____________________  date ____________  signature ____________________"
        ));
    }
    out
}

/// What the disk says of itself.
fn said(disk: &Disk) -> Vec<String> {
    vec![
        format!("medium      {}", disk.medium),
        format!("origin      {}", one_line(&disk.origin)),
        format!(
            "series      {}, epoch {}, serial {}",
            one_line(&disk.series),
            disk.epoch,
            disk.serial
        ),
        format!(
            "generation  {}, {}, written {}",
            disk.generation,
            disk.state,
            time(disk.time)
        ),
        format!("root        {}", disk.root),
        format!("previous    {}", disk.previous.as_deref().unwrap_or("none")),
    ]
}

fn listed(contents: &Contents) -> Vec<String> {
    let mut lines = vec![String::new(), "IMAGES".to_owned()];
    for image in &contents.images {
        lines.push(format!("{}  {}", one_line(&image.name), image.digest));
        match &image.damage {
            Some(why) => lines.push(format!("  cannot be read: {}", one_line(why))),
            None => lines.push(format!(
                "  {}, {} left out, {}",
                bytes(image.bytes),
                image.left_out,
                one_line(&image.media_type)
            )),
        }
        for variant in &image.platforms {
            let what = if variant.left_out {
                "left out".to_owned()
            } else {
                format!(
                    "{}, {}",
                    plural(holdall::units::len64(variant.layers), "layer"),
                    bytes(variant.bytes)
                )
            };
            let platform = if variant.platform.is_empty() {
                "no platform"
            } else {
                &variant.platform
            };
            lines.push(format!("  {}  {}  {what}", one_line(platform), variant.digest));
        }
        for about in &image.about {
            let types = one_line(&about.types.join(", "));
            let tag = about
                .tag
                .as_deref()
                .map(|tag| format!("  by tag {}", one_line(tag)));
            lines.push(format!(
                "  {} about {}: {}  {types}{}",
                about.kind,
                about.subject,
                about.digest,
                tag.unwrap_or_default()
            ));
        }
    }
    if contents.more_images > 0 {
        lines.push(format!("and {}", plural(contents.more_images, "more image")));
    }
    lines.push(String::new());
    lines.push(format!(
        "LOOSE FILES: {}, {}, in {}",
        plural(contents.file_count, "file"),
        bytes(contents.file_bytes),
        plural(contents.folder_count, "folder")
    ));
    for file in &contents.files {
        lines.push(format!(
            "{:>12}  {:<64}  {}",
            file.bytes,
            file.sha256.as_deref().unwrap_or("-"),
            one_line(&file.path)
        ));
    }
    if contents.more_files() > 0 {
        lines.push(format!("and {}", plural(contents.more_files(), "more file")));
    }
    lines.extend(contents.failed.iter().map(|text| one_line(text)));
    lines
}
