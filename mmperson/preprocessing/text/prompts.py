"""Psychology-informed prompts: one instruction per trait, encoded before the transcript.

Each names the trait and its facets. No prompt names age, gender, origin or any other attribute of a
person.

Source: "Traits Run Deep" (AVI Challenge 2025), psychology-informed prompts; the anchors paraphrase
the facets of the Big Five (Costa and McCrae 1992).
"""

from __future__ import annotations

from typing import Final

_ANCHORS: Final = {
    "openness": "curiosity, imagination, interest in ideas and art, readiness to try new things",
    "conscientiousness": "organisation, planning, diligence, reliability, care for details",
    "extraversion": "initiative, enthusiasm, talkativeness, assertiveness, ease among people",
    "agreeableness": "patience, warmth, trust, forgiveness, a calm way with conflict",
    "emotional stability": "calm, confidence, few worries, coping well with stress and setbacks",
}

PSYCHOLOGY: Final = tuple(
    f"Judge how much {trait} the speaker shows: {anchors}. The speaker says:"
    for trait, anchors in _ANCHORS.items()
)
"""A prompt per trait, in the order of ``TRAITS``."""
