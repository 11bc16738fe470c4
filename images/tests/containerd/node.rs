//! A node: containerd, our snapshotter in this process, a disk, and images on it.

use holdall::generation::{self, Labels};
use holdall::ids::Sha256;
use holdall::index::Table;
use holdall::ingest::{Ingest, IngestOptions};
use holdall::medium::{DirectoryMedium, Medium};
use holdall::monitor::Silent;
use holdall::name::ImageName;
use holdall::reader::{Disk, OpenOptions};
use holdall_images::config::chain_ids;
use holdall_images::containerd::registration::{ImageReport, RegistrationOptions, Report, register, unload};
use holdall_images::containerd::snapshotter::{Absent, Chains, SnapshotSocket, Snapshots, service};
use holdall_images::media_types::{OCI_CONFIG, OCI_INDEX, OCI_LAYER_TAR, OCI_MANIFEST};
use holdall_images::platform::Platform;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub const NAMESPACE: &str = "k8s.io";

/// Says on stderr why nothing is tested, where that is so.
pub fn can_run() -> bool {
    let why = if !nix::unistd::geteuid().is_root() {
        "not root"
    } else if !["containerd", "ctr", "runc", "unshare", "nsenter", "busybox"]
        .iter()
        .all(|name| {
            Command::new("sh")
                .args(["-c", &format!("command -v {name}")])
                .stdout(Stdio::null())
                .status()
                .unwrap()
                .success()
        })
    {
        "containerd, runc, util-linux or busybox-static is not installed"
    } else {
        return true;
    };
    eprintln!("skipped: {why}");
    false
}

/// Chains as plain folders; the disk can be pulled.
#[derive(Debug)]
pub struct Folders {
    pub folder: PathBuf,
    pub plugged: AtomicBool,
}

impl Chains for Folders {
    fn has(&self, chain_id: &Sha256) -> Result<bool, Absent> {
        if self.plugged.load(Ordering::SeqCst) {
            Ok(self.directory(chain_id).is_dir())
        } else {
            Err(Absent {
                why: "no disk is plugged in".to_owned(),
            })
        }
    }

    fn directory(&self, chain_id: &Sha256) -> PathBuf {
        self.folder.join(chain_id.to_hex())
    }

    fn release(&self, _: &Sha256) {}
}

/// An image of plain tar layers.
pub struct TestImage {
    pub name: String,
    pub layers: Vec<Vec<u8>>,
    pub config: Vec<u8>,
    pub manifest: Vec<u8>,
}

impl TestImage {
    /// Each layer is what a shell script makes in an empty folder.
    pub fn new(name: &str, layers: &[&str]) -> Self {
        Self::of(name, layers.iter().map(|script| layer(script)).collect())
    }

    pub fn of(name: &str, layers: Vec<Vec<u8>>) -> Self {
        let diff_ids: Vec<String> = layers.iter().map(|layer| Sha256::of(layer).to_digest()).collect();
        let platform = Platform::of_this_machine().described();
        let config = json!({
            "os": platform.os, "architecture": platform.architecture,
            "config": {"Env": ["PATH=/bin"], "Cmd": ["sh"], "Labels": {"name": name}},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        })
        .to_string()
        .into_bytes();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": descriptor(OCI_CONFIG, &config),
            "layers": layers.iter().map(|layer| descriptor(OCI_LAYER_TAR, layer)).collect::<Vec<_>>(),
        })
        .to_string()
        .into_bytes();
        Self {
            name: name.to_owned(),
            layers,
            config,
            manifest,
        }
    }

    pub fn chains(&self) -> Vec<Sha256> {
        chain_ids(
            &self
                .layers
                .iter()
                .map(|layer| Sha256::of(layer))
                .collect::<Vec<_>>(),
        )
    }

    pub fn target(&self) -> String {
        Sha256::of(&self.manifest).to_digest()
    }

    /// An OCI layout in a tar, as `ctr image import` takes it.
    pub fn archive(&self, folder: &Path) -> PathBuf {
        let layout = folder.join("layout");
        let blobs = layout.join("blobs/sha256");
        let _old = std::fs::remove_dir_all(&layout);
        std::fs::create_dir_all(&blobs).unwrap();
        for blob in self.layers.iter().chain([&self.config, &self.manifest]) {
            std::fs::write(blobs.join(Sha256::of(blob).to_hex()), blob).unwrap();
        }
        let mut entry = descriptor(OCI_MANIFEST, &self.manifest);
        entry["annotations"] = json!({"io.containerd.image.name": self.name});
        let index = json!({"schemaVersion": 2, "manifests": [entry]});
        std::fs::write(layout.join("index.json"), index.to_string()).unwrap();
        std::fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        let archive = folder.join("layout.tar");
        run(Command::new("tar").args([
            "-C",
            layout.to_str().unwrap(),
            "-cf",
            archive.to_str().unwrap(),
            ".",
        ]));
        archive
    }
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": Sha256::of(bytes).to_digest(), "size": bytes.len()})
}

