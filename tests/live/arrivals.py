"""Creates on a local AWS what brings the events of a bucket to an arrivals function, as the stack does:

  S3 > EventBridge rule > arrivals queue > function

  arrivals.py BUCKET PREFIX FUNCTION

It needs AWS_ENDPOINT_URL.
"""

import json
import sys

from chain import client, enable_events

QUEUE, RULE = "arrivals", "arrivals"


def main(bucket: str, prefix: str, function: str) -> None:
    sqs, events = client("sqs"), client("events")
    url = sqs.create_queue(QueueName=QUEUE, Attributes={"VisibilityTimeout": "720"})["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    pattern = {
        "source": ["aws.s3"],
        "detail-type": ["Object Created"],
        "detail": {"bucket": {"name": [bucket]}, "object": {"key": [{"prefix": prefix}]}},
    }
    events.put_rule(Name=RULE, EventPattern=json.dumps(pattern))
    events.put_targets(Rule=RULE, Targets=[{"Id": "Target0", "Arn": arn}])
    client("lambda").create_event_source_mapping(
        FunctionName=function,
        EventSourceArn=arn,
        BatchSize=100,
        MaximumBatchingWindowInSeconds=2,
        FunctionResponseTypes=["ReportBatchItemFailures"],
    )
    enable_events(bucket)


if __name__ == "__main__":
    main(*sys.argv[1:])
