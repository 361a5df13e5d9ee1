#!/usr/bin/env bash
# Converts a small day of logs in a directory, without any cloud. `make demo-convert` runs it.
set -euo pipefail
cd "$(dirname "$0")/.."
demo=target/demo-convert
flowherd=${FLOWHERD_BIN:-target/release}/flowherd

rm -rf "$demo"
echo "== generate a small day of logs, as Firehose writes them"
"$flowherd" synth "$demo/day" --objects 48 --records 20000 --malformed 1
echo
echo "== convert it"
"$flowherd" convert "$demo/day" "$demo/results" --prefix firehose/ --names "$demo/day/names.json"
echo
echo "== the first rows of the first object"
# `head` closes the pipe early, so gzip fails with SIGPIPE.
file=$(find "$demo/results/csv" -type f | sort | sed -n 1p)
(gzip -dc "$file" 2>/dev/null || true) | head -n 4
echo
echo "== one rejected record, with its reason"
file=$(find "$demo/results/rejects" -type f | sort | sed -n 1p)
(gzip -dc "$file" 2>/dev/null || true) | head -n 1
echo
echo "Next: $flowherd explain FILE, with a file below $demo/day; then convert your own logs: $flowherd convert --help"
