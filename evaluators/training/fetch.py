"""Downloads that resume and are verified. A file is in its place only when it is whole and right."""

from __future__ import annotations

import hashlib
import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from evolve.tasks.errors import EvolveError

CHUNK = 1 << 20
TRIES = 5


class FetchError(EvolveError):
    """A file could not be had, or is not what it should be."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """size in bytes and hex sha256, where they are known beforehand."""

    name: str
    url: str
    sha256: str = ""
    size: int | None = None


def fetch(wanted: Wanted, folder: Path, *, timeout: float = 30.0, pause: float = 1.0) -> Path:
    """The file in `folder`, downloaded unless it is there and right. An interrupted one goes on where it stopped.

    Raises FetchError where it cannot be had, is shorter than announced, or has another sha256 (it is then removed, so
    that the next call starts anew).
    """
    folder.mkdir(parents=True, exist_ok=True)
    target, part = folder / wanted.name, folder / f"{wanted.name}.part"
    if target.is_file() and (not wanted.sha256 or sha256(target) == wanted.sha256):
        return target
    problem = ""
    for attempt in range(TRIES):
        try:
            whole = _download(wanted, part, timeout)
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, urllib.error.HTTPError) and error.code not in (408, 416, 429, 500, 502, 503, 504):
                raise FetchError(f"{wanted.url}: the server says {error.code} {error.reason}") from error
            whole, problem = False, str(error)
        if whole:
            break
        problem = problem or f"it ended after {part.stat().st_size if part.exists() else 0} bytes"
        time.sleep(pause * 2**attempt if attempt + 1 < TRIES else 0)
    else:
        raise FetchError(f"{wanted.url} could not be fetched in {TRIES} tries: {problem}; run it again to go on")
    found = sha256(part)
    if wanted.sha256 and found != wanted.sha256:
        part.unlink()
        raise FetchError(
            f"{wanted.name} has sha256 {found[:16]}..., expected {wanted.sha256[:16]}...: the file was changed or damaged; "
            "it was removed, run it again, or ask whoever serves it"
        )
    part.rename(target)
    return target


def _download(wanted: Wanted, part: Path, timeout: float) -> bool:
    """Bytes after what is there; whether the file is whole now."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(wanted.url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # nothing after what is there: whole, or longer than the server's
            if wanted.size in (None, have):
                return True
            part.unlink()
        raise
    with answer:
        resumed = answer.status == 206
        length = answer.headers.get("Content-Length")
        announced = int(length) + (have if resumed else 0) if length is not None else None
        with open(part, "ab" if resumed else "wb") as file:
            while chunk := answer.read(CHUNK):
                file.write(chunk)
    size = part.stat().st_size
    return size == (wanted.size if wanted.size is not None else announced if announced is not None else size)


def sha256(path: Path) -> str:
    """Hex sha256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Lock:
    """Hashes of what was fetched before, in `hashes.json`: what has no published hash is pinned by its first download."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "hashes.json"
        self.known: dict[str, str] = json.loads(self.path.read_text()) if self.path.is_file() else {}

    def fetch(self, wanted: Wanted, folder: Path, check: Callable[[Path], object], **more: float) -> Path:
        """As `fetch`, against the pinned hash if there is one; `check` looks inside and raises for what is no such file."""
        pinned = wanted.sha256 or self.known.get(wanted.name, "")
        path = fetch(Wanted(wanted.name, wanted.url, pinned, wanted.size), folder, **more)
        check(path)
        self.known[wanted.name] = sha256(path)
        self.path.write_text(json.dumps(dict(sorted(self.known.items())), indent=1), encoding="utf-8")
        return path


def manifest(path: Path) -> Mapping[str, str]:
    """name -> hex sha256 of a JSON manifest. Raises FetchError for anything else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FetchError(f"{path} is no manifest: {error}") from error
    if not isinstance(found, dict) or not all(isinstance(v, str) and len(v) == 64 for v in found.values()):
        raise FetchError(f"{path} must map file names to sha256 digests")
    return found
