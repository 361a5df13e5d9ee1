import { CfnOutput, Stack } from 'aws-cdk-lib';
import { Construct } from 'constructs';

import { Alarms } from './alarms';
import { Coordinator } from './coordinator';
import { Dashboard } from './dashboard';
import { Query } from './query';
import { ResultsBucket } from './results-bucket';
import type { Settings } from './settings';
import { Source } from './source';
import { StepLoop } from './step-loop';
import { TaskQueue } from './task-queue';
import { WorkerFleet } from './worker-fleet';

/** source bucket ▶ coordinator ▶ queue ▶ workers ▶ results bucket, driven by the step loop. */
export class FlowherdStack extends Stack {
  constructor(scope: Construct, settings: Settings) {
    super(scope, settings.stackName, { description: 'Flowherd: log archives on S3 to CSV' });

    const source = new Source(this, settings);
    const { bucket: results } = new ResultsBucket(this, 'Results');
    const tasks = new TaskQueue(this, 'Tasks', settings);
    const fleet = new WorkerFleet(this, 'Fleet', { settings, source, results, tasks });
    const planning = new Coordinator(this, 'Planning', { settings, source, results, tasks });
    const coordinator = planning.function.function;
    const worker = fleet.worker.function;
    const { stateMachine } = new StepLoop(this, 'StepLoop', { settings, coordinator, results });
    const query = new Query(this, 'Query', { settings, results });
    new Alarms(this, 'Alarms', { settings, tasks, worker, stateMachine });
    const { dashboard } = new Dashboard(this, 'Dashboard', { settings, tasks, worker: fleet.worker, coordinator: planning.function });

    const outputs: Readonly<Record<string, string>> = {
      SourceBucket: settings.sourceBucket,
      SourceBucketOwner: source.owner,
      ...(settings.sourceBucketRegion === undefined ? {} : { SourceBucketRegion: settings.sourceBucketRegion }),
      ResultsBucket: results.bucketName,
      ResultsBucketOwner: this.account,
      QueueUrl: tasks.queue.queueUrl,
      DeadLetterQueueUrl: tasks.deadLetters.queueUrl,
      CoordinatorFunction: coordinator.functionName,
      WorkerFunction: worker.functionName,
      // Disabled, it stops the fleet: aws lambda update-event-source-mapping --uuid … --no-enabled
      WorkerTrigger: fleet.trigger.eventSourceMappingId,
      StateMachineArn: stateMachine.stateMachineArn,
      Dashboard: dashboard.dashboardName,
      Database: query.database.ref,
      Workgroup: query.workgroup.name,
    };
    // Below a node of their own: some share their name with a construct.
    const node = new Construct(this, 'Outputs');
    for (const [name, value] of Object.entries(outputs)) new CfnOutput(node, name, { value }).overrideLogicalId(name);
  }
}
