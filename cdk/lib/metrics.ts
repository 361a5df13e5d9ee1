import { Duration } from 'aws-cdk-lib';
import { Metric } from 'aws-cdk-lib/aws-cloudwatch';
import type { Queue } from 'aws-cdk-lib/aws-sqs';

/** What workers count, in their log lines (EMF). All are sums but the last. */
export type WorkerMetric =
  | 'ObjectsDone'
  | 'ObjectsFailed'
  | 'ObjectsToRetry'
  | 'RowsWritten'
  | 'RecordsRejected'
  | 'BytesIn'
  | 'BytesOut'
  | 'TaskDuration';

export function workerMetric(queue: Queue, metricName: WorkerMetric, statistic = 'Sum', period = Duration.minutes(1)): Metric {
  return new Metric({
    namespace: 'Flowherd',
    metricName,
    dimensionsMap: { Queue: queue.queueName },
    statistic,
    period,
  });
}
