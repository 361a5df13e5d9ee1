// Stacks with live fleets: events of the source bucket, the arrivals queue, its function, and the schedules that close days.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { SettingsError } from '../bin/settings';
import { file, listed, synth, text } from './stack';

const plain = synth();
const live = synth({
  prefixes: 'firehose/',
  configFile: file('live.toml', '# flow\n'),
  fleets: {
    main: { live: true },
    'waf-2': { prefixes: ['waf/', 'waf-old/'], live: true, closeHour: 5 },
    old: { prefixes: ['old/'] },
  },
});

interface Statement {
  readonly Effect: string;
  readonly Action: string | string[];
  readonly Resource: unknown;
  readonly Principal?: Record<string, string>;
  readonly Condition?: Record<string, Record<string, unknown>>;
}

/** The resources of each action of a role. */
function permissions(policy: string): Record<string, string[]> {
  const { Statement } = live.only('AWS::IAM::Policy', policy).Properties.PolicyDocument as { Statement: Statement[] };
  const found: Record<string, string[]> = {};
  for (const { Action, Resource } of Statement) {
    for (const action of listed(Action)) (found[action] ??= []).push(...listed(Resource).map(text));
  }
  return found;
}

test('a stack without a live fleet has nothing of it', () => {
  for (const type of ['AWS::Events::Rule', 'AWS::Scheduler::Schedule']) assert.deepEqual(plain.all(type), [], type);
  assert.equal(plain.stack.live, undefined);
  assert.ok(!('ArrivalsQueueUrl' in (plain.template.toJSON()['Outputs'] as object)));
});

test('one rule sends the events of new objects below the prefixes of live fleets to the queue', () => {
  const rule = live.only('AWS::Events::Rule', 'LiveRule').Properties;
  assert.deepEqual(rule.EventPattern, {
    source: ['aws.s3'],
    'detail-type': ['Object Created'],
    detail: { bucket: { name: ['my-archive'] }, object: { key: [{ prefix: 'firehose/' }, { prefix: 'waf/' }, { prefix: 'waf-old/' }] } },
  });
  // The command `flowherd live check` prints the id.
  assert.equal(rule.Targets[0]?.Id, 'Target0');
  assert.deepEqual(rule.Targets.map(({ Arn, DeadLetterConfig }: { Arn: unknown; DeadLetterConfig: { Arn: unknown } }) => [text(Arn), text(DeadLetterConfig.Arn)]), [
    ['<LiveArrivals>', '<LiveDeadLetters>'],
  ]);
});

test('only the rule may send to the queues, and only over TLS', () => {
  for (const queue of ['LiveArrivals', 'LiveDeadLetters']) {
    const { Statement } = live.only('AWS::SQS::QueuePolicy', `${queue}Policy`).Properties.PolicyDocument as { Statement: Statement[] };
    const allowed = Statement.filter(({ Effect }) => Effect === 'Allow');
    assert.equal(allowed.length, 1, queue);
    assert.deepEqual(allowed[0]?.Principal, { Service: 'events.amazonaws.com' });
    assert.ok(!listed(allowed[0]!.Action).some((action) => action.includes('*') || action.includes('Receive')), queue);
    const source = Object.values(allowed[0]?.Condition ?? {})[0]?.['aws:SourceArn'];
    assert.equal(text(source), '<LiveRule>', queue);
    assert.ok(Statement.some(({ Effect, Condition }) => Effect === 'Deny' && Condition?.['Bool']?.['aws:SecureTransport'] === 'false'));
  }
});

test('arrivals become dead-letter messages after five deliveries, and none is delivered twice at once', () => {
  const queue = live.only('AWS::SQS::Queue', 'LiveArrivals').Properties;
  assert.equal(queue.FifoQueue, undefined);
  assert.equal(queue.RedrivePolicy.maxReceiveCount, 5);
  assert.equal(text(queue.RedrivePolicy.deadLetterTargetArn), '<LiveDeadLetters>');
  const arrive = live.only('AWS::Lambda::Function', 'LiveArrive').Properties;
  assert.equal(queue.VisibilityTimeout, 6 * arrive.Timeout);
  const { BatchSize, FunctionResponseTypes, EventSourceArn, ScalingConfig } = live.only('AWS::Lambda::EventSourceMapping', 'LiveTrigger').Properties;
  assert.deepEqual([BatchSize, FunctionResponseTypes, text(EventSourceArn), ScalingConfig], [100, ['ReportBatchItemFailures'], '<LiveArrivals>', { MaximumConcurrency: 5 }]);
});

