"""The `shelfcast` command: one subcommand for each pipeline.

Exit codes: 0 done, 2 the user's input or machine (one clear message, no traceback), 1 our fault. Heavy imports happen
inside commands, so that `--help` and `--version` answer at once. Progress goes to stderr, and only to a terminal;
what a training will take goes there, too, and always.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shelfcast import __version__
from shelfcast.terminal import print_json, print_rows, print_table, progress_bar, say

if TYPE_CHECKING:
    import polars as pl

    from shelfcast.loading import Run
    from shelfcast.pipelines import CycleResult

app = typer.Typer(
    name="shelfcast",
    help="From sales history to calibrated quantile forecasts and orders.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Config = Annotated[Path, typer.Argument(help="The run's TOML config; `shelfcast init` writes one.", show_default=False)]
Data = Annotated[
    Path | None, typer.Option("--data", help="Where relative paths to tables start; the config's folder without it.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


def main() -> None:
    """Run the command line and leave with its exit code."""
    try:
        app()
    except Exception as error:
        sys.exit(_explain(error))


def _explain(error: Exception) -> int:
    """Say what went wrong; the exit code: 2 for the user's input or machine, 1 for a fault of ours."""
    from shelfcast.errors import ShelfcastError

    if isinstance(error, ShelfcastError):
        print(f"Error: {error}", file=sys.stderr)
        return 2
    if isinstance(error, OSError):
        print(f"Error: the machine said no: {error}. Check the path, its permissions and free space.", file=sys.stderr)
        return 2
    import traceback

    traceback.print_exception(error)
    print(f"\nThis is a fault of shelfcast {__version__}, not of your input. Please report it.", file=sys.stderr)
    return 1


