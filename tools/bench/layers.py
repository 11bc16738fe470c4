"""The bench's rows for layers that are kept once: sizes, updates, making and rebuilding, reads at random.

Beside what the other rows need: borg, go, mksquashfs and squashfuse_ll, taskset and perf. Mounts are made: run the bench in
a mount namespace of its own (unshare -m --propagation private).
"""
import __main__ as bench
import json, os, pathlib, random, shutil, statistics, subprocess, sys, time
import node

call = node.call
PROGRAM = pathlib.Path(__file__).parents[2] / "images/recipe/tests/programs/go"


def layers_of(tag):
    """Digests and sizes of the image's layers."""
    index = json.loads((bench.LAYOUT / "index.json").read_text())
    target = next(m["digest"] for m in index["manifests"] if m["annotations"]["org.opencontainers.image.ref.name"] == tag)
    manifest = json.loads((bench.LAYOUT / "blobs/sha256" / target[7:]).read_text())
    return {layer["digest"][7:]: layer["size"] for layer in manifest["layers"]}


def all_layers():
    found = {}
    for tag in bench.tags():
        found |= layers_of(tag)
    return found


def add(disk, *sources):
    state = ["--state", str(disk) + ".state"]
    if not disk.exists():
        call(bench.HOLDALL, "-q", *state, "init", disk)
    return bench.run([bench.HOLDALL, "-q", *state, "add", str(disk), *sources])


def levels(disk):
    """The disk against the layout at each level, all of it counted, and what its layers cost beyond their files."""
    layout = bench.size_of(bench.LAYOUT)
    goals = {"fast": "shown", "default": "≤ 0.53×", "max": "≤ 0.43×"}
    for level, goal in goals.items():
        made = bench.work / f"level-{level}"
        said = add(made, f"oci:{bench.LAYOUT}", "--level", level)
        size = bench.size_of(made)
        what = f"disk at --level {level}, all digests exact (peer: the OCI layout)"
        bench.row(what, "bytes", size / 2**20, layout / 2**20, "MiB", size / layout, goal)
        bench.row(what, "add: wall", said["wall"], None, "s", None, "shown")
        bench.row(what, "add: CPU", said["cpu"], None, "s", None, "shown")
        bench.row(what, "add: peak RSS", said["rss"], None, "MiB", None, "≤ 256 MiB")
        if level == "default":
            info = json.loads(call(bench.HOLDALL, "--json", "info", made))
            total, whole, recipes = info["layer_bytes"], info["whole_layer_bytes"], info["recipe_stored_bytes"]
            bench.row("layers made again exactly, of all", "bytes", (total - whole) / 2**20, total / 2**20, "MiB", (total - whole) / total, "≥ 0.99×")
            bench.row("recipes on the disk, against the layers", "bytes", recipes / 2**20, total / 2**20, "MiB", recipes / total, "≤ 0.007×")
        shutil.rmtree(made), shutil.rmtree(str(made) + ".state")


def updates(_):
    """What an update adds to a disk that has the versions before it, against its new layers."""
    for before, after, goal in ((("api-v1", "api-v2"), "api-v3", "≤ 0.08×"), (("postgres-r1",), "postgres-r2", "≤ 0.09×"), (("ml-v1", "ml-v2"), "ml-v3", "≤ 0.42×")):
        made = bench.work / "update"
        add(made, *(f"oci:{bench.LAYOUT}:{tag}" for tag in before))
        size = bench.size_of(made)
        add(made, f"oci:{bench.LAYOUT}:{after}")
        grown = bench.size_of(made) - size
        known = set().union(*(layers_of(tag) for tag in before))
        new = sum(size for digest, size in layers_of(after).items() if digest not in known)
        bench.row(f"update: {after} on {' and '.join(before)} (peer: its new layers)", "bytes", grown / 2**20, new / 2**20, "MiB", grown / new, goal)
        shutil.rmtree(made), shutil.rmtree(str(made) + ".state")


def unpacked():
    """Each layer's files in a folder of its own."""
    folder = bench.work / "unpacked"
    if not folder.exists():
        for digest in all_layers():
            (folder / digest).mkdir(parents=True)
            call("tar", "-C", folder / digest, "-xzf", bench.LAYOUT / "blobs/sha256" / digest)
    return folder


def against_borg(_):
    """`add` with its proof, against borg with zstd 3 of the unpacked layers."""
    tree, made, borg = unpacked(), bench.work / "added", bench.work / "borg"
    os.environ |= {"BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes", "BORG_BASE_DIR": str(bench.work / "borg-home"), "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes"}

    def clean():
        for d in (made, f"{made}.state", borg, bench.work / "borg-home"):
            shutil.rmtree(d, ignore_errors=True)
        call("borg", "init", "-e", "none", borg)
        bench.drop_caches()

    def ours():
        found = add(made, f"oci:{bench.LAYOUT}")
        return found | {"bytes": bench.size_of(made)}

    def peer():
        found = bench.run(["borg", "create", "--compression", "zstd,3", f"{borg}::all", str(tree)])
        return found | {"bytes": bench.size_of(borg)}

    a, b = bench.pair(ours, peer, clean)
    what = "add, every recipe proved (peer: borg create, zstd 3, of the unpacked layers)"
    bench.row(what, "speed", 1 / bench.med(a, "wall"), 1 / bench.med(b, "wall"), "1/s", 1 / bench.ratio_of(a, b, "wall"), "≥ 0.6×")
    bench.row(what, "wall", bench.med(a, "wall"), bench.med(b, "wall"), "s", bench.ratio_of(a, b, "wall"), "shown")
    bench.row(what, "CPU", bench.med(a, "cpu"), bench.med(b, "cpu"), "s", bench.ratio_of(a, b, "cpu"), "shown")
    bench.row(what, "peak RSS", max(v["rss"] for v in a), max(v["rss"] for v in b), "MiB", None, "shown")
    bench.row(what, "bytes", bench.med(a, "bytes") / 2**20, bench.med(b, "bytes") / 2**20, "MiB", bench.ratio_of(a, b, "bytes"), "shown")
    clean()
    stages(made)
    clean()


