use super::*;
use crate::registry::stream::{Slices, Stretch, Turns};
use bytes::Bytes;
use holdall::monitor::Silent;
use hyper::header::CONTENT_LENGTH;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::oneshot;
use tokio::time::timeout;

const LIMITS: Limits = Limits {
    connections: 2,
    header_timeout: Duration::from_millis(300),
    write_timeout: Duration::from_millis(300),
    drain: Duration::from_millis(500),
};
const SIZE: u64 = 60_000_000;
/// Longer than any of the limits, shorter than a test may take.
const LONG: Duration = Duration::from_secs(20);

/// One zero page again and again; `/damaged` ends in an error half-way.
struct Zeros(Bytes, u64);
impl Slices for Zeros {
    fn slice_at(&self, offset: u64, max: usize) -> holdall::Result<Bytes> {
        if offset >= self.1 {
            return Err(holdall::Error::mismatch("packs/000001.pack", "frame"));
        }
        Ok(self.0.slice(..max.min(self.0.len())))
    }
    fn read_ahead(&self, _: u64) {}
}

async fn answer(turns: Turns, request: Request<Incoming>) -> Response<Body> {
    let damaged_from = if request.uri().path() == "/damaged" {
        SIZE / 2
    } else {
        u64::MAX
    };
    let slices = Arc::new(Zeros(Bytes::from(vec![0; 256 * 1024]), damaged_from));
    let stretch = Stretch {
        slices,
        place: "zeros".into(),
        start: 0,
        end: SIZE,
    };
    let first = stretch.read_batch().unwrap();
    let mut response = Response::new(Body::stream(turns, stretch, first));
    response.headers_mut().insert(CONTENT_LENGTH, SIZE.into());
    response
}

/// A server, its address, what shuts it down, and what ends with it.
async fn start() -> (SocketAddr, oneshot::Sender<()>, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let turns = Turns::new(4, Arc::new(Silent));
    let running = tokio::spawn(async move {
        let answer = move |request| answer(turns.clone(), request);
        let shutdown = async { stopped.await.unwrap_or_default() };
        serve(listener, LIMITS, Arc::new(Silent), answer, shutdown).await;
    });
    (address, stop, running)
}

async fn ask(address: SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())
        .await
        .unwrap();
    stream
}

/// Reads until the server closes; how many bytes came.
async fn drain(stream: &mut TcpStream) -> u64 {
    let mut buffer = vec![0; 1 << 20];
    let mut bytes = 0;
    loop {
        match timeout(LONG, stream.read(&mut buffer)).await.unwrap() {
            Ok(0) | Err(_) => return bytes,
            Ok(read) => bytes += u64::try_from(read).unwrap(),
        }
    }
}

#[tokio::test]
async fn a_whole_answer_arrives_and_the_idle_connection_is_closed() {
    let (address, _stop, _) = start().await;
    let bytes = drain(&mut ask(address, "/").await).await;
    assert!(bytes > SIZE && bytes < SIZE + 500, "{bytes}");
}

#[tokio::test]
async fn a_client_that_sends_no_head_is_dropped() {
    let (address, _stop, _) = start().await;
    let mut silent = TcpStream::connect(address).await.unwrap();
    assert_eq!(drain(&mut silent).await, 0);
    let mut slow = TcpStream::connect(address).await.unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\nHost:").await.unwrap();
    assert!(drain(&mut slow).await < SIZE);
}

#[tokio::test]
async fn a_client_that_stops_reading_is_dropped() {
    let (address, _stop, _) = start().await;
    let mut stuck = ask(address, "/").await;
    tokio::time::sleep(LIMITS.write_timeout * 4).await;
    assert!(drain(&mut stuck).await < SIZE);
}

#[tokio::test]
async fn a_slow_client_that_goes_on_reading_is_served() {
    let (address, _stop, _) = start().await;
    let mut slow = ask(address, "/").await;
    let mut buffer = vec![0; 8 << 20];
    let mut bytes = 0;
    while bytes < 40_000_000 {
        tokio::time::sleep(LIMITS.write_timeout / 4).await;
        let read = slow.read(&mut buffer).await.unwrap();
        assert!(read > 0, "dropped after {bytes}");
        bytes += read;
    }
    assert!(drain(&mut slow).await + u64::try_from(bytes).unwrap() > SIZE);
}

#[tokio::test]
async fn damage_in_the_middle_truncates_the_transfer_and_the_server_goes_on() {
    let (address, _stop, _) = start().await;
    assert!(drain(&mut ask(address, "/damaged").await).await < SIZE);
    assert!(drain(&mut ask(address, "/").await).await > SIZE);
}

#[tokio::test]
async fn connections_over_the_cap_wait_and_are_served() {
    let (address, _stop, _) = start().await;
    let mut both = [ask(address, "/").await, ask(address, "/").await];
    let mut third = ask(address, "/").await;
    let mut byte = [0];
    assert!(
        timeout(Duration::from_millis(150), third.read(&mut byte))
            .await
            .is_err()
    );
    for stream in &mut both {
        drain(stream).await;
    }
    assert!(drain(&mut third).await > SIZE);
}

#[tokio::test]
async fn shutdown_finishes_open_answers_and_closes_what_is_stuck() {
    let (address, stop, running) = start().await;
    let mut reading = ask(address, "/").await;
    let _stuck = ask(address, "/").await;
    let mut byte = [0];
    reading.read_exact(&mut byte).await.unwrap();
    stop.send(()).unwrap();
    assert!(drain(&mut reading).await > SIZE);
    timeout(LONG, running).await.unwrap().unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

/// Writes 1 MB through a pipe of 4 KiB whose other side takes `piece` bytes every 20 ms.
async fn through_a_pipe(piece: usize) -> io::Result<()> {
    let (ours, mut theirs) = tokio::io::duplex(4096);
    let reader = tokio::spawn(async move {
        let mut buffer = vec![0; piece];
        while theirs.read_exact(&mut buffer).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let written = Watched::new(ours, LIMITS.write_timeout)
        .write_all(&vec![0; 1_000_000])
        .await;
    reader.abort();
    written
}

#[tokio::test]
async fn a_client_that_takes_a_few_bytes_at_a_time_is_dropped() {
    let err = through_a_pipe(1000).await.unwrap_err();
    assert_eq!(err.kind(), io::ErrorKind::TimedOut);
    through_a_pipe(16 * 1024).await.unwrap();
}
