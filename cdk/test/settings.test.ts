import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { test } from 'node:test';

import { EXAMPLES, readSettings, SettingsError } from '../lib/settings';
import { artifacts, file, REQUIRED } from './stack';

function problems(context: Readonly<Record<string, unknown>>): readonly string[] {
  try {
    readSettings(context);
  } catch (error) {
    if (error instanceof SettingsError) return error.problems;
    throw error;
  }
  return [];
}

test('the required settings are enough, and the others have their defaults', () => {
  assert.deepEqual(readSettings(REQUIRED), {
    stackName: 'Flowherd',
    sourceBucket: 'my-archive',
    prefixes: ['firehose/', 'waf/'],
    maxConcurrency: 50,
    batchSize: 10,
    maxKeys: 10_000_000,
    workerMemoryMb: 1769,
    workerTimeoutSeconds: 300,
    visibilitySeconds: 1800,
    maxReceiveCount: 10,
    retentionDays: 14,
    logRetentionDays: 90,
    oldestMessageAlarmSeconds: 3600,
    queryLimitGb: 1000,
    runTimeLimitHours: 24,
    maxTurns: 1500,
    architecture: 'arm64',
    localCloud: false,
    artifacts,
  });
});

test('all problems are told together, each with the value received and a good one', () => {
  assert.deepEqual(
    problems({
      sourceBuket: 'my-archive',
      prefixes: ['firehose/', 'all*'],
      maxConcurrency: '1001',
      workerTimeoutSeconds: '600',
      visibilitySeconds: '599',
      logRetentionDays: '15',
      alarmEmail: 'nobody',
      architecture: 'arm',
      localCloud: 'yes',
      lookupsUrl: 's3://my-settings',
      configFile: '/nowhere/flowherd.toml',
      artifacts,
    }),
    [
      'sourceBuket="my-archive": no such setting; perhaps sourceBucket, as in sourceBucket=my-firehose-archive',
      'sourceBucket is not given: the bucket that holds the logs; an example: sourceBucket=my-firehose-archive',
      'prefixes="all*": a prefix is 1 to 1000 characters, none of them *, ? or $; an example: prefixes=firehose/,waf/',
      'visibilitySeconds=599: less than workerTimeoutSeconds, 600; an example: visibilitySeconds=1800',
      'logRetentionDays=15: not one of 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653; an example: logRetentionDays=90',
      'architecture="arm": neither arm64 nor x86_64; an example: architecture=arm64',
      'configFile="/nowhere/flowherd.toml": no such file: /nowhere/flowherd.toml; an example: configFile=flowherd.toml',
      'lookupsUrl="s3://my-settings": not s3://bucket/key; an example: lookupsUrl=s3://my-settings/flowherd/lookups.json',
      'alarmEmail="nobody": not an e-mail address; an example: alarmEmail=operations@example.com',
      'maxConcurrency="1001": not a whole number from 2 to 1000; an example: maxConcurrency=50',
      'localCloud="yes": neither true nor false; an example: localCloud=true',
    ],
  );
});

test('every setting refuses what does not fit it', () => {
  const wrong: Readonly<Record<string, readonly unknown[]>> = {
    stackName: ['9', 'a_b', ''],
    sourceBucket: ['UPPER', 'ab', 7],
    sourceBucketAccount: ['12', 123456789012],
    sourceBucketRegion: ['', 'Ireland', 'eu-west', 'eu-west-1a', 7],
    sourceKmsKeyArn: ['alias/logs', 'arn:aws:kms:eu-west-1:123456789012:alias/logs'],
    prefixes: ['', [], [''], ['a', 7], 7, 'a?', '${aws:username}/'],
    maxConcurrency: ['1', '1001', 'many', 2.5, ''],
    batchSize: ['0', '11', 'all'],
    maxKeys: ['0', '1.5'],
    workerMemoryMb: ['127', '10241'],
    workerTimeoutSeconds: ['0', '10', '29', '901'],
    visibilitySeconds: ['43201', '299'],
    maxReceiveCount: ['0', '1001'],
    retentionDays: ['0', '15'],
    logRetentionDays: ['0', '2'],
    alarmTopicArn: ['alarms'],
    alarmEmail: ['a b@c.example'],
    oldestMessageAlarmSeconds: ['1'],
    configFile: ['', '/nowhere'],
    lookupsFile: ['', '/nowhere'],
    lookupsUrl: ['https://a/b', 's3://my-settings/*'],
    lookupsBucketAccount: ['1234'],
    queryLimitGb: ['0', '1.5'],
    runTimeLimitHours: ['0'],
    maxTurns: ['1', '1501'],
    architecture: ['x86'],
    localCloud: ['1'],
  };
  for (const [name, values] of Object.entries(wrong)) {
    for (const value of values) {
      const told = problems({ ...REQUIRED, [name]: value });
      assert.equal(told.length, 1, `${name}=${JSON.stringify(value)}: ${told.join('; ')}`);
      assert.match(told[0] ?? '', new RegExp(`^${name}=.*; an example: ${name}=`));
    }
  }
  const names = Object.keys(readSettings({ ...REQUIRED, configFile: file('x.toml', '') })).concat(Object.keys(wrong));
  assert.deepEqual([...new Set(names)].filter((name) => !(name in wrong)), ['artifacts']);
});

