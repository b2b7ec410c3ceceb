"""Write what the pages take from the code: the map, the retry table, the statuses, the lengths of the walks.

    python docs/generate.py            writes it into the pages
    python docs/generate.py --check    only says which pages are out of date (exit code 1)

A generated part of a page stands between `<!-- generated: NAME -->` and `<!-- end -->`. Needs the library, not Prefect.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

from qjobs.lifecycle import FINAL, LIVE, NOT_MOVED_BY_WAITING, JobStatus
from qjobs.model import Lookup, RemoteRetryStrategy
from qjobs.operations.retry import Action, Standing, decide

DOCS = Path(__file__).parent
ROOT = DOCS.parent
PART = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
WALK = re.compile(r"^### (.+?)\n(.*?)(?=^##|\Z)", re.DOTALL | re.MULTILINE)
STEP = re.compile(r"^\d+\. `([\w.]+):[\w.]+`", re.MULTILINE)
OLD_STEP = re.compile(r"([\w.]+):[\w.]+")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def first_sentence(path: Path) -> str:
    """What a module or package says that it is."""
    words = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    paragraph = re.sub(r" \(docs/[^)]*\)", "", " ".join(words.partition("\n\n")[0].split()))
    sentence = re.split(r"(?<=[.:])\s(?=[A-Z`])", paragraph)[0]
    return sentence.rstrip(":").rstrip(".").replace("|", "\\|") + "."


def modules(package: Path) -> Iterator[tuple[str, Path]]:
    """The modules below a package, by their names inside it; a package inside it counts by its own docstring."""
    for path in sorted(package.rglob("*.py")):
        name = ".".join(path.relative_to(package).with_suffix("").parts).removesuffix("__init__").rstrip(".")
        if name:
            yield name, path


def layers() -> list[list[str]]:
    """The layers inside `qjobs`, from bottom to top, as import-linter checks them."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for contract in settings["tool"]["importlinter"]["contracts"]:
        if contract.get("containers") == ["qjobs"]:
            return [re.split(r"\s*[|:]\s*", layer) for layer in reversed(contract["layers"])]
    raise SystemExit("pyproject.toml has no contract of the layers inside qjobs")


def the_map() -> str:
    """Every package from bottom to top, with every module in it."""
    order = [name for layer in layers() for name in layer]
    alone = [(name, ROOT / "qjobs" / f"{name}.py") for name in order]
    rows = [[f"`qjobs.{name}`", first_sentence(path)] for name, path in alone if path.exists()]
    rows.append(["`qjobs`", first_sentence(ROOT / "qjobs" / "__init__.py")])
    parts = ["### Modules by themselves\n\n" + table(["module", "what it is"], rows)]
    packages = [f"qjobs/{name}" for name in order if (ROOT / "qjobs" / name).is_dir()]
    for folder in [*packages, "blocks", "tasks", "flows"]:
        package = ROOT / folder
        rows = [[f"`{name}`", first_sentence(path)] for name, path in modules(package)]
        title = folder.replace("/", ".")
        words = first_sentence(package / "__init__.py")
        parts.append(f"### `{title}`\n\n{words}\n\n" + table(["module", "what it is"], rows))
    return "\n".join(parts)


def the_layers() -> str:
    """The layers as a list, from top to bottom."""
    shown = ["`flows`", "`tasks`", "`blocks`"]
    for layer in reversed(layers()):
        shown.append(", ".join(f"`qjobs.{name}`" for name in layer))
    return "".join(f"{number}. {names}\n" for number, names in enumerate(shown, start=1))


