import { join } from 'node:path';

import type { Duration } from 'aws-cdk-lib';
import { type Architecture, EventSourceMapping } from 'aws-cdk-lib/aws-lambda';
import type { RetentionDays } from 'aws-cdk-lib/aws-logs';
import { Construct } from 'constructs';

import { NativeFunction } from './native-function';
import type { TaskQueue } from './task-queue';
import { grantWorker, workerEnvironment, type WorkerBuckets } from './worker-grants';

export interface WorkerFleetProps extends WorkerBuckets {
  /** The queue; or, for workers that a Distributed Map invokes, their name in metrics. */
  readonly tasks: TaskQueue | string;
  /** Directory that holds `flowherd-worker/bootstrap`. */
  readonly artifacts: string;
  readonly architecture: Architecture;
  readonly memoryMb: number;
  readonly timeout: Duration;
  readonly logRetention: RetentionDays;
  readonly maxConcurrency: number;
  readonly batchSize: number;
}

/** The worker function. With a queue, also the event source mapping that invokes it; disabling the mapping stops the fleet. */
export class WorkerFleet extends Construct {
  readonly worker: NativeFunction;
  /** Undefined without a queue. */
  readonly trigger: EventSourceMapping | undefined;

  constructor(scope: Construct, id: string, props: WorkerFleetProps) {
    super(scope, id);
    const { tasks } = props;
    const queue = typeof tasks === 'string' ? undefined : tasks;
    this.worker = new NativeFunction(this, 'Worker', {
      description: 'Flowherd: converts log objects to CSV',
      directory: join(props.artifacts, 'flowherd-worker'),
      architecture: props.architecture,
      memoryMb: props.memoryMb,
      timeout: props.timeout,
      logRetention: props.logRetention,
      environment: workerEnvironment(props, tasks),
    });
    grantWorker(this.worker, props, queue);
    this.trigger = queue === undefined ? undefined : this.addTrigger(queue, props);
  }

  private addTrigger({ queue }: TaskQueue, { batchSize, maxConcurrency }: WorkerFleetProps): EventSourceMapping {
    // For a FIFO queue, Lambda accepts a batch size of at most 10 and no batching window:
    // https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-parameters.html
    return new EventSourceMapping(this, 'Trigger', {
      target: this.worker.function,
      eventSourceArn: queue.queueArn,
      batchSize,
      maxConcurrency,
      reportBatchItemFailures: true,
    });
  }
}