def _version(wanted: bool) -> None:
    if wanted:
        print(f"shelfcast {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """From sales history to calibrated quantile forecasts and orders."""


@app.command()
def demo(
    folder: Annotated[Path, typer.Option(help="Where results go.")] = Path("shelfcast-demo"), as_json: Json = False
) -> None:
    """The whole cycle on the embedded sample of a UK web shop."""
    from shelfcast.data.samples import write_demo

    config = write_demo(folder)
    _run_cycle(config, None, as_json)


@app.command()
def init(
    table: Annotated[str, typer.Argument(help="Your sales table: CSV, Parquet, a glob or a folder.")],
    output: Annotated[Path, typer.Option(help="The config to write.")] = Path("shelfcast.toml"),
    force: Annotated[bool, typer.Option(help="Overwrite an existing config.")] = False,
) -> None:
    """Write a commented config by looking at your table."""
    from shelfcast.drafting import draft

    text = draft(table, output.resolve().parent)
    if output.exists() and not force:
        from shelfcast.errors import ConfigError

        raise ConfigError(str(output), "there is a file of that name", "use --output or --force")
    output.write_text(text, encoding="utf-8")
    print(f"Wrote {output}. Read it, correct it, then: shelfcast check {output}")


@app.command()
def check(config: Config, data: Data = None, as_json: Json = False) -> None:
    """Validate and profile the data."""
    with _running(config, data) as run:
        from shelfcast.loading import check as look

        found, rows = look(run)
    if as_json:
        print_json({"rows": rows.to_dict(), **found.to_dict()})
        return
    from shelfcast.errors import shorten

    print("\n".join(shorten(line) for line in f"{rows}\n{found}".splitlines()))


@app.command()
def fit(config: Config, data: Data = None, as_json: Json = False) -> None:
    """Fit the chosen model and save it."""
    with _running(config, data) as run:
        from shelfcast import loading, pipelines

        folder = pipelines.fit(run, loading.load_panel(run))
    say({"model": str(folder)}, as_json)


@app.command()
def export(
    config: Config,
    onnx: Annotated[Path, typer.Option(help="The file to write.", show_default=False)],
    model: Annotated[
        Path | None, typer.Option(help="A folder that `fit` wrote; that of the config without it.")
    ] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Write a fitted network as ONNX, checked against torch."""
    with _running(config, data) as run:
        from shelfcast import exporting, loading

        found = exporting.export_onnx(run, loading.load_panel(run), onnx, model)
    say(found, as_json)


@app.command()
def backtest(config: Config, data: Data = None, as_json: Json = False) -> None:
    """Compare the models at rolling origins and store forecasts and scores."""
    with _running(config, data) as run:
        from shelfcast import loading, pipelines

        result, info = pipelines.backtest(run, loading.load_panel(run))
        paths = {"run": info.id, "scores": str(run.store.path(info.id, "scores"))}
    board = leaderboard(result.scores)
    if as_json:
        print_json({**paths, "leaderboard": board.to_dicts(), "comparison": result.comparison.to_dicts()})
        return
    print_table(board, "Backtest of single periods, then WQL of sums; lower is better")
    say(paths, False)


@app.command()
def forecast(
    config: Config,
    model: Annotated[Path | None, typer.Option(help="A folder that `fit` wrote; fitted afresh without it.")] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Forecast from the latest origin and store quantiles."""
    with _running(config, data) as run:
        from shelfcast import loading, pipelines

        _, info = pipelines.forecast(run, loading.load_panel(run), model)
        paths = {"run": info.id, "forecasts": str(run.store.path(info.id, "forecasts"))}
    say(paths, as_json)


@app.command()
def order(config: Config, data: Data = None, as_json: Json = False) -> None:
    """Turn the current forecast into orders that say why."""
    with _running(config, data) as run:
        from shelfcast import loading, pipelines

        table, info = pipelines.order(run, loading.load_panel(run))
        paths = _order_paths(run, info.id)
    if not as_json:
        from shelfcast.boards import buy_list, why_nothing

        print(_order_sentence(table, run))
        columns, rows = buy_list(table)
        if rows:
            print_rows("What to buy first: most saved per unit of money", columns, rows)
        else:
            print(f"Nothing to buy: {why_nothing(table)}.")
    say(paths, as_json)


@app.command()
def simulate(config: Config, data: Data = None, as_json: Json = False) -> None:
    """Replay a test period: what better rules and better forecasts are worth in money."""
    with _running(config, data) as run:
        from shelfcast import loading, pipelines

        tables, info = pipelines.simulate(run, loading.load_panel(run))
        paths = {"run": info.id, **{name: str(run.store.path(info.id, name)) for name in tables}}
        folder = run.store.path(info.id)
    if as_json:
        print_json({**paths, **{name: table.to_dicts() for name, table in tables.items()}})
        return
    from shelfcast.boards import print_savings

    print_savings(tables, run.config.report.currency)
    say({"run": info.id, "tables": str(folder)}, False)
    print(f"For the page: shelfcast report {config}")


@app.command()
def report(config: Config, data: Data = None, as_json: Json = False) -> None:
    """One HTML page from what is stored."""
    with _running(config, data) as run:
        from shelfcast import loading, reporting

        path = reporting.report(run, loading.load_panel(run))
    say({"report": str(path)}, as_json)


@app.command()
def run(
    config: Config,
    data: Data = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what a [cycle] would do, and do nothing.")] = False,
    as_json: Json = False,
) -> None:
    """The whole cycle: check, backtest, forecast, order, report; with [cycle], going on from the one before."""
    from shelfcast.config import read_config

    if dry_run or read_config(config)[0].cycle is not None:
        _run_turn(config, data, dry_run, as_json)
    else:
        _run_cycle(config, data, as_json)


def _run_turn(config: Path, data: Path | None, is_rehearsal: bool, as_json: bool) -> None:
    with _running(config, data) as run:
        if is_rehearsal:
            from shelfcast import planning

            news, paths = planning.rehearse(run), {}
        else:
            from shelfcast import cycle

            made = cycle.turn(run)
            news, paths = made.news, {"generation": made.key, **made.runs, "report": str(made.report)}
    if as_json:
        print_json({"news": [{"topic": topic, "sentence": text} for topic, text in news], **paths})
        return
    print("\n".join(f"{topic}: {text}" for topic, text in news))
    say(paths, False)


@app.command()
def classes(config: Config, data: Data = None, as_json: Json = False) -> None:
    """How many series the patchwork's rules send where, and why."""
    with _running(config, data) as run:
        from shelfcast import loading, pipelines

        table = pipelines.classes(run, loading.load_panel(run))
    if as_json:
        print_json(table.to_dicts())
        return
    print_table(table, "Routes: the first rule that fits")


@app.command()
def latent(
    config: Config,
    since: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="First day told of; the last year without it.")
    ] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """What was wanted in past periods that began empty or sold out, with quantiles."""
    with _running(config, data) as run:
        from shelfcast import hindsight, loading
        from shelfcast.boards import latent_board, print_latent

        table, info = hindsight.latent(run, loading.load_panel(run), since.date() if since else None)
        paths = {"run": info.id, "latent": str(run.store.path(info.id, "latent"))}
    summary = latent_board(table)
    if as_json:
        print_json({**paths, "latent": summary.to_dicts()})
        return
    print_latent(summary)
    say(paths, False)


@app.command()
def elasticities(
    config: Config,
    group: Annotated[str | None, typer.Option(help="Static column over which items are pooled.")] = None,
    reference: Annotated[
        str | None, typer.Option(help="Known column of the regular price; found from past prices without it.")
    ] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Price elasticity and promotion lift by group and item, with intervals."""
    with _running(config, data) as run:
        from shelfcast import loading, pipelines

        tables, info = pipelines.elasticities(run, loading.load_panel(run), group, reference)
        paths = {f"elasticities_{kind}": str(run.store.path(info.id, f"elasticities_{kind}")) for kind in tables}
    if as_json:
        print_json({"run": info.id, **paths, "group": tables["group"].to_dicts(), "item": tables["item"].to_dicts()})
        return
    for kind in ("all", "group", "item"):
        print_table(tables[kind].head(_SHOWN), f"Elasticities: {kind} ({tables[kind].height:,})")
        print()
    say(paths, False)


_SHOWN = 60  # rows of a printed table


@app.command()
def models(as_json: Json = False) -> None:
    """The forecasters there are, and what each can do."""
    from shelfcast.pipelines import model_table

    table = model_table()
    if as_json:
        print_json(table.to_dicts())
        return
    claims = table.columns[2:]
    rows = [
        [row["name"], row["summary"], ", ".join(name.replace("_", " ") for name in claims if row[name])]
        for row in table.to_dicts()
    ]
    print_rows("Models", {"name": "left", "summary": "left", "able to": "left"}, rows)


def _run_cycle(config: Path, data: Path | None, as_json: bool) -> None:
    with _running(config, data) as run:
        from shelfcast.pipelines import cycle

        result = cycle(run)
        paths = {
            "forecasts": str(run.store.path(result.runs["forecast"].id, "forecasts")),
            "scores": str(run.store.path(result.runs["backtest"].id, "scores")),
            **(_order_paths(run, result.runs["orders"].id) if "orders" in result.runs else {}),
            "report": str(result.report),
        }
    board = leaderboard(result.backtest.scores)
    if as_json:
        runs = {name: info.id for name, info in result.runs.items()}
        print_json({"runs": runs, **paths, "leaderboard": board.to_dicts(), **_sizes(result)})
        return
    print_table(board, "Backtest of single periods, then WQL of sums; lower is better")
    sizes = _sizes(result)
    print(f"\nForecast {sizes['series']:,} series from {sizes['origin']} with {result.forecast.model}.")
    if result.orders is not None:
        print(_order_sentence(result.orders, run))
    say(paths, False)


def leaderboard(scores: "pl.DataFrame") -> "pl.DataFrame":
    """Overall scores, a row a model, best first: of the shortest span, then the WQL of each longer one."""
    import polars as pl

    overall = scores.filter(pl.col("lead").is_null(), pl.col("level").is_null())
    spans = overall["span"].unique().sort().to_list()
    first = overall.filter(pl.col("span") == spans[0])
    wide = first.pivot("metric", index="model", values="value", aggregate_function="first")
    shown = [name for name in ("wql", "scaled_pinball", "wape", "bias") if name in wide.columns]
    board = wide.select("model", *shown)
    for span in spans[1:]:
        longer = overall.filter(pl.col("span") == span, pl.col("metric") == "wql")
        board = board.join(longer.select("model", pl.col("value").alias(f"wql {span}")), on="model", how="left")
    return board.sort("wql" if "wql" in shown else "model")


def _sizes(result: "CycleResult") -> dict[str, Any]:
    return {"series": result.forecast.series.height, "origin": str(result.panel.date(result.forecast.origins[-1]))}


def _order_paths(run: "Run", run_id: str) -> dict[str, str]:
    folder = run.store.path(run_id)
    return {"orders": str(run.store.path(run_id, "orders")), "orders_csv": str(folder / "orders.csv")}


def _order_sentence(table: "pl.DataFrame", run: "Run") -> str:
    bought = table.filter(table["quantity"] > 0)
    units, cost = bought["quantity"].sum(), bought["cost"].sum()
    money = f", cost {cost:,.0f}" if cost else ""
    settings = run.config.orders
    stock = " No on_hand table is named, so nothing counts as in stock." if settings and not settings.on_hand else ""
    return f"Orders: {bought.height:,} of {table.height:,} products, {units:,.0f} units{money}.{stock}"


@contextmanager
def _running(config: Path, data: Path | None) -> "Iterator[Run]":
    """A run of a config, with a progress bar on a terminal."""
    from shelfcast.config import read_config
    from shelfcast.loading import Run

    settings, root = read_config(config)
    with progress_bar() as (progress, note):
        now = datetime.now(UTC).replace(microsecond=0, tzinfo=None)
        yield Run(settings, root, now, progress, data, note=note)


if __name__ == "__main__":
    main()
