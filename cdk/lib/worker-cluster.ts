import { Stack, Validations } from 'aws-cdk-lib';
import {
  GatewayVpcEndpointAwsService,
  InterfaceVpcEndpoint,
  InterfaceVpcEndpointAwsService,
  IpAddresses,
  type ISecurityGroup,
  type ISubnet,
  type IVpc,
  Peer,
  Port,
  SecurityGroup,
  Subnet,
  SubnetType,
  Vpc,
} from 'aws-cdk-lib/aws-ec2';
import { Cluster, ContainerInsights, type ICluster } from 'aws-cdk-lib/aws-ecs';
import { AnyPrincipal, PolicyStatement } from 'aws-cdk-lib/aws-iam';
import type { IQueue } from 'aws-cdk-lib/aws-sqs';
import { Construct } from 'constructs';

import type { ResultsBucket } from './results-bucket';
import type { SourceBucket } from './source-bucket';
import { QUEUE_ACTIONS } from './worker-grants';

/** Subnets that exist already. They must reach S3, SQS, CloudWatch Logs and the registry of the image. */
export interface GivenNetwork {
  readonly vpcId: string;
  readonly subnetIds: readonly string[];
  /** @default - a security group that allows HTTPS out and nothing in */
  readonly securityGroupIds?: readonly string[] | undefined;
}

export interface WorkerClusterProps {
  readonly source: SourceBucket;
  readonly results: ResultsBucket;
  /** @default - the stack creates a VPC with VPC endpoints and without a route to the internet */
  readonly network?: GivenNetwork | undefined;
}

/** The ECS cluster of the stack's workers, and the subnets in which their tasks run. All fleets share it. */
export class WorkerCluster extends Construct {
  readonly cluster: ICluster;
  readonly subnets: readonly ISubnet[];
  readonly securityGroups: readonly ISecurityGroup[];
  private readonly queueEndpoint: InterfaceVpcEndpoint | undefined;

  constructor(scope: Construct, id: string, { source, results, network }: WorkerClusterProps) {
    super(scope, id);
    const vpc = network === undefined ? this.ownVpc() : this.givenVpc(network.vpcId);
    const given = network?.securityGroupIds?.map((id) => SecurityGroup.fromSecurityGroupId(this, id, id, { mutable: false }));
    this.securityGroups = given ?? [this.ownSecurityGroup(vpc)];
    if (network === undefined) {
      this.subnets = vpc.isolatedSubnets;
      this.queueEndpoint = this.endpoints(vpc, source, results);
    } else {
      this.subnets = network.subnetIds.map((id) => Subnet.fromSubnetId(this, id, id));
    }
    // Container Insights publishes RunningTaskCount, by which the backlog is divided:
    // https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Container-Insights-metrics-ECS.html
    this.cluster = new Cluster(this, 'Cluster', {
      vpc,
      enableFargateCapacityProviders: true,
      containerInsightsV2: ContainerInsights.ENABLED,
    }) as ICluster;
  }

  /** Adds a queue to the policy of the SQS endpoint. Given subnets have no endpoint of the stack. */
  allowQueue(queue: IQueue): void {
    this.queueEndpoint?.addToPolicy(statement(QUEUE_ACTIONS, [queue.queueArn]));
  }

  private ownVpc(): IVpc {
    const vpc = new Vpc(this, 'Vpc', {
      ipAddresses: IpAddresses.cidr('10.0.0.0/20'),
      maxAzs: 2,
      natGateways: 0,
      createInternetGateway: false,
      // CDK would need a custom resource with its own function and role.
      restrictDefaultSecurityGroup: false,
      subnetConfiguration: [{ name: 'Workers', subnetType: SubnetType.PRIVATE_ISOLATED, cidrMask: 22 }],
    });
    Validations.of(vpc).acknowledge({
      id: 'AwsSolutions-VPC7',
      reason: 'No flow log: the VPC has no route except to the VPC endpoints, and CloudTrail records the requests to them.',
    });
    // With exactOptionalPropertyTypes, the class does not fit its own interface.
    return vpc as IVpc;
  }

  private givenVpc(vpcId: string): IVpc {
    // Only the ID is used. The CDK needs a zone, but not its name.
    return Vpc.fromVpcAttributes(this, 'Vpc', { vpcId, availabilityZones: ['any'] });
  }

  private ownSecurityGroup(vpc: IVpc): SecurityGroup {
    const group = new SecurityGroup(this, 'SecurityGroup', {
      vpc,
      description: 'Flowherd workers: HTTPS out, nothing in',
      allowAllOutbound: false,
    });
    group.addEgressRule(Peer.anyIpv4(), Port.tcp(443), 'S3, SQS, CloudWatch Logs and the registry');
    return group;
  }

  /**
   * Creates the endpoints that a task on Fargate needs without a route to the internet, and returns that of SQS:
   * https://docs.aws.amazon.com/AmazonECR/latest/userguide/vpc-endpoints.html
   */
  private endpoints(vpc: IVpc, source: SourceBucket, results: ResultsBucket): InterfaceVpcEndpoint {
    const securityGroup = new SecurityGroup(this, 'EndpointSecurityGroup', {
      vpc,
      description: 'Flowherd VPC endpoints: HTTPS from the workers',
      allowAllOutbound: false,
    });
    for (const workers of this.securityGroups) securityGroup.addIngressRule(workers, Port.tcp(443), 'Workers');
    const add = (id: string, service: InterfaceVpcEndpointAwsService) =>
      new InterfaceVpcEndpoint(this, id, { vpc, service, securityGroups: [securityGroup], open: false });
    add('RegistryApi', InterfaceVpcEndpointAwsService.ECR);
    add('Registry', InterfaceVpcEndpointAwsService.ECR_DOCKER);
    add('Logs', InterfaceVpcEndpointAwsService.CLOUDWATCH_LOGS);
    this.bucketEndpoint(vpc, source, results);
    return add('Queues', InterfaceVpcEndpointAwsService.SQS);
  }

  private bucketEndpoint(vpc: IVpc, source: SourceBucket, results: ResultsBucket): void {
    const endpoint = vpc.addGatewayEndpoint('Buckets', { service: GatewayVpcEndpointAwsService.S3 });
    const { partition, region } = Stack.of(this);
    const buckets = [source.bucket, results.bucket];
    const arns = buckets.flatMap((bucket) => [bucket.bucketArn, bucket.arnForObjects('*')]);
    const actions = ['s3:GetObject', 's3:PutObject', 's3:DeleteObject', 's3:AbortMultipartUpload', 's3:ListBucket'];
    endpoint.addToPolicy(statement(actions, arns));
    // ECR keeps the layers of images in this bucket:
    // https://docs.aws.amazon.com/AmazonECR/latest/userguide/vpc-endpoints.html#ecr-setting-up-s3-gateway
    endpoint.addToPolicy(statement(['s3:GetObject'], [`arn:${partition}:s3:::prod-${region}-starport-layer-bucket/*`]));
  }
}

/** A statement of a VPC endpoint's policy. The roles decide who may do it. */
function statement(actions: readonly string[], resources: string[]): PolicyStatement {
  return new PolicyStatement({ actions: [...actions], resources, principals: [new AnyPrincipal()] });
}
