"""Trees of layers and chains, recipes and hot lists (FORMAT.md, sections 9.1, 10.1 and 11).

Part of holdall_audit.py. A tree is read whole; a chain is made again from the layers' trees and compared with the one
that is stored; a recipe's tar is made of the skeleton and the tree's files, and has the SHA-256 that the layer's name says.
"""
import hashlib, json, struct, zlib
from collections import namedtuple

from audit_store import FILE, FOLDER, LINK, MARKED, OUTSIDE, WHITEOUT, Entry, Folder, walk
from holdall_audit import IV, PARENT, TOP, ZERO, Fault, Fields, compress, fast_blake3, need, split, utf8

MAX_GROUPS = 1 << 24
OPAQUE, IMPLIED = 1, 2
IMPLIED_META = (0o755, 0, 0, 0, 0, ())

# ------------------------------------------------------------------ a layer's or chain's tree (section 10.1)

class LayerTree:
    """`rootfs` and `links` of a leaf of kind 6 or 7, or of a recipe. Positions are counted in the whole tree."""
    def __init__(self, store, leaf_name, tree, place, marks):
        self.store, self.name, self.tree, self.place, self.marks = store, leaf_name, tree, place, marks
        self.top = Folder(store, tree, place, marks)
        names = [entry.name for entry in self.top.entries()]
        need(names in ([b"rootfs"], [b"links", b"rootfs"]), leaf_name, "the top has other names than `rootfs` and `links`")
        self.rootfs, self.links = self.top.entries()[-1], self.top.entries()[0] if len(names) == 2 else None
        need(self.rootfs.is_folder(), leaf_name, "`rootfs` is no directory")
        need(not self.links or self.links.node == FILE and self.links.group == 0, leaf_name, "`links` is no file")
        self.groups = self.read_links() if self.links else []

    def read_links(self):
        """Positions of each group's names."""
        most, where = 8 + 8 * MAX_GROUPS * 2, self.name + ", links"
        data = self.store.whole(self.links.content, self.links.size, self.links.beside, most, where)
        f = Fields(data, where)
        count = f.number(8)
        need(count <= MAX_GROUPS, where, "%d groups" % count)
        ends = struct.unpack("<%dQ" % count, f.take(8 * count))
        need(all(a <= b for a, b in zip((0, *ends), ends)) and (not ends or ends[-1] <= MAX_GROUPS), where, "numbers of names do not ascend")
        total = ends[-1] if ends else 0
        positions = struct.unpack("<%dQ" % total, f.take(8 * total))
        f.end()
        groups = [positions[a:b] for a, b in zip((0, *ends), ends)]
        need(all(a < b for group in groups for a, b in zip(group, group[1:])), where, "positions do not ascend")
        return groups

    def walk(self):
        return walk(self.top)

    def check(self):
        """All rules of 10.1 that need no other tree. Returns the entries below `rootfs`, it too, by their number (section 11)."""
        found, entries = [[] for _ in self.groups], []
        start = 2 if self.links else 1
        for position, path, entry in self.walk():
            if entry is self.links:
                continue
            where = "%s, `%s`" % (self.name, b"/".join(path + (entry.name,)).decode("utf-8", "replace"))
            need(position == start + len(entries), where, "is not where it is counted")
            entries.append(entry)
            need(entry.node != FILE or entry.sha256 == ZERO, where, "SHA-256 in the tree of a layer")
            need(entry.node != LINK or entry.meta[0] == 0o777, where, "a symbolic link of mode %o" % entry.meta[0])
            need(not any(b".overlay." in name for name, _ in entry.meta[5]) or not any(
                name.split(b".", 1)[1].startswith(b"overlay.") for name, _ in entry.meta[5]), where, "an attribute of overlayfs")
            if entry.group:
                need(entry.group <= len(found), where, "hard-link group %d of %d" % (entry.group, len(found)))
                found[entry.group - 1].append((position, entry))
        for number, (listed, group) in enumerate(zip(self.groups, found), 1):
            where = "%s, links, group %d" % (self.name, number)
            need(list(listed) == [position for position, _ in group], where, "does not say what the tree does")
            need(len({entry.itself() for _, entry in group}) <= 1, where, "names of one inode that differ")
        return entries

