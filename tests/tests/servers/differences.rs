//! Where a server differs from AWS, so that a check leaves something out on it.

use flowherd_tests::servers::S3Server;

/// A known difference.
pub(crate) struct Difference {
    pub(crate) server: S3Server,
    /// What the checks leave out.
    pub(crate) what: &'static str,
    /// What the server does instead of AWS.
    pub(crate) why: &'static str,
}

pub(crate) const DIFFERENCES: &[Difference] = &[
    Difference {
        server: S3Server::Versitygw,
        what: r#"key "a//b""#,
        why: "keys are paths of a file system, where a//b is a/b",
    },
    Difference {
        server: S3Server::Versitygw,
        what: r#"key "a\u{1}\n\tb""#,
        why: "a listing replaces characters that XML cannot hold, although it was asked to encode keys",
    },
    Difference {
        server: S3Server::SeaweedFs,
        what: r#"key "a//b""#,
        why: "keys are paths of a file system, where a//b is a/b",
    },
];

/// Whether the checks leave something out on a server.
pub(crate) fn differs(server: S3Server, what: &str) -> bool {
    DIFFERENCES.iter().any(|difference| difference.server == server && difference.what == what)
}
