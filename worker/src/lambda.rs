//! The worker as a Lambda function behind the queue: a batch of messages in, those that are not done out.

use std::{
    sync::Mutex,
    thread,
    time::{Duration, SystemTime},
};

use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use flowherd_aws::Aws;
use flowherd_shared::{
    queue::Queue,
    store::{Source, Store},
};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use tracing::info;

use crate::{
    event::groups,
    settings::Settings,
    tasks::{Answer, Limit, Tasks},
};

/// What is not read by then before the function's end is given back: enough for the last uploads and the queue's answer.
const MARGIN: Duration = Duration::from_secs(10);
/// Objects at once: while one waits for S3, another has the processor.
const CONCURRENCY: usize = 2;

/// Serves invocations for ever. Everything is connected once for all of them.
pub(crate) fn run(settings: &Settings, aws: &Aws) -> Result<(), Error> {
    let source = settings.find_source(aws)?;
    let results = aws.bucket(&settings.results_bucket, settings.results_bucket_owner.as_deref());
    let queue = aws.queue(&settings.queue_url);
    // Only a process that lives longer than the visibility needs to renew it, and the function's timeout is shorter:
    // AWS refuses the trigger otherwise.
    let visibility = Duration::from_hours(12);
    let mut tasks = Tasks::new((&settings.source_bucket, &source), &results, (&queue, visibility));
    tasks.metrics_of = Some(settings.queue_name());
    tasks.acknowledges = false;
    let concurrency = settings.concurrency.map_or(CONCURRENCY, |number| usize::from(number.get()));
    let serve = service_fn(|event: LambdaEvent<SqsEvent>| {
        let deadline = event.context.deadline();
        // The work blocks; the runtime's other threads serve its connections meanwhile.
        let answer =
            tokio::task::block_in_place(|| batch(&tasks, event.payload.records, deadline, concurrency));
        async move { Ok::<_, Error>(answer) }
    });
    aws.handle().block_on(lambda_runtime::run(serve))
}

/// Works on the messages of one invocation, and names those that must be delivered again. Their visibility is set
/// already, so that they come when they should.
pub fn batch<I: Source, O: Store, Q: Queue>(
    tasks: &Tasks<'_, I, O, Q>,
    messages: Vec<SqsMessage>,
    deadline: SystemTime,
    concurrency: usize,
) -> SqsBatchResponse {
    let may_go_on = || {
        let left = deadline.duration_since(SystemTime::now()).unwrap_or_default();
        if left < MARGIN { Err(Limit::Deadline) } else { Ok(()) }
    };
    info!(messages = messages.len(), "batch");
    let groups = Mutex::new(groups(messages).into_iter());
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..concurrency {
            scope.spawn(|| {
                while let Some(group) = groups.lock().ok().and_then(|mut groups| groups.next()) {
                    for message in group {
                        let answer = tasks.answer(&message, &may_go_on);
                        if answer != Answer::Done
                            && let Ok(mut failures) = failures.lock()
                        {
                            failures.push(message.id);
                        }
                    }
                }
            });
        }
    });
    let failed = |id| {
        let mut failure = BatchItemFailure::default();
        failure.item_identifier = id;
        failure
    };
    let mut response = SqsBatchResponse::default();
    response.batch_item_failures =
        failures.into_inner().unwrap_or_default().into_iter().map(failed).collect();
    response
}
