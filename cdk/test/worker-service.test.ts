// Workers on Fargate: the template, and that it fits the image of container/.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';

import { App, Duration, Stack } from 'aws-cdk-lib';
import { Template } from 'aws-cdk-lib/assertions';
import { Architecture } from 'aws-cdk-lib/aws-lambda';
import { RetentionDays } from 'aws-cdk-lib/aws-logs';

import { FlowherdError, ResultsBucket, SourceBucket, TaskQueue, WorkerCluster, type WorkerClusterProps, WorkerFleet, WorkerService, type WorkerServiceProps } from '../lib';
import { tool } from './local-cloud';
import { addChecks, artifacts, listed, type Resource, synth as synthStack, temporaryDirectory, text } from './stack';

const IMAGE = '123456789012.dkr.ecr.eu-west-1.amazonaws.com/flowherd/worker:1.2';
const GIVEN = { vpcId: 'vpc-0123456789abcdef0', subnetIds: ['subnet-0123456789abcdef0', 'subnet-0123456789abcdef1'] };
const repository = resolve(__dirname, '../..');

type Options = Partial<WorkerServiceProps> & Pick<WorkerClusterProps, 'network'>;

/** Synthesizes a stack with workers on Fargate. Throws if cdk-nag finds something that is not acknowledged. */
function synth({ network, ...options }: Options = {}) {
  const outdir = temporaryDirectory();
  const app = new App({ outdir });
  const stack = new Stack(app, 'Flowherd');
  const prefixes = ['firehose/'];
  const source = new SourceBucket(stack, 'Source', {
    bucketName: 'my-archive', prefixes, kmsKeyArn: 'arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab',
  });
  const results = new ResultsBucket(stack, 'Results');
  const tasks = new TaskQueue(stack, 'Tasks', { queueName: `${stack.stackName}.fifo`, visibilityTimeout: Duration.minutes(30), maxReceiveCount: 10, retention: Duration.days(14) });
  const cluster = new WorkerCluster(stack, 'Workers', { source, results, network });
  new WorkerService(stack, 'Fleet', {
    cluster, source, results, tasks, prefixes, image: IMAGE, containerDirectory: 'nowhere', vcpu: 1, memoryMb: 2048, maxTasks: 10,
    backlogPerTask: 100, architecture: Architecture.ARM_64, logRetention: RetentionDays.TWO_WEEKS, ...options,
  });
  new WorkerFleet(stack, 'Functions', {
    source, results, tasks, prefixes, artifacts, architecture: Architecture.ARM_64, memoryMb: 1769, timeout: Duration.minutes(5),
    logRetention: RetentionDays.TWO_WEEKS, maxConcurrency: 50, batchSize: 10,
  });
  addChecks(app);
  app.synth();
  const resources = Template.fromStack(stack).toJSON()['Resources'] as Record<string, Resource>;
  const all = (type: string) => Object.entries(resources).filter(([, resource]) => resource.Type === type);
  const only = (type: string, id = ''): Resource['Properties'] => {
    const found = all(type).filter(([logical]) => logical.startsWith(id));
    assert.equal(found.length, 1, `${type} ${id}`);
    return found[0]?.[1].Properties;
  };
  return { resources, all, only, file: join(outdir, 'Flowherd.template.json') };
}
type Synthesized = ReturnType<typeof synth>;

const plain = synth();
const given = synth({ network: GIVEN, vcpu: 4, memoryMb: 8192, architecture: Architecture.X86_64, stopTimeout: Duration.seconds(60) });

const container = (stack: Synthesized) => {
  const [definition, ...others] = stack.only('AWS::ECS::TaskDefinition').ContainerDefinitions;
  assert.deepEqual(others, []);
  return definition;
};

interface Statement {
  readonly Effect: string;
  readonly Action: string | string[];
  readonly Resource: unknown;
  readonly Condition?: unknown;
  readonly Principal?: unknown;
}

