"""`mmperson export`: convert a training run to a bundle that scores clips without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from mmperson.cli.terminal import plain, stderr_console


def export(
    run: Annotated[Path, typer.Argument(help="Run folder made by 'mmperson train'.")],
    out: Annotated[Path, typer.Option(help="Bundle folder; an existing bundle is replaced.")],
    data: Annotated[Path, typer.Option(help="Manifest to compare the graphs with the network on.")],
    split: Annotated[
        str, typer.Option(help="Rows to compare and measure the bundle's quality on.")
    ] = "validation",
    precision: Annotated[
        Literal["int8", "fp32", "fp16", "int8-static"],
        typer.Option(
            help="int8: weights of the text encoder; int8-static: also matrix products of other "
            "encoders, calibrated on training rows; fp16: everything; fp32: as trained."
        ),
    ] = "int8",
) -> None:
    """Export a run to ONNX, check its parity with the network, and measure its quality."""
    import mmperson

    console = stderr_console()
    info = mmperson.export(
        run,
        out,
        data,
        split=split,
        precision=precision,
        on_note=lambda sentence: console.print(plain(sentence)),
    )
    for gate, difference in info.parity.items():
        console.print(f"Scores of the {gate} graphs differ by at most {difference:.2g}.")
    size = sum(file.bytes for file in info.files.values()) / 1e6
    console.print(f"Wrote {plain(str(out))} ({size:.1f} MB).")
    console.print(f"Next: mmperson predict CLIP --bundle {plain(str(out))}")
