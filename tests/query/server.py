"""Runs Trino on this machine, with tables on the S3 of the local AWS.

Not every registry has the whole server. This module assembles it from the engine and the Hive connector, as Trino's own
build does. Without the connector's Hadoop part, Trino reads no local files, so the tables are on S3.
"""

import json
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from subprocess import PIPE
from typing import Any, NamedTuple

from common import ROOT, TARGET, java, skip

VERSION = "435"  # The last version that runs on Java 17.
HOME = TARGET / "trino"
HERE = Path(__file__).parent
MAVEN_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1"
STARTS = 5  # Maximum attempts to start Trino. An attempt fails if another program takes its port first.


class Answer(NamedTuple):
    columns: list[tuple[str, str]]
    rows: list[list[Any]]


class TrinoError(Exception):
    pass


class NotStarted(Exception):
    """A server that ended or did not respond at its start. The message has its log."""


class Trino:
    """A client of https://trino.io/docs/435/develop/client-protocol.html."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, sql: str, schema: str = "default", zone: str = "UTC") -> Answer:
        headers = {
            "X-Trino-User": "flowherd",
            "X-Trino-Catalog": "hive",
            "X-Trino-Schema": schema,
            "X-Trino-Time-Zone": zone,
        }
        request = urllib.request.Request(f"{self.url}/v1/statement", sql.encode(), headers)
        answer = Answer([], [])
        while True:
            with urllib.request.urlopen(request, timeout=300) as response:
                page = json.load(response)
            if "error" in page:
                error = page["error"]
                raise TrinoError(f"{error['errorName']}: {error['message']}\n{sql}")
            if page.get("columns") and not answer.columns:
                answer.columns.extend((column["name"], column["type"]) for column in page["columns"])
            answer.rows.extend(page.get("data", []))
            if "nextUri" not in page:
                return answer
            request = urllib.request.Request(page["nextUri"], headers=headers)

    def is_up(self) -> bool:
        # Trino responds before it has found its own worker.
        return bool(self.ask("SELECT 1 FROM system.runtime.nodes").rows)


def fetch() -> None:
    """Downloads the engine and the Hive connector once: 270 MB."""
    marker = HOME / f"fetched-{VERSION}"
    if marker.exists():
        return
    if not shutil.which("mvn"):
        skip("no mvn to fetch Trino with")
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir(parents=True)
    print(f"fetching Trino {VERSION} into target/trino (some minutes, once)", flush=True)
    maven("copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={HOME / 'engine'}")
    maven("copy", f"-Dartifact=io.trino:trino-hive:{VERSION}:zip", f"-DoutputDirectory={HOME}")
    archive = HOME / f"trino-hive-{VERSION}.zip"
    zipfile.ZipFile(archive).extractall(HOME / "plugin")
    archive.unlink()
    shutil.rmtree(HOME / "m2")
    marker.touch()


def maven(goal: str, *arguments: str) -> None:
    # Uses a separate local repository, so that no file is outside the checkout.
    fixed = ["mvn", "--batch-mode", "--quiet", "--file", str(HERE / "pom.xml"), f"-Dmaven.repo.local={HOME / 'm2'}"]
    subprocess.run([*fixed, f"-Dtrino.version={VERSION}", f"{MAVEN_PLUGIN}:{goal}", *arguments], check=True)


@contextmanager
def trino(directory: Path) -> Iterator[tuple[Trino, "Bucket"]]:
    """Runs a server with the catalog `hive`, and the bucket of its tables."""
    program = java(17, 22)  # Hadoop's classes need an API that Java 23 removed.
    fetch()
    with ExitStack() as stack:
        bucket = stack.enter_context(local_aws(directory))
        yield stack.enter_context(trino_on_free_port(program, directory, bucket)), bucket


@contextmanager
def trino_on_free_port(program: str, directory: Path, bucket: "Bucket") -> Iterator[Trino]:
    """Runs Trino on a port that was free a moment ago. It cannot use port 0, because `discovery.uri` must have the port."""
    command = [
        program, "-Xmx2G", "-XX:+UseG1GC", "-Djdk.attach.allowAttachSelf=true", "-Duser.timezone=UTC",
        "-Dconfig=etc/config.properties", "-cp", f"{HOME}/engine/*", str(HERE / "TrinoServer.java"), VERSION,
    ]
    with ExitStack() as stack:
        for attempt in range(1, STARTS + 1):
            port = free_port()
            configure(directory, port, bucket)
            server = Trino(f"http://127.0.0.1:{port}")
            try:
                stack.enter_context(running(command, directory / "trino.log", server.is_up))
                break
            except NotStarted as error:
                if attempt == STARTS or "Address already in use" not in str(error):
                    raise
        yield server


def configure(directory: Path, port: int, bucket: "Bucket") -> None:
    write(directory / "etc/config.properties", {
        "node.environment": "test",
        "node.bind-ip": "127.0.0.1",
        "node.internal-address": "127.0.0.1",
        "coordinator": "true",
        "node-scheduler.include-coordinator": "true",
        "http-server.http.port": port,
        "discovery.uri": f"http://127.0.0.1:{port}",
        "plugin.dir": HOME / "plugin",
        "catalog.config-dir": "etc/catalog",
    })
    write(directory / "etc/catalog/hive.properties", {
        "connector.name": "hive",
        "hive.metastore": "file",
        "hive.metastore.catalog.dir": "s3://flowherd/metastore/",
        "hive.security": "allow-all",
        "fs.hadoop.enabled": "false",
        "fs.native-s3.enabled": "true",
        "s3.endpoint": bucket.endpoint,
        "s3.region": "us-east-1",
        "s3.path-style-access": "true",
        "s3.aws-access-key": "test",
        "s3.aws-secret-key": "test",
        # Athena has both.
        "hive.recursive-directories": "true",
        "hive.partition-projection-enabled": "true",
    })


class Bucket:
    """The bucket `flowherd` of the local AWS."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint

    def put(self, key: str, data: bytes | None) -> None:
        """Puts an object; creates the bucket if `data` is `None`."""
        url = f"{self.endpoint}/flowherd/{urllib.parse.quote(key)}".rstrip("/")
        urllib.request.urlopen(urllib.request.Request(url, data, method="PUT"), timeout=60).close()

    def upload(self, directory: Path, prefix: str) -> str:
        """Uploads all files of a directory and returns their location."""
        for path in sorted(path for path in directory.rglob("*") if path.is_file()):
            self.put(f"{prefix}/{path.relative_to(directory)}", path.read_bytes())
        return f"s3://flowherd/{prefix}"


