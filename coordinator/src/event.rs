//! Events of the coordinator's function.

use flowherd_shared::ledger::layout;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{
    error::CoordinatorError,
    live::{batch::ArrivalMessage, close::CloseOptions},
    options::{RefreshOptions, RunOptions},
    state::RunState,
};

/// An event of the function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Begin a run, and continue until an operation has to wait.
    Run(RunOptions),
    /// Begin a run.
    Begin(RunOptions),
    /// Return the state from which to continue a run without a driver.
    Continue {
        /// The run.
        run: String,
    },
    /// Report a run although objects are unfinished.
    ReportNow {
        /// The run.
        run: String,
    },
    /// Move dead-letter messages back to the queue.
    Redrive {
        /// The run to report again.
        run: String,
    },
    /// Send the tasks of objects that have arrived: messages of the arrivals queue.
    Arrivals(Vec<ArrivalMessage>),
    /// Close days of a live fleet.
    Close(CloseOptions),
    /// Refresh the names.
    Names(RefreshOptions),
    /// Do the next operation of a run.
    State(Box<RunState>),
}

impl Event {
    /// Parses an event: options of a run, a named request, or a state that the coordinator returned.
    ///
    /// # Errors
    /// [`CoordinatorError::Refused`] for any other JSON.
    pub fn parse(event: Value) -> Result<Self, CoordinatorError> {
        let Value::Object(mut event) = event else { return Err(invalid("it is not a JSON object")) };
        let operation = match event.remove("operation") {
            None | Some(Value::Null) => None,
            Some(Value::String(operation)) => Some(operation),
            Some(_) => return Err(invalid("operation is not a string")),
        };
        let Some(operation) = operation else {
            return match event.remove("Records") {
                Some(records) => arrivals(records),
                None => Ok(Self::Run(options(event)?)),
            };
        };
        match operation.as_str() {
            "close" => Ok(Self::Close(options(event)?)),
            "begin" => Ok(Self::Begin(options(event)?)),
            "names" => Ok(Self::Names(options(event)?)),
            "continue" => Ok(Self::Continue { run: run(&event, &operation)? }),
            "report_now" => Ok(Self::ReportNow { run: run(&event, &operation)? }),
            "redrive" => Ok(Self::Redrive { run: run(&event, &operation)? }),
            _ => {
                event.insert("operation".to_owned(), operation.into());
                Ok(Self::State(Box::new(state(event)?)))
            }
        }
    }
}

/// Parses the messages that Lambda passes from SQS (<https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html>). A message
/// without an id fails the whole batch, because the response could not name it.
fn arrivals(records: Value) -> Result<Event, CoordinatorError> {
    let messages: Result<Vec<ArrivalMessage>, _> = serde_json::from_value(records);
    messages.map(Event::Arrivals).map_err(|error| {
        CoordinatorError::Refused(format!("invalid event: its records are not messages of SQS: {error}"))
    })
}

fn options<T: DeserializeOwned>(event: Map<String, Value>) -> Result<T, CoordinatorError> {
    parse(event).map_err(|error| invalid(&error.to_string()))
}

fn run(event: &Map<String, Value>, operation: &str) -> Result<String, CoordinatorError> {
    match event.get("run") {
        Some(Value::String(run)) if layout::is_run_name(run) => Ok(run.clone()),
        _ => Err(invalid(&format!("operation {operation} needs the name of a run in \"run\""))),
    }
}

/// An update of the function may change the state between two calls of the same run.
fn state(event: Map<String, Value>) -> Result<RunState, CoordinatorError> {
    let run = event.get("run").and_then(Value::as_str).unwrap_or("RUN").to_owned();
    parse(event).map_err(|error| {
        CoordinatorError::Refused(format!(
            "invalid state of a run: {error}. If another version of the coordinator returned it, continue the run with \
             {{\"operation\": \"continue\", \"run\": {run:?}}}"
        ))
    })
}

fn parse<T: DeserializeOwned>(event: Map<String, Value>) -> Result<T, serde_json::Error> {
    T::deserialize(Value::Object(event))
}

