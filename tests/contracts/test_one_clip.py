"""One clip's way stays short: few modules, and none of what only long recordings need."""

import json
import subprocess
import sys

MOST_MODULES = 52  # now 51; 54 before long recordings had modules of their own
MOST_IN_THE_WAY = 24  # of media and inference; there were 28
NOT_NEEDED = {"mmperson.media.windows", "mmperson.inference.windows", "mmperson.pool.worker_pool"}

SCRIPT = """
import json, sys
import mmperson
assert mmperson.load().predict(sys.argv[1]).error is None
print(json.dumps([name for name in sys.modules if name.split(".")[0] == "mmperson"]))
"""


def test_scoring_a_clip_loads_few_modules(demo, project_root):
    answer = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(demo)],
        capture_output=True,
        text=True,
        check=True,
        cwd=project_root,
    )
    modules = set(json.loads(answer.stdout))
    assert len(modules) <= MOST_MODULES, sorted(modules)
    rooms = ("mmperson.media", "mmperson.inference")
    assert len([name for name in modules if name.startswith(rooms)]) <= MOST_IN_THE_WAY
    assert not modules & NOT_NEEDED
    assert not [name for name in modules if "word_times" in name]
