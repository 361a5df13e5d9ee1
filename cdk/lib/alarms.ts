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
import type { IFunction } from 'aws-cdk-lib/aws-lambda';
import { type ITopic, Topic } from 'aws-cdk-lib/aws-sns';
import { EmailSubscription } from 'aws-cdk-lib/aws-sns-subscriptions';
import type { StateMachine } from 'aws-cdk-lib/aws-stepfunctions';
import { Construct } from 'constructs';

import type { Fleet } from './fleet';
import { closeDefinition } from './live';
import { MAIN_FLEET, type ResolvedFleet } from './props';
import type { TaskQueue } from './task-queue';

/** Time without a finished object that is normal on Fargate: all tasks may process long objects. */
const QUIET_TIME_ON_FARGATE = Duration.hours(1);

export interface FleetAlarmsProps {
  readonly fleets: readonly Fleet[];
  readonly stateMachine: StateMachine;
  /** @default - none */
  readonly topicArn?: string | undefined;
  /** @default - none */
  readonly email?: string | undefined;
  /** Alarms of optional parts. */
  readonly more?: readonly AlarmDefinition[];
  /** Leaves out alarms on metric math. */
  readonly localCloud: boolean;
}

export interface AlarmDefinition {
  /** Also the section of the runbook: docs/operations.md#alarm-<slug>. */
  readonly slug: string;
  readonly summary: string;
  readonly metric: IMetric;
  /** The alarm is raised at this value, or below it with `LESS_THAN_THRESHOLD`. */
  readonly threshold: number;
  /** @default ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD */
  readonly comparisonOperator?: ComparisonOperator;
  /** @default TreatMissingData.NOT_BREACHING */
  readonly treatMissingData?: TreatMissingData;
  readonly evaluationPeriods?: number;
  readonly datapointsToAlarm?: number;
}

/** Alarms of the fleets and of the stack. Without a topic and an address they change state but notify nobody. */
export class FleetAlarms extends Construct {
  readonly alarms: readonly Alarm[];

  constructor(scope: Construct, id: string, props: FleetAlarmsProps) {
    super(scope, id);
    const actions = this.topics(props).map((topic) => new SnsAction(topic));
    const { fleets } = props;
    const isOnly = fleets.length === 1;
    const all = [
      ...fleets.flatMap((fleet) => fleetDefinitions(fleet).map((definition) => ofFleet(fleet.name, isOnly, definition))),
      ...[...runDefinitions(props.stateMachine), ...(props.more ?? [])].map((definition) => ({ id: definition.slug, ...definition })),
    ];
    // The local AWS refuses alarms on metric math, and then the whole stack.
    const supported = all.filter(({ metric }) => !(props.localCloud && metric instanceof MathExpression));
    this.alarms = supported.map(({ id, ...definition }) => {
      const alarm = new Alarm(this, id, {
        alarmName: `${Stack.of(this).stackName}-${id}`,
        alarmDescription: `${definition.summary} Runbook: docs/operations.md#alarm-${definition.slug}`,
        metric: definition.metric,
        threshold: definition.threshold,
        comparisonOperator: definition.comparisonOperator ?? ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
        evaluationPeriods: definition.evaluationPeriods ?? 1,
        datapointsToAlarm: definition.datapointsToAlarm ?? definition.evaluationPeriods ?? 1,
        treatMissingData: definition.treatMissingData ?? TreatMissingData.NOT_BREACHING,
      });
      alarm.addAlarmAction(...actions);
      return alarm;
    });
  }

  private topics({ topicArn, email }: FleetAlarmsProps): ITopic[] {
    const topics: ITopic[] = [];
    if (topicArn !== undefined) {
      topics.push(Topic.fromTopicArn(this, 'GivenTopic', topicArn));
      // The CDK cannot look up the topic's key. A notification that fails appears only in the alarm's history.
      Annotations.of(this).addWarningV2(
        'flowherd:alarmTopicKey',
        `alarmTopicArn: CloudWatch cannot publish to a topic that is encrypted with alias/aws/sns. Check the topic's key: aws sns get-topic-attributes --topic-arn ${topicArn} --query Attributes.KmsMasterKeyId. Use no key, or a key whose policy allows cloudwatch.amazonaws.com kms:Decrypt and kms:GenerateDataKey*: https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html`,
      );
    }
    if (email !== undefined) topics.push(this.emailTopic(email));
    return topics;
  }

  private emailTopic(email: string): Topic {
    const { stackName, account } = Stack.of(this);
    const topic = new Topic(this, 'Topic', { displayName: `${stackName} alarms`, enforceSSL: true });
    topic.addSubscription(new EmailSubscription(email));
    // A topic policy replaces the default policy, which allows the whole account to publish:
    // https://docs.aws.amazon.com/sns/latest/dg/sns-access-policy-use-cases.html#sns-publish-messages-from-cloudwatch-alarms
    topic.addToResourcePolicy(
      new PolicyStatement({
        sid: 'Alarms',
        actions: ['sns:Publish'],
        principals: [new ServicePrincipal('cloudwatch.amazonaws.com')],
        resources: [topic.topicArn],
        conditions: { StringEquals: { 'aws:SourceAccount': account } },
      }),
    );
    Validations.of(topic).acknowledge({
      id: 'AwsSolutions-SNS2',
      reason:
        'CloudWatch cannot publish to a topic under the AWS managed key, and alarms contain only names and numbers: ' +
        'https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html',
    });
    return topic;
  }
}

