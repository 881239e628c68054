"""Workload that a test gives to workers: it says what it is told, and does what it should not."""

import os
import resource
import signal
import sys

from mmperson.errors import UsageError

print("what a library prints while it is loaded")


def initialize(settings):
    """Return what does a task, unless the settings say that it cannot."""
    if settings["problem"]:
        raise UsageError(settings["problem"])

    def act(task):
        print("what a library prints while it works", flush=True)
        if task == "crash":
            os.abort()
        if task == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        if task == "core":
            task = list(resource.getrlimit(resource.RLIMIT_CORE))
        if isinstance(task, dict):
            with open(task["file"], "wb") as file:
                file.write(bytes(task["bytes"]))
        return {"said": task, "threads": os.environ["OMP_NUM_THREADS"], "at": sys.argv[2]}

    return act
