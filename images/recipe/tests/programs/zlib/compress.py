"""Writes what it is given as gzip with zlib.

Standard input is any number of jobs: level, memory level (a byte each), bytes that are handed over at once (0: all),
length (4 bytes each, little-endian), and that many bytes. Standard output is a length and a gzip file for each.
"""

import struct
import sys
import zlib


def main():
    jobs = sys.stdin.buffer.read()
    at = 0
    while at < len(jobs):
        level, memory, piece, length = struct.unpack_from("<BBII", jobs, at)
        at += 10
        plain = jobs[at : at + length]
        at += length
        encoder = zlib.compressobj(level, zlib.DEFLATED, 31, memory)
        piece = piece or max(length, 1)
        out = b"".join(encoder.compress(plain[start : start + piece]) for start in range(0, length, piece))
        out += encoder.flush()
        sys.stdout.buffer.write(struct.pack("<I", len(out)) + out)


main()
