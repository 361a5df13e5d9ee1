"""Creates the chain that writes logs to the source bucket, on a local AWS, and sends lines into it:

  log events > CloudWatch Logs subscription > (bridge) > Firehose > S3
  records > Kinesis Data Streams > Firehose > S3

`cdk/demo-live.sh` and a test run it beside a deployed stack with a live fleet. It needs AWS_ENDPOINT_URL.

  chain.py create BUCKET PREFIX            creates both chains, and enables EventBridge on the bucket
  chain.py measure FLOWHERD [--kinesis]    sends flow-log lines, and asks Athena for their rows until they are there
"""

import argparse
import gzip
import io
import json
import os
import subprocess
import time
import zipfile
from pathlib import Path
from typing import Any

import botocore.session
from botocore.config import Config

REGION = "us-east-1"
ACCOUNT = "000000000000"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/chain"
GROUP, STREAM = "vpc-flow-logs", "eni-1235b8ca123456789-all"
LINES, LIMIT_SECONDS = 10, 120
DELIVERY, DATA_STREAM, KINESIS_DELIVERY = "logs", "log-records", "log-records-to-s3"


def client(service: str) -> Any:
    config = Config(s3={"addressing_style": "path"})
    return botocore.session.get_session().create_client(service, region_name=REGION, config=config)


def enable_events(bucket: str) -> None:
    """Adds EventBridge to the notifications of the bucket and keeps the others: a PUT replaces all of them."""
    s3 = client("s3")
    notifications = s3.get_bucket_notification_configuration(Bucket=bucket)
    notifications.pop("ResponseMetadata")
    notifications["EventBridgeConfiguration"] = {}
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=notifications)


def destination(bucket: str, prefix: str) -> dict[str, str]:
    return {
        "RoleARN": ROLE,
        "BucketARN": f"arn:aws:s3:::{bucket}",
        "Prefix": f"{prefix}!{{timestamp:yyyy/MM/dd/HH}}/",
        "ErrorOutputPrefix": "firehose-errors/",
    }


def create(bucket: str, prefix: str) -> None:
    enable_events(bucket)
    firehose, kinesis, logs = client("firehose"), client("kinesis"), client("logs")
    firehose.create_delivery_stream(
        DeliveryStreamName=DELIVERY,
        DeliveryStreamType="DirectPut",
        ExtendedS3DestinationConfiguration=destination(bucket, prefix),
    )
    logs.create_log_group(logGroupName=GROUP)
    logs.create_log_stream(logGroupName=GROUP, logStreamName=STREAM)
    logs.put_subscription_filter(
        logGroupName=GROUP, filterName="to-firehose", filterPattern="", destinationArn=create_bridge()
    )
    kinesis.create_stream(StreamName=DATA_STREAM, ShardCount=1)
    while True:
        stream = kinesis.describe_stream(StreamName=DATA_STREAM)["StreamDescription"]
        if stream["StreamStatus"] == "ACTIVE":
            break
        time.sleep(0.1)
    firehose.create_delivery_stream(
        DeliveryStreamName=KINESIS_DELIVERY,
        DeliveryStreamType="KinesisStreamAsSource",
        KinesisStreamSourceConfiguration={"KinesisStreamARN": stream["StreamARN"], "RoleARN": ROLE},
        ExtendedS3DestinationConfiguration=destination(bucket, prefix),
    )


def create_bridge() -> str:
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.write(Path(__file__).with_name("bridge.py"), "bridge.py")
    function = client("lambda").create_function(
        FunctionName="bridge",
        Runtime="python3.12",
        Handler="bridge.handler",
        Role=ROLE,
        Code={"ZipFile": code.getvalue()},
        Environment={"Variables": {"DELIVERY_STREAM": DELIVERY}},
    )
    return function["FunctionArn"]


def flow_log(address: str, seconds: int) -> str:
    interface = STREAM.removesuffix("-all")
    return f"2 {ACCOUNT} {interface} {address} 10.9.0.1 49152 443 6 10 840 {seconds} {seconds + 60} ACCEPT OK"


def send(address: str, by_kinesis: bool) -> None:
    """Sends lines with this source address."""
    now = time.time()
    message = flow_log(address, int(now))
    events: list[dict[str, Any]] = [{"timestamp": int(now * 1000), "message": message} for _ in range(LINES)]
    if not by_kinesis:
        client("logs").put_log_events(logGroupName=GROUP, logStreamName=STREAM, logEvents=events)
        return
    # The form in which CloudWatch Logs writes to a data stream:
    # https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/logs/SubscriptionFilters.html#DestinationKinesisExample
    envelope = {
        "messageType": "DATA_MESSAGE", "owner": ACCOUNT, "logGroup": GROUP, "logStream": STREAM,
        "subscriptionFilters": ["to-kinesis"], "logEvents": [{"id": str(id), **event} for id, event in enumerate(events)],
    }
    data = gzip.compress(json.dumps(envelope).encode())
    client("kinesis").put_record(StreamName=DATA_STREAM, Data=data, PartitionKey=STREAM)


def rows(flowherd: str, address: str) -> int:
    """The rows with this source address, which `flowherd query` asks of Athena."""
    sql = f"SELECT count(*) AS found FROM vpc_flow_text WHERE srcaddr = '{address}'"
    asked = subprocess.run([flowherd, "query", "--csv", sql], capture_output=True, text=True)
    if asked.returncode != 0:
        # The local AWS has no table without a file.
        if "Table with name vpc_flow_text does not exist" in asked.stderr:
            return 0
        raise SystemExit(f"chain: flowherd query ended with status {asked.returncode}: {asked.stderr.strip()}")
    header, found = asked.stdout.split()
    return int(found)


def measure(flowherd: str, rounds: int, by_kinesis: bool) -> None:
    way = "PutRecord > Kinesis Data Streams" if by_kinesis else "PutLogEvents > subscription"
    for number in range(1, rounds + 1):
        address = f"10.{8 if by_kinesis else 9}.1.{number}"
        began = time.monotonic()
        send(address, by_kinesis)
        while (found := rows(flowherd, address)) < LINES:
            if time.monotonic() - began > LIMIT_SECONDS:
                raise SystemExit(f"chain: after {LIMIT_SECONDS} s Athena has {found} of {LINES} rows from {address}")
        print(f"{way} > Firehose > S3 > worker > Athena: {found} rows after {time.monotonic() - began:.1f} s", flush=True)
        if found > LINES:
            raise SystemExit(f"chain: Athena has {found} rows from {address}, but {LINES} lines were sent")


def main() -> None:
    if "AWS_ENDPOINT_URL" not in os.environ:
        raise SystemExit("chain: AWS_ENDPOINT_URL is not set. The chain is for a local AWS only.")
    parser = argparse.ArgumentParser(description="Creates the chain that writes logs to S3 on a local AWS, and sends lines.")
    commands = parser.add_subparsers(dest="command", required=True)
    creating = commands.add_parser("create", help="create the chains and enable EventBridge on the bucket")
    creating.add_argument("bucket")
    creating.add_argument("prefix")
    measuring = commands.add_parser("measure", help="send flow-log lines and ask Athena until it has their rows")
    measuring.add_argument("flowherd", help="the command, with the environment of a stack")
    measuring.add_argument("--rounds", type=int, default=1)
    measuring.add_argument("--kinesis", action="store_true", help="through the data stream instead of CloudWatch Logs")
    arguments = parser.parse_args()
    if arguments.command == "create":
        create(arguments.bucket, arguments.prefix)
    else:
        measure(arguments.flowherd, arguments.rounds, arguments.kinesis)


if __name__ == "__main__":
    main()
