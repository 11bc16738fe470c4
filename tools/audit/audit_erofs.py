"""EROFS images of chains and layers (FORMAT.md, section 16), made from their trees alone, piece by piece.

Part of holdall_audit.py. Nothing of an image is on the medium: what is made here is to be compared with what a mounted
disk shows, byte for byte.
"""
import stat, struct
from collections import Counter

from audit_layers import IMPLIED, OPAQUE
from audit_store import FILE, LINK, MARKED, OUTSIDE, SPECIAL, WHITEOUT

BLOCK, FIRST = 4096, 1152
PREFIXES = ((b"user.", 1), (b"trusted.", 4), (b"security.", 6))
WHOLE = {b"system.posix_acl_access": 2, b"system.posix_acl_default": 3}
MAX_NAMES, MAX_BYTES = 1000000, 134217728
# Kinds of special files (section 10): character device, block device, pipe, socket; their type in a directory, and in a mode.
DEVICES = {1: (3, stat.S_IFCHR), 2: (4, stat.S_IFBLK), 3: (5, stat.S_IFIFO), 4: (6, stat.S_IFSOCK)}

class NoImage(Exception):
    """There is no image of this tree; why."""

def blocks(size):
    return -(-size // BLOCK)

class Inode:
    __slots__ = "entry names kind mode owner group time attributes shared own size rdev data children parent serial at behind tail block".split()

    def __init__(self, entry, parent, given=None):
        self.entry, self.parent, self.names, self.rdev, self.data, self.children = entry, parent, 1, 0, None, None
        self.shared, self.own, self.size, self.behind, self.tail, self.block = [], b"", 0, 0, b"", 0
        mode, self.owner, self.group, seconds, nanoseconds, attributes = given or entry.meta
        self.time = seconds, nanoseconds
        self.attributes = tuple(pair for pair in attributes if not pair[0].startswith((b"trusted.overlay.", b"user.overlay.")))
        if entry.node == WHITEOUT:
            self.kind, self.mode, self.owner, self.group, self.time, self.attributes = 3, stat.S_IFCHR, 0, 0, (0, 0), ()
        elif entry.node == SPECIAL:
            self.kind, bits = DEVICES[entry.device[0]]
            self.mode = bits | mode
            if entry.device[0] <= 2:
                _, major, minor = entry.device
                if major >= 1 << 12 or minor >= 1 << 20:
                    raise NoImage("a device of number %d:%d" % (major, minor))
                self.rdev = minor & 255 | major << 8 | (minor & ~255) << 12
        elif entry.node == LINK:
            self.kind, self.mode, self.data, self.size = 7, stat.S_IFLNK | mode, entry.target, len(entry.target)
        elif entry.node == FILE:
            self.kind, self.mode, self.size = 1, stat.S_IFREG | mode, entry.size
        elif entry.node == OUTSIDE:
            raise NoImage("an outside link")
        else:
            self.kind, self.mode = 2, stat.S_IFDIR | mode
            marks = [(b"trusted.overlay.opaque", b"y")] if entry.node == MARKED and entry.marks & OPAQUE else []
            if any(below.node == WHITEOUT for below in entry.folder.entries()):
                marks.append((b"trusted.overlay.origin", b""))
            if parent is None and entry.node == MARKED and entry.marks & OPAQUE:
                raise NoImage("an opaque `rootfs`")
            self.attributes = tuple(sorted((*self.attributes, *marks)))

def attribute(name, value):
    """One attribute as it stands in an inode or in the shared area."""
    if name in WHOLE:
        prefix, rest = WHOLE[name], b""
    else:
        prefix, rest = next(((number, name[len(start):]) for start, number in PREFIXES if name.startswith(start)), (0, b""))
        if not prefix or len(rest) > 255 or len(value) > 65535:
            raise NoImage("an attribute `%s`" % name.decode("utf-8", "backslashreplace"))
    data = struct.pack("<BBH", len(rest), prefix, len(value)) + rest + value
    return data + bytes(-len(data) % 4)

def given(entry, there):
    """An implied directory's metadata: those that it has in all chains that end with the layer."""
    if entry.node != MARKED or not entry.marks & IMPLIED:
        return None
    metas = [other.meta for other in there]
    if not metas or any(meta != metas[0] for meta in metas):
        raise NoImage("the metadata of the implied directory `%s`" % entry)
    return metas[0]

class Image:
    """`tree`: a LayerTree; `ending`: for a layer, those of the chains that end with it. `size` and `pieces()` are the image."""
    def __init__(self, tree, ending=()):
        self.ending = ending
        self.tree, self.store, self.inodes, self.by_group = tree, tree.store, [], {}
        self.names = self.bytes = 0
        self.meet()
        self.usual = self.usual_time()
        self.share()
        for inode in self.inodes:
            if inode.children is not None:
                self.list_names(inode)
        self.place()

    # -------------------------------------------------------------- the order of inodes

    def meet(self):
        there = [chain.rootfs for chain in self.ending]
        root = self.add(self.tree.rootfs, None, given(self.tree.rootfs, there))
        root.parent = root
        waiting = [(root, there)]
        while waiting:
            folder, there = waiting.pop()
            chains = [{entry.name: entry for entry in chain.folder.entries()} for chain in there]
            folder.children, below = [], []
            for entry in folder.entry.folder.entries():
                self.count(entry)
                inode = self.by_group.get(entry.group) if entry.group else None
                if inode:
                    inode.names += 1
                else:
                    same = [chain[entry.name] for chain in chains if entry.name in chain] if entry.folder else []
                    if entry.node == MARKED and entry.marks & IMPLIED and (len(same) < len(chains) or not all(e.folder for e in same)):
                        raise NoImage("`%s` is no directory in a chain that ends with this layer" % entry)
                    same = [e for e in same if e.folder]
                    inode = self.add(entry, folder, given(entry, same))
                folder.children.append((entry.name, inode))
                if inode.kind == 2:
                    below.append((inode, same))
            folder.names = 2 + len(below)
            waiting += reversed(below)

    def add(self, entry, parent, given=None):
        inode = Inode(entry, parent, given)
        self.inodes.append(inode)
        inode.serial = len(self.inodes)
        if entry.group:
            self.by_group[entry.group] = inode
        return inode

    def count(self, entry):
        self.names += 1
        self.bytes += len(entry.name) + len(entry.target or b"") + sum(len(a) + len(b) for a, b in entry.meta[5])
        self.bytes += len(entry.beside) if entry.node == FILE and entry.content.tag == 1 else 0
        if self.names > MAX_NAMES or self.bytes > MAX_BYTES:
            raise NoImage("too many names, or bytes of them")

    def usual_time(self):
        times = Counter(inode.time for inode in self.inodes)
        most = max(times.values())
        return min(time for time, count in times.items() if count == most)

    # -------------------------------------------------------------- attributes

    def share(self):
        """Which attributes stand in the shared area, and what stands behind each inode."""
        counts = Counter(pair for inode in self.inodes for pair in inode.attributes)
        places, area = {}, bytearray()
        for inode in self.inodes:
            own = []
            for pair in inode.attributes:
                data = attribute(*pair)
                if counts[pair] > 1 and pair not in places:
                    places[pair] = len(area) // 4
                    area += data
                if pair in places and len(inode.shared) < 255:
                    inode.shared.append(places[pair])
                else:
                    own.append(data)
            if inode.attributes:
                inode.own = struct.pack("<4xB7x%dI" % len(inode.shared), len(inode.shared), *inode.shared) + b"".join(own)
        self.area = bytes(area)

    # -------------------------------------------------------------- directories

    def list_names(self, folder):
        """The names in blocks: `data` is for each block its names; the size is that of them all."""
        names = sorted(folder.children + [(b".", folder), (b"..", folder.parent)], key=lambda pair: pair[0])
        folder.data, used = [[]], 0
        for name, inode in names:
            if used + 12 + len(name) > BLOCK:
                folder.data.append([])
                used = 0
            folder.data[-1].append((name, inode))
            used += 12 + len(name)
        folder.size = BLOCK * (len(folder.data) - 1) + used

    def directory(self, folder):
        """A directory's bytes, as its inode's size says."""
        out = bytearray()
        for names in folder.data:
            at, heads = 12 * len(names), []
            for name, inode in names:
                heads.append(struct.pack("<QHBx", inode.at // 32, at, inode.kind))
                at += len(name)
            out += bytes(-len(out) % BLOCK) + b"".join(heads) + b"".join(name for name, _ in names)
        return bytes(out)

    # -------------------------------------------------------------- places

    def is_compact(self, inode):
        return max(inode.owner, inode.group, inode.names) < 65536 and inode.size < 1 << 32 and inode.time == self.usual

    def place(self):
        at = FIRST
        for inode in self.inodes:
            head = (32 if self.is_compact(inode) else 64) + len(inode.own)
            tail = inode.size % BLOCK if inode.kind in (2, 7) else 0
            if head + tail > BLOCK:
                tail = 0
            inode.tail = tail
            inode.behind = blocks(inode.size - tail) if inode.kind in (2, 7) else 0
            at += -at % 32
            if at // BLOCK != (at + head + tail - 1) // BLOCK:
                at += -at % BLOCK
            inode.at = at
            at += head + tail
        self.end = at
        block = blocks(at)
        for inode in self.inodes:
            if inode.behind:
                inode.block, block = block, block + inode.behind
        self.shared_block = block
        block += blocks(len(self.area))
        self.files, known = [], {}
        waiting = [self.inodes[0]]
        while waiting:
            inode = waiting.pop()
            if inode.kind == 2:
                waiting += [child for _, child in reversed(inode.children)]
            elif inode.kind == 1 and inode.size and not inode.block:
                same = inode.entry.blob_id, inode.size
                if same not in known:
                    known[same], block = block, block + blocks(inode.size)
                    self.files.append(inode.entry)
                inode.block = known[same]
        if block >= 1 << 32:
            raise NoImage("2^32 blocks or more")
        self.blocks, self.size = block, BLOCK * block

    # -------------------------------------------------------------- bytes

    def superblock(self):
        out = bytearray(128)
        struct.pack_into("<I8xBxH", out, 0, 0xE0F5E1E2, 12, self.inodes[0].at // 32)
        struct.pack_into("<QqII4xI16s", out, 16, len(self.inodes), *self.usual, self.blocks, self.shared_block, self.tree.tree.hash[:16])
        return out

    def inode(self, inode):
        compact, attributes = self.is_compact(inode), (len(inode.own) - 12) // 4 + 1 if inode.own else 0
        layout, where = (4 if inode.tail else 0) | (not compact), inode.block if inode.block else inode.rdev
        if compact:
            return struct.pack("<HHHHI4xIIHH4x", layout, attributes, inode.mode, inode.names, inode.size, where, inode.serial, inode.owner, inode.group)
        return struct.pack("<HHH2xQIIIIqII16x", layout, attributes, inode.mode, inode.size, where, inode.serial, inode.owner, inode.group, *inode.time, inode.names)

    def pieces(self):
        """The image from its first byte to its last."""
        meta, behind = bytearray(BLOCK * blocks(self.end)), []
        meta[1024:FIRST] = self.superblock()
        for inode in self.inodes:
            data = self.directory(inode) if inode.kind == 2 else inode.data or b""
            rest = len(data) - inode.tail
            whole = self.inode(inode) + inode.own + data[rest:]
            meta[inode.at:inode.at + len(whole)] = whole
            if inode.behind:
                behind.append(data[:rest] + bytes(-rest % BLOCK))
        yield bytes(meta)
        yield from behind
        yield self.area + bytes(-len(self.area) % BLOCK)
        for entry in self.files:
            yield from self.store.pieces(entry.content, entry.size, entry.beside)
            yield bytes(-entry.size % BLOCK)
