"""The rows of containers that run from the kernel's mounts: from `ctr run` to the first line, and what memory many of one image take.

Needs what node.py needs. `--disk NAME=FOLDER` gives disks of the same corpus that are made already, to be held against the bench's own.
"""
import math, pathlib, subprocess, sys

import __main__ as bench
import node

call = node.call
# What an image runs, and what its first line has in it.
STARTS = {
    "debian-r1": ("echo started", "started"),
    "debian-r3": ("echo started", "started"),
    "nginx-r1": ("nginx -v 2>&1", "nginx version"),
    "python-r1": ("python3 -c 'print(\"started\")'", "started"),
    "api-v1": ("python3 -c 'import charset_normalizer, markupsafe; print(\"started\")'", "started"),
    "ml-v1": ("python3 -c 'import packaging.version; print(\"started\")'", "started"),
    "postgres-r1": ("/usr/lib/postgresql/*/bin/postgres --version", "PostgreSQL"),
    "jre-r2": ("java -version 2>&1", "openjdk"),
    "node-r2": ("node -e 'console.log(\"started\")'", "started"),
    "web-4.21.2": ("cd /srv/app && node -e 'require(\"express\"); console.log(\"started\")'", "started"),
}


def repo(tag):
    return f"localhost/{bench.LAYOUT.name}:{tag}"


def start_of(running, name, snapshotter, tag):
    """A container, caches dropped before: seconds until its first line."""
    command, says = STARTS[tag]
    bench.drop_caches()
    start = bench.time.perf_counter()
    return {"wall": running.first(name, snapshotter, f"{command}; sleep 0.2", says) - start}


def from_disk(running, disk, tag, reads=dict):
    """The same from a disk that has just been mounted, so that no container of it ran before; with what `holdall` spent, and what was read from its medium."""
    running.plug(disk, again=True)
    spent, before = node.cpu_of(running.serving.pid), reads()
    found = start_of(running, repo(tag), "holdall", tag)
    after = reads()
    found |= {"cpu": node.cpu_of(running.serving.pid) - spent, "rss": node.status_of(running.serving.pid, "VmHWM")}
    return found | {key: after[key] - before[key] for key in after}


def mean(values):
    return math.exp(sum(map(math.log, values)) / len(values))


def compared(how, ours, peer, goal):
    """A row for each image, and their mean; `ours` and `peer` measure a tag. What was read from a medium is summed up."""
    found = {}
    for tag in filter(STARTS.get, bench.tags()):
        a, b = bench.pair(lambda: ours(tag), lambda: peer(tag)) if peer else ([ours(tag) for _ in range(bench.args.runs)], None)
        found[tag] = (a, b)
        bench.row(f"{tag}: run until its first line, {how}", "wall", bench.med(a, "wall"), bench.med(b, "wall") if b else None, "s", 1 / bench.ratio_of(a, b, "wall") if b else None, "shown")
    what = f"{len(found)} images: run until the first line, {how}"
    ours, peers = ([pair[n] for pair in found.values()] for n in (0, 1))
    ratio = mean([1 / bench.ratio_of(a, b, "wall") for a, b in found.values()]) if peer else None
    bench.row(what, "wall, geometric mean", mean([bench.med(a, "wall") for a in ours]), mean([bench.med(b, "wall") for b in peers]) if peer else None, "s", ratio, goal)
    bench.row(what, "CPU of holdall, all together", sum(bench.med(a, "cpu") for a in ours), None, "s", None, "shown")
    bench.row(what, "peak RSS of holdall", max(v["rss"] for a in ours for v in a), None, "MiB", None, "shown")
    for key, figure, unit in (("mib", "read from the medium, all together", "MiB"), ("requests", "read requests, all together", "")):
        if key in ours[0][0]:
            read = [sum(bench.med(a, key) for a in side) if side[0] else None for side in (ours, peers)]
            bench.row(what, figure, *read, unit, read[0] / read[1] if read[1] else None, "shown")


def disks(disk):
    return {"the bench's disk": disk} | {name: pathlib.Path(path) for name, _, path in (given.partition("=") for given in bench.args.disk)}


def starts(disk):
    """Images that are registered, beside the same imported and unpacked before."""
    with node.Node() as running:
        running.load(node.archive(list(filter(STARTS.get, bench.tags())), bench.work / "starts.tar"))
        running.plug(disk)
        overlayfs = lambda tag: start_of(running, f"bench:{tag}", "overlayfs", tag)
        for named, path in disks(disk).items():
            compared(f"from {named}, cold (peer: unpacked, overlayfs)", lambda tag: from_disk(running, path, tag), overlayfs, "≥ 0.8×")


