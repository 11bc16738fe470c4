//! One blob as it comes from a registry: the bridge from the asynchronous side to a plain reader. A
//! transfer that breaks is taken up again at the byte it reached.

use super::transport::{Stream, Transport, causes};
use crate::{Error, Result};
use backon::BackoffBuilder as _;
use bytes::{Buf as _, Bytes};
use holdall::units::{index64, len64};
use std::io::Read;
use std::sync::Arc;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Pieces of an answer (of at most some 100 KiB each) between network and reader.
const PIECES: usize = 16;

/// Reads a blob's bytes in order. Must not be used on a thread that runs asynchronous code.
pub struct RemoteBlob {
    pieces: Receiver<Result<Bytes>>,
    current: Bytes,
    left: u64,
    place: String,
}

/// A reader of the `size` bytes at `path`, of which `started` brings the first.
pub fn read(
    runtime: &tokio::runtime::Handle,
    transport: Arc<Transport>,
    path: String,
    size: u64,
    started: Stream,
) -> RemoteBlob {
    let (sender, pieces) = channel(PIECES);
    let place = started.response.url().to_string();
    runtime.spawn(async move {
        if let Err(error) = pump(&transport, &path, size, started, &sender).await {
            // Nobody reads any more: then nobody needs to know.
            let _ = sender.send(Err(error)).await;
        }
    });
    RemoteBlob {
        pieces,
        current: Bytes::new(),
        left: size,
        place,
    }
}

async fn pump(
    transport: &Transport,
    path: &str,
    size: u64,
    started: Stream,
    sender: &Sender<Result<Bytes>>,
) -> Result<()> {
    let place = started.response.url().to_string();
    let mut stream = started;
    let mut at = 0;
    let mut waits = Transport::waits().build();
    loop {
        let broken = match stream.response.chunk().await {
            Ok(Some(mut piece)) => {
                let skipped = stream.skip.min(len64(piece.len()));
                stream.skip -= skipped;
                piece.advance(index64(skipped));
                if piece.is_empty() {
                    continue;
                }
                at += len64(piece.len());
                if at > size {
                    return Err(Error::mismatch(place, format!("{size} bytes"), "more"));
                }
                waits = Transport::waits().build();
                if sender.send(Ok(piece)).await.is_err() || at == size {
                    return Ok(());
                }
                continue;
            }
            Ok(None) => format!("the answer ends after {at} of {size} bytes"),
            Err(err) => causes(&err),
        };
        let Some(wait) = waits.next() else {
            return Err(Error::Transport { place, why: broken });
        };
        tokio::time::sleep(wait).await;
        stream = transport
            .open(path, at)
            .await?
            .ok_or_else(|| Error::missing(&place))?;
    }
}

impl Read for RemoteBlob {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        if self.left == 0 || buf.is_empty() {
            return Ok(0);
        }
        while self.current.is_empty() {
            self.current = match self.pieces.blocking_recv() {
                Some(piece) => piece.map_err(std::io::Error::other)?,
                // The runtime is gone: what is left never comes.
                None => {
                    let error = Error::Transport {
                        place: self.place.clone(),
                        why: "the source was closed".to_owned(),
                    };
                    return Err(std::io::Error::other(error));
                }
            };
        }
        let count = buf.len().min(self.current.len());
        if let Some(buf) = buf.get_mut(..count) {
            self.current.copy_to_slice(buf);
        }
        self.left -= len64(count);
        Ok(count)
    }
}
