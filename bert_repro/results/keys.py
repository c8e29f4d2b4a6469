"""Files of settings: what their YAML says, and how it is validated.

Invalid YAML, anything but a mapping, and a repeated key, of which YAML would keep the last, are errors.
"""

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict

from bert_repro.files import OUTSIDE, ROOT


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _KeysOnce(yaml.SafeLoader):
    """Refuses a key that occurs twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        if twice := {key for key in keys if keys.count(key) > 1}:
            raise yaml.YAMLError(f"line {node.start_mark.line + 1}: {', '.join(sorted(twice))} occurs twice")
        return super().construct_mapping(node, deep)


def read(path: Path, kind: str = "study") -> dict[str, Any]:
    """Read a file of this kind.

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
        raise ValueError(f"{path} is not a {kind}: expected `key: value` lines, got {type(content).__name__}")
    return content
