import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';

import { Duration } from 'aws-cdk-lib';
import { Architecture } from 'aws-cdk-lib/aws-lambda';

import { FLEET_SETTINGS, readSettings, SETTINGS, SettingsError } from '../bin/settings';
import { DEFAULTS, resolveFleets } from '../lib/props';
import { TASK_DEFAULTS } from '../lib/worker-props';
import { file, REQUIRED, temporaryDirectory } from './stack';

function problems(context: Readonly<Record<string, unknown>>): readonly string[] {
  try {
    readSettings(context);
  } catch (error) {
    if (error instanceof SettingsError) return error.problems;
    throw error;
  }
  return [];
}

test('settings become properties of the stack', () => {
  assert.deepEqual(readSettings({ ...REQUIRED, workerTimeoutSeconds: '60', retentionDays: 3, runTimeLimitHours: '5', architecture: 'x86_64', localCloud: 'true' }), {
    sourceBucketName: 'my-archive',
    prefixes: ['firehose/', 'waf/'],
    workerTimeout: Duration.seconds(60),
    messageRetention: Duration.days(3),
    runTimeLimit: Duration.hours(5),
    architecture: Architecture.X86_64,
    localCloud: true,
    artifacts: REQUIRED.artifacts,
  });
});

test('an error lists all problems, each with the value and an example', () => {
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
      namesUrl: 's3://my-settings',
      configFile: '/nowhere/flowherd.toml',
    }),
    [
      'sourceBuket="my-archive": unknown setting; did you mean sourceBucket? example: sourceBucket=my-firehose-archive',
      'sourceBucket is not set: the bucket that holds the logs; example: sourceBucket=my-firehose-archive',
      'architecture="arm": must be arm64 or x86_64; example: architecture=arm64',
      'localCloud="yes": must be true or false; example: localCloud=true',
      'alarmEmail="nobody": must be an e-mail address; example: alarmEmail=operations@example.com',
      'namesUrl="s3://my-settings": must be s3://bucket/key, without *, ? or $; example: namesUrl=s3://my-settings/flowherd/names.json',
      'prefixes="all*": must have 1 to 1000 characters, and none of *, ? and $; example: prefixes=firehose/,waf/',
      'maxConcurrency="1001": must be a whole number from 2 to 1000; example: maxConcurrency=50',
      'logRetentionDays="15": must be one of 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653; example: logRetentionDays=90',
      'visibilitySeconds="599": must be at least the worker\'s timeout, 600 seconds; example: visibilitySeconds=1800',
      'configFile="/nowhere/flowherd.toml": no such file: /nowhere/flowherd.toml; example: configFile=flowherd.toml',
    ],
  );
});

test('every setting refuses invalid values', () => {
  const invalid: Readonly<Record<string, readonly unknown[]>> = {
    stackName: ['9', 'a_b', ''],
    sourceBucket: ['UPPER', 'ab', 7],
    sourceBucketAccount: ['12', 123456789012],
    sourceBucketRegion: ['', 'Ireland', 'eu-west', 'eu-west-1a', 7],
    sourceKmsKeyArn: ['alias/logs', 'arn:aws:kms:eu-west-1:123456789012:alias/logs'],
    prefixes: ['', [], [''], ['a', 7], 7, 'a?', '${aws:username}/', '/firehose/', ['firehose/', '/waf/']],
    workers: ['ecs', '', 7],
    tasks: ['many', '[]', [], '{"cpu":1}', '{"max":"2"}', {}],
    image: ['registry.example.com/flowherd/worker:1', 7],
    vpcId: ['vpc-0123456789abcdef0', 7],
    subnetIds: ['subnet-0123456789abcdef0', 7],
    securityGroupIds: ['sg-0123456789abcdef0', 7],
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
    configFile: ['', '/nowhere', '/', 7],
    namesFile: ['', '/nowhere', '/'],
    namesUrl: ['https://a/b', 's3://my-settings/*'],
    namesBucketAccount: ['1234'],
    namesRefresh: ['yes', 1],
    namesRoleArns: ['', 7, 'arn:aws:iam::123456789012:user/x', 'arn:aws:iam::123456789012:role/x', [], 'arn:aws:iam::*:role/x'],
    namesRegions: ['', [], 'Ireland', 'eu-west-1'],
    namesRetentionDays: ['365'],
    tables: ['', '/nowhere', file('no-tables.json', '{"name": "x"}')],
    queryLimitGb: ['0', '1.5'],
    closeHour: ['5', 'noon'],
    runTimeLimitHours: ['0'],
    maxCalls: ['1', '1501'],
    architecture: ['x86'],
    localCloud: ['1'],
    artifacts: ['', 7],
    live: ['1'],
    driver: ['push', 7],
    fleets: ['waf', [], {}],
    containerDirectory: ['', 7],
  };
  for (const [name, values] of Object.entries(invalid)) {
    for (const value of values) {
      const found = problems({ ...REQUIRED, [name]: value });
      assert.equal(found.length, 1, `${name}=${JSON.stringify(value)}: ${found.join('; ')}`);
      assert.match(found[0] ?? '', new RegExp(`^${name}=.*; example: ${name}=`));
    }
  }
  assert.deepEqual(Object.keys(SETTINGS).filter((name) => !(name in invalid)), []);
});

