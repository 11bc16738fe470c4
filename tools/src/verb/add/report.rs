//! What an `add` came to, or would come to.

use super::plan::{self, Plan, What};
use crate::exit::ToolError;
use crate::output::{self, Output, bytes, one_line, plural, printable};
use crate::profile::{self, Listed};
use crate::progress::Progress;
use crate::signatures;
use holdall::ids::Sha256;
use holdall::ingest::{Committed, FilesAdded, Ingest, NameChange};
use holdall_images::copy::Carried;
use serde_json::{Value, json};

/// What was taken in.
#[derive(Debug, Default)]
pub struct Added {
    /// Images, in the order they came.
    pub images: Vec<Carried>,
    /// Loose files and folders, by their paths on the disk.
    pub files: Vec<(String, FilesAdded)>,
    /// What containers read first, laid together.
    pub hot: Vec<Listed>,
}

fn change_text(change: &NameChange, digest: &Sha256) -> String {
    let digest = digest.to_digest();
    match change {
        NameChange::New => format!("new {digest}"),
        NameChange::Same => format!("same {digest}"),
        NameChange::Moved { old } => format!("{} → {digest}", old.to_digest()),
    }
}

fn change_json(name: &str, change: &NameChange, digest: &Sha256) -> Value {
    let (word, old) = match change {
        NameChange::New => ("new", None),
        NameChange::Same => ("same", None),
        NameChange::Moved { old } => ("moved", Some(old.to_digest())),
    };
    json!({ "name": name, "change": word, "digest": digest.to_digest(), "old": old })
}

/// Prints what would be added.
pub fn planned(plan: &Plan<'_>, ingest: &Ingest, output: &Output) -> Result<(), ToolError> {
    let (mut images, mut files) = (Vec::new(), Vec::new());
    for planned in &plan.sources {
        match &planned.what {
            What::Images { chosen, .. } => {
                for image in chosen {
                    let change = match ingest.committed_image(&image.name)? {
                        None => NameChange::New,
                        Some(old) if old == image.target.digest => NameChange::Same,
                        Some(old) => NameChange::Moved { old },
                    };
                    let name = image.name.to_string();
                    output.line(format!("{name}  {}", change_text(&change, &image.target.digest)))?;
                    images.push(change_json(&name, &change, &image.target.digest));
                }
            }
            What::Loose {
                into, name, measure, ..
            } => {
                let path = plan::below_files(into, name);
                let (count, size) = (plural(measure.files, "file"), bytes(measure.bytes));
                output.line(format!("{}  {count}, {size}", one_line(&path)))?;
                files.push(json!({ "path": path, "files": measure.files, "folders": measure.folders, "bytes": measure.bytes }));
            }
        }
    }
    signatures::print(plan.signed.as_deref(), output)?;
    let known = bytes(plan.images.known_bytes);
    output.say(format!(
        "dry run: nothing was written; the disk has {known} of these images already"
    ))?;
    let mut result = json!({
        "dry_run": true, "images": images, "files": files, "estimate": estimate(plan),
    });
    signatures::insert(plan.signed.as_deref(), &mut result);
    output.result(&result)
}

fn estimate(plan: &Plan<'_>) -> Value {
    json!({
        "bytes_at_most": plan.at_most(),
        "new_image_bytes": plan.images.new_bytes,
        "known_image_bytes": plan.images.known_bytes,
        "file_bytes": plan.loose.bytes,
        "free_bytes": plan.free,
    })
}

