// Executes every path through the step loop: the real stack on a local AWS, with a coordinator that replays a script.

import assert from 'node:assert/strict';
import { chmodSync, copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { after, before, test } from 'node:test';

import { LocalCloud, until, WAIT_SCALE } from './local-cloud';

const MAX_CALLS = 6;

type Json = Record<string, unknown>;

interface Execution {
  readonly executionArn: string;
  readonly status: string;
  readonly error?: string;
  readonly cause?: string;
  readonly output?: string;
}

interface HistoryEvent {
  readonly type: string;
  readonly stateEnteredEventDetails?: { readonly name: string };
}

let cloud: LocalCloud;
let outputs: Record<string, string>;
/** Of a stack with a map. The local AWS evaluates `Assign` of its choices and catchers only in the other one. */
let mapped: Record<string, string>;

before(async () => {
  cloud = await LocalCloud.start();
  const artifacts = join(cloud.directory, 'artifacts');
  for (const name of ['flowherd-coordinator', 'flowherd-worker']) {
    mkdirSync(join(artifacts, name), { recursive: true });
    copyFileSync(resolve(__dirname, 'stub/bootstrap'), join(artifacts, name, 'bootstrap'));
    chmodSync(join(artifacts, name, 'bootstrap'), 0o755);
  }
  writeFileSync(join(cloud.directory, 'flowherd.toml'), '# no rules\n');
  const settings = {
    sourceBucket: 'my-archive',
    prefixes: 'firehose/',
    configFile: join(cloud.directory, 'flowherd.toml'),
    alarmEmail: 'operations@example.com',
    maxCalls: String(MAX_CALLS),
    artifacts,
    localCloud: 'true',
  };
  outputs = await cloud.deploy(settings);
  const fleets = JSON.stringify({ bulk: { driver: 'map', prefixes: ['mapped/', 'children/'] } });
  mapped = await cloud.deploy({ ...settings, stackName: 'Mapped', fleets });
});

after(() => cloud?.stop());

test('the trigger in the outputs can be disabled and enabled', async () => {
  const trigger = `/2015-03-31/event-source-mappings/${outputs['WorkerTrigger']}`;
  const mapping = () => cloud.rest<{ State: string; BatchSize: number }>('GET', 'lambda', trigger);
  assert.equal((await mapping()).State, 'Enabled');
  await cloud.rest('PUT', 'lambda', trigger, { Enabled: false });
  assert.equal((await mapping()).State, 'Disabled');
  await cloud.rest('PUT', 'lambda', trigger, { Enabled: true });
  assert.equal((await mapping()).State, 'Enabled');
});

/** Runs an execution against a script, which holds the coordinator's response to each call. */
async function play(name: string, script: readonly Json[], input: unknown = { prefix: `${name}/` }, stack = outputs) {
  writeFileSync(join(cloud.directory, `${name}_.json`), JSON.stringify(script));
  const { executionArn } = await cloud.states<Execution>('StartExecution', {
    stateMachineArn: stack['StateMachineArn'],
    name,
    input: JSON.stringify(input),
  });
  return ended(executionArn, name);
}

async function ended(executionArn: string, name: string) {
  let execution: Execution | undefined;
  await until(`${executionArn} ends`, async () => {
    execution = await cloud.states<Execution>('DescribeExecution', { executionArn });
    return execution.status !== 'RUNNING';
  });
  const { events } = await cloud.states<{ events: HistoryEvent[] }>('GetExecutionHistory', { executionArn, maxResults: 1000 });
  const visited = events.flatMap((event) => event.stateEnteredEventDetails?.name ?? []);
  assert.ok(execution);
  return {
    ...execution,
    output: JSON.parse(execution.output ?? '{}') as Json,
    /** States in order, without the two choices after every call. */
    visited: visited.filter((state) => state !== 'Next' && state !== 'Operation'),
    calls: calls(name),
  };
}

function calls(name: string): { at: number; event: Json }[] {
  const path = join(cloud.directory, `${name}_.calls`);
  if (!existsSync(path)) return [];
  const lines = readFileSync(path, 'utf8').trim().split('\n');
  return lines.map((line) => JSON.parse(line) as { at: number; event: Json });
}

const operations = (made: readonly { event: Json }[]) => made.map(({ event }) => event['operation']);

const playMapped = (name: string, script: readonly Json[]) => play(name, script, { prefix: `${name}/` }, mapped);

/** The coordinator's response at the end of a run. */
const end = (state: string, run: string, message = `${state}: 3 objects`): Json => ({
  operation: 'end',
  state,
  message,
  report: `runs/${run}/report.json`,
});

test('a run is begun, planned, checked and reported, with the waits that the coordinator requests', async () => {
  const ended = await play('happy', [
    { operation: 'plan', token: 'page-1' },
    { operation: 'plan', token: 'page-2' },
    { operation: 'check', wait_seconds: 40 },
    { operation: 'check', wait_seconds: 20 },
    { operation: 'report' },
    end('done', 'happy'),
  ]);
  assert.equal(ended.status, 'SUCCEEDED', ended.cause);
  assert.deepEqual(ended.visited, ['Input', 'Begin', 'Plan', 'Plan', 'Wait', 'Check', 'Wait', 'Check', 'Report', 'Done']);
  assert.deepEqual(ended.output, {
    run: 'happy',
    prefix: 'happy/',
    state: 'done',
    report: 'runs/happy/report.json',
    message: 'done: 3 objects',
  });
  assert.deepEqual(ended.calls[0]?.event, { operation: 'begin', prefix: 'happy/', run: 'happy' });
  // States pass unknown members on.
  assert.deepEqual(ended.calls[2]?.event, { operation: 'plan', run: 'happy', prefix: 'happy/', wait_seconds: 0, token: 'page-2' });
  const gap = (call: number) => (ended.calls[call]?.at ?? 0) - (ended.calls[call - 1]?.at ?? 0);
  assert.ok(gap(3) >= 40 * WAIT_SCALE, `${gap(3)}`);
  assert.ok(gap(4) >= 20 * WAIT_SCALE, `${gap(4)}`);
});

test('a prefix without objects is reported right after planning', async () => {
  const ended = await play('empty', [{ operation: 'plan' }, { operation: 'report' }, end('done', 'empty')]);
  assert.equal(ended.status, 'SUCCEEDED', ended.cause);
  assert.deepEqual(ended.visited, ['Input', 'Begin', 'Plan', 'Report', 'Done']);
});

test('failed objects fail the execution, and its cause names the report', async () => {
  const ended = await play('bad-objects', [
    { operation: 'plan' },
    { operation: 'check' },
    { operation: 'report' },
    end('failed', 'bad-objects', '1 of 3 objects failed'),
  ]);
  assert.equal(ended.status, 'FAILED');
  assert.equal(ended.error, 'RunFailed');
  assert.equal(ended.cause, `run bad-objects: 1 of 3 objects failed; report: s3://${outputs['ResultsBucket']}/runs/bad-objects/report.json`);
});

test('a run that ends incomplete fails the execution', async () => {
  const ended = await play('cut-short', [{ operation: 'report' }, end('incomplete', 'cut-short')]);
  assert.deepEqual([ended.status, ended.error, ended.visited.at(-1)], ['FAILED', 'RunIncomplete', 'Failed']);
});

test('a purge that must wait for another one is repeated, and planning starts after it', async () => {
  const ended = await play(
    'purging',
    [
      { operation: 'purge' },
      { operation: 'purge', wait_seconds: 20 },
      { operation: 'purge', wait_seconds: 20 },
      { operation: 'plan', wait_seconds: 60 },
      { operation: 'report' },
      end('done', 'purging'),
    ],
    { prefix: 'purging/', purge: true },
  );
  assert.equal(ended.status, 'SUCCEEDED', ended.cause);
  assert.deepEqual(ended.visited, ['Input', 'Begin', 'Purge', 'Wait', 'Purge', 'Wait', 'Purge', 'Wait', 'Plan', 'Report', 'Done']);
  assert.equal(ended.calls[0]?.event['purge'], true);
  assert.ok((ended.calls[4]?.at ?? 0) - (ended.calls[3]?.at ?? 0) >= 60 * WAIT_SCALE);
});

test('a failed call is retried with the same event', async () => {
  const ended = await play('flaky', [
    { errorType: 'Retry', errorMessage: 'S3 is slow' },
    { operation: 'plan' },
    { errorType: 'Runtime.ExitError', errorMessage: 'signal: killed' },
    { errorType: 'Lambda.TooManyRequestsException', errorMessage: 'Rate exceeded' },
    { operation: 'report' },
    end('done', 'flaky'),
  ]);
  assert.equal(ended.status, 'SUCCEEDED', ended.cause);
  assert.deepEqual(operations(ended.calls), ['begin', 'begin', 'plan', 'plan', 'plan', 'report']);
  assert.deepEqual(ended.calls[1]?.event, ended.calls[0]?.event);
  assert.deepEqual(ended.calls[4]?.event, ended.calls[2]?.event);
});

test('a permanent failure leads to a last report and a failed execution that names error and report', async () => {
  const broken = { errorType: 'Retry', errorMessage: 'S3 is gone' };
  const ended = await play('broken', [
    { operation: 'check', opaque: 1 },
    ...Array.from({ length: 6 }, () => broken),
    end('incomplete', 'broken'),
  ]);
  assert.equal(ended.status, 'FAILED');
  assert.deepEqual(ended.visited, ['Input', 'Begin', 'Check', 'LastReport', 'CallFailed']);
  assert.deepEqual(ended.calls.at(-1)?.event, { operation: 'report_now', run: 'broken', prefix: 'broken/' });
  assert.equal(ended.error, 'Retry');
  assert.match(ended.cause ?? '', /^checking of run broken failed: .*S3 is gone.*; report: s3:.*runs\/broken\/report\.json$/);
});

test('a last report takes as many calls as it needs, and its failure is part of the cause', async () => {
  const fails = (count: number) => Array.from({ length: count }, () => ({ errorType: 'Oops', errorMessage: 'no' }));
  const long = await play('long-report', [{ operation: 'plan' }, ...fails(6), { operation: 'report', part: 2, wait_seconds: 1 }, end('incomplete', 'x')]);
  assert.deepEqual(long.visited, ['Input', 'Begin', 'Plan', 'LastReport', 'Wait', 'LastReport', 'CallFailed']);
  assert.equal(long.calls.at(-1)?.event['part'], 2);
  const none = await play('no-report', [{ operation: 'report' }, ...fails(1)]);
  assert.deepEqual([none.status, none.error], ['FAILED', 'Oops']);
  assert.match(none.cause ?? '', /^the report of run no-report failed: .*; and its report could not be written: /);
});

test('a long run continues in new executions under the same name', async () => {
  const check = { operation: 'check', wait_seconds: 1 };
  const first = await play('lasting', [{ operation: 'plan' }, ...Array.from({ length: 12 }, () => check), { operation: 'report' }, end('done', 'lasting')]);
  assert.deepEqual([first.status, first.visited.at(-1)], ['SUCCEEDED', 'Continued'], first.cause);
  assert.equal(first.visited.filter((state) => ['Begin', 'Plan', 'Check'].includes(state)).length, MAX_CALLS);
  const second = await ended(String(first.output['continued_as']), 'lasting');
  assert.deepEqual([second.status, second.visited.slice(0, 3), second.visited.at(-1)], ['SUCCEEDED', ['Input', 'Wait', 'Check'], 'Continued']);
  const third = await ended(String(second.output['continued_as']), 'lasting');
  assert.deepEqual([third.status, third.visited.at(-1), third.output['run']], ['SUCCEEDED', 'Done', 'lasting'], third.cause);
  assert.deepEqual(operations(third.calls), ['begin', 'plan', ...Array.from({ length: 12 }, () => 'check'), 'report']);
});

test('a run whose execution has ended continues in a new one', async () => {
  const first = { operation: 'continue', run: 'orphan', prefix: 'orphan/' };
  const ended = await play('orphan', [{ operation: 'check', wait_seconds: 1 }, { operation: 'report' }, end('done', 'orphan')], first);
  assert.equal(ended.status, 'SUCCEEDED', ended.cause);
  assert.deepEqual(ended.visited, ['Input', 'Resume', 'Wait', 'Check', 'Report', 'Done']);
});

test('failed attempts count as calls, because they add events to the history', async () => {
  const failed = { errorType: 'Retry', errorMessage: 'again' };
  const first = await play('many-attempts', [failed, failed, failed, { operation: 'plan' }, failed, { operation: 'report' }, end('done', 'many-attempts')]);
  assert.deepEqual(first.visited, ['Input', 'Begin', 'Plan', 'Continue', 'Continued']);
});

for (const [what, input, reason] of [
  ['neither a prefix nor a run to resume', {}, 'neither prefix nor resume is given'],
  ['a prefix that is not text', { prefix: 7 }, 'prefix is not a string but 7'],
  ['an option that does not exist', { prefix: 'a/', purgee: true }, 'unknown option in the input: purgee; the options are prefix, resume, run, fleet, index, to, purge, force'],
  ['a flag that is not a boolean', { prefix: 'a/', purge: 'yes' }, 'purge is not a boolean but yes'],
  ['an invalid run name', { prefix: 'a/', run: '../x' }, 'run is not the name of a run: ../x; use 1 to 80 of the characters A-Z a-z 0-9 . _ - and no leading dot'],
  ['an operation without a run', { prefix: 'a/', operation: 'plan' }, 'unknown option in the input: operation; the options are prefix, resume, run, fleet, index, to, purge, force'],
  ['a list', ['a/'], 'the input is not a JSON object'],
] as const) {
  test(`an input with ${what} is refused in the first state`, async () => {
    const ended = await play(`refused-${what.replaceAll(' ', '-')}`.slice(0, 70), [], input);
    assert.deepEqual([ended.status, ended.error, ended.cause], ['FAILED', 'Refused', reason]);
    assert.deepEqual(ended.visited, ['Input', 'Refused']);
    assert.deepEqual(ended.calls, []);
  });
}

test('a refused run is not retried, and the cause is the reason', async () => {
  const ended = await play('refused-begin', [{ errorType: 'Refused', errorMessage: 'run a-1 is still working' }]);
  assert.deepEqual([ended.status, ended.error, ended.cause], ['FAILED', 'Refused', 'run a-1 is still working']);
  assert.deepEqual(ended.visited, ['Input', 'Begin', 'Refused']);
  assert.equal(ended.calls.length, 1);
});

test('a begin that fails permanently is not reported, because there is no run', async () => {
  const ended = await play('no-begin', [{ errorType: 'Retry', errorMessage: 'S3 is gone' }]);
  assert.deepEqual([ended.status, ended.error], ['FAILED', 'Retry']);
  assert.match(ended.cause ?? '', /^cannot begin the run: .*S3 is gone/);
  assert.deepEqual(ended.visited, ['Input', 'Begin', 'CallFailed']);
});

test('a run has the requested name, or else the name of the execution, also when it resumes another run', async () => {
  const named = await play('named', [end('done', 'mine')], { prefix: 'named/', run: 'mine', force: true });
  assert.deepEqual(named.calls[0]?.event, { operation: 'begin', prefix: 'named/', run: 'mine', force: true });
  // Without a prefix, the name of the resumed run selects the script.
  writeFileSync(join(cloud.directory, 'old-run.json'), JSON.stringify([end('done', 'resuming')]));
  const resumed = await play('resuming', [], { resume: 'old-run' });
  assert.equal(resumed.status, 'SUCCEEDED', resumed.cause);
  const call = JSON.parse(readFileSync(join(cloud.directory, 'old-run.calls'), 'utf8')) as { event: Json };
  assert.deepEqual(call.event, { operation: 'begin', resume: 'old-run', run: 'resuming' });
});

test('a response with an unknown operation fails the execution and is part of the cause', async () => {
  const ended = await play('unknown-operation', [{ operation: 'dance' }]);
  assert.deepEqual([ended.status, ended.error], ['FAILED', 'UnexpectedResponse']);
  assert.match(ended.cause ?? '', /"dance"/);
});

test('a close starts an execution for each run of the closed days', async () => {
  const days = ['2026-02-17', '2026-02-18'];
  const runs = days.map((day) => ({ operation: 'check', run: `live-closing-${day}`, prefix: `${day}/`, wait_seconds: 0 }));
  for (const day of days) writeFileSync(join(cloud.directory, `${day}_.json`), JSON.stringify([end('done', `live-closing-${day}`)]));
  writeFileSync(join(cloud.directory, 'closing.json'), JSON.stringify([{ operation: 'close', runs, problems: [] }]));
  const closed = await play('close-days', [], { operation: 'close', fleet: 'closing' });
  assert.equal(closed.status, 'SUCCEEDED', closed.cause);
  assert.deepEqual(closed.visited.filter((state) => !state.startsWith('StartRun')), ['Input', 'Close', 'Closed', 'RunsStarted']);
  for (const day of days) {
    await until(`the run of ${day} is checked`, async () => existsSync(join(cloud.directory, `${day}_.calls`)));
    assert.deepEqual(calls(day).map(({ event }) => [event['operation'], event['run']]), [['check', `live-closing-${day}`]]);
  }
});

test('a close without a run to drive succeeds, and one that cannot close a day fails after it has started the others', async () => {
  writeFileSync(join(cloud.directory, 'nothing.json'), JSON.stringify([{ operation: 'close', runs: [], problems: [] }]));
  const nothing = await play('close-nothing', [], { operation: 'close', fleet: 'nothing' });
  assert.equal(nothing.status, 'SUCCEEDED', nothing.cause);
  const run = { operation: 'check', run: 'live-broken-2026-02-16', prefix: '2026-02-16/', wait_seconds: 0 };
  writeFileSync(join(cloud.directory, '2026-02-16_.json'), JSON.stringify([end('done', run.run)]));
  const problems = ['day 2026-02-15: runs/live-broken-2026-02-15/run.json: it is damaged'];
  writeFileSync(join(cloud.directory, 'broken.json'), JSON.stringify([{ operation: 'close', runs: [run], problems }]));
  const broken = await play('close-broken', [], { operation: 'close', fleet: 'broken' });
  assert.deepEqual([broken.status, broken.error, broken.cause], ['FAILED', 'CloseFailed', problems[0]]);
  await until('the other run is checked', async () => existsSync(join(cloud.directory, '2026-02-16_.calls')));
  writeFileSync(join(cloud.directory, 'refused.json'), JSON.stringify([{ errorType: 'Refused', errorMessage: 'no fleet is live' }]));
  const refused = await play('close-refused', [], { operation: 'close', fleet: 'refused' });
  assert.equal(refused.status, 'FAILED');
  assert.match(refused.cause ?? '', /^cannot close the day: .*no fleet is live/);
  assert.equal(existsSync(join(cloud.directory, 'refused.calls')) && readFileSync(join(cloud.directory, 'refused.calls'), 'utf8').trim().split('\n').length, 1);
});

/** The events of the map's worker for keys with this prefix, sorted by key and attempt. */
function work(prefix: string): { attempt: number; input: Json }[] {
  const path = join(cloud.directory, 'worker.calls');
  const lines = existsSync(path) ? readFileSync(path, 'utf8').trim().split('\n') : [];
  const events = lines.map((line) => JSON.parse(line) as { attempt: number; input: Json });
  const order = ({ attempt, input }: { attempt: number; input: Json }) => `${String(input['key'])} ${attempt}`;
  return events.filter(({ input }) => String(input['key']).startsWith(prefix)).sort((a, b) => (order(a) < order(b) ? -1 : 1));
}

test('a map that cannot list fails the execution after a last report', async () => {
  // The bucket does not exist yet.
  const map = { operation: 'map', fleet: 'bulk', ended: false };
  const ended = await playMapped('no-listing', [map, end('incomplete', 'no-listing')]);
  assert.deepEqual([ended.status, ended.error], ['FAILED', 'States.ItemReaderFailed']);
  assert.match(ended.cause ?? '', /^the map of run no-listing failed: .*; report: /);
  assert.deepEqual(ended.visited, ['Input', 'Begin', 'Map bulk', 'MapFailed', 'LastReport', 'CallFailed']);
});

test('a map passes each object of the prefix to the worker, and the coordinator continues after it', async () => {
  await cloud.put('my-archive');
  for (const key of ['mapped/a', 'mapped/b +ü', 'elsewhere/c']) await cloud.put(`my-archive/${encodeURIComponent(key)}`, key);
  writeFileSync(join(cloud.directory, 'worker.json'), '{}');
  const map = { operation: 'map', fleet: 'bulk', ended: false, progress: { listed: 2 } };
  const ended = await playMapped('mapped', [{ operation: 'plan' }, map, { operation: 'report' }, end('done', 'mapped')]);
  assert.equal(ended.status, 'SUCCEEDED', ended.cause);
  assert.deepEqual(ended.visited.filter((state) => state !== 'Convert'), ['Input', 'Begin', 'Plan', 'Map bulk', 'Mapped', 'Report', 'Done']);
  assert.deepEqual(work('mapped/').map(({ attempt, input }) => ({ attempt, ...input, etag: typeof input['etag'] })), [
    { attempt: 1, v: 1, run: 'mapped', fleet: 'bulk', bucket: 'my-archive', key: 'mapped/a', size: 8, etag: 'string' },
    { attempt: 1, v: 1, run: 'mapped', fleet: 'bulk', bucket: 'my-archive', key: 'mapped/b +ü', size: 12, etag: 'string' },
  ]);
  assert.deepEqual(work('elsewhere/'), []);
  // The state of the run passes through the map. `ended` is then true.
  const { at: _, event } = ended.calls[2]!;
  assert.deepEqual(event, { ...map, ended: true, run: 'mapped', prefix: 'mapped/', wait_seconds: 0 });
});

test('a child repeats the worker with the number of the attempt, and one that fails does not fail the run', async () => {
  const retry = { errorType: 'Retry', errorMessage: '1 of 1 objects need another attempt' };
  const script = {
    'children/flaky': [retry, { errorType: 'Lambda.TooManyRequestsException', errorMessage: 'Rate exceeded' }],
    'children/broken': Array.from({ length: 9 }, () => retry),
    'children/foreign': [{ errorType: 'Refused', errorMessage: 'the event is not of the map' }],
  };
  for (const key of [...Object.keys(script), 'children/good']) await cloud.put(`my-archive/${key}`, key);
  writeFileSync(join(cloud.directory, 'worker.json'), JSON.stringify(script));
  const map = { operation: 'map', fleet: 'bulk', ended: false };
  const ended = await playMapped('children', [map, { operation: 'report' }, end('incomplete', 'children')]);
  assert.deepEqual([ended.error, operations(ended.calls)], ['RunIncomplete', ['begin', 'map', 'report']]);
  const attempts = (name: string) => work(`children/${name}`).map(({ attempt }) => attempt);
  assert.deepEqual(attempts('good'), [1]);
  assert.deepEqual(attempts('flaky'), [1, 2, 3]);
  assert.deepEqual(attempts('broken'), [1, 2, 3, 4, 5, 6]);
  assert.deepEqual(attempts('foreign'), [1]);
});
