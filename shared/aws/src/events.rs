//! Rules of `EventBridge` on the default event bus, by its JSON API
//! (<https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_Operations.html>). Its SDK would be one more crate for two
//! requests.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    Aws,
    api::{ApiClient, ApiError, EVENTBRIDGE, Retries},
};

/// Maximum pages of targets. A rule has at most five targets, unless AWS raises the quota
/// (<https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-quota.html>).
const MAX_PAGES: usize = 100;

/// A rule, and its targets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Whether it matches events.
    pub is_enabled: bool,
    /// The event pattern as JSON; `None` for a rule with a schedule.
    pub pattern: Option<String>,
    /// The resources that receive its events.
    pub targets: Vec<Target>,
}

/// A target of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Target {
    /// Its id in the rule. A target that is put with the same id replaces it.
    pub id: String,
    /// The ARN of the resource.
    pub arn: String,
    /// A text that the target receives instead of the event.
    input: Option<String>,
    /// The part of the event that the target receives.
    input_path: Option<String>,
    /// The changes to the event before the target receives it.
    input_transformer: Option<Value>,
    dead_letter_config: Option<DeadLetterConfig>,
}

/// <https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_DeadLetterConfig.html>
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DeadLetterConfig {
    arn: Option<String>,
}

impl Target {
    /// Returns whether the target receives events as they are.
    #[must_use]
    pub fn has_whole_events(&self) -> bool {
        self.input.is_none() && self.input_path.is_none() && self.input_transformer.is_none()
    }

    /// Returns the ARN of the queue for events that cannot be delivered to the target.
    #[must_use]
    pub fn dead_letters(&self) -> Option<&str> {
        self.dead_letter_config.as_ref()?.arn.as_deref()
    }
}

/// <https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_DescribeRule.html>
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Described {
    state: String,
    event_pattern: Option<String>,
}

/// <https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_ListTargetsByRule.html>
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    targets: Vec<Target>,
    next_token: Option<String>,
}

/// Reads a rule by its name. Returns `None` if the rule does not exist.
///
/// # Errors
/// If AWS refuses a request, does not respond, or responds in another form than documented.
pub fn read_rule(aws: &Aws, name: &str, retries: Retries) -> Result<Option<Rule>, ApiError> {
    let config = aws.config();
    let mut client = ApiClient::new(config, config.credentials_provider(), retries, &[EVENTBRIDGE])?;
    aws.handle().block_on(rule(&mut client, name))
}

async fn rule(client: &mut ApiClient, name: &str) -> Result<Option<Rule>, ApiError> {
    let Some(described) = call::<Described>(client, "DescribeRule", &json!({ "Name": name })).await? else {
        return Ok(None);
    };
    // Also ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS.
    let is_enabled = described.state.starts_with("ENABLED");
    // Somebody may have deleted the rule between the requests.
    let targets = targets(client, name).await?;
    Ok(targets.map(|targets| Rule { is_enabled, pattern: described.event_pattern, targets }))
}

async fn targets(client: &mut ApiClient, name: &str) -> Result<Option<Vec<Target>>, ApiError> {
    const ACTION: &str = "ListTargetsByRule";
    let mut found = Vec::new();
    let mut body = json!({ "Rule": name });
    for _ in 0..MAX_PAGES {
        let Some(page) = call::<Page>(client, ACTION, &body).await? else { return Ok(None) };
        found.extend(page.targets);
        match page.next_token {
            Some(token) => body["NextToken"] = token.into(),
            None => return Ok(Some(found)),
        }
    }
    let why = format!("more than {MAX_PAGES} pages");
    Err(ApiError::Response { action: ACTION, why })
}