test('the arrivals function begins live runs and sends their tasks, and may do nothing else', () => {
  const found = permissions('LiveArriveRole');
  const results = (keys: readonly string[]) => keys.map((key) => `<ResultsBucket>/${key}`);
  const { 's3:GetObject': read = [], ...others } = found;
  assert.deepEqual(others, {
    'logs:CreateLogStream': ['<LiveArriveLog>'],
    'logs:PutLogEvents': ['<LiveArriveLog>'],
    's3:PutObject': results([
      'active/live-*', 'runs/.index/*', 'runs/live-*/begin.json', 'runs/live-*/run.json', 'runs/live-*/flowherd.toml', 'runs/live-*/names.json',
      'runs/live-*/enrich/*',
    ]),
    's3:ListBucket': ['<ResultsBucket>'],
    'sqs:SendMessage': ['<TasksQueue>', '<waf2TasksQueue>'],
    'sqs:GetQueueAttributes': ['<TasksQueue>', '<waf2TasksQueue>', '<LiveArrivals>'],
    'sqs:GetQueueUrl': ['<TasksDeadLetters>', '<waf2TasksDeadLetters>'],
    'sqs:ReceiveMessage': ['<LiveArrivals>'],
    'sqs:DeleteMessage': ['<LiveArrivals>'],
  });
  assert.deepEqual(read.slice(0, 2), results(['runs/*', 'active/*']));
  assert.match(read.slice(2).join(), /^arn:<AWS::Partition>:s3:::cdk-\w+-assets-.*\.toml$/);
  // The same settings as the coordinator.
  const environment = (id: string) => live.only('AWS::Lambda::Function', id).Properties.Environment;
  assert.deepEqual(environment('LiveArrive'), environment('PlanningCoordinator'));
});

test('the arrivals function has the memory of the coordinator and time for the begin of a run', () => {
  for (const [settings, memory] of [[{}, 1024], [{ namesRefresh: 'true' }, 3008]] as const) {
    const stack = synth({ ...settings, live: 'true' });
    const [arrive, coordinator] = ['LiveArrive', 'PlanningCoordinator'].map((id) => stack.only('AWS::Lambda::Function', id).Properties);
    assert.deepEqual([arrive.MemorySize, coordinator.MemorySize, arrive.Timeout], [memory, memory, 120]);
  }
});

test('the coordinator writes the files of live runs only with a live fleet', () => {
  assert.ok(permissions('PlanningCoordinatorRole')['s3:PutObject']?.includes('<ResultsBucket>/runs/live-*/closing.json'));
  assert.ok(!JSON.stringify(plain.only('AWS::IAM::Policy', 'PlanningCoordinatorRole')).includes('live-'));
});

test('a schedule of each live fleet starts the step loop at its hour in UTC', () => {
  const schedules = live.all('AWS::Scheduler::Schedule').map(([, { Properties }]) => Properties);
  assert.deepEqual(
    schedules.map(({ ScheduleExpression, ScheduleExpressionTimezone, Target }) => [ScheduleExpression, ScheduleExpressionTimezone, text(Target.Arn), Target.Input]),
    [
      ['cron(0 2 * * ? *)', 'UTC', '<StepLoopStateMachine>', '{"operation":"close","fleet":"main"}'],
      ['cron(0 5 * * ? *)', 'UTC', '<StepLoopStateMachine>', '{"operation":"close","fleet":"waf-2"}'],
    ],
  );
  assert.deepEqual(permissions('LiveScheduleRole'), { 'states:StartExecution': ['<StepLoopStateMachine>'] });
  const role = live.only('AWS::IAM::Role', 'LiveScheduleRole').Properties.AssumeRolePolicyDocument.Statement[0];
  assert.deepEqual(role.Condition, { StringEquals: { 'aws:SourceAccount': { Ref: 'AWS::AccountId' } } });
});

