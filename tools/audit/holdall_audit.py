#!/usr/bin/env python3
"""Independent verifier of Holdall disks and proofs.

Written from FORMAT.md (v1) alone; each function names the section that it follows.

`proof`, `disk` and `ls` are this one file: they need Python 3.9 or later, its standard
library, and OpenSSH's `ssh-keygen` for signatures. `full` and `erofs` need the files
audit_*.py beside it and the packages `blake3` and `zstandard` too.

What `proof`, `disk` and `ls` do NOT check, and `full` does:
  * frames are not decoded: no stored byte, chunk, chunk list or directory page is read, so
    neither what a list holds nor a tree's files are compared with their leaves. `disk`
    shows what the disk commits to, not that every blob on it can be read;
  * of packs: header, length, footer, page list; not the tables that the page list hashes;
  * places lie within the frames of a listed pack: what is found there is not looked at;
What `full` does NOT check:
  * a gzipped layer that is kept as a recipe is not made again: that takes the models of
    FORMAT.md 11.3, which are programs. Its tar is, and has the SHA-256 that the layer's
    leaf says; the recipe's own rules and its outboard are checked;
  * that a layer's tree is what its tar says (names, owners, times): the tar that the
    tree's files make is the layer's own, but its headers are not read;
  * that frames which nothing leads to are needed by anybody; frames of records are decoded, not read;
What none of them checks:
  * a signature that does not hold is named, and does not count: it is no fault of the disk's;
  * nothing tells whether signatures, or the newest `custody.NNN` records, were taken away;
    nothing covers a signer's label (`signature alice`, `ROOT.alice.sig`): who signed is
    said by the key; nothing covers the last custody record of the current generation;
  * whether `expires` has passed is printed, not judged. ssh-keygen judges the validity
    periods in allowed_signers as of now, not as of ROOT's time;
  * HOLDALL.txt, which nothing depends on.

SHA-256 decides what a leaf, the catalogue, the pack set and a proof are; BLAKE3 (the package
`blake3` where it is installed; else below, in Python, hence slow) decides which ROOT a slot
names, custody, checks of pages, inline bytes.
Exit codes: 0 holds; 1 medium or arguments cannot be read; 3 malformed, damaged or of a
format that is not read here; 6 a proof does not hold, or too few signatures do.
"""
import argparse, base64, errno, hashlib, importlib, os, re, stat, struct, subprocess, sys, tempfile, time
from collections import namedtuple

try:
    from blake3 import blake3 as fast_blake3
except ImportError:
    fast_blake3 = None

FORMAT, NAMESPACE = "v1", "holdall-root@v1"
# Section 4: features of kind incompatible that this program knows.
KNOWN_FEATURES = ()
ZERO, PER_PAGE = bytes(32), 256
# Section 1, limits
MAX_ROOT, MAX_SIG, MAX_SIGS, MAX_RECORD, MAX_PROOF = 4096, 16384, 64, 2048, 2097152
MAX_PAGE, MAX_PACK, MAX_PACKS, MAX_INLINE, MAX_CHUNK = 1048576, 1073741824, 1048576, 2048, 262144
MAX_HOT = 268435456
MIN_FRAME, MAX_FRAME = 96 + 36 + 1, 96 + 36 * 4096 + 12 + 1048576
KINDS = {1: "image", 2: "blob", 3: "referrer", 4: "absent", 5: "files", 6: "layer", 7: "chain",
         8: "root file system", 9: "file", 10: "hot list"}

class Fault(Exception):
    """What is wrong, and where. `code` is the exit code; `lines` are printed first, and `problems` are damage besides."""
    code, lines, problems = 3, (), ()
    def __init__(self, place, rule):
        super().__init__("%s: %s" % (printable(place), printable(rule)))

class Unreadable(Fault):
    code = 1

class DoesNotHold(Fault):
    code = 6

class TooFew(DoesNotHold):
    """Too few signatures count; the lines say why."""

class Unsupported(Fault):
    """Another format, or a feature that is not known here: told apart from damage (section 3, rule 1)."""

def need(condition, place, rule):
    if not condition:
        raise Fault(place, rule)

def printable(text):
    # Names come from the medium: no terminal escapes, no invisible characters.
    return "".join(c if c.isprintable() else "\\u{%x}" % ord(c) for c in str(text))

# ------------------------------------------------------------------ hashes (section 1)

IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
PERMUTE = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
MIX = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
       (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))
START, END, PARENT, TOP, MASK = 1, 2, 4, 8, 0xFFFFFFFF

def compress(value, block, counter, flags):
    """BLAKE3's compression: 7 rounds of 8 mixings of 16 words; the first half of its output."""
    words = struct.unpack("<16I", block.ljust(64, b"\0"))
    v = [*value, *IV[:4], counter & MASK, counter >> 32, len(block), flags]
    for _ in range(7):
        for i, (a, b, c, d) in enumerate(MIX):
            va = v[a] + v[b] + words[2 * i] & MASK
            vd = v[d] ^ va
            vd = (vd >> 16 | vd << 16) & MASK
            vc = v[c] + vd & MASK
            vb = v[b] ^ vc
            vb = (vb >> 12 | vb << 20) & MASK
            v[a] = va = va + vb + words[2 * i + 1] & MASK
            vd ^= va
            v[d] = vd = (vd >> 8 | vd << 24) & MASK
            v[c] = vc = vc + vd & MASK
            vb ^= vc
            v[b] = (vb >> 7 | vb << 25) & MASK
        words = [words[i] for i in PERMUTE]
    return tuple(v[i] ^ v[i + 8] for i in range(8))

