"""The model card and the licence of a bundle."""

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
They are derived from its labels, transcripts and audio features, and are shared under the same
licence: Creative Commons Attribution-NonCommercial 4.0 International,
https://creativecommons.org/licenses/by-nc/4.0/legalcode""",
}

_MINILM = """
The text encoder contains all-MiniLM-L6-v2 (Apache License 2.0; Microsoft and the authors of
sentence-transformers). The tokenizer is the one of that model.
"""

_CARD = """\
# {name}

Predicts the apparent Big Five personality of a person who speaks in a short clip: how observers
would rate their first impression.

- **Reads:** {reads}. **Does not read:** {unread}.
- **Scores:** openness, conscientiousness, extraversion, agreeableness and emotional stability on
  [0, 1], the scale to which the ratings of the corpus were mapped{others}.
- **Trained on:** {corpus}, split {split}{members}.
- **Licence:** {licence}.

## Intended use
For research on apparent impressions and for evaluating the software. **Not for decisions about
people**: not for hiring, grading, credit, policing or medicine. The scores predict observers'
impressions of a clip. They are not a diagnosis, not a self-report, and not a fact about a person.

## Quality
{metrics}

## Limits
{limits}
- Observers' impressions are biased by age, gender, accent and looks, and the model learns these
  biases. Personal attributes are not inputs, but face, voice and words reveal age and gender.
- Ratings are noisy, and scores vary less than ratings.
{memory}
## Precision
{precision}
"""

_LIMITS = {
    _FIRST_IMPRESSIONS: """\
- The corpus has English speech by YouTube vloggers, about fifteen seconds per clip. Other
  languages, recordings and lengths were not tested.""",
}

_MEMBERS = "; the mean of {} networks, each trained without one fold of it"

_MEMORY = """\
- The graphs contain standardised audio features and text vectors of the training clips, as the
  memory of a kernel machine. They are derived from the corpus and under its terms; part of the gain
  on clips of known source videos comes from memorising those videos.
"""


def licence(provenance: Mapping[str, str]) -> str:
    """Return the corpus's terms, which apply to the weights, in one line."""
    return provenance.get("terms", "unknown: the manifest does not give them")


def licence_text(recipe: Recipe, provenance: Mapping[str, str]) -> str:
    """Return the content of the bundle's ``LICENSE.txt``."""
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
        recipe: The network's recipe.
        spec: The preprocessing.
        precision: Precision of each graph.
        parity: Largest difference of a score from the network's, by precision.
        metrics: Quality by protocol, see ``quality.measure_quality``.
        provenance: Facts about the corpus, from its manifest.
    """
    corpus = provenance.get("corpus", "an unnamed corpus")
    unread = [name for name in MODALITIES if name not in spec.modalities]
    lines = [f"- {name}.onnx: {kind}" for name, kind in precision.items()]
    for kind, difference in parity.items():
        when = "before conversion" if kind == "fp32" and len(parity) > 1 else "as shipped"
        lines.append(
            f"- On real clips, {when}, scores differ from the trained network's by at most "
            f"{difference:.2g}."
        )
    others = recipe.data.targets[5:]
    return _CARD.format(
        name=recipe.name,
        reads=" and ".join(f"{name} ({part.description})" for name, part in spec.parts.items()),
        unread=" and ".join(unread) or "nothing",
        others=f";\n  also, in the corpus's units, {', '.join(others)}" if others else "",
        corpus=corpus,
        split=recipe.data.train_split,
        members=_MEMBERS.format(recipe.data.folds) if recipe.data.ensemble else "",
        licence=licence(provenance),
        metrics=_metrics(metrics),
        limits=_LIMITS.get(corpus, "- Clips unlike those of the corpus were not tested."),
        memory=_MEMORY if recipe.teacher is not None else "",
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
