"""Check a file's bytes before FFmpeg reads them; only ``check_file`` is public.

FFmpeg trusts what a file declares: an index of 100 bytes makes it allocate gigabytes, a tag of a
kilobyte unpacks to a megabyte, and a playlist makes it open other files or the network, whatever
the file's suffix. A whitelist of protocols does not prevent this; a whitelist of formats does.
"""

from __future__ import annotations

from typing import BinaryIO, Final

from mmperson.media.safety._mp4_index import check_index
from mmperson.media.safety._tags import check_riff_tags, leading_tags

__all__ = ["check_file"]

# No playlists, no descriptions of other files.
_FORMATS: Final = "matroska,webm,avi,mpeg,mpegts,mpegvideo,flv,ogg,wav,flac,mp3"
# Only if the index was checked: FFmpeg detects MP4 behind a first box of any name.
_MP4_FORMATS: Final = f"mov,mp4,m4a,3gp,3g2,mj2,{_FORMATS}"


def check_file(file: BinaryIO, size_bytes: int) -> tuple[bool, dict[str, str]]:
    """Refuse a file that makes FFmpeg allocate far more memory than the file's size.

    Args:
        file: The file, open for reading.
        size_bytes: Its size.

    Returns:
        Whether it is MP4 or QuickTime, and the options with which FFmpeg must open it.

    Raises:
        UnreadableMedia: The index declares more entries than it has, or is compressed or encrypted;
            or tags are too large.
        MediaTooLarge: FFmpeg would need too much memory for the index.
    """
    is_mp4 = check_index(file, size_bytes)
    tag_bytes = leading_tags(file)
    check_riff_tags(file, tag_bytes, size_bytes)
    options = {"format_whitelist": _MP4_FORMATS if is_mp4 else _FORMATS}
    if tag_bytes:
        options["skip_initial_bytes"] = str(tag_bytes)
    return is_mp4, options
