//! A client for the AWS APIs whose SDK crates would serve a request or two. It signs requests, and retries them if AWS throttles
//! them. It knows Query APIs, with form-encoded requests and XML responses
//! (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/Query-Requests.html>), and JSON APIs
//! (<https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html>).

mod response;

use std::{
    error::Error,
    time::{Duration, SystemTime},
};

use aws_config::SdkConfig;
use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, SharedCredentialsProvider, error::CredentialsError},
};
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4::SigningParams,
};
use aws_smithy_http_client::default_connector;
use aws_smithy_runtime_api::client::{
    http::{HttpConnector, HttpConnectorSettings, SharedHttpConnector},
    orchestrator::HttpRequest,
};
use aws_smithy_types::{body::SdkBody, byte_stream::ByteStream};
use flowherd_shared::backoff;
use roxmltree::Document;

pub(crate) use self::response::parse;
use crate::connect::endpoint;

/// Maximum bytes of a response. A page of 1,000 network interfaces with all their tags stays far below it.
const MAX_RESPONSE_BYTES: usize = 64 << 20;
/// Maximum pages of one action. More pages mean that the responses repeat.
const MAX_PAGES: usize = 10_000;
/// Maximum items of a page, for all actions of this client
/// (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeNetworkInterfaces.html>).
const PAGE_ITEMS: &str = "1000";
const CONNECT: Duration = Duration::from_secs(10);
/// Default time limit of one attempt.
const ATTEMPT: Duration = Duration::from_mins(1);
/// Credentials that expire sooner are loaded again.
const EXPIRES_SOON: Duration = Duration::from_mins(5);
/// Error codes of throttling.
const THROTTLES: [&str; 7] = [
    "RequestLimitExceeded",
    "EC2ThrottledException",
    "Throttling",
    "ThrottlingException",
    "RequestThrottled",
    "RequestThrottledException",
    "TooManyRequestsException",
];

/// Error codes of credentials that are not valid in the region
/// (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html>). A region that is not enabled does not know
/// the account (<https://docs.aws.amazon.com/accounts/latest/reference/manage-acct-regions.html>).
const UNKNOWN_CREDENTIALS: [&str; 4] =
    ["AuthFailure", "InvalidClientTokenId", "UnrecognizedClientException", "OptInRequired"];

/// Attempts of a request, and the pauses between them
/// (<https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html#api-backoff>).
#[derive(Clone, Copy, Debug)]
pub struct Retries {
    /// The first pause. Each is twice as long as the one before, with jitter.
    pub first: Duration,
    /// The longest pause.
    pub limit: Duration,
    /// Maximum attempts.
    pub attempts: u32,
    /// Time limit of an attempt.
    pub attempt: Duration,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(500),
            limit: Duration::from_secs(20),
            attempts: 8,
            attempt: ATTEMPT,
        }
    }
}

/// Why a request has no response that can be used.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Neither the command nor the environment nor the profile names a region.
    #[error("no region; add --region, such as --region eu-west-1, or set AWS_REGION")]
    NoRegion,
    /// No credentials, or they cannot be loaded.
    #[error("cannot load the credentials; check the profile and the role")]
    Credentials(#[source] CredentialsError),
    /// AWS refuses the request.
    #[error("{action} is refused: {code}: {message}{hint}")]
    Refused {
        /// The action, such as `DescribeSubnets`.
        action: &'static str,
        /// AWS's error code.
        code: String,
        /// AWS's message.
        message: String,
        /// What else to check; empty or after a semicolon.
        hint: &'static str,
    },
    /// AWS throttled every attempt.
    #[error("{action} is throttled after {attempts} attempts ({code}); try again later")]
    Throttled {
        /// The action.
        action: &'static str,
        /// AWS's error code.
        code: String,
        /// Attempts.
        attempts: u32,
    },
    /// No response, or an incomplete one.
    #[error(
        "{action}: no response from {endpoint}; check the network, and that the region exists and is enabled"
    )]
    NoResponse {
        /// The action.
        action: &'static str,
        /// The URL of the server.
        endpoint: String,
        /// The cause.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A response in another form than documented.
    #[error("{action}: unexpected response: {why}")]
    Response {
        /// The action.
        action: &'static str,
        /// What is unexpected.
        why: String,
    },
    /// The environment requests FIPS or dual-stack endpoints, which this client does not know.
    #[error(
        "{setting} is set, but this client does not know such endpoints; set {variables} to the endpoints of the services"
    )]
    Endpoints {
        /// The setting of the environment.
        setting: &'static str,
        /// The variables for the endpoints.
        variables: String,
    },
    /// The clock of this machine is before 1970.
    #[error("the clock of this machine is before 1970; correct it")]
    Clock,
    /// The time for all accounts and regions is over.
    #[error("the refresh ran out of time; refresh fewer accounts or regions")]
    OutOfTime,
    /// A bug.
    #[error("a bug in Flowherd: the task of this account panicked; please report it")]
    Panicked,
}

