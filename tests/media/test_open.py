import errno
import inspect
import os
from pathlib import Path

import av
import numpy as np
import pytest

from mmperson.errors import EmptyMedia, MediaError, MediaTooLarge, MissingStream, UnreadableMedia
from mmperson.media import AudioWindow, probe_clip, read_clip
from mmperson.media.open import media_error
from tests.fixtures.media import write_clip

FOREIGN = sorted(
    (
        cls
        for _, cls in inspect.getmembers(av.error, inspect.isclass)
        if issubclass(cls, av.error.FFmpegError)
    ),
    key=lambda cls: cls.__name__,
)


def test_av_has_the_errors_that_are_known_to_occur() -> None:
    assert len(FOREIGN) > 40
    assert {av.error.InvalidDataError, av.error.EOFError, av.error.MemoryError} <= set(FOREIGN)


@pytest.mark.parametrize("cls", FOREIGN, ids=lambda cls: cls.__name__)
def test_every_error_of_av_becomes_ours(cls: type[av.error.FFmpegError]) -> None:
    error = media_error(cls(1, "something odd"), "folder/clip.mp4")
    assert isinstance(error, MediaError)
    assert error.clip == "folder/clip.mp4"
    expected = MediaTooLarge if cls is av.error.MemoryError else UnreadableMedia
    assert type(error) is expected
    if expected is UnreadableMedia:
        assert "something odd" in str(error)


def test_foreign_error_is_kept_as_cause(tmp_path: Path) -> None:
    path = tmp_path / "noise.mp4"
    path.write_bytes(os.urandom(5000))
    with pytest.raises(UnreadableMedia, match=r"noise\.mp4") as caught:
        probe_clip(path)
    assert isinstance(caught.value.__cause__, av.FFmpegError)
    assert caught.value.clip == str(path)


@pytest.mark.parametrize(
    "name",
    [
        "-clip.mp4",
        'it\'s "quoted".mp4',
        "ünïcødé 鏡.mp4",
        "new\nline.mp4",
        "concat:a|b.mp4",
        "http:clip.mp4",
        "%03d [x].mp4",
        "no suffix",
        os.fsdecode(b"latin-\xe9.mp4"),
    ],
)
def test_odd_names_are_only_names(
    tmp_path: Path, clip_mp4: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).write_bytes(clip_mp4.read_bytes())
    monkeypatch.chdir(tmp_path)
    clip = read_clip(name, frames=1, audio=AudioWindow(16_000))
    assert clip.frames is not None
    assert clip.waveform is not None
    assert read_clip(tmp_path / name, frames=1).frames is not None


def test_only_regular_local_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    for path in (tmp_path, tmp_path / "pipe.mp4", Path("/dev/zero")):
        with pytest.raises(UnreadableMedia, match="not a regular file"):
            probe_clip(path)
    for missing in (
        tmp_path / "none.mp4",
        "http://localhost:1/clip.mp4",
        "pipe:0",
        "-",
        "nul\0.mp4",
    ):
        with pytest.raises(UnreadableMedia, match="cannot be opened") as caught:
            probe_clip(missing)
        assert "local files" in str(caught.value)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ENOENT])
def test_a_clip_that_may_not_be_read_or_is_gone_says_so(
    clip_mp4: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(path: str, *_: object) -> None:
        raise OSError(number, os.strerror(number), path)

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(UnreadableMedia, match=os.strerror(number)) as caught:
        probe_clip(clip_mp4)
    assert caught.value.clip == str(clip_mp4)


def test_zero_bytes(tmp_path: Path) -> None:
    (tmp_path / "zero.mp4").touch()
    with pytest.raises(EmptyMedia, match="zero bytes"):
        probe_clip(tmp_path / "zero.mp4")


def test_undecodable_metadata_is_no_obstacle(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", metadata={"title": "CANARYTITLE"})
    content = path.read_bytes()
    assert content.count(b"CANARYTITLE") == 1
    path.write_bytes(content.replace(b"CANARYTITLE", b"\xff\xfe\x80\x81BADTEXT"))
    with pytest.raises(UnicodeDecodeError):  # the file is what it should be
        av.open(str(path)).close()
    assert read_clip(path, frames=1).frames is not None


def test_a_file_whose_only_codec_is_unknown_has_no_stream_to_use(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "odd.mp4", audio_codec=None)
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz").replace(b"avcC", b"zzzC"))
    with pytest.raises(MissingStream, match=r"odd\.mp4"):
        probe_clip(path)


@pytest.mark.parametrize(("name", "codec"), [("song.mp4", "aac"), ("song.mp3", "libmp3lame")])
def test_a_cover_picture_is_no_video(tmp_path: Path, name: str, codec: str) -> None:
    path = tmp_path / name
    with av.open(str(path), "w") as output:
        cover = output.add_stream("mjpeg")
        cover.width, cover.height, cover.pix_fmt = 32, 32, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        sound = output.add_stream(codec, rate=16_000, layout="mono")
        silence = np.zeros((1, 16_000), dtype=np.float32)
        frame = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 16_000, 0
        output.mux(cover.encode(av.VideoFrame(32, 32, "yuvj420p")) + cover.encode(None))
        output.mux(sound.encode(frame) + sound.encode(None))
    info = probe_clip(path)
    assert info.video is None
    assert info.audio is not None
    clip = read_clip(path, frames=2, audio=AudioWindow(16_000))
    assert clip.waveform is not None
    (warning,) = clip.warnings  # and the file is whole
    assert "no video" in warning
