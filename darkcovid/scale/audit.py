"""A cohort's audit with Spark counting and comparing: the same answers as `audit_cohort`, remembered in the same cache."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darkcovid.audits.data_audit import audit_cohort
from darkcovid.audits.leakage import cohort_facts, find_leaks, near_duplicate_pairs
from darkcovid.data.cohort import Cohort
from darkcovid.data.near_duplicates.search import cached_near_duplicates
from darkcovid.scale.metadata import SparkFacts
from darkcovid.scale.near_duplicates import near_pairs_on_spark

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def audit_cohort_on_spark(session: "SparkSession", cohort: Cohort, cache_dir: Path) -> dict[str, Any]:
    """`audit_cohort` with near copies, patients, copies and confounders found and counted by Spark.

    Args:
        session: Spark's.
        cohort: The images.
        cache_dir: The cache.

    Returns:
        As `audit_cohort` does.

    Raises:
        UsageError, DataError: As `audit_cohort` does.
    """
    near = cached_near_duplicates(cohort.files, cohort.sha256, cache_dir, partial(near_pairs_on_spark, session))
    facts = SparkFacts.of_table(session, cohort_facts(cohort))
    return audit_cohort(cohort, cache_dir, find_leaks(facts, near_duplicate_pairs(cohort, near)), lambda table: facts)