# ------------------------------------------------------------------ a chain from its layers (section 10.1)

class NoChain(Exception):
    """The layers make no chain."""

def made(entries, by):
    return Folder(None, None, None, False, sorted(entries, key=lambda entry: entry.name) if by else entries)

class Overlay:
    """One layer laid over the chain before it (None: over nothing)."""
    def __init__(self, below, below_groups, layer):
        self.below, self.layer, self.base = below, layer, below_groups
        self.new_groups, self.through, self.added = {}, [], 0
        self.outside = {}                          # id of an outside link -> the entry that it is to be
        self.find_outside()
        self.offset = self.base + self.added
        self.groups = self.offset + len(layer.groups)

    def result(self):
        """`rootfs` of the chain."""
        below = self.with_groups(self.below, ()) if self.new_groups else self.below
        top, waiting = self.lay(below, self.layer.rootfs, ()), []
        while self.through or waiting:
            # What is in an implied directory over a symbolic link goes where the link leads, after all else; of several the last first.
            waiting += sorted(self.through, key=lambda pair: by_level(pair[0]))
            self.through = []
            path, entry = waiting.pop()
            top = self.lay_at(top, self.leads_to(top, path), (), entry)
        return top

    def find_outside(self):
        found = [(path + (entry.name,), entry) for _, path, entry in self.layer.walk() if entry.node == OUTSIDE]
        for _, entry in sorted(found, key=lambda pair: by_level(pair[0])):
            where, target = self.one_name(entry.target.split(b"/"))
            if target.group == 0 and where not in self.new_groups:
                self.added += 1
                self.new_groups[where] = self.base + self.added
            group = target.group or self.new_groups[where]
            self.outside[id(entry)] = target.copy(name=entry.name, group=group)

    def one_name(self, names):
        """Where an outside link's path leads to in the chain before: its own names and the entry. A link at the end is not followed."""
        if self.below is None:
            raise NoChain("an outside link in the first layer")
        at = follow(self.below, names, False)
        if at[-1][1] is None or at[-1][1].is_folder():
            raise NoChain("%s: leads to nothing, or to a directory" % b"/".join(names))
        return tuple(name for name, _ in at[1:]), at[-1][1]

    def leads_to(self, top, path):
        """The names of the directory that a symbolic link leads to; those at the end need not be there."""
        at = follow(top, path, True)
        if at[-1][1] is not None and not at[-1][1].is_folder():
            raise NoChain("%s: an implied directory over a link to what is none" % b"/".join(path))
        return [name for name, _ in at[1:]]

    def with_groups(self, folder, path):
        """The chain before, where names that get a group have it."""
        entries = []
        for entry in folder.folder.entries():
            here = path + (entry.name,)
            if here in self.new_groups:
                entry = entry.copy(group=self.new_groups[here])
            elif entry.folder and any(where[:len(here)] == here for where in self.new_groups):
                entry = self.with_groups(entry, here)
            entries.append(entry)
        return folder.copy(folder=made(entries, False))

    def lay(self, old, new, path):
        """The directory `new` over what is below of its name: a directory, or None."""
        implied, opaque = new.node == MARKED and new.marks & IMPLIED, new.node == MARKED and new.marks & OPAQUE
        result = {} if old is None or opaque else {entry.name: entry for entry in old.folder.entries()}
        for entry in new.folder.entries():
            self.lay_entry(result, entry, path + (entry.name,))
        meta = new.meta if not implied else old.meta if old is not None else IMPLIED_META
        return new.copy(meta=meta, node=FOLDER, marks=None, folder=made(result.values(), True))

    def lay_entry(self, result, entry, path):
        old = result.get(entry.name)
        if entry.node == WHITEOUT:
            result.pop(entry.name, None)
        elif entry.node == OUTSIDE:
            result[entry.name] = self.outside[id(entry)]
        elif not entry.is_folder():
            result[entry.name] = entry.copy(group=entry.group + self.offset) if entry.group else entry
        elif old is None or old.is_folder() or not (entry.node == MARKED and entry.marks & IMPLIED):
            result[entry.name] = self.lay(old if old is not None and old.is_folder() else None, entry, path)
        elif old.node == LINK:
            self.through.append((path, entry))
        else:
            raise NoChain("%s: an implied directory over a file" % b"/".join(path))

    def lay_at(self, folder, names, path, entry):
        """Lays `entry`, under another name, over the directory that `names` lead to; what is missing on the way is made."""
        if not names:
            return self.lay(folder, entry.copy(name=folder.name), path)
        entries, name = {e.name: e for e in folder.folder.entries()}, names[0]
        if name not in entries:
            entries[name] = Entry(name, IMPLIED_META, FOLDER)
            entries[name].folder = made([], False)
        entries[name] = self.lay_at(entries[name], names[1:], path + (name,), entry)
        return folder.copy(folder=made(entries.values(), True))

