"""The calls of AWS that the smoke test makes by itself, through botocore."""

import json
import os
import time
from datetime import datetime, timedelta, timezone
from typing import Any

import botocore.session
from botocore.config import Config
from botocore.exceptions import ClientError

METRIC_SECONDS = 600


class Skip(Exception):
    """A check that this cloud cannot show, with the reason."""


class Account:
    """An account and region, by the ordinary AWS environment."""

    def __init__(self, other_region: str) -> None:
        self.session = botocore.session.get_session()
        self.region: str = os.environ.get("AWS_REGION") or self.session.get_config_variable("region") or ""
        if not self.region:
            raise SystemExit("aws-smoke: no region is set. Set AWS_REGION.")
        self.other_region = other_region if other_region != self.region else "us-east-1"
        self.is_local = "AWS_ENDPOINT_URL" in os.environ
        self.started = datetime.now(timezone.utc) - timedelta(minutes=2)
        self.id: str = self.client("sts").get_caller_identity()["Account"]

    def client(self, service: str, region: str | None = None) -> Any:
        config = Config(s3={"addressing_style": "path" if self.is_local else "auto"})
        return self.session.create_client(service, region_name=region or self.region, config=config)

    # S3

    def create_bucket(self, bucket: str, region: str) -> None:
        # us-east-1 is refused as a constraint: https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucket.html
        where = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        self.client("s3", region).create_bucket(Bucket=bucket, **where)

    def put(self, bucket: str, key: str, body: bytes, region: str | None = None) -> None:
        self.client("s3", region).put_object(Bucket=bucket, Key=key, Body=body, ExpectedBucketOwner=self.id)

    def get(self, bucket: str, key: str) -> bytes:
        return self.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()

    def head(self, bucket: str, key: str) -> dict[str, Any]:
        return self.client("s3").head_object(Bucket=bucket, Key=key)

    def delete_bucket(self, bucket: str) -> None:
        """Deletes one of the smoke test's own buckets with its objects, if it is there."""
        s3 = self.client("s3")
        try:
            # Follows a redirect to the bucket's region, where the other calls then go.
            region = s3.head_bucket(Bucket=bucket, ExpectedBucketOwner=self.id).get("BucketRegion")
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                return
            raise
        s3 = self.client("s3", region)
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
            keys = [{"Key": entry["Key"]} for entry in page.get("Contents", [])]
            if keys:
                s3.delete_objects(Bucket=bucket, Delete={"Objects": keys})
        s3.delete_bucket(Bucket=bucket)

    # The stack

    def has_stack(self, name: str) -> bool:
        try:
            stacks = self.client("cloudformation").describe_stacks(StackName=name)["Stacks"]
        except ClientError as error:
            if error.response["Error"]["Code"] == "ValidationError":
                return False
            raise
        return any(stack["StackStatus"] != "DELETE_COMPLETE" for stack in stacks)

    def outputs(self, name: str) -> dict[str, str]:
        (stack,) = self.client("cloudformation").describe_stacks(StackName=name)["Stacks"]
        return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}

    def left(self, name: str, outputs: dict[str, str]) -> list[str]:
        """What a deleted stack should not have left."""
        left = []
        if self.has_stack(name):
            left.append(f"stack {name}")
        try:
            self.client("athena").get_work_group(WorkGroup=outputs["Workgroup"])
            left.append(f"workgroup {outputs['Workgroup']}")
        except ClientError as error:
            if error.response["Error"]["Code"] != "InvalidRequestException":
                raise
        for page in self.client("cloudwatch").get_paginator("list_dashboards").paginate():
            names = [entry["DashboardName"] for entry in page["DashboardEntries"]]
            left += [f"dashboard {name}" for name in names if name == outputs["Dashboard"]]
        return left

    # Queues and metrics

    @staticmethod
    def queue_name(url: str) -> str:
        return url.rsplit("/", 1)[-1]

    def messages(self, url: str) -> int:
        attribute = "ApproximateNumberOfMessages"
        attributes = self.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=[attribute])["Attributes"]
        return int(attributes[attribute])

    def move_task(self, dead_letters: str) -> str:
        """How the last move task of a dead-letter queue went."""
        sqs = self.client("sqs")
        arn = sqs.get_queue_attributes(QueueUrl=dead_letters, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        try:
            tasks = sqs.list_message_move_tasks(SourceArn=arn)["Results"]
        except ClientError as error:
            if self.is_local:
                return "the local cloud has no move tasks"
            raise error
        if not tasks:
            return "no move task was started"
        return f"move task {tasks[0]['Status']}, {tasks[0].get('ApproximateNumberOfMessagesMoved', 0)} moved"

    def metric(self, namespace: str, name: str, dimension: str, value: str, at_least: int) -> float:
        """The sum of a metric since the start, as soon as it is large enough; what there is after ten minutes."""
        if self.is_local:
            raise Skip("the local cloud has no such metrics")
        watch, deadline = self.client("cloudwatch"), time.monotonic() + METRIC_SECONDS
        while True:
            points = watch.get_metric_statistics(
                Namespace=namespace, MetricName=name, Dimensions=[{"Name": dimension, "Value": value}], Statistics=["Sum"],
                StartTime=self.started, EndTime=datetime.now(timezone.utc) + timedelta(minutes=1), Period=60,
            )["Datapoints"]
            total = sum(point["Sum"] for point in points)
            if total >= at_least or time.monotonic() > deadline:
                break
            time.sleep(10)
        if total == 0:
            raise RuntimeError(f"{namespace} {name} of {value} has no value after {METRIC_SECONDS} s")
        return total

    # Evidence

    def evidence(self, outputs: dict[str, str]) -> dict[str, str]:
        """Logs of both functions and the history of the executions, by file name. What cannot be read says why."""
        found = {}
        for name, function in (("worker.log", outputs["WorkerFunction"]), ("coordinator.log", outputs["CoordinatorFunction"])):
            found[name] = tried(lambda function=function: self.log(function))
        found["executions.json"] = tried(lambda: self.executions(outputs["StateMachineArn"]))
        return found

    def log(self, function: str) -> str:
        configuration = self.client("lambda").get_function_configuration(FunctionName=function)
        group = configuration["LoggingConfig"]["LogGroup"]
        pages = self.client("logs").get_paginator("filter_log_events").paginate(logGroupName=group)
        return "".join(f"{event['message'].rstrip()}\n" for page in pages for event in page["events"])

    def executions(self, machine: str) -> str:
        states = self.client("stepfunctions")
        executions = states.list_executions(stateMachineArn=machine)["executions"]
        described = [states.describe_execution(executionArn=execution["executionArn"]) for execution in executions]
        return json.dumps(described, indent=2, default=str)


def tried(read: Any) -> str:
    try:
        return read()
    except Exception as error:
        return f"could not be read: {type(error).__name__}: {error}\n"
