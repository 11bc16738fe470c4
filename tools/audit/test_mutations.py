#!/usr/bin/env python3
"""Mutates a good proof and a good disk, and checks that holdall_audit.py accepts no mutation.

usage: test_mutations.py PROOF DISK [COUNT [SEED]] [--allowed-signers F] [--jobs N] [--only SUBSTRING]

Mutation number i of a seed is always the same. Where the packages of `full` are installed, what it reads is mutated
too: packs, and in memory leaves, trees, recipes and hot lists. Things that no hash and no check covers are counted
apart, each only where what was altered is nothing but that: a signer's label in a proof, the last custody record of the
current generation, a place in a catalogue page whose check was made anew, and how a recipe's layer is compressed.
"""
import argparse, base64, collections, hashlib, io, multiprocessing, os, random, shutil, struct, subprocess, sys, tempfile
import holdall_audit as audit

G = {}                                        # what the workers inherit
ROOT_LINES = len(audit.ROOT_LINES)
REAL = {name: getattr(audit, name) for name in ("blake3", "check_signature", "check_catalogue")}


# ---------------------------------------------------------------- not computing again what is unaltered

def remember(function):
    """Results for the unaltered parts are kept (G["learning"]); anything else is computed by the verifier itself."""
    known = {}

    def wrapper(*key):
        if key in known:
            return known[key]
        result = function(*key)
        if G["learning"]:
            known[key] = result
        return result
    return wrapper


# ---------------------------------------------------------------- a proof in parts

def take_apart(data):
    lines = data.split(b"\n")
    count = int(lines[3].split()[1])
    at = 4 + count
    root = b"".join(x + b"\n" for x in lines[at + 1:at + 1 + ROOT_LINES])
    rest, signatures = lines[at + 1 + ROOT_LINES:-1], []
    for row in rest:
        if row.startswith(b"signature "):
            signatures.append([row[10:], b""])
        else:
            signatures[-1][1] += row + b"\n"
    return {"index": b"%d" % int(lines[1].split()[1]), "leaf": lines[2][5:], "path": lines[4:at], "count": b"%d" % count,
            "lines": b"%d" % ROOT_LINES, "root": root, "signatures": signatures}


def put_together(p):
    out = [b"holdall-proof " + audit.FORMAT.encode(), b"index " + p["index"], b"leaf " + p["leaf"], b"path " + p["count"]]
    out += p["path"] + [b"root " + p["lines"]]
    return b"\n".join(out) + b"\n" + p["root"] + b"".join(b"signature " + a + b"\n" + b for a, b in p["signatures"])


def audit_path(hashes, index):
    """RFC 6962's path by levels: a sibling, or none where the last node goes up alone."""
    path, level = [], hashes
    while len(level) > 1:
        if index ^ 1 < len(level):
            path.append(level[index ^ 1])
        level = [audit.sha256(b"\1" + level[i] + level[i + 1]) if i + 1 < len(level) else level[i]
                 for i in range(0, len(level), 2)]
        index //= 2
    return path


def good_proof(index):
    p = take_apart(G["proof"])
    path = audit_path(G["hashes"], index)
    p.update(index=b"%d" % index, leaf=base64.b64encode(G["leaves"][index].canonical), count=b"%d" % len(path),
             path=[base64.b64encode(x) for x in path])
    return p


# ---------------------------------------------------------------- mutations of bytes

def bit_flip(r, data):
    at = r.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << r.randrange(8)]) + data[at + 1:]


def byte_change(r, data):
    at = r.randrange(len(data))
    return data[:at] + bytes([r.randrange(256)]) + data[at + 1:]


def truncated(r, data):
    return data[:r.randrange(len(data))]


def cut_out(r, data):
    at = r.randrange(len(data))
    return data[:at] + data[at + r.choice((1, 1, 2, 4, 32)):]


def inserted(r, data):
    at = r.randrange(len(data) + 1)
    return data[:at] + r.choice((b"\0", b" ", b"\n", b"\r", b"\t", b"=", b"A", b"0", b"\xff", "\u00a0".encode())) + data[at:]


def appended(r, data):
    return data + r.choice((b"\n", b"\0", b" ", b"x", b"\r\n", bytes(32), data, data[-64:]))


def zeroed(r, data):
    at, count = r.randrange(len(data)), r.choice((1, 4, 32, 512))
    return data[:at] + bytes(len(data[at:at + count])) + data[at + count:]


def swapped(r, data):
    size = r.choice((1, 2, 4, 8, 16, 32, 64))
    a, b = sorted((r.randrange(len(data)), r.randrange(len(data))))
    if b + size > len(data) or a + size > b:
        return data
    return data[:a] + data[b:b + size] + data[a + size:b] + data[a:a + size] + data[b + size:]


BYTES = (bit_flip, bit_flip, bit_flip, byte_change, truncated, cut_out, inserted, appended, zeroed, swapped)


# ---------------------------------------------------------------- mutations of a proof's text

def line_wise(change):
    def mutate(r, data):
        lines = data.split(b"\n")[:-1]
        return b"".join(x + b"\n" for x in change(r, lines, r.randrange(len(lines))))
    mutate.__name__ = change.__name__
    return mutate


@line_wise
def line_twice(r, lines, i): return lines[:i] + [lines[i]] + lines[i:]
@line_wise
def line_missing(r, lines, i): return lines[:i] + lines[i + 1:]
@line_wise
def line_cut(r, lines, i): return lines[:i] + [lines[i][:r.randrange(len(lines[i]) + 1)]] + lines[i + 1:]
@line_wise
def line_moved(r, lines, i):
    row, j = lines[i], r.randrange(len(lines))
    rest = lines[:i] + lines[i + 1:]
    return rest[:j] + [row] + rest[j:]
