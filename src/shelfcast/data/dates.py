"""What the date column of a table means: its format, its frequency, and the period of each row.

One format for the whole column. Dates and timestamps are taken as they are (a time zone is dropped, its wall clock
kept); text in ISO form and a few others; whole numbers only as 20240131. Text that could be read day first or month
first throughout is refused. Dates must be labels of their periods: timestamps inside a day, month ends or mid-week
days are refused with advice, never rounded in silence.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from shelfcast.data.sources import Table, cell
from shelfcast.errors import DataError, shorten
from shelfcast.periods import Frequency, Unit, infer_frequency

_FORMATS = (
    "%Y-%m-%d", "%Y/%m/%d", "%Y%m%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y",
    "%d %b %Y", "%d-%b-%Y",
    "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.fZ", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M",
    "%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M", "%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M",
)  # fmt: skip
_AMBIGUOUS = (("%d/%m/%Y", "%m/%d/%Y"), ("%d-%m-%Y", "%m-%d-%Y"))
_SAMPLED = 200_000  # rows in which the steps within series are looked at
_REGULAR = 8  # steps that make a series regular
_EPOCH_WEEKDAY = 3  # 1970-01-01 was a Thursday
_DAY = 86_400  # seconds


@dataclass(frozen=True)
class Dates:
    """How the dates of one table become periods.

    Parameters
    ----------
    frequency : length of a period.
    codes : (n,) seconds since 1970 of each code of a text column; empty for dates and timestamps.
    """

    frequency: Frequency
    codes: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64), repr=False)

    def periods(self, column: pl.Series) -> tuple[pl.Series, pl.Series | None]:
        """Int32 period of each row, and a mask of the rows off the grid (None if there are none); no nulls allowed."""
        if column.dtype == pl.Date:
            days, off = column.to_physical().to_numpy(), None
        else:
            seconds, off = self._seconds(column)
            if self.frequency.unit is Unit.HOUR:
                hours, rest = np.divmod(seconds, 3600)
                return _result(hours, _any(rest != 0, off))
            days, rest = np.divmod(seconds, _DAY)
            off = _any(rest != 0, off)
        if self.frequency.unit is Unit.HOUR:
            return _result(days.astype(np.int64) * 24, off)
        if self.frequency.unit is Unit.DAY:
            return _result(days, off)
        dates = days.astype("datetime64[D]")
        periods = self.frequency.to_period(dates)
        return _result(periods, _any(self.frequency.to_date(periods) != dates, off))

    def _seconds(self, column: pl.Series) -> tuple[NDArray[np.int64], NDArray[np.bool_] | None]:
        """Seconds since 1970, and rows with a fraction of a second."""
        if isinstance(column.dtype, pl.Datetime):
            micro = column.dt.replace_time_zone(None).dt.cast_time_unit("us").to_physical().to_numpy()
            seconds, rest = np.divmod(micro, 1_000_000)
            return seconds, _any(rest != 0, None)
        return self.codes[as_codes(column).to_numpy()], None


def _any(mask: NDArray[np.bool_], other: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
    if mask.any():
        return mask if other is None else mask | other
    return other


def _result(periods: NDArray[np.generic], off: NDArray[np.bool_] | None) -> tuple[pl.Series, pl.Series | None]:
    numbers = pl.Series("period", periods.astype(np.int32, copy=False))
    return numbers, None if off is None else pl.Series(off)


def as_codes(column: pl.Series) -> pl.Series:
    """Physical codes of a column of text (or of numbers written as text), null where null."""
    text = column if column.dtype == pl.Categorical else column.cast(pl.String).cast(pl.Categorical)
    return text.to_physical()


def read_dates(table: Table, date: str, keys: Sequence[str], frequency: Frequency | None) -> Dates:
    """Find the format and, where not declared, the frequency of a table's dates.

    Reads the date column only if it is text, and dates and keys if the frequency is to be found out.
    """
    dtype = table.dtypes[date]
    is_text = dtype in (pl.String, pl.Categorical) or isinstance(dtype, pl.Enum) or dtype.is_integer()
    if not (is_text or dtype == pl.Date or isinstance(dtype, pl.Datetime)):
        advice = "cast the column to dates, or write them as 2024-01-31"
        raise DataError(f"dates in '{date}'", f"a column of type {dtype}", advice, table=table.name)
    is_plain = dtype == pl.Date or isinstance(dtype, pl.Datetime)
    if is_plain and frequency is not None:
        return Dates(frequency)
    moments, codes = _distinct(table, date, is_plain)
    if frequency is None:
        frequency = _infer(table, date, keys, moments, codes)
    return Dates(frequency, codes)


def _distinct(table: Table, date: str, is_plain: bool) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Distinct dates in seconds since 1970, and seconds by code if they are text."""
    parts = [batch[date].drop_nulls().unique() for batch in table.batches([date])]
    if not parts:
        raise table.no_rows()
    reader = Dates(Frequency(Unit.HOUR))
    if is_plain:
        plain = [reader.periods(p)[0] if p.dtype == pl.Date else p.dt.replace_time_zone(None) for p in parts]
        if parts[0].dtype == pl.Date:
            return np.unique(pl.concat(plain).to_numpy().astype(np.int64)) * 3600, reader.codes
        moments = pl.concat([p.dt.cast_time_unit("us") for p in plain]).unique().to_physical().to_numpy()
        return np.unique(moments // 1_000_000), reader.codes
    texts = pl.concat([part.cast(pl.String) for part in parts]).unique().sort()
    seconds = _parse(texts, table, date)
    places = texts.cast(pl.Categorical).to_physical().to_numpy()
    codes = np.zeros(int(places.max()) + 1 if len(places) else 0, dtype=np.int64)
    codes[places] = seconds
    return np.unique(seconds), codes


def _read(texts: pl.Series, form: str) -> pl.Series:
    """Moments by one format, null where it does not fit or the year is not of this age."""
    if "%H" in form:
        read = texts.str.to_datetime(form, time_unit="us", strict=False)
    else:
        read = texts.str.to_date(form, strict=False).cast(pl.Datetime("us"))
    sane = read.is_between(dt.datetime(1900, 1, 1), dt.datetime(2200, 1, 1)).fill_null(False)
    return read.set(~sane, None)


def _parse(texts: pl.Series, table: Table, date: str) -> NDArray[np.int64]:
    """Seconds since 1970 of distinct texts, by the one format that reads them all."""
    clean = texts.str.strip_chars()
    read = {form: _read(clean, form) for form in _FORMATS}
    full = [form for form in _FORMATS if read[form].null_count() == 0]
    if not full:
        raise _unparsable(texts, read, table, date)
    for pair in _AMBIGUOUS:
        if all(form in full for form in pair) and not read[pair[0]].equals(read[pair[1]]):
            advice = "write dates as 2024-01-31"
            came = "dates that read both day first and month first"
            samples = sample_rows(table, date, texts)
            raise DataError(f"one meaning of the dates in '{date}'", came, advice, table=table.name, samples=samples)
    return read[full[0]].to_physical().to_numpy() // 1_000_000


def _unparsable(texts: pl.Series, read: dict[str, pl.Series], table: Table, date: str) -> DataError:
    """The error for texts that no one format reads: mixed formats, or values that are no dates at all."""
    best = min(read, key=lambda form: read[form].null_count())
    rest = read[best].is_null()
    others = pl.Series([False]).new_from_index(0, len(texts))
    for moments in read.values():
        others = others | moments.is_not_null()
    nothing = texts.filter(rest & ~others)
    n_read = len(texts) - int(rest.sum())
    if n_read and not len(nothing):
        came = f"mixed formats: {n_read:,} distinct dates as {_words(best)}, {int(rest.sum()):,} not"
        wrong = texts.filter(rest)
    else:
        came, wrong = f"{len(nothing):,} distinct values that are no dates", nothing
    advice = "write every date as 2024-01-31 (numbers only as 20240131)"
    samples = sample_rows(table, date, wrong)
    return DataError(f"dates of one format in '{date}'", came, advice, table=table.name, samples=samples)


def _words(form: str) -> str:
    return shorten(dt.datetime(2024, 1, 31).strftime(form.replace("%.f", "")))


def sample_rows(table: Table, column: str, values: pl.Series) -> list[str]:
    """Up to three rows that hold one of the values: `row 5: ...`, counted from 1 after the header."""
    found: list[str] = []
    offset = 0
    for batch in table.batches([column]):
        hits = batch[column].cast(pl.String).is_in(values.cast(pl.String).head(1000).implode()).arg_true()
        found += [f"row {offset + int(i) + 1}: {column}={cell(batch[column][int(i)])}" for i in hits.head(3)]
        offset += batch.height
        if len(found) >= 3:
            break
    return found[:3]


# ---- frequency


def _infer(
    table: Table, date: str, keys: Sequence[str], seconds: NDArray[np.int64], codes: NDArray[np.int64]
) -> Frequency:
    """The frequency of all dates, refused where there are too few or the steps within series say otherwise."""
    if len(seconds) < 2:
        came = "fewer than two distinct dates"
        advice = "declare the frequency in the schema: hour, day, week or month"
        raise DataError(f"enough dates in '{date}' to tell their frequency", came, advice, table=table.name)
    moments = seconds.astype("datetime64[s]")
    try:
        frequency = infer_frequency(moments)
    except DataError as error:
        raise DataError(
            f"dates of one frequency in '{date}'", "times within the hour",
            "round the dates down to the hour or the day", table=table.name, samples=error.samples,
        ) from None  # fmt: skip
    if frequency.unit is Unit.DAY:
        _check_steps(_steps(table, date, keys, Dates(frequency, codes)), moments, table, date)
    return frequency


def _steps(table: Table, date: str, keys: Sequence[str], dates: Dates) -> pl.DataFrame:
    """Rows `code`, `other` (a series), `period`, `step`: days since its date before; in a sample of whole series."""
    stride, kept = 1, pl.DataFrame(schema={"code": pl.UInt32, "other": pl.UInt32, "period": pl.Int32})
    for batch in table.batches([*keys, date]):
        first = as_codes(batch[keys[0]])
        chosen = (first % stride == 0).fill_null(False)
        rows = batch.filter(chosen)
        period, _ = dates.periods(rows[date])
        other = as_codes(rows[keys[1]]) if len(keys) > 1 else pl.zeros(rows.height, dtype=pl.UInt32, eager=True)
        sample = [first.filter(chosen).rename("code"), other.rename("other"), period.rename("period")]
        kept = pl.concat([kept, pl.DataFrame(sample).drop_nulls()])
        while kept.height > _SAMPLED and stride < 1 << 20:
            stride *= 2
            kept = kept.filter(pl.col("code") % stride == 0)
    step = pl.col("period").diff().over("code", "other", order_by="period").alias("step")
    return kept.unique().with_columns(step).drop_nulls().sort("period", "code", "other")


def _check_steps(steps: pl.DataFrame, moments: NDArray[np.datetime64], table: Table, date: str) -> None:
    """Refuse dates that lie on the daily grid only, while most series, or a few, move by weeks or months."""
    if not steps.height:
        return
    days = moments.astype("datetime64[D]")
    commonest = steps["step"].value_counts(sort=True)["step"][0]
    advice = "put every date on the first day of its {}, or declare frequency = 'day' if rows are single days"
    if commonest == 7:
        weekdays = (days.astype(np.int64) + _EPOCH_WEEKDAY) % 7
        word, off = "week", days[weekdays != np.bincount(weekdays).argmax()]
        came = f"mixed frequency: most steps are of one week, but {len(off):,} dates are off that grid"
    elif 28 <= commonest <= 31:
        word, off = "month", days[days.astype("datetime64[M]") != days]
        came = f"mixed frequency: most steps are of one month, but {len(off):,} dates are off that grid"
    else:
        slow = steps.group_by("code", "other").agg(pl.len(), pl.col("step").min(), pl.col("step").max().alias("most"))
        slow = slow.filter((pl.col("len") >= _REGULAR) & (pl.col("step") >= 7) & (pl.col("most") <= 31))
        weekly = slow.filter(pl.col("most") == 7)
        slow = weekly if weekly.height else slow.filter(pl.col("step") >= 28)
        if not slow.height:
            return
        word = "week" if weekly.height else "month"
        came = f"mixed frequency: {slow.height:,} series move by the {word}, others by days"
        periods = steps.join(slow, on=["code", "other"], how="semi").sort("code", "other", "period")["period"]
        off = periods.head(3).to_numpy().astype("datetime64[D]")
        advice = "keep tables of different frequencies apart, or declare frequency = 'day' if rows are single days"
    samples = [f"{date}={day}" for day in off[:3]]
    raise DataError(f"dates of one frequency in '{date}'", came, advice.format(word), table=table.name, samples=samples)