/** The alarm with the ID and the summary of its fleet. Those of `main` have the IDs of a stack without `fleets`. */
function ofFleet(fleet: string, isOnly: boolean, definition: AlarmDefinition): AlarmDefinition & { readonly id: string } {
  const { slug, summary } = definition;
  return { ...definition, id: fleet === MAIN_FLEET ? slug : `${fleet}-${slug}`, summary: isOnly ? summary : `Fleet ${fleet}: ${summary}` };
}

function fleetDefinitions({ tasks, workers, service, settings }: Fleet): AlarmDefinition[] {
  // Maximum normal time without a finished object: on Lambda, a batch may take as long as the worker's timeout.
  const quietTime = service === undefined ? settings.workerTimeout : QUIET_TIME_ON_FARGATE;
  return [
    ...(tasks === undefined ? [] : queueDefinitions(tasks, settings, quietTime)),
    ...(workers === undefined ? [] : functionDefinitions(workers.worker.function)),
    ...(service === undefined ? [] : [service.alarm]),
  ];
}

function functionDefinitions(worker: IFunction): AlarmDefinition[] {
  const fiveMinutes = { period: Duration.minutes(5) };
  return [
    {
      slug: 'worker-errors',
      summary: 'At least 5 % of the worker invocations crash or time out.',
      // Lambda publishes both metrics at every invocation, so neither is missing alone.
      metric: new MathExpression({
        expression: '100 * errors / invocations',
        label: 'errors (% of invocations)',
        usingMetrics: { errors: worker.metricErrors(fiveMinutes), invocations: worker.metricInvocations(fiveMinutes) },
        ...fiveMinutes,
      }),
      threshold: 5,
      evaluationPeriods: 3,
      datapointsToAlarm: 2,
    },
    {
      slug: 'worker-throttles',
      summary: 'Lambda throttles the worker: the account has less free concurrency than maxConcurrency.',
      metric: worker.metricThrottles(fiveMinutes),
      threshold: 1,
      evaluationPeriods: 3,
      datapointsToAlarm: 2,
    },
  ];
}

function queueDefinitions(tasks: TaskQueue, settings: ResolvedFleet, quietTime: Duration): AlarmDefinition[] {
  const { oldestMessageAlarm: oldestMessage } = settings;
  const minute = { period: Duration.minutes(1) };
  const fiveMinutes = { period: Duration.minutes(5) };
  return [
    {
      slug: 'dead-letters',
      summary: 'The dead-letter queue has messages: objects failed permanently or exhausted all attempts.',
      metric: tasks.deadLetters.metricApproximateNumberOfMessagesVisible({ ...minute, statistic: 'Maximum' }),
      threshold: 1,
    },
    {
      slug: 'oldest-message',
      summary: `A message has waited for ${oldestMessage.toSeconds()} s: the workers cannot keep up, or they fail.`,
      metric: tasks.queue.metricApproximateAgeOfOldestMessage({ ...fiveMinutes, statistic: 'Maximum' }),
      threshold: oldestMessage.toSeconds(),
    },
    {
      slug: 'run-stalled',
      summary: 'Messages are waiting, and the workers complete none.',
      // SQS publishes both metrics for every active queue, also when they are 0. The workers' ObjectsDone has no value
      // when no worker runs, and metric math cannot fill a metric that never had a value.
      metric: new MathExpression({
        expression: 'IF(waiting > 0 AND finished < 1, 1, 0)',
        label: 'stalled',
        usingMetrics: {
          waiting: tasks.queue.metricApproximateNumberOfMessagesVisible({ ...fiveMinutes, statistic: 'Minimum' }),
          finished: tasks.queue.metricNumberOfMessagesDeleted({ ...fiveMinutes, statistic: 'Sum' }),
        },
        ...fiveMinutes,
      }),
      threshold: 1,
      evaluationPeriods: Math.max(3, Math.ceil((2 * quietTime.toSeconds()) / 300)),
    },
    ...(settings.live ? [closeDefinition(tasks.queue)] : []),
  ];
}

/** Alarms on runs, which the fleets share. */
function runDefinitions(stateMachine: StateMachine): AlarmDefinition[] {
  const minute = { period: Duration.minutes(1) };
  return [
    // Two alarms: in a sum, a metric that never had a value would hide the other one.
    {
      slug: 'run-failed',
      summary: 'A run failed: it has failed or missing objects, a step failed permanently, or it was refused.',
      metric: stateMachine.metricFailed(minute),
      threshold: 1,
    },
    {
      slug: 'run-timed-out',
      summary: 'A run reached the time limit of the step loop and has no report.',
      metric: stateMachine.metricTimedOut(minute),
      threshold: 1,
    },
  ];
}
