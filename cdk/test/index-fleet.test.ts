// A stack with a fleet that sends rows to a search cluster.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { file, listed, problemsOf, synth, text } from './stack';

const SECRET = 'arn:aws:secretsmanager:eu-west-1:123456789012:secret:search-a1b2c3';
const KEY = 'arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab';
const DOMAIN = 'arn:aws:es:eu-west-1:123456789012:domain/logs';
const URL = 'https://search.example.com';

const stack = (cluster: object, fleet: object = {}) =>
  synth({
    configFile: file('index.toml', '# rules\n'),
    namesUrl: 's3://my-settings/names.json',
    maxConcurrency: '40',
    fleets: { main: {}, index: { job: 'index', cluster: { url: URL, ...cluster }, ...fleet } },
  });
const plain = stack({ auth: 'basic', secret: SECRET, secretKmsKeyArn: KEY, ca: 's3://my-settings/ca.pem', dataStream: 'flowherd-{table}' });
const signed = stack({ auth: 'sigv4', resourceArn: DOMAIN });

/** The problems of a fleet that indexes, without the example of each. */
const problems = (fleet: object) =>
  problemsOf({ fleets: { main: {}, index: { job: 'index', ...fleet } } }).map((problem) => problem.split('; example')[0] ?? '');

interface Statement {
  readonly Action: string | string[];
  readonly Resource: unknown;
}

/** Actions and resources of a role's statements with an action that begins so. */
function rights(template: typeof plain, policy: string, action: string): string[] {
  const { Statement } = template.only('AWS::IAM::Policy', policy).Properties.PolicyDocument as { Statement: Statement[] };
  const pairs = Statement.flatMap(({ Action, Resource }) => listed(Action).flatMap((name) => listed(Resource).map((on) => `${name} ${text(on)}`)));
  return [...new Set(pairs)].filter((pair) => pair.startsWith(action)).sort();
}

test('workers that index read rows of the results bucket and get the cluster without credentials', () => {
  const { Environment, MemorySize } = plain.only('AWS::Lambda::Function', 'indexFleetWorker').Properties;
  const variables = Environment.Variables;
  assert.deepEqual([text(variables.FLOWHERD_SOURCE_BUCKET), text(variables.FLOWHERD_RESULTS_BUCKET)], ['<ResultsBucket>', '<ResultsBucket>']);
  assert.equal(variables.FLOWHERD_JOB, 'index');
  assert.deepEqual(JSON.parse(variables.FLOWHERD_CLUSTER), {
    url: URL, auth: 'basic', secret: SECRET, ca: 's3://my-settings/ca.pem', dataStream: 'flowherd-{table}',
  });
  assert.equal(MemorySize, 512);
  assert.equal(plain.only('AWS::Lambda::EventSourceMapping', 'indexFleetTrigger').Properties.ScalingConfig.MaximumConcurrency, 4);
  assert.equal(plain.only('AWS::SQS::Queue', 'indexTasksQueue').Properties.QueueName, 'Flowherd-index.fifo');
});

test('workers that index write no rows, read no logs, and may send a message again', () => {
  const results = 'arn:<AWS::Partition>:s3:::<ResultsBucket>';
  const of = (action: string) => rights(plain, 'indexFleetWorkerRole', action).map((right) => right.replace(/<ResultsBucket>|arn:.*:::/, (found) => found));
  const onObjects = (action: string) => of(action).map((right) => right.split('/').slice(1).join('/'));
  assert.deepEqual(onObjects('s3:PutObject'), ['rejects/*', 'runs/*/amended/*', 'runs/*/failures/*', 'runs/*/receipts/*']);
  assert.deepEqual(onObjects('s3:DeleteObject'), ['rejects/*', 'runs/*/failures/*']);
  assert.deepEqual(onObjects('s3:GetObject').sort(), ['active/*', 'ca.pem', 'csv/*', 'rejects/*', 'runs/*']);
  assert.ok(!of('s3:').some((right) => right.includes('my-archive')), results);
  assert.ok(of('sqs:').includes('sqs:SendMessage <indexTasksQueue>'));
  assert.ok(!rights(plain, 'FleetWorkerRole', 'sqs:').some((right) => right.startsWith('sqs:SendMessage')));
});

test('the coordinator of an index fleet may save the position of a listing', () => {
  const saves = rights(plain, 'PlanningCoordinatorRole', 's3:PutObject').filter((right) => right.endsWith('/runs/*/cursor.json'));
  assert.equal(saves.length, 1);
});

