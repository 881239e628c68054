"""The tree that is drawn in errors.py is the tree of the classes."""

import re

import pytest

from mmperson import errors

LINE = re.compile(
    r"^ {4}(?P<branch>(?:│  |   )*(?:[├└]─ )?)(?P<name>[A-Z]\w+)"
    r"(?:\s+(?P<exit>\d)(?!\d))?(?:\s+(?P<http>\d{3}))?"
)


def drawn():
    """Return name to (parent, exit code, HTTP status) as the docstring draws them."""
    tree, path = {"MMPersonError": (None, 1, 500)}, ["MMPersonError"]
    for line in errors.__doc__.splitlines():
        found = LINE.match(line)
        if found is None or found["name"] == "MMPersonError":
            continue
        depth = len(found["branch"]) // 3
        parent = path[depth - 1]
        _, exit_code, status = tree[parent]
        tree[found["name"]] = (
            parent,
            int(found["exit"] or exit_code),
            int(found["http"] or status),
        )
        path[depth:] = [found["name"]]
    return tree


def classes():
    return {
        name: value
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.MMPersonError)
    }


def test_every_class_is_drawn():
    assert set(drawn()) == set(classes())


@pytest.mark.parametrize("name", sorted(classes()))
def test_a_class_is_what_is_drawn(name):
    parent, exit_code, status = drawn()[name]
    error = classes()[name]
    assert error.__base__.__name__ == (parent or "Exception")
    assert (error.exit_code, error.http_status) == (exit_code, status)


@pytest.mark.parametrize("name", sorted(classes()))
def test_a_class_says_what_it_is_for(name):
    assert classes()[name].__doc__.strip()
