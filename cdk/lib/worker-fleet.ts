import { join } from 'node:path';

import type { Duration } from 'aws-cdk-lib';
import { type Architecture, EventSourceMapping } from 'aws-cdk-lib/aws-lambda';
import type { RetentionDays } from 'aws-cdk-lib/aws-logs';
import { Construct } from 'constructs';

import { NativeFunction } from './native-function';
import { grantWorker, workerEnvironment, type WorkerResources } from './worker-grants';

export interface WorkerFleetProps extends WorkerResources {
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
    this.worker = new NativeFunction(this, 'Worker', {
      description: 'Flowherd: converts log objects to CSV',
      directory: join(props.artifacts, 'flowherd-worker'),
      architecture: props.architecture,
      memoryMb: props.memoryMb,
      timeout: props.timeout,
      logRetention: props.logRetention,
      environment: workerEnvironment(props),
    });
    grantWorker(this.worker, props);

    // For a FIFO queue, Lambda accepts a batch size of at most 10 and no batching window:
    // https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-parameters.html
    this.trigger = new EventSourceMapping(this, 'Trigger', {
      target: this.worker.function,
      eventSourceArn: props.tasks.queue.queueArn,
      batchSize: props.batchSize,
      maxConcurrency: props.maxConcurrency,
      reportBatchItemFailures: true,
    });
  }
}
