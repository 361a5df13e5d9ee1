import type { IGrantable } from 'aws-cdk-lib/aws-iam';
import type { IConstruct } from 'constructs';

import type { ResultsBucket } from './results-bucket';
import type { SourceBucket } from './source-bucket';
import type { TaskQueue } from './task-queue';

/** What a worker reads and writes, wherever it runs. */
export interface WorkerBuckets {
  readonly source: SourceBucket;
  readonly results: ResultsBucket;
  /** Key prefixes of the source that it may read: those of its fleet. */
  readonly prefixes: readonly string[];
}

/** What a worker of a queue uses. */
export interface WorkerResources extends WorkerBuckets {
  readonly tasks: TaskQueue;
}

/** Requests of a worker to the queue. */
export const QUEUE_ACTIONS = [
  'sqs:ReceiveMessage', 'sqs:DeleteMessage', 'sqs:ChangeMessageVisibility', 'sqs:GetQueueAttributes',
] as const;

/** Environment variables of a worker, of a queue or of the map with this name. */
export function workerEnvironment({ source, results }: WorkerBuckets, driver: TaskQueue | string): Readonly<Record<string, string>> {
  const tasks = typeof driver === 'string' ? { FLOWHERD_MAP: driver } : { FLOWHERD_QUEUE_URL: driver.queue.queueUrl };
  return { ...source.environment, ...results.environment, ...tasks };
}

/**
 * Grants a worker exactly its requests. It writes outputs, receipts and failures; never the manifest, the rules or the report.
 *
 * The worker has no s3:ListBucket on the source: it reads only the keys in its messages or items. For a deleted key S3 therefore answers
 * 403, and the failure's error text names both causes.
 */
export function grantWorker(worker: IGrantable & IConstruct, { source, results, prefixes }: WorkerBuckets, tasks?: TaskQueue): void {
  const outputs = ['csv/*', 'rejects/*'];
  const failures = 'runs/*/failures/*';
  source.grantRead(worker, prefixes);
  // The marker below active/ shows whether the run of a message is over.
  results.grantOnObjects(worker, ['s3:GetObject'], ['runs/*', 'active/*', ...outputs]);
  results.grantOnObjects(worker, ['s3:PutObject'], [...outputs, 'runs/*/receipts/*', 'runs/*/amended/*', failures]);
  results.grantOnObjects(worker, ['s3:DeleteObject'], [...outputs, failures]);
  results.grantOnObjects(worker, ['s3:AbortMultipartUpload'], outputs);
  results.grantList(worker);
  tasks?.queue.grant(worker, ...QUEUE_ACTIONS);
}
