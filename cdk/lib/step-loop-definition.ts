// The step loop as an Amazon States Language definition. It is separate from the stack, so that tests can read it without one.
//
//   Input ─▶ Begin ─▶ Next ─▶ Wait ─▶ Operation ─▶ Purge, Plan, Check, Map, Report or Resume ─▶ Next ─▶ … ─▶ Done or Failed
//   Input ─▶ Close ─▶ Closed ─▶ StartRuns ─▶ RunsStarted or CloseFailed
//
// The coordinator's response is the input of the next state and the event of the next call.

import { LAMBDA_ERRORS } from './lambda-errors';
import { mapState, mapStateName, type MapFleetNames } from './map-states';
import runOptions from './run-options.json';

export interface StepLoopNames {
  /** ARN of the coordinator function. */
  readonly coordinator: string;
  readonly resultsBucket: string;
  /** Maximum calls of the coordinator in one execution. After them, the loop continues in a new execution. */
  readonly maxCalls: number;
  readonly timeLimitSeconds: number;
  /** The fleets with driver map. */
  readonly maps: readonly MapFleetNames[];
}

type State = Record<string, unknown>;

/** Options of a run with their JSON types, and the pattern of run names. A test of the coordinator compares both with its own. */
const OPTIONS: Readonly<Record<string, string>> = runOptions.options;
const RUN_NAME = `/${runOptions.runName}/`;

/** The state for each operation of the coordinator. */
const OPERATIONS: Readonly<Record<string, string>> = {
  purge: 'Purge',
  plan: 'Plan',
  check: 'Check',
  report: 'Report',
  continue: 'Resume',
};

/** Operations with which an execution may begin. The map state of the fleet runs `map`. */
const KNOWN_OPERATIONS: readonly string[] = [...Object.keys(OPERATIONS), 'map'];

const quoted = (names: readonly string[]) => `[${names.map((name) => `"${name}"`).join(', ')}]`;
const jsonata = (expression: string) => `{% ${expression} %}`;

const wrongType = (option: string, type: string) =>
  `$exists($states.input.${option}) and $not($type($states.input.${option}) = "${type}")`;

/** Conditions under which an execution's input is refused, in the order of evaluation. */
const REFUSALS: readonly { when: string; reason: string }[] = [
  { when: '$not($type($states.input) = "object")', reason: '"the input is not a JSON object"' },
  {
    when: `$count($keys($states.input)[$not($ in ${quoted(Object.keys(OPTIONS))})]) > 0`,
    reason: `"unknown option in the input: " & $join($keys($states.input)[$not($ in ${quoted(Object.keys(OPTIONS))})], ", ") & "; the options are ${Object.keys(OPTIONS).join(', ')}"`,
  },
  ...Object.entries(OPTIONS).map(([option, type]) => ({
    when: wrongType(option, type),
    reason: `"${option} is not a ${type} but " & $string($states.input.${option})`,
  })),
  {
    when: '$not($exists($states.input.prefix)) and $not($exists($states.input.resume))',
    reason: '"neither prefix nor resume is given"',
  },
  ...['run', 'resume'].map((option) => ({
    when: `$exists($states.input.${option}) and $not($contains($states.input.${option}, ${RUN_NAME}))`,
    reason: `"${option} is not the name of a run: " & $states.input.${option} & "; use 1 to 80 of the characters A-Z a-z 0-9 . _ - and no leading dot"`,
  })),
];

/** The execution's name. Characters that a run's name cannot have become `-`. */
const EXECUTION_AS_RUN = '$replace($replace($states.context.Execution.Name, /[^A-Za-z0-9._-]/, "-"), /^[.]/, "-")';

/** Variables of an execution. `failure` is empty until a call has failed permanently. */
const FRESH = { calls: 0, failure: '', failureCause: '' };

const RETRY = [
  { ErrorEquals: ['Refused'], MaxAttempts: 0 },
  {
    // Errors of the Lambda service, not of the function.
    ErrorEquals: LAMBDA_ERRORS,
    IntervalSeconds: 2,
    BackoffRate: 2,
    MaxDelaySeconds: 60,
    MaxAttempts: 10,
    JitterStrategy: 'FULL',
  },
  // All other errors: `Retry`, a crash, a timeout, an invalid response.
  {
    ErrorEquals: ['States.ALL'],
    IntervalSeconds: 5,
    BackoffRate: 2,
    MaxDelaySeconds: 60,
    MaxAttempts: 5,
    JitterStrategy: 'FULL',
  },
];