def stages(made):
    """CPU seconds of one `add` by stage: its threads have names, and the sampler counts them."""
    call(bench.HOLDALL, "-q", "--state", f"{made}.state", "init", made)
    data = bench.work / "perf.data"
    call("perf", "record", "-q", "-e", "cpu-clock", "-F", "499", "-o", data, "--", bench.HOLDALL, "-q", "--state", f"{made}.state", "add", made, f"oci:{bench.LAYOUT}")
    names = {"holdall": "reading, inflating, hashing, cutting", "retrace": "predicting the encoder", "encode": "compressing frames", "write": "writing packs", "hash": "hashing beside"}
    said = call("perf", "report", "-q", "-i", data, "--sort", "comm", "--stdio", "-n", "-t", ";")
    seconds = {}
    for line in said.splitlines():
        fields = [f.strip() for f in line.split(";")]
        if len(fields) >= 3 and not line.startswith("#"):
            stage = fields[2].split("-")[0]
            seconds[stage] = seconds.get(stage, 0) + int(fields[1]) / 499
    for stage, spent in sorted(seconds.items(), key=lambda s: -s[1]):
        bench.row(f"add, by stage: {names.get(stage, stage)} (threads {stage}*)", "CPU", spent, None, "s", None, "shown")


def rebuilding(disk):
    """A layer made again, against the encoder that wrote it compressing the same bytes; on one core, and on two."""
    program = bench.work / "gogz"
    subprocess.run(["go", "build", "-o", program, "."], cwd=PROGRAM, check=True)
    blob = bench.largest_blob(40_000_000)
    plain = bench.work / "plain.tar"
    with open(plain, "wb") as out:
        subprocess.run(["gzip", "-dc", bench.LAYOUT / "blobs/sha256" / blob.name], stdout=out, check=True)
    bench.run(["cat", str(plain)])

    def ours(cores):
        return bench.run(["taskset", "-c", cores, bench.HOLDALL, "cat", str(disk), f"sha256:{blob.name}"])

    def peer():
        return bench.run(["bash", "-c", f"taskset -c 0 {program} 6 0 < {plain} > /dev/null"])

    what = f"rebuild a layer of {blob.stat().st_size / 1e6:.0f} MB"
    a, b = bench.pair(lambda: ours("0"), peer)
    bench.row(f"{what}, one core (peer: Go's compress/gzip writing it)", "speed", 1 / bench.med(a, "wall"), 1 / bench.med(b, "wall"), "1/s", 1 / bench.ratio_of(a, b, "wall"), "≥ 1.0×")
    two, one = bench.pair(lambda: ours("0,1"), lambda: ours("0"))
    bench.row(f"{what}, two cores (peer: the same on one)", "speed", 1 / bench.med(two, "wall"), 1 / bench.med(one, "wall"), "1/s", 1 / bench.ratio_of(two, one, "wall"), "≥ 1.8×")


def at_random(disk, reads=1000):
    """Cold reads of 4 KiB at random places of a rootfs: the 99th percentile."""
    with node.trees(disk) as mounted:
        places = {}

        def once(which):
            with mounted(which) as (_, tree):
                if not places:
                    files = [(p, p.stat().st_size) for p in sorted(tree.rglob("*")) if p.is_file() and not p.is_symlink()]
                    files = [(p.relative_to(tree), size) for p, size in files if size >= 4096]
                    seeded = random.Random(1)
                    chosen = seeded.choices(files, weights=[size for _, size in files], k=reads)
                    places["all"] = [(p, seeded.randrange(size // 4096) * 4096) for p, size in chosen]
            with mounted(which) as (_, tree):
                spent = []
                for path, offset in places["all"]:
                    fd = os.open(tree / path, os.O_RDONLY)
                    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
                    start = time.perf_counter()
                    os.pread(fd, 4096, offset)
                    spent.append(time.perf_counter() - start)
                    os.close(fd)
                spent.sort()
                return {"median": spent[len(spent) // 2], "p99": spent[len(spent) * 99 // 100]}

        a, b = bench.pair(lambda: once("ours"), lambda: once("peer"))
    what = f"{reads} cold reads of 4 KiB at random in {node.IMAGE} (peer: squashfuse_ll, zstd, 128 KiB)"
    bench.row(what, "p99", bench.med(a, "p99") * 1e3, bench.med(b, "p99") * 1e3, "ms", bench.ratio_of(a, b, "p99"), "≤ 1.5×")
    bench.row(what, "median", bench.med(a, "median") * 1e3, bench.med(b, "median") * 1e3, "ms", bench.ratio_of(a, b, "median"), "shown")
