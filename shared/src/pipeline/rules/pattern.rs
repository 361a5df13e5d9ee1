//! Compiles the regular expressions of a configuration within limits of size, memory and time.

use regex::bytes::{Regex, RegexBuilder};

use crate::{
    limits::{MAX_REGEX_BYTES, MAX_REGEX_CACHE_BYTES, MAX_REGEX_COMPILED_BYTES, MAX_REGEX_SEARCH_BYTES},
    text::quoted,
};

/// Compiles a pattern within the limits of size and of a search's memory. `what` is its key in the configuration, and `example` a
/// correct line for a syntax error.
pub(super) fn compile(what: &str, pattern: &str, example: Option<&str>) -> Result<Regex, Vec<String>> {
    if pattern.len() > MAX_REGEX_BYTES {
        let (shown, length) = (quoted(pattern), pattern.len());
        return Err(vec![format!(
            "{what} = {shown}: has {length} bytes: the limit is {MAX_REGEX_BYTES}; name only the needed groups, and match \
             other text with .*"
        )]);
    }
    let regex = compile_up_to(what, pattern, example, MAX_REGEX_COMPILED_BYTES)?;
    // The memory of a search grows with the size of the pattern and with its groups.
    let per_group = MAX_REGEX_SEARCH_BYTES / regex.captures_len();
    if per_group < MAX_REGEX_COMPILED_BYTES {
        compile_up_to(what, pattern, example, per_group)
    } else {
        Ok(regex)
    }
}

/// The error is one line.
pub(super) fn compile_up_to(
    what: &str,
    pattern: &str,
    example: Option<&str>,
    limit: usize,
) -> Result<Regex, Vec<String>> {
    let shown = quoted(pattern);
    let message = |error: regex::Error| match error {
        regex::Error::CompiledTooBig(_) => format!(
            "{what} = {shown}: is too large when it is compiled: the limit is {limit} bytes with this number of groups; repeat less, \
             or write [0-9A-Za-z_] for \\w and [^ ] for \\S"
        ),
        error => {
            // The library marks the position on separate lines. The last line has the reason.
            let text = error.to_string();
            let why = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
            let example = example.map_or_else(String::new, |example| format!("; an example: {example}"));
            format!("{what} = {shown}: {why}{example}")
        }
    };
    let mut builder = RegexBuilder::new(pattern);
    builder.size_limit(limit).dfa_size_limit(MAX_REGEX_CACHE_BYTES);
    let regex = builder.build().map_err(|error| vec![message(error)])?;
    // The `str` API of the library refuses patterns that can match part of a character.
    match regex::Regex::new(pattern) {
        Err(error) if error.to_string().contains("UTF-8") => {
            Err(vec![format!("{what} = {shown}: can match part of a character; remove (?-u)")])
        }
        _ => Ok(regex),
    }
}
