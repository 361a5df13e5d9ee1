import { Duration, Stack } from 'aws-cdk-lib';
import {
  Dashboard as CloudWatchDashboard,
  GraphWidget,
  type IMetric,
  MathExpression,
  Metric,
  PeriodOverride,
  SingleValueWidget,
  TextWidget,
} from 'aws-cdk-lib/aws-cloudwatch';
import { Architecture } from 'aws-cdk-lib/aws-lambda';
import type { ILogGroup } from 'aws-cdk-lib/aws-logs';
import { Construct } from 'constructs';

import { type WorkerMetric, workerMetric } from './metrics';
import type { NativeFunction } from './native-function';
import type { TaskQueue } from './task-queue';
import type { Fleet } from './fleet';
import type { WorkerService } from './worker-service';

// US dollars in us-east-1, without the free tier.
// https://aws.amazon.com/lambda/pricing/
const USD_PER_GB_SECOND = { arm64: 0.000_013_333_4, x86_64: 0.000_016_666_7 };
const USD_PER_INVOCATION = 0.2 / 1e6;
// https://aws.amazon.com/fargate/pricing/, Linux
const USD_PER_VCPU_HOUR = { arm64: 0.032_38, x86_64: 0.040_48 };
const USD_PER_GB_HOUR = { arm64: 0.003_56, x86_64: 0.004_445 };
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
  readonly fleets: readonly Fleet[];
  readonly coordinator: NativeFunction;
  readonly coordinatorMemoryMb: number;
  readonly architecture: Architecture;
}

/** The CloudWatch dashboard: progress, throughput, failures and cost of each fleet. */
export class FleetDashboard extends Construct {
  readonly dashboard: CloudWatchDashboard;

  constructor(scope: Construct, id: string, props: FleetDashboardProps) {
    super(scope, id);
    const { stackName, region } = Stack.of(this);

    this.dashboard = new CloudWatchDashboard(this, 'Dashboard', {
      // Dashboards are global to the account, so stacks of one name in two regions would share one:
      // https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutDashboard.html
      dashboardName: `${stackName}-${region}`,
      periodOverride: PeriodOverride.INHERIT,
      defaultInterval: Duration.hours(3),
    });
    const { fleets } = props;
    for (const fleet of fleets) {
      if (fleets.length > 1) this.dashboard.addWidgets(new TextWidget({ markdown: `# Fleet ${fleet.name}`, width: 24, height: 1 }));
      this.addFleet(fleet, props);
    }
    if (fleets.length > 1) {
      const title = 'Coordinator: cost of the time range, shared by all fleets';
      this.dashboard.addWidgets(new SingleValueWidget({
        title, width: 24, height: 4, setPeriodToTimeRange: true, metrics: [this.coordinatorCost(props)],
      }));
    }
  }