test('a worker timeout too short to start an object is refused with the reason', () => {
  assert.deepEqual(problems({ ...REQUIRED, workerTimeoutSeconds: '29' }), [
    'workerTimeoutSeconds="29": must be a whole number of seconds from 30 to 900: a worker starts no object in the last 10 s of its timeout; example: workerTimeoutSeconds=300',
  ]);
  assert.deepEqual(problems({ ...REQUIRED, workerTimeoutSeconds: '30' }), []);
});

const FARGATE = { ...REQUIRED, workers: 'fargate' };
const NETWORK = { vpcId: 'vpc-0123456789abcdef0', subnetIds: ['subnet-0123456789abcdef0'] };

test('tasks on Fargate have the sizes that Fargate accepts', () => {
  const valid = [
    {}, { max: 1000 }, { vcpu: 0.25, memoryMb: 512 }, { vcpu: 0.5, memoryMb: 4096 }, { memoryMb: 8192 }, { vcpu: 2, memoryMb: 16_384 },
    { vcpu: 4, memoryMb: 30_720 }, { vcpu: 8, memoryMb: 61_440 }, { vcpu: 16, memoryMb: 122_880 }, { backlogPerTask: 1 },
  ];
  for (const tasks of valid) {
    assert.deepEqual(problems({ ...FARGATE, tasks }), []);
    assert.deepEqual(problems({ ...FARGATE, tasks: JSON.stringify(tasks) }), []);
  }
  for (const [tasks, why] of [
    [{ max: 0 }, 'max must be a whole number from 1 to 1000'],
    [{ max: 1.5 }, 'max must be a whole number from 1 to 1000'],
    [{ backlogPerTask: 0 }, 'backlogPerTask must be a whole number from 1 to 100000'],
    [{ vcpu: 3 }, 'vcpu must be one of 0.25, 0.5, 1, 2, 4, 8, 16'],
    [{ vcpu: 0.25 }, null],
    [{ vcpu: 2 }, 'memoryMb must be one of 4096, 5120, … 16384 with vcpu 2: Fargate has no other sizes'],
    [{ memoryMb: 2500 }, 'memoryMb must be one of 2048, 3072, … 8192 with vcpu 1: Fargate has no other sizes'],
    [{ cpu: 1 }, 'has the unknown key cpu; its keys are max, vcpu, memoryMb, backlogPerTask'],
    [{ max: '2' }, 'max must be a number'],
  ] as const) {
    const expected = why === null ? [] : [`tasks=${JSON.stringify(tasks)}: ${why}; example: tasks={"max":10,"vcpu":1,"memoryMb":2048}`];
    assert.deepEqual(problems({ ...FARGATE, tasks }), expected);
  }
});

test('settings of Fargate are refused without it', () => {
  const found = problems({ ...REQUIRED, tasks: {}, image: 'a/b', ...NETWORK, securityGroupIds: ['sg-0123456789abcdef0'] });
  assert.deepEqual(found.map((problem) => problem.replace(/=.*: (.*); .*/, ' $1')), [
    'tasks needs workers=fargate', 'image needs workers=fargate', 'vpcId needs workers=fargate', 'subnetIds needs workers=fargate',
    'securityGroupIds needs workers=fargate',
  ]);
});

