import { join } from 'node:path';

import { Duration, Stack } from 'aws-cdk-lib';
import { Grant } from 'aws-cdk-lib/aws-iam';
import type { Architecture } from 'aws-cdk-lib/aws-lambda';
import type { RetentionDays } from 'aws-cdk-lib/aws-logs';
import { Construct } from 'constructs';

import { NativeFunction } from './native-function';
import type { ResultsBucket } from './results-bucket';
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
}

/** Memory of the coordinator in MB. */
export const COORDINATOR_MEMORY_MB = 1024;

/** The function that plans, checks and reports runs. Each call is one operation; the step loop drives it. */
export class Coordinator extends Construct {
  readonly function: NativeFunction;

  constructor(scope: Construct, id: string, props: CoordinatorProps) {
    super(scope, id);
    const { source, results, tasks } = props;
    const config = props.configFile === undefined ? undefined : new SettingsAsset(this, 'Config', props.configFile);
    const names = props.namesFile === undefined ? undefined : new SettingsAsset(this, 'Names', props.namesFile);
    this.function = new NativeFunction(this, 'Coordinator', {
      description: 'Flowherd: plans, checks and reports runs',
      directory: join(props.artifacts, 'flowherd-coordinator'),
      architecture: props.architecture,
      memoryMb: COORDINATOR_MEMORY_MB,
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
      const location = props.namesUrl.replace('s3://', '');
      const arn = `arn:${Stack.of(this).partition}:s3:::${location}`;
      Grant.addToPrincipal({ grantee: this.function, actions: ['s3:GetObject'], resourceArns: [arn] });
    }
  }

  private settingsEnvironment(props: CoordinatorProps, config?: SettingsAsset, names?: SettingsAsset): Record<string, string> {
    const { account } = Stack.of(this);
    const namesUrl = names?.url ?? props.namesUrl;
    return {
      ...(config === undefined ? {} : { FLOWHERD_CONFIG: config.url, FLOWHERD_CONFIG_BUCKET_OWNER: account }),
      ...(namesUrl === undefined ? {} : { FLOWHERD_NAMES: namesUrl }),
      ...(names === undefined ? {} : { FLOWHERD_NAMES_BUCKET_OWNER: account }),
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
