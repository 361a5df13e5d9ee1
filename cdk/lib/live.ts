import { join } from 'node:path';

import { Duration, Stack } from 'aws-cdk-lib';
import { ComparisonOperator, Metric, TreatMissingData } from 'aws-cdk-lib/aws-cloudwatch';
import { Rule } from 'aws-cdk-lib/aws-events';
import { SqsQueue } from 'aws-cdk-lib/aws-events-targets';
import { Grant, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { type Architecture, EventSourceMapping } from 'aws-cdk-lib/aws-lambda';
import type { RetentionDays } from 'aws-cdk-lib/aws-logs';
import { CfnSchedule } from 'aws-cdk-lib/aws-scheduler';
import { type IQueue, Queue, QueueEncryption, RedrivePermission } from 'aws-cdk-lib/aws-sqs';
import type { StateMachine } from 'aws-cdk-lib/aws-stepfunctions';
import { Construct } from 'constructs';

import type { AlarmDefinition } from './alarms';
import type { Coordinator } from './coordinator';
import type { Fleet } from './fleet';
import { NativeFunction } from './native-function';
import type { ResultsBucket } from './results-bucket';

export interface LiveProps {
  readonly sourceBucketName: string;
  readonly results: ResultsBucket;
  /** The fleets that convert objects as they arrive. */
  readonly fleets: readonly Fleet[];
  readonly coordinator: Coordinator;
  readonly stateMachine: StateMachine;
  /** Directory that holds `flowherd-coordinator/bootstrap`. */
  readonly artifacts: string;
  readonly architecture: Architecture;
  readonly logRetention: RetentionDays;
}

/** Messages in one invocation, and for how long Lambda waits for more. */
const BATCH = 100;
const WINDOW = Duration.seconds(2);
/** Concurrent invocations. One invocation sends a few thousand tasks/s, so this limit matters only when a flood is retried. */
const CONCURRENCY = 5;
/** The first arrival of a day begins its run, which copies the rules, the names and the enrichment files: docs/limits.md. */
const TIMEOUT = Duration.minutes(2);
/** Six times the timeout: https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html */
const VISIBILITY = Duration.seconds(6 * TIMEOUT.toSeconds());
/** Deliveries before an arrival becomes a dead-letter message, after an hour. */
const DELIVERIES = 5;
/**
 * Age of the oldest arrival that raises the alarm, after the second delivery has failed.
 *
 * At the third delivery, after two visibility timeouts, SQS no longer counts a message as the oldest:
 * https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
 */
const OLDEST = Duration.seconds(1.5 * VISIBILITY.toSeconds());

/**
 * S3 ▶ EventBridge rule ▶ arrivals queue ▶ function of the coordinator's program, and a schedule that closes each day.
 *
 * The source bucket must send its events to EventBridge. The stack does not change the bucket: docs/live.md has the command.
 */
export class Live extends Construct {
  readonly arrivals: Queue;
  readonly deadLetters: Queue;
  readonly rule: Rule;
  readonly function: NativeFunction;
  readonly trigger: EventSourceMapping;
  readonly schedules: readonly CfnSchedule[];

  constructor(scope: Construct, id: string, props: LiveProps) {
    super(scope, id);
    const common = { encryption: QueueEncryption.SQS_MANAGED, enforceSSL: true, retentionPeriod: Duration.days(14) };
    this.deadLetters = new Queue(this, 'DeadLetters', common);
    this.arrivals = new Queue(this, 'Arrivals', {
      ...common,
      visibilityTimeout: VISIBILITY,
      deadLetterQueue: { queue: this.deadLetters, maxReceiveCount: DELIVERIES },
      redriveAllowPolicy: { redrivePermission: RedrivePermission.DENY_ALL },
    });
    this.rule = this.createRule(props);
    this.function = new NativeFunction(this, 'Arrive', {
      description: 'Flowherd: sends the tasks of objects that have arrived',
      directory: join(props.artifacts, 'flowherd-coordinator'),
      architecture: props.architecture,
      // It begins runs as the coordinator does.
      memoryMb: props.coordinator.memoryMb,
      timeout: TIMEOUT,
      logRetention: props.logRetention,
      environment: props.coordinator.environment,
    });
    this.grant(props);
    this.trigger = new EventSourceMapping(this, 'Trigger', {
      target: this.function.function,
      eventSourceArn: this.arrivals.queueArn,
      batchSize: BATCH,
      maxBatchingWindow: WINDOW,
      maxConcurrency: CONCURRENCY,
      reportBatchItemFailures: true,
    });
    this.schedules = this.createSchedules(props);
  }

  /** The events of new objects below the prefixes: https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html */
  private createRule({ sourceBucketName, fleets }: LiveProps): Rule {
    const prefixes = [...new Set(fleets.flatMap(({ settings }) => settings.prefixes))];
    const rule = new Rule(this, 'Rule', {
      description: 'Flowherd: objects that arrive in the source bucket',
      eventPattern: {
        source: ['aws.s3'],
        detailType: ['Object Created'],
        detail: {
          bucket: { name: [sourceBucketName] },
          object: { key: prefixes.map((prefix) => ({ prefix })) },
        },
      },
    });
    // After 24 hours of failed deliveries, EventBridge sends the event to the dead-letter queue:
    // https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-dlq.html
    rule.addTarget(new SqsQueue(this.arrivals, { deadLetterQueue: this.deadLetters }));
    return rule;
  }

  /** The function begins the run of a day and sends tasks. It lists no objects, and neither purges nor reports. */
  private grant({ results, fleets, coordinator }: LiveProps): void {
    results.grantOnObjects(this.function, ['s3:GetObject'], ['runs/*', 'active/*']);
    results.grantOnObjects(this.function, ['s3:PutObject'], [
      'active/live-*', 'runs/.index/*', 'runs/live-*/begin.json', 'runs/live-*/run.json', 'runs/live-*/flowherd.toml',
      'runs/live-*/names.json', 'runs/live-*/enrich/*',
    ]);
    results.grantList(this.function);
    coordinator.grantConfiguration(this.function);
    for (const { tasks } of fleets) {
      // A fleet with driver map is never live.
      if (tasks === undefined) continue;
      tasks.queue.grant(this.function, 'sqs:SendMessage', 'sqs:GetQueueAttributes');
      // The queue's redrive policy has only the ARN.
      tasks.deadLetters.grant(this.function, 'sqs:GetQueueUrl');
    }
    this.arrivals.grant(this.function, 'sqs:ReceiveMessage', 'sqs:DeleteMessage', 'sqs:GetQueueAttributes');
  }

  /** Creates one schedule per fleet. It starts the step loop, which closes the days that are over. */
  private createSchedules({ fleets, stateMachine }: LiveProps): CfnSchedule[] {
    // Only schedules of this account may assume the role:
    // https://docs.aws.amazon.com/scheduler/latest/UserGuide/cross-service-confused-deputy-prevention.html
    const assumedBy = new ServicePrincipal('scheduler.amazonaws.com', {
      conditions: { StringEquals: { 'aws:SourceAccount': Stack.of(this).account } },
    });
    const role = new Role(this, 'ScheduleRole', { assumedBy });
    Grant.addToPrincipal({ grantee: role, actions: ['states:StartExecution'], resourceArns: [stateMachine.stateMachineArn] });
    return fleets.map(({ name, settings: { closeHour } }) => {
      const schedule = new CfnSchedule(this, `Close-${name}`, {
        description: `Flowherd: closes the days of fleet ${name}`,
        // In UTC: https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html
        scheduleExpression: `cron(0 ${closeHour} * * ? *)`,
        scheduleExpressionTimezone: 'UTC',
        flexibleTimeWindow: { mode: 'OFF' },
        target: {
          arn: stateMachine.stateMachineArn,
          roleArn: role.roleArn,
          input: JSON.stringify({ operation: 'close', fleet: name }),
          // The next close also closes the days that this one has missed.
          retryPolicy: { maximumEventAgeInSeconds: 43_200, maximumRetryAttempts: 185 },
        },
      });
      schedule.node.addDependency(role);
      return schedule;
    });
  }

  /** What the `flowherd` command reads of the live fleets. */
  get outputs() {
    return {
      ArrivalsQueueUrl: { value: this.arrivals.queueUrl, description: 'Queue with the events of new objects' },
      ArrivalsDeadLetterQueueUrl: { value: this.deadLetters.queueUrl, description: 'Dead-letter queue of the events' },
      ArrivalsFunction: { value: this.function.function.functionName, description: 'Lambda function that sends their tasks' },
      ArrivalsRule: { value: this.rule.ruleName, description: 'EventBridge rule of the events' },
    };
  }

  /** The alarms on arrivals. */
  get alarms(): AlarmDefinition[] {
    const minute = { period: Duration.minutes(1) };
    return [
      {
        slug: 'arrivals-dead-letters',
        summary: 'Events of new objects became dead-letter messages. The close of the day converts their objects.',
        metric: this.deadLetters.metricApproximateNumberOfMessagesVisible({ ...minute, statistic: 'Maximum' }),
        threshold: 1,
      },
      {
        slug: 'arrivals-age',
        summary: `An event has waited for ${OLDEST.toMinutes()} minutes: its task is not sent.`,
        metric: this.arrivals.metricApproximateAgeOfOldestMessage({ ...minute, statistic: 'Maximum' }),
        threshold: OLDEST.toSeconds(),
      },
    ];
  }
}

/** Hours without a closed day that raise the alarm: a day, and three hours for the close. */
const OVERDUE_HOURS = 27;

/** The alarm on a live fleet whose days are not closed. */
export function closeDefinition(queue: IQueue): AlarmDefinition {
  return {
    slug: 'live-close-overdue',
    summary: `In the last ${OVERDUE_HOURS} hours, no close ended with every object of its day done.`,
    metric: new Metric({
      namespace: 'Flowherd',
      metricName: 'LiveDayClosed',
      dimensionsMap: { Queue: queue.queueName },
      statistic: 'Sum',
      period: Duration.hours(1),
    }),
    threshold: 1,
    comparisonOperator: ComparisonOperator.LESS_THAN_THRESHOLD,
    // With periods of an hour, up to seven days:
    // https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
    evaluationPeriods: OVERDUE_HOURS,
    // A close that is not started, crashes or times out writes no metric.
    treatMissingData: TreatMissingData.BREACHING,
  };
}
