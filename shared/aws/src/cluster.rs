//! The connection to a search cluster: credentials from the environment or from Secrets Manager, and the CA file.

use std::{fs::File, time::Duration};

use aws_credential_types::provider::error::CredentialsError;
use flowherd_indexer::settings::{Auth, ClusterSettings, SigningService};
use flowherd_shared::{
    cluster::{AuthKind, ClusterOptions, SigningName},
    error::error_chain,
    store::{Cause, Store, StoreError, read_limited},
};
use serde::Deserialize;

use crate::{Aws, secrets, secrets::SecretError};

/// The user, if no secret has the credentials.
pub const USER: &str = "FLOWHERD_CLUSTER_USER";
/// The password, if no secret has the credentials.
pub const PASSWORD: &str = "FLOWHERD_CLUSTER_PASSWORD";
/// The API key, if no secret has it.
pub const API_KEY: &str = "FLOWHERD_CLUSTER_API_KEY";

/// Maximum bytes of a CA file.
const MAX_CA_BYTES: u64 = 1 << 20;

/// Why the connection to a cluster cannot be set up. Shows no credentials.
#[derive(Debug, thiserror::Error)]
pub enum ClusterConnectError {
    /// The settings, the secret or the CA file must be changed.
    #[error("{0}")]
    Refused(String),
    /// The secret or the CA file cannot be read now.
    #[error("cannot read the {what} of the search cluster")]
    Unavailable {
        /// What is read.
        what: &'static str,
        /// The cause.
        source: Cause,
    },
}

/// The text of a secret: user and password, as those that Amazon RDS and OpenSearch use, or an API key.
#[derive(Deserialize)]
struct SecretText {
    username: Option<String>,
    password: Option<String>,
    #[serde(rename = "apiKey")]
    api_key: Option<String>,
}

