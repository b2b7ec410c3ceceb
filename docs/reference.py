"""The reference: every public name of some modules, in markdown, from docstrings. Griffe reads the code; nothing runs.

`docs/generate.py` writes it into the pages.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import griffe


def written(root: Path, modules: Sequence[str]) -> str:
    """The names of packages, in the order of their `__all__`; of `flows` those that people run."""
    griffe.logger.disabled = True
    loader = griffe.GriffeLoader(search_paths=[str(root)], docstring_parser=griffe.Parser.google)
    parts = []
    for module in modules:
        package = loader.load(module)
        loader.resolve_aliases()
        parts.append(f"## `{module}`\n")
        for name, found in _public(package):
            parts.append(_entry(f"{module}.{name}", found))
    return "\n".join(parts)


def _public(package: griffe.Module) -> Iterator[tuple[str, griffe.Object]]:
    if package.exports:
        for name in sorted(str(each) for each in package.exports):
            yield name, _final(package[name])
        return
    for module in sorted(package.modules.values(), key=lambda each: each.name):
        if not module.name.startswith("_") and module.exports and module.name in module.exports:
            yield f"{module.name}.{module.name}", module[module.name]


def _final(found: griffe.Object | griffe.Alias) -> griffe.Object:
    return found.final_target if isinstance(found, griffe.Alias) else found


def _entry(name: str, found: griffe.Object) -> str:
    lines = [f"### {name}\n"]
    if isinstance(found, griffe.Function):
        lines.append(f"    {_signature(name.rpartition('.')[2], found)}\n")
    lines.append(_words(found.docstring))
    if isinstance(found, griffe.Class):
        lines.append(_fields(found))
        for method in found.functions.values():
            if method.is_public and method.docstring and not method.name.startswith("_"):
                lines.append(f"**`{_signature(method.name, method)}`**: {_first(method.docstring)}\n")
    return "\n".join(line for line in lines if line)


def _signature(name: str, function: griffe.Function) -> str:
    shown = []
    stars = False
    for each in function.parameters:
        if each.name in {"self", "cls"}:
            continue
        if each.kind is griffe.ParameterKind.keyword_only and not stars:
            shown.append("*")
            stars = True
        default = "" if each.default is None else "=..."
        shown.append(f"{each.name}{default}")
    return f"{name}({', '.join(shown)})"


def _words(docstring: griffe.Docstring | None) -> str:
    """A docstring in markdown; its sections become lists."""
    if docstring is None:
        return ""
    parts = []
    for section in docstring.parse(griffe.Parser.google, warnings=False):
        match section.kind:
            case griffe.DocstringSectionKind.text:
                parts.append(f"{section.value}\n")
            case griffe.DocstringSectionKind.parameters | griffe.DocstringSectionKind.attributes:
                parts += [_item(each.name, each.description) for each in section.value]
                parts.append("")
            case griffe.DocstringSectionKind.raises:
                parts += [_item(f"raises {each.annotation}", each.description) for each in section.value]
                parts.append("")
            case griffe.DocstringSectionKind.returns:
                parts += [f"- returns: {_one_line(each.description)}" for each in section.value]
                parts.append("")
            case _:
                continue  # examples stand in the code, where they are run
    return "\n".join(parts)


def _item(name: str, words: str) -> str:
    return f"- `{name}`: {_one_line(words)}"


def _one_line(words: str) -> str:
    return " ".join(words.split())


def _first(docstring: griffe.Docstring) -> str:
    paragraph = _one_line(inspect.cleandoc(docstring.value).partition("\n\n")[0])
    return re.split(r"(?<=\.)\s(?=[A-Z`])", paragraph)[0]


def _fields(found: griffe.Class) -> str:
    """The fields of a block, whose descriptions stand in `Field(description=...)`."""
    rows = []
    for name, attribute in found.attributes.items():
        if attribute.value is None or not str(attribute.value).startswith("Field("):
            continue
        call = ast.parse(str(attribute.value), mode="eval").body
        options = {each.arg: each.value for each in call.keywords} if isinstance(call, ast.Call) else {}
        said = options.get("description")
        words = said.value if isinstance(said, ast.Constant) else ""
        default = ast.unparse(options["default"]) if "default" in options else ""
        rows.append(f"| `{name}` | {f'`{default}`' if default else ''} | {str(words).replace('|', chr(92) + '|')} |")
    return "\n".join(["| field | default | meaning |", "| --- | --- | --- |", *rows, ""]) if rows else ""
