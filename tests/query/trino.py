"""Checks tables, views and questions on Trino, which is Athena's engine, and compares its answers with DuckDB's.

`flowherd sql --dialect glue` defines the tables, as for the stack. The statements of views and questions are used without a
change. Usage: trino.py [PROGRAM]
"""

import gzip
import json
import sys
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import values
from common import ROOT, Checks, Flowherd, duckdb_over, envelope, program, scratch
from server import Bucket, Trino, TrinoError, trino

DAY = "2026-02-18"
# Shortly before that day, because every hour up to now is a partition.
SINCE = "2026-02-17"
QUESTIONS: dict[str, list[str]] = {
    "top-talkers": [],
    "who-talked-to": ["--ip", "10.8.0.10"],
    "connections-to-port": ["--port", "22", "--ip", "10.8.0.0/16"],
    "rejected-by-port": [],
    "rejected-by-source": ["--ip", "2001:db8::/32"],
    "lateral-movement": ["--ip", "10.8.0.10"],
    "long-lived-flows": [],
    "bytes-out": [],
    "new-destinations": [],
    "port-scans": [],
    "coverage-gaps": [],
    "duplicates": [],
    "rejected-records": [],
    "missing-objects": ["--run", "clean"],
}
# These depend most on time, so they also run in a session with another time zone.
ZONED = ["who-talked-to", "long-lived-flows", "coverage-gaps"]
# Of the page of a run that has rows, and whose rows by time fit the page.
PAGE_STATEMENTS = 9
CSV = "org.apache.hadoop.hive.serde2.OpenCSVSerde"

Row = list[Any]


class Setting:
    """A directory of results, with its tables in their own schema."""

    def __init__(
        self, server: Trino, bucket: Bucket, flowherd: Flowherd, results: Path, schema: str, *options: object
    ) -> None:
        self.server, self.flowherd, self.results, self.schema = server, flowherd, results, schema
        self.options = options
        self.place = bucket.upload(results, schema)
        self.glue = flowherd.glue("--results", self.place, *options)
        server.ask(f"CREATE SCHEMA {schema}")
        for table in self.glue["tables"]:
            self.ask(create_table(table, self.place))

    def ask(self, sql: str, zone: str = "UTC") -> list[Row]:
        return self.server.ask(sql, self.schema, zone).rows

    def has_partitions(self) -> bool:
        return "--layout" in self.options

    def make_views(self, checks: Checks) -> None:
        for view in self.glue["views"]:
            name = view["name"]
            self.ask(f'CREATE VIEW "{name}" AS\n{view["sql"]}')
            found = self.ask(
                "SELECT column_name, data_type FROM information_schema.columns "
                f"WHERE table_schema = '{self.schema}' AND table_name = '{name}' ORDER BY ordinal_position"
            )
            declared = [[column["name"], column["trino_type"]] for column in view["columns"]]
            checks.equal(f"{self.schema}: columns and types of view {name} are as declared", found, declared)


def create_table(table: dict[str, Any], place: str) -> str:
    """Returns Trino's statement for a table of Hive."""
    properties = {"external_location": f"{place}/{table['location']}"}
    if table["serde"] == CSV:
        serde = table["serde_parameters"]
        properties |= {"format": "CSV", "csv_separator": serde["separatorChar"], "csv_quote": serde["quoteChar"]}
        properties |= {"csv_escape": serde["escapeChar"]}
    else:
        properties["format"] = "OPENX_JSON"
    clauses = [f"{name} = {literal(value)}" for name, value in properties.items()]
    parameters = table["parameters"]
    if "skip.header.line.count" in parameters:
        clauses.append(f"skip_header_line_count = {parameters['skip.header.line.count']}")
    if table["partitions"]:
        names = ", ".join(literal(column["name"]) for column in table["partitions"])
        template = f"{place}/{table['location_template']}"
        clauses.append(f"partitioned_by = ARRAY[{names}]")
        clauses.append(f"partition_projection_enabled = {parameters['projection.enabled']}")
        clauses.append(f"partition_projection_location_template = {literal(template)}")
    columns = [f'  "{column["name"]}" {trino_type(column["type"])}' for column in table["columns"]]
    columns += [
        f'  "{column["name"]}" {trino_type(column["type"])} WITH ({projection(column["name"], parameters)})'
        for column in table["partitions"]
    ]
    return f'CREATE TABLE "{table["name"]}" (\n' + ",\n".join(columns) + "\n) WITH (\n  " + ",\n  ".join(clauses) + "\n)"


