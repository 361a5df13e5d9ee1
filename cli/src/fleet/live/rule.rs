//! The `EventBridge` rule of a stack: whether it is still as the stack created it, and the commands that fix it.

use flowherd_aws::events::{Rule, Target};
use serde::Serialize;
use serde_json::{Value, json};

/// The description of the rule in the stack: `cdk/lib/live.ts`. `PutRule` removes the one that it does not have
/// (<https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutRule.html>).
const DESCRIPTION: &str = "Flowherd: objects that arrive in the source bucket";
/// The id of the target in the stack.
const TARGET_ID: &str = "Target0";

/// What follows if no event arrives.
const ONLY_CLOSED: &str = "objects are only converted when their day is closed";

/// The rule as the stack created it.
pub(super) struct Expected<'a> {
    pub(super) name: String,
    pub(super) bucket: &'a str,
    /// The prefixes of all live fleets.
    pub(super) prefixes: Vec<&'a str>,
    /// The ARN of the arrivals queue.
    pub(super) queue: String,
    /// The ARN of its dead-letter queue.
    pub(super) dead_letters: String,
}

/// The rule as it is.
#[derive(Serialize)]
pub(super) struct Found {
    name: String,
    /// The differences from the stack.
    differences: Vec<Difference>,
    /// Each difference in words, with the command that fixes it.
    #[serde(skip)]
    pub(super) problems: Vec<String>,
}

/// A difference of the rule from the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Difference {
    /// It does not exist.
    Missing,
    Disabled,
    /// It does not have the events of new objects of the live fleets, or has others.
    Pattern,
    /// It does not send whole events to the arrivals queue.
    Target,
}

impl Found {
    /// Returns the state for people.
    pub(super) fn text(&self) -> &'static str {
        match self.differences[..] {
            [] => "enabled",
            [Difference::Missing, ..] => "missing",
            [Difference::Disabled, ..] => "disabled",
            [Difference::Pattern | Difference::Target, ..] => "changed",
        }
    }
}

impl Expected<'_> {
    /// Compares the rule; `None` if it does not exist.
    pub(super) fn compare(&self, rule: Option<&Rule>) -> Found {
        let Self { name, .. } = self;
        let mut found = Found { name: name.clone(), differences: Vec::new(), problems: Vec::new() };
        let mut add = |difference, what: &str, result: &str, aim: &str, command: &str| {
            found.differences.push(difference);
            found
                .problems
                .push(format!("the EventBridge rule {name} {what}: {result}; to {aim}, run: {command}"));
        };
        let Some(rule) = rule else {
            let commands = format!("{} && {}", self.put_rule(), self.put_targets(TARGET_ID));
            add(Difference::Missing, "does not exist", ONLY_CLOSED, "create it again", &commands);
            return found;
        };
        if !rule.is_enabled {
            let command = format!("aws events enable-rule --name {name}");
            add(Difference::Disabled, "is disabled", ONLY_CLOSED, "enable it", &command);
        }
        let pattern = rule.pattern.as_deref();
        let parsed = pattern.and_then(|pattern| serde_json::from_str::<Value>(pattern).ok());
        if parsed.is_none_or(|pattern| sorted(pattern) != sorted(self.pattern())) {
            let what = format!("has another pattern than the stack, {}", pattern.unwrap_or("none"));
            let result = "events of some objects may not arrive";
            add(Difference::Pattern, &what, result, "correct it", &self.put_rule());
        }
        if let Some((what, result, id)) = self.target_problem(&rule.targets) {
            add(Difference::Target, &what, result, "correct it", &self.put_targets(id));
        }
        found
    }

    /// Returns what is wrong with the targets, what results from it, and the id of the target to correct. Of several targets with
    /// the queue, one that is right is enough: the second task of an object changes nothing.
    fn target_problem<'a>(&self, targets: &'a [Target]) -> Option<(String, &'static str, &'a str)> {
        let Self { queue, dead_letters, .. } = self;
        let of_queue = || targets.iter().filter(|target| target.arn == *queue);
        let whole = || of_queue().filter(|target| target.has_whole_events());
        if whole().any(|target| target.dead_letters() == Some(dead_letters)) {
            return None;
        }
        if let Some(target) = whole().next() {
            let what = format!("does not send events that it cannot deliver to {dead_letters}");
            return Some((what, "their objects are only converted when their day is closed", &target.id));
        }
        let (how, id) = of_queue()
            .next()
            .map_or(("sends no events", TARGET_ID), |target| ("sends changed events", &target.id));
        Some((format!("{how} to the arrivals queue {queue}"), ONLY_CLOSED, id))
    }

    /// The pattern of `cdk/lib/live.ts`.
    fn pattern(&self) -> Value {
        let mut prefixes = self.prefixes.clone();
        prefixes.sort_unstable();
        prefixes.dedup();
        let keys: Vec<Value> = prefixes.iter().map(|prefix| json!({ "prefix": prefix })).collect();
        json!({
            "source": ["aws.s3"],
            "detail-type": ["Object Created"],
            "detail": { "bucket": { "name": [self.bucket] }, "object": { "key": keys } },
        })
    }

    /// The command also enables the rule, and keeps its targets.
    fn put_rule(&self) -> String {
        format!(
            "aws events put-rule --name {} --description '{DESCRIPTION}' --event-pattern {}",
            self.name,
            in_shell(&self.pattern().to_string())
        )
    }

    fn put_targets(&self, id: &str) -> String {
        let target =
            json!([{ "Id": id, "Arn": self.queue, "DeadLetterConfig": { "Arn": self.dead_letters } }]);
        format!("aws events put-targets --rule {} --targets {}", self.name, in_shell(&target.to_string()))
    }
}

