// The definition of the step loop. step-loop-run.test.ts executes it.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { getLanguageService, TextDocument } from 'amazon-states-language-service';
import jsonata from 'jsonata';

import { definition } from '../lib/step-loop-definition';
import { synth } from './stack';

interface Transition {
  readonly Next?: string;
}
interface State extends Transition {
  readonly Type: string;
  readonly TimeoutSeconds?: number;
  readonly Default?: string;
  readonly Choices?: readonly Transition[];
  readonly Catch?: readonly (Transition & { ErrorEquals: string[] })[];
  readonly Retry?: readonly { ErrorEquals: string[]; MaxAttempts: number; IntervalSeconds?: number }[];
  readonly QueryLanguage: string;
}

const names = { coordinator: 'c', resultsBucket: 'b', maxCalls: 1500, timeLimitSeconds: 3600 };
const map = { worker: 'w', sourceBucket: 's', sourceBucketOwner: '123456789012', resultsBucket: 'b', maxConcurrency: 20, batchSize: 10, workerTimeoutSeconds: 60 };
/** With two fleets that have a map. */
const machine = definition({ ...names, maps: [{ ...map, fleet: 'bulk' }, { ...map, fleet: 'old' }] });
const plain = definition({ ...names, maps: [] });
const states = machine['States'] as Record<string, State>;
const ends = (state: State) => state.Type === 'Succeed' || state.Type === 'Fail';
const following = (state: State) =>
  [state, ...(state.Choices ?? []), ...(state.Catch ?? [])].flatMap(({ Next }) => Next ?? []).concat(state.Default ?? []);

test('the template contains the definition', () => {
  const { only } = synth();
  const { Properties } = only('AWS::StepFunctions::StateMachine', '');
  const deployed = JSON.parse(Properties.DefinitionString as string) as { States: Record<string, State> };
  assert.deepEqual(Object.keys(deployed.States), Object.keys(plain['States'] as object));
  assert.deepEqual(Object.keys(Properties.DefinitionSubstitutions as object).sort(), ['Coordinator', 'ResultsBucket']);
});

/** Errors that AWS's language service for state machines reports; the AWS Toolkit uses the same service. */
async function errors(machine: unknown): Promise<string[]> {
  const service = getLanguageService({});
  const document = TextDocument.create('file:///step-loop.asl.json', 'json', 1, JSON.stringify(machine, null, 2));
  const found = await service.doValidation(document, service.parseJSONDocument(document));
  return found.map(({ message, range }) => `line ${range.start.line + 1}: ${message}`);
}

test("AWS's language service accepts the deployed definition and refuses invalid ones", async () => {
  const { Properties } = synth().only('AWS::StepFunctions::StateMachine', '');
  const deployed = (Properties.DefinitionString as string)
    .replaceAll('${Coordinator}', 'arn:aws:lambda:eu-west-1:123456789012:function:coordinator')
    .replaceAll('${ResultsBucket}', 'results');
  assert.ok(!deployed.includes('${'), deployed);
  assert.deepEqual(await errors(JSON.parse(deployed)), []);
  assert.deepEqual(await errors(machine), []);
  const invalid: readonly Record<string, unknown>[] = [
    { Plan: { ...states['Plan'], Next: 'Nowhere' } },
    { Wait: { ...states['Wait'], Second: 4 } },
    { Done: { Type: 'Success' } },
    { Report: { ...states['Report'], TimeoutSeconds: 'long' } },
    { 'Map bulk': { ...states['Map bulk'], ItemBatch: { MaxItemsPerBatch: 10 } } },
    { 'Map bulk': { ...states['Map bulk'], ItemProcessor: { StartAt: 'Nowhere', States: {} } } },
  ];
  for (const change of invalid) {
    assert.notDeepEqual(await errors({ ...machine, States: { ...states, ...change } }), [], JSON.stringify(change));
  }
});

