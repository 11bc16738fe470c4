//! Registration: every image of a disk made present on a node at once, without a pull; and taken out again.
//!
//! Talks to containerd only. Contents and snapshots come first, under a lease; the images' records last, as they are what
//! others act on. Layers are not written: the registry mirror has them.

mod client;
mod error;
mod former;
mod link;
mod plan;
mod report;
mod unload;

pub use error::{RegistrationError, Result};
pub use link::LayerLinks;
pub use report::{ImageReport, Outcome, Report};
pub use unload::unload;

use super::api::services::images::v1::Image;
use super::api::types::Descriptor;
use super::snapshotter::Chains;
use crate::platform::Platform;
use client::Client;
use former::Formers;
use futures_util::{StreamExt as _, stream};
use holdall::ids::{MediumId, Sha256};
use holdall::index::Table;
use holdall::name::Reference;
use holdall::reader::Disk;
use plan::{ContentPlan, ImagePlan, Planner};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The label of what is ours: its value is the medium's id.
pub const MEDIUM_LABEL: &str = "io.holdall.medium";
/// The label with the digest that we registered: a record whose target is another by now is not ours any more.
const TARGET_LABEL: &str = "io.holdall.target";
const MANAGED_LABEL: (&str, &str) = ("io.cri-containerd.image", "managed");
const PINNED_LABEL: (&str, &str) = ("io.cri-containerd.pinned", "pinned");

/// Calls that are under way at once.
const CALLS: usize = 32;
/// After this a registration that was cut off holds nothing any more.
const LEASE_LIFE: Duration = Duration::from_secs(24 * 3600);

/// Where and how images are registered.
#[derive(Debug, Clone)]
pub struct RegistrationOptions {
    /// containerd's socket.
    pub socket: PathBuf,
    /// Its namespace: `k8s.io` for Kubernetes.
    pub namespace: String,
    /// Our snapshotter, by the name that containerd's configuration gives it.
    pub snapshotter: String,
    /// What the node runs.
    pub platform: Platform,
    /// Whether the kubelet is told never to remove the images.
    pub pinned: bool,
    /// Whether names are taken that the node has for other images.
    pub replace: bool,
    /// Whether layers are linked into containerd's content store, and where; tried with containerd 1.6.
    pub links: Option<LayerLinks>,
}

/// Registers every image of the disk that can run in place on the node. Fails as a whole only where containerd or the disk
/// cannot be reached; running it again changes nothing. `state` is a table of the node's own, in which replaced images are
/// remembered durably before they are replaced.
pub async fn register(
    disk: &Disk,
    chains: Arc<dyn Chains>,
    options: &RegistrationOptions,
    state: &Table,
) -> Result<Report> {
    let medium = disk.root().medium;
    let mut report = Report::default();
    let plans = read_plans(disk, chains, options, &mut report).await?;
    let client = Client::connect(&options.socket, &options.namespace).await?;
    let existing: HashMap<String, Image> = client
        .list_images(Vec::new())
        .await?
        .into_iter()
        .map(|image| (image.name.clone(), image))
        .collect();
    let run = Run {
        options,
        medium,
        lease: format!("holdall-{medium}-{}", nanoseconds()),
        formers: Formers::new(state, &options.namespace, &medium),
        existing,
    };
    let mut wanted = Vec::new();
    for plan in plans {
        match run.decide(&plan) {
            Decision::Leave(outcome, why) => report.add(&plan.name, outcome, why),
            Decision::Ours if run.is_whole(&client, &plan).await? => {
                report.add(&plan.name, Outcome::Present, None);
            }
            Decision::Ours | Decision::Take => wanted.push(plan),
        }
    }
    if !wanted.is_empty() {
        client.create_lease(&run.lease, Some(LEASE_LIFE)).await?;
        let done = match client.leased(&run.lease) {
            Ok(leased) => run.carry(&leased, wanted, &mut report).await,
            Err(err) => Err(err),
        };
        let ended = client.delete_lease(&run.lease, false).await;
        done.and(ended)?;
    }
    Ok(report.sorted())
}

fn nanoseconds() -> u128 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_nanos()
}