/// Sorts all arrays: an event matches a pattern if any of their elements match.
fn sorted(pattern: Value) -> Value {
    match pattern {
        Value::Array(elements) => {
            let mut elements: Vec<Value> = elements.into_iter().map(sorted).collect();
            elements.sort_by_cached_key(Value::to_string);
            elements.dedup();
            elements.into()
        }
        Value::Object(members) => members
            .into_iter()
            .map(|(name, value)| (name, sorted(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        other => other,
    }
}

/// Quotes an argument for a POSIX shell.
fn in_shell(argument: &str) -> String {
    format!("'{}'", argument.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUEUE: &str = "arn:aws:sqs:eu-west-1:111122223333:arrivals";
    const DEAD_LETTERS: &str = "arn:aws:sqs:eu-west-1:111122223333:dead";

    fn expected() -> Expected<'static> {
        Expected {
            name: "Flowherd-LiveRule".to_owned(),
            bucket: "logs",
            prefixes: vec!["waf/", "firehose/", "waf/", "it's/"],
            queue: QUEUE.to_owned(),
            dead_letters: DEAD_LETTERS.to_owned(),
        }
    }

    fn target(json: Value) -> Target {
        serde_json::from_value(json).unwrap()
    }

    /// The rule as `CloudFormation` creates it, with its members and prefixes in another order.
    fn rule() -> Rule {
        let pattern = json!({
            "detail-type": ["Object Created"], "source": ["aws.s3"],
            "detail": {
                "object": {"key": [{"prefix": "firehose/"}, {"prefix": "waf/"}, {"prefix": "it's/"}]},
                "bucket": {"name": ["logs"]},
            },
        });
        Rule {
            is_enabled: true,
            pattern: Some(pattern.to_string()),
            targets: vec![
                target(json!({"Id": "x", "Arn": "arn:aws:sns:…"})),
                target(json!({"Id": TARGET_ID, "Arn": QUEUE, "DeadLetterConfig": {"Arn": DEAD_LETTERS}})),
            ],
        }
    }

    fn found(change: impl FnOnce(&mut Rule)) -> Found {
        let mut rule = rule();
        change(&mut rule);
        expected().compare(Some(&rule))
    }

    #[test]
    fn the_rule_of_the_stack_is_recognized_in_any_order_and_beside_other_targets() {
        let found = found(|_| {});
        assert_eq!((found.text(), found.problems), ("enabled", vec![]));
    }

    #[test]
    fn a_disabled_rule_is_a_problem_with_the_command_that_enables_it() {
        let found = found(|rule| rule.is_enabled = false);
        assert_eq!(found.text(), "disabled");
        let [problem] = &*found.problems else { panic!("{:?}", found.problems) };
        assert_eq!(
            problem,
            "the EventBridge rule Flowherd-LiveRule is disabled: objects are only converted when their day is closed; to enable \
             it, run: aws events enable-rule --name Flowherd-LiveRule"
        );
    }

    #[test]
    fn another_pattern_is_a_problem_with_the_command_that_restores_it() {
        let other = rule().pattern.unwrap().replace("waf/", "other/");
        for pattern in [Some(&*other), Some("not JSON"), Some("{}"), None] {
            let found = found(|rule| rule.pattern = pattern.map(str::to_owned));
            assert_eq!((found.text(), &*found.differences), ("changed", &[Difference::Pattern][..]));
            let [problem] = &*found.problems else { panic!("{:?}", found.problems) };
            assert!(problem.contains(pattern.unwrap_or("none")), "{problem}");
            assert!(problem.contains(": events of some objects may not arrive; "), "{problem}");
            let (_, argument) = problem.split_once("--event-pattern '").unwrap();
            // As the shell reads it.
            let argument = argument.strip_suffix('\'').unwrap().replace(r"'\''", "'");
            assert_eq!(sorted(serde_json::from_str(&argument).unwrap()), sorted(expected().pattern()));
        }
    }

    #[test]
    fn a_target_that_does_not_send_whole_events_to_the_queue_is_a_problem() {
        let gone = found(|rule| drop(rule.targets.pop()));
        let changed = found(|rule| {
            rule.targets[1] = target(json!({"Id": TARGET_ID, "Arn": QUEUE, "InputPath": "$.detail"}));
        });
        for (found, how) in [(gone, "sends no events"), (changed, "sends changed events")] {
            assert_eq!((found.text(), &*found.differences), ("changed", &[Difference::Target][..]));
            let [problem] = &*found.problems else { panic!("{:?}", found.problems) };
            assert!(problem.contains(how), "{problem}");
            let command = "run: aws events put-targets --rule Flowherd-LiveRule --targets '[{";
            assert!(problem.contains(command) && problem.contains(DEAD_LETTERS), "{problem}");
        }
    }

    #[test]
    fn one_right_target_of_several_is_enough_and_a_wrong_one_is_corrected_by_its_id() {
        let changed = json!({"Id": "first", "Arn": QUEUE, "InputPath": "$.detail"});
        let both = found(|rule| rule.targets.insert(0, target(changed.clone())));
        assert_eq!(both.problems, [""; 0]);
        let only = found(|rule| rule.targets = vec![target(changed)]);
        assert!(only.problems[0].contains(r#""Id":"first""#), "{:?}", only.problems);
    }

    #[test]
    fn a_target_without_the_dead_letter_queue_of_the_stack_is_a_problem() {
        let other = json!({"Id": "a", "Arn": QUEUE, "DeadLetterConfig": {"Arn": "arn:aws:sqs:eu-west-1:111122223333:other"}});
        for changed in [
            json!({"Id": "a", "Arn": QUEUE}),
            json!({"Id": "a", "Arn": QUEUE, "DeadLetterConfig": {}}),
            other,
        ] {
            let found = found(|rule| rule.targets = vec![target(changed)]);
            assert_eq!(&*found.differences, &[Difference::Target]);
            let [problem] = &*found.problems else { panic!("{:?}", found.problems) };
            assert!(problem.contains("does not send events that it cannot deliver to"), "{problem}");
            assert!(problem.contains(r#""Id":"a""#) && problem.contains(DEAD_LETTERS), "{problem}");
        }
    }

    #[test]
    fn a_missing_rule_is_one_problem_with_the_commands_that_create_it() {
        let found = expected().compare(None);
        assert_eq!(found.text(), "missing");
        let [problem] = &*found.problems else { panic!("{:?}", found.problems) };
        assert!(
            problem.contains("aws events put-rule") && problem.contains(" && aws events put-targets"),
            "{problem}"
        );
    }

    #[test]
    fn description_and_target_are_those_of_the_stack() {
        let source = include_str!("../../../../cdk/lib/live.ts");
        assert!(source.contains(&format!("description: '{DESCRIPTION}'")));
        // The construct of the rule chooses the id, and this test of the template checks it.
        let test = include_str!("../../../../cdk/test/live.test.ts");
        assert!(test.contains(&format!("Targets[0]?.Id, '{TARGET_ID}'")));
    }
}
