"""Compares the indexer with Python's bulk client on one local node: rows/s and CPU time per row. Also prints the bytes of the
documents in the node, which `flowherd estimate --index` assumes.

Run it with `make bench-index`, or `.venv/bin/python tests/opensearch/throughput.py BENCH [ROWS]`, where BENCH is the program
that `cargo bench -p flowherd-indexer --no-run` builds. Both read the same csv.gz, and create the same documents in indices
of the same strict mapping. Their ids have the same length, but are hashes of different texts. Client and node share the machine's
cores. The rounds alternate, because other processes disturb single rounds.
"""

import csv
import gzip
import hashlib
import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from base64 import urlsafe_b64encode
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NODE = ROOT / "target/tools/opensearch"
# Key and version of about the length of real ones, as in indexer/benches/index/rows.rs.
KEY = (
    "csv/vpc_flow/firehose/2026/02/18/09/"
    "vpc-flow-logs-1-2026-02-18-09-00-12-5d1c9a0e-1111-2222-3333-444455556666.gz.csv.gz"
)
ETAG = "9b2cf535f27731c974343645a3985328"
RUN = "2026-02-18-vpc"
ROUNDS = 3
DEFAULT_ROWS = 200_000
# Documents of a request. The client's own default is 500.
CHUNK = 2000
THREADS = 4
START_SECONDS = 120

INTEGERS = {"version", "srcport", "dstport", "protocol", "packets", "bytes", "start", "end"}
TYPES = {
    "@timestamp": {"type": "date"},
    "srcaddr": {"type": "ip"},
    "dstaddr": {"type": "ip"},
    "start": {"type": "date", "format": "epoch_second"},
    "end": {"type": "date", "format": "epoch_second"},
}
OWN = {
    "etag": {"type": "keyword"},
    "object": {"type": "keyword"},
    "row": {"type": "long"},
    "run": {"type": "keyword"},
}


def free_ports(count):
    """Returns ports that were free a moment ago."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Node:
    """A node of OpenSearch, which ends with this process."""

    def __init__(self, directory):
        http, transport = free_ports(2)
        self.url = f"http://127.0.0.1:{http}"
        command = ["java", "-Xms256m", "-Xmx512m", "-cp", f"{NODE}/*:{NODE}", "SearchNode", "home", str(http), str(transport)]
        with open(f"{directory}/log", "wb") as log:
            self.process = subprocess.Popen(command, cwd=directory, stdin=subprocess.PIPE, stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while "node is ready" not in Path(directory, "log").read_text():
            if self.process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"the node did not start:\n{Path(directory, 'log').read_text()}")
            time.sleep(0.2)

    def send(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request) as answer:
            return json.loads(answer.read())

    def stop(self):
        self.process.stdin.close()
        self.process.wait()


def install_template(node, columns):
    names = ["@timestamp", *columns[1:]]
    kind = lambda name: TYPES.get(name) or {"type": "long" if name in INTEGERS else "keyword"}
    properties = {name: kind(name) for name in names} | {"flowherd": {"properties": OWN}}
    mappings = {"dynamic": "strict", "properties": properties}
    body = {"index_patterns": ["flowherd-vpc_flow-*"], "template": {"mappings": mappings}}
    node.send("PUT", "/_index_template/flowherd-vpc_flow-dated", body)


def actions(file):
    """Yields the documents of a file in the format of the client's helpers."""
    with gzip.open(file, "rt", newline="") as text:
        rows = csv.reader(text)
        columns = next(rows)
        columns[0] = "@timestamp"
        for number, row in enumerate(rows, 1):
            source = {
                name: int(value) if name in INTEGERS else value
                for name, value in zip(columns, row)
                if value not in ("-", "")
            }
            source |= {"flowherd.object": KEY, "flowherd.etag": ETAG, "flowherd.row": number, "flowherd.run": RUN}
            digest = hashlib.sha256(f"{KEY}\0{number}".encode()).digest()[:16]
            yield {
                "_op_type": "create",
                "_index": "flowherd-vpc_flow-" + row[0][:10].replace("-", "."),
                "_id": urlsafe_b64encode(digest).decode().rstrip("="),
                "_source": source,
            }


