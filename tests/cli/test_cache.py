"""`mmperson data cache`: what training would decode is decoded before, once."""

import dataclasses

import pytest
from typer.testing import CliRunner

from mmperson.cli.app import app
from mmperson.config import load_recipe, parse_recipe
from mmperson.datasets import read_manifest, rows, write_manifest
from mmperson.errors import UsageError
from mmperson.training import train
from tests.fixtures.media import write_clip


@pytest.fixture
def decode(tiny_recipe, manifest_file, tmp_path):
    """Cache four clips to learn from, one of them damaged, and two to select on."""
    manifest = read_manifest(manifest_file).select([2, 3, 4, 5, 40, 41])
    clips = [write_clip(tmp_path / f"{row}.mp4", video_codec=None) for row in range(6)]
    clips[3].write_bytes(b"damaged")
    manifest = dataclasses.replace(manifest, clip=tuple(map(str, clips)))
    write_manifest(manifest, tmp_path / "manifest.parquet")

    def invoke(*flags, **sections):
        content = tiny_recipe.model_dump(mode="json") | sections
        content["data"]["manifest"] = str(tmp_path / "manifest.parquet")
        recipe = parse_recipe(content, source="test")
        (tmp_path / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
        place = ["--cache", str(tmp_path / "cache")]
        return CliRunner().invoke(
            app, ["data", "cache", str(tmp_path / "recipe.yaml"), *place, *flags]
        )

    return invoke


HEARD = {"audio": {"name": "log_mel", "dim": 16}, "fusion": {"name": "concat", "dim": 16}}


@pytest.mark.slow
def test_clips_are_decoded_once_and_training_reads_them(decode, tmp_path, monkeypatch):
    kept = lambda: sorted((tmp_path / "cache").rglob("*.npy"))  # noqa: E731
    assert "3 rows are cached" in decode(**HEARD).stderr
    assert len(kept()) == 3
    result = decode("--data.select_split", "validation", **HEARD)
    assert result.exit_code == 0, result.output
    assert "1 of 6 rows have no readable video or audio" in result.stderr
    assert f"{tmp_path / '3.mp4'}: '3.mp4' cannot be read as video or audio" in result.stderr
    assert "5 rows are cached" in result.stderr
    assert f"Wrote {tmp_path / 'cache'}" in result.stderr
    assert len(kept()) == 5
    # What is missing is tried again by workers, and nothing is opened in this process.
    monkeypatch.setattr(rows, "read_clip", lambda path, **_: pytest.fail(f"reads {path}"))
    changes = {"data.select_split": "validation", "run.cache": str(tmp_path / "cache")}
    train(load_recipe(tmp_path / "recipe.yaml", changes), tmp_path / "run")


def test_what_the_manifest_has_is_not_decoded(decode, tmp_path):
    assert "4 rows are cached" in decode().stderr  # of their published descriptors
    assert not list((tmp_path / "cache").rglob("*.npy"))


def test_a_recipe_of_words_alone_has_nothing_to_decode(decode):
    result = decode(audio=None)
    assert isinstance(result.exception, UsageError)
    assert "nothing to decode" in str(result.exception)


def test_what_cannot_be_is_refused(decode):
    for flags, message in (
        (("--workers", "0"), "number of workers is 0"),
        (("--timeout", "0"), "timeout per clip is 0"),
        (("--memory", "1"), "memory of a worker is 1"),
    ):
        result = decode(*flags, **HEARD)
        assert isinstance(result.exception, UsageError)
        assert message in str(result.exception)
