import { Stack } from 'aws-cdk-lib';
import type { Architecture } from 'aws-cdk-lib/aws-lambda';
import type { RetentionDays } from 'aws-cdk-lib/aws-logs';
import { Construct } from 'constructs';

import { MAIN_FLEET, type ResolvedFleet } from './props';
import type { ResultsBucket } from './results-bucket';
import type { SourceBucket } from './source-bucket';
import { clusterOptions } from './search-cluster';
import { TaskQueue } from './task-queue';
import type { WorkerCluster } from './worker-cluster';
import { WorkerFleet, type WorkerFleetProps } from './worker-fleet';
import type { WorkerBuckets, WorkerResources } from './worker-grants';
import { withTaskDefaults } from './worker-props';
import { WorkerService } from './worker-service';

export interface FleetConstructProps {
  readonly settings: ResolvedFleet;
  readonly source: SourceBucket;
  readonly results: ResultsBucket;
  /** Directory that holds `flowherd-worker/bootstrap`. */
  readonly artifacts: string;
  readonly architecture: Architecture;
  readonly logRetention: RetentionDays;
  /** Where workers on Fargate run. */
  readonly cluster?: WorkerCluster | undefined;
  /** Image of workers on Fargate; see `WorkerServiceProps`. */
  readonly image?: string | undefined;
  readonly containerDirectory: string;
}

/** A fleet: its queue, its workers and its settings. */
export class Fleet {
  readonly name: string;
  readonly settings: ResolvedFleet;
  /** With driver `queue`. */
  readonly tasks: TaskQueue | undefined;
  /** The worker function; with `workers: 'fargate'` there is `service` instead. */
  readonly workers: WorkerFleet | undefined;
  readonly service: WorkerService | undefined;
  /** Dimension of the workers' metrics. */
  readonly metricsName: string;

  constructor(private readonly stack: Stack, props: FleetConstructProps) {
    const { settings, source, results } = props;
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
    this.metricsName = this.tasks?.queue.queueName ?? `${stack.stackName}-${name}`;
    const buckets = { source, results, prefixes: settings.prefixes, search: settings.cluster };
    this.service = this.tasks !== undefined && props.cluster !== undefined && settings.workers === 'fargate'
      ? this.workerService(scope, { ...buckets, tasks: this.tasks }, props.cluster, props)
      : undefined;
    this.workers = this.service === undefined
      ? this.workerFunction(scope, { ...buckets, tasks: this.tasks ?? this.metricsName }, props)
      : undefined;
  }

  private workerFunction(scope: Construct, resources: WorkerBuckets & Pick<WorkerFleetProps, 'tasks'>, props: FleetConstructProps): WorkerFleet {
    const { artifacts, architecture, logRetention, settings } = props;
    return new WorkerFleet(scope, 'Fleet', {
      ...resources, artifacts, architecture, logRetention,
      maxConcurrency: settings.maxConcurrency, batchSize: settings.batchSize,
      memoryMb: settings.workerMemoryMb, timeout: settings.workerTimeout,
    });
  }

  private workerService(scope: Construct, resources: WorkerResources, cluster: WorkerCluster, props: FleetConstructProps): WorkerService {
    const { image, containerDirectory, architecture, logRetention, settings } = props;
    const { max: maxTasks, ...sizes } = withTaskDefaults(settings.tasks);
    return new WorkerService(scope, 'Fleet', { ...resources, cluster, image, containerDirectory, architecture, logRetention, maxTasks, ...sizes });
  }

  /** What runs the workers, and how many: what an estimate of the cost needs. */
  private get size() {
    const { maxConcurrency, batchSize, workerMemoryMb } = this.settings;
    return this.service === undefined
      ? { workers: 'lambda', memoryMb: workerMemoryMb, maxConcurrency, batchSize }
      : { workers: 'fargate', ...withTaskDefaults(this.settings.tasks) };
  }

  /** What the `flowherd` command reads of the fleet, as JSON. */
  get output(): string {
    const { name, tasks, workers, service, settings: { prefixes, driver, job, live, maxKeys, cluster } } = this;
    return this.stack.toJsonString({
      name, prefixes, driver, job, live, maxKeys, size: this.size,
      ...(cluster === undefined ? {} : { search: clusterOptions(cluster) }),
      ...(tasks === undefined ? {} : { queueUrl: tasks.queue.queueUrl, deadLetterQueueUrl: tasks.deadLetters.queueUrl }),
      ...(workers === undefined ? {} : { worker: workers.worker.function.functionName }),
      ...(workers?.trigger === undefined ? {} : { trigger: workers.trigger.eventSourceMappingId }),
      ...(service === undefined ? {} : {
        cluster: service.service.cluster.clusterName, service: service.service.serviceName, log: service.logGroup.logGroupName,
        role: service.taskRole.roleArn,
      }),
    });
  }
}

/** The name of the output of a fleet. Names of outputs have only letters and digits. */
export function fleetOutput(name: string): string {
  return `Fleet${name.split('-').map((part) => part.charAt(0).toUpperCase() + part.slice(1)).join('')}`;
}