/// Sends a request. Returns `None` if the rule does not exist.
async fn call<T: for<'de> Deserialize<'de>>(
    client: &mut ApiClient,
    action: &'static str,
    body: &Value,
) -> Result<Option<T>, ApiError> {
    match client.send(EVENTBRIDGE, action, &body.to_string()).await {
        Ok(text) => {
            let failed = |error: serde_json::Error| ApiError::Response { action, why: error.to_string() };
            serde_json::from_str(&text).map(Some).map_err(failed)
        }
        Err(ApiError::Refused { code, .. }) if code == "ResourceNotFoundException" => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader, Read, Write},
        net::{TcpListener, TcpStream},
        sync::mpsc::{self, TryRecvError},
        thread,
        time::Duration,
    };

    use aws_config::{Region, SdkConfig};
    use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
    use tokio::runtime::Runtime;

    use super::*;

    const QUICK: Retries = Retries {
        first: Duration::from_millis(1),
        limit: Duration::from_millis(2),
        attempts: 3,
        attempt: Duration::from_mins(1),
    };

    type ReadRule = Result<Option<Rule>, ApiError>;

    /// Reads the rule `r` from a server that gives these answers in order, and closes connections after them. Returns the result,
    /// and the requests: the header `x-amz-target`, and the body.
    fn read(answers: &[(u16, Value)]) -> (ReadRule, Vec<(String, Value)>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let config = SdkConfig::builder().region(Region::new("eu-west-1")).endpoint_url(endpoint).build();
        let credentials = Credentials::new("AKIDEXAMPLE", "secret", None, None, "test");
        let provider = Some(SharedCredentialsProvider::new(credentials));
        let answers = answers.to_vec();
        let address = listener.local_addr().unwrap();
        let (client_lives, ended) = mpsc::channel::<()>();
        let server = thread::spawn(move || {
            let mut answers = answers.iter();
            let mut requests = Vec::new();
            for connection in listener.incoming().map(Result::unwrap) {
                if ended.try_recv() != Err(TryRecvError::Empty) {
                    break;
                }
                requests.extend(answers.next().map(|answer| respond(&connection, answer)));
            }
            requests
        });
        let mut client = ApiClient::new(&config, provider, QUICK, &[EVENTBRIDGE]).unwrap();
        let result = Runtime::new().unwrap().block_on(rule(&mut client, "r"));
        drop(client_lives);
        // Ends the server, which waits for a connection.
        TcpStream::connect(address).unwrap();
        (result, server.join().unwrap())
    }

    fn respond(mut connection: &TcpStream, (status, answer): &(u16, Value)) -> (String, Value) {
        let mut lines = BufReader::new(connection);
        let (mut target, mut length, mut line) = (String::new(), 0, String::new());
        while lines.read_line(&mut line).unwrap() > 2 {
            let (name, value) = line.split_once(':').unwrap_or_default();
            match name.to_ascii_lowercase().as_str() {
                "x-amz-target" => value.trim().clone_into(&mut target),
                "content-length" => length = value.trim().parse().unwrap(),
                "authorization" => assert!(value.contains("/eu-west-1/events/aws4_request"), "{value}"),
                _ => {}
            }
            line.clear();
        }
        let mut body = vec![0; length];
        lines.read_exact(&mut body).unwrap();
        let answer = answer.to_string();
        let head =
            format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", answer.len());
        connection.write_all((head + &answer).as_bytes()).unwrap();
        (target, serde_json::from_slice(&body).unwrap())
    }

    #[test]
    fn a_rule_is_read_with_the_targets_of_all_pages() {
        let (rule, requests) = read(&[
            (200, json!({"Name": "r", "State": "ENABLED", "EventPattern": "{}", "EventBusName": "default"})),
            (
                200,
                json!({"Targets": [{"Id": "a", "Arn": "arn:a", "InputPath": "$.detail"}], "NextToken": "t"}),
            ),
            (200, json!({"Targets": [{"Id": "b", "Arn": "arn:b", "DeadLetterConfig": {"Arn": "arn:c"}}]})),
        ]);
        let rule = rule.unwrap().unwrap();
        assert_eq!((rule.is_enabled, rule.pattern.as_deref()), (true, Some("{}")));
        let targets: Vec<_> =
            rule.targets.iter().map(|target| (&*target.arn, target.has_whole_events())).collect();
        assert_eq!(targets, [("arn:a", false), ("arn:b", true)]);
        assert_eq!((&*rule.targets[1].id, rule.targets[1].dead_letters()), ("b", Some("arn:c")));
        assert_eq!(rule.targets[0].dead_letters(), None);
        let list = "AWSEvents.ListTargetsByRule".to_owned();
        assert_eq!(
            requests,
            [
                ("AWSEvents.DescribeRule".to_owned(), json!({"Name": "r"})),
                (list.clone(), json!({"Rule": "r"})),
                (list, json!({"Rule": "r", "NextToken": "t"})),
            ]
        );
    }

    #[test]
    fn only_the_states_that_begin_with_enabled_match_events() {
        let states = [("ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS", true), ("DISABLED", false)];
        for (state, is_enabled) in states {
            let (rule, _) = read(&[(200, json!({"State": state})), (200, json!({"Targets": []}))]);
            assert_eq!(rule.unwrap().unwrap(), Rule { is_enabled, ..Rule::default() });
        }
    }

    #[test]
    fn a_rule_that_does_not_exist_is_none() {
        let missing =
            (400, json!({"__type": "ResourceNotFoundException", "message": "Rule r does not exist"}));
        assert_eq!(read(std::slice::from_ref(&missing)).0.unwrap(), None);
        // Somebody deletes it between the requests.
        assert_eq!(read(&[(200, json!({"State": "ENABLED"})), missing]).0.unwrap(), None);
    }

    #[test]
    fn a_throttled_request_is_sent_again_and_a_refused_one_is_not() {
        let throttled = (400, json!({"__type": "ThrottlingException", "message": "Rate exceeded"}));
        let described = (200, json!({"State": "DISABLED"}));
        let (rule, requests) = read(&[throttled, described, (200, json!({"Targets": []}))]);
        assert_eq!((rule.unwrap(), requests.len()), (Some(Rule::default()), 3));
        let denied = (400, json!({"__type": "AccessDeniedException", "Message": "no events:DescribeRule"}));
        // The server waits for a second request, which does not come.
        let (rule, requests) = read(&[denied, (200, json!({"State": "DISABLED"}))]);
        let error = rule.unwrap_err().to_string();
        assert_eq!(error, "DescribeRule is refused: AccessDeniedException: no events:DescribeRule");
        assert_eq!(requests.len(), 1);
    }

    #[test]
    fn a_server_that_never_responds_ends_each_attempt_at_its_time_limit() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let config = SdkConfig::builder().region(Region::new("eu-west-1")).endpoint_url(endpoint).build();
        let credentials = Credentials::new("AKIDEXAMPLE", "secret", None, None, "test");
        let provider = Some(SharedCredentialsProvider::new(credentials));
        let retries = Retries { attempts: 2, attempt: Duration::from_millis(10), ..QUICK };
        let mut client = ApiClient::new(&config, provider, retries, &[EVENTBRIDGE]).unwrap();
        let error = Runtime::new().unwrap().block_on(rule(&mut client, "r")).unwrap_err();
        assert!(matches!(error, ApiError::NoResponse { .. }), "{error}");
        drop(listener);
    }

    #[test]
    fn a_response_in_another_form_is_an_error() {
        let error = read(&[(200, json!({"Name": "r"}))]).0.unwrap_err().to_string();
        assert!(error.starts_with("DescribeRule: unexpected response: missing field `State`"), "{error}");
    }
}