/** The statements of a policy as lines of effect, action, resource and condition. */
const lines = (statements: Statement[]) =>
  statements
    .flatMap(({ Effect, Action, Resource, Condition }) =>
      listed(Resource).flatMap((resource) =>
        listed(Action).map((action) => `${Effect} ${action} ${text(resource)} ${JSON.stringify(Condition ?? {})}`),
      ),
    )
    .sort();
const permissions = (stack: Synthesized, role: string) => lines(stack.only('AWS::IAM::Policy', role).PolicyDocument.Statement);

test('the service runs on Fargate in private subnets without a public address', () => {
  const { LaunchType, NetworkConfiguration } = plain.only('AWS::ECS::Service');
  const { AssignPublicIp, Subnets, SecurityGroups } = NetworkConfiguration.AwsvpcConfiguration;
  assert.deepEqual([LaunchType, AssignPublicIp], ['FARGATE', 'DISABLED']);
  assert.deepEqual((Subnets as unknown[]).map(text), ['<WorkersVpcWorkersSubnet1Subnet>', '<WorkersVpcWorkersSubnet2Subnet>']);
  assert.deepEqual((SecurityGroups as unknown[]).map(text), ['<WorkersSecurityGroup>']);
});

test('the VPC of the stack has no route to the internet', () => {
  for (const type of ['InternetGateway', 'NatGateway', 'VPCGatewayAttachment', 'EgressOnlyInternetGateway', 'Route', 'EIP']) {
    assert.deepEqual(plain.all(`AWS::EC2::${type}`), [], type);
  }
  for (const [id, { Properties }] of plain.all('AWS::EC2::Subnet')) assert.equal(Properties.MapPublicIpOnLaunch, false, id);
});

test('the VPC of the stack has the endpoints that a task needs, and they accept HTTPS from the workers only', () => {
  const endpoints = plain.all('AWS::EC2::VPCEndpoint').map(([, { Properties }]) => Properties);
  const named = endpoints.map(({ ServiceName, VpcEndpointType }) => `${VpcEndpointType} ${text(ServiceName)}`);
  const region = 'com.amazonaws.<AWS::Region>';
  assert.deepEqual(named.sort(), [
    `Gateway ${region}.s3`, `Interface ${region}.ecr.api`, `Interface ${region}.ecr.dkr`, `Interface ${region}.logs`, `Interface ${region}.sqs`,
  ]);
  for (const endpoint of endpoints.filter(({ VpcEndpointType }) => VpcEndpointType === 'Interface')) {
    assert.equal(endpoint.PrivateDnsEnabled, true);
    assert.deepEqual((endpoint.SecurityGroupIds as unknown[]).map(text), ['<WorkersEndpointSecurityGroup>']);
  }
  const { SecurityGroupIngress, ...inline } = plain.only('AWS::EC2::SecurityGroup', 'WorkersEndpointSecurityGroup');
  assert.equal(SecurityGroupIngress, undefined, JSON.stringify(inline));
  const { FromPort, ToPort, IpProtocol, SourceSecurityGroupId } = plain.only('AWS::EC2::SecurityGroupIngress');
  assert.deepEqual([FromPort, ToPort, IpProtocol, text(SourceSecurityGroupId)], [443, 443, 'tcp', '<WorkersSecurityGroup>']);
});

test('the endpoints of S3 and SQS serve the buckets of the stack, the layers of images and the queue, and nothing else', () => {
  const policies = plain.all('AWS::EC2::VPCEndpoint').flatMap(([, { Properties }]) =>
    Properties.PolicyDocument === undefined ? [] : [lines(Properties.PolicyDocument.Statement)],
  );
  const resources = policies.map((policy) => [...new Set(policy.map((line) => line.split(' ')[2]))].sort());
  assert.deepEqual(resources.sort(), [
    ['<ResultsBucket>', '<ResultsBucket>/*', 'arn:<AWS::Partition>:s3:::my-archive', 'arn:<AWS::Partition>:s3:::my-archive/*',
      'arn:<AWS::Partition>:s3:::prod-<AWS::Region>-starport-layer-bucket/*'],
    ['<TasksQueue>'],
  ]);
  assert.ok(policies.flat().every((line) => !line.split(' ')[1]?.includes('*')), JSON.stringify(policies));
});

