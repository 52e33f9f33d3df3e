"""The documentation says what is true: its Python runs, its links lead somewhere, its names exist."""

import re
import shutil
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import typer
from pydantic import BaseModel

from shelfcast import pipelines
from shelfcast.cli import app
from shelfcast.config import RunConfig, check_config, read_config
from shelfcast.data.dated import DISTANCES, POSITIONS
from shelfcast.data.features import AHEAD, PRICE, STATE
from shelfcast.data.samples import write_demo
from shelfcast.inventory.orders import Bound
from shelfcast.inventory.policies import POLICIES
from shelfcast.loading import Run
from shelfcast.metrics import Metric
from shelfcast.models.patchwork import Patchwork
from shelfcast.models.routing import check_rules, default_rules, read_rules
from shelfcast.models.table import makers
from shelfcast.models.textbook import POINT_MODELS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and the page."""

    page: Path
    language: str
    text: str


def blocks(page: Path) -> list[Block]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [Block(page, language, text) for language, text in found]


BLOCKS = [block for page in PAGES for block in blocks(page)]


def names(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def slug(heading: str) -> str:
    """The anchor of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds `shelfcast-demo` with 30 products of the sample, run in one origin."""
    folder = tmp_path_factory.mktemp("docs")
    settings, root = read_config(write_demo(folder / "shelfcast-demo"))
    items = ["84077", "22197", "23084", "85123A", *(str(number) for number in range(22750, 22776))]
    path = root / "sales.parquet"
    pl.read_parquet(path).filter(pl.col("item").is_in(items)).write_parquet(path)
    small = settings.backtest.model_copy(update={"origins": 1, "models": ("seasonal-naive",)})
    quick = settings.forecast.model_copy(update={"model": "season-profile", "settings": {}})
    sales = settings.model_copy(update={"backtest": small, "forecast": quick, "items": None, "totals": ()})
    segments = sales.backtest.model_copy(update={"segments": ("velocity",)})
    pipelines.cycle(Run(sales.model_copy(update={"backtest": segments}), root, datetime(2026, 11, 23)))
    return folder


PYTHON = [block for block in BLOCKS if block.language == "python"]


@pytest.mark.parametrize("page", sorted({block.page for block in PYTHON}), ids=names)
def test_python_of_a_page_runs(page: Path, demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(demo, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": page.stem}
    for block in PYTHON:
        if block.page == page:
            exec(compile(block.text, str(page), "exec"), namespace)


def test_the_readme_shows_python_and_the_guide_too() -> None:
    assert {"README.md", "docs/guide.md", "docs/inventory.md"} <= {names(block.page) for block in PYTHON}


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_relative_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{names(page)} links to {link}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", prose(target), re.MULTILINE)
            assert anchor in map(slug, headings), f"{names(page)} links to {link}"


def spoken_commands() -> Iterator[tuple[Path, str, str]]:
    """Page, subcommand and the rest of every `shelfcast ...` line in code."""
    for page in PAGES:
        code = [block.text for block in blocks(page) if block.language != "python"]
        code += re.findall(r"`([^`\n]+)`", prose(page))
        for text in code:
            for command, rest in re.findall(r"\bshelfcast ([a-z][a-z-]*)([^\n;,)]*)", text):
                yield page, command, rest


def test_commands_and_options_exist() -> None:
    found = list(spoken_commands())
    assert {"demo", "init", "check", "run"} <= {command for _, command, _ in found}
    for page, command, rest in found:
        assert command in COMMANDS, f"{names(page)} names `shelfcast {command}`"
        known = {option for parameter in COMMANDS[command].params for option in parameter.opts} | {"--help"}
        for option in re.findall(r"(?<!\S)--[a-z-]+", rest):
            assert option in known, f"{names(page)} names `shelfcast {command} {option}`"


def sections(model: type[BaseModel]) -> Iterator[tuple[type[BaseModel], str]]:
    """Every key of a config: the section's class and the key's name."""
    for name, field in model.model_fields.items():
        yield model, name
        for kind in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from sections(kind)


def test_every_key_of_the_config_is_described() -> None:
    page = ROOT / "docs" / "config.md"
    parts = re.split(r"^## ", prose(page), flags=re.MULTILINE)
    table_keys = parts[0]
    described = {part.split("\n", 1)[0].strip().strip("[]"): part for part in parts[1:]}
    for name, field in RunConfig.model_fields.items():
        assert f"| `{name}` |" in described["Top level"]
        for kind in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                for _, key in sections(kind):
                    assert f"`{key}`" in described[name] + table_keys, f"[{name}] {key} is not in docs/config.md"


def test_config_describes_no_key_that_is_gone() -> None:
    keys = {key for _, key in sections(RunConfig)}
    for row in re.findall(r"^\| (`[^|]*`) \|", prose(ROOT / "docs" / "config.md"), re.MULTILINE):
        assert set(re.findall(r"`(\w+)`", row)) <= keys


TOML = [block for block in BLOCKS if block.language == "toml"]
RULES = [block for block in TOML if "rules" in tomllib.loads(block.text)]


@pytest.mark.parametrize("block", [b for b in TOML if b not in RULES], ids=lambda b: names(b.page))
def test_config_examples_are_valid(block: Block) -> None:
    settings = tomllib.loads(block.text)
    sales = settings.setdefault("sales", {})
    if "url" not in sales:
        sales.setdefault("path", "sales.csv")
    assert isinstance(check_config(settings), RunConfig)


@pytest.mark.parametrize("block", RULES, ids=lambda b: names(b.page))
def test_rules_of_the_pages_are_valid(block: Block, tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(block.text, encoding="utf-8")
    rules = check_rules(read_rules(path), list(POINT_MODELS), [])
    last = rules.drop("model", "season", "price").row(rules.height - 1)
    assert set(last) == {"*"}, "the last rule fits every series"


def test_the_default_rules_stand_in_the_page() -> None:
    page = prose(ROOT / "docs" / "patchwork.md")
    for seasons in (7, 52):
        for demand_class, life, model, season, price in default_rules(seasons).iter_rows():
            shown = ("yes" if season else "no", "yes" if price else "no")
            assert f"| `{demand_class}` | `{life}` | `{model}` | {shown[0]} | {shown[1]} |" in page


def test_names_of_the_code_are_described() -> None:
    text = {page.stem: page.read_text(encoding="utf-8") for page in PAGES if page.parent.name == "docs"}
    for metric in Metric:
        assert f"`{metric.value}`" in text["scores"]
    for name, rule in POLICIES.items():
        assert f"`{name}`" in text["inventory"]
        assert f"`{rule.__name__}`" in text["inventory"]
    for bound in Bound:
        assert f"`{bound.value}`" in text["inventory"]
    for name in makers():
        assert f"`{name}`" in text["models"] + text["patchwork"], f"describe '{name}' in docs/models.md or patchwork.md"
    for setting in fields(Patchwork):
        if setting.init and setting.name not in ("horizons", "levels", "model"):
            assert f"`{setting.name}`" in text["patchwork"], f"describe the setting '{setting.name}'"


def test_every_feature_is_described() -> None:
    page = (ROOT / "docs" / "features.md").read_text(encoding="utf-8")
    for name in (*STATE, *AHEAD, *PRICE, *POSITIONS, *DISTANCES):
        assert f"`{name}`" in page, f"describe the feature '{name}'"


def test_pages_are_short_and_carry_no_emoji() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert text.count("\n") <= 260, f"{names(page)} is long"
        assert not re.search("[\U0001f300-\U0001faff☀-➿]", text), names(page)


def test_the_picture_is_small() -> None:
    assert (ROOT / "docs" / "img" / "report.png").stat().st_size <= 300_000


def test_anchors_are_made_as_readers_make_them() -> None:
    assert slug("Reading coverage of counts") == "reading-coverage-of-counts"
    assert slug("[orders]") == "orders"
