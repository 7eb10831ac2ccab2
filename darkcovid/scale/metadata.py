"""A manifest's facts counted by Spark: what `audit/metadata.py` counts of a table in memory, of one that no machine need hold."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from darkcovid.audits.metadata import CATEGORIES, MAX_CATEGORIES, NUMBERS, PatientCounts, count_values, draw_order, metadata_table
from darkcovid.core.errors import DarkCovidError, DataError, UsageError
from darkcovid.data.csv_table import csv_form, rows_of_csv
from darkcovid.data.manifest import KNOWN, cells_needed, check_columns, is_parquet, normalize_rows, row_errors
from darkcovid.data.table_cells import LARGEST_WHOLE_FLOAT, patient_key
from darkcovid.scale.spark import root_cause

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

TEXTS = ("path", "patient", "label", "side", "sha256", *CATEGORIES)
SCHEMA = ", ".join([*(f"{name} string" for name in TEXTS), *(f"{name} double" for name in NUMBERS)])
SCHEMA += ", known boolean, fold long, order long"
NAMES = (*TEXTS, *NUMBERS, "known", "fold", "order")
SPARK_ENCODINGS = {"utf-8-sig": "utf-8", "utf-16-le": "utf-16le", "utf-16-be": "utf-16be"}
COUNTS = "variable string, value string, label string, fold long, images long, patients long"


class SparkFacts:
    """Facts in a Spark table."""

    def __init__(self, table: "DataFrame"):
        self.table = table.cache()

    @classmethod
    def of_table(cls, session: "SparkSession", table: pd.DataFrame) -> "SparkFacts":
        """Those of a table in memory.

        Args:
            session: Spark's.
            table: As `metadata_table` makes it.

        Returns:
            The counts.
        """
        return cls(session.createDataFrame(_with_order(table), SCHEMA))

    @classmethod
    def of_manifest(cls, session: "SparkSession", path: Path, dataset: str | None) -> "SparkFacts":
        """Those of a manifest's labeled rows, read by Spark itself.

        Args:
            session: Spark's.
            path: The manifest.
            dataset: Whose rows; None: all.

        Returns:
            The counts.

        Raises:
            UsageError: The dataset has no row; and as `read_manifest` does.
        """
        rows = manifest_table(session, path)
        if dataset is not None:
            rows = rows.where(rows.dataset == dataset)
            if not rows.take(1):
                raise UsageError(f"--dataset: no row belongs to {dataset!r}")
        return cls(rows.where(rows.label != "").mapInPandas(_facts, SCHEMA))

    def patients(self) -> PatientCounts:
        """As `PandasMetadata.patients`."""
        from pyspark.sql import functions as f

        by_patient = self.table.groupBy("patient").agg(
            f.count("*").alias("images"), f.countDistinct("side").alias("sides"), f.countDistinct("label").alias("labels")
        )
        by_patient = by_patient.cache()
        several = f.sum((f.col("images") > 1).cast("long")), f.sum((f.col("labels") > 1).cast("long"))
        (total, repeated, relabeled), *_ = by_patient.agg(f.count("*"), *several).collect()
        straddling = [row.patient for row in by_patient.where("sides > 1").select("patient").collect()]
        unknown = self.table.where("not known").count()
        by_patient.unpersist()
        return PatientCounts(total, repeated or 0, tuple(sorted(straddling)), relabeled or 0, unknown)

    def copies(self) -> pd.DataFrame:
        """As `PandasMetadata.copies`."""
        known = self.table.where("sha256 != ''").select("sha256", "path", "label", "side")
        copied = known.groupBy("sha256").count().where("count > 1").select("sha256")
        copies = known.join(copied, "sha256").select("sha256", "path", "label", "side").toPandas()
        return copies.sort_values(["sha256", "path"]).reset_index(drop=True)

    def counts(self) -> pd.DataFrame:
        """As `PandasMetadata.counts`."""
        from pyspark.sql import Window
        from pyspark.sql import functions as f

        (distinct,) = self.table.agg(*(f.countDistinct(name).alias(name) for name in CATEGORIES)).collect()
        categories = [name for name in CATEGORIES if distinct[name] <= MAX_CATEGORIES]

        def count(tables: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
            for table in tables:
                yield _plain(count_values(table, categories))

        ordered = Window.partitionBy("patient").orderBy("order", "path")
        parts = self.table.withColumn("stands_for_patient", f.row_number().over(ordered) == 1).mapInPandas(count, COUNTS)
        sums = (f.sum(name).alias(name) for name in ("images", "patients"))
        counts = parts.groupBy("variable", "value", "label", "fold").agg(*sums).toPandas()
        place = {name: number for number, name in enumerate((*CATEGORIES, *NUMBERS))}
        counts["order"] = counts.variable.map(place)
        return counts.sort_values(["order", "value", "label", "fold"]).drop(columns="order").reset_index(drop=True)

    def some(self, most: int) -> pd.DataFrame:
        """As `PandasMetadata.some`."""
        return self.table.orderBy("order", "path").limit(most).drop("order").toPandas()


def manifest_table(session: "SparkSession", path: Path) -> "DataFrame":
    """A manifest's rows as Spark reads them: text, every column there, checked, one spelling of each patient.

    Args:
        session: Spark's.
        path: The manifest, or a folder of Parquet.

    Returns:
        Spark's table.

    Raises:
        UsageError: No such file, a path listed twice, or a row that cannot be used.
    """
    if not path.is_file() and not (is_parquet(path) and path.is_dir()):
        raise UsageError(f"{path}: no such file")
    with _java_in_one_line(path):
        rows = _read(session, path)
        for row in rows.groupBy("dataset", "path").count().where("count > 1").take(1):
            raise UsageError(f"{path}: {row.path!r} is listed twice; remove one row")
        for row in rows.mapInPandas(_faults, "fault string").take(1):
            raise UsageError(f"{path}: {row.fault}")
        return _with_one_spelling(rows)


def _read(session: "SparkSession", path: Path) -> "DataFrame":
    """The normalized rows, in the known columns alone."""
    rows, names = _read_parquet(session, path) if is_parquet(path) else _read_csv(session, path)
    rows = rows.toDF(*[f"column{number}" for number in range(len(names))])
    kinds = [kind for _, kind in rows.dtypes]
    rows = rows.select([_text(rows[at], kinds[at]).alias(name) for at, name in enumerate(names) if name in KNOWN])
    columns = normalize_rows(pd.DataFrame(columns=rows.columns, dtype=str)).columns
    return rows.mapInPandas(_tidy, ", ".join(f"`{name}` string" for name in columns))


def _read_parquet(session: "SparkSession", path: Path) -> tuple["DataFrame", list[str]]:
    rows = session.read.parquet(str(path.absolute()))
    return rows, check_columns(path, rows.columns)


def _read_csv(session: "SparkSession", path: Path) -> tuple["DataFrame", list[str]]:
    """Spark takes a torn row, an open quote or a wrong byte without a word, so all rows are looked at here first, one by one."""
    form = csv_form(path, KNOWN)
    names = check_columns(path, form.header)
    if form.hint:
        raise DataError(f"{path}: Spark cannot read below a first line such as 'sep=;'; remove that line")
    for _ in rows_of_csv(path, form, cells_needed(names)):
        pass
    encoding = SPARK_ENCODINGS.get(form.encoding, form.encoding)
    settings = {"header": True, "multiLine": True, "quote": '"', "escape": '"', "sep": form.delimiter, "encoding": encoding}
    return session.read.options(**settings).csv(str(path.absolute())), names


def _text(column: "Column", kind: str) -> "Column":
    """A column of this Spark type as the local reader writes it, see `number_text`."""
    from pyspark.sql import functions as f

    text = column.cast("string")
    if kind in ("float", "double"):
        whole = (column == f.floor(column)) & (f.abs(column) < LARGEST_WHOLE_FLOAT)
        text = f.when(f.isnan(column), "").when(whole, column.cast("long").cast("string")).otherwise(text)
    return f.coalesce(text, f.lit(""))


@contextmanager
def _java_in_one_line(path: Path) -> Iterator[None]:
    try:
        yield
    except DarkCovidError:
        raise
    except Exception as error:  # noqa: BLE001 (whatever Java says)
        raise DataError(f"{path}: not a readable manifest ({root_cause(error)})") from None


def _with_one_spelling(rows: "DataFrame") -> "DataFrame":
    """The rows with patient ids as `unify_patient_ids` writes them."""
    from pyspark.sql import functions as f

    keyed = rows.select("patient_id").distinct().mapInPandas(_keyed, "patient_id string, same string")
    several = keyed.groupBy("same").agg(f.collect_set("patient_id").alias("ids")).where("size(ids) > 1").collect()
    spelling = {text: min(group.ids) for group in several for text in group.ids}

    def unified(tables: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for table in tables:
            yield _plain(table.assign(patient_id=table.patient_id.map(lambda text: spelling.get(text, text))))

    return rows.mapInPandas(unified, rows.schema) if spelling else rows


def _keyed(tables: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    return (_plain(table.assign(same=table.patient_id.map(patient_key))) for table in tables)


def _tidy(tables: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    for table in map(normalize_rows, tables):
        yield _plain(table[(table != "").any(axis=1)])


def _faults(tables: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    for table in tables:
        table = table.assign(fault=row_errors(table))
        yield _plain(table.loc[table.fault != "", ["fault"]])


def _facts(tables: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    return (_with_order(metadata_table(table, table.label.tolist(), "all")) for table in tables)


def _with_order(table: pd.DataFrame) -> pd.DataFrame:
    return _plain(table.assign(order=draw_order(table.path))[list(NAMES)])


def _plain(table: pd.DataFrame) -> pd.DataFrame:
    """The same with texts as Python's own: Spark does not take pandas's in several pieces."""
    return table.astype({name: object for name in table if pd.api.types.is_string_dtype(table[name])})