def projection(column: str, parameters: dict[str, str]) -> str:
    begins = f"projection.{column}."
    clauses = []
    for name, value in parameters.items():
        if name.startswith(begins):
            name = name.removeprefix(begins).replace(".", "_")
            if name in ["range", "values"]:
                text = "ARRAY[" + ", ".join(literal(part) for part in value.split(",")) + "]"
            else:
                text = value if name == "interval" else literal(value)
            clauses.append(f"partition_projection_{name} = {text}")
    return ", ".join(clauses)


def trino_type(hive: str) -> str:
    """Returns Trino's name of a type: `array(row("a" integer))` for `array<struct<a:int>>`."""
    plain = {"string": "varchar", "int": "integer"}
    if "<" not in hive:
        return plain.get(hive, hive)
    kind, inner = hive.removesuffix(">").split("<", 1)
    if kind == "struct":
        fields = [field.split(":", 1) for field in inner.split(",")]
        return "row(" + ", ".join(f'"{name}" {trino_type(of)}' for name, of in fields) + ")"
    return f"{kind}(" + ", ".join(trino_type(of) for of in (inner.split(",") if kind == "map" else [inner])) + ")"


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def normal(value: Any) -> Any:
    """Returns the same value for both engines, whose clients return different types."""
    if isinstance(value, datetime):
        return value.isoformat(" ", "milliseconds")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        # Trino's protocol has decimals as text.
        return str(value)
    return value


def ask_duckdb(connection: Any, sql: str) -> list[Row]:
    return [[normal(value) for value in row] for row in connection.execute(sql).fetchall()]


def tried(checks: Checks, name: str, ask: Any) -> list[Row] | None:
    """Returns the answer. An error is a failed check."""
    try:
        return ask()
    except Exception as error:  # Each engine has its own errors.
        checks.check(name, False, str(error))
        return None


def same(checks: Checks, name: str, setting: Setting, connection: Any, sql: str) -> list[Row]:
    """Returns Trino's answer, and checks that DuckDB's is equal."""
    by_trino = tried(checks, f"{name}: Trino", lambda: setting.ask(sql))
    by_duckdb = tried(checks, f"{name}: DuckDB", lambda: ask_duckdb(connection, sql))
    if by_trino is None or by_duckdb is None:
        return by_trino or []
    differ = [pair for pair in zip(by_trino, by_duckdb) if pair[0] != pair[1]]
    ok = len(by_trino) == len(by_duckdb) and not differ
    detail = f"{len(by_trino)} rows and {len(by_duckdb)} rows; first difference, Trino and DuckDB:\n{differ[:1]}\n{sql}"
    checks.check(f"{name}: {len(by_trino)} rows, equal to DuckDB's", ok, detail)
    return by_trino


# The incident -------------------------------------------------------------------------------------------------------


def synthesise(flowherd: Flowherd, directory: Path) -> Path:
    flowherd.run("synth", directory, "--objects", 48, "--records", 5000, "--malformed", 1, "--incident")
    convert(flowherd, directory, "clean", "--prefix", "firehose/", "--names", directory / "names.json")
    return directory / "out"


def convert(flowherd: Flowherd, directory: Path, run: str, *options: object, fails: bool = False) -> None:
    flowherd.run("convert", directory, directory / "out", "--run", run, *options, fails=fails)


def incident(checks: Checks, setting: Setting) -> None:
    connection = duckdb_over(setting.flowherd, setting.results)
    answers: dict[str, list[Row]] = {}
    checks.section(f"Questions of the incident's day ({setting.schema}), Trino and DuckDB")
    for name, asked in QUESTIONS.items():
        time = [] if name == "missing-objects" else ["--day", DAY]
        sql = setting.flowherd.question(name, *time, *asked)
        answers[name] = same(checks, name, setting, connection, sql)
        if name in ZONED and not setting.has_partitions():
            abroad = tried(checks, f"{name}: other time zone", lambda: setting.ask(sql, "America/New_York"))
            checks.check(f"{name}: equal in a session with another time zone", abroad == answers[name], str(abroad))
    planted(checks, answers)