def python_client(url, file, threads):
    """Indexes a file with the helpers of opensearch-py. Runs in its own process."""
    from opensearchpy import OpenSearch, helpers

    client = OpenSearch(url, http_compress=True, timeout=120)
    if threads == 1:
        results = helpers.streaming_bulk(client, actions(file), chunk_size=CHUNK)
    else:
        results = helpers.parallel_bulk(client, actions(file), thread_count=threads, chunk_size=CHUNK)
    for is_done, result in results:
        if not is_done:
            sys.exit(f"refused: {result}")


def measure(node, command, rows):
    """Runs a command on a cluster without documents. Returns its wall-clock seconds and CPU seconds."""
    node.send("DELETE", "/flowherd-vpc_flow-*")
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    seconds, after = time.monotonic() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    node.send("POST", "/flowherd-vpc_flow-*/_refresh")
    count = node.send("GET", "/flowherd-vpc_flow-*/_count")["count"]
    if count != rows:
        sys.exit(f"{command[0]}: {count} documents instead of {rows}")
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def stored_bytes(node, command, rows):
    """Indexes a file with the indexer, and returns the bytes of its documents in the primary shards after a merge."""
    measure(node, command, rows)
    node.send("POST", "/flowherd-vpc_flow-*/_forcemerge?max_num_segments=1")
    node.send("POST", "/flowherd-vpc_flow-*/_flush")
    return node.send("GET", "/flowherd-vpc_flow-*/_stats/store")["_all"]["primaries"]["store"]["size_in_bytes"]


def main(bench, rows):
    with tempfile.TemporaryDirectory() as directory:
        file = f"{directory}/rows.csv.gz"
        subprocess.run([bench, "write", file, str(rows)], check=True)
        with gzip.open(file, "rt") as text:
            columns = text.readline().rstrip("\n").split(",")
        node = Node(directory)
        try:
            install_template(node, columns)
            own = [sys.executable, __file__]
            clients = {
                "flowherd": [bench, "index", node.url, file],
                "opensearch-py, parallel_bulk": [*own, "client", node.url, file, str(THREADS)],
                "opensearch-py, streaming_bulk": [*own, "client", node.url, file, "1"],
            }
            # Warms up the node's just-in-time compiler before the first round.
            measure(node, clients["flowherd"], rows)
            figures = {name: [] for name in clients}
            for _ in range(ROUNDS):
                for name, command in clients.items():
                    figures[name].append(measure(node, command, rows))
            stored = stored_bytes(node, clients["flowherd"], rows)
            csv_bytes = os.path.getsize(file)
        finally:
            node.stop()
    print(f"{rows} rows, {os.cpu_count()} cores for client and node, median of {ROUNDS} rounds")
    speeds = {}
    for name, rounds in figures.items():
        speeds[name] = rows / statistics.median(seconds for seconds, _ in rounds)
        cpu = statistics.median(cpu for _, cpu in rounds) / rows
        all_speeds = ", ".join(f"{rows / seconds:.0f}" for seconds, _ in rounds)
        print(f"{name}: {speeds[name]:.0f} rows/s ({all_speeds}), {cpu * 1e6:.1f} µs of CPU a row")
    for name, speed in list(speeds.items())[1:]:
        print(f"flowherd / {name}: {speeds['flowherd'] / speed:.2f}")
    print(f"bytes a row: {csv_bytes / rows:.1f} of csv.gz, {stored / rows:.1f} in the primary shards ({stored / csv_bytes:.2f} times)")


if __name__ == "__main__":
    if sys.argv[1] == "client":
        python_client(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else DEFAULT_ROWS)
