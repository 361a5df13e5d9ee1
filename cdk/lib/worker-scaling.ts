import { Duration, Stack } from 'aws-cdk-lib';
import {
  AdjustmentType,
  CfnScalingPolicy,
  ScalableTarget,
  ServiceNamespace,
  StepScalingAction,
} from 'aws-cdk-lib/aws-applicationautoscaling';
import { Alarm, ComparisonOperator, type IMetric, MathExpression, Metric, TreatMissingData } from 'aws-cdk-lib/aws-cloudwatch';
import { ApplicationScalingAction } from 'aws-cdk-lib/aws-cloudwatch-actions';
import type { FargateService } from 'aws-cdk-lib/aws-ecs';
import { Role } from 'aws-cdk-lib/aws-iam';
import type { IQueue } from 'aws-cdk-lib/aws-sqs';
import { Construct } from 'constructs';

const MINUTE = { period: Duration.minutes(1) };
/** Scaling removes all tasks after the queue was empty for this time. */
const IDLE_MINUTES = 5;

export interface WorkerScalingProps {
  readonly queue: IQueue;
  readonly service: FargateService;
  readonly maxTasks: number;
  /** Waiting messages per task, above which tasks are added. */
  readonly backlogPerTask: number;
}

/**
 * Scales the tasks with the backlog of the queue: from 0 when messages wait, up to the maximum, and to 0 when the queue is
 * empty. It removes no task while it sees a message in flight.
 */
export class WorkerScaling extends Construct {
  constructor(scope: Construct, id: string, { queue, service, maxTasks, backlogPerTask }: WorkerScalingProps) {
    super(scope, id);
    const target = new ScalableTarget(this, 'Target', {
      serviceNamespace: ServiceNamespace.ECS,
      resourceId: `service/${service.cluster.clusterName}/${service.serviceName}`,
      scalableDimension: 'ecs:service:DesiredCount',
      minCapacity: 0,
      maxCapacity: maxTasks,
      role: this.serviceLinkedRole(),
    });
    this.firstTask(target, queue);
    this.moreTasks(target, queue, service, backlogPerTask);
    this.noTasks(target, queue);
  }

  /** https://docs.aws.amazon.com/autoscaling/application/userguide/application-auto-scaling-service-linked-roles.html */
  private serviceLinkedRole() {
    const roleArn = Stack.of(this).formatArn({
      service: 'iam',
      region: '',
      resource: 'role/aws-service-role/ecs.application-autoscaling.amazonaws.com',
      resourceName: 'AWSServiceRoleForApplicationAutoScaling_ECSService',
    });
    return Role.fromRoleArn(this, 'Role', roleArn, { mutable: false });
  }

  /**
   * Adds a task when messages wait and none is in flight. Target tracking cannot do this: without tasks its metric has no
   * value, and it then does not scale:
   * https://docs.aws.amazon.com/autoscaling/application/userguide/target-tracking-scaling-policy-overview.html
   */
  private firstTask(target: ScalableTarget, queue: IQueue): void {
    const action = new StepScalingAction(this, 'FirstTask', {
      scalingTarget: target,
      adjustmentType: AdjustmentType.CHANGE_IN_CAPACITY,
      // A task takes some minutes to start. Without a cooldown, each of these minutes would add a task.
      cooldown: Duration.minutes(5),
    });
    action.addAdjustment({ adjustment: 1, lowerBound: 0 });
    this.alarm('Waiting', unclaimed(queue), ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD, 1, action);
  }

