//! The HTTP client of a cluster: sends requests, and reads answers up to a limit.

mod error;
mod signer;

use std::{error::Error, time::Duration};

use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_http_client::{
    Connector,
    tls::{self, TlsContext, TrustStore, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::{
    http::{HttpConnector, HttpConnectorSettings},
    orchestrator::{HttpRequest, HttpResponse},
};
use aws_smithy_types::{body::SdkBody, byte_stream::ByteStream};
use http::header::AUTHORIZATION;
use tokio::time::timeout;

pub use error::ClientError;
pub(crate) use error::{BLOCKED, can_retry, hint, quoted};
use signer::Signer;

use crate::settings::{Address, ClusterSettings, SettingsError};

/// Timeout of connecting.
const CONNECT: Duration = Duration::from_secs(10);
/// Maximum bytes of an error's answer that an error message quotes.
const MAX_ERROR_BYTES: usize = 64 << 10;

/// An HTTP method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
}

impl Method {
    fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }
}

/// The body of a request.
#[derive(Clone, Debug)]
pub enum Body<'a> {
    /// No body.
    Empty,
    /// One JSON value.
    Json(&'a [u8]),
    /// Lines of JSON, compressed with gzip.
    GzipLines(Vec<u8>),
}

impl Body<'_> {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Empty => &[],
            Self::Json(bytes) => bytes,
            Self::GzipLines(bytes) => bytes,
        }
    }

    fn into_bytes(self) -> Vec<u8> {
        match self {
            Self::Empty => Vec::new(),
            Self::Json(bytes) => bytes.to_vec(),
            Self::GzipLines(bytes) => bytes,
        }
    }

    fn headers(&self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Empty => &[],
            Self::Json(_) => &[("content-type", "application/json")],
            Self::GzipLines(_) => &[("content-type", "application/x-ndjson"), ("content-encoding", "gzip")],
        }
    }
}

/// A complete answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// The pause of `Retry-After`, if the cluster asks for one.
    pub retry_after: Option<Duration>,
    /// The body, of at most the bytes that the request allows.
    pub body: Vec<u8>,
}

/// Sends requests to one cluster. Keeps connections open.
#[derive(Debug)]
pub struct Client {
    connector: Connector,
    /// Without a slash at the end.
    url: String,
    signer: Signer,
    request_timeout: Duration,
}

impl Client {
    /// Creates a client. Connects with the first request.
    pub fn new(settings: &ClusterSettings) -> Result<Self, SettingsError> {
        settings.validate()?;
        let Address { url, is_encrypted } =
            settings.address().map_err(|problem| SettingsError(vec![problem]))?;
        let trust = match &settings.ca_pem {
            Some(pem) => TrustStore::empty().with_pem_certificate(pem.clone()),
            None => TrustStore::default().with_native_roots(is_encrypted),
        };
        let invalid = |error: &dyn Error| SettingsError(vec![format!("CA file: {error}")]);
        let context =
            TlsContext::builder().with_trust_store(trust).build().map_err(|error| invalid(&error))?;
        let timeouts = HttpConnectorSettings::builder().connect_timeout(CONNECT).build();
        let connector = Connector::builder()
            .sleep_impl(TokioSleep::new())
            .connector_settings(timeouts)
            .pool_max_idle_per_host(settings.max_in_flight)
            .tls_provider(tls::Provider::Rustls(CryptoMode::AwsLc))
            .tls_context(context)
            .build();
        let signer = Signer::new(settings.auth.clone());
        Ok(Self { connector, url, signer, request_timeout: settings.request_timeout })
    }

    /// Returns the address of the cluster.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Sends one request and reads its whole answer. `path` begins with a slash and is percent-encoded. Returns answers of any
    /// status: the caller checks it.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: Body<'_>,
        max_response_bytes: usize,
    ) -> Result<Response, ClientError> {
        let request = self.request(method, path, body).await?;
        let exchange = async {
            let failed = |source: Box<dyn Error + Send + Sync>| ClientError::Connection {
                url: self.url.clone(),
                source,
            };
            let response = self.connector.call(request).await.map_err(|error| failed(error.into()))?;
            self.read(response, max_response_bytes).await
        };
        let exchanged = timeout(self.request_timeout, exchange).await;
        exchanged.unwrap_or_else(|_| {
            Err(ClientError::Timeout { url: self.url.clone(), seconds: self.request_timeout.as_secs() })
        })
    }

    /// Like [`Client::send`], but an answer with another status than 2xx is an error.
    pub async fn send_ok(
        &self,
        method: Method,
        path: &str,
        body: Body<'_>,
        max_response_bytes: usize,
    ) -> Result<Response, ClientError> {
        let response = self.send(method, path, body, max_response_bytes).await?;
        if (200..300).contains(&response.status) { Ok(response) } else { Err(ClientError::status(&response)) }
    }

    async fn request(&self, method: Method, path: &str, body: Body<'_>) -> Result<HttpRequest, ClientError> {
        let url = format!("{}{path}", self.url);
        let headers: Vec<(&str, String)> =
            body.headers().iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        let credentials = self.signer.header()?;
        let signature = self.signer.sign(method.as_str(), &url, &headers, body.bytes()).await?;
        let request = http::Request::builder().method(method.as_str()).uri(&url);
        let mut request = headers.iter().fold(request, |request, (name, value)| request.header(*name, value));
        if let Some(credentials) = credentials {
            request = request.header(AUTHORIZATION, credentials);
        }
        let mut request = request
            .body(SdkBody::from(body.into_bytes()))
            .map_err(|error| ClientError::Request(error.into()))?;
        if let Some(signature) = signature {
            signature.apply_to_request_http1x(&mut request);
        }
        HttpRequest::try_from(request).map_err(|error| ClientError::Request(error.into()))
    }

    async fn read(&self, response: HttpResponse, max_response_bytes: usize) -> Result<Response, ClientError> {
        let status = response.status().as_u16();
        let retry_after = response.headers().get("retry-after").and_then(retry_after);
        let is_success = response.status().is_success();
        let limit = if is_success { max_response_bytes } else { MAX_ERROR_BYTES };
        let mut body = Vec::new();
        let mut content = ByteStream::new(response.into_body());
        while let Some(piece) = content.next().await {
            let piece = piece
                .map_err(|error| ClientError::Connection { url: self.url.clone(), source: error.into() })?;
            if body.len() + piece.len() > limit {
                if is_success {
                    return Err(ClientError::ResponseTooLarge { limit });
                }
                // An error page of a proxy may be long. Its status and first bytes are enough.
                break;
            }
            body.extend_from_slice(&piece);
        }
        Ok(Response { status, retry_after, body })
    }
}

/// Reads `Retry-After` in seconds. Ignores the other format, a date, because it needs synchronized clocks
/// (<https://www.rfc-editor.org/rfc/rfc9110#name-retry-after>).
fn retry_after(value: &str) -> Option<Duration> {
    value.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_in_seconds() {
        assert_eq!(retry_after("7"), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Wed, 21 Oct 2026 07:28:00 GMT"), None);
        assert_eq!(retry_after("-1"), None);
    }
}