test('every state is reachable, leads only to existing states, and can reach an end', () => {
  for (const [name, state] of Object.entries(states)) {
    assert.equal(following(state).length === 0, ends(state), name);
    for (const next of following(state)) assert.ok(next in states, `${name} leads to ${next}`);
  }
  const reached = new Set([String(machine['StartAt'])]);
  for (const name of reached) for (const next of following(states[name]!)) reached.add(next);
  assert.deepEqual(Object.keys(states).filter((name) => !reached.has(name)), []);
  const endless = (name: string) => {
    const from = new Set([name]);
    for (const at of from) for (const next of following(states[at]!)) from.add(next);
    return ![...from].some((at) => ends(states[at]!));
  };
  assert.deepEqual(Object.keys(states).filter(endless), []);
});

test('every choice has a default', () => {
  for (const [name, state] of Object.entries(states)) if (state.Type === 'Choice') assert.ok(state.Default, name);
});

test('every task is retried and caught, and a refusal is not retried', () => {
  const tasks = Object.entries(states).filter(([, state]) => state.Type === 'Task');
  assert.deepEqual(tasks.map(([name]) => name), ['Begin', 'Close', 'Purge', 'Plan', 'Check', 'Report', 'Resume', 'Mapped', 'LastReport', 'Continue']);
  for (const [name, { Retry, Catch }] of tasks) {
    assert.deepEqual(Retry?.at(-1)?.ErrorEquals, ['States.ALL'], name);
    assert.ok((Retry?.at(-1)?.MaxAttempts ?? 0) >= 5, name);
    assert.deepEqual(Catch?.at(-1)?.ErrorEquals, ['States.ALL'], name);
    if (name !== 'Continue') assert.deepEqual(Retry?.[0], { ErrorEquals: ['Refused'], MaxAttempts: 0 });
  }
});

test('a map runs a child of one invocation for each batch, and fails only with its listing or its results', () => {
  const bulk = states['Map bulk'] as unknown as Record<string, any>;
  assert.deepEqual(bulk['ItemReader'], {
    Resource: 'arn:aws:states:::s3:listObjectsV2',
    Parameters: { Bucket: 's', ExpectedBucketOwner: '123456789012', 'Prefix.$': '$.prefix' },
  });
  assert.deepEqual([bulk['ItemBatcher'], bulk['MaxConcurrency'], bulk['ToleratedFailurePercentage']], [{ MaxItemsPerBatch: 10 }, 20, 100]);
  assert.deepEqual(bulk['ItemProcessor'].ProcessorConfig, { Mode: 'DISTRIBUTED', ExecutionType: 'EXPRESS' });
  assert.deepEqual(Object.keys(bulk['ItemSelector']), ['v', 'run.$', 'fleet.$', 'bucket', 'key.$', 'size.$', 'etag.$']);
  assert.deepEqual(bulk['ResultWriter'].Parameters, { Bucket: 'b', 'Prefix.$': "States.Format('runs/{}/map', $.run)" });
  // The input of the map is also its output: it is the state of the run.
  assert.equal(bulk['ResultPath'], null);
  assert.deepEqual([bulk['Next'], bulk['Catch'].map(({ Next }: Transition) => Next)], ['Mapped', ['MapFailed']]);
  const { Convert } = bulk['ItemProcessor'].States as { Convert: State & { Arguments: { Payload: string } } };
  assert.match(Convert.Arguments.Payload, /"attempt": \$states\.context\.State\.RetryCount \+ 1, "started": \$states\.context\.Execution\.StartTime, "input": \$states\.input/);
  assert.deepEqual(Convert.Retry?.map(({ ErrorEquals, MaxAttempts }) => [ErrorEquals[0], MaxAttempts]), [
    ['Refused', 0], ['Lambda.TooManyRequestsException', 10], ['States.ALL', 5],
  ]);
  assert.equal(Convert.TimeoutSeconds, 65);
});

