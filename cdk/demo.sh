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

cloud=
stop() {
  status=$?
  if [ -n "$cloud" ] && { [ "$keep" != --keep ] || [ "$status" -ne 0 ]; }; then
    # First the functions, which are its children.
    pkill -TERM -P "$cloud" 2>/dev/null || true
    kill "$cloud" 2>/dev/null || true
    wait "$cloud" 2>/dev/null || true
    [ "$status" -eq 0 ] || echo "demo: failed with status $status; the logs are in target/demo" >&2
  fi
}
trap stop EXIT
trap 'exit 130' INT TERM

rm -rf "$demo"
mkdir -p "$demo/functions/flowherd-coordinator" "$demo/functions/flowherd-worker" "$demo/state"
for name in coordinator worker; do
  cp "$bin/flowherd-$name" "$demo/functions/flowherd-$name/bootstrap"
done

echo "== a local AWS"
export AWS_REGION=us-east-1 AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test
unset AWS_PROFILE AWS_SESSION_TOKEN
# The server binds its port before it prints it, so no other program can take the port. --keep: `stop` ends the server.
(
  cd "$demo/state"
  exec "$root/.venv/bin/python" -B "$root/tests/servers/local_cloud.py" --keep --port "${PORT:-0}" \
    >"$demo/port" 2>"$demo/cloud.log"
) &
cloud=$!
until [ -s "$demo/port" ]; do
  if ! kill -0 "$cloud" 2>/dev/null; then
    tail -n 1 "$demo/cloud.log" >&2
    echo "demo: the local AWS did not start; see target/demo/cloud.log. If the port is in use, set PORT or unset it" >&2
    exit 1
  fi
  sleep 0.1
done
AWS_ENDPOINT_URL=http://127.0.0.1:$(cat "$demo/port")
export AWS_ENDPOINT_URL
curl --silent --show-error --fail --output /dev/null --max-time 60 "$AWS_ENDPOINT_URL/_ministack/health"
echo "$AWS_ENDPOINT_URL"

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
curl --silent --fail --output /dev/null -X PUT "$AWS_ENDPOINT_URL/firehose-archive"
(cd "$demo/day" && find firehose -type f) | while read -r key; do
  curl --silent --fail --output /dev/null -T "$demo/day/$key" "$AWS_ENDPOINT_URL/firehose-archive/$key"
done

echo
echo "== cdk deploy, as on AWS (log: target/demo/deploy.log)"
"$flowherd" sql --dialect glue >"$demo/tables.json"
case $(uname -m) in aarch64 | arm64) architecture=arm64 ;; *) architecture=x86_64 ;; esac
export CDK_HOME=$demo/cdk-home CDK_DISABLE_CLI_TELEMETRY=1
cdk() {
  (cd cdk && node_modules/.bin/cdk "$@" --ci --no-notices --output "$demo/cdk.out" \
    -c sourceBucket=firehose-archive -c prefixes=firehose/ -c namesFile="$names" -c tables="$demo/tables.json" \
    -c artifacts="$demo/functions" -c architecture="$architecture" -c localCloud=true >>"$demo/deploy.log" 2>&1) ||
    { tail -n 20 "$demo/deploy.log" >&2; exit 1; }
}
cdk bootstrap aws://000000000000/us-east-1
cdk deploy --require-approval never
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
The demo read the names of two accounts and deployed the stack to a local AWS. The step loop listed 48 objects, the workers converted them to CSV, and the
report proves that no object is missing. Two queries found the incident in the logs. Everything is stopped.

Next:
  make demo-keep      the same, but the local AWS keeps running, for docs/querying.md
  make demo-convert   the conversion without any cloud
  cdk/README.md       deployment to AWS
TEXT
fi
