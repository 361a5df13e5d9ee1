//! Differences between servers and AWS. Checks skip them.

/// A known difference.
pub(crate) struct Difference {
    pub(crate) server: &'static str,
    /// What the checks skip.
    pub(crate) what: &'static str,
    /// How the server differs from AWS.
    pub(crate) why: &'static str,
}

pub(crate) const DIFFERENCES: &[Difference] = &[
    Difference {
        server: "versitygw",
        what: r#"key "a//b""#,
        why: "keys are paths of a file system, where a//b is a/b",
    },
    Difference {
        server: "versitygw",
        what: r#"key "a\u{1}\n\tb""#,
        why: "a listing replaces characters that XML cannot hold, although it was asked to encode keys",
    },
    Difference {
        server: "SeaweedFS",
        what: r#"key "a//b""#,
        why: "keys are paths of a file system, where a//b is a/b",
    },
    Difference {
        server: "SeaweedFS",
        what: r#"key "a\\b""#,
        why: "it takes a backslash for a slash; the key is then in a directory, which it lists before its neighbours",
    },
    Difference {
        server: "ElasticMQ",
        what: "deduplication within a group",
        why: "it knows no DeduplicationScope, and deduplicates over the whole queue",
    },
    Difference {
        server: "ElasticMQ",
        what: "a move task moves the messages of a FIFO queue",
        why: "it accepts StartMessageMoveTask, and reports the task as completed without moving any; the check moves them",
    },
    Difference {
        server: "ElasticMQ",
        what: "signatures",
        why: "it verifies none: only the servers of S3 refuse wrong credentials",
    },
];

/// Returns whether the checks skip something on a server.
pub(crate) fn differs(server: &str, what: &str) -> bool {
    DIFFERENCES.iter().any(|difference| difference.server == server && difference.what == what)
}
