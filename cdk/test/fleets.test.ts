// Stacks with several fleets.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { readSettings } from '../bin/settings';
import { file, listed, problemsOf, REQUIRED, synth, text } from './stack';

const wafRules = file('waf.toml', '# waf\n');
const plain = synth();
const several = synth({
  prefixes: 'firehose/',
  configFile: file('flow.toml', '# flow\n'),
  maxConcurrency: '40',
  fleets: {
    main: { live: true },
    'waf-2': { prefixes: ['waf/', 'waf-old/'], configFile: wafRules, maxConcurrency: 5, workerMemoryMb: 3008, maxReceiveCount: 3, maxKeys: 7, oldestMessageAlarmSeconds: 60 },
  },
});

/** The problems of these fleets. */
const problems = (fleets: unknown) => problemsOf({ fleets });

interface Statement {
  readonly Action: string | string[];
  readonly Resource: unknown;
}

/** The resources of a role's statements with an action that begins so. */
function resources(template: typeof plain, policy: string, action: string): string[] {
  const { Statement } = template.only('AWS::IAM::Policy', policy).Properties.PolicyDocument as { Statement: Statement[] };
  const matching = Statement.filter(({ Action }) => listed(Action).some((name) => name.startsWith(action)));
  return [...new Set(matching.flatMap(({ Resource }) => listed(Resource).map(text)))].sort();
}

test('a stack that gets more fleets keeps every resource of its fleet main, and the name of the queue', () => {
  const names = (template: typeof plain) => template.only('AWS::SQS::Queue', 'TasksQueue').Properties.QueueName as string;
  const kept = Object.entries(plain.resources).filter(([, { Type }]) => !Type.startsWith('AWS::CDK::'));
  assert.ok(kept.length > 20);
  for (const [id, { Type }] of kept) assert.equal(several.resources[id]?.Type, Type, id);
  for (const type of ['AWS::SQS::Queue', 'AWS::Lambda::EventSourceMapping', 'AWS::S3::Bucket', 'AWS::Lambda::Function']) {
    assert.ok(kept.some(([, { Type }]) => Type === type), type);
  }
  assert.deepEqual([names(plain), names(several)], ['Flowherd.fifo', 'Flowherd.fifo']);
});

test('each fleet has its own queue, dead-letter queue, workers and trigger, with its settings', () => {
  const queue = several.only('AWS::SQS::Queue', 'waf2TasksQueue').Properties;
  assert.deepEqual([queue.QueueName, queue.RedrivePolicy.maxReceiveCount], ['Flowherd-waf-2.fifo', 3]);
  assert.equal(text(queue.RedrivePolicy.deadLetterTargetArn), '<waf2TasksDeadLetters>');
  assert.equal(several.only('AWS::SQS::Queue', 'TasksQueue').Properties.RedrivePolicy.maxReceiveCount, 10);
  for (const [id, name, memory, concurrency] of [['waf2', 'waf2TasksQueue', 3008, 5], ['', 'TasksQueue', 1769, 40]] as const) {
    const worker = several.only('AWS::Lambda::Function', `${id}FleetWorker`).Properties;
    assert.equal(worker.MemorySize, memory);
    assert.equal(text(worker.Environment.Variables.FLOWHERD_QUEUE_URL), `<${name}>`);
    const trigger = several.only('AWS::Lambda::EventSourceMapping', `${id}FleetTrigger`).Properties;
    assert.deepEqual([text(trigger.EventSourceArn), text(trigger.FunctionName)], [`<${name}>`, `<${id}FleetWorkerFunction>`]);
    assert.equal(trigger.ScalingConfig.MaximumConcurrency, concurrency);
  }
});