def subtree(data, first, top):
    """Chaining value of chunks of 1,024 bytes (the last may be shorter), from chunk number `first`."""
    if len(data) > 1024:
        left = split(-(-len(data) // 1024))
        pair = subtree(data[:1024 * left], first, 0) + subtree(data[1024 * left:], first + left, 0)
        return compress(IV, struct.pack("<16I", *pair), 0, PARENT | top)
    value, last = IV, max(0, len(data) - 1) // 64
    for i in range(last + 1):
        flags = (START if i == 0 else 0) | (END | top if i == last else 0)
        value = compress(value, data[64 * i:64 * i + 64], first, flags)
    return value

def blake3(data):
    return fast_blake3(data).digest() if fast_blake3 else struct.pack("<8I", *subtree(data, 0, TOP))

def sha256(data):
    return hashlib.sha256(data).digest()

def leaf_hash(leaf):
    return sha256(b"\0" + leaf)

def split(count):
    """The largest power of two below count: where RFC 6962 and BLAKE3 divide a tree."""
    return 1 << (count - 1).bit_length() - 1

def tree_hash(hashes):
    """RFC 6962, 2.1, over hashes of leaves (or of complete subtrees of equal size)."""
    if len(hashes) < 2:
        return hashes[0] if hashes else sha256(b"")
    k = split(len(hashes))
    return sha256(b"\1" + tree_hash(hashes[:k]) + tree_hash(hashes[k:]))

def path_length(index, count):
    """RFC 6962, 2.1.1: how many hashes the audit path of a leaf has."""
    if count == 1:
        return 0
    k = split(count)
    return 1 + (path_length(index, k) if index < k else path_length(index - k, count - k))

def path_root(leaf, index, count, path):
    """RFC 6962, 2.1.1 read backwards: the path's last hash is the sibling just below the top."""
    if count == 1:
        return leaf
    k = split(count)
    if index < k:
        return sha256(b"\1" + path_root(leaf, index, k, path[:-1]) + path[-1])
    return sha256(b"\1" + path[-1] + path_root(leaf, index - k, count - k, path[:-1]))

# ------------------------------------------------------------------ fields and texts (section 1)

class Fields:
    """Reads fields of a byte string in order; one that would go beyond the end is a fault."""
    def __init__(self, data, place):
        self.data, self.place, self.at = data, place, 0

    def take(self, count):
        need(count <= len(self.data) - self.at, self.place, "ends within a field at byte %d" % self.at)
        self.at += count
        return self.data[self.at - count:self.at]

    def number(self, width):
        return int.from_bytes(self.take(width), "little")

    def bytes16(self, least, most, what):
        count = self.number(2)
        need(least <= count <= most, self.place, "%s of %d bytes, not %d to %d" % (what, count, least, most))
        return self.take(count)

    def end(self):
        need(self.at == len(self.data), self.place, "%d bytes left over" % (len(self.data) - self.at))

def utf8(data, place):
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise Fault(place, "not UTF-8") from None
    need("\0" not in text, place, "text with NUL")
    return text

def decimal(text, least, most, place):
    """Sections 4, 15: one form: no plus, no leading zeros, no `-0`."""
    need(len(text) <= 20 and re.fullmatch("0|-?[1-9][0-9]*", text), place, "not a decimal number in its only form")
    need(least <= int(text) <= most, place, "number out of range")
    return int(text)

def hex_bytes(text, count, place):
    need(re.fullmatch("[0-9a-f]{%d}" % (2 * count), text), place, "not %d lower-case hex digits" % (2 * count))
    return bytes.fromhex(text)

def unbase64(text, place):
    """Section 15: a base64 text has one form, so what was read must be what encoding gives."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        raise Fault(place, "not base64") from None
    need(base64.b64encode(data) == text, place, "base64 that is not in its only form")
    return data

UNSEEN = ("\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
          "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e007f")

def free_text(text, place):
    """Section 4, a label: 1 to 255 bytes, nothing that controls or is not seen, no white space at either end."""
    need(not re.search("[\0-\x1f\x7f-\x9f%s]" % UNSEEN, text), place, "a character that controls or is not seen")
    # What strip() takes is White_Space, and U+001C to 001F, which are refused above.
    need(1 <= len(text.encode()) <= 255 and text == text.strip(), place, "not 1 to 255 bytes without outer spaces")
    return text

def check_format(data, place):
    """A format's name, padded with NUL to 16 bytes."""
    if data != FORMAT.encode().ljust(16, b"\0"):
        raise Unsupported(place, "format %s, not %s" % (data.rstrip(b"\0").decode("utf-8", "replace"), FORMAT))

def features(text, place):
    """Section 4: `-`, or 1 to 16 names, ascending, none twice."""
    names = () if text == "-" else tuple(text.split(" "))
    need(all(re.fullmatch("[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?", name) for name in names), place, "not the name of a feature")
    need(len(names) <= 16 and list(names) == sorted(set(names)), place, "more than 16 features, or they do not ascend")
    return names

TYPES = {
    "word": lambda t, p: t, "text": free_text, "features": features, "id": lambda t, p: hex_bytes(t, 16, p), "hash": lambda t, p: hex_bytes(t, 32, p),
    "u32": lambda t, p: decimal(t, 0, 2**32 - 1, p), "u32+": lambda t, p: decimal(t, 1, 2**32 - 1, p),
    "u64": lambda t, p: decimal(t, 0, 2**64 - 1, p), "u64+": lambda t, p: decimal(t, 1, 2**64 - 1, p),
    "i64": lambda t, p: decimal(t, -2**63, 2**63 - 1, p)}
# Section 4. A type with `?` may also be `-`.
ROOT_LINES = (
    "holdall word", "incompatible features", "read-only-compatible features", "compatible features", "medium id", "origin text", "series text", "epoch u64+", "serial u64+", "generation u32+", "state word",
    "previous hash?", "time i64", "expires i64?", "catalogue u64 u64 hash", "packs u32 hash", "custody hash?",
    "chunking word u32 u32 u32", "limits word word word word")
# Section 14
RECORD_LINES = (
    "holdall-custody word", "number u64+", "previous hash?", "event word", "time i64", "who text", "host text", "medium id",
    "generation u32+", "serial u64+", "root hash?", "note text")

def read_field(kind, text, place):
    return None if kind.endswith("?") and text == "-" else TYPES[kind.rstrip("?")](text, place)

def read_lines(data, lines, most, place):
    """Sections 4 and 14: exactly these lines. Each type admits one form, so encoding again gives the same bytes."""
    need(len(data) <= most, place, "longer than %d bytes" % most)
    first = lines[0].split()[0]
    head = re.match(b"%s ([^\n]{0,64})\n" % first.encode(), data)
    need(head, place, "does not begin with the line `%s`" % first)
    if head.group(1) != FORMAT.encode():
        raise Unsupported(place, "format %s, not %s" % (head.group(1).decode("utf-8", "replace"), FORMAT))
    if lines is ROOT_LINES:
        check_incompatible(data[head.end():], place)
    rows, result = utf8(data, place).split("\n"), {}
    need(rows.pop() == "" and len(rows) == len(lines), place, "not %d lines, each ended by LF" % len(lines))
    for row, (name, *kinds) in zip(rows, (line.split() for line in lines)):
        where = "%s, line `%s`" % (place, name)
        need(row.startswith(name + " "), where, "another line stands here")
        texts = row.split(" ", 1 if kinds[0] in ("text", "features") else -1)[1:]
        need(len(texts) == len(kinds), where, "another number of fields")
        values = [read_field(kind, text, where) for kind, text in zip(kinds, texts)]
        result[name] = values[0] if len(values) == 1 else tuple(values)
    return result

def check_incompatible(rest, place):
    """Section 4: a feature that is not known is refused by name before any further line is looked at: it may change what follows."""
    line = re.match(b"incompatible ([^\n]*)\n", rest)
    need(line, place, "the second line is not `incompatible`")
    unknown = [name for name in features(utf8(line.group(1), place), place) if name not in KNOWN_FEATURES]
    if unknown:
        raise Unsupported(place, "incompatible features that are not known here: " + " ".join(unknown))

class Root:
    """Section 4."""
    def __init__(self, data, place):
        self.data, self.place, self.hash = data, place, blake3(data)
        self.fields = f = read_lines(data, ROOT_LINES, MAX_ROOT, place)
        self.medium, self.generation, self.previous = f["medium"], f["generation"], f["previous"]
        self.leaves, self.catalogue_bytes, self.catalogue_hash = f["catalogue"]
        self.packs, self.packs_hash = f["packs"]
        self.sealed = f["state"] == "sealed"
        need(f["state"] in ("open", "sealed"), place, "state is neither open nor sealed")
        need(self.packs <= MAX_PACKS, place, "more than %d packs" % MAX_PACKS)
        if f["chunking"][0] != "fastcdc-2020" or f["limits"] != ("1048576", "65536", "1073741824", "2048"):
            raise Unsupported(place, "another chunking or other limits")

    def report(self):
        past = self.fields["expires"] is not None and self.fields["expires"] < time.time()
        # Features that may be unknown are named and read on.
        named = ["features    %s: %s" % (kind, " ".join(self.fields[kind])) for kind in ("incompatible", "read-only-compatible", "compatible") if self.fields[kind]]
        return ["root        " + self.hash.hex(), "medium      " + self.medium.hex()] + named + [
            "%-11s %s" % (name, printable(self.fields[name]))
            for name in ("origin", "series", "epoch", "serial", "generation", "state")] + [
            "time        " + date(self.fields["time"]), "expires     " + date(self.fields["expires"]) + (", which is past" if past else "")]

def date(seconds):
    if seconds is None or not 0 <= seconds < 253402300800:
        return "-" if seconds is None else str(seconds)
    return "%d (%s)" % (seconds, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds)))

