//! Settings of the connection to a cluster.

use std::{fmt, net::IpAddr, time::Duration};

use aws_credential_types::provider::SharedCredentialsProvider;
use http::Uri;
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

/// Bounds of [`ClusterSettings::bulk_bytes`]. Small instances of Amazon OpenSearch Service accept requests of up to 10 MiB
/// (<https://docs.aws.amazon.com/opensearch-service/latest/developerguide/limits.html#network-limits>).
pub const BULK_BYTES: (usize, usize) = (1 << 10, 10 << 20);
/// Maximum of [`ClusterSettings::bulk_rows`]. An answer has up to 1 KiB for each row.
pub const MAX_BULK_ROWS: usize = 50_000;
/// Maximum of [`ClusterSettings::max_in_flight`].
pub const MAX_IN_FLIGHT: usize = 64;
/// Maximum bytes of the documents of all requests in flight, which bounds the memory of the process.
pub const MAX_IN_FLIGHT_BYTES: usize = 40 << 20;

/// The connection to a cluster, and the size of its requests. `Debug` never shows credentials.
#[derive(Clone, Debug)]
pub struct ClusterSettings {
    /// The address, such as `https://search.example.com:9200`. It may have the path at which a proxy serves the cluster.
    pub url: String,
    /// How requests authenticate.
    pub auth: Auth,
    /// CA certificates in PEM format, instead of those of the system.
    pub ca_pem: Option<Vec<u8>>,
    /// Whether the scheme may be `http` for another machine than this one.
    pub insecure: bool,
    /// Maximum bytes of the documents of one request before compression. A larger document is refused.
    pub bulk_bytes: usize,
    /// Maximum documents of one request.
    pub bulk_rows: usize,
    /// Maximum concurrent requests.
    pub max_in_flight: usize,
    /// Time for one request, from the connection to the last byte of the answer.
    pub request_timeout: Duration,
    /// How long the cluster may be unavailable before [`IndexError::Unavailable`](crate::job::IndexError::Unavailable).
    pub unavailable_limit: Duration,
    /// The first pause after a request that the cluster cannot accept. Each further pause is twice as long, with jitter.
    pub first_pause: Duration,
    /// The longest pause, unless the cluster asks for more with `Retry-After`.
    pub max_pause: Duration,
}

/// The address of a cluster: scheme, host, port and path, without a slash at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) url: String,
    pub(crate) is_encrypted: bool,
}

/// How requests authenticate.
#[derive(Clone)]
pub enum Auth {
    /// No authentication.
    None,
    /// User and password.
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// An API key, encoded as the cluster returns it.
    ApiKey(String),
    /// AWS Signature Version 4.
    SigV4 {
        /// The service of the endpoint.
        service: SigningService,
        /// The region of the endpoint.
        region: String,
        /// The credentials. The client loads them again before they expire.
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

impl SigningService {
    /// Returns the name, as in `auth = "sigv4"` settings and in signatures.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Es => "es",
            Self::Aoss => "aoss",
        }
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Basic { .. } => f.write_str("Basic"),
            Self::ApiKey(_) => f.write_str("ApiKey"),
            Self::SigV4 { service, .. } => write!(f, "SigV4({})", service.as_str()),
        }
    }
}

/// Every problem of the settings, one line each.
#[derive(Debug, thiserror::Error)]
#[error("the settings of the cluster are not valid: {}", .0.join("; "))]
pub struct SettingsError(pub Vec<String>);

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
            request_timeout: Duration::from_mins(1),
            unavailable_limit: Duration::from_mins(2),
            first_pause: Duration::from_millis(200),
            max_pause: Duration::from_secs(20),
        }
    }

    /// Returns an error with all problems of the settings.
    pub fn validate(&self) -> Result<(), SettingsError> {
        let mut problems = Vec::new();
        problems.extend(self.address().err());
        problems.extend(self.auth_problem());
        problems.extend(self.ca_pem.as_deref().and_then(|pem| authorities(pem).err()));
        let mut check = |name: &str, value: usize, min: usize, max: usize| {
            if !(min..=max).contains(&value) {
                problems.push(format!("{name} = {value}: must be from {min} to {max}"));
            }
        };
        check("bulk bytes", self.bulk_bytes, BULK_BYTES.0, BULK_BYTES.1);
        check("bulk rows", self.bulk_rows, 1, MAX_BULK_ROWS);
        check("requests in flight", self.max_in_flight, 1, MAX_IN_FLIGHT);
        if self.bulk_bytes.saturating_mul(self.max_in_flight) > MAX_IN_FLIGHT_BYTES {
            problems.push(format!(
                "bulk bytes = {} and requests in flight = {}: their product must be at most {MAX_IN_FLIGHT_BYTES}",
                self.bulk_bytes, self.max_in_flight
            ));
        }
        if self.request_timeout.is_zero() {
            problems.push("request timeout = 0: must be at least a second".to_owned());
        }
        if self.first_pause.is_zero() || self.first_pause > self.max_pause {
            problems.push("first pause: must be more than 0, and at most the longest pause".to_owned());
        }
        if problems.is_empty() { Ok(()) } else { Err(SettingsError(problems)) }
    }

    /// Returns the address for requests. The address may contain a password, so no problem quotes it.
    pub(crate) fn address(&self) -> Result<Address, String> {
        const EXAMPLE: &str = "expected an address such as \"https://search.example.com:9200\"";
        // Before parsing, because the parser ignores a fragment.
        if self.url.contains('@') {
            return Err(
                "cluster URL: must not contain a user, a password or `@`; set them as credentials".to_owned()
            );
        }
        if self.url.contains(['?', '#']) {
            return Err(format!("cluster URL: must not have a query or a fragment; {EXAMPLE}"));
        }
        let malformed = || format!("cluster URL: {EXAMPLE}");
        let uri: Uri = self.url.parse().map_err(|_| malformed())?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(malformed());
        };
        let (host, port) = (authority.host(), authority.port_u16());
        if host.is_empty() || (port.is_none() && authority.as_str() != host) {
            return Err(format!("cluster URL: the port must be a number from 0 to 65535; {EXAMPLE}"));
        }
        match scheme {
            "https" => {}
            "http" if self.insecure || is_loopback(host) => {}
            "http" => {
                return Err(format!(
                    "cluster URL: http to {host} is not encrypted; use https, or allow it with \"insecure\""
                ));
            }
            other => return Err(format!("cluster URL: the scheme {other} is unknown; {EXAMPLE}")),
        }
        let url = format!("{scheme}://{authority}{}", uri.path().trim_end_matches('/'));
        Ok(Address { url, is_encrypted: scheme == "https" })
    }

    fn auth_problem(&self) -> Option<String> {
        let is_header = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        match &self.auth {
            Auth::Basic { user, .. } if user.is_empty() || user.contains(':') => {
                Some("user: must not be empty or contain a colon".to_owned())
            }
            Auth::ApiKey(key) if !is_header(key) => {
                Some("API key: expected the encoded key, as the cluster returns it".to_owned())
            }
            Auth::SigV4 { region, .. } if !is_header(region) => {
                Some("region: expected a name such as \"eu-central-1\"".to_owned())
            }
            _ => None,
        }
    }
}