@line_wise
def line_crlf(r, lines, i): return lines[:i] + [lines[i] + b"\r"] + lines[i + 1:]
@line_wise
def line_space(r, lines, i): return lines[:i] + [r.choice((lines[i] + b" ", b" " + lines[i], lines[i].replace(b" ", b"  ", 1), lines[i].replace(b" ", b"\t", 1)))] + lines[i + 1:]
@line_wise
def line_empty(r, lines, i): return lines[:i] + [b""] + lines[i:]
@line_wise
def line_case(r, lines, i): return lines[:i] + [r.choice((lines[i].upper(), lines[i].lower(), lines[i].swapcase()))] + lines[i + 1:]
@line_wise
def line_joined(r, lines, i): return lines[:i] + [b"".join(lines[i:i + 2])] + lines[i + 2:]


def crlf(r, data): return data.replace(b"\n", b"\r\n")
def bom(r, data): return r.choice((b"\xef\xbb\xbf" + data, data.decode().encode("utf-16"), data.decode().encode("utf-16-le")))
def last_lf_missing(r, data): return data[:-1]
def second_proof(r, data): return data + data
def other_format(r, data): return data.replace(b"v1", r.choice((b"v2", b"v0", b"1", b"v10", b"", b"V1", b"v1 ", b"draft-7")), 1)


# ---------------------------------------------------------------- mutations of a proof's parts

def odd_number(r, text):
    return r.choice((b"0" + text, b"+" + text, b"-" + text, b" " + text, text + b" ", text + b".0", b"0x%x" % int(text), text + b"\t",
                     text + b"_0", b"%d" % (2**64 + int(text)), "\u0661".encode(), b"", text + b"\0", b"00", b"%de0" % int(text)))


def odd_base64(r, text):
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    at, ways = r.randrange(len(text)), []
    if text.endswith(b"="):
        body = text.rstrip(b"=")
        bits = r.randrange(1, 4 if len(text) - len(body) == 1 else 16)
        ways = [body, body[:-1] + alphabet[alphabet.index(body[-1]) ^ bits:][:1] + text[len(body):], text[:-1], body + b"A", text + b"=", body + b"===="]
    ways += [text[:at] + x + text[at:] for x in (b" ", b"\n", b"\r", b"=", b"\0", b"-", b"_", b"*")] + [text + b"=", text + b"====", text + b"AAAA", b""]
    return r.choice(ways + [text.replace(b"+", b"-"), text.replace(b"/", b"_"), text[:-4], text.swapcase()])


def number_odd(r, p):
    field = r.choice(("index", "count", "lines"))
    p[field] = odd_number(r, p[field])


def number_other(r, p):
    field = r.choice(("index", "index", "count", "lines"))
    p[field] = b"%d" % r.choice((int(p[field]) + 1, int(p[field]) - 1, r.randrange(2**r.randrange(1, 65)), int(p[field]) ^ 1 << r.randrange(12), 2**64 - 1, 0))


def index_and_all(r, p):
    """The index of another leaf; everything else as it is."""
    p["index"] = b"%d" % r.randrange(len(G["leaves"]) + 2)


def base64_odd(r, p):
    i = r.randrange(-1, len(p["path"]))
    if i < 0:
        p["leaf"] = odd_base64(r, p["leaf"])
    else:
        p["path"][i] = odd_base64(r, p["path"][i])


def siblings_swapped(r, p):
    if len(p["path"]) > 1:
        i, j = r.sample(range(len(p["path"])), 2)
        p["path"][i], p["path"][j] = p["path"][j], p["path"][i]


def path_reversed(r, p):
    p["path"].reverse()


def path_hash_missing(r, p, counted=None):
    if p["path"]:
        del p["path"][r.randrange(len(p["path"]))]
    if r.random() < 0.7:
        p["count"] = b"%d" % len(p["path"])


def path_hash_extra(r, p):
    node = r.choice(p["path"] + [base64.b64encode(x) for x in (r.randbytes(32), bytes(32), G["hashes"][r.randrange(len(G["hashes"]))])])
    p["path"].insert(r.randrange(len(p["path"]) + 1), node)
    if r.random() < 0.7:
        p["count"] = b"%d" % len(p["path"])


def path_of_another(r, p):
    other = good_proof(r.randrange(len(G["leaves"])))["path"]
    if r.random() < 0.5 or not p["path"]:
        p["path"], p["count"] = other, b"%d" % len(other)
    elif other:
        p["path"][r.randrange(len(p["path"]))] = r.choice(other)


def path_node_altered(r, p):
    if p["path"]:
        i = r.randrange(len(p["path"]))
        data = base64.b64decode(p["path"][i])
        p["path"][i] = base64.b64encode(r.choice((bit_flip(r, data), data[::-1], data[:31], data + b"\0", bytes(32), b"")))


def leaf_of_another(r, p):
    p["leaf"] = base64.b64encode(r.choice(G["leaves"]).canonical)


def leaf_and_index_of_another(r, p):
    other = good_proof(r.randrange(len(G["leaves"])))
    p["leaf"], p["index"] = other["leaf"], other["index"]


def leaf_altered(r, p):
    data = base64.b64decode(p["leaf"])
    p["leaf"] = base64.b64encode(r.choice(BYTES)(r, data))


