// The states of a fleet with driver map: a Distributed Map lists the prefix of a run and passes its objects to the worker.

import { LAMBDA_ERRORS } from './lambda-errors';

/** A fleet with driver map, with the ARNs of its parts. */
export interface MapFleetNames {
  readonly fleet: string;
  /** ARN of the worker function. */
  readonly worker: string;
  readonly sourceBucket: string;
  /** The account that must own the source bucket. */
  readonly sourceBucketOwner: string;
  readonly resultsBucket: string;
  /** Maximum concurrent workers. */
  readonly maxConcurrency: number;
  /** Maximum objects of one invocation. */
  readonly batchSize: number;
  readonly workerTimeoutSeconds: number;
}

/** Name of the fleet's state in the step loop. */
export const mapStateName = (fleet: string) => `Map ${fleet}`;

/**
 * An express execution takes at most 5 minutes, with all attempts and the waits between them:
 * https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html
 */
export const EXPRESS_SECONDS = 300;

const RETRY = [
  { ErrorEquals: ['Refused'], MaxAttempts: 0 },
  {
    // Errors of the Lambda service, not of the function.
    ErrorEquals: LAMBDA_ERRORS,
    IntervalSeconds: 2,
    BackoffRate: 2,
    MaxDelaySeconds: 30,
    MaxAttempts: 10,
    JitterStrategy: 'FULL',
  },
  // `Retry` of the worker, a crash or a timeout. Another attempt skips objects that are done.
  {
    ErrorEquals: ['States.ALL'],
    IntervalSeconds: 5,
    BackoffRate: 2,
    MaxDelaySeconds: 30,
    MaxAttempts: 5,
    JitterStrategy: 'FULL',
  },
];

/**
 * The map of a fleet. It is a JSONPath state, so that the local AWS of the tests can run it, in a step loop whose other states
 * use JSONata: https://docs.aws.amazon.com/step-functions/latest/dg/transforming-data.html
 */
export function mapState(map: MapFleetNames, next: string, failed: string): Record<string, unknown> {
  return {
    Type: 'Map',
    QueryLanguage: 'JSONPath',
    Comment: `Lists the prefix and passes its objects to the workers of fleet ${map.fleet}.`,
    Label: map.fleet,
    ItemReader: {
      Resource: 'arn:aws:states:::s3:listObjectsV2',
      Parameters: { Bucket: map.sourceBucket, ExpectedBucketOwner: map.sourceBucketOwner, 'Prefix.$': '$.prefix' },
    },
    // An item is the body of a queue message, so the worker needs nothing besides the items.
    ItemSelector: {
      v: 1,
      'run.$': '$.run',
      'fleet.$': '$.fleet',
      bucket: map.sourceBucket,
      'key.$': '$$.Map.Item.Value.Key',
      'size.$': '$$.Map.Item.Value.Size',
      'etag.$': '$$.Map.Item.Value.Etag',
    },
    ItemBatcher: { MaxItemsPerBatch: map.batchSize },
    MaxConcurrency: map.maxConcurrency,
    // The report names every object that is not done.
    ToleratedFailurePercentage: 100,
    ItemProcessor: {
      ProcessorConfig: { Mode: 'DISTRIBUTED', ExecutionType: 'EXPRESS' },
      StartAt: 'Convert',
      States: { Convert: convert(map) },
    },
    // The outputs of all children may exceed the 256 KiB of a state:
    // https://docs.aws.amazon.com/step-functions/latest/dg/input-output-resultwriter.html
    ResultWriter: {
      Resource: 'arn:aws:states:::s3:putObject',
      Parameters: { Bucket: map.resultsBucket, 'Prefix.$': "States.Format('runs/{}/map', $.run)" },
    },
    ResultPath: null,
    // The map fails only if it cannot list the objects or write its results.
    Retry: [
      { ErrorEquals: ['States.ALL'], IntervalSeconds: 10, BackoffRate: 2, MaxDelaySeconds: 60, MaxAttempts: 3, JitterStrategy: 'FULL' },
    ],
    Catch: [{ ErrorEquals: ['States.ALL'], ResultPath: '$.error', Next: failed }],
    Next: next,
  };
}

/** The only state of a child execution: it invokes the worker, and retries. */
function convert({ worker, workerTimeoutSeconds }: MapFleetNames): Record<string, unknown> {
  return {
    Type: 'Task',
    QueryLanguage: 'JSONata',
    Resource: 'arn:aws:states:::lambda:invoke',
    TimeoutSeconds: workerTimeoutSeconds + 5,
    Arguments: {
      FunctionName: worker,
      // The worker ends before its child, which began at `started`.
      Payload: '{% {"attempt": $states.context.State.RetryCount + 1, "started": $states.context.Execution.StartTime, "input": $states.input} %}',
    },
    Output: '{% $states.result.Payload %}',
    Retry: RETRY,
    End: true,
  };
}