def planted(checks: Checks, answers: dict[str, list[Row]]) -> None:
    checks.section("The questions find the incident")
    checks.equal("one port scan", [row[:3] for row in answers["port-scans"]], [["198.19.7.7", "10.8.0.10", 120]])
    hops = [[row[0], row[2], row[4]] for row in answers["lateral-movement"]]
    checks.equal("two hops", hops, [[1, "10.8.2.13", 22], [2, "10.8.3.12", 3389]])
    first = [(row[0], row[1], row[5]) for row in answers["bytes-out"][:1]]
    checks.equal("the exfiltration has the most bytes out", first, [("198.19.250.66", "6000000000", "10.8.3.12")])
    open_ones = [row[:2] for row in answers["long-lived-flows"]]
    checks.equal("one connection stayed open", open_ones, [["198.19.7.7", 51515]])
    checks.equal("one gap, of 20 records", [row[-1] for row in answers["coverage-gaps"]], [20])
    checks.equal("three records twice", [row[-1] for row in answers["duplicates"]], [2, 2, 2])
    checks.equal("a clean run has no missing object", answers["missing-objects"], [])


class Page(HTMLParser):
    """The checks of a run's page: a statement and what it should return, by heading."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.checks: dict[str, dict[str, str]] = {}
        self.heading = ""
        self.part: str | None = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        part = "heading" if tag == "h3" else dict(attrs).get("class") if tag == "code" else None
        if part == "heading":
            self.heading = ""
        if part in ["heading", "sql", "expected"]:
            self.part = part

    def handle_endtag(self, tag: str) -> None:
        if tag in ["h3", "code"]:
            self.part = None

    def handle_data(self, data: str) -> None:
        if self.part == "heading":
            self.heading += data
        elif self.part is not None:
            check = self.checks.setdefault(self.heading, {})
            check[self.part] = check.get(self.part, "") + data


def page(checks: Checks, setting: Setting, run: str, headings: int) -> None:
    """Runs the statements of a run's page, and compares their answers with the numbers that it expects."""
    checks.section(f"The statements of the page of run {run} ({setting.schema})")
    found = Page((setting.results / "runs" / run / "report.html").read_text()).checks
    statements = {heading: check for heading, check in found.items() if "sql" in check}
    checks.equal("number of statements", len(statements), headings)
    for heading, check in statements.items():
        expected = json.loads(check["expected"])
        if isinstance(expected, dict):
            # Records and bytes are one row of sums, in the order of their names in the report.
            is_sums = heading in ["Records", "Bytes"]
            rows = [list(expected.values())] if is_sums else [[name, number] for name, number in expected.items()]
        else:
            rows = [expected] if isinstance(expected, list) else [[expected]]
        checks.equal(heading, tried(checks, heading, lambda: setting.ask(check["sql"])), rows)


def failing(checks: Checks, server: Trino, bucket: Bucket, flowherd: Flowherd, directory: Path) -> None:
    checks.section("A run with a truncated object")
    flowherd.run("synth", directory, "--objects", 3, "--records", 500)
    keys = sorted(path for path in (directory / "firehose").rglob("*") if path.is_file())
    cut = keys[1]
    cut.write_bytes(cut.read_bytes()[:-200])
    convert(flowherd, directory, "broken", "--prefix", "firehose/", fails=True)
    setting = Setting(server, bucket, flowherd, directory / "out", "broken")
    setting.make_views(checks)
    page(checks, setting, "broken", PAGE_STATEMENTS)
    sql = flowherd.question("missing-objects", "--run", "broken")
    rows = same(checks, "missing-objects", setting, duckdb_over(flowherd, setting.results), sql)
    key = str(cut.relative_to(directory))
    checks.equal("only the truncated object is missing, because it failed", [[row[0], row[2]] for row in rows], [[key, "failed"]])
    for part in ["outputs", "records", "rejects", "bytes", "members"]:
        sql = f"SELECT \"key\" FROM ledger_receipts WHERE run = 'broken' AND {part} IS NOT NULL"
        checks.equal(f"receipts: {part} is read", len(tried(checks, part, lambda: setting.ask(sql)) or []), 2)
    columns = 'records."rows", bytes.compressed_in, outputs[1]."rows"'
    sql = f"SELECT {columns} FROM ledger_receipts WHERE run = 'broken' ORDER BY 1, 2"
    same(checks, "receipts: fields within", setting, duckdb_over(flowherd, setting.results), sql)


