// Properties of the synthesized template.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';

import { App, Stack } from 'aws-cdk-lib';
import { Annotations, Match } from 'aws-cdk-lib/assertions';
import { Bucket } from 'aws-cdk-lib/aws-s3';

import type { TableDefinitions } from '../lib';
import { tool } from './local-cloud';
import { addChecks, file, synth, temporaryDirectory, text } from './stack';

const plain = synth();
/** A short form of what `flowherd sql --dialect glue` prints. */
const TABLES: TableDefinitions = {
  tables: [
    {
      name: 'vpc_flow_text',
      description: 'Rows as text',
      location: 'csv/vpc_flow/firehose/',
      location_template: 'csv/vpc_flow/firehose/${datehour}/',
      columns: [{ name: 'timestamp', type: 'string' }, { name: 'end', type: 'string' }],
      partitions: [{ name: 'datehour', type: 'string' }],
      serde: 'org.apache.hadoop.hive.serde2.OpenCSVSerde',
      serde_parameters: { separatorChar: ',', quoteChar: '"', escapeChar: '\u0001' },
      parameters: { 'skip.header.line.count': '1', 'projection.datehour.range': '2020/01/01/00,NOW' },
    },
  ],
  views: [
    {
      name: 'vpc_flow',
      description: 'Rows with types',
      columns: [
        { name: 'timestamp', type: 'timestamp', trino_type: 'timestamp(3)' },
        { name: 'end', type: 'bigint', trino_type: 'bigint' },
      ],
      sql: 'SELECT TRY_CAST("end" AS BIGINT) AS "end" FROM "vpc_flow_text"',
    },
  ],
  queries: [{ name: 'Flowherd: top-talkers', description: 'Pairs of addresses', sql: 'SELECT 1' }],
};
const full = synth({
  tables: file('tables.json', JSON.stringify(TABLES)),
  sourceBucketAccount: '123456789012',
  sourceBucketRegion: 'eu-west-1',
  sourceKmsKeyArn: 'arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab',
  alarmTopicArn: 'arn:aws:sns:eu-west-1:123456789012:alarms',
  alarmEmail: 'operations@example.com',
  configFile: file('rules.toml', '# rules\n'),
  namesUrl: 's3://my-settings/flowherd/names.json',
  workerTimeoutSeconds: '900',
  visibilitySeconds: '1000',
  maxConcurrency: '1000',
  batchSize: '3',
  architecture: 'x86_64',
});

const refreshing = synth({ namesRefresh: 'true', namesRoleArns: 'arn:aws:iam::210987654321:role/flowherd-names', namesRegions: 'eu-west-1,us-east-1', namesRetentionDays: '365' });

interface Statement {
  readonly Effect: string;
  readonly Condition?: Record<string, Record<string, unknown>>;
}

test('each role has no managed or inline policy and trusts one service', () => {
  for (const [id, { Properties }] of full.all('AWS::IAM::Role')) {
    assert.deepEqual(Object.keys(Properties as object), ['AssumeRolePolicyDocument'], id);
    assert.equal(Properties.AssumeRolePolicyDocument.Statement.length, 1, id);
  }
});

test('every finding of cdk-nag is acknowledged, and a careless stack has findings', () => {
  for (const { outdir } of [plain, full, refreshing]) {
    const report = JSON.parse(readFileSync(join(outdir, 'validation-report.json'), 'utf8')) as { pluginReports: unknown[] };
    assert.deepEqual(report.pluginReports, []);
  }
  const app = new App({ outdir: temporaryDirectory() });
  new Bucket(new Stack(app, 'Careless'), 'Bucket');
  addChecks(app);
  assert.throws(() => app.synth(), /Validation failed/);
});

