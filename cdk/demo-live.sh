#!/usr/bin/env bash
# Follows log lines on this machine from CloudWatch Logs to a row in Athena: starts a local AWS on 127.0.0.1, deploys a live fleet and
# the chain CloudWatch Logs > Firehose > S3 in front of it. `make demo-live` builds the programs and runs this script.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
demo=$root/target/demo-live
bin=$root/${FLOWHERD_BIN:-target/release}
flowherd=$bin/flowherd

. cdk/demo-cloud.sh

echo
echo "== cdk deploy with a live fleet, as on AWS (log: target/demo-live/deploy.log)"
curl --silent --fail --output /dev/null -X PUT "$AWS_ENDPOINT_URL/firehose-archive"
"$flowherd" sql --dialect glue >"$demo/tables.json"
settings=(-c sourceBucket=firehose-archive -c prefixes=firehose/ -c live=true -c tables="$demo/tables.json")
deploy "${settings[@]}"
echo "deployed: the fleet, its arrivals queue, and the rule that fills it"

echo
echo "== CloudWatch Logs > Firehose > S3, and Kinesis Data Streams > Firehose > S3; events of the bucket"
chain=("$root/.venv/bin/python" -B tests/live/chain.py)
"${chain[@]}" create firehose-archive firehose/
"$flowherd" live check

echo
echo "== lines of flow logs, and when Athena has their rows"
"${chain[@]}" measure "$flowherd" --rounds 5
"${chain[@]}" measure "$flowherd" --rounds 2 --kinesis

echo
echo "== flowherd live status"
"$flowherd" live status

cat <<TEXT

The demo sent lines to CloudWatch Logs and to a data stream. Firehose wrote them to S3, an event brought each object to a worker, and
Athena found its rows. The seconds above are of the local AWS: on AWS, Firehose buffers for up to its buffer interval (docs/live.md).
Everything is stopped.
TEXT