test('workers accept no connections and open only HTTPS', () => {
  for (const stack of [plain, given]) {
    const { SecurityGroupIngress, SecurityGroupEgress } = stack.only('AWS::EC2::SecurityGroup', 'WorkersSecurityGroup');
    assert.equal(SecurityGroupIngress, undefined);
    assert.deepEqual((SecurityGroupEgress as Record<string, unknown>[]).map(({ CidrIp, FromPort, ToPort, IpProtocol }) => [CidrIp, FromPort, ToPort, IpProtocol]), [
      ['0.0.0.0/0', 443, 443, 'tcp'],
    ]);
  }
});

test('in given subnets the stack creates no VPC, and takes the given security groups', () => {
  const stack = synth({ network: { ...GIVEN, securityGroupIds: ['sg-0123456789abcdef0'] } });
  for (const type of ['VPC', 'Subnet', 'VPCEndpoint', 'SecurityGroup', 'SecurityGroupEgress', 'SecurityGroupIngress']) {
    assert.deepEqual(stack.all(`AWS::EC2::${type}`), [], type);
  }
  const { AwsvpcConfiguration } = stack.only('AWS::ECS::Service').NetworkConfiguration;
  assert.deepEqual(AwsvpcConfiguration, { AssignPublicIp: 'DISABLED', Subnets: GIVEN.subnetIds, SecurityGroups: ['sg-0123456789abcdef0'] });
});

test('the task has the given size and architecture', () => {
  const size = (stack: Synthesized) => {
    const { Cpu, Memory, RuntimePlatform, NetworkMode, RequiresCompatibilities } = stack.only('AWS::ECS::TaskDefinition');
    assert.deepEqual([NetworkMode, RequiresCompatibilities], ['awsvpc', ['FARGATE']]);
    return [Cpu, Memory, RuntimePlatform];
  };
  assert.deepEqual(size(plain), ['1024', '2048', { CpuArchitecture: 'ARM64', OperatingSystemFamily: 'LINUX' }]);
  assert.deepEqual(size(given), ['4096', '8192', { CpuArchitecture: 'X86_64', OperatingSystemFamily: 'LINUX' }]);
});

test('the container is not root, cannot write its file system and has no capabilities', () => {
  const { User, ReadonlyRootFilesystem, Privileged, LinuxParameters, Essential, MountPoints, PortMappings } = container(plain);
  assert.match(User, /^[1-9]\d*:[1-9]\d*$/);
  assert.deepEqual([ReadonlyRootFilesystem, Privileged ?? false, Essential], [true, false, true]);
  assert.deepEqual(LinuxParameters, { InitProcessEnabled: true, Capabilities: { Drop: ['ALL'] } });
  assert.deepEqual([MountPoints ?? [], PortMappings ?? []], [[], []]);
  assert.deepEqual(plain.only('AWS::ECS::TaskDefinition').Volumes ?? [], []);
  assert.equal(plain.only('AWS::ECS::Service').EnableExecuteCommand ?? false, false);
});

test('a worker has 10 seconds less to finish objects than ECS waits before it kills the task', () => {
  for (const [stack, stop] of [[plain, 120], [given, 60]] as const) {
    const { StopTimeout, Command } = container(stack);
    assert.equal(StopTimeout, stop);
    assert.equal(Command[Command.indexOf('--grace') + 1], `${stop - 10}`);
  }
});

test('a worker processes two objects per processor', () => {
  for (const [stack, concurrency] of [[plain, '2'], [given, '8'], [synth({ vcpu: 0.25, memoryMb: 512 }), '2']] as const) {
    const { Command } = container(stack);
    assert.equal(Command[Command.indexOf('--concurrency') + 1], concurrency);
  }
});

