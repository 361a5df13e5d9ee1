#!/usr/bin/env bash
# Converts a small day on this machine, sends its rows to a node of OpenSearch, and finds an incident with one search. Starts a local AWS
# and the node on 127.0.0.1. `make demo-index` builds the programs and runs this script.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
demo=$root/target/demo-index
bin=$root/${FLOWHERD_BIN:-target/release}
flowherd=$bin/flowherd

. cdk/demo-cloud.sh

echo
echo "== a node of OpenSearch"
read -r http transport < <("$root/.venv/bin/python" -B - <<'PYTHON'
import socket
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*(s.getsockname()[1] for s in sockets))
PYTHON
)
libraries=$root/target/tools/opensearch
mkfifo "$demo/node-input"
(
  cd "$demo"
  exec java -Xms256m -Xmx512m -cp "$libraries/*:$libraries" SearchNode home "$http" "$transport" <node-input >node.log 2>&1
) &
node=$!
# The node ends when this pipe closes.
exec 9>"$demo/node-input"
stop_all() {
  stop
  kill "$node" 2>/dev/null || true
  wait "$node" 2>/dev/null || true
}
trap stop_all EXIT
until grep -q 'node is ready' "$demo/node.log"; do
  if ! kill -0 "$node" 2>/dev/null; then
    tail -n 3 "$demo/node.log" >&2
    echo "demo: OpenSearch did not start; see target/demo-index/node.log. It needs Java 17 or later" >&2
    exit 1
  fi
  sleep 0.2
done
search=http://127.0.0.1:$http
echo "$search"

echo
echo "== a small day of logs with an incident, in the bucket firehose-archive"
"$flowherd" synth target/demo-index/day --objects 24 --records 2000 --incident
upload_day

echo
echo "== cdk deploy with a fleet that converts and one that indexes (log: target/demo-index/deploy.log)"
"$flowherd" sql --dialect glue >"$demo/tables.json"
cat >"$demo/settings.json" <<JSON
{
  "sourceBucket": "firehose-archive",
  "tables": "$demo/tables.json",
  "fleets": {
    "main": { "prefixes": ["firehose/"] },
    "index": { "job": "index", "cluster": { "url": "$search", "insecure": true } }
  }
}
JSON
settings=(-c settings="$demo/settings.json")
deploy "${settings[@]}"
echo "deployed: two fleets, each with its queue and its workers"

echo
echo "== flowherd run --prefix firehose/ --watch"
"$flowherd" run --prefix firehose/ --watch

echo
echo "== flowherd index --prefix csv/vpc_flow/ --run incident --watch"
"$flowherd" index --prefix csv/vpc_flow/ --run incident --watch

echo
echo "== flowherd index --prefix csv/vpc_flow/ --verify"
"$flowherd" index --prefix csv/vpc_flow/ --verify

echo
echo "== one search: the sources that were refused at the most ports"
curl --silent --show-error --fail -H 'Content-Type: application/json' "$search/flowherd-vpc_flow-*/_search?size=0" -d '{
  "query": { "term": { "action": "REJECT" } },
  "aggs": { "sources": {
    "terms": { "field": "srcaddr", "size": 3, "order": { "ports": "desc" } },
    "aggs": { "ports": { "cardinality": { "field": "dstport" } }, "first": { "min": { "field": "@timestamp" } } } } }
}' >"$demo/answer.json"
"$root/.venv/bin/python" -B - "$demo/answer.json" <<'PYTHON'
import json
import sys

with open(sys.argv[1], encoding="utf-8") as answer:
    sources = json.load(answer)["aggregations"]["sources"]["buckets"]
print(f"{'source':<16}{'ports':>6}{'rows':>7}  first")
for source in sources:
    first = source["first"]["value_as_string"]
    print(f"{source['key']:<16}{source['ports']['value']:>6}{source['doc_count']:>7}  {first}")
PYTHON

cat <<TEXT

The demo converted a day of logs, and sent its rows to a search cluster with a fleet of its own. --verify compared the documents in the
cluster with the receipts. One search found the address that scanned the ports. Everything is stopped.
TEXT
