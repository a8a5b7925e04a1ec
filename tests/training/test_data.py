"""Tokenizer, shards, packing, downloads: real files, a real server on loopback."""

from __future__ import annotations

import hashlib
import http.server
import pickle
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evolve.evaluators.training import bins, bpe, corpus, data, fetch, packing, prepare, tracks
from evolve.tasks.errors import TaskError
from tests.support import test_data

TEXT = [
    "The cat sat on the mat, and the dog sat on the log.\n",
    "It's 1234 o'clock — naïve café!\r\n\r\n  indented\tcode()\n",
] * 5


# ---- tokenizer -------------------------------------------------------------------------------------------------------


def test_a_tokenizer_is_lossless_and_trained_the_same_way_each_time() -> None:
    first, second = bpe.train(TEXT, 300), bpe.train(list(TEXT), 300)
    assert first.digest() == second.digest() and first.size == 300 and first.begin == 296
    for text in (*TEXT, "日本語 🙂 \x00", ""):
        ids = first.encode(text)
        assert first.decode(ids) == text.encode() and max(ids, default=0) < 296
    assert len(first.encode("the cat")) < len("the cat")


def test_merges_follow_the_most_frequent_pair() -> None:
    tokenizer = bpe.train(["ababab abab ab"], 262)
    assert list(tokenizer.ranks)[256:] == [b"ab", b" ab"] or list(tokenizer.ranks)[256:] == [b"ab", b"abab"]


def test_the_split_pattern_follows_unicode() -> None:
    pieces = bpe._splitter(bpe.PATTERN).findall("don't Straße 12345 x²\n\n  y")
    assert pieces == ["don", "'t", " Straße", " ", "12", "34", "5", " x", "²", "\n\n", " ", " y"]


def test_a_tokenizer_of_upstreams_layout_is_read_without_running_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self):  # type: ignore[no-untyped-def]
            return (open, (str(tmp_path / "ran"), "w"))

    (tmp_path / "tokenizer.pkl").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(TaskError, match="tokenizer"):
        bpe.Tokenizer.load(tmp_path / "tokenizer.pkl")
    assert not (tmp_path / "ran").exists()


def test_upstreams_own_tokenizer_counts_every_byte() -> None:
    folder = test_data("corpus")
    tokenizer = bpe.Tokenizer.load(folder / "tokenizer" / "tokenizer.pkl")
    assert (tokenizer.size, tokenizer.begin) == (8192, 8188)
    counts = np.array(tokenizer.token_bytes())
    texts = [
        text for text, _ in zip(corpus.documents(folder / "tiny" / "shard_06542.parquet"), range(40), strict=False)
    ]
    assert all(counts[tokenizer.encode(text)].sum() == len(text.encode()) for text in texts)


def test_a_saved_tokenizer_comes_back(tmp_path: Path) -> None:
    tokenizer = bpe.train(TEXT, 280)
    tokenizer.save(tmp_path / "t.json")
    assert bpe.Tokenizer.load(tmp_path / "t.json").digest() == tokenizer.digest()


# ---- packing ---------------------------------------------------------------------------------------------------------


def slowly(documents: list[list[int]], length: int, buffer: int) -> list[list[int]]:
    """Best fit spelt out: search the whole buffer each time."""
    waiting = list(documents)
    have: list[list[int]] = []
    rows = []
    while True:
        row: list[int] = []
        while len(row) < length:
            while waiting and len(have) < buffer:
                have += waiting[: packing.BATCH]
                del waiting[: packing.BATCH]
            if not have:
                return rows
            room = length - len(row)
            fitting = [d for d in have if len(d) <= room]
            best = max(fitting, key=len) if fitting else min(have, key=len)
            have.remove(best)
            row += best[:room]
        rows.append(row)


