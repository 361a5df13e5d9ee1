// What the step loop does, as Step Functions reads it. Pure: tests read it without a stack.
//
//   Input ─▶ Begin ─▶ Next ─▶ Wait ─▶ Operation ─▶ Purge, Plan, Check or Report ─▶ Next ─▶ … ─▶ Done or Failed
//
// What goes from state to state is the coordinator's last answer, which is also its next event.

export interface StepLoopNames {
  /** ARN of the coordinator's function. */
  readonly coordinator: string;
  readonly resultsBucket: string;
  /** After so many calls of the coordinator the loop goes on in a new execution. */
  readonly maxTurns: number;
  readonly timeLimitSeconds: number;
}

type State = Record<string, unknown>;

/** Options of a run, with the JSON type of each. */
const OPTIONS: Readonly<Record<string, string>> = {
  prefix: 'string',
  resume: 'string',
  run: 'string',
  purge: 'boolean',
  force: 'boolean',
};

const OPERATIONS: Readonly<Record<string, string>> = { purge: 'Purge', plan: 'Plan', check: 'Check', report: 'Report' };

const RUN_NAME = '/^[A-Za-z0-9_-][A-Za-z0-9._-]{0,79}$/';

const quoted = (names: readonly string[]) => `[${names.map((name) => `"${name}"`).join(', ')}]`;
const jsonata = (expression: string) => `{% ${expression} %}`;

const wrongType = (option: string, type: string) =>
  `$exists($states.input.${option}) and $not($type($states.input.${option}) = "${type}")`;

/** What is wrong with an execution's input, in the order in which it is looked for. */
const REFUSALS: readonly { when: string; reason: string }[] = [
  { when: '$not($type($states.input) = "object")', reason: '"the input is not a JSON object"' },
  {
    when: `$count($keys($states.input)[$not($ in ${quoted(Object.keys(OPTIONS))})]) > 0`,
    reason: `"unknown in the input: " & $join($keys($states.input)[$not($ in ${quoted(Object.keys(OPTIONS))})], ", ") & "; known are ${Object.keys(OPTIONS).join(', ')}"`,
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
    reason: `"${option} is no name of a run: " & $states.input.${option} & "; such names have 1 to 80 of A-Z a-z 0-9 . _ - and do not begin with a dot"`,
  })),
];

/** The execution's name, which may have characters that a run's may not. */
const EXECUTION_AS_RUN = '$replace($replace($states.context.Execution.Name, /[^A-Za-z0-9._-]/, "-"), /^[.]/, "-")';

/** Variables of an execution. `failure` is empty until calls have failed for good. */
const FRESH = { turns: 0, failure: '', failureCause: '' };

const RETRY = [
  { ErrorEquals: ['Refused'], MaxAttempts: 0 },
  {
    // The service and not the function: throttled, or not there for a moment.
    ErrorEquals: [
      'Lambda.TooManyRequestsException',
      'Lambda.ServiceException',
      'Lambda.AWSLambdaException',
      'Lambda.SdkClientException',
      'Lambda.ClientExecutionTimeoutException',
    ],
    IntervalSeconds: 2,
    BackoffRate: 2,
    MaxDelaySeconds: 60,
    MaxAttempts: 10,
    JitterStrategy: 'FULL',
  },
  // Matches all other errors: `Retry`, a crash, a timeout, an answer that cannot be read.
  {
    ErrorEquals: ['States.ALL'],
    IntervalSeconds: 5,
    BackoffRate: 2,
    MaxDelaySeconds: 60,
    MaxAttempts: 5,
    JitterStrategy: 'FULL',
  },
];

/** An error's cause may be 32,768 characters; a part of it is enough. */
const CAUSE = '$substring($states.errorOutput.Cause, 0, 1000)';

