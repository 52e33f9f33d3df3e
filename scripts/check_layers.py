"""Hold the drawing of the layers true: who may import whom, which library is allowed where, how long a file may be.

Run as `python scripts/check_layers.py [folder]`; prints one line a violation and exits 1 where there is one. Imports
are read from the source, those inside functions and under `if TYPE_CHECKING` included.

A module belongs to the first cell below that names it or a folder above it. It may import from lower layers and from
its own cell, never from above, nor from another cell of its layer.
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "shelfcast"
MOST_LINES = 450
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "misc"}

CELLS: tuple[tuple[int, str], ...] = (  # layer, modules of one cell; the more special first
    (0, "errors horizons periods compiled"),
    (1, "laws scoring forecast"),
    (1, "data"),
    (2, "inventory/economics inventory/stock inventory/simulator inventory/blocks"),
    (2, "networks"),
    (3, "models"),
    (4, "rolling"),
    (4, "overrides"),
    (4, "evaluation metrics volatility cells segments conformal guard drift latent"),
    (4, "store runs catalogue ledger"),
    (4, "report"),
    (4, "inventory"),
    (
        5,
        "config loading explaining pipelines reporting planning champions cycle exporting purchasing drafting "
        "hindsight parallel replays simulating lessons closed_loop",
    ),
    (6, "cli terminal boards __main__"),
    (6, "server"),
)

ACROSS: dict[tuple[str, str], str] = {  # imports between cells of one layer
    ("overrides", "cells"): "the demand that a change is scored by",
    ("data/censoring", "laws"): "a sold-out period has a law of demand above its sales",
    ("data", "scoring"): "ratio, the one quotient that knows what to do at zero",
}

NEVER: dict[str, tuple[str, str]] = {  # downward, yet forbidden
    "inventory": (
        "models rolling evaluation metrics volatility cells segments store runs catalogue report",
        "decisions depend on laws, never on models",
    ),
}

DEFERRED: dict[tuple[str, str], str] = {  # imports inside functions that would close a cycle
    ("data/panel", "data/packing"): "Panel.from_frame is the public door, and packing makes panels",
    ("models/blend", "models/table"): "a blend is of any models in the table, itself among them",
    ("models/combined", "models/table"): "a combination is of any model in the table, itself among them",
}

LIBRARIES: dict[str, dict[str, str]] = {  # library -> where it may be imported: why
    "numpy": {"": "anywhere"},
    "polars": {
        "data": "tables end here",
        "forecast": "frames in and out",
        "evaluation": "scores are a long table",
        "cells": "the part of evaluation that joins forecasts to truth",
        "segments": "the part of evaluation that groups series",
        "conformal": "a repair is a table by group",
        "overrides": "a planner's table",
        "guard": "comparisons are a table",
        "drift": "what is watched is a table",
        "latent": "what was wanted is a table",
        "hindsight": "publishes that table",
        "cycle": "steps hand tables on",
        "champions": "what was tried is a table",
        "reporting": "reads tables back",
        "ledger": "steps keep tables",
        "store": "Parquet",
        "runs": "part of the store",
        "catalogue": "part of the store",
        "report": "reads stored tables",
        "inventory/orders": "orders are a table",
        "networks/columns": "static columns become codes",
        "models/forest": "keys of the series go with a forecast, and cases are a table",
        "models/local": "keys of the series go with a forecast",
        "models/distribution_engine": "demand classes are a column",
        "models/routing": "rules and classes are tables a user reads",
        "models/patchwork": "rules are a table",
        "models/baselines": "keys of the series go with a forecast",
        "models/launches": "groups come from static columns",
        "models/elasticity": "estimates are read as tables",
        "models/seasonal": "groups come from static columns",
        "pipelines": "passes tables on",
        "explaining": "what a forecast looked at is a table",
        "loading": "counts products of a table",
        "drafting": "looks at a table",
        "simulating": "savings are tables",
        "purchasing": "joins stock and supply tables to the series",
        "cli": "prints tables",
        "terminal": "prints tables",
        "boards": "prints tables",
    },
    "pyarrow": {"data": "reads files batch by batch", "store": "writes them"},
    "duckdb": {"data/sources": "SQL over files", "data/queries": "SQL over files", "store": "reads Parquet"},
    "narwhals": {
        "data/sources": "the door that takes any frame",
        "data/tables": "the door that takes any frame",
        "data/panel": "the type of a frame in the signature of from_frame, for type checkers only",
    },
    "sqlalchemy": {
        "data/sources": "SQL databases",
        "data/queries": "SQL databases",
        "catalogue": "the catalogue of runs",
    },
    "numba": {
        "inventory/simulator": "compiled replay",
        "inventory/blocks": "compiled replay",
        "compiled": "the decorator for everyone else",
        "inventory/projection": "compiled projection",
    },
    "holidays": {"data/calendars": "public holidays"},
    "pydantic": {"config": "settings are checked here only"},
    "typer": {"cli": "commands", "__main__": "commands"},
    "rich": {"terminal": "progress and tables"},
    "torch": {
        "networks": "the only home of nets; models import it when one is fitted, read or asked to forecast",
        "inventory/twin": "the simulator with gradients",
        "inventory/learning": "trains buying rules through it; what is learned runs without torch",
    },
    "lightgbm": {},
    "onnx": {"networks/export": "an optional extra"},
    "onnxruntime": {"networks/export": "an optional extra: the check of what was exported"},
    "statsforecast": {"models/classical": "automatic textbook methods, an optional extra"},
    "pandas": {},
}


@dataclass(frozen=True)
class Import:
    """One imported module.

    Parameters
    ----------
    module : dotted name, as `shelfcast.laws` or `numpy`.
    line : where.
    deferred : whether it stands inside a function.
    """

    module: str
    line: int
    deferred: bool


@dataclass(frozen=True)
class Module:
    """One source file; `name` is its path in the package without suffix, `data/panel`; the package itself is ''."""

    name: str
    path: Path
    imports: tuple[Import, ...]


def read_modules(root: Path) -> dict[str, Module]:
    """Every module of the package folder `root`, by name."""
    files = sorted(root.rglob("*.py"))
    names = {module_name(path, root): path for path in files}
    return {
        name: Module(name, path, tuple(_imports(path.read_text(), name, path, set(names))))
        for name, path in names.items()
    }


def module_name(path: Path, root: Path) -> str:
    """`data/panel` for `root/data/panel.py`; `data` for `root/data/__init__.py`."""
    parts = path.relative_to(root).with_suffix("").parts
    return "/".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(source: str, name: str, path: Path, names: set[str]) -> Iterator[Import]:
    """Every import of a file; `from shelfcast import laws` counts as an import of `shelfcast.laws`."""
    tree = ast.parse(source, str(path))
    inside = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for child in ast.walk(node)
    }
    for node in ast.walk(tree):
        deferred = id(node) in inside
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno, deferred) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = _absolute(node, name, path)
            for alias in node.names:
                below = f"{origin}.{alias.name}"
                is_module = _inner(below) in names and _inner(below) != ""
                yield Import(below if is_module else origin, node.lineno, deferred)


def _absolute(node: ast.ImportFrom, name: str, path: Path) -> str:
    """Dotted name of what a `from` statement imports from, relative ones resolved."""
    if not node.level:
        return node.module or ""
    folder = name.split("/") if path.name == "__init__.py" else name.split("/")[:-1]
    kept = folder[: len(folder) - node.level + 1]
    return ".".join(part for part in (PACKAGE, *kept, node.module or "") if part)


def _inner(dotted: str) -> str | None:
    """`shelfcast.data.panel` -> `data/panel`; None for what is not ours."""
    head, *rest = dotted.split(".")
    return "/".join(rest) if head == PACKAGE else None


def within(name: str, folder: str) -> bool:
    """Whether a module is `folder` or lies in it."""
    return folder in ("", name) or name.startswith(f"{folder}/")


def cell_of(name: str) -> int | None:
    """Place in CELLS of the cell of a module."""
    for place, (_, members) in enumerate(CELLS):
        if any(within(name, member) for member in members.split()):
            return place
    return None


def check_layers(modules: dict[str, Module]) -> Iterator[str]:
    """Imports that go up, or across."""
    for module in modules.values():
        own = cell_of(module.name)
        if module.name == "" or (own is None and module.path.name == "__init__.py"):
            continue
        if own is None:
            yield f"{module.path}:1 '{module.name}' has no place in the drawing: add it to a cell of CELLS"
            continue
        for found in module.imports:
            target = _inner(found.module)
            if not target:
                continue
            problem = _crossing(module.name, own, target)
            if problem:
                yield f"{module.path}:{found.line} imports {found.module}: {problem}"


def _crossing(name: str, own: int, target: str) -> str | None:
    """Why a module of the cell `own` may not import `target`; None where it may."""
    for folder, (banned, reason) in NEVER.items():
        if within(name, folder) and any(within(target, other) for other in banned.split()):
            return reason
    other = cell_of(target)
    if other is None:
        return "it has no place in the drawing"
    layer, lower = CELLS[own][0], CELLS[other][0]
    if lower > layer:
        return f"layer {layer} may not import from layer {lower}, above it"
    allowed = any(within(name, a) and within(target, b) for a, b in ACROSS)
    if lower == layer and other != own and not allowed:
        return f"another cell of layer {layer}; import from below, or move what both need down"
    return None


def check_libraries(modules: dict[str, Module]) -> Iterator[str]:
    """Libraries outside their fence, and libraries without one."""
    for module in modules.values():
        for found in module.imports:
            library = found.module.split(".")[0]
            if library == PACKAGE or library in sys.stdlib_module_names:
                continue
            where = f"{module.path}:{found.line} imports {found.module}:"
            if library not in LIBRARIES:
                yield f"{where} '{library}' has no fence; add it to LIBRARIES with the reason"
            elif not any(within(module.name, place) for place in LIBRARIES[library]):
                places = ", ".join(LIBRARIES[library]) or "nowhere yet"
                yield f"{where} '{library}' is allowed in: {places}"


def check_cycles(modules: dict[str, Module]) -> Iterator[str]:
    """Modules that reach themselves; the package's own `__init__`, which loads lazily, is left out."""
    edges: dict[str, dict[str, int]] = {}
    for module in modules.values():
        for found in module.imports:
            target = _inner(found.module)
            excused = found.deferred and (module.name, target) in DEFERRED
            if target and module.name and target in modules and not excused:
                edges.setdefault(module.name, {}).setdefault(target, found.line)
    reported: set[frozenset[str]] = set()
    for start in sorted(edges):
        path = _way_back(start, edges)
        if path and frozenset(path) not in reported:
            reported.add(frozenset(path))
            line = edges[start][path[1]]
            yield f"{modules[start].path}:{line} imports {path[1]}: closes the cycle {' -> '.join(path)}"


