//! containerd's socket: each method is one call, or the few that always go together.

use super::error::{RegistrationError, Result};
use super::plan::ContentPlan;
use crate::containerd::api::services::content::v1 as content;
use crate::containerd::api::services::images::v1 as images;
use crate::containerd::api::services::leases::v1 as leases;
use crate::containerd::api::services::snapshots::v1 as snapshots;
use crate::containerd::snapshotter::CHAIN_LABEL;
use content::content_client::ContentClient;
use futures_util::stream;
use holdall::ids::Sha256;
use holdall::units::len64;
use hyper_util::rt::TokioIo;
use images::images_client::ImagesClient;
use leases::leases_client::LeasesClient;
use snapshots::snapshots_client::SnapshotsClient;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Duration;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

/// Longest list that containerd may answer with, in bytes.
const MAX_ANSWER: usize = 64 << 20;
/// Bytes of a blob in one message.
const PART: usize = 1 << 20;
/// Longest that one call may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// containerd at a socket, in one namespace, with or without a lease. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Client {
    channel: Channel,
    namespace: MetadataValue<Ascii>,
    lease: Option<MetadataValue<Ascii>>,
}

fn header(text: &str) -> Result<MetadataValue<Ascii>> {
    text.parse().map_err(|_| {
        crate::Error::refused(format!("not a namespace or lease of containerd: {text:?}")).into()
    })
}

/// The error with its causes.
fn chain_of(err: &dyn std::error::Error) -> String {
    let mut text = err.to_string();
    let mut source = err.source();
    while let Some(err) = source {
        text = format!("{text}: {err}");
        source = err.source();
    }
    text
}

impl Client {
    pub async fn connect(socket: &Path, namespace: &str) -> Result<Self> {
        let path = socket.to_owned();
        let connector = tower::service_fn(move |_| {
            let path = path.clone();
            async move { Ok::<_, std::io::Error>(TokioIo::new(tokio::net::UnixStream::connect(path).await?)) }
        });
        let channel = Endpoint::from_static("http://localhost")
            .timeout(DEADLINE)
            .connect_with_connector(connector)
            .await
            .map_err(|err| RegistrationError::Unreachable {
                socket: socket.display().to_string(),
                why: chain_of(&err),
            })?;
        Ok(Self {
            channel,
            namespace: header(namespace)?,
            lease: None,
        })
    }

    /// The same, under a lease: what is made is kept from being collected.
    pub fn leased(&self, lease: &str) -> Result<Self> {
        Ok(Self {
            lease: Some(header(lease)?),
            ..self.clone()
        })
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let headers = request.metadata_mut();
        headers.insert("containerd-namespace", self.namespace.clone());
        if let Some(lease) = &self.lease {
            headers.insert("containerd-lease", lease.clone());
        }
        request
    }