/// Reads every image of the disk. Those that cannot run in place are reported.
async fn read_plans(
    disk: &Disk,
    chains: Arc<dyn Chains>,
    options: &RegistrationOptions,
    report: &mut Report,
) -> Result<Vec<ImagePlan>> {
    let (disk, options) = (disk.clone(), options.clone());
    let read = tokio::task::spawn_blocking(move || {
        let planner = Planner {
            disk: &disk,
            chains: chains.as_ref(),
            platform: &options.platform,
            snapshotter: &options.snapshotter,
        };
        let images = disk.images(None, None).collect::<holdall::Result<Vec<_>>>()?;
        // A name by digest goes with the tag of the same image.
        let tagged: HashSet<_> = images
            .iter()
            .filter(|image| matches!(image.name.reference, Reference::Tag(_)))
            .map(|image| (&image.name.repository, image.target.sha256))
            .collect();
        let planned = images
            .iter()
            .filter(|image| {
                matches!(image.name.reference, Reference::Tag(_))
                    || !tagged.contains(&(&image.name.repository, image.target.sha256))
            })
            .map(|image| (image.name.to_string(), planner.plan(image)))
            .collect::<Vec<_>>();
        Ok::<_, RegistrationError>(planned)
    });
    let read = read
        .await
        .map_err(|_| RegistrationError::not_runnable("reading the disk broke off"))??;
    let mut plans = Vec::new();
    for (name, plan) in read {
        match plan {
            Ok(plan) => plans.push(plan),
            Err(err @ RegistrationError::NotRunnable { .. }) => {
                report.add(&name, Outcome::Skipped, Some(err.to_string()));
            }
            Err(err) => report.add(&name, Outcome::Failed, Some(err.to_string())),
        }
    }
    Ok(plans)
}

enum Decision {
    /// Nothing is done.
    Leave(Outcome, Option<String>),
    /// The record is ours and right; what it stands on may have gone.
    Ours,
    /// It is registered.
    Take,
}

/// One registration.
struct Run<'a> {
    options: &'a RegistrationOptions,
    medium: MediumId,
    lease: String,
    formers: Formers<'a>,
    existing: HashMap<String, Image>,
}

