"""Random and hostile values that `flowherd convert` reads by a JSON rule and a regex rule, and the values that a reader of
the CSV must find."""

import gzip
import json
import random
import zlib
from pathlib import Path

from common import Flowherd, envelope

# Hive and Trino remove U+0001, the escape character of the tables, so `convert` writes it as these six characters.
ESCAPED_U0001 = "\\u0001"

SEED = 20260218
ROWS = 800
# Each output member holds about 1 MiB of text; these rows make several of them.
ROWS_OF_LARGE = 3000
CONFIG = r"""
[[rule]]
name = "app"
match = { log_group = "app" }
table = "app"
[rule.format]
kind = "json"
columns = [ { name = "id", path = "/id" }, { name = "value", path = "/value" }, { name = "last", path = "/last" } ]

[[rule]]
name = "lines"
match = { log_group = "lines" }
table = "lines"
[rule.format]
kind = "regex"
pattern = '(?s)^(?P<id>\S+) (?P<value>.*)\|(?P<last>[^|]*)$'
"""
TABLES = ["app", "lines"]
ALPHABET = [
    "\\", '"', ",", "'", "%", "-", "\t", "\n", "\r", " ", "a", "n", "r", "u0001", "é", "€", "\U0001f600", "\u2028",
    "\x85", "\x0b", "\x1c", "{", ";",
]
FIXED = [
    "", "-", "--", " ", "  x", "x  ", '"', '""', '"""', 'a"b', '"a"', 'a,b', ",", ",,", "\\", "\\\\", "C:\\temp\\new",
    "\\n", '\\"', '"\\', "\n", "\r", "\r\n", "a\nb", "a\rb", "\t", "100%", "%20", "%s", "é€\U0001f600", "null",
    "NULL", "\\N", "#", "'", "=1+1", "\ufeff", "a" * 50_000, '"' * 50_000, "\\" * 50_001, ',"\n' * 20_000,
    " \"x", "\"\"x\"\" ", "x\\",
]
WITH_U0001 = ["\x01", "a\x01b", '\x01"', '\x01""x', '"\x01', '\x01,', "\x01\\", "\\\x01", 'x\x01\n"y"']

Rows = dict[str, tuple[str, str]]


def values() -> list[str]:
    chance = random.Random(SEED)
    made = ["".join(chance.choices(ALPHABET, k=chance.randrange(1, 25))) for _ in range(ROWS)]
    return FIXED + made


def written(value: str | None) -> str:
    """Returns the value in the CSV."""
    if value is None:
        return "-"
    value = value.replace("\n", "\\n").replace("\r", "\\r")
    return value.replace("\x01", ESCAPED_U0001)


def make(flowherd: Flowherd, directory: Path) -> dict[str, Rows]:
    """Converts the values to `out` in the directory. Returns the expected rows of each table by id."""
    chance = random.Random(SEED + 1)
    expected: dict[str, Rows] = {table: {} for table in TABLES}
    plain = values()
    large = [f"{number} " + "\\\"',%é" * 200 + "\n" for number in range(ROWS_OF_LARGE)]
    for table in TABLES:
        for name, rows in [("a", plain[::2]), ("b", plain[1::2]), ("large", large), ("u0001", WITH_U0001)]:
            events = []
            for number, value in enumerate(rows):
                key = f"{name}-{number}"
                # The last value of a row ends its line. Sometimes it is absent.
                last = None if chance.random() < 0.2 else chance.choice(["", "-", "x", 'a"', "\\", '"', "a,", " "])
                shown = value
                if table == "app":
                    absent = number % 50 == 49
                    message = {"id": key} | ({} if absent else {"value": value}) | {"last": last}
                    events.append(json.dumps(message, ensure_ascii=chance.random() < 0.5))
                    shown = None if absent else value
                else:
                    last = (last or "").replace("|", "")
                    events.append(f"{key} {value}|{last}")
                expected[table][key] = (written(shown), written(last))
            path = directory / "day" / table / f"{name}.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(members(table, events))
    config = directory / "flowherd.toml"
    config.write_text(CONFIG)
    flowherd.run("convert", directory / "day", directory / "out", "--run", "clean", "--config", config)
    return expected


def members(group: str, messages: list[str]) -> bytes:
    """Returns an object of several gzip members, each an envelope, as Firehose writes it."""
    envelopes = [envelope(group, messages[at : at + 100]) for at in range(0, len(messages), 100)]
    return b"".join(gzip.compress(text.encode(), 1) for text in envelopes)


def count_members(path: Path) -> int:
    rest, count = path.read_bytes(), 0
    while rest:
        member = zlib.decompressobj(wbits=31)
        member.decompress(rest)
        rest, count = member.unused_data, count + 1
    return count


def differences(found: list[tuple[str, str, str]], expected: Rows, u0001: bool) -> list[str]:
    """Returns rows that are missing, unexpected or different: those with U+0001, or those without."""
    ours = [row for row in found if row[0].startswith("u0001-") == u0001]
    wanted = {key: row for key, row in expected.items() if key.startswith("u0001-") == u0001}
    found_differences = [f"{len(ours)} rows, not {len(wanted)}"] if len(ours) != len(wanted) else []
    for key, *values in ours:
        if wanted.get(key) != tuple(values):
            found_differences.append(f"{key[:60]}: found {str(values)[:300]}, expected {str(wanted.get(key))[:300]}")
    return found_differences
