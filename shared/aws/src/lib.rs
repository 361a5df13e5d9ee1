//! S3 and SQS as implementations of the ports of `shared`, names from EC2, rules of `EventBridge`, and the connection to a search
//! cluster. The ports block: each call waits for the SDK's future on the handle of the runtime, from a thread that is not one of
//! the runtime's own.

pub mod api;
pub mod cluster;
mod connect;
pub mod ec2;
mod environment;
pub mod events;
mod limit;
mod log;
pub mod s3;
pub mod secrets;
pub mod settings;
pub mod sqs;

pub use connect::Aws;
pub use environment::EnvironmentError;
pub use limit::TimeLimit;
pub use log::log_to_stderr;