test('tasks of the stack are defaults for its fleets on Fargate, and those of a fleet on Lambda are refused', () => {
  const tasks = { max: 3 };
  const fleets = { long: { workers: 'fargate' }, flow: { prefixes: ['flow/'] } };
  assert.deepEqual(problems({ ...REQUIRED, tasks, fleets }), []);
  assert.deepEqual(resolveFleets(readSettings({ ...REQUIRED, tasks, fleets })).map((fleet) => [fleet.workers, fleet.tasks]), [['fargate', tasks], ['lambda', tasks]]);
  assert.match(problems({ ...REQUIRED, fleets: { ...fleets, flow: { prefixes: ['flow/'], tasks } } }).join(), /^fleets\.flow\.tasks=.*: needs workers=fargate;/);
  assert.match(problems({ ...REQUIRED, fleets: { long: { workers: 'fargate', tasks: { vcpu: 3 } } } }).join(), /^fleets\.long\.tasks=.*: vcpu must be one of /);
});

test('given subnets need their VPC, and security groups need subnets', () => {
  const { vpcId, subnetIds } = NETWORK;
  assert.deepEqual(problems({ ...FARGATE, ...NETWORK, securityGroupIds: 'sg-0123456789abcdef0' }), []);
  assert.match(problems({ ...FARGATE, vpcId }).join(), /^vpcId=.*: needs subnetIds;/);
  assert.match(problems({ ...FARGATE, subnetIds }).join(), /^subnetIds=.*: needs vpcId;/);
  assert.match(problems({ ...FARGATE, securityGroupIds: ['sg-0123456789abcdef0'] }).join(), /^securityGroupIds=.*: needs vpcId and subnetIds;/);
  assert.match(problems({ ...FARGATE, vpcId: 'main', subnetIds: ['private'] }).join('\n'), /^vpcId="main": must be the ID of a VPC; .*\nsubnetIds="private": must be the ID of a subnet;/);
});

test('the VPC of the stack reaches images in ECR and buckets of its region only', () => {
  const other = { image: 'docker.io/me/worker:1', sourceBucketRegion: 'eu-west-1' };
  assert.deepEqual(problems({ ...FARGATE, ...other, ...NETWORK }), []);
  assert.match(problems({ ...FARGATE, ...other }).join('\n'), /^image=.*: must be in ECR, or set vpcId and subnetIds: .*\nsourceBucketRegion=.*: needs vpcId and subnetIds/);
});

test('a prefix with a leading slash is refused, because it matches no key', () => {
  assert.deepEqual(problems({ ...REQUIRED, prefixes: 'waf/,/firehose/' }), [
    'prefixes="/firehose/": must not start with a slash: keys that Firehose and CloudWatch Logs write do not; example: prefixes=firehose/,waf/',
  ]);
});

test('the source bucket may be in any region of AWS, and its key must be in the same region', () => {
  for (const sourceBucketRegion of ['eu-west-1', 'us-gov-east-1', 'ap-southeast-5', 'eusc-de-east-1']) {
    assert.equal(readSettings({ ...REQUIRED, sourceBucketRegion }).sourceBucketRegion, sourceBucketRegion);
  }
  const sourceKmsKeyArn = 'arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab';
  assert.deepEqual(problems({ ...REQUIRED, sourceKmsKeyArn, sourceBucketRegion: 'eu-west-1' }), []);
  assert.match(
    problems({ ...REQUIRED, sourceKmsKeyArn, sourceBucketRegion: 'us-east-1' }).join(),
    /^sourceKmsKeyArn=.*: must be in the bucket's region, us-east-1: .*; example: sourceKmsKeyArn=/,
  );
});

test('namesFile and namesUrl exclude each other', () => {
  const namesFile = file('names.json', '{}');
  assert.match(problems({ ...REQUIRED, namesFile, namesUrl: 's3://my-settings/l.json' })[0] ?? '', /^namesUrl=.* cannot be combined with namesFile/);
});

test('a refresh of names excludes names of a file, and its settings need it', () => {
  const role = (account: number) => `arn:aws:iam::${100_000_000_000 + account}:role/flowherd-names`;
  const refresh = { ...REQUIRED, namesRefresh: true, namesRoleArns: [role(1)], namesRegions: 'eu-west-1,us-east-1', namesRetentionDays: '365' };
  assert.deepEqual(problems(refresh), []);
  assert.match(problems({ ...refresh, namesRetentionDays: '0' }).join(), /^namesRetentionDays="0": must be a whole number from 1 to 36500/);
  assert.match(problems({ ...refresh, namesUrl: 's3://my-settings/l.json' }).join(), /^namesRefresh=true: cannot be combined with namesFile or namesUrl/);
  assert.match(problems({ ...refresh, namesRefresh: false }).join('\n'), /^namesRetentionDays=.*: needs namesRefresh=true; .*\nnamesRoleArns=.*: needs namesRefresh=true; .*\nnamesRegions=.*: needs namesRefresh=true;/);
  const many = Array.from({ length: 76 }, (_, account) => role(account));
  assert.match(problems({ ...refresh, namesRoleArns: many }).join(), /^namesRoleArns=76: must have at most 75 roles/);
});

