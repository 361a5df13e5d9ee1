//! The authentication of requests.

use std::time::{Duration, SystemTime};

use aws_credential_types::{Credentials, provider::ProvideCredentials};
use aws_sigv4::{
    http_request::{
        PayloadChecksumKind, SignableBody, SignableRequest, SigningInstructions, SigningSettings, sign,
    },
    sign::v4::SigningParams,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::HeaderValue;
use tokio::sync::Mutex;

use super::ClientError;
use crate::settings::{Auth, SigningService};

/// The signer reloads credentials that expire sooner.
const EXPIRES_SOON: Duration = Duration::from_mins(5);

/// Adds credentials or a signature to requests.
#[derive(Debug)]
pub(super) struct Signer {
    auth: Auth,
    credentials: Mutex<Option<Credentials>>,
}

impl Signer {
    pub(super) fn new(auth: Auth) -> Self {
        Self { auth, credentials: Mutex::new(None) }
    }

    /// Returns the value of the header `Authorization`, marked as sensitive so that `Debug` does not show it.
    pub(super) fn header(&self) -> Result<Option<HeaderValue>, ClientError> {
        let value = match &self.auth {
            Auth::None | Auth::SigV4 { .. } => return Ok(None),
            Auth::Basic { user, password } => {
                format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
            }
            Auth::ApiKey(key) => format!("ApiKey {key}"),
        };
        let mut value = HeaderValue::try_from(value).map_err(|error| ClientError::Request(error.into()))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    /// Returns the signature of a request if the settings ask for one.
    pub(super) async fn sign(
        &self,
        method: &str,
        url: &str,
        headers: &[(&str, String)],
        body: &[u8],
    ) -> Result<Option<SigningInstructions>, ClientError> {
        let Auth::SigV4 { service, region, .. } = &self.auth else { return Ok(None) };
        let identity = self.credentials().await?.into();
        // Serverless collections refuse requests without the header
        // (<https://docs.aws.amazon.com/opensearch-service/latest/developerguide/serverless-clients.html#serverless-signing>).
        let mut settings = SigningSettings::default();
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| ClientError::Request(error);
        let params = SigningParams::builder()
            .identity(&identity)
            .region(region)
            .name(SigningService::as_str(*service))
            .time(SystemTime::now())
            .settings(settings)
            .build()
            .map_err(|error| failed(error.into()))?
            .into();
        let given = headers.iter().map(|(name, value)| (*name, &**value));
        let signable = SignableRequest::new(method, url, given, SignableBody::Bytes(body))
            .map_err(|error| failed(error.into()))?;
        let (instructions, _) = sign(signable, &params).map_err(|error| failed(error.into()))?.into_parts();
        Ok(Some(instructions))
    }

    async fn credentials(&self) -> Result<Credentials, ClientError> {
        let Auth::SigV4 { credentials: provider, .. } = &self.auth else {
            return Err(ClientError::Request("the settings have no AWS credentials".into()));
        };
        let mut loaded = self.credentials.lock().await;
        let expires_soon = |credentials: &Credentials| {
            credentials.expiry().is_some_and(|expiry| expiry < SystemTime::now() + EXPIRES_SOON)
        };
        if let Some(credentials) = loaded.as_ref().filter(|credentials| !expires_soon(credentials)) {
            return Ok(credentials.clone());
        }
        let credentials = provider.provide_credentials().await.map_err(ClientError::Credentials)?;
        *loaded = Some(credentials.clone());
        Ok(credentials)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_of_a_header_shows_no_credentials() {
        for auth in [
            Auth::Basic { user: "writer".to_owned(), password: "hunter2".to_owned() },
            Auth::ApiKey("aHVudGVyMg==".to_owned()),
        ] {
            let value = Signer::new(auth).header().unwrap().unwrap();
            assert!(value.is_sensitive());
            assert_eq!(format!("{value:?}"), "Sensitive");
        }
    }
}
