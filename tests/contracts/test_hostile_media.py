"""Files made to harm: playlists that name other things, and small files that ask for much.

Each playlist is tried under the name of a clip and under its own suffix. The canaries prove by
their silence, so every one of them is first shown to sing when FFmpeg is asked without our rules.
"""

import io
import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import pytest
from typer.testing import CliRunner

from mmperson.cli.app import app
from mmperson.datasets import write_manifest
from mmperson.errors import DataError, MediaError, UnreadableMedia, UsageError
from mmperson.inference.predictor import load
from mmperson.media import AudioWindow, probe_clip, read_clip
from tests.conftest import make_corpus
from tests.fixtures.bombs import BOMBS
from tests.fixtures.canary import Canaries, attacks, with_outer_track
from tests.fixtures.index_bombs import INDEX_BOMBS
from tests.fixtures.media import write_clip

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the canaries need Linux")

SUFFIXES = {"ffconcat": ".ffconcat", "hls": ".m3u8", "dash": ".mpd", "sdp": ".sdp"}


@pytest.fixture
def canaries(tmp_path: Path):
    canaries = Canaries(write_clip(tmp_path / "canary.mp4", duration_s=0.5))
    yield canaries
    canaries.close()


@pytest.fixture
def hostile(canaries: Canaries) -> list[Path]:
    """Every playlist, as an .mp4 and under its own suffix."""
    paths = []
    for kind, content in attacks(canaries).items():
        for suffix in (".mp4", SUFFIXES[kind.split("-")[0]]):
            path = canaries.clip.with_name(f"attack-{kind}{suffix}")
            path.write_text(content)
            paths.append(path)
    return paths


@pytest.mark.parametrize(
    ("name", "by_path", "seen"),
    [
        ("attack-ffconcat.mp4", True, "opened"),
        ("attack-hls.m3u8", True, "opened"),
        ("attack-hls-http.m3u8", False, "requested"),
        ("attack-sdp.mp4", False, "listened"),
    ],
)
def test_without_our_rules_the_attack_works(canaries, hostile, name, by_path, seen):
    attack = canaries.clip.with_name(name)
    assert attack in hostile
    # What the server answers is no clip.
    with canaries.watched() as found, attack.open("rb") as file, suppress(av.FFmpegError):
        av.open(str(attack) if by_path else file, timeout=0.5).close()
    assert found == {seen}


def test_playlists_are_refused_and_touch_nothing(canaries, hostile):
    with canaries.watched() as found:
        for path in hostile:
            with pytest.raises(UnreadableMedia, match="playlists never are"):
                probe_clip(path)
            with pytest.raises(UnreadableMedia):
                read_clip(path, frames=2, audio=AudioWindow(16_000))
    assert found == set()


def test_no_function_takes_an_open_file(canaries, hostile):
    predictor = load()
    with canaries.watched() as found:
        for path in hostile:
            for file in (io.BytesIO(path.read_bytes()), path.open("rb")):
                with file, pytest.raises(UsageError, match="A clip is a path"):
                    predictor.predict(file)
                with pytest.raises(TypeError):
                    read_clip(file, frames=2)
    assert found == set()


@pytest.mark.slow
def test_a_batch_with_playlists_scores_the_others(canaries, hostile, demo):
    folder = hostile[0].parent / "uploads"
    folder.mkdir()
    shutil.copyfile(hostile[0], folder / "attack.mp4")
    arguments = ["predict", *map(str, hostile), str(demo), str(folder)]
    with canaries.watched() as found:
        result = CliRunner().invoke(app, arguments)
    assert found == set()
    assert result.exit_code == 1
    *refused, scored, listed = json.loads(result.stdout)
    assert [record["error"]["type"] for record in refused] == ["UnreadableMedia"] * len(hostile)
    assert scored["error"] is None
    assert listed["error"]["type"] == "UnreadableMedia"


@pytest.mark.slow
def test_a_manifest_that_names_playlists_is_checked_without_harm(canaries, hostile):
    corpus = make_corpus(rows=24)
    rows = corpus.select(np.arange(len(hostile)))
    object.__setattr__(rows, "clip", tuple(map(str, hostile)))
    manifest = canaries.clip.with_name("manifest.parquet")
    write_manifest(rows, manifest)
    with canaries.watched() as found:
        result = CliRunner().invoke(app, ["data", "check", str(manifest), "--format", "json"])
    assert found == set()
    (finding,) = [
        finding
        for finding in json.loads(result.stdout)["findings"]
        if finding["code"] == "clip-unreadable"
    ]
    assert finding["count"] == len(hostile)