    fn images(&self) -> ImagesClient<Channel> {
        ImagesClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER)
    }

    fn contents(&self) -> ContentClient<Channel> {
        ContentClient::new(self.channel.clone())
    }

    fn snapshots(&self) -> SnapshotsClient<Channel> {
        SnapshotsClient::new(self.channel.clone())
    }

    fn leases(&self) -> LeasesClient<Channel> {
        LeasesClient::new(self.channel.clone())
    }

    /// Makes a lease; no matter if it is there. It ends by itself after `life`, or never.
    pub async fn create_lease(&self, id: &str, life: Option<Duration>) -> Result<()> {
        let expires = life.map(|life| prost_types::Timestamp::from(std::time::SystemTime::now() + life));
        let request = leases::CreateRequest {
            id: id.to_owned(),
            labels: expires
                .map(|time| ("containerd.io/gc.expire".to_owned(), time.to_string()))
                .into_iter()
                .collect(),
        };
        match self.leases().create(self.request(request)).await {
            Err(status) if status.code() != Code::AlreadyExists => {
                Err(RegistrationError::refused("make lease", id, &status))
            }
            _ => Ok(()),
        }
    }

    /// Ends a lease; no matter if it is not there. With `sync` garbage is collected before this returns.
    pub async fn delete_lease(&self, id: &str, sync: bool) -> Result<()> {
        let request = leases::DeleteRequest {
            id: id.to_owned(),
            sync,
        };
        match self.leases().delete(self.request(request)).await {
            Err(status) if status.code() != Code::NotFound => {
                Err(RegistrationError::refused("end lease", id, &status))
            }
            _ => Ok(()),
        }
    }

    /// Puts content, and what it refers to, under a lease.
    pub async fn lease_content(&self, lease: &str, digest: &str) -> Result<()> {
        let request = leases::AddResourceRequest {
            id: lease.to_owned(),
            resource: Some(leases::Resource {
                id: digest.to_owned(),
                r#type: "content".to_owned(),
            }),
        };
        match self.leases().add_resource(self.request(request)).await {
            Err(status) if status.code() != Code::AlreadyExists => {
                Err(RegistrationError::refused("lease", digest, &status))
            }
            _ => Ok(()),
        }
    }

    /// The labels of content, if it is there.
    pub async fn content_labels(&self, digest: &Sha256) -> Result<Option<HashMap<String, String>>> {
        let digest = digest.to_digest();
        let request = content::InfoRequest {
            digest: digest.clone(),
        };
        match self.contents().info(self.request(request)).await {
            Ok(answer) => Ok(Some(answer.into_inner().info.unwrap_or_default().labels)),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(RegistrationError::refused("look up", &digest, &status)),
        }
    }

    /// Sees to it that content is there with its labels, under that lease. Other labels are left as they are.
    pub async fn put_content(&self, lease: &str, digest: &Sha256, plan: &ContentPlan) -> Result<()> {
        let mut found = self.content_labels(digest).await?;
        if found.is_some() {
            // Under the lease first: from then on it stays.
            self.lease_content(lease, &digest.to_digest()).await?;
            found = self.content_labels(digest).await?;
        }
        let labels = match found {
            Some(labels) => labels,
            None => match self.write_content(digest, plan).await? {
                true => return Ok(()),
                false => self.content_labels(digest).await?.unwrap_or_default(),
            },
        };
        let missing: BTreeMap<&String, &String> = plan
            .labels
            .iter()
            .filter(|(label, value)| labels.get(*label) != Some(value))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let request = content::UpdateRequest {
            info: Some(content::Info {
                digest: digest.to_digest(),
                labels: missing
                    .iter()
                    .map(|(label, value)| ((*label).clone(), (*value).clone()))
                    .collect(),
                ..content::Info::default()
            }),
            update_mask: Some(prost_types::FieldMask {
                paths: missing.keys().map(|label| format!("labels.{label}")).collect(),
            }),
        };
        match self.contents().update(self.request(request)).await {
            Ok(_) => Ok(()),
            Err(status) => Err(RegistrationError::refused("label", &digest.to_digest(), &status)),
        }
    }

    /// Writes content with its labels; false if it is there already.
    async fn write_content(&self, digest: &Sha256, plan: &ContentPlan) -> Result<bool> {
        let total = i64::try_from(len64(plan.bytes.len())).unwrap_or(i64::MAX);
        let first = content::WriteContentRequest {
            action: content::WriteAction::Write.into(),
            r#ref: format!("holdall-{}", digest.to_hex()),
            total,
            expected: digest.to_digest(),
            ..content::WriteContentRequest::default()
        };
        let mut messages: Vec<_> = plan
            .bytes
            .chunks(PART)
            .scan(0_i64, |offset, part| {
                let message = content::WriteContentRequest {
                    offset: *offset,
                    data: plan.bytes.slice_ref(part).to_vec(),
                    ..first.clone()
                };
                *offset += i64::try_from(part.len()).unwrap_or(0);
                Some(message)
            })
            .collect();
        // The last part is written and committed by one message.
        if let Some(last) = messages.last_mut() {
            last.action = content::WriteAction::Commit.into();
            last.labels = plan.labels.clone().into_iter().collect();
        }
        match self.send(messages).await {
            Ok(()) => Ok(true),
            Err(status) if status.code() == Code::AlreadyExists => Ok(false),
            Err(status) => Err(RegistrationError::refused("write", &digest.to_digest(), &status)),
        }
    }

    /// Declares content whose bytes lie in containerd's store already: none are sent.
    pub async fn declare_content(&self, digest: &Sha256, size: u64) -> Result<()> {
        let total = i64::try_from(size).unwrap_or(i64::MAX);
        let stat = content::WriteContentRequest {
            action: content::WriteAction::Stat.into(),
            r#ref: format!("holdall-{}", digest.to_hex()),
            total,
            expected: digest.to_digest(),
            ..content::WriteContentRequest::default()
        };
        // An offset that is not the end, where the bytes are not there, is refused: nothing is copied.
        let commit = content::WriteContentRequest {
            action: content::WriteAction::Commit.into(),
            offset: total,
            ..stat.clone()
        };
        match self.send(vec![stat, commit]).await {
            Err(status) if status.code() != Code::AlreadyExists => Err(RegistrationError::refused(
                "declare",
                &digest.to_digest(),
                &status,
            )),
            _ => Ok(()),
        }
    }

    async fn send(&self, messages: Vec<content::WriteContentRequest>) -> std::result::Result<(), Status> {
        let request = self.request(stream::iter(messages));
        let mut answers = self.contents().write(request).await?.into_inner();
        while answers.message().await?.is_some() {}
        Ok(())
    }

    /// True where containerd knows that snapshot.
    pub async fn has_snapshot(&self, snapshotter: &str, name: &Sha256) -> Result<bool> {
        let name = name.to_digest();
        let request = snapshots::StatSnapshotRequest {
            snapshotter: snapshotter.to_owned(),
            key: name.clone(),
        };
        match self.snapshots().stat(self.request(request)).await {
            Ok(_) => Ok(true),
            Err(status) if status.code() == Code::NotFound => Ok(false),
            Err(status) => Err(RegistrationError::refused("look up snapshot", &name, &status)),
        }
    }

    /// Sees to it that the snapshot of a chain is there; it stands on no other.
    pub async fn put_chain(&self, snapshotter: &str, chain_id: &Sha256) -> Result<()> {
        let target = chain_id.to_digest();
        let key = format!("holdall-register {target}");
        let request = snapshots::PrepareSnapshotRequest {
            snapshotter: snapshotter.to_owned(),
            key: key.clone(),
            parent: String::new(),
            labels: HashMap::from([(CHAIN_LABEL.to_owned(), target.clone())]),
        };
        match self.snapshots().prepare(self.request(request)).await {
            Err(status) if status.code() == Code::AlreadyExists => {
                if self.has_snapshot(snapshotter, chain_id).await? {
                    return Ok(());
                }
            }
            Err(status) => return Err(RegistrationError::refused("prepare snapshot", &target, &status)),
            Ok(_) => {}
        }
        // The snapshotter has made an ordinary snapshot, or one by this key was left behind.
        let request = snapshots::RemoveSnapshotRequest {
            snapshotter: snapshotter.to_owned(),
            key,
        };
        let _may_be_gone = self.snapshots().remove(self.request(request)).await;
        Err(RegistrationError::NotServed {
            snapshotter: snapshotter.to_owned(),
            chain_id: target,
        })
    }

    pub async fn list_images(&self, filters: Vec<String>) -> Result<Vec<images::Image>> {
        let request = self.request(images::ListImagesRequest { filters });
        match self.images().list(request).await {
            Ok(answer) => Ok(answer.into_inner().images),
            Err(status) => Err(RegistrationError::refused("list", "images", &status)),
        }
    }

    /// Makes an image's record; false if there is one of that name.
    pub async fn create_image(&self, image: images::Image) -> Result<bool> {
        let name = image.name.clone();
        let request = self.request(images::CreateImageRequest { image: Some(image) });
        match self.images().create(request).await {
            Ok(_) => Ok(true),
            Err(status) if status.code() == Code::AlreadyExists => Ok(false),
            Err(status) => Err(RegistrationError::refused("make image", &name, &status)),
        }
    }

    /// Gives an image's record another target and other labels.
    pub async fn update_image(&self, image: images::Image) -> Result<()> {
        let name = image.name.clone();
        let request = self.request(images::UpdateImageRequest {
            image: Some(image),
            update_mask: Some(prost_types::FieldMask {
                paths: vec!["target".to_owned(), "labels".to_owned()],
            }),
        });
        match self.images().update(request).await {
            Ok(_) => Ok(()),
            Err(status) => Err(RegistrationError::refused("change image", &name, &status)),
        }
    }

    /// Removes an image's record if it still has that target, as far as this containerd can tell; no matter if it is not there.
    pub async fn delete_image(&self, image: &images::Image) -> Result<()> {
        let request = self.request(images::DeleteImageRequest {
            name: image.name.clone(),
            sync: false,
            target: image.target.clone(),
        });
        match self.images().delete(request).await {
            Err(status) if status.code() != Code::NotFound => {
                Err(RegistrationError::refused("remove image", &image.name, &status))
            }
            _ => Ok(()),
        }
    }
}