# ------------------------------------------------------------------ leaves (sections 8, 9.1, 9.2)

Leaf = namedtuple("Leaf", "kind name media sha256 blob_id size content canonical key places", defaults=((),))
Content = namedtuple("Content", "tag hash depth size recipe tree", defaults=(None, 0, 0, None, None))
Tree = namedtuple("Tree", "data depth hash entries inodes directories")

HEX, REPOSITORY, FILE = "[0-9a-f]{64}", r"[^/@\s\x00]+(?:/[^/@:\s\x00]+)+", r"(?!\.\.?(?:/|\Z))[^/\x00]+"
# What stands in a group must be the leaf's SHA-256.
NAMES = {1: r"%s(?::[^/@:\s\x00]+|@sha256:(%s))" % (REPOSITORY, HEX), 2: "sha256:(%s)" % HEX,
         3: "%s@sha256:%s/sha256:(%s)" % (REPOSITORY, HEX, HEX), 4: "sha256:(%s)" % HEX, 5: "files",
         6: "sha256:%s/sha256:%s" % (HEX, HEX), 7: "sha256:" + HEX, 8: "sha256:%s/%s" % (HEX, FILE), 9: "%s(?:/%s)*" % (FILE, FILE), 10: "sha256:" + HEX}
TAGS = {1: (1, 2, 3), 2: (1, 2, 3), 3: (1, 2, 3), 4: (0,), 5: (5,), 6: (5,), 7: (5,), 8: (0,), 9: (0,), 10: (2,)}

def read_tree(f):
    """Section 8, tree reference."""
    data = f.take(57)
    tree = Tree(data, data[0], data[1:33], *struct.unpack("<3Q", data[33:]))
    need(tree.depth <= 8, f.place, "a tree of depth %d" % tree.depth)
    need((tree.entries == 0) == (tree.hash == ZERO), f.place, "a tree's hash is zero, or not, against its entries")
    need(tree.entries < tree.inodes < 2**48, f.place, "a tree's entries are not below its inodes")
    need(tree.entries or (tree.inodes, tree.depth) == (1, 0), f.place, "an empty tree of more than itself")
    need(tree.directories <= tree.entries, f.place, "more directories than entries")
    return tree

def read_content(f, within_recipe=False):
    """Section 8, a content's canonical part as it is in a leaf."""
    tag = f.number(1)
    if tag == 1:
        return Content(1, f.take(32))
    if tag == 2:
        depth, digest = f.number(1), f.take(32)
        need(depth <= 8 and (depth or digest != ZERO), f.place, "a list of depth %d, or one chunk without an id" % depth)
        return Content(2, digest, depth)
    need(not within_recipe, f.place, "a recipe is inline or a list, not of tag %d" % tag)
    if tag == 3:
        size, recipe = f.number(8), read_content(f, True)
        check_size(recipe, size, f.place)
        return Content(3, size=size, recipe=recipe, tree=read_tree(f))
    need(tag in (0, 5), f.place, "content of tag %d" % tag)
    return Content(5, tree=read_tree(f)) if tag else Content(0)

def check_size(content, size, place):
    """Section 8: at most 2,048 bytes are inline, more never; section 7: depth 0 is one chunk."""
    need((content.tag == 1) == (size <= MAX_INLINE), place, "%d bytes that are inline, or are not" % size)
    need(size < 2**60, place, "a blob of 2^60 bytes or more")
    need(content.tag != 2 or content.depth or size <= MAX_CHUNK, place, "one chunk of %d bytes" % size)

def sort_key(kind, name):
    """Section 9.2."""
    if kind == 1:
        at = name.find(b"@") if b"@" in name else name.rfind(b":")
        name = name[:at] + b"\0" + name[at:]
    return bytes([kind]) + (name.replace(b"/", b"\0") if kind == 9 else name)

def read_leaf(f):
    """Section 9.1: a leaf's canonical part, and every rule that needs no other leaf."""
    start, kind = f.at, f.number(1)
    need(kind in KINDS, f.place, "a leaf of kind %d" % kind)
    raw, media = f.bytes16(1, 1024, "a name"), utf8(f.bytes16(0, 255, "a media type"), f.place)
    name = utf8(raw, f.place)
    digest, blob_id, size, content = f.take(32), f.take(32), f.number(8), read_content(f)
    leaf = Leaf(kind, name, media, digest, blob_id, size, content, f.data[start:f.at], sort_key(kind, raw))
    check_name(leaf, "%s, leaf `%s`" % (f.place, name))
    check_digests(leaf, "%s, leaf `%s`" % (f.place, name))
    return leaf

def check_name(leaf, place):
    match = re.fullmatch(NAMES[leaf.kind], leaf.name)
    need(match, place, "not a name of kind %s" % KINDS[leaf.kind])
    need(all(digest in (None, leaf.sha256.hex()) for digest in match.groups()), place, "SHA-256 is not that of the name")
    files = {8: leaf.name.split("/")[1:], 9: leaf.name.split("/")}.get(leaf.kind, [])
    need(all(len(file.encode()) <= 255 for file in files), place, "a file's name above 255 bytes")
    need(leaf.media or leaf.kind != 1, place, "an image without media type")
    need(not leaf.media or leaf.kind <= 4, place, "a media type where none belongs")

