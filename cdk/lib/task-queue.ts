import { Duration, Stack } from 'aws-cdk-lib';
import { DeduplicationScope, FifoThroughputLimit, Queue, QueueEncryption, RedrivePermission } from 'aws-cdk-lib/aws-sqs';
import { Construct } from 'constructs';

export interface TaskQueueProps {
  /** The name of the queue, which ends with `.fifo`. */
  readonly queueName: string;
  readonly visibilityTimeout: Duration;
  readonly maxReceiveCount: number;
  readonly retention: Duration;
}

/** The FIFO queue with one message per object, and its dead-letter queue. */
export class TaskQueue extends Construct {
  readonly queue: Queue;
  readonly deadLetters: Queue;

  constructor(scope: Construct, id: string, { queueName, visibilityTimeout, maxReceiveCount, retention }: TaskQueueProps) {
    super(scope, id);
    const common = {
      fifo: true,
      // The coordinator sets each message's deduplication ID. A hash of the body would drop a second run's messages.
      contentBasedDeduplication: false,
      // High throughput requires deduplication per message group:
      // https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/high-throughput-fifo.html
      deduplicationScope: DeduplicationScope.MESSAGE_GROUP,
      fifoThroughputLimit: FifoThroughputLimit.PER_MESSAGE_GROUP_ID,
      encryption: QueueEncryption.SQS_MANAGED,
      enforceSSL: true,
    };
    // An explicit name: the queues refer to each other, and references cannot be circular.
    const queueArn = Stack.of(this).formatArn({ service: 'sqs', resource: queueName });
    this.deadLetters = new Queue(this, 'DeadLetters', {
      ...common,
      retentionPeriod: Duration.days(14),
      redriveAllowPolicy: { sourceQueues: [Queue.fromQueueArn(this, 'Source', queueArn)] },
    });
    this.queue = new Queue(this, 'Queue', {
      ...common,
      queueName,
      visibilityTimeout,
      retentionPeriod: retention,
      deadLetterQueue: { queue: this.deadLetters, maxReceiveCount },
      redriveAllowPolicy: { redrivePermission: RedrivePermission.DENY_ALL },
    });
  }
}
