"""Tables, views and questions on a real Trino, which is Athena's engine, and the answers compared with DuckDB's.

The tables are those that `flowherd sql --dialect glue` gives to the stack. The views and the questions are taken as
they are, letter by letter. Usage: trino.py [PROGRAM]
"""

import gzip
import json
import sys
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import values
from common import ROOT, Checks, Flowherd, duckdb_over, envelope, program, scratch
from server import Bucket, Trino, TrinoError, trino

DAY = "2026-02-18"
# Few hours before it: each hour up to now is a partition.
SINCE = "2026-02-17"
QUESTIONS: dict[str, list[str]] = {
    "top-talkers": [],
    "who-talked-to": ["--ip", "10.8.0.10"],
    "rejected-by-port": [],
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
# Those that say most about time are also asked in a session of another time zone.
ZONED = ["who-talked-to", "long-lived-flows", "coverage-gaps"]
CSV = "org.apache.hadoop.hive.serde2.OpenCSVSerde"

Row = list[Any]


class Setting:
    """A directory of results with its tables in a schema of their own."""

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

    def has_hours(self) -> bool:
        return "--firehose" in self.options

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
    """Hive's table as Trino's own statement."""
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
            if name == "range":
                text = "ARRAY[" + ", ".join(literal(end) for end in value.split(",")) + "]"
            else:
                text = value if name == "interval" else literal(value)
            clauses.append(f"partition_projection_{name} = {text}")
    return ", ".join(clauses)


def trino_type(hive: str) -> str:
    """`array<struct<a:int>>` is `array(row("a" integer))`."""
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
    """One form of what the two engines' clients make of a value."""
    if isinstance(value, datetime):
        return value.isoformat(" ", "milliseconds")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        # As Trino's own protocol has it.
        return str(value)
    return value


def ask_duckdb(connection: Any, sql: str) -> list[Row]:
    return [[normal(value) for value in row] for row in connection.execute(sql).fetchall()]


def tried(checks: Checks, name: str, ask: Any) -> list[Row] | None:
    """An answer; an error is a check that failed."""
    try:
        return ask()
    except Exception as error:  # Each engine has errors of its own.
        checks.check(name, False, str(error))
        return None


def same(checks: Checks, name: str, setting: Setting, connection: Any, sql: str) -> list[Row]:
    """Trino's answer, checked against DuckDB's."""
    by_trino = tried(checks, f"{name}: Trino", lambda: setting.ask(sql))
    by_duckdb = tried(checks, f"{name}: DuckDB", lambda: ask_duckdb(connection, sql))
    if by_trino is None or by_duckdb is None:
        return by_trino or []
    differ = [pair for pair in zip(by_trino, by_duckdb) if pair[0] != pair[1]]
    ok = len(by_trino) == len(by_duckdb) and not differ
    detail = f"{len(by_trino)} rows and {len(by_duckdb)} rows; first difference, Trino and DuckDB:\n{differ[:1]}\n{sql}"
    checks.check(f"{name}: {len(by_trino)} rows, as in DuckDB", ok, detail)
    return by_trino


# The incident -------------------------------------------------------------------------------------------------------


def synthesise(flowherd: Flowherd, directory: Path) -> Path:
    flowherd.run("synth", directory, "--objects", 48, "--records", 5000, "--malformed", 1, "--incident")
    convert(flowherd, directory, "clean", "--prefix", "firehose/", "--lookups", directory / "lookups.json")
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
        if name in ZONED and not setting.has_hours():
            abroad = tried(checks, f"{name}: elsewhere", lambda: setting.ask(sql, "America/New_York"))
            checks.check(f"{name}: the same in a session of another time zone", abroad == answers[name], str(abroad))
    planted(checks, answers)


def planted(checks: Checks, answers: dict[str, list[Row]]) -> None:
    checks.section("What was planted is found")
    checks.equal("one port scan", [row[:3] for row in answers["port-scans"]], [["198.19.7.7", "10.8.0.10", 120]])
    hops = [[row[0], row[2], row[4]] for row in answers["lateral-movement"]]
    checks.equal("two hops", hops, [[1, "10.8.2.13", 22], [2, "10.8.3.12", 3389]])
    first = [(row[0], row[1], row[5]) for row in answers["bytes-out"][:1]]
    checks.equal("the loot is the most that went out", first, [("198.19.250.66", "6000000000", "10.8.3.12")])
    open_ones = [row[:2] for row in answers["long-lived-flows"]]
    checks.equal("one connection stayed open", open_ones, [["198.19.7.7", 51515]])
    checks.equal("one gap, of 20 records", [row[-1] for row in answers["coverage-gaps"]], [20])
    checks.equal("three records twice", [row[-1] for row in answers["duplicates"]], [2, 2, 2])
    checks.equal("nothing is missing of a clean run", answers["missing-objects"], [])


def failing(checks: Checks, server: Trino, bucket: Bucket, flowherd: Flowherd, directory: Path) -> None:
    checks.section("A run with a truncated object")
    flowherd.run("synth", directory, "--objects", 3, "--records", 500)
    keys = sorted(path for path in (directory / "firehose").rglob("*") if path.is_file())
    cut = keys[1]
    cut.write_bytes(cut.read_bytes()[:-200])
    convert(flowherd, directory, "broken", "--prefix", "firehose/", fails=True)
    setting = Setting(server, bucket, flowherd, directory / "out", "broken")
    setting.make_views(checks)
    sql = flowherd.question("missing-objects", "--run", "broken")
    rows = same(checks, "missing-objects", setting, duckdb_over(flowherd, setting.results), sql)
    key = str(cut.relative_to(directory))
    checks.equal("exactly that one, and failed", [[row[0], row[2]] for row in rows], [[key, "failed"]])
    for part in ["outputs", "records", "rejects", "bytes", "members"]:
        sql = f"SELECT \"key\" FROM ledger_receipts WHERE run = 'broken' AND {part} IS NOT NULL"
        checks.equal(f"receipts: {part} is read", len(tried(checks, part, lambda: setting.ask(sql)) or []), 2)
    columns = 'records."rows", bytes.compressed_in, outputs[1]."rows"'
    sql = f"SELECT {columns} FROM ledger_receipts WHERE run = 'broken' ORDER BY 1, 2"
    same(checks, "receipts: fields within", setting, duckdb_over(flowherd, setting.results), sql)


# Hours --------------------------------------------------------------------------------------------------------------


def hours(checks: Checks, server: Trino, bucket: Bucket, flowherd: Flowherd, directory: Path) -> None:
    """Two streams: one whose prefix is a folder, one whose prefix ends within a name."""
    checks.section("Hours as partitions, of two Firehose streams")
    for seed, prefix in enumerate(["firehose/", "eu-logs-"], 1):
        flowherd.run("synth", directory / "made", "--objects", 24, "--records", 200, "--malformed", 2, "--seed", seed)
        source = directory / "made/firehose"
        for path in [path for path in source.rglob("*") if path.is_file()]:
            hour = path.relative_to(source)
            target = directory / "day" / f"{prefix}{hour}"
            if "/07/" not in str(hour):  # An hour without any file.
                target.parent.mkdir(parents=True, exist_ok=True)
                path.rename(target)
            else:
                path.unlink()
    convert(flowherd, directory / "day", "clean")
    streams = ["--firehose", "firehose/", "--firehose", "eu-logs-", "--since", SINCE]
    setting = Setting(server, bucket, flowherd, directory / "day/out", "two_streams", *streams)
    setting.make_views(checks)
    for table in ["vpc_flow", "ledger_rejects"]:
        partitions(checks, setting, table)
    saved(checks, setting)


def partitions(checks: Checks, setting: Setting, view: str) -> None:
    count = f'SELECT count(*) FROM "{view}"'
    everywhere = f'"{view}_everywhere_{"text" if view == "vpc_flow" else "json"}"'
    for hour in ["2026/02/18/00", "2026/02/18/13", "2026/02/18/23"]:
        by_hour = setting.ask(f"{count} WHERE datehour = '{hour}'")[0][0]
        # The same keys, by where the files are.
        rows = setting.ask(f"SELECT count(*) FROM {everywhere} WHERE \"$path\" LIKE '%{hour}/%'")[0][0]
        checks.check(f"{view}: hour {hour} has the {rows} rows of its keys", by_hour == rows > 0, f"{by_hour}")
    columns = ", ".join(f'"{column["name"]}"' for column in columns_of(setting, f"{view}_everywhere"))
    day = "datehour BETWEEN '2026/02/18/00' AND '2026/02/18/23'"
    for one, other in [(view, f"{view}_everywhere"), (f"{view}_everywhere", view)]:
        where = {view: f" WHERE {day}"}
        sql = (
            f'SELECT count(*) FROM (SELECT {columns} FROM "{one}"{where.get(one, "")} '
            f'EXCEPT ALL SELECT {columns} FROM "{other}"{where.get(other, "")}) AS differ'
        )
        rows = tried(checks, f"{view}: {one} less {other}", lambda: setting.ask(sql))
        checks.equal(f"{view}: no row of {one} that {other} has not", rows, [[0]])
    empty = tried(checks, "an hour without files", lambda: setting.ask(f"{count} WHERE datehour = '2026/02/18/07'"))
    checks.equal(f"{view}: an hour without files has no rows", empty, [[0]])


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
# What differs from the usual, and what the view then says.
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
    """As plain lines and as messages. Records whose start or end is after the year 9999 are refused in both."""
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
    checks.equal("only lines and messages with an absurd time are refused", refused, [["bad-timestamp", True]] * 6)
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
# Text, and what it is as each of the types; both engines have to say the same.
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
    # What a forged message may hold: no error of the whole query.
    ("2026-02-18T03:00:00+19:00", [None] * 5),
    ("80000-01-01T00:00:00Z", [None] * 5),
    ("+292278993-01-01T00:00:00Z", [None] * 5),
]