def check_digests(leaf, place):
    """Section 9.1: content, SHA-256, BlobId and size belong together."""
    content, tree = leaf.content, leaf.content.tree
    need(content.tag in TAGS[leaf.kind], place, "content of tag %d in a leaf of kind %s" % (content.tag, KINDS[leaf.kind]))
    if leaf.kind in (4, 8):
        need(leaf.blob_id == ZERO and (leaf.kind == 4 or leaf.size == 0), place, "BlobId or size is not zero")
    if leaf.kind <= 3:
        check_size(content, leaf.size, place)
        # Inline, and in a list of depth 0, both are BLAKE3 of the same bytes.
        need(content.tag == 3 or content.depth or content.hash == leaf.blob_id, place, "the content's hash is not the BlobId")
    if leaf.kind == 10:
        need(MAX_INLINE < leaf.size <= (MAX_HOT if content.depth else MAX_CHUNK), place, "a hot list of %d bytes" % leaf.size)
        need(content.depth or content.hash == leaf.blob_id, place, "the content's hash is not the BlobId")
    if content.tag == 5:
        own = (sha256(tree.data), blake3(tree.data), 57)
        need((leaf.sha256, leaf.blob_id, leaf.size) == own, place, "not the digests and size of its tree reference")
    if leaf.kind in (6, 7) or content.tag == 3:
        # Section 10.1: `rootfs`, a directory, and perhaps `links`, a file.
        need(tree.entries in (1, 2) and (tree.directories, tree.depth) == (1, 0), place, "not the top of a layer's tree")

def read_places(f, leaf, packs):
    """Sections 8 and 9.1: beside a leaf stand its inline bytes, or places in packs that the set lists. Returns them."""
    found, recipe = [], leaf.content.tag == 3
    size, parts = leaf.size, [leaf.content]
    if recipe:
        size, parts = leaf.content.size, [leaf.content.recipe, Content(5, tree=leaf.content.tree)]
    for part in parts:
        if part.tag == 1:
            data = f.bytes16(0, MAX_INLINE, "inline bytes")
            need(len(data) == size and blake3(data) == part.hash, f.place, "inline bytes of `%s`: mismatch" % leaf.name)
            need(recipe or sha256(data) == leaf.sha256, f.place, "SHA-256 of `%s`: mismatch" % leaf.name)
            found.append(data)
        elif part.tag:
            found.append(f.take(16))
            check_place(found[-1], part, packs, "%s, place of `%s`" % (f.place, leaf.name))
    return tuple(found)

def check_place(data, content, packs, place):
    pack, offset, length, inside = struct.unpack("<4I", data)
    if content.tag == 5 and content.tree.entries == 0:
        return need(data == bytes(16), place, "the place of an empty directory is not zero")
    need(pack in packs, place, "pack %d is not in the pack set" % pack)
    need(MIN_FRAME <= length <= MAX_FRAME and inside < 1048576, place, "no frame can be there")
    need(64 <= offset and offset + length <= packs[pack][0] - 128, place, "beyond the frames of pack %d" % pack)

# ------------------------------------------------------------------ signatures (section 4.1)

SIGNER = "[a-z0-9](?:[a-z0-9._-]{0,46}[a-z0-9])?"
BEGIN_SIG, END_SIG = b"-----BEGIN SSH SIGNATURE-----", b"-----END SSH SIGNATURE-----"
Trust = namedtuple("Trust", "allowed identities need")

def check_armor(armor, place):
    """PROTOCOL.sshsig: version 1, our namespace, sha512 or sha256, armored as `ssh-keygen -Y sign` does."""
    need(len(armor) <= MAX_SIG, place, "a signature above %d bytes" % MAX_SIG)
    data = unbase64(b"".join(armor.split(b"\n")[1:-2]), place)
    text = base64.b64encode(data)
    rows = [BEGIN_SIG] + [text[i:i + 70] for i in range(0, len(text), 70)] + [END_SIG, b""]
    need(armor == b"\n".join(rows), place, "not an SSH signature, armored in lines of 70 characters")
    need(data[:10] == b"SSHSIG\0\0\0\1", place, "not an SSH signature of version 1")
    f, strings = Fields(data, place), []
    f.take(10)
    while f.at < len(data):
        strings.append(f.take(int.from_bytes(f.take(4), "big")))
    need(len(strings) == 5 and strings[2] == b"", place, "not the fields of an SSH signature")
    if strings[1] != NAMESPACE.encode():
        raise DoesNotHold(place, "namespace %s, not %s" % (strings[1].decode("utf-8", "replace"), NAMESPACE))
    need(strings[3] in (b"sha512", b"sha256"), place, "hash is neither sha512 nor sha256")

def ssh_keygen(*arguments, message=b""):
    try:
        run = subprocess.run(["ssh-keygen", "-Y", *arguments], input=message, capture_output=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unreadable("ssh-keygen", error) from None
    return run.stdout.decode("utf-8", "replace") if run.returncode == 0 else None

def check_signature(message, armor, trust, place):
    """The key's fingerprint, and the identity that it verified for: None where no policy is given or none matches."""
    check_armor(armor, place)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "signature")
        with open(path, "wb") as file:
            file.write(armor)
        # First by itself: what is wrong with a signature is told apart from whose it is.
        text = ssh_keygen("check-novalidate", "-n", NAMESPACE, "-s", path, message=message)
        key = re.search("SHA256:[A-Za-z0-9+/]{43}", text or "")
        if not key:
            raise DoesNotHold(place, "the signature is not of this ROOT")
        identities = trust.identities
        if trust.allowed and not identities:
            text = ssh_keygen("find-principals", "-s", path, "-f", trust.allowed)
            identities = re.split("[\n,]", text.strip()) if text else []
        for identity in identities:
            if ssh_keygen("verify", "-f", trust.allowed, "-I", identity, "-n", NAMESPACE, "-s", path, message=message):
                return key.group(), identity
    return key.group(), None

def check_signatures(root, signatures, unread, trust):
    """Section 4.1. Who signed is said by the key alone, so distinct keys count. `signatures`: (label, armor, or why there is none)."""
    lines, keys = [], set()
    if unread:
        lines.append("signatures  %d files, of which the first %d by name were read" % (len(signatures) + unread, len(signatures)))
    for label, armor in signatures:
        place = "signature " + label
        try:
            need(isinstance(armor, bytes), place, armor)
            need(root.sealed, place, "of an open generation")
            key, identity = check_signature(root.data, armor, trust, place)
        except Unreadable:
            raise                                  # ssh-keygen does not run: nothing is known of any
        except Fault as why:
            lines.append("signature   %s: does not count: %s" % (label, why))
            continue
        who = "of " + identity if identity else "by nobody who counts" if trust.allowed else "nobody demanded"
        lines.append("signature   %s: holds, key %s, %s" % (label, key, printable(who)))
        keys.update([key] if identity else [])
    if trust.allowed:
        lines.append("signers     %d distinct keys count, %d needed" % (len(keys), trust.need))
        if len(keys) < trust.need:
            few = TooFew(root.place, "signed by %d of the %d keys that are needed" % (len(keys), trust.need))
            few.lines = lines
            raise few
    return lines

