//! The report as one HTML page: for who reads it, prints it on A4, and signs it by hand.
//!
//! Nothing is loaded from anywhere: the style is in the page, and the page forbids the browser all else. Names are a hostile
//! medium's: the template escapes them for HTML, and what is not seen is shown as an escape.

use super::checks::{Check, Outcome};
use super::contents::{Contents, FILES_MAX, ListedAttachment, ListedImage, ListedVariant};
use super::report::{Disk, Report, Run};
use crate::output::{bytes, one_line, plural, time};
use holdall::units::len64;
use maud::{DOCTYPE, Markup, PreEscaped, html};

const STYLE: &str = include_str!("report.css");

/// Digests named for one image that damage touches; of more, only their number.
const NAMED: usize = 20;

/// The whole page.
pub fn page(report: &Report) -> String {
    let found = &report.findings;
    let series = report.disk.as_ref().map(|disk| one_line(&disk.series));
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="generator" content={ "holdall " (report.run.version) };
                title {
                    "Verification of " (series.as_deref().unwrap_or("a disk")) ", generation " (found.generation)
                    ": " (report.headline())
                }
                style { (PreEscaped(STYLE)) (PreEscaped(running_foot(&found.root))) }
            }
            body {
                header {
                    p.kind { "Holdall transfer disk" }
                    h1 { "Verification report" }
                    (verdict(report))
                }
                main {
                    section {
                        h2 { "Disk" }
                        @match &report.disk {
                            Some(disk) => (identity(disk)),
                            None => p { "What the disk says of itself could not be read." },
                        }
                    }
                    section {
                        h2 { "Check" }
                        (how(report))
                        (checks(&report.checks))
                        @for warning in &found.warnings {
                            p.note { (one_line(warning)) }
                        }
                        @for text in report.contents.iter().flat_map(|contents| &contents.failed) {
                            p.note { "Not everything is listed below: " (one_line(text)) }
                        }
                    }
                    (damage(report))
                    @if let Some(contents) = &report.contents {
                        (images(contents))
                        (files(contents))
                    }
                    (signatures(report))
                    (custody(report))
                    @if let Some(disk) = &report.disk {
                        section {
                            h2 { "ROOT, in full" }
                            p.note {
                                "BLAKE3 of these bytes is the root hash above; all that is on the disk hangs from them."
                            }
                            pre.root { @for line in disk.root_text.lines() { (one_line(line)) "\n" } }
                        }
                    }
                    (sign_off(report))
                }
                footer { (made_by(&report.run)) }
            }
        }
    }
    .into_string()
}

/// What stands at the foot of every printed page, so that none can be taken for another report's. A root's hash is hex.
fn running_foot(root: &str) -> String {
    format!(
        "@page {{ @bottom-left {{ content: 'root {root}'; font: 7pt monospace; color: #5b6470; }} \
         @bottom-right {{ content: counter(page) ' of ' counter(pages); font: 8pt sans-serif; color: #5b6470; }} }}"
    )
}

fn verdict(report: &Report) -> Markup {
    let found = &report.findings;
    let standing = &report.standing;
    let unasked = if standing.accepted.is_none() {
        "; whose it is was not checked"
    } else {
        ""
    };
    let (class, word) = match (found.whole, &standing.refused) {
        (Some(false), _) => ("verdict damaged", "Damaged".to_owned()),
        (_, Some(_)) => ("verdict refused damaged", report.headline()),
        (Some(true), None) => ("verdict whole", format!("Whole{unasked}")),
        (None, None) => ("verdict sampled", format!("No damage in the sample{unasked}")),
    };
    html! {
        div class=(class) {
            p.word { (word) }
            p {
                @match found.whole {
                    Some(true) if found.full => {
                        "Everything on the disk was read and decoded, and is what its root says."
                    }
                    Some(true) => {
                        "Every stored byte is what the root says. It was not decoded: blobs' and files' own digests were not compared."
                    }
                    Some(false) => {
                        "Damage was found in " (plural(found.places(), "place")) "; it is named below. What is not named there is whole"
                        @if found.full || report.sample.is_none() { " as far as it was checked." }
                        @else { " as far as it was drawn." }
                    }
                    None => "Only frames drawn at random were read, and none of them is damaged. The rest of the packs was not read.",
                }
                @if report.resumed.is_some() {
                    " Part of it was read by an earlier run, which was stopped, and not in this one: see “Taken over”."
                }
            }
            p.hash { span.label { "root " } code { (found.root) } }
        }
    }
}

fn row(name: &str, value: &Markup) -> Markup {
    html! { tr { th scope="row" { (name) } td { (value) } } }
}

fn identity(disk: &Disk) -> Markup {
    html! {
        table.facts { tbody {
            (row("Written by (origin)", &html! { (one_line(&disk.origin)) }))
            (row("Series", &html! { (one_line(&disk.series)) ", epoch " (disk.epoch) ", serial " (disk.serial) }))
            (row("Generation", &html! { (disk.generation) ", " (disk.state) }))
            (row("Written", &html! { (time(disk.time)) }))
            (row("Medium", &html! { code { (disk.medium) } }))
            (row("Root hash (BLAKE3)", &html! { code { (disk.root) } }))
            (row("Previous root", &html! { @match &disk.previous {
                Some(hash) => code { (hash) },
                None => "none: this is the first generation",
            } }))
        } }
    }
}

