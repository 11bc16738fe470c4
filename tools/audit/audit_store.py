"""Frames, tables of packs, chunk lists and directories (FORMAT.md, sections 5 to 8 and 10), read and checked whole.

Part of holdall_audit.py; needs the package `zstandard`. What is read from the medium is checked before it is handed on:
a frame down to its chunks, a page against the hash that its reference has.
"""
import hashlib, os, struct
from collections import OrderedDict, namedtuple

import zstandard

from holdall_audit import MAX_CHUNK, MAX_FRAME, MAX_INLINE, MIN_FRAME, ZERO, Content, Fault, Fields, blake3, fast_blake3, need, read_tree

RAW, ZSTD, DELTA = 0, 1, 2
PLAIN, PAGES, RECORDS = 0, 1, 2
MAX_PLAIN, CACHE = 1048576, 512 << 20
FRAME_RECORD, CHUNK_RECORD = struct.Struct("<IIIIBBH32s32s"), struct.Struct("<32sIII")

# `starts`: offset of each chunk in the plaintext -> (id, length).
Frame = namedtuple("Frame", "pack offset length codec kind hash base starts plain")
Head = namedtuple("Head", "codec kind plain stored hash base where chunks size")

# ------------------------------------------------------------------ frames (section 5)

def read_head(data, place):
    """A frame's header; `data` may go on behind it."""
    need(len(data) >= MIN_FRAME, place, "is too short for a frame")
    codec, count = data[4], int.from_bytes(data[6:8], "little")
    end = 80 + 36 * count + (12 if codec == DELTA else 0)
    need(1 <= count <= 4096 and end + 16 < len(data), place, "a frame of %d chunks does not fit" % count)
    need(blake3(data[:end])[:16] == data[end:end + 16], place, "the check of the frame's header does not hold")
    magic, codec, kind, _, plain, stored, digest, base = struct.unpack_from("<4sBBHII32s32s", data)
    need(magic == b"HFRM" and codec <= DELTA and kind <= RECORDS, place, "is not a frame, or of an unknown codec or kind")
    chunks = list(struct.iter_unpack("<32sI", data[80:80 + 36 * count]))
    need(all(digest != ZERO and 1 <= length <= MAX_CHUNK for digest, length in chunks), place, "a chunk without an id, or of a length that none has")
    need(plain == sum(length for _, length in chunks) <= MAX_PLAIN, place, "the chunks' lengths do not add up")
    need(1 <= stored <= MAX_PLAIN and (codec != RAW or stored == plain), place, "a frame of %d stored bytes" % stored)
    need((codec == DELTA) == (base != ZERO) and (codec != DELTA or kind != RECORDS), place, "a base where none belongs, or none")
    where = struct.unpack_from("<III", data, end - 12) if codec == DELTA else None
    return Head(codec, kind, plain, stored, digest, base, where, chunks, end + 16)