def inner_node_as_leaf(r, p):
    """RFC 6962's reason for 0x00 and 0x01: two hashes put forward as a leaf, with the path from there upwards."""
    if p["path"]:
        own = audit.leaf_hash(base64.b64decode(p["leaf"]))
        other = base64.b64decode(p["path"].pop(0))
        p["leaf"] = base64.b64encode(r.choice((own + other, other + own)))
        p["index"] = b"%d" % (int(p["index"]) >> 1)
        p["count"] = b"%d" % len(p["path"])


def root_altered(r, p):
    p["root"] = r.choice(BYTES + (line_twice, line_missing, line_moved, line_crlf, line_space, line_case))(r, p["root"])


def root_field(r, p):
    """A ROOT in canonical form, one number of which is another; or one hash."""
    lines = p["root"].split(b"\n")
    i = r.randrange(1, ROOT_LINES)
    words = lines[i].split(b" ")
    j = r.randrange(1, len(words))
    if words[j].isdigit() and len(words[j]) <= 20:
        words[j] = b"%d" % max(0, int(words[j]) + r.choice((1, -1, 256, 10**6)))
    else:
        words[j] = r.choice((b"-", words[j][::-1], words[j] + b"x", words[j].translate(bytes.maketrans(b"0123456789abcdef", b"123456789abcdef0"))))
    lines[i] = b" ".join(words)
    p["root"] = b"\n".join(lines)


def root_features(r, p):
    """Features: one that nobody knows, or a set that is none."""
    lines = p["root"].split(b"\n")
    i = r.choice((1, 1, 2, 3))
    lines[i] = lines[i].split(b" ")[0] + b" " + r.choice((
        b"packed-twice", b"a b", b"b a", b"a a", b"a  b", b"", b"- a", b"a -", b"A", b"-a", b"a-", b"a" * 32, b"a" * 33, b"a,b", b"a\tb", b" a", b"a ",
        b" ".join(b"%c" % c for c in range(97, 97 + 16)), b" ".join(b"%c" % c for c in range(97, 97 + 17)), "\u00e9".encode()))
    p["root"] = b"\n".join(lines)


def root_features_moved(r, p):
    """A feature in the line of another kind, or the lines in another order."""
    lines = p["root"].split(b"\n")
    rows = r.sample(lines[1:4], 3)
    p["root"] = b"\n".join(lines[:1] + [r.choice((row, row.replace(b" -", b" x"))) for row in rows] + lines[4:])


def root_number_odd(r, p):
    lines = p["root"].split(b"\n")
    places = [(i, j) for i, row in enumerate(lines) for j, w in enumerate(row.split(b" ")) if j and w.isdigit() and len(w) < 21]
    i, j = r.choice(places)
    words = lines[i].split(b" ")
    words[j] = odd_number(r, words[j])
    lines[i] = b" ".join(words)
    p["root"] = b"\n".join(lines)


def root_of_another(r, p):
    """Another generation's ROOT, or one of its lines."""
    other = r.choice(G["other_roots"])
    if r.random() < 0.3:
        p["root"] = other
    else:
        mine, theirs = p["root"].split(b"\n"), other.split(b"\n")
        i = r.randrange(ROOT_LINES)
        mine[i] = theirs[i]
        p["root"] = b"\n".join(mine)


def signature_order(r, p):
    r.shuffle(p["signatures"])


def signature_twice(r, p):
    if p["signatures"]:
        i = r.randrange(len(p["signatures"]))
        p["signatures"].insert(i, list(p["signatures"][i]))


def signature_copied(r, p):
    """One more signature by a key that has signed: another label must not make it another signer."""
    if p["signatures"]:
        label, armor = r.choice(p["signatures"])
        p["signatures"] = sorted(p["signatures"] + [[b"zz%d" % r.randrange(9), armor]])
        p["more"] = 1


def signature_missing(r, p):
    if p["signatures"]:
        del p["signatures"][r.randrange(len(p["signatures"]))]


def signature_of_one_for_all(r, p):
    if len(p["signatures"]) > 1:
        armor = r.choice(p["signatures"])[1]
        p["signatures"] = [[label, armor] for label, _ in p["signatures"]]


def signature_foreign(r, p):
    """By a key that nobody allowed, or in another namespace, or of other bytes."""
    if p["signatures"]:
        r.choice(p["signatures"])[1] = r.choice(G["foreign"])


def signature_altered(r, p):
    """What stands in the armor, armored again."""
    if p["signatures"]:
        one = r.choice(p["signatures"])
        data = base64.b64decode(b"".join(one[1].split(b"\n")[1:-2]))
        text = base64.b64encode(r.choice((bit_flip, bit_flip, byte_change, truncated, inserted, cut_out))(r, data))
        one[1] = b"-----BEGIN SSH SIGNATURE-----\n" + b"".join(text[i:i + 70] + b"\n" for i in range(0, len(text), 70)) + b"-----END SSH SIGNATURE-----\n"


def signature_rewrapped(r, p):
    if p["signatures"]:
        one = r.choice(p["signatures"])
        text, width = b"".join(one[1].split(b"\n")[1:-2]), r.choice((64, 69, 71, 76, 10**6))
        text = text if r.random() < 0.5 else odd_base64(r, text)
        one[1] = b"-----BEGIN SSH SIGNATURE-----\n" + b"".join(text[i:i + width] + b"\n" for i in range(0, len(text), width)) + b"-----END SSH SIGNATURE-----\n"


