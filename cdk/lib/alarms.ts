import { Annotations, Duration, Stack, Validations } from 'aws-cdk-lib';
import {
  Alarm,
  ComparisonOperator,
  type IMetric,
  MathExpression,
  TreatMissingData,
} from 'aws-cdk-lib/aws-cloudwatch';
import { SnsAction } from 'aws-cdk-lib/aws-cloudwatch-actions';
import { PolicyStatement, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import type { Function } from 'aws-cdk-lib/aws-lambda';
import { type ITopic, Topic } from 'aws-cdk-lib/aws-sns';
import { EmailSubscription } from 'aws-cdk-lib/aws-sns-subscriptions';
import type { StateMachine } from 'aws-cdk-lib/aws-stepfunctions';
import { Construct } from 'constructs';

import type { Settings } from './settings';
import type { TaskQueue } from './task-queue';

export interface AlarmsProps {
  readonly settings: Settings;
  readonly tasks: TaskQueue;
  readonly worker: Function;
  readonly stateMachine: StateMachine;
}

interface Watch {
  /** Also the section of the runbook: docs/operations.md#alarm-<slug>. */
  readonly slug: string;
  readonly says: string;
  readonly metric: IMetric;
  /** Rings at this value. */
  readonly threshold: number;
  readonly evaluationPeriods?: number;
  readonly datapointsToAlarm?: number;
}

/** Alarms of the fleet. Without `alarmTopicArn` or `alarmEmail` they change state and notify nobody. */
export class Alarms extends Construct {
  readonly alarms: readonly Alarm[];

  constructor(scope: Construct, id: string, { settings, tasks, worker, stateMachine }: AlarmsProps) {
    super(scope, id);
    const minute = { period: Duration.minutes(1) };
    const five = { period: Duration.minutes(5) };
    const watches: readonly Watch[] = [
      {
        slug: 'dead-letters',
        says: 'Objects failed so often that their messages are in the dead-letter queue.',
        metric: tasks.deadLetters.metricApproximateNumberOfMessagesVisible({ ...minute, statistic: 'Maximum' }),
        threshold: 1,
      },
      {
        slug: 'oldest-message',
        says: `A message has waited for ${settings.oldestMessageAlarmSeconds} s: more work than workers, or workers that fail.`,
        metric: tasks.queue.metricApproximateAgeOfOldestMessage({ ...five, statistic: 'Maximum' }),
        threshold: settings.oldestMessageAlarmSeconds,
      },
      {
        slug: 'worker-errors',
        says: 'At least 5 of 100 calls of the worker crash or time out.',
        // Lambda gives both with every call, so neither can be missing alone.
        metric: new MathExpression({
          expression: '100 * errors / invocations',
          label: 'errors a 100 calls',
          usingMetrics: { errors: worker.metricErrors(five), invocations: worker.metricInvocations(five) },
          ...five,
        }),
        threshold: 5,
        evaluationPeriods: 3,
        datapointsToAlarm: 2,
      },
      {
        slug: 'worker-throttles',
        says: 'Lambda refuses calls of the worker: the account has less concurrency left than maxConcurrency.',
        metric: worker.metricThrottles(five),
        threshold: 1,
        evaluationPeriods: 3,
        datapointsToAlarm: 2,
      },
      {
        slug: 'run-stalled',
        says: 'There are messages, and for some time none was finished.',
        // SQS gives both for every queue in use, also when they are 0. ObjectsDone would be missing when no worker
        // runs at all, and a metric that was never there cannot be filled with 0.
        metric: new MathExpression({
          expression: 'IF(waiting > 0 AND finished < 1, 1, 0)',
          label: 'stalled',
          usingMetrics: {
            waiting: tasks.queue.metricApproximateNumberOfMessagesVisible({ ...five, statistic: 'Minimum' }),
            finished: tasks.queue.metricNumberOfMessagesDeleted({ ...five, statistic: 'Sum' }),
          },
          ...five,
        }),
        threshold: 1,
        // A batch may take as long as the worker's timeout.
        evaluationPeriods: Math.max(3, Math.ceil((2 * settings.workerTimeoutSeconds) / 300)),
      },
      // Two alarms: a metric of these that never had a value would hide the other one in a sum.
      {
        slug: 'run-failed',
        says: 'A run ended with objects failed or missing, broke off, or was refused.',
        metric: stateMachine.metricFailed(minute),
        threshold: 1,
      },
      {
        slug: 'run-timed-out',
        says: 'A run was ended by the time limit of the step loop, without a report.',
        metric: stateMachine.metricTimedOut(minute),
        threshold: 1,
      },
    ];

    const actions = this.topics(settings).map((topic) => new SnsAction(topic));
    // The local cloud refuses alarms on metric math, and then the whole stack.
    const possible = watches.filter(({ metric }) => !(settings.localCloud && metric instanceof MathExpression));
    this.alarms = possible.map((watch) => {
      const alarm = new Alarm(this, watch.slug, {
        alarmName: `${settings.stackName}-${watch.slug}`,
        alarmDescription: `${watch.says} Runbook: docs/operations.md#alarm-${watch.slug}`,
        metric: watch.metric,
        threshold: watch.threshold,
        comparisonOperator: ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
        evaluationPeriods: watch.evaluationPeriods ?? 1,
        datapointsToAlarm: watch.datapointsToAlarm ?? watch.evaluationPeriods ?? 1,
        treatMissingData: TreatMissingData.NOT_BREACHING,
      });
      alarm.addAlarmAction(...actions);
      return alarm;
    });
  }

  private topics(settings: Settings): ITopic[] {
    const topics: ITopic[] = [];
    if (settings.alarmTopicArn !== undefined) {
      topics.push(Topic.fromTopicArn(this, 'GivenTopic', settings.alarmTopicArn));
      // An ARN does not tell the key, and a deployment makes no calls to find it. The failed notification would appear
      // in the alarm's history only.
      Annotations.of(this).addWarningV2(
        'flowherd:alarmTopicKey',
        `alarmTopicArn: CloudWatch cannot publish to a topic that is encrypted with alias/aws/sns, so alarms would notify nobody. Check the key with: aws sns get-topic-attributes --topic-arn ${settings.alarmTopicArn} --query Attributes.KmsMasterKeyId. Use a key of your own whose policy allows cloudwatch.amazonaws.com kms:Decrypt and kms:GenerateDataKey*, or no key: https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html`,
      );
    }
    if (settings.alarmEmail !== undefined) {
      const topic = new Topic(this, 'Topic', { displayName: `${settings.stackName} alarms`, enforceSSL: true });
      topic.addSubscription(new EmailSubscription(settings.alarmEmail));
      // A policy of its own takes the place of the one that lets the whole account publish:
      // https://docs.aws.amazon.com/sns/latest/dg/sns-access-policy-use-cases.html#sns-publish-messages-from-cloudwatch-alarms
      topic.addToResourcePolicy(
        new PolicyStatement({
          sid: 'Alarms',
          actions: ['sns:Publish'],
          principals: [new ServicePrincipal('cloudwatch.amazonaws.com')],
          resources: [topic.topicArn],
          conditions: { StringEquals: { 'aws:SourceAccount': Stack.of(this).account } },
        }),
      );
      Validations.of(topic).acknowledge({
        id: 'AwsSolutions-SNS2',
        reason:
          'Alarms cannot write to a topic under the key that AWS manages, and they hold names and numbers only: ' +
          'https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html',
      });
      topics.push(topic);
    }
    return topics;
  }
}
