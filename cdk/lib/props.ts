import { statSync } from 'node:fs';
import { resolve } from 'node:path';

import { Duration, type StackProps, Token } from 'aws-cdk-lib';
import { Architecture } from 'aws-cdk-lib/aws-lambda';
import { RetentionDays } from 'aws-cdk-lib/aws-logs';

import { configProblems } from './config-files';
import type { PropProblem } from './errors';
import { namesProblem } from './names-file';
import { S3_URL, S3_URL_PROBLEM } from './s3-url';
import type { TableDefinitions } from './table-definitions';

/** Properties of a `FlowherdStack`. */
export interface FlowherdStackProps extends StackProps {
  /** The bucket that holds the logs. It must exist; the functions only read it. */
  readonly sourceBucketName: string;
  /** Key prefixes of the source bucket that the functions may list and read. */
  readonly prefixes: readonly string[];
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
   * 30 s to 15 min. A worker starts no object in the last 10 s of it.
   * @default Duration.seconds(300)
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
   * Age of the oldest message that raises the alarm `oldest-message`.
   * @default Duration.hours(1)
   */
  readonly oldestMessageAlarm?: Duration;
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
  localCloud: false,
} as const satisfies Partial<FlowherdStackProps>;

/** The properties with a value for each that has a default. */
export type ResolvedProps = FlowherdStackProps &
  Required<Pick<FlowherdStackProps, keyof typeof DEFAULTS | 'visibilityTimeout'>>;

export function withDefaults(props: FlowherdStackProps): ResolvedProps {
  const given = Object.fromEntries(Object.entries(props).filter(([, value]) => value !== undefined));
  const resolved = { ...DEFAULTS, ...(given as unknown as FlowherdStackProps) };
  // https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html recommends six times the timeout.
  return { visibilityTimeout: Duration.seconds(6 * resolved.workerTimeout.toSeconds()), ...resolved };
}

type Props = Partial<FlowherdStackProps>;
type Problem = PropProblem<keyof FlowherdStackProps>;

interface Range {
  readonly from: number;
  readonly to: number;
  /** Of a `Duration`; a plain number has none. */
  readonly unit?: 'seconds' | 'hours' | 'days';
  readonly because?: string;
}

const RANGES: Readonly<Partial<Record<keyof FlowherdStackProps, Range>>> = {
  // https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html
  maxConcurrency: { from: 2, to: 1000 },
  // https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-parameters.html
  batchSize: { from: 1, to: 10 },
  maxKeys: { from: 1, to: 999_999_999 },
  // https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
  workerMemoryMb: { from: 128, to: 10_240 },
  // With a timeout of 10 s a worker would start no object, and every message would become a dead-letter message.
  workerTimeout: { from: 30, to: 900, unit: 'seconds', because: 'a worker starts no object in the last 10 s of its timeout' },
  // https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html
  visibilityTimeout: { from: 0, to: 43_200, unit: 'seconds' },
  maxReceiveCount: { from: 1, to: 1000 },
  messageRetention: { from: 1, to: 14, unit: 'days' },
  oldestMessageAlarm: { from: 60, to: 1_209_600, unit: 'seconds' },
  queryLimitGb: { from: 1, to: 1_000_000 },
  runTimeLimit: { from: 1, to: 720, unit: 'hours' },
  // A call adds at most 11 events, and an execution may have 25,000:
  // https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html
  maxCalls: { from: 2, to: 1500 },
};

/** The policies of a role have at most 10,240 characters: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html */
const MAX_ROLES = 75;
// https://docs.aws.amazon.com/general/latest/gr/rande.html
const REGION = /^[a-z]{2,4}(-[a-z]+)+-\d$/;
const ROLE = /^arn:[\w-]+:iam::\d{12}:role\/[\w+=,.@/-]+$/;

const ACCOUNT = [/^\d{12}$/, 'must be an account ID of 12 digits'] as const;

const PATTERNS: Readonly<Partial<Record<keyof FlowherdStackProps, readonly [pattern: RegExp, why: string]>>> = {
  // Names of queue, state machine, alarms and workgroup contain it.
  stackName: [/^[A-Za-z][A-Za-z0-9-]{0,39}$/, 'must be a stack name of at most 40 letters, digits and hyphens'],
  // https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
  sourceBucketName: [/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/, 'must be the name of an S3 bucket'],
  sourceBucketAccount: ACCOUNT,
  namesBucketAccount: ACCOUNT,
  sourceBucketRegion: [REGION, 'must be the name of a region'],
  sourceKmsKeyArn: [/^arn:[\w-]+:kms:[\w-]+:\d{12}:key\/[\w-]+$/, 'must be the ARN of a KMS key; IAM cannot grant an alias'],
  alarmTopicArn: [/^arn:[\w-]+:sns:[\w-]+:\d{12}:[\w-]+$/, 'must be the ARN of an SNS topic'],
  alarmEmail: [/^[^@\s]+@[^@\s]+$/, 'must be an e-mail address'],
  namesUrl: [S3_URL, S3_URL_PROBLEM],
};

/** Returns all problems of the given properties; those left out have none. Values known only at deployment are not checked. */
export function findProblems(props: Props): Problem[] {
  return [
    ...patternProblems(props),
    ...(props.prefixes === undefined ? [] : prefixProblems(props.prefixes)),
    ...namesProblems(props),
    ...rangeProblems(props),
    ...conflicts(props),
    ...fileProblems(props),
  ];
}

function patternProblems(props: Props): Problem[] {
  return entries(PATTERNS).flatMap(([prop, [pattern, why]]) => {
    const value = props[prop];
    return typeof value !== 'string' || Token.isUnresolved(value) || pattern.test(value) ? [] : [{ prop, value, why }];
  });
}

