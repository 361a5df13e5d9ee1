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
import { Construct } from 'constructs';

import { workerMetric } from './metrics';
import type { NativeFunction } from './native-function';
import type { Settings } from './settings';
import type { TaskQueue } from './task-queue';

// US dollars in us-east-1, without the free tier; other regions differ a little.
// https://aws.amazon.com/lambda/pricing/
const USD_A_GB_SECOND = { arm64: 0.000_013_333_4, x86_64: 0.000_016_666_7 };
const USD_A_CALL = 0.2 / 1e6;
// https://aws.amazon.com/sqs/pricing/, FIFO
const USD_A_QUEUE_REQUEST = 0.5 / 1e6;
// https://aws.amazon.com/s3/pricing/, standard
const USD_A_GET = 0.4 / 1e6;
const USD_A_PUT = 5 / 1e6;
// https://aws.amazon.com/cloudwatch/pricing/, ingestion into the standard class. Metrics arrive as log lines (EMF) too.
const USD_A_LOG_BYTE = 0.5 / 1e9;

/**
 * S3 requests of an object with one table and at most 16 MiB of output, as `flowherd estimate` counts them. Reads: the
 * object, four of the ledger by the worker, receipt and output by the report. Writes: output and receipt.
 */
const READS_AN_OBJECT = 7;
const WRITES_AN_OBJECT = 2;
/** S3 requests of a failed attempt. Reads: the object and four of the ledger. Write: the failure. */
const READS_A_FAILURE = 5;
const WRITES_A_FAILURE = 1;

export interface DashboardProps {
  readonly settings: Settings;
  readonly tasks: TaskQueue;
  readonly worker: NativeFunction;
  readonly coordinator: NativeFunction;
}

/** Progress, rate, failures and cost. */
export class Dashboard extends Construct {
  readonly dashboard: CloudWatchDashboard;

  constructor(scope: Construct, id: string, props: DashboardProps) {
    super(scope, id);
    const { settings, tasks } = props;
    const { queue, deadLetters } = tasks;
    const worker = props.worker.function;
    const minute = { period: Duration.minutes(1) };
    const graph = (title: string, left: IMetric[], right: IMetric[] = []) =>
      new GraphWidget({ title, left, right, width: 8, height: 6, liveData: true });

    this.dashboard = new CloudWatchDashboard(this, 'Dashboard', {
      // Dashboards belong to the account, not to a region, so two stacks of one name would share one:
      // https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutDashboard.html
      dashboardName: `${settings.stackName}-${Stack.of(this).region}`,
      periodOverride: PeriodOverride.INHERIT,
      defaultInterval: Duration.hours(3),
    });
    this.dashboard.addWidgets(
      new SingleValueWidget({
        title: 'In the time shown: objects, failures, rows, rejects, cost',
        width: 24,
        height: 4,
        setPeriodToTimeRange: true,
        metrics: [
          workerMetric(queue, 'ObjectsDone').with({ label: 'objects done' }),
          workerMetric(queue, 'ObjectsFailed').with({ label: 'objects failed for good' }),
          workerMetric(queue, 'ObjectsToRetry').with({ label: 'attempts to be made again' }),
          workerMetric(queue, 'RowsWritten').with({ label: 'rows' }),
          workerMetric(queue, 'RecordsRejected').with({ label: 'records rejected' }),
          this.cost(props),
        ],
      }),
    );
    this.dashboard.addWidgets(
      graph('Rows a second', [
        new MathExpression({
          expression: 'rows / PERIOD(rows)',
          label: 'rows/s',
          usingMetrics: { rows: workerMetric(queue, 'RowsWritten') },
          ...minute,
        }),
      ]),
      graph('Objects done and left', [workerMetric(queue, 'ObjectsDone')], [
        new MathExpression({
          expression: 'waiting + working',
          label: 'left in the queue',
          usingMetrics: {
            waiting: queue.metricApproximateNumberOfMessagesVisible({ ...minute, statistic: 'Maximum' }),
            working: queue.metricApproximateNumberOfMessagesNotVisible({ ...minute, statistic: 'Maximum' }),
          },
          ...minute,
        }),
      ]),
      graph('Rejects and failures', [workerMetric(queue, 'RecordsRejected')], [
        workerMetric(queue, 'ObjectsFailed').with({ label: 'objects failed for good' }),
        workerMetric(queue, 'ObjectsToRetry').with({ label: 'attempts to be made again' }),
      ]),
    );
    this.dashboard.addWidgets(
      graph(
        'Queue: messages, age of the oldest',
        [queue.metricApproximateNumberOfMessagesVisible({ ...minute, statistic: 'Maximum' })],
        [queue.metricApproximateAgeOfOldestMessage({ ...minute, statistic: 'Maximum' })],
      ),
      graph('Dead letters', [
        deadLetters.metricApproximateNumberOfMessagesVisible({ ...minute, statistic: 'Maximum' }),
      ]),
      graph('Bytes in and out', [workerMetric(queue, 'BytesIn'), workerMetric(queue, 'BytesOut')]),
    );
    this.dashboard.addWidgets(
      graph('Worker: errors and throttles', [worker.metricErrors(minute), worker.metricThrottles(minute)]),
      graph('Duration, 99th percentile: a call, an object (ms)', [
        worker.metricDuration({ ...minute, statistic: 'p99' }),
        workerMetric(queue, 'TaskDuration', 'p99'),
      ]),
      graph('Workers at once', [worker.metric('ConcurrentExecutions', { ...minute, statistic: 'Maximum' })]),
    );
  }

  /**
   * Cost of the requests and of the processor time in the period. Not included: monthly prices of metrics and alarms,
   * storage, Step Functions, Athena, and the further parts of outputs above 16 MiB.
   */
  private cost({ settings, tasks: { queue }, worker, coordinator }: DashboardProps): IMetric {
    const sum = { period: Duration.minutes(1), statistic: 'Sum' };
    const gbSeconds = (duration: string, memoryMb: number) => `${duration} / 1000 * ${memoryMb} / 1024`;
    // LogGroup.metricIncomingBytes has no dimension: it is the sum of all log groups of the region.
    const logBytes = ({ logGroup }: NativeFunction) =>
      new Metric({ namespace: 'AWS/Logs', metricName: 'IncomingBytes', dimensionsMap: { LogGroupName: logGroup.logGroupName }, ...sum });
    const requests = (reads: number, writes: number) => decimal(reads * USD_A_GET + writes * USD_A_PUT);
    return new MathExpression({
      label: 'about, in USD',
      expression: [
        `(${gbSeconds('worked', settings.workerMemoryMb)} + ${gbSeconds('coordinated', 1024)}) * ${decimal(USD_A_GB_SECOND[settings.architecture])}`,
        `(calls + turns) * ${decimal(USD_A_CALL)}`,
        // Messages are sent, received and deleted in batches of up to 10. A long poll that ends empty is a request too.
        `((sent + received + deleted) / 10 + empty) * ${decimal(USD_A_QUEUE_REQUEST)}`,
        `done * ${requests(READS_AN_OBJECT, WRITES_AN_OBJECT)}`,
        `(failed + retried) * ${requests(READS_A_FAILURE, WRITES_A_FAILURE)}`,
        `(workerLog + coordinatorLog) * ${decimal(USD_A_LOG_BYTE)}`,
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

/** Metric math accepts no exponents. */
function decimal(price: number): string {
  return price.toFixed(10).replace(/0+$/, '');
}