/// An AWS service.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Service {
    /// Its name in signatures and host names.
    name: &'static str,
    /// Its id in the settings of endpoints.
    id: &'static str,
    protocol: Protocol,
}

#[derive(Clone, Copy, Debug)]
enum Protocol {
    Query {
        version: &'static str,
        /// Whether its describing actions return pages.
        has_pages: bool,
    },
    /// <https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html>
    Json {
        /// The part of the header `X-Amz-Target` before the action.
        target: &'static str,
        /// Whether the service has one endpoint in each partition.
        is_global: bool,
    },
}

pub(crate) const EC2: Service =
    Service { name: "ec2", id: "EC2", protocol: Protocol::Query { version: "2016-11-15", has_pages: true } };
pub(crate) const STS: Service =
    Service { name: "sts", id: "STS", protocol: Protocol::Query { version: "2011-06-15", has_pages: false } };
pub(crate) const ORGANIZATIONS: Service = Service {
    name: "organizations",
    id: "Organizations",
    protocol: Protocol::Json { target: "AWSOrganizationsV20161128", is_global: true },
};
/// <https://docs.aws.amazon.com/general/latest/gr/ev.html>
pub(crate) const EVENTBRIDGE: Service = Service {
    name: "events",
    id: "EventBridge",
    protocol: Protocol::Json { target: "AWSEvents", is_global: false },
};

/// Sends requests with the credentials of one account to one region.
#[derive(Debug)]
pub(crate) struct ApiClient {
    connector: SharedHttpConnector,
    provider: SharedCredentialsProvider,
    credentials: Option<Credentials>,
    pub(crate) region: String,
    config: SdkConfig,
    retries: Retries,
}

impl ApiClient {
    /// Creates a client. `services` are those whose endpoints must be known; those of others are only looked up for a request.
    pub(crate) fn new(
        config: &SdkConfig,
        provider: Option<SharedCredentialsProvider>,
        retries: Retries,
        services: &[Service],
    ) -> Result<Self, ApiError> {
        let region = config.region().ok_or(ApiError::NoRegion)?.to_string();
        let not_configured = || ApiError::Credentials(CredentialsError::not_loaded_no_source());
        let provider = provider.ok_or_else(not_configured)?;
        let settings =
            HttpConnectorSettings::builder().connect_timeout(CONNECT).read_timeout(retries.attempt).build();
        let connector = default_connector(&settings, config.sleep_impl()).ok_or(ApiError::Panicked)?;
        let client = Self { connector, provider, credentials: None, region, config: config.clone(), retries };
        let unknown = |service: &Service| Some((client.url(*service).err()?, service.variable()));
        let unknown: Vec<_> = services.iter().filter_map(unknown).collect();
        if let Some((setting, _)) = unknown.first() {
            let variables: Vec<&str> = unknown.iter().map(|(_, variable)| &**variable).collect();
            return Err(ApiError::Endpoints { setting, variables: variables.join(" and ") });
        }
        Ok(client)
    }