# Partitions ---------------------------------------------------------------------------------------------------------

# An hour without files.
EMPTY_HOUR = 7
ACCOUNTS = ["111111111111", "222222222222"]
REGIONS = ["us-east-1", "eu-west-1"]


def of_firehose(hour: int) -> str:
    return f"firehose/2026/02/18/{hour:02}/"


def of_other_stream(hour: int) -> str:
    """Returns a prefix that ends within a folder's name."""
    return f"eu-logs-2026/02/18/{hour:02}/"


def of_delivery_to_s3(hour: int) -> str:
    return f"AWSLogs/{ACCOUNTS[hour % 2]}/vpcflowlogs/{REGIONS[hour // 2 % 2]}/2026/02/{17 + hour // 12}/"


def of_hive(hour: int) -> str:
    return f"env=prod/year=2026/month=02/day=18/hour={hour:02}/"


def of_tenants(hour: int) -> str:
    return f"tenant=t{hour % 3}/2026-02-18/"


def layouts(checks: Checks, server: Trino, bucket: Bucket, flowherd: Flowherd, directory: Path) -> None:
    streams = ["firehose/{yyyy/MM/dd/HH}/", "eu-logs-{yyyy/MM/dd/HH}/"]
    setting = laid_out(
        checks, server, bucket, flowherd, directory, "two_streams", [of_firehose, of_other_stream], streams
    )
    hours = [f"2026/02/18/{hour:02}" for hour in (0, 13, 23)]
    partitions(checks, setting, {"datehour": hours}, "datehour BETWEEN '2026/02/18/00' AND '2026/02/18/23'")
    empty = tried(checks, "an hour without files", lambda: setting.ask(
        f"SELECT count(*) FROM vpc_flow WHERE datehour = '2026/02/18/{EMPTY_HOUR:02}'"
    ))
    checks.equal("an hour without files has no rows", empty, [[0]])

    daily = ["AWSLogs/{account}/vpcflowlogs/{region}/{yyyy/MM/dd}/"]
    setting = laid_out(checks, server, bucket, flowherd, directory, "daily", [of_delivery_to_s3], daily)
    values = {"day": ["2026/02/17", "2026/02/18"], "account": ACCOUNTS, "region": REGIONS}
    partitions(checks, setting, values, "day BETWEEN '2026/02/17' AND '2026/02/18'")

    hive = ["env=prod/year={yyyy}/month={MM}/day={dd}/hour={HH}/"]
    setting = laid_out(checks, server, bucket, flowherd, directory, "hive_style", [of_hive], hive)
    hours = [f"2026/month=02/day=18/hour={hour:02}" for hour in (0, 13, 23)]
    day = "2026/month=02/day=18"
    partitions(checks, setting, {"datehour": hours}, f"datehour BETWEEN '{day}/hour=00' AND '{day}/hour=23'")

    tenants = ["tenant={tenant}/{yyyy-MM-dd}/"]
    setting = laid_out(
        checks, server, bucket, flowherd, directory, "tenants", [of_tenants], tenants, has_sample=False
    )
    count = "SELECT count(*) FROM vpc_flow WHERE day = '2026-02-18'"
    found = tried(checks, "one tenant", lambda: setting.ask(f"{count} AND tenant = 't1'"))
    expected = setting.ask("SELECT count(*) FROM vpc_flow_everywhere_text WHERE \"$path\" LIKE '%/tenant=t1/%'")
    checks.check("a column without known values: one tenant has the rows of its keys", found == expected != [[0]])
    try:
        setting.ask(count)
        checks.check("a column without known values needs a condition", False)
    except TrinoError as error:
        checks.check("a column without known values needs a condition", "tenant" in str(error), str(error))


