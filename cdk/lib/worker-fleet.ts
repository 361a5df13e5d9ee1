import { resolve } from 'node:path';

import { Code, EventSourceMapping } from 'aws-cdk-lib/aws-lambda';
import type { Bucket } from 'aws-cdk-lib/aws-s3';
import { Construct } from 'constructs';

import { acknowledgeObjects } from './acknowledge';
import { NativeFunction } from './native-function';
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
        FLOWHERD_RESULTS_BUCKET: results.bucketName,
        FLOWHERD_QUEUE_URL: tasks.queue.queueUrl,
      },
    });
    source.allowListing(this.worker);
    source.allowReading(this.worker);
    const outputs = ['csv/*', 'rejects/*', 'runs/*'].map((objects) => results.arnForObjects(objects));
    this.worker.allow(
      ['s3:GetObject', 's3:PutObject', 's3:DeleteObject', 's3:AbortMultipartUpload'],
      outputs,
    );
    // Without it a receipt that is not there yet is answered with 403 and not 404:
    // https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
    this.worker.allow(['s3:ListBucket'], [results.bucketArn]);
    this.worker.allow(
      ['sqs:ReceiveMessage', 'sqs:DeleteMessage', 'sqs:ChangeMessageVisibility', 'sqs:GetQueueAttributes'],
      [tasks.queue.queueArn],
    );
    acknowledgeObjects(this.worker, [...source.objects(), ...outputs]);

    // 10 is the most, and a window is refused, with a FIFO queue:
    // https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
    this.trigger = new EventSourceMapping(this, 'Trigger', {
      target: this.worker.function,
      eventSourceArn: tasks.queue.queueArn,
      batchSize: 10,
      maxConcurrency: settings.maxConcurrency,
      reportBatchItemFailures: true,
    });
  }
}
