"""The rows of EROFS projections: a chain as the kernel mounts it from our mount, beside file systems of the kernel's own.

Of two trees: one image of the corpus, and one layer of 33,000 files (large.py). Needs mksquashfs and mkfs.erofs with zstd, which ci/stages brings, and a
kernel that mounts EROFS images that are files (6.12) and are compressed with zstd (6.10). Mounts are made: run the bench in a mount namespace of its own.
"""
import contextlib, ctypes, fcntl, os, pathlib, random, struct, subprocess, sys, time

import __main__ as bench
import large
import node

call, cpu_of = node.call, node.cpu_of
STAGED = bench.CACHE / "stages/erofs-sid/mkfs.erofs"
MKFS = [str(STAGED)] if STAGED.exists() else ["mkfs.erofs"]
MKFS_NAME = "mkfs.erofs " + subprocess.run([*MKFS, "-V"], capture_output=True, text=True).stdout.split(")")[-1].split("\n")[0].strip()
CLUSTER = 128 << 10
LIBC = ctypes.CDLL(None, use_errno=True)
MS_RDONLY = 1
NAMES = {
    "file": "the chain's EROFS image, mounted as a file",
    "loop": "the chain's EROFS image, by a loop device",
    "fuse": "the FUSE tree",
    "erofs": "local EROFS, uncompressed",
    "zstd": "local EROFS, zstd, 128 KiB",
    "squashfs": "local squashfs, zstd, 128 KiB",
}


@contextlib.contextmanager
def kernel_mount(image, at, options):
    """An image, mounted anew; as a file by mount(2) itself, since util-linux before 2.41 puts a loop device under every EROFS image."""
    at.mkdir(parents=True, exist_ok=True)
    if "loop" in options:
        call("mount", "-o", options, image, at)
    elif LIBC.mount(os.fsencode(image), os.fsencode(at), b"erofs", MS_RDONLY, options.encode()):
        sys.exit(f"bench: {image} is not mounted as a file: {os.strerror(ctypes.get_errno())}")
    try:
        yield at
    finally:
        call("umount", at)


