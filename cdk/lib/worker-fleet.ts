import { join } from 'node:path';

import type { Duration } from 'aws-cdk-lib';
import { type Architecture, EventSourceMapping } from 'aws-cdk-lib/aws-lambda';
import type { RetentionDays } from 'aws-cdk-lib/aws-logs';
import { Construct } from 'constructs';

import { NativeFunction } from './native-function';
import type { ResultsBucket } from './results-bucket';
import type { SourceBucket } from './source-bucket';
import type { TaskQueue } from './task-queue';

export interface WorkerFleetProps {
  readonly source: SourceBucket;
  readonly results: ResultsBucket;
  readonly tasks: TaskQueue;
  /** Directory that holds `flowherd-worker/bootstrap`. */
  readonly artifacts: string;
  readonly architecture: Architecture;
  readonly memoryMb: number;
  readonly timeout: Duration;
  readonly logRetention: RetentionDays;
  readonly maxConcurrency: number;
  readonly batchSize: number;
}

/** The worker function and the event source mapping that invokes it. Disabling the mapping stops the fleet. */
export class WorkerFleet extends Construct {
  readonly worker: NativeFunction;
  readonly trigger: EventSourceMapping;

  constructor(scope: Construct, id: string, props: WorkerFleetProps) {
    super(scope, id);
    const { source, results, tasks } = props;
    this.worker = new NativeFunction(this, 'Worker', {
      description: 'Flowherd: converts log objects to CSV',
      directory: join(props.artifacts, 'flowherd-worker'),
      architecture: props.architecture,
      memoryMb: props.memoryMb,
      timeout: props.timeout,
      logRetention: props.logRetention,
      environment: {
        ...source.environment,
        ...results.environment,
        FLOWHERD_QUEUE_URL: tasks.queue.queueUrl,
      },
    });
    // No s3:ListBucket: the worker reads only the keys in its messages. For a deleted key S3 therefore answers 403,
    // and the failure's error text names both causes.
    source.grantRead(this.worker);
    this.grantResults(results);
    tasks.queue.grant(
      this.worker,
      'sqs:ReceiveMessage', 'sqs:DeleteMessage', 'sqs:ChangeMessageVisibility', 'sqs:GetQueueAttributes',
    );

    // For a FIFO queue, Lambda accepts a batch size of at most 10 and no batching window:
    // https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-parameters.html
    this.trigger = new EventSourceMapping(this, 'Trigger', {
      target: this.worker.function,
      eventSourceArn: tasks.queue.queueArn,
      batchSize: props.batchSize,
      maxConcurrency: props.maxConcurrency,
      reportBatchItemFailures: true,
    });
  }

  /** The worker writes outputs, receipts and failures; never the manifest, the rules or the report. */
  private grantResults(results: ResultsBucket): void {
    const outputs = ['csv/*', 'rejects/*'];
    const failures = 'runs/*/failures/*';
    // The marker below active/ shows whether the run of a message is over.
    results.grantOnObjects(this.worker, ['s3:GetObject'], ['runs/*', 'active/*', ...outputs]);
    results.grantOnObjects(this.worker, ['s3:PutObject'], [...outputs, 'runs/*/receipts/*', 'runs/*/amended/*', failures]);
    results.grantOnObjects(this.worker, ['s3:DeleteObject'], [...outputs, failures]);
    results.grantOnObjects(this.worker, ['s3:AbortMultipartUpload'], outputs);
    results.grantList(this.worker);
  }
}