impl Run<'_> {
    fn is_ours(&self, image: &Image) -> bool {
        image.labels.get(MEDIUM_LABEL) == Some(&self.medium.to_hex())
            && image.labels.get(TARGET_LABEL).map(String::as_str) == target_of(image)
    }

    fn decide(&self, plan: &ImagePlan) -> Decision {
        let Some(found) = self.existing.get(&plan.name) else {
            return Decision::Take;
        };
        let same = target_of(found) == Some(&plan.target.to_digest());
        match (self.is_ours(found), same) {
            (true, true) => Decision::Ours,
            (false, true) => Decision::Leave(Outcome::Present, None),
            (true, false) => Decision::Take,
            (false, false) if self.options.replace => Decision::Take,
            (false, false) => Decision::Leave(
                Outcome::Conflict,
                Some(format!(
                    "the node has {} by that name; --replace takes it",
                    target_of(found).unwrap_or("nothing")
                )),
            ),
        }
    }

    /// True where all that a record of ours stands on is still there.
    async fn is_whole(&self, client: &Client, plan: &ImagePlan) -> Result<bool> {
        for digest in plan.contents.keys() {
            if client.content_labels(digest).await?.is_none() {
                return Ok(false);
            }
        }
        for top in plan.chains.iter().filter_map(|chain| chain.last()) {
            if !client.has_snapshot(&self.options.snapshotter, top).await? {
                return Ok(false);
            }
        }
        Ok(plan.names.iter().all(|name| self.existing.contains_key(name)))
    }

    /// Contents, then snapshots, then records. What fails takes down the images that need it, and no other.
    async fn carry(&self, client: &Client, plans: Vec<ImagePlan>, report: &mut Report) -> Result<()> {
        let (contents, chains, unlinked) = tokio::try_join!(
            self.put_contents(client, &plans),
            self.put_chains(client, &plans),
            self.put_links(client, &plans)
        )?;
        let records = stream::iter(plans.iter().map(|plan| {
            let failed = plan
                .contents
                .keys()
                .find_map(|digest| contents.get(digest))
                .or_else(|| plan.chains.iter().flatten().find_map(|chain| chains.get(chain)));
            async move {
                match failed {
                    Some(why) => Ok((Outcome::Failed, Some(why.clone()))),
                    None => self.put_records(client, plan).await,
                }
            }
        }));
        let outcomes: Vec<_> = records.buffered(CALLS).collect().await;
        for (plan, outcome) in plans.iter().zip(outcomes) {
            match outcome {
                Ok((outcome, why)) => {
                    // It runs all the same.
                    let unlinked = plan.layers.keys().find_map(|layer| unlinked.get(layer));
                    report.add(&plan.name, outcome, why.or_else(|| unlinked.cloned()));
                }
                Err(err) if err.is_final() => return Err(err),
                Err(err) => report.add(&plan.name, Outcome::Failed, Some(err.to_string())),
            }
        }
        Ok(())
    }

    /// Links each layer once, where that is wanted; those that failed, and why.
    async fn put_links(&self, client: &Client, plans: &[ImagePlan]) -> Result<HashMap<Sha256, String>> {
        match &self.options.links {
            Some(links) => link::link(client, links, &self.lease, plans, CALLS).await,
            None => Ok(HashMap::new()),
        }
    }

    /// Writes each content once; those that failed, and why.
    async fn put_contents(&self, client: &Client, plans: &[ImagePlan]) -> Result<HashMap<Sha256, String>> {
        let contents: BTreeMap<Sha256, &ContentPlan> = plans
            .iter()
            .flat_map(|plan| plan.contents.iter().map(|(digest, content)| (*digest, content)))
            .collect();
        let calls = contents.into_iter().map(|(digest, content)| async move {
            (digest, client.put_content(&self.lease, &digest, content).await)
        });
        failures(stream::iter(calls).buffer_unordered(CALLS).collect().await)
    }

    /// Makes the snapshot of each chain once, those that stand on nothing first; those that failed, and why.
    async fn put_chains(&self, client: &Client, plans: &[ImagePlan]) -> Result<HashMap<Sha256, String>> {
        let mut levels: Vec<BTreeMap<Sha256, Option<Sha256>>> = Vec::new();
        for chains in plans.iter().flat_map(|plan| &plan.chains) {
            let mut below = None;
            for (level, chain) in chains.iter().enumerate() {
                if levels.len() <= level {
                    levels.push(BTreeMap::new());
                }
                if let Some(level) = levels.get_mut(level) {
                    level.insert(*chain, below);
                }
                below = Some(*chain);
            }
        }
        let mut failed = HashMap::new();
        for level in levels {
            let calls = level.into_iter().map(|(chain, below)| async move {
                let put = client.put_chain(&self.options.snapshotter, &chain, below.as_ref());
                (chain, put.await)
            });
            failed.extend(failures(
                stream::iter(calls).buffer_unordered(CALLS).collect().await,
            )?);
        }
        Ok(failed)
    }

    /// Makes an image's records, that by digest first: whoever sees the name finds all else.
    async fn put_records(&self, client: &Client, plan: &ImagePlan) -> Result<(Outcome, Option<String>)> {
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

    fn record(&self, name: &str, plan: &ImagePlan) -> Image {
        let digest = plan.target.to_digest();
        let mut labels = HashMap::from([
            (MANAGED_LABEL.0.to_owned(), MANAGED_LABEL.1.to_owned()),
            (MEDIUM_LABEL.to_owned(), self.medium.to_hex()),
            (TARGET_LABEL.to_owned(), digest.clone()),
        ]);
        if self.options.pinned {
            labels.insert(PINNED_LABEL.0.to_owned(), PINNED_LABEL.1.to_owned());
        }
        Image {
            name: name.to_owned(),
            labels,
            target: Some(Descriptor {
                media_type: plan.media_type.clone(),
                digest,
                size: i64::try_from(plan.size).unwrap_or(i64::MAX),
                annotations: HashMap::new(),
            }),
            ..Image::default()
        }
    }
}

/// The digest of an image's target.
fn target_of(image: &Image) -> Option<&str> {
    image.target.as_ref().map(|target| target.digest.as_str())
}

/// What failed, and why; an error where going on makes no sense.
fn failures(done: Vec<(Sha256, Result<()>)>) -> Result<HashMap<Sha256, String>> {
    let mut failed = HashMap::new();
    for (what, result) in done {
        match result {
            Ok(()) => {}
            Err(err) if err.is_final() => return Err(err),
            Err(err) => {
                failed.insert(what, err.to_string());
            }
        }
    }
    Ok(failed)
}
