#!/usr/bin/env bash
# Runs the whole fleet on this machine: starts a local AWS on 127.0.0.1, deploys the stack, converts a small day of logs.
# `make demo` builds the programs and runs this script; with `--keep` (make demo-keep) the local AWS keeps running.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
demo=$root/target/demo
bin=$root/${FLOWHERD_BIN:-target/release}
flowherd=$bin/flowherd
keep=${1:-}

. cdk/demo-cloud.sh

echo
echo "== flowherd names: interfaces, subnets and VPCs of two accounts"
names=$demo/names.json
"$root/.venv/bin/python" -B cdk/demo_network.py
"$flowherd" names --output "$names"
# ministack takes an access key of 12 digits as the account.
AWS_ACCESS_KEY_ID=210987654321 "$flowherd" names --output "$names"

echo
echo "== a small day of logs of these interfaces in Firehose's layout, in the bucket firehose-archive"
"$flowherd" synth target/demo/day --names "$names" --objects 48 --records 5000 --malformed 1 --incident
upload_day

echo
echo "== cdk deploy, as on AWS (log: target/demo/deploy.log)"
"$flowherd" sql --dialect glue >"$demo/tables.json"
settings=(-c sourceBucket=firehose-archive -c prefixes=firehose/ -c namesFile="$names" -c tables="$demo/tables.json")
deploy "${settings[@]}"
echo "deployed: buckets, queues, functions, step loop, alarms, dashboard"

echo
echo "== flowherd run --prefix firehose/ --watch"
"$flowherd" run --prefix firehose/ --watch

echo
echo "== flowherd runs"
"$flowherd" runs

echo
echo "== flowherd query --named port-scans --day 2026-02-18"
"$flowherd" query --named port-scans --day 2026-02-18

echo
echo "== flowherd query --named lateral-movement --ip 10.8.0.10 --day 2026-02-18"
"$flowherd" query --named lateral-movement --ip 10.8.0.10 --day 2026-02-18

echo
if [ "$keep" = --keep ]; then
  cat <<TEXT
The local AWS is still running. To use it:
  export AWS_ENDPOINT_URL=$AWS_ENDPOINT_URL AWS_REGION=$AWS_REGION AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test
  export PATH=$bin:\$PATH
  flowherd query --list     (docs/querying.md investigates the incident)
  flowherd status; flowherd rerun --prefix firehose/2026/02/18/06/ --watch; flowherd estimate --prefix firehose/
To stop it:
  kill $cloud
TEXT
else
  cat <<TEXT
The demo read the names of two accounts and deployed the stack to a local AWS. The step loop listed 48 objects, the workers
converted them to CSV, and the report proves that no object is missing. Two queries found the incident in the logs. Everything is
stopped.

Next:
  make demo-keep      the same, but the local AWS keeps running, for docs/querying.md
  make demo-convert   the conversion without any cloud
  cdk/README.md       deployment to AWS
TEXT
fi