test('queue and dead-letter queue are encrypted high-throughput FIFO queues that refer to each other', () => {
  const queue = plain.only('AWS::SQS::Queue', 'TasksQueue').Properties;
  const dead = plain.only('AWS::SQS::Queue', 'TasksDeadLetters').Properties;
  for (const properties of [queue, dead]) {
    assert.equal(properties.FifoQueue, true);
    assert.equal(properties.DeduplicationScope, 'messageGroup');
    assert.equal(properties.FifoThroughputLimit, 'perMessageGroupId');
    assert.equal(properties.ContentBasedDeduplication ?? false, false);
    assert.equal(properties.SqsManagedSseEnabled, true);
  }
  assert.equal(queue.RedrivePolicy.maxReceiveCount, 10);
  assert.equal(text(queue.RedrivePolicy.deadLetterTargetArn), '<TasksDeadLetters>');
  assert.equal(dead.RedriveAllowPolicy.redrivePermission, 'byQueue');
  assert.deepEqual((dead.RedriveAllowPolicy.sourceQueueArns as unknown[]).map(text), [
    `arn:<AWS::Partition>:sqs:<AWS::Region>:<AWS::AccountId>:${queue.QueueName}`,
  ]);
  assert.deepEqual([queue.MessageRetentionPeriod, dead.MessageRetentionPeriod], [1_209_600, 1_209_600]);
});

test('the visibility timeout is never shorter than the worker timeout', () => {
  for (const [template, visibility] of [[plain, 1800], [full, 1000]] as const) {
    const { Timeout } = template.only('AWS::Lambda::Function', 'FleetWorker').Properties as { Timeout: number };
    const { VisibilityTimeout } = template.only('AWS::SQS::Queue', 'TasksQueue').Properties as { VisibilityTimeout: number };
    assert.equal(VisibilityTimeout, visibility);
    assert.ok(VisibilityTimeout >= Timeout);
  }
});

test('the trigger has batch size and maximum concurrency, no batching window, and reports single failures', () => {
  for (const [template, BatchSize, MaximumConcurrency] of [[plain, 10, 50], [full, 3, 1000]] as const) {
    const { EventSourceArn, FunctionName, ...trigger } = template.only('AWS::Lambda::EventSourceMapping', '').Properties;
    assert.deepEqual([text(EventSourceArn), text(FunctionName)], ['<TasksQueue>', '<FleetWorkerFunction>']);
    assert.deepEqual(trigger, {
      BatchSize,
      ScalingConfig: { MaximumConcurrency },
      FunctionResponseTypes: ['ReportBatchItemFailures'],
    });
  }
});

test('queues, buckets and topics refuse requests without TLS', () => {
  const policies = [
    ...full.all('AWS::S3::BucketPolicy'),
    ...full.all('AWS::SQS::QueuePolicy'),
    ...full.all('AWS::SNS::TopicPolicy'),
  ];
  assert.equal(policies.length, 4);
  for (const [id, { Properties }] of policies) {
    const statements = Properties.PolicyDocument.Statement as Statement[];
    assert.ok(
      statements.some(({ Effect, Condition }) => Effect === 'Deny' && Condition?.['Bool']?.['aws:SecureTransport'] === 'false'),
      id,
    );
  }
});

test('the results bucket is encrypted, private, and retained, and S3 removes abandoned uploads', () => {
  const { Properties, DeletionPolicy, UpdateReplacePolicy } = plain.only('AWS::S3::Bucket', '');
  // A first deployment that rolls back leaves no bucket.
  assert.deepEqual([DeletionPolicy, UpdateReplacePolicy], ['RetainExceptOnCreate', 'Retain']);
  assert.deepEqual(Properties.BucketEncryption.ServerSideEncryptionConfiguration, [
    { ServerSideEncryptionByDefault: { SSEAlgorithm: 'AES256' } },
  ]);
  assert.deepEqual(Properties.PublicAccessBlockConfiguration, {
    BlockPublicAcls: true,
    BlockPublicPolicy: true,
    IgnorePublicAcls: true,
    RestrictPublicBuckets: true,
  });
  assert.deepEqual(Properties.OwnershipControls.Rules, [{ ObjectOwnership: 'BucketOwnerEnforced' }]);
  assert.deepEqual(Properties.LifecycleConfiguration.Rules, [
    { Id: 'abandoned-uploads', AbortIncompleteMultipartUpload: { DaysAfterInitiation: 1 }, Status: 'Enabled' },
    { Id: 'query-answers', Prefix: 'athena/', ExpirationInDays: 7, Status: 'Enabled' },
  ]);
});