@contextmanager
def local_aws(directory: Path) -> Iterator[Bucket]:
    """Runs the local AWS on a port that it binds itself and prints."""
    command = [str(ROOT / ".venv/bin/python"), "-B", str(ROOT / "tests/servers/local_cloud.py")]
    log = directory / "aws.log"
    with log.open("wb") as errors:
        process = subprocess.Popen(command, cwd=directory, stdin=PIPE, stdout=PIPE, stderr=errors, text=True)
    with stopped_at_end(process):
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        if not port:
            raise NotStarted(f"the local AWS does not start\n{log.read_text()}")
        bucket = Bucket(f"http://127.0.0.1:{port}")
        bucket.put("", None)
        yield bucket


@contextmanager
def running(command: list[str], log: Path, is_up: Callable[[], bool]) -> Iterator[None]:
    """Runs a process that responds when the body begins and has ended after it."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=log.parent, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    with stopped_at_end(process):
        wait_for(process, is_up, log)
        yield


@contextmanager
def stopped_at_end(process: subprocess.Popen[Any]) -> Iterator[None]:
    """Stops the process after the body, also if the body fails."""
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def write(path: Path, properties: dict[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))


def free_port() -> int:
    """Returns a port that is free now. Another program can still take it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(process: subprocess.Popen[Any], is_up: Callable[[], bool], log: Path) -> None:
    until = time.monotonic() + 180
    while time.monotonic() < until and process.poll() is None:
        try:
            if is_up():
                return
        except (OSError, TrinoError):
            pass
        time.sleep(0.3)
    raise NotStarted(f"{process.args[0]} does not start\n{log.read_text()}")
