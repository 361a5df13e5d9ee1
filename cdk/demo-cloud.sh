# The parts that the demos share: a local AWS on 127.0.0.1, and `cdk` on it. A demo sets `root`, `demo` and `bin`, and reads this file.
# shellcheck shell=bash
keep=${keep:-}

cloud=
stop() {
  status=$?
  if [ -n "$cloud" ] && { [ "$keep" != --keep ] || [ "$status" -ne 0 ]; }; then
    # First the functions, which are its children.
    pkill -TERM -P "$cloud" 2>/dev/null || true
    kill "$cloud" 2>/dev/null || true
    wait "$cloud" 2>/dev/null || true
    [ "$status" -eq 0 ] || echo "demo: failed with status $status; the logs are in ${demo#"$root"/}" >&2
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
    echo "demo: the local AWS did not start; see ${demo#"$root"/}/cloud.log. If the port is in use, set PORT or unset it" >&2
    exit 1
  fi
  sleep 0.1
done
AWS_ENDPOINT_URL=http://127.0.0.1:$(cat "$demo/port")
export AWS_ENDPOINT_URL
curl --silent --show-error --fail --output /dev/null --max-time 60 "$AWS_ENDPOINT_URL/_ministack/health"
echo "$AWS_ENDPOINT_URL"

# Runs the CDK's command in directory $1.
cdk() {
  local directory=$1
  shift
  (cd "$directory" && CDK_HOME=$demo/cdk-home CDK_DISABLE_CLI_TELEMETRY=1 "$root/cdk/node_modules/.bin/cdk" "$@" \
    --ci --no-notices --output "$demo/cdk.out" >>"$demo/deploy.log" 2>&1) || { tail -n 20 "$demo/deploy.log" >&2; exit 1; }
}

# Creates the account's bucket of assets, and the stack with these settings. The functions are those of this machine.
deploy() {
  local architecture
  case $(uname -m) in aarch64 | arm64) architecture=arm64 ;; *) architecture=x86_64 ;; esac
  # Where no app is, the command does not synthesize one first.
  cdk "$demo" bootstrap aws://000000000000/us-east-1
  cdk "$root/cdk" deploy --require-approval never -c artifacts="$demo/functions" -c architecture="$architecture" \
    -c localCloud=true "$@"
}

# Uploads the logs in $demo/day to the bucket firehose-archive.
upload_day() {
  curl --silent --fail --output /dev/null -X PUT "$AWS_ENDPOINT_URL/firehose-archive"
  (cd "$demo/day" && find firehose -type f) | while read -r key; do
    curl --silent --fail --output /dev/null -T "$demo/day/$key" "$AWS_ENDPOINT_URL/firehose-archive/$key"
  done
}
