import { Duration } from 'aws-cdk-lib';
import { Metric } from 'aws-cdk-lib/aws-cloudwatch';
import type { IQueue } from 'aws-cdk-lib/aws-sqs';

/** Metrics that the workers write as log lines (EMF). `TaskDuration` is a distribution, the others are sums. */
export type WorkerMetric =
  | 'ObjectsDone'
  | 'ObjectsFailed'
  | 'ObjectsToRetry'
  | 'RowsWritten'
  | 'RecordsRejected'
  | 'BytesIn'
  | 'BytesOut'
  | 'TaskDuration';

export function workerMetric(queue: IQueue, metricName: WorkerMetric, statistic = 'Sum', period = Duration.minutes(1)): Metric {
  return new Metric({
    namespace: 'Flowherd',
    metricName,
    dimensionsMap: { Queue: queue.queueName },
    statistic,
    period,
  });
}
