import { ArnFormat, type Duration, RemovalPolicy, Stack, Validations } from 'aws-cdk-lib';
import { Grant, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import type { IFunction } from 'aws-cdk-lib/aws-lambda';
import { LogGroup, type RetentionDays } from 'aws-cdk-lib/aws-logs';
import { DefinitionBody, LogLevel, StateMachine, StateMachineType } from 'aws-cdk-lib/aws-stepfunctions';
import { Construct } from 'constructs';

import { acknowledgeWildcard } from './object-grants';
import type { ResultsBucket } from './results-bucket';
import type { SourceBucket } from './source-bucket';
import { definition } from './step-loop-definition';

export interface StepLoopProps {
  readonly coordinator: IFunction;
  readonly results: ResultsBucket;
  readonly logRetention: RetentionDays;
  readonly runTimeLimit: Duration;
  readonly maxCalls: number;
  readonly source: SourceBucket;
  /** The fleets with driver map. */
  readonly maps: readonly MapFleet[];
}

/** A fleet whose objects reach its workers as items of a Distributed Map. */
export interface MapFleet {
  readonly name: string;
  readonly prefixes: readonly string[];
  readonly worker: IFunction;
  readonly workerTimeout: Duration;
  readonly maxConcurrency: number;
  readonly batchSize: number;
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
    if (props.maps.length > 0) this.grantMaps(role, stateMachineName, props);
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
            maps: props.maps.map((map, number) => ({
              fleet: map.name,
              worker: `\${Worker${number}}`,
              sourceBucket: '${SourceBucket}',
              sourceBucketOwner: '${SourceBucketOwner}',
              resultsBucket: '${ResultsBucket}',
              maxConcurrency: map.maxConcurrency,
              batchSize: map.batchSize,
              workerTimeoutSeconds: map.workerTimeout.toSeconds(),
            })),
          }),
        ),
      ),
      definitionSubstitutions: {
        Coordinator: coordinator.functionArn,
        ResultsBucket: results.bucket.bucketName,
        ...(props.maps.length === 0 ? {} : { SourceBucket: props.source.bucket.bucketName, SourceBucketOwner: props.source.owner }),
        ...Object.fromEntries(props.maps.map(({ worker }, number) => [`Worker${number}`, worker.functionArn])),
      },
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

  /** Grants what a Distributed Map needs: https://docs.aws.amazon.com/step-functions/latest/dg/iam-policies-eg-dist-map.html */
  private grantMaps(role: Role, stateMachineName: string, { source, results, maps }: StepLoopProps): void {
    const workers = maps.map(({ worker }) => worker.functionArn);
    Grant.addToPrincipal({ grantee: role, actions: ['lambda:InvokeFunction'], resourceArns: workers });
    const children = Stack.of(this).formatArn({
      service: 'states',
      resource: 'execution',
      resourceName: `${stateMachineName}:*`,
      arnFormat: ArnFormat.COLON_RESOURCE_NAME,
    });
    Grant.addToPrincipal({ grantee: role, actions: ['states:DescribeExecution', 'states:StopExecution'], resourceArns: [children] });
    acknowledgeWildcard(role, children, 'The executions of this state machine: their names are not known at deployment.');
    source.grantList(role, maps.flatMap(({ prefixes }) => prefixes));
    // The results of the children.
    results.grantOnObjects(
      role,
      ['s3:PutObject', 's3:GetObject', 's3:ListMultipartUploadParts', 's3:AbortMultipartUpload'],
      ['runs/*/map/*'],
    );
  }
}