def decompress(stored, size, window, prefix, place):
    """One zstd frame that has exactly `size` bytes of content, in one pass."""
    try:
        about = zstandard.get_frame_parameters(stored)
        need(about.dict_id == 0 and about.window_size <= window, place, "a zstd frame with a dictionary or a window above %d" % window)
        need(about.content_size in (size, zstandard.CONTENTSIZE_UNKNOWN), place, "a zstd frame of another length")
        known = zstandard.ZstdCompressionDict(prefix, dict_type=zstandard.DICT_TYPE_RAWCONTENT) if prefix else None
        tool = zstandard.ZstdDecompressor(dict_data=known, max_window_size=window)
        plain = tool.decompress(stored, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise Fault(place, "zstd: %s" % error) from None
    need(len(plain) == size, place, "a zstd frame of another length")
    return plain

class Store:
    """The frames of the packs that a generation lists."""
    def __init__(self, disk, packs):
        self.disk, self.packs, self.files = disk, packs, {}
        self.cache, self.cached, self.pages = OrderedDict(), 0, {}
        self.led_to = set()                        # frames that a chunk's place led to

    def path(self, pack):
        return self.disk.path("packs", "%06d.pack" % pack)

    def where(self, pack, offset):
        return "%s, frame at %d" % (self.path(pack), offset)

    def read(self, pack, offset, length):
        place = self.where(pack, offset)
        need(pack in self.packs, place, "the pack is not in the pack set")
        need(MIN_FRAME <= length <= MAX_FRAME and 64 <= offset and offset + length <= self.packs[pack][0] - 128, place, "no frame can be there")
        if pack not in self.files:
            self.files[pack] = self.disk.open(self.path(pack))
        data = os.pread(self.files[pack].fileno(), length, offset)
        need(len(data) == length, place, "the pack ends within it")
        return data

    def frame(self, pack, offset, length, base=False):
        """The frame there, checked down to its chunks. `base`: one that a delta leans on, which is no delta itself."""
        key = pack, offset
        if key in self.cache:
            self.cache.move_to_end(key)
            found = self.cache[key]
            need(found.length == length, self.where(pack, offset), "is not %d bytes long" % length)
        else:
            found = self.cache[key] = self.decode(pack, offset, length, base)
            self.cached += len(found.plain)
            while self.cached > CACHE and len(self.cache) > 1:
                self.cached -= len(self.cache.popitem(last=False)[1].plain)
        need(not base or found.codec != DELTA, self.where(pack, offset), "a delta stands on a delta")
        return found

    def decode(self, pack, offset, length, base):
        place, data = self.where(pack, offset), self.read(pack, offset, length)
        head = read_head(data, place)
        need(head.size + head.stored == length, place, "the header gives another length")
        stored = data[head.size:]
        need(blake3(stored) == head.hash, place, "stored bytes: mismatch")
        if head.codec == RAW:
            plain = stored
        elif head.codec == ZSTD:
            plain = decompress(stored, head.plain, 1 << 20, None, place)
        else:
            need(not base, place, "a delta stands on a delta")
            plain = self.undo_delta(head, stored, (pack, offset), place)
        starts, at = {}, 0
        for digest, size in head.chunks:
            need(blake3(plain[at:at + size]) == digest, place, "the chunk at %d: mismatch" % at)
            starts[at] = digest, size
            at += size
        return Frame(pack, offset, length, head.codec, head.kind, head.hash, head.base, starts, plain)

    def undo_delta(self, head, stored, own, place):
        need(head.where[:2] != own, place, "a delta stands on itself")
        base = self.frame(*head.where, base=True)
        need(base.hash == head.base, place, "the base is another frame than the one named")
        need(base.kind == head.kind, place, "the base is of another kind")
        return decompress(stored, head.plain, 1 << 21, base.plain, place)

    def chunk(self, place, digest, length):
        """Section 8, reader's rule: the bytes of a chunk by its place."""
        pack, offset, size, inside = struct.unpack("<4I", place)
        frame = self.frame(pack, offset, size)
        self.led_to.add((pack, offset))
        need(frame.starts.get(inside) == (digest, length), self.where(pack, offset), "no chunk %s of %d bytes at %d" % (digest.hex(), length, inside))
        return frame.plain[inside:inside + length]

    def page(self, place):
        """What stands at a page's place, and its name for messages; its hash is compared by whom it is parsed by."""
        pack, offset, size, inside = struct.unpack("<4I", place)
        frame, where = self.frame(pack, offset, size), "%s, page at %d" % (self.where(pack, offset), inside)
        need(frame.kind == PAGES and inside in frame.starts, where, "no page begins there")
        return frame.plain[inside:inside + frame.starts[inside][1]], where

    # -------------------------------------------------------------- chunk lists (section 7)

    def list_page(self, place, digest, level, size):
        """Entries of a page: (length, hash, place), each known to add up to `size`."""
        key = place, digest, level
        if key not in self.pages:
            data, where = self.page(place)
            need(len(data) >= 8 and data[:4] == b"HLST" and data[5] == 0 and data[4] == level, where, "is not a list's page of level %d" % level)
            count = int.from_bytes(data[6:8], "little")
            need(1 <= count <= 1024 and len(data) == 8 + 56 * count, where, "%d entries do not fit" % count)
            need(blake3(data[:8 + 40 * count]) == digest, where, "the page's hash is not that in its reference")
            entries, before = [], 0
            for i, (end, part) in enumerate(struct.iter_unpack("<Q32s", data[8:8 + 40 * count])):
                spot = data[8 + 40 * count + 16 * i:24 + 40 * count + 16 * i]
                need(end > before, where, "ends do not ascend")
                need(level or part == ZERO or end - before <= MAX_CHUNK, where, "a chunk of %d bytes" % (end - before))
                need(part != ZERO or not level and spot == bytes(16), where, "zeros where a page belongs, or a place of zeros")
                entries.append((end - before, part, spot))
                before = end
            self.pages[key] = before, entries
        total, entries = self.pages[key]
        need(total == size, self.where(*struct.unpack("<II", place[:8])), "a list's page covers %d bytes, not %d" % (total, size))
        return entries

    def chunks(self, content, size, place):
        """(length, ChunkId, place) of a list's chunks and runs of zeros, in order."""
        if content.depth == 0:
            need(size <= MAX_CHUNK and content.hash != ZERO, "list", "one chunk of %d bytes" % size)
            yield size, content.hash, place
            return
        yield from self.below(place, content.hash, content.depth - 1, size)

    def below(self, place, digest, level, size):
        for length, part, spot in self.list_page(place, digest, level, size):
            if level:
                yield from self.below(spot, part, level - 1, length)
            else:
                yield length, part, spot

    def pieces(self, content, size, beside):
        """The bytes of content of tag 1 or 2, piece by piece. `beside`: its inline bytes or its place."""
        if content.tag == 1:
            need(len(beside) == size <= MAX_INLINE, "inline", "not %d bytes" % size)
            yield beside
            return
        for length, digest, place in self.chunks(content, size, beside):
            if digest == ZERO:
                while length:
                    yield bytes(min(length, 1 << 20))
                    length -= min(length, 1 << 20)
            else:
                yield self.chunk(place, digest, length)

    def whole(self, content, size, beside, most, what):
        need(size <= most, what, "of %d bytes" % size)
        return b"".join(self.pieces(content, size, beside))

# ------------------------------------------------------------------ tables of a pack (section 6)

def check_tables(store, number):
    """Every frame of a pack, decoded; its tables, which must say the same. Returns counts by kind and codec."""
    path, size = store.path(number), store.packs[number][0]
    with store.disk.open(path) as file:
        file.seek(size - 128)
        frames, chunks, end = struct.unpack("<III", file.read(128)[44:56])
        file.seek(end)
        tables = [file.read(84 * frames), file.read(44 * chunks)]
        hashes = file.read(size - 128 - file.tell())
    pages = [table[at:at + step] for table, step in zip(tables, (84 * 780, 44 * 1489)) for at in range(0, len(table), step)]
    need(b"".join(map(blake3, pages)) == hashes, path, "a table's page is not what the page list says")
    at, chunk_at, counts = 64, 0, {}
    for i, record in enumerate(FRAME_RECORD.iter_unpack(tables[0])):
        offset, length, plain, stored, codec, kind, count, digest, base = record
        where = "%s, frame record %d" % (path, i)
        need(offset == at and offset + length <= end, where, "frames do not follow each other")
        frame = store.frame(number, offset, length)
        head = read_head(store.read(number, offset, length), where)
        need((head.plain, head.stored, head.codec, head.kind, len(head.chunks), head.hash, head.base) ==
             (plain, stored, codec, kind, count, digest, base), where, "does not agree with the frame's header")
        listed = b"".join(CHUNK_RECORD.pack(part, i, start, size) for start, (part, size) in frame.starts.items())
        need(tables[1][44 * chunk_at:44 * (chunk_at + count)] == listed, where, "chunk records do not agree with the frame's header")
        at, chunk_at = at + length, chunk_at + count
        counts[kind, codec] = counts.get((kind, codec), 0) + 1
    need((at, chunk_at) == (end, chunks), path, "frames or chunks that are in no table")
    return counts

# ------------------------------------------------------------------ directories (section 10)

FILE, FOLDER, LINK, SPECIAL, WHITEOUT, MARKED, OUTSIDE = range(1, 8)
META = struct.Struct("<HIIqIH")
MAX_ATTRIBUTES, MAX_DEPTH = 8192, 256

class Entry:
    """`meta`: permissions, owner, group, seconds, nanoseconds, attributes. `beside`: inline bytes or a list's place."""
    __slots__ = "name meta node size blob_id sha256 group content beside folder target device marks".split()

    def __init__(self, name, meta, node):
        self.name, self.meta, self.node, self.group = name, meta, node, 0
        self.size = self.blob_id = self.sha256 = self.content = self.beside = self.folder = self.target = self.device = self.marks = None

    def copy(self, **changes):
        other = Entry(self.name, self.meta, self.node)
        for field in Entry.__slots__:
            setattr(other, field, changes.get(field, getattr(self, field)))
        return other

    def is_folder(self):
        return self.node in (FOLDER, MARKED)

    def itself(self):
        """What two names of one inode have in common; content by what it is, not where."""
        content = self.content and (self.content.tag, self.content.hash, self.content.depth)
        return self.meta, self.node, self.group, self.size, self.blob_id, content, self.target, self.device

    def __str__(self):
        return self.name.decode("utf-8", "backslashreplace")

def name_field(f, least, most, what):
    data = f.bytes16(least, most, what)
    need(b"\0" not in data, f.place, what + " with NUL")
    return data

def read_meta(f):
    *fields, count = META.unpack(f.take(META.size))
    attributes = []
    for _ in range(count):
        attributes.append((f.bytes16(1, 255, "an attribute's name"), f.bytes16(0, 65535, "an attribute's value")))
    if count:
        names = [name for name, _ in attributes]
        need(names == sorted(set(names)), f.place, "attributes do not ascend")
        need(sum(len(name) + len(value) for name, value in attributes) <= MAX_ATTRIBUTES, f.place, "attributes above %d bytes" % MAX_ATTRIBUTES)
    need(fields[0] <= 0o7777 and fields[4] < 10**9, f.place, "permissions or nanoseconds out of range")
    return (*fields, tuple(attributes))

def read_entry(f, marks):
    """An entry's canonical part; whether it has a place."""
    name = name_field(f, 1, 255, "a name")
    need(b"/" not in name and name not in (b".", b".."), f.place, "a name that is none")
    meta, node = read_meta(f), f.number(1)
    need(FILE <= node <= (OUTSIDE if marks else SPECIAL), f.place, "a node of kind %d" % node)
    entry = Entry(name, meta, node)
    if node == FILE:
        return entry, read_file(f, entry)
    if node == MARKED:
        entry.marks = f.number(1)
        need(1 <= entry.marks <= 3, f.place, "marks %d" % entry.marks)
    if node in (FOLDER, MARKED):
        entry.folder = read_tree(f)
        return entry, True
    if node in (LINK, OUTSIDE):
        entry.target = name_field(f, 1, 4095, "a target")
        need(node == LINK or entry.target[:1] != b"/", f.place, "an outside link with a leading slash")
    elif node == SPECIAL:
        entry.device = struct.unpack("<BII", f.take(9))
        need(1 <= entry.device[0] <= 4, f.place, "a special file of kind %d" % entry.device[0])
    if node in (LINK, SPECIAL):
        entry.group = f.number(8)
    return entry, False

def read_file(f, entry):
    entry.size, entry.blob_id, entry.sha256, entry.group = struct.unpack("<Q32s32sQ", f.take(80))
    tag = f.number(1)
    need(tag in (1, 2) and (tag == 1) == (entry.size <= MAX_INLINE) and entry.size < 2**60, f.place, "a file of %d bytes with content of tag %d" % (entry.size, tag))
    if tag == 1:
        entry.beside = f.bytes16(entry.size, entry.size, "inline bytes")
        entry.content = Content(1, blake3(entry.beside))
        return False
    depth, digest = f.number(1), f.take(32)
    need(depth <= 8 and (depth or digest != ZERO and entry.size <= MAX_CHUNK), f.place, "a list that cannot be that of `%s`" % entry)
    entry.content = Content(2, digest, depth)
    return True

class Folder:
    """A directory: a reference and its place, read when it is asked for; or one that was made here, of entries."""
    def __init__(self, store, tree, place, marks, made=None):
        self.store, self.tree, self.place, self.marks, self.made = store, tree, place, marks, made

    def entries(self):
        """All entries in order; what the reference counts is so."""
        if self.made is not None:
            return self.made
        key = self.tree.data, self.place, self.marks
        if key not in self.store.pages:
            self.store.pages[key] = self.load()
        return self.store.pages[key]

    def load(self):
        if self.tree.entries == 0:
            need(self.place == bytes(16), "directory", "the place of an empty one is not zero")
            return []
        found, where = [], self.store.where(*struct.unpack("<II", self.place[:8]))
        inodes = self.page(self.place, self.tree.hash, self.tree.depth, None, found, self.tree.inodes - 1)
        need((len(found), inodes) == (self.tree.entries, self.tree.inodes - 1), where, "a directory counts %d entries and %d inodes, not %d and %d" % (
            self.tree.entries, self.tree.inodes, len(found), inodes + 1))
        need(sum(entry.is_folder() for entry in found) == self.tree.directories, where, "a directory counts other directories")
        names = [entry.name for entry in found]
        need(all(a < b for a, b in zip(names, names[1:])), where, "names do not ascend")
        return found

    def page(self, place, digest, level, first, found, most):
        """Appends the entries below a page to `found`. Returns how many inodes they stand for."""
        data, where = self.store.page(place)
        f = Fields(data, where)
        need((f.take(4), f.number(1)) == (b"HTRE", level), where, "is not a directory's page of level %d" % level)
        count = f.number(2)
        need(count >= 1, where, "an empty page")
        parts = [read_entry(f, self.marks) if level == 0 else read_child(f) for _ in range(count)]
        need(blake3(data[:f.at]) == digest, where, "the page's hash is not that in its reference")
        parts = [(part, f.take(16) if has_place else None) for part, has_place in parts]
        f.end()
        need(first in (None, parts[0][0].name), where, "the page above names another first entry")
        if level:
            return self.children(parts, level, found, most, where)
        for entry, spot in parts:
            if entry.folder:
                need((spot == bytes(16)) == (entry.folder.entries == 0), where, "a place of an empty directory, or none of another")
                entry.folder = Folder(self.store, entry.folder, spot, self.marks)
            elif spot:
                entry.beside = spot
        found += [entry for entry, _ in parts]
        inodes = sum(entry.folder.tree.inodes if entry.folder else 1 for entry, _ in parts)
        need(inodes <= most, where, "goes beyond what its directory counts")
        return inodes

    def children(self, parts, level, found, most, where):
        total = 0
        for child, spot in parts:
            before = len(found)
            inodes = self.page(spot, child.hash, level - 1, child.name, found, most - total)
            need((len(found) - before, inodes) == (child.entries, child.inodes), where, "a child counts other entries or inodes")
            total += inodes
        return total

Child = namedtuple("Child", "name entries inodes hash")

def read_child(f):
    child = Child(name_field(f, 1, 255, "a name"), f.number(8), f.number(8), f.take(32))
    need(1 <= child.entries <= child.inodes < 2**48, f.place, "a child that counts nothing, or too much")
    return child, True

def walk(folder, position=0, path=(), depth=1):
    """Pre-order: (position, names above, entry) of everything below; `position` is the folder's own."""
    need(depth <= MAX_DEPTH, "directory", "deeper than %d" % MAX_DEPTH)
    position += 1
    for entry in folder.entries():
        yield position, path, entry
        if entry.folder:
            yield from walk(entry.folder, position, path + (entry.name,), depth + 1)
            position += entry.folder.tree.inodes
        else:
            position += 1

def check_file(store, entry):
    """A file's bytes have its BlobId, and its SHA-256 where the tree has one."""
    digest, other = fast_blake3(), hashlib.sha256() if entry.sha256 != ZERO else None
    for piece in store.pieces(entry.content, entry.size, entry.beside):
        digest.update(piece)
        if other:
            other.update(piece)
    need(digest.digest() == entry.blob_id, "file `%s`" % entry, "BlobId: mismatch")
    need(not other or other.digest() == entry.sha256, "file `%s`" % entry, "SHA-256: mismatch")