test('the task has the environment of the worker function, and the region', () => {
  const pairs = (container(plain).Environment as { Name: string; Value: unknown }[]).map(({ Name, Value }) => [Name, text(Value)]);
  const { Variables } = plain.only('AWS::Lambda::Function', 'FunctionsWorker').Environment;
  const expected = Object.entries(Variables as object).map(([name, value]) => [name, text(value)]);
  assert.deepEqual(pairs.sort(), [...expected, ['AWS_REGION', '<AWS::Region>']].sort());
  assert.deepEqual(container(plain).Secrets ?? [], []);
});

test('the task role has the permissions of the worker function, except for the log, which the execution role writes', () => {
  const ofFunction = permissions(plain, 'FunctionsWorkerRole').filter((line) => !line.includes(' logs:'));
  assert.deepEqual(permissions(plain, 'FleetTaskRole'), ofFunction);
  assert.ok(ofFunction.length > 15, JSON.stringify(ofFunction));
});

test('the execution role may pull the image and write the log, and nothing else', () => {
  const image = 'arn:<AWS::Partition>:ecr:eu-west-1:123456789012:repository/flowherd/worker';
  assert.deepEqual(permissions(plain, 'FleetExecutionRole'), [
    ...['ecr:BatchCheckLayerAvailability', 'ecr:BatchGetImage', 'ecr:GetDownloadUrlForLayer'].map((action) => `Allow ${action} ${image} {}`),
    'Allow ecr:GetAuthorizationToken * {}',
    ...['logs:CreateLogStream', 'logs:PutLogEvents'].map((action) => `Allow ${action} <FleetLog> {}`),
  ].sort());
  const elsewhere = synth({ image: 'registry.example.com/flowherd/worker:1.2', network: GIVEN });
  assert.deepEqual(permissions(elsewhere, 'FleetExecutionRole').map((line) => line.split(' ')[1]), ['logs:CreateLogStream', 'logs:PutLogEvents']);
});

test('only ECS tasks of this account can assume the roles', () => {
  for (const role of ['FleetTaskRole', 'FleetExecutionRole']) {
    const { AssumeRolePolicyDocument, ...others } = plain.only('AWS::IAM::Role', role);
    assert.deepEqual(others, {}, role);
    const [{ Principal, Condition }, ...more] = AssumeRolePolicyDocument.Statement;
    assert.deepEqual([Principal, more], [{ Service: 'ecs-tasks.amazonaws.com' }, []]);
    assert.deepEqual(Condition.StringEquals, { 'aws:SourceAccount': { Ref: 'AWS::AccountId' } });
    assert.equal(text(Condition.ArnLike['aws:SourceArn']), 'arn:<AWS::Partition>:ecs:<AWS::Region>:<AWS::AccountId>:*');
  }
  assert.deepEqual(plain.all('AWS::IAM::Role').map(([id]) => id.replace(/[0-9A-F]{8}$/, '')).sort(), ['FleetExecutionRole', 'FleetTaskRole', 'FunctionsWorkerRole']);
});

test('the log has a retention, and a log that does not answer does not stop a worker', () => {
  assert.equal(plain.only('AWS::Logs::LogGroup', 'FleetLog').RetentionInDays, 14);
  const { LogDriver, Options } = container(plain).LogConfiguration;
  assert.equal(LogDriver, 'awslogs');
  assert.deepEqual([text(Options['awslogs-group']), Options.mode], ['<FleetLog>', 'non-blocking']);
});

test('a deployment keeps the number of tasks, starts new ones before it stops old ones, and rolls back when they do not start', () => {
  const { DesiredCount, DeploymentConfiguration } = plain.only('AWS::ECS::Service');
  assert.equal(DesiredCount, undefined);
  assert.deepEqual(DeploymentConfiguration.DeploymentCircuitBreaker, { Enable: true, Rollback: true });
  assert.deepEqual([DeploymentConfiguration.MinimumHealthyPercent, DeploymentConfiguration.MaximumPercent], [100, 200]);
});

