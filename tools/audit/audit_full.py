"""Everything on a disk, read and compared (verb `full`), and its EROFS images (verb `erofs`).

Part of holdall_audit.py.
"""
import hashlib, os, re, zlib

import zstandard

import audit_erofs
from audit_layers import Images, LayerTree, chain_tree, check_chains, check_hot_list, check_recipe, check_root_file_systems, layer_tree
from audit_store import FILE, Folder, Store, check_file, check_tables, walk
from holdall_audit import ZERO, Fault, fast_blake3, need, printable

FRAME_KINDS, CODECS = ("plaintext", "pages", "records"), ("raw", "zstd", "delta")

class Full:
    def __init__(self, disk, root, packs, leaves):
        self.store, self.root, self.packs, self.leaves, self.lines = Store(disk, packs), root, packs, leaves, []
        self.checked, self.places = set(), set()

    def say(self, what, text):
        self.lines.append("%-11s %s" % (what, text))

    def of(self, *kinds):
        return (leaf for leaf in self.leaves if leaf.kind in kinds)

    def check(self):
        self.frames()
        self.blobs()
        self.trees()
        self.recipes()
        self.images()
        self.files()
        self.hot_lists()
        return self.lines

    def frames(self):
        """Sections 5 and 6: every frame of every pack, down to its chunks, and the tables."""
        total = {}
        for pack in self.packs:
            for key, count in check_tables(self.store, pack).items():
                total[key] = total.get(key, 0) + count
        self.say("frames", "%d, down to their chunks; tables agree (%s)" % (sum(total.values()), ", ".join(
            "%s %s: %d" % (FRAME_KINDS[kind], CODECS[codec], count) for (kind, codec), count in sorted(total.items()))))

    def blobs(self):
        """SHA-256 and BlobId of every blob that is inline or in a list. Images and referrers are blobs too (section 9.1)."""
        count = size = 0
        for leaf in self.of(2):
            if leaf.content.tag != 3:
                sha, blob = hashlib.sha256(), fast_blake3()
                for piece in self.store.pieces(leaf.content, leaf.size, leaf.places[0]):
                    sha.update(piece)
                    blob.update(piece)
                need((sha.digest(), blob.digest()) == (leaf.sha256, leaf.blob_id), "blob " + leaf.name, "SHA-256 or BlobId: mismatch")
                count, size = count + 1, size + leaf.size
        self.say("blobs", "%d inline or in lists, %d bytes: SHA-256 and BlobId hold" % (count, size))

    def contents(self, entries):
        """BlobId of each file's bytes, once for each content and place."""
        for entry in entries:
            key = entry.node == FILE and (entry.blob_id, entry.size, entry.content, entry.beside, entry.sha256)
            if key and key not in self.checked:
                check_file(self.store, entry)
                self.checked.add(key)

    def trees(self):
        """Section 10.1: the trees of layers and chains."""
        for kind, make, what in ((6, layer_tree, "layers"), (7, chain_tree, "chains")):
            count = names = groups = 0
            before = len(self.checked)
            for leaf in self.of(kind):
                tree = make(self.store, leaf)
                entries = tree.check()
                self.contents(entries)
                if tree.links:
                    self.contents([tree.links])
                count, names, groups = count + 1, names + len(entries), groups + len(tree.groups)
            self.say(what, "%d trees of %d names and %d groups of hard links hold; BlobId of %d files more" % (count, names, groups, len(self.checked) - before))

    def recipes(self):
        """Section 11; and layers that are kept whole have the diffID that their leaf says once decompressed."""
        unpacked = {"sha256:" + leaf.name.split(":")[2]: leaf for leaf in self.of(6)}
        count = size = kept = crcs = 0
        for leaf in self.of(2):
            if leaf.content.tag != 3:
                continue
            own = unpacked.get(leaf.name)
            need(own is not None, "blob " + leaf.name, "is a recipe, but no layer was unpacked from it")
            need(own.content.tree == leaf.content.tree, "blob " + leaf.name, "its recipe is of another tree than its layer's")
            tree = LayerTree(self.store, "recipe of " + leaf.name, leaf.content.tree, leaf.places[1], True)
            recipe, _, tar, crc = check_recipe(self.store, leaf, tree.check(), own.name.split("/")[0])
            count, size, kept, crcs = count + 1, size + tar, kept + recipe.kept(), crcs + crc
        self.say("recipes", "%d: %d bytes of tar have their diffIDs, and %d of them the CRC-32 that the layer ends with; outboards lead to the BlobIds; "
                 "the gzipped bytes were not made again" % (count, size, crcs))
        count = 0
        for name, leaf in unpacked.items():
            blob = next((blob for blob in self.of(2) if blob.name == name), None)
            if blob is not None and blob.content.tag != 3:
                diff = hashlib.sha256()
                for piece in unpack(self.store.pieces(blob.content, blob.size, blob.places[0]), name):
                    diff.update(piece)
                need("sha256:" + diff.hexdigest() == leaf.name.split("/")[0], "layer " + leaf.name, "decompressed, it has another SHA-256: mismatch")
                count += 1
        self.say("kept layers", "%d that are no recipe have their diffID, decompressed" % count)

    def images(self):
        images = Images(self.store, self.leaves)
        self.say("run", "%d root file systems are the chains that manifests and configs name" % check_root_file_systems(images, self.leaves))
        made = check_chains(self.store, images, self.leaves, lambda text: self.say("note", text))
        self.say("chains", "%d are what their layers make, entry by entry" % made)

    def hot_lists(self):
        count, chunks, own, others = 0, 0, set(), set(self.store.led_to)
        trees = {leaf.name: leaf for leaf in self.of(7)}
        for leaf in self.of(10):
            entries = [entry for _, _, entry in chain_tree(self.store, trees[leaf.name]).walk()]
            number, frames = check_hot_list(self.store, leaf, entries)
            count, chunks, own = count + 1, chunks + number, own | frames
        if own & others:
            self.say("note", "places of something else lead into %d frames of hot lists, too" % len(own & others))
        self.say("hot lists", "%d of %d chunks, each of a file of its chain" % (count, chunks))

    def files(self):
        """Kinds 5 and 9: a sealed generation's leaves repeat what the tree says."""
        found, expected = {}, {leaf.name: leaf for leaf in self.of(9)}
        for leaf in self.of(5):
            for _, path, entry in walk(Folder(self.store, leaf.content.tree, leaf.places[0], False)):
                need(entry.node != FILE or entry.sha256 != ZERO, "file `%s`" % entry, "has no SHA-256")
                self.contents([entry])
                try:
                    name = b"/".join(path + (entry.name,)).decode()
                except UnicodeDecodeError:
                    continue
                if entry.node == FILE and len(name.encode()) <= 1024:
                    found[name] = entry
        if self.root.sealed:
            need(found.keys() == expected.keys(), "files", "the catalogue has other files than the tree")
            for name, leaf in expected.items():
                entry = found[name]
                need((entry.sha256, entry.blob_id, entry.size) == (leaf.sha256, leaf.blob_id, leaf.size), "file `%s`" % name, "its leaf says otherwise")
        self.say("files", "%d hold%s" % (len(found), "; so do their %d leaves" % len(expected) if self.root.sealed else ""))

