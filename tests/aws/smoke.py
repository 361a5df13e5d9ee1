"""Deploys a small stack to the account, runs a small day through it, checks what only AWS itself can show, and removes
everything again. docs/first-day-on-aws.md explains each check. `make aws-smoke` builds what it needs and runs it.

With AWS_ENDPOINT_URL it runs against a local cloud and skips, by name, what that cannot show.

Environment:
  AWS_PROFILE, AWS_REGION, ...  the account and region, as for the AWS CLI
  CONFIRM=yes      do not ask before creating resources
  KEEP=yes         leave the stack and the buckets, to look at them
  OTHER_REGION     a second region, for the source bucket of the last check (us-west-2)
  LARGE_RECORDS    records of the large object (600000: 20 MB of output)
  FLOWHERD, ARTIFACTS   the command and the directory of the functions (target/release/flowherd, target/lambda)

Exit status: 0 if no check failed, 1 if one did, 2 if nothing was created.
"""

import gzip
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from account import Account, Skip

ROOT = Path(__file__).resolve().parents[2]
WORK = Path(os.environ.get("WORK", ROOT / "target/aws-smoke"))
FLOWHERD = os.environ.get("FLOWHERD", str(ROOT / "target/release/flowherd"))
ARTIFACTS = os.environ.get("ARTIFACTS", str(ROOT / "target/lambda"))
STACK = "FlowherdSmoke"
PREFIX = "firehose/"
RUN = "smoke"
DAY = "2026-02-18"
HOUR = f"{PREFIX}2026/02/18/12/"
LARGE, DAMAGED, TEXT = f"{HOUR}large", f"{HOUR}damaged", f"{HOUR}text"
SMALL_OBJECTS, SMALL_RECORDS = 100, 1000
LARGE_RECORDS = int(os.environ.get("LARGE_RECORDS", "600000"))
# What OpenCSVSerDe gets wrong with its default escape character, and what a row must keep.
MESSAGE = 'C:\\temp\\new "quoted", comma'
RULES = """
[[rule]]
name = "text"
match = { log_group = "smoke-text" }
table = "smoke_text"
format = { kind = "regex", pattern = '^(?P<path>.*)$' }

[[rule]]
name = "vpc-flow"
table = "vpc_flow"
format = { kind = "vpc-flow" }
"""
COST = """\
This creates stack FlowherdSmoke and two buckets in account {account}, region {region}, and one bucket in {other}.
About 20 minutes later everything is deleted again. Cost in US dollars, us-east-1, without free tiers:
  Lambda       60 GB-seconds, 60 calls                            0.001
  S3           600 writes and listings, 1,500 reads               0.004
  SQS          2,000 requests, idle polling included              0.001
  Step Functions, 300 transitions                                 0.008
  CloudWatch   8 metrics, 7 alarms, 1 dashboard, for one hour     0.010
  Athena       4 queries of 10 MB, its minimum                    0.001
  total        about 0.03; a stack that you leave costs about 6 a month
"""


class Failed(Exception):
    """A check that did not give what it must."""