test('alarms watch the arrivals, and the days of each live fleet', () => {
  const alarms = Object.fromEntries(live.all('AWS::CloudWatch::Alarm').map(([, { Properties }]) => [Properties.AlarmName as string, Properties]));
  const names = Object.keys(alarms).filter((name) => /arrivals|live/.test(name)).sort();
  assert.deepEqual(names, ['Flowherd-arrivals-age', 'Flowherd-arrivals-dead-letters', 'Flowherd-live-close-overdue', 'Flowherd-waf-2-live-close-overdue']);
  const overdue = alarms['Flowherd-waf-2-live-close-overdue'];
  // The metric that the coordinator writes at the end of a day: 1 if every object is done, else 0.
  assert.deepEqual(
    [overdue?.Namespace, overdue?.MetricName, overdue?.Statistic, overdue?.Threshold, overdue?.Dimensions.length],
    ['Flowherd', 'LiveDayClosed', 'Sum', 1, 1],
  );
  assert.deepEqual([overdue?.Dimensions[0].Name, overdue?.Dimensions[0].Value['Fn::GetAtt'][1]], ['Queue', 'QueueName']);
  assert.match(overdue?.Dimensions[0].Value['Fn::GetAtt'][0] as string, /^waf2TasksQueue/);
  assert.deepEqual(
    [overdue?.TreatMissingData, overdue?.ComparisonOperator, overdue?.Period * overdue?.EvaluationPeriods <= 604_800, overdue?.EvaluationPeriods],
    ['breaching', 'LessThanThreshold', true, 27],
  );
});

test('the alarm on the age of arrivals is raised before SQS leaves a message out of the metric', () => {
  const { Threshold, Period, EvaluationPeriods } = live.only('AWS::CloudWatch::Alarm', 'Alarmsarrivalsage').Properties;
  const visibility = live.only('AWS::SQS::Queue', 'LiveArrivals').Properties.VisibilityTimeout as number;
  // The second delivery has failed, and the third one has not begun.
  assert.ok(Threshold > visibility && Threshold + 2 * Period * EvaluationPeriods < 2 * visibility, `${Threshold}`);
});

test('the bucket keeps its notifications: the stack configures none', () => {
  assert.deepEqual(live.all('AWS::S3::Bucket').map(([id]) => id.replace(/[0-9A-F]{8}$/, '')), ['ResultsBucket']);
  assert.ok(!JSON.stringify(live.resources).includes('NotificationConfiguration'));
  assert.deepEqual(live.all('Custom::S3BucketNotifications'), []);
});

/** The problems of settings, one a line. */
function problems(settings: Readonly<Record<string, unknown>>): string {
  try {
    synth(settings);
  } catch (error) {
    if (error instanceof SettingsError) return error.problems.join('\n');
    throw error;
  }
  return '';
}

test('a live fleet needs the source bucket in the account and region of the stack', () => {
  for (const elsewhere of [{ sourceBucketRegion: 'us-west-2' }, { sourceBucketAccount: '999999999999' }]) {
    assert.equal(problems(elsewhere), '');
    assert.match(problems({ ...elsewhere, live: 'true' }), /^live="true": needs a source bucket in the account and the region of the stack/);
    assert.match(problems({ ...elsewhere, fleets: { flow: { live: true } } }), /^fleets\.flow\.live=true: needs a source bucket/);
  }
  assert.match(problems({ live: 'true', closeHour: '24' }), /^closeHour="24": must be a whole number from 0 to 23/);
});

test('an hour of the close without a live fleet is refused', () => {
  const why = 'needs live=true: only the days of a live fleet are closed';
  assert.match(problems({ closeHour: '5' }), new RegExp(`^closeHour="5": ${why}`));
  const fleets = (a: object, b: object) => ({ a: { prefixes: ['a/'], ...a }, b: { prefixes: ['b/'], ...b } });
  assert.match(problems({ fleets: fleets({ live: true }, { closeHour: 5 }) }), new RegExp(`^fleets\\.b\\.closeHour=5: ${why}`));
  assert.match(problems({ closeHour: 5, fleets: fleets({}, {}) }), new RegExp(`^closeHour=5: ${why}`));
  assert.equal(problems({ closeHour: 5, fleets: fleets({ live: true }, {}) }), '');
  assert.equal(problems({ live: 'true', fleets: fleets({ closeHour: 5 }, { live: false }) }), '');
});

test('a fleet named arrivals beside a live one is refused: their alarms would have one name', () => {
  const fleets = { arrivals: { prefixes: ['a/'] }, b: { prefixes: ['b/'], live: true } };
  assert.match(problems({ fleets }), /^fleets="arrivals": cannot be the name of a fleet beside a live one: the alarm arrivals-dead-letters/);
  assert.equal(problems({ fleets: { ...fleets, b: { prefixes: ['b/'] } } }), '');
});
