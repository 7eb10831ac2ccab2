"""One Spark session for all tests of this folder: starting one takes longer than most of them."""

import pytest

from darkcovid.scale.spark import start_spark


@pytest.fixture(scope="package")
def session():
    session = start_spark("local[2]", {"spark.sql.shuffle.partitions": "3"})
    yield session
    session.stop()
