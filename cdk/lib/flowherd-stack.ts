import { CfnOutput, Stack } from 'aws-cdk-lib';
import { Construct } from 'constructs';

import { FleetAlarms } from './alarms';
import { Coordinator } from './coordinator';
import { FleetDashboard } from './dashboard';
import { InvalidPropsError } from './errors';
import { Fleet, fleetOutput } from './fleet';
import { Live } from './live';
import { NamesRefresh } from './names-refresh';
import { findProblems } from './problems';
import { type FlowherdStackProps, MAIN_FLEET, type ResolvedFleet, resolveFleets, withDefaults } from './props';
import { QueryCatalog } from './query-catalog';
import { ResultsBucket } from './results-bucket';
import { SourceBucket } from './source-bucket';
import { type MapFleet, StepLoop } from './step-loop';
import type { TaskQueue } from './task-queue';
import { WorkerCluster } from './worker-cluster';
import type { WorkerFleet } from './worker-fleet';
import type { WorkerService } from './worker-service';

interface Output {
  readonly value: string;
  readonly description: string;
}

/** Flowherd: source bucket ▶ coordinator ▶ queue and workers of each fleet ▶ results bucket, driven by the step loop. */
export class FlowherdStack extends Stack {
  readonly source: SourceBucket;
  readonly results: ResultsBucket;
  readonly fleets: readonly Fleet[];
  readonly coordinator: Coordinator;
  /** With `namesRefresh`. */
  readonly names: NamesRefresh | undefined;
  readonly stepLoop: StepLoop;
  /** With a live fleet. */
  readonly live: Live | undefined;
  readonly catalog: QueryCatalog;
  readonly alarms: FleetAlarms;
  readonly dashboard: FleetDashboard;

  constructor(scope: Construct, id: string, props: FlowherdStackProps) {
    super(scope, id, { description: 'Flowherd: converts log archives on S3 to CSV', ...props });
    const { prefixes: ofStack = [] } = props;
    // With fleets, each fleet is checked.
    const problems = findProblems({ ...props, stackName: this.stackName, ...(props.fleets === undefined ? { prefixes: ofStack } : {}) });
    if (problems.length > 0) throw new InvalidPropsError(problems);
    const {
      sourceBucketName, sourceBucketAccount, sourceBucketRegion, sourceKmsKeyArn,
      configFile, namesFile, namesUrl, namesBucketAccount, namesRefresh, namesRoleArns, namesRegions, namesRetentionDays,
      tables, queryLimitGb,
      maxKeys, runTimeLimit, maxCalls, alarmTopicArn, alarmEmail, logRetention, architecture, artifacts, localCloud,
      image, containerDirectory,
    } = withDefaults(props);
    const settings = resolveFleets(props);

    const prefixes = [...new Set(settings.filter(({ job }) => job === 'convert').flatMap((fleet) => fleet.prefixes))];
    this.source = new SourceBucket(this, 'Source', {
      bucketName: sourceBucketName, prefixes, account: sourceBucketAccount, region: sourceBucketRegion, kmsKeyArn: sourceKmsKeyArn,
    });
    this.results = new ResultsBucket(this, 'Results');
    const { source, results } = this;
    const cluster = this.workerCluster(settings, props);
    this.fleets = settings.map((settings) => new Fleet(this, {
      settings, source, results, artifacts, architecture, logRetention, cluster, image, containerDirectory,
    }));
    const { fleets } = this;
    this.coordinator = new Coordinator(this, 'Planning', {
      source, results, fleets, artifacts, architecture, logRetention, runTimeLimit, maxKeys,
      configFile, namesFile, namesUrl, namesBucketAccount, namesRefresh,
    });
    const coordinator = this.coordinator.function;
    this.names = namesRefresh
      ? new NamesRefresh(this, 'NamesRefresh', {
          coordinator, results, roleArns: namesRoleArns ?? [], regions: namesRegions, retentionDays: namesRetentionDays,
        })
      : undefined;
    this.stepLoop = new StepLoop(this, 'StepLoop', {
      coordinator: coordinator.function, source, results, logRetention, runTimeLimit, maxCalls, maps: fleets.flatMap(mapFleet),
    });
    const liveFleets = fleets.filter(({ settings }) => settings.live);
    this.live = liveFleets.length > 0
      ? new Live(this, 'Live', {
          sourceBucketName, results, fleets: liveFleets, coordinator: this.coordinator, stateMachine: this.stepLoop.stateMachine,
          artifacts, architecture, logRetention,
        })
      : undefined;
    this.catalog = new QueryCatalog(this, 'Query', { results, tables, queryLimitGb, localCloud });
    this.alarms = new FleetAlarms(this, 'Alarms', {
      fleets, stateMachine: this.stepLoop.stateMachine, topicArn: alarmTopicArn, email: alarmEmail, localCloud,
      more: [...(this.names === undefined ? [] : [this.names.alarm]), ...(this.live?.alarms ?? [])],
    });
    this.dashboard = new FleetDashboard(this, 'Dashboard', {
      fleets, coordinator, coordinatorMemoryMb: this.coordinator.memoryMb, architecture,
    });
    this.addOutputs(this.outputs(sourceBucketName, sourceBucketRegion));
  }