    /// Returns the endpoint of a service, or the setting of the environment that needs one.
    fn url(&self, service: Service) -> Result<String, &'static str> {
        match endpoint(&self.config, service.id) {
            Some(endpoint) => Ok(endpoint),
            None if self.config.use_fips() == Some(true) => Err("AWS_USE_FIPS_ENDPOINT"),
            None if self.config.use_dual_stack() == Some(true) => Err("AWS_USE_DUALSTACK_ENDPOINT"),
            None => {
                let region = service.region(&self.region);
                Ok(format!("https://{}.{region}.{}/", service.name, domain(region)))
            }
        }
    }

    /// Sends an action and returns its XML.
    pub(crate) async fn call(&mut self, service: Service, action: &'static str) -> Result<String, ApiError> {
        self.page(service, action, None).await
    }

    /// Sends a describing action and passes each page to `take`.
    pub(crate) async fn pages(
        &mut self,
        action: &'static str,
        mut take: impl FnMut(&Document<'_>) -> Result<(), String>,
    ) -> Result<(), ApiError> {
        let failed = |why: String| ApiError::Response { action, why };
        let mut token: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let xml = self.page(EC2, action, token.as_deref()).await?;
            let next = {
                let page = parse(&xml).map_err(failed)?;
                take(&page).map_err(failed)?;
                response::next_token(&page)
            };
            if next.is_none() {
                return Ok(());
            }
            if next == token {
                return Err(failed("the response repeats the pagination token".to_owned()));
            }
            token = next;
        }
        Err(failed(format!("more than {MAX_PAGES} pages")))
    }

    async fn page(
        &mut self,
        service: Service,
        action: &'static str,
        token: Option<&str>,
    ) -> Result<String, ApiError> {
        self.send(service, action, &form(service, action, token)).await
    }

    /// Sends a request until it is answered, and returns the text of the answer.
    pub(crate) async fn send(
        &mut self,
        service: Service,
        action: &'static str,
        body: &str,
    ) -> Result<String, ApiError> {
        let mut attempt = 1;
        loop {
            self.load_credentials().await?;
            let error = match self.attempt(service, action, body).await {
                Ok(xml) => return Ok(xml),
                Err(error) => error,
            };
            if attempt >= self.retries.attempts || !error.can_retry {
                return Err(error.into_error(action, attempt));
            }
            let Retries { first, limit, .. } = self.retries;
            tokio::time::sleep(backoff::pause(first, limit, attempt, (action, &self.region, body))).await;
            attempt += 1;
        }
    }

    async fn load_credentials(&mut self) -> Result<(), ApiError> {
        let expires_soon = |credentials: &Credentials| {
            credentials.expiry().is_some_and(|expiry| expiry < SystemTime::now() + EXPIRES_SOON)
        };
        if self.credentials.as_ref().is_none_or(expires_soon) {
            let loaded = self.provider.provide_credentials().await;
            self.credentials = Some(loaded.map_err(ApiError::Credentials)?);
        }
        Ok(())
    }

    async fn attempt(&self, service: Service, action: &'static str, body: &str) -> Result<String, Failure> {
        let unknown = |setting| Failure {
            can_retry: false,
            error: ApiError::Endpoints { setting, variables: service.variable() },
        };
        let url = self.url(service).map_err(unknown)?;
        let no_response = |source: Box<dyn Error + Send + Sync>| Failure {
            can_retry: true,
            error: ApiError::NoResponse { action, endpoint: url.clone(), source },
        };
        let request = self.request(service, action, &url, body).map_err(|source| Failure {
            can_retry: false,
            error: ApiError::Response { action, why: format!("cannot sign the request: {source}") },
        })?;
        let exchange = async {
            let response = self.connector.call(request).await?;
            let status = response.status().as_u16();
            let mut bytes = Vec::new();
            let mut content = ByteStream::new(response.into_body());
            while let Some(piece) = content.next().await {
                bytes.extend_from_slice(&piece?);
                if bytes.len() > MAX_RESPONSE_BYTES {
                    let why = format!("the response has more than {MAX_RESPONSE_BYTES} bytes");
                    return Ok((status, Err(why)));
                }
            }
            let text = String::from_utf8(bytes).map_err(|_| "the response is not UTF-8".to_owned());
            Ok::<_, Box<dyn Error + Send + Sync>>((status, text))
        };
        let exchanged = tokio::time::timeout(self.retries.attempt, exchange).await;
        let (status, xml) = exchanged.unwrap_or_else(|elapsed| Err(elapsed.into())).map_err(no_response)?;
        let unexpected =
            |why: String| Failure { can_retry: false, error: ApiError::Response { action, why } };
        let xml = xml.map_err(unexpected)?;
        if (200..300).contains(&status) {
            return Ok(xml);
        }
        let (code, message) =
            service.error(&xml).unwrap_or_else(|| (format!("HTTP {status}"), String::new()));
        let is_throttled = THROTTLES.contains(&&*code);
        Err(Failure {
            can_retry: is_throttled || status >= 500 || status == 429,
            error: if is_throttled {
                ApiError::Throttled { action, code, attempts: 0 }
            } else {
                let hint = if UNKNOWN_CREDENTIALS.contains(&&*code) {
                    "; check the credentials, and that the region exists and is enabled for the account"
                } else {
                    ""
                };
                ApiError::Refused { action, code, message, hint }
            },
        })
    }

    /// Returns a signed request.
    fn request(
        &self,
        service: Service,
        action: &str,
        url: &str,
        body: &str,
    ) -> Result<HttpRequest, Box<dyn Error + Send + Sync>> {
        let credentials = self.credentials.clone().ok_or("no credentials are loaded")?;
        let identity = credentials.into();
        let params = SigningParams::builder()
            .identity(&identity)
            .region(service.region(&self.region))
            .name(service.name)
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()?
            .into();
        let signable = SignableBody::Bytes(body.as_bytes());
        let headers = service.headers(action);
        let given = headers.iter().map(|(name, value)| (*name, &**value));
        let signable = SignableRequest::new("POST", url, given, signable)?;
        let (instructions, _) = sign(signable, &params)?.into_parts();
        let request = http::Request::post(url);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, value));
        let mut request = request.body(SdkBody::from(body.to_owned()))?;
        instructions.apply_to_request_http1x(&mut request);
        Ok(HttpRequest::try_from(request)?)
    }
}

