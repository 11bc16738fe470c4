"""The bench's rows for running in place: a real containerd on this machine, with fresh folders each time, and squashfuse.

Beside what the other rows need: containerd with ctr and runc, overlayfs on the bench's folder, squashfuse_ll and mksquashfs,
losetup and mkfs.ext4, and for the slow medium nbdkit and nbdfuse. Mounts are made: run the bench in a mount namespace
of its own (unshare -m --propagation private).
"""
import __main__ as bench
import contextlib, os, pathlib, shutil, signal, subprocess, sys, tarfile, time

RUNS = "/usr/lib/postgresql/*/bin/postgres --version; sleep 0.2"  # ctr can lose the output of what ends at once
SAYS = "PostgreSQL"
IMAGE = "postgres-r1"


def call(*cmd):
    done = subprocess.run([str(c) for c in cmd], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"bench: {cmd} failed: {done.stderr[-2000:]}")
    return done.stdout


def status_of(pid, key):
    return int(pathlib.Path(f"/proc/{pid}/status").read_text().split(f"{key}:")[1].split()[0]) / 1024


def cpu_of(pid):
    f = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(map(int, f[11:15])) / os.sysconf("SC_CLK_TCK")


def on_disk(*folders):
    """MiB of the blocks that files take. What containerd removes meanwhile is not counted, whatever du says of it."""
    said = subprocess.run(["du", "-skc", *folders], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    return int(said.splitlines()[-1].split()[0]) / 1024


def end(process):
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def until(process, text, what):
    """The moment at which a process has printed a line with this text; none if it ends before."""
    for line in process.stdout:
        if text in line:
            return time.perf_counter()
    if what:
        sys.exit(f"bench: {what} ended without {text!r}")


class Node:
    """A containerd that knows the snapshotter's socket, its root and state fresh, running since before the clock starts."""

    def __init__(self):
        self.folder = f = bench.work / "node"
        self.root, self.state, self.mount, self.sock = f / "root", f / "state", f / "mount", f / "containerd.sock"
        for d in (f, self.root, self.state, self.mount):
            d.mkdir()
        config = f / "config.toml"
        config.write_text(
            f"version = 2\nroot = '{self.root}'\nstate = '{f / 'run'}'\ndisabled_plugins = ['io.containerd.grpc.v1.cri']\n[grpc]\naddress = '{self.sock}'\n"
            f"[proxy_plugins.holdall]\ntype = 'snapshot'\naddress = '{f / 'holdall.sock'}'\n"
        )
        with open(f / "log", "w") as log:
            self.containerd = subprocess.Popen(["containerd", "-c", str(config)], stdout=log, stderr=log)
        for _ in range(1000):
            if "successfully booted" in (f / "log").read_text():
                break
            time.sleep(0.02)
        else:
            sys.exit("bench: containerd does not start: " + (f / "log").read_text()[-2000:])
        self.serving = None

    def plug(self, disk, image=None, named=False, again=False):
        """Starts `holdall serve` and waits until this image is registered, which serve may be told to do first, or all are: the moments of both.

        Again: the one before is ended, and all are known. A serve that ends because containerd has not found the socket yet is started again, as a unit would be; the clock runs on.
        """
        cmd = [bench.HOLDALL, "serve", disk, "--listen", "127.0.0.1:0", "--mount", self.mount, "--snapshotter", self.folder / "holdall.sock", "--containerd", self.sock]
        cmd += ["--namespace", "default", "--state", self.state, "--allow-unsigned", *(["--first", image] if named else [])]
        if again:
            end(self.serving)
        start = time.perf_counter()
        while True:
            log = self.folder / "holdall.log"
            with open(log, "w") as to:
                self.serving = subprocess.Popen([str(c) for c in cmd], stdout=subprocess.PIPE, stderr=to, text=True)
            if moment := until(self.serving, f"{image}  registered" if image else self.all(again), None):
                return start, moment
            self.serving.wait()
            if "unavailable" not in log.read_text() or time.perf_counter() - start > 60:
                sys.exit("bench: holdall serve ended: " + log.read_text()[-2000:])
            print("bench: holdall serve ended and is started again: " + log.read_text()[-300:].strip(), file=sys.stderr, flush=True)

    def all(self, again=False):
        n = len(bench.tags())
        return f"{n} images: {0 if again else n} registered"

    def rest(self):
        """Waits until all images are registered."""
        return until(self.serving, self.all(), "holdall serve")

    def ctr(self, *cmd):
        return ["ctr", "-a", str(self.sock), *map(str, cmd)]

    def load(self, archive):
        call(*self.ctr("images", "import", "--base-name", "bench", "--snapshotter", "overlayfs", archive))

    def first(self, name, snapshotter, runs=RUNS, says=SAYS):
        """Runs a container: the moment at which it has printed."""
        p = subprocess.Popen(self.ctr("run", "--rm", "--snapshotter", snapshotter, name, "first", "sh", "-c", runs), stdout=subprocess.PIPE, text=True)
        moment = until(p, says, "ctr run")
        p.stdout.read(), p.wait()
        return moment

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.serving:
            end(self.serving)
        end(self.containerd)
        shutil.rmtree(self.folder)


def archive(tags, file):
    """A tar of the layout with these images."""
    if not file.exists():
        folder = bench.LAYOUT
        if tags:
            folder = file.with_suffix(".layout")
            for tag in tags:
                call("skopeo", "copy", "-q", f"oci:{bench.LAYOUT}:{tag}", f"oci:{folder}:{tag}")
        with tarfile.open(file, "w") as tar:
            tar.add(folder, ".")
        os.sync()
    return file


def ready(disk):
    """All images ready to run, from plugging in; and what that leaves on the node's own disk."""
    everything = archive([], bench.work / "all.tar")

    def ours():
        with Node() as node:
            bench.drop_caches()
            cpu = cpu_of(node.containerd.pid)
            start, done = node.plug(disk)
            cpu = cpu_of(node.containerd.pid) - cpu + cpu_of(node.serving.pid)
            os.sync()
            return {"wall": done - start, "cpu": cpu, "rss": status_of(node.serving.pid, "VmHWM"), "disk": on_disk(node.root, node.state)}

    def peer():
        with Node() as node:
            bench.drop_caches()
            cpu, start = cpu_of(node.containerd.pid), time.perf_counter()
            node.load(everything)
            wall = time.perf_counter() - start
            cpu = cpu_of(node.containerd.pid) - cpu
            os.sync()
            return {"wall": wall, "cpu": cpu, "rss": status_of(node.containerd.pid, "VmHWM"), "disk": on_disk(node.root, node.state)}

    a, b = bench.pair(ours, peer)
    n = len(bench.tags())
    what = f"{n} images ready to run, from plugging in, cold (peer: ctr images import, overlayfs)"
    compare(what, a, b, "30× sooner")
    bench.row(what, "written to the node's disk, an image", bench.med(a, "disk") / n, bench.med(b, "disk") / n, "MiB", bench.ratio_of(a, b, "disk"), "≤ 1 MiB")


def compare(what, a, b, goal):
    bench.row(what, "wall", bench.med(a, "wall"), bench.med(b, "wall"), "s", 1 / bench.ratio_of(a, b, "wall"), goal)
    bench.row(what, "CPU", bench.med(a, "cpu"), bench.med(b, "cpu"), "s", 1 / bench.ratio_of(a, b, "cpu"), "shown")
    bench.row(what, "peak RSS", max(v["rss"] for v in a), max(v["rss"] for v in b), "MiB", None, "shown")


@contextlib.contextmanager
def medium(image, slow):
    """The file system in an image, on a loop device; slow: held to 100 MB/s, and 1 ms later with each request."""
    folder, behind, serving = bench.work / "medium", image, []
    folder.mkdir(exist_ok=True)
    if slow:
        sock, behind = bench.work / "nbd.sock", bench.work / "slow"
        behind.touch()
        limits = ["--filter=delay", "--filter=rate", "file", str(image), "rdelay=1ms", "rate=800M"]
        serving.append(subprocess.Popen(["nbdkit", "-f", "-r", "-t", "64", "-U", str(sock), *limits]))
        bench.wait_for(sock)
        serving.append(subprocess.Popen(["nbdfuse", "-r", str(behind), f"nbd+unix:///?socket={sock}"]))
        for _ in range(500):
            if behind.stat().st_size:
                break
            time.sleep(0.02)
    loop = call("losetup", "--find", "--show", "--read-only", "--direct-io=on", behind).strip()
    call("mount", "-o", "ro", loop, folder)

    def reads():
        f = pathlib.Path(f"/sys/block/{pathlib.Path(loop).name}/stat").read_text().split()
        return {"requests": int(f[0]), "mib": int(f[2]) / 2048}

    try:
        yield folder, reads
    finally:
        call("umount", folder)
        call("losetup", "-d", loop)
        if slow:
            call("umount", behind)
        for process in reversed(serving):
            end(process)


def filesystem(image, holds):
    """A file system with copies of these files and folders on it, by name, in a file."""
    if not image.exists():
        folder = bench.work / "medium.made"
        folder.mkdir()
        for name, path in holds.items():
            (shutil.copytree if path.is_dir() else shutil.copy)(path, folder / name)
        call("mkfs.ext4", "-q", "-d", folder, image, f"{int(bench.size_of(folder) * 1.1) // 2**20 + 64}M")
        shutil.rmtree(folder)
        os.sync()
    return image


def first_run(disk):
    """From plugging in until a container has printed, and what that reads from the medium; as the medium is, and slow."""
    alone = archive([IMAGE], bench.work / "image.tar")
    image = filesystem(bench.work / "medium.img", {"disk": disk, "image.tar": alone})
    repo = f"localhost/{bench.LAYOUT.name}:{IMAGE}"

    def ours(folder, reads, named):
        with Node() as node:
            bench.drop_caches()
            before, cpu = reads(), cpu_of(node.containerd.pid)
            start, plugged = node.plug(folder / "disk", repo, named)
            at_plugged = reads()
            done = node.first(repo, "holdall")
            after, cpu = reads(), cpu_of(node.containerd.pid) - cpu + cpu_of(node.serving.pid)
            node.rest()
            os.sync()
            found = {"wall": done - start, "plug": plugged - start, "cpu": cpu, "rss": status_of(node.serving.pid, "VmHWM"), "disk": on_disk(node.root, node.state)}
            found |= {k: after[k] - before[k] for k in after} | {f"plug {k}": at_plugged[k] - before[k] for k in after}
            return found

    def peer(folder, reads):
        with Node() as node:
            bench.drop_caches()
            before, cpu = reads(), cpu_of(node.containerd.pid)
            start = time.perf_counter()
            node.load(folder / "image.tar")
            loaded = time.perf_counter()
            done = node.first(f"bench:{IMAGE}", "overlayfs")
            after, cpu = reads(), cpu_of(node.containerd.pid) - cpu
            os.sync()
            found = {"wall": done - start, "plug": loaded - start, "cpu": cpu, "rss": status_of(node.containerd.pid, "VmHWM"), "disk": on_disk(node.root, node.state)}
            return found | {k: after[k] - before[k] for k in after}

    for slow, named in ((False, True), (False, False), (True, True)):
        with medium(image, slow) as (folder, reads):
            a, b = bench.pair(lambda: ours(folder, reads, named), lambda: peer(folder, reads))
        how = "a medium of 100 MB/s and 1 ms a request" if slow else "a medium on a loop device"
        how += ", named by --first" if named else ", not named: its turn comes by name"
        what = f"plug in until {IMAGE} has printed, {how}, cold (peer: import of that image, and run)"
        compare(what, a, b, "10× sooner" if named and not slow else "shown")
        bench.row(what, "of it until it is registered (peer: imported)", bench.med(a, "plug"), bench.med(b, "plug"), "s", 1 / bench.ratio_of(a, b, "plug"), "shown")
        bench.row(what, "read from the medium", bench.med(a, "mib"), bench.med(b, "mib"), "MiB", bench.ratio_of(a, b, "mib"), "shown")
        bench.row(what, "of it until it is registered", bench.med(a, "plug mib"), None, "MiB", None, "shown")
        bench.row(what, "read requests", bench.med(a, "requests"), bench.med(b, "requests"), "", bench.ratio_of(a, b, "requests"), "shown")
        bench.row(what, "of them until it is registered", bench.med(a, "plug requests"), None, "", None, "shown")
        if named and not slow:
            n = len(bench.tags())
            bench.row(what, f"written to the node's disk, an image of the {n} (peer: of the one)", bench.med(a, "disk") / n, bench.med(b, "disk"), "MiB", None, "≤ 1 MiB")


@contextlib.contextmanager
def trees(disk):
    """Mounts IMAGE's root file system anew: `with mounted("ours") as (process, folder)`, or "peer" by squashfuse_ll."""
    mounts = {"ours": bench.work / "ours", "peer": bench.work / "peer-tree"}
    for m in mounts.values():
        m.mkdir(exist_ok=True)
    squash = bench.work / "tree.squashfs"

    @contextlib.contextmanager
    def mounted(which):
        m = mounts[which]
        cmd = {"ours": [bench.HOLDALL, "-q", "mount", disk, m], "peer": ["squashfuse_ll", "-f", squash, m]}[which]
        bench.drop_caches()
        p = subprocess.Popen([str(c) for c in cmd], stdout=subprocess.DEVNULL)
        for _ in range(20000):
            if os.path.ismount(m):
                break
            time.sleep(0.001)
        try:
            tree = (m / f"images/localhost/{bench.LAYOUT.name}/{IMAGE}/linux-amd64/rootfs").resolve() if which == "ours" else m
            yield p, tree
        finally:
            call("umount", m)
            p.wait()

    if not squash.exists():
        with mounted("ours") as (_, tree):
            call("mksquashfs", tree, squash, "-comp", "zstd", "-noappend", "-no-progress", "-quiet")
    yield mounted


def walks(disk):
    """A rootfs walked and read through FUSE, beside squashfuse_ll of the same tree; both mounted anew where it says cold."""
    with trees(disk) as mounted:
        walked(mounted)


def walked(mounted):
    def find(tree):
        return bench.run(["find", str(tree), "-printf", "%s %m %u %T@\n"])

    def walk(which, warm):
        with mounted(which) as (p, tree):
            if warm:
                find(tree)
            cpu = cpu_of(p.pid)
            found = find(tree)
            return found | {"cpu": found["cpu"] + cpu_of(p.pid) - cpu, "rss": status_of(p.pid, "VmHWM")}

    def read(which):
        with mounted(which) as (p, tree):
            found = bench.run(["bash", "-c", f"set -o pipefail; tar -C {tree} -cf - . | cat >/dev/null"])
            return found | {"cpu": found["cpu"] + cpu_of(p.pid), "rss": status_of(p.pid, "VmHWM")}

    with mounted("ours") as (_, tree):
        entries = len(call("find", tree).splitlines())
    for warm in (False, True):
        a, b = bench.pair(lambda: walk("ours", warm), lambda: walk("peer", warm), runs=max(bench.args.runs, 9))
        compare(f"walk {IMAGE}, {entries} entries, find with stat, {'warm' if warm else 'cold'} (peer: squashfuse_ll, zstd)", a, b, "3× as fast" if warm else "2× as fast")
    a, b = bench.pair(lambda: read("ours"), lambda: read("peer"))
    compare(f"read all of {IMAGE}, cold (peer: squashfuse_ll, zstd)", a, b, "1.5× as fast")


def many(disk, count=10):
    """Peak RSS with all images registered and containers of several of them running."""
    peaks = []
    for _ in range(3):
        with Node() as node:
            bench.drop_caches()
            node.plug(disk)
            # Those that differ most: one of each kind first.
            names = sorted(bench.tags(), key=lambda t: (sum(u.split("-")[0] == t.split("-")[0] for u in bench.tags()[: bench.tags().index(t)]), t))[:count]
            for n, tag in enumerate(names):
                call(*node.ctr("run", "-d", "--snapshotter", "holdall", f"localhost/{bench.LAYOUT.name}:{tag}", f"c{n}", "sleep", "60"))
            running = call(*node.ctr("tasks", "ls")).count("RUNNING")
            if running != count:
                sys.exit(f"bench: {running} containers run, not {count}")
            peaks.append(status_of(node.serving.pid, "VmHWM"))
            for n in range(count):
                call(*node.ctr("tasks", "rm", "-f", f"c{n}"))
                call(*node.ctr("containers", "rm", f"c{n}"))
    bench.row(f"{len(bench.tags())} images registered and {count} containers running", "peak RSS", max(peaks), None, "MiB", None, "≤ 200 MiB")
