//! Reads a secret of AWS Secrets Manager
//! (<https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html>). Its SDK would be one more crate
//! for one request.

use std::{
    error::Error,
    time::{Duration, SystemTime},
};

use aws_config::SdkConfig;
use aws_credential_types::provider::{ProvideCredentials, error::CredentialsError};
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4::SigningParams,
};
use aws_smithy_http_client::default_connector;
use aws_smithy_runtime_api::client::{
    http::{HttpConnector, HttpConnectorSettings},
    orchestrator::HttpRequest,
};
use aws_smithy_types::{body::SdkBody, byte_stream::ByteStream};
use flowherd_shared::backoff;
use serde::Deserialize;
use serde_json::json;

use crate::{api::domain, connect::endpoint};

const CONNECT: Duration = Duration::from_secs(10);
const ATTEMPT: Duration = Duration::from_secs(20);

/// A secret has at most 64 KiB (<https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html>).
const MAX_RESPONSE_BYTES: usize = 256 << 10;
const ATTEMPTS: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// Why a secret cannot be read. No variant has its value.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Neither the ARN nor the environment names a region.
    #[error("no region for secret {secret}; set AWS_REGION, or use the ARN of the secret")]
    NoRegion {
        /// The secret.
        secret: String,
    },
    /// No credentials, or they cannot be loaded.
    #[error("cannot load the credentials for Secrets Manager; check the profile and the role")]
    Credentials(#[source] CredentialsError),
    /// Secrets Manager refuses the request.
    #[error(
        "cannot read secret {secret}: {code}: {message}; check its ARN, and the permissions secretsmanager:GetSecretValue and kms:Decrypt"
    )]
    Refused {
        /// The secret.
        secret: String,
        /// The error code.
        code: String,
        /// The message.
        message: String,
    },
    /// No response, or none that can be used.
    #[error("cannot read secret {secret}: no response from {endpoint}; check the network")]
    NoResponse {
        /// The secret.
        secret: String,
        /// The URL of the server.
        endpoint: String,
        /// The cause.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The secret is binary.
    #[error("secret {secret} has no text; store user and password, or the API key, as a text")]
    NoText {
        /// The secret.
        secret: String,
    },
}

impl SecretError {
    /// Returns whether a later attempt can succeed.
    #[must_use]
    pub fn can_retry(&self) -> bool {
        matches!(self, Self::NoResponse { .. } | Self::Credentials(_))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    secret_string: Option<String>,
}

#[derive(Deserialize)]
struct ErrorAnswer {
    #[serde(rename = "__type", default)]
    code: String,
    #[serde(alias = "Message", default)]
    message: String,
}

/// Returns the text of a secret by its ARN.
pub(crate) async fn read(config: &SdkConfig, secret: &str) -> Result<String, SecretError> {
    let named = || secret.to_owned();
    let of_arn = secret.split(':').nth(3).filter(|region| !region.is_empty());
    let region = of_arn.map(str::to_owned).or_else(|| config.region().map(ToString::to_string));
    let region = region.ok_or_else(|| SecretError::NoRegion { secret: named() })?;
    let url = endpoint(config, "Secrets Manager")
        .unwrap_or_else(|| format!("https://secretsmanager.{region}.{}/", domain(&region)));
    let no_response = |source: Box<dyn Error + Send + Sync>| SecretError::NoResponse {
        secret: named(),
        endpoint: url.clone(),
        source,
    };
    let mut attempt = 1;
    let (status, bytes) = loop {
        let answered = tokio::time::timeout(ATTEMPT, exchange(config, &region, &url, secret)).await;
        match answered.unwrap_or_else(|elapsed| Err(Failure::Exchange(elapsed.into()))) {
            Ok((status, bytes)) if status < 500 && status != 429 => break (status, bytes),
            Ok((status, _)) if attempt >= ATTEMPTS => {
                return Err(no_response(format!("HTTP {status}").into()));
            }
            Err(Failure::Exchange(error)) if attempt >= ATTEMPTS => return Err(no_response(error)),
            Err(Failure::Credentials(error)) => return Err(SecretError::Credentials(error)),
            Ok(_) | Err(Failure::Exchange(_)) => {}
        }
        tokio::time::sleep(backoff::pause(FIRST_PAUSE, MAX_PAUSE, attempt, secret)).await;
        attempt += 1;
    };
    if status == 200 {
        let answer: Answer = serde_json::from_slice(&bytes).map_err(|error| no_response(error.into()))?;
        return answer.secret_string.ok_or_else(|| SecretError::NoText { secret: named() });
    }
    let ErrorAnswer { code, message } = serde_json::from_slice(&bytes)
        .unwrap_or_else(|_| ErrorAnswer { code: format!("HTTP {status}"), message: String::new() });
    // The code may have the name space of the service before it.
    let code = code.rsplit('#').next().unwrap_or(&code).to_owned();
    Err(SecretError::Refused { secret: named(), code, message })
}

enum Failure {
    Credentials(CredentialsError),
    Exchange(Box<dyn Error + Send + Sync>),
}

impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Exchange(error.into())
    }
}

/// Sends the request once. Returns status and body.
async fn exchange(
    config: &SdkConfig,
    region: &str,
    url: &str,
    secret: &str,
) -> Result<(u16, Vec<u8>), Failure> {
    let provider = config.credentials_provider();
    let provider = provider.ok_or_else(|| Failure::Credentials(CredentialsError::not_loaded_no_source()))?;
    let credentials = provider.provide_credentials().await.map_err(Failure::Credentials)?;
    let identity = credentials.into();
    let params = SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("secretsmanager")
        .time(SystemTime::now())
        .settings(SigningSettings::default())
        .build()?
        .into();
    let body = json!({ "SecretId": secret }).to_string();
    let headers =
        [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", "secretsmanager.GetSecretValue")];
    let signable = SignableBody::Bytes(body.as_bytes());
    let signable = SignableRequest::new("POST", url, headers.into_iter(), signable)?;
    let (instructions, _) = sign(signable, &params)?.into_parts();
    let request = http::Request::post(url);
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let mut request = request.body(SdkBody::from(body.clone()))?;
    instructions.apply_to_request_http1x(&mut request);
    let settings = HttpConnectorSettings::builder().connect_timeout(CONNECT).read_timeout(ATTEMPT).build();
    let connector = default_connector(&settings, config.sleep_impl()).ok_or("no HTTP client")?;
    let response = connector.call(HttpRequest::try_from(request)?).await?;
    let status = response.status().as_u16();
    let mut bytes = Vec::new();
    let mut content = ByteStream::new(response.into_body());
    while let Some(piece) = content.next().await {
        bytes.extend_from_slice(&piece?);
        if bytes.len() > MAX_RESPONSE_BYTES {
            return Err("the response is too large".into());
        }
    }
    Ok((status, bytes))
}
