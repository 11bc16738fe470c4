//! Sets the stage for end-to-end tests: disks, layouts, and the `holdall` command itself.
#![allow(dead_code, reason = "each test file uses a part of it")]

pub mod containerd;
pub mod cosign;
pub mod docker_registry;

use serde_json::{Value, json};
use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The command under test.
pub const HOLDALL: &str = env!("CARGO_BIN_EXE_holdall");

/// A folder of its own with a host's state in it.
pub struct Stage {
    folder: tempfile::TempDir,
    /// Whether the folder is a mount of its own, in a mount namespace of the thread's own.
    apart: bool,
}

impl Drop for Stage {
    fn drop(&mut self) {
        if self.apart {
            // With everything mounted below; else the folder could not be removed.
            let _gone_already = nix::mount::umount2(self.folder.path(), nix::mount::MntFlags::MNT_DETACH);
        }
    }
}

/// What a finished command said.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Said {
    /// The command must have ended with this code; all it said is shown otherwise.
    #[track_caller]
    pub fn code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}\n{}", self.out, self.err);
        self
    }

    /// What it printed on either stream must have this text in it.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(
            self.out.contains(text) || self.err.contains(text),
            "{text:?} is not in:\n{}\n{}",
            self.out,
            self.err
        );
        self
    }

    /// Its standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}:\n{}\n{}", self.out, self.err))
    }
}

impl Stage {
    pub fn new() -> Self {
        Self {
            folder: tempfile::Builder::new()
                .prefix("holdall-test-")
                .tempdir()
                .unwrap(),
            apart: false,
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The disk's folder.
    pub fn disk(&self) -> PathBuf {
        self.path("disk")
    }

    pub fn command<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(HOLDALL);
        command
            .args(args)
            .env("HOLDALL_STATE", self.path("state"))
            .stdin(Stdio::null());
        command
    }

    /// Runs the command to its end.
    pub fn run<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Said {
        self.command(args).output().unwrap().into()
    }

    /// `holdall init` of the disk.
    #[track_caller]
    pub fn init(&self) {
        self.run(["init", self.disk().to_str().unwrap()]).code(0);
    }

    /// `holdall add DISK args…`
    pub fn add<A: AsRef<str>>(&self, args: &[A]) -> Said {
        let disk = self.disk();
        let all = ["add", disk.to_str().unwrap()]
            .into_iter()
            .map(str::to_owned)
            .chain(args.iter().map(|a| a.as_ref().to_owned()));
        self.run(all)
    }

    /// Nothing on the disk is damaged, down to every byte.
    #[track_caller]
    pub fn assert_whole(&self) {
        self.run(["verify", "--full", self.disk().to_str().unwrap()])
            .code(0);
    }

    /// The generation the disk is at.
    #[track_caller]
    pub fn generation(&self) -> u64 {
        self.run(["info", "--json", self.disk().to_str().unwrap()])
            .code(0)
            .json()["generation"]
            .as_u64()
            .unwrap()
    }
}

/// Bytes that look like noise and are the same for the same seed.
pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut out = vec![0; len];
    let mut hash = blake3::Hasher::new();
    hash.update(&seed.to_le_bytes());
    hash.finalize_xof().fill(&mut out);
    out
}

pub fn sha256(bytes: &[u8]) -> String {
    holdall::ids::Sha256::of(bytes).to_hex()
}

/// An OCI layout made by hand, so that it can be broken by hand.
pub struct Layout {
    pub path: PathBuf,
    index: Vec<Value>,
}

