// Settings of a deployment: reads the CDK context and a JSON file into the properties of the stack.

import { existsSync, readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';

import { Duration } from 'aws-cdk-lib';
import { Architecture } from 'aws-cdk-lib/aws-lambda';
import { closest, distance } from 'fastest-levenshtein';

import { FlowherdError, type FlowherdStackProps, readTableDefinitions } from '../lib';
import { findProblems } from '../lib/props';

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

interface Setting {
  readonly prop: keyof FlowherdStackProps;
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

const setting = (prop: keyof FlowherdStackProps, parse: Parser, example: string): Setting => ({ prop, parse, example });

export const SETTINGS: Readonly<Record<string, Setting>> = {
  stackName: setting('stackName', text, 'Flowherd'),
  sourceBucket: setting('sourceBucketName', text, 'my-firehose-archive'),
  prefixes: setting('prefixes', list, 'firehose/,waf/'),
  sourceBucketAccount: setting('sourceBucketAccount', text, '123456789012'),
  sourceBucketRegion: setting('sourceBucketRegion', text, 'eu-west-1'),
  sourceKmsKeyArn: setting('sourceKmsKeyArn', text, 'arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab'),
  configFile: setting('configFile', path, 'flowherd.toml'),
  namesFile: setting('namesFile', path, 'names.json'),
  namesUrl: setting('namesUrl', text, 's3://my-settings/flowherd/names.json'),
  namesBucketAccount: setting('namesBucketAccount', text, '123456789012'),
  namesRefresh: setting('namesRefresh', flag, 'true'),
  namesRoleArns: setting('namesRoleArns', list, 'arn:aws:iam::123456789012:role/flowherd-names'),
  namesRegions: setting('namesRegions', list, 'eu-west-1,us-east-1'),
  tables: setting('tables', tables, 'tables.json'),
  queryLimitGb: setting('queryLimitGb', number, '1000'),
  maxConcurrency: setting('maxConcurrency', number, '50'),
  batchSize: setting('batchSize', number, '10'),
  maxKeys: setting('maxKeys', number, '10000000'),
  workerMemoryMb: setting('workerMemoryMb', number, '1769'),
  workerTimeoutSeconds: setting('workerTimeout', duration('seconds'), '300'),
  visibilitySeconds: setting('visibilityTimeout', duration('seconds'), '1800'),
  maxReceiveCount: setting('maxReceiveCount', number, '10'),
  retentionDays: setting('messageRetention', duration('days'), '14'),
  runTimeLimitHours: setting('runTimeLimit', duration('hours'), '24'),
  maxCalls: setting('maxCalls', number, '1500'),
  alarmTopicArn: setting('alarmTopicArn', text, 'arn:aws:sns:eu-west-1:123456789012:alarms'),
  alarmEmail: setting('alarmEmail', text, 'operations@example.com'),
  oldestMessageAlarmSeconds: setting('oldestMessageAlarm', duration('seconds'), '3600'),
  logRetentionDays: setting('logRetention', number, '90'),
  architecture: setting('architecture', architecture, 'arm64'),
  artifacts: setting('artifacts', path, '../target/lambda'),
  localCloud: setting('localCloud', flag, 'true'),
};

const LISTS: readonly string[] = ['prefixes', 'namesRoleArns', 'namesRegions'] satisfies (keyof FlowherdStackProps)[];

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
  const report = (name: string, value: unknown, why: string) => problems.push(`${name}=${JSON.stringify(value)}: ${why}; ${example(name)}`);

  for (const [name, what] of Object.entries(REQUIRED)) {
    if (!given.has(name)) problems.push(`${name} is not set: ${what}; ${example(name)}`);
  }
  const props: Partial<Record<keyof FlowherdStackProps, unknown>> = {};
  for (const [name, { prop, parse }] of Object.entries(SETTINGS)) {
    const value = given.get(name);
    if (value === undefined) continue;
    try {
      props[prop] = parse(value);
    } catch (error) {
      report(name, value.value, message(error));
    }
  }
  // Each parser returns its property's type.
  const parsed = props as Partial<FlowherdStackProps>;
  for (const { prop, value, why } of findProblems(parsed)) {
    const [name] = Object.entries(SETTINGS).find(([, setting]) => setting.prop === prop) ?? [prop];
    // Of a list, the message shows the item that is wrong.
    report(name, LISTS.includes(prop) ? value : given.get(name)?.value, why);
  }
  if (problems.length > 0) throw new SettingsError(problems);
  return parsed as FlowherdStackProps;
}

function gather(context: Readonly<Record<string, unknown>>, problems: string[]): Map<string, Given> {
  const given = new Map<string, Given>();
  const add = (values: object, directory: string) => {
    for (const [name, value] of Object.entries(values)) {
      if (name in SETTINGS) given.set(name, { value, directory });
      else problems.push(`${name}=${JSON.stringify(value)}: unknown setting; ${suggestion(name)}`);
    }
  };
  const { settings: file, ...rest } = context;
  if (file !== undefined) {
    try {
      const values: unknown = JSON.parse(readFileSync(String(file), 'utf8'));
      if (typeof values !== 'object' || values === null || Array.isArray(values)) fail('must contain a JSON object');
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

function suggestion(name: string): string {
  const normalize = (name: string) => name.toLowerCase().replace(/[^a-z]/g, '');
  const names = Object.keys(SETTINGS);
  const nearest = closest(normalize(name), names.map(normalize));
  const known = names.find((known) => normalize(known) === nearest);
  if (known !== undefined && distance(normalize(name), nearest) <= 3) return `did you mean ${known}? ${example(known)}`;
  return `valid settings are ${names.join(', ')}`;
}

function example(name: string): string {
  return `example: ${name}=${SETTINGS[name]?.example}`;
}

function fail(why: string): never {
  throw new FlowherdError(why);
}

function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