# ------------------------------------------------------------------ proofs (section 15)

class Lines:
    def __init__(self, data, place):
        self.rows, self.place, self.at = data.split(b"\n"), place, 0
        need(self.rows.pop() == b"", place, "the last line does not end with LF")

    def next(self, word=""):
        need(self.at < len(self.rows), self.place, "ends before line %d" % (self.at + 1))
        row, self.at = self.rows[self.at], self.at + 1
        start = (word + " " if word else "").encode()
        need(row.startswith(start), self.where(), "not the line `%s`" % word)
        return row[len(start):]

    def number(self, word, most):
        return decimal(utf8(self.next(word), self.where()), 0, most, self.where())

    def signature(self):
        label, rows = utf8(self.next("signature"), self.where()), [self.next()]
        need(re.fullmatch(SIGNER, label), self.where(), "not the name of a signer")
        while rows[-1] != END_SIG:
            rows.append(self.next())
        return label, b"".join(row + b"\n" for row in rows)

    def where(self):
        return "%s, line %d" % (self.place, self.at)

def read_proof(data, place):
    """Section 15: index, leaf, path, ROOT, signatures; each line in the only form that it may have."""
    need(len(data) <= MAX_PROOF, place, "longer than %d bytes" % MAX_PROOF)
    lines = Lines(data, place)
    name = lines.next("holdall-proof")
    if name != FORMAT.encode():
        raise Unsupported(place, "format %s, not %s" % (name[:64].decode("utf-8", "replace"), FORMAT))
    index = lines.number("index", 2**64 - 1)
    fields = Fields(unbase64(lines.next("leaf"), lines.where()), lines.where())
    leaf = read_leaf(fields)
    fields.end()
    path = [unbase64(lines.next(), lines.where()) for _ in range(lines.number("path", 64))]
    need(all(len(node) == 32 for node in path), place, "a hash of the path has not 32 bytes")
    count = len(ROOT_LINES)
    need(lines.number("root", count) == count, lines.where(), "a ROOT has %d lines" % count)
    root = Root(b"".join(lines.next() + b"\n" for _ in range(count)), place + ", ROOT")
    signatures = []
    while lines.at < len(lines.rows):
        signatures.append(lines.signature())
        need(len(signatures) <= MAX_SIGS, place, "more than %d signatures" % MAX_SIGS)
        need(len(signatures[-1][1]) <= MAX_SIG, place, "a signature above %d bytes" % MAX_SIG)
    labels = [label for label, _ in signatures]
    need(labels == sorted(set(labels)), place, "signers do not ascend, or one stands twice")
    return index, leaf, path, root, signatures

def check_proof(data, place, trust, demanded=None):
    """Section 15, reader's rule. Returns the leaf and lines to print."""
    index, leaf, path, root, signatures = read_proof(data, place)
    need(index < root.leaves, place, "index %d of %d leaves" % (index, root.leaves))
    need(len(path) == path_length(index, root.leaves), place, "%d hashes are not the path of leaf %d" % (len(path), index))
    if path_root(leaf_hash(leaf.canonical), index, root.leaves, path) != root.catalogue_hash:
        raise DoesNotHold(place, "leaf and path do not lead to ROOT's catalogue hash")
    if demanded not in (None, root.hash):
        raise DoesNotHold(place, "ROOT is %s, not the one demanded" % root.hash.hex())
    lines = ["kind        " + KINDS[leaf.kind], "name        " + printable(leaf.name), "media type  " + printable(leaf.media or "-"),
             "sha256      " + leaf.sha256.hex(), "size        %d" % leaf.size, "leaf        %d of %d" % (index, root.leaves)]
    lines += root.report()
    try:
        return leaf, lines + check_signatures(root, signatures, 0, trust)
    except TooFew as few:
        few.lines = lines + few.lines
        raise

def check_blob(path, leaf):
    """Section 15: a blob, manifest or file belongs to a proof if it has that SHA-256 and size."""
    if leaf.kind not in (1, 2, 3, 9):
        raise DoesNotHold(path, "a leaf of kind %s does not speak of a file's bytes" % KINDS[leaf.kind])
    digest, size = hashlib.sha256(), 0
    with open(path, "rb") as file:
        for piece in iter(lambda: file.read(1 << 20), b""):
            digest.update(piece)
            size += len(piece)
    if (digest.digest(), size) != (leaf.sha256, leaf.size):
        raise DoesNotHold(path, "sha256 %s and %d bytes are not what is proven" % (digest.hexdigest(), size))
    return ["blob        %s has this SHA-256 and size" % printable(path)]

# ------------------------------------------------------------------ a medium's files and slots (sections 0, 3)

class Disk:
    def __init__(self, folder):
        self.folder, self.problems = folder, []
        if not os.path.isdir(folder):
            raise Unreadable(folder, "is not a folder")

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def generation(self, number, *names):
        return self.path("generations", "%06d" % number, *names)

    def descend(self, path, flags=0):
        """Section 0: from the disk's folder on no symbolic link is followed, folder by folder, down to a descriptor."""
        *above, last = os.path.relpath(path, self.folder).split(os.sep)
        here = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for name in above:
                here, left = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here), here
                os.close(left)
            return os.open(last, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | flags, dir_fd=here)
        except FileNotFoundError:
            raise Fault(path, "missing") from None
        except OSError as error:
            need(error.errno not in (errno.ELOOP, errno.ENOTDIR), path, "a symbolic link, or what is no folder, is there or on the way")
            raise
        finally:
            os.close(here)

    def open(self, path):
        number = self.descend(path)
        if not stat.S_ISREG(os.fstat(number).st_mode):
            os.close(number)
            raise Fault(path, "is not a regular file")
        return open(number, "rb")

    def read(self, path, most):
        with self.open(path) as file:
            data = file.read(most + 1)
        need(len(data) <= most, path, "longer than %d bytes" % most)
        return data

    def names(self, *folder, folders=False):
        """What is in a folder, in order; with `folders` such alone."""
        here = self.descend(self.path(*folder), os.O_DIRECTORY)
        try:
            with os.scandir(here) as entries:
                return sorted(entry.name for entry in entries if not folders or entry.is_dir(follow_symlinks=False))
        finally:
            os.close(here)

    def generations(self):
        """Section 1: at least six decimal digits, no other padding; highest first. Other names are not the disk's."""
        names = [name for name in self.names("generations", folders=True) if re.fullmatch("[0-9]{6,10}", name)]
        return sorted((int(name) for name in names if name == "%06d" % int(name)), reverse=True)

    def root(self, number):
        path = self.generation(number, "ROOT")
        root = Root(self.read(path, MAX_ROOT), path)
        need(root.generation == number, path, "is of generation %d" % root.generation)
        return root

    def whole_root(self, number):
        """None where it is not whole. One that is not read here is told: nothing is answered by an older generation instead."""
        try:
            return self.root(number)
        except Unsupported:
            raise
        except Fault:
            return None

    def is_whole(self, number):
        try:
            return self.whole_root(number) is not None
        except Unsupported:
            return False

    def root_text(self, number):
        try:
            return self.read(self.generation(number, "ROOT"), MAX_ROOT)
        except Fault:
            return b""