/// The lowest layer: busybox as every command.
pub const BUSYBOX: &str = "mkdir bin etc proc sys dev tmp; cp $(command -v busybox) bin/busybox; \
     for n in sh cat ls echo sleep rm touch id stat; do ln -s busybox bin/$n; done; echo base >etc/base; chmod 4755 bin/busybox";

fn layer(script: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    run(Command::new("sh")
        .args(["-euc", script])
        .current_dir(folder.path()));
    let tar = Command::new("tar")
        .args(["--sort=name", "--mtime=@1", "--numeric-owner", "-c", "."])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(tar.status.success());
    tar.stdout
}

#[track_caller]
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let all = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{command:?}: {all}");
    all
}

/// A node with a disk.
pub struct Node {
    pub chains: Arc<Folders>,
    pub disk: Disk,
    pub runtime: tokio::runtime::Runtime,
    snapshotter: Option<(tokio::sync::oneshot::Sender<()>, tokio::task::JoinHandle<()>)>,
    containerd: Option<Child>,
    pub folder: tempfile::TempDir,
}

impl Node {
    /// A disk with those images, their chains extracted; an index over each of the second list, with a child for another
    /// platform that is not there.
    pub fn new(images: &[TestImage], indexed: &[TestImage]) -> Self {
        let folder = tempfile::Builder::new().prefix("node").tempdir().unwrap();
        let chains = Arc::new(Folders {
            folder: folder.path().join("disk-chains"),
            plugged: true.into(),
        });
        for image in images.iter().chain(indexed) {
            for (n, chain) in image.chains().iter().enumerate() {
                extract(&chains.directory(chain), &image.layers[..=n]);
            }
        }
        let disk = disk(folder.path(), images, indexed);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let mut node = Self {
            chains,
            disk,
            runtime,
            snapshotter: None,
            containerd: None,
            folder,
        };
        node.start_snapshotter();
        node.start_containerd();
        node
    }

    /// One more disk; it takes the place of `disk` while it is registered or unloaded.
    pub fn other_disk(&self, images: &[TestImage]) -> Disk {
        for image in images {
            for (n, chain) in image.chains().iter().enumerate() {
                extract(&self.chains.directory(chain), &image.layers[..=n]);
            }
        }
        let folder = self.folder.path().join("other");
        std::fs::create_dir_all(&folder).unwrap();
        disk(&folder, images, &[])
    }

    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    pub fn start_snapshotter(&mut self) {
        let state = self.folder.path().join("state");
        let all = Arc::new(Snapshots::open(&state, Arc::clone(&self.chains) as Arc<dyn Chains>).unwrap());
        let socket = SnapshotSocket::bind(Path::new(&self.path("snap.sock"))).unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let served = self.runtime.spawn(async move {
            let stop = async {
                let _either_way = stopped.await;
            };
            service::serve(all, &socket, stop).await.unwrap();
        });
        self.snapshotter = Some((stop, served));
    }