  /**
   * Adds tasks in proportion to the waiting messages per running task, as AWS recommends:
   * https://docs.aws.amazon.com/autoscaling/application/userguide/application-auto-scaling-target-tracking-metric-math.html
   *
   * It never removes tasks. ECS chooses the tasks that it stops, so it would also stop those that convert the last and longest
   * objects of a run.
   */
  private moreTasks(target: ScalableTarget, queue: IQueue, service: FargateService, backlogPerTask: number): void {
    const waiting = queue.metricApproximateNumberOfMessagesVisible();
    const running = taskCount(service, 'RunningTaskCount');
    new CfnScalingPolicy(this, 'BacklogPerTask', {
      policyName: 'backlog-per-task',
      policyType: 'TargetTrackingScaling',
      scalingTargetId: target.scalableTargetId,
      targetTrackingScalingPolicyConfiguration: {
        targetValue: backlogPerTask,
        disableScaleIn: true,
        scaleOutCooldown: Duration.minutes(2).toSeconds(),
        customizedMetricSpecification: {
          metrics: [
            metricQuery('waiting', waiting, 'Maximum'),
            metricQuery('running', running, 'Average'),
            { id: 'backlog', expression: 'waiting / running', label: 'waiting messages per task', returnData: true },
          ],
        },
      },
    });
  }

  /** Removes all tasks when no message waits or is in flight. */
  private noTasks(target: ScalableTarget, queue: IQueue): void {
    const action = new StepScalingAction(this, 'NoTasks', {
      scalingTarget: target,
      adjustmentType: AdjustmentType.EXACT_CAPACITY,
    });
    action.addAdjustment({ adjustment: 0, upperBound: 0 });
    const pending = new MathExpression({
      expression: 'waiting + taken',
      label: 'messages that wait, and groups in flight',
      usingMetrics: { waiting: waitingMessages(queue, 'Maximum'), taken: groupsInFlight(queue) },
      ...MINUTE,
    });
    this.alarm('Idle', pending, ComparisonOperator.LESS_THAN_OR_EQUAL_TO_THRESHOLD, 0, action, IDLE_MINUTES);
  }

  private alarm(
    id: string,
    metric: IMetric,
    comparisonOperator: ComparisonOperator,
    threshold: number,
    action: StepScalingAction,
    evaluationPeriods = 1,
  ): void {
    const alarm = new Alarm(this, id, {
      alarmDescription: 'Scales the workers of Flowherd. This is no failure.',
      metric,
      threshold,
      comparisonOperator,
      evaluationPeriods,
      treatMissingData: TreatMissingData.NOT_BREACHING,
    });
    alarm.addAlarmAction(new ApplicationScalingAction(action));
  }
}

/** Tasks of a service: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Container-Insights-metrics-ECS.html */
export function taskCount(service: FargateService, metricName: 'RunningTaskCount' | 'DesiredTaskCount'): Metric {
  const dimensionsMap = { ClusterName: service.cluster.clusterName, ServiceName: service.serviceName };
  return new Metric({ namespace: 'ECS/ContainerInsights', metricName, dimensionsMap, statistic: 'Average', ...MINUTE });
}

/** The number of waiting messages while none is in flight, else 0. SQS publishes both metrics for every active FIFO queue. */
export function unclaimed(queue: IQueue, period = Duration.minutes(1)): MathExpression {
  return new MathExpression({
    expression: 'IF(taken < 1, waiting, 0)',
    label: 'messages that wait while no worker has one',
    usingMetrics: { waiting: waitingMessages(queue, 'Minimum', period), taken: groupsInFlight(queue, period) },
    period,
  });
}

function waitingMessages(queue: IQueue, statistic: string, period = Duration.minutes(1)): Metric {
  return queue.metricApproximateNumberOfMessagesVisible({ period, statistic });
}

/**
 * Message groups with messages in flight. SQS publishes ApproximateNumberOfMessagesNotVisible only while there are some, and
 * a sum with a missing metric is missing too:
 * https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
 */
function groupsInFlight(queue: IQueue, period = Duration.minutes(1)): Metric {
  return queue.metric('ApproximateNumberOfGroupsWithInflightMessages', { period, statistic: 'Maximum' });
}

/** A metric of a target tracking policy. Its period is a minute. */
function metricQuery(id: string, { namespace, metricName, dimensions = {} }: Metric, stat: string) {
  const pairs = Object.entries(dimensions).map(([name, value]) => ({ name, value: value as string }));
  return { id, metricStat: { metric: { namespace, metricName, dimensions: pairs }, stat }, returnData: false };
}
