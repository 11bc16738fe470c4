#!/usr/bin/env python3
"""An independent reader of a Holdall disk, written from src/format/FORMAT.md alone.

    reader.py DISK

Checks slots, ROOT, pack set, tables, catalogue; reads every blob and file and checks its hashes; prints
one line for each image, blob and file. Exit 1 and a line on stderr at the first thing that is wrong.
Needs the PyPI packages blake3 and zstandard; without them a slow BLAKE3 of its own, and `zstd`.
"""

import hashlib
import os
import struct
import subprocess
import sys
import tempfile

try:
    from blake3 import blake3 as _fast

    def blake3(data):
        return _fast(data).digest()
except ImportError:
    IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
    ORDER = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
    M = 0xFFFFFFFF

    def _compress(cv, block, counter, length, flags):
        v = list(cv) + list(IV[:4]) + [counter & M, counter >> 32, length, flags]
        m = list(struct.unpack("<16I", block.ljust(64, b"\0")))

        def g(a, b, c, d, x, y):
            for first, second, word in ((16, 12, x), (8, 7, y)):
                v[a] = (v[a] + v[b] + word) & M
                t = v[d] ^ v[a]
                v[d] = (t >> first | t << 32 - first) & M
                v[c] = (v[c] + v[d]) & M
                t = v[b] ^ v[c]
                v[b] = (t >> second | t << 32 - second) & M

        for _ in range(7):
            for i, (a, b, c, d) in enumerate(((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
                                              (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))):
                g(a, b, c, d, m[2 * i], m[2 * i + 1])
            m = [m[i] for i in ORDER]
        return [v[i] ^ v[i + 8] for i in range(8)]

    def _node(data, counter, root):
        if len(data) <= 1024:
            cv, blocks = IV, [data[i:i + 64] for i in range(0, len(data), 64)] or [b""]
            for i, block in enumerate(blocks):
                last = i + 1 == len(blocks)
                flags = (i == 0) | last << 1 | (root and last) << 3
                cv = _compress(cv, block, counter, len(block), flags)
            return cv
        left = 1024
        while left * 2 < len(data):
            left *= 2
        both = _node(data[:left], counter, 0) + _node(data[left:], counter + left // 1024, 0)
        return _compress(IV, struct.pack("<16I", *both), 0, 64, 4 | root << 3)

    def blake3(data):
        return struct.pack("<8I", *_node(bytes(data), 0, 1))

try:
    import zstandard

    def unzstd(data, length, base=None):
        prefix = base and zstandard.ZstdCompressionDict(base, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
        return zstandard.ZstdDecompressor(dict_data=prefix).decompress(data, max_output_size=length)
except ImportError:
    def unzstd(data, _length, base=None):
        with tempfile.NamedTemporaryFile() as prefix:
            prefix.write(base or b"")
            prefix.flush()
            options = ["--patch-from=" + prefix.name] if base else []
            return subprocess.run(["zstd", "-dcq"] + options, input=data, stdout=subprocess.PIPE, check=True).stdout

FORMAT = b"v1"
CHUNK_MAX, FRAME_MAX, INLINE_MAX = 262144, 1048576, 2048
ZERO = bytes(32)


class Wrong(Exception):
    """Something on the disk that FORMAT.md does not allow."""


def need(holds, what):
    if not holds:
        raise Wrong(what)


class Bytes:
    """Fields of an object in order (section 1)."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        need(self.at + n <= len(self.data), "cut short")
        self.at += n
        return self.data[self.at - n:self.at]

    def number(self, kind):
        return struct.unpack("<" + kind, self.take(struct.calcsize(kind)))[0]

    u8 = lambda self: self.number("B")
    u16 = lambda self: self.number("H")
    u32 = lambda self: self.number("I")
    u64 = lambda self: self.number("Q")

    def bytes16(self, most):
        n = self.u16()
        need(n <= most, "a field is too long")
        return self.take(n)

    def varint(self):
        number = 0
        for shift in range(0, 63, 7):
            byte = self.u8()
            number |= (byte & 127) << shift
            if byte < 128:
                return number
        raise Wrong("a number of more than 63 bits")

    def end(self):
        need(self.at == len(self.data), "bytes are left over")


def tree_hash(nodes):
    """RFC 6962, over leaf hashes or complete subtrees."""
    if not nodes:
        return hashlib.sha256(b"").digest()
    if len(nodes) == 1:
        return nodes[0]
    left = 1
    while left * 2 < len(nodes):
        left *= 2
    return hashlib.sha256(b"\1" + tree_hash(nodes[:left]) + tree_hash(nodes[left:])).digest()


def leaf_hash(leaf):
    return hashlib.sha256(b"\0" + leaf).digest()


def named(data):
    need(data == FORMAT.ljust(16, b"\0"), "another format: %r" % data.rstrip(b"\0"))


class Disk:
    def __init__(self, path):
        self.path, self.frames = path, {}
        self.medium, self.generation, self.root_hash = self.current()
        self.root = self.read_root(self.generation)

    def file(self, name):
        return os.path.join(self.path, name)

    def whole(self, name, most):
        with open(self.file(name), "rb") as handle:
            need(os.fstat(handle.fileno()).st_size <= most, name + ": too long")
            return handle.read()

    # Section 3
    def slot(self, number):
        data = self.whole("superblock.%d" % number, 4096)
        need(len(data) == 4096, "a slot is cut short")
        if data == bytes(4096):
            return None
        need(blake3(data[:4064]) == data[4064:], "superblock.%d: its check" % number)
        slot = Bytes(data)
        need(slot.take(8) == b"HOLDALL\n", "no slot")
        named(slot.take(16))
        medium, generation, root = slot.take(16), slot.u32(), slot.take(32)
        need(not any(data[76:4064]), "bytes after a slot's last field")
        need(blake3(self.whole("generations/%06d/ROOT" % generation, 4096)) == root, "ROOT is not the slot's")
        return medium, generation, root

    def current(self):
        slots = [slot for slot in map(self.slot, (0, 1)) if slot]
        need(slots, "both slots are blank")
        return max(slots, key=lambda slot: slot[1])

    # Section 4
    def read_root(self, generation):
        data = self.whole("generations/%06d/ROOT" % generation, 4096)
        need(data.endswith(b"\n") and b"\r" not in data, "ROOT has no last line end")
        lines = [line.split(" ") for line in data.decode().split("\n")[:-1]]
        keys = ("holdall incompatible read-only-compatible compatible medium origin series epoch serial generation state previous time expires catalogue packs "
                "custody chunking limits").split()
        need([line[0] for line in lines] == keys, "ROOT's lines")
        root = {line[0]: line[1:] for line in lines}
        need(root["holdall"] == [FORMAT.decode()], "ROOT is of another format")
        need(root["incompatible"] == ["-"], "a feature that is not known")
        need(root["medium"] == [self.medium.hex()], "ROOT is of another medium")
        need(root["generation"] == [str(generation)], "ROOT is of another generation")
        need(root["limits"] == ["1048576", "65536", "1073741824", "2048"], "other limits")
        return root

    # Section 6
    def check_packs(self):
        count, tree = self.root["packs"]
        data = self.whole("generations/%06d/packs" % self.generation, 40 << 20)
        need(len(data) == 40 * int(count), "the pack set's length")
        records = [data[i:i + 40] for i in range(0, len(data), 40)]
        need(tree_hash([leaf_hash(r) for r in records]).hex() == tree, "the pack set's root")
        before = 0
        for record in records:
            record = Bytes(record)
            number, length, leaf = record.u32(), record.u32(), record.take(32)
            need(number > before, "packs out of order")
            before = number
            yield number, self.check_pack(number, length, leaf)

    def check_pack(self, number, length, leaf):
        data = self.whole("packs/%06d.pack" % number, 1 << 30)
        need(len(data) == length, "a pack's length")
        head = Bytes(data[:64])
        need(head.take(8) == b"HLDPACK\n", "no pack")
        named(head.take(16))
        need((head.take(16), head.u32(), head.u32()) == (self.medium, number, 0), "another pack")
        need(head.take(16) == blake3(data[:48])[:16], "a pack header's check")
        foot = Bytes(data[-128:])
        need(foot.take(8) == b"HLDPFOOT", "no footer")
        named(foot.take(16))
        need((foot.take(16), foot.u32()) == (self.medium, number), "another footer")
        frames, chunks, tables, pages = foot.u32(), foot.u32(), foot.u32(), foot.take(32)
        need(foot.take(8) == bytes(8) and foot.take(32) == leaf == blake3(data[-128:-32]), "a pack's leaf")
        cuts, at = [], tables
        for records, size, full in ((frames, 84, 780), (chunks, 44, 1489)):
            for first in range(0, records, full):
                n = min(full, records - first) * size
                cuts.append(data[at:at + n])
                at += n
        hashes = b"".join(map(blake3, cuts))
        need(data[at:-128] == hashes and blake3(hashes) == pages, "a pack's page list")
        table = Bytes(data[tables:tables + 84 * frames])
        listed = Bytes(data[tables + 84 * frames:at])
        end, deltas = 64, 0
        for number in range(frames):
            need(table.u32() == end, "a gap between frames")
            length = table.u32()
            header, stored = self.header(data[end:end + length])
            fields = (header["plain"], len(stored), header["codec"], header["kind"], len(header["chunks"]),
                      header["hash"], header["base"])
            found = (table.u32(), table.u32(), table.u8(), table.u8(), table.u16(), table.take(32), table.take(32))
            need(found == fields, "a frame record and its header differ")
            deltas += header["codec"] == 2
            start = 0
            for ident, size in header["chunks"]:
                need((listed.take(32), listed.u32(), listed.u32(), listed.u32()) == (ident, number, start, size),
                     "a chunk record")
                start += size
            end += length
        listed.end()
        need(end == tables, "frames do not end where the tables begin")
        return frames, deltas

    # Section 5
    def header(self, data):
        head = Bytes(data)
        need(head.take(4) == b"HFRM", "no frame")
        codec, kind, count = head.u8(), head.u8(), head.u16()
        need(0 < count <= 4096, "chunks of a frame")
        plain, stored, stored_hash, base = head.u32(), head.u32(), head.take(32), head.take(32)
        chunks = [(head.take(32), head.u32()) for _ in range(count)]
        base_at = tuple(head.u32() for _ in range(3)) if codec == 2 else None
        need(head.take(16) == blake3(data[:head.at - 16])[:16], "a frame header's check")
        need(codec in (0, 1, 2) and kind in (0, 1, 2), "a frame's codec or kind")
        need((base != ZERO) == (codec == 2) and (codec < 2 or kind < 2), "a base, or none")
        need(all(0 < n <= CHUNK_MAX for _, n in chunks), "a chunk's length")
        need(plain == sum(n for _, n in chunks) <= FRAME_MAX and 0 < stored <= FRAME_MAX, "a frame's lengths")
        need(codec or plain == stored, "a raw frame's lengths")
        rest = data[head.at:]
        need(len(rest) == stored and blake3(rest) == stored_hash, "stored bytes")
        return {"codec": codec, "kind": kind, "plain": plain, "hash": stored_hash, "base": base, "base at": base_at,
                "chunks": chunks}, rest

    def plaintext(self, pack, offset, length, is_base=False):
        """A frame's header and plaintext, its stored bytes and its base checked."""
        need(length <= FRAME_MAX + 108 + 36 * 4096, "a place's length")
        with open(self.file("packs/%06d.pack" % pack), "rb") as handle:
            handle.seek(offset)
            header, stored = self.header(handle.read(length))
        base = None
        if header["codec"] == 2:
            need(not is_base, "a base that is a delta")
            under, base = self.plaintext(*header["base at"], is_base=True)
            need(under["hash"] == header["base"] and under["kind"] == header["kind"], "a delta's base")
        plain = unzstd(stored, header["plain"], base) if header["codec"] else stored
        need(len(plain) == header["plain"], "plaintext's length")
        at = 0
        for ident, size in header["chunks"]:
            need(blake3(plain[at:at + size]) == ident, "a chunk")
            at += size
        return header, plain

    # Section 8
    def chunk(self, place, kind):
        pack, offset, length, start = place
        if (pack, offset, length) not in self.frames:
            header, plain = self.plaintext(pack, offset, length)
            at, chunks = 0, {}
            for _, size in header["chunks"]:
                chunks[at] = plain[at:at + size]
                at += size
            if len(self.frames) > 64:
                self.frames.clear()
            self.frames[pack, offset, length] = header["kind"], chunks
        found, chunks = self.frames[pack, offset, length]
        need(found == kind and start in chunks, "a place leads nowhere")
        return chunks[start]

    # Section 7
    def read_list(self, depth, digest, place, size):
        if depth == 0:
            chunk = self.chunk(place, 0)
            need(blake3(chunk) == digest and len(chunk) == size, "a blob of one chunk")
            yield chunk
            return
        page = self.chunk(place, 1)
        head = Bytes(page)
        need(head.take(4) == b"HLST" and (head.u8(), head.u8()) == (depth - 1, 0), "a list page's head")
        count = head.u16()
        need(0 < count <= 1024 and len(page) == 8 + 56 * count, "a list page's entries")
        need(blake3(page[:8 + 40 * count]) == digest, "a list page's hash")
        entries = [(head.u64(), head.take(32)) for _ in range(count)]
        need(entries[-1][0] == size, "what a list page covers")
        start = 0
        for end, entry in entries:
            at = tuple(head.u32() for _ in range(4))
            need(end > start, "ends do not ascend")
            if depth == 1 and entry == ZERO:
                need(at == (0, 0, 0, 0), "a place of zeros")
                for first in range(start, end, 1 << 20):
                    yield bytes(min(end - first, 1 << 20))
            else:
                yield from self.read_list(depth - 1, entry, at, end - start)
            start = end

    def content(self, data, leaf=False):
        tag = data.u8()
        if tag == 0:
            return ["nothing"]
        if tag == 1:
            # In a leaf the hash; the bytes come with the places.
            return ["inline", data.take(32) if leaf else data.bytes16(INLINE_MAX)]
        if tag == 2:
            return ["list", data.u8(), data.take(32)]
        if tag == 3:
            size, recipe = data.u64(), self.content(data, leaf)
            need(recipe[0] in ("inline", "list"), "a recipe's content")
            return ["recipe", size, recipe, ["tree", data.u8(), data.take(32), data.u64(), data.u64(), data.u64()]]
        if tag == 5:
            return ["tree", data.u8(), data.take(32), data.u64(), data.u64(), data.u64()]
        raise Wrong("content of tag %d is not read here" % tag)

    def place_of(self, content, data, leaf=False):
        if content[0] == "inline" and leaf:
            inline = data.bytes16(INLINE_MAX)
            need(blake3(inline) == content[1], "inline bytes")
            content[1] = inline
        if content[0] in ("list", "tree"):
            content.append(tuple(data.u32() for _ in range(4)))
        if content[0] == "recipe":
            self.place_of(content[2], data, leaf)
            self.place_of(content[3], data)

    def read(self, content, size):
        if content[0] == "inline":
            need(len(content[1]) == size <= INLINE_MAX, "inline bytes")
            return iter([content[1]])
        need(content[0] == "list" and INLINE_MAX < size < 1 << 60, "a blob of " + content[0])
        return self.read_list(content[1], content[2], content[3], size)

    def check(self, content, size, sha256, blob_id):
        data = b"".join(self.read(content, size))
        need(len(data) == size, "a blob's length")
        need(sha256 is None or hashlib.sha256(data).digest() == sha256, "a blob's SHA-256")
        need(blake3(data) == blob_id, "a blob's BlobId")

    # Section 11: the tar that a recipe puts together; what its encoders' models write is not for this reader
    def tar(self, content, size):
        recipe = b"".join(self.read(content[2], content[1]))
        foot = Bytes(recipe[-64:])
        need(len(recipe) == content[1] and foot.take(4) == b"HRCP" and foot.number("I") == 1, "a recipe's footer")
        names, parts, stretches, outboard, layer, plain, files = (foot.u64() for _ in range(7))
        groups = -(-size // 262144)
        need(layer == size and outboard == (32 * groups if groups > 1 else 0), "a recipe's layer")
        need(stretches == -(-plain // 1048576), "a recipe's stretches")
        tables = Bytes(recipe[len(recipe) - 64 - names - 32 * parts - 40 * stretches - outboard:-64])
        for name in tables.take(names).decode().split("\n") if names else []:
            families = ("go", "gzip", "pigz", "pigz-i", "zlib", "go1.27")
            family, _, rest = name.partition(":")
            known = family in families or family.startswith(("klauspost1.", "pgzip1."))
            need(name == "literal" or known and rest, "an encoder")
        last = (0, 0)
        for _ in range(parts):
            ends = (tables.u64(), tables.u64())
            at, length, encoder = tables.u64(), tables.number("I"), tables.u16()
            tables.take(2)
            need(last[0] <= ends[0] and last[1] <= ends[1] and at + length <= len(recipe), "a recipe's part")
            need(encoder or length == ends[0] - last[0], "a kept part")
            last = ends
        need(last == (layer, plain), "a recipe's parts")
        found = {}
        position = 2 if any(n == "/links" for n, _ in self.directory(content[3], "", layer=True, tree_of_layers=True)) else 1
        for inode, fields in self.numbered(content[3], 0):
            found[inode - position] = fields
        whole, number, going = hashlib.sha256(), 0, iter(())
        for index in range(stretches):
            at, map_at, before, _ = (tables.u64() for _ in range(4))
            stretch, numbers = Bytes(recipe[at:][:tables.number("I")]), Bytes(recipe[map_at:][:tables.number("I")])
            need(before == number, "files before a stretch")
            columns = [Bytes(stretch.take(n)) for n in [stretch.varint() for _ in range(5)]]
            stretch.end()
            steps, heads, fields, rests, own = columns
            out, inode, header = b"", 0, None
            want = min(1048576, plain - 1048576 * index)
            while steps.at < len(steps.data):
                step = steps.varint()
                kind, n = step & 7, step >> 3
                if header is not None:
                    need(kind == 1, "a header without its file")
                    out, header = out + sealed(header % (b"%011o\0" % n)), None
                if kind == 0:
                    out += own.take(n)
                elif kind == 1:
                    step = numbers.varint()
                    inode, number = inode + (step >> 1 ^ -(step & 1)), number + 1
                    going = b"".join(self.read(found[inode][3], found[inode][0]))
                    need(len(going) == n, "a file's length")
                    out, going = out + going[:want - len(out)], going[max(want - len(out), 0):]
                elif kind == 2:
                    out, going = out + going[:n], going[n:]
                elif kind == 3:
                    name, front = heads.take(100), fields.take(24)
                    length = b"" if n & 1 else fields.take(12)
                    middle = fields.take(12)
                    if n & 1:
                        header = Sized(name + front, middle, rests.take(356))
                    else:
                        out += sealed(name + front + length + middle + bytes(8) + rests.take(356))
                else:
                    need(kind == 4, "a step")
                    out += bytes(n)
            for column in columns + [numbers]:
                column.end()
            need(len(out) == want and header is None, "a stretch's length")
            whole.update(out)
        need(number == files, "a recipe's files")
        return whole.digest()

    def numbered(self, tree, position):
        at = position + 1
        if tree[3]:
            for _, node, fields in self.tree_page(tree[1], tree[2], tree[6]):
                if node in (2, 6):
                    yield from self.numbered(fields, at)
                    at += fields[4]
                else:
                    if node == 1:
                        yield at, fields
                    at += 1

    # Section 14, of this generation: its own record, and those behind it
    def check_custody(self):
        head, before, number = self.root["custody"], None, 0
        for name in ["custody"] + ["custody.%03d" % n for n in range(1, 1000)]:
            path = "generations/%06d/%s" % (self.generation, name)
            if number and not os.path.exists(os.path.join(self.path, path)):
                break
            data = self.whole(path, 2048)
            lines = [line.split(" ", 1) for line in data.decode().split("\n")[:-1]]
            need([line[0] for line in lines] == "holdall-custody number previous event time who host medium generation serial root note".split(), "a record's lines")
            record = dict(lines)
            if number == 0:
                need(head == [blake3(data).hex()], "the custody head")
            else:
                need(record["previous"] == before and int(record["number"]) == number + 1, "custody's chain")
            before, number = blake3(data).hex(), int(record["number"])

    # Section 9
    def leaves(self):
        count, length, tree = int(self.root["catalogue"][0]), int(self.root["catalogue"][1]), self.root["catalogue"][2]
        data = self.whole("generations/%06d/catalogue" % self.generation, length)
        need(len(data) == length and length >= 64, "the catalogue's length")
        foot = Bytes(data[-64:])
        need(foot.take(8) == b"HLDCATAL" and blake3(data[-64:-32]) == data[-32:], "the catalogue's footer")
        level, top, size = foot.u8(), foot.u64(), foot.u32()
        need(foot.take(11) == bytes(11), "the footer's padding")
        if count == 0:
            need((level, top, size) == (0, 0, 0) and tree_hash([]).hex() == tree, "an empty catalogue")
            return
        found, last = 0, b""
        for leaf in self.page(data, top, size, level, bytes.fromhex(tree)):
            need(leaf["key"] > last, "leaves out of order")
            last, found = leaf["key"], found + 1
            yield leaf
        need(found == count, "the number of leaves")

    def page(self, data, at, size, level, digest):
        need(32 < size <= 1 << 20 and at + size <= len(data) - 64, "a catalogue page's place")
        page = data[at:at + size]
        need(blake3(page[:-32]) == page[-32:], "a catalogue page's check")
        body = Bytes(page[:-32])
        need(body.take(4) == b"HCPG" and body.u8() == level, "a catalogue page's head")
        count = body.u16()
        need(0 < count <= 256, "a catalogue page's entries")
        if level:
            children = [(body.take(32), body.u64(), body.u32(), body.bytes16(1026)) for _ in range(count)]
            body.end()
            need(tree_hash([c[0] for c in children]) == digest, "a subtree")
            for child, offset, length, first in children:
                keys = self.page(data, offset, length, level - 1, child)
                for n, leaf in enumerate(keys):
                    need(n or leaf["key"] == first, "a first key")
                    yield leaf
            return
        leaves, hashes = [], []
        for _ in range(count):
            leaf, start = {}, body.at
            leaf["kind"] = body.u8()
            need(1 <= leaf["kind"] <= 10, "a leaf's kind")
            leaf["name"], leaf["type"] = body.bytes16(1024).decode(), body.bytes16(255).decode()
            leaf["sha256"], leaf["blob_id"], leaf["size"] = body.take(32), body.take(32), body.u64()
            leaf["content"] = self.content(body, True)
            leaf["canonical"] = page[start:body.at]
            hashes.append(leaf_hash(leaf["canonical"]))
            self.place_of(leaf["content"], body, True)
            leaf["key"] = self.sort_key(leaf["kind"], leaf["name"])
            leaves.append(leaf)
        body.end()
        need(tree_hash(hashes) == digest, "a page of leaves")
        yield from leaves

    @staticmethod
    def sort_key(kind, name):
        if kind == 1:
            cut = name.index("@") if "@" in name else name.rindex(":")
            name = name[:cut] + "\0" + name[cut:]
        if kind == 9:
            name = name.replace("/", "\0")
        return bytes([kind]) + name.encode()

    # Section 10
    def directory(self, tree, path, depth=0, layer=False, position=0, links=None, tree_of_layers=False):
        need(depth <= 256, "directories nest too deep")
        _, levels, digest, entries, inodes, subdirectories, place = tree
        found, sum_of, folders, last = 0, 1, 0, b""
        links = {} if links is None else links
        if entries:
            for name, node, fields in self.tree_page(levels, digest, place):
                need(name > last, "names out of order")
                need(layer or node < 5, "a mark outside a layer's tree")
                at = position + sum_of
                last, found, sum_of = name, found + 1, sum_of + (fields[4] if node in (2, 6) else 1)
                below = path + "/" + os.fsdecode(name)
                if node in (2, 6):
                    folders += 1
                    yield below + "/", None
                    yield from self.directory(fields, below, depth + 1, layer, at, links, tree_of_layers)
                else:
                    if node == 1:
                        self.check(fields[3], fields[0], None if tree_of_layers and fields[2] == bytes(32) else fields[2], fields[1])
                    if node in (1, 3, 4) and fields[-1]:
                        links.setdefault(fields[-1], []).append(at)
                    yield below, fields
        need((found, sum_of, folders) == (entries, inodes, subdirectories), "a directory's counts")

    def tree_page(self, level, digest, place):
        data = self.chunk(place, 1)
        page = Bytes(data)
        need(page.take(4) == b"HTRE" and page.u8() == level, "a directory page's head")
        count = page.u16()
        need(count > 0, "an empty page")
        if level:
            children = [(page.bytes16(255), page.u64(), page.u64(), page.take(32)) for _ in range(count)]
            need(blake3(data[:page.at]) == digest, "a directory page's hash")
            places = [tuple(page.u32() for _ in range(4)) for _ in children]
            page.end()
            for (first, entries, inodes, child), at in zip(children, places):
                found, sum_of = 0, 0
                for entry in self.tree_page(level - 1, child, at):
                    need(found or entry[0] == first, "a child's first name")
                    found, sum_of = found + 1, sum_of + (entry[2][4] if entry[1] in (2, 6) else 1)
                    yield entry
                need((found, sum_of) == (entries, inodes), "a child's counts")
            return
        out = []
        for _ in range(count):
            name = page.bytes16(255)
            need(name not in (b"", b".", b"..") and b"/" not in name and b"\0" not in name, "a name")
            mode, _uid, _gid, _sec, nsec = page.u16(), page.u32(), page.u32(), page.number("q"), page.u32()
            need(mode <= 0o7777 and nsec < 10**9, "a mode or time")
            for _ in range(page.u16()):
                page.bytes16(255)
                page.bytes16(8192)
            node = page.u8()
            if node == 1:
                size, blob_id, sha256, link = page.u64(), page.take(32), page.take(32), page.u64()
                fields = (size, blob_id, sha256, self.content(page), link)
            elif node in (2, 6):
                need(node == 2 or page.u8() in (1, 2, 3), "a directory's marks")
                fields = ["tree", page.u8(), page.take(32), page.u64(), page.u64(), page.u64()]
            elif node == 3:
                fields = ("-> " + os.fsdecode(page.bytes16(4095)), page.u64())
            elif node == 5:
                fields = ("whiteout",)
            elif node == 7:
                fields = ("=> " + os.fsdecode(page.bytes16(4095)),)
            else:
                need(node == 4, "a node's kind")
                fields = (page.u8(), page.u32(), page.u32(), page.u64())
            out.append((name, node, fields))
        need(blake3(data[:page.at]) == digest, "a directory page's hash")
        for _, node, fields in out:
            if node in (1, 2, 6):
                self.place_of(fields[3] if node == 1 else fields, page)
        page.end()
        yield from out


class Sized:
    """A tar's header whose size is still to come."""

    def __init__(self, front, middle, rest):
        self.parts = front, middle, rest

    def __mod__(self, size):
        front, middle, rest = self.parts
        return front + size + middle + bytes(8) + rest


def sealed(header):
    return header[:148] + b"%06o\0 " % (sum(header) + 256) + header[156:]


def rooted(disk, leaf):
    """Section 10.1: the tree of a layer or chain."""
    names, links, table = [], {}, None
    for name, fields in disk.directory(leaf["content"], "", layer=leaf["kind"] == 6, links=links, tree_of_layers=True):
        names.append(name)
        if name == "/links":
            table = Bytes(b"".join(disk.read(fields[3], fields[0])))
        if name.startswith("/rootfs/") and name != "/rootfs/":
            if fields is None or isinstance(fields[0], str):
                print("node", name, *(fields or ())[:1])
            elif len(fields) == 5:
                print("node", name, fields[0], fields[1].hex(), fields[4])
            else:
                print("node", name, *fields)
    need([n for n in names if n.strip("/").count("/") == 0] in (["/rootfs/"], ["/links", "/rootfs/"]), "a tree's top")
    need((table is None) == (not links), "a table of hard links without links")
    if table is not None:
        ends = [table.u64() for _ in range(table.u64())]
        begin = 0
        for group, end in enumerate(ends, 1):
            positions = [table.u64() for _ in range(end - begin)]
            need(positions == sorted(links.pop(group, [])), "a group of hard links")
            begin = end
        table.end()
        need(not links, "a hard link of no group")


def main(path):
    disk = Disk(path)
    print("medium", disk.medium.hex(), "generation", disk.generation, "root", disk.root_hash.hex())
    for number, (frames, deltas) in disk.check_packs():
        print("pack", number, "frames", frames, "deltas", deltas)
    tars, files, listed, chains = {}, {}, {}, set()
    for leaf in disk.leaves():
        digest = "sha256:" + leaf["sha256"].hex()
        if leaf["kind"] == 1:
            print("image", leaf["name"], digest)
        elif leaf["kind"] == 2:
            need(leaf["name"] == digest, "a blob's name")
        if leaf["kind"] == 2 and leaf["content"][0] == "recipe":
            tars[leaf["name"]] = disk.tar(leaf["content"], leaf["size"])
        elif leaf["kind"] in (1, 2, 3):
            disk.check(leaf["content"], leaf["size"], leaf["sha256"], leaf["blob_id"])
        if leaf["kind"] == 2:
            print("blob", digest, leaf["size"])
        if leaf["kind"] == 4:
            need(leaf["content"] == ["nothing"], "an absent blob with content")
            print("absent", leaf["name"])
        if leaf["kind"] == 5:
            tree = leaf["canonical"][-57:]
            need((hashlib.sha256(tree).digest(), blake3(tree), 57) == (leaf["sha256"], leaf["blob_id"], leaf["size"]),
                 "the tree's own hashes")
            for name, fields in disk.directory(leaf["content"], ""):
                if fields is None or isinstance(fields[0], str):
                    print("entry", name, *(fields or ())[:1])
                elif len(fields) == 5:
                    print("file", name, fields[0], "sha256:" + fields[2].hex())
                    files[name] = (fields[0], fields[2], fields[1])
        if leaf["kind"] == 6:
            diff_id, blob = leaf["name"].split("/")
            need(blob not in tars or "sha256:" + tars[blob].hex() == diff_id, "the tar of a recipe")
        if leaf["kind"] in (6, 7):
            print("layer" if leaf["kind"] == 6 else "chain", leaf["name"])
            rooted(disk, leaf)
            chains.add(leaf["name"] if leaf["kind"] == 7 else None)
        if leaf["kind"] == 8:
            need(leaf["content"] == ["nothing"] and leaf["size"] == 0, "a root file system with content")
            print("rootfs", leaf["name"], digest)
        if leaf["kind"] == 9:
            need(leaf["content"] == ["nothing"], "a loose file's leaf with content")
            listed[leaf["name"]] = (leaf["size"], leaf["sha256"], leaf["blob_id"])
        if leaf["kind"] == 10:
            need(leaf["content"][0] == "list" and leaf["size"] <= 256 << 20, "a hot list's content")
            need(leaf["name"] in chains, "a hot list of no chain")
            disk.check(leaf["content"], leaf["size"], leaf["sha256"], leaf["blob_id"])
            print("hot", leaf["name"], leaf["size"])
    # Names in this reader are bytes where they are not UTF-8; those have no leaf.
    sealed = disk.root["state"] == ["sealed"]
    nameable = {name.lstrip("/"): f for name, f in files.items() if isinstance(name, str) and len(name.lstrip("/").encode()) <= 1024}
    need(listed == (nameable if sealed else {}), "the leaves of loose files")
    disk.check_custody()
    print("whole")


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except (Wrong, OSError, ValueError, IndexError) as err:
        print("reader.py: %s" % err, file=sys.stderr)
        sys.exit(1)