def member_words(file: str, name: str) -> dict[str, str]:
    """The docstrings below the members of an enumeration."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    (found,) = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name]
    words = {}
    for member, below in zip(found.body, found.body[1:], strict=False):
        if isinstance(member, ast.Assign) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            words[ast.unparse(member.targets[0])] = " ".join(str(below.value.value).split())
    return words


def the_statuses() -> str:
    """Every status, whose word it is, what can become of it, and what it means."""
    words = member_words("qjobs/lifecycle.py", "JobStatus")
    ours = {JobStatus.CREATED, JobStatus.SUBMITTING, JobStatus.UNKNOWN, JobStatus.LOST}
    rows = []
    for status in JobStatus:
        kind = "final" if status in FINAL else "open"
        if status in NOT_MOVED_BY_WAITING:
            kind += ", waiting does not move it"
        live = "yes" if status in LIVE else "no"
        rows.append([f"`{status}`", "ours" if status in ours else "the provider's", kind, live, words[status.name]])
    return table(["status", "whose word", "kind", "may a remote job be alive?", "meaning"], rows)


def cell(standing: Standing, strategy: RemoteRetryStrategy, lookup: Lookup) -> str:
    """One answer of `decide`, as it is shown."""
    decision = decide(standing, strategy, lookup)
    return f"{decision.action}, else {decision.otherwise}" if decision.otherwise else str(decision.action)


def the_retry_table() -> str:
    """What `qjobs.operations.retry.decide` answers, in every case."""
    rows = []
    for standing in Standing:
        kinds = [Lookup(by_key=True)]
        if standing is Standing.UNKNOWN:
            kinds.append(Lookup())
        for kind in kinds:
            opaque = ", and the provider is opaque" if kind.is_opaque else ""
            cells = [cell(standing, strategy, kind) for strategy in RemoteRetryStrategy]
            rows.append([f"**{standing}**{opaque}", *cells])
    return table(["where the job stands", *(f"`{strategy}`" for strategy in RemoteRetryStrategy)], rows)


def the_retry_words() -> str:
    """What the rows and the cells of the retry table mean."""
    file = "qjobs/operations/retry.py"
    standings = member_words(file, "Standing")
    actions = member_words(file, "Action")
    rows = [[f"**{each}**", standings[each.name]] for each in Standing]
    cells = [
        [str(each), actions[each.name].replace("`Decision.otherwise`", "what stands behind `else`")] for each in Action
    ]
    return table(["row", "meaning"], rows) + "\n" + table(["cell", "what is done"], cells)


def stays(names: Sequence[str]) -> tuple[int, int, int]:
    """Of the modules of a walk: how many there are, how often one is entered, and how often one that was left."""
    entered = [name for number, name in enumerate(names) if number == 0 or names[number - 1] != name]
    return len(set(names)), len(entered), len(entered) - len(set(entered))


def the_walks(page: str) -> str:
    """How long each walk of the page is, today and before."""
    rows = []
    for title, text in WALK.findall(page):
        now = STEP.findall(text)
        if not now:
            continue
        before = OLD_STEP.findall(text.partition("```text")[2].partition("```")[0])
        shown = []
        for names in (before, now):
            shown += [str(number) for number in (len(names), *stays(names))]
        rows.append([title, *shown])
    head = ["walk"]
    for when in ("before", "now"):
        head += [f"steps {when}", "modules", "stays", "returns"]
    return table(head, rows)


def written(page: str) -> str:
    """A page with its generated parts as the code is now."""
    makers = {
        "map": the_map,
        "layers": the_layers,
        "statuses": the_statuses,
        "retry-table": the_retry_table,
        "retry-words": the_retry_words,
        "walks": lambda: the_walks(page),
    }

    def fill(found: re.Match[str]) -> str:
        return f"{found[1]}\n{makers[found[2]]()}\n{found[3]}"

    return PART.sub(fill, page)


def main(*, check: bool) -> int:
    """Write the pages, or say which are out of date."""
    late = []
    for path in sorted(DOCS.glob("*.md")):
        page = path.read_text(encoding="utf-8")
        new = written(page)
        if new == page:
            continue
        late.append(path.name)
        if not check:
            path.write_text(new, encoding="utf-8")
    if late:
        print(f"{'out of date' if check else 'written'}: {', '.join(late)}")  # noqa: T201
    return 1 if check and late else 0


if __name__ == "__main__":
    sys.exit(main(check="--check" in sys.argv[1:]))
