// The permissions in docs/security.md are exactly those of the template.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { test } from 'node:test';

import { file, listed, synth, text } from './stack';

const document = readFileSync(resolve(__dirname, '../../docs/security.md'), 'utf8');

const KEY = 'arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab';
const ROLE_OF_MEMBER = 'arn:aws:iam::210987654321:role/flowherd-names';
file('threats.csv', 'indicator\n');
/** Settings that change permissions, and some that must not. */
const VARIANTS: readonly Readonly<Record<string, string>>[] = [
  {},
  { sourceKmsKeyArn: KEY },
  { sourceBucketRegion: 'ap-southeast-2', batchSize: '1', namesRefresh: 'true' },
  { workers: 'fargate', image: '123456789012.dkr.ecr.eu-west-1.amazonaws.com/worker:1', sourceKmsKeyArn: KEY },
  { namesUrl: 's3://my-settings/flowherd/names.json' },
  { namesRefresh: 'true', namesRoleArns: ROLE_OF_MEMBER, namesRegions: 'eu-west-1,us-east-1' },
  { sourceBucketAccount: '999999999999', namesFile: file('names.json', '{}'), alarmTopicArn: 'arn:aws:sns:eu-west-1:123456789012:alarms' },
  { live: 'true' },
  { live: 'true', namesRefresh: 'true' },
  { live: 'true', namesUrl: 's3://my-settings/flowherd/names.json' },
  {
    sourceBucketAccount: '999999999999',
    sourceKmsKeyArn: KEY,
    namesUrl: 's3://my-settings/flowherd/names.json',
    namesBucketAccount: '999999999999',
    configFile: file('some-rules.toml', '[[enrich]]\nfile = "threats.csv"\n[[enrich]]\nfile = "s3://my-lists/country.mmdb"\n'),
    tables: file('no-tables.json', '{"tables": [], "views": [], "queries": []}'),
    alarmEmail: 'operations@example.com',
  },
];
const synthesized = VARIANTS.map((settings) => ({ settings, stack: synth(settings) }));
type Synthesized = ReturnType<typeof synth>;

interface Statement {
  readonly Effect: string;
  readonly Action: string | string[];
  readonly Resource: unknown;
  readonly Principal?: string | Record<string, unknown>;
  readonly Condition?: Record<string, Record<string, string | string[]>>;
}