def by_level(path):
    """Level by level, and in each in the tree's order."""
    return len(path), path

def follow(top, names, last):
    """What a path leads to, symbolic links followed beneath `top`: a link at its end if `last`. [(name, entry; None where nothing is)]."""
    at, rest, followed = [(b"", top)], list(names), 0
    while rest:
        name, entry = rest.pop(0), at[-1][1]
        if name in (b"", b"."):
            continue
        if name == b"..":
            at = at[:-1] if len(at) > 1 else at
            continue
        if entry is not None and not entry.is_folder():
            raise NoChain("%s: leads through what is no directory" % b"/".join(names))
        entry = entry and next((e for e in entry.folder.entries() if e.name == name), None)
        if entry is not None and entry.node == LINK and (rest or last):
            followed += 1
            if followed > (41 if last else 40):
                raise NoChain("%s: leads round in a circle" % b"/".join(names))
            rest = entry.target.split(b"/") + rest
            at = at[:1] if entry.target[:1] == b"/" else at
        else:
            at.append((name, entry))
    return at

def same_tree(stored, merged, path=()):
    """None, or where a stored chain differs from the one that was made."""
    if merged.made is None and merged.tree.data == stored.tree.data:
        return None
    a, b = stored.entries(), merged.entries()
    for one, two in zip(a, b):
        where = b"/".join(path + (one.name,)).decode("utf-8", "replace")
        if one.name != two.name or one.itself() != two.itself() or one.is_folder() != two.is_folder():
            return "%s: %s, made %s %s" % (where, one.itself(), two.name, two.itself())
        if one.folder:
            below = same_tree(one.folder, two.folder, path + (one.name,))
            if below:
                return below
    return None if len(a) == len(b) else "%s: %d entries, made %d" % (b"/".join(path).decode("utf-8", "replace"), len(a), len(b))

# ------------------------------------------------------------------ images, chains and root file systems (section 9.1)

MAX_JSON = 16 << 20
INDEXES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")

def chain_ids(diff_ids):
    """The OCI image specification's ChainID of each number of layers."""
    chains = []
    for diff in diff_ids:
        chains.append(diff if not chains else "sha256:" + hashlib.sha256(("%s %s" % (chains[-1], diff)).encode()).hexdigest())
    return chains

