import { join } from 'node:path';

import { Duration, Stack } from 'aws-cdk-lib';
import { Grant } from 'aws-cdk-lib/aws-iam';
import type { Architecture } from 'aws-cdk-lib/aws-lambda';
import type { RetentionDays } from 'aws-cdk-lib/aws-logs';
import { Construct } from 'constructs';

import { ConfigAsset } from './config-asset';
import { NativeFunction } from './native-function';
import { NAMES_KEY, type ResultsBucket } from './results-bucket';
import { arnOfObject } from './s3-url';
import { SettingsAsset } from './settings-asset';
import type { SourceBucket } from './source-bucket';
import type { TaskQueue } from './task-queue';

export interface CoordinatorProps {
  readonly source: SourceBucket;
  readonly results: ResultsBucket;
  readonly tasks: TaskQueue;
  /** Directory that holds `flowherd-coordinator/bootstrap`. */
  readonly artifacts: string;
  readonly architecture: Architecture;
  readonly logRetention: RetentionDays;
  readonly runTimeLimit: Duration;
  readonly maxKeys: number;
  readonly configFile?: string | undefined;
  readonly namesFile?: string | undefined;
  readonly namesUrl?: string | undefined;
  readonly namesBucketAccount?: string | undefined;
  /** Uses the names that the coordinator refreshes in the results bucket. */
  readonly namesRefresh: boolean;
}

/** Memory of the coordinator in MB. */
const COORDINATOR_MEMORY_MB = 1024;
/** The same with `namesRefresh`: a refresh holds the former names, the new ones and what it has read. */
const NAMES_MEMORY_MB = 3008;

/** The function that plans, checks and reports runs. Each call is one operation; the step loop drives it. */
export class Coordinator extends Construct {
  readonly function: NativeFunction;
  readonly memoryMb: number;

  constructor(scope: Construct, id: string, props: CoordinatorProps) {
    super(scope, id);
    const { source, results, tasks } = props;
    const config = props.configFile === undefined ? undefined : new ConfigAsset(this, 'Config', props.configFile);
    const names = props.namesFile === undefined ? undefined : new SettingsAsset(this, 'Names', props.namesFile);
    this.memoryMb = props.namesRefresh ? NAMES_MEMORY_MB : COORDINATOR_MEMORY_MB;
    this.function = new NativeFunction(this, 'Coordinator', {
      description: 'Flowherd: plans, checks and reports runs',
      directory: join(props.artifacts, 'flowherd-coordinator'),
      architecture: props.architecture,
      memoryMb: this.memoryMb,
      timeout: Duration.minutes(15),
      logRetention: props.logRetention,
      environment: {
        ...source.environment,
        ...results.environment,
        FLOWHERD_QUEUE_URL: tasks.queue.queueUrl,
        FLOWHERD_DEAD_LETTER_QUEUE_URL: tasks.deadLetters.queueUrl,
        FLOWHERD_TIME_LIMIT_SECONDS: String(props.runTimeLimit.toSeconds()),
        FLOWHERD_MAX_KEYS: String(props.maxKeys),
        ...this.settingsEnvironment(props, config, names),
      },
    });
    source.grantList(this.function);
    this.grantLedger(results);
    this.grantQueues(tasks);
    config?.grantRead(this.function);
    names?.grantRead(this.function);
    if (props.namesUrl !== undefined) {
      const resourceArns = [arnOfObject(this, props.namesUrl.replace('s3://', ''))];
      Grant.addToPrincipal({ grantee: this.function, actions: ['s3:GetObject'], resourceArns });
    }
  }

  private settingsEnvironment(props: CoordinatorProps, config?: ConfigAsset, names?: SettingsAsset): Record<string, string> {
    const { account } = Stack.of(this);
    const refreshed = props.namesRefresh ? `s3://${props.results.bucket.bucketName}/${NAMES_KEY}` : undefined;
    const namesUrl = names?.url ?? props.namesUrl ?? refreshed;
    return {
      ...(config === undefined ? {} : { FLOWHERD_CONFIG: config.url, FLOWHERD_CONFIG_BUCKET_OWNER: account }),
      ...(namesUrl === undefined ? {} : { FLOWHERD_NAMES: namesUrl }),
      ...(names === undefined && refreshed === undefined ? {} : { FLOWHERD_NAMES_BUCKET_OWNER: account }),
      ...(props.namesUrl === undefined ? {} : { FLOWHERD_NAMES_BUCKET_OWNER: props.namesBucketAccount ?? account }),
    };
  }

  private grantLedger(results: ResultsBucket): void {
    // Of outputs, the coordinator reads only which version is there.
    results.grantOnObjects(this.function, ['s3:GetObject'], ['runs/*', 'active/*', 'csv/*', 'rejects/*']);
    // Only workers write receipts and failures.
    const unfinished = 'runs/*/report.unfinished.json';
    results.grantOnObjects(this.function, ['s3:PutObject'], [
      'active/*', 'runs/.index/*', 'runs/*/run.json', 'runs/*/flowherd.toml', 'runs/*/names.json', 'runs/*/enrich/*', 'runs/*/manifest/*',
      'runs/*/purged.json', 'runs/*/report.json', 'runs/*/report.html', unfinished,
    ]);
    results.grantOnObjects(this.function, ['s3:DeleteObject'], ['active/*', unfinished]);
    results.grantList(this.function);
  }

  private grantQueues({ queue, deadLetters }: TaskQueue): void {
    queue.grant(this.function, 'sqs:SendMessage', 'sqs:GetQueueAttributes', 'sqs:PurgeQueue');
    // A redrive requires these, and sqs:SendMessage on the queue:
    // https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-configure-dead-letter-queue-redrive.html
    deadLetters.grant(
      this.function,
      'sqs:StartMessageMoveTask', 'sqs:ReceiveMessage', 'sqs:DeleteMessage', 'sqs:GetQueueAttributes',
    );
  }
}