/** The name of an execution that continues a run. Each attempt uses the same name, so that only one execution starts. */
const NEXT_EXECUTION =
  '$substring($states.input.run, 0, 60) & "-" & $substring($hash($states.context.Execution.Id, "SHA-256"), 0, 16)';

const START_RETRY = [
  { ErrorEquals: ['StepFunctions.ExecutionAlreadyExistsException'], MaxAttempts: 0 },
  { ErrorEquals: ['States.ALL'], IntervalSeconds: 5, BackoffRate: 2, MaxDelaySeconds: 60, MaxAttempts: 8 },
];

/** The event with which the coordinator reports the current state of a run. */
const REPORT_NOW = '{"operation": "report_now", "run": $states.input.run, "prefix": $states.input.prefix}';

/** The first 1,000 characters of an error's cause, which may have 32,768. */
const CAUSE = '$substring($states.errorOutput.Cause, 0, 1000)';

/** Closes the days of a live fleet, and starts an execution for each run that this closes. */
function closeStates(coordinator: string): Record<string, State> {
  const failed = (doing: string): State => ({
    ErrorEquals: ['States.ALL'],
    Output: { error: jsonata('$states.errorOutput.Error'), cause: jsonata(`"cannot ${doing}: " & ${CAUSE}`) },
    Next: 'CallFailed',
  });
  return {
    Close: {
      Type: 'Task',
      Comment: 'Closes the days that are over. Their runs accept no further arrivals.',
      Resource: 'arn:aws:states:::lambda:invoke',
      TimeoutSeconds: 930,
      Arguments: { FunctionName: coordinator, Payload: jsonata('$states.input') },
      Output: jsonata('$states.result.Payload'),
      Retry: RETRY,
      Catch: [failed('close the day')],
      Next: 'StartRuns',
    },
    StartRuns: {
      Type: 'Map',
      Comment: 'Each closed run has an execution of its own, which lists, checks and reports its day.',
      // An array of one item would become that item.
      Items: jsonata('[$states.input.runs]'),
      ItemProcessor: {
        ProcessorConfig: { Mode: 'INLINE' },
        StartAt: 'StartRun',
        States: {
          StartRun: {
            Type: 'Task',
            Resource: 'arn:aws:states:::states:startExecution',
            Arguments: {
              StateMachineArn: jsonata('$states.context.StateMachine.Id'),
              Name: jsonata(NEXT_EXECUTION),
              Input: jsonata('$states.input'),
            },
            Output: jsonata('$states.input.run'),
            Retry: START_RETRY,
            Catch: [
              {
                // An earlier attempt started the execution, but its response was lost.
                ErrorEquals: ['StepFunctions.ExecutionAlreadyExistsException'],
                Output: jsonata('$states.input.run'),
                Next: 'Started',
              },
            ],
            End: true,
          },
          Started: { Type: 'Pass', End: true },
        },
      },
      Output: jsonata('{"runs": [$states.result], "problems": [$states.input.problems]}'),
      Catch: [failed('start the runs of the closed days')],
      Next: 'Closed',
    },
    Closed: {
      Type: 'Choice',
      Choices: [{ Condition: jsonata('$count($states.input.problems) > 0'), Next: 'CloseFailed' }],
      Default: 'RunsStarted',
    },
    RunsStarted: { Type: 'Succeed', Comment: 'Each run of a closed day has an execution.' },
    CloseFailed: {
      Type: 'Fail',
      Comment: 'Some days cannot be closed.',
      Error: 'CloseFailed',
      Cause: jsonata('$substring($join($states.input.problems, "; "), 0, 1000)'),
    },
  };
}

