"""The keys of a study file: what its YAML says, before it is validated.

Invalid YAML, anything but a mapping, and a repeated key, of which YAML would keep the last, are errors.
"""

from pathlib import Path
from typing import Any

import yaml

from bert_repro.files import OUTSIDE, ROOT


class _KeysOnce(yaml.SafeLoader):
    """Refuses a key that occurs twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        if twice := {key for key in keys if keys.count(key) > 1}:
            raise yaml.YAMLError(f"line {node.start_mark.line + 1}: {', '.join(sorted(twice))} occurs twice")
        return super().construct_mapping(node, deep)


def read(path: Path) -> dict[str, Any]:
    """Read a study file.

    Raises:
        FileNotFoundError: No such file; the message names those there are.
        ValueError: Not YAML, or no mapping.
    """
    if not path.is_file():
        names = ", ".join(sorted(str(p.relative_to(ROOT)) for p in (ROOT / "studies").glob("*.yaml"))) or OUTSIDE
        raise FileNotFoundError(f"no study file {path}: there are {names}")
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _KeysOnce)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} is not a study: expected `key: value` lines, got {type(content).__name__}")
    return content
