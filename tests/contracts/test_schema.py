"""The record's JSON schema changes on purpose or not at all.

After a wanted change, raise ``SCHEMA_VERSION`` and write the snapshot anew:

    python tests/contracts/test_schema.py
"""

import json
from pathlib import Path

from mmperson.schema import Prediction

SNAPSHOT = Path(__file__).with_name("prediction.schema.json")


def without_prose(schema):
    """Drop titles and descriptions, which promise nothing."""
    if isinstance(schema, dict):
        return {
            key: without_prose(value)
            for key, value in schema.items()
            if not (key in ("title", "description") and isinstance(value, str))
        }
    return [without_prose(value) for value in schema] if isinstance(schema, list) else schema


def schema():
    return without_prose(Prediction.model_json_schema(mode="serialization"))


def test_the_schema_is_the_snapshot():
    assert schema() == json.loads(SNAPSHOT.read_text(encoding="utf-8"))


def test_the_reference_explains_every_key(project_root):
    page = (project_root / "docs" / "reference" / "record.md").read_text(encoding="utf-8")
    parts = [schema(), *schema()["$defs"].values()]
    keys = {key for part in parts for key in part["properties"]}
    assert not {key for key in keys if f"`{key}`" not in page}


if __name__ == "__main__":
    SNAPSHOT.write_text(json.dumps(schema(), indent=2) + "\n", encoding="utf-8")
