//! Unloading: what a medium registered is taken out, and what it replaced is given back.

use super::client::Client;
use super::error::Result;
use super::former::{self, Formers};
use super::report::{Outcome, Report};
use super::{MEDIUM_LABEL, RegistrationOptions, TARGET_LABEL, target_of};
use crate::containerd::api::services::images::v1::Image;
use holdall::ids::MediumId;
use holdall::index::Table;
use std::collections::HashSet;

/// Takes out the records that are labelled with that medium's id, and no others; the disk need not be there. Containers
/// that run keep their snapshots; the rest is collected before this returns.
pub async fn unload(medium: &MediumId, options: &RegistrationOptions, state: &Table) -> Result<Report> {
    let client = Client::connect(&options.socket, &options.namespace).await?;
    let formers = Formers::new(state, &options.namespace, medium);
    let label = medium.to_hex();
    let (ours, others): (Vec<Image>, Vec<Image>) = client
        .list_images(Vec::new())
        .await?
        .into_iter()
        .partition(|image| image.labels.get(MEDIUM_LABEL) == Some(&label));
    let mut report = Report::default();
    let mut gone = HashSet::new();
    let mut kept: HashSet<String> = HashSet::new();
    for image in &ours {
        let target = target_of(image).unwrap_or_default().to_owned();
        if image.labels.get(TARGET_LABEL) != Some(&target) {
            kept.insert(target);
            let why = "it was given another image since";
            report.add(&image.name, Outcome::Kept, Some(why.to_owned()));
            continue;
        }
        let done = match formers.get(&image.name)? {
            Some(former) => restore(&client, &formers, former)
                .await
                .map(|()| Outcome::Restored),
            None => client.delete_image(image).await.map(|()| Outcome::Removed),
        };
        match done {
            Ok(outcome) => {
                gone.insert(target);
                report.add(&image.name, outcome, None);
            }
            Err(err) if err.is_final() => return Err(err),
            Err(err) => report.add(&image.name, Outcome::Failed, Some(err.to_string())),
        }
    }
    // The CRI adds a record by the image's id to each that it sees. It goes when no name of the image is left.
    let (ids, named): (Vec<&Image>, Vec<&Image>) =
        others.iter().partition(|image| image.name.starts_with("sha256:"));
    kept.extend(
        named
            .iter()
            .filter_map(|image| target_of(image))
            .map(str::to_owned),
    );
    for image in ids {
        if target_of(image).is_some_and(|target| gone.contains(target) && !kept.contains(target)) {
            client.delete_image(image).await?;
        }
    }
    // Who took a name from this medium gives it back to whom this medium had it from.
    let heirs = formers.heirs()?;
    for heir in &heirs {
        if let Some(digest) = heir.former.as_ref().and_then(target_of) {
            let lease = former::lease(&heir.medium);
            client.create_lease(&lease, None).await?;
            client.lease_content(&lease, digest).await?;
        }
    }
    formers.bequeath(heirs)?;
    // Names that were given to something else since need nothing back.
    let mut waiting = false;
    for name in formers.names()? {
        if report
            .images
            .iter()
            .any(|image| image.name == name && image.outcome == Outcome::Failed)
        {
            waiting = true;
        } else {
            formers.forget(&name)?;
        }
    }
    if !waiting {
        client.delete_lease(&former::lease(medium), false).await?;
    }
    collect(&client, medium).await?;
    Ok(report.sorted())
}

async fn restore(client: &Client, formers: &Formers<'_>, former: Image) -> Result<()> {
    let name = former.name.clone();
    client.update_image(former).await?;
    formers.forget(&name)
}

/// Has garbage collected: containerd does so when a lease is ended that way.
async fn collect(client: &Client, medium: &MediumId) -> Result<()> {
    let lease = format!("holdall-unload-{medium}");
    client.create_lease(&lease, None).await?;
    client.delete_lease(&lease, true).await
}
