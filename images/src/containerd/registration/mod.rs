//! Registration: every image of a disk made present on a node at once, without a pull; and taken out again.
//!
//! Talks to containerd only. An image after the other, those that are wanted first before all others: its contents and its
//! snapshot, under a lease; its records last, as they are what others act on. Layers are not written: the registry mirror has
//! them.

mod carry;
mod client;
mod error;
mod former;
mod link;
mod plan;
mod report;
mod unload;

pub use error::{RegistrationError, Result};
pub use link::LayerLinks;
use report::Telling;
pub use report::{ImageReport, Outcome, Report};
pub use unload::unload;

use super::api::services::images::v1::Image;
use super::api::types::Descriptor;
use super::snapshotter::Chains;
use crate::platform::Platform;
use client::Client;
use former::Formers;
use futures_util::{StreamExt as _, stream};
use holdall::ids::MediumId;
use holdall::index::Table;
use holdall::name::Reference;
use holdall::reader::Disk;
use plan::{ImagePlan, Planner};
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The label of what is ours: its value is the medium's id.
pub const MEDIUM_LABEL: &str = "io.holdall.medium";
/// The label with the digest that we registered: a record whose target is another by now is not ours any more.
const TARGET_LABEL: &str = "io.holdall.target";
const MANAGED_LABEL: (&str, &str) = ("io.cri-containerd.image", "managed");
const PINNED_LABEL: (&str, &str) = ("io.cri-containerd.pinned", "pinned");

/// Calls under way at once that only read.
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
    /// The images that are registered before all others, in this order, by tag or by digest.
    pub first: Vec<String>,
}

/// Is told what became of an image, as soon as it has.
pub type Told<'a> = &'a dyn Fn(&ImageReport);

/// Registers every image of the disk that can run in place on the node. Fails as a whole only where containerd or the disk
/// cannot be reached; running it again changes nothing. `state` is a table of the node's own, in which replaced images are
/// remembered durably before they are replaced. An image can be run as soon as `told` has heard of it.
pub async fn register(
    disk: &Disk,
    chains: Arc<dyn Chains>,
    options: &RegistrationOptions,
    state: &Table,
    told: Told<'_>,
) -> Result<Report> {
    let medium = disk.root().medium;
    let mut report = Telling::new(told);
    let mut plans = read_plans(disk, chains, options, &mut report).await?;
    // Stable: the others stay in order of name.
    plans.sort_by_key(|plan| options.rank(plan));
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
    let decisions: Vec<Result<Decision>> = stream::iter(&plans)
        .map(|plan| run.look(&client, plan))
        .buffered(CALLS)
        .collect()
        .await;
    let mut wanted = Vec::new();
    for (plan, decision) in plans.into_iter().zip(decisions) {
        match decision? {
            Decision::Leave(outcome, why) => report.add(&plan.name, outcome, why),
            Decision::Take => wanted.push(plan),
        }
    }
    if !wanted.is_empty() {
        client.create_lease(&run.lease, Some(LEASE_LIFE)).await?;
        let done = match client.leased(&run.lease) {
            Ok(leased) => run.carry(&leased, &wanted, &mut report).await,
            Err(err) => Err(err),
        };
        let ended = client.delete_lease(&run.lease, false).await;
        done.and(ended)?;
    }
    Ok(report.into_report())
}

impl RegistrationOptions {
    /// The image's place among those that come first; behind them all where it is none of them.
    fn rank(&self, plan: &ImagePlan) -> usize {
        let place = self.first.iter().position(|first| plan.names.contains(first));
        place.unwrap_or(self.first.len())
    }
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
    report: &mut Telling<'_>,
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

    /// Looks at what the node has by the image's name.
    async fn look(&self, client: &Client, plan: &ImagePlan) -> Result<Decision> {
        let Some(found) = self.existing.get(&plan.name) else {
            return Ok(Decision::Take);
        };
        let same = target_of(found) == Some(&plan.target.to_digest());
        Ok(match (self.is_ours(found), same) {
            // The record is ours and right; what it stands on may have gone.
            (true, true) if self.is_whole(client, plan).await? => Decision::Leave(Outcome::Present, None),
            (true, true) => Decision::Take,
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
        })
    }

    /// True where all that a record of ours stands on is still there.
    async fn is_whole(&self, client: &Client, plan: &ImagePlan) -> Result<bool> {
        for digest in plan.contents.keys() {
            if client.content_labels(digest).await?.is_none() {
                return Ok(false);
            }
        }
        for chain in &plan.chains {
            if !client.has_snapshot(&self.options.snapshotter, chain).await? {
                return Ok(false);
            }
        }
        Ok(plan.names.iter().all(|name| self.existing.contains_key(name)))
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