export function definition(names: StepLoopNames): Record<string, unknown> {
  const report = `"s3://${names.resultsBucket}/runs/" & $states.input.run & "/report.json"`;

  /** One call of the coordinator. */
  const call = (comment: string, payload: string, caught: State): State => ({
    Type: 'Task',
    Comment: comment,
    Resource: 'arn:aws:states:::lambda:invoke',
    // A little more than the function's own limit.
    TimeoutSeconds: 930,
    Arguments: { FunctionName: names.coordinator, Payload: jsonata(payload) },
    Output: jsonata('$states.result.Payload'),
    // A failed attempt has events too.
    Assign: { turns: jsonata('$turns + 1 + $states.context.State.RetryCount') },
    Retry: RETRY,
    Catch: [caught],
    Next: 'Next',
  });

  /** After a failure for good: the report says how far the run came, then the execution fails. */
  const lastReport = (doing: string): State => ({
    ErrorEquals: ['States.ALL'],
    Assign: {
      failure: jsonata('$states.errorOutput.Error'),
      failureCause: jsonata(`"${doing} of run " & $states.input.run & " failed: " & ${CAUSE}`),
    },
    Output: jsonata(
      '{"operation": "report", "run": $states.input.run, "prefix": $states.input.prefix, "final": true}',
    ),
    Next: 'LastReport',
  });

  const operation = (comment: string, doing: string) => call(comment, '$states.input', lastReport(doing));

  const begin = call(
    'Opens the run. The name of the execution names it, so that a second attempt opens no second run.',
    `$merge([{"operation": "begin"}, $states.input, $exists($states.input.run) ? {} : {"run": ${EXECUTION_AS_RUN}}])`,
    {
      ErrorEquals: ['States.ALL'],
      Output: {
        error: jsonata('$states.errorOutput.Error'),
        cause: jsonata(`"no run was begun: " & ${CAUSE}`),
      },
      Next: 'Broken',
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
      Comment: 'Checks what was asked. An input with an operation goes on with a run that is there.',
      Choices: [
        {
          Condition: jsonata(
            `$type($states.input) = "object" and $type($states.input.run) = "string" and $states.input.operation in ${quoted(Object.keys(OPERATIONS))}`,
          ),
          Assign: FRESH,
          Next: 'Next',
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

    Next: {
      Type: 'Choice',
      Comment: 'Is it over, is this execution long enough, is there something to wait for?',
      Choices: [
        {
          Condition: jsonata('$states.input.operation = "end" and $not($failure = "")'),
          Output: {
            error: jsonata('$failure'),
            cause: jsonata(`$failureCause & "; report: " & ${report}`),
          },
          Next: 'Broken',
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
          // Not while failing: a new execution would not know of the failure.
          Condition: jsonata(`$turns >= ${names.maxTurns} and $failure = ""`),
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
      Comment: 'As long as the coordinator asked for.',
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
      ],
      Default: 'Unexpected',
    },

    Purge: operation('Empties the queue. The wait after it is what SQS needs until all of it is gone.', 'the purge'),
    Plan: operation('Lists a part of the objects and queues them.', 'planning'),
    Check: operation('Looks how far the workers are.', 'checking'),
    Report: operation('Holds manifest, receipts and failures against each other.', 'the report'),

    LastReport: call('Writes down how far the run came before it broke.', '$states.input', {
      ErrorEquals: ['States.ALL'],
      Output: {
        error: jsonata('$failure'),
        cause: jsonata(`$failureCause & "; and its report could not be written: " & ${CAUSE}`),
      },
      Next: 'Broken',
    }),

    Continue: {
      Type: 'Task',
      // https://docs.aws.amazon.com/step-functions/latest/dg/tutorial-continue-new.html
      Comment: 'An execution may have 25,000 events, so another goes on from here.',
      Resource: 'arn:aws:states:::states:startExecution',
      Arguments: {
        StateMachineArn: jsonata('$states.context.StateMachine.Id'),
        // The same at each attempt, so that there is one that goes on and not two.
        Name: jsonata(
          '$substring($states.input.run, 0, 60) & "-" & $substring($hash($states.context.Execution.Id, "SHA-256"), 0, 16)',
        ),
        Input: jsonata('$states.input'),
      },
      Output: jsonata('{"run": $states.input.run, "prefix": $states.input.prefix, "continued_as": $states.result.ExecutionArn}'),
      Retry: [
        { ErrorEquals: ['StepFunctions.ExecutionAlreadyExistsException'], MaxAttempts: 0 },
        { ErrorEquals: ['States.ALL'], IntervalSeconds: 5, BackoffRate: 2, MaxDelaySeconds: 60, MaxAttempts: 8 },
      ],
      Catch: [
        {
          // An attempt whose answer was lost did start it.
          ErrorEquals: ['StepFunctions.ExecutionAlreadyExistsException'],
          Output: jsonata('{"run": $states.input.run, "prefix": $states.input.prefix}'),
          Next: 'Continued',
        },
        lastReport('going on in a new execution'),
      ],
      Next: 'Continued',
    },

    Unexpected: {
      Type: 'Fail',
      Error: 'UnexpectedAnswer',
      Cause: jsonata('"no operation that is known in the answer of the coordinator: " & $substring($string($states.input), 0, 1000)'),
    },
    Refused: { Type: 'Fail', Comment: 'Nothing is begun, or it cannot go on.', Error: 'Refused', Cause: jsonata('$substring($states.input.reason, 0, 1000)') },
    Broken: {
      Type: 'Fail',
      Comment: 'Calls failed for good. The run can be resumed.',
      Error: jsonata('$states.input.error'),
      Cause: jsonata('$states.input.cause'),
    },
    Failed: {
      Type: 'Fail',
      Comment: 'The run came to its end, and objects failed or are missing.',
      Error: jsonata('$states.input.error'),
      Cause: jsonata('$states.input.cause'),
    },
    Done: { Type: 'Succeed', Comment: 'Every object is done.' },
    Continued: { Type: 'Succeed', Comment: 'Another execution goes on.' },
  };

  return {
    Comment: 'One run of Flowherd: from a prefix to a report.',
    QueryLanguage: 'JSONata',
    StartAt: 'Input',
    // The coordinator ends a run at its own limit and reports; this one is for when it cannot.
    TimeoutSeconds: names.timeLimitSeconds + 3600,
    States: states,
  };
}