class Trees:
    """One rootfs in each way that it can be mounted; `folder` keeps the peers' images of it."""

    def __init__(self, disk, layout, image, folder):
        self.disk, self.image, self.places = disk, image, []
        self.rootfs = f"images/localhost/{layout}/{image}/linux-amd64/rootfs"
        self.fuse, self.at = bench.work / "fuse", bench.work / "kernel"
        self.fuse.mkdir(exist_ok=True)
        self.images = {kind: folder / f"tree.{kind}" for kind in ("erofs", "zstd", "squashfs")}
        makers = {
            "erofs": lambda tree, made: call(*MKFS, "--quiet", made, tree),
            "zstd": lambda tree, made: call(*MKFS, "--quiet", "-zzstd", f"-C{CLUSTER}", made, tree),
            "squashfs": lambda tree, made: call("mksquashfs", tree, made, "-comp", "zstd", "-b", CLUSTER, "-noappend", "-no-progress", "-quiet"),
        }
        with self.mounted("fuse") as (tree, _, _):
            self.entries = len(call("find", tree).splitlines())
            for kind, image in self.images.items():
                if not image.exists():
                    makers[kind](tree, image.with_suffix(".made"))
                    image.with_suffix(".made").rename(image)

    @contextlib.contextmanager
    def served(self):
        p = subprocess.Popen([bench.HOLDALL, "-q", "mount", str(self.disk), str(self.fuse)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not os.path.ismount(self.fuse):
            if p.poll() is not None:
                sys.exit("bench: the disk is not mounted")
            time.sleep(0.001)
        try:
            tree = (self.fuse / self.rootfs).resolve()
            yield p.pid, tree, self.fuse / f"erofs/chains/sha256/{tree.name}.erofs"
        finally:
            call("umount", self.fuse)
            p.wait()

    @contextlib.contextmanager
    def mounted(self, which):
        """Mounted anew: `file` (as containers get it), `loop` and `fuse` are ours. With our process, and with how long the kernel's part of the mounting took."""
        with contextlib.ExitStack() as stack:
            image, pid = self.images.get(which), None
            if image is None:
                pid, tree, image = stack.enter_context(self.served())
            if which == "fuse":
                yield tree, pid, 0
                return
            start = time.perf_counter()
            at = stack.enter_context(kernel_mount(image, self.at / which, {"file": "directio", "erofs": ""}.get(which, "ro,loop")))
            yield at, pid, time.perf_counter() - start


def machine_cpu():
    """CPU seconds of everything on the machine, the kernel's own threads too."""
    f = [int(n) for n in pathlib.Path("/proc/stat").read_text().split("\n")[0].split()[1:]]
    return (sum(f[:3]) + sum(f[5:7])) / os.sysconf("SC_CLK_TCK")


def measured(command, tree, pid, mounting=0):
    """The command on a mounted tree, with what our process spent, and the time that mounting took where that is counted."""
    spent, all_spent = cpu_of(pid) if pid else 0, machine_cpu()
    found = bench.run(command(tree))
    found |= {"wall": found["wall"] + mounting, "mounting": mounting, "cpu": found["cpu"] + (cpu_of(pid) - spent if pid else 0), "all": machine_cpu() - all_spent}
    return found | {"rss": node.status_of(pid, "VmHWM") if pid else 0}


def cold(trees, which, command):
    bench.drop_caches()
    with trees.mounted(which) as (tree, pid, mounting):
        return measured(command, tree, pid, mounting)


def find(tree):
    return ["find", str(tree), "-printf", "%s %m %u %T@\n"]


def read(tree):
    return ["bash", "-c", f"set -o pipefail; tar -C {tree} -cf - . | cat >/dev/null"]


def p99(trees, which):
    """Cold reads of 4 KiB at random."""
    if not trees.places:
        with trees.mounted("erofs") as (tree, _, _):
            files = [(p.relative_to(tree), p.stat().st_size) for p in sorted(tree.rglob("*")) if p.is_file() and not p.is_symlink()]
        files = [(p, size) for p, size in files if size >= 4096]
        seeded = random.Random(1)
        chosen = seeded.choices(files, weights=[size for _, size in files], k=1000)
        trees.places = [(p, seeded.randrange(size // 4096) * 4096) for p, size in chosen]
    bench.drop_caches()
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


# What is done, how, beside whom, and what is to be reached: cold and warm.
ROWS = (
    ("find with stat", find, "erofs", "≥ 0.8×", "≥ 0.95×"),
    ("read all", read, "squashfs", "≥ 1.4×", "shown"),
    ("read all", read, "zstd", "≥ 0.95×", "≥ 1.0×"),
    ("read all", read, "erofs", None, "≥ 1.0×"),
)


def shown(what, how, temperature, peer, goal, a, b):
    what = f"{what}, {how}, {temperature} (peer: {NAMES[peer]})"
    node.compare(what, a, b, goal)
    if temperature == "cold" and goal != "shown":
        bench.row(what, "of the wall mounting, and making the image", bench.med(a, "mounting"), bench.med(b, "mounting"), "s", None, "shown")
    bench.row(what, "CPU of the whole machine", bench.med(a, "all"), bench.med(b, "all"), "s", 1 / bench.ratio_of(a, b, "all"), "shown")


def colds(trees, way, rows):
    for what, command, peer, goal, _ in rows:
        a, b = bench.pair(lambda: cold(trees, way, command), lambda: cold(trees, peer, command))
        shown(f"{what}, {trees.image}, {trees.entries} entries", NAMES[way], "cold", peer, goal if way == "file" else "shown", a, b)


def warm(command, tree, pid):
    """After the same has just been done: a machine may give back soon what nobody reads any more."""
    bench.run(command(tree))
    return measured(command, tree, pid)


def warms(trees, way):
    with contextlib.ExitStack() as stack:
        at = {which: stack.enter_context(trees.mounted(which))[:2] for which in (way, *trees.images)}
        for what, command, peer, _, goal in ROWS:
            a, b = bench.pair(lambda: warm(command, *at[way]), lambda: warm(command, *at[peer]))
            shown(f"{what}, {trees.image}, {trees.entries} entries", NAMES[way], "warm", peer, goal, a, b)


def at_random(trees, way, peers):
    for peer, goal in peers:
        a, b = bench.pair(lambda: p99(trees, way), lambda: p99(trees, peer))
        what = f"1000 cold reads of 4 KiB at random in {trees.image}, {NAMES[way]} (peer: {NAMES[peer]})"
        bench.row(what, "p99", bench.med(a, "p99") * 1e3, bench.med(b, "p99") * 1e3, "ms", bench.ratio_of(a, b, "p99"), goal)


FIEMAP, EXTENTS, INLINE = 0xC020660B, 16, 0x200


def metadata_bytes(image):
    """Bytes of an image besides the blocks that its files' data lie in, each block counted once."""
    runs = {}
    with kernel_mount(image, bench.work / "looked-at", "") as tree:
        for path in tree.rglob("*"):
            if path.is_symlink() or not path.is_file():
                continue
            asked = bytearray(struct.pack("=QQIIII", 0, 2**64 - 1, 0, 0, EXTENTS, 0)) + bytes(56 * EXTENTS)
            with open(path, "rb") as file:
                fcntl.ioctl(file, FIEMAP, asked)
            for n in range(struct.unpack_from("=I", asked, 20)[0]):
                _, start, length, _, _, flags = struct.unpack_from("=QQQQQI", asked, 32 + 56 * n)
                if not flags & INLINE:
                    runs[start] = -(-length // 4096) * 4096
    return image.stat().st_size - sum(runs.values())


def making(trees):
    """From the first look at an image in a mount until its superblock is read."""
    with trees.served() as (pid, _, image):
        spent, start = cpu_of(pid), time.perf_counter()
        with open(image, "rb", buffering=0) as file:
            os.pread(file.fileno(), 128, 1024)
        return {"wall": time.perf_counter() - start, "cpu": cpu_of(pid) - spent, "rss": node.status_of(pid, "VmHWM")}


def metadata(trees, tar=None):
    """What an image has besides its files' data, and what it takes to make it, beside mkfs.erofs of the same tree."""
    made, entries = bench.work / "made.erofs", f"{trees.image}, {trees.entries} entries"
    with trees.served() as (_, _, image):
        ours, whole = metadata_bytes(image), image.stat().st_size
    with trees.mounted("erofs") as (source, _, _):
        peers = [([str(source)], "files' ends beside their inodes"), (["-Enoinline_data", str(source)], "files' data in blocks of their own, as ours")]
        for how, named in peers + ([(["--tar=i", str(tar)], "an index of the layer's tar, no data")] if tar else []):
            command = [*MKFS, "--quiet", *how[:-1], str(made), how[-1]]

            def peer():
                made.unlink(missing_ok=True)
                return bench.run(command)

            making(trees), peer()
            a, b = bench.pair(lambda: making(trees), peer)
            what = f"the EROFS image of {entries} (peer: {MKFS_NAME}, {named})"
            node.compare(f"{what}, made, warm", a, b, "shown")
            if how[0] != "--tar=i":
                theirs = metadata_bytes(made)
                bench.row(what, "bytes of metadata", ours / 2**20, theirs / 2**20, "MiB", ours / theirs, "shown")
                bench.row(what, "bytes in all", whole / 2**20, made.stat().st_size / 2**20, "MiB", whole / made.stat().st_size, "shown")
    made.unlink()


def both(disk):
    """The trees that rows are of, with a tar of the layer where it is one."""
    yield Trees(disk, bench.LAYOUT.name, node.IMAGE, bench.work), None
    layout, tar = large.layout()
    yield Trees(large.disk(layout), layout.name, large.TAG, layout.parent), tar


def trees(disk):
    for of, _ in both(disk):
        colds(of, "file", ROWS[:3])
        warms(of, "file")
        at_random(of, "file", (("squashfs", "≤ 2×"), ("zstd", "shown")))
        if of.image == node.IMAGE:
            for way in ("loop", "fuse"):
                colds(of, way, ROWS[:2])
                at_random(of, way, (("squashfs", "shown"),))


def made(disk):
    for of, tar in both(disk):
        metadata(of, tar)
