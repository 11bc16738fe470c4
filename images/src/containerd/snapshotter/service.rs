//! The snapshotter's gRPC service. Only translates: each call is one call on [`Snapshots`], on a thread that may block.

use super::error::SnapshotError;
use super::record::{Info, Kind, Labels};
use super::{Mount, SnapshotSocket, Snapshots};
use crate::containerd::api::services::snapshots::v1 as api;
use crate::containerd::api::types;
use api::snapshots_server::{Snapshots as Service, SnapshotsServer};
use futures_util::{Stream, stream};
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;
use tonic::{Request, Response, Status};

/// Snapshots in one message of a list.
const PAGE: usize = 100;

/// Answers containerd on that socket until `stop` is done; calls that are under way are finished.
pub async fn serve(
    snapshots: Arc<Snapshots>,
    socket: &SnapshotSocket,
    stop: impl Future<Output = ()> + Send,
) -> super::Result<()> {
    let listener = socket.listener()?;
    let incoming = stream::unfold(listener, |listener| async {
        let accepted = listener.accept().await.map(|(stream, _)| stream);
        Some((accepted, listener))
    });
    tonic::transport::Server::builder()
        .add_service(SnapshotsServer::new(SnapshotService { snapshots }))
        .serve_with_incoming_shutdown(incoming, stop)
        .await
        .map_err(|err| SnapshotError::io(socket.path(), std::io::Error::other(err)))
}

#[derive(Debug)]
struct SnapshotService {
    snapshots: Arc<Snapshots>,
}

impl SnapshotService {
    async fn run<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Snapshots) -> super::Result<T> + Send + 'static,
    ) -> Result<T, Status> {
        let snapshots = Arc::clone(&self.snapshots);
        match tokio::task::spawn_blocking(move || call(&snapshots)).await {
            Ok(answer) => answer.map_err(|err| status(&err)),
            Err(_) => Err(Status::internal("the call broke off")),
        }
    }
}

/// The answer that containerd understands.
fn status(err: &SnapshotError) -> Status {
    let text = err.to_string();
    match err {
        SnapshotError::NotFound { .. } => Status::not_found(text),
        SnapshotError::AlreadyExists { .. } => Status::already_exists(text),
        SnapshotError::Invalid { .. } => Status::invalid_argument(text),
        SnapshotError::Precondition { .. } => Status::failed_precondition(text),
        SnapshotError::Unavailable { .. } => Status::unavailable(text),
        SnapshotError::Malformed { .. } => Status::data_loss(text),
        SnapshotError::Io { .. } | SnapshotError::Store(_) => Status::internal(text),
    }
}

fn mounts(mounts: Vec<Mount>) -> Vec<types::Mount> {
    mounts
        .into_iter()
        .map(|mount| types::Mount {
            r#type: mount.kind.to_owned(),
            source: mount.source,
            target: String::new(),
            options: mount.options,
        })
        .collect()
}

fn labels(labels: HashMap<String, String>) -> Labels {
    labels.into_iter().collect()
}

fn timestamp(time: SystemTime) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp::from(time))
}

fn info(info: Info) -> api::Info {
    let kind = match info.kind {
        Kind::View => api::Kind::View,
        Kind::Active => api::Kind::Active,
        Kind::Committed => api::Kind::Committed,
    };
    api::Info {
        name: info.name,
        parent: info.parent,
        kind: kind.into(),
        created_at: timestamp(info.created),
        updated_at: timestamp(info.updated),
        labels: info.labels.into_iter().collect(),
    }
}

type Infos = Pin<Box<dyn Stream<Item = Result<api::ListSnapshotsResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Service for SnapshotService {
    type ListStream = Infos;

    async fn prepare(
        &self,
        request: Request<api::PrepareSnapshotRequest>,
    ) -> Result<Response<api::PrepareSnapshotResponse>, Status> {
        let request = request.into_inner();
        let made = self
            .run(move |all| all.prepare(&request.key, &request.parent, &labels(request.labels)))
            .await?;
        Ok(Response::new(api::PrepareSnapshotResponse {
            mounts: mounts(made),
        }))
    }

    async fn view(
        &self,
        request: Request<api::ViewSnapshotRequest>,
    ) -> Result<Response<api::ViewSnapshotResponse>, Status> {
        let request = request.into_inner();
        let made = self
            .run(move |all| all.view(&request.key, &request.parent, &labels(request.labels)))
            .await?;
        Ok(Response::new(api::ViewSnapshotResponse { mounts: mounts(made) }))
    }

    async fn mounts(
        &self,
        request: Request<api::MountsRequest>,
    ) -> Result<Response<api::MountsResponse>, Status> {
        let request = request.into_inner();
        let made = self.run(move |all| all.mounts(&request.key)).await?;
        Ok(Response::new(api::MountsResponse { mounts: mounts(made) }))
    }

    async fn commit(&self, request: Request<api::CommitSnapshotRequest>) -> Result<Response<()>, Status> {
        let request = request.into_inner();
        self.run(move |all| {
            all.commit(
                &request.name,
                &request.key,
                &labels(request.labels),
                &request.parent,
            )
        })
        .await
        .map(Response::new)
    }

    async fn remove(&self, request: Request<api::RemoveSnapshotRequest>) -> Result<Response<()>, Status> {
        let request = request.into_inner();
        self.run(move |all| all.remove(&request.key))
            .await
            .map(Response::new)
    }

    async fn stat(
        &self,
        request: Request<api::StatSnapshotRequest>,
    ) -> Result<Response<api::StatSnapshotResponse>, Status> {
        let request = request.into_inner();
        let found = self.run(move |all| all.stat(&request.key)).await?;
        Ok(Response::new(api::StatSnapshotResponse {
            info: Some(info(found)),
        }))
    }

    async fn update(
        &self,
        request: Request<api::UpdateSnapshotRequest>,
    ) -> Result<Response<api::UpdateSnapshotResponse>, Status> {
        let request = request.into_inner();
        let wanted = request
            .info
            .ok_or_else(|| Status::invalid_argument("an update of no snapshot"))?;
        let paths = request.update_mask.map(|mask| mask.paths).unwrap_or_default();
        let updated = self
            .run(move |all| all.update(&wanted.name, &labels(wanted.labels), &paths))
            .await?;
        Ok(Response::new(api::UpdateSnapshotResponse {
            info: Some(info(updated)),
        }))
    }

    /// Filters are left to the caller, who checks each snapshot again.
    async fn list(&self, _: Request<api::ListSnapshotsRequest>) -> Result<Response<Infos>, Status> {
        let all = self
            .run(|all| all.list().collect::<super::Result<Vec<_>>>())
            .await?;
        let mut pages = Vec::new();
        let mut all = all.into_iter().map(info).peekable();
        while all.peek().is_some() {
            pages.push(Ok(api::ListSnapshotsResponse {
                info: all.by_ref().take(PAGE).collect(),
            }));
        }
        Ok(Response::new(Box::pin(stream::iter(pages))))
    }

    async fn usage(
        &self,
        request: Request<api::UsageRequest>,
    ) -> Result<Response<api::UsageResponse>, Status> {
        let request = request.into_inner();
        let usage = self.run(move |all| all.usage(&request.key)).await?;
        Ok(Response::new(api::UsageResponse {
            size: i64::try_from(usage.bytes).unwrap_or(i64::MAX),
            inodes: i64::try_from(usage.inodes).unwrap_or(i64::MAX),
        }))
    }

    async fn cleanup(&self, _: Request<api::CleanupRequest>) -> Result<Response<()>, Status> {
        self.run(Snapshots::cleanup).await.map(Response::new)
    }
}
