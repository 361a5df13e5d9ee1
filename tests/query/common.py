"""Shared by the checks with Trino and Hive: the command, DuckDB, Java, and the counts of checks."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
TARGET = ROOT / "target"


class Checks:
    """Prints a line per check, and the counts at the end."""

    def __init__(self) -> None:
        self.passed = 0
        self.failed = 0

    def section(self, title: str) -> None:
        print(f"\n{title}", flush=True)

    def check(self, name: str, ok: bool, detail: str = "") -> bool:
        self.passed += ok
        self.failed += not ok
        print(f"  {'ok  ' if ok else 'FAIL'}  {name}", flush=True)
        if not ok and detail:
            print("        " + detail[:4000].replace("\n", "\n        "), flush=True)
        return ok

    def equal(self, name: str, found: Any, expected: Any) -> bool:
        return self.check(name, found == expected, f"found    {found!r}\nexpected {expected!r}")

    def finish(self) -> int:
        print(f"\n{self.passed} passed, {self.failed} failed")
        return 1 if self.failed else 0


class Flowherd:
    """The command under test."""

    def __init__(self, program: Path) -> None:
        self.program = program.resolve()

    def run(self, *arguments: object, fails: bool = False) -> str:
        done = subprocess.run([self.program, *map(str, arguments)], capture_output=True, text=True)
        if done.returncode != (1 if fails else 0):
            command = " ".join(map(str, arguments))
            raise RuntimeError(f"flowherd {command}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def glue(self, *arguments: object) -> dict[str, Any]:
        return json.loads(self.run("sql", "--dialect", "glue", *arguments))

    def question(self, name: str, *arguments: object) -> str:
        printed = self.run("query", "--named", name, "--print", *arguments)
        return printed.strip().removesuffix(";")


def program() -> Flowherd:
    """Returns the program that the first argument names, or the release build."""
    given = Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET / "release" / "flowherd"
    if not given.is_file():
        sys.exit(f"{given}: no such program; run `make build-here`")
    return Flowherd(given)


def duckdb_over(flowherd: Flowherd, results: Path, *arguments: object) -> Any:
    """Returns a connection with the views over the results."""
    import duckdb

    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(flowherd.run("sql", "--dialect", "duckdb", "--results", results, *arguments))
    return connection


def java(lowest: int, highest: int) -> str:
    """Returns the Java of JAVA_HOME or of the PATH. Without a suitable one, skips the check and prints that."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=f"{home}/bin" if home else None)
    if found:
        printed = subprocess.run([found, "-version"], capture_output=True, text=True).stderr
        version = re.search(r'version "(\d+)', printed)
        if version and lowest <= int(version[1]) <= highest:
            return found
    skip(f"no Java {lowest} to {highest} on the PATH or in JAVA_HOME")


def skip(why: str) -> Any:
    """Exits with success and prints that nothing was checked."""
    print(f"{'!' * 72}\nSKIPPED, NOTHING WAS CHECKED: {why}\n{'!' * 72}")
    print("0 passed, 0 failed, 1 skipped")
    sys.exit(0)


def envelope(group: str, messages: list[str]) -> str:
    """Returns an envelope as CloudWatch Logs sends it."""
    events = [
        {"id": f"{number:056}", "timestamp": 1771416000000, "message": text} for number, text in enumerate(messages)
    ]
    return json.dumps({
        "messageType": "DATA_MESSAGE", "owner": "012345678901", "logGroup": group, "logStream": "s",
        "subscriptionFilters": ["f"], "logEvents": events,
    })


@contextmanager
def scratch() -> Iterator[Path]:
    """Returns a directory below target/ and removes it at the end."""
    # On a signal, exit like after an error, so that servers are stopped and files are removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    TARGET.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="query-", dir=TARGET) as directory:
        yield Path(directory)
