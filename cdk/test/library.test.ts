// The package as another CDK app uses it: imported by its name.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { test } from 'node:test';

import { App, Duration, Stack, Stage, Tags } from 'aws-cdk-lib';
import { Template } from 'aws-cdk-lib/assertions';
import { Architecture } from 'aws-cdk-lib/aws-lambda';
import { RetentionDays } from 'aws-cdk-lib/aws-logs';
import { Bucket } from 'aws-cdk-lib/aws-s3';
import { FlowherdStack, InvalidPropsError, ResultsBucket, TaskQueue } from 'flowherd-cdk';

import { artifacts, file, inspect, temporaryDirectory } from './stack';

const REQUIRED = { sourceBucketName: 'my-archive', prefixes: ['firehose/'], artifacts };

test('another app adds the stack to a stage, with its own name, environment and tags', () => {
  const stage = new Stage(new App({ outdir: temporaryDirectory() }), 'Prod');
  const stack = new FlowherdStack(stage, 'Logs', {
    ...REQUIRED,
    env: { account: '123456789012', region: 'eu-west-1' },
    description: 'Logs of production',
    tags: { team: 'security' },
    workerTimeout: Duration.minutes(10),
    logRetention: RetentionDays.ONE_WEEK,
    architecture: Architecture.X86_64,
  });
  Tags.of(stage).add('stage', 'prod');
  assert.equal(stack.stackName, 'Prod-Logs');
  assert.deepEqual([stack.account, stack.region, stack.tags.tagValues()['team']], ['123456789012', 'eu-west-1', 'security']);
  const { template, only } = inspect(stack, '');
  assert.equal(template.toJSON()['Description'], 'Logs of production');
  const { Timeout, Architectures, Tags: tags } = only('AWS::Lambda::Function', 'FleetWorker').Properties;
  assert.deepEqual([Timeout, Architectures], [600, ['x86_64']]);
  assert.ok((tags as { Key: string; Value: string }[]).some(({ Key, Value }) => Key === 'stage' && Value === 'prod'));
  assert.equal(only('AWS::SQS::Queue', 'TasksQueue').Properties.VisibilityTimeout, 3600);
});

test('the stack exposes its resources to the app', () => {
  const stack = new FlowherdStack(new App({ outdir: temporaryDirectory() }), 'Logs', REQUIRED);
  const [fleet] = stack.fleets;
  const resolved = [
    stack.results.bucket.bucketName, fleet?.tasks?.queue.queueUrl, stack.stepLoop.stateMachine.stateMachineArn,
    fleet?.workers?.worker.function.functionArn, stack.coordinator.function.function.functionArn,
  ].map((token) => JSON.stringify(stack.resolve(token)));
  for (const [index, id] of ['ResultsBucket', 'TasksQueue', 'StepLoopStateMachine', 'FleetWorkerFunction', 'PlanningCoordinatorFunction'].entries()) {
    assert.match(resolved[index] ?? '', new RegExp(`"${id}[0-9A-F]{8}"`));
  }
});

test('constructs can be used on their own', () => {
  const stack = new Stack(new App({ outdir: temporaryDirectory() }), 'Mine');
  new ResultsBucket(stack, 'Results');
  new TaskQueue(stack, 'Tasks', { queueName: 'mine.fifo', visibilityTimeout: Duration.minutes(1), maxReceiveCount: 3, retention: Duration.days(1) });
  const template = Template.fromStack(stack);
  template.resourceCountIs('AWS::S3::Bucket', 1);
  template.resourceCountIs('AWS::SQS::Queue', 2);
});

test('invalid properties are reported together', () => {
  const namesFile = file('not-names.json', '[]');
  const create = () =>
    new FlowherdStack(new App({ outdir: temporaryDirectory() }), 'Logs', {
      ...REQUIRED, prefixes: [], stackName: 'a'.repeat(41), workerTimeout: Duration.seconds(20), maxCalls: 1.5, namesFile,
    });
  assert.throws(create, (error: unknown) => {
    assert.ok(error instanceof InvalidPropsError);
    assert.deepEqual(error.problems.map(({ prop, value }) => [prop, value]), [
      ['stackName', 'a'.repeat(41)], ['prefixes', []], ['workerTimeout', 20], ['maxCalls', 1.5], ['namesFile', namesFile],
    ]);
    assert.match(error.message, /^invalid properties of FlowherdStack:\n  stackName="a+": .*\n  prefixes=\[\]: must have at least one prefix\n/);
    return true;
  });
});

test('values that are known only at deployment are accepted', () => {
  const app = new App({ outdir: temporaryDirectory() });
  const { bucketName } = new Bucket(new Stack(app, 'Archive'), 'Logs');
  const stack = new FlowherdStack(app, 'Logs', { ...REQUIRED, sourceBucketName: bucketName });
  const { Environment } = inspect(stack, '').only('AWS::Lambda::Function', 'FleetWorker').Properties;
  assert.ok('Fn::ImportValue' in Environment.Variables.FLOWHERD_SOURCE_BUCKET, JSON.stringify(Environment));
});

test('a Duration from another copy of the CDK is accepted, which an app that links the package has', () => {
  const workerTimeout = { toSeconds: () => 600 } as unknown as Duration;
  const stack = new FlowherdStack(new App({ outdir: temporaryDirectory() }), 'Logs', { ...REQUIRED, workerTimeout });
  assert.equal(inspect(stack, '').only('AWS::Lambda::Function', 'FleetWorker').Properties.Timeout, 600);
});

test('an undefined property has its default', () => {
  const props = { ...REQUIRED, maxConcurrency: undefined } as unknown as ConstructorParameters<typeof FlowherdStack>[2];
  const stack = new FlowherdStack(new App({ outdir: temporaryDirectory() }), 'Logs', props);
  const { ScalingConfig } = inspect(stack, '').only('AWS::Lambda::EventSourceMapping', '').Properties;
  assert.equal(ScalingConfig.MaximumConcurrency, 50);
});

test('the package needs the same major versions of the CDK that it is tested with', () => {
  const { peerDependencies, devDependencies } = JSON.parse(readFileSync(resolve(__dirname, '../package.json'), 'utf8')) as Record<string, Record<string, string>>;
  for (const [name, range] of Object.entries(peerDependencies ?? {})) assert.equal(range, `^${devDependencies?.[name]}`, name);
});
