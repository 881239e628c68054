"""Generated clips that several test modules read."""

from pathlib import Path

import pytest

from tests.fixtures.media import write_clip


@pytest.fixture(scope="session")
def clip_mp4(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of H.264 and AAC; frame i is grey level ``grey_of(i)``; the index comes first."""
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    return write_clip(path, options={"movflags": "+faststart"})


@pytest.fixture(scope="session")
def heavy_mp4(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds of noise, so that a cut in the file is a cut in the video."""
    path = tmp_path_factory.mktemp("clips") / "heavy.mp4"
    return write_clip(path, duration_s=4.0, noise=True, options={"movflags": "+faststart"})
