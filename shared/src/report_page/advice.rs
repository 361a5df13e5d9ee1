//! What to do about a failed object, in short. docs/operations.md has a section for each, with causes and commands.

/// The advice for one kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advice {
    /// A part of the error.
    pub error: &'static str,
    /// What to do.
    pub fix: &'static str,
}

const fn advice(error: &'static str, fix: &'static str) -> Advice {
    Advice { error, fix }
}

/// One for each section of "Objects that failed" in docs/operations.md. The first that fits an error applies, so causes come
/// before the errors that they have in common.
pub const ADVICE: &[Advice] = &[
    advice("a bug in Flowherd", "Report it with the line of the panic and, if possible, the object."),
    advice("a key with an empty part", "Report it: a directory has no such key."),
    advice("its name is not UTF-8", "Rename the file, then resume."),
    advice("cannot be listed", "Remove the link or correct permissions, then resume."),
    advice(
        "has changed since it was listed",
        "Wait until nothing writes the object, then resume or redrive.",
    ),
    advice("truncated:", "Fetch the object again, then resume or redrive."),
    advice("corrupt:", "Fetch the object again, then resume or redrive."),
    advice("unsupported:", "Write the object without this feature of its format, then resume or redrive."),
    advice("too large a window:", "Compress the object again with ordinary options, then resume or redrive."),
    advice("not text:", "Have the logs delivered as text, or exclude these keys from the prefix."),
    advice(
        "data in text at byte",
        "Give each source its own stream, and split existing objects at that byte.",
    ),
    advice("too deep:", "Raise limits.max_layers, or decompress the object once."),
    advice("envelope too large:", "Raise limits.max_envelope_bytes, or write smaller envelopes."),
    advice("decompression bomb:", "If the object is a log, raise limits.max_decode_ratio."),
    advice(
        "too many rejects:",
        "Run flowherd explain on the object, then correct the rule or raise the limit.",
    ),
    advice("too large:", "Raise limits.max_decoded_bytes, or split the object."),
    advice("correct the header line", "Correct the header line of the W3C log, or exclude the object."),
    advice(
        "the header line names",
        "Copy the complete fields from the error into the rule, or correct the file.",
    ),
    advice("cannot write", "Free space, correct permissions or shorten the key, then resume or redrive."),
    advice("cannot read the source after", "Remove the cause that the error names, then resume or redrive."),
];

/// Returns the advice for an error; `None` if it is not an error of an object.
pub(super) fn for_error(error: &str) -> Option<&'static Advice> {
    ADVICE.iter().find(|advice| error.contains(advice.error))
}
