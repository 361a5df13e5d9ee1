"""Reads every value of the CSV with Hive's reader (in Spark), DuckDB and Python.

Spark executes the statements of `flowherd sql --dialect athena` for the CSV tables without a change. It ignores
skip.header.line.count, so these checks remove the header row. Usage: hive.py [PROGRAM]
"""

import csv
import gzip
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import values
from common import Checks, Flowherd, duckdb_over, java, program, scratch

# Without an appender, Spark uses its default settings.
QUIET = """rootLogger.level = fatal
rootLogger.appenderRef.console.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.target = SYSTEM_ERR
"""

Found = list[tuple[str, str, str]]


@contextmanager
def spark(directory: Path) -> Iterator[Any]:
    """Runs Spark with Hive's catalog in the directory."""
    found = java(8, 17)  # The versions that Spark 3.5 supports.
    os.environ["JAVA_HOME"] = str(Path(found).resolve().parents[1])
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    from pyspark.sql import SparkSession

    home = directory / "spark"
    home.mkdir()
    log4j = home / "log4j2.properties"
    log4j.write_text(QUIET)
    options = {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.memory": "2g",
        "spark.driver.extraJavaOptions": f"-Dderby.system.home={home} -Dlog4j.configurationFile={log4j.as_uri()}",
        "spark.sql.warehouse.dir": str(home / "warehouse"),
        "spark.hadoop.javax.jdo.option.ConnectionURL": f"jdbc:derby:;databaseName={home}/metastore;create=true",
        # The files are in folders, because keys have slashes. Athena reads folders by default.
        "spark.hadoop.mapreduce.input.fileinputformat.input.dir.recursive": "true",
        "spark.hadoop.hive.mapred.supports.subdirectories": "true",
    }
    builder = SparkSession.builder.master("local[2]").appName("flowherd").enableHiveSupport()
    for name, value in options.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    try:
        yield session
    finally:
        gateway = session.sparkContext._gateway
        session.stop()
        # Otherwise it runs until this process ends.
        gateway.shutdown()
        gateway.proc.stdin.close()
        gateway.proc.wait(30)


def create_tables(session: Any, flowherd: Flowherd, results: Path, config: Path) -> None:
    printed = flowherd.run("sql", "--dialect", "athena", "--results", results.as_uri(), "--config", config)
    for statement in printed.split(";\n"):
        if "OpenCSVSerde" in statement:
            session.sql(statement.strip().removesuffix(";"))


def by_hive(session: Any, table: str) -> Found:
    header = ("id", "value", "last")
    rows = session.sql(f"SELECT id, value, last FROM {table}_text").collect()
    return [tuple(row) for row in rows if tuple(row) != header]


def by_python(results: Path, table: str) -> Found:
    csv.field_size_limit(1 << 30)
    found: Found = []
    for path in (results / "csv" / table).rglob("*.csv.gz"):
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            found += [(row["id"], row["value"], row["last"]) for row in csv.DictReader(file)]
    return found


def by_duckdb(connection: Any, table: str) -> Found:
    """Returns the rows of the view, with `-` for null, as in the CSV."""
    return connection.execute(
        f"SELECT coalesce(id, '-'), coalesce(\"value\", '-'), coalesce(\"last\", '-') FROM {table}"
    ).fetchall()


def compare(checks: Checks, reader: str, found: dict[str, Found], expected: dict[str, values.Rows]) -> None:
    for table in values.TABLES:
        for u0001 in [False, True]:
            differ = values.differences(found[table], expected[table], u0001)
            count = sum(key.startswith("u0001-") == u0001 for key in expected[table])
            name = f"{reader}: {table}, {count} rows{' with U+0001' if u0001 else ''}"
            checks.check(name, not differ, "\n".join(differ[:8]))


def main() -> int:
    flowherd, checks = program(), Checks()
    java(8, 17)
    with scratch() as directory:
        expected = values.make(flowherd, directory)
        results, config = directory / "out", directory / "flowherd.toml"
        checks.section("Outputs")
        for table in values.TABLES:
            count = values.count_members(results / "csv" / table / table / "large.gz.csv.gz")
            checks.check(f"{table}: the large one has several gzip members ({count})", count > 2)
        checks.section("Value for value")
        connection = duckdb_over(flowherd, results, "--config", config)
        compare(checks, "Python", {table: by_python(results, table) for table in values.TABLES}, expected)
        compare(checks, "DuckDB", {table: by_duckdb(connection, table) for table in values.TABLES}, expected)
        with spark(directory) as session:
            create_tables(session, flowherd, results, config)
            compare(checks, "Hive", {table: by_hive(session, table) for table in values.TABLES}, expected)
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