def unpack(pieces, where):
    """The tar of a layer that is kept as it came: gzip (of any number of members), zstd, or as it is."""
    data = b"".join(pieces)
    try:
        if data[:2] == b"\x1f\x8b":
            while data:
                member = zlib.decompressobj(31)
                yield member.decompress(data)
                yield member.flush()
                data = member.unused_data.lstrip(b"\0")
        elif data[:4] == b"\x28\xb5\x2f\xfd" or data[1:4] == b"\x2a\x4d\x18":
            yield from zstandard.ZstdDecompressor().read_to_iter(data, read_across_frames=True)
        else:
            yield data
    except (zlib.error, zstandard.ZstdError) as error:
        raise Fault(where, error) from None

def check_everything(disk, root, packs, leaves):
    return Full(disk, root, packs, leaves).check()

# ------------------------------------------------------------------ images

def make_images(disk, packs, leaves, digests, output):
    """Lines that `sha256sum --check` takes, in a mounted disk's folder; sizes and what has no image stand in comments."""
    wanted, lines, store = {digest.rpartition(":")[2] for digest in digests}, [], Store(disk, packs)
    need(all(re.fullmatch("[0-9a-f]{64}", digest) for digest in wanted), "digest", "is not 64 lower-case hex digits")
    seen, leaves = set(), list(leaves)
    chains = {leaf.name: leaf for leaf in leaves if leaf.kind == 7}
    for leaf in leaves:
        if leaf.kind not in (6, 7):
            continue
        digest = leaf.name.split("/")[0].rpartition(":")[2]
        if (leaf.kind, digest) in seen or wanted and digest not in wanted:
            continue
        seen.add((leaf.kind, digest))
        name = "erofs/chains/sha256/%s.erofs" % digest if leaf.kind == 7 else "layers/sha256/%s/%s.erofs" % (digest[:2], digest)
        lines += one_image(store, leaf, name, output, [] if leaf.kind == 7 else ending_with(chains, digest))
    missing = wanted - {digest for _, digest in seen}
    need(not missing, "digest", "no chain or layer: " + " ".join(sorted(missing)))
    return lines

def ending_with(chains, diff_id):
    """The chains that end with the layer of that diffID (section 16)."""
    diff_id = "sha256:" + diff_id
    above = ["sha256:" + hashlib.sha256((below + " " + diff_id).encode()).hexdigest() for below in chains]
    return [chains[name] for name in [diff_id] + above if name in chains]

def one_image(store, leaf, name, output, chains):
    try:
        ending = [chain_tree(store, chain) for chain in chains]
        image = audit_erofs.Image(chain_tree(store, leaf) if leaf.kind == 7 else layer_tree(store, leaf), ending)
    except audit_erofs.NoImage as why:
        return ["# no image: %s: %s" % (name, printable(why))]
    digest, size, file = hashlib.sha256(), 0, open(os.path.join(output, os.path.basename(name)), "wb") if output else None
    for piece in image.pieces():
        digest.update(piece)
        size += len(piece)
        if file:
            file.write(piece)
    if file:
        file.close()
    need(size == image.size, name, "made %d bytes of %d" % (size, image.size))
    return ["# %d bytes: %s" % (size, name), "%s  %s" % (digest.hexdigest(), name)]