def test_a_manifest_names_files_and_nothing_else(canaries, tmp_path):
    clip = canaries.clip
    os.mkfifo(tmp_path / "pipe.mp4")
    os.symlink("loop.mp4", tmp_path / "loop.mp4")
    names = [
        *(canaries.url, clip.as_uri(), f"file:{clip}", f"concat:{clip}|{clip}", f"async:{clip}"),
        *("pipe:0", f"udp://127.0.0.1:{canaries.port}", "data:video/mp4;base64,AAAA", "-i", "."),
        *("../absent.mp4", "/dev/zero", "pipe.mp4", "loop.mp4", "a\0b.mp4", "a\nb.mp4", "x" * 5000),
    ]
    corpus = make_corpus(rows=24)
    rows = corpus.select(np.arange(len(names)))
    object.__setattr__(rows, "clip", tuple(names))
    object.__setattr__(rows, "split", np.full(len(names), "train"))
    write_manifest(rows, tmp_path / "manifest.parquet")
    sound = {"audio": {"name": "log_mel"}, "fusion": {"name": "concat"}}
    recipe = {"name": "odd", "data": {"manifest": str(tmp_path / "manifest.parquet")}, **sound}
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))  # JSON is YAML
    checked = ["data", "check", recipe["data"]["manifest"]]
    cached = ["data", "cache", str(tmp_path / "recipe.yaml"), "--cache", str(tmp_path / "cache")]
    with canaries.watched() as found:
        for arguments in (checked, cached):
            result = CliRunner().invoke(app, arguments)
            assert isinstance(result.exception, DataError), result.exception
    assert found == set()
    assert f"{len(names)} of the {len(names)} clips" in str(result.exception)


def test_a_track_in_another_file_is_not_followed(tmp_path):
    inner = write_clip(tmp_path / "inner.mp4", duration_s=0.5, audio_codec=None)
    attack = with_outer_track(inner, tmp_path / "attack.mp4")
    canaries = Canaries(inner)
    try:
        options = {"enable_drefs": "1"}
        with canaries.watched() as found, av.open(str(attack), options=options) as container:
            assert len(list(container.decode(video=0))) == 10
        assert found == {"opened"}  # without our rules, and with that option
        with canaries.watched() as found, suppress(MediaError):
            assert read_clip(attack, frames=2).frames is None
        assert found == set()
    finally:
        canaries.close()


READ = """
import json, os, sys, time
from mmperson.errors import MMPersonError
from mmperson.media import AudioWindow, probe_clip, read_clip
found = {}
for path in sys.argv[1:]:
    out, into = os.pipe()
    if not (child := os.fork()):
        outcomes = []
        for window in (AudioWindow(16_000, duration_s=15.0), AudioWindow(16_000)):
            try:
                probe_clip(path)
                clip = read_clip(path, frames=16, audio=window, threads="none")
                outcomes.append("a clip")
            except MMPersonError as error:
                outcomes.append(type(error).__name__)
        os.write(into, json.dumps(outcomes).encode())
        os._exit(0)
    _, status, used = os.wait4(child, 0)
    assert status == 0, (path, status)
    cpu_s = used.ru_utime + used.ru_stime
    found[os.path.basename(path)] = [*json.loads(os.read(out, 999)), used.ru_maxrss / 1024, cpu_s]
print(json.dumps(found))
"""

# What each gives with a window of 15 s and with no end to the window, and its peak of memory: the
# interpreter and FFmpeg alone take about 30 MB.
EXPECTED = {
    "wide.mp4": ("MediaTooLarge", "MediaTooLarge", 120),
    "long.mp4": ("MediaTooLarge", "MediaTooLarge", 120),
    "long.mkv": ("MediaTooLarge", "MediaTooLarge", 120),
    "gap.mkv": ("a clip", "a clip", 600),
    "many_streams.mkv": ("MediaTooLarge", "MediaTooLarge", 120),
    "many_channels.flac": ("a clip", "a clip", 120),
    "fragments.mp4": ("a clip", "a clip", 120),
}
# The index of these is refused before FFmpeg sees it.
TOO_LARGE = {"padded", "chunks", "edits", "shifts", "key_groups"} | {
    *("tracks_and_segments", "tracks_and_fragments")
}
for _name in INDEX_BOMBS:
    _outcome = "MediaTooLarge" if _name in TOO_LARGE else "UnreadableMedia"
    EXPECTED[f"{_name}.mp4"] = (_outcome, _outcome, 120)


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list]:
    """What a process of its own made of each bomb: two outcomes, peak MB and CPU seconds."""
    folder = tmp_path_factory.mktemp("bombs")
    paths = [make(folder / name) for name, make in BOMBS.items()]
    assert max(path.stat().st_size for path in paths) < 2_000_000
    answer = subprocess.run(
        [sys.executable, "-c", READ, *map(str, paths)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return json.loads(answer.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("name", BOMBS)
def test_a_small_file_that_asks_for_much_is_bounded(read, name):
    *outcomes, peak_mb, cpu_s = read[name]
    *expected, allowed_mb = EXPECTED[name]
    assert outcomes == expected
    assert peak_mb < allowed_mb
    assert cpu_s < 10
