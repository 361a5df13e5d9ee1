"""A real Trino on this machine, over the S3 of the local AWS: fetched once, started, asked over HTTP, stopped.

The whole server is not to be had everywhere, so it is put together from the engine and its connector for Hive, as
Trino's own build does. Without the connector's part for Hadoop it reads no local files, hence S3.
"""

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from common import ROOT, TARGET, java, skip

VERSION = "435"  # The last that runs on Java 17, of the end of 2023.
HOME = TARGET / "trino"
HERE = Path(__file__).parent
MAVEN_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1"


class Answer(NamedTuple):
    columns: list[tuple[str, str]]
    rows: list[list[Any]]


class TrinoError(Exception):
    pass


class Trino:
    """Asks over https://trino.io/docs/435/develop/client-protocol.html."""

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
        # It answers before it has found itself among its workers.
        return bool(self.ask("SELECT 1 FROM system.runtime.nodes").rows)


def fetch() -> None:
    """The engine and its connector for Hive, from which the server is put together; 270 MB, once."""
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
    # Into a repository of its own, so that nothing is left outside the checkout.
    fixed = ["mvn", "--batch-mode", "--quiet", "--file", str(HERE / "pom.xml"), f"-Dmaven.repo.local={HOME / 'm2'}"]
    subprocess.run([*fixed, f"-Dtrino.version={VERSION}", f"{MAVEN_PLUGIN}:{goal}", *arguments], check=True)


@contextmanager
def trino(directory: Path) -> Iterator[tuple[Trino, "Bucket"]]:
    """A server with the catalog `hive`, and the bucket that holds its tables."""
    program = java(17, 22)  # Hadoop's classes need what Java 23 took away.
    fetch()
    with local_aws(directory) as bucket:
        port = free_port()
        configure(directory, port, bucket)
        command = [
            program, "-Xmx2G", "-XX:+UseG1GC", "-Djdk.attach.allowAttachSelf=true", "-Duser.timezone=UTC",
            "-Dconfig=etc/config.properties", "-cp", f"{HOME}/engine/*", str(HERE / "TrinoServer.java"), VERSION,
        ]
        server = Trino(f"http://127.0.0.1:{port}")
        with running(command, directory / "trino.log", server.is_up, dict(os.environ)):
            yield server, bucket


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
        # As Athena does.
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

    def is_up(self) -> bool:
        urllib.request.urlopen(f"{self.endpoint}/_ministack/health", timeout=5).close()
        return True


@contextmanager
def local_aws(directory: Path) -> Iterator[Bucket]:
    port = free_port()
    own = {"GATEWAY_PORT": str(port), "BIND_HOST": "127.0.0.1", "MINISTACK_HOST": "127.0.0.1"}
    environment = dict(os.environ) | own | {"SFTP_ENABLED": "0", "IOT_MTLS_ENABLED": "0"}
    bucket = Bucket(f"http://127.0.0.1:{port}")
    program = str(ROOT / ".venv/bin/ministack")
    with running([program], directory / "aws.log", bucket.is_up, environment):
        bucket.put("", None)
        yield bucket


@contextmanager
def running(command: list[str], log: Path, is_up: Callable[[], bool], environment: dict[str, str]) -> Iterator[None]:
    """A process that is up when the body begins and gone after it."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=log.parent, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        wait_for(process, is_up, log)
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
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(process: subprocess.Popen[bytes], is_up: Callable[[], bool], log: Path) -> None:
    until = time.monotonic() + 180
    while time.monotonic() < until and process.poll() is None:
        try:
            if is_up():
                return
        except (OSError, TrinoError):
            pass
        time.sleep(0.3)
    raise RuntimeError(f"{process.args[0]} does not start\n" + "\n".join(log.read_text().splitlines()[-30:]))