impl Aws {
    /// Returns the settings of the connection to a cluster. `variable` returns the value of an environment variable.
    ///
    /// # Errors
    /// [`ClusterConnectError`] by what the caller can do about it.
    pub fn cluster(
        &self,
        options: &ClusterOptions,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<ClusterSettings, ClusterConnectError> {
        let mut settings = ClusterSettings::new(options.url.as_str());
        settings.auth = self.auth(options, variable)?;
        settings.ca_pem = options.ca.as_deref().map(|ca| self.ca(ca)).transpose()?;
        settings.insecure = options.insecure;
        if let Some(requests) = options.requests {
            settings.max_in_flight = usize::from(requests);
        }
        if let Some(bytes) = options.bulk_bytes {
            settings.bulk_bytes = bytes as usize;
        }
        // A worker pauses as a whole during an outage, so a single object need not wait for long.
        settings.unavailable_limit = Duration::from_secs(30);
        settings.validate().map_err(|error| ClusterConnectError::Refused(error.to_string()))?;
        Ok(settings)
    }

    fn auth(
        &self,
        options: &ClusterOptions,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Auth, ClusterConnectError> {
        let refused = |why: String| ClusterConnectError::Refused(why);
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let missing = |names: &str, member: &str| {
            refused(format!(
                "no credentials for the cluster: set {names}, or secret to the ARN of a secret with {member}"
            ))
        };
        match options.auth {
            AuthKind::None => Ok(Auth::None),
            AuthKind::SigV4 => {
                let region =
                    options.region.clone().or_else(|| self.config().region().map(ToString::to_string));
                let region = region.ok_or_else(|| {
                    refused(
                        "no region for auth \"sigv4\"; set region of the cluster, or AWS_REGION".to_owned(),
                    )
                })?;
                let credentials = self
                    .config()
                    .credentials_provider()
                    .ok_or_else(|| refused(error_chain(&CredentialsError::not_loaded_no_source())))?;
                let service = match options.service.unwrap_or_default() {
                    SigningName::Es => SigningService::Es,
                    SigningName::Aoss => SigningService::Aoss,
                };
                Ok(Auth::SigV4 { service, region, credentials })
            }
            AuthKind::Basic => {
                let from_secret = self.secret(options)?.map(|secret| parse_user(&secret));
                let from_variables = || variable(USER).zip(variable(PASSWORD));
                match from_secret {
                    Some(Some((user, password))) => Ok(Auth::Basic { user, password }),
                    Some(None) => Err(refused(
                        "the secret of the cluster is not JSON with username and password".to_owned(),
                    )),
                    None => {
                        let (user, password) = from_variables().ok_or_else(|| {
                            missing(&format!("{USER} and {PASSWORD}"), "username and password")
                        })?;
                        Ok(Auth::Basic { user, password })
                    }
                }
            }
            AuthKind::ApiKey => {
                let key = match self.secret(options)? {
                    Some(secret) => Some(parse_key(secret)),
                    None => variable(API_KEY),
                };
                key.map(Auth::ApiKey).ok_or_else(|| missing(API_KEY, "apiKey"))
            }
        }
    }

    fn secret(&self, options: &ClusterOptions) -> Result<Option<String>, ClusterConnectError> {
        let Some(secret) = &options.secret else { return Ok(None) };
        let read = self.handle().block_on(secrets::read(self.config(), secret));
        read.map(Some).map_err(|error: SecretError| {
            if error.can_retry() {
                ClusterConnectError::Unavailable { what: "secret", source: error.into() }
            } else {
                ClusterConnectError::Refused(error_chain(&error))
            }
        })
    }

    /// Reads the CA file from a path or from `s3://bucket/key`.
    fn ca(&self, location: &str) -> Result<Vec<u8>, ClusterConnectError> {
        let refused = |why: String| ClusterConnectError::Refused(format!("CA file {location}: {why}"));
        let read = match location.strip_prefix("s3://").and_then(|path| path.split_once('/')) {
            Some((bucket, key)) => {
                let found = self.bucket(bucket, None).get_limited(key, MAX_CA_BYTES);
                found.and_then(|bytes| bytes.ok_or_else(|| StoreError::NotFound("it does not exist".into())))
            }
            None => File::open(location)
                .map_err(StoreError::from_file_error)
                .and_then(|file| read_limited(file, location, MAX_CA_BYTES)),
        };
        read.map_err(|error| match error {
            StoreError::Transient(source) => ClusterConnectError::Unavailable { what: "CA file", source },
            error => refused(error_chain(&error)),
        })
    }
}

/// Returns user and password of a secret.
fn parse_user(secret: &str) -> Option<(String, String)> {
    let SecretText { username, password, .. } = serde_json::from_str(secret).ok()?;
    username.zip(password)
}

/// Returns the API key of a secret: its member `apiKey`, or the whole text.
fn parse_key(secret: String) -> String {
    match serde_json::from_str(&secret) {
        Ok(SecretText { api_key: Some(key), .. }) => key,
        _ => secret,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_has_user_and_password_or_an_api_key() {
        let user = r#"{"username":"u","password":"p","host":"x"}"#;
        assert_eq!(parse_user(user), Some(("u".to_owned(), "p".to_owned())));
        assert_eq!(parse_user("u:p"), None);
        assert_eq!(parse_key(r#"{"apiKey":"k"}"#.to_owned()), "k");
        assert_eq!(parse_key("a2V5".to_owned()), "a2V5");
    }

    #[test]
    fn credentials_come_from_the_environment_and_missing_ones_are_named() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let config = aws_config::SdkConfig::builder().build();
        let aws = Aws::with(runtime, config);
        let options = |auth: &str| {
            ClusterOptions::parse(&format!(r#"{{"url":"https://search.example.com","auth":"{auth}"}}"#))
                .unwrap()
        };
        let given = |name: &str| Some(format!("value-of-{name}"));
        let basic = aws.cluster(&options("basic"), &given).unwrap();
        let Auth::Basic { user, password } = &basic.auth else { panic!("{:?}", basic.auth) };
        assert_eq!(
            (user.as_str(), password.as_str()),
            ("value-of-FLOWHERD_CLUSTER_USER", "value-of-FLOWHERD_CLUSTER_PASSWORD")
        );
        for (auth, named) in [("basic", USER), ("api-key", API_KEY), ("sigv4", "AWS_REGION")] {
            let error = aws.cluster(&options(auth), &|_| None).unwrap_err();
            assert!(error.to_string().contains(named), "{auth}: {error}");
        }
        let http = ClusterOptions::parse(r#"{"url":"http://search.example.com"}"#).unwrap();
        assert!(aws.cluster(&http, &|_| None).unwrap_err().to_string().contains("not encrypted"));
    }
}