def test_packing_is_best_fit() -> None:
    random = np.random.default_rng(3)
    documents = [[i * 100 + j for j in range(int(n))] for i, n in enumerate(random.integers(1, 60, 400))]
    assert [row.tolist() for row in packing.pack(documents, 50)] == [
        [x & 0xFFFF for x in row] for row in slowly(documents, 50, packing.BUFFER)
    ]
    packer = packing.Packer(documents, 50, 40)
    few = [next(rows) for rows in [packer.rows()] for _ in range(5)]
    assert few == slowly(documents, 50, 40)[:5]
    used = {token // 100 for row in few for token in row}
    assert not used & {*packer.left(), *range(packer.read, 400)}


def test_a_stream_in_rows_has_every_token_as_target_once() -> None:
    rows = packing.chunk(np.arange(26, dtype=np.uint16), 5)
    assert rows.shape == (5, 6) and rows[:, 1:].ravel().tolist() == list(range(1, 26))


def test_a_cut_or_foreign_token_shard_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "fineweb_train_000001.bin"
    bins.write(path, np.arange(1000, dtype=np.uint16))
    assert bins.read(path).tolist() == list(range(1000))
    whole = path.read_bytes()
    for damaged, word in ((whole[:-10], "cut off"), (b"\0" * 4 + whole[4:], "no token shard"), (whole[:100], "no token shard"),
                          (whole[:4] + b"\x07" + whole[5:], "version")):  # fmt: skip
        path.write_bytes(damaged)
        with pytest.raises(TaskError, match=word):
            bins.read(path)


# ---- data sets -------------------------------------------------------------------------------------------------------


def test_the_help_text_is_split_without_overlap(tmp_path: Path) -> None:
    train, validation, holdout = corpus.split_help_text()
    assert not set(train) & set(validation) and not set(train) & set(holdout) and not set(validation) & set(holdout)
    track = tracks.TRACKS["nanochat/cpu"]
    first = data.load(track, None, cache=tmp_path / "a")
    again = data.load(track, None, cache=tmp_path / "b")
    assert first.digest == again.digest and first.train.shape[1] == 129
    assert first.bytes_of(first.validation) > 10_000


def shards(folder: Path, texts: list[str]) -> None:
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    parquet = pytest.importorskip("pyarrow.parquet")
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in (("shard_00000", texts[::2]), ("shard_06542", texts[1::2])):
        parquet.write_table(pa.table({"text": part}), folder / f"{name}.parquet")


def test_a_folder_of_shards_is_packed_and_moves_to_another_machine(tmp_path: Path) -> None:
    shards(tmp_path / "data", corpus.help_text())
    track = tracks.TRACKS["nanochat/cpu"]
    found = data.load(track, tmp_path, cache=tmp_path / "cache")
    assert len(found.train) > 100 and len(found.validation) > 2 and len(found.holdout) > 2
    data.write(found, tmp_path / "packed", track)
    assert data.load(track, tmp_path / "packed").digest == found.digest
    with pytest.raises(TaskError, match="packed for"):
        data.load(tracks.TRACKS["nanochat/30s"], tmp_path / "packed")


def test_rows_for_a_target_loss_are_those_of_30s_cut_shorter(tmp_path: Path) -> None:
    shards(tmp_path / "data", corpus.help_text())
    track = tracks.TRACKS["speedrun/cpu"]
    long = replace(tracks.TRACKS["nanochat/cpu"], sequence=data.PACKED, tokens=None)
    short, whole = (data.load(which, tmp_path, cache=tmp_path / "cache") for which in (track, long))
    assert short.train.shape[1] == track.sequence + 1 and whole.train.shape[1] == data.PACKED + 1
    for ours, theirs in ((short.train, whole.train), (short.validation, whole.validation), (short.holdout, whole.holdout)):
        told = theirs[:, :-1].ravel()
        assert np.array_equal(ours[:, :-1].ravel(), told[: ours[:, :-1].size]) and ours[:, :-1].size > 0.9 * told.size


def test_a_folder_without_the_pinned_shard_is_refused(tmp_path: Path) -> None:
    shards(tmp_path, TEXT * 20)
    (tmp_path / "shard_06542.parquet").unlink()
    with pytest.raises(TaskError, match="06542"):
        data.load(tracks.TRACKS["nanochat/cpu"], tmp_path, cache=tmp_path / "cache")


# ---- downloads -------------------------------------------------------------------------------------------------------


class Server(http.server.BaseHTTPRequestHandler):
    """Serves `files` with ranges; `cut` bytes into a file it hangs up, once a file."""

    files: dict[str, bytes] = {}  # noqa: RUF012 - reset by the fixture
    cut: int | None = None
    seen: list[tuple[str, str | None]] = []  # noqa: RUF012 - as above
    hung: set[str] = set()  # noqa: RUF012 - as above

    def do_GET(self) -> None:
        name = self.path.rpartition("/")[2]
        self.seen.append((name, self.headers.get("Range")))
        if name not in self.files:
            self.send_error(404)
            return
        whole = self.files[name]
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").rstrip("-"))
        if start >= len(whole):
            self.send_error(416)
            return
        body = whole[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.cut is not None and name not in self.hung:
            self.hung.add(name)
            body = body[: self.cut]
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def server() -> Iterator[str]:
    Server.files, Server.cut, Server.seen, Server.hung = {}, None, [], set()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_download_that_broke_off_goes_on_where_it_stopped(server: str, tmp_path: Path) -> None:
    content = bytes(range(256)) * 1000
    Server.files, Server.cut = {"a.bin": content}, 100_000
    wanted = fetch.Wanted("a.bin", f"{server}/a.bin", digest(content))
    assert fetch.fetch(wanted, tmp_path, pause=0).read_bytes() == content
    assert Server.seen == [("a.bin", None), ("a.bin", "bytes=100000-")]
    fetch.fetch(wanted, tmp_path, pause=0)
    assert len(Server.seen) == 2, "what is there and right is not fetched again"


def test_an_interrupted_process_resumes(server: str, tmp_path: Path) -> None:
    content = b"x" * 5000
    Server.files = {"a.bin": content}
    (tmp_path / "a.bin.part").write_bytes(content[:1234])
    fetch.fetch(fetch.Wanted("a.bin", f"{server}/a.bin", digest(content)), tmp_path, pause=0)
    assert Server.seen == [("a.bin", "bytes=1234-")] and (tmp_path / "a.bin").read_bytes() == content


def test_a_wrong_file_never_takes_its_place(server: str, tmp_path: Path) -> None:
    Server.files = {"a.bin": b"something else"}
    wanted = fetch.Wanted("a.bin", f"{server}/a.bin", digest(b"what was meant"))
    with pytest.raises(fetch.FetchError, match="sha256"):
        fetch.fetch(wanted, tmp_path, pause=0)
    assert list(tmp_path.iterdir()) == [], "nothing of it is kept, so the next try starts anew"
    Server.files = {"a.bin": b"what was meant"}
    assert fetch.fetch(wanted, tmp_path, pause=0).read_bytes() == b"what was meant"


def test_a_file_changed_on_disk_or_missing_there_is_told(server: str, tmp_path: Path) -> None:
    Server.files = {"a.bin": b"right"}
    wanted = fetch.Wanted("a.bin", f"{server}/a.bin", digest(b"right"))
    fetch.fetch(wanted, tmp_path, pause=0)
    (tmp_path / "a.bin").write_bytes(b"wrong")
    assert fetch.fetch(wanted, tmp_path, pause=0).read_bytes() == b"right"
    with pytest.raises(fetch.FetchError, match="404"):
        fetch.fetch(fetch.Wanted("b.bin", f"{server}/b.bin"), tmp_path, pause=0)


def test_a_server_that_always_hangs_up_is_given_up_on(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Server.files, Server.cut = {"a.bin": b"y" * 900}, 10
    monkeypatch.setattr(Server, "hung", frozenset())
    monkeypatch.setattr(Server, "do_GET", _hang_up)
    with pytest.raises(fetch.FetchError, match="5 tries"):
        fetch.fetch(fetch.Wanted("a.bin", f"{server}/a.bin"), tmp_path, pause=0)


def _hang_up(self: Server) -> None:
    self.send_response(200)
    self.send_header("Content-Length", "900")
    self.end_headers()


def test_prepare_downloads_verifies_and_packs(server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shards(tmp_path / "there", corpus.help_text())
    Server.files = {path.name: path.read_bytes() for path in (tmp_path / "there").iterdir()}
    Server.cut = 5000
    arguments = {"base": server, "shards": 1, "into": tmp_path / "here", "pause": 0.0}
    folder = prepare.prepare("nanochat", "cpu", **arguments)  # type: ignore[arg-type]
    assert sorted(p.name for p in folder.glob("*.parquet")) == ["shard_00000.parquet", "shard_06542.parquet"]
    assert "verified" in capsys.readouterr().err
    Server.files["shard_00000.parquet"] = b"now something else"
    (folder / "shard_00000.parquet").unlink()
    with pytest.raises(fetch.FetchError, match="sha256"):  # pinned by the first download
        prepare.prepare("nanochat", "cpu", **arguments)  # type: ignore[arg-type]
    assert prepare.main(["nanochat", "--track", "cpu", "--from", str(tmp_path / "there")]) == 0
    assert prepare.main(["nanochat", "--track", "cpu", "--from", str(tmp_path / "nowhere")]) == 2
