"""The model card and the licence that travel with the weights."""

from __future__ import annotations

from typing import Any

from mmperson.config import Recipe
from mmperson.inputs.spec import InputSpec
from mmperson.schema import MODALITIES

LICENCE = "CC BY-NC 4.0"

LICENCE_TEXT = """\
The weights in this folder were trained on the labels, transcripts and audio features of ChaLearn
First Impressions V2, which are published under CC BY-NC 4.0. They are shared under the same
licence: Creative Commons Attribution-NonCommercial 4.0 International,
https://creativecommons.org/licenses/by-nc/4.0/legalcode

The text encoder contains all-MiniLM-L6-v2 (Apache License 2.0; Microsoft and the authors of
sentence-transformers), with its weights quantised. The tokenizer is the one of that model.
"""

_CARD = """\
# {name}

Apparent Big Five personality of a person who speaks in a short clip: how observers would rate the
first impression that the person makes.

- **Reads:** {reads}. **Does not read:** {unread}.
- **Scores:** openness, conscientiousness, extraversion, agreeableness and emotional stability on
  [0, 1], where 0 and 1 are the lowest and highest ratings of First Impressions V2.
- **Trained on:** the training split of ChaLearn First Impressions V2: {sources}.
- **Licence:** {licence}, as that of the data. Not for commercial use.

## Use
For research on apparent impressions and for trying out the software. **Not for decisions about
people**: not for hiring, grading, credit, policing or medicine. The scores say what crowd workers
who saw fifteen seconds of a YouTube video would probably have thought. They are no diagnosis, no
self-report, and no fact about a person.

## How good it is
{metrics}

## Limits
- English speech by YouTube vloggers, about fifteen seconds a clip. Other languages, recordings and
  lengths were not tested.
- Observers' impressions carry the observers' prejudices about age, gender, accent and looks, and
  the model learns them. Attributes of persons are no inputs, but a voice and a choice of words
  carry age and gender.
- The ratings of a clip are an aggregate of few pairwise judgements. They are noisy, and scores lie
  closer to the mean than ratings do.

- The graphs hold the standardised audio features and text vectors of the training clips, as the
  memory of a kernel machine. They are derived from the corpus and under its terms; part of the gain
  on clips of known source videos comes from remembering those videos.

## Precision
{precision}
"""


def model_card(
    recipe: Recipe,
    spec: InputSpec,
    precision: dict[str, str],
    parity: dict[str, float],
    metrics: dict[str, Any],
) -> str:
    """Return the model card in Markdown."""
    sources = {"audio": "26 published acoustic descriptors", "text": "transcripts"}
    reads = spec.modalities
    unread = [name for name in MODALITIES if name not in reads]
    gates = {
        "fp32": "before quantisation, scores differ from the trained network's by at most",
        "int8": "as shipped, scores differ from the trained network's by at most",
    }
    lines = [f"- {name}.onnx: {kind}" for name, kind in precision.items()]
    lines += [f"- On real clips, {gates[gate]} {value:.2g}." for gate, value in parity.items()]
    return _CARD.format(
        name=recipe.name,
        reads=" and ".join(reads),
        unread=" and ".join(unread) or "nothing is left out",
        sources=" and ".join(sources[name] for name in reads),
        licence=LICENCE,
        metrics=_metrics(metrics),
        precision="\n".join(lines),
    )


def _metrics(metrics: dict[str, Any]) -> str:
    if not metrics:
        return "Not measured at export."
    rows = ["| rows | n | 1-MAE | R2 | PCC | CCC |", "|---|---|---|---|---|---|"]
    for protocol, result in metrics.items():
        cells = [
            f"{result['mean'][name]:.4f} [{low:.4f}, {high:.4f}]"
            for name in ("accuracy", "r2", "pcc", "ccc")
            for low, high in [result["intervals"][name]]
        ]
        rows.append(f"| {protocol} | {result['n']} | {' | '.join(cells)} |")
    note = "Per trait, then averaged; 95 % intervals from a bootstrap over source videos."
    return "\n".join([*rows, "", note])