/** The step scaling policy of that ID, and the alarm that starts it. */
function step(stack: Synthesized, id: string) {
  const [[logical, { Properties }] = assert.fail(id), ...others] = stack.all('AWS::ApplicationAutoScaling::ScalingPolicy').filter(([logical]) => logical.startsWith(`FleetScaling${id}`));
  assert.deepEqual([others, Properties.PolicyType], [[], 'StepScaling']);
  const alarms = stack.all('AWS::CloudWatch::Alarm').map(([, alarm]) => alarm.Properties).filter(({ AlarmActions }) => AlarmActions[0].Ref === logical);
  assert.equal(alarms.length, 1, id);
  return { policy: Properties.StepScalingPolicyConfiguration, alarm: alarms[0] };
}

/** The metrics of an alarm by their names in its expression, and the expression. */
function math(metrics: Record<string, any>[]) {
  const stats = metrics.filter(({ MetricStat }) => MetricStat !== undefined);
  return {
    expression: metrics.find(({ Expression }) => Expression !== undefined)?.['Expression'] as string,
    metrics: Object.fromEntries(stats.map(({ Id, MetricStat }) => {
      const { Namespace, MetricName, Dimensions } = MetricStat.Metric;
      return [Id, [Namespace, MetricName, ...Dimensions.map(({ Value }: { Value: unknown }) => text(Value)), MetricStat.Stat].join(' ')];
    })),
  };
}
const WAITING = 'AWS/SQS ApproximateNumberOfMessagesVisible <TasksQueue>';
const TAKEN = 'AWS/SQS ApproximateNumberOfGroupsWithInflightMessages <TasksQueue> Maximum';

test('the service scales between no task and the maximum, with the service-linked role of ECS', () => {
  const { MinCapacity, MaxCapacity, ScalableDimension, ServiceNamespace, ResourceId, RoleARN } = plain.only('AWS::ApplicationAutoScaling::ScalableTarget');
  assert.deepEqual([MinCapacity, MaxCapacity, ScalableDimension, ServiceNamespace], [0, 10, 'ecs:service:DesiredCount', 'ecs']);
  assert.equal(text(ResourceId), 'service/<WorkersCluster>/<FleetService>');
  assert.match(text(RoleARN), /aws-service-role\/ecs\.application-autoscaling\.amazonaws\.com\/AWSServiceRoleForApplicationAutoScaling_ECSService$/);
});

test('the first task starts when messages wait and no worker has one', () => {
  const { policy, alarm } = step(plain, 'FirstTask');
  assert.deepEqual(policy, { AdjustmentType: 'ChangeInCapacity', Cooldown: 300, StepAdjustments: [{ MetricIntervalLowerBound: 0, ScalingAdjustment: 1 }] });
  assert.deepEqual(math(alarm.Metrics), { expression: 'IF(taken < 1, waiting, 0)', metrics: { taken: TAKEN, waiting: `${WAITING} Minimum` } });
  assert.deepEqual([alarm.ComparisonOperator, alarm.Threshold, alarm.EvaluationPeriods], ['GreaterThanOrEqualToThreshold', 1, 1]);
});

test('more tasks start in proportion to the waiting messages per running task, and none is stopped for that', () => {
  const policies = plain.all('AWS::ApplicationAutoScaling::ScalingPolicy').map(([, { Properties }]) => Properties);
  const [{ TargetTrackingScalingPolicyConfiguration: policy }] = policies.filter(({ PolicyType }) => PolicyType === 'TargetTrackingScaling') as [any];
  assert.deepEqual([policy.TargetValue, policy.DisableScaleIn], [100, true]);
  const { expression, metrics } = math(policy.CustomizedMetricSpecification.Metrics);
  assert.equal(expression, 'waiting / running');
  assert.equal(metrics['waiting'], `${WAITING} Maximum`);
  assert.equal(metrics['running'], 'ECS/ContainerInsights RunningTaskCount <WorkersCluster> <FleetService> Average');
  const returned = (policy.CustomizedMetricSpecification.Metrics as Record<string, unknown>[]).filter(({ ReturnData }) => ReturnData);
  assert.deepEqual(returned.map(({ Id }) => Id), ['backlog']);
  assert.deepEqual(plain.only('AWS::ECS::Cluster').ClusterSettings, [{ Name: 'containerInsights', Value: 'enabled' }]);
});