def _way_back(start: str, edges: dict[str, dict[str, int]]) -> list[str]:
    """The shortest way from a module to itself, both ends named; empty where there is none."""
    ways, seen = [[start]], {start}
    while ways:
        way = ways.pop(0)
        for target in edges.get(way[-1], ()):
            if target == start:
                return [*way, start]
            if target not in seen:
                seen.add(target)
                ways.append([*way, target])
    return []


def check_files(modules: dict[str, Module]) -> Iterator[str]:
    """Files that are too long, and names that say nothing."""
    for module in modules.values():
        n_lines = len(module.path.read_text().splitlines())
        if n_lines > MOST_LINES:
            yield f"{module.path}:{n_lines} has {n_lines} lines; at most {MOST_LINES}: split it by subject"
        bad = sorted(set(module.name.split("/")) & FORBIDDEN_NAMES)
        if bad:
            yield f"{module.path}:1 is called '{bad[0]}': name the subject instead"


def violations(root: Path) -> list[str]:
    """Every violation in the package folder `root`, one line each."""
    modules = read_modules(root)
    checks = (check_layers, check_libraries, check_cycles, check_files)
    return list(dict.fromkeys(line for check in checks for line in check(modules)))


def main(arguments: list[str]) -> int:
    """Print the violations; 1 where there are any."""
    root = Path(arguments[0]) if arguments else Path(__file__).parents[1] / "src" / PACKAGE
    if not any(root.rglob("*.py")):
        print(f"{root}: no Python files to check")
        return 1
    found = violations(root)
    print(*found, sep="\n", end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
