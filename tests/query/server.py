"""A real Trino on this machine: fetched once, started, asked over HTTP, stopped."""

import json
import shutil
import socket
import subprocess
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from common import TARGET, java, skip

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
    """Statements over https://trino.io/docs/435/develop/client-protocol.html."""

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
    jars("trino-main", "engine")
    # The connector is published with all that it needs. Its files, local ones too, come through Hadoop's, which it
    # looks for in this folder.
    maven("copy", f"-Dartifact=io.trino:trino-hive:{VERSION}:zip", f"-DoutputDirectory={HOME}")
    archive = HOME / f"trino-hive-{VERSION}.zip"
    zipfile.ZipFile(archive).extractall(HOME / "plugin")
    archive.unlink()
    jars("trino-hdfs", f"plugin/{archive.stem}/hdfs")
    shutil.rmtree(HOME / "m2")
    marker.touch()


def jars(artifact: str, into: str) -> None:
    """An artifact and all that it needs."""
    maven("copy-dependencies", f"-Dflowherd.part={artifact}", "-DincludeScope=runtime", f"-DoutputDirectory={HOME / into}")


def maven(goal: str, *arguments: str) -> None:
    # Into a repository of its own, so that nothing is left outside the checkout.
    fixed = ["mvn", "--batch-mode", "--quiet", "--file", str(HERE / "pom.xml"), f"-Dmaven.repo.local={HOME / 'm2'}"]
    subprocess.run([*fixed, f"-Dtrino.version={VERSION}", f"{MAVEN_PLUGIN}:{goal}", *arguments], check=True)


@contextmanager
def trino(directory: Path) -> Iterator[Trino]:
    """A server with the catalog `hive`, which keeps all it knows below the directory."""
    program = java(17, 22)  # Hadoop's files need what Java 23 took away.
    fetch()
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    write(directory / "etc/config.properties", {
        "node.environment": "test",
        "node.bind-ip": "127.0.0.1",
        "node.internal-address": "127.0.0.1",
        "coordinator": "true",
        "node-scheduler.include-coordinator": "true",
        "http-server.http.port": port,
        "discovery.uri": url,
        "plugin.dir": HOME / "plugin",
        "catalog.config-dir": "etc/catalog",
        "query.max-length": 1000000,
    })
    write(directory / "etc/catalog/hive.properties", {
        "connector.name": "hive",
        "hive.metastore": "file",
        "hive.metastore.catalog.dir": (directory / "metastore").as_uri(),
        "hive.security": "allow-all",
        # As Athena does.
        "hive.recursive-directories": "true",
        "hive.partition-projection-enabled": "true",
    })
    command = [
        program, "-Xmx2G", "-XX:+UseG1GC", "-Djdk.attach.allowAttachSelf=true", "-Duser.timezone=UTC",
        "-Dconfig=etc/config.properties", "-cp", f"{HOME}/engine/*", str(HERE / "TrinoServer.java"), VERSION,
    ]
    log = directory / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=directory, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
    try:
        wait_for(process, url, log)
        yield Trino(url)
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


def wait_for(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    until = time.monotonic() + 180
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/v1/info", timeout=5) as response:
                if not json.load(response)["starting"]:
                    # It is up before it has counted itself among its workers.
                    Trino(url).ask("SELECT count(*) FROM system.runtime.nodes")
                    return
        except (OSError, TrinoError):
            pass
        time.sleep(0.3)
    raise RuntimeError("Trino does not start\n" + "\n".join(log.read_text().splitlines()[-30:]))
