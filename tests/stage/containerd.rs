//! Real containerds of three versions, with runc and crun, each in a world of its own that ends with its test.
//!
//! [`Stage::apart`] gives the test's thread a mount namespace, so that every mount the test makes is gone with it.
//! [`Containerd::start`] then runs `tests/stage/apart`: a root folder made by `ci/stages`, with mounts, process ids
//! and cgroups of its own and the machine's network. The stage's folder has the same path inside, and a mount made
//! in it from outside is seen inside, whether made before or after (the folder is a shared mount, rslave inside).
//!
//! What the versions need in their config where this was tried (cgroup v1, no `CAP_SYS_RESOURCE`):
//! - all: `restrict_oom_score_adj = true` (else runc ends with "can't get final child's PID from pipe", crun with
//!   "write to /proc/self/oom_score_adj"), and `disable_apparmor = true`. Neither `disable_cgroup` nor `SystemdCgroup` is
//!   needed: cgroups work. No CNI is needed for pods on the host's network, though `crictl info` says that the network is not ready.
//! - 1.6 and 1.7: the pause image is `sandbox_image` of `io.containerd.grpc.v1.cri`; runtimes lie under its `containerd`.
//! - 2.x: it is `pinned_images.sandbox` of `io.containerd.cri.v1.images`; runtimes lie under `io.containerd.cri.v1.runtime`.
//! - 2.x: `ctr` goes through the transfer service, which unpacks only with the snapshotters that `unpack_config` lists: here
//!   overlayfs and native. Who lists others replaces all the rows.
//! - all: an image is known to the CRI at the moment its record is in the namespace `k8s.io`.

use super::{Said, Stage};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The image for pods' pauses, and the one with a shell in it.
pub const PAUSE: &str = "holdall.test/pause:1";
pub const BUSYBOX: &str = "holdall.test/busybox:1";

/// The containerds that there are to test with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V1_6,
    V1_7,
    V2,
}

/// The programs that start containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runtime {
    Runc,
    Crun,
}

impl Runtime {
    pub const ALL: [Self; 2] = [Self::Runc, Self::Crun];

    pub fn name(self) -> &'static str {
        match self {
            Self::Runc => "runc",
            Self::Crun => "crun",
        }
    }
}

/// Where `ci/stages` puts what it makes.
pub fn stages() -> PathBuf {
    let var = |name: &str| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    var("HOLDALL_CACHE")
        .or_else(|| Some(var("XDG_CACHE_HOME")?.join("holdall")))
        .or_else(|| Some(var("HOME")?.join(".cache/holdall")))
        .unwrap_or_default()
        .join("stages")
}

/// The two test images as an OCI layout, tags `pause` and `busybox`: a source for `holdall add`.
pub fn images() -> PathBuf {
    stages().join("images/oci")
}

impl Version {
    pub const ALL: [Self; 3] = [Self::V1_6, Self::V1_7, Self::V2];

