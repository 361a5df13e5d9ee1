//! A time limit on all requests of a process that must end by a given time.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use aws_config::timeout::TimeoutConfig;
use aws_sdk_sqs::{
    config::{ConfigBag, Intercept, interceptors::BeforeSerializationInterceptorContextRef},
    error::BoxError,
};

/// The time by which every request must have ended, retries included. A clone is the same limit.
#[derive(Clone, Debug, Default)]
pub struct TimeLimit(Arc<Mutex<Option<SystemTime>>>);

impl TimeLimit {
    /// Applies to requests that begin from now on; `None` removes the limit.
    pub fn set(&self, until: Option<SystemTime>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }

    fn remaining(&self) -> Option<Duration> {
        let until = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        until.map(|until| until.duration_since(SystemTime::now()).unwrap_or(Duration::ZERO))
    }
}

/// Sets the operation timeout of each request to the remaining time
/// (<https://docs.aws.amazon.com/sdk-for-rust/latest/dg/timeouts.html>). The other timeouts of the client stay as they are.
#[derive(Debug)]
pub(crate) struct EndsInTime(pub(crate) TimeLimit);

impl Intercept for EndsInTime {
    fn name(&self) -> &'static str {
        "EndsInTime"
    }

    fn read_before_execution(
        &self,
        _: &BeforeSerializationInterceptorContextRef<'_>,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(remaining) = self.0.remaining() {
            // Zero would mean no timeout.
            let remaining = remaining.max(Duration::from_millis(1));
            config
                .interceptor_state()
                .store_put(TimeoutConfig::builder().operation_timeout(remaining).build());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use aws_config::{BehaviorVersion, Region};
    use flowherd_shared::{error::error_chain, queue::Queue, store::Store};
    use tokio::runtime::Runtime;

    use super::*;
    use crate::Aws;

    #[test]
    fn a_request_with_its_retries_ends_at_the_time_limit() {
        // It accepts connections and never answers.
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", silent.local_addr().unwrap());
        let runtime = Runtime::new().unwrap();
        let config = aws_config::defaults(BehaviorVersion::latest())
            .endpoint_url(&endpoint)
            .region(Region::new("us-east-1"))
            .test_credentials();
        let config = runtime.block_on(config.load());
        let aws = Aws::with(runtime, config);
        aws.time_limit().set(Some(SystemTime::now() + Duration::from_millis(200)));
        let queue = error_chain(&aws.queue(&format!("{endpoint}/1/q.fifo")).depth().unwrap_err());
        let bucket = error_chain(&Store::get(&aws.bucket("b", None), "k").unwrap_err());
        for error in [queue, bucket] {
            // The timeout of one attempt has another message, and the SDK retries after it.
            assert!(error.contains("operation timeout (all attempts including retries)"), "{error}");
        }
    }
}
