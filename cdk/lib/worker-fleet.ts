import { resolve } from 'node:path';

import { Code, EventSourceMapping } from 'aws-cdk-lib/aws-lambda';
import type { Bucket } from 'aws-cdk-lib/aws-s3';
import { Construct } from 'constructs';

import { acknowledgeObjects } from './acknowledge';
import { NativeFunction } from './native-function';
import { resultsEnvironment } from './results-bucket';
import type { Settings } from './settings';
import type { Source } from './source';
import type { TaskQueue } from './task-queue';

export interface WorkerFleetProps {
  readonly settings: Settings;
  readonly source: Source;
  readonly results: Bucket;
  readonly tasks: TaskQueue;
}

/** The workers, and the trigger that feeds them from the queue. Disabling the trigger stops the fleet. */
export class WorkerFleet extends Construct {
  readonly worker: NativeFunction;
  readonly trigger: EventSourceMapping;

  constructor(scope: Construct, id: string, { settings, source, results, tasks }: WorkerFleetProps) {
    super(scope, id);
    this.worker = new NativeFunction(this, 'Worker', {
      description: 'Flowherd: log objects to CSV',
      code: Code.fromAsset(resolve(settings.artifacts, 'flowherd-worker')),
      architecture: settings.architecture,
      memoryMb: settings.workerMemoryMb,
      timeoutSeconds: settings.workerTimeoutSeconds,
      logRetentionDays: settings.logRetentionDays,
      environment: {
        ...source.environment,
        ...resultsEnvironment(results),
        FLOWHERD_QUEUE_URL: tasks.queue.queueUrl,
      },
    });
    // No ListBucket: a worker never lists the source. S3 therefore answers a deleted key with 403 instead of 404, and
    // HeadBucket with 403: https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
    source.allowReading(this.worker);
    const objects = (...patterns: string[]) => patterns.map((pattern) => results.arnForObjects(pattern));
    // It reads what it is asked for, and writes how that went: never the manifest, rules or report.
    const ledger = objects('runs/*');
    const outputs = objects('csv/*', 'rejects/*');
    const outcomes = objects('runs/*/receipts/*', 'runs/*/amended/*');
    const failures = objects('runs/*/failures/*');
    // Of a run's marker only whether it is there: whether a waiting message is of a run that is over.
    this.worker.allow(['s3:GetObject'], [...ledger, ...objects('active/*'), ...outputs]);
    this.worker.allow(['s3:PutObject'], [...outputs, ...outcomes, ...failures]);
    this.worker.allow(['s3:DeleteObject'], [...outputs, ...failures]);
    this.worker.allow(['s3:AbortMultipartUpload'], outputs);
    // Without it a receipt that is not there yet is answered with 403 and not 404:
    // https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
    this.worker.allow(['s3:ListBucket'], [results.bucketArn]);
    this.worker.allow(
      ['sqs:ReceiveMessage', 'sqs:DeleteMessage', 'sqs:ChangeMessageVisibility', 'sqs:GetQueueAttributes'],
      [tasks.queue.queueArn],
    );
    acknowledgeObjects(this.worker, [...source.objects(), ...ledger, ...objects('active/*'), ...outputs, ...outcomes, ...failures]);

    // With a FIFO queue Lambda accepts a batch size of at most 10 and refuses a batching window:
    // https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-parameters.html
    this.trigger = new EventSourceMapping(this, 'Trigger', {
      target: this.worker.function,
      eventSourceArn: tasks.queue.queueArn,
      batchSize: settings.batchSize,
      maxConcurrency: settings.maxConcurrency,
      reportBatchItemFailures: true,
    });
  }
}
