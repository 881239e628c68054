"""ID3 tags that would be unpacked to more memory than a clip may take."""

import io
import struct
import subprocess
import sys
import zlib

import pytest

from mmperson.errors import UnreadableMedia
from mmperson.media import AudioWindow, read_clip
from mmperson.media.safety._tags import MOST_TAG_BYTES, leading_tags
from tests.fixtures.media import write_clip

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for its memory")
MEASURE = """
import sys
from pathlib import Path
from mmperson.errors import UnreadableMedia
from mmperson.media import AudioWindow, read_clip
try:
    print(read_clip(sys.argv[1], audio=AudioWindow(16_000)).waveform.size)
except UnreadableMedia as error:
    print(error)
(peak,) = [line for line in Path("/proc/self/status").open() if line.startswith("VmHWM")]
print(int(peak.split()[1]) // 1024)
"""


def syncsafe(number):
    return bytes(number >> shift & 0x7F for shift in (21, 14, 7, 0))


def tag(content, flags=0):
    return b"ID3\x04\x00" + bytes([flags]) + syncsafe(len(content)) + content


def packed_frame(megabytes, kind=b"TXXX"):
    """A frame of zeros, as large as that once it is unpacked."""
    packer = zlib.compressobj(9)
    packed = packer.compress(b"\x00a\x00b")
    packed += b"".join(packer.compress(bytes(1 << 20)) for _ in range(megabytes)) + packer.flush()
    length = 4 + (megabytes << 20)
    return kind + syncsafe(len(packed) + 4) + struct.pack(">HI", 0x0009, length) + packed


def with_chunk(wav, content, order="<", kind=b"id3 "):
    """A WAV file with a chunk behind the sound."""
    return (
        wav + kind + struct.pack(f"{order}I", len(content)) + content + b"\x00" * (len(content) % 2)
    )


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sounds")
    for name, codec in (("plain.mp3", "libmp3lame"), ("plain.wav", "pcm_s16le")):
        write_clip(folder / name, video_codec=None, audio_codec=codec, duration_s=1.0)
    return folder


def measured(path):
    """Read a clip in a process of its own; return what it says, and its largest size in MiB."""
    run = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path)], capture_output=True, text=True, check=True
    )
    said, peak_mb = run.stdout.strip().rsplit("\n", 1)
    return said, int(peak_mb)


@pytest.mark.slow
@pytest.mark.parametrize("tags", [1, 2])
def test_tags_at_the_beginning_are_skipped_unread(sounds, tags):
    plain = (sounds / "plain.mp3").read_bytes()
    content = packed_frame(200) + packed_frame(100, b"APIC")
    path = sounds / f"{tags}.mp3"
    path.write_bytes(tag(content, flags=0x00) * tags + plain[leading_tags(io.BytesIO(plain)) :])
    said, peak_mb = measured(path)
    expected = read_clip(sounds / "plain.mp3", audio=AudioWindow(16_000)).waveform
    assert abs(int(said) - expected.size) <= 2
    assert peak_mb < 200


@pytest.mark.slow
def test_large_tags_within_a_wav_file_are_refused(sounds):
    plain = (sounds / "plain.wav").read_bytes()
    bomb = with_chunk(plain, tag(packed_frame(300)))
    for name, content in (
        ("chunk.wav", bomb),
        ("behind.wav", tag(b"") + bomb),
        (
            "two.wav",
            with_chunk(with_chunk(plain, tag(bytes(MOST_TAG_BYTES - 10))), b"ID3", kind=b"ID3 "),
        ),
    ):
        (sounds / name).write_bytes(content)
        said, peak_mb = measured(sounds / name)
        assert "ID3 tags take" in said, name
        assert peak_mb < 200


def test_small_tags_of_a_wav_file_are_let_alone(sounds):
    plain = (sounds / "plain.wav").read_bytes()
    path = sounds / "small.wav"
    path.write_bytes(with_chunk(plain, tag(packed_frame(1))))
    assert measured(path)[0] == "16000"


def test_many_chunks_are_refused(sounds):
    path = sounds / "many.wav"
    path.write_bytes((sounds / "plain.wav").read_bytes() + b"junk\x00\x00\x00\x00" * 20_001)
    with pytest.raises(UnreadableMedia, match="more than 20,000 chunks"):
        read_clip(path, audio=AudioWindow(16_000))