def signature_label_other(r, p):
    """A label that is one: nothing covers it, and nothing may depend on it."""
    if p["signatures"]:
        r.choice(p["signatures"])[0] = r.choice((b"a", b"zz", b"a.b-c_d", b"0", b"x" * 48))


def signature_label(r, p):
    if p["signatures"]:
        one = r.choice(p["signatures"])
        one[0] = r.choice((b"", b"-a", b"a-", b"A", b"a b", b"a/b", b"..", b"x" * 49, b".", b"a\0", "\u00e9".encode(), one[0].upper()))


TEXT = (line_twice, line_missing, line_cut, line_moved, line_crlf, line_space, line_empty, line_case, line_joined, crlf, bom,
        last_lf_missing, second_proof, other_format) + BYTES
PARTS = (number_odd, number_other, index_and_all, base64_odd, base64_odd, siblings_swapped, path_reversed, path_hash_missing, path_hash_extra,
         path_of_another, path_node_altered, leaf_of_another, leaf_and_index_of_another, leaf_altered, leaf_altered, inner_node_as_leaf,
         root_altered, root_field, root_features, root_features_moved, root_number_odd, root_of_another, signature_order, signature_twice, signature_copied, signature_missing,
         signature_of_one_for_all, signature_foreign, signature_altered, signature_rewrapped, signature_label,
         signature_label_other)


def mutate_proof(r):
    change = r.choice(TEXT + PARTS + PARTS)
    if change in TEXT:
        return "proof/" + change.__name__, change(r, G["proof"]), 0
    p = take_apart(G["proof"])
    change(r, p)
    return "proof/" + change.__name__, put_together(p), p.get("more", 0)


def labels_only(data):
    """Is this the good proof but for the signers' labels?"""
    strip = lambda d: [b"signature" if x.startswith(b"signature ") else x for x in d.split(b"\n")]
    return strip(data) == strip(G["proof"])


def try_proof(r):
    G["name"], data, more = mutate_proof(r)
    if data == G["proof"]:
        return None
    trust = G["trust"]._replace(need=G["trust"].need + more)
    demanded = None if G["trust"].allowed else G["root"].hash
    if more and not G["trust"].allowed:
        return None
    audit.check_proof(data, "proof", trust, demanded)
    return "label" if labels_only(data) else "accepted"


# ---------------------------------------------------------------- mutations of a catalogue

def pages_of():
    return G["extents"] + [(-1, 0, len(G["catalogue"]) - 64, 64)]


def checked_again(page):
    """A page, or the footer, with its check made anew."""
    return page[:-32] + REAL["blake3"](page[:-32])


def replace(at, piece, size):
    return G["catalogue"][:at] + piece + G["catalogue"][at + size:]


def a_page(r):
    # Bit flips fall on a page, not on a byte: else large pages would take nearly all of them.
    level, number, at, size = r.choice(pages_of())
    return at, size, G["catalogue"][at:at + size]


def catalogue_bytes(r):
    return r.choice(BYTES)(r, G["catalogue"])


def catalogue_page_bytes(r):
    at, size, page = a_page(r)
    return replace(at, r.choice(BYTES)(r, page), size)


def catalogue_page_checked(r):
    """One byte of a page altered and the page's check made anew: what then refuses it are hashes and rules."""
    at, size, page = a_page(r)
    where = r.randrange(size - 32)
    altered = page[:where] + bytes([page[where] ^ 1 << r.randrange(8)]) + page[where + 1:]
    return replace(at, checked_again(altered), size)


def catalogue_upper_checked(r):
    """The same in pages above the leaves and in the footer, where much is not under a tree hash."""
    level, number, at, size = r.choice([x for x in pages_of() if x[0]])
    page = G["catalogue"][at:at + size]
    where = r.randrange(size - 32)
    altered = page[:where] + bytes([page[where] ^ 1 << r.randrange(8)]) + page[where + 1:]
    return replace(at, checked_again(altered), size)


def catalogue_place(r):
    """A place altered, its page's check made anew."""
    at, count = r.choice(G["place_extents"] or [(0, 1)])
    _, _, start, size = next(x for x in G["extents"] if x[2] <= at < x[2] + x[3])
    page, where = G["catalogue"][start:start + size], at - start + r.randrange(count)
    return replace(start, checked_again(page[:where] + bytes([page[where] ^ 1 << r.randrange(8)]) + page[where + 1:]), size)


def catalogue_pages_swapped(r):
    a, b = sorted(r.sample(range(len(G["extents"])), 2)) if len(G["extents"]) > 1 else (0, 0)
    order = sorted(G["extents"], key=lambda x: x[2])
    order[a], order[b] = order[b], order[a]
    return b"".join(G["catalogue"][x[2]:x[2] + x[3]] for x in order) + G["catalogue"][-64:]


def catalogue_pages_moved(r):
    """Two pages change places, and all offsets and checks are made to fit: every hash holds, only the order does not."""
    order = sorted(G["extents"], key=lambda x: x[2])
    if len(order) < 2:
        return G["catalogue"]
    a, b = r.sample(range(len(order)), 2)
    order[a], order[b] = order[b], order[a]
    moved, at = {}, 0
    for _, _, old, size in order:
        moved[old], at = at, at + size
    out = b""
    for level, _, old, size in order:
        out += G["catalogue"][old:old + size] if level == 0 else with_offsets(G["catalogue"][old:old + size], moved)
    foot = G["catalogue"][-64:]
    top = struct.unpack("<Q", foot[9:17])[0]
    return out + checked_again(foot[:9] + struct.pack("<Q", moved[top]) + foot[17:])


