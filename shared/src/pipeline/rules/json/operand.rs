//! The values that a filter of a JSONPath query compares.

use std::borrow::Cow;

use super::tape::At;

/// The value of an operand.
#[derive(Debug, PartialEq)]
pub(super) enum Value<'a> {
    Nothing,
    Null,
    Bool(bool),
    Number(f64),
    Text(Cow<'a, [u8]>),
    /// An array or object.
    Container(At),
}

/// Numbers are compared as 64-bit floating-point numbers (RFC 9535 section 2.3.5.2.2, RFC 8259 section 6).
pub(super) fn number(raw: &[u8]) -> Option<f64> {
    std::str::from_utf8(raw).ok()?.parse().ok()
}

pub(super) fn is_less(left: &Value<'_>, right: &Value<'_>) -> bool {
    match (left, right) {
        (Value::Number(one), Value::Number(other)) => one < other,
        // The order of UTF-8 is that of the characters.
        (Value::Text(one), Value::Text(other)) => one < other,
        _ => false,
    }
}