test('every log group has the configured retention', () => {
  const groups = synth({ logRetentionDays: '14' }).all('AWS::Logs::LogGroup');
  assert.equal(groups.length, 3);
  for (const [id, { Properties }] of groups) assert.equal(Properties.RetentionInDays, 14, id);
  for (const [id, { Properties }] of plain.all('AWS::Lambda::Function')) {
    assert.equal(Properties.LoggingConfig.LogFormat, 'JSON', id);
    assert.ok(Properties.LoggingConfig.LogGroup, id);
  }
});

test('functions have their runtime, architecture and environment', () => {
  const environment = (template: typeof plain, id: string) =>
    Object.fromEntries(
      Object.entries(template.only('AWS::Lambda::Function', id).Properties.Environment.Variables as object).map(
        ([name, value]) => [name, text(value)],
      ),
    );
  const worker = {
    FLOWHERD_SOURCE_BUCKET: 'my-archive',
    FLOWHERD_SOURCE_BUCKET_OWNER: '<AWS::AccountId>',
    FLOWHERD_RESULTS_BUCKET: '<ResultsBucket>',
    FLOWHERD_RESULTS_BUCKET_OWNER: '<AWS::AccountId>',
    FLOWHERD_QUEUE_URL: '<TasksQueue>',
  };
  const { FLOWHERD_QUEUE_URL, ...buckets } = worker;
  const fleets = JSON.stringify({ main: { prefixes: ['firehose/', 'waf/'], queueUrl: FLOWHERD_QUEUE_URL } });
  const coordinator = { ...buckets, FLOWHERD_FLEETS: fleets, FLOWHERD_MAX_KEYS: '10000000', FLOWHERD_TIME_LIMIT_SECONDS: '86400' };
  assert.deepEqual(environment(plain, 'FleetWorker'), worker);
  assert.deepEqual(environment(plain, 'PlanningCoordinator'), coordinator);
  const source = { FLOWHERD_SOURCE_BUCKET_OWNER: '123456789012', FLOWHERD_SOURCE_BUCKET_REGION: 'eu-west-1' };
  assert.deepEqual(environment(full, 'FleetWorker'), { ...worker, ...source });
  assert.deepEqual(environment(full, 'PlanningCoordinator'), {
    ...coordinator,
    ...source,
    FLOWHERD_CONFIG: text(full.only('AWS::Lambda::Function', 'PlanningCoordinator').Properties.Environment.Variables.FLOWHERD_CONFIG),
    FLOWHERD_CONFIG_BUCKET_OWNER: '<AWS::AccountId>',
    FLOWHERD_NAMES: 's3://my-settings/flowherd/names.json',
    FLOWHERD_NAMES_BUCKET_OWNER: '<AWS::AccountId>',
  });
  for (const [template, architecture] of [[plain, 'arm64'], [full, 'x86_64']] as const) {
    for (const [, { Properties }] of template.all('AWS::Lambda::Function')) {
      assert.deepEqual([Properties.Runtime, Properties.Handler, Properties.Architectures], ['provided.al2023', 'bootstrap', [architecture]]);
    }
  }
  const { Timeout, MemorySize } = plain.only('AWS::Lambda::Function', 'PlanningCoordinator').Properties;
  assert.deepEqual([Timeout, MemorySize], [900, 1024]);
});