def with_offsets(page, moved):
    fields, out = audit.Fields(page[:-32], "page"), page[:7]
    fields.take(5)
    for _ in range(fields.number(2)):
        digest, offset, length = fields.take(32), fields.number(8), fields.take(4)
        key = fields.take(fields.number(2))
        out += digest + struct.pack("<Q", moved[offset]) + length + struct.pack("<H", len(key)) + key
    return checked_again(out + page[-32:])


def catalogue_page_twice(r):
    at, size, page = a_page(r)
    return replace(at, page + page, size)


def catalogue_page_missing(r):
    at, size, page = a_page(r)
    return replace(at, b"", size)


def catalogue_leaves_swapped(r):
    """Two leaves of a page change places, check made anew."""
    level, number, at, size = r.choice([x for x in G["extents"] if x[0] == 0])
    page = G["catalogue"][at:at + size]
    bounds = G["bounds"][number]
    if len(bounds) < 3:
        return G["catalogue"]
    i, j = sorted(r.sample(range(len(bounds) - 1), 2))
    pieces = [page[a:b] for a, b in zip(bounds, bounds[1:])]
    pieces[i], pieces[j] = pieces[j], pieces[i]
    return replace(at, checked_again(page[:7] + b"".join(pieces) + page[-32:]), size)


def catalogue_of_another(r):
    return r.choice(G["other_catalogues"] or [b""])


CATALOGUE = (catalogue_bytes, catalogue_page_bytes, catalogue_page_checked, catalogue_page_checked, catalogue_upper_checked,
             catalogue_upper_checked, catalogue_place, catalogue_pages_swapped, catalogue_pages_moved, catalogue_page_twice, catalogue_page_missing, catalogue_leaves_swapped,
             catalogue_of_another)


def places_only(data):
    """Is this the good catalogue but for places and a page's check? The leaves' canonical parts are then the same."""
    if len(data) != len(G["catalogue"]):
        return False
    covered = [(at, at + size) for at, size in G["place_extents"]]
    checks = [(at + size - 32, at + size) for _, _, at, size in G["extents"]]
    differ = [i for i in range(len(data)) if data[i] != G["catalogue"][i]]
    return all(any(a <= i < b for a, b in covered + checks) for i in differ) and any(a <= i < b for a, b in covered for i in differ)


def try_catalogue(r):
    change = r.choice(CATALOGUE)
    G["name"], data = change.__name__, change(r)
    if data == G["catalogue"]:
        return None
    leaves = list(audit.Catalogue(io.BytesIO(data), G["root"], G["packs"], "catalogue").leaves())
    audit.check_references(leaves, G["root"], "catalogue")
    return "place" if places_only(data) else "accepted"


# ---------------------------------------------------------------- mutations of the other files of a disk

def remade_slot(r, folder):
    """An attacker's ROOT: altered, and the slot made to name it. Signatures, custody or the catalogue must refuse it."""
    p = {"root": G["root"].data}
    r.choice((root_field, root_field, root_features, root_of_another, root_altered))(r, p)
    if p["root"] == G["root"].data:
        return None
    write(os.path.join(folder, G["files"]["ROOT"]), p["root"])
    for name in ("superblock.0", "superblock.1"):
        data = G["bytes"][name]
        if data[44:76] == G["root"].hash:
            data = data[:44] + REAL["blake3"](p["root"]) + data[76:4064]
            write(os.path.join(folder, name), data + REAL["blake3"](data))
    return ["superblock.0", "superblock.1", G["files"]["ROOT"]]


def write(path, data):
    os.unlink(path)                            # hard links lead to the original
    with open(path, "wb") as file:
        file.write(data)


def altered_file(r, folder):
    name = r.choice(sorted(G["bytes"]))
    data = G["bytes"][name]
    if name.endswith(".pack"):
        spans = G["pack_spans"][name]          # header, page list and footer: the rest is not read
        a, b = r.choice(spans)
        new = data[:a] + r.choice((bit_flip, byte_change, zeroed))(r, data[a:b]) + data[b:] if r.random() < 0.8 else r.choice((truncated, appended))(r, data)
    else:
        other = r.choice(sorted(n for n in G["bytes"] if os.path.basename(n) == os.path.basename(name)))
        new = r.choice(BYTES)(r, data) if r.random() < 0.85 else G["bytes"][other] if r.random() < 0.7 else b""
    if new == data:
        return None
    write(os.path.join(folder, name), new)
    return [name]


def missing_file(r, folder):
    name = r.choice(sorted(G["bytes"]))
    os.unlink(os.path.join(folder, name))
    return [name]


def try_disk(r):
    folder = G["copy"]
    change = r.choice((altered_file,) * 6 + (remade_slot, remade_slot, missing_file))
    names = change(r, folder)
    if names is None:
        return None
    G["name"] = "disk/%s: %s" % (change.__name__, names[-1])
    try:
        disk = audit.Disk(folder)
        lines, _ = audit.check_disk(disk, G["disk_trust"])
        if disk.problems:
            return "refused"
        return "custody" if names == [G["last_record"]] else "accepted"
    finally:
        for name in names:
            path = os.path.join(folder, name)
            if os.path.lexists(path):
                os.unlink(path)
            os.link(os.path.join(G["pristine"], name), path)


# ---------------------------------------------------------------- mutations of what `full` reads

def reads_all():
    """The modules of `full`, where their packages are installed."""
    try:
        import audit_full
    except ImportError:
        return None
    return audit_full


