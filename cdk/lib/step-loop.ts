import { ArnFormat, RemovalPolicy, Stack, Validations } from 'aws-cdk-lib';
import { Effect, PolicyStatement, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import type { Function } from 'aws-cdk-lib/aws-lambda';
import { LogGroup } from 'aws-cdk-lib/aws-logs';
import type { Bucket } from 'aws-cdk-lib/aws-s3';
import { DefinitionBody, LogLevel, StateMachine, StateMachineType } from 'aws-cdk-lib/aws-stepfunctions';
import { Construct } from 'constructs';

import type { Settings } from './settings';
import { definition } from './step-loop-definition';

export interface StepLoopProps {
  readonly settings: Settings;
  readonly coordinator: Function;
  readonly results: Bucket;
}

/** Calls the coordinator until a run has its report. */
export class StepLoop extends Construct {
  readonly stateMachine: StateMachine;

  constructor(scope: Construct, id: string, { settings, coordinator, results }: StepLoopProps) {
    super(scope, id);
    const logGroup = new LogGroup(this, 'Log', {
      // Step Functions can add log groups whose names begin so without growing the account's resource policy:
      // https://docs.aws.amazon.com/step-functions/latest/dg/cw-logs.html
      logGroupName: `/aws/vendedlogs/states/${Stack.of(this).stackName}`,
      retention: settings.logRetentionDays,
      removalPolicy: RemovalPolicy.DESTROY,
    });
    // Named here, because the machine's policy names the machine, which goes on in a new execution of itself.
    const stateMachineName = Stack.of(this).stackName;
    const arn = Stack.of(this).formatArn({
      service: 'states',
      resource: 'stateMachine',
      resourceName: stateMachineName,
      arnFormat: ArnFormat.COLON_RESOURCE_NAME,
    });
    // Only for machines of this account:
    // https://docs.aws.amazon.com/step-functions/latest/dg/procedure-create-iam-role.html#prevent-cross-service-confused-deputy
    const assumedBy = new ServicePrincipal('states.amazonaws.com', {
      conditions: { StringEquals: { 'aws:SourceAccount': Stack.of(this).account } },
    });
    const role = new Role(this, 'Role', { assumedBy });
    const allow = (action: string, resource: string) =>
      role.addToPolicy(new PolicyStatement({ effect: Effect.ALLOW, actions: [action], resources: [resource] }));
    // Not grantInvoke, which adds every version and alias.
    allow('lambda:InvokeFunction', coordinator.functionArn);
    allow('states:StartExecution', arn);
    this.stateMachine = new StateMachine(this, 'StateMachine', {
      stateMachineName,
      stateMachineType: StateMachineType.STANDARD,
      role,
      definitionBody: DefinitionBody.fromString(
        JSON.stringify(
          definition({
            coordinator: '${Coordinator}',
            resultsBucket: '${ResultsBucket}',
            maxTurns: settings.maxTurns,
            timeLimitSeconds: settings.runTimeLimitHours * 3600,
          }),
        ),
      ),
      definitionSubstitutions: { Coordinator: coordinator.functionArn, ResultsBucket: results.bucketName },
      tracingEnabled: true,
      logs: { destination: logGroup, level: LogLevel.ALL, includeExecutionData: false },
    });
    Validations.of(role).acknowledge({
      id: 'AwsSolutions-IAM5[Resource::*]',
      reason:
        'Delivery of logs (logs:*LogDelivery and the like) and of traces (xray:Put*) know no resources: ' +
        'https://docs.aws.amazon.com/step-functions/latest/dg/cw-logs.html and .../xray-iam.html',
    });
  }
}
