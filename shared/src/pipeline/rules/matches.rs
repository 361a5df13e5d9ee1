//! The records that a rule takes, by globs for log group, log stream and key.

use globset::{ErrorKind, GlobBuilder, GlobSet};
use serde::{Deserialize, Serialize};

/// Bytes of a glob. Log group names have at most 512 characters and keys 1,024 bytes. `globset` follows nested braces by
/// recursion, so the limit also bounds the stack.
const MAX_PATTERN_BYTES: usize = 4096;

/// Globs as a rule's `match` gives them.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Patterns {
    log_group: Option<String>,
    log_stream: Option<String>,
    key: Option<String>,
}

impl Patterns {
    /// Compiles the globs. A glob that does not compile is passed to `problem` and matches everything.
    pub(crate) fn compile(&self, problem: &mut impl FnMut(String)) -> Matches {
        let mut glob = |name: &str, pattern: &Option<String>| {
            let compiled = compile(pattern.as_ref()?);
            compiled.map_err(|why| problem(format!("match.{name}{why}"))).ok()
        };
        Matches {
            log_group: glob("log_group", &self.log_group),
            log_stream: glob("log_stream", &self.log_stream),
            key: glob("key", &self.key),
        }
    }
}

/// The error is what follows the key's name in the problem.
fn compile(pattern: &str) -> Result<GlobSet, String> {
    if pattern.len() > MAX_PATTERN_BYTES {
        return Err(format!(
            " has more than {MAX_PATTERN_BYTES} bytes; no log group, log stream or key is as long"
        ));
    }
    let glob = GlobBuilder::new(pattern).literal_separator(false).backslash_escape(true).build();
    // A set of one glob, because `Glob::compile_matcher` panics at a glob that the regex engine refuses.
    glob.and_then(|glob| GlobSet::builder().add(glob).build()).map_err(|error| {
        let message = error.kind().to_string();
        // The regex engine repeats the whole pattern, and gives the reason on the last line.
        let last = message.lines().last().unwrap_or_default().trim_start_matches("error: ");
        let why = if matches!(error.kind(), ErrorKind::Regex(_)) { last } else { &message };
        let why = why.replace(char::is_control, " ");
        format!(" = {pattern:?}: {why}; an example: \"vpc-flow-logs*\"")
    })
}

/// Compiled globs. A missing glob matches everything, and a value that a record lacks counts as empty.
#[derive(Debug, Default)]
pub struct Matches {
    log_group: Option<GlobSet>,
    log_stream: Option<GlobSet>,
    key: Option<GlobSet>,
}

impl Matches {
    /// Returns whether the rule takes a record of this origin.
    #[must_use]
    pub fn record(&self, log_group: Option<&str>, log_stream: Option<&str>, key: &str) -> bool {
        let takes = |glob: &Option<GlobSet>, value: Option<&str>| {
            glob.as_ref().is_none_or(|glob| glob.is_match(value.unwrap_or_default()))
        };
        takes(&self.log_group, log_group) && takes(&self.log_stream, log_stream) && self.key(key)
    }

    /// Returns whether the rule can take records of this object.
    #[must_use]
    pub fn key(&self, key: &str) -> bool {
        self.key.as_ref().is_none_or(|glob| glob.is_match(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glob_that_does_not_compile_is_reported() {
        let compile = |pattern: &str| {
            let mut problems = Vec::new();
            let patterns = Patterns { key: Some(pattern.to_owned()), ..Patterns::default() };
            let matches = patterns.compile(&mut |problem| problems.push(problem));
            if problems.is_empty() { Ok(matches) } else { Err(problems) }
        };
        for pattern in ["{".repeat(300) + "a" + &"}".repeat(300), "{".repeat(2000) + "a" + &"}".repeat(2000)]
        {
            let problems = compile(&pattern).unwrap_err();
            assert!(problems.len() == 1 && problems[0].contains("match.key"), "{problems:?}");
            assert!(!problems[0].contains('\n'), "{problems:?}");
        }
        assert!(compile(&"x".repeat(5000)).unwrap_err()[0].contains("more than 4096 bytes"));
        assert!(compile("[\n-\t]").unwrap_err()[0].contains("invalid range"));
        let nested = "{".repeat(100) + "a,b" + &"}".repeat(100);
        assert!(compile(&nested).unwrap().key("b"));
    }
}