def pack_bytes(r):
    """Any bytes of a pack: frames, tables, page list and what stands around them."""
    name = r.choice([n for n in G["bytes"] if n.endswith(".pack") and len(G["bytes"][n]) <= 1 << 22] or [None])
    if name is None:
        return None
    data = G["bytes"][name]
    new = r.choice((bit_flip, bit_flip, bit_flip, byte_change, zeroed, swapped, truncated, appended))(r, data)
    if new == data:
        return None
    path, number = os.path.join(G["copy"], name), int(os.path.basename(name)[:-5])
    write(path, new)
    try:
        disk = audit.Disk(G["copy"])
        audit.check_pack(disk, G["root"], number, *G["packs"][number])
        reads_all().check_tables(reads_all().Store(disk, G["packs"]), number)
        return "accepted"
    finally:
        os.unlink(path)
        os.link(os.path.join(G["pristine"], name), path)


def places_lead_elsewhere(r):
    """A blob, or a hot list as one, read by the place, list, size or id of another, which all hold by themselves."""
    full, leaves = reads_all(), [leaf._replace(kind=2) for leaf in G["leaves"] if leaf.kind in (2, 10) and leaf.content.tag == 2]
    if len(leaves) < 2:
        return None
    one, other = r.sample(leaves, 2)
    field = r.choice(("places", "content", "size", "sha256", "blob_id"))
    if getattr(one, field) == getattr(other, field):
        return None
    reader = full.Full(audit.Disk(G["copy"]), G["root"], G["packs"], [one._replace(**{field: getattr(other, field)})])
    reader.blobs()
    return "accepted"


def trees_of(kinds):
    full = reads_all()
    store = full.Store(audit.Disk(G["copy"]), G["packs"])
    return store, [leaf for leaf in G["leaves"] if leaf.kind in kinds and leaf.content.tree.inodes < 2000]


def altered_entry(r, entries):
    """One field of one entry, in memory; what it was."""
    entry = r.choice(entries)
    meta = list(entry.meta)
    at = r.randrange(5)
    meta[at] = meta[at] + 1 if at < 4 else (meta[at] + 1) % 10**9
    before = entry.meta
    entry.meta = tuple(meta)
    return entry, before


def chain_entry(r):
    """A stored chain of which one entry differs from what its layers make."""
    full = reads_all()
    store, leaves = trees_of((7,))
    if not leaves:
        return None
    leaf = r.choice(leaves)
    entries = [entry for _, _, entry in full.chain_tree(store, leaf).walk() if entry.name != b"links"]
    layers = full.Images(store, G["leaves"])
    if leaf.name not in layers.chains:
        return None
    entry, _ = altered_entry(r, entries)
    full.check_chains(store, layers, [leaf], lambda text: None)
    return "accepted"


def erofs_entry(r):
    """No image is on a disk. One of a tree in which one field of one entry differs must be another image."""
    full = reads_all()
    store, leaves = trees_of((7,))
    if not leaves:
        return None
    tree = full.chain_tree(store, r.choice(leaves))
    good = hashlib.sha256(b"".join(full.audit_erofs.Image(tree).pieces())).digest()
    altered_entry(r, [entry for _, path, entry in tree.walk() if path or entry is tree.rootfs])
    tree.check()                               # one of two names of an inode: refused as a tree
    bad = hashlib.sha256(b"".join(full.audit_erofs.Image(tree).pieces())).digest()
    if good == bad:
        return "accepted"
    raise audit.Fault("image", "is another")


def hot_list(r):
    """A hot list of another chain's files, with another's hashes or list, or a place that leads to another chunk."""
    full, leaves = reads_all(), [leaf for leaf in G["leaves"] if leaf.kind == 10]
    blobs = [leaf for leaf in G["leaves"] if leaf.kind in (2, 10) and leaf.content.tag == 2]
    if not leaves or len(blobs) < 2:
        return None
    leaf, other = r.choice(leaves), r.choice(blobs)
    store = full.Store(audit.Disk(G["copy"]), G["packs"])
    tree = next(chain for chain in G["leaves"] if chain.kind == 7 and chain.name == leaf.name)
    entries = [entry for _, _, entry in full.chain_tree(store, tree).walk()]
    ways = [{"sha256": r.randbytes(32)}, {"blob_id": r.randbytes(32)}, {"size": leaf.size + 1}, {"size": leaf.size - 1}]
    if other.places != leaf.places:
        ways += [{"places": other.places}, {"content": other.content, "places": other.places, "size": other.size}]
    if r.random() < 0.3:
        entries = [entry for entry in entries if not entry.content or entry.content.tag != 2][:-1]
        ways = [{}]
    full.check_hot_list(store, leaf._replace(**r.choice(ways)), entries)
    return "accepted"


def recipe_bytes(r):
    """A recipe altered. What says only how the gzipped bytes differ from a model's is not noticed here: corrections and kept bytes."""
    full = reads_all()
    leaves = [leaf for leaf in G["leaves"] if leaf.kind == 2 and leaf.content.tag == 3 and leaf.size < 1 << 22]
    if not leaves:
        return None
    leaf, store = r.choice(leaves), full.Store(audit.Disk(G["copy"]), G["packs"])
    data = store.whole(leaf.content.recipe, leaf.content.size, leaf.places[0], 1 << 32, "recipe")
    new = r.choice((bit_flip, bit_flip, byte_change, zeroed, truncated, cut_out, inserted))(r, data)
    if new == data:
        return None
    diff_id = next(layer.name.split("/")[0] for layer in G["leaves"] if layer.kind == 6 and layer.name.endswith(leaf.name))
    entries = full.LayerTree(store, "tree", leaf.content.tree, leaf.places[1], True).check()
    good, skipped = sys.modules["audit_layers"].Recipe(data, leaf.size, leaf.blob_id, "recipe"), set()
    for part in good.parts:
        skipped.update(range(part.offset, part.offset + part.length))
    store.whole = lambda *_: new
    full.check_recipe(store, leaf, entries, diff_id)
    names = len(data) - 64 - len(good.parts) * 32 - len(good.stretches) * 40 - good.outboard
    apart = all(i in skipped or good.tables <= i < names + 32 * len(good.parts) for i in range(len(data)) if len(new) != len(data) or new[i] != data[i])
    return "recipe" if apart and len(new) == len(data) else "accepted"