def read_slot(disk, path):
    """Section 3: None for a blank slot, the ROOT that a valid one names; a damaged one is a Fault."""
    data = disk.read(path, 4096)
    need(len(data) == 4096, path, "is not 4,096 bytes long")
    if data == bytes(4096):
        return None
    need(blake3(data[:4064]) == data[4064:], path, "its check does not hold")
    need(data[:8] == b"HOLDALL\n", path, "is not a superblock")
    check_format(data[8:24], path)
    generation = int.from_bytes(data[40:44], "little")
    need(generation >= 1 and not any(data[76:4064]), path, "generation 0, or bytes that are not zero")
    name = disk.generation(generation, "ROOT")
    text = disk.read(name, MAX_ROOT)
    need(blake3(text) == data[44:76], name, "is not the ROOT that %s names" % path)
    root = Root(text, name)
    need((root.generation, root.medium) == (generation, data[24:40]), name, "another generation or medium than the slot's")
    return root

def current(disk):
    """Section 3, which generation is current. What is damaged goes to disk.problems."""
    valid, blank = [], []
    for path in (disk.path("superblock.0"), disk.path("superblock.1")):
        try:
            root = read_slot(disk, path)
            (valid if root else blank).append(root or path)
        except Unsupported:
            raise                                  # rule 1: nothing else is tried
        except Fault as fault:
            disk.problems.append("slot %s: %s" % (path, fault))
    need(len(blank) < 2, disk.folder, "both slots are blank: init was interrupted")
    if not valid:
        whole = [str(number) for number in disk.generations() if disk.is_whole(number)]
        raise Fault(disk.folder, "no valid slot: %s. Whole ROOTs: %s" % ("; ".join(disk.problems), " ".join(whole) or "none"))
    root = max(valid, key=lambda r: r.generation)
    if blank and root.generation > 1:
        disk.problems.append("slot %s: blank, though the other names generation %d" % (blank[0], root.generation))
    return newer(disk, root) if disk.problems else root

def newer(disk, root):
    """Section 3, rule 4: the highest generation above N whose ROOT is whole and names that of N as previous."""
    for number in disk.generations():
        other = disk.whole_root(number) if number > root.generation else None
        if other and (other.medium, other.previous) == (root.medium, root.hash):
            return other
    return root

def before(disk, root):
    """The ROOT that this one names as previous, found by its hash among older generations; None in a medium's first."""
    if root.previous is None:
        return None
    for number in disk.generations():
        if number < root.generation and blake3(disk.root_text(number)) == root.previous:
            old = disk.root(number)
            a, b = old.fields, root.fields
            need(old.medium == root.medium, root.place, "the ROOT before is of another medium")
            need(b["epoch"] >= a["epoch"] and b["serial"] > a["serial"] and b["time"] >= a["time"], root.place,
                 "epoch, serial or time fall back behind those of %s" % old.place)
            return old
    raise Fault(root.place, "the ROOT before, %s, is missing or damaged" % root.previous.hex())

# ------------------------------------------------------------------ packs (section 6)

def check_pack_set(disk, root):
    """The set against ROOT. Returns number -> (bytes of the file, leaf)."""
    path = disk.generation(root.generation, "packs")
    data = disk.read(path, 40 * root.packs)
    need(len(data) == 40 * root.packs, path, "is not %d records long" % root.packs)
    records = [data[at:at + 40] for at in range(0, len(data), 40)]
    need(tree_hash([leaf_hash(record) for record in records]) == root.packs_hash, path, "tree hash is not that in ROOT")
    packs, last = {}, -1
    for number, size, leaf in (struct.unpack("<II32s", record) for record in records):
        need(number > last and size <= MAX_PACK, path, "packs do not ascend, or pack %d is too long" % number)
        last, packs[number] = number, (size, leaf)
    return packs