def types(checks: Checks, server: Trino, bucket: Bucket, flowherd: Flowherd, directory: Path) -> None:
    checks.section("Types of a JSON table; text that does not fit is null, in both engines alike")
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
    """The values that hive.py brings through Hive's reader, through Trino's own."""
    checks.section("Values through Trino's reader of CSV")
    expected = values.make(flowherd, directory)
    setting = Setting(server, bucket, flowherd, directory / "out", "hostile", "--config", directory / "flowherd.toml")
    for table in values.TABLES:
        found = [(row[0], row[1], row[2]) for row in setting.ask(f'SELECT id, "value", "last" FROM {table}_text')]
        for u0001 in [False, True]:
            differ = values.differences(found, expected[table], u0001)
            what = "with U+0001 " if u0001 else ""
            checks.check(f"{table}: values {what}are as they were", not differ, "\n".join(differ[:8]))


def main() -> int:
    flowherd, checks = program(), Checks()
    with scratch() as directory, trino(directory) as (server, bucket):
        checks.section("Tables and views")
        results = synthesise(flowherd, directory / "incident")
        plain = Setting(server, bucket, flowherd, results, "everything")
        plain.make_views(checks)
        incident(checks, plain)
        by_hour = Setting(server, bucket, flowherd, results, "by_hour", "--firehose", "firehose/", "--since", SINCE)
        checks.section("The same by hours")
        by_hour.make_views(checks)
        incident(checks, by_hour)
        failing(checks, server, bucket, flowherd, directory / "failing")
        hours(checks, server, bucket, flowherd, directory / "hours")
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
