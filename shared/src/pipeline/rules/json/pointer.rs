//! Steps of a JSON Pointer (RFC 6901).

/// Maximum steps of a path. Each step is a nested call.
pub(super) const MAX_STEPS: usize = 64;

/// Returns a step as a position in an array, if it is one.
pub(super) fn array_index(step: &str) -> Option<usize> {
    step.parse().ok().filter(|index: &usize| index.to_string() == step)
}
