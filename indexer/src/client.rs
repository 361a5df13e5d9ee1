//! Sends one request and returns its answer.

/// Why a request has no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {}
