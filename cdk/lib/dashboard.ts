import { Duration } from 'aws-cdk-lib';
import {
  Dashboard as CloudWatchDashboard,
  GraphWidget,
  type IMetric,
  MathExpression,
  PeriodOverride,
  SingleValueWidget,
} from 'aws-cdk-lib/aws-cloudwatch';
import type { Function } from 'aws-cdk-lib/aws-lambda';
import { Construct } from 'constructs';

import { workerMetric } from './metrics';
import type { Settings } from './settings';
import type { TaskQueue } from './task-queue';

// US dollars in us-east-1, without the free tier; other regions differ a little.
// https://aws.amazon.com/lambda/pricing/
const USD_A_GB_SECOND = { arm64: 0.000_013_333_4, x86_64: 0.000_016_666_7 };
const USD_A_CALL = 0.2 / 1e6;
// https://aws.amazon.com/sqs/pricing/, FIFO
const USD_A_QUEUE_REQUEST = 0.5 / 1e6;
// https://aws.amazon.com/s3/pricing/, standard. An object is read once; at the least a table and a receipt are written.
const USD_A_GET = 0.4 / 1e6;
const USD_A_PUT = 5 / 1e6;

export interface DashboardProps {
  readonly settings: Settings;
  readonly tasks: TaskQueue;
  readonly worker: Function;
  readonly coordinator: Function;
}

/** How far, how fast, what went wrong, what it costs. */
export class Dashboard extends Construct {
  readonly dashboard: CloudWatchDashboard;

  constructor(scope: Construct, id: string, { settings, tasks, worker, coordinator }: DashboardProps) {
    super(scope, id);
    const { queue, deadLetters } = tasks;
    const minute = { period: Duration.minutes(1) };
    const graph = (title: string, left: IMetric[], right: IMetric[] = []) =>
      new GraphWidget({ title, left, right, width: 8, height: 6, liveData: true });

    this.dashboard = new CloudWatchDashboard(this, 'Dashboard', {
      dashboardName: settings.stackName,
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
          this.cost(settings, tasks, worker, coordinator),
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

  private cost(settings: Settings, { queue }: TaskQueue, worker: Function, coordinator: Function): IMetric {
    const sum = { period: Duration.minutes(1), statistic: 'Sum' };
    const gbSeconds = (duration: string, memoryMb: number) => `${duration} / 1000 * ${memoryMb} / 1024`;
    return new MathExpression({
      label: 'about, in USD',
      expression: [
        `(${gbSeconds('worked', settings.workerMemoryMb)} + ${gbSeconds('coordinated', 1024)}) * ${decimal(USD_A_GB_SECOND[settings.architecture])}`,
        `(calls + turns) * ${decimal(USD_A_CALL)}`,
        // Sent, received and deleted in batches of up to 10.
        `(sent + received + deleted) / 10 * ${decimal(USD_A_QUEUE_REQUEST)}`,
        `done * ${decimal(USD_A_GET + 2 * USD_A_PUT)}`,
      ].join(' + '),
      usingMetrics: {
        worked: worker.metricDuration(sum),
        coordinated: coordinator.metricDuration(sum),
        calls: worker.metricInvocations(sum),
        turns: coordinator.metricInvocations(sum),
        sent: queue.metricNumberOfMessagesSent(sum),
        received: queue.metricNumberOfMessagesReceived(sum),
        deleted: queue.metricNumberOfMessagesDeleted(sum),
        done: workerMetric(queue, 'ObjectsDone'),
      },
      period: Duration.minutes(1),
    });
  }
}

/** Metric math knows no exponents. */
function decimal(price: number): string {
  return price.toFixed(10).replace(/0+$/, '');
}