export function definition(names: StepLoopNames): Record<string, unknown> {
  const report = `"s3://${names.resultsBucket}/runs/" & $states.input.run & "/report.json"`;

  /** One call of the coordinator. */
  const call = (comment: string, payload: string, caught: State): State => ({
    Type: 'Task',
    Comment: comment,
    Resource: 'arn:aws:states:::lambda:invoke',
    // Longer than the function's own timeout, 900 s.
    TimeoutSeconds: 930,
    Arguments: { FunctionName: names.coordinator, Payload: jsonata(payload) },
    Output: jsonata('$states.result.Payload'),
    // Failed attempts count too, because they also add events to the history.
    Assign: { calls: jsonata('$calls + 1 + $states.context.State.RetryCount') },
    Retry: RETRY,
    Catch: [caught],
    Next: 'Next',
  });

  /** After a permanent failure, the coordinator writes a report of the current state. Then the execution fails. */
  const lastReport = (doing: string): State => ({
    ErrorEquals: ['States.ALL'],
    Assign: {
      failure: jsonata('$states.errorOutput.Error'),
      failureCause: jsonata(`"${doing} of run " & $states.input.run & " failed: " & ${CAUSE}`),
    },
    Output: jsonata(REPORT_NOW),
    Next: 'LastReport',
  });

  const operation = (comment: string, doing: string, payload = '$states.input') => call(comment, payload, lastReport(doing));

  const begin = call(
    'Begins the run. The run has the name of the execution, so a second attempt begins no second run.',
    `$merge([{"operation": "begin"}, $states.input, $exists($states.input.run) ? {} : {"run": ${EXECUTION_AS_RUN}}])`,
    {
      ErrorEquals: ['States.ALL'],
      Output: {
        error: jsonata('$states.errorOutput.Error'),
        cause: jsonata(`"cannot begin the run: " & ${CAUSE}`),
      },
      Next: 'CallFailed',
    },
  );
  begin['Catch'] = [
    {
      ErrorEquals: ['Refused'],
      Output: { reason: jsonata('$parse($states.errorOutput.Cause).errorMessage') },
      Next: 'Refused',
    },
    ...(begin['Catch'] as State[]),
  ];

  const states: Record<string, State> = {
    Input: {
      Type: 'Choice',
      Comment: 'Checks the input. An input with an operation continues an existing run.',
      Choices: [
        {
          Condition: jsonata(
            `$type($states.input) = "object" and $type($states.input.run) = "string" and $states.input.operation in ${quoted(KNOWN_OPERATIONS)}`,
          ),
          Assign: FRESH,
          Next: 'Next',
        },
        {
          Condition: jsonata('$type($states.input) = "object" and $states.input.operation = "close"'),
          Assign: FRESH,
          Next: 'Close',
        },
        ...REFUSALS.map(({ when, reason }) => ({
          Condition: jsonata(when),
          Output: { reason: jsonata(reason) },
          Next: 'Refused',
        })),
      ],
      Assign: FRESH,
      Default: 'Begin',
    },

    Begin: begin,

    ...closeStates(names.coordinator),

    Next: {
      Type: 'Choice',
      Comment: 'Ends the execution, continues in a new one, waits, or calls the coordinator.',
      Choices: [
        {
          Condition: jsonata('$states.input.operation = "end" and $not($failure = "")'),
          Output: {
            error: jsonata('$failure'),
            cause: jsonata(`$failureCause & "; report: " & ${report}`),
          },
          Next: 'CallFailed',
        },
        {
          Condition: jsonata('$states.input.operation = "end" and $states.input.state = "done"'),
          Output: jsonata(
            '{"run": $states.input.run, "prefix": $states.input.prefix, "state": "done", "report": $states.input.report, "message": $states.input.message}',
          ),
          Next: 'Done',
        },
        {
          Condition: jsonata('$states.input.operation = "end"'),
          Output: {
            error: jsonata('$states.input.state = "incomplete" ? "RunIncomplete" : "RunFailed"'),
            cause: jsonata(
              `"run " & $states.input.run & ": " & $states.input.message & "; report: " & ${report}`,
            ),
          },
          Next: 'Failed',
        },
        {
          // Not after a failure, because `$failure` would be lost in a new execution.
          Condition: jsonata(`$calls >= ${names.maxCalls} and $failure = ""`),
          Next: 'Continue',
        },
        {
          Condition: jsonata('$type($states.input.wait_seconds) = "number" and $states.input.wait_seconds > 0'),
          Next: 'Wait',
        },
      ],
      Default: 'Operation',
    },

    Wait: {
      Type: 'Wait',
      Comment: "Waits for the number of seconds in the coordinator's response.",
      Seconds: jsonata('$ceil($states.input.wait_seconds)'),
      Next: 'Operation',
    },

    Operation: {
      Type: 'Choice',
      Choices: [
        { Condition: jsonata('$not($failure = "")'), Next: 'LastReport' },
        ...Object.entries(OPERATIONS).map(([operation, state]) => ({
          Condition: jsonata(`$states.input.operation = "${operation}"`),
          Next: state,
        })),
        ...names.maps.map(({ fleet }) => ({
          Condition: jsonata(`$states.input.operation = "map" and $states.input.fleet = "${fleet}"`),
          Next: mapStateName(fleet),
        })),
      ],
      Default: 'Unexpected',
    },

    Purge: operation('Purges the queue. SQS needs up to 60 s, for which the loop then waits.', 'the purge'),
    Plan: operation('Lists some of the objects and sends their messages.', 'planning'),
    Check: operation('Reads the progress of the workers.', 'checking'),
    Report: operation('Compares the manifest with receipts and failures.', 'the report'),
    Resume: operation('Continues a run whose execution has ended: with planning, checks or the map.', 'resuming'),

    ...mapStates(names.maps, operation),

    LastReport: call('Reports the run as it was when a call failed permanently.', '$states.input', {
      ErrorEquals: ['States.ALL'],
      Output: {
        error: jsonata('$failure'),
        cause: jsonata(`$failureCause & "; and its report could not be written: " & ${CAUSE}`),
      },
      Next: 'CallFailed',
    }),

    Continue: {
      Type: 'Task',
      // https://docs.aws.amazon.com/step-functions/latest/dg/tutorial-continue-new.html
      Comment: 'An execution can have 25,000 events, so a new one continues.',
      Resource: 'arn:aws:states:::states:startExecution',
      Arguments: {
        StateMachineArn: jsonata('$states.context.StateMachine.Id'),
        Name: jsonata(NEXT_EXECUTION),
        Input: jsonata('$states.input'),
      },
      Output: jsonata('{"run": $states.input.run, "prefix": $states.input.prefix, "continued_as": $states.result.ExecutionArn}'),
      Retry: START_RETRY,
      Catch: [
        {
          // An earlier attempt started the execution, but its response was lost.
          ErrorEquals: ['StepFunctions.ExecutionAlreadyExistsException'],
          Output: jsonata('{"run": $states.input.run, "prefix": $states.input.prefix}'),
          Next: 'Continued',
        },
        lastReport('continuing in a new execution'),
      ],
      Next: 'Continued',
    },

    Unexpected: {
      Type: 'Fail',
      Error: 'UnexpectedResponse',
      Cause: jsonata('"unknown operation in the response of the coordinator: " & $substring($string($states.input), 0, 1000)'),
    },
    Refused: { Type: 'Fail', Comment: 'The run cannot begin or continue.', Error: 'Refused', Cause: jsonata('$substring($states.input.reason, 0, 1000)') },
    CallFailed: {
      Type: 'Fail',
      Comment: 'A call failed permanently. The run can be resumed.',
      Error: jsonata('$states.input.error'),
      Cause: jsonata('$states.input.cause'),
    },
    Failed: {
      Type: 'Fail',
      Comment: 'The run ended, and objects failed or are missing.',
      Error: jsonata('$states.input.error'),
      Cause: jsonata('$states.input.cause'),
    },
    Done: { Type: 'Succeed', Comment: 'Every object is done.' },
    Continued: { Type: 'Succeed', Comment: 'Another execution continues the run.' },
  };

  return {
    Comment: 'One run of Flowherd: from a prefix to a report.',
    StartAt: 'Input',
    // The coordinator has an earlier limit, at which it writes the report. This limit ends the execution if that fails.
    TimeoutSeconds: names.timeLimitSeconds + 3600,
    ...inJsonata(states, names.maps.length > 0),
  };
}

