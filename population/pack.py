"""Writing packs: a header, zlib-compressed entries, a checksum; beside it an index of version 2 (gitformat-pack(5)).

Entries are whole objects, never deltas, so they do not depend on where they stand: `concatenate` joins packs by copying
bytes. Deltas come later, from git's own repack (population/maintenance.py).
"""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from evolve.population import disk

LEVEL = 1
"""zlib level of a fresh pack: a third of the time of git's default for a tenth more bytes, and repack redoes it."""

_LARGE = 1 << 31


@dataclass(slots=True)
class Pack:
    """One pack in memory: its bytes without trailer, and per object the 20-byte id, CRC-32 and offset."""

    body: bytearray
    ids: list[bytes]
    crcs: list[int]
    offsets: list[int]

    @classmethod
    def empty(cls) -> Pack:
        return cls(bytearray(12), [], [], [])

    def add(self, oid: bytes, entry: bytes) -> None:
        self.ids.append(oid)
        self.crcs.append(zlib.crc32(entry))
        self.offsets.append(len(self.body))
        self.body += entry

    def __len__(self) -> int:
        return len(self.ids)

    def seal(self) -> tuple[bytes, bytes]:
        """(pack file, index file)."""
        self.body[:12] = b"PACK" + struct.pack(">II", 2, len(self.ids))
        trailer = hashlib.sha1(self.body, usedforsecurity=False).digest()
        return bytes(self.body) + trailer, _index(self, trailer)


def entry(kind: int, data: bytes) -> bytes:
    """One object as it stands in a pack: type and length in base 128, then zlib."""
    size = len(data)
    byte = (kind << 4) | (size & 15)
    size >>= 4
    head = bytearray()
    while size:
        head.append(byte | 0x80)
        byte = size & 0x7F
        size >>= 7
    head.append(byte)
    return bytes(head) + zlib.compress(data, LEVEL)


def build(objects: Iterable[tuple[str, int, bytes]]) -> Pack:
    """A pack of (hex id, type, content)."""
    pack = Pack.empty()
    for oid, kind, data in objects:
        pack.add(bytes.fromhex(oid), entry(kind, data))
    return pack


def _index(pack: Pack, trailer: bytes) -> bytes:
    order = sorted(range(len(pack.ids)), key=pack.ids.__getitem__)
    counts = [0] * 256
    for oid in pack.ids:
        counts[oid[0]] += 1
    total, fanout = 0, []
    for count in counts:
        total += count
        fanout.append(total)
    small: list[int] = []
    large: list[int] = []
    for at in order:
        offset = pack.offsets[at]
        if offset < _LARGE:
            small.append(offset)
        else:
            small.append(_LARGE | len(large))
            large.append(offset)
    n = len(order)
    out = b"".join(
        (
            b"\377tOc",
            struct.pack(">I256I", 2, *fanout),
            b"".join([pack.ids[at] for at in order]),
            struct.pack(f">{n}I", *[pack.crcs[at] for at in order]),
            struct.pack(f">{n}I", *small),
            struct.pack(f">{len(large)}Q", *large),
            trailer,
        )
    )
    return out + hashlib.sha1(out, usedforsecurity=False).digest()


def store(pack: Pack, folder: str, *, durable: bool, keep: str = "") -> str:
    """Write pack and index into `folder` (`objects/pack`); both are on disk when this returns. Returns the stem.

    The index is renamed last: git looks for packs by their index. `keep`: also leave a `.keep` file with this text, so
    that a repack leaves the pack alone. Nothing stays behind when a write fails.
    """
    data, index = pack.seal()
    stem = os.path.join(folder, "pack-" + data[-20:].hex())
    if os.path.exists(stem + ".idx") and os.path.exists(stem + ".pack"):
        return stem  # the very same objects, written before
    # git takes whatever ends in .pack or .idx for one, whatever it begins with
    scratch = {end: os.path.join(folder, f"tmp{end}_{os.getpid()}_{data[-20:].hex()}") for end in ("_pack", "_idx")}
    made = []
    try:
        for end, content in (("_pack", data), ("_idx", index)):
            made.append(scratch[end])
            disk.write_file(scratch[end], content, durable=durable)
        if keep:
            made.append(stem + ".keep")
            disk.write_file(stem + ".keep", keep.encode(), durable=False)
        for end, suffix in (("_pack", ".pack"), ("_idx", ".idx")):
            disk.replace(scratch[end], stem + suffix)
            made.append(stem + suffix)
        if durable:
            disk.sync_directory(folder)
    except OSError as error:
        disk.unlink(made[::-1])
        raise disk.DiskError(error, folder) from error
    return stem


def concatenate(stems: Sequence[str]) -> Pack:
    """One pack with every object of those packs (each written by `store`: whole entries only), each once.

    Raises FileNotFoundError where a pack was repacked away meanwhile.
    """
    out, have = Pack.empty(), set[bytes]()
    for stem in stems:
        with open(stem + ".pack", "rb") as file:
            data = file.read()
        with open(stem + ".idx", "rb") as file:
            index = file.read()
        for oid, start, end in _entries(index, len(data) - 20):
            if oid not in have:
                have.add(oid)
                out.add(oid, data[start:end])
    return out


def _entries(index: bytes, end: int) -> list[tuple[bytes, int, int]]:
    """(id, start, end) of each entry, in the pack's order. Packs of less than 2 GiB."""
    n = struct.unpack_from(">I", index, 8 + 255 * 4)[0]
    names = 8 + 1024
    offsets = struct.unpack_from(f">{n}I", index, names + 24 * n)
    order = sorted(range(n), key=offsets.__getitem__)
    out = []
    for place, at in enumerate(order):
        stop = offsets[order[place + 1]] if place + 1 < n else end
        out.append((index[names + 20 * at : names + 20 * at + 20], offsets[at], stop))
    return out