test('a names file with the right shape is accepted', () => {
  const names = {
    interfaces: { 'eni-1': { description: 'web', subnet_id: 'subnet-1', vpc_id: null, provisional: true } },
    subnets: { 'subnet-1': { name: 'public-a', vpc_id: 'vpc-1', cidrs: ['10.0.0.0/24'] } },
    vpcs: {
      'vpc-1': [{ name: 'prod', source: '123456789012/eu-west-1', reader: '210987654321/eu-west-1', until: '2026-02-18T03:00:00Z' }, { name: 'old', from: '2026-02-18T03:00:00Z' }],
      'vpc-2': {},
    },
  };
  for (const valid of [names, {}]) {
    assert.deepEqual(problems({ ...REQUIRED, namesFile: file('valid.json', JSON.stringify(valid)) }), []);
  }
});

test('a names file that is not JSON or has another shape is refused with the place', () => {
  for (const [content, why] of [
    ['{', /: not valid JSON: /],
    ['[]', /: not a names\.json: must be a JSON object;/],
    ['{"vpc": {}}', /: unknown key "vpc"; valid keys are interfaces, subnets, vpcs;/],
    ['{"vpcs": []}', /: vpcs must be a JSON object;/],
    ['{"vpcs": {"vpc-1": "prod"}}', /: vpcs\["vpc-1"\] must be a JSON object;/],
    ['{"vpcs": {"vpc-1": {"names": "prod"}}}', /: unknown key "names" in vpcs\["vpc-1"\]; valid keys are name, source, reader, from, until;/],
    ['{"vpcs": {"vpc-1": [{}, {"form": ""}]}}', /: unknown key "form" in vpcs\["vpc-1"\]\[1\]; valid keys are name, source, reader, from, until;/],
    ['{"vpcs": {"vpc-1": {"name": 7}}}', /: vpcs\["vpc-1"\]\.name must be text;/],
    ['{"subnets": {"subnet-1": {"cidrs": "10.0.0.0/24"}}}', /: subnets\["subnet-1"\]\.cidrs must be a list of text;/],
  ] as const) {
    const [problem, ...others] = problems({ ...REQUIRED, namesFile: file('invalid.json', content) });
    assert.match(problem ?? '', /^namesFile="[^"]*invalid\.json": .*; example: namesFile=names\.json$/);
    assert.match(problem ?? '', why);
    assert.deepEqual(others, []);
  }
});

test('settings can be in a file, the context takes precedence, and paths are relative to the file', () => {
  file('flowherd.toml', '');
  const settings = file('settings.json', '{"prefixes": ["a,b/"], "maxConcurrency": 7, "retentionDays": 3, "configFile": "flowherd.toml"}');
  const read = readSettings({ sourceBucket: 'my-archive', settings, retentionDays: '4' });
  assert.deepEqual([read.prefixes, read.maxConcurrency, read.messageRetention?.toDays()], [['a,b/'], 7, 4]);
  assert.equal(read.configFile, `${dirname(settings)}/flowherd.toml`);
});

test('a settings file that is missing, invalid, or has an unknown key is a problem like any other', () => {
  assert.match(problems({ ...REQUIRED, settings: '/nowhere.json' }).join(), /^settings="\/nowhere.json": ENOENT/);
  assert.match(problems({ ...REQUIRED, settings: file('broken.json', '{') }).join(), /^settings=.*JSON/);
  assert.match(problems({ ...REQUIRED, settings: file('list.json', '[]') }).join(), /must contain a JSON object/);
  assert.match(problems({ ...REQUIRED, settings: file('unknown.json', '{"max_concurrency": 3}') }).join(), /did you mean maxConcurrency\?/);
});

