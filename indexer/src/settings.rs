//! Settings of the connection to a cluster.

use std::{fmt, time::Duration};

use aws_credential_types::provider::SharedCredentialsProvider;

/// The connection to a cluster, and the size of its requests. `Debug` never shows credentials.
#[derive(Clone, Debug)]
pub struct ClusterSettings {
    /// The address, such as `https://search.example.com:9200`. May have a path, under which a proxy serves the cluster.
    pub url: String,
    /// How requests authenticate.
    pub auth: Auth,
    /// Certificates of authorities in PEM form, instead of those of the system.
    pub ca_pem: Option<Vec<u8>>,
    /// Whether the address may be `http` outside of this machine.
    pub insecure: bool,
    /// Maximum bytes of the documents of one request before compression.
    pub bulk_bytes: usize,
    /// Maximum documents of one request.
    pub bulk_rows: usize,
    /// Maximum requests that run at the same time.
    pub max_in_flight: usize,
    /// Time for one request, from the connection to the last byte of the answer.
    pub request_timeout: Duration,
    /// How long the cluster may be unavailable before [`IndexError::Unavailable`](crate::job::IndexError::Unavailable).
    pub unavailable_limit: Duration,
}

/// How requests authenticate.
#[derive(Clone)]
pub enum Auth {
    /// Not at all.
    None,
    /// User and password.
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// An API key in the encoded form, as the cluster returns it.
    ApiKey(String),
    /// AWS Signature Version 4.
    SigV4 {
        /// The service of the endpoint.
        service: SigningService,
        /// The region of the endpoint.
        region: String,
        /// The credentials. The provider caches and renews them.
        credentials: SharedCredentialsProvider,
    },
}

/// The name of the service in signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SigningService {
    /// Amazon OpenSearch Service.
    Es,
    /// Amazon OpenSearch Serverless.
    Aoss,
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Basic { .. } => "Basic",
            Self::ApiKey(_) => "ApiKey",
            Self::SigV4 { service: SigningService::Es, .. } => "SigV4(es)",
            Self::SigV4 { service: SigningService::Aoss, .. } => "SigV4(aoss)",
        })
    }
}

impl ClusterSettings {
    /// Returns settings with the default sizes and no authentication.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            auth: Auth::None,
            ca_pem: None,
            insecure: false,
            bulk_bytes: 5 << 20,
            bulk_rows: 10_000,
            max_in_flight: 4,
            request_timeout: Duration::from_secs(60),
            unavailable_limit: Duration::from_secs(120),
        }
    }
}