test('all tasks stop when no message has waited or been in flight for five minutes', () => {
  const { policy, alarm } = step(plain, 'NoTasks');
  assert.deepEqual(policy, { AdjustmentType: 'ExactCapacity', StepAdjustments: [{ MetricIntervalUpperBound: 0, ScalingAdjustment: 0 }] });
  assert.deepEqual(math(alarm.Metrics), { expression: 'waiting + taken', metrics: { taken: TAKEN, waiting: `${WAITING} Maximum` } });
  assert.deepEqual([alarm.ComparisonOperator, alarm.Threshold, alarm.EvaluationPeriods, alarm.TreatMissingData], ['LessThanOrEqualToThreshold', 0, 5, 'notBreaching']);
});

test('an image is built from the directory of make container-binary, and its absence is an error that says what to run', () => {
  const directory = temporaryDirectory();
  assert.throws(() => synth({ image: undefined, containerDirectory: directory }), (error: unknown) => {
    assert.ok(error instanceof FlowherdError);
    assert.match(error.message, /^no worker binary at .*flowherd-worker: run `make container-binary`, or set image/);
    return true;
  });
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, 'flowherd-worker'), '');
  writeFileSync(join(directory, 'Dockerfile'), readFileSync(join(repository, 'container/Dockerfile')));
  const stack = synth({ image: undefined, containerDirectory: directory });
  assert.match(text(container(stack).Image), /\.dkr\.ecr\..*\/cdk-hnb659fds-container-assets-.*:[0-9a-f]{64}$/);
  const assets = JSON.parse(readFileSync(stack.file.replace('.template.', '.assets.'), 'utf8'));
  const [image] = Object.values(assets.dockerImages) as [{ source: { platform: string } }];
  assert.equal(image.source.platform, 'linux/arm64');
  assert.ok(permissions(stack, 'FleetExecutionRole').some((line) => /^Allow ecr:BatchGetImage arn:.*container-assets/.test(line)));
});

/** The instructions of the Dockerfile, without comments. */
const instructions = readFileSync(join(repository, 'container/Dockerfile'), 'utf8')
  .split('\n')
  .filter((line) => line.trim() !== '' && !line.startsWith('#'))
  .map((line) => [line.split(' ')[0] ?? '', line.slice(line.indexOf(' ') + 1)] as const);
const values = (name: string) => instructions.filter(([instruction]) => instruction === name).map(([, value]) => value);

test('the template runs the entry point and the user of the Dockerfile', () => {
  const { EntryPoint, User } = container(plain);
  assert.deepEqual(values('ENTRYPOINT').map((value) => JSON.parse(value) as unknown), [EntryPoint]);
  assert.deepEqual(values('USER'), [User]);
});

test('the Dockerfile copies only the certificates and the binary that make container-binary writes, and runs nothing as root', () => {
  const makefile = readFileSync(join(repository, 'Makefile'), 'utf8');
  const [, recipe = ''] = /^container-binary:.*\n((?:\t.*\n)+)/m.exec(makefile) ?? [];
  const copies = values('COPY').map((value) => value.split(' '));
  assert.deepEqual(copies, [
    ['cacert.pem', '/etc/ssl/certs/ca-certificates.crt'],
    ['flowherd-worker', container(plain).EntryPoint[0]],
  ]);
  for (const [source] of copies) assert.ok(recipe.includes(`target/container/${source}`), recipe);
  assert.ok(recipe.includes('container/Dockerfile'), recipe);
  assert.deepEqual(values('RUN').concat(values('ADD')), []);
  assert.equal(instructions.at(0)?.[0], 'FROM');
  assert.ok(existsSync(join(repository, 'container/Dockerfile')));
});

