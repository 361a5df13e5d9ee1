import { Duration } from 'aws-cdk-lib';
import { Metric } from 'aws-cdk-lib/aws-cloudwatch';

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

/** Returns a metric of the workers. `name` is the dimension `Queue`: the name of the queue or of the map. */
export function workerMetric(name: string, metricName: WorkerMetric, statistic = 'Sum', period = Duration.minutes(1)): Metric {
  return new Metric({
    namespace: 'Flowherd',
    metricName,
    dimensionsMap: { Queue: name },
    statistic,
    period,
  });
}