impl Service {
    /// Returns the region of the service's endpoint. AWS Organizations has one in each partition
    /// (<https://docs.aws.amazon.com/general/latest/gr/ao.html>).
    fn region(self, region: &str) -> &str {
        match self.protocol {
            Protocol::Query { .. } | Protocol::Json { is_global: false, .. } => region,
            Protocol::Json { .. } if region.starts_with("cn-") => "cn-northwest-1",
            Protocol::Json { .. } if region.starts_with("us-gov-") => "us-gov-west-1",
            Protocol::Json { .. } => "us-east-1",
        }
    }

    /// Returns the variable for the service's endpoint
    /// (<https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html>).
    fn variable(self) -> String {
        format!("AWS_ENDPOINT_URL_{}", self.id.to_ascii_uppercase())
    }

    /// Returns the headers of a request.
    fn headers(self, action: &str) -> Vec<(&'static str, String)> {
        match self.protocol {
            Protocol::Query { .. } => vec![("content-type", "application/x-www-form-urlencoded".to_owned())],
            Protocol::Json { target, .. } => vec![
                ("content-type", "application/x-amz-json-1.1".to_owned()),
                ("x-amz-target", format!("{target}.{action}")),
            ],
        }
    }

    /// Returns code and message of an error.
    fn error(self, text: &str) -> Option<(String, String)> {
        match self.protocol {
            Protocol::Query { .. } => response::error(text),
            Protocol::Json { .. } => response::json_error(text),
        }
    }
}

/// Returns the body of a request.
fn form(service: Service, action: &str, token: Option<&str>) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("Action", action);
    if let Protocol::Query { version, has_pages } = service.protocol {
        form.append_pair("Version", version);
        if has_pages {
            form.append_pair("MaxResults", PAGE_ITEMS);
        }
    }
    if let Some(token) = token {
        form.append_pair("NextToken", token);
    }
    form.finish()
}

/// One attempt that failed.
struct Failure {
    can_retry: bool,
    error: ApiError,
}

impl Failure {
    fn into_error(self, action: &'static str, attempts: u32) -> ApiError {
        match self.error {
            ApiError::Throttled { code, .. } => ApiError::Throttled { action, code, attempts },
            error => error,
        }
    }
}

/// Returns the domain of a region's partition (<https://docs.aws.amazon.com/general/latest/gr/ec2-service.html>, and
/// `partitions.json` of botocore).
pub(crate) fn domain(region: &str) -> &'static str {
    let is_in = |prefix: &str| region.starts_with(prefix);
    match region {
        _ if is_in("cn-") => "amazonaws.com.cn",
        _ if is_in("eusc-") => "amazonaws.eu",
        _ if is_in("us-iso-") => "c2s.ic.gov",
        _ if is_in("us-isob-") => "sc2s.sgov.gov",
        _ if is_in("us-isof-") => "csp.hci.ic.gov",
        _ if is_in("eu-isoe-") => "cloud.adc-e.uk",
        _ => "amazonaws.com",
    }
}