def laid_out(
    checks: Checks,
    server: Trino,
    bucket: Bucket,
    flowherd: Flowherd,
    directory: Path,
    name: str,
    folders: list[Callable[[int], str]],
    templates: list[str],
    has_sample: bool = True,
) -> Setting:
    """Converts a day whose keys have these folders, and creates its tables and views."""
    checks.section(f"Partitions by {' and '.join(templates)}")
    here = directory / name
    for seed, folder in enumerate(folders, 1):
        flowherd.run("synth", here / "made", "--objects", 24, "--records", 200, "--malformed", 2, "--seed", seed)
        for path in [path for path in (here / "made/firehose").rglob("*") if path.is_file()]:
            hour = int(path.parent.name)
            target = here / "day" / folder(hour) / path.name
            if hour == EMPTY_HOUR:
                path.unlink()
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                path.rename(target)
    convert(flowherd, here / "day", "clean")
    options: list[object] = [option for template in templates for option in ("--layout", template)]
    if has_sample:
        keys = here / "keys.txt"
        found = (path for path in (here / "day").rglob("*") if path.is_file() and "out" not in path.parts)
        keys.write_text("".join(f"{path.relative_to(here / 'day')}\n" for path in found))
        options += ["--keys", keys]
    setting = Setting(server, bucket, flowherd, here / "day/out", name, *options, "--since", SINCE)
    setting.make_views(checks)
    if has_sample:
        saved(checks, setting)
    return setting


def partitions(checks: Checks, setting: Setting, values: dict[str, list[str]], time: str) -> None:
    """Checks that each value of a partition column has the rows of its keys, and that a condition on time loses none."""
    connection = duckdb_over(setting.flowherd, setting.results, *layout_options(setting))
    columns = list(values)
    for view, stored in [("vpc_flow", "vpc_flow_everywhere_text"), ("ledger_rejects", "ledger_rejects_everywhere_json")]:
        for column, found in values.items():
            for value in found:
                where = f"{time} AND {column} = '{value}'"
                rows = setting.ask(f"SELECT count(*) FROM {view} WHERE {where}")[0][0]
                expected = setting.ask(f"SELECT count(*) FROM {stored} WHERE \"$path\" LIKE '%{value}/%'")[0][0]
                name = f"{view}: {column} {value} has the {expected} rows of its keys"
                checks.check(name, rows == expected > 0, f"{rows}")
        names = ", ".join(f'"{column["name"]}"' for column in columns_of(setting, f"{view}_everywhere"))
        pair = [f"SELECT {names} FROM {view} WHERE {time}", f"SELECT {names} FROM {view}_everywhere"]
        for one, other in [pair, pair[::-1]]:
            sql = f"SELECT count(*) FROM ({one} EXCEPT ALL {other}) AS differ"
            checks.equal(f"{view}: {one.split(' FROM ')[1]} has no other rows", tried(checks, sql, lambda: setting.ask(sql)), [[0]])
        by = ", ".join(columns)
        sql = f"SELECT {by}, count(*) FROM {view} WHERE {time} GROUP BY {by} ORDER BY {by}"
        same(checks, f"{view}: rows by {by}", setting, connection, sql)


def layout_options(setting: Setting) -> list[object]:
    """Returns the layouts. DuckDB needs no sample of keys."""
    pairs = zip(setting.options, setting.options[1:])
    return [option for name, value in pairs if name == "--layout" for option in (name, value)]


def columns_of(setting: Setting, view: str) -> list[dict[str, str]]:
    return next(other["columns"] for other in setting.glue["views"] if other["name"] == view)


def saved(checks: Checks, setting: Setting) -> None:
    checks.section("Saved questions run")
    for query in setting.glue["queries"]:
        rows = tried(checks, query["name"], lambda: setting.ask(query["sql"]))
        if rows is not None:
            checks.check(f"{query['name']}: runs", True)


# All fields ---------------------------------------------------------------------------------------------------------

