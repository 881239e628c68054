"""What the sampler draws from."""

import ast

import pytest

from tests.mutation.mutations import find_mutations


def texts(source: str) -> set[str]:
    return {mutation.text for mutation in find_mutations("m.py", source.encode())}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = a < b", {"(a <= b)"}),
        ("x = a < b <= c", {"(a <= b <= c)", "(a < b < c)"}),
        ("x = a + b", {"(a - b)"}),
        ("x += a", {"x -= a"}),
        ("x = a and b", {"(a or b)"}),
        ("x = not a", {"(a)"}),
        ("x = 3", {"4"}),
        ("x = 0.5", {"0.75"}),
        ("x = True", {"False"}),
        ("if a:\n    b()", {"True", "False"}),
        ("x = [a for a in b if a]", {"True"}),
        ("while a:\n    break", {"False", "continue"}),
        ("def f():\n    return a", {"return None"}),
    ],
)
def test_each_kind_of_change_is_found(source, expected):
    assert texts(source) == expected


@pytest.mark.parametrize(
    "source",
    [
        '"""A docstring of 3 words."""',
        "x: Literal[3]",
        "def f(x: int | None = None) -> tuple[3]: ...",
        "raise ValueError(f'{a + 1} is above 3')",
        "if TYPE_CHECKING:\n    import a",
        "Number = int | float",
        "x = 'a' + b",
        "x = f'{a + 1}'",
        "@cache(3)\ndef f(): ...",
    ],
)
def test_what_runs_nothing_is_left_alone(source):
    assert texts(source) == set()


def test_bytes_are_counted_behind_other_letters():
    source = 'x = "ä – ü", a < b\n'.encode()
    (mutation,) = find_mutations("m.py", source)
    assert mutation.apply(source).decode() == 'x = "ä – ü", (a <= b)\n'


def test_every_mutation_of_a_real_module_compiles(project_root):
    path = project_root / "mmperson" / "evaluation" / "metrics.py"
    source = path.read_bytes()
    found = find_mutations("metrics.py", source)
    assert len(found) > 100
    for mutation in found:
        ast.parse(mutation.apply(source))
