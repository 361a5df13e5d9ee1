//! The records that a rule takes: globs for log group, log stream and key, and a regular expression for the message.

use std::fmt;

use regex::{Regex, bytes};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{
        MapAccess, SeqAccess, Visitor,
        value::{MapAccessDeserializer, SeqAccessDeserializer},
    },
};

use super::pattern;
use crate::text::quoted;

/// Maximum bytes of a glob. Log group names have at most 512 characters and keys 1,024 bytes.
const MAX_GLOB_BYTES: usize = 4096;

/// The alternatives of a rule's `match`: a table, or an array of tables.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Patterns(Vec<Pattern>);

/// One alternative. All of its patterns must match.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pattern {
    log_group: Option<String>,
    log_stream: Option<String>,
    key: Option<String>,
    message: Option<String>,
}

impl<'de> Deserialize<'de> for Patterns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;

        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Patterns;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table such as { log_group = \"vpc-flow-logs*\" }, or an array of such tables")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Patterns, A::Error> {
                Pattern::deserialize(MapAccessDeserializer::new(map)).map(|pattern| Patterns(vec![pattern]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Patterns, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(seq)).map(Patterns)
            }
        }

        deserializer.deserialize_any(OneOrMany)
    }
}

impl Patterns {
    /// Returns how many regular expressions it has.
    pub(crate) fn regexes(&self) -> usize {
        self.0.iter().filter(|pattern| pattern.message.is_some()).count()
    }

    /// Compiles the patterns. One that does not compile is passed to `problem` and matches everything.
    pub(crate) fn compile(&self, problem: &mut impl FnMut(String)) -> Matches {
        if self.0.is_empty() {
            problem(
                "match is empty; remove it, or give patterns, for example [{ log_group = \"vpc-flow-logs*\" }]"
                    .to_owned(),
            );
        }
        let mut compile = |one: &Pattern| {
            let mut glob = |name: &str, glob: &Option<String>| {
                let compiled = compile_glob(glob.as_ref()?);
                compiled.map_err(|why| problem(format!("match.{name}{why}"))).ok()
            };
            let log_group = glob("log_group", &one.log_group);
            let log_stream = glob("log_stream", &one.log_stream);
            let key = glob("key", &one.key);
            let message = one.message.as_ref().and_then(|message| {
                let compiled = pattern::compile("match.message", message, Some("message = '^ERROR '"));
                compiled.map_err(|problems| problems.into_iter().for_each(&mut *problem)).ok()
            });
            Match { log_group, log_stream, key, message }
        };
        Matches(self.0.iter().map(&mut compile).collect())
    }
}

/// Compiles a glob, in which only `*` and `?` are special. The error is what follows the key's name in the problem.
fn compile_glob(glob: &str) -> Result<Regex, String> {
    if glob.len() > MAX_GLOB_BYTES {
        return Err(format!(
            " has more than {MAX_GLOB_BYTES} bytes; no log group, log stream or key is as long"
        ));
    }
    let mut pattern = "(?s)^".to_owned();
    let mut after_star = false;
    for character in glob.chars() {
        match character {
            '*' if after_star => {}
            '*' => pattern += ".*",
            '?' => pattern.push('.'),
            other => pattern += &regex::escape(other.encode_utf8(&mut [0; 4])),
        }
        after_star = character == '*';
    }
    pattern.push('$');
    Regex::new(&pattern)
        .map_err(|_| format!(" = {}: has too many wildcards; an example: \"vpc-flow-logs*\"", quoted(glob)))
}

/// Compiled patterns. Without any alternative they match everything.
#[derive(Debug, Default)]
pub struct Matches(Vec<Match>);

#[derive(Debug, Default)]
struct Match {
    log_group: Option<Regex>,
    log_stream: Option<Regex>,
    key: Option<Regex>,
    message: Option<bytes::Regex>,
}

impl Match {
    /// A value that a record lacks counts as empty.
    fn may_match(&self, log_group: Option<&str>, log_stream: Option<&str>, key: &str) -> bool {
        let fits = |glob: &Option<Regex>, value: Option<&str>| {
            glob.as_ref().is_none_or(|glob| glob.is_match(value.unwrap_or_default()))
        };
        fits(&self.log_group, log_group) && fits(&self.log_stream, log_stream) && fits(&self.key, Some(key))
    }
}

impl Matches {
    /// Returns whether the rule can take records of this log group, log stream and key. The message may decide otherwise.
    #[must_use]
    pub fn may_match(&self, log_group: Option<&str>, log_stream: Option<&str>, key: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|pattern| pattern.may_match(log_group, log_stream, key))
    }

    /// Returns whether the rule can take records of this object.
    #[must_use]
    pub fn key(&self, key: &str) -> bool {
        self.0.is_empty()
            || self.0.iter().any(|pattern| pattern.key.as_ref().is_none_or(|glob| glob.is_match(key)))
    }

    /// Returns whether any alternative looks at the message.
    #[must_use]
    pub fn has_message(&self) -> bool {
        self.0.iter().any(|pattern| pattern.message.is_some())
    }

    /// Returns whether the rule takes this record. Call it only if [`Matches::has_message`].
    #[must_use]
    pub fn record(
        &self,
        log_group: Option<&str>,
        log_stream: Option<&str>,
        key: &str,
        message: &[u8],
    ) -> bool {
        self.0.iter().any(|pattern| {
            pattern.may_match(log_group, log_stream, key)
                && pattern.message.as_ref().is_none_or(|regex| regex.is_match(message))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(glob: &str) -> Result<Matches, Vec<String>> {
        let mut problems = Vec::new();
        let pattern = Pattern { key: Some(glob.to_owned()), ..Pattern::default() };
        let matches = Patterns(vec![pattern]).compile(&mut |problem| problems.push(problem));
        if problems.is_empty() { Ok(matches) } else { Err(problems) }
    }

    #[test]
    fn only_star_and_question_mark_are_special() {
        for (glob, matching, other) in [
            ("2026/[$LATEST]0a", "2026/[$LATEST]0a", "2026/$0a"),
            ("{a,b}", "{a,b}", "a"),
            (r"a\*", r"a\b", "a*"),
            ("a?c", "aäc", "ac"),
            ("a**b", "a\n/b", "ac"),
            ("*", "", "\u{0}never"),
        ] {
            let matches = key(glob).unwrap();
            assert!(matches.key(matching), "{glob} does not match {matching}");
            assert!(glob == "*" || !matches.key(other), "{glob} matches {other}");
        }
    }

    #[test]
    fn a_glob_that_is_too_long_is_reported() {
        assert!(key(&"x".repeat(5000)).unwrap_err()[0].contains("more than 4096 bytes"));
        assert!(key(&"*?".repeat(2048)).is_ok());
    }
}