FIELDS = (
    "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action "
    "log-status vpc-id subnet-id instance-id tcp-flags type pkt-srcaddr pkt-dstaddr region az-id sublocation-type "
    "sublocation-id pkt-src-aws-service pkt-dst-aws-service flow-direction traffic-path ecs-cluster-arn "
    "ecs-cluster-name ecs-container-instance-arn ecs-container-instance-id ecs-container-id "
    "ecs-second-container-id ecs-service-name ecs-task-definition-arn ecs-task-arn ecs-task-id reject-reason "
    "resource-id encryption-status instance-tag instance-tag-2 interface-tag interface-tag-2 asg-tag asg-tag-2 "
    "interface-type next-hop-interface-id next-hop-subnet-id next-hop-az-id next-hop-vpc-id "
    "next-hop-interface-type"
).split()
USUAL = {
    "version": "11", "account-id": "012345678901", "interface-id": "eni-1", "srcaddr": "10.0.0.1",
    "dstaddr": "10.0.0.2", "srcport": "443", "dstport": "50000", "protocol": "6", "packets": "3",
    "bytes": "4000", "start": "1771416000",
    "end": "1771416059", "action": "ACCEPT", "log-status": "OK", "tcp-flags": "18", "traffic-path": "8",
}
ODD = 9_000_000_000_000_000_000
# The changes to a usual record, and the values that the view then has.
RECORDS: list[tuple[dict[str, str], dict[str, Any]]] = [
    ({}, {
        "timestamp": "2026-02-18 12:00:00.000", "account_id": "012345678901", "protocol_name": "TCP",
        "start": 1771416000, "start_time": "2026-02-18 12:00:00.000", "end": 1771416059,
        "end_time": "2026-02-18 12:00:59.000",
        "tcp_flags": 18, "traffic_path": 8, "instance_tag": None, "subnet_id": None,
    }),
    ({"instance-tag": "a%20b%2Bc", "instance-tag-2": "a+b", "asg-tag": "%C3%BC%E2%82%AC", "asg-tag-2": "a%2Cb%22c%22"},
     {"instance_tag": "a b+c", "instance_tag_2": "a+b", "asg_tag": "ü€", "asg_tag_2": 'a,b"c"'}),
    ({"instance-tag": "100%", "instance-tag-2": "%ZZ", "interface-tag": "%", "interface-tag-2": "%2", "asg-tag": "%25"},
     {"instance_tag": "100%", "instance_tag_2": "%ZZ", "interface_tag": "%", "interface_tag_2": "%2", "asg_tag": "%"}),
    ({"protocol": "1"}, {"protocol": 1, "protocol_name": "ICMP"}),
    ({"protocol": "254"}, {"protocol": 254, "protocol_name": "254"}),
    ({"protocol": "-"}, {"protocol": None, "protocol_name": None}),
    ({"srcport": "2147483647", "bytes": "9223372036854775807"}, {"srcport": 2147483647, "bytes": 9223372036854775807}),
    ({"end": "-"}, {"end": None, "end_time": None}),
    ({"end": str(ODD)}, {"end": ODD, "end_time": None}),
    ({"start": str(ODD)}, {"start": ODD, "start_time": None}),
    ({"end": "253402300799"}, {"end": 253402300799, "end_time": "9999-12-31 23:59:59.000"}),
    ({"end": "253402300800"}, {"end": 253402300800, "end_time": None}),
    ({"pkt-srcaddr": "2001:db8::1"}, {"pkt_srcaddr": "2001:db8::1"}),
]


def line_of(number: int, changed: dict[str, str]) -> str:
    values = USUAL | {"resource-id": f"r-{number:03}"} | changed
    return " ".join(values.get(field, "-") for field in FIELDS)