  /** The cluster of all fleets on Fargate. */
  private workerCluster(fleets: readonly ResolvedFleet[], { vpcId, subnetIds, securityGroupIds }: FlowherdStackProps) {
    if (!fleets.some(({ workers }) => workers === 'fargate')) return undefined;
    const network = vpcId === undefined || subnetIds === undefined ? undefined : { vpcId, subnetIds, securityGroupIds };
    return new WorkerCluster(this, 'Workers', { source: this.source, results: this.results, network });
  }

  /** What the `flowherd` command reads of the stack. */
  private outputs(sourceBucketName: string, sourceBucketRegion: string | undefined): Readonly<Record<string, Output>> {
    const { source, results, fleets, coordinator, stepLoop, catalog, dashboard } = this;
    const role = {
      value: coordinator.function.function.role?.roleArn ?? '',
      description: 'Role of the coordinator, which the roles of member accounts trust',
    };
    const region = { value: sourceBucketRegion ?? '', description: 'Region of the source bucket' };
    return {
      SourceBucket: { value: sourceBucketName, description: 'Bucket that holds the logs' },
      SourceBucketOwner: { value: source.owner, description: 'Account that must own the source bucket' },
      ...(sourceBucketRegion === undefined ? {} : { SourceBucketRegion: region }),
      ResultsBucket: { value: results.bucket.bucketName, description: 'Bucket of outputs and ledger' },
      ResultsBucketOwner: { value: this.account, description: 'Account that must own the results bucket' },
      ...Object.fromEntries(fleets.flatMap((fleet) => Object.entries(this.fleetOutputs(fleet)))),
      CoordinatorFunction: { value: coordinator.function.function.functionName, description: 'Lambda function of the coordinator' },
      ...(this.names === undefined ? {} : { CoordinatorRole: role }),
      ...this.live?.outputs,
      StateMachineArn: { value: stepLoop.stateMachine.stateMachineArn, description: 'State machine that drives runs' },
      Dashboard: { value: dashboard.dashboard.dashboardName, description: 'CloudWatch dashboard' },
      Database: { value: catalog.database.ref, description: 'Glue database of tables and views' },
      Workgroup: { value: catalog.workgroup.name, description: 'Athena workgroup' },
    };
  }

  /** The outputs of a fleet. Those of `main` are also single outputs, for people and other stacks. */
  private fleetOutputs({ name, output, tasks, workers, service }: Fleet): Readonly<Record<string, Output>> {
    const all = { [fleetOutput(name)]: { value: output, description: `Fleet ${name}: queue, workers and prefixes` } };
    if (name !== MAIN_FLEET) return all;
    return {
      ...all,
      ...(tasks === undefined ? {} : queueOutputs(tasks)),
      ...(workers === undefined ? {} : functionOutputs(workers)),
      ...(service === undefined ? {} : serviceOutputs(service)),
    };
  }

  private addOutputs(outputs: Readonly<Record<string, Output>>): void {
    // Below a node of their own, because some outputs have the name of a construct.
    const scope = new Construct(this, 'Outputs');
    for (const [name, output] of Object.entries(outputs)) new CfnOutput(scope, name, output).overrideLogicalId(name);
  }
}

/** The map of a fleet with that driver. */
function mapFleet({ name, settings, workers }: Fleet): MapFleet[] {
  const { driver, prefixes, workerTimeout, maxConcurrency, batchSize } = settings;
  if (driver !== 'map' || workers === undefined) return [];
  return [{ name, prefixes, worker: workers.worker.function, workerTimeout, maxConcurrency, batchSize }];
}

function queueOutputs({ queue, deadLetters }: TaskQueue): Readonly<Record<string, Output>> {
  return {
    QueueUrl: { value: queue.queueUrl, description: 'FIFO queue with a message per object' },
    DeadLetterQueueUrl: { value: deadLetters.queueUrl, description: 'Dead-letter queue' },
  };
}

function functionOutputs({ worker, trigger }: WorkerFleet): Readonly<Record<string, Output>> {
  const description = 'Event source mapping of the workers. Disabling it stops the fleet.';
  return {
    WorkerFunction: { value: worker.function.functionName, description: 'Lambda function of the workers' },
    ...(trigger === undefined ? {} : { WorkerTrigger: { value: trigger.eventSourceMappingId, description } }),
  };
}

function serviceOutputs({ service, logGroup, taskRole }: WorkerService): Readonly<Record<string, Output>> {
  return {
    WorkerCluster: { value: service.cluster.clusterName, description: 'ECS cluster of the workers' },
    WorkerService: { value: service.serviceName, description: 'ECS service of the workers' },
    WorkerLog: { value: logGroup.logGroupName, description: 'Log group of the workers' },
    WorkerRole: { value: taskRole.roleArn, description: 'Role of the workers' },
  };
}