fn invalid(why: &str) -> CoordinatorError {
    CoordinatorError::Refused(format!(
        "invalid event: {why}. Example: {{\"prefix\": \"firehose/2026/02/18/06/\"}}"
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refusal(event: &Value) -> String {
        match Event::parse(event.clone()) {
            Err(CoordinatorError::Refused(why)) => why,
            other => panic!("{event} gives {other:?}"),
        }
    }

    #[test]
    fn an_invalid_event_is_refused_and_begins_no_run() {
        // As a sequence of fields, the array would be a begin with a forced purge.
        let array = json!(["p", null, "r", true, true]);
        for event in
            [array, json!("p"), json!(null), json!({"operation": 5, "prefix": "p"}), json!({"prefx": "p"})]
        {
            assert!(refusal(&event).starts_with("invalid event: "));
        }
        assert!(
            refusal(&json!({"operation": "names", "roles": []})).starts_with("invalid event: unknown field")
        );
        for operation in ["continue", "report_now", "redrive"] {
            assert!(refusal(&json!({"operation": operation, "run": "../r"})).starts_with("invalid event: "));
        }
    }

    #[test]
    fn an_event_is_options_a_request_or_a_state() {
        let prefix = RunOptions { prefix: Some("p".to_owned()), ..RunOptions::default() };
        let request = |operation: &str| Event::parse(json!({"operation": operation, "run": "r"})).unwrap();
        let run = "r".to_owned();
        assert_eq!(Event::parse(json!({"prefix": "p"})).unwrap(), Event::Run(prefix.clone()));
        assert_eq!(
            Event::parse(json!({"operation": null, "prefix": "p"})).unwrap(),
            Event::Run(prefix.clone())
        );
        assert_eq!(Event::parse(json!({"operation": "begin", "prefix": "p"})).unwrap(), Event::Begin(prefix));
        assert_eq!(request("continue"), Event::Continue { run: run.clone() });
        assert_eq!(request("report_now"), Event::ReportNow { run: run.clone() });
        assert_eq!(request("redrive"), Event::Redrive { run });
        let names = Event::parse(json!({"operation": "names", "regions": ["eu-west-1"]})).unwrap();
        let regions = vec!["eu-west-1".to_owned()];
        assert_eq!(names, Event::Names(RefreshOptions { regions, ..RefreshOptions::default() }));
    }

    #[test]
    fn messages_of_sqs_are_arrivals_and_a_close_may_name_a_day() {
        let message = json!({"messageId": "m", "body": "b", "eventSourceARN": "arn:aws:sqs:eu-west-1:1:q", "attributes": {}});
        let Event::Arrivals(messages) = Event::parse(json!({"Records": [message]})).unwrap() else {
            panic!("arrivals")
        };
        assert_eq!((messages[0].message_id.as_str(), messages[0].body.as_str()), ("m", "b"));
        assert!(refusal(&json!({"Records": [{"body": "b"}]})).contains("missing field `messageId`"));
        let close = json!({"operation": "close", "fleet": "main", "day": "2026-02-18"});
        let Event::Close(options) = Event::parse(close).unwrap() else { panic!("a close") };
        assert_eq!(options.parse_day().unwrap().unwrap().text(), "2026-02-18");
        let wrong = CloseOptions { day: Some("18.2.2026".to_owned()), ..CloseOptions::default() };
        assert!(wrong.parse_day().unwrap_err().to_string().contains("is not a day"));
    }

    fn check() -> Value {
        json!({
            "operation": "check", "run": "r", "fleet": "main", "prefix": "p", "wait_seconds": 2,
            "progress": { "listed": 3, "done": 1, "failed": 0, "skipped": 0, "queued": 2, "in_flight": 0,
                "dead_letters": 0 },
            "checks": 1, "idle_seconds": 0, "next_report": 0, "redriven": false,
        })
    }

    #[test]
    fn a_state_is_an_event_again() {
        let Event::State(state) = Event::parse(check()).unwrap() else { panic!("a state") };
        assert_eq!(serde_json::to_value(&state).unwrap(), check());
    }

    #[test]
    fn a_state_of_another_version_is_refused_and_the_error_names_what_to_do() {
        let without = |member: &str| {
            let mut state = check();
            state.as_object_mut().unwrap().remove(member);
            state
        };
        let with = |member: &str| {
            let mut state = check();
            state[member] = json!(1);
            state
        };
        let other = [without("prefix"), without("idle_seconds"), with("reconciled"), with("force")];
        for event in other.into_iter().chain([json!({"operation": "plan", "run": "r"})]) {
            let why = refusal(&event);
            assert!(why.starts_with("invalid state of a run: "), "{why}");
            assert!(why.ends_with(r#"continue the run with {"operation": "continue", "run": "r"}"#), "{why}");
        }
        let mut unknown = check();
        unknown["operation"] = json!("dance");
        assert!(refusal(&unknown).contains("unknown variant `dance`"));
    }
}
