"""A tree of 33,000 files: one layer, made of the corpus's own, that no tool of ours has written."""
import hashlib, io, json, os, posixpath, shutil, tarfile

import __main__ as bench
import layers
import node

FILES = 33_000
TAG = f"tree-of-{FILES}-files"


class Blobs:
    """The blobs of an OCI layout that is being made."""

    def __init__(self, folder):
        self.folder = folder / "blobs/sha256"
        self.folder.mkdir(parents=True)

    def put(self, kind, file):
        """Moves a file there: its descriptor."""
        with open(file, "rb") as read:
            digest = hashlib.file_digest(read, "sha256").hexdigest()
        size = file.stat().st_size
        file.rename(self.folder / digest)
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": size}

    def put_json(self, kind, value):
        file = self.folder / "new"
        file.write_text(json.dumps(value))
        return self.put(kind, file)


def gather(out):
    """Writes the corpus's layers into one tar, each once and in a folder of its own, until there are so many files."""
    count = 0
    with tarfile.open(out, "w", format=tarfile.PAX_FORMAT) as tar:
        for number, digest in enumerate(layers.all_layers()):
            place = lambda name: posixpath.normpath(f"{number:02}/{name}")
            with tarfile.open(bench.LAYOUT / "blobs/sha256" / digest, "r|gz") as layer:
                for member in layer:
                    if posixpath.basename(member.name).startswith(".wh."):
                        continue
                    member.name = place(member.name)
                    if member.islnk():
                        member.linkname = place(member.linkname)
                    for key in ("path", "linkpath", "size"):
                        member.pax_headers.pop(key, None)
                    tar.addfile(member, layer.extractfile(member) if member.isreg() else None)
                    count += member.isreg()
                    if count == FILES:
                        return


def layout():
    """An OCI layout with the tree as an image of one layer, and the layer's tar; kept for the next run."""
    corpus = hashlib.sha256((bench.LAYOUT / "index.json").read_bytes()).hexdigest()[:16]
    kept = bench.CACHE / "bench" / corpus
    folder = kept / "large"
    if not folder.exists():
        making = kept / "making"
        shutil.rmtree(making, ignore_errors=True)
        blobs, tar = Blobs(making), making / "layer.tar"
        gather(tar)
        layer = blobs.put("layer.v1.tar", tar)
        config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}}
        manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": blobs.put_json("config.v1+json", config), "layers": [layer]}
        image = blobs.put_json("manifest.v1+json", manifest) | {"annotations": {"org.opencontainers.image.ref.name": TAG}}
        (making / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [image]}))
        (making / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        making.rename(folder)
    manifests = json.loads((folder / "index.json").read_text())["manifests"]
    manifest = json.loads((folder / "blobs/sha256" / manifests[0]["digest"][7:]).read_text())
    return folder, folder / "blobs/sha256" / manifest["layers"][0]["digest"][7:]


def disk(folder):
    made = bench.work / "large-disk"
    if not made.exists():
        layers.add(made, f"oci:{folder}")
    return made
