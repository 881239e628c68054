"""Small whole files of every kind that mmperson reads, for ``mutants`` and ``fuzz``."""

from __future__ import annotations

import hashlib
import json
import pickle
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from mmperson.datasets import Manifest, write_manifest
from mmperson.datasets.synthetic_media import REPEATABLE_X264
from mmperson.inference.bundle import DEFAULT_BUNDLE, INFO_FILE, find_bundle
from mmperson.traits import TRAITS

ROOT = Path(__file__).resolve().parents[2]

CLIPS = {
    "h264.mp4": ("libx264", "aac", {"movflags": "+faststart"}),
    "last.mp4": ("libx264", "aac", {}),
    "fragments.mp4": ("libx264", "aac", {"movflags": "frag_keyframe+empty_moov"}),
    "mpeg4.mp4": ("mpeg4", "libmp3lame", {}),
    "jpeg.mov": ("mjpeg", "pcm_s16le", {}),
    "surround.mp4": ("mpeg4", "aac", {}),
    "old.3gp": ("mpeg4", "aac", {}),
    "h264.mkv": ("libx264", "flac", {}),
    "live.mkv": ("mpeg4", "aac", {"live": "1"}),
    "vp8.webm": ("libvpx", "libopus", {}),
    "vp9.webm": ("libvpx-vp9", "libopus", {}),
    "mpeg4.avi": ("mpeg4", "libmp3lame", {}),
    "jpeg.avi": ("mjpeg", "pcm_u8", {}),
    "mpeg2.ts": ("mpeg2video", "mp2", {}),
    "mpeg1.mpg": ("mpeg1video", "mp2", {}),
    "sorenson.flv": ("flv", "libmp3lame", {}),
    "sound.ogg": (None, "libopus", {}),
    "sound.wav": (None, "pcm_s24le", {}),
    "sound.flac": (None, "flac", {}),
    "sound.mp3": (None, "libmp3lame", {}),
    "sound.m4a": (None, "alac", {}),
}
"""Video codec, audio codec and the muxer's options of each clip; one has eight channels."""

_FPS, _RATE_HZ = 10, 44_100
_CUES = "1\n{0} --> {1}\nGood <i>morning</i>.\n\n2\n{1} --> {2}\n{{\\an8}}I am &amp; was here.\n"
_TEXTS = {
    "talk.srt": _CUES.format("00:00:00,500", "00:00:02,000", "01:01:02,250"),
    "talk.vtt": "WEBVTT\n\nNOTE so\n\nSTYLE\n::cue { color: red }\n\n"
    + _CUES.format("00:00.500", "00:02.000", "01:01:02.250"),
    "talk.txt": "[00:00 - 00:03] Good\n[00:03 - 01:02:05] morning,\nall of you.\n",
    "words.txt": "Good morning, all of you. Ünïcode 鏡.\n",
    "talk.json": '{"text": " Good morning.", "language": "en", "segments": [{"id": 0, "start": 0.5,'
    ' "end": 2, "text": " Good"}, {"id": 1, "start": 2.0, "end": 3662.25, "text": " morning."}]}',
    "list.json": '[{"start": 0, "end": 1e1, "text": "a\\u00e9\\ud83d\\ude00"}]',
}
_RECIPES = ("impressions_text_audio", "three_modalities", "ttfn")


def write_seeds(folder: Path) -> dict[str, list[Path]]:
    """Write the files; the same ones in every run on one machine.

    Args:
        folder: Where to.

    Returns:
        Files by kind: clip, transcript, manifest, labels, texts, bundle and recipe.
    """
    found: dict[str, list[Path]] = {"clip": [], "transcript": [], "recipe": []}
    for name, (video, audio, options) in CLIPS.items():
        if {codec for codec in (video, audio) if codec} <= av.codecs_available:
            found["clip"].append(_write_clip(folder / name, video, audio, options))
    for name, text in _TEXTS.items():
        (folder / name).write_text(text, encoding="utf-8")
        found["transcript"].append(folder / name)
    marked = folder / "marked.srt"
    marked.write_text(_TEXTS["talk.srt"], encoding="utf-16")
    found["transcript"].append(marked)
    for name in _RECIPES:
        path = folder / f"{name}.yaml"
        path.write_bytes((ROOT / "configs" / path.name).read_bytes())
        found["recipe"].append(path)
    write_manifest(_rows(), folder / "manifest.parquet")
    found["manifest"] = [folder / "manifest.parquet"]
    labels, texts = folder / "labels.pkl", folder / "texts.pkl"
    labels.write_bytes(_labels())
    texts.write_bytes(pickle.dumps({"a.mp4": "Good morning.", "b.mp4": "Ü 鏡"}, protocol=2))
    found |= {"labels": [labels], "texts": [texts], "bundle": [_write_bundle(folder / "bundle")]}
    return found