    /// Ends it at once, calls under way or not.
    pub fn stop_snapshotter(&mut self) {
        if let Some((stop, served)) = self.snapshotter.take() {
            drop(stop);
            served.abort();
            let _ended = self.runtime.block_on(served);
            // Calls on their threads hold the state until they end.
            let table = self.folder.path().join("state/table");
            let start = Instant::now();
            while Table::open(&table).is_err() {
                assert!(
                    start.elapsed() < Duration::from_secs(20),
                    "the state stays in use"
                );
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    pub fn start_containerd(&mut self) {
        let config = format!(
            "version = 2\nroot = {root:?}\nstate = {state:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\naddress = {socket:?}\n[ttrpc]\naddress = {ttrpc:?}\n\
             [proxy_plugins.holdall]\ntype = \"snapshot\"\naddress = {ours:?}\n",
            root = self.path("root"),
            state = self.path("run"),
            socket = self.path("c.sock"),
            ttrpc = self.path("t.sock"),
            ours = self.path("snap.sock"),
        );
        std::fs::write(self.path("config.toml"), config).unwrap();
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.path("log"))
            .unwrap();
        let child = Command::new("unshare")
            .args([
                "--mount",
                "--propagation",
                "private",
                "containerd",
                "--config",
                &self.path("config.toml"),
            ])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.containerd = Some(child);
        let start = Instant::now();
        while !self
            .command("ctr")
            .args(["version"])
            .output()
            .unwrap()
            .status
            .success()
        {
            assert!(start.elapsed() < Duration::from_secs(30), "{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn stop_containerd(&mut self) {
        if let Some(mut child) = self.containerd.take() {
            let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
            child.wait().unwrap();
        }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Waits until containerd has found the restarted snapshotter: it tries again after seconds only.
    pub fn reconnect(&self) {
        let start = Instant::now();
        while !self
            .command("ctr")
            .args(["snapshots", "--snapshotter", "holdall", "ls"])
            .output()
            .unwrap()
            .status
            .success()
        {
            assert!(start.elapsed() < Duration::from_secs(20), "{}", self.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// `ctr` within containerd's mount namespace.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        let pid = self.containerd.as_ref().map_or(0, Child::id).to_string();
        command.args(["--mount", "--target", &pid, program]);
        command.args(["--address", &self.path("c.sock"), "--namespace", NAMESPACE]);
        command
    }

    #[track_caller]
    pub fn ctr(&self, args: &[&str]) -> String {
        run(self.command("ctr").args(args))
    }

    #[track_caller]
    pub fn ctr_fails(&self, args: &[&str]) -> String {
        let output = self.command("ctr").args(args).output().unwrap();
        assert!(!output.status.success(), "{args:?} worked");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// Runs a script in a container of the image; what it printed.
    #[track_caller]
    pub fn container(&self, image: &str, script: &str) -> String {
        // Without the pause ctr can miss what a container prints that ends at once.
        let script = format!("{script}; sleep 0.5");
        // runc knows containers by their names alone, whichever containerd they are of: tests run beside each other.
        let id = format!("{}", self.folder.path().file_name().unwrap().display());
        self.ctr(&[
            "run",
            "--rm",
            "--snapshotter",
            "holdall",
            image,
            &id,
            "sh",
            "-ec",
            &script,
        ])
    }

    pub fn snapshots(&self) -> Vec<String> {
        let listed = self.ctr(&["snapshots", "--snapshotter", "holdall", "ls"]);
        listed
            .lines()
            .skip(1)
            .filter_map(|line| line.split_whitespace().next())
            .map(str::to_owned)
            .collect()
    }

    pub fn images(&self) -> Vec<String> {
        let listed = self.ctr(&["images", "ls", "-q"]);
        listed.lines().map(str::to_owned).collect()
    }

    /// Folders of ordinary snapshots.
    pub fn folders(&self) -> usize {
        std::fs::read_dir(self.path("state/snapshots")).unwrap().count()
    }

    /// Has containerd collect garbage, and waits for it.
    pub fn collect(&self) {
        self.ctr(&["leases", "create", "--id", "collect"]);
        self.ctr(&["leases", "delete", "--sync", "collect"]);
    }

    pub fn options(&self) -> RegistrationOptions {
        RegistrationOptions {
            socket: self.path("c.sock").into(),
            namespace: NAMESPACE.to_owned(),
            snapshotter: "holdall".to_owned(),
            platform: Platform::of_this_machine(),
            pinned: false,
            replace: false,
            links: None,
            first: Vec::new(),
        }
    }

    pub fn register(&self, options: &RegistrationOptions) -> Report {
        self.register_and(options, &|_| {})
    }

    /// The same; is told of each image as soon as it is there.
    pub fn register_and(&self, options: &RegistrationOptions, told: &dyn Fn(&ImageReport)) -> Report {
        let table = Table::open(&self.folder.path().join("registration")).unwrap();
        let chains = Arc::clone(&self.chains) as Arc<dyn Chains>;
        self.runtime
            .block_on(register(&self.disk, chains, options, &table, told))
            .unwrap()
    }

    pub fn unload(&self) -> Report {
        let table = Table::open(&self.folder.path().join("registration")).unwrap();
        self.runtime
            .block_on(unload(&self.disk.root().medium, &self.options(), &table))
            .unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
        self.stop_containerd();
        self.stop_snapshotter();
    }
}

fn extract(folder: &Path, layers: &[Vec<u8>]) {
    std::fs::create_dir_all(folder).unwrap();
    for layer in layers {
        let mut archive = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut archive, layer).unwrap();
        let (archive, folder) = (archive.path().to_str().unwrap(), folder.to_str().unwrap());
        run(Command::new("tar").args(["-C", folder, "--numeric-owner", "-xpf", archive]));
    }
}

fn disk(folder: &Path, images: &[TestImage], indexed: &[TestImage]) -> Disk {
    let medium: Arc<dyn Medium> = Arc::new(DirectoryMedium::create(&folder.join("disk")).unwrap());
    let labels = Labels {
        origin: "o".into(),
        series: "s".into(),
    };
    generation::init(medium.as_ref(), &labels, &holdall::custody::Witness::unnamed(), 0).unwrap();
    let options = IngestOptions {
        witness: holdall::custody::Witness::unnamed(),
        level: holdall::pack::Level::default(),
        state: folder.join("host"),
        interrupted: Arc::default(),
    };
    let ingest = Ingest::open(Arc::clone(&medium), &options, Arc::new(Silent)).unwrap();
    let put = |bytes: &[u8], media_type: Option<&str>| {
        let blob = ingest.store_small(bytes, None, "a test").unwrap();
        ingest.put_blob(&blob, media_type).unwrap();
        blob
    };
    for (image, in_index) in images
        .iter()
        .map(|image| (image, false))
        .chain(indexed.iter().map(|image| (image, true)))
    {
        for layer in &image.layers {
            put(layer, None);
        }
        put(&image.config, None);
        let name = ImageName::parse(&image.name).unwrap();
        let manifest = put(&image.manifest, Some(OCI_MANIFEST));
        if in_index {
            let mut other = descriptor(OCI_MANIFEST, b"elsewhere");
            other["platform"] = json!({"os": "linux", "architecture": "s390x"});
            let mut child = descriptor(OCI_MANIFEST, &image.manifest);
            let platform = Platform::of_this_machine().described();
            child["platform"] = json!({"os": platform.os, "architecture": platform.architecture});
            let index =
                json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [other, child]}).to_string();
            let index = put(index.as_bytes(), Some(OCI_INDEX));
            ingest.put_image(&name, &index, OCI_INDEX).unwrap();
        } else {
            ingest.put_image(&name, &manifest, OCI_MANIFEST).unwrap();
        }
    }
    ingest.commit().unwrap();
    Disk::open(medium, &OpenOptions::default()).unwrap()
}