def all_fields(checks: Checks, server: Trino, bucket: Bucket, flowherd: Flowherd, directory: Path) -> None:
    """Checks lines and messages. In both, a record with a start or end after the year 9999 is rejected."""
    checks.section("All 54 fields")
    assert len(FIELDS) == 54
    (directory / "day/plain").mkdir(parents=True)
    lines = [line_of(number, changed) for number, (changed, _) in enumerate(RECORDS)]
    (directory / "day/plain/lines.log").write_text("\n".join([" ".join(FIELDS), *lines]) + "\n")
    messages = [line_of(number + 500, changed) for number, (changed, _) in enumerate(RECORDS)]
    (directory / "day/plain/messages.gz").write_bytes(gzip.compress(envelope("flows", messages).encode()))
    config = directory / "flowherd.toml"
    log_format = " ".join(f"${{{field}}}" for field in FIELDS)
    config.write_text(
        f'[[rule]]\nname = "all"\ntable = "all_fields"\n[rule.format]\nkind = "vpc-flow"\nfields = "{log_format}"\n'
    )
    convert(flowherd, directory / "day", "clean", "--config", config)
    setting = Setting(server, bucket, flowherd, directory / "day/out", "all_fields", "--config", config)
    setting.make_views(checks)
    connection = duckdb_over(flowherd, setting.results, "--config", config)
    rejects = setting.ask("SELECT reason, message FROM ledger_rejects")
    refused = [[reason, f" {ODD} " in message or " 253402300800 " in message] for reason, message in rejects]
    checks.equal("only records with a time after the year 9999 are rejected", refused, [["bad-timestamp", True]] * 6)
    same(checks, "all columns of all rows", setting, connection, 'SELECT * FROM "all_fields" ORDER BY resource_id')
    for number, (changed, expected) in enumerate(RECORDS):
        columns = ", ".join(f'"{name}"' for name in expected)
        for at in [number, number + 500]:
            rows = setting.ask(f"SELECT {columns} FROM \"all_fields\" WHERE resource_id = 'r-{at:03}'")
            if not rows and any(f"r-{at:03}" in row[1] for row in rejects):
                continue
            changes = " ".join(f"{name}={value}" for name, value in changed.items()) or "no change"
            checks.equal(f"{'line' if at == number else 'message'}: {changes}", rows, [list(expected.values())])


# Types --------------------------------------------------------------------------------------------------------------

TYPES = ["int", "bigint", "double", "boolean", "timestamp"]
# Text, and its value as each of the types, in both engines.
TYPED: list[tuple[str, list[Any]]] = [
    ("5", [5, 5, 5.0, None, None]),
    ("-7", [-7, -7, -7.0, None, None]),
    ("2147483648", [None, 2147483648, 2147483648.0, None, None]),
    ("9223372036854775808", [None, None, 9223372036854775808.0, None, None]),
    ("2.25", [None, None, 2.25, None, None]),
    ("1e3", [None, None, 1000.0, None, None]),
    ("true", [None, None, None, True, None]),
    ("FALSE", [None, None, None, False, None]),
    ("nonsense", [None] * 5),
    ("2026-02-18T03:00:00Z", [None, None, None, None, "2026-02-18 03:00:00.000"]),
    ("2026-02-18T03:00:00.123Z", [None, None, None, None, "2026-02-18 03:00:00.123"]),
    ("2026-02-18T03:00:00-05:00", [None, None, None, None, "2026-02-18 08:00:00.000"]),
    ("2026-02-18T03:00:00", [None, None, None, None, "2026-02-18 03:00:00.000"]),
    ("2026-02-30T03:00:00Z", [None] * 5),
    # Values of forged messages must not fail the whole query.
    ("2026-02-18T03:00:00+19:00", [None] * 5),
    ("80000-01-01T00:00:00Z", [None] * 5),
    ("+292278993-01-01T00:00:00Z", [None] * 5),
]


def types(checks: Checks, server: Trino, bucket: Bucket, flowherd: Flowherd, directory: Path) -> None:
    checks.section("Types of a JSON table: text that does not fit is null in both engines")
    (directory / "day/app").mkdir(parents=True)
    messages = [json.dumps({"n": f"{number:03}", "v": text}) for number, (text, _) in enumerate(TYPED)]
    (directory / "day/app/messages.gz").write_bytes(gzip.compress(envelope("app", messages).encode()))
    columns = ", ".join(f'{{ name = "as_{kind}", path = "/v", type = "{kind}" }}' for kind in TYPES)
    config = directory / "flowherd.toml"
    config.write_text(
        '[[rule]]\nname = "app"\ntable = "app"\n[rule.format]\nkind = "json"\n'
        f'columns = [{{ name = "n", path = "/n" }}, {columns}]\n'
    )
    convert(flowherd, directory / "day", "clean", "--config", config)
    setting = Setting(server, bucket, flowherd, directory / "day/out", "app", "--config", config)
    setting.make_views(checks)
    connection = duckdb_over(flowherd, setting.results, "--config", config)
    selected = ", ".join(f"as_{kind}" for kind in TYPES)
    for number, (text, expected) in enumerate(TYPED):
        sql = f"SELECT {selected} FROM app WHERE n = '{number:03}'"
        for engine, ask in [("Trino", lambda: setting.ask(sql)), ("DuckDB", lambda: ask_duckdb(connection, sql))]:
            rows = tried(checks, f"{engine}: {text}", ask)
            if rows is not None:
                checks.equal(f"{engine}: {text}", rows, [expected])
    sql = "SELECT as_timestamp FROM app WHERE n = '012'"
    elsewhere = tried(checks, "another time zone", lambda: setting.ask(sql, "Asia/Tokyo"))
    checks.equal("Trino: a time without a zone is UTC in any session", elsewhere, [["2026-02-18 03:00:00.000"]])