impl Layout {
    pub fn new(path: PathBuf) -> Self {
        std::fs::create_dir_all(path.join("blobs/sha256")).unwrap();
        std::fs::write(path.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        let layout = Self {
            path,
            index: Vec::new(),
        };
        layout.write_index();
        layout
    }

    fn write_index(&self) {
        let index = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": self.index});
        std::fs::write(self.path.join("index.json"), index.to_string()).unwrap();
    }

    pub fn blob_path(&self, hex: &str) -> PathBuf {
        self.path.join("blobs/sha256").join(hex)
    }

    /// Stores a blob; its descriptor.
    pub fn blob(&self, media_type: &str, bytes: &[u8]) -> Value {
        let hex = sha256(bytes);
        std::fs::write(self.blob_path(&hex), bytes).unwrap();
        json!({"mediaType": media_type, "digest": format!("sha256:{hex}"), "size": bytes.len()})
    }

    /// A manifest over a small config and one layer of these bytes; its descriptor.
    pub fn manifest(&self, layer: &[u8], more: Value) -> Value {
        self.manifest_for("amd64", layer, more)
    }

    pub fn manifest_for(&self, architecture: &str, layer: &[u8], more: Value) -> Value {
        let config = json!({"architecture": architecture, "os": "linux", "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", sha256(layer))]}});
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": self.blob("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes()),
            "layers": [self.blob("application/vnd.oci.image.layer.v1.tar", layer)],
        });
        for (key, value) in more.as_object().cloned().unwrap_or_default() {
            manifest[key] = value;
        }
        self.blob(
            "application/vnd.oci.image.manifest.v1+json",
            manifest.to_string().as_bytes(),
        )
    }

    /// An index of these manifests; its descriptor.
    pub fn index_of(&self, manifests: &[Value]) -> Value {
        let index = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests});
        self.blob(
            "application/vnd.oci.image.index.v1+json",
            index.to_string().as_bytes(),
        )
    }

    /// Lists a descriptor in index.json, under a name where one is given.
    pub fn list(&mut self, mut descriptor: Value, name: Option<&str>) -> String {
        if let Some(name) = name {
            descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": name});
        }
        let digest = descriptor["digest"].as_str().unwrap().to_owned();
        self.index.push(descriptor);
        self.write_index();
        digest
    }

    pub fn source(&self) -> String {
        format!("oci:{}", self.path.display())
    }
}

/// A `holdall` that stays: `serve` or `mount`. Ended by SIGTERM when dropped.
pub struct Running {
    pub child: Child,
    pub line: String,
}

impl Running {
    /// Starts it and waits for the line that says it is ready.
    #[track_caller]
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert!(
            !line.is_empty(),
            "it ended before it was ready: {:?}",
            child.wait()
        );
        Self { child, line }
    }

    /// The address in `serving … on http://ADDRESS`.
    #[track_caller]
    pub fn address(&self) -> String {
        let at = self
            .line
            .find("http://")
            .unwrap_or_else(|| panic!("no address in {:?}", self.line));
        self.line[at + 7..].split_whitespace().next().unwrap().to_owned()
    }

    /// Asks it to end, and waits; its exit code.
    pub fn stop(&mut self) -> i32 {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        let _gone_already = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        wait(&mut self.child, Duration::from_secs(30))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Waits for a child's end; one that does not end is killed, and the test fails.
#[track_caller]
pub fn wait(child: &mut Child, limit: Duration) -> i32 {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code().unwrap_or(-1);
        }
        if start.elapsed() > limit {
            child.kill().unwrap();
            panic!("it did not end within {limit:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs another program to its end; it has to succeed.
#[track_caller]
pub fn sh(script: &str) -> String {
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", script])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{script}\n{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The corpus of real images, as `ci/test` made it; says aloud where it is missing.
pub fn corpus() -> Option<PathBuf> {
    let found = std::env::var_os("HOLDALL_CORPUS")
        .map(PathBuf::from)
        .filter(|p| p.join("oci/index.json").exists());
    if found.is_none() {
        eprintln!("SKIPPED: HOLDALL_CORPUS names no corpus of images; ci/test makes one");
    }
    found
}

/// The tags of a layout.
pub fn tags(layout: &Path) -> Vec<(String, String)> {
    let index: Value = serde_json::from_slice(&std::fs::read(layout.join("index.json")).unwrap()).unwrap();
    let tag = |m: &Value| {
        let name = m["annotations"]["org.opencontainers.image.ref.name"].as_str()?;
        Some((name.to_owned(), m["digest"].as_str()?.to_owned()))
    };
    index["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(tag)
        .collect()
}
