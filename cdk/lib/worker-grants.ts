import type { IGrantable } from 'aws-cdk-lib/aws-iam';
import type { IConstruct } from 'constructs';

import type { ResultsBucket } from './results-bucket';
import type { SourceBucket } from './source-bucket';
import type { TaskQueue } from './task-queue';

/** What a worker reads and writes, wherever it runs. */
export interface WorkerResources {
  readonly source: SourceBucket;
  readonly results: ResultsBucket;
  readonly tasks: TaskQueue;
  /** Key prefixes of the source that it may read: those of its fleet. */
  readonly prefixes: readonly string[];
}

/** Requests of a worker to the queue. */
export const QUEUE_ACTIONS = [
  'sqs:ReceiveMessage', 'sqs:DeleteMessage', 'sqs:ChangeMessageVisibility', 'sqs:GetQueueAttributes',
] as const;

/** Environment variables of a worker. */
export function workerEnvironment({ source, results, tasks }: WorkerResources): Readonly<Record<string, string>> {
  return { ...source.environment, ...results.environment, FLOWHERD_QUEUE_URL: tasks.queue.queueUrl };
}

/**
 * Grants a worker exactly its requests. It writes outputs, receipts and failures; never the manifest, the rules or the report.
 *
 * The worker has no s3:ListBucket on the source: it reads only the keys in its messages. For a deleted key S3 therefore answers
 * 403, and the failure's error text names both causes.
 */
export function grantWorker(worker: IGrantable & IConstruct, { source, results, tasks, prefixes }: WorkerResources): void {
  const outputs = ['csv/*', 'rejects/*'];
  const failures = 'runs/*/failures/*';
  source.grantRead(worker, prefixes);
  // The marker below active/ shows whether the run of a message is over.
  results.grantOnObjects(worker, ['s3:GetObject'], ['runs/*', 'active/*', ...outputs]);
  results.grantOnObjects(worker, ['s3:PutObject'], [...outputs, 'runs/*/receipts/*', 'runs/*/amended/*', failures]);
  results.grantOnObjects(worker, ['s3:DeleteObject'], [...outputs, failures]);
  results.grantOnObjects(worker, ['s3:AbortMultipartUpload'], outputs);
  results.grantList(worker);
  tasks.queue.grant(worker, ...QUEUE_ACTIONS);
}
