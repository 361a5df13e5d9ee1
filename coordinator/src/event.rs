//! What the coordinator's function is asked to do, read from the JSON of its event.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::steps::{Begin, CoordinatorError, Step};

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Begin a run, and do what can be done at once.
    Run(Begin),
    /// Begin a run and nothing more.
    Begin(Begin),
    /// Move dead letters back, and follow this run.
    Redrive {
        /// The run.
        run: String,
    },
    /// The next step of a run.
    Step(Box<Step>),
}

impl Event {
    /// An event that names no operation begins a run and does what can be done at once; `begin` only begins it; `redrive`
    /// moves dead letters back; any other is a step.
    pub fn parse(event: Value) -> Result<Self, CoordinatorError> {
        let Value::Object(mut event) = event else { return Err(unfit("it is no JSON object")) };
        let operation = match event.get("operation") {
            None | Some(Value::Null) => None,
            Some(Value::String(operation)) => Some(operation.clone()),
            Some(_) => return Err(unfit("its operation is no text")),
        };
        match operation.as_deref() {
            None | Some("begin") => {
                event.remove("operation");
                let begin = read(event.into())?;
                Ok(if operation.is_none() { Self::Run(begin) } else { Self::Begin(begin) })
            }
            Some("redrive") => {
                let run = event.get("run").and_then(Value::as_str);
                let run =
                    run.ok_or_else(|| unfit("a redrive needs the run that is reported anew, as text"))?;
                Ok(Self::Redrive { run: run.to_owned() })
            }
            Some(_) => Ok(Self::Step(read(event.into())?)),
        }
    }
}

fn read<T: DeserializeOwned>(event: Value) -> Result<T, CoordinatorError> {
    T::deserialize(event).map_err(|error| unfit(&error.to_string()))
}

fn unfit(why: &str) -> CoordinatorError {
    CoordinatorError::Refused(format!(
        "the event does not fit: {why}; an example: {{\"prefix\": \"firehose/2026/02/18/06/\"}}"
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_no_event_is_refused_and_begins_nothing() {
        // By position, the array would be a begin with a purge by force.
        let array = json!(["p", true, true, null, "r"]);
        let odd = [array, json!("p"), json!(null), json!({"operation": 5, "prefix": "p"})];
        let incomplete = [json!({"operation": "plan"}), json!({"operation": "redrive"})];
        for event in odd.into_iter().chain(incomplete).chain([json!({"prefx": "p"})]) {
            assert!(matches!(Event::parse(event.clone()), Err(CoordinatorError::Refused(_))), "{event}");
        }
        assert!(matches!(Event::parse(json!({"prefix": "p"})), Ok(Event::Run(_))));
        assert!(matches!(Event::parse(json!({"operation": null, "prefix": "p"})), Ok(Event::Run(_))));
        assert!(matches!(Event::parse(json!({"operation": "begin", "prefix": "p"})), Ok(Event::Begin(_))));
        assert!(matches!(Event::parse(json!({"operation": "check", "run": "r"})), Ok(Event::Step(_))));
        assert_eq!(
            Event::parse(json!({"operation": "redrive", "run": "r"})).unwrap(),
            Event::Redrive { run: "r".to_owned() }
        );
    }
}
