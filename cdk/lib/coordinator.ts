import { chmodSync, copyFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

import { AssetHashType, DockerImage, Stack } from 'aws-cdk-lib';
import { Code } from 'aws-cdk-lib/aws-lambda';
import type { Bucket } from 'aws-cdk-lib/aws-s3';
import { Construct } from 'constructs';

import { acknowledgeObjects } from './acknowledge';
import { NativeFunction } from './native-function';
import { resultsEnvironment } from './results-bucket';
import { parseS3Url, type Settings } from './settings';
import type { Source } from './source';
import type { TaskQueue } from './task-queue';

export interface CoordinatorProps {
  readonly settings: Settings;
  readonly source: Source;
  readonly results: Bucket;
  readonly tasks: TaskQueue;
}

/** Plans, checks and reports: one operation a call, driven by the step loop. */
export class Coordinator extends Construct {
  readonly function: NativeFunction;

  constructor(scope: Construct, id: string, { settings, source, results, tasks }: CoordinatorProps) {
    super(scope, id);
    // Relative: a function begins in the directory of its code.
    const bundled = [
      ...(settings.configFile === undefined ? [] : [{ from: settings.configFile, to: 'flowherd.toml' }]),
      ...(settings.lookupsFile === undefined ? [] : [{ from: settings.lookupsFile, to: 'lookups.json' }]),
    ];
    const lookups = settings.lookupsUrl ?? (settings.lookupsFile === undefined ? undefined : 'lookups.json');
    this.function = new NativeFunction(this, 'Coordinator', {
      description: 'Flowherd: plans, checks and reports runs',
      code: code(resolve(settings.artifacts, 'flowherd-coordinator'), bundled),
      architecture: settings.architecture,
      memoryMb: 1024,
      timeoutSeconds: 900,
      logRetentionDays: settings.logRetentionDays,
      environment: {
        ...source.environment,
        ...resultsEnvironment(results),
        FLOWHERD_QUEUE_URL: tasks.queue.queueUrl,
        FLOWHERD_DEAD_LETTER_QUEUE_URL: tasks.deadLetters.queueUrl,
        FLOWHERD_TIME_LIMIT_SECONDS: String(settings.runTimeLimitHours * 3600),
        FLOWHERD_MAX_KEYS: String(settings.maxKeys),
        ...(settings.configFile === undefined ? {} : { FLOWHERD_CONFIG: 'flowherd.toml' }),
        ...(lookups === undefined ? {} : { FLOWHERD_LOOKUPS: lookups }),
        ...(settings.lookupsUrl === undefined
          ? {}
          : { FLOWHERD_SETTINGS_BUCKET_OWNER: settings.lookupsBucketAccount ?? Stack.of(this).account }),
      },
    });

    source.allowListing(this.function);
    const objects = (...patterns: string[]) => patterns.map((pattern) => results.arnForObjects(pattern));
    const ledger = objects('runs/*');
    const active = objects('active/*');
    // To see that outputs are still those that the receipts name.
    const outputs = objects('csv/*', 'rejects/*');
    this.function.allow(['s3:GetObject'], [...ledger, ...active, ...outputs]);
    // What was asked and what came of it; not the receipts, which are for workers to write.
    const unfinished = objects('runs/*/report.unfinished.json');
    const written = objects(
      'runs/*/run.json', 'runs/*/flowherd.toml', 'runs/*/lookups.json', 'runs/*/manifest/*', 'runs/*/purged.json',
      'runs/*/report.json',
    );
    this.function.allow(['s3:PutObject'], [...active, ...written, ...unfinished]);
    this.function.allow(['s3:DeleteObject'], [...active, ...unfinished]);
    this.function.allow(['s3:ListBucket'], [results.bucketArn]);
    this.function.allow(
      ['sqs:SendMessage', 'sqs:GetQueueAttributes', 'sqs:PurgeQueue'],
      [tasks.queue.queueArn],
    );
    // A redrive needs these here, and SendMessage on the queue:
    // https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-configure-dead-letter-queue-redrive.html
    this.function.allow(
      ['sqs:StartMessageMoveTask', 'sqs:ReceiveMessage', 'sqs:DeleteMessage', 'sqs:GetQueueAttributes'],
      [tasks.deadLetters.queueArn],
    );
    if (settings.lookupsUrl !== undefined) {
      const { bucket, key } = parseS3Url(settings.lookupsUrl);
      this.function.allow(['s3:GetObject'], [`arn:${Stack.of(this).partition}:s3:::${bucket}/${key}`]);
    }
    acknowledgeObjects(this.function, [...ledger, ...active, ...outputs, ...written, ...unfinished]);
  }
}

/** The directory of the function, with more files beside it. */
function code(directory: string, files: readonly { from: string; to: string }[]): Code {
  if (files.length === 0) return Code.fromAsset(directory);
  return Code.fromAsset(directory, {
    assetHashType: AssetHashType.OUTPUT,
    bundling: {
      // Required by the type, never used.
      image: DockerImage.fromRegistry('none'),
      local: {
        tryBundle(output: string): boolean {
          for (const { from, to } of [{ from: join(directory, 'bootstrap'), to: 'bootstrap' }, ...files]) {
            copyFileSync(from, join(output, to));
            // Lambda runs as another user: https://docs.aws.amazon.com/lambda/latest/dg/configuration-function-zip.html
            chmodSync(join(output, to), 0o755);
          }
          return true;
        },
      },
    },
  });
}