    pub fn suite(self) -> &'static str {
        match self {
            Self::V1_6 => "bookworm",
            Self::V1_7 => "trixie",
            Self::V2 => "sid",
        }
    }

    /// Those that can run here; for each other one the reason is printed.
    pub fn ready() -> Vec<Self> {
        Self::ALL.into_iter().filter(|v| v.is_ready()).collect()
    }

    /// Whether it can run here; the reason is printed if not.
    pub fn is_ready(self) -> bool {
        let missing = |what: &str| {
            eprintln!("SKIPPED: containerd of {}: {what}", self.suite());
            false
        };
        let folder = stages().join(self.suite());
        if !nix::unistd::geteuid().is_root() {
            return missing("needs root");
        }
        for file in [
            folder.join("usr/bin/crun"),
            folder.join("usr/local/bin/crictl"),
            images().join("index.json"),
        ] {
            if !file.exists() {
                return missing(&format!("no {}; ci/stages makes it", file.display()));
            }
        }
        true
    }

    /// The config that a containerd of this version starts from here.
    fn config(self) -> String {
        let (runtime, version, pause) = match self {
            Self::V1_6 | Self::V1_7 => (
                "io.containerd.grpc.v1.cri",
                2,
                format!("[plugins.'io.containerd.grpc.v1.cri']\nsandbox_image = '{PAUSE}'\n"),
            ),
            Self::V2 => (
                "io.containerd.cri.v1.runtime",
                3,
                format!(
                    "{}[plugins.'io.containerd.cri.v1.images'.pinned_images]\nsandbox = '{PAUSE}'\n[plugins.'io.containerd.cri.v1.runtime']\n",
                    unpack_rows(&["overlayfs", "native"])
                ),
            ),
        };
        format!(
            "version = {version}\n{pause}restrict_oom_score_adj = true\ndisable_apparmor = true\n\
             [plugins.'{runtime}'.containerd]\ndefault_runtime_name = 'runc'\n\
             [plugins.'{runtime}'.containerd.runtimes.runc]\nruntime_type = 'io.containerd.runc.v2'\n\
             [plugins.'{runtime}'.containerd.runtimes.crun]\nruntime_type = 'io.containerd.runc.v2'\n\
             [plugins.'{runtime}'.containerd.runtimes.crun.options]\nBinaryName = 'crun'\n"
        )
    }

    /// Config that makes the snapshotter behind this socket known as `name`, to the transfer service too, and the CRI's.
    pub fn snapshotter(self, name: &str, socket: &Path) -> String {
        let proxy = format!("[proxy_plugins.{name}]\ntype = 'snapshot'\naddress = {socket:?}\n");
        match self {
            Self::V1_6 | Self::V1_7 => {
                format!("{proxy}[plugins.'io.containerd.grpc.v1.cri'.containerd]\nsnapshotter = '{name}'\n")
            }
            Self::V2 => format!(
                "{proxy}[plugins.'io.containerd.cri.v1.images']\nsnapshotter = '{name}'\n{}",
                unpack_rows(&["overlayfs", "native", name])
            ),
        }
    }
}

/// What the transfer service of 2.x needs to unpack with these; the snapshotter that has no row gives "no unpack platforms defined".
fn unpack_rows(snapshotters: &[&str]) -> String {
    let row = |name| {
        format!(
            "[[plugins.'io.containerd.transfer.v1.local'.unpack_config]]\nplatform = 'linux'\nsnapshotter = '{name}'\ndiffer = 'walking'\n"
        )
    };
    snapshotters.iter().map(row).collect()
}

impl Stage {
    /// A stage in a mount namespace of this thread's own: what the thread and its children mount is gone with them, and
    /// mounts made in the stage's folder reach the containerds started on it. None, and the reason printed, where that cannot be.
    pub fn apart() -> Option<Self> {
        if let Err(e) = unshare(CloneFlags::CLONE_NEWNS) {
            eprintln!("SKIPPED: no mount namespace of its own: {e}");
            return None;
        }
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        let mut stage = Self::new();
        let folder = stage.path("");
        mount(Some(&folder), &folder, none, MsFlags::MS_BIND, none).unwrap();
        mount(none, &folder, none, MsFlags::MS_SHARED, none).unwrap();
        stage.apart = true;
        Some(stage)
    }
}

/// The first process of a world of its own; everything in it ends when this is dropped.
struct World {
    child: Child,
    pid: String,
    groups: Vec<PathBuf>,
}

impl World {
    fn start(stage: &Stage, folder: &Path, name: &str) -> Self {
        let work = stage.path("");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/stage/apart");
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", script])
            .arg(folder)
            .arg(work.to_str().unwrap().trim_end_matches('/'))
            .arg(name)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut world = Self {
            groups: Vec::new(),
            pid: String::new(),
            child,
        };
        for line in BufReader::new(world.child.stdout.take().unwrap()).lines() {
            match line.unwrap().split_once(' ') {
                Some(("group", path)) => world.groups.push(PathBuf::from(path)),
                Some(("ready", pid)) => {
                    world.pid = pid.to_owned();
                    return world;
                }
                other => panic!("tests/stage/apart said {other:?}"),
            }
        }
        panic!("tests/stage/apart ended before it was ready");
    }