FULL = (pack_bytes, pack_bytes, pack_bytes, places_lead_elsewhere, chain_entry, erofs_entry, hot_list, recipe_bytes)


def try_full(r):
    if not reads_all():
        return None
    change = r.choice(FULL)
    G["name"] = "full/" + change.__name__
    return change(r)


# ---------------------------------------------------------------- running them

def one(i):
    """Mutation i. (name, outcome); outcome None: gave the same bytes."""
    kinds = [kind for kind in (try_proof,) * 12 + (try_catalogue,) * 4 + (try_disk,) * 4 + (try_full,) if (G["only"] or "") in kind.__name__]
    for again in range(100):
        r = random.Random("%s:%d:%d" % (G["seed"], i, again))
        kind = r.choice(kinds)
        G["name"] = kind.__name__              # what is tried now: kept if the verifier refuses it
        try:
            outcome = kind(r)
        except audit.Fault as fault:
            outcome = "refused" if fault.code in (3, 6) else "exit code %d: %s" % (fault.code, fault)
        except Exception as error:             # a traceback on hostile input is a failure of the verifier
            outcome = "crash: %r" % error
        if outcome is not None:
            return i, G["name"], outcome
    return i, "nothing", "refused"


def worker(numbers):
    with tempfile.TemporaryDirectory(dir=G["scratch"]) as folder:
        G["copy"] = os.path.join(folder, "disk")
        link_tree(G["pristine"], G["copy"])
        return [one(i) for i in numbers]


def link_tree(source, target):
    for here, _, files in os.walk(source):
        there = os.path.join(target, os.path.relpath(here, source))
        os.makedirs(there, exist_ok=True)
        for name in files:
            os.link(os.path.join(here, name), os.path.join(there, name))


def foreign_signatures(message):
    with tempfile.TemporaryDirectory() as folder:
        key = os.path.join(folder, "key")
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        sign = lambda data, name: subprocess.run(["ssh-keygen", "-q", "-Y", "sign", "-f", key, "-n", name], input=data, capture_output=True, check=True).stdout
        wrong = [sign(message, "file"), sign(message[:-1], audit.NAMESPACE), sign(message, "holdall-root@v2")]
        return wrong + ([sign(message, audit.NAMESPACE)] if G["trust"].allowed else [])


def page_bounds(packs):
    """Where leaves and their places begin in each leaf page, found with the verifier's own parser."""
    bounds, places = [], []
    for level, number, at, size in G["extents"]:
        if level == 0:
            fields = audit.Fields(G["catalogue"][at:at + size - 32], "page")
            fields.take(5)
            here = [7]
            for _ in range(fields.number(2)):
                leaf = audit.read_leaf(fields)
                start = fields.at
                audit.read_places(fields, leaf, packs)
                if leaf.content.tag in (2, 5):
                    places.append((at + start, 16))
                elif leaf.content.tag == 3:
                    count = 32 if leaf.content.recipe.tag == 2 else 16
                    places.append((at + fields.at - count, count))
                here.append(fields.at)
            bounds.append(here)
    return bounds, places


