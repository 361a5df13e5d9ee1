#!/usr/bin/env bash
# Without any cloud: a small day of logs in a directory becomes CSV. `make demo-convert` runs it.
set -euo pipefail
cd "$(dirname "$0")/.."
demo=target/demo-convert
flowherd=target/release/flowherd

rm -rf "$demo"
echo "== a small day of logs, as Firehose writes them"
"$flowherd" synth "$demo/day" --objects 48 --records 20000 --odd 1
echo
echo "== converted"
"$flowherd" convert "$demo/day" "$demo/results" --prefix firehose/ --lookups "$demo/day/lookups.json"
echo
echo "== the first rows of the first object"
# head stops reading early, which makes gzip complain; that is all there is to it.
file=$(find "$demo/results/csv" -type f | sort | sed -n 1p)
(gzip -dc "$file" 2>/dev/null || true) | head -n 4
echo
echo "== one rejected record, and why"
file=$(find "$demo/results/rejects" -type f | sort | sed -n 1p)
(gzip -dc "$file" 2>/dev/null || true) | head -n 1
echo
echo "Next: $flowherd explain FILE, with any file below $demo/day; then your own logs: $flowherd convert --help"
