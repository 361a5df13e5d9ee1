"""The code of a small Lambda function that forwards a CloudWatch Logs subscription to Firehose.

On AWS the subscription's destination is the delivery stream itself
(https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/logs/SubscriptionFilters.html#FirehoseExample). The local AWS delivers
subscriptions to functions only. Each call writes one Firehose record of two gzip members, as Firehose joins records.
"""

import base64
import gzip
import json
import os
import urllib.request

SIGNATURE = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/firehose/aws4_request, SignedHeaders=host, Signature=0"


def handler(event, context):
    envelope = json.loads(gzip.decompress(base64.b64decode(event["awslogs"]["data"])))
    events = envelope["logEvents"]
    middle = (len(events) + 1) // 2
    parts = [part for part in (events[:middle], events[middle:]) if part]
    members = [gzip.compress(json.dumps(envelope | {"logEvents": part}).encode()) for part in parts]
    record = {"Data": base64.b64encode(b"".join(members)).decode()}
    request = urllib.request.Request(
        os.environ["AWS_ENDPOINT_URL"],
        data=json.dumps({"DeliveryStreamName": os.environ["DELIVERY_STREAM"], "Record": record}).encode(),
        headers={
            "X-Amz-Target": "Firehose_20150804.PutRecord",
            "Content-Type": "application/x-amz-json-1.1",
            # The local AWS reads the service from it, and verifies no signature.
            "Authorization": SIGNATURE,
        },
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        response.read()