test('each hour the schedule makes the coordinator refresh the names that runs use', () => {
  const { ScheduleExpression, State, Target } = refreshing.only('AWS::Scheduler::Schedule', '').Properties;
  assert.deepEqual([ScheduleExpression, State ?? 'ENABLED'], ['rate(1 hour)', 'ENABLED']);
  assert.deepEqual([text(Target.Arn), text(Target.RoleArn)], ['<PlanningCoordinatorFunction>', '<NamesRefreshRole>']);
  assert.deepEqual(JSON.parse(Target.Input as string), {
    operation: 'names', role_arns: ['arn:aws:iam::210987654321:role/flowherd-names'], regions: ['eu-west-1', 'us-east-1'], retention_days: 365,
  });
  const { Environment, MemorySize, Timeout } = refreshing.only('AWS::Lambda::Function', 'PlanningCoordinator').Properties;
  assert.equal(text(Environment.Variables.FLOWHERD_NAMES), 's3://<ResultsBucket>/names/names.json');
  assert.deepEqual([MemorySize, Timeout], [3008, 900]);
  const outputs = refreshing.template.toJSON()['Outputs'] as Record<string, { Value: unknown }>;
  assert.equal(text(outputs['CoordinatorRole']?.Value), '<PlanningCoordinatorRole>');
  assert.equal(plain.all('AWS::Scheduler::Schedule').length, 0);
});

