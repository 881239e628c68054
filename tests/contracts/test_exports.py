"""What `import mmperson` promises: the names, and that it is instant."""

import importlib
import subprocess
import sys
import types

import pytest

import mmperson

ROOMS = ("datasets", "evaluation", "exporting", "media", "preprocessing", "training")
TIMED_IMPORT = """
import sys, time
start = time.perf_counter()
import mmperson
print(time.perf_counter() - start)
print(",".join(m for m in ("numpy", "pydantic", "onnxruntime", "av", "torch") if m in sys.modules))
"""


def test_every_public_name_is_imported_on_first_use():
    homes = mmperson._HOMES
    assert set(mmperson.__all__) == {*homes, "__version__"}
    assert dir(mmperson) == sorted(mmperson.__all__)
    for name, home in homes.items():
        assert getattr(mmperson, name) is getattr(importlib.import_module(home), name)


def test_an_unknown_name_is_no_attribute():
    with pytest.raises(AttributeError, match="no attribute 'predict'"):
        _ = mmperson.predict


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_exports_exactly_its_public_names(room):
    module = importlib.import_module(f"mmperson.{room}")
    public = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    lazy = {"read_windows"} if room == "media" else set()
    assert set(module.__all__) == (public - {"annotations", "TYPE_CHECKING", "Any"}) | lazy
    assert all(hasattr(module, name) for name in lazy)


def test_import_is_instant_and_loads_nothing_heavy(project_root):
    def once():
        command = [sys.executable, "-c", TIMED_IMPORT]
        return subprocess.run(
            command, cwd=project_root, capture_output=True, text=True, check=True
        ).stdout.splitlines()

    runs = [once() for _ in range(3)]
    assert {heavy for _, heavy in runs} == {""}
    assert min(float(seconds) for seconds, _ in runs) < 0.1
