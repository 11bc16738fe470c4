//! Images made present, each as soon as what it stands on is there, and not later than others are.
//!
//! containerd writes one change at a time, and each is synchronised: what counts is how many there are before an image can be
//! run, and how many others wait in line. So one snapshot an image is made, that of all its layers: no other is looked for
//! when it is run, and what is unpacked onto a part of it gets that part's snapshot then.

use super::client::Client;
use super::error::Result;
use super::plan::ImagePlan;
use super::report::{Outcome, Telling};
use super::{Run, former, link, target_of};
use crate::containerd::api::services::images::v1::Image;
use futures_util::future::try_join_all;
use futures_util::{StreamExt as _, stream};
use holdall::ids::Sha256;
use std::collections::HashMap;
use tokio::sync::OnceCell;

/// Images that are registered at once. More are not sooner, as containerd writes one change at a time; but whoever starts a
/// container meanwhile waits behind them all.
const IMAGES: usize = 3;

/// What became of an image, and why it is not as one would expect.
type Done = (Outcome, Option<String>);

/// What several images may stand on: made once, by whoever comes first. Of what failed it is known why.
struct Shared(HashMap<Sha256, OnceCell<Option<String>>>);

impl Shared {
    fn of(all: impl Iterator<Item = Sha256>) -> Self {
        Self(all.map(|one| (one, OnceCell::new())).collect())
    }

    /// Makes it, unless that was done; why it failed, where it did. An error where going on makes no sense.
    async fn once(&self, one: &Sha256, make: impl Future<Output = Result<()>>) -> Result<Option<String>> {
        let attempt = async {
            match make.await {
                Ok(()) => Ok(None),
                Err(err) if err.is_final() => Err(err),
                Err(err) => Ok(Some(err.to_string())),
            }
        };
        match self.0.get(one) {
            Some(cell) => cell.get_or_try_init(|| attempt).await.cloned(),
            None => attempt.await,
        }
    }
}

/// What the images of one registration stand on.
struct Parts {
    contents: Shared,
    chains: Shared,
    layers: Shared,
}

impl Run<'_> {
    /// Registers these images: those that come first one by one, then the others. What fails takes down the images that need
    /// it, and no other.
    pub(super) async fn carry(
        &self,
        client: &Client,
        plans: &[ImagePlan],
        report: &mut Telling<'_>,
    ) -> Result<()> {
        let parts = &Parts {
            contents: Shared::of(plans.iter().flat_map(|plan| plan.contents.keys().copied())),
            chains: Shared::of(plans.iter().flat_map(|plan| plan.chains.iter().copied())),
            layers: Shared::of(plans.iter().flat_map(|plan| plan.layers.keys().copied())),
        };
        let is_first = |plan: &ImagePlan| self.options.rank(plan) < self.options.first.len();
        let (first, others) = plans.split_at(plans.partition_point(is_first));
        for (plans, at_once) in [(first, 1), (others, IMAGES)] {
            let mut registered = stream::iter(plans)
                .map(|plan| async move { (plan, self.put_image(client, parts, plan).await) })
                .buffer_unordered(at_once);
            while let Some((plan, done)) = registered.next().await {
                match done {
                    Ok((outcome, why)) => report.add(&plan.name, outcome, why),
                    Err(err) if err.is_final() => return Err(err),
                    Err(err) => report.add(&plan.name, Outcome::Failed, Some(err.to_string())),
                }
            }
        }
        Ok(())
    }

    /// Contents and snapshots, then records.
    async fn put_image(&self, client: &Client, parts: &Parts, plan: &ImagePlan) -> Result<Done> {
        let contents = plan.contents.iter().map(|(digest, content)| {
            let put = client.put_content(&self.lease, digest, content);
            parts.contents.once(digest, put)
        });
        let chains = plan.chains.iter().map(|chain| {
            let put = client.put_chain(&self.options.snapshotter, chain);
            parts.chains.once(chain, put)
        });
        let links = self.options.links.iter().flat_map(|links| {
            plan.layers.iter().map(|(digest, size)| {
                let put = link::one(client, links, &self.lease, digest, *size);
                parts.layers.once(digest, put)
            })
        });
        let (contents, chains, links) =
            tokio::try_join!(try_join_all(contents), try_join_all(chains), try_join_all(links))?;
        if let Some(why) = contents.into_iter().chain(chains).flatten().next() {
            return Ok((Outcome::Failed, Some(why)));
        }
        let (outcome, why) = self.put_records(client, plan).await?;
        // Without a link it runs all the same.
        Ok((outcome, why.or_else(|| links.into_iter().flatten().next())))
    }

    /// Makes an image's records, that by digest first: whoever sees the name finds all else.
    async fn put_records(&self, client: &Client, plan: &ImagePlan) -> Result<Done> {
        let mut outcome = Outcome::Registered;
        for name in plan.names.iter().rev() {
            let image = self.record(name, plan);
            let found = match self.existing.get(name) {
                Some(found) => found,
                None if client.create_image(image.clone()).await? => continue,
                // By digest two images of one repository share a record.
                None if *name != plan.name => continue,
                None => {
                    let why = "another gave the name to an image meanwhile";
                    return Ok((Outcome::Conflict, Some(why.to_owned())));
                }
            };
            let same = target_of(found) == target_of(&image);
            if same && (self.is_ours(found) || *name != plan.name) {
                continue;
            }
            if !self.is_ours(found) {
                self.remember(client, found).await?;
                outcome = Outcome::Replaced;
            }
            client.update_image(image).await?;
        }
        Ok((outcome, None))
    }

    /// Remembers an image, durably, and keeps its contents.
    async fn remember(&self, client: &Client, found: &Image) -> Result<()> {
        self.formers.put(found)?;
        if let Some(digest) = target_of(found) {
            let lease = former::lease(&self.medium);
            client.create_lease(&lease, None).await?;
            client.lease_content(&lease, digest).await?;
        }
        Ok(())
    }
}
