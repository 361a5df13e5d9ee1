import { resolve } from 'node:path';

import { Duration, type StackProps } from 'aws-cdk-lib';
import { Architecture } from 'aws-cdk-lib/aws-lambda';
import { RetentionDays } from 'aws-cdk-lib/aws-logs';

import type { SearchClusterProps } from './search-cluster';
import type { TableDefinitions } from './table-definitions';
import type { ContainerProps, TaskProps, Workers } from './worker-props';

/** How objects reach the workers of a fleet. */
export type Driver = 'queue' | 'map';

/** What the workers of a fleet do. */
export type Job = 'convert' | 'index';

/** Properties of a fleet. Those of the stack are the defaults. */
export interface FleetProps {
  /**
   * Key prefixes of the source bucket that the workers of the fleet may read.
   * @default - those of the stack
   */
  readonly prefixes?: readonly string[];
  /**
   * Path of a `flowherd.toml`. The deployment uploads it to S3, with the local files of its `[[enrich]]`. Files there with
   * `s3://` URLs become readable for the coordinator.
   * @default - the built-in rule
   */
  readonly configFile?: string;
  /**
   * Path of a `names.json`. The deployment uploads it to S3. Excludes `namesUrl`.
   * @default - no names
   */
  readonly namesFile?: string;
  /**
   * A `names.json` on S3, as `s3://bucket/key`. Excludes `namesFile`.
   * @default - no names
   */
  readonly namesUrl?: string;
  /**
   * The account that owns the bucket of `namesUrl`.
   * @default - the stack's account
   */
  readonly namesBucketAccount?: string;
  /**
   * Where workers run: as a function on Lambda, or as tasks on Fargate.
   * @default 'lambda'
   */
  readonly workers?: Workers;
  /**
   * Tasks on Fargate.
   * @default - TASK_DEFAULTS
   */
  readonly tasks?: TaskProps;
  /**
   * Maximum concurrent workers, 2 to 1000.
   * @default 50
   */
  readonly maxConcurrency?: number;
  /**
   * Maximum messages in one invocation of the worker, 1 to 10.
   * @default 10
   */
  readonly batchSize?: number;
  /**
   * Maximum objects of a run. The coordinator refuses a prefix that has more.
   * @default 10000000
   */
  readonly maxKeys?: number;
  /**
   * Memory of the worker in MB. 1769 MB is one vCPU.
   * @default 1769
   */
  readonly workerMemoryMb?: number;
  /**
   * 30 s to 15 min; with driver `map`, 30 s to 4 min. A worker starts no object in the last 10 s.
   * @default - 300 s, with driver `map` 120 s
   */
  readonly workerTimeout?: Duration;
  /**
   * Visibility timeout of the queue, at least `workerTimeout`.
   * @default - 6 × workerTimeout
   */
  readonly visibilityTimeout?: Duration;
  /**
   * Deliveries of a message before SQS moves it to the dead-letter queue.
   * @default 10
   */
  readonly maxReceiveCount?: number;
  /**
   * How long the queue keeps a message, 1 to 14 days.
   * @default Duration.days(14)
   */
  readonly messageRetention?: Duration;
  /**
   * Age of the oldest message that raises the alarm `oldest-message`.
   * @default Duration.hours(1)
   */
  readonly oldestMessageAlarm?: Duration;
  /**
   * Converts new objects as they arrive. The source bucket must send its events to EventBridge.
   * @default false
   */
  readonly live?: boolean;
  /**
   * With `live`: the hour in UTC, 0 to 23, at which the days before are closed.
   * @default 2
   */
  readonly closeHour?: number;
  /**
   * `queue`: a FIFO queue. `map`: a Distributed Map of the step loop, without a queue.
   * @default 'queue'
   */
  readonly driver?: Driver;
  /**
   * `convert`: convert objects of the source bucket. `index`: send rows of the results bucket to `cluster`; `prefixes` are then
   * prefixes of that bucket, by default `csv/`.
   * @default 'convert'
   */
  readonly job?: Job;
  /** The search cluster, with job `index`. */
  readonly cluster?: SearchClusterProps;
}

