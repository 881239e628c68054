from pathlib import Path
from typing import Any

import av
import pytest

from mmperson.errors import MediaError, UnreadableMedia
from mmperson.media import AudioWindow, read_clip
from mmperson.media import read as read_module
from mmperson.media.decode import Threads
from mmperson.media.limits import DEFAULT_LIMITS
from mmperson.media.open import open_container
from mmperson.media.scan import rewind, scan_index, scan_packets
from tests.fixtures.media import cut, write_clip

KINDS = {
    "faststart.mp4": {"options": {"movflags": "+faststart"}},
    "fragmented.mp4": {"options": {"movflags": "frag_keyframe+empty_moov"}},
    "clip.mkv": {},
    "clip.webm": {"video_codec": "libvpx-vp9", "audio_codec": "libopus", "audio_rate_hz": 48_000},
    "clip.avi": {"video_codec": "mpeg4", "audio_codec": "mp2"},
    "clip.flv": {},
}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("kinds")
    return {
        name: write_clip(folder / name, duration_s=3.0, noise=True, **options)  # type: ignore[arg-type]
        for name, options in KINDS.items()
    }


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_file_is_whole(clips: dict[str, Path], kind: str) -> None:
    clip = read_clip(clips[kind], frames=4, audio=AudioWindow(16_000))
    assert clip.warnings == ()
    assert read_clip(clips[kind], audio=AudioWindow(16_000, duration_s=0.5)).warnings == ()


@pytest.mark.parametrize("threads", ["auto", "frame", "slice", "none"])
@pytest.mark.parametrize("kept", [0.4, 0.7])
@pytest.mark.parametrize("kind", KINDS)
def test_a_truncated_file_is_noticed(
    clips: dict[str, Path], tmp_path: Path, kind: str, kept: float, threads: Threads
) -> None:
    path = cut(clips[kind], tmp_path / kind, kept)
    clip = read_clip(path, frames=4, audio=AudioWindow(16_000), threads=threads)
    assert clip.frames is not None
    assert clip.frame_times_s is not None
    assert clip.frame_times_s.max() < 3.0 * kept + 0.2
    assert "cut short" in clip.warnings[0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_truncated_file_is_noticed_from_an_early_window(
    clips: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    path = cut(clips[kind], tmp_path / kind, 0.7)
    clip = read_clip(path, audio=AudioWindow(16_000, duration_s=0.5))
    assert clip.waveform is not None
    assert clip.waveform.size == pytest.approx(8000, abs=250)  # the whole window is there
    assert "cut short" in clip.warnings[0]


def test_a_missing_last_percent_is_noticed_in_mp4(heavy_mp4: Path, tmp_path: Path) -> None:
    path = cut(heavy_mp4, tmp_path / "cut.mp4", 0.995)
    assert "cut short" in read_clip(path, audio=AudioWindow(16_000, duration_s=0.5)).warnings[0]


def test_nothing_usable_is_an_error(heavy_mp4: Path, tmp_path: Path) -> None:
    header = heavy_mp4.read_bytes().index(b"mdat") + 4
    path = cut(heavy_mp4, tmp_path / "cut.mp4", (header + 200) / heavy_mp4.stat().st_size)
    with pytest.raises(UnreadableMedia, match="cut short"):
        read_clip(path, frames=4, audio=AudioWindow(16_000))
    with pytest.raises(UnreadableMedia, match="cut short"):
        read_clip(path, audio=AudioWindow(16_000))


def test_without_its_index_an_mp4_is_unreadable(tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "whole.mp4", noise=True)  # the index comes last
    with pytest.raises(UnreadableMedia, match="cut off before its index"):
        read_clip(cut(whole, tmp_path / "cut.mp4", 0.9), frames=4)


def test_damage_in_the_middle_is_survived(heavy_mp4: Path, tmp_path: Path) -> None:
    content = bytearray(heavy_mp4.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 30_000] = bytes(30_000)
    path = tmp_path / "damaged.mp4"
    path.write_bytes(content)
    try:
        clip = read_clip(path, frames=8, audio=AudioWindow(16_000))
    except MediaError:
        pytest.fail("most of this clip is fine")
    assert clip.frames is not None
    assert len(clip.frames) == 8


def test_an_index_spares_reading_the_packets(
    clips: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_container(clips["faststart.mp4"], DEFAULT_LIMITS) as container:
        scan = scan_index(container)
    assert scan is not None
    assert scan.cut_short is None
    with open_container(clips["clip.mkv"], DEFAULT_LIMITS) as container:
        assert scan_index(container) is None

    def refuse(*args: object) -> None:
        raise AssertionError("the packets were read")

    monkeypatch.setattr(read_module, "scan_packets", refuse)
    read_clip(clips["faststart.mp4"], audio=AudioWindow(16_000, duration_s=0.5))
    with pytest.raises(AssertionError):
        read_clip(clips["faststart.mp4"], frames=1)


def test_scan_times(tmp_path: Path) -> None:
    times_s = [0.0, 0.1, 0.2, 0.8, 1.0]
    path = write_clip(tmp_path / "clip.mkv", frame_times_s=times_s, audio_codec=None)
    with open_container(path, DEFAULT_LIMITS) as container:
        scan = scan_packets(container, container.streams.video[0], DEFAULT_LIMITS)
    assert scan.video_start_s == 0.0
    assert scan.video_last_s == pytest.approx(1.0)
    assert scan.video_end_s == pytest.approx(1.25)  # the mean gap after the last frame


def test_a_file_with_an_index_is_opened_once(
    clips: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    real = av.open

    def spy(name: str, *rest: Any, **named: Any) -> Any:
        opened.append(Path(name).name)
        return real(name, *rest, **named)

    monkeypatch.setattr("mmperson.media.open.av.open", spy)
    for name in ("faststart.mp4", "clip.mkv"):
        read_clip(clips[name], frames=2, audio=AudioWindow(16_000))
    assert opened == ["faststart.mp4", "clip.mkv", "clip.mkv"]


LATE_VIDEO = {"frame_times_s": [1.2 + number / 20 for number in range(30)]}


@pytest.mark.parametrize("late", [{}, KINDS["fragmented.mp4"], {"audio_start_s": 1.2}, LATE_VIDEO])
def test_a_rewound_file_gives_the_packets_of_one_opened_anew(
    tmp_path: Path, late: dict[str, Any]
) -> None:
    path = write_clip(tmp_path / "clip.mp4", duration_s=3.0, **late)  # type: ignore[arg-type]
    assert rewound_packets(path) == fresh_packets(path)


def test_real_files_are_rewound_to_their_first_packets(shared_data: Path) -> None:
    paths = [path for path in shared_data.glob("clips/*/*") if path.suffix in (".mp4", ".mov")]
    compared = 0
    for path in paths:
        try:
            expected = fresh_packets(path)
        except MediaError:
            continue
        assert rewound_packets(path) == expected, path.name
        compared += 1
    assert compared > 15


def fresh_packets(path: Path) -> list[tuple[Any, ...]]:
    with open_container(path, DEFAULT_LIMITS) as container:
        return packets_of(container)


def rewound_packets(path: Path) -> list[tuple[Any, ...]]:
    with open_container(path, DEFAULT_LIMITS) as container:
        assert scan_index(container) is not None
        scan_packets(container, None, DEFAULT_LIMITS)
        rewind(container)
        return packets_of(container)


def packets_of(container: Any) -> list[tuple[Any, ...]]:
    return [
        (packet.stream_index, packet.pts, packet.dts, packet.size, packet.pos, packet.is_keyframe)
        for packet in container.demux()
    ]