class Smoke:
    def __init__(self, account: Account) -> None:
        self.account = account
        self.source = f"flowherd-smoke-{account.id}-{account.region}"
        self.elsewhere = f"flowherd-smoke-{account.id}-{account.other_region}-other"
        self.outputs: dict[str, str] = {}
        self.whole = b""
        self.report: dict[str, Any] = {}
        self.lines: list[str] = []
        self.has_failed = False

    # Programs

    def flowherd(self, *args: object, stack: bool = True, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        command = [FLOWHERD, *map(str, args), *(["--stack", STACK] if stack else [])]
        ran = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **(env or {})}, check=False)
        with (WORK / "flowherd.log").open("a") as log:
            print("$", *command[1:], f"({ran.returncode})", ran.stdout, ran.stderr, sep="\n", file=log)
        return ran

    def flowherd_json(self, *args: object) -> Any:
        ran = self.flowherd(*args, "--json")
        try:
            return json.loads(ran.stdout)
        except ValueError:
            raise Failed(f"flowherd {args[0]} ended with {ran.returncode}: {ran.stderr.strip()}") from None

    def cdk(self, *args: str) -> None:
        settings = {
            "stackName": STACK,
            "sourceBucket": self.source,
            "prefixes": PREFIX,
            "configFile": WORK / "flowherd.toml",
            "tables": WORK / "tables.json",
            "artifacts": ARTIFACTS,
            "maxConcurrency": 10,
        }
        if self.account.is_local:
            here = "arm64" if platform.machine() in ("aarch64", "arm64") else "x86_64"
            settings |= {"localCloud": "true", "architecture": here}
        context = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        self.cdk_in(ROOT / "cdk", *args, *context)

    def cdk_in(self, directory: Path, *args: str) -> None:
        env = {**os.environ, "AWS_REGION": self.account.region, "CDK_DISABLE_CLI_TELEMETRY": "1"}
        if self.account.is_local:
            # The CDK remembers the account of an access key, and a local cloud's key is anybody's.
            env["CDK_HOME"] = str(WORK / "cdk-home")
        command = [str(ROOT / "cdk/node_modules/.bin/cdk"), *args, "--ci", "--no-notices", "--output", str(WORK / "cdk.out")]
        with (WORK / "cdk.log").open("a") as log:
            ran = subprocess.run(command, cwd=directory, env=env, stdout=log, stderr=subprocess.STDOUT, check=False)
        if ran.returncode != 0:
            tail = "\n".join((WORK / "cdk.log").read_text().splitlines()[-15:])
            raise Failed(f"cdk {args[0]} ended with {ran.returncode}; a new region first needs `npx cdk bootstrap`:\n{tail}")

    def environment(self, **changes: str) -> dict[str, str]:
        """The fleet by its environment, as without a stack."""
        return {
            "FLOWHERD_STACK": "",
            "FLOWHERD_SOURCE_BUCKET": self.source,
            "FLOWHERD_RESULTS_BUCKET": self.outputs["ResultsBucket"],
            "FLOWHERD_QUEUE_URL": self.outputs["QueueUrl"],
            "FLOWHERD_DEAD_LETTER_QUEUE_URL": self.outputs["DeadLetterQueueUrl"],
            "AWS_REGION": self.account.region,
            **changes,
        }

    def of_the_day(self) -> str:
        """The condition on the partitions of the day."""
        day = DAY.replace("-", "/")
        return "" if self.account.is_local else f" WHERE datehour BETWEEN '{day}/00' AND '{day}/23'"

    # Checks, in this order

    def deploys(self) -> str:
        """the stack deploys: state machine, alarms, tables"""
        self.account.create_bucket(self.source, self.account.region)
        (WORK / "flowherd.toml").write_text(RULES)
        # The local cloud's Athena knows no projected partitions.
        partitions = [] if self.account.is_local else ["--layout", f"{PREFIX}{{yyyy/MM/dd/HH}}/", "--since", DAY]
        tables = self.flowherd("sql", "--dialect", "glue", "--config", WORK / "flowherd.toml", *partitions, stack=False)
        if tables.returncode != 0:
            raise Failed(tables.stderr.strip())
        (WORK / "tables.json").write_text(tables.stdout)
        if self.account.is_local:
            # Where no app is, the command does not synthesize one first.
            self.cdk_in(WORK, "bootstrap", f"aws://{self.account.id}/{self.account.region}")
        self.cdk("deploy", "--require-approval", "never")
        self.outputs = self.account.outputs(STACK)
        return f"results in {self.outputs['ResultsBucket']}"

    def runs(self) -> str:
        """a run does every object but the damaged one"""
        for name, objects, records in (("small", SMALL_OBJECTS, SMALL_RECORDS), ("large", 1, LARGE_RECORDS)):
            ran = self.flowherd("synth", WORK / name, "--objects", objects, "--records", records, "--day", DAY, stack=False)
            if ran.returncode != 0:
                raise Failed(ran.stderr.strip())
        small = sorted(path for path in (WORK / "small/firehose").rglob("*") if path.is_file())
        (large,) = (path for path in (WORK / "large/firehose").rglob("*") if path.is_file())
        for path in small:
            self.account.put(self.source, path.relative_to(WORK / "small").as_posix(), path.read_bytes())
        self.account.put(self.source, LARGE, large.read_bytes())
        self.whole = small[0].read_bytes()
        self.account.put(self.source, DAMAGED, self.whole[:-3])
        self.account.put(self.source, TEXT, gzip.compress(json.dumps(envelope(MESSAGE)).encode()))
        self.report = self.flowherd_json("run", "--prefix", PREFIX, "--run", RUN, "--watch")
        objects = self.report["objects"]
        expected = {"listed": SMALL_OBJECTS + 3, "done": SMALL_OBJECTS + 2, "failed": 1, "skipped": 0, "missing": 0}
        if objects != expected:
            raise Failed(f"objects are {objects}, not {expected}")
        return f"{objects['done']} done, 1 failed, {self.report['records']['rows']} rows"

    def multipart(self) -> str:
        """an output above 16 MiB is uploaded in parts"""
        head = self.account.head(self.outputs["ResultsBucket"], f"csv/vpc_flow/{LARGE}.csv.gz")
        # The ETag of a multipart upload ends in the number of its parts:
        # https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html
        if head["ContentLength"] <= 16 << 20 or "-" not in head["ETag"]:
            raise Failed(f"{head['ContentLength']} bytes, ETag {head['ETag']}: not an upload in parts")
        return f"{head['ContentLength'] / 1e6:.1f} MB, ETag {head['ETag']}"

    def speed(self) -> str:
        """the speed of one worker"""
        receipt = json.loads(self.account.get(self.outputs["ResultsBucket"], f"runs/{RUN}/receipts/{LARGE}.json"))
        rate = receipt["bytes"]["compressed_in"] / 1e3 / max(receipt["milliseconds"], 1)
        return f"{rate:.1f} MB/s of compressed input; docs/cost.md assumes 19"

    def batch_fill(self) -> str:
        """messages in one call of the worker"""
        worker = self.outputs["WorkerFunction"]
        queue = self.account.queue_name(self.outputs["QueueUrl"])
        received = self.account.metric("AWS/SQS", "NumberOfMessagesReceived", "QueueName", queue, at_least=self.report["objects"]["listed"])
        calls = self.account.metric("AWS/Lambda", "Invocations", "FunctionName", worker, at_least=1)
        return f"{received:.0f} messages in {calls:.0f} calls: {received / calls:.1f} on average, 10 at most"

    def metrics(self) -> str:
        """metrics arrive from JSON logs"""
        queue = self.account.queue_name(self.outputs["QueueUrl"])
        done = self.report["objects"]["done"]
        found = self.account.metric("Flowherd", "ObjectsDone", "Queue", queue, at_least=done)
        if found != done:
            raise Failed(f"ObjectsDone is {found:.0f}, the report says {done}")
        return f"ObjectsDone is {found:.0f}"

    def visibility(self) -> str:
        """a worker changes the visibility of messages in its batch"""
        # Otherwise each of the ten deliveries would wait for the queue's visibility timeout, half an hour.
        started = time.monotonic()
        while self.account.messages(self.outputs["DeadLetterQueueUrl"]) != 1:
            if time.monotonic() - started > 300:
                raise Failed("after 300 s the message of the damaged object is not in the dead-letter queue")
            time.sleep(1)
        return "the message of the damaged object is in the dead-letter queue"

    def redrive(self) -> str:
        """a redrive moves the message before the settle time ends"""
        self.account.put(self.source, DAMAGED, self.whole)
        started = time.monotonic()
        report = self.flowherd_json("redrive", RUN, "--watch")
        seconds = time.monotonic() - started
        if (report["state"], report["objects"]["failed"]) != ("done", 0):
            raise Failed(f"the report is {report['state']}, {report['objects']}")
        self.report = report
        return f"done after {seconds:.0f} s; {self.account.move_task(self.outputs['DeadLetterQueueUrl'])}"

    def escape_character(self) -> str:
        """Athena returns backslashes, quotes and commas as they were logged"""
        rows = self.flowherd_json("query", f"SELECT path FROM smoke_text_text{self.of_the_day()}")
        if rows != [{"path": MESSAGE}]:
            raise Failed(f"{rows}, not {MESSAGE!r}")
        return MESSAGE

    def queries(self) -> str:
        """Athena counts the rows of the report"""
        rows = self.flowherd_json("query", f"SELECT count(*) AS flows FROM vpc_flow_text{self.of_the_day()}")
        expected = [{"flows": self.report["tables"]["vpc_flow"]}]
        if rows != expected:
            raise Failed(f"{rows}, not {expected}")
        return f"{rows[0]['flows']} rows"

    def view(self) -> str:
        """a question over the typed view has an answer"""
        rows = self.flowherd_json("query", "--named", "top-talkers", "--day", DAY, "--limit", 3)
        if len(rows) != 3:
            raise Failed(f"{len(rows)} rows, not 3")
        return f"3 rows, first {json.dumps(rows[0])}"

    def bucket_owner(self) -> str:
        """a bucket of another owner is refused"""
        wrong = self.environment(FLOWHERD_SOURCE_BUCKET_OWNER="111111111111")
        ran = self.flowherd("estimate", "--prefix", PREFIX, stack=False, env=wrong)
        if ran.returncode == 0 and self.account.is_local:
            raise Skip("the local cloud does not compare owners")
        if ran.returncode == 0 or "denied" not in ran.stderr.lower().replace(" ", ""):
            raise Failed(f"status {ran.returncode}: {ran.stderr.strip()}")
        return ran.stderr.strip().splitlines()[-1]

    def other_region(self) -> str:
        """a source bucket in another region is listed"""
        self.account.create_bucket(self.elsewhere, self.account.other_region)
        self.account.put(self.elsewhere, TEXT, b"{}", self.account.other_region)
        region = self.account.other_region
        there = self.environment(FLOWHERD_SOURCE_BUCKET=self.elsewhere)
        given = self.flowherd("estimate", "--prefix", PREFIX, "--json", stack=False, env={**there, "FLOWHERD_SOURCE_BUCKET_REGION": region})
        if given.returncode != 0 or json.loads(given.stdout)["objects"] != 1:
            raise Failed(f"with its region given: status {given.returncode}: {given.stderr.strip()}")
        found = self.flowherd("estimate", "--prefix", PREFIX, stack=False, env=there)
        if found.returncode != 0 and region not in found.stderr:
            raise Failed(f"without its region: status {found.returncode}: {found.stderr.strip()}")
        return f"{self.elsewhere} has 1 object; without its region it is {'found' if found.returncode == 0 else 'refused by name'}"

    def destroys(self) -> str:
        """the stack is deleted although queries were made, and the results stay"""
        self.cdk("destroy", "--force")
        if not self.outputs:
            return "deleted after its failed deployment"
        left = self.account.left(STACK, self.outputs)
        if left:
            raise Failed(f"still there: {', '.join(left)}")
        # Raises if it is gone.
        report = self.account.head(self.outputs["ResultsBucket"], f"runs/{RUN}/report.json")
        return f"{self.outputs['ResultsBucket']} is still there, with its report of {report['ContentLength']} bytes"

    # All of it

    def check(self, run: Callable[[], str]) -> bool:
        """Runs one check and prints its outcome."""
        what = (run.__doc__ or "").strip()
        try:
            outcome, detail = "ok", run()
        except Skip as skip:
            outcome, detail = "skipped", str(skip)
        except Exception as error:  # Whatever it is, the other checks and the removal still follow.
            outcome, detail = "FAILED", f"{type(error).__name__}: {error}"
            self.has_failed = True
        self.lines.append(f"{outcome:8} {run.__name__:17} {what}: {detail}")
        print(self.lines[-1], flush=True)
        return outcome != "FAILED"

    def run(self) -> int:
        try:
            if self.check(self.deploys) and self.check(self.runs):
                for check in (
                    self.multipart, self.speed, self.visibility, self.metrics, self.batch_fill, self.redrive,
                    self.escape_character, self.queries, self.view, self.bucket_owner, self.other_region,
                ):
                    self.check(check)
        finally:
            self.evidence()
            if os.environ.get("KEEP") != "yes":
                self.remove()
        (WORK / "checks.txt").write_text("\n".join(self.lines) + "\n")
        if self.has_failed:
            print(f"\nPlease report what failed, with the files of {WORK}: checks.txt, *.log, *.json.")
        return 1 if self.has_failed else 0

    def evidence(self) -> None:
        """Keeps what explains a failure, before it is deleted."""
        if not self.outputs:
            return
        (WORK / "report.json").write_text(json.dumps(self.report, indent=2))
        for name, value in self.account.evidence(self.outputs).items():
            (WORK / name).write_text(value)

    def remove(self) -> None:
        if self.account.has_stack(STACK):
            self.check(self.destroys)
        for bucket in (self.source, self.elsewhere, self.outputs.get("ResultsBucket")):
            try:
                if bucket is not None:
                    self.account.delete_bucket(bucket)
            except Exception as error:
                self.has_failed = True
                print(f"cannot delete bucket {bucket}: {error}. Empty and delete it by hand.", file=sys.stderr)


def envelope(message: str) -> dict[str, Any]:
    """What a subscription filter sends for one log event."""
    event = {"id": "1", "timestamp": 1_771_416_000_000, "message": message}
    return {
        "messageType": "DATA_MESSAGE", "owner": "123456789012", "logGroup": "smoke-text", "logStream": "smoke",
        "subscriptionFilters": ["smoke"], "logEvents": [event],
    }


def main() -> int:
    account = Account(os.environ.get("OTHER_REGION", "us-west-2"))
    print(COST.format(account=account.id, region=account.region, other=account.other_region), flush=True)
    if account.has_stack(STACK):
        print(f"aws-smoke: stack {STACK} exists already. Delete it first, with its buckets.", file=sys.stderr)
        return 2
    if os.environ.get("CONFIRM") != "yes":
        if not sys.stdin.isatty():
            print("aws-smoke: nothing was created. Set CONFIRM=yes to agree to the cost.", file=sys.stderr)
            return 2
        if input("Create them? [y/N] ").strip().lower() != "y":
            return 2
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    return Smoke(account).run()


if __name__ == "__main__":
    sys.exit(main())