/** Properties of a `FlowherdStack`. */
export interface FlowherdStackProps extends StackProps, Omit<FleetProps, 'job' | 'cluster'>, ContainerProps {
  /** The bucket that holds the logs. It must exist; the functions only read it. */
  readonly sourceBucketName: string;
  /**
   * Fleets by name. Each has its own queue, workers and alarms, and scales by itself.
   * @default - one fleet, `main`, with the properties of the stack
   */
  readonly fleets?: Readonly<Record<string, FleetProps>>;
  /**
   * The account that owns the source bucket. S3 refuses requests to a bucket of the same name in another account.
   * @default - the stack's account
   */
  readonly sourceBucketAccount?: string;
  /** @default - the stack's region */
  readonly sourceBucketRegion?: string;
  /**
   * The KMS key of the source objects, in the bucket's region. The worker may decrypt with it, through S3 only.
   * @default - no KMS permissions
   */
  readonly sourceKmsKeyArn?: string;

  /**
   * Reads the names of the account each hour, and of the accounts of `namesRoleArns`, into `names/names.json` of the results
   * bucket. Runs use that file. Excludes `namesFile` and `namesUrl`.
   * @default false
   */
  readonly namesRefresh?: boolean;
  /**
   * Roles of other accounts, as `member-role.yaml` creates them; at most 75.
   * @default - none
   */
  readonly namesRoleArns?: readonly string[];
  /**
   * Regions that are read in each account.
   * @default - the stack's region
   */
  readonly namesRegions?: readonly string[];
  /**
   * Days for which a refresh keeps the names of what no longer exists.
   * @default - for ever
   */
  readonly namesRetentionDays?: number;
  /**
   * Tables, views and saved queries for Athena; see `readTableDefinitions`.
   * @default - an empty database
   */
  readonly tables?: TableDefinitions;
  /**
   * Athena stops a query that scans more. In GB (10⁹ bytes).
   * @default 1000
   */
  readonly queryLimitGb?: number;

  /**
   * A run that takes longer ends as incomplete. It can be resumed.
   * @default Duration.hours(24)
   */
  readonly runTimeLimit?: Duration;
  /**
   * Calls of the coordinator in one execution of the step loop, 2 to 1500. The loop then continues in a new execution.
   * @default 1500
   */
  readonly maxCalls?: number;

  /**
   * An SNS topic in the stack's region that the alarms notify.
   * @default - none
   */
  readonly alarmTopicArn?: string;
  /**
   * An address that the alarms notify. The recipient must confirm the subscription.
   * @default - none
   */
  readonly alarmEmail?: string;
  /**
   * Retention of all log groups of the stack.
   * @default RetentionDays.THREE_MONTHS
   */
  readonly logRetention?: RetentionDays;

  /**
   * Architecture of the functions. The binaries must be built for it.
   * @default Architecture.ARM_64
   */
  readonly architecture?: Architecture;
  /**
   * Directory that holds `flowherd-coordinator/bootstrap` and `flowherd-worker/bootstrap`.
   * @default - target/lambda of this repository, where `make build` writes them
   */
  readonly artifacts?: string;
  /**
   * Directory that holds the `Dockerfile` and the binary of the worker, for workers on Fargate without `image`.
   * @default - target/container of this repository, where `make container-binary` writes them
   */
  readonly containerDirectory?: string;
  /**
   * Leaves out what the local AWS of the tests cannot create: alarms on metric math, and saved queries.
   * @default false
   */
  readonly localCloud?: boolean;
}