  private addFleet(fleet: Fleet, props: FleetDashboardProps): void {
    const { tasks, workers, service, metricsName } = fleet;
    const worker = workers?.worker.function;
    const minute = { period: Duration.minutes(1) };
    const metric = (name: WorkerMetric, statistic?: string) => workerMetric(metricsName, name, statistic);
    const graph = (title: string, left: IMetric[], right: IMetric[] = []) =>
      new GraphWidget({ title, left, right, width: 8, height: 6, liveData: true });
    this.dashboard.addWidgets(
      new SingleValueWidget({
        title: 'Total of the time range: objects, failures, rows, rejects, cost',
        width: 24,
        height: 4,
        setPeriodToTimeRange: true,
        metrics: [
          metric('ObjectsDone').with({ label: 'objects done' }),
          metric('ObjectsFailed').with({ label: 'objects failed permanently' }),
          metric('ObjectsToRetry').with({ label: 'failed attempts to retry' }),
          metric('RowsWritten').with({ label: 'rows' }),
          metric('RecordsRejected').with({ label: 'records rejected' }),
          this.cost(fleet, props),
        ],
      }),
    );
    this.dashboard.addWidgets(
      graph('Rows per second', [
        new MathExpression({
          expression: 'rows / PERIOD(rows)',
          label: 'rows/s',
          usingMetrics: { rows: metric('RowsWritten') },
          ...minute,
        }),
      ]),
      tasks === undefined
        ? graph('Objects done', [metric('ObjectsDone')])
        : graph('Objects done and pending', [metric('ObjectsDone')], [pending(tasks)]),
      graph('Rejects and failures', [metric('RecordsRejected')], [
        metric('ObjectsFailed').with({ label: 'objects failed permanently' }),
        metric('ObjectsToRetry').with({ label: 'failed attempts to retry' }),
      ]),
    );
    const queueGraphs = tasks === undefined ? [] : [
      graph(
        'Queue: messages and age of the oldest',
        [tasks.queue.metricApproximateNumberOfMessagesVisible({ ...minute, statistic: 'Maximum' })],
        [tasks.queue.metricApproximateAgeOfOldestMessage({ ...minute, statistic: 'Maximum' })],
      ),
      graph('Dead-letter messages', [
        tasks.deadLetters.metricApproximateNumberOfMessagesVisible({ ...minute, statistic: 'Maximum' }),
      ]),
    ];
    this.dashboard.addWidgets(...queueGraphs, graph('Bytes in and out', [metric('BytesIn'), metric('BytesOut')]));
    if (worker !== undefined) {
      this.dashboard.addWidgets(
        graph('Worker: errors and throttles', [worker.metricErrors(minute), worker.metricThrottles(minute)]),
        graph('Duration, 99th percentile: invocation and object (ms)', [
          worker.metricDuration({ ...minute, statistic: 'p99' }),
          metric('TaskDuration', 'p99'),
        ]),
        graph('Concurrent workers', [worker.metric('ConcurrentExecutions', { ...minute, statistic: 'Maximum' })]),
      );
    }
    if (service !== undefined) {
      this.dashboard.addWidgets(
        graph('Tasks: running and desired', [service.metricTasks('RunningTaskCount'), service.metricTasks('DesiredTaskCount')]),
        graph('Duration, 99th percentile: object (ms)', [metric('TaskDuration', 'p99')]),
        graph('Tasks: processor and memory (%)', [service.service.metricCpuUtilization(minute), service.service.metricMemoryUtilization(minute)]),
      );
    }
  }

  /**
   * Cost in US dollars of a fleet's requests, logs, and duration of functions or tasks. With one fleet it includes the coordinator.
   * It leaves out the monthly price of metrics, alarms and VPC endpoints, storage, Step Functions with the children of maps,
   * Athena, and the additional upload parts of outputs above 16 MiB.
   */
  private cost({ tasks, workers, service, settings, metricsName }: Fleet, props: FleetDashboardProps): IMetric {
    const requests = (reads: number, writes: number) => decimal(reads * USD_PER_GET + writes * USD_PER_PUT);
    const lambda = workers === undefined ? undefined : lambdaCost('worker', workers.worker, settings.workerMemoryMb, props.architecture);
    const running = service === undefined ? undefined : taskCost(service, props.architecture);
    const coordinator = props.fleets.length > 1 ? undefined : coordinatorLambdaCost(props);
    const queue = tasks === undefined ? undefined : queueCost(tasks);
    return new MathExpression({
      label: 'estimated cost (USD)',
      expression: [
        ...[lambda, running, coordinator, queue].flatMap((part) => (part === undefined ? [] : [part.expression])),
        `done * ${requests(READS_PER_OBJECT, WRITES_PER_OBJECT)}`,
        `(failed + retried) * ${requests(READS_PER_FAILURE, WRITES_PER_FAILURE)}`,
      ].join(' + '),
      usingMetrics: {
        ...lambda?.metrics,
        ...running?.metrics,
        ...coordinator?.metrics,
        ...queue?.metrics,
        done: workerMetric(metricsName, 'ObjectsDone'),
        failed: workerMetric(metricsName, 'ObjectsFailed'),
        retried: workerMetric(metricsName, 'ObjectsToRetry'),
      },
      period: SUM.period,
    });
  }

