"""The `mmperson` program: its verbs, and the exit codes of errors.

Exit codes: 0 success, 1 some clips failed (results still written), 2 usage, 3 bundle or
environment, 130 interrupted (143 by SIGTERM, 129 by SIGHUP). Data goes to stdout, messages to
stderr.
"""

from __future__ import annotations

import errno
import sys
from typing import NoReturn

import typer

from mmperson.cli import benchmark, data, doctor, evaluate, export, predict, train
from mmperson.cli.output import drop_stdout
from mmperson.cli.terminal import plain_lines, stderr_console
from mmperson.errors import MMPersonError

app = typer.Typer(
    name="mmperson",
    help="Apparent Big Five from video clips. Scores are first impressions, not a diagnosis, "
    "and not for decisions about people.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("predict", cls=predict.ClipCommand)(predict.predict)
app.command("train", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(
    train.train
)
app.command("evaluate")(evaluate.evaluate)
app.command("export")(export.export)
app.command("benchmark", cls=predict.ClipCommand)(benchmark.benchmark)
app.add_typer(data.app, name="data")
app.command("doctor")(doctor.doctor)


def main() -> None:
    """Run the program; an expected error is one line on stderr."""
    try:
        app()
    except MMPersonError as error:
        _exit(error, str(error), error.exit_code)
    except MemoryError as error:
        _exit(error, "Out of memory. Free some, then rerun the command to resume.", 3)
    except OSError as error:  # such as a full disk under standard output
        if sys.stdout is not None:
            drop_stdout()
        _exit(error, _describe(error), 3)
    except KeyboardInterrupt:
        sys.exit(130)


def _exit(error: BaseException, message: str, code: int) -> NoReturn:
    stderr_console().print(f"[bold red]{type(error).__name__}[/]: {plain_lines(message)}")
    sys.exit(code)


def _describe(error: OSError) -> str:
    where = "" if error.filename is None else f" {error.filename!r}"
    name = errno.errorcode.get(error.errno or 0, "no number")
    return (
        f"System error{where}: {error.strerror or error} ({name}). "
        "Check the free disk space and the file permissions."
    )
