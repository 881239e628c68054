"""The `mmperson` program: its verbs, and how errors become exit codes.

Exit codes: 0 all good, 1 some clips failed (results still written), 2 usage, 3 bundle or
environment, 130 interrupted (143 by SIGTERM, 129 by SIGHUP). Data goes to stdout, talk to stderr.
"""

from __future__ import annotations

import errno
import sys

import typer
from rich.console import Console

from mmperson.cli import benchmark, data, doctor, evaluate, export, predict, train
from mmperson.cli.output import drop_stdout
from mmperson.cli.terminal import plain_lines
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
    """Run the program; every expected failure is one clear line on stderr."""
    try:
        app()
    except MMPersonError as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(
            f"[bold red]{type(error).__name__}[/]: {plain_lines(str(error))}"
        )
        sys.exit(error.exit_code)
    except MemoryError:
        Console(stderr=True, highlight=False, soft_wrap=True).print(
            "[bold red]MemoryError[/]: The system gives this process no more memory. "
            "Free some; the same command goes on from what is on the disk."
        )
        sys.exit(3)
    except OSError as error:  # such as a full disk under standard output
        if sys.stdout is not None:
            drop_stdout()
        Console(stderr=True, highlight=False, soft_wrap=True).print(
            f"[bold red]{type(error).__name__}[/]: {plain_lines(_describe(error))}"
        )
        sys.exit(3)
    except KeyboardInterrupt:
        sys.exit(130)


def _describe(error: OSError) -> str:
    """Return what the system says, by its name too, and of which file."""
    where = "" if error.filename is None else f" {error.filename!r}"
    name = errno.errorcode.get(error.errno or 0, "no number")
    return (
        f"The system refuses{where}: {error.strerror or error} ({name}). "
        "Check the room that is left, and what this account may read and write."
    )
