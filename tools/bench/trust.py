"""The rows of sealed disks: what it costs to believe one, and to prove and check one entry of a million.

Needs ssh-keygen. The disk is that of holdall-bench-disk, sealed by two keys, under a policy that wants both.
"""
import subprocess, sys

import __main__ as bench

AUDIT = bench.pathlib.Path(__file__).resolve().parent.parent / "audit/holdall_audit.py"


def sealed(entries, packs):
    """A sealed disk, its policy, and one of its images."""
    disk, here = bench.work / "sealed", bench.work
    bench.run([bench.BENCH_DISK, str(disk), str(entries), str(packs)])
    signers = []
    for who in ("alice", "bob"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", who, "-f", str(here / who)], check=True)
        kind, key, _ = (here / f"{who}.pub").read_text().split()
        signers.append(f"{who}@example.org {kind} {key}\n")
    (here / "allowed_signers").write_text("".join(signers))
    policy = here / "policy.toml"
    policy.write_text('allowed_signers = "allowed_signers"\n[[accept]]\norigin = "bench"\nthreshold = 2\n')
    bench.run([bench.HOLDALL, "-q", "seal", str(disk), "--key", str(here / "alice"), "--key", str(here / "bob")])
    bench.run([bench.HOLDALL, "-q", "trust", "begin"])
    return disk, policy


def trust(_disk):
    entries, packs = 1_000_000, 1_000
    disk, policy = sealed(entries, packs)
    root = sorted(disk.glob("generations/*/ROOT"))[-1]
    opening = lambda: bench.run([bench.HOLDALL, "-q", "verify", "--signatures", "--policy", str(policy), str(disk)])

    def by_openssh():
        command = ["ssh-keygen", "-Y", "verify", "-f", str(bench.work / "allowed_signers"), "-I", "alice@example.org", "-n", "holdall-root@v1", "-s", f"{root}.alice.sig"]
        with open(root, "rb") as text:
            start = bench.time.perf_counter()
            subprocess.run(command, stdin=text, check=True, stdout=subprocess.DEVNULL)
            return {"wall": bench.time.perf_counter() - start}

    what = f"open a sealed disk, 2 signatures, policy, custody, {packs:,} packs and the top of {entries:,} entries"
    for cold in (True, False):
        ours, peer = bench.pair(opening, by_openssh, bench.drop_caches if cold else lambda: None)
        name = f"{what}, {'cold' if cold else 'warm'} (peer: ssh-keygen -Y verify, one signature alone)"
        bench.row(name, "wall", bench.med(ours, "wall"), bench.med(peer, "wall"), "s", bench.ratio_of(ours, peer, "wall"), "≤ 0.1 s")
        bench.row(name, "peak RSS", max(v["rss"] for v in ours), None, "MiB", None, "shown")
    image, proof = "docker.io/bench/r500:t500000", bench.work / "proof"

    def prove():
        proof.unlink(missing_ok=True)
        return bench.run([bench.HOLDALL, "-q", "prove", str(disk), image, "-o", str(proof)])

    check = lambda: bench.run([bench.HOLDALL, "-q", "check-proof", str(proof), "--policy", str(policy)])
    audit = lambda: bench.run([sys.executable, str(AUDIT), "proof", str(proof), "--allowed-signers", str(bench.work / "allowed_signers"), "--need", "2"])
    made = []
    for _ in range(bench.args.runs):
        bench.drop_caches()
        made.append(prove())
    bench.row(f"prove one of {entries:,} entries, cold", "wall", bench.med(made, "wall"), None, "s", None, "< 1 s")
    ours, peer = bench.pair(check, audit, bench.drop_caches)
    bench.row("check that proof, cold (peer: tools/audit/holdall_audit.py)", "wall", bench.med(ours, "wall"), bench.med(peer, "wall"), "s", bench.ratio_of(ours, peer, "wall"), "< 1 s each")
    text = proof.read_text()
    beside = len(text) - len(root.read_text()) - len(text[text.index("signature "):])
    bench.row(f"proof of one of {entries:,} entries", "bytes besides ROOT and signatures", beside, None, "B", None, "≤ 2,048 B")