const stack = synthStack({ workers: 'fargate', tasks: { max: 3, vcpu: 2, memoryMb: 4096 }, image: IMAGE });
const names = (type: string) => stack.all(type).map(([, { Properties }]) => Properties);

test('with workers on Fargate the stack has the service in place of the function and its trigger', () => {
  assert.deepEqual(names('AWS::Lambda::EventSourceMapping'), []);
  assert.deepEqual(stack.all('AWS::Lambda::Function').map(([id]) => id.replace(/[0-9A-F]{8}$/, '')), ['PlanningCoordinatorFunction']);
  const [{ Cpu, Memory }] = names('AWS::ECS::TaskDefinition') as [Record<string, unknown>];
  const [{ MaxCapacity }] = names('AWS::ApplicationAutoScaling::ScalableTarget') as [Record<string, unknown>];
  assert.deepEqual([Cpu, Memory, MaxCapacity], ['2048', '4096', 3]);
  const outputs = stack.template.toJSON()['Outputs'] as Record<string, { Value: unknown }>;
  assert.deepEqual(['WorkerCluster', 'WorkerService', 'WorkerLog'].map((name) => text(outputs[name]?.Value)), ['<WorkersCluster>', '<FleetService>', '<FleetLog>']);
  assert.deepEqual(['WorkerFunction', 'WorkerTrigger'].filter((name) => name in outputs), []);
  // `flowherd estimate` reads it.
  const { size } = JSON.parse(text(outputs['FleetMain']?.Value)) as { size: unknown };
  assert.deepEqual(size, { workers: 'fargate', max: 3, vcpu: 2, memoryMb: 4096, backlogPerTask: 4 });
});

test('the estimate counts the metrics of all alarms of a stack', () => {
  const source = readFileSync(join(repository, 'cli/src/cost/workers.rs'), 'utf8');
  const counted = (name: string) => Number(new RegExp(`const ${name}: f64 = ([0-9.]+);`).exec(source)?.[1]);
  const metricsOf = ({ Metrics }: { Metrics?: { MetricStat?: unknown }[] }) => (Metrics === undefined ? 1 : Metrics.filter(({ MetricStat }) => MetricStat !== undefined).length);
  const metrics = (template: ReturnType<typeof synthStack>) => {
    const properties = (type: string) => template.all(type).map(([, { Properties }]) => Properties);
    // The estimate counts one alarm of target tracking: scaling in is disabled.
    const tracked = properties('AWS::ApplicationAutoScaling::ScalingPolicy').flatMap(({ TargetTrackingScalingPolicyConfiguration: tracking }) => {
      assert.ok(tracking === undefined || tracking.DisableScaleIn === true);
      return tracking === undefined ? [] : [metricsOf(tracking.CustomizedMetricSpecification)];
    });
    return [...properties('AWS::CloudWatch::Alarm').map(metricsOf), ...tracked].reduce((sum, count) => sum + count, 0);
  };
  assert.deepEqual(
    [metrics(synthStack()), metrics(synthStack({ driver: 'map', prefixes: 'firehose/' })), metrics(stack)],
    [counted('ALARM_METRICS'), counted('ALARM_METRICS_OF_MAP'), counted('ALARM_METRICS_OF_FARGATE')],
  );
});