/**
 * Returns states in JSONata. A map is a JSONPath state, which only a JSONPath state machine allows. With a map, each other state
 * therefore names its language: https://docs.aws.amazon.com/step-functions/latest/dg/transforming-data.html
 * Without a map, the machine names the language, because the local AWS of the tests evaluates `Assign` of choices and catchers
 * only then.
 */
function inJsonata(states: Record<string, State>, besideMaps: boolean): State {
  if (!besideMaps) return { QueryLanguage: 'JSONata', States: states };
  return { States: Object.fromEntries(Object.entries(states).map(([name, state]) => [name, { QueryLanguage: 'JSONata', ...state }])) };
}

/** Returns a map for each fleet, the call after it, and the state after a failed map. */
function mapStates(maps: readonly MapFleetNames[], operation: (comment: string, doing: string, payload: string) => State): Record<string, State> {
  if (maps.length === 0) return {};
  return {
    ...Object.fromEntries(maps.map((map) => [mapStateName(map.fleet), mapState(map, 'Mapped', 'MapFailed')])),
    Mapped: operation('Continues the run after its map.', 'continuing', '$merge([$states.input, {"ended": true}])'),
    MapFailed: {
      Type: 'Pass',
      Comment: 'The map could not list the objects or write its results.',
      Assign: {
        failure: jsonata('$states.input.error.Error'),
        failureCause: jsonata('"the map of run " & $states.input.run & " failed: " & $substring($states.input.error.Cause, 0, 1000)'),
      },
      Output: jsonata(REPORT_NOW),
      Next: 'LastReport',
    },
  };
}