test('a worker may use only the queue and the prefixes of its fleet, and the coordinator all of them', () => {
  const source = 'arn:<AWS::Partition>:s3:::my-archive';
  const ofSource = (policy: string) => resources(several, policy, 's3:GetObject').filter((resource) => resource.startsWith(source));
  assert.deepEqual(resources(several, 'FleetWorkerRole', 'sqs:'), ['<TasksQueue>']);
  assert.deepEqual(resources(several, 'waf2FleetWorkerRole', 'sqs:'), ['<waf2TasksQueue>']);
  assert.deepEqual(ofSource('FleetWorkerRole'), [`${source}/firehose/*`]);
  assert.deepEqual(ofSource('waf2FleetWorkerRole'), [`${source}/waf-old/*`, `${source}/waf/*`]);
  assert.deepEqual(resources(several, 'PlanningCoordinatorRole', 'sqs:'), [
    '<TasksDeadLetters>', '<TasksQueue>', '<waf2TasksDeadLetters>', '<waf2TasksQueue>',
  ]);
  const { Statement } = several.only('AWS::IAM::Policy', 'PlanningCoordinatorRole').Properties.PolicyDocument;
  const conditions = (Statement as { Condition?: { StringLike?: Record<string, string[]> } }[]).map(({ Condition }) => Condition?.StringLike?.['s3:prefix']);
  assert.deepEqual(conditions.find((prefixes) => prefixes !== undefined), ['firehose/*', 'waf/*', 'waf-old/*']);
});

test('the coordinator gets what differs of each fleet, and may read the rules of all', () => {
  const { Variables } = several.only('AWS::Lambda::Function', 'PlanningCoordinator').Properties.Environment;
  const fleets = JSON.parse(text(Variables.FLOWHERD_FLEETS)) as Record<string, Record<string, unknown>>;
  const { config, ...waf } = fleets['waf-2'] ?? {};
  assert.deepEqual(fleets['main'], { prefixes: ['firehose/'], queueUrl: '<TasksQueue>', live: true });
  assert.deepEqual(waf, { prefixes: ['waf/', 'waf-old/'], queueUrl: '<waf2TasksQueue>', maxKeys: 7 });
  const assets = [text(Variables.FLOWHERD_CONFIG), String(config)];
  assert.equal(new Set(assets).size, 2);
  const readable = resources(several, 'PlanningCoordinatorRole', 's3:GetObject').filter((resource) => resource.endsWith('.toml'));
  assert.deepEqual(readable, assets.map((url) => url.replace('s3://', 'arn:<AWS::Partition>:s3:::')).sort());
});

test('names of a fleet replace those of the stack', () => {
  const template = synth({
    namesUrl: 's3://shared/names.json', namesBucketAccount: '999999999999',
    fleets: { main: {}, own: { prefixes: ['own/'], namesFile: file('own-names.json', '{}') } },
  });
  const { Variables } = template.only('AWS::Lambda::Function', 'PlanningCoordinator').Properties.Environment;
  const { own } = JSON.parse(text(Variables.FLOWHERD_FLEETS)) as Record<string, Record<string, string>>;
  assert.deepEqual([Variables.FLOWHERD_NAMES, Variables.FLOWHERD_NAMES_BUCKET_OWNER], ['s3://shared/names.json', '999999999999']);
  assert.match(own?.['names'] ?? '', /^s3:\/\/cdk-.*\.json$/);
  assert.equal(own?.['namesBucketOwner'], '<AWS::AccountId>');
});

test('each fleet has an output that the command reads, and only main has single outputs', () => {
  const outputs = several.template.toJSON()['Outputs'] as Record<string, { Value: unknown }>;
  assert.deepEqual(JSON.parse(text(outputs['FleetWaf2']?.Value)), {
    name: 'waf-2', prefixes: ['waf/', 'waf-old/'], driver: 'queue', job: 'convert', live: false, maxKeys: 7,
    size: { workers: 'lambda', memoryMb: 3008, maxConcurrency: 5, batchSize: 10 },
    queueUrl: '<waf2TasksQueue>', deadLetterQueueUrl: '<waf2TasksDeadLetters>', worker: '<waf2FleetWorkerFunction>', trigger: '<waf2FleetTrigger>',
  });
  assert.equal((JSON.parse(text(outputs['FleetMain']?.Value)) as { queueUrl: string }).queueUrl, '<TasksQueue>');
  assert.equal(text(outputs['QueueUrl']?.Value), '<TasksQueue>');
  const without = synth({ fleets: { flow: { prefixes: ['flow/'] } } }).template.toJSON()['Outputs'] as object;
  assert.ok('FleetFlow' in without && !('QueueUrl' in without));
});