test('the visibility is six times the timeout unless it is given', () => {
  assert.equal(readSettings({ ...REQUIRED, workerTimeoutSeconds: '900' }).visibilitySeconds, 5400);
  assert.equal(readSettings({ ...REQUIRED, workerTimeoutSeconds: '900', visibilitySeconds: '900' }).visibilitySeconds, 900);
});

test('a timeout in which the worker would begin no object is refused with the reason', () => {
  assert.deepEqual(problems({ ...REQUIRED, workerTimeoutSeconds: '29' }), [
    'workerTimeoutSeconds="29": not a whole number from 30 to 900; a worker begins no object in the last 10 s of its timeout; an example: workerTimeoutSeconds=300',
  ]);
  assert.equal(readSettings({ ...REQUIRED, workerTimeoutSeconds: '30' }).workerTimeoutSeconds, 30);
});

test('regions of the source bucket may have any form that AWS has, and its key must be of the same one', () => {
  for (const sourceBucketRegion of ['eu-west-1', 'us-gov-east-1', 'ap-southeast-5', 'eusc-de-east-1']) {
    assert.equal(readSettings({ ...REQUIRED, sourceBucketRegion }).sourceBucketRegion, sourceBucketRegion);
  }
  const sourceKmsKeyArn = 'arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab';
  assert.deepEqual(problems({ ...REQUIRED, sourceKmsKeyArn, sourceBucketRegion: 'eu-west-1' }), []);
  assert.match(
    problems({ ...REQUIRED, sourceKmsKeyArn, sourceBucketRegion: 'us-east-1' }).join(),
    /^sourceKmsKeyArn=.*: a key of eu-west-1, but sourceBucketRegion is us-east-1, .*; an example: sourceKmsKeyArn=/,
  );
});

test('names from a file and from a URL exclude each other', () => {
  const lookupsFile = file('lookups.json', '{}');
  assert.match(problems({ ...REQUIRED, lookupsFile, lookupsUrl: 's3://my-settings/l.json' })[0] ?? '', /together with lookupsFile/);
});

test('settings may stand in a file, the context wins, and paths are relative to the file', () => {
  file('flowherd.toml', '');
  const settings = file('settings.json', '{"prefixes": ["a,b/"], "maxConcurrency": 7, "retentionDays": 3, "configFile": "flowherd.toml"}');
  const read = readSettings({ sourceBucket: 'my-archive', artifacts, settings, retentionDays: '4' });
  assert.deepEqual([read.prefixes, read.maxConcurrency, read.retentionDays], [['a,b/'], 7, 4]);
  assert.equal(read.configFile, `${dirname(settings)}/flowherd.toml`);
});

test('a file of settings that cannot be read, or with an unknown key, is a problem as any other', () => {
  assert.match(problems({ ...REQUIRED, settings: '/nowhere.json' }).join(), /^settings="\/nowhere.json": ENOENT/);
  assert.match(problems({ ...REQUIRED, settings: file('broken.json', '{') }).join(), /^settings=.*JSON/);
  assert.match(problems({ ...REQUIRED, settings: file('list.json', '[]') }).join(), /not a JSON object/);
  assert.match(problems({ ...REQUIRED, settings: file('odd.json', '{"max_concurrency": 3}') }).join(), /perhaps maxConcurrency/);
});

test('functions that were not built are told with the file that is missing', () => {
  assert.deepEqual(
    problems({ ...REQUIRED, artifacts: '/nowhere' }).map((problem) => problem.split(';')[0]),
    [
      'artifacts="/nowhere": no flowherd-coordinator/bootstrap there',
      'artifacts="/nowhere": no flowherd-worker/bootstrap there',
    ],
  );
});

test('the readme has every setting with its default', () => {
  const readme = readFileSync(resolve(__dirname, '../README.md'), 'utf8');
  const rows = [...readme.matchAll(/^\| `(\w+)` \| ([^|]*) \|/gm)].map(([, name, value]) => [name, value]);
  const defaults = readSettings(REQUIRED) as unknown as Readonly<Record<string, unknown>>;
  const known = Object.keys(EXAMPLES);
  assert.deepEqual(rows.map(([name]) => name).sort(), [...known].sort());
  for (const [name, value] of rows) {
    if (name === undefined || name in REQUIRED || defaults[name] === undefined) continue;
    assert.equal(value, name === 'visibilitySeconds' ? '6 × timeout' : `${String(defaults[name])}`, name);
  }
});

test("the CDK's own context is left alone", () => {
  assert.deepEqual(problems({ ...REQUIRED, 'aws:cdk:bundling-stacks': ['**'], '@aws-cdk/core:x': true, 'cli-telemetry': false }), []);
});