/// Prints what was added.
pub fn committed(
    added: &Added,
    committed: &Committed,
    plan: &Plan<'_>,
    progress: &Progress,
    output: &Output,
) -> Result<(), ToolError> {
    let mut images = Vec::new();
    for image in &added.images {
        let name = image.name.to_string();
        let mut text = format!("{name}  {}", change_text(&image.change, &image.digest));
        if image.referrers > 0 {
            text += &format!(", with {}", plural(image.referrers, "referrer"));
        }
        if image.absent > 0 {
            text += &format!(", {} left out", image.absent);
        }
        let platforms: Vec<&str> = image.in_place.platforms.keys().map(String::as_str).collect();
        if !platforms.is_empty() {
            text += &format!(", runs in place on {}", platforms.join(", "));
        }
        output.say(text)?;
        for not in &image.in_place.not {
            output.say(format!(
                "{name}  cannot be run in place on {}: {}",
                not.platform,
                printable(&not.why)
            ))?;
        }
        for (tag, digest, change) in &image.tags {
            output.say(format!("{tag}  {}", change_text(change, digest)))?;
        }
        let mut object = change_json(&name, &image.change, &image.digest);
        if let Some(object) = object.as_object_mut() {
            let tags = image
                .tags
                .iter()
                .map(|(tag, digest, change)| change_json(&tag.to_string(), change, digest));
            object.insert("tags".to_owned(), tags.collect());
            object.insert("referrers".to_owned(), json!(image.referrers));
            object.insert("left_out".to_owned(), json!(image.absent));
            let chains = image.in_place.platforms.iter();
            let chains =
                chains.map(|(platform, chain)| json!({ "platform": platform, "chain": chain.to_digest() }));
            object.insert("runs_in_place".to_owned(), chains.collect());
            let not = image.in_place.not.iter();
            let not = not.map(|not| json!({ "platform": not.platform, "why": not.why }));
            object.insert("not_in_place".to_owned(), not.collect());
        }
        images.push(object);
    }
    signatures::print(plan.signed.as_deref(), output)?;
    let mut files = Vec::new();
    for (
        path,
        FilesAdded {
            files: count,
            folders,
            bytes: size,
        },
    ) in &added.files
    {
        let folders_text = if *folders > 0 {
            format!(", {}", plural(*folders, "folder"))
        } else {
            String::new()
        };
        output.say(format!(
            "{}  {}{folders_text}, {}",
            one_line(path),
            plural(*count, "file"),
            bytes(*size)
        ))?;
        files.push(json!({ "path": path, "files": count, "folders": folders, "bytes": size }));
    }
    profile::tell(&added.hot, output)?;
    let figures = progress.figures();
    let (root, hash) = (&committed.root, committed.root.hash());
    if committed.changed {
        let (read, stored, saved) = (
            bytes(figures.done),
            bytes(figures.stored),
            bytes(figures.deduplicated),
        );
        let seconds = progress.elapsed().as_secs_f64();
        output.say(format!(
            "{read} read, {stored} stored, {saved} saved by dedup, {seconds:.1} s"
        ))?;
        if committed.tree_bytes > 0 {
            output.say(format!(
                "{} of these are the files of layers, and what makes the layers' exact bytes again out of them",
                bytes(committed.tree_bytes)
            ))?;
        }
        output.say(format!("generation {}, root {hash}", root.generation))?;
    } else {
        output.say(format!(
            "nothing new: the disk has it all, in generation {}",
            root.generation
        ))?;
    }
    let mut result = output::generation(root, hash);
    if let Some(object) = result.as_object_mut() {
        object.insert("changed".to_owned(), json!(committed.changed));
        object.insert("images".to_owned(), images.into());
        object.insert("files".to_owned(), files.into());
        object.insert("hot".to_owned(), json!(added.hot));
        object.insert("bytes_read".to_owned(), json!(figures.done));
        object.insert("bytes_stored".to_owned(), json!(figures.stored));
        object.insert("bytes_of_trees".to_owned(), json!(committed.tree_bytes));
        object.insert("bytes_deduplicated".to_owned(), json!(figures.deduplicated));
        object.insert("estimate".to_owned(), estimate(plan));
        object.insert("warnings".to_owned(), json!(progress.warnings()));
    }
    signatures::insert(plan.signed.as_deref(), &mut result);
    output.result(&result)
}