def check_pack(disk, root, number, size, leaf):
    """A pack's length, footer against the set, header, page list; its frames and tables are not read."""
    path = disk.path("packs", "%06d.pack" % number)
    with disk.open(path) as file:
        need(size >= 192 and os.fstat(file.fileno()).st_size == size, path, "is not the %d bytes long that the set says" % size)
        head, _, foot = file.read(64), file.seek(size - 128), file.read(128)
        need(foot[96:] == leaf == blake3(foot[:96]), path, "footer is not the leaf in the pack set")
        need(blake3(head[:48])[:16] == head[48:], path, "the header's check does not hold")
        need((head[:8], foot[:8]) == (b"HLDPACK\n", b"HLDPFOOT"), path, "is not a pack")
        check_format(head[8:24], path)
        check_format(foot[8:24], path)
        own = root.medium + struct.pack("<I", number)
        need(head[24:48] == own + bytes(4) and foot[24:44] == own, path, "is of another medium or number")
        frames, chunks, end, listed, rest = struct.unpack("<III32sQ", foot[44:96])
        pages = -(-frames // 780) + -(-chunks // 1489)
        need(rest == 0 and end >= 64, path, "a footer's field is out of range")
        need(end + 84 * frames + 44 * chunks + 32 * pages + 128 == size, path, "its parts do not add up to its length")
        file.seek(size - 128 - 32 * pages)
        need(blake3(file.read(32 * pages)) == listed, path, "the page list is not what the footer says")

# ------------------------------------------------------------------ catalogue (section 9)

class Catalogue:
    """Walks every page from the top. `file` is seekable; `packs` is what places may lead to."""
    def __init__(self, file, root, packs, place):
        self.file, self.root, self.packs, self.place = file, root, packs, place
        self.last, self.extents = b"", []

    def read(self, offset, length):
        need(offset + length <= self.root.catalogue_bytes, self.place, "a page beyond the end of the file")
        self.file.seek(offset)
        data = self.file.read(length)
        need(len(data) == length, self.place, "ends before its length in ROOT")
        return data

    def leaves(self):
        """The footer, then all leaves in order. Nothing holds before this has ended."""
        size, count, place = self.root.catalogue_bytes, self.root.leaves, self.place + ", footer"
        need(size >= 64 and self.file.seek(0, 2) == size, self.place, "is not as long as ROOT says")
        foot = self.read(size - 64, 64)
        need(blake3(foot[:32]) == foot[32:], place, "its check does not hold")
        magic, level, offset, length, rest = struct.unpack("<8sBQI11s", foot[:32])
        height = 0
        while PER_PAGE ** (height + 1) < count:
            height += 1
        need(magic == b"HLDCATAL" and not any(rest), place, "is not a catalogue's footer")
        need(level == height, place, "top page of level %d, not %d" % (level, height))
        if count:
            yield from self.page(level, 0, count, offset, length, self.root.catalogue_hash, None)
        else:
            need((offset, length, self.root.catalogue_hash) == (0, 0, tree_hash([])), place, "an empty catalogue has no page")
        self.check_extents()

    def page(self, level, number, count, offset, length, wanted, first_key):
        """Page `number` of its level, above `count` leaves: its check, head and hash before what is in it."""
        place = "%s, page %d of level %d" % (self.place, number, level)
        need(39 <= length <= MAX_PAGE, place, "a page of %d bytes" % length)
        data = self.read(offset, length)
        need(blake3(data[:-32]) == data[-32:], place, "its check does not hold")
        fields, entries = Fields(data[:-32], place), -(-count // PER_PAGE ** level)
        need((fields.take(4), fields.number(1)) == (b"HCPG", level), place, "not a page of level %d" % level)
        need(fields.number(2) == entries, place, "not %d entries" % entries)
        self.extents.append((level, number, offset, length))
        if level == 0:
            yield from self.leaf_page(fields, entries, wanted, first_key)
            return
        children = self.upper_page(fields, entries, wanted, first_key)
        for i, (digest, offset, length, key) in enumerate(children):
            part = min(PER_PAGE ** level, count - i * PER_PAGE ** level)
            yield from self.page(level - 1, number * PER_PAGE + i, part, offset, length, digest, key)

    def leaf_page(self, fields, entries, wanted, first_key):
        leaves = []
        for _ in range(entries):
            leaf = read_leaf(fields)
            leaves.append(leaf._replace(places=read_places(fields, leaf, self.packs)))
        fields.end()
        self.check_page(fields.place, [leaf_hash(leaf.canonical) for leaf in leaves], wanted, leaves[0].key, first_key)
        for leaf in leaves:
            need(leaf.key > self.last, fields.place, "leaf `%s` does not ascend" % leaf.name)
            self.last = leaf.key
        return leaves

    def upper_page(self, fields, entries, wanted, first_key):
        children = []
        for _ in range(entries):
            children.append((fields.take(32), fields.number(8), fields.number(4), fields.bytes16(2, 1026, "a first key")))
        fields.end()
        self.check_page(fields.place, [child[0] for child in children], wanted, children[0][3], first_key)
        return children

    def check_page(self, place, hashes, wanted, key, first_key):
        need(tree_hash(hashes) == wanted, place, "tree hash is not that in the parent or ROOT")
        need(first_key in (None, key), place, "the parent names another first key")

    def check_extents(self):
        """Pages, bottom up, then the footer: no gap in which bytes could stand that nothing covers, no overlap."""
        at = 0
        for level, number, offset, length in sorted(self.extents):
            need(offset == at, self.place, "page %d of level %d is not where it belongs" % (number, level))
            at += length
        need(at == self.root.catalogue_bytes - 64, self.place, "bytes between the pages and the footer")

def check_references(leaves, root, place):
    """Section 9.1: what leaves say of each other."""
    known = {(leaf.kind, leaf.name): leaf for leaf in leaves}
    same = lambda a, b: a and (a.sha256, a.blob_id, a.size, a.content) == (b.sha256, b.blob_id, b.size, b.content)
    for leaf in leaves:
        where, digest = "%s, leaf `%s`" % (place, leaf.name), "sha256:" + leaf.sha256.hex()
        need(leaf.kind not in (1, 3) or same(known.get((2, digest)), leaf), where, "is not in the catalogue as a blob too")
        if leaf.kind == 1 and "@" not in leaf.name:
            twin = known.get((1, "%s@%s" % (leaf.name.rpartition(":")[0], digest)))
            need(same(twin, leaf) and twin.media == leaf.media, where, "has no second name with its digest")
        need(leaf.kind != 8 or (7, digest) in known, where, "its chain is not in the catalogue")
        need(leaf.kind != 10 or (7, leaf.name) in known, where, "its chain is not in the catalogue")
        need(leaf.kind != 9 or root.sealed and (5, "files") in known, where, "a file in an open generation, or without `files`")

def check_catalogue(disk, root, packs):
    path = disk.generation(root.generation, "catalogue")
    with disk.open(path) as file:
        leaves = list(Catalogue(file, root, packs, path).leaves())
    check_references(leaves, root, path)
    return leaves

# ------------------------------------------------------------------ custody (section 14)

def record_paths(disk, root):
    """The record that made a generation, and `custody.001` and on, without a gap."""
    names = [name for name in disk.names("generations", "%06d" % root.generation) if re.fullmatch("custody([.][0-9]{3})?", name)]
    if root.fields["custody"] is None:
        need(not names, disk.generation(root.generation), "custody is there, though ROOT names none")
        return []
    for i, name in enumerate(names):
        need(name == ("custody.%03d" % i if i else "custody"), disk.generation(root.generation, name), "the record before is missing")
    need(names, disk.generation(root.generation, "custody"), "missing")
    return [disk.generation(root.generation, name) for name in names]

def check_custody(disk, roots):
    """The whole chain, oldest generation first. Returns the number of records."""
    number, last = 0, None
    for root in roots:
        for i, path in enumerate(record_paths(disk, root)):
            data, number = disk.read(path, MAX_RECORD), number + 1
            digest = blake3(data)
            need(i or digest == root.fields["custody"], path, "is not the record that ROOT names")
            record = read_lines(data, RECORD_LINES, MAX_RECORD, path)
            need((record["number"], record["previous"]) == (number, last), path, "does not follow the record before")
            own = (root.medium, root.generation, root.fields["serial"])
            need((record["medium"], record["generation"], record["serial"]) == own, path, "contradicts medium, generation or serial")
            check_event(record, root, i, path)
            last = digest
    return number

def check_event(record, root, i, path):
    event, note = record["event"], record["note"]
    if i:
        need((event, record["root"]) == ("signed", root.hash), path, "does not tell of a signature of this generation's ROOT")
        need(re.fullmatch("SHA256:[A-Za-z0-9+/]{43} (no-)?readback", note), path, "its note names no key")
        return
    need(record["root"] == root.previous, path, "names another ROOT than the one before")
    need(event in (("sealed",) if root.sealed else ("created", "added")), path, "event `%s` in this state" % event)
    need(event != "created" or root.previous is None, path, "`created`, though a ROOT stands before")

# ------------------------------------------------------------------ commands

def choose(disk, number):
    """The current generation, or an older one to which its ROOT leads by `previous`."""
    root = current(disk)
    while number is not None and root and root.generation > number:
        root = before(disk, root)
    need(number is None or root and root.generation == number, disk.folder, "the current generation does not lead to that one")
    return root

def signature_files(disk, root):
    """Section 4.1: generations/N/ROOT.<signer>.sig, the first 64 by signer, each its text or why there is none; and how many more there are."""
    matches = (re.fullmatch("ROOT[.](%s)[.]sig" % SIGNER, name) for name in disk.names("generations", "%06d" % root.generation))
    labels, found = sorted(match.group(1) for match in matches if match), []
    for label in labels[:MAX_SIGS]:
        try:
            found.append((label, disk.read(disk.generation(root.generation, "ROOT.%s.sig" % label), MAX_SIG)))
        except (Fault, OSError) as why:
            found.append((label, why))
    return found, len(labels) - len(found)

def check_disk(disk, trust, number=None):
    """Returns lines to print and the leaves; damaged slots are in disk.problems, all else is raised: damage before too few signatures."""
    root, few = choose(disk, number), None
    lines = root.report()
    try:
        lines += check_signatures(root, *signature_files(disk, root), trust)
    except TooFew as why:
        few = why
        lines += few.lines
    try:
        more, leaves = check_contents(disk, root)
    except Fault as damage:
        damage.lines = lines if few else ()
        raise
    if few:
        few.lines, few.problems = lines + more, disk.problems
        raise few
    return lines + more, leaves

def check_contents(disk, root):
    """All that ROOT commits to. Returns lines to print and the leaves."""
    packs = check_pack_set(disk, root)
    leaves = check_catalogue(disk, root, packs)
    for pack, (size, leaf) in packs.items():
        check_pack(disk, root, pack, size, leaf)
    roots = [root]
    while roots[-1].previous is not None:
        roots.append(before(disk, roots[-1]))
    records = check_custody(disk, roots[::-1])
    return ["catalogue   %d leaves, %d bytes: holds" % (len(leaves), root.catalogue_bytes),
            "packs       %d: length, header, footer and page list hold; frames were not read" % len(packs),
            "custody     %d records of %d generations: hold" % (records, len(roots))], leaves

def run_proof(options, trust):
    with open(options.file, "rb") as file:
        data = file.read(MAX_PROOF + 1)
    leaf, lines = check_proof(data, options.file, trust, options.root)
    return lines + (check_blob(options.blob, leaf) if options.blob else []), []

def run_disk(options, trust):
    disk = Disk(options.folder)
    lines, leaves = check_disk(disk, trust, options.generation)
    if options.command == "ls":
        lines = ["%s %12d %-16s %s" % (leaf.sha256.hex(), leaf.size, KINDS[leaf.kind], printable(leaf.name)) for leaf in leaves]
    return lines, disk.problems

def run_full(options, trust):
    """`disk`, and everything that places lead to."""
    audit_full = more("audit_full")
    disk = Disk(options.folder)
    lines, leaves = check_disk(disk, trust, options.generation)
    root = choose(disk, options.generation)
    lines = [line.replace("; frames were not read", "") for line in lines]
    return lines + audit_full.check_everything(disk, root, check_pack_set(disk, root), leaves), disk.problems

def run_erofs(options, trust):
    """Section 16: the images of the chains and layers asked for, or of all."""
    audit_full = more("audit_full")
    disk = Disk(options.folder)
    root = choose(disk, options.generation)
    packs = check_pack_set(disk, root)
    return audit_full.make_images(disk, packs, check_catalogue(disk, root, packs), options.digest, options.output), disk.problems

def more(module):
    """The files beside this one, which need packages besides the standard library."""
    sys.modules.setdefault("holdall_audit", sys.modules[__name__])
    try:
        if not fast_blake3:
            raise ImportError("blake3")
        return importlib.import_module(module)
    except ImportError as error:
        raise Unreadable("this needs the files audit_*.py beside holdall_audit.py, and the packages blake3 and zstandard", error) from None

class Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(1, "%s: %s\n" % (self.prog, message))

def arguments(argv):
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, what in (("proof", "check a proof"), ("disk", "check a disk"), ("ls", "check a disk, list its catalogue"),
                       ("full", "check a disk, and read all of it"), ("erofs", "make EROFS images, print SHA-256 and size")):
        command = commands.add_parser(name, help=what, description=what)
        command.add_argument("--allowed-signers", metavar="FILE", help="OpenSSH allowed_signers: whose signatures count")
        command.add_argument("--identity", action="append", default=[], help="of that file's, only these count")
        command.add_argument("--need", type=int, metavar="K", help="how many distinct keys must have signed (1)")
        if name == "proof":
            command.add_argument("file")
            command.add_argument("--blob", metavar="FILE", help="compare this file with the leaf's SHA-256 and size")
            command.add_argument("--root", metavar="HEX", help="demand this ROOT, by its BLAKE3")
        else:
            command.add_argument("folder")
            command.add_argument("--generation", type=int, metavar="N", help="an older generation than the current one")
        if name == "erofs":
            command.add_argument("digest", nargs="*", help="chainIDs or diffIDs; all where none is given")
            command.add_argument("--output", metavar="FOLDER", help="write the images there too")
    options = parser.parse_args(argv)
    if not options.allowed_signers and (options.identity or options.need is not None):
        parser.error("--identity and --need go with --allowed-signers")
    if options.need is not None and options.need < 1:
        parser.error("--need is 1 or more")
    if getattr(options, "root", None):
        if not re.fullmatch(HEX, options.root):
            parser.error("--root is 64 lower-case hex digits")
        options.root = bytes.fromhex(options.root)
    return options

def main(argv=None):
    options = arguments(argv)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")      # a name must not end this in a locale without it
    try:
        if options.allowed_signers:
            open(options.allowed_signers, "rb").close()
        trust = Trust(options.allowed_signers, options.identity, options.need or 1)
        run = {"proof": run_proof, "full": run_full, "erofs": run_erofs}.get(options.command, run_disk)
        lines, problems = run(options, trust)
        print("\n".join(lines))
        for problem in problems:
            print("DAMAGED: " + problem, file=sys.stderr)
        return 3 if problems else 0
    except Fault as fault:
        for line in fault.lines:
            print(line)
        sys.stdout.flush()
        for problem in fault.problems:
            print("DAMAGED: " + problem, file=sys.stderr)
        print("%s: %s" % ({6: "DOES NOT HOLD", 3: "REFUSED"}.get(fault.code, "CANNOT READ"), fault), file=sys.stderr)
        return 3 if fault.problems else fault.code
    except OSError as error:
        print("CANNOT READ: %s" % printable(error), file=sys.stderr)
        return 1

if __name__ == "__main__":
    sys.exit(main())
