"""The layer check passes on the tree, and fails on a small tree that breaks each rule."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "scripts" / "check_layers.py"


def load_script():
    spec = importlib.util.spec_from_file_location("check_layers", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


check = load_script()


@pytest.fixture
def tree(tmp_path):
    """Writes files into an empty package and returns what is wrong with it."""

    def violations(**files):
        for name, text in files.items():
            path = tmp_path / f"{name.replace('__in__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return [line.removeprefix(f"{tmp_path}/") for line in check.violations(tmp_path)]

    return violations


def test_the_tree_is_as_drawn():
    assert check.violations(ROOT / "src" / "shelfcast") == []


def test_a_clean_tree_passes(tree):
    assert tree(errors="import json\n", laws="from shelfcast.errors import X\nimport numpy\n") == []


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("laws", "from shelfcast.store import x", "laws.py:1 imports shelfcast.store: layer 1 may not import"),
        ("laws", "import os\nimport shelfcast.models.base", "laws.py:2 imports shelfcast.models.base: layer 1 may not"),
        ("horizons", "def f():\n    from shelfcast import laws", "horizons.py:2 imports shelfcast.laws: layer 0 may"),
        (
            "periods",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from shelfcast.laws import Grid",
            "periods.py:3 imports shelfcast.laws: layer 0 may not import from layer 1",
        ),
        ("laws", "from .models import base", "laws.py:1 imports shelfcast.models.base: layer 1 may not import"),
        ("data__in__panel", "from ..store import x", "data/panel.py:1 imports shelfcast.store: layer 1 may not import"),
        ("data__in__panel", "from shelfcast import laws", "panel.py:1 imports shelfcast.laws: another cell of layer 1"),
        ("rolling", "from shelfcast import store", "rolling.py:1 imports shelfcast.store: another cell of layer 4"),
        ("inventory__in__orders", "from shelfcast.models import base", "decisions depend on laws, never on models"),
        ("inventory__in__blocks", "from shelfcast import store", "decisions depend on laws, never on models"),
        ("inventory__in__policies", "import shelfcast.rolling", "decisions depend on laws, never on models"),
        ("inventory__in__economics", "from shelfcast.inventory import policies", "layer 2 may not import from layer 4"),
        ("attic", "", "attic.py:1 'attic' has no place in the drawing"),
        ("laws", "import polars as pl", "laws.py:1 imports polars: 'polars' is allowed in: data, forecast"),
        ("pipelines", "def f():\n    import duckdb", "pipelines.py:2 imports duckdb: 'duckdb' is allowed in"),
        ("models__in__deep", "import torch.nn as nn", "imports torch.nn: 'torch' is allowed in: networks"),
        ("config", "import tomli", "config.py:1 imports tomli: 'tomli' has no fence"),
        ("pipelines", "from rich.progress import track", "imports rich.progress: 'rich' is allowed in: terminal"),
        ("laws", "x = 1\n" * 451, "laws.py:451 has 451 lines; at most 450"),
        ("data__in__utils", "", "data/utils.py:1 is called 'utils'"),
        ("report__in__helpers__in__x", "", "report/helpers/x.py:1 is called 'helpers'"),
    ],
)
def test_each_rule_can_fail(tree, name, text, message):
    others = dict.fromkeys(
        ("laws", "store", "rolling", "models__in__base", "inventory__in__policies", "data__in__panel"), ""
    )
    found = tree(**{**others, name: text})
    assert any(message in line for line in found), found
    assert len(found) == 1


def test_each_rule_has_its_other_side(tree):
    found = tree(
        laws="x = 1\n" * 450,
        data__in__panel="import polars",
        data__in__packing="from shelfcast.data import panel",
        data__in__profile="from shelfcast.scoring import ratio",
        scoring="",
        models__in__base="from shelfcast.data.panel import Panel",
        store="import duckdb\nfrom shelfcast import runs",
        runs="",
        inventory__in__policies="from shelfcast import laws",
        cli="import typer\nfrom shelfcast import store, pipelines",
        pipelines="from shelfcast.models import base",
        __init__="def f():\n    from shelfcast.cli import main",
    )
    assert found == []


def test_cycles_are_found_also_behind_functions_and_type_checking(tree):
    found = tree(
        data__in__a="from shelfcast.data import b",
        data__in__b="def f():\n    from shelfcast.data import c",
        data__in__c="from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import shelfcast.data.a",
    )
    assert found == [
        "data/a.py:1 imports data/b: closes the cycle data/a -> data/b -> data/c -> data/a",
    ]


def test_a_deferred_import_of_the_table_is_no_cycle_but_a_plain_one_is(tree):
    packing = "from shelfcast.data.panel import Panel"
    assert (
        tree(data__in__packing=packing, data__in__panel="def f():\n    from shelfcast.data.packing import pack") == []
    )
    found = tree(data__in__packing=packing, data__in__panel="from shelfcast.data.packing import pack")
    assert len(found) == 1
    assert "closes the cycle" in found[0]


def test_the_command_prints_and_exits_with_one(tmp_path):
    (tmp_path / "laws.py").write_text("import torch\n")
    run = subprocess.run([sys.executable, str(SCRIPT), str(tmp_path)], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    allowed = ", ".join(check.LIBRARIES["torch"])
    assert run.stdout == f"{tmp_path}/laws.py:1 imports torch: 'torch' is allowed in: {allowed}\n"
    (tmp_path / "laws.py").write_text("import numpy\n")
    assert check.main([str(tmp_path)]) == 0


def test_an_empty_folder_is_no_success(tmp_path, capsys):
    assert check.main([str(tmp_path)]) == 1
    assert "no Python files" in capsys.readouterr().out