test('alarms of a fleet have its name and its metrics, and alarms on runs exist once', () => {
  const alarms = Object.fromEntries(several.all('AWS::CloudWatch::Alarm').map(([, { Properties }]) => [Properties.AlarmName as string, Properties]));
  const ofFleet = ['dead-letters', 'oldest-message', 'worker-errors', 'worker-throttles', 'run-stalled'];
  const expected = [...ofFleet.flatMap((slug) => [`Flowherd-${slug}`, `Flowherd-waf-2-${slug}`]), 'Flowherd-run-failed', 'Flowherd-run-timed-out'];
  // Of the live fleet main.
  expected.push('Flowherd-arrivals-age', 'Flowherd-arrivals-dead-letters', 'Flowherd-live-close-overdue');
  assert.deepEqual(Object.keys(alarms).sort(), expected.sort());
  const dead = alarms['Flowherd-waf-2-dead-letters'];
  assert.match(dead?.AlarmDescription as string, /^Fleet waf-2: The dead-letter queue .* Runbook: docs\/operations\.md#alarm-dead-letters$/);
  assert.match(dead?.Dimensions[0].Value['Fn::GetAtt'][0] as string, /^waf2TasksDeadLetters/);
  assert.match(alarms['Flowherd-dead-letters']?.AlarmDescription as string, /^Fleet main: /);
  assert.match(plain.only('AWS::CloudWatch::Alarm', 'Alarmsdeadletters').Properties.AlarmDescription as string, /^The dead-letter queue /);
  assert.deepEqual([alarms['Flowherd-oldest-message']?.Threshold, alarms['Flowherd-waf-2-oldest-message']?.Threshold], [3600, 60]);
});

test('the dashboard has a section for each fleet, and the cost of the coordinator once', () => {
  const body = (template: typeof plain) => text(template.only('AWS::CloudWatch::Dashboard', '').Properties.DashboardBody);
  for (const fleet of ['main', 'waf-2']) assert.ok(body(several).includes(`# Fleet ${fleet}`), fleet);
  assert.ok(!body(plain).includes('# Fleet'));
  for (const template of [plain, several]) assert.equal(body(template).match(/coordinatorCalls \* /g)?.length, 1);
});

test('settings of fleets are checked together, each with its fleet, its value and an example', () => {
  assert.deepEqual(problems({ waf: { maxConcurrence: 5 } }), [
    'fleets.waf.maxConcurrence=5: unknown setting of a fleet; did you mean maxConcurrency? example: maxConcurrency=50',
  ]);
  assert.deepEqual(
    problems({
      Waf: {},
      waf: { prefixes: 'waf*', batchSize: 11, configFile: '/nowhere.toml' },
      slow: { workerTimeoutSeconds: 600, visibilitySeconds: 599, driver: 'mail', job: 'search' },
    }),
    [
      'fleets="Waf": must have 1 to 20 of the characters a-z, 0-9 and -, and begin with a letter; example: fleets={"waf": {"prefixes": ["waf/"], "configFile": "waf.toml"}}',
      'fleets.waf.prefixes="waf*": must have 1 to 1000 characters, and none of *, ? and $; example: fleets.waf.prefixes=firehose/,waf/',
      'fleets.waf.batchSize=11: must be a whole number from 1 to 10; example: fleets.waf.batchSize=10',
      'fleets.waf.configFile="/nowhere.toml": no such file: /nowhere.toml; example: fleets.waf.configFile=flowherd.toml',
      'fleets.slow.driver="mail": must be queue or map; example: fleets.slow.driver=queue',
      'fleets.slow.job="search": must be convert or index; example: fleets.slow.job=convert',
      "fleets.slow.visibilitySeconds=599: must be at least the worker's timeout, 600 seconds; example: fleets.slow.visibilitySeconds=1800",
    ],
  );
  assert.match(problems('{').join(), /^fleets="\{": must be JSON: .*; example: fleets=\{/);
  assert.match(problems({ waf: 7 }).join(), /^fleets\.waf=7: must be a JSON object with the settings of the fleet$/);
});

test('fleets with -c are JSON text', () => {
  const { stack } = synth({ fleets: '{"flow": {"maxConcurrency": "7"}}' });
  assert.deepEqual(stack.fleets.map(({ name, settings }) => [name, settings.maxConcurrency, settings.prefixes]), [['flow', 7, ['firehose/', 'waf/']]]);
});

test('two fleets have neither the same prefix nor the same output, and all fit into the environment of the coordinator', () => {
  assert.deepEqual(problems({ a: { prefixes: ['x/'] }, b: { prefixes: ['y/', 'x/'] } }), [
    'fleets.b.prefixes="x/": must not be the prefix of fleet a too; example: fleets.b.prefixes=firehose/,waf/',
  ]);
  assert.match(problems({ a1: { prefixes: ['x/'] }, 'a-1': { prefixes: ['y/'] } }).join(), /^fleets="a-1": must differ from a1 in a letter or digit; /);
  const many = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, number) => [`f${number}`, { prefixes: [`logs-${number}/`], configFile: wafRules }]));
  assert.deepEqual(problems(many(8)), []);
  assert.match(problems(many(20)).join(), /^fleets=20: need about \d+ bytes of the coordinator's environment, which has 4096; /);
});