  private coordinatorCost(props: FleetDashboardProps): IMetric {
    const { expression, metrics } = coordinatorLambdaCost(props);
    return new MathExpression({ label: 'estimated cost (USD)', expression, usingMetrics: metrics, period: SUM.period });
  }
}

const SUM = { period: Duration.minutes(1), statistic: 'Sum' };

function coordinatorLambdaCost({ coordinator, coordinatorMemoryMb, architecture }: FleetDashboardProps) {
  return lambdaCost('coordinator', coordinator, coordinatorMemoryMb, architecture);
}

/** Messages that are visible or in flight. */
function pending({ queue }: TaskQueue): IMetric {
  const maximum = { period: SUM.period, statistic: 'Maximum' };
  return new MathExpression({
    expression: 'waiting + working',
    label: 'in the queue',
    usingMetrics: {
      waiting: queue.metricApproximateNumberOfMessagesVisible(maximum),
      working: queue.metricApproximateNumberOfMessagesNotVisible(maximum),
    },
    period: SUM.period,
  });
}

/** Cost of the requests to a queue. A batch has up to 10 messages. An empty long poll is a request too. */
function queueCost({ queue }: TaskQueue) {
  return {
    expression: `((sent + received + deleted) / 10 + empty) * ${decimal(USD_PER_QUEUE_REQUEST)}`,
    metrics: {
      sent: queue.metricNumberOfMessagesSent(SUM),
      received: queue.metricNumberOfMessagesReceived(SUM),
      deleted: queue.metricNumberOfMessagesDeleted(SUM),
      empty: queue.metricNumberOfEmptyReceives(SUM),
    },
  };
}

/** Cost of a function's duration, invocations and logs. */
function lambdaCost(name: string, { function: lambda, logGroup }: NativeFunction, memoryMb: number, architecture: Architecture) {
  const gbSecond = architecture.name === Architecture.ARM_64.name ? USD_PER_GB_SECOND.arm64 : USD_PER_GB_SECOND.x86_64;
  const [duration, calls, logged] = [`${name}Duration`, `${name}Calls`, `${name}Log`];
  return {
    expression: [
      `${duration} / 1000 * ${memoryMb} / 1024 * ${decimal(gbSecond)}`,
      `${calls} * ${decimal(USD_PER_INVOCATION)}`,
      `${logged} * ${decimal(USD_PER_LOG_BYTE)}`,
    ].join(' + '),
    metrics: {
      [duration]: lambda.metricDuration(SUM),
      [calls]: lambda.metricInvocations(SUM),
      [logged]: logBytes(logGroup),
    },
  };
}

/** Cost of running tasks and of their log. */
function taskCost(service: WorkerService, architecture: Architecture) {
  const kind = architecture.name === Architecture.ARM_64.name ? 'arm64' : 'x86_64';
  const hour = service.vcpu * USD_PER_VCPU_HOUR[kind] + (service.memoryMb / 1024) * USD_PER_GB_HOUR[kind];
  return {
    expression: `runningTasks * PERIOD(runningTasks) / 3600 * ${decimal(hour)} + workerLog * ${decimal(USD_PER_LOG_BYTE)}`,
    metrics: { runningTasks: service.metricTasks('RunningTaskCount'), workerLog: logBytes(service.logGroup) },
  };
}

// LogGroup.metricIncomingBytes has no dimension, so it sums all log groups of the region.
function logBytes({ logGroupName }: ILogGroup): Metric {
  return new Metric({ namespace: 'AWS/Logs', metricName: 'IncomingBytes', dimensionsMap: { LogGroupName: logGroupName }, ...SUM });
}

/** Formats a price without an exponent, which metric math does not accept. */
function decimal(price: number): string {
  return price.toFixed(10).replace(/0+$/, '');
}