/// Whether a host is this machine.
fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || address.parse().is_ok_and(|address: IpAddr| address.to_canonical().is_loopback())
}

/// Returns an error unless all certificates of the PEM text can be trust anchors. The connector would panic on others.
fn authorities(pem: &[u8]) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| format!("CA file: not valid PEM: {error}"))?;
        roots.add(certificate).map_err(|error| format!("CA file: {error}"))?;
    }
    if roots.is_empty() { Err("CA file: contains no certificate in PEM form".to_owned()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(change: impl FnOnce(&mut ClusterSettings)) -> Vec<String> {
        let mut settings = ClusterSettings::new("https://search.example.com");
        change(&mut settings);
        settings.validate().map_or_else(|error| error.0, |()| Vec::new())
    }

    #[test]
    fn http_is_accepted_on_this_machine_only_unless_insecure() {
        for local in ["http://127.0.0.1:9200", "http://localhost:9200/path", "http://[::1]:9200"] {
            assert_eq!(problems(|settings| settings.url = local.into()), [""; 0], "{local}");
        }
        for remote in ["http://search.example.com", "http://127.example.com", "http://10.0.0.1:9200"] {
            assert!(
                problems(|settings| settings.url = remote.into())[0].contains("not encrypted"),
                "{remote}"
            );
            let insecure = |settings: &mut ClusterSettings| {
                settings.url = remote.into();
                settings.insecure = true;
            };
            assert_eq!(problems(insecure), [""; 0], "{remote}");
        }
    }

    #[test]
    fn an_address_with_a_password_is_refused_without_quoting_it() {
        let found = problems(|settings| settings.url = "https://user:hunter2@search.example.com".into());
        assert!(found.len() == 1 && found[0].contains("credentials"), "{found:?}");
        assert!(!found[0].contains("hunter2"), "{found:?}");
    }

    #[test]
    fn an_address_has_scheme_host_port_and_path_only() {
        for url in [
            "https://search.example.com/?x=1",
            "https://search.example.com#hunter2",
            "https://search.example.com/a#b@c",
            "https://search.example.com:port",
            "https://search.example.com:",
            "https://search.example.com:99999",
            "https://:9200",
            "https://a@b@search.example.com",
            "https:///path",
            "/path",
            "",
        ] {
            let found = problems(|settings| settings.url = url.into());
            assert!(found.len() == 1 && !found[0].contains("hunter2"), "{url}: {found:?}");
        }
        let address = ClusterSettings::new("HTTPS://search.example.com:9200/proxy/").address().unwrap();
        assert_eq!(
            address,
            Address { url: "https://search.example.com:9200/proxy".to_owned(), is_encrypted: true }
        );
    }

    #[test]
    fn debug_shows_no_credentials() {
        let mut settings = ClusterSettings::new("https://search.example.com");
        settings.auth = Auth::Basic { user: "writer".into(), password: "hunter2".into() };
        assert!(!format!("{settings:?}").contains("hunter2"));
        settings.auth = Auth::ApiKey("hunter2".into());
        assert!(!format!("{settings:?}").contains("hunter2"));
    }

    #[test]
    fn all_problems_are_reported_together() {
        let found = problems(|settings| {
            settings.url = "search.example.com:9200".into();
            settings.ca_pem =
                Some(b"-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n".to_vec());
            settings.bulk_bytes = 0;
            settings.bulk_rows = MAX_BULK_ROWS + 1;
            settings.max_in_flight = MAX_IN_FLIGHT + 1;
            settings.request_timeout = Duration::ZERO;
            settings.first_pause = Duration::ZERO;
            settings.auth = Auth::ApiKey("a b".into());
        });
        assert_eq!(found.len(), 8, "{found:#?}");
    }

    #[test]
    fn requests_in_flight_must_fit_the_memory() {
        let found = problems(|settings| settings.max_in_flight = 9);
        assert!(found.len() == 1 && found[0].contains("product"), "{found:?}");
        assert_eq!(problems(|settings| settings.max_in_flight = 8), [""; 0]);
    }

    #[test]
    fn a_file_without_certificates_is_refused() {
        assert!(
            problems(|settings| settings.ca_pem = Some(b"no certificate".to_vec()))[0].contains("CA file")
        );
    }
}