test('a setting of a fleet needs no value for the stack', () => {
  const { prefixes: _, ...others } = REQUIRED;
  assert.deepEqual(readSettings({ ...others, fleets: { a: { prefixes: ['x/'] } } }).fleets, { a: { prefixes: ['x/'] } });
  assert.throws(() => readSettings({ ...others, fleets: { a: { prefixes: ['x/'] }, b: {} } }), /fleets\.b\.prefixes=\[\]: must have at least one prefix; /);
});

const withMap = synth({
  prefixes: 'firehose/',
  fleets: { main: {}, bulk: { driver: 'map', prefixes: ['old/', 'older/'], maxConcurrency: 20, batchSize: 5 } },
});

test('a fleet with driver map has no queue, and the map of the step loop invokes its worker', () => {
  assert.deepEqual(withMap.all('AWS::SQS::Queue').map(([id]) => id.slice(0, 'TasksQueue'.length)), ['TasksDeadL', 'TasksQueue']);
  assert.equal(withMap.all('AWS::Lambda::EventSourceMapping').length, 1);
  const worker = withMap.only('AWS::Lambda::Function', 'bulkFleetWorker').Properties;
  const { FLOWHERD_MAP, FLOWHERD_QUEUE_URL } = worker.Environment.Variables;
  assert.deepEqual([FLOWHERD_MAP, FLOWHERD_QUEUE_URL, worker.Timeout], ['Flowherd-bulk', undefined, 120]);
  const machine = withMap.only('AWS::StepFunctions::StateMachine', '').Properties;
  const bulk = (JSON.parse(text(machine.DefinitionString)) as { States: Record<string, any> }).States['Map bulk'];
  assert.deepEqual([bulk.MaxConcurrency, bulk.ItemBatcher.MaxItemsPerBatch], [20, 5]);
  const { FunctionName } = bulk.ItemProcessor.States.Convert.Arguments;
  assert.deepEqual([FunctionName, text(machine.DefinitionSubstitutions.Worker0)], ['${Worker0}', '<bulkFleetWorkerFunction>']);
  const { Variables } = withMap.only('AWS::Lambda::Function', 'PlanningCoordinator').Properties.Environment;
  assert.deepEqual((JSON.parse(text(Variables.FLOWHERD_FLEETS)) as object as { bulk: unknown }).bulk, { prefixes: ['old/', 'older/'], driver: 'map' });
  const outputs = withMap.template.toJSON()['Outputs'] as Record<string, { Value: unknown }>;
  assert.deepEqual(JSON.parse(text(outputs['FleetBulk']?.Value)), {
    name: 'bulk', prefixes: ['old/', 'older/'], driver: 'map', job: 'convert', live: false, maxKeys: 10_000_000,
    size: { workers: 'lambda', memoryMb: 1769, maxConcurrency: 20, batchSize: 5 }, worker: '<bulkFleetWorkerFunction>',
  });
});

