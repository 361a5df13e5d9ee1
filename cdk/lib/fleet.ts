import { Stack } from 'aws-cdk-lib';
import type { Architecture } from 'aws-cdk-lib/aws-lambda';
import type { RetentionDays } from 'aws-cdk-lib/aws-logs';
import { Construct } from 'constructs';

import { MAIN_FLEET, type ResolvedFleet } from './props';
import type { ResultsBucket } from './results-bucket';
import type { SourceBucket } from './source-bucket';
import { TaskQueue } from './task-queue';
import { WorkerFleet } from './worker-fleet';

export interface FleetConstructProps {
  readonly settings: ResolvedFleet;
  readonly source: SourceBucket;
  readonly results: ResultsBucket;
  /** Directory that holds `flowherd-worker/bootstrap`. */
  readonly artifacts: string;
  readonly architecture: Architecture;
  readonly logRetention: RetentionDays;
}

/** A fleet: its queue, its workers and its settings. */
export class Fleet {
  readonly name: string;
  readonly settings: ResolvedFleet;
  /** With driver `queue`. */
  readonly tasks: TaskQueue | undefined;
  readonly workers: WorkerFleet;

  constructor(stack: Stack, props: FleetConstructProps) {
    const { settings, source, results, artifacts, architecture, logRetention } = props;
    const { name, visibilityTimeout, maxReceiveCount, messageRetention: retention } = settings;
    this.name = name;
    this.settings = settings;
    // `main` has the logical IDs and the queue of a stack without `fleets`, so that such a stack keeps both when it gets more.
    const isMain = name === MAIN_FLEET;
    const scope = isMain ? stack : new Construct(stack, name);
    const queueName = `${stack.stackName}${isMain ? '' : `-${name}`}.fifo`;
    this.tasks = settings.driver === 'map'
      ? undefined
      : new TaskQueue(scope, 'Tasks', { queueName, visibilityTimeout, maxReceiveCount, retention });
    this.workers = new WorkerFleet(scope, 'Fleet', {
      source, results, tasks: this.tasks ?? `${stack.stackName}-${name}`, artifacts, architecture, logRetention,
      prefixes: settings.prefixes, maxConcurrency: settings.maxConcurrency, batchSize: settings.batchSize,
      memoryMb: settings.workerMemoryMb, timeout: settings.workerTimeout,
    });
  }

  /** What the `flowherd` command reads of the fleet, as JSON. */
  get output(): string {
    const { name, tasks, workers, settings: { prefixes, driver, job, live, maxKeys } } = this;
    return Stack.of(workers).toJsonString({
      name, prefixes, driver, job, live, maxKeys,
      ...(tasks === undefined ? {} : { queueUrl: tasks.queue.queueUrl, deadLetterQueueUrl: tasks.deadLetters.queueUrl }),
      worker: workers.worker.function.functionName,
      ...(workers.trigger === undefined ? {} : { trigger: workers.trigger.eventSourceMappingId }),
    });
  }
}

/** The name of the output of a fleet. Names of outputs have only letters and digits. */
export function fleetOutput(name: string): string {
  return `Fleet${name.split('-').map((part) => part.charAt(0).toUpperCase() + part.slice(1)).join('')}`;
}
