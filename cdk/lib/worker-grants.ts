import { Stack } from 'aws-cdk-lib';
import type { IGrantable } from 'aws-cdk-lib/aws-iam';
import type { IConstruct } from 'constructs';

import type { ResultsBucket } from './results-bucket';
import { clusterOptions, grantCluster, type SearchClusterProps } from './search-cluster';
import type { SourceBucket } from './source-bucket';
import type { TaskQueue } from './task-queue';

/** What a worker reads and writes, wherever it runs. */
export interface WorkerBuckets {
  readonly source: SourceBucket;
  readonly results: ResultsBucket;
  /** Key prefixes of the source that it may read: those of its fleet. */
  readonly prefixes: readonly string[];
  /** The search cluster of workers that index. Their source is the results bucket. */
  readonly search?: SearchClusterProps | undefined;
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
export function workerEnvironment({ source, results, search }: WorkerBuckets, driver: TaskQueue | string): Readonly<Record<string, string>> {
  const tasks = typeof driver === 'string' ? { FLOWHERD_MAP: driver } : { FLOWHERD_QUEUE_URL: driver.queue.queueUrl };
  if (search === undefined) return { ...source.environment, ...results.environment, ...tasks };
  return {
    FLOWHERD_SOURCE_BUCKET: results.bucket.bucketName,
    FLOWHERD_SOURCE_BUCKET_OWNER: Stack.of(results).account,
    ...results.environment,
    ...tasks,
    FLOWHERD_JOB: 'index',
    FLOWHERD_CLUSTER: JSON.stringify(clusterOptions(search)),
  };
}

/**
 * Grants a worker exactly its requests. It writes outputs, receipts and failures; never the manifest, the rules or the report.
 *
 * The worker has no s3:ListBucket on the source: it reads only the keys in its messages or items. For a deleted key S3 therefore answers
 * 403, and the failure's error text names both causes.
 */
export function grantWorker(worker: IGrantable & IConstruct, buckets: WorkerBuckets, tasks?: TaskQueue): void {
  const { source, results, prefixes, search } = buckets;
  if (search !== undefined) return grantIndexWorker(worker, buckets, search, tasks);
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

/** Grants a worker that indexes exactly its requests. Of outputs, it only writes rows that the cluster refused. */
function grantIndexWorker(
  worker: IGrantable & IConstruct,
  { results, prefixes }: WorkerBuckets,
  search: SearchClusterProps,
  tasks?: TaskQueue,
): void {
  const [refused, failures] = ['rejects/*', 'runs/*/failures/*'];
  const rows = prefixes.map((prefix) => `${prefix}*`);
  results.grantOnObjects(worker, ['s3:GetObject'], ['runs/*', 'active/*', refused, ...rows]);
  results.grantOnObjects(worker, ['s3:PutObject'], [refused, 'runs/*/receipts/*', 'runs/*/amended/*', failures]);
  results.grantOnObjects(worker, ['s3:DeleteObject'], [refused, failures]);
  results.grantOnObjects(worker, ['s3:AbortMultipartUpload'], [refused]);
  results.grantList(worker);
  // While the cluster is down, a worker replaces a message during its last two deliveries.
  tasks?.queue.grant(worker, ...QUEUE_ACTIONS, 'sqs:SendMessage');
  grantCluster(worker, search, 'worker');
}