fn how(report: &Report) -> Markup {
    let run = &report.run;
    html! {
        table.facts { tbody {
            (row("Mode", &html! { (run.mode.text()) }))
            @if let Some(sample) = &report.sample {
                (row("Sample", &html! {
                    (sample.drawn) " of " (plural(sample.frames, "frame")) ", " (bytes(sample.drawn_bytes)) " of "
                    (bytes(sample.pack_bytes)) ", drawn by seed " code { (sample.seed) }
                }))
                (row("What that proves", &html! { (sample.proves) "." }))
            }
            @if let Some(resumed) = &report.resumed {
                (row("Taken over", &html! { (resumed.text()) "." }))
            }
            (row("Begun", &html! { (time(run.started)) ", took " (duration(run.seconds)) }))
            (row("By", &html! { (one_line(&run.user)) " on " (one_line(&run.host)) }))
            (row("Disk's folder", &html! { code { (one_line(&run.place)) } }))
            (row("Program", &html! { "holdall " (run.version) ", format " (holdall::format::FORMAT) }))
        } }
    }
}

fn duration(seconds: f64) -> String {
    if seconds < 120.0 {
        return format!("{seconds:.1} s");
    }
    let minutes = (seconds / 60.0).floor();
    format!("{minutes:.0} min {:.0} s", (seconds - minutes * 60.0).floor())
}

fn checks(checks: &[Check]) -> Markup {
    html! {
        table.list {
            thead { tr { th { "What was checked" } th { "Result" } th { "How" } } }
            tbody {
                @for check in checks {
                    tr {
                        td { (check.what) }
                        td {
                            span class=(match check.outcome {
                                Outcome::Whole => "outcome whole",
                                Outcome::InPart => "outcome sampled",
                                Outcome::Damaged | Outcome::Refused => "outcome damaged",
                                Outcome::NotChecked => "outcome unchecked",
                            }) { (check.outcome.text()) }
                        }
                        td { (check.detail) }
                    }
                }
            }
        }
    }
}

fn damage(report: &Report) -> Markup {
    let found = &report.findings;
    if !found.is_damaged() {
        return html! {};
    }
    html! {
        section {
            h2 { "Damage" }
            @if found.unreadable {
                p.note {
                    "Something could not be read at all, as against read and found to be wrong: that may be the drive, the cable or
                     a disk that was away for a moment."
                }
            }
            ul.damage {
                @for text in &found.damages { li { (one_line(text)) } }
                @if found.more_damages > 0 { li { "and in " (plural(found.more_damages, "more place")) } }
                @for text in &found.derived.wrong { li { "derived again: " (one_line(text)) } }
                @for one in &found.missing {
                    li { "missing: " code { (one.digest) } ", which " code { (one.referrer) } " refers to" }
                }
            }
            @if !found.images.is_empty() {
                h3 { "Images that it touches" }
                table.list {
                    thead { tr { th { "Image" } th { "Damaged or missing parts" } } }
                    tbody {
                        @for image in &found.images {
                            tr {
                                td.name { (one_line(&image.name)) }
                                td {
                                    @for digest in image.damaged.iter().take(NAMED) { code.block { (digest) } }
                                    @if image.damaged.len() > NAMED {
                                        "and " (image.damaged.len() - NAMED) " more"
                                    }
                                }
                            }
                        }
                    }
                }
            }
            @if !found.damaged_trees.is_empty() {
                h3 { "Trees that it touches: what starts from them may fail" }
                ul.damage { @for tree in &found.damaged_trees { li { (one_line(tree)) } } }
            }
            @if !found.damaged_files.is_empty() {
                h3 { "Files that it touches" }
                ul.damage {
                    @for path in &found.damaged_files { li { "files/" (one_line(path)) } }
                    @if found.more_damaged_files > 0 { li { "and " (plural(found.more_damaged_files, "more file")) } }
                }
            }
            @if found.catalogue_damaged {
                p { "Part of the catalogue cannot be read: images and files beyond these may be touched." }
            }
        }
    }
}

fn images(contents: &Contents) -> Markup {
    let count = len64(contents.images.len()) + contents.more_images;
    html! {
        section {
            h2 { "Images " span.count { (count) } }
            @if contents.images.is_empty() { p { "None." } }
            @if contents.images.iter().any(|image| !image.about.is_empty()) {
                p.note {
                    "Signatures, attestations, SBOMs and reports of scans are listed as what they say that they are. That they are whole
                     was checked as for every blob; what they say was not."
                }
            }
            @for image in &contents.images { (image_of(image)) }
            @if contents.more_images > 0 {
                p.note { "and " (plural(contents.more_images, "more image")) ", which are not listed here" }
            }
        }
    }
}