test('only the functions of the index fleet and the coordinator read the secret and use the domain', () => {
  for (const role of ['indexFleetWorkerRole', 'PlanningCoordinatorRole']) {
    assert.deepEqual(rights(plain, role, 'secretsmanager:'), [`secretsmanager:GetSecretValue ${SECRET}`]);
    assert.deepEqual(rights(plain, role, 'kms:'), [`kms:Decrypt ${KEY}`]);
  }
  assert.deepEqual(rights(plain, 'FleetWorkerRole', 'secretsmanager:'), []);
  assert.deepEqual(rights(signed, 'indexFleetWorkerRole', 'es:'), [`es:ESHttpPost ${DOMAIN}/*`]);
  assert.deepEqual(rights(signed, 'PlanningCoordinatorRole', 'es:'), ['Get', 'Post', 'Put'].map((method) => `es:ESHttp${method} ${DOMAIN}/*`));
  assert.deepEqual(rights(signed, 'FleetWorkerRole', 'es:'), []);
  const collection = 'arn:aws:aoss:eu-west-1:123456789012:collection/abc';
  const serverless = stack({ auth: 'sigv4', service: 'aoss', resourceArn: collection });
  assert.deepEqual(rights(serverless, 'indexFleetWorkerRole', 'aoss:'), [`aoss:APIAccessAll ${collection}`]);
});

test('the coordinator and the command know the cluster, and the fleet has the rules of the stack and no names', () => {
  const { FLOWHERD_FLEETS } = plain.only('AWS::Lambda::Function', 'PlanningCoordinator').Properties.Environment.Variables;
  const fleet = JSON.parse(text(FLOWHERD_FLEETS)).index;
  assert.deepEqual([fleet.job, fleet.cluster.secret, fleet.prefixes, fleet.names], ['index', SECRET, ['csv/'], undefined]);
  const output = JSON.parse(text(plain.template.toJSON().Outputs.FleetIndex.Value));
  assert.deepEqual([output.job, output.search.url], ['index', URL]);
  const listed = rights(plain, 'PlanningCoordinatorRole', 's3:ListBucket');
  assert.ok(listed.length > 0 && !JSON.stringify(plain.only('AWS::IAM::Policy', 'PlanningCoordinatorRole')).includes('"csv/*"]}'), 'the source is listed without csv/');
});

test('the alarms of the index fleet come with it', () => {
  const names = plain.all('AWS::CloudWatch::Alarm').map(([, { Properties }]) => Properties.AlarmName as string);
  for (const slug of ['dead-letters', 'oldest-message', 'run-stalled', 'worker-errors', 'worker-throttles']) {
    assert.ok(names.includes(`Flowherd-index-${slug}`), `${slug}: ${names}`);
  }
});

test('every mistake of an index fleet is named', () => {
  const cluster = (members: object) => problems({ cluster: { url: URL, ...members } });
  assert.deepEqual(problems({}), ['fleets.index.cluster=undefined: is missing: a fleet with job index needs the search cluster']);
  assert.deepEqual(problems({ cluster: {} }), ['fleets.index.cluster={}: url must be an address such as https://search.example.com, without user, password and query']);
  assert.match(cluster({ password: 'x' })[0] ?? '', /"password": is no member of a cluster; its members are url, auth,/);
  assert.match(problems({ cluster: { url: 'http://search.example.com' } })[0] ?? '', /must be https: credentials and rows would not be encrypted/);
  assert.match(problems({ cluster: { url: 'https://u:p@search.example.com' } })[0] ?? '', /without user, password and query/);
  assert.match(cluster({ auth: 'basic' })[0] ?? '', /needs secret with auth basic/);
  assert.match(cluster({ auth: 'sigv4' })[0] ?? '', /needs resourceArn with auth sigv4/);
  assert.match(cluster({ secret: SECRET })[0] ?? '', /secret needs auth basic or api-key/);
  assert.match(cluster({ region: 'eu-west-1' })[0] ?? '', /service, region and resourceArn need auth sigv4/);
  assert.match(cluster({ indexName: 'x-{table}', dataStream: 'y-{table}' })[0] ?? '', /cannot be combined/);
  assert.match(cluster({ indexName: 'all' })[0] ?? '', /indexName must have \{table\}/);
  const given = { cluster: { url: URL }, driver: 'map', live: true, namesUrl: 's3://b/n.json', prefixes: ['logs/'] };
  const named = new Set(problems(given).map((problem) => problem.split(/[=:]/)[0]));
  assert.deepEqual([...named].sort(), ['driver', 'live', 'namesUrl', 'prefixes'].map((prop) => `fleets.index.${prop}`));
  assert.throws(() => synth({ fleets: { main: { cluster: { url: URL } } } }), /needs job=index/);
});
