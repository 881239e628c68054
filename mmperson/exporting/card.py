"""The model card and the licence that travel with the weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmperson.config import Recipe
from mmperson.preprocessing.spec import InputSpec
from mmperson.schema import MODALITIES

_FIRST_IMPRESSIONS = "ChaLearn First Impressions V2"

_LICENCE_TEXT = """\
The weights in this folder were trained on {corpus}, whose terms are: {terms}.
{shared}
"""

_SHARED = {
    _FIRST_IMPRESSIONS: """\
They were learned from its labels, transcripts and audio features, and are shared under the same
licence: Creative Commons Attribution-NonCommercial 4.0 International,
https://creativecommons.org/licenses/by-nc/4.0/legalcode""",
}

_MINILM = """
The text encoder contains all-MiniLM-L6-v2 (Apache License 2.0; Microsoft and the authors of
sentence-transformers). The tokenizer is the one of that model.
"""

_CARD = """\
# {name}

Apparent Big Five personality of a person who speaks in a short clip: how observers would rate the
first impression that the person makes.

- **Reads:** {reads}. **Does not read:** {unread}.
- **Scores:** openness, conscientiousness, extraversion, agreeableness and emotional stability on
  [0, 1], the scale to which the ratings of the corpus were brought{others}.
- **Trained on:** {corpus}, split {split}{members}.
- **Licence:** {licence}.

## Use
For research on apparent impressions and for trying out the software. **Not for decisions about
people**: not for hiring, grading, credit, policing or medicine. The scores say what observers who
saw the clip would probably have thought. They are no diagnosis, no self-report, and no fact about a
person.

## How good it is
{metrics}

## Limits
{limits}
- Observers' impressions carry the observers' prejudices about age, gender, accent and looks, and
  the model learns them. Attributes of persons are no inputs, but a face, a voice and a choice of
  words carry age and gender.
- Ratings are noisy, and scores lie closer to the mean than ratings do.
{memory}
## Precision
{precision}
"""

_LIMITS = {
    _FIRST_IMPRESSIONS: """\
- English speech by YouTube vloggers, about fifteen seconds a clip. Other languages, recordings and
  lengths were not tested.""",
}

_MEMBERS = "; the mean of {} networks, each trained without one fold of it"

_MEMORY = """\
- The graphs hold standardised audio features and text vectors of the training clips, as the memory
  of a kernel machine. They are derived from the corpus and under its terms; part of the gain on
  clips of known source videos comes from remembering those videos.
"""


def licence(provenance: Mapping[str, str]) -> str:
    """Return the terms of weights that were learned from a corpus, in a line."""
    return provenance.get("terms", "unknown: the manifest does not say")


def licence_text(recipe: Recipe, provenance: Mapping[str, str]) -> str:
    """Return what goes into the bundle's ``LICENSE.txt``."""
    corpus = provenance.get("corpus", "an unnamed corpus")
    text = _LICENCE_TEXT.format(
        corpus=corpus,
        terms=licence(provenance),
        shared=_SHARED.get(corpus, "They are shared under no wider terms than these."),
    )
    minilm = recipe.text is not None and recipe.text.weights == "minilm"
    return text + _MINILM if minilm else text


def model_card(
    recipe: Recipe,
    spec: InputSpec,
    precision: dict[str, str],
    parity: dict[str, float],
    metrics: dict[str, Any],
    provenance: Mapping[str, str],
) -> str:
    """Return the model card in Markdown.

    Args:
        recipe: What the network was trained by.
        spec: What it reads.
        precision: Precision of each graph.
        parity: Largest difference of a score from the network's, by gate.
        metrics: Quality by protocol, see ``_metrics``.
        provenance: Facts about the corpus, from its manifest.
    """
    corpus = provenance.get("corpus", "an unnamed corpus")
    unread = [name for name in MODALITIES if name not in spec.modalities]
    lines = [f"- {name}.onnx: {kind}" for name, kind in precision.items()]
    lines += [
        f"- On real clips, {_gate(gate, parity)} {value:.2g}." for gate, value in parity.items()
    ]
    others = recipe.data.targets[5:]
    return _CARD.format(
        name=recipe.name,
        reads=" and ".join(f"{name} ({part.description})" for name, part in spec.parts.items()),
        unread=" and ".join(unread) or "nothing is left out",
        others=f";\n  besides, in the corpus's units, {', '.join(others)}" if others else "",
        corpus=corpus,
        split=recipe.data.train_split,
        members=_MEMBERS.format(recipe.data.folds) if recipe.data.ensemble else "",
        licence=licence(provenance),
        metrics=_metrics(metrics),
        limits=_LIMITS.get(corpus, "- Clips unlike those of the corpus were not tested."),
        memory=_MEMORY if recipe.teacher is not None else "",
        precision="\n".join(lines),
    )


def _gate(gate: str, parity: Mapping[str, float]) -> str:
    """Say which graphs were held to the network."""
    when = "before conversion" if gate == "fp32" and len(parity) > 1 else "as shipped"
    return f"{when}, scores differ from the trained network's by at most"


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