export const DEFAULTS = {
  namesRefresh: false,
  queryLimitGb: 1000,
  maxConcurrency: 50,
  batchSize: 10,
  maxKeys: 10_000_000,
  workerMemoryMb: 1769,
  workerTimeout: Duration.seconds(300),
  maxReceiveCount: 10,
  messageRetention: Duration.days(14),
  runTimeLimit: Duration.hours(24),
  maxCalls: 1500,
  oldestMessageAlarm: Duration.seconds(3600),
  logRetention: RetentionDays.THREE_MONTHS,
  architecture: Architecture.ARM_64,
  artifacts: resolve(__dirname, '../../target/lambda'),
  containerDirectory: resolve(__dirname, '../../target/container'),
  workers: 'lambda',
  live: false,
  closeHour: 2,
  driver: 'queue',
  localCloud: false,
} as const satisfies Partial<FlowherdStackProps>;

/** The name of the fleet of a stack without `fleets`. It keeps the logical IDs and the queue of such a stack. */
export const MAIN_FLEET = 'main';

/** Default timeout of a map's workers, so that two attempts fit into the 5 minutes of a child execution. */
const MAP_WORKER_TIMEOUT = Duration.seconds(120);

/** Defaults of fleets with job `index`. A cluster, and not Lambda, limits how many workers are of use. */
const INDEX_DEFAULTS = { prefixes: ['csv/'], maxConcurrency: 4, workerMemoryMb: 512 } as const;

/** The properties with a value for each that has a default. */
export type ResolvedProps = FlowherdStackProps &
  Required<Pick<FlowherdStackProps, keyof typeof DEFAULTS>>;

/** The properties of a fleet, with its name and a value for each that has a default. */
export type ResolvedFleet = Omit<FleetProps, 'prefixes'> &
  Required<Pick<FleetProps, (keyof typeof DEFAULTS & keyof FleetProps) | 'prefixes' | 'visibilityTimeout' | 'job'>> & {
    readonly name: string;
  };

export function withDefaults(props: FlowherdStackProps): ResolvedProps {
  return { ...DEFAULTS, ...given(props) };
}

/** The fleets of the stack, each with the properties of the stack as defaults. */
export function resolveFleets(props: FlowherdStackProps): ResolvedFleet[] {
  const fleets = props.fleets ?? { [MAIN_FLEET]: {} };
  return Object.entries(fleets).map(([name, fleet]) => {
    const own = merged(props, fleet);
    const ofDriver = own.driver === 'map' ? { workerTimeout: MAP_WORKER_TIMEOUT } : {};
    const ofJob = fleet.job === 'index' ? INDEX_DEFAULTS : {};
    const resolved = { ...DEFAULTS, prefixes: [], job: 'convert' as const, ...ofDriver, ...ofJob, ...own };
    // https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html recommends six times the timeout.
    const visibilityTimeout = Duration.seconds(6 * resolved.workerTimeout.toSeconds());
    return { visibilityTimeout, ...resolved, name };
  });
}

const FILES_OF_NAMES = ['namesFile', 'namesUrl', 'namesBucketAccount'] as const;

/** Properties of the stack that index fleets do not inherit. */
const CONVERT_ONLY = [...FILES_OF_NAMES, 'prefixes', 'live', 'driver', 'maxConcurrency', 'workerMemoryMb'] as const;

/**
 * Returns the properties of a fleet, with those of the stack as defaults. A fleet with its own names file does not inherit the
 * stack's. An index fleet does not inherit `CONVERT_ONLY`.
 */
export function merged(props: Partial<FlowherdStackProps>, fleet: FleetProps): FleetProps {
  const defaults = { ...given(props) } as Record<string, unknown>;
  if ((fleet.namesFile ?? fleet.namesUrl) !== undefined) for (const name of FILES_OF_NAMES) delete defaults[name];
  if (fleet.job === 'index') for (const name of CONVERT_ONLY) delete defaults[name];
  return { ...defaults, ...given(fleet) };
}

/** The properties that have a value. */
function given<T extends object>(props: T): T {
  return Object.fromEntries(Object.entries(props).filter(([, value]) => value !== undefined)) as T;
}
