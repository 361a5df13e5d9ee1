//! Which records a rule takes, by patterns (globs) for the log group, the log stream and the object's key.

use globset::{ErrorKind, GlobBuilder, GlobSet};
use serde::{Deserialize, Serialize};

/// Names have at most 512 characters and keys 1,024 bytes. Nested braces are followed by recursion.
const MAX_PATTERN_BYTES: usize = 4096;

/// Which records a rule takes. A pattern that is missing takes all; a record that has no such value counts as empty.
#[derive(Debug, Default)]
pub struct Matches {
    log_group: Option<GlobSet>,
    log_stream: Option<GlobSet>,
    key: Option<GlobSet>,
}

impl Matches {
    /// Whether a record from there is taken.
    #[must_use]
    pub fn record(&self, log_group: Option<&str>, log_stream: Option<&str>, key: &str) -> bool {
        let takes = |glob: &Option<GlobSet>, value: Option<&str>| {
            glob.as_ref().is_none_or(|glob| glob.is_match(value.unwrap_or_default()))
        };
        takes(&self.log_group, log_group) && takes(&self.log_stream, log_stream) && self.key(key)
    }

    /// Whether records of this object can be taken at all.
    #[must_use]
    pub fn key(&self, key: &str) -> bool {
        self.key.as_ref().is_none_or(|glob| glob.is_match(key))
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MatchFile {
    log_group: Option<String>,
    log_stream: Option<String>,
    key: Option<String>,
}

impl MatchFile {
    /// The patterns compiled; what is `wrong` with one is told, and it takes everything.
    pub(super) fn compiled(&self, wrong: &mut impl FnMut(String)) -> Matches {
        let mut glob = |name: &str, pattern: &Option<String>| {
            let pattern = pattern.as_ref()?;
            if pattern.len() > MAX_PATTERN_BYTES {
                wrong(format!(
                    "match.{name} has more than {MAX_PATTERN_BYTES} bytes; no name or key is as long"
                ));
                return None;
            }
            let glob = GlobBuilder::new(pattern).literal_separator(false).backslash_escape(true).build();
            // As a set of one: a matcher by itself panics at a pattern that cannot be compiled.
            match glob.and_then(|glob| GlobSet::builder().add(glob).build()) {
                Ok(glob) => Some(glob),
                Err(error) => {
                    let told = error.kind().to_string();
                    // Of a pattern that is too large or too deep the library shows all, and says why on the last line.
                    let last = told.lines().last().unwrap_or_default().trim_start_matches("error: ");
                    let why = if matches!(error.kind(), ErrorKind::Regex(_)) { last } else { &told };
                    let why = why.replace(char::is_control, " ");
                    wrong(format!("match.{name} = {pattern:?}: {why}; an example: \"vpc-flow-logs*\""));
                    None
                }
            }
        };
        Matches {
            log_group: glob("log_group", &self.log_group),
            log_stream: glob("log_stream", &self.log_stream),
            key: glob("key", &self.key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_that_cannot_be_compiled_is_a_mistake_like_any_other() {
        let matching = |pattern: &str| {
            let mut problems = Vec::new();
            let file = MatchFile { key: Some(pattern.to_owned()), ..MatchFile::default() };
            let matches = file.compiled(&mut |problem| problems.push(problem));
            if problems.is_empty() { Ok(matches) } else { Err(problems) }
        };
        for pattern in ["{".repeat(300) + "a" + &"}".repeat(300), "{".repeat(2000) + "a" + &"}".repeat(2000)]
        {
            let problems = matching(&pattern).unwrap_err();
            assert!(problems.len() == 1 && problems[0].contains("match.key"), "{problems:?}");
            assert!(!problems[0].contains('\n'), "{problems:?}");
        }
        assert!(matching(&"x".repeat(5000)).unwrap_err()[0].contains("more than 4096 bytes"));
        assert!(matching("[\n-\t]").unwrap_err()[0].contains("invalid range"));
        let nested = "{".repeat(100) + "a,b" + &"}".repeat(100);
        assert!(matching(&nested).unwrap().key("b"));
    }
}