class Images:
    """What manifests and configs say: which diffID each chain has on top, and what stands below."""
    def __init__(self, store, leaves):
        self.store, self.blobs = store, {leaf.name: leaf for leaf in leaves if leaf.kind == 2}
        self.layers, self.chains, self.manifests = {}, {}, {}
        for leaf in leaves:
            if leaf.kind == 6:
                self.layers.setdefault(leaf.name.split("/")[0], []).append(leaf)
        for leaf in leaves:
            if leaf.kind in (1, 3) and leaf.sha256.hex() not in self.manifests:
                self.manifest("sha256:" + leaf.sha256.hex())

    def json(self, digest):
        leaf = self.blobs.get(digest)
        if leaf is None or leaf.content.tag == 3 or leaf.size > MAX_JSON:
            return None
        try:
            value = json.loads(self.store.whole(leaf.content, leaf.size, leaf.places[0], MAX_JSON, leaf.name))
        except (ValueError, RecursionError):
            return None
        return value if isinstance(value, dict) else None

    def manifest(self, digest):
        """Reads a manifest, or an index and its children, once."""
        if digest in self.manifests:
            return
        self.manifests[digest] = found = self.json(digest)
        for child in (found or {}).get("manifests") or []:
            self.manifest(child.get("digest"))
        config = self.json(((found or {}).get("config") or {}).get("digest"))
        diffs = ((config or {}).get("rootfs") or {}).get("diff_ids") or []
        chains = chain_ids(diffs)
        for i, chain in enumerate(chains):
            self.chains.setdefault(chain, (chains[i - 1] if i else None, diffs[i]))
        if chains:
            found["chain"], found["platform"] = chains[-1], config

    def root_file_system(self, digest, platform):
        """The chain of a manifest, or of the first child of an index that is for a platform and has one in the catalogue."""
        found = self.manifests.get(digest) or {}
        if "manifests" not in found:
            return [found["chain"]] if "chain" in found and platform in platforms(found["platform"]) else []
        chains = []
        for child in found["manifests"]:
            described = platforms(child.get("platform") or {})
            below = self.manifests.get(child.get("digest")) or {}
            if "chain" in below and (platform in described or platform in platforms(below["platform"])):
                chains.append(below["chain"])
        return chains

def platforms(about):
    parts = [about.get("os"), about.get("architecture"), about.get("variant")]
    return {"-".join(p for p in parts if p), "-".join(p for p in parts[:2] if p)}

def check_root_file_systems(images, leaves):
    """Leaves of kind 8. Returns how many agree with what the manifests say."""
    count = 0
    for leaf in leaves:
        if leaf.kind == 8:
            digest, platform = leaf.name.split("/")
            chains = images.root_file_system(digest, platform)
            need("sha256:" + leaf.sha256.hex() in chains, "leaf `%s`" % leaf.name, "its manifest leads to %s" % (chains or "no chain"))
            count += 1
    return count

def check_chains(store, images, leaves, say):
    """Every chain of the catalogue, made again from its layers' trees. Returns how many agree."""
    stored, count = {leaf.name: leaf for leaf in leaves if leaf.kind == 7}, 0
    trees, groups = {}, {}
    def chain(name):
        """`rootfs` and number of groups of a chain: as stored, else as made."""
        if name not in trees:
            trees[name] = made_chain(name)
            if name in stored:
                own = chain_tree(store, stored[name])
                trees[name] = own.rootfs, len(own.groups)
        return trees[name]
    def made_chain(name):
        below, diff = images.chains[name]
        layer = images.layers[diff][0]
        old, base = chain(below) if below else (None, 0)
        overlay = Overlay(old, base, layer_tree(store, layer))
        return overlay.result(), overlay.groups
    for name in stored:
        try:
            rootfs, groups = made_chain(name)
        except KeyError as missing:
            say("chain %s cannot be made: no config or layer tells %s" % (name, missing))
            continue
        except NoChain as why:
            raise Fault("chain " + name, "its layers make none: %s" % why) from None
        own = chain_tree(store, stored[name])
        wrong = same_tree(own.rootfs.folder, rootfs.folder)
        if own.rootfs.itself() != rootfs.itself():
            wrong = "rootfs: %s, made %s" % (own.rootfs.itself(), rootfs.itself())
        need(wrong is None, "chain " + name, "is not what its layers make: %s" % wrong)
        need(len(own.groups) == groups, "chain " + name, "%d groups of hard links, made %d" % (len(own.groups), groups))
        count += 1
    return count

def layer_tree(store, leaf):
    return LayerTree(store, "layer " + leaf.name, leaf.content.tree, leaf.places[0], True)

def chain_tree(store, leaf):
    return LayerTree(store, "chain " + leaf.name, leaf.content.tree, leaf.places[0], False)

# ------------------------------------------------------------------ hot lists (section 9.1)