def _write_clip(path: Path, video: str | None, audio: str, options: dict[str, str]) -> Path:
    """Write half a second of a drifting gradient with noise, and of a tone; always the same."""
    random = np.random.default_rng(0)
    with av.open(str(path), "w", options={"fflags": "+bitexact", **options}) as output:
        picture = None
        if video is not None:
            picture = output.add_stream(video, rate=25 if video.startswith("mpeg") else _FPS)
            picture.width, picture.height = 64, 48
            picture.pix_fmt = "yuvj420p" if video == "mjpeg" else "yuv420p"
            picture.codec_context.thread_count = 1
            picture.options = REPEATABLE_X264 if video == "libx264" else {}
        sound = output.add_stream(audio, rate=48_000 if audio == "libopus" else _RATE_HZ)
        sound.layout = "7.1" if path.stem == "surround" else "mono"
        ramp = np.add.outer(np.arange(48), np.arange(64))[..., None] + np.arange(3) * 40
        for index in range(6 if picture is not None else 0):
            noise = random.integers(0, 40, ramp.shape)
            frame = av.VideoFrame.from_ndarray((ramp + 9 * index + noise).astype(np.uint8))
            frame.pts, frame.time_base = index, Fraction(1, int(picture.average_rate))
            output.mux(picture.encode(frame))
        rate_hz = sound.rate
        wave = 0.4 * np.sin(2 * np.pi * 220 * np.arange(rate_hz // 2) / rate_hz)
        samples = np.repeat(np.round(wave * 32767).astype(np.int16), sound.layout.nb_channels)
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout=sound.layout.name)
        frame.sample_rate, frame.time_base, frame.pts = rate_hz, Fraction(1, rate_hz), 0
        output.mux(sound.encode(frame))
        for stream in filter(None, (picture, sound)):
            output.mux(stream.encode(None))
    return path


def _rows() -> Manifest:
    rows = 6
    random = np.random.default_rng(0)
    return Manifest(
        sample_id=np.array([f"clip{row}" for row in range(rows)]),
        source_id=np.array([f"source{row // 2}" for row in range(rows)]),
        split=np.array(["train", "train", "validation", "validation", "test", "test"]),
        fold=np.arange(rows) // 2,
        clip=tuple(f"clip{row}.mp4" if row % 2 else None for row in range(rows)),
        transcript=tuple(f"words of clip {row}" for row in range(rows)),
        targets=random.uniform(size=(rows, len(TRAITS))),
        descriptors=random.normal(size=(rows, 26)).astype(np.float32),
        extras={"age": np.arange(rows), "who": np.array(["a", "b", "c"] * 2)},
        provenance={"corpus": "none"},
    )


def _labels() -> bytes:
    """Return a pickle of plain floats, and of numpy scalars as Python 2 wrote them."""
    plain = {trait: {"a.mp4": 0.25, "b.mp4": 0.75} for trait in TRAITS}
    opened = pickle.dumps(plain, protocol=2).removesuffix(b"us.").removesuffix(b"u.")
    dtype = b"cnumpy\ndtype\n(U\x02f8K\x00K\x01tR(K\x03U\x01<NNNJ%bJ%bK\x00tb"
    minus = b"\xff" * 4
    scalar = b"cnumpy.core.multiarray\nscalar\n" + dtype % (minus, minus)
    return opened + b"U\x09interview}U\x05a.mp4" + scalar + b"U\x08" + bytes(8) + b"\x86Rsu."


def _write_bundle(folder: Path) -> Path:
    """Write the shipped description over files of a few bytes, and return the description."""
    folder.mkdir()
    info = json.loads((find_bundle(DEFAULT_BUNDLE) / INFO_FILE).read_text(encoding="utf-8"))
    for name in info["files"]:
        content = f"{name}\n".encode()
        (folder / name).write_bytes(content)
        info["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (folder / INFO_FILE).write_text(json.dumps(info), encoding="utf-8")
    return folder / INFO_FILE
