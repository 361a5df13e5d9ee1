import { Duration, Stack, Validations } from 'aws-cdk-lib';
import { ComparisonOperator, Metric, TreatMissingData } from 'aws-cdk-lib/aws-cloudwatch';
import { Grant, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { CfnSchedule } from 'aws-cdk-lib/aws-scheduler';
import { Construct } from 'constructs';

import type { AlarmDefinition } from './alarms';
import type { NativeFunction } from './native-function';
import { NAMES_KEY, type ResultsBucket } from './results-bucket';

export interface NamesRefreshProps {
  readonly coordinator: NativeFunction;
  readonly results: ResultsBucket;
  /** Roles of other accounts, which the coordinator assumes. */
  readonly roleArns: readonly string[];
  /** @default - the stack's region */
  readonly regions?: readonly string[] | undefined;
  /** @default - no limit */
  readonly retentionDays?: number | undefined;
}

/** The actions with which `flowherd names` reads an account. `cdk/member-role.yaml` allows the same. */
export const DESCRIBE_ACTIONS = [
  'ec2:DescribeInstances',
  'ec2:DescribeNatGateways',
  'ec2:DescribeNetworkInterfaces',
  'ec2:DescribeSubnets',
  'ec2:DescribeVpcEndpoints',
  'ec2:DescribeVpcs',
];

/** The schedule that makes the coordinator refresh `names/names.json` each hour, and the permissions for it. */
export class NamesRefresh extends Construct {
  readonly schedule: CfnSchedule;
  /** The alarm on refreshes that do not read everything, and on missing ones. */
  readonly alarm: AlarmDefinition;

  constructor(scope: Construct, id: string, props: NamesRefreshProps) {
    super(scope, id);
    const { coordinator, results, roleArns, regions, retentionDays } = props;
    this.grant(coordinator, results, roleArns);
    // Only schedules of this account may assume the role:
    // https://docs.aws.amazon.com/scheduler/latest/UserGuide/cross-service-confused-deputy-prevention.html
    const assumedBy = new ServicePrincipal('scheduler.amazonaws.com', {
      conditions: { StringEquals: { 'aws:SourceAccount': Stack.of(this).account } },
    });
    const role = new Role(this, 'Role', { assumedBy });
    // `grantInvoke` would add every version and alias.
    Grant.addToPrincipal({ grantee: role, actions: ['lambda:InvokeFunction'], resourceArns: [coordinator.function.functionArn] });
    this.schedule = new CfnSchedule(this, 'Schedule', {
      description: 'Flowherd: refreshes names/names.json',
      // Without a start date, the first refresh begins at once:
      // https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html
      scheduleExpression: 'rate(1 hour)',
      flexibleTimeWindow: { mode: 'OFF' },
      target: {
        arn: coordinator.function.functionArn,
        roleArn: role.roleArn,
        // Members that are undefined are left out.
        input: JSON.stringify({ operation: 'names', role_arns: roleArns, regions, retention_days: retentionDays }),
        // A later attempt would only precede the next hour's.
        retryPolicy: { maximumEventAgeInSeconds: 1800, maximumRetryAttempts: 10 },
      },
    });
    // Otherwise the first refresh could begin before the role has its permissions.
    this.schedule.node.addDependency(role, coordinator);
    this.alarm = {
      slug: 'names-stale',
      summary: 'No refresh of the names has read everything for 3 hours: rows may have old names.',
      metric: new Metric({
        namespace: 'Flowherd',
        metricName: 'NamesRefreshed',
        dimensionsMap: { ResultsBucket: results.bucket.bucketName },
        statistic: 'Sum',
        period: Duration.hours(1),
      }),
      threshold: 1,
      comparisonOperator: ComparisonOperator.LESS_THAN_THRESHOLD,
      evaluationPeriods: 3,
      // A refresh that is denied, crashes or times out writes no metric.
      treatMissingData: TreatMissingData.BREACHING,
    };
  }

  private grant(coordinator: NativeFunction, results: ResultsBucket, roleArns: readonly string[]): void {
    Grant.addToPrincipal({ grantee: coordinator, actions: DESCRIBE_ACTIONS, resourceArns: ['*'] });
    Validations.of(coordinator).acknowledge({
      id: 'AwsSolutions-IAM5[Resource::*]',
      reason:
        'ec2:Describe* actions support no resources: ' +
        'https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html',
    });
    if (roleArns.length > 0) {
      Grant.addToPrincipal({ grantee: coordinator, actions: ['sts:AssumeRole'], resourceArns: [...roleArns] });
    }
    // Coordinator.grantConfiguration lets each function that begins runs read the names.
    results.grantOnObjects(coordinator, ['s3:PutObject'], [NAMES_KEY]);
  }
}