def check_hot_list(store, leaf, entries):
    """Each chunk is one of a file of the chain, none stands twice; the leaf's hashes. Returns (number of chunks, frames)."""
    where, known = "hot list " + leaf.name, set()
    for entry in entries:
        if entry.node == FILE and entry.content.tag == 2:
            known.update((digest, length) for length, digest, _ in store.chunks(entry.content, entry.size, entry.beside))
    seen, frames, sha, blob = set(), [], hashlib.sha256(), fast_blake3()
    for length, digest, place in store.chunks(leaf.content, leaf.size, leaf.places[0]):
        need(digest != ZERO, where, "a run of zeros")
        need((digest, length) in known, where, "chunk %s of %d bytes is of no file of the chain" % (digest.hex(), length))
        need(digest not in seen, where, "chunk %s stands twice" % digest.hex())
        seen.add(digest)
        frames.append(struct.unpack("<4I", place))
        piece = store.chunk(place, digest, length)
        sha.update(piece)
        blob.update(piece)
    need((sha.digest(), blob.digest()) == (leaf.sha256, leaf.blob_id), where, "SHA-256 or BlobId: mismatch")
    return len(seen), {place[:2] for place in frames}

# ------------------------------------------------------------------ recipes (section 11)

Part = namedtuple("Part", "end tar offset length encoder bits carry")
Stretch = namedtuple("Stretch", "offset map before_files before_bytes length map_length")
MAX_PART_TAR, MAX_PART, MAX_STRETCH, STRETCH = 32 << 20, 64 << 20, 2097152, 1048576
GROUP = 262144

def varints(data, where):
    """All of them, LEB128, at most 63 bits."""
    out, value, shift = [], 0, 0
    for byte in data:
        value |= (byte & 127) << shift
        if byte < 128:
            need(value < 1 << 63, where, "a varint above 63 bits")
            out.append(value)
            value = shift = 0
        else:
            shift += 7
            need(shift < 63, where, "a varint above 63 bits")
    need(shift == 0, where, "a varint is cut short")
    return out

class Cursor:
    """Varints and bytes in turn."""
    def __init__(self, data, where):
        self.data, self.at, self.where = data, 0, where

    def byte(self):
        need(self.at < len(self.data), self.where, "is cut short")
        self.at += 1
        return self.data[self.at - 1]

    def varint(self):
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 127) << shift
            if byte < 128:
                need(value < 1 << 63, self.where, "a varint above 63 bits")
                return value
            shift += 7
            need(shift < 63, self.where, "a varint above 63 bits")

    def take(self, count):
        need(count <= len(self.data) - self.at, self.where, "is cut short")
        self.at += count
        return self.data[self.at - count:self.at]

