//! The worker as a Lambda function of the queue. Receives a batch of messages and returns those that are not done.

use std::{
    ops::ControlFlow,
    sync::OnceLock,
    time::{Duration, SystemTime},
};

use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use flowherd_aws::Aws;
use flowherd_shared::{
    error::error_chain,
    queue::Queue,
    store::{Source, Store},
};
use jiff::{SignedDuration, Timestamp};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use tracing::{debug, error};

use crate::{
    checks::Connected,
    event::{self, EventError},
    handler::{Disposition, MessageHandler},
    processor::StopReason,
    settings::Settings,
};

/// Time before the end of an invocation in which no object begins or continues. It is enough for the last uploads and the
/// calls to the queue.
const MARGIN: SignedDuration = SignedDuration::from_secs(10);
/// Time before the end of an invocation at which every request ends, so that the function can still return its response.
const RESERVE: Duration = Duration::from_secs(2);
/// Number of concurrent objects: while one waits for S3, another uses the processor.
const CONCURRENCY: usize = 2;
/// Lambda sets the visibility timeout, and it must be at least the function's timeout
/// (<https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html>), so the worker does not extend it.
const NEVER_EXTENDED: Duration = Duration::from_hours(12);

/// Serves invocations until the process ends. All invocations share the connections.
pub(crate) fn run(settings: &Settings, aws: &Aws) -> Result<(), Error> {
    let connected = OnceLock::new();
    let serve = service_fn(|event: LambdaEvent<SqsEvent>| {
        let deadline = event.context.deadline();
        // The work blocks. The other threads of the runtime serve its connections meanwhile.
        let response = tokio::task::block_in_place(|| {
            invoke(settings, aws, &connected, event.payload.records, deadline)
        });
        async move { response }
    });
    aws.handle().block_on(lambda_runtime::run(serve))
}

/// Serves one invocation. Checks the buckets and the queue first. Until the check succeeds, every batch fails as a whole.
fn invoke(
    settings: &Settings,
    aws: &Aws,
    connected: &OnceLock<Connected>,
    messages: Vec<SqsMessage>,
    deadline: SystemTime,
) -> Result<SqsBatchResponse, Error> {
    aws.time_limit().set(Some(deadline - RESERVE));
    let Connected { source, results, queue, attributes } = if let Some(connected) = connected.get() {
        connected
    } else {
        let checked = Connected::new(settings, aws).map_err(|problem| {
            let problem = error_chain(&*problem);
            error!(error = problem, "cannot work");
            Error::from(problem)
        })?;
        connected.get_or_init(|| checked)
    };
    let mut handler =
        MessageHandler::new((&settings.common.source_bucket, source), results, (queue, NEVER_EXTENDED));
    handler.metrics_queue = Some(settings.queue_name());
    handler.max_deliveries = attributes.redrive.as_ref().map(|redrive| redrive.max_receive_count);
    handler.deletes_messages = false;
    let concurrency = settings.concurrency.map_or(CONCURRENCY, |number| usize::from(number.get()));
    let deadline = Timestamp::try_from(deadline)?;
    batch(&handler, messages, deadline, concurrency).map_err(|problem| {
        error!(error = %problem, "cannot read the event");
        problem.into()
    })
}

/// Handles the messages of one invocation. Returns those that SQS must deliver again: all messages that are not known to be
/// done. Their visibility timeouts are already set
/// (<https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html>).
pub fn batch<I: Source, O: Store, Q: Queue>(
    handler: &MessageHandler<'_, I, O, Q>,
    messages: Vec<SqsMessage>,
    deadline: Timestamp,
    concurrency: usize,
) -> Result<SqsBatchResponse, EventError> {
    let messages = event::messages(messages)?;
    let ids: Vec<String> = messages.iter().map(|message| message.id.clone()).collect();
    debug!(messages = ids.len(), "batch");
    let has_time = || {
        let remaining = deadline.duration_since((handler.clock)());
        if remaining < MARGIN { ControlFlow::Break(StopReason::Deadline) } else { ControlFlow::Continue(()) }
    };
    let dispositions = handler.batch(messages, concurrency, &|| true, &has_time);
    let failed =
        ids.into_iter().zip(dispositions).filter(|(_, disposition)| *disposition != Some(Disposition::Ack));
    let mut response = SqsBatchResponse::default();
    response.batch_item_failures = failed
        .map(|(id, _)| {
            let mut failure = BatchItemFailure::default();
            failure.item_identifier = id;
            failure
        })
        .collect();
    Ok(response)
}
