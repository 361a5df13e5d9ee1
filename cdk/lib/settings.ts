import { existsSync, readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';

import { readTables, type Schema } from './tables';

/** What a deployment is told, checked. Times are in the unit that the name says. */
export interface Settings {
  readonly stackName: string;
  readonly sourceBucket: string;
  readonly sourceBucketAccount?: string;
  readonly sourceBucketRegion?: string;
  readonly sourceKmsKeyArn?: string;
  readonly prefixes: readonly string[];
  readonly maxConcurrency: number;
  /** Limit of messages in one invocation of the worker. */
  readonly batchSize: number;
  /** Objects of a run, at most. */
  readonly maxKeys: number;
  readonly workerMemoryMb: number;
  readonly workerTimeoutSeconds: number;
  readonly visibilitySeconds: number;
  readonly maxReceiveCount: number;
  readonly retentionDays: number;
  readonly logRetentionDays: number;
  readonly alarmTopicArn?: string;
  readonly alarmEmail?: string;
  readonly oldestMessageAlarmSeconds: number;
  readonly configFile?: string;
  readonly lookupsFile?: string;
  readonly lookupsUrl?: string;
  readonly lookupsBucketAccount?: string;
  readonly tables?: Schema;
  readonly queryLimitGb: number;
  readonly runTimeLimitHours: number;
  readonly maxTurns: number;
  readonly architecture: 'arm64' | 'x86_64';
  /** For a cloud on this machine: leaves out what only AWS itself can do. */
  readonly localCloud: boolean;
  /** Holds `flowherd-coordinator/bootstrap` and `flowherd-worker/bootstrap`. */
  readonly artifacts: string;
}

/** Every problem with the settings, one a line. */
export class SettingsError extends Error {
  constructor(readonly problems: readonly string[]) {
    super(`the settings do not fit:\n${problems.map((problem) => `  ${problem}`).join('\n')}`);
    this.name = 'SettingsError';
  }
}

// https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html
const LOG_RETENTION_DAYS = [
  1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653,
];

// https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
const BUCKET = /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/;

// https://docs.aws.amazon.com/general/latest/gr/rande.html
const REGION = /^[a-z]{2,4}(-[a-z]+)+-\d$/;

const ARTIFACTS = ['flowherd-coordinator/bootstrap', 'flowherd-worker/bootstrap'];

/** Each setting with one good value, which messages show. */
export const EXAMPLES: Readonly<Record<keyof Settings, string>> = {
  stackName: 'Flowherd',
  sourceBucket: 'my-firehose-archive',
  sourceBucketAccount: '123456789012',
  sourceBucketRegion: 'eu-west-1',
  sourceKmsKeyArn: 'arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab',
  prefixes: 'firehose/,waf/',
  maxConcurrency: '50',
  batchSize: '10',
  maxKeys: '10000000',
  workerMemoryMb: '1769',
  workerTimeoutSeconds: '300',
  visibilitySeconds: '1800',
  maxReceiveCount: '10',
  retentionDays: '14',
  logRetentionDays: '90',
  alarmTopicArn: 'arn:aws:sns:eu-west-1:123456789012:alarms',
  alarmEmail: 'operations@example.com',
  oldestMessageAlarmSeconds: '3600',
  configFile: 'flowherd.toml',
  lookupsFile: 'lookups.json',
  lookupsUrl: 's3://my-settings/flowherd/lookups.json',
  lookupsBucketAccount: '123456789012',
  tables: 'tables.json',
  queryLimitGb: '1000',
  runTimeLimitHours: '24',
  maxTurns: '1500',
  architecture: 'arm64',
  localCloud: 'true',
  artifacts: '../target/lambda',
};

const NAMES = Object.keys(EXAMPLES);

/**
 * Reads the CDK context, and the JSON file that its `settings` names; the context wins. Context given with `-c` is
 * always text, so numbers, booleans and lists are read from text too.
 *
 * Throws a `SettingsError` with every problem at once.
 */
export function readSettings(context: Readonly<Record<string, unknown>>): Settings {
  const problems: string[] = [];
  const given = gather(context, problems);
  const problem = (name: string, value: unknown, why: string) => {
    const example = EXAMPLES[name as keyof Settings];
    problems.push(`${name}=${JSON.stringify(value)}: ${why}; an example: ${name}=${example}`);
  };

  function text(name: keyof Settings, fits: (value: string) => boolean, why: string): string | undefined {
    const value = given.get(name)?.value;
    if (value === undefined) return undefined;
    if (typeof value === 'string' && fits(value)) return value;
    problem(name, value, why);
    return undefined;
  }
  function number(name: keyof Settings, fallback: number, from: number, to: number, because = ''): number {
    const value = given.get(name)?.value;
    if (value === undefined) return fallback;
    const whole = typeof value === 'string' && /^\d{1,9}$/.test(value) ? Number(value) : value;
    if (typeof whole === 'number' && Number.isInteger(whole) && whole >= from && whole <= to) return whole;
    problem(name, value, `not a whole number from ${from} to ${to}${because}`);
    return fallback;
  }
  function flag(name: keyof Settings): boolean {
    const value = given.get(name)?.value ?? false;
    if (value === true || value === 'true') return true;
    if (value !== false && value !== 'false') problem(name, value, 'neither true nor false');
    return false;
  }
  function file(name: keyof Settings): string | undefined {
    const value = text(name, (path) => path !== '', 'not the path of a file');
    if (value === undefined) return undefined;
    const path = resolve(given.get(name)?.directory ?? '.', value);
    if (existsSync(path)) return path;
    problem(name, value, `no such file: ${path}`);
    return undefined;
  }

  const sourceBucket = text('sourceBucket', (name) => BUCKET.test(name), 'not the name of a bucket');
  if (!given.has('sourceBucket')) problems.push(missing('sourceBucket', 'the bucket that holds the logs'));

  const prefixes = list(given.get('prefixes')?.value);
  if (!given.has('prefixes')) {
    problems.push(missing('prefixes', 'what may be read of the source bucket'));
  } else if (prefixes === undefined || prefixes.length === 0) {
    problem('prefixes', given.get('prefixes')?.value, 'not a list of at least one prefix');
  } else {
    for (const prefix of prefixes.filter((prefix) => !isPrefix(prefix))) {
      // In a policy * and ? would stand for any key, and ${ begins a variable.
      problem('prefixes', prefix, 'a prefix is 1 to 1000 characters, none of them *, ? or $');
    }
  }

  // A worker begins no object in the last 10 s of its timeout, so that it can return messages in time. With 10 s it
  // would begin none, and every message would become a dead-letter message.
  const workerTimeoutSeconds = number(
    'workerTimeoutSeconds', 300, 30, 900, '; a worker begins no object in the last 10 s of its timeout',
  );
  // https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html advises six times.
  const visibilitySeconds = number('visibilitySeconds', 6 * workerTimeoutSeconds, 0, 43_200);
  if (visibilitySeconds < workerTimeoutSeconds) {
    problem('visibilitySeconds', visibilitySeconds, `less than workerTimeoutSeconds, ${workerTimeoutSeconds}`);
  }
  const logRetentionDays = number('logRetentionDays', 90, 1, 3653);
  if (!LOG_RETENTION_DAYS.includes(logRetentionDays)) {
    problem('logRetentionDays', logRetentionDays, `not one of ${LOG_RETENTION_DAYS.join(', ')}`);
  }
  const architecture = text('architecture', (name) => name === 'arm64' || name === 'x86_64', 'neither arm64 nor x86_64');
  const configFile = file('configFile');
  const lookupsFile = file('lookupsFile');
  const lookupsUrl = text('lookupsUrl', isS3Url, 'not s3://bucket/key');
  if (given.has('lookupsFile') && given.has('lookupsUrl')) {
    problem('lookupsUrl', given.get('lookupsUrl')?.value, 'given together with lookupsFile; leave one out');
  }
  const tablesFile = file('tables');
  let tables: Schema | undefined;
  try {
    tables = tablesFile === undefined ? undefined : readTables(tablesFile);
  } catch (error) {
    problem('tables', tablesFile, error instanceof Error ? error.message : String(error));
  }
  const stackName = text('stackName', (name) => /^[A-Za-z][A-Za-z0-9-]{0,39}$/.test(name), 'not a stack name of at most 40 letters, digits and hyphens') ?? 'Flowherd';
  const account = (name: keyof Settings) => text(name, (id) => /^\d{12}$/.test(id), 'not an account id of 12 digits, as text');
  const sourceBucketAccount = account('sourceBucketAccount');
  const lookupsBucketAccount = account('lookupsBucketAccount');
  const sourceBucketRegion = text('sourceBucketRegion', (name) => REGION.test(name), 'not the name of a region');
  const sourceKmsKeyArn = text('sourceKmsKeyArn', (arn) => /^arn:[\w-]+:kms:[\w-]+:\d{12}:key\/[\w-]+$/.test(arn), 'not the ARN of a KMS key (an alias cannot be granted)');
  const keyRegion = sourceKmsKeyArn?.split(':')[3];
  if (sourceBucketRegion !== undefined && keyRegion !== undefined && keyRegion !== sourceBucketRegion) {
    // https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html
    problem('sourceKmsKeyArn', sourceKmsKeyArn, `a key of ${keyRegion}, but sourceBucketRegion is ${sourceBucketRegion}, and S3 uses only keys of the bucket's own region`);
  }
  const alarmTopicArn = text('alarmTopicArn', (arn) => /^arn:[\w-]+:sns:[\w-]+:\d{12}:[\w-]+$/.test(arn), 'not the ARN of an SNS topic');
  const alarmEmail = text('alarmEmail', (address) => /^[^@\s]+@[^@\s]+$/.test(address), 'not an e-mail address');

  const artifactsGiven = given.get('artifacts');
  const artifacts = artifactsGiven === undefined
    ? resolve(__dirname, '../../target/lambda')
    : resolve(artifactsGiven.directory, String(artifactsGiven.value));
  for (const artifact of ARTIFACTS.filter((artifact) => !existsSync(resolve(artifacts, artifact)))) {
    problem('artifacts', artifactsGiven?.value ?? artifacts, `no ${artifact} there; build the functions first`);
  }

  const settings: Settings = {
    stackName,
    sourceBucket: sourceBucket ?? '',
    ...(sourceBucketAccount === undefined ? {} : { sourceBucketAccount }),
    ...(sourceBucketRegion === undefined ? {} : { sourceBucketRegion }),
    ...(sourceKmsKeyArn === undefined ? {} : { sourceKmsKeyArn }),
    prefixes: prefixes ?? [],
    // https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html
    maxConcurrency: number('maxConcurrency', 50, 2, 1000),
    // https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-parameters.html
    batchSize: number('batchSize', 10, 1, 10),
    maxKeys: number('maxKeys', 10_000_000, 1, 1_000_000_000),
    workerMemoryMb: number('workerMemoryMb', 1769, 128, 10_240),
    workerTimeoutSeconds,
    visibilitySeconds,
    maxReceiveCount: number('maxReceiveCount', 10, 1, 1000),
    retentionDays: number('retentionDays', 14, 1, 14),
    logRetentionDays,
    ...(alarmTopicArn === undefined ? {} : { alarmTopicArn }),
    ...(alarmEmail === undefined ? {} : { alarmEmail }),
    oldestMessageAlarmSeconds: number('oldestMessageAlarmSeconds', 3600, 60, 1_209_600),
    ...(configFile === undefined ? {} : { configFile }),
    ...(lookupsFile === undefined ? {} : { lookupsFile }),
    ...(lookupsUrl === undefined ? {} : { lookupsUrl }),
    ...(lookupsBucketAccount === undefined ? {} : { lookupsBucketAccount }),
    ...(tables === undefined ? {} : { tables }),
    // 1000 GB are 5 dollars; 10 MB is the least that Athena takes.
    queryLimitGb: number('queryLimitGb', 1000, 1, 1_000_000),
    runTimeLimitHours: number('runTimeLimitHours', 24, 1, 720),
    // A turn is at most 11 of the 25,000 events that an execution may have.
    maxTurns: number('maxTurns', 1500, 2, 1500),
    architecture: architecture === 'x86_64' ? 'x86_64' : 'arm64',
    localCloud: flag('localCloud'),
    artifacts,
  };
  if (problems.length > 0) throw new SettingsError(problems);
  return settings;
}

/** A value, and the directory that a path in it is relative to. */
interface Given {
  readonly value: unknown;
  readonly directory: string;
}

function gather(context: Readonly<Record<string, unknown>>, problems: string[]): Map<string, Given> {
  const given = new Map<string, Given>();
  const add = (values: Readonly<Record<string, unknown>>, directory: string) => {
    for (const [name, value] of Object.entries(values)) {
      if (NAMES.includes(name)) given.set(name, { value, directory });
      else problems.push(`${name}=${JSON.stringify(value)}: no such setting; ${nearest(name)}`);
    }
  };
  const { settings: path, ...rest } = context;
  if (path !== undefined) {
    try {
      const values: unknown = JSON.parse(readFileSync(String(path), 'utf8'));
      if (typeof values !== 'object' || values === null || Array.isArray(values)) throw new Error('not a JSON object');
      add(values as Record<string, unknown>, dirname(resolve(String(path))));
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      problems.push(`settings=${JSON.stringify(path)}: ${why}; an example: settings=flowherd.json`);
    }
  }
  // The CDK keeps its own switches and look-ups in the same place.
  const ours = Object.entries(rest).filter(([name]) => !/[:@/]/.test(name) && name !== 'cli-telemetry');
  add(Object.fromEntries(ours), process.cwd());
  return given;
}

function list(value: unknown): string[] | undefined {
  const items: unknown = typeof value === 'string' ? value.split(',').map((item) => item.trim()) : value;
  return Array.isArray(items) && items.every((item) => typeof item === 'string') ? items : undefined;
}

function isPrefix(prefix: string): boolean {
  return prefix.length > 0 && prefix.length <= 1000 && !/[*?$]/.test(prefix);
}

function isS3Url(url: string): boolean {
  const { bucket, key } = parseS3Url(url);
  return BUCKET.test(bucket) && key !== '' && !/[*?$]/.test(key);
}

/** The bucket and key of `s3://bucket/key`; empty where there is none. */
export function parseS3Url(url: string): { readonly bucket: string; readonly key: string } {
  const match = /^s3:\/\/([^/]+)\/(.+)$/.exec(url);
  return { bucket: match?.[1] ?? '', key: match?.[2] ?? '' };
}

function missing(name: keyof Settings, what: string): string {
  return `${name} is not given: ${what}; an example: ${name}=${EXAMPLES[name]}`;
}

function nearest(name: string): string {
  const plain = (text: string) => text.toLowerCase().replace(/[^a-z]/g, '');
  const near = NAMES.map((known) => ({ known, distance: distance(plain(name), plain(known)) }))
    .sort((a, b) => a.distance - b.distance)[0];
  if (near !== undefined && near.distance <= 3) {
    return `perhaps ${near.known}, as in ${near.known}=${EXAMPLES[near.known as keyof Settings]}`;
  }
  return `there are ${NAMES.join(', ')}`;
}

/** How many letters have to be changed, added or left out. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const change = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, change));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
