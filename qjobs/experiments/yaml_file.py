"""YAML and JSON files of people: the mapping in one, and the line of every key in it. A key twice is refused.

What aliases (`*name`) stand for is counted before any of it is made: nine lines can stand for thousands of millions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from qjobs.errors import InvalidInput
from qjobs.model import JsonValue
from qjobs.redaction import holds_known

__all__ = ["FormFile", "read_file"]

_MERGE = "tag:yaml.org,2002:merge"
_MAX_BYTES = 64 * 1024 * 1024
_MAX_REPEATED = 100_000
"""Most values that aliases may add to those that are written down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FormFile:
    """What a file says. `root` is its tree, in which lines are looked up."""

    path: Path
    data: dict[str, JsonValue]
    root: yaml.MappingNode

    def line(self, place: Sequence[str | int]) -> int | None:
        """The line, counted from 1, of what is at a place such as ("axes", 0, "start").

        Of something that is not in the file it is the line of the nearest thing around it; None if there is none.
        """
        found: int | None = None
        node: yaml.Node = self.root
        for part in place:
            if isinstance(node, yaml.MappingNode):
                pair = _pair(node, str(part))
                if pair is None:
                    return found
                found = pair[0].start_mark.line + 1
                node = pair[1]
            elif isinstance(node, yaml.SequenceNode) and str(part).isdigit() and int(part) < len(node.value):
                node = node.value[int(part)]
                found = node.start_mark.line + 1
            else:
                return found
        return found


def read_file(path: Path) -> FormFile:
    """The mapping in a YAML or JSON file.

    Raises:
        InvalidInput: The file cannot be read, is too large, has a key twice, holds something else than a mapping, its
            aliases stand for too much, or it holds a credential that this process knows.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            text = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}; check the path") from error
    except ValueError as error:
        raise InvalidInput(f"{path} is neither YAML nor JSON: it is not a text in UTF-8") from error
    if len(text) > _MAX_BYTES:
        raise InvalidInput(f"{path} has more than {_MAX_BYTES:,} characters; split it into several files")
    _refuse_credentials(path, text)
    loader = yaml.SafeLoader("")
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        if root is not None:
            _check_aliases(path, root)
        data = loader.construct_document(root) if root is not None else None
    except InvalidInput:  # a ValueError too
        raise
    except yaml.MarkedYAMLError as error:
        raise InvalidInput(f"{path} is neither YAML nor JSON: {_words(error)}") from error
    except RecursionError as error:
        raise InvalidInput(f"{path} is neither YAML nor JSON: it is nested too deeply") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date such as 2025-99-99
        raise InvalidInput(f"{path} is neither YAML nor JSON: {' '.join(str(error).split())}") from error
    finally:
        loader.dispose()
    if root is not None:
        _check_keys(path, root)
    if not isinstance(data, dict) or not isinstance(root, yaml.MappingNode):
        raise InvalidInput(f"{path} must hold a mapping that begins with name:, as in examples/")
    return FormFile(path=path, data=data, root=root)


def _refuse_credentials(path: Path, text: str) -> None:
    """Refuse a file with a credential before it is kept with the results and shown in Prefect."""
    if not holds_known(text):
        return
    number = next((n for n, line in enumerate(text.splitlines(), start=1) if holds_known(line)), 1)
    raise InvalidInput(
        f"{path} holds a token or a password of yours in line {number}; take it out: it belongs into the environment "
        "or into a block, and a file is kept with its results"
    )


def _pair(node: yaml.MappingNode, key: str) -> tuple[yaml.Node, yaml.Node] | None:
    """A key with its value; of a file that was read, also what `<<` has brought."""
    for name, value in node.value:
        if isinstance(name, yaml.ScalarNode) and name.value == key:
            return name, value
    return None


def _check_aliases(path: Path, root: yaml.Node) -> None:
    """Refuse aliases that stand for too much, or for something around themselves."""
    sizes: dict[int, int] = {}
    entered: set[int] = set()
    left = [root]
    while left:
        node = left[-1]
        inner = _inner(node)
        waiting = [each for each in inner if id(each) not in sizes]
        if not waiting or id(node) in sizes:
            left.pop()
            sizes[id(node)] = min(1 + sum(sizes[id(each)] for each in inner), 1 << 60)
            continue
        if id(node) in entered:
            raise InvalidInput(
                f"{path}, line {node.start_mark.line + 1}: an alias (*) stands for something that it is itself a part "
                "of; write it out"
            )
        entered.add(id(node))
        left += waiting
    if sizes[id(root)] > len(sizes) + _MAX_REPEATED:
        raise InvalidInput(
            f"{path}: its aliases (*) stand for more than {_MAX_REPEATED:,} values; write out what is needed"
        )


def _inner(node: yaml.Node) -> list[yaml.Node]:
    """The nodes right inside a node: the values of a list, the keys and values of a mapping."""
    if isinstance(node, yaml.SequenceNode):
        return list(node.value)
    if not isinstance(node, yaml.MappingNode):
        return []
    inner = []
    for pair in node.value:
        inner += pair
    return inner


def _check_keys(path: Path, root: yaml.Node) -> None:
    """Refuse a mapping with a key twice: YAML would keep the last one and say nothing."""
    seen: set[int] = set()
    left = [root]
    while left:
        node = left.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            left += node.value
        elif isinstance(node, yaml.MappingNode):
            _check_mapping(path, node)
            left += [value for _, value in node.value]


def _check_mapping(path: Path, node: yaml.MappingNode) -> None:
    lines: dict[str, int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
            continue
        line = key.start_mark.line + 1
        if key.value in lines:
            first = lines[key.value]
            where = f"line {line}" if line == first else f"line {first} and again in line {line}"
            raise InvalidInput(f"{path} has the key {key.value!r} twice, {where}; keep one of them", field=key.value)
        lines[key.value] = line


def _words(error: yaml.MarkedYAMLError) -> str:
    """What the parser says, with the place first and a hint where the reason is a usual one."""
    problem = " ".join(str(error.problem or error.context or error).split())
    hint = ""
    if "\\t" in problem:
        hint = "; indent with blanks, not with tabs"
    elif "mapping values are not allowed" in problem:
        hint = "; is the line above complete, or does a text with a colon need quotes?"
    elif "could not find expected ':'" in problem:
        hint = "; a key needs a colon and a blank, as in shots: 100"
    elif "expected ',' or" in problem:
        hint = "; is a bracket open?"
    elif "another document" in problem:
        hint = "; a file holds one"
    elif "could not determine a constructor" in problem:
        hint = "; leave out the tag, which begins with !"
    mark = error.problem_mark or error.context_mark
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
    return f"{place}{problem.removeprefix('but ')}{hint}"
