// Settings of a deployment: reads the CDK context and a JSON file into the properties of the stack.

import { existsSync, readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';

import { Duration } from 'aws-cdk-lib';
import { Architecture } from 'aws-cdk-lib/aws-lambda';
import { closest, distance } from 'fastest-levenshtein';

import { type FleetProps, FlowherdError, type FlowherdStackProps, readTableDefinitions } from '../lib';
import { findProblems } from '../lib/problems';
import { CLUSTER_EXAMPLE, parseCluster } from './cluster-settings';
import { parseTasks, TASKS_EXAMPLE } from './task-settings';

/** All problems with the settings, one per line. */
export class SettingsError extends FlowherdError {
  constructor(readonly problems: readonly string[]) {
    super(`invalid settings:\n${problems.map((problem) => `  ${problem}`).join('\n')}`);
  }
}

/** A value as it was given, and the directory that a path in it is relative to. */
interface Given {
  readonly value: unknown;
  readonly directory: string;
}

/** Converts a value to the property's type, or throws with the reason. */
type Parser = (given: Given) => unknown;

interface Setting<Prop extends string = string> {
  readonly prop: Prop;
  readonly parse: Parser;
  /** A valid value, which error messages show. */
  readonly example: string;
}

const text: Parser = ({ value }) => (typeof value === 'string' ? value : fail('must be text'));

// Context given with -c is always text.
const number: Parser = ({ value }) => {
  const parsed = typeof value === 'string' && /^\d{1,9}$/.test(value) ? Number(value) : value;
  return typeof parsed === 'number' && Number.isInteger(parsed) ? parsed : fail('must be a whole number of at most 9 digits');
};

const duration = (unit: 'seconds' | 'hours' | 'days'): Parser => (given) => Duration[unit](number(given) as number);

const flag: Parser = ({ value }) =>
  value === true || value === 'true' || (value === false || value === 'false' ? false : fail('must be true or false'));

const list: Parser = ({ value }) => {
  const items: unknown = typeof value === 'string' ? value.split(',').map((item) => item.trim()) : value;
  return Array.isArray(items) && items.every((item) => typeof item === 'string') ? items : fail('must be a list of text, or text with commas');
};

const path: Parser = ({ value, directory }) =>
  typeof value === 'string' && value !== '' ? resolve(directory, value) : fail('must be the path of a file or directory');

const tables: Parser = (given) => {
  const file = path(given) as string;
  return existsSync(file) ? readTableDefinitions(file) : fail(`no such file: ${file}`);
};

const architecture: Parser = ({ value }) => {
  if (value === 'arm64') return Architecture.ARM_64;
  return value === 'x86_64' ? Architecture.X86_64 : fail('must be arm64 or x86_64');
};

const setting = <Prop extends string>(prop: Prop, parse: Parser, example: string): Setting<Prop> => ({ prop, parse, example });

/** Settings of the stack that a fleet may have too. */
const SHARED: Readonly<Record<string, Setting<keyof FleetProps & keyof FlowherdStackProps>>> = {
  prefixes: setting('prefixes', list, 'firehose/,waf/'),
  configFile: setting('configFile', path, 'flowherd.toml'),
  namesFile: setting('namesFile', path, 'names.json'),
  namesUrl: setting('namesUrl', text, 's3://my-settings/flowherd/names.json'),
  namesBucketAccount: setting('namesBucketAccount', text, '123456789012'),
  workers: setting('workers', text, 'fargate'),
  tasks: setting('tasks', ({ value }) => parseTasks(value), TASKS_EXAMPLE),
  maxConcurrency: setting('maxConcurrency', number, '50'),
  batchSize: setting('batchSize', number, '10'),
  maxKeys: setting('maxKeys', number, '10000000'),
  workerMemoryMb: setting('workerMemoryMb', number, '1769'),
  workerTimeoutSeconds: setting('workerTimeout', duration('seconds'), '300'),
  visibilitySeconds: setting('visibilityTimeout', duration('seconds'), '1800'),
  maxReceiveCount: setting('maxReceiveCount', number, '10'),
  retentionDays: setting('messageRetention', duration('days'), '14'),
  oldestMessageAlarmSeconds: setting('oldestMessageAlarm', duration('seconds'), '3600'),
  live: setting('live', flag, 'true'),
  closeHour: setting('closeHour', number, '2'),
  driver: setting('driver', text, 'queue'),
};

/** Settings of a fleet. */
export const FLEET_SETTINGS: Readonly<Record<string, Setting<keyof FleetProps>>> = {
  ...SHARED,
  job: setting('job', text, 'convert'),
  cluster: setting('cluster', ({ value }) => parseCluster(value), CLUSTER_EXAMPLE),
};

/** Reads the fleets: a JSON object, or its text with `-c`. */
const fleets: Parser = ({ value, directory }) => {
  const given = typeof value === 'string' ? json(value) : value;
  if (!isObject(given)) return fail('must be a JSON object with a member for each fleet');
  const problems: string[] = [];
  const parsed = Object.entries(given).map(([fleet, settings]) => {
    const at = `fleets.${fleet}`;
    if (!isObject(settings)) problems.push(`${at}=${JSON.stringify(settings)}: must be a JSON object with the settings of the fleet`);
    const values = new Map(Object.entries(isObject(settings) ? settings : {}).map(([name, value]) => [name, { value, directory }]));
    for (const [name, { value }] of values) {
      if (!(name in FLEET_SETTINGS)) problems.push(`${at}.${name}=${JSON.stringify(value)}: unknown setting of a fleet; ${suggestion(name, FLEET_SETTINGS)}`);
    }
    return [fleet, parse(values, FLEET_SETTINGS, (name, value, why) => problems.push(problem(`${at}.${name}`, value, why, FLEET_SETTINGS[name])))];
  });
  if (problems.length > 0) throw new SettingsError(problems);
  return Object.fromEntries(parsed);
};

export const SETTINGS: Readonly<Record<string, Setting<keyof FlowherdStackProps>>> = {
  stackName: setting('stackName', text, 'Flowherd'),
  sourceBucket: setting('sourceBucketName', text, 'my-firehose-archive'),
  sourceBucketAccount: setting('sourceBucketAccount', text, '123456789012'),
  sourceBucketRegion: setting('sourceBucketRegion', text, 'eu-west-1'),
  sourceKmsKeyArn: setting('sourceKmsKeyArn', text, 'arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab'),
  ...SHARED,
  fleets: setting('fleets', fleets, '{"waf": {"prefixes": ["waf/"], "configFile": "waf.toml"}}'),
  image: setting('image', text, '123456789012.dkr.ecr.eu-west-1.amazonaws.com/flowherd/worker:1'),
  vpcId: setting('vpcId', text, 'vpc-0123456789abcdef0'),
  subnetIds: setting('subnetIds', list, 'subnet-0123456789abcdef0,subnet-0123456789abcdef1'),
  securityGroupIds: setting('securityGroupIds', list, 'sg-0123456789abcdef0'),
  namesRefresh: setting('namesRefresh', flag, 'true'),
  namesRoleArns: setting('namesRoleArns', list, 'arn:aws:iam::123456789012:role/flowherd-names'),
  namesRegions: setting('namesRegions', list, 'eu-west-1,us-east-1'),
  namesRetentionDays: setting('namesRetentionDays', number, '365'),
  tables: setting('tables', tables, 'tables.json'),
  queryLimitGb: setting('queryLimitGb', number, '1000'),
  runTimeLimitHours: setting('runTimeLimit', duration('hours'), '24'),
  maxCalls: setting('maxCalls', number, '1500'),
  alarmTopicArn: setting('alarmTopicArn', text, 'arn:aws:sns:eu-west-1:123456789012:alarms'),
  alarmEmail: setting('alarmEmail', text, 'operations@example.com'),
  logRetentionDays: setting('logRetention', number, '90'),
  architecture: setting('architecture', architecture, 'arm64'),
  artifacts: setting('artifacts', path, '../target/lambda'),
  containerDirectory: setting('containerDirectory', path, '../target/container'),
  localCloud: setting('localCloud', flag, 'true'),
};

const LISTS: readonly string[] = ['prefixes', 'namesRoleArns', 'namesRegions', 'fleets', 'subnetIds', 'securityGroupIds'] satisfies (keyof FlowherdStackProps)[];

const REQUIRED: Readonly<Record<string, string>> = {
  sourceBucket: 'the bucket that holds the logs',
  prefixes: 'the key prefixes of the source bucket that may be read',
};

/**
 * Reads the settings in the CDK context, and in the JSON file that its `settings` names. The context takes precedence.
 *
 * Throws a `SettingsError` with all problems.
 */
export function readSettings(context: Readonly<Record<string, unknown>>): FlowherdStackProps {
  const problems: string[] = [];
  const given = gather(context, problems);
  const report = (name: string, value: unknown, why: string) => problems.push(problem(name, value, why, SETTINGS[name]));

  for (const [name, what] of Object.entries(REQUIRED)) {
    // Each fleet may have its own prefixes.
    if (given.has(name) || (name === 'prefixes' && given.has('fleets'))) continue;
    problems.push(`${name} is not set: ${what}; ${example(name, SETTINGS[name])}`);
  }
  const parsed = parse(given, SETTINGS, report, problems) as Partial<FlowherdStackProps>;
  for (const { prop, value, why } of findProblems(parsed)) {
    if (prop.startsWith('fleets.')) {
      problems.push(fleetProblem(prop, value, why));
      continue;
    }
    const name = nameOf(prop, SETTINGS);
    // Of a list, the message shows the item that is wrong.
    report(name, LISTS.includes(prop) ? value : given.get(name)?.value, why);
  }
  if (problems.length > 0) throw new SettingsError(problems);
  return parsed as FlowherdStackProps;
}

/** Parses the values. Each parser returns its property's type. */
function parse(
  given: ReadonlyMap<string, Given>,
  settings: Readonly<Record<string, Setting>>,
  report: (name: string, value: unknown, why: string) => void,
  problems: string[] = [],
): Readonly<Record<string, unknown>> {
  const props: Record<string, unknown> = {};
  for (const [name, { prop, parse }] of Object.entries(settings)) {
    const value = given.get(name);
    if (value === undefined) continue;
    try {
      props[prop] = parse(value);
    } catch (error) {
      if (error instanceof SettingsError) problems.push(...error.problems);
      else report(name, value.value, message(error));
    }
  }
  return props;
}

/** The problem of a property `fleets.NAME.PROP`. */
function fleetProblem(prop: string, value: unknown, why: string): string {
  const at = prop.lastIndexOf('.');
  const name = nameOf(prop.slice(at + 1), FLEET_SETTINGS);
  return problem(`${prop.slice(0, at)}.${name}`, value, why, FLEET_SETTINGS[name]);
}

/** The name of the setting of a property. */
function nameOf(prop: string, settings: Readonly<Record<string, Setting>>): string {
  return Object.entries(settings).find(([, setting]) => setting.prop === prop)?.[0] ?? prop;
}

function problem(name: string, value: unknown, why: string, setting: Setting | undefined): string {
  return `${name}=${JSON.stringify(value)}: ${why}; ${example(name, setting)}`;
}

function gather(context: Readonly<Record<string, unknown>>, problems: string[]): Map<string, Given> {
  const given = new Map<string, Given>();
  const add = (values: object, directory: string) => {
    for (const [name, value] of Object.entries(values)) {
      if (name in SETTINGS) given.set(name, { value, directory });
      else problems.push(`${name}=${JSON.stringify(value)}: unknown setting; ${suggestion(name, SETTINGS)}`);
    }
  };
  const { settings: file, ...rest } = context;
  if (file !== undefined) {
    try {
      const values: unknown = JSON.parse(readFileSync(String(file), 'utf8'));
      if (!isObject(values)) fail('must contain a JSON object');
      add(values as object, dirname(resolve(String(file))));
    } catch (error) {
      problems.push(`settings=${JSON.stringify(file)}: ${message(error)}; example: settings=flowherd.json`);
    }
  }
  // The CDK keeps its own flags and lookups in the context too.
  const own = Object.entries(rest).filter(([name]) => !/[:@/]/.test(name) && name !== 'cli-telemetry');
  add(Object.fromEntries(own), process.cwd());
  return given;
}

function suggestion(name: string, settings: Readonly<Record<string, Setting>>): string {
  const normalize = (name: string) => name.toLowerCase().replace(/[^a-z]/g, '');
  const names = Object.keys(settings);
  const nearest = closest(normalize(name), names.map(normalize));
  const known = names.find((known) => normalize(known) === nearest);
  if (known !== undefined && distance(normalize(name), nearest) <= 3) return `did you mean ${known}? ${example(known, settings[known])}`;
  return `valid settings are ${names.join(', ')}`;
}

function example(name: string, setting: Setting | undefined): string {
  return `example: ${name}=${setting?.example}`;
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function json(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    return fail(`must be JSON: ${message(error)}`);
  }
}

function fail(why: string): never {
  throw new FlowherdError(why);
}

function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