test('a stack may have fleets on Lambda and on Fargate, and those on Fargate share the cluster', () => {
  const mixed = synthStack({
    workers: 'fargate',
    tasks: { max: 2 },
    image: IMAGE,
    fleets: { main: { workers: 'lambda', prefixes: ['firehose/'] }, long: { prefixes: ['huge/'] }, 'longer-2': { prefixes: ['waf/'], tasks: { max: 7 } } },
  });
  const of = (type: string) => mixed.all(type).map(([, { Properties }]) => Properties);
  assert.equal(mixed.all('AWS::Lambda::EventSourceMapping').length, 1);
  assert.deepEqual([of('AWS::ECS::Cluster').length, of('AWS::EC2::VPC').length], [1, 1]);
  assert.deepEqual(of('AWS::ApplicationAutoScaling::ScalableTarget').map(({ MaxCapacity }) => MaxCapacity as number), [2, 7]);
  const queues = of('AWS::ECS::TaskDefinition').map(({ ContainerDefinitions: [{ Environment }] }) =>
    text((Environment as { Name: string; Value: unknown }[]).find(({ Name }) => Name === 'FLOWHERD_QUEUE_URL')?.Value));
  assert.deepEqual(queues, ['<longTasksQueue>', '<longer2TasksQueue>']);
  // A task may use only the queue and the prefixes of its fleet. The endpoint serves the queues of both.
  const statements = mixed.only('AWS::IAM::Policy', 'longFleetTaskRole').Properties.PolicyDocument.Statement as Statement[];
  const resources = (prefix: string) => statements.filter(({ Action }) => listed(Action)[0]?.startsWith(prefix)).flatMap(({ Resource }) => listed(Resource).map(text));
  assert.deepEqual(resources('sqs:'), ['<longTasksQueue>']);
  assert.deepEqual(resources('s3:GetObject').filter((resource) => resource.includes('my-archive')), ['arn:<AWS::Partition>:s3:::my-archive/huge/*']);
  const endpoint = of('AWS::EC2::VPCEndpoint').find(({ ServiceName }) => text(ServiceName).endsWith('.sqs'));
  const served = (endpoint.PolicyDocument.Statement as Statement[]).flatMap(({ Resource }) => listed(Resource).map(text));
  assert.deepEqual([...new Set(served)].sort(), ['<longTasksQueue>', '<longer2TasksQueue>']);
});

test('the alarms of the function are replaced by an alarm on messages that no task receives', () => {
  const alarms = names('AWS::CloudWatch::Alarm').filter(({ AlarmName }) => AlarmName !== undefined);
  const slugs = ['dead-letters', 'oldest-message', 'run-stalled', 'no-tasks', 'run-failed', 'run-timed-out'];
  assert.deepEqual(alarms.map(({ AlarmName }) => AlarmName as string), slugs.map((slug) => `Flowherd-${slug}`));
  const { Metrics, Threshold, EvaluationPeriods, TreatMissingData, AlarmDescription } = alarms[3];
  assert.deepEqual(math(Metrics), { expression: 'IF(taken < 1, waiting, 0)', metrics: { taken: TAKEN, waiting: `${WAITING} Minimum` } });
  const periods = (Metrics as { MetricStat?: { Period: number } }[]).flatMap(({ MetricStat }) => MetricStat?.Period ?? []);
  assert.deepEqual([periods, Threshold, EvaluationPeriods, TreatMissingData], [[300, 300], 1, 3, 'notBreaching']);
  assert.match(AlarmDescription, /Runbook: docs\/operations\.md#alarm-no-tasks$/);
});

test('a run on Fargate is stalled only after two hours, because an object may take long', () => {
  const [alarm] = names('AWS::CloudWatch::Alarm').filter(({ AlarmName }) => AlarmName === 'Flowherd-run-stalled');
  assert.equal(alarm.EvaluationPeriods * 300, 7200);
});

test('the dashboard shows the tasks and their cost', () => {
  const body = text(names('AWS::CloudWatch::Dashboard')[0].DashboardBody);
  // 2 processors and 4 GB at the prices of arm64.
  for (const part of ['RunningTaskCount', 'DesiredTaskCount', 'runningTasks * PERIOD(runningTasks) / 3600 * 0.079 + ', 'workerLog * 0.0000000005']) {
    assert.ok(body.includes(part), part);
  }
  assert.ok(!body.includes('ConcurrentExecutions'));
});

test('cfn-lint accepts the templates', async () => {
  for (const { file } of [plain, given, stack]) {
    const { stdout } = await promisify(execFile)(tool('cfn-lint'), ['--ignore-checks', 'W3005', '--regions', 'eu-west-1', '--', file]);
    assert.equal(stdout, '');
  }
});