    fn enter(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.pid, "-m", "-p", "-C", "-r", "-w", "--"]);
        command.stdin(Stdio::null());
        command
    }
}

/// Removes a cgroup and those below it; what still has processes stays.
fn remove_group(path: &Path) {
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            remove_group(&entry.path());
        }
    }
    let _busy = std::fs::remove_dir(path);
}

impl Drop for World {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _reaped = self.child.wait();
        // The first process dies with its parent, and all others with it; the cgroups are free a moment later.
        let start = Instant::now();
        while self.groups.iter().any(|g| g.exists()) && start.elapsed() < Duration::from_secs(10) {
            self.groups.iter().for_each(|g| remove_group(g));
            std::thread::sleep(Duration::from_millis(5));
        }
        let left: Vec<_> = self.groups.iter().filter(|g| g.exists()).collect();
        assert!(
            left.is_empty() || std::thread::panicking(),
            "something still runs in {left:?}"
        );
    }
}

/// A running containerd, its root in the stage's folder, its state in its world's own memory. Its log is shown if the test fails.
pub struct Containerd {
    pub version: Version,
    /// The socket, seen from outside and inside under the same path.
    pub socket: PathBuf,
    /// The config it starts from; may be changed before [`Self::restart`].
    pub config: PathBuf,
    /// Its root, log and logs of pods.
    pub folder: PathBuf,
    daemon: Child,
    world: World,
    count: AtomicU32,
}

const JOIN_AND_ENTER: &str = r#"
pid=$1 folder=$2 config=$3
shift 3
for group; do [ ! -e "$group/init" ] || group=$group/init; echo $$ >"$group/cgroup.procs"; done
exec nsenter -t "$pid" -m -p -C -r -w -- bash -c 'echo $$ >"$1/pid"
  exec containerd --config "$2" --root "$1/root" --state /run/containerd --address "$1/sock"' containerd "$folder" "$config"
"#;

impl Containerd {
    /// Starts a containerd with fresh root and state on a stage made by [`Stage::apart`]. `extra` is TOML, laid over the
    /// config: tables are merged, all else is replaced.
    #[track_caller]
    pub fn start(stage: &Stage, version: Version, extra: &str) -> Self {
        assert!(
            stage.apart,
            "Stage::apart makes the stages that containerds can run on"
        );
        let folder = (0..)
            .map(|n| stage.path(&format!("containerd-{}-{n}", version.suite())))
            .find(|f| !f.exists())
            .unwrap();
        std::fs::create_dir_all(&folder).unwrap();
        let mut config: toml_edit::DocumentMut = version.config().parse().unwrap();
        lay_over(
            config.as_table_mut(),
            extra
                .parse::<toml_edit::DocumentMut>()
                .unwrap_or_else(|e| panic!("{e}\n{extra}"))
                .as_table(),
        );
        let config_path = folder.join("config.toml");
        std::fs::write(&config_path, config.to_string()).unwrap();
        Self::start_with(stage, version, folder, config_path)
    }

    /// Starts it from a config file as it is. Root, state and socket are given on the command line and win over the file's.
    #[track_caller]
    pub fn start_with(stage: &Stage, version: Version, folder: PathBuf, config: PathBuf) -> Self {
        let name = format!(
            "{}-{}",
            stage.path("").file_name().unwrap().to_str().unwrap(),
            folder.file_name().unwrap().to_str().unwrap()
        );
        std::fs::create_dir_all(&folder).unwrap();
        let world = World::start(stage, &stages().join(version.suite()), &name);
        for tar in ["pause.tar", "busybox.tar"] {
            std::fs::copy(stages().join("images").join(tar), folder.join(tar)).unwrap();
        }
        let socket = folder.join("sock");
        let crictl = format!(
            "printf 'runtime-endpoint: unix://%s\\nimage-endpoint: unix://%s\\ntimeout: 30\\n' {0} {0} >/etc/crictl.yaml",
            socket.display()
        );
        let said: Said = world
            .enter()
            .args(["bash", "-c", &crictl])
            .output()
            .unwrap()
            .into();
        said.code(0);
        let daemon = Self::daemon(&world, &folder, &config);
        let containerd = Self {
            version,
            socket,
            config,
            folder,
            daemon,
            world,
            count: AtomicU32::new(0),
        };
        containerd.wait_until_ready();
        containerd
    }

