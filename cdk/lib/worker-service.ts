import { Duration, RemovalPolicy, Size, Stack, Validations } from 'aws-cdk-lib';
import type { Metric } from 'aws-cdk-lib/aws-cloudwatch';
import {
  AwsLogDriverMode,
  Capability,
  ContainerImage,
  CpuArchitecture,
  FargateService,
  FargateTaskDefinition,
  LinuxParameters,
  LogDriver,
  OperatingSystemFamily,
} from 'aws-cdk-lib/aws-ecs';
import { Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { Architecture } from 'aws-cdk-lib/aws-lambda';
import { LogGroup, type RetentionDays } from 'aws-cdk-lib/aws-logs';
import { Construct } from 'constructs';

import type { AlarmDefinition } from './alarms';
import type { WorkerCluster } from './worker-cluster';
import { grantWorker, workerEnvironment, type WorkerResources } from './worker-grants';
import { builtImage, givenImage } from './worker-image';
import { taskCount, unclaimed, WorkerScaling } from './worker-scaling';

/** Path of the worker in the image; the ENTRYPOINT of container/Dockerfile. */
const WORKER = '/flowherd-worker';
/** User and group of the image; the USER of container/Dockerfile. */
const USER = '65532:65532';
/** Time after --grace in which a worker returns its messages and ends. */
const RESERVE = Duration.seconds(10);
/** The maximum on Fargate: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDefinition.html */
export const MAX_STOP_TIMEOUT = Duration.seconds(120);

export interface WorkerServiceProps extends WorkerResources {
  readonly cluster: WorkerCluster;
  /**
   * URI of an image that you pushed.
   * @default - the deployment builds `containerDirectory` with docker
   */
  readonly image?: string | undefined;
  /** Directory that `make container-binary` writes. */
  readonly containerDirectory: string;
  readonly vcpu: number;
  readonly memoryMb: number;
  readonly maxTasks: number;
  /** Waiting messages per task, above which tasks are added. */
  readonly backlogPerTask: number;
  readonly architecture: Architecture;
  readonly logRetention: RetentionDays;
  /** @default MAX_STOP_TIMEOUT */
  readonly stopTimeout?: Duration;
}

/** Workers as an ECS service on Fargate: as many tasks as the queue needs, none when it is empty. */
export class WorkerService extends Construct {
  readonly service: FargateService;
  readonly taskRole: Role;
  readonly logGroup: LogGroup;
  readonly vcpu: number;
  readonly memoryMb: number;
  /** Messages wait, and no task receives one. */
  readonly alarm: AlarmDefinition;

  constructor(scope: Construct, id: string, props: WorkerServiceProps) {
    super(scope, id);
    this.vcpu = props.vcpu;
    this.memoryMb = props.memoryMb;
    this.logGroup = new LogGroup(this, 'Log', { retention: props.logRetention, removalPolicy: RemovalPolicy.DESTROY });
    this.taskRole = this.role('TaskRole');
    grantWorker(this.taskRole, props, props.tasks);
    const { cluster, subnets, securityGroups } = props.cluster;
    this.service = new FargateService(this, 'Service', {
      cluster,
      taskDefinition: this.taskDefinition(props),
      vpcSubnets: { subnets: [...subnets] },
      securityGroups: [...securityGroups],
      assignPublicIp: false,
      // No desiredCount: a deployment keeps the current number of tasks. A new service starts one, which shows that the image
      // works: https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-ecs-service.html
      minHealthyPercent: 100,
      maxHealthyPercent: 200,
      circuitBreaker: { enable: true, rollback: true },
    });
    props.cluster.allowQueue(props.tasks.queue);
    new WorkerScaling(this, 'Scaling', {
      queue: props.tasks.queue,
      service: this.service,
      maxTasks: props.maxTasks,
      backlogPerTask: props.backlogPerTask,
    });
    this.alarm = {
      slug: 'no-tasks',
      summary: 'Messages have waited for 15 minutes, and no task has received one.',
      metric: unclaimed(props.tasks.queue, Duration.minutes(5)),
      threshold: 1,
      evaluationPeriods: 3,
    };
  }

  /** The number of tasks, as Container Insights counts them each minute. */
  metricTasks(metricName: 'RunningTaskCount' | 'DesiredTaskCount'): Metric {
    return taskCount(this.service, metricName);
  }

  private taskDefinition(props: WorkerServiceProps): FargateTaskDefinition {
    const { vcpu, memoryMb, architecture, stopTimeout = MAX_STOP_TIMEOUT } = props;
    const executionRole = this.executionRole();
    const isArm = architecture.name === Architecture.ARM_64.name;
    const definition = new FargateTaskDefinition(this, 'Task', {
      cpu: 1024 * vcpu,
      memoryLimitMiB: memoryMb,
      runtimePlatform: {
        cpuArchitecture: isArm ? CpuArchitecture.ARM64 : CpuArchitecture.X86_64,
        operatingSystemFamily: OperatingSystemFamily.LINUX,
      },
      taskRole: this.taskRole,
      executionRole,
    });
    // While one object waits for S3, another uses the processor.
    const concurrency = Math.max(2, 2 * vcpu);
    const grace = stopTimeout.minus(RESERVE).toSeconds();
    definition.addContainer('worker', {
      image: this.image(props, executionRole),
      entryPoint: [WORKER],
      command: ['--poll', '--concurrency', `${concurrency}`, '--grace', `${grace}`],
      environment: { ...workerEnvironment(props, props.tasks), AWS_REGION: Stack.of(this).region },
      user: USER,
      // The worker writes no files.
      readonlyRootFilesystem: true,
      linuxParameters: this.linuxParameters(),
      stopTimeout,
      logging: this.logDriver(),
      // No health check: a worker that cannot work ends with status 2, and ECS then replaces the task.
    });
    Validations.of(definition).acknowledge({
      id: 'AwsSolutions-ECS2',
      reason: 'The variables hold names, account IDs, the region and the address of the search cluster, never credentials: those come from the task role and Secrets Manager.',
    });
    return definition;
  }

  private image({ image, containerDirectory, architecture }: WorkerServiceProps, executionRole: Role): ContainerImage {
    if (image === undefined) return builtImage(this, containerDirectory, architecture);
    return givenImage(image, executionRole, Stack.of(this));
  }

  private linuxParameters(): LinuxParameters {
    // The kernel drops SIGTERM for a process 1 without a handler. With an init process as process 1, the worker also receives
    // a SIGTERM that arrives before it has installed its handler.
    const parameters = new LinuxParameters(this, 'Linux', { initProcessEnabled: true });
    parameters.dropCapabilities(Capability.ALL);
    return parameters;
  }

  private logDriver(): LogDriver {
    // A worker must not stop when CloudWatch Logs does not answer:
    // https://docs.aws.amazon.com/AmazonECS/latest/developerguide/using_awslogs.html
    const mode = { mode: AwsLogDriverMode.NON_BLOCKING, maxBufferSize: Size.mebibytes(25) };
    return LogDriver.awsLogs({ logGroup: this.logGroup, streamPrefix: 'worker', ...mode });
  }

  /** A role for tasks of this account: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-iam-roles.html */
  private role(id: string): Role {
    const stack = Stack.of(this);
    return new Role(this, id, {
      assumedBy: new ServicePrincipal('ecs-tasks.amazonaws.com', {
        conditions: {
          StringEquals: { 'aws:SourceAccount': stack.account },
          ArnLike: { 'aws:SourceArn': stack.formatArn({ service: 'ecs', resource: '*' }) },
        },
      }),
    });
  }

  /** The role with which ECS pulls the image and writes the log. */
  private executionRole(): Role {
    const role = this.role('ExecutionRole');
    Validations.of(role).acknowledge({
      id: 'AwsSolutions-IAM5[Resource::*]',
      reason:
        'ecr:GetAuthorizationToken has no resources: ' +
        'https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticcontainerregistry.html',
    });
    return role;
  }
}