/** The cells of the rows of the table below a heading. */
function table(heading: string): string[][] {
  const section = document.split(`\n${heading}\n`)[1]?.split('\n#')[0] ?? assert.fail(heading);
  const rows = section.split('\n').filter((line) => line.startsWith('|')).slice(2);
  assert.ok(rows.length > 0, heading);
  return rows.map((row) => row.split('|').slice(1, -1));
}
/** The texts between backticks. */
const words = (cell = '') => [...cell.matchAll(/`([^`]+)`/g)].map(([, word]) => word ?? '');

/** Names in the document by resources of the template. */
const NAMES: Readonly<Record<string, string>> = {
  'arn:<AWS::Partition>:s3:::my-archive': 'SOURCE',
  '<ResultsBucket>': 'RESULTS',
  '<TasksQueue>': 'QUEUE',
  '<TasksDeadLetters>': 'DEAD_LETTERS',
  '<FleetWorkerLog>': 'LOG',
  '<FleetLog>': 'LOG',
  'arn:<AWS::Partition>:ecr:eu-west-1:123456789012:repository/worker': 'IMAGE',
  '<PlanningCoordinatorLog>': 'LOG',
  '<PlanningCoordinatorFunction>': 'COORDINATOR',
  '<LiveArriveLog>': 'LOG',
  '<LiveArrivals>': 'ARRIVALS',
  '<LiveRule>': 'RULE',
  '<StepLoopStateMachine>': 'STEP_LOOP',
  '<FleetWorkerFunction>': 'WORKER',
  'arn:<AWS::Partition>:states:<AWS::Region>:<AWS::AccountId>:execution:Flowherd:*': 'STEP_LOOP_EXECUTIONS',
  'arn:<AWS::Partition>:states:<AWS::Region>:<AWS::AccountId>:stateMachine:Flowherd': 'STEP_LOOP',
  'arn:<AWS::Partition>:s3:::my-settings/flowherd/names.json': 'NAMES',
  'arn:<AWS::Partition>:s3:::my-lists/country.mmdb': 'ENRICH_URL',
  's3.eu-west-1.amazonaws.com*': 'S3',
  '<AWS::AccountId>': 'ACCOUNT',
  [KEY]: 'KEY',
  [ROLE_OF_MEMBER]: 'MEMBER_ROLE',
};
/** Files that the deployment uploads; their keys contain a hash. */
const ASSET = /^arn:<AWS::Partition>:s3:::cdk-\w+-assets-<AWS::AccountId>-<AWS::Region>\/[0-9a-f]{64}(?:\/[a-z-]+)?\.(toml|json|csv)$/;

/** Replaces the beginning of an ARN by its name in the document. */
function named(value: unknown): string {
  const whole = text(value);
  const [, extension] = ASSET.exec(whole) ?? [];
  if (extension !== undefined) return { toml: 'CONFIG_FILE', json: 'NAMES_FILE', csv: 'ENRICH_FILE' }[extension] ?? extension;
  const known = Object.keys(NAMES).find((known) => whole === known || whole.startsWith(`${known}/`));
  return known === undefined ? whole : `${NAMES[known]}${whole.slice(known.length)}`;
}
/** Replaces PREFIX by each prefix of the stacks here. */
const expanded = (words: string[]) =>
  words.flatMap((word) => (word.includes('PREFIX') ? ['firehose/', 'waf/'].map((prefix) => word.replace('PREFIX', prefix)) : [word]));

const line = (action: string, resource: string, key?: string, values?: string[]) =>
  key === undefined ? `${action} ${resource}` : `${action} ${resource} if ${key} like ${values?.join(' or ')}`;

/** Permissions of a role in the document, one line per action and resource. */
function documented(heading: string, settings: Readonly<Record<string, string>>): string[] {
  // A task has the permissions of the function. Its log is written by the execution role.
  if (heading === ROLE_OF_TASK) return documented('### Role of the worker', settings).filter((line) => !line.startsWith('logs:'));
  return table(heading)
    .filter(([when]) => words(when).every((setting) => setting in settings))
    .flatMap(([, actions, resources, condition]) => {
      const [key, ...values] = words(condition);
      return expanded(words(resources)).flatMap((resource) => words(actions).map((action) => line(action, resource, key, expanded(values))));
    });
}

/** Permissions of a role in the template, in the same form. */
function synthesizedPermissions(stack: Synthesized, policy: string): string[] {
  const { Statement } = stack.only('AWS::IAM::Policy', policy).Properties.PolicyDocument as { Statement: Statement[] };
  return Statement.flatMap(({ Effect, Action, Resource, Condition, ...rest }) => {
    assert.deepEqual([Effect, Object.keys(rest)], ['Allow', []]);
    const conditions = Object.entries(Condition ?? {});
    assert.ok(conditions.length <= 1 && conditions.every(([operator]) => operator === 'StringLike'), policy);
    const [key, values] = Object.entries(conditions[0]?.[1] ?? {})[0] ?? [];
    return listed(Resource).flatMap((resource) =>
      listed(Action).map((action) => line(action, named(resource), key, values === undefined ? undefined : listed(values).map(named))),
    );
  });
}

const ROLE_OF_TASK = '### Role of the task';
const ROLES: Readonly<Record<string, string>> = {
  '### Role of the worker': 'FleetWorkerRole',
  [ROLE_OF_TASK]: 'FleetTaskRole',
  '### Role of the task execution': 'FleetExecutionRole',
  '### Role of the coordinator': 'PlanningCoordinatorRole',
  '### Role of the step loop': 'StepLoopRole',
  '### Role of the schedule': 'NamesRefreshRole',
  '### Role of the arrivals': 'LiveArriveRole',
  '### Role of the closes': 'LiveScheduleRole',
};

/** The roles of a stack. Some exist only with a setting. */
const rolesOf = (settings: Readonly<Record<string, string>>) => {
  const isFargate = settings['workers'] === 'fargate';
  const missing = [
    ...('namesRefresh' in settings ? [] : ['NamesRefreshRole']),
    ...(isFargate ? ['FleetWorkerRole'] : ['FleetTaskRole', 'FleetExecutionRole']),
  ];
  return Object.entries(ROLES).filter(([, role]) => !missing.includes(role) && ('live' in settings || !role.startsWith('Live')));
};

for (const [heading, role] of Object.entries(ROLES)) {
  test(`${heading.slice(4)}: its permissions are those of the document with any settings`, () => {
    for (const { settings, stack } of synthesized) {
      if (!rolesOf(settings).some(([, known]) => known === role)) continue;
      assert.deepEqual(synthesizedPermissions(stack, role).sort(), documented(heading, settings).sort(), Object.keys(settings).join());
    }
  });
}

test('each function may read the files on S3 that its environment names', () => {
  for (const { settings, stack } of synthesized) {
    for (const [id, { Properties }] of stack.all('AWS::Lambda::Function')) {
      const role = text(Properties.Role).slice(1, -1);
      const readable = synthesizedPermissions(stack, role).filter((permission) => permission.startsWith('s3:GetObject '));
      const variables = Object.values(Properties.Environment.Variables as object).map(text).join(' ');
      for (const [, location] of variables.matchAll(/s3:\/\/([^\s"]+)/g)) {
        const objects = [location, `arn:<AWS::Partition>:s3:::${location}`].map((object) => line('s3:GetObject', named(object)));
        assert.ok(objects.some((object) => readable.includes(object)), `${id} cannot read ${location} with ${Object.keys(settings).join()}`);
      }
    }
  }
});

test('a map adds exactly the permissions of the document, and its fleet has none on a queue', () => {
  const plain = synthesized[0]?.stack ?? assert.fail();
  const map = synth({ driver: 'map' });
  const ofLoop = synthesizedPermissions(plain, 'StepLoopRole');
  const added = synthesizedPermissions(map, 'StepLoopRole').filter((permission) => !ofLoop.includes(permission));
  assert.deepEqual(added.sort(), documented('### Permissions with driver map', {}).sort());
  for (const role of ['FleetWorkerRole', 'PlanningCoordinatorRole']) {
    const without = synthesizedPermissions(plain, role).filter((permission) => !permission.startsWith('sqs:'));
    assert.deepEqual(synthesizedPermissions(map, role), without);
  }
});

test('there are no other roles and no other policies', () => {
  const sections = [...document.matchAll(/^### Role of .*$/gm)].map(([heading]) => heading);
  assert.deepEqual(sections, Object.keys(ROLES));
  for (const { settings, stack } of synthesized) {
    const roles = rolesOf(settings).map(([, role]) => role);
    assert.deepEqual(stack.all('AWS::IAM::Role').map(([id]) => id.replace(/[0-9A-F]{8}$/, '')).sort(), roles.sort());
    assert.equal(stack.all('AWS::IAM::Policy').length, roles.length);
    for (const type of ['AWS::IAM::ManagedPolicy', 'AWS::IAM::RolePolicy', 'AWS::IAM::User', 'Custom::']) {
      assert.deepEqual(Object.values(stack.resources).filter((resource) => resource.Type.startsWith(type)), []);
    }
  }
});

test('no action has a wildcard, and the document gives a reason for each resource *', () => {
  for (const [heading, role] of Object.entries(ROLES)) {
    for (const { settings, stack } of synthesized) {
      if (!rolesOf(settings).some(([, known]) => known === role)) continue;
      for (const permission of synthesizedPermissions(stack, role)) assert.ok(!permission.split(' ')[0]?.includes('*'), permission);
    }
    if (heading === ROLE_OF_TASK) continue;
    for (const [, , resources, , why] of table(heading)) {
      if (words(resources).includes('*')) assert.match(why ?? '', /\[no resources\]\(https:\/\/docs\.aws\.amazon\.com\//);
    }
  }
});

test('only schedules of this account can assume the role of the schedule', () => {
  const stack = synthesized.find(({ settings }) => 'namesRoleArns' in settings)?.stack;
  const [statement] = stack?.only('AWS::IAM::Role', 'NamesRefreshRole').Properties.AssumeRolePolicyDocument.Statement as Statement[];
  assert.deepEqual(statement?.Principal, { Service: 'scheduler.amazonaws.com' });
  assert.deepEqual(statement?.Condition, { StringEquals: { 'aws:SourceAccount': { Ref: 'AWS::AccountId' } } });
});

test('only state machines of this account can assume the role of the step loop', () => {
  for (const { stack } of synthesized) {
    const [statement] = stack.only('AWS::IAM::Role', 'StepLoopRole').Properties.AssumeRolePolicyDocument.Statement as Statement[];
    assert.deepEqual(statement?.Principal, { Service: 'states.amazonaws.com' });
    assert.deepEqual(statement?.Condition, { StringEquals: { 'aws:SourceAccount': { Ref: 'AWS::AccountId' } } });
  }
});

const POLICIES: readonly (readonly [type: string, id: string, resource: string])[] = [
  ['AWS::S3::BucketPolicy', 'Results', 'results bucket'],
  ['AWS::SQS::QueuePolicy', 'TasksQueue', 'queue'],
  ['AWS::SQS::QueuePolicy', 'TasksDeadLetters', 'dead-letter queue'],
  ['AWS::SQS::QueuePolicy', 'LiveArrivals', 'arrivals queue'],
  ['AWS::SQS::QueuePolicy', 'LiveDeadLetters', 'arrivals dead-letter queue'],
  ['AWS::SNS::TopicPolicy', 'AlarmsTopic', 'topic of alarmEmail'],
];

test('resource policies are those of the document', () => {
  for (const { settings, stack } of synthesized) {
    const expectedPolicies = POLICIES.filter(([type, id]) =>
      type === 'AWS::SNS::TopicPolicy' ? 'alarmEmail' in settings : !id.startsWith('Live') || 'live' in settings,
    );
    const found = expectedPolicies.flatMap(([type, id, resource]) =>
      (stack.only(type, id).Properties.PolicyDocument.Statement as Statement[]).flatMap(({ Effect, Action, Principal, Condition }) => {
        const principal = typeof Principal === 'object' ? Object.values(Principal).flat().join() : Principal;
        const [key, value] = Object.entries(Object.values(Condition ?? {})[0] ?? {})[0] ?? [];
        return listed(Action).map((action) => [resource, Effect, principal, action, key, named(value)].join(' '));
      }),
    );
    const expected = table('## What the resources allow')
      .map(([resource, effect, ...cells]) => [resource?.trim().replaceAll('`', ''), effect?.trim(), ...cells.flatMap((cell) => words(cell))])
      .filter(([resource]) => expectedPolicies.some(([, , known]) => known === resource))
      .map((cells) => cells.join(' '));
    assert.deepEqual(found.sort(), expected.sort(), Object.keys(settings).join());
    const types = ['AWS::S3::BucketPolicy', 'AWS::SQS::QueuePolicy', 'AWS::SNS::TopicPolicy', 'AWS::Logs::ResourcePolicy'];
    assert.equal(types.flatMap((type) => stack.all(type)).length, expectedPolicies.length);
  }
});

