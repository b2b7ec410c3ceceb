"""Write what the pages take from the code: the map, the retry table, the statuses, the reference, bad input and more.

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
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

import typer

from qjobs.cli.declaring import built, commands_of
from qjobs.cli.main import COMMANDS, app_of
from qjobs.lifecycle import FINAL, LIVE, NOT_MOVED_BY_WAITING, JobStatus
from qjobs.model import Lookup, RemoteRetryStrategy
from qjobs.operations.retry import Action, Standing, decide

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path[:0] = [str(DOCS), str(ROOT / "tests"), str(ROOT / "tests" / "fault")]
PART = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
WALK = re.compile(r"^### (.+?)\n(.*?)(?=^##|\Z)", re.DOTALL | re.MULTILINE)
FAULT_COLUMNS = ((0, 42), (43, 56), (57, 64), (65, 69), (71, 80), (81, 104))
"""Where the columns of a line of `make faults` begin and end."""
STEP = re.compile(r"^\d+\. `([\w.]+):[\w.]+`", re.MULTILINE)
OLD_STEP = re.compile(r"([\w.]+):[\w.]+")
PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==", re.MULTILINE)
LICENCE_ROW = re.compile(r"^\| `([^`]+)` \| (.*) \|$", re.MULTILINE)


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


def the_commands() -> str:
    """The help of every command, as it is printed in a pipe."""
    parts = []
    for path, command in commands_of(built(app_of(list(COMMANDS)), rich=False)).items():
        context = typer.Context(command, info_name=path, terminal_width=80, help_option_names=["-h", "--help"])
        parts.append(f"### {path}\n\n```text\n{command.get_help(context)}\n```\n")
    return "\n".join(parts)


def in_a_cell(text: str) -> str:
    """Code in a cell of a table, its lines below each other."""
    lines = [f"`` {line.replace('|', chr(92) + '|')} ``" for line in text.splitlines() if line.strip()]
    return "<br>".join(lines)


def decisive_lines(text: str) -> str:
    """What a file has beside the lines that the files of all cases share."""
    from bad_input_cases import AXIS, BELL, GHZ, H2, HEAD, ROTATION

    for shared in (HEAD, ROTATION, GHZ, H2):
        text = text.replace(shared, "")
    lines = [line for line in text.splitlines() if f"{line}\n" not in (AXIS, BELL) and line != "name: s"]
    return "\n".join(lines).replace("\t", "→").replace("\udcff", "�") or "axes: ..."


def the_bad_files() -> str:
    """What is said about each file with a mistake in it."""
    from bad_input_cases import CASES

    rows = []
    for name, (text, words) in CASES.items():
        rows.append([name, in_a_cell(decisive_lines(text)), words.replace("|", "\\|").replace("<", "&lt;")])
    return table(["mistake", "in the file", "what is said"], rows)


def the_bad_commands() -> str:
    """What is said about each command with a mistake in it."""
    from bad_input_cases import COMMANDS

    rows = [[name, f"`qjobs {command}`", words.replace("|", "\\|")] for name, (command, words) in COMMANDS.items()]
    return table(["mistake", "command", "what is said"], rows)


def the_faults() -> str:
    """The recorded rows of `make faults`: of each fault, what became of one wanted job."""
    rows = []
    for line in (DOCS / "fault-table.txt").read_text(encoding="utf-8").splitlines()[1:]:
        fault, adapter, created, lost, status, then = (line[a:b].strip() for a, b in FAULT_COLUMNS)
        rows.append([fault, adapter, created, lost, f"{status}, then {then}" if then else status])
    return table(["fault", "provider", "remote jobs", "results lost", "the job is"], rows)


def the_reference(*modules: str) -> str:
    """Every public name of modules, from their docstrings."""
    import reference

    return reference.written(ROOT, modules)


def licence_of(package: str) -> str | None:
    """What an installed package says of its licence; None for one that is not installed."""
    try:
        said = metadata(package)
    except PackageNotFoundError:
        return None
    short = said.get("License-Expression") or said.get("License") or ""
    if short and len(short) <= 60 and "\n" not in short and "Copyright" not in short and short != "UNKNOWN":
        return short
    words = [each.rpartition(" :: ")[2] for each in said.get_all("Classifier", []) if each.startswith("License ::")]
    return ", ".join(words) or "not said"


def the_licences(page: str) -> str:
    """The licence of every package that constraints.txt pins; what is not installed here stays as the page has it."""
    before = dict(LICENCE_ROW.findall(page))
    rows = []
    for package in PIN.findall((ROOT / "constraints.txt").read_text(encoding="utf-8")):
        rows.append([f"`{package}`", licence_of(package) or before.get(package, "not said")])
    return table(["package", "licence"], rows)


def written(page: str) -> str:
    """A page with its generated parts as the code is now."""
    makers = {
        "bad-commands": the_bad_commands,
        "bad-files": the_bad_files,
        "commands": the_commands,
        "faults": the_faults,
        "reference-library": lambda: the_reference("qjobs"),
        "reference-project": lambda: the_reference("blocks", "tasks", "flows"),
        "map": the_map,
        "layers": the_layers,
        "licences": lambda: the_licences(page),
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