class Recipe:
    """A recipe's tables and rules. `layer`: the blob's size; `blob_id`: what the outboard leads to."""
    def __init__(self, data, layer, blob_id, where):
        self.data, self.where = data, where
        need(len(data) >= 64, where, "is too short")
        magic, version, names, parts, stretches, self.outboard, self.layer, self.tar, self.files = struct.unpack("<4sI7Q", data[-64:])
        need(magic == b"HRCP" and version == 1, where, "is no recipe of version 1")
        end = len(data) - 64
        need(self.layer == layer, where, "is of a layer of another size")
        need(names <= 65536 and names + 32 * parts + 40 * stretches + self.outboard <= end, where, "its parts do not fit")
        self.tables = end - self.outboard - 40 * stretches - 32 * parts - names
        at = self.tables
        self.encoders = utf8(data[at:at + names], where).split("\n") if names else []
        at += names
        self.parts = [Part(*x) for x in struct.iter_unpack("<QQQIHBB", data[at:at + 32 * parts])]
        at += 32 * parts
        self.stretches = [Stretch(*x) for x in struct.iter_unpack("<QQQQII", data[at:at + 40 * stretches])]
        self.check_parts()
        self.check_outboard(data[at + 40 * stretches:end], blob_id)
        need(stretches == -(-self.tar // STRETCH), where, "%d stretches of a tar of %d bytes" % (stretches, self.tar))

    def check_parts(self):
        layer = tar = 0
        for i, part in enumerate(self.parts):
            where = "%s, part %d" % (self.where, i)
            need(part.end >= layer and part.tar >= tar, where, "parts do not ascend")
            need(part.end - layer <= MAX_PART and part.tar - tar <= MAX_PART_TAR, where, "is too long")
            need(part.offset + part.length <= self.tables, where, "its bytes lie behind the map")
            need(part.encoder <= len(self.encoders) and not part.bits & 0x78, where, "names no encoder, or bits that are none")
            if part.encoder == 0:
                need(part.length == part.end - layer and part.tar == tar and not part.bits and not part.carry, where, "is kept, but not of its length")
            else:
                need(part.carry < 1 << (part.bits & 7), where, "carries more bits than its phase")
                check_corrections(self.data[part.offset:part.offset + part.length], where)
            layer, tar = part.end, part.tar
        need((layer, tar) == (self.layer, self.tar), self.where, "parts do not end with layer and tar")

    def check_outboard(self, data, blob_id):
        groups = -(-self.layer // GROUP)
        need(len(data) == (32 * groups if groups > 1 else 0), self.where, "an outboard of %d bytes" % len(data))
        if groups > 1:
            values = [struct.unpack("<8I", data[at:at + 32]) for at in range(0, len(data), 32)]
            need(struct.pack("<8I", *parent(values, TOP)) == blob_id, self.where, "the outboard does not lead to the layer's BlobId")

    def kept(self):
        """How many of the layer's bytes are in the recipe as they are."""
        return sum(part.length for part in self.parts if part.encoder == 0)

    def crc(self):
        """What the last kept bytes of a gzip member say of a tar of one member: CRC-32 and length; None if they are no such."""
        last = self.parts[-1]
        if last.encoder or last.length < 8:
            return None
        return struct.unpack("<II", self.data[last.offset + last.length - 8:last.offset + last.length])

def parent(values, flag=0):
    """BLAKE3's tree over the chaining values of groups."""
    if len(values) == 1:
        return values[0]
    left = split(len(values))
    pair = parent(values[:left]) + parent(values[left:])
    return compress(IV, struct.pack("<16I", *pair), 0, PARENT | flag)

def shape(c):
    kind = c.byte()
    need(kind <= 2, c.where, "a block of shape %d" % kind)
    if kind == 2:
        c.take(-(-c.varint() // 8))

def check_corrections(data, where):
    """Section 11.2: only that they are corrections; what they correct is a model's."""
    c = Cursor(data, where + ", corrections")
    while c.at < len(data):
        kind = c.varint() & 7
        need(kind <= 5, c.where, "a correction of kind %d" % kind)
        if kind == 0:
            c.varint()
        elif kind == 2:
            shape(c)
        elif kind >= 4:
            c.byte()
            if kind == 5:
                shape(c)

# ------------------------------------------------------------------ the skeleton (section 11.1)

class Stream:
    """A file's bytes, taken from the front."""
    def __init__(self, store, entry):
        self.entry, self.left, self.held = entry, entry.size, b""
        self.pieces = store.pieces(entry.content, entry.size, entry.beside)

    def take(self, count):
        """At most so many, in pieces."""
        self.left -= count
        while count:
            piece = self.held or next(self.pieces)
            yield piece[:count]
            self.held, count = piece[count:], max(0, count - len(piece))

class Skeleton:
    """Makes the tar of a recipe. `entries`: those of the layer's tree by their number, `rootfs` being 0."""
    def __init__(self, store, recipe, entries):
        self.store, self.recipe, self.entries = store, recipe, entries
        self.files, self.open, self.position = 0, None, 0
        self.maps = [self.read_map(stretch) for stretch in recipe.stretches]

    def read_map(self, stretch):
        where = self.recipe.where + ", map"
        need(stretch.map_length + stretch.length <= 2 * MAX_STRETCH and max(stretch.length, stretch.map_length) <= MAX_STRETCH, where, "a stretch or its map is too long")
        need(max(stretch.offset + stretch.length, stretch.map + stretch.map_length) <= self.recipe.tables, where, "lies behind the map")
        numbers, at = [], 0
        for value in varints(self.recipe.data[stretch.map:stretch.map + stretch.map_length], where):
            at += (value >> 1) ^ -(value & 1)
            need(0 <= at < len(self.entries) and self.entries[at].node == FILE, where, "number %d is no file's" % at)
            numbers.append(at)
        return numbers

    def pieces(self):
        for i, stretch in enumerate(self.recipe.stretches):
            want = min(STRETCH, self.recipe.tar - i * STRETCH)
            yield from self.stretch(i, stretch, want)
        need(self.open is None or self.open.left == 0, self.recipe.where, "a file goes on behind the tar")
        need(self.files == self.recipe.files, self.recipe.where, "%d files, not %d" % (self.files, self.recipe.files))

    def stretch(self, i, stretch, want):
        where, made = "%s, stretch %d" % (self.recipe.where, i), 0
        going = self.open is not None and self.open.left > 0
        need(stretch.before_files == self.files, where, "counts other files before it")
        need(stretch.before_bytes == (self.open.entry.size - self.open.left if going else 0), where, "another part of a file goes on into it")
        steps, columns = self.columns(stretch, where)
        begins, bytes_at = iter(self.maps[i]), 0
        for at, step in enumerate(steps):
            count, kind = step >> 3, step & 7
            need(kind <= 4 and (kind != 2) == (at > 0 or not going), where, "a step of kind %d at %d" % (kind, at))
            if kind == 0:
                piece = [columns[3].take(count)]
            elif kind == 3:
                piece = [self.header(count, columns, steps[at + 1:at + 2], where)]
            elif kind == 4:
                piece = [bytes(count)]
                need(count <= STRETCH, where, "more zeros than a stretch has")
            else:
                if kind == 1:
                    need(self.open is None or self.open.left == 0, where, "a file begins within another")
                    entry = self.entries[next(begins, 0)]
                    need(entry.node == FILE and entry.size == count, where, "a file of another length, or that the map has not")
                    self.open, self.files = Stream(self.store, entry), self.files + 1
                    count = min(count, want - made)
                need(0 <= count <= self.open.left and (kind == 1 or count > 0), where, "goes beyond a file's end")
                piece = self.open.take(count)
            for part in piece:
                made += len(part)
                yield part
            need(made <= want, where, "is longer than it may be")
        need(made == want and next(begins, None) is None, where, "is not of its length, or a file of its map does not begin")
        need(all(column.at == len(column.data) for column in columns), where, "a column is not used up")

    def columns(self, stretch, where):
        c = Cursor(self.recipe.data[stretch.offset:stretch.offset + stretch.length], where)
        lengths = [c.varint() for _ in range(5)]
        need(sum(lengths) == len(c.data) - c.at, where, "its columns do not add up")
        steps, *columns = [c.take(length) for length in lengths]
        return varints(steps, where), [Cursor(column, where) for column in columns]

    def header(self, bits, columns, behind, where):
        """Kind 3: a tar header of 512 bytes. `behind`: the next step, which says the file's size where bit 0 is set."""
        need(bits in (2, 3), where, "a header with bits %d" % bits)
        need(bits == 2 or behind and behind[0] & 7 == 1, where, "no file begins behind a header that has its size")
        names, fields, rests, _ = columns
        front = names.take(100) + fields.take(24)
        size = b"%011o\0" % (behind[0] >> 3) if bits & 1 else fields.take(12)
        need(len(size) == 12, where, "a size that eleven octal digits do not hold")
        front, back = front + size + fields.take(12), rests.take(356)
        total = sum(front) + 8 * 32 + sum(back)
        return front + b"%06o\0 " % total + back

def check_recipe(store, leaf, entries, diff_id):
    """A layer's recipe: its tables, its outboard, and the tar that skeleton and files make. Returns the recipe."""
    where = "recipe of `%s`" % leaf.name
    content = leaf.content
    data = store.whole(content.recipe, content.size, leaf.places[0], 1 << 32, where)
    recipe = Recipe(data, leaf.size, leaf.blob_id, where)
    digest, size, crc = hashlib.sha256(), 0, 0
    for piece in Skeleton(store, recipe, entries).pieces():
        digest.update(piece)
        crc = zlib.crc32(piece, crc)
        size += len(piece)
    need(diff_id is None or "sha256:" + digest.hexdigest() == diff_id, where, "the tar's SHA-256 is not the diffID: mismatch")
    return recipe, digest.hexdigest(), size, recipe.crc() == (crc, size & 0xFFFFFFFF)
