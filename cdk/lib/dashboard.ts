import { Duration, Stack } from 'aws-cdk-lib';
import {
  Dashboard as CloudWatchDashboard,
  GraphWidget,
  type IMetric,
  MathExpression,
  Metric,
  PeriodOverride,
  SingleValueWidget,
} from 'aws-cdk-lib/aws-cloudwatch';
import { Architecture } from 'aws-cdk-lib/aws-lambda';
import { Construct } from 'constructs';

import { workerMetric } from './metrics';
import type { NativeFunction } from './native-function';
import type { TaskQueue } from './task-queue';

// US dollars in us-east-1, without the free tier.
// https://aws.amazon.com/lambda/pricing/
const USD_PER_GB_SECOND = { arm64: 0.000_013_333_4, x86_64: 0.000_016_666_7 };
const USD_PER_INVOCATION = 0.2 / 1e6;
// https://aws.amazon.com/sqs/pricing/, FIFO queues
const USD_PER_QUEUE_REQUEST = 0.5 / 1e6;
// https://aws.amazon.com/s3/pricing/, S3 Standard
const USD_PER_GET = 0.4 / 1e6;
const USD_PER_PUT = 5 / 1e6;
// https://aws.amazon.com/cloudwatch/pricing/, log ingestion, Standard class. The workers' metrics are log lines (EMF) too.
const USD_PER_LOG_BYTE = 0.5 / 1e9;

/**
 * S3 requests for an object with one table and at most 16 MiB of output, as `flowherd estimate` counts them. Reads: the
 * object, four files of the ledger by the worker, and receipt and output by the report. Writes: output and receipt.
 */
const READS_PER_OBJECT = 7;
const WRITES_PER_OBJECT = 2;
/** S3 requests for a failed attempt. Reads: the object and four files of the ledger. Write: the failure. */
const READS_PER_FAILURE = 5;
const WRITES_PER_FAILURE = 1;

export interface FleetDashboardProps {
  readonly tasks: TaskQueue;
  readonly worker: NativeFunction;
  readonly workerMemoryMb: number;
  readonly coordinator: NativeFunction;
  readonly coordinatorMemoryMb: number;
  readonly architecture: Architecture;
}

/** The CloudWatch dashboard: progress, throughput, failures and cost. */
export class FleetDashboard extends Construct {
  readonly dashboard: CloudWatchDashboard;

  constructor(scope: Construct, id: string, props: FleetDashboardProps) {
    super(scope, id);
    const { queue, deadLetters } = props.tasks;
    const { stackName, region } = Stack.of(this);
    const worker = props.worker.function;
    const minute = { period: Duration.minutes(1) };
    const graph = (title: string, left: IMetric[], right: IMetric[] = []) =>
      new GraphWidget({ title, left, right, width: 8, height: 6, liveData: true });

    this.dashboard = new CloudWatchDashboard(this, 'Dashboard', {
      // Dashboards are global to the account, so stacks of one name in two regions would share one:
      // https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutDashboard.html
      dashboardName: `${stackName}-${region}`,
      periodOverride: PeriodOverride.INHERIT,
      defaultInterval: Duration.hours(3),
    });
    this.dashboard.addWidgets(
      new SingleValueWidget({
        title: 'Total of the time range: objects, failures, rows, rejects, cost',
        width: 24,
        height: 4,
        setPeriodToTimeRange: true,
        metrics: [
          workerMetric(queue, 'ObjectsDone').with({ label: 'objects done' }),
          workerMetric(queue, 'ObjectsFailed').with({ label: 'objects failed permanently' }),
          workerMetric(queue, 'ObjectsToRetry').with({ label: 'failed attempts to retry' }),
          workerMetric(queue, 'RowsWritten').with({ label: 'rows' }),
          workerMetric(queue, 'RecordsRejected').with({ label: 'records rejected' }),
          this.cost(props),
        ],
      }),
    );
    this.dashboard.addWidgets(
      graph('Rows per second', [
        new MathExpression({
          expression: 'rows / PERIOD(rows)',
          label: 'rows/s',
          usingMetrics: { rows: workerMetric(queue, 'RowsWritten') },
          ...minute,
        }),
      ]),
      graph('Objects done and pending', [workerMetric(queue, 'ObjectsDone')], [
        new MathExpression({
          expression: 'waiting + working',
          label: 'in the queue',
          usingMetrics: {
            waiting: queue.metricApproximateNumberOfMessagesVisible({ ...minute, statistic: 'Maximum' }),
            working: queue.metricApproximateNumberOfMessagesNotVisible({ ...minute, statistic: 'Maximum' }),
          },
          ...minute,
        }),
      ]),
      graph('Rejects and failures', [workerMetric(queue, 'RecordsRejected')], [
        workerMetric(queue, 'ObjectsFailed').with({ label: 'objects failed permanently' }),
        workerMetric(queue, 'ObjectsToRetry').with({ label: 'failed attempts to retry' }),
      ]),
    );
    this.dashboard.addWidgets(
      graph(
        'Queue: messages and age of the oldest',
        [queue.metricApproximateNumberOfMessagesVisible({ ...minute, statistic: 'Maximum' })],
        [queue.metricApproximateAgeOfOldestMessage({ ...minute, statistic: 'Maximum' })],
      ),
      graph('Dead-letter messages', [
        deadLetters.metricApproximateNumberOfMessagesVisible({ ...minute, statistic: 'Maximum' }),
      ]),
      graph('Bytes in and out', [workerMetric(queue, 'BytesIn'), workerMetric(queue, 'BytesOut')]),
    );
    this.dashboard.addWidgets(
      graph('Worker: errors and throttles', [worker.metricErrors(minute), worker.metricThrottles(minute)]),
      graph('Duration, 99th percentile: invocation and object (ms)', [
        worker.metricDuration({ ...minute, statistic: 'p99' }),
        workerMetric(queue, 'TaskDuration', 'p99'),
      ]),
      graph('Concurrent workers', [worker.metric('ConcurrentExecutions', { ...minute, statistic: 'Maximum' })]),
    );
  }

