// Checks of the properties of a stack.

import { statSync } from 'node:fs';
import { resolve } from 'node:path';

import { type Duration, Token } from 'aws-cdk-lib';
import { RetentionDays } from 'aws-cdk-lib/aws-logs';

import { configProblems } from './config-files';
import type { PropProblem } from './errors';
import { fleetProblems } from './fleet-problems';
import { EXPRESS_SECONDS } from './map-states';
import { namesProblem } from './names-file';
import { DEFAULTS, type FlowherdStackProps, resolveFleets } from './props';
import { containerProblems, taskProblems } from './worker-props';
import { S3_URL, S3_URL_PROBLEM } from './s3-url';

type Props = Partial<FlowherdStackProps>;
type Problem = PropProblem<string>;

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
  closeHour: { from: 0, to: 23 },
  queryLimitGb: { from: 1, to: 1_000_000 },
  namesRetentionDays: { from: 1, to: 36_500 },
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
  const ofFleet = (fleet: Props) => [...ownProblems(fleet), ...fileProblems(fleet)];
  return [
    ...ownProblems(props),
    ...namesProblems(props),
    ...conflicts(props),
    ...containerProblems(props, hasFargate(props), props.sourceBucketRegion),
    ...fileProblems(props),
    ...fleetProblems(props, ofFleet, conflicts),
  ];
}

/** The problems of single properties, of a stack or of a fleet. */
function ownProblems(props: Props): Problem[] {
  return [
    ...patternProblems(props),
    ...(props.prefixes === undefined ? [] : prefixProblems(props.prefixes)),
    ...rangeProblems(props),
    ...driverProblems(props),
  ];
}

/** Returns the invalid values of `driver` and `workers`. */
function driverProblems({ driver = DEFAULTS.driver, workers = DEFAULTS.workers }: Props): Problem[] {
  const problems: Problem[] = [];
  if (!['queue', 'map'].includes(driver)) problems.push({ prop: 'driver', value: driver, why: 'must be queue or map' });
  if (!['lambda', 'fargate'].includes(workers)) problems.push({ prop: 'workers', value: workers, why: 'must be lambda or fargate' });
  return problems;
}

function hasFargate(props: Props): boolean {
  return resolveFleets(props as FlowherdStackProps).some(({ workers }) => workers === 'fargate');
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

function namesProblems({ namesRefresh, namesRoleArns, namesRegions, namesRetentionDays, namesFile, namesUrl }: Props): Problem[] {
  const problems: Problem[] = [];
  if (namesRetentionDays !== undefined && namesRefresh !== true) {
    problems.push({ prop: 'namesRetentionDays', value: namesRetentionDays, why: 'needs namesRefresh=true' });
  }
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
  problems.push(...liveProblems(props));
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
  return [...problems, ...mapConflicts(props), ...taskConflicts(props)];
}

/** Maximum timeout of a map's workers in seconds, so that a second attempt can begin within the 5 minutes of a child execution. */
const MAX_MAP_SECONDS = 240;

function mapConflicts({ driver, workerTimeout, sourceBucketAccount, sourceBucketRegion, live, env }: Props): Problem[] {
  if (driver !== 'map') return [];
  const problems: Problem[] = [];
  const seconds = workerTimeout?.toSeconds() ?? 0;
  if (seconds > MAX_MAP_SECONDS) {
    const why = `must be at most ${MAX_MAP_SECONDS} seconds with driver map: a child execution takes at most ${EXPRESS_SECONDS} seconds`;
    problems.push({ prop: 'workerTimeout', value: seconds, why });
  }
  if (sourceBucketRegion !== undefined) {
    const why = 'must be queue for a source bucket in another region: a Distributed Map lists buckets of its own region';
    problems.push({ prop: 'driver', value: driver, why });
  }
  if (isElsewhere(sourceBucketAccount, env?.account)) {
    const why = "must be queue for another account's source bucket: the role of the step loop would have to list it";
    problems.push({ prop: 'driver', value: driver, why });
  }
  if (live === true) problems.push({ prop: 'live', value: live, why: 'must be false with driver map: new objects need a queue' });
  return problems;
}

function taskConflicts({ tasks, workers, driver, fleets }: Props): Problem[] {
  if (workers === 'fargate') {
    const map: Problem[] = driver === 'map' ? [{ prop: 'workers', value: workers, why: 'must be lambda with driver map: a map invokes a function' }] : [];
    return [...map, ...(tasks === undefined ? [] : taskProblems(tasks))];
  }
  // With fleets, these are defaults for those on Fargate.
  return tasks === undefined || fleets !== undefined ? [] : [{ prop: 'tasks', value: tasks, why: 'needs workers=fargate' }];
}

/** Returns whether a given account or region differs from the stack's. */
const isElsewhere = (given: string | undefined, own: string | undefined) => given !== undefined && given !== own;

/** The rule must be in the account and region of the bucket: https://docs.aws.amazon.com/AmazonS3/latest/userguide/EventBridge.html */
function liveProblems({ live, sourceBucketAccount, sourceBucketRegion, env }: Props): Problem[] {
  if (live !== true) return [];
  const why = 'needs a source bucket in the account and the region of the stack, where S3 sends its events';
  if (!isElsewhere(sourceBucketAccount, env?.account) && !isElsewhere(sourceBucketRegion, env?.region)) return [];
  return [{ prop: 'live', value: live, why: `${why}; leave out sourceBucketAccount and sourceBucketRegion, or deploy a stack there` }];
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