test('no policy of a function, a queue or a bucket allows access, except that of arrivals to the rule', () => {
  for (const { stack } of synthesized) {
    assert.deepEqual([...stack.all('AWS::Lambda::Permission'), ...stack.all('AWS::Lambda::Url')], []);
    for (const type of ['AWS::S3::BucketPolicy', 'AWS::SQS::QueuePolicy']) {
      for (const [id, { Properties }] of stack.all(type)) {
        for (const { Effect, Principal } of Properties.PolicyDocument.Statement as Statement[]) {
          if (id.startsWith('Live') && Effect === 'Allow') assert.deepEqual(Principal, { Service: 'events.amazonaws.com' });
          else assert.equal(Effect, 'Deny', id);
        }
      }
    }
  }
});

test('the functions know the account that must own each bucket', () => {
  const [plain, all] = [synthesized[0], synthesized.at(-1)];
  const variables = (stack: Synthesized | undefined, id: string) =>
    stack?.only('AWS::Lambda::Function', id).Properties.Environment.Variables as Record<string, unknown>;
  const own = { Ref: 'AWS::AccountId' };
  for (const id of ['FleetWorker', 'PlanningCoordinator']) {
    assert.deepEqual(variables(plain?.stack, id)['FLOWHERD_SOURCE_BUCKET_OWNER'], own);
    assert.deepEqual(variables(all?.stack, id)['FLOWHERD_SOURCE_BUCKET_OWNER'], '999999999999');
    assert.deepEqual(variables(all?.stack, id)['FLOWHERD_RESULTS_BUCKET_OWNER'], own);
  }
  const owners = (variable: string) => synthesized.map(({ stack }) => variables(stack, 'PlanningCoordinator')[`FLOWHERD_${variable}_BUCKET_OWNER`]);
  assert.deepEqual(owners('NAMES'), [undefined, undefined, own, undefined, own, own, own, undefined, own, own, '999999999999']);
  assert.deepEqual(owners('CONFIG'), synthesized.map((_, at) => (at === synthesized.length - 1 ? own : undefined)));
  for (const { settings, stack } of synthesized) {
    const outputs = stack.template.toJSON()['Outputs'] as Record<string, { Value: unknown }>;
    assert.deepEqual(outputs['SourceBucketOwner']?.Value, settings['sourceBucketAccount'] ?? own);
    assert.deepEqual(outputs['ResultsBucketOwner']?.Value, own);
    const { ResultConfiguration } = stack.only('AWS::Athena::WorkGroup', '').Properties.WorkGroupConfiguration;
    assert.deepEqual(ResultConfiguration.ExpectedBucketOwner, own);
  }
});