  /**
   * Cost of requests, logs and Lambda duration. It leaves out the monthly price of metrics and alarms, storage, Step
   * Functions, Athena, and the additional upload parts of outputs above 16 MiB.
   */
  private cost({ tasks: { queue }, worker, workerMemoryMb, coordinator, coordinatorMemoryMb, architecture }: FleetDashboardProps): IMetric {
    const sum = { period: Duration.minutes(1), statistic: 'Sum' };
    const gbSeconds = (duration: string, memoryMb: number) => `${duration} / 1000 * ${memoryMb} / 1024`;
    // LogGroup.metricIncomingBytes has no dimension, so it sums all log groups of the region.
    const logBytes = ({ logGroup }: NativeFunction) =>
      new Metric({ namespace: 'AWS/Logs', metricName: 'IncomingBytes', dimensionsMap: { LogGroupName: logGroup.logGroupName }, ...sum });
    const requests = (reads: number, writes: number) => decimal(reads * USD_PER_GET + writes * USD_PER_PUT);
    return new MathExpression({
      label: 'estimated cost (USD)',
      expression: [
        `(${gbSeconds('worked', workerMemoryMb)} + ${gbSeconds('coordinated', coordinatorMemoryMb)}) * ${decimal(architecture.name === Architecture.ARM_64.name ? USD_PER_GB_SECOND.arm64 : USD_PER_GB_SECOND.x86_64)}`,
        `(calls + turns) * ${decimal(USD_PER_INVOCATION)}`,
        // Batches have up to 10 messages. An empty long poll is a request too.
        `((sent + received + deleted) / 10 + empty) * ${decimal(USD_PER_QUEUE_REQUEST)}`,
        `done * ${requests(READS_PER_OBJECT, WRITES_PER_OBJECT)}`,
        `(failed + retried) * ${requests(READS_PER_FAILURE, WRITES_PER_FAILURE)}`,
        `(workerLog + coordinatorLog) * ${decimal(USD_PER_LOG_BYTE)}`,
      ].join(' + '),
      usingMetrics: {
        worked: worker.function.metricDuration(sum),
        coordinated: coordinator.function.metricDuration(sum),
        calls: worker.function.metricInvocations(sum),
        turns: coordinator.function.metricInvocations(sum),
        sent: queue.metricNumberOfMessagesSent(sum),
        received: queue.metricNumberOfMessagesReceived(sum),
        deleted: queue.metricNumberOfMessagesDeleted(sum),
        empty: queue.metricNumberOfEmptyReceives(sum),
        done: workerMetric(queue, 'ObjectsDone'),
        failed: workerMetric(queue, 'ObjectsFailed'),
        retried: workerMetric(queue, 'ObjectsToRetry'),
        workerLog: logBytes(worker),
        coordinatorLog: logBytes(coordinator),
      },
      period: Duration.minutes(1),
    });
  }
}

/** Formats a price without an exponent, which metric math does not accept. */
function decimal(price: number): string {
  return price.toFixed(10).replace(/0+$/, '');
}