def slow_starts(disk):
    """The same from a slow medium: the bench's disk alone, and each other beside it."""
    places = {named: (f"disk{n}", path) for n, (named, path) in enumerate(disks(disk).items())}
    image = node.filesystem(bench.work / "starts.img", dict(places.values()))
    with node.medium(image, True) as (folder, reads), node.Node() as running:
        running.plug(folder / "disk0")
        once = lambda named, tag: from_disk(running, folder / places[named][0], tag, reads)
        own, *others = places
        how = "from a medium of 100 MB/s and 1 ms a request, cold"
        compared(f"{own}, {how}", lambda tag: once(own, tag), None, "shown")
        for other in others:
            compared(f"{other}, {how} (peer: {own})", lambda tag: once(other, tag), lambda tag: once(own, tag), "shown")


def resident(files):
    """MiB of files that are in the page cache."""
    said = call("fincore", "--bytes", "--noheadings", "--output", "RES", *files)
    return sum(map(int, said.split())) / 2**20


def cached():
    """MiB of the page cache, of all files."""
    return int(pathlib.Path("/proc/meminfo").read_text().split("\nCached:")[1].split()[0]) / 1024


READS = "find /usr/lib -xdev -type f -exec cat {} + >/dev/null; echo read; exec sleep 600"


def together(disk, count, tag=node.IMAGE):
    """What memory so many containers take that have each read the same files."""
    with node.Node() as running:
        running.plug(disk)
        bench.drop_caches()
        before = cached()
        names = [f"c{n}" for n in range(count)]
        run = lambda name: subprocess.Popen(running.ctr("run", "--rm", "--snapshotter", "holdall", repo(tag), name, "sh", "-c", READS), stdout=subprocess.PIPE, text=True)
        clients = [run(name) for name in names]
        for client in clients:
            node.until(client, "read", "ctr run")
        grown = cached() - before
        chains = running.mount.with_name(running.mount.name + ".erofs")
        chain, = chains.iterdir()
        tasks = [line.split()[1] for line in call(*running.ctr("tasks", "ls")).splitlines()[1:]]
        shims = [p.parent.name for p in pathlib.Path("/proc").glob("[0-9]*/comm") if p.read_text().startswith("containerd-shim") and str(running.sock).encode() in (p.parent / "cmdline").read_bytes()]
        found = {
            "files": resident(p for p in (chain / "usr/lib").rglob("*") if p.is_file() and not p.is_symlink()),
            "image": resident([running.mount / f"erofs/chains/sha256/{chain.name}.erofs"]),
            "packs": resident(disk.glob("packs/*")),
            "cached": grown,
            "rss": node.status_of(running.serving.pid, "VmRSS"),
            "peak": node.status_of(running.serving.pid, "VmHWM"),
            "containers": sum(node.status_of(pid, "VmRSS") for pid in tasks),
            "shims": sum(node.status_of(pid, "VmRSS") for pid in shims),
        }
        if len(tasks) != count or len(shims) != count:
            sys.exit(f"bench: {len(tasks)} containers and {len(shims)} shims run, not {count}")
        for name, client in zip(names, clients):
            call(*running.ctr("tasks", "kill", "-s", "KILL", name))
            client.stdout.read(), client.wait()
        return found


def memory(disk, count=10):
    a, b = bench.pair(lambda: together(disk, count), lambda: together(disk, 1))
    what = f"{count} containers of {node.IMAGE} that have each read /usr/lib (peer: one)"
    for key, figure, goal in (
        ("files", "page cache: those files, in the EROFS mount", "1.0×"),
        ("image", "page cache: the image that is mounted, as a file of our mount", "none"),
        ("packs", "page cache: packs of the disk", "shown"),
        ("cached", "page cache, all that has come", "shown"),
        ("rss", "RSS of holdall", "shown"),
        ("peak", "peak RSS of holdall", "shown"),
        ("containers", "RSS of the containers' processes", "shown"),
        ("shims", "RSS of containerd's shims", "shown"),
    ):
        ours, peer = bench.med(a, key), bench.med(b, key)
        bench.row(what, figure, ours, peer, "MiB", ours / peer if peer else None, goal)
