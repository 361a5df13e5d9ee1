//! Checks whether AWS accepts recorded requests. The local cloud accepts more than AWS.
//!
//! [`model`] maps each request to an operation of the service's own model, [`rules`] holds the limits that AWS documents
//! outside of its models, [`policy`] evaluates the roles of the stack's template.

pub mod model;
pub mod policy;
pub mod rules;
mod xml;

use serde_json::{Map, Value};

/// One request, as the service's model understands it.
#[derive(Clone, Debug)]
pub struct Call {
    /// `s3` or `sqs`.
    pub service: &'static str,
    /// The operation, such as `PutObject`.
    pub operation: String,
    /// The operation's input, by member name. A streamed body is not part of it.
    pub input: Map<String, Value>,
    /// Length of the request's body.
    pub body_bytes: usize,
}

impl Call {
    /// Returns a member that is a string.
    #[must_use]
    pub fn text(&self, member: &str) -> Option<&str> {
        self.input.get(member)?.as_str()
    }

    /// Returns a member that is a number.
    #[must_use]
    pub fn number(&self, member: &str) -> Option<i64> {
        self.input.get(member)?.as_i64()
    }

    /// Returns the keys of a `DeleteObjects`.
    #[must_use]
    pub fn deleted_keys(&self) -> Vec<&str> {
        let objects = self.input.get("Delete").and_then(|delete| delete["Objects"].as_array());
        let objects = objects.map_or(&[][..], Vec::as_slice);
        objects.iter().filter_map(|object| object["Key"].as_str()).collect()
    }

    /// Returns the elements of a member that is a list of structures.
    #[must_use]
    pub fn list(&self, member: &str) -> &[Value] {
        self.input.get(member).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }
}
