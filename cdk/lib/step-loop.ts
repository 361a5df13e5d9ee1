import { ArnFormat, type Duration, RemovalPolicy, Stack, Validations } from 'aws-cdk-lib';
import { Grant, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import type { IFunction } from 'aws-cdk-lib/aws-lambda';
import { LogGroup, type RetentionDays } from 'aws-cdk-lib/aws-logs';
import { DefinitionBody, LogLevel, StateMachine, StateMachineType } from 'aws-cdk-lib/aws-stepfunctions';
import { Construct } from 'constructs';

import type { ResultsBucket } from './results-bucket';
import { definition } from './step-loop-definition';

export interface StepLoopProps {
  readonly coordinator: IFunction;
  readonly results: ResultsBucket;
  readonly logRetention: RetentionDays;
  readonly runTimeLimit: Duration;
  readonly maxCalls: number;
}

/** The state machine that calls the coordinator until the run has a report. */
export class StepLoop extends Construct {
  readonly stateMachine: StateMachine;

  constructor(scope: Construct, id: string, props: StepLoopProps) {
    super(scope, id);
    const { coordinator, results } = props;
    const { stackName, account } = Stack.of(this);
    const logGroup = new LogGroup(this, 'Log', {
      // Log groups with this prefix do not add to CloudWatch Logs' resource policy, whose size is limited:
      // https://docs.aws.amazon.com/step-functions/latest/dg/cw-logs.html
      logGroupName: `/aws/vendedlogs/states/${stackName}`,
      retention: props.logRetention,
      removalPolicy: RemovalPolicy.DESTROY,
    });
    // An explicit name: the machine's own policy names the machine, which starts new executions of itself.
    const stateMachineName = stackName;
    const arn = Stack.of(this).formatArn({
      service: 'states',
      resource: 'stateMachine',
      resourceName: stateMachineName,
      arnFormat: ArnFormat.COLON_RESOURCE_NAME,
    });
    // Only state machines of this account may assume the role:
    // https://docs.aws.amazon.com/step-functions/latest/dg/procedure-create-iam-role.html#prevent-cross-service-confused-deputy
    const assumedBy = new ServicePrincipal('states.amazonaws.com', {
      conditions: { StringEquals: { 'aws:SourceAccount': account } },
    });
    const role = new Role(this, 'Role', { assumedBy });
    // `grantInvoke` would add every version and alias.
    Grant.addToPrincipal({ grantee: role, actions: ['lambda:InvokeFunction'], resourceArns: [coordinator.functionArn] });
    Grant.addToPrincipal({ grantee: role, actions: ['states:StartExecution'], resourceArns: [arn] });
    this.stateMachine = new StateMachine(this, 'StateMachine', {
      stateMachineName,
      stateMachineType: StateMachineType.STANDARD,
      role,
      definitionBody: DefinitionBody.fromString(
        JSON.stringify(
          definition({
            coordinator: '${Coordinator}',
            resultsBucket: '${ResultsBucket}',
            maxCalls: props.maxCalls,
            timeLimitSeconds: props.runTimeLimit.toSeconds(),
          }),
        ),
      ),
      definitionSubstitutions: { Coordinator: coordinator.functionArn, ResultsBucket: results.bucket.bucketName },
      tracingEnabled: true,
      logs: { destination: logGroup, level: LogLevel.ALL, includeExecutionData: false },
    });
    Validations.of(role).acknowledge({
      id: 'AwsSolutions-IAM5[Resource::*]',
      reason:
        'The actions for log delivery (logs:*LogDelivery and others) and traces (xray:Put*) support no resources: ' +
        'https://docs.aws.amazon.com/step-functions/latest/dg/cw-logs.html and .../xray-iam.html',
    });
  }
}
