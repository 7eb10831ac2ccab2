"""One Spark session for all tests of this folder: starting one takes longer than most of them."""

import pytest

from darkcovid.scale.spark import start_spark

SMALL = {  # queries over a few rows: compiling them takes longer than running them
    "spark.sql.shuffle.partitions": "3",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1",
}


@pytest.fixture(scope="package")
def session():
    session = start_spark("local[2]", SMALL)
    yield session
    session.stop()