    fn daemon(world: &World, folder: &Path, config: &Path) -> Child {
        let log = std::fs::File::create(folder.join("log")).unwrap();
        Command::new("bash")
            .args(["-euc", JOIN_AND_ENTER, "bash", &world.pid])
            .args([folder, config])
            .args(&world.groups)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    /// Its world's root folder, as it is seen from outside.
    pub fn root(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.world.pid))
    }

    /// What it has logged since it was last started.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    #[track_caller]
    fn wait_until_ready(&self) {
        let start = Instant::now();
        while !self.log().contains("successfully booted") {
            assert!(
                start.elapsed() < Duration::from_secs(30),
                "containerd did not start"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        // The CRI says for a moment that it is not initialised; where it is disabled it is unknown for good.
        loop {
            let said = self.inside("crictl pods -q");
            if said.code == 0 || said.err.contains("unknown service") {
                return;
            }
            assert!(
                start.elapsed() < Duration::from_secs(30),
                "the CRI did not start: {said:?}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends containerd in order and starts it again from its config, with its root and state; containers run on.
    #[track_caller]
    pub fn restart(&mut self) {
        self.stop();
        self.start_again();
    }

    /// Ends containerd in order; containers run on.
    pub fn stop(&mut self) {
        self.end("TERM");
    }

    /// Kills containerd as it is; containers run on. [`Self::start_again`] brings it back.
    pub fn kill9(&mut self) {
        self.end("KILL");
    }

    /// Starts it after [`Self::stop`] or [`Self::kill9`].
    #[track_caller]
    pub fn start_again(&mut self) {
        self.daemon = Self::daemon(&self.world, &self.folder, &self.config);
        self.wait_until_ready();
    }

    fn end(&mut self, signal: &str) {
        let _gone_already = self.inside(&format!("kill -{signal} $(cat {}/pid)", self.folder.display()));
        super::wait(&mut self.daemon, Duration::from_secs(30));
    }

    /// Runs a line of bash inside, as root.
    pub fn inside(&self, line: &str) -> Said {
        self.world
            .enter()
            .args(["bash", "-c", line])
            .output()
            .unwrap()
            .into()
    }

    /// `ctr` with these arguments, as one would type them; it may fail.
    pub fn try_ctr(&self, args: &str) -> Said {
        self.inside(&format!("ctr --address {} {args}", self.socket.display()))
    }

    /// `ctr` with these arguments, which has to succeed: its output.
    #[track_caller]
    pub fn ctr(&self, args: &str) -> String {
        self.try_ctr(args).code(0).out
    }

    /// `crictl` with these arguments; it may fail.
    pub fn try_crictl(&self, args: &str) -> Said {
        self.inside(&format!("crictl {args}"))
    }

    /// `crictl` with these arguments, which has to succeed: its output without the last line's end.
    #[track_caller]
    pub fn crictl(&self, args: &str) -> String {
        self.try_crictl(args).code(0).out.trim_end().to_owned()
    }

    /// Imports both test images into a namespace of containerd's and unpacks them with a snapshotter.
    #[track_caller]
    pub fn import(&self, namespace: &str, snapshotter: &str) {
        for tar in ["pause.tar", "busybox.tar"] {
            let tar = self.folder.join(tar);
            self.ctr(&format!(
                "-n {namespace} images import --snapshotter {snapshotter} {}",
                tar.display()
            ));
        }
    }

    /// Runs a line of the image's shell in a container by `ctr`, to its end. More options for `ctr run` go before the image.
    pub fn run(&self, runtime: Runtime, options: &str, image: &str, line: &str) -> Said {
        let id = format!("run-{}", self.count.fetch_add(1, Ordering::Relaxed));
        // ctr copies the output beside the container; one that ends at once can be gone before it has begun.
        let line = format!("{line}\ncode=$?; sleep 0.2; exit $code").replace('\'', r"'\''");
        self.try_ctr(&format!(
            "run --rm --runc-binary {} {options} {image} {id} sh -c '{line}'",
            runtime.name()
        ))
    }

    /// Starts a pod on the host's network through the CRI.
    #[track_caller]
    pub fn pod(&self, runtime: Runtime) -> Pod<'_> {
        let name = format!("pod-{}", self.count.fetch_add(1, Ordering::Relaxed));
        let config = self.folder.join(format!("{name}.json"));
        // `network: 2` is the node's.
        let text = serde_json::json!({
            "metadata": {"name": name, "namespace": "default", "uid": name, "attempt": 1},
            "log_directory": self.folder.join("logs").join(&name),
            "linux": {"cgroup_parent": "/pods", "security_context": {"namespace_options": {"network": 2}}},
        });
        std::fs::write(&config, text.to_string()).unwrap();
        let id = self.crictl(&format!("runp -r {} {}", runtime.name(), config.display()));
        Pod {
            containerd: self,
            id,
            config,
        }
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            let from = lines.len().saturating_sub(60);
            eprintln!(
                "the end of the log of containerd ({}):\n{}",
                self.version.suite(),
                lines[from..].join("\n")
            );
        }
        let _gone_already = self.world.child.kill();
        let _reaped = self.daemon.wait();
    }
}

/// A pod that the CRI started. It ends with its containerd's world.
pub struct Pod<'a> {
    containerd: &'a Containerd,
    pub id: String,
    config: PathBuf,
}

impl Pod<'_> {
    /// Creates and starts a container that runs a line of the image's shell: its id. The image has to be there already, as
    /// with the pull policy `Never`: `crictl create` does not pull.
    #[track_caller]
    pub fn start(&self, image: &str, line: &str) -> String {
        let id = self.create(image, line).code(0).out.trim().to_owned();
        self.containerd.crictl(&format!("start {id}"));
        id
    }

    /// Creates a container without starting it; it may fail.
    pub fn create(&self, image: &str, line: &str) -> Said {
        let count = &self.containerd.count;
        let name = format!("container-{}", count.fetch_add(1, Ordering::Relaxed));
        let config = self.containerd.folder.join(format!("{name}.json"));
        let text = serde_json::json!({
            "metadata": {"name": name},
            "image": {"image": image},
            "command": ["sh", "-c", line],
            "log_path": format!("{name}.log"),
            "linux": {},
        });
        std::fs::write(&config, text.to_string()).unwrap();
        // The CRI's own check; kubelet pulls by a call of its own, which crictl makes only if it is asked to.
        self.containerd.try_crictl(&format!(
            "create --no-pull {} {} {}",
            self.id,
            config.display(),
            self.config.display()
        ))
    }

    /// What a container of it has printed so far.
    #[track_caller]
    pub fn logs(&self, container: &str) -> String {
        self.containerd
            .try_crictl(&format!("logs {container}"))
            .code(0)
            .out
    }

    /// Waits until a container of it has printed this text.
    #[track_caller]
    pub fn wait_for(&self, container: &str, text: &str) {
        let start = Instant::now();
        while !self.logs(container).contains(text) {
            assert!(
                start.elapsed() < Duration::from_secs(20),
                "{text:?} is not in:\n{}",
                self.logs(container)
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Stops and removes it with its containers.
    #[track_caller]
    pub fn remove(self) {
        self.containerd.crictl(&format!("rmp -f {}", self.id));
    }
}

/// Lays one table over another: tables are merged, all else is replaced.
fn lay_over(under: &mut toml_edit::Table, over: &toml_edit::Table) {
    for (key, item) in over {
        match (under.get_mut(key).and_then(|i| i.as_table_mut()), item.as_table()) {
            (Some(under), Some(over)) => lay_over(under, over),
            _ => {
                under.insert(key, item.clone());
            }
        }
    }
}
