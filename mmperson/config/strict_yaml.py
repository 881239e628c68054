"""Strict YAML: plain values, no aliases, no duplicate keys."""

from __future__ import annotations

import reprlib
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode

LONGEST_NUMBER = 40
"""Longest number in characters; Python cannot print much longer integers."""


class _StrictLoader(yaml.SafeLoader):  # type: ignore[misc]
    """Rejects exponential expansion and silently dropped values."""

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        """Compose a node that is not an alias."""
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.MarkedYAMLError(None, None, "aliases are not allowed", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Construct a mapping with unique scalar keys."""
        seen: set[str] = set()
        for key, _ in node.value if isinstance(node, MappingNode) else ():
            if not isinstance(key, ScalarNode):
                raise yaml.MarkedYAMLError(None, None, "a key must be a scalar", key.start_mark)
            if key.value in seen:
                name = reprlib.repr(key.value)
                raise yaml.MarkedYAMLError(None, None, f"duplicate key {name}", key.start_mark)
            seen.add(key.value)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping

    def construct_number(self, node: ScalarNode) -> int | float:
        """Construct a number of at most ``LONGEST_NUMBER`` characters."""
        if len(node.value) > LONGEST_NUMBER:
            raise yaml.MarkedYAMLError(None, None, "a number is too long", node.start_mark)
        is_whole = node.tag.endswith("int")
        number: int | float = (
            self.construct_yaml_int(node) if is_whole else self.construct_yaml_float(node)
        )
        return number


for _tag in ("int", "float"):
    _StrictLoader.add_constructor(f"tag:yaml.org,2002:{_tag}", _StrictLoader.construct_number)


def read_yaml(text: str) -> Any:
    """Read YAML text.

    Raises:
        yaml.YAMLError: The text is not YAML, has an alias or duplicate key, is nested too deeply,
            or has an invalid value.
    """
    try:
        return yaml.load(text, _StrictLoader)  # derived from the safe loader
    except RecursionError as error:
        raise yaml.YAMLError("it is nested too deeply") from error
    except (ValueError, LookupError, AttributeError) as error:
        # Such as the date 2001-99-99, or !!int in front of a word.
        raise yaml.YAMLError("invalid value") from error