fn image_of(image: &ListedImage) -> Markup {
    html! {
        div.image {
            p.name { (one_line(&image.name)) }
            p.digest {
                code { (image.digest) }
                @if image.damage.is_none() { span.size { (bytes(image.bytes)) } }
            }
            @if let Some(why) = &image.damage {
                p.note { span.outcome.damaged { "cannot be read" } " " (one_line(why)) }
            }
            @if !image.platforms.is_empty() || !image.about.is_empty() {
                table.parts { tbody {
                    @for variant in &image.platforms { (variant_of(variant, &image.digest)) }
                    @for about in &image.about { (about_of(about, image)) }
                } }
            }
            @if image.left_out > 0 {
                p.note { (image.left_out) " of its blobs and manifests were left out on purpose" }
            }
        }
    }
}

fn variant_of(variant: &ListedVariant, image: &str) -> Markup {
    let platform = one_line(&variant.platform);
    html! {
        tr {
            td { @if platform.is_empty() { "no platform" } @else { (platform) } }
            td { @if variant.digest == image { span.label { "this manifest" } } @else { code { (variant.digest) } } }
            td {
                @if variant.left_out { "left out" }
                @else { (plural(len64(variant.layers), "layer")) ", " (bytes(variant.bytes)) }
            }
        }
    }
}

fn about_of(about: &ListedAttachment, image: &ListedImage) -> Markup {
    let variant = image.platforms.iter().find(|one| one.digest == about.subject);
    html! {
        tr {
            td { span.about { (about.kind) } }
            td colspan="2" {
                code { (about.digest) }
                div {
                    // What it is about, where that is a part of the image only.
                    @if about.subject != image.digest {
                        @match variant.filter(|variant| !variant.platform.is_empty()) {
                            Some(variant) => { "of " (one_line(&variant.platform)) ": " },
                            None => { "of " code { (about.subject) } " " },
                        }
                    }
                    @for text in &about.types { span.type { (one_line(text)) } " " }
                    @if about.tag.is_some() { span.label { "by cosign's tag" } }
                }
            }
        }
    }
}

fn files(contents: &Contents) -> Markup {
    html! {
        section {
            h2 { "Loose files " span.count { (contents.file_count) } }
            @if contents.file_count == 0 { p { "None." } }
            @else {
                p {
                    (plural(contents.file_count, "file")) " in " (plural(contents.folder_count, "folder")) ", "
                    (bytes(contents.file_bytes)) "."
                    @if contents.more_files() > 0 {
                        " The first " (FILES_MAX) " are listed; " (contents.more_files()) " more are not."
                    }
                }
                table.list.files {
                    thead { tr { th { "Path" } th.number { "Bytes" } th { "SHA-256" } } }
                    tbody {
                        @for file in &contents.files {
                            tr {
                                td.name { (one_line(&file.path)) }
                                td.number { (file.bytes) }
                                td { @match &file.sha256 {
                                    Some(hash) => code { (hash) },
                                    None => "no bytes of its own",
                                } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn signatures(report: &Report) -> Markup {
    html! {
        section.together {
            h2 { "Signatures" }
            @if report.signatures.is_empty() { p { "None checked." } }
            @else {
                table.list {
                    thead { tr { th { "Signer" } th { "Fingerprint" } th { "Verdict" } } }
                    tbody {
                        @for one in &report.signatures {
                            tr {
                                td { (one_line(&one.signer)) }
                                td { code { (one_line(&one.fingerprint)) } }
                                td { (one_line(&one.verdict)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn custody(report: &Report) -> Markup {
    html! {
        section.together {
            h2 { "Custody" }
            @if report.custody.is_empty() { p { "None checked." } }
            @else {
                table.list {
                    thead { tr { th { "When" } th { "Event" } th { "Who" } th { "Where" } th.number { "Serial" } th { "Root" } th { "Note" } } }
                    tbody {
                        @for one in &report.custody {
                            tr {
                                td { (time(one.when)) }
                                td { (one_line(&one.event)) }
                                td { (one_line(&one.who)) }
                                td { (one_line(&one.host)) }
                                td.number { (one.serial) }
                                td { code { (one_line(&one.root)) } }
                                td { (one_line(&one.note)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The place for names, dates and signatures by hand.
fn sign_off(report: &Report) -> Markup {
    let found = &report.findings;
    html! {
        section.together {
            h2 { "Signed by hand" }
            p {
                "For generation " (found.generation) " of medium " code { (found.medium) } ", root " code { (found.root) } ": "
                b { (report.headline()) } ". Checked " (time(report.run.started)) "."
            }
            table.hand {
                thead { tr { th { "" } th { "Name" } th { "Date" } th { "Signature" } } }
                tbody {
                    @for role in ["Checked by", "Released by", "Received by"] {
                        tr { th scope="row" { (role) } td {} td {} td {} }
                    }
                }
            }
        }
    }
}

fn made_by(run: &Run) -> Markup {
    html! {
        p {
            "Made by holdall " (run.version) " from the result of its own check. This page loads nothing and holds all it shows.
             Whether it belongs to a disk is told by the root hash: " code { "holdall info" } " shows a disk's."
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_read_at_a_glance() {
        assert_eq!(duration(1.25), "1.2 s");
        assert_eq!(duration(3725.9), "62 min 5 s");
    }
}