function prefixProblems(prefixes: readonly string[]): Problem[] {
  const problem = (value: unknown, why: string): Problem => ({ prop: 'prefixes', value, why });
  if (prefixes.length === 0) return [problem(prefixes, 'must have at least one prefix')];
  return prefixes.flatMap((prefix) => {
    if (Token.isUnresolved(prefix)) return [];
    if (prefix.startsWith('/')) {
      return problem(prefix, 'must not start with a slash: keys that Firehose and CloudWatch Logs write do not');
    }
    // In a policy * and ? match any key, and $ begins a variable.
    return /^[^*?$]{1,1000}$/.test(prefix) ? [] : problem(prefix, 'must have 1 to 1000 characters, and none of *, ? and $');
  });
}

function namesProblems({ namesRefresh, namesRoleArns, namesRegions, namesFile, namesUrl }: Props): Problem[] {
  const problems: Problem[] = [];
  for (const [prop, values, pattern, why] of [
    ['namesRoleArns', namesRoleArns, ROLE, 'must be the ARN of a role'],
    ['namesRegions', namesRegions, REGION, 'must be the name of a region'],
  ] as const) {
    if (values === undefined) continue;
    const invalid = values.filter((value) => !Token.isUnresolved(value) && !pattern.test(value));
    problems.push(...invalid.map((value) => ({ prop, value, why })));
    if (invalid.length > 0) continue;
    if (values.length === 0) problems.push({ prop, value: values, why: 'must not be empty' });
    else if (namesRefresh !== true) problems.push({ prop, value: values, why: 'needs namesRefresh=true' });
  }
  if (namesRoleArns !== undefined && namesRoleArns.length > MAX_ROLES) {
    const why = `must have at most ${MAX_ROLES} roles: IAM limits the size of the coordinator's policy`;
    problems.push({ prop: 'namesRoleArns', value: namesRoleArns.length, why });
  }
  if (namesRefresh === true && (namesFile ?? namesUrl) !== undefined) {
    const why = 'cannot be combined with namesFile or namesUrl; leave one out';
    problems.push({ prop: 'namesRefresh', value: namesRefresh, why });
  }
  return problems;
}

function rangeProblems(props: Props): Problem[] {
  const problems = entries(RANGES).flatMap(([prop, { from, to, unit, because }]): Problem[] => {
    const value = props[prop];
    if (value === undefined || Token.isUnresolved(value)) return [];
    // Not instanceof: an app that links this package has a Duration from another copy of the CDK.
    const number = unit === undefined ? value : inUnit(value as Duration, unit);
    if (typeof number === 'number' && Number.isInteger(number) && number >= from && number <= to) return [];
    const why = `must be a whole number${unit === undefined ? '' : ` of ${unit}`} from ${from} to ${to}`;
    return [{ prop, value: number, why: because === undefined ? why : `${why}: ${because}` }];
  });
  const { logRetention } = props;
  if (logRetention !== undefined && RetentionDays[logRetention] === undefined) {
    const days = Object.values(RetentionDays).filter((value) => typeof value === 'number' && value !== RetentionDays.INFINITE);
    problems.push({ prop: 'logRetention', value: logRetention, why: `must be one of ${days.join(', ')}` });
  }
  return problems;
}

function inUnit(duration: Duration, unit: 'seconds' | 'hours' | 'days'): number {
  const seconds = duration.toSeconds({ integral: false });
  return seconds / { seconds: 1, hours: 3600, days: 86_400 }[unit];
}

function conflicts(props: Props): Problem[] {
  const problems: Problem[] = [];
  const timeout = (props.workerTimeout ?? DEFAULTS.workerTimeout).toSeconds();
  const visibility = props.visibilityTimeout?.toSeconds();
  if (visibility !== undefined && visibility < timeout) {
    // Lambda refuses such a trigger: https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
    problems.push({ prop: 'visibilityTimeout', value: visibility, why: `must be at least the worker's timeout, ${timeout} seconds` });
  }
  const { sourceKmsKeyArn, sourceBucketRegion, namesFile, namesUrl } = props;
  const keyRegion = sourceKmsKeyArn?.split(':')[3];
  if (sourceBucketRegion !== undefined && keyRegion !== undefined && keyRegion !== sourceBucketRegion) {
    // https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html
    problems.push({
      prop: 'sourceKmsKeyArn',
      value: sourceKmsKeyArn,
      why: `must be in the bucket's region, ${sourceBucketRegion}: S3 uses no keys of other regions`,
    });
  }
  if (namesFile !== undefined && namesUrl !== undefined) {
    problems.push({ prop: 'namesUrl', value: namesUrl, why: 'cannot be combined with namesFile; leave one out' });
  }
  return problems;
}

function fileProblems(props: Props): Problem[] {
  return (['configFile', 'namesFile'] as const).flatMap((prop) => {
    const value = props[prop];
    if (value === undefined) return [];
    const isFile = statSync(value, { throwIfNoEntry: false })?.isFile() === true;
    if (!isFile) return [{ prop, value, why: `no such file: ${resolve(value)}` }];
    const problems = prop === 'namesFile' ? [namesProblem(value)] : configProblems(value);
    return problems.filter((why) => why !== undefined).map((why) => ({ prop, value, why }));
  });
}

/** `Object.entries` with the keys' types, without entries that have no value. */
function entries<Key extends string, Value>(record: Readonly<Partial<Record<Key, Value>>>): [Key, Value][] {
  return Object.entries(record) as [Key, Value][];
}