test('the alarm names-stale is raised when no refresh has read everything for three hours, also without a metric', () => {
  const alarm = refreshing.only('AWS::CloudWatch::Alarm', 'Alarmsnamesstale').Properties;
  const { Namespace, MetricName, Statistic, Period, Threshold, ComparisonOperator, EvaluationPeriods, DatapointsToAlarm, TreatMissingData } = alarm;
  assert.deepEqual([Namespace, MetricName, Statistic, Period], ['Flowherd', 'NamesRefreshed', 'Sum', 3600]);
  assert.deepEqual([ComparisonOperator, Threshold, EvaluationPeriods, DatapointsToAlarm], ['LessThanThreshold', 1, 3, 3]);
  assert.equal(TreatMissingData, 'breaching');
  assert.match(alarm.AlarmDescription as string, /Runbook: docs\/operations\.md#alarm-names-stale$/);
});

test('the role of member accounts trusts one principal and allows what the coordinator may read', () => {
  const template = readFileSync(join(__dirname, '../member-role.yaml'), 'utf8');
  const actions = [...template.matchAll(/- (ec2:\w+)/g)].map(([, action]) => action);
  const { Statement } = refreshing.only('AWS::IAM::Policy', 'PlanningCoordinatorRole').Properties.PolicyDocument;
  const describing = (Statement as { Action: string | string[] }[]).map(({ Action }) => [Action].flat()).find(([action]) => action?.startsWith('ec2:'));
  assert.deepEqual(actions, describing);
  assert.deepEqual(template.match(/AWS: .*/g), ['AWS: !Ref TrustedPrincipal']);
});

const SLUGS = ['dead-letters', 'oldest-message', 'run-stalled', 'worker-errors', 'worker-throttles', 'run-failed', 'run-timed-out'];

test('every alarm notifies the topics and links its section of the runbook', () => {
  const alarms = full.all('AWS::CloudWatch::Alarm').map(([, { Properties }]) => Properties);
  assert.deepEqual(alarms.map(({ AlarmName }) => AlarmName as string), SLUGS.map((slug) => `Flowherd-${slug}`));
  for (const [index, alarm] of alarms.entries()) {
    assert.deepEqual((alarm.AlarmActions as unknown[]).map(text), ['arn:aws:sns:eu-west-1:123456789012:alarms', '<AlarmsTopic>']);
    assert.match(alarm.AlarmDescription as string, new RegExp(`\\. Runbook: docs/operations\\.md#alarm-${SLUGS[index]}$`));
    assert.equal(alarm.TreatMissingData, 'notBreaching');
  }
  assert.equal(full.only('AWS::SNS::Subscription', '').Properties.Endpoint, 'operations@example.com');
});

test('without a topic and an address the alarms are the same, and there is no topic', () => {
  assert.equal(plain.all('AWS::CloudWatch::Alarm').length, SLUGS.length);
  assert.equal(plain.all('AWS::SNS::Topic').length, 0);
});

test('a topic given by its ARN causes a warning about the KMS key that CloudWatch cannot use', () => {
  const warnings = (template: typeof plain) => Annotations.fromStack(template.stack).findWarning('*', Match.anyValue()).map(({ entry }) => String(entry.data));
  assert.deepEqual(warnings(plain), []);
  const [warning, ...others] = warnings(full);
  assert.match(warning ?? '', /alias\/aws\/sns.*get-topic-attributes --topic-arn arn:aws:sns:eu-west-1:123456789012:alarms /);
  assert.deepEqual(others, []);
  assert.deepEqual(warnings(synth({ alarmEmail: 'operations@example.com' })), []);
});

test('the alarm run-stalled waits longer than a slow batch takes', () => {
  for (const [template, periods] of [[plain, 3], [full, 6]] as const) {
    assert.equal(template.only('AWS::CloudWatch::Alarm', 'Alarmsrunstalled').Properties.EvaluationPeriods, periods);
  }
});

test('the dashboard shows every metric of the workers and the estimated cost', () => {
  const body = JSON.stringify(plain.only('AWS::CloudWatch::Dashboard', '').Properties.DashboardBody);
  const metrics = ['ObjectsDone', 'ObjectsFailed', 'ObjectsToRetry', 'RowsWritten', 'RecordsRejected', 'BytesIn', 'BytesOut', 'TaskDuration'];
  for (const metric of [...metrics, 'Throttles', 'ConcurrentExecutions', 'ApproximateAgeOfOldestMessage', 'estimated cost (USD)', '0.0000133334']) {
    assert.ok(body.includes(metric), metric);
  }
});

test('the name of the dashboard contains the region, because dashboards are global', () => {
  const { DashboardName } = plain.only('AWS::CloudWatch::Dashboard', '').Properties;
  assert.equal(text(DashboardName), 'Flowherd-<AWS::Region>');
});

test('the estimated cost includes S3 requests, empty receives and log bytes', () => {
  const body = text(plain.only('AWS::CloudWatch::Dashboard', '').Properties.DashboardBody);
  const [, cost = ''] = /"expression":"([^"]*workerLog[^"]*)"/.exec(body) ?? [];
  // An object has 7 reads at 0.40 and 2 writes at 5.00 dollars per million; a failed attempt has 5 and 1.
  assert.ok(cost.endsWith('done * 0.0000128 + (failed + retried) * 0.000007'), cost);
  assert.ok(cost.includes('((sent + received + deleted) / 10 + empty) * 0.0000005 + '), cost);
  for (const name of ['worker', 'coordinator']) assert.ok(cost.includes(`${name}Calls * 0.0000002 + ${name}Log * 0.0000000005 + `), cost);
  for (const metric of ['NumberOfEmptyReceives', '"AWS/Logs","IncomingBytes","LogGroupName","<FleetWorkerLog>"', '<PlanningCoordinatorLog>']) {
    assert.ok(body.includes(metric), metric);
  }
});

test('the stack has the outputs that the command reads, each with a description', () => {
  const outputs = (template: typeof plain) => template.template.toJSON()['Outputs'] as Record<string, { Description: string }>;
  const names = (template: typeof plain) => Object.keys(outputs(template));
  for (const [name, { Description }] of Object.entries(outputs(full))) assert.ok(Description, name);
  assert.deepEqual(names(full).filter((name) => !names(plain).includes(name)), ['SourceBucketRegion']);
  assert.deepEqual(names(plain), [
    'SourceBucket',
    'SourceBucketOwner',
    'ResultsBucket',
    'ResultsBucketOwner',
    'FleetMain',
    'QueueUrl',
    'DeadLetterQueueUrl',
    'WorkerFunction',
    'WorkerTrigger',
    'CoordinatorFunction',
    'StateMachineArn',
    'Dashboard',
    'Database',
    'Workgroup',
  ]);
});

test('the workgroup encrypts query results and limits the bytes that a query scans', () => {
  const { Name, WorkGroupConfiguration, RecursiveDeleteOption } = plain.only('AWS::Athena::WorkGroup', '').Properties;
  assert.equal(Name, 'Flowherd');
  assert.equal(WorkGroupConfiguration.EnforceWorkGroupConfiguration, true);
  assert.equal(WorkGroupConfiguration.BytesScannedCutoffPerQuery, 1e12);
  assert.equal(WorkGroupConfiguration.ResultConfiguration.EncryptionConfiguration.EncryptionOption, 'SSE_S3');
  // Without it, a stack whose workgroup has query executions cannot be deleted.
  assert.equal(RecursiveDeleteOption, true);
});

test('on a local cloud only the alarms on metric math are missing', () => {
  const local = synth({ localCloud: 'true' });
  const missing = Object.keys(plain.resources).filter((id) => !(id in local.resources));
  assert.deepEqual(missing.map((id) => id.replace(/[0-9A-F]{8}$/, '')), ['Alarmsrunstalled', 'Alarmsworkererrors']);
});

test('cfn-lint accepts the templates', async () => {
  // W3005: the CDK writes dependencies that a reference already implies.
  const lint = (template: { file: string }) =>
    promisify(execFile)(tool('cfn-lint'), ['--ignore-checks', 'W3005', '--regions', 'eu-west-1', '--', template.file]);
  const templates = [plain, full, refreshing, { file: join(__dirname, '../member-role.yaml') }];
  for (const { stdout } of await Promise.all(templates.map(lint))) assert.equal(stdout, '');
});

/** The Glue table of that name. */
function only(stack: typeof plain, name: string) {
  const tables = stack.all('AWS::Glue::Table').map(([, table]) => table);
  return tables.find(({ Properties }) => Properties.TableInput.Name === name) ?? assert.fail(name);
}

test('a table over files has its columns, format and partition projection, and its location is in the results bucket', () => {
  const input = only(full, 'vpc_flow_text').Properties.TableInput;
  assert.equal(input.Name, 'vpc_flow_text');
  assert.equal(input.TableType, 'EXTERNAL_TABLE');
  assert.deepEqual(input.PartitionKeys, [{ Name: 'datehour', Type: 'string' }]);
  assert.equal(input.Parameters['skip.header.line.count'], '1');
  assert.equal(input.Parameters['projection.datehour.range'], '2020/01/01/00,NOW');
  assert.deepEqual(input.StorageDescriptor.Columns, [{ Name: 'timestamp', Type: 'string' }, { Name: 'end', Type: 'string' }]);
  assert.equal(input.StorageDescriptor.SerdeInfo.Parameters.escapeChar, '\u0001');
  const [results] = full.all('AWS::S3::Bucket').map(([id]) => ({ Ref: id }));
  const inResults = (path: string) => ({ 'Fn::Join': ['', ['s3://', results, path]] });
  assert.deepEqual(input.StorageDescriptor.Location, inResults('/csv/vpc_flow/firehose/'));
  // Athena substitutes the braces; CloudFormation does not.
  assert.deepEqual(input.Parameters['storage.location.template'], inResults('/csv/vpc_flow/firehose/${datehour}/'));
});

test('partitions of any layout reach Glue unchanged', () => {
  const [table] = TABLES.tables;
  const parameters = {
    'projection.enabled': 'true',
    'projection.account.type': 'enum',
    'projection.account.values': '111111111111,222222222222',
    'projection.region.type': 'injected',
    'projection.day.type': 'date',
    'projection.day.format': "yyyy'/month='MM'/day='dd",
    'projection.day.range': '2020/month=01/day=01,NOW',
    'projection.day.interval': '1',
    'projection.day.interval.unit': 'DAYS',
  };
  const partitions = ['account', 'region', 'day'].map((name) => ({ name, type: 'string' }));
  const template = 'csv/vpc_flow/AWSLogs/aws-account-id=${account}/aws-region=${region}/year=${day}/';
  const tables = { ...TABLES, tables: [{ ...table, partitions, parameters, location_template: template }] };
  const stack = synth({ tables: file('layout.json', JSON.stringify(tables)) });
  const { PartitionKeys, Parameters } = only(stack, 'vpc_flow_text').Properties.TableInput;
  assert.deepEqual(PartitionKeys, partitions.map(({ name, type }) => ({ Name: name, Type: type })));
  const { 'storage.location.template': location, EXTERNAL, ...rest } = Parameters;
  assert.deepEqual([EXTERNAL, rest], ['TRUE', parameters]);
  const [results] = stack.all('AWS::S3::Bucket').map(([id]) => ({ Ref: id }));
  assert.deepEqual(location, { 'Fn::Join': ['', ['s3://', results, `/${template}`]] });
});

test('a view has the form of the views that Athena creates', () => {
  const input = only(full, 'vpc_flow').Properties.TableInput;
  assert.equal(input.TableType, 'VIRTUAL_VIEW');
  assert.equal(input.Parameters.presto_view, 'true');
  const [, definition] = /^\/\* Presto View: (\S+) \*\/$/.exec(input.ViewOriginalText) ?? [];
  assert.deepEqual(JSON.parse(Buffer.from(definition ?? '', 'base64').toString()), {
    originalSql: TABLES.views[0]?.sql,
    catalog: 'awsdatacatalog',
    schema: 'flowherd',
    columns: [{ name: 'timestamp', type: 'timestamp(3)' }, { name: 'end', type: 'bigint' }],
  });
  assert.deepEqual(input.StorageDescriptor.Columns, [{ Name: 'timestamp', Type: 'timestamp' }, { Name: 'end', Type: 'bigint' }]);
});

test('saved queries are in the workgroup, except on a local cloud', () => {
  const query = full.only('AWS::Athena::NamedQuery', '').Properties;
  assert.equal(query.Name, 'Flowherd: top-talkers');
  assert.equal(query.QueryString, 'SELECT 1');
  assert.deepEqual([query.Database, query.WorkGroup], ['flowherd', 'Flowherd']);
  const local = synth({ tables: file('tables.json', JSON.stringify(TABLES)), localCloud: 'true' });
  assert.equal(local.all('AWS::Athena::NamedQuery').length, 0);
  assert.equal(local.all('AWS::Glue::Table').length, 2);
});

test('names in Glue are lower case without hyphens for any stack name', () => {
  const stack = synth({ stackName: 'My-Logs', tables: file('tables.json', JSON.stringify(TABLES)) });
  const { DatabaseInput } = stack.only('AWS::Glue::Database', '').Properties;
  assert.equal(DatabaseInput.Name, 'my_logs');
  assert.equal(text((stack.template.toJSON()['Outputs'] as Record<string, { Value: unknown }>)['Database']?.Value), '<QueryDatabase>');
  assert.equal(stack.only('AWS::Athena::NamedQuery', '').Properties.Database, 'my_logs');
  for (const [, { Properties }] of stack.all('AWS::Glue::Table')) {
    const { Name, StorageDescriptor, PartitionKeys, ViewOriginalText } = Properties.TableInput;
    const columns = [...StorageDescriptor.Columns, ...(PartitionKeys ?? [])] as { Name: string }[];
    for (const name of [Name as string, ...columns.map((column) => column.Name)]) assert.match(name, /^[a-z_][a-z0-9_]*$/);
    if (ViewOriginalText === undefined) continue;
    const [, definition = ''] = /^\/\* Presto View: (\S+) \*\/$/.exec(ViewOriginalText as string) ?? [];
    assert.equal((JSON.parse(Buffer.from(definition, 'base64').toString()) as { schema: string }).schema, 'my_logs');
  }
});

test('a file that does not define tables is refused', () => {
  assert.throws(() => synth({ tables: file('invalid.json', '{"name": "x"}') }), /must be the output of `flowherd sql --dialect glue`/);
  for (const name of ['End', 'no-hyphens', '1st', '']) {
    const [table] = TABLES.tables;
    const invalid = { ...TABLES, tables: [{ ...table, columns: [{ name, type: 'string' }] }] };
    assert.throws(() => synth({ tables: file('invalid.json', JSON.stringify(invalid)) }), /must be the output of `flowherd sql --dialect glue`/, name);
  }
});