def presets(checks: Checks, server: Trino, bucket: Bucket, flowherd: Flowherd, directory: Path) -> None:
    """The sample of each preset, as tests/tests/all/presets.rs converts it: typed views in both engines."""
    checks.section("Typed views of all presets")
    samples = ROOT / "tests/presets"
    for preset in json.loads(flowherd.run("presets", "--json")):
        name = preset["name"]
        place, sample = directory / name, samples / name
        for path in [path for path in (sample / "in").rglob("*") if path.is_file()]:
            target = place / "day" / path.relative_to(sample / "in")
            target.parent.mkdir(parents=True, exist_ok=True)
            content = path.read_bytes()
            target.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
        config = place / "flowherd.toml"
        rules = sample / "flowherd.toml"
        config.write_text(rules.read_text() if rules.exists() else f'[[rule]]\npreset = "{name}"\n')
        convert(flowherd, place / "day", "clean", "--config", config)
        setting = Setting(server, bucket, flowherd, place / "day/out", name.replace("-", "_"), "--config", config)
        setting.make_views(checks)
        connection = duckdb_over(flowherd, setting.results, "--config", config)
        for view in setting.glue["views"]:
            if not view["name"].startswith("ledger_"):
                order = ", ".join(str(number + 1) for number in range(len(view["columns"])))
                same(checks, f"{name}: {view['name']}", setting, connection, f'SELECT * FROM "{view["name"]}" ORDER BY {order}')


def hostile(checks: Checks, server: Trino, bucket: Bucket, flowherd: Flowherd, directory: Path) -> None:
    """Reads the values of hive.py with Trino's reader."""
    checks.section("Values that Trino's reader of CSV returns")
    expected = values.make(flowherd, directory)
    setting = Setting(server, bucket, flowherd, directory / "out", "hostile", "--config", directory / "flowherd.toml")
    for table in values.TABLES:
        found = [(row[0], row[1], row[2]) for row in setting.ask(f'SELECT id, "value", "last" FROM {table}_text')]
        for u0001 in [False, True]:
            differ = values.differences(found, expected[table], u0001)
            what = "with U+0001 " if u0001 else ""
            checks.check(f"{table}: values {what}are unchanged", not differ, "\n".join(differ[:8]))


def main() -> int:
    flowherd, checks = program(), Checks()
    with scratch() as directory, trino(directory) as (server, bucket):
        checks.section("Tables and views")
        results = synthesise(flowherd, directory / "incident")
        plain = Setting(server, bucket, flowherd, results, "everything")
        plain.make_views(checks)
        incident(checks, plain)
        page(checks, plain, "clean", PAGE_STATEMENTS)
        options = ["--layout", "firehose/{yyyy/MM/dd/HH}/", "--since", SINCE]
        by_hour = Setting(server, bucket, flowherd, results, "by_hour", *options)
        checks.section("The same tables, with hourly partitions")
        by_hour.make_views(checks)
        incident(checks, by_hour)
        failing(checks, server, bucket, flowherd, directory / "failing")
        layouts(checks, server, bucket, flowherd, directory / "layouts")
        all_fields(checks, server, bucket, flowherd, directory / "fields")
        types(checks, server, bucket, flowherd, directory / "types")
        presets(checks, server, bucket, flowherd, directory / "presets")
        hostile(checks, server, bucket, flowherd, directory / "hostile")
    return checks.finish()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except TrinoError as error:
        sys.exit(f"Trino: {error}")
