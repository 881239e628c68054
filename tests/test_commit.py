"""A bundle and a benchmark name the commit of the source, and never that of another project."""

import subprocess

import pytest

import mmperson
from mmperson.commit import source_commit


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A repository with a package in it, which is what is asked for its commit."""
    package = tmp_path / "source" / "mmperson"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    git(package.parent, "init", "--quiet")
    git(package.parent, "add", ".")
    author = ("-c", "user.name=a", "-c", "user.email=a@b")
    git(package.parent, *author, "commit", "--quiet", "--message", "first")
    monkeypatch.setattr(mmperson, "__file__", str(package / "__init__.py"))
    return package


def git(folder, *arguments):
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_the_commit_is_that_of_the_source(source):
    (source / "untracked.txt").write_text("")
    assert source_commit() == git(source, "rev-parse", "HEAD")


def test_a_changed_source_is_dirty(source):
    (source / "__init__.py").write_text("changed = True")
    assert source_commit() == git(source, "rev-parse", "HEAD") + "-dirty"


def test_the_commit_of_another_project_is_not_taken(source, monkeypatch):
    inside = source.parent / "site-packages" / "mmperson" / "__init__.py"
    inside.parent.mkdir(parents=True)
    inside.write_text("")
    monkeypatch.setattr(mmperson, "__file__", str(inside))
    assert source_commit() is None


def test_without_git_the_commit_is_unknown(source, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert source_commit() is None