test('only the maps are JSONPath states, which a JSONPath state machine allows', () => {
  assert.equal(machine['QueryLanguage'], undefined);
  const paths = Object.entries(states).filter(([, { QueryLanguage }]) => QueryLanguage !== 'JSONata');
  assert.deepEqual(paths.map(([name, { QueryLanguage }]) => [name, QueryLanguage]), [['Map bulk', 'JSONPath'], ['Map old', 'JSONPath']]);
});

test('an execution with the maximum number of calls stays well below 25,000 events', () => {
  // A call has two choices and a wait before it with 2 events each, and its task has 5. A failed attempt has 3 and counts as a call.
  const eventsPerCall = 2 + 2 + 2 + 5;
  assert.ok(1500 * eventsPerCall <= 0.7 * 25_000);
});

test("the execution's time limit leaves the coordinator time to report at its own limit", () => {
  const { only } = synth({ runTimeLimitHours: '5' });
  const { Properties } = only('AWS::StepFunctions::StateMachine', '');
  const { TimeoutSeconds } = JSON.parse(Properties.DefinitionString as string) as { TimeoutSeconds: number };
  const coordinator = only('AWS::Lambda::Function', 'PlanningCoordinator').Properties;
  assert.equal(coordinator.Environment.Variables.FLOWHERD_TIME_LIMIT_SECONDS, '18000');
  assert.ok(TimeoutSeconds >= 18_000 + 900);
  for (const state of Object.values(states)) if (state.TimeoutSeconds) assert.ok(state.TimeoutSeconds > coordinator.Timeout);
});

test('executions are standard, traced, and logged without input and output', () => {
  const { Properties } = synth().only('AWS::StepFunctions::StateMachine', '');
  assert.equal(Properties.StateMachineType, 'STANDARD');
  assert.deepEqual(Properties.TracingConfiguration, { Enabled: true });
  assert.equal(Properties.LoggingConfiguration.Level, 'ALL');
  assert.equal(Properties.LoggingConfiguration.IncludeExecutionData, false);
});

/** All JSONata expressions in a part of the definition. */
function expressions(part: unknown): string[] {
  if (typeof part === 'string') return part.startsWith('{%') ? [part.slice(2, -2)] : [];
  return typeof part === 'object' && part !== null ? Object.values(part).flatMap(expressions) : [];
}

test('JSONata of the version that Step Functions has parses every expression', () => {
  // https://docs.aws.amazon.com/step-functions/latest/dg/transforming-data.html
  const all = expressions(machine);
  assert.ok(all.length > 40);
  for (const expression of all) assert.ok(jsonata(expression).ast(), expression);
});

test('every condition is a boolean for any input, because Step Functions accepts no other value', async () => {
  const inputs = [
    null, 7, 'text', [], ['a/'], {}, { prefix: 'a/' }, { prefix: null }, { prefix: ['a/'] }, { run: 'x' }, { run: null }, { prefix: 'a/', run: 7 }, { resume: {} }, { prefix: 'a/', run: '' },
    { run: 'x', operation: 'plan', wait_seconds: 'soon' }, { run: 'x', operation: 'plan', wait_seconds: 5 }, { operation: {} },
    { operation: 'close' }, { operation: 'close', fleet: 'main' }, { problems: [] }, { problems: ['day 2026-02-18: damaged'] },
    { run: 'x', operation: 'map', fleet: 'bulk' }, { run: 'x', operation: 'end' }, { run: 'x', operation: 'end', state: 'done' }, { operation: 'check' },
  ];
  for (const [name, { Choices }] of Object.entries(states)) {
    for (const input of Choices === undefined ? [] : inputs) {
      for (const { Condition } of Choices as unknown as { Condition: string }[]) {
        const variables = { states: { input }, calls: 3, failure: '' };
        const value: unknown = await jsonata(Condition.slice(2, -2)).evaluate(null, variables);
        assert.equal(typeof value, 'boolean', `${name}: ${Condition} of ${JSON.stringify(input)}`);
        // The first true condition decides. Later conditions may rely on it being false.
        if (value === true) break;
      }
    }
  }
});