test('the step loop may do exactly what its maps need, and a worker of a map has no queue', () => {
  const source = 'arn:<AWS::Partition>:s3:::my-archive';
  const machine = 'arn:<AWS::Partition>:states:<AWS::Region>:<AWS::AccountId>';
  const ofStepLoop = (action: string) => resources(withMap, 'StepLoopRole', action);
  assert.deepEqual(ofStepLoop('lambda:'), ['<PlanningCoordinatorFunction>', '<bulkFleetWorkerFunction>'].sort());
  assert.deepEqual(ofStepLoop('states:'), [`${machine}:execution:Flowherd:*`, `${machine}:stateMachine:Flowherd`]);
  assert.deepEqual(ofStepLoop('s3:'), [source, '<ResultsBucket>/runs/*/map/*'].sort());
  const { Statement } = withMap.only('AWS::IAM::Policy', 'StepLoopRole').Properties.PolicyDocument;
  const conditions = (Statement as { Condition?: unknown }[]).flatMap(({ Condition }) => Condition ?? []);
  assert.deepEqual(conditions, [{ StringLike: { 's3:prefix': ['old/*', 'older/*'] } }]);
  assert.deepEqual(resources(withMap, 'bulkFleetWorkerRole', 'sqs:'), []);
  assert.deepEqual(resources(plain, 'StepLoopRole', 's3:'), []);
});

test('a fleet with driver map has the alarms and the part of the dashboard that need no queue', () => {
  const alarms = withMap.all('AWS::CloudWatch::Alarm').map(([, { Properties }]) => Properties.AlarmName as string);
  assert.deepEqual(alarms.filter((name) => name.includes('bulk')).sort(), ['Flowherd-bulk-worker-errors', 'Flowherd-bulk-worker-throttles']);
  const body = text(withMap.only('AWS::CloudWatch::Dashboard', '').Properties.DashboardBody);
  const [, section = ''] = body.split('# Fleet bulk');
  assert.ok(section.includes('"Queue","Flowherd-bulk"') && !section.includes('AWS/SQS'), section);
});

test('settings of a queue are refused if every fleet they are for has driver map', () => {
  const refused = (prop: string) => new RegExp(`^${prop}=.*: has no meaning with driver map, which has no queue; leave it out`);
  for (const setting of ['retentionDays', 'maxReceiveCount', 'visibilitySeconds', 'oldestMessageAlarmSeconds']) {
    const given = { driver: 'map', [setting]: setting === 'visibilitySeconds' ? '1800' : '7' };
    const valid = setting === 'oldestMessageAlarmSeconds' ? { ...given, [setting]: '700' } : given;
    assert.match(problemsOf(valid).join(), refused(setting), setting);
    assert.match(problemsOf({ ...valid, fleets: { a: {} } }).join(), refused(setting), setting);
    assert.deepEqual(problemsOf({ ...valid, fleets: { a: {}, b: { driver: 'queue', prefixes: ['b/'] } } }), [], setting);
  }
  assert.match(problemsOf({ driver: 'map', fleets: { a: { maxReceiveCount: 3 } } }).join(), refused('fleets.a.maxReceiveCount'));
});

test('settings that a map cannot have are refused', () => {
  assert.deepEqual(problems({ bulk: { driver: 'map', workerTimeoutSeconds: 300, maxReceiveCount: 3, live: true } }), [
    'fleets.bulk.maxReceiveCount=3: has no meaning with driver map, which has no queue; leave it out; example: fleets.bulk.maxReceiveCount=10',
    'fleets.bulk.workerTimeoutSeconds=300: must be at most 240 seconds with driver map: a child execution takes at most 300 seconds; example: fleets.bulk.workerTimeoutSeconds=300',
    'fleets.bulk.live=true: must be false with driver map: new objects need a queue; example: fleets.bulk.live=true',
  ]);
  assert.throws(
    () => synth({ sourceBucketRegion: 'eu-west-1', fleets: { bulk: { driver: 'map' } } }),
    /fleets\.bulk\.driver="map": must be queue for a source bucket in another region: /,
  );
  assert.throws(
    () => synth({ sourceBucketAccount: '210987654321', fleets: { bulk: { driver: 'map' } } }),
    /fleets\.bulk\.driver="map": must be queue for another account's source bucket: /,
  );
});
