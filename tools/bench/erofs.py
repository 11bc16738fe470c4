"""The rows of EROFS projections: a chain as the kernel mounts it from our mount, beside file systems of the kernel's own.

Needs mkfs.erofs and mksquashfs, and a kernel that mounts EROFS images that are files (6.12). Mounts are made: run the bench in a mount namespace of its own.
"""
import contextlib, os, random, subprocess, sys, time

import __main__ as bench
import node

call, cpu_of = node.call, node.cpu_of


class Trees:
    """One rootfs in each way that it can be mounted."""

    def __init__(self, disk):
        self.disk, self.places = disk, []
        self.fuse, self.at = bench.work / "fuse", bench.work / "kernel"
        self.images = {"erofs": bench.work / "tree.erofs", "squashfs": bench.work / "tree.squashfs"}
        self.fuse.mkdir(exist_ok=True), self.at.mkdir(exist_ok=True)
        with self.served() as (_, tree):
            call("mkfs.erofs", "--quiet", self.images["erofs"], tree)
            if not self.images["squashfs"].exists():
                call("mksquashfs", tree, self.images["squashfs"], "-comp", "zstd", "-noappend", "-no-progress", "-quiet")

    @contextlib.contextmanager
    def served(self):
        p = subprocess.Popen([bench.HOLDALL, "-q", "mount", str(self.disk), str(self.fuse)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not os.path.ismount(self.fuse):
            if p.poll() is not None:
                sys.exit("bench: the disk is not mounted")
            time.sleep(0.001)
        try:
            yield p, (self.fuse / f"images/localhost/{bench.LAYOUT.name}/{node.IMAGE}/linux-amd64/rootfs").resolve()
        finally:
            call("umount", self.fuse)
            p.wait()

    @contextlib.contextmanager
    def mounted(self, which):
        """Mounted anew: `file` and `loop` are ours, as are files of `fuse`; caches are dropped before. Gives how long the mount took, too."""
        bench.drop_caches()
        with contextlib.ExitStack() as stack:
            image, pid, start = self.images.get(which), None, time.perf_counter()
            if image is None:
                p, tree = stack.enter_context(self.served())
                pid = p.pid
                start = time.perf_counter()
                if which == "fuse":
                    yield tree, pid, 0
                    return
                image = self.fuse / f"erofs/chains/sha256/{tree.name}.erofs"
            kind = "squashfs" if which == "squashfs" else "erofs"
            call("mount", "-t", kind, "-o", "ro,loop" if which in ("loop", "squashfs") else "ro", image, self.at)
            stack.callback(call, "umount", self.at)
            yield self.at, pid, time.perf_counter() - start


def measured(trees, which, command, warm=False):
    """The command on the tree, with the time that mounting took where it is cold, and with what our process spent."""
    with trees.mounted(which) as (tree, pid, mounting):
        if warm:
            bench.run(command(tree))
        spent = cpu_of(pid) if pid else 0
        found = bench.run(command(tree))
        if pid:
            found["cpu"] += cpu_of(pid) - spent
        if not warm:
            found["wall"] += mounting
        return found | {"rss": node.status_of(pid, "VmHWM") if pid else 0}


def find(tree):
    return ["find", str(tree), "-printf", "%s %m %u %T@\n"]


def read(tree):
    return ["bash", "-c", f"set -o pipefail; tar -C {tree} -cf - . | cat >/dev/null"]


def p99(trees, which):
    """Cold reads of 4 KiB at random."""
    with trees.mounted(which) as (tree, _, _):
        if not trees.places:
            files = [(p.relative_to(tree), p.stat().st_size) for p in sorted(tree.rglob("*")) if p.is_file() and not p.is_symlink()]
            files = [(p, size) for p, size in files if size >= 4096]
            seeded = random.Random(1)
            chosen = seeded.choices(files, weights=[size for _, size in files], k=1000)
            trees.places = [(p, seeded.randrange(size // 4096) * 4096) for p, size in chosen]
    with trees.mounted(which) as (tree, _, _):
        spent = []
        for path, offset in trees.places:
            fd = os.open(tree / path, os.O_RDONLY)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
            start = time.perf_counter()
            os.pread(fd, 4096, offset)
            spent.append(time.perf_counter() - start)
            os.close(fd)
        spent.sort()
        return {"p99": spent[len(spent) * 99 // 100]}


def erofs(disk):
    trees = Trees(disk)
    with trees.mounted("erofs") as (tree, _, _):
        entries = len(call("find", tree).splitlines())
    rows = (
        ("find with stat", find, False, "erofs", "local EROFS, uncompressed", "≥ 0.8×"),
        ("find with stat", find, True, "erofs", "local EROFS, uncompressed", "≥ 0.95×"),
        ("read all", read, False, "squashfs", "local squashfs, zstd", "≥ 1.4×"),
        ("read all", read, True, "squashfs", "local squashfs, zstd", "shown"),
        ("read all", read, True, "erofs", "local EROFS, uncompressed", "≥ 1.0×"),
    )
    for how in ("file", "loop", "fuse"):
        for what, command, warm, peer, named, goal in rows:
            a, b = bench.pair(lambda: measured(trees, how, command, warm), lambda: measured(trees, peer, command, warm))
            shown = {"file": "the chain's EROFS image, mounted as a file", "loop": "the chain's EROFS image, by a loop device", "fuse": "the FUSE tree"}[how]
            node.compare(f"{what}, {node.IMAGE}, {entries} entries, {shown}, {'warm' if warm else 'cold'} (peer: {named})", a, b, goal if how == "file" else "shown")
        a, b = bench.pair(lambda: p99(trees, how), lambda: p99(trees, "squashfs"))
        bench.row(f"1000 cold reads of 4 KiB at random in {node.IMAGE}, {shown} (peer: local squashfs, zstd, 128 KiB)", "p99", bench.med(a, "p99") * 1e3, bench.med(b, "p99") * 1e3, "ms", bench.ratio_of(a, b, "p99"), "≤ 2×" if how == "file" else "shown")
