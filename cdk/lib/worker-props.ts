import { Token } from 'aws-cdk-lib';

import type { PropProblem } from './errors';
import { isEcrImage } from './worker-image';

/** Where workers run. */
export type Workers = 'lambda' | 'fargate';

/** The tasks of a fleet on Fargate. */
export interface TaskProps {
  /**
   * Maximum concurrent tasks, 1 to 1000.
   * @default 10
   */
  readonly max?: number;
  /**
   * Processors of a task: 0.25, 0.5, 1, 2, 4, 8 or 16.
   * @default 1
   */
  readonly vcpu?: number;
  /**
   * Memory of a task in MB. Fargate accepts only some sizes for each `vcpu`.
   * @default 2048
   */
  readonly memoryMb?: number;
  /**
   * Waiting messages per running task, above which tasks are added.
   * @default 4
   */
  readonly backlogPerTask?: number;
}

export const TASK_DEFAULTS = { max: 10, vcpu: 1, memoryMb: 2048, backlogPerTask: 4 } as const satisfies TaskProps;

export function withTaskDefaults(tasks: TaskProps = {}): Required<TaskProps> {
  const given = Object.fromEntries(Object.entries(tasks).filter(([, value]) => value !== undefined));
  return { ...TASK_DEFAULTS, ...given };
}

/** Properties that all fleets on Fargate share. */
export interface ContainerProps {
  /**
   * URI of an image with the worker. Without `vpcId` it must be in ECR.
   * @default - the deployment builds the directory of `make container-binary` with docker
   */
  readonly image?: string;
  /**
   * The VPC of `subnetIds`.
   * @default - the stack creates a VPC without a route to the internet
   */
  readonly vpcId?: string;
  /**
   * Subnets for the tasks, with a route to S3, SQS, CloudWatch Logs and the registry of the image.
   * @default - the subnets of the created VPC
   */
  readonly subnetIds?: readonly string[];
  /**
   * Security groups of the tasks in `subnetIds`.
   * @default - a group that allows HTTPS out and nothing in
   */
  readonly securityGroupIds?: readonly string[];
}

/** Sizes of memory in MB that Fargate accepts for each `vcpu`. */
const SIZES: Readonly<Record<string, readonly number[]>> = {
  // https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-tasks-services.html#fargate-tasks-size
  0.25: [512, 1024, 2048],
  0.5: range(1024, 4096, 1024),
  1: range(2048, 8192, 1024),
  2: range(4096, 16_384, 1024),
  4: range(8192, 30_720, 1024),
  8: range(16_384, 61_440, 4096),
  16: range(32_768, 122_880, 8192),
};

function range(from: number, to: number, step: number): number[] {
  return Array.from({ length: (to - from) / step + 1 }, (_, index) => from + index * step);
}

type TaskProblem = PropProblem<'tasks'>;

/** Returns all problems of the tasks of one fleet. */
export function taskProblems(tasks: TaskProps): TaskProblem[] {
  const problems: TaskProblem[] = [];
  const { max, vcpu, memoryMb, backlogPerTask } = withTaskDefaults(tasks);
  const isWhole = (value: number, to: number) => Number.isInteger(value) && value >= 1 && value <= to;
  const add = (key: keyof TaskProps, why: string) => problems.push({ prop: 'tasks', value: { [key]: tasks[key] }, why: `${key} ${why}` });
  // An account starts with fewer: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-quotas.html
  if (!isWhole(max, 1000)) add('max', 'must be a whole number from 1 to 1000');
  if (!isWhole(backlogPerTask, 100_000)) add('backlogPerTask', 'must be a whole number from 1 to 100000');
  const sizes = SIZES[vcpu];
  if (sizes === undefined) add('vcpu', `must be one of ${Object.keys(SIZES).map(Number).sort((one, other) => one - other).join(', ')}`);
  else if (!sizes.includes(memoryMb)) {
    const steps = `${sizes[0]}, ${sizes[1]}, … ${sizes.at(-1)}`;
    problems.push({ prop: 'tasks', value: { vcpu, memoryMb }, why: `memoryMb must be one of ${steps} with vcpu ${vcpu}: Fargate has no other sizes` });
  }
  return problems;
}

type ContainerProblem = PropProblem<keyof ContainerProps | 'sourceBucketRegion'>;

const IDS = {
  vpcId: /^vpc-[0-9a-f]{8,17}$/,
  subnetIds: /^subnet-[0-9a-f]{8,17}$/,
  securityGroupIds: /^sg-[0-9a-f]{8,17}$/,
} as const;
const EXAMPLES = { vpcId: 'the ID of a VPC', subnetIds: 'the ID of a subnet', securityGroupIds: 'the ID of a security group' } as const;

/** Returns all problems of the properties that fleets on Fargate share. */
export function containerProblems(props: ContainerProps, hasFargate: boolean, sourceBucketRegion?: string): ContainerProblem[] {
  const given = (['image', 'vpcId', 'subnetIds', 'securityGroupIds'] as const).filter((prop) => props[prop] !== undefined);
  if (!hasFargate) return given.map((prop) => ({ prop, value: props[prop], why: 'needs workers=fargate' }));
  return [...idProblems(props), ...networkProblems(props), ...(props.vpcId === undefined ? ownVpcProblems(props, sourceBucketRegion) : [])];
}

function idProblems(props: ContainerProps): ContainerProblem[] {
  return (['vpcId', 'subnetIds', 'securityGroupIds'] as const).flatMap((prop): ContainerProblem[] => {
    const value = props[prop];
    if (value === undefined) return [];
    const ids = typeof value === 'string' ? [value] : value;
    if (ids.length === 0) return [{ prop, value, why: 'must not be empty' }];
    const invalid = ids.filter((id) => !Token.isUnresolved(id) && !IDS[prop].test(id));
    return invalid.map((value) => ({ prop, value, why: `must be ${EXAMPLES[prop]}` }));
  });
}

function networkProblems({ vpcId, subnetIds, securityGroupIds }: ContainerProps): ContainerProblem[] {
  const problems: ContainerProblem[] = [];
  if (vpcId !== undefined && subnetIds === undefined) problems.push({ prop: 'vpcId', value: vpcId, why: 'needs subnetIds' });
  if (vpcId === undefined && subnetIds !== undefined) problems.push({ prop: 'subnetIds', value: subnetIds, why: 'needs vpcId' });
  if (securityGroupIds !== undefined && subnetIds === undefined) {
    problems.push({ prop: 'securityGroupIds', value: securityGroupIds, why: 'needs vpcId and subnetIds' });
  }
  return problems;
}

/** Returns the properties that need a route to the internet, which the VPC of the stack does not have. */
function ownVpcProblems({ image }: ContainerProps, sourceBucketRegion: string | undefined): ContainerProblem[] {
  const problems: ContainerProblem[] = [];
  if (image !== undefined && !Token.isUnresolved(image) && !isEcrImage(image)) {
    problems.push({ prop: 'image', value: image, why: 'must be in ECR, or set vpcId and subnetIds: the VPC that the stack creates has no route to the internet' });
  }
  if (sourceBucketRegion !== undefined) {
    // https://docs.aws.amazon.com/vpc/latest/privatelink/vpc-endpoints-s3.html
    const why = "needs vpcId and subnetIds with workers=fargate: the VPC that the stack creates reaches only buckets in the stack's region; leave it out for that region";
    problems.push({ prop: 'sourceBucketRegion', value: sourceBucketRegion, why });
  }
  return problems;
}