test('an unknown setting without a similar name lists the valid ones', () => {
  assert.match(problems({ ...REQUIRED, colour: 'blue' }).join(), /^colour="blue": unknown setting; valid settings are stackName, sourceBucket, /);
});

test('the README lists every setting with its default', () => {
  const readme = readFileSync(resolve(__dirname, '../README.md'), 'utf8');
  const rows = [...readme.matchAll(/^\| `(\w+)` \| ([^|]*) \|/gm)].map(([, name = '', value = '']) => [name, value] as const);
  assert.deepEqual(rows.map(([name]) => name).sort(), Object.keys({ ...SETTINGS, ...FLEET_SETTINGS }).sort());
  const units = { workerTimeoutSeconds: 'toSeconds', oldestMessageAlarmSeconds: 'toSeconds', retentionDays: 'toDays', runTimeLimitHours: 'toHours' } as const;
  for (const [name, value] of rows) {
    const prop = (SETTINGS[name] ?? FLEET_SETTINGS[name])?.prop;
    if (name === 'artifacts' || name === 'containerDirectory' || prop === undefined || !(prop in DEFAULTS)) continue;
    const byDefault = DEFAULTS[prop as keyof typeof DEFAULTS];
    const unit = units[name as keyof typeof units];
    const expected = byDefault instanceof Duration ? byDefault[unit]() : byDefault instanceof Architecture ? byDefault.name : byDefault;
    assert.equal(value, String(expected), name);
  }
  assert.equal(rows.find(([name]) => name === 'visibilitySeconds')?.[1], '6 × timeout');
  const keys = [...readme.matchAll(/^\| `tasks\.(\w+)` \| ([^|]*) \|/gm)].map(([, key = '', value]) => [key, Number(value)] as const);
  assert.deepEqual(Object.fromEntries(keys), TASK_DEFAULTS);
});

test('the visibility timeout defaults to six times the worker timeout', () => {
  const visibility = (context: object) => resolveFleets(readSettings({ ...REQUIRED, ...context }))[0]?.visibilityTimeout.toSeconds();
  assert.equal(visibility({ workerTimeoutSeconds: '900' }), 5400);
  assert.equal(visibility({ workerTimeoutSeconds: '900', visibilitySeconds: '900' }), 900);
});

test("the CDK's own context is ignored", () => {
  assert.deepEqual(problems({ ...REQUIRED, 'aws:cdk:bundling-stacks': ['**'], '@aws-cdk/core:x': true, 'cli-telemetry': false }), []);
});

/** Runs the app as the CDK's command does. `bundling` holds the patterns of the stacks that the command bundles. */
async function runApp(settings: object, bundling: readonly string[]): Promise<{ code: number; stderr: string; outdir: string }> {
  const outdir = temporaryDirectory();
  const CDK_CONTEXT_JSON = JSON.stringify({ ...settings, 'aws:cdk:bundling-stacks': bundling });
  try {
    await promisify(execFile)(process.execPath, ['--import', 'tsx', 'bin/flowherd.ts'], {
      cwd: resolve(__dirname, '..'),
      env: { ...process.env, CDK_CONTEXT_JSON, CDK_OUTDIR: outdir },
    });
    return { code: 0, stderr: '', outdir };
  } catch (error) {
    const { code, stderr } = error as { code: number; stderr: string };
    return { code, stderr, outdir };
  }
}

test('cdk deploy without built functions fails and names make build; cdk ls and cdk destroy work', async () => {
  const settings = { ...REQUIRED, artifacts: '/nowhere' };
  const [deploy, destroy] = await Promise.all([runApp(settings, ['**']), runApp(settings, [])]);
  assert.deepEqual([deploy.code, deploy.stderr], [
    2,
    'no function binary at /nowhere/flowherd-worker/bootstrap: run `make build`, or set artifacts to the directory that holds the functions\n',
  ]);
  assert.deepEqual([destroy.code, destroy.stderr], [0, '']);
  assert.ok(readFileSync(join(destroy.outdir, 'Flowherd.template.json'), 'utf8').includes('AWS::Lambda::Function'));
});

test('the app prints invalid settings without a stack trace and exits with status 2', async () => {
  const { code, stderr } = await runApp({ prefixes: 'firehose/' }, []);
  assert.deepEqual([code, stderr], [
    2,
    'invalid settings:\n  sourceBucket is not set: the bucket that holds the logs; example: sourceBucket=my-firehose-archive\n',
  ]);
});