def pack_spans(data):
    frames, chunks = struct.unpack("<II", data[-84:-76])
    pages = -(-frames // 780) + -(-chunks // 1489)
    return [(0, 64), (len(data) - 128, len(data)), (len(data) - 128 - 32 * pages, len(data) - 128)]


def counted(lines):
    """How many keys count: all of them are demanded from here on, so that a signature that is altered is missed."""
    return len({x.split(", key ")[1] for x in lines if x.startswith("signature ") and ", key " in x and " by nobody " not in x})


def prepare(options, scratch):
    """Learns the good proof and disk, by way of the verifier, which must accept both."""
    G.update(learning=True, seed=options.seed, only=options.only, scratch=scratch, pristine=os.path.join(scratch, "pristine"))
    audit.blake3 = remember(REAL["blake3"])
    audit.check_signature = remember(lambda message, armor, trust, place: REAL["check_signature"](message, armor, audit.Trust(trust.allowed, list(trust.identities), 0), place))
    checked = audit.check_signature
    audit.check_signature = lambda message, armor, trust, place: checked(message, armor, audit.Trust(trust.allowed, tuple(trust.identities), 0), "signature")
    shutil.copytree(options.disk, G["pristine"])
    with open(options.proof, "rb") as file:
        G["proof"] = file.read()
    if b"\nsignature " in G["proof"] and not options.allowed_signers:
        sys.exit("the proof is signed: give --allowed-signers, else its signatures are not demanded")
    trust = audit.Trust(options.allowed_signers, (), 1)
    leaf, lines = audit.check_proof(G["proof"], options.proof, trust if b"\nsignature " in G["proof"] else audit.Trust(None, (), 1))
    root = audit.Root(take_apart(G["proof"])["root"], "ROOT")
    signed = counted(lines)
    G["trust"] = audit.Trust(options.allowed_signers if signed else None, (), max(1, signed))
    assert put_together(take_apart(G["proof"])) == G["proof"], "this program cannot put the good proof together"
    prepare_disk(options, root)
    G["foreign"] = foreign_signatures(root.data)
    G["learning"] = False


def prepare_disk(options, proven):
    disk = audit.Disk(G["pristine"])
    G["root"] = root = audit.current(disk)
    assert not disk.problems, disk.problems
    assert root.hash == proven.hash, "the proof is not of the disk's current generation"
    signatures, _ = audit.signature_files(disk, root)
    lines, G["leaves"] = audit.check_disk(disk, audit.Trust(options.allowed_signers if signatures else None, (), 1))
    keys = counted(lines)
    G["disk_trust"] = audit.Trust(options.allowed_signers if signatures else None, (), max(1, keys))
    G["hashes"] = [audit.leaf_hash(leaf.canonical) for leaf in G["leaves"]]
    folder = os.path.relpath(disk.generation(root.generation), G["pristine"])
    G["files"] = {name: os.path.join(folder, name) for name in ("ROOT", "catalogue", "packs", "custody")}
    with open(os.path.join(G["pristine"], G["files"]["catalogue"]), "rb") as file:
        G["catalogue"] = file.read()
    G["packs"] = packs = audit.check_pack_set(disk, root)
    reader = audit.Catalogue(io.BytesIO(G["catalogue"]), root, packs, "catalogue")
    list(reader.leaves())
    G["extents"] = sorted(reader.extents)
    G["bounds"], G["place_extents"] = page_bounds(packs)
    learn_files(disk, root, folder)
    good = G["leaves"]                        # the catalogue is tried by itself: here it is as it was
    audit.check_catalogue = lambda d, other, p: good if other.hash == root.hash and p == packs else REAL["check_catalogue"](d, other, p)


def learn_files(disk, root, folder):
    """All small files that the current generation, or the chains behind it, lean on; and the packs' ends."""
    G["bytes"], G["pack_spans"] = {}, {}
    G["other_roots"], G["other_catalogues"] = [], []
    names, step = ["superblock.0", "superblock.1"], root
    while step is not None:
        here = os.path.relpath(disk.generation(step.generation), G["pristine"])
        with os.scandir(os.path.join(G["pristine"], here)) as entries:
            found = sorted(entry.name for entry in entries)
        wanted = ("ROOT", "custody", "packs") if step is root else ("ROOT", "custody")
        names += [os.path.join(here, n) for n in found if n in wanted or n.startswith("custody.") or step is root and n.endswith(".sig")]
        if step is not root:
            G["other_roots"].append(step.data)
            with open(disk.generation(step.generation, "catalogue"), "rb") as file:
                G["other_catalogues"].append(file.read())
        step = audit.before(disk, step)
    # A slot that no longer names anything but is as it was written is covered by its check all the same.
    names += [os.path.join("packs", "%06d.pack" % n) for n in G["packs"]]
    for name in names:
        with open(os.path.join(G["pristine"], name), "rb") as file:
            G["bytes"][name] = file.read()
        if name.endswith(".pack"):
            G["pack_spans"][name] = pack_spans(G["bytes"][name])
    changed = root.data.replace(b"\ntime ", b"\ntime 1")
    G["other_roots"].append(changed)
    G["last_record"] = max((n for n in names if n.startswith(os.path.join(folder, "custody."))), default=None)


def controls():
    """Proofs made here for other leaves must be accepted: else refusing mutations would show nothing."""
    r = random.Random(G["seed"])
    for index in {0, len(G["leaves"]) - 1} | {r.randrange(len(G["leaves"])) for _ in range(40)}:
        audit.check_proof(put_together(good_proof(index)), "control", G["trust"], G["root"].hash)
    return "controls: proofs of other leaves made here are accepted"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("proof")
    parser.add_argument("disk")
    parser.add_argument("count", nargs="?", type=int, default=10000)
    parser.add_argument("seed", nargs="?", type=int, default=1)
    parser.add_argument("--allowed-signers")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--only", help="only proof, catalogue, disk or full")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        prepare(options, scratch)
        print(controls())
        parts = [range(i, options.count, options.jobs * 4) for i in range(options.jobs * 4)]
        with multiprocessing.get_context("fork").Pool(options.jobs) as pool:
            results = sorted(x for part in pool.imap_unordered(worker, parts) for x in part)
    return report(results)


def report(results):
    kinds = collections.Counter(name for _, name, _ in results)
    print("\n".join("%6d %s" % (count, name) for name, count in sorted(kinds.items())))
    apart = {"label": "altered only a signer's label, which nothing covers (FORMAT.md 4.1)",
             "custody": "altered only the last custody record, which nothing covers (FORMAT.md 12)",
             "recipe": "altered only how a recipe's layer is compressed again, which is not done here (FORMAT.md 11.2, 11.3)",
             "place": "altered only places, check made anew: found when the frame is read (FORMAT.md 12), which is not done here"}
    for outcome, what in apart.items():
        count = sum(1 for _, _, o in results if o == outcome)
        if count:
            print("%d mutations %s; not counted" % (count, what))
    results = [x for x in results if x[2] not in apart]
    wrong = [x for x in results if x[2] != "refused"]
    for i, name, outcome in wrong:
        print("mutation %d, %s: %s" % (i, name, outcome))
    print("%d mutations, %d accepted" % (len(results), len(wrong)))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
