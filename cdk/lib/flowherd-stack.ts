import { CfnOutput, Stack } from 'aws-cdk-lib';
import { Construct } from 'constructs';

import { FleetAlarms } from './alarms';
import { Coordinator } from './coordinator';
import { FleetDashboard } from './dashboard';
import { InvalidPropsError } from './errors';
import { NamesRefresh } from './names-refresh';
import { findProblems, type FlowherdStackProps, withDefaults } from './props';
import { QueryCatalog } from './query-catalog';
import { ResultsBucket } from './results-bucket';
import { SourceBucket } from './source-bucket';
import { StepLoop } from './step-loop';
import { TaskQueue } from './task-queue';
import { WorkerFleet } from './worker-fleet';

interface Output {
  readonly value: string;
  readonly description: string;
}

/** Flowherd's fleet: source bucket ▶ coordinator ▶ queue ▶ workers ▶ results bucket, driven by the step loop. */
export class FlowherdStack extends Stack {
  readonly source: SourceBucket;
  readonly results: ResultsBucket;
  readonly tasks: TaskQueue;
  readonly fleet: WorkerFleet;
  readonly coordinator: Coordinator;
  /** With `namesRefresh`. */
  readonly names: NamesRefresh | undefined;
  readonly stepLoop: StepLoop;
  readonly catalog: QueryCatalog;
  readonly alarms: FleetAlarms;
  readonly dashboard: FleetDashboard;

  constructor(scope: Construct, id: string, props: FlowherdStackProps) {
    super(scope, id, { description: 'Flowherd: converts log archives on S3 to CSV', ...props });
    const problems = findProblems({ ...props, stackName: this.stackName });
    if (problems.length > 0) throw new InvalidPropsError(problems);
    const {
      sourceBucketName, prefixes, sourceBucketAccount, sourceBucketRegion, sourceKmsKeyArn,
      configFile, namesFile, namesUrl, namesBucketAccount, namesRefresh, namesRoleArns, namesRegions, tables, queryLimitGb,
      maxConcurrency, batchSize, maxKeys, workerMemoryMb, workerTimeout, visibilityTimeout, maxReceiveCount, messageRetention,
      runTimeLimit, maxCalls, alarmTopicArn, alarmEmail, oldestMessageAlarm, logRetention, architecture, artifacts, localCloud,
    } = withDefaults(props);

    this.source = new SourceBucket(this, 'Source', {
      bucketName: sourceBucketName, prefixes, account: sourceBucketAccount, region: sourceBucketRegion, kmsKeyArn: sourceKmsKeyArn,
    });
    this.results = new ResultsBucket(this, 'Results');
    this.tasks = new TaskQueue(this, 'Tasks', { visibilityTimeout, maxReceiveCount, retention: messageRetention });
    const { source, results, tasks } = this;
    this.fleet = new WorkerFleet(this, 'Fleet', {
      source, results, tasks, artifacts, architecture, logRetention, maxConcurrency, batchSize,
      memoryMb: workerMemoryMb, timeout: workerTimeout,
    });
    this.coordinator = new Coordinator(this, 'Planning', {
      source, results, tasks, artifacts, architecture, logRetention, runTimeLimit, maxKeys,
      configFile, namesFile, namesUrl, namesBucketAccount, namesRefresh,
    });
    const coordinator = this.coordinator.function;
    this.names = namesRefresh
      ? new NamesRefresh(this, 'NamesRefresh', { coordinator, results, tasks, roleArns: namesRoleArns ?? [], regions: namesRegions })
      : undefined;
    this.stepLoop = new StepLoop(this, 'StepLoop', {
      coordinator: coordinator.function, results, logRetention, runTimeLimit, maxCalls,
    });
    this.catalog = new QueryCatalog(this, 'Query', { results, tables, queryLimitGb, localCloud });
    const { worker } = this.fleet;
    this.alarms = new FleetAlarms(this, 'Alarms', {
      tasks, worker: worker.function, workerTimeout, stateMachine: this.stepLoop.stateMachine,
      oldestMessage: oldestMessageAlarm, topicArn: alarmTopicArn, email: alarmEmail, localCloud,
      more: this.names === undefined ? [] : [this.names.alarm],
    });
    this.dashboard = new FleetDashboard(this, 'Dashboard', {
      tasks, worker, workerMemoryMb, coordinator, coordinatorMemoryMb: this.coordinator.memoryMb, architecture,
    });
    this.addOutputs(this.outputs(sourceBucketName, sourceBucketRegion));
  }

  /** What the `flowherd` command reads of the stack. */
  private outputs(sourceBucketName: string, sourceBucketRegion: string | undefined): Readonly<Record<string, Output>> {
    const { source, results, tasks, fleet, coordinator, stepLoop, catalog, dashboard } = this;
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
      QueueUrl: { value: tasks.queue.queueUrl, description: 'FIFO queue with a message per object' },
      DeadLetterQueueUrl: { value: tasks.deadLetters.queueUrl, description: 'Dead-letter queue' },
      CoordinatorFunction: { value: coordinator.function.function.functionName, description: 'Lambda function of the coordinator' },
      ...(this.names === undefined ? {} : { CoordinatorRole: role }),
      WorkerFunction: { value: fleet.worker.function.functionName, description: 'Lambda function of the workers' },
      WorkerTrigger: {
        value: fleet.trigger.eventSourceMappingId,
        description: 'Event source mapping of the workers. Disabling it stops the fleet.',
      },
      StateMachineArn: { value: stepLoop.stateMachine.stateMachineArn, description: 'State machine that drives runs' },
      Dashboard: { value: dashboard.dashboard.dashboardName, description: 'CloudWatch dashboard' },
      Database: { value: catalog.database.ref, description: 'Glue database of tables and views' },
      Workgroup: { value: catalog.workgroup.name, description: 'Athena workgroup' },
    };
  }

  private addOutputs(outputs: Readonly<Record<string, Output>>): void {
    // Below a node of their own, because some outputs have the name of a construct.
    const scope = new Construct(this, 'Outputs');
    for (const [name, output] of Object.entries(outputs)) new CfnOutput(scope, name, output).overrideLogicalId(name);
  }
}
