//! Distinguishes binary data of an unknown format from text in which some records have hostile or damaged bytes.

/// Bytes at the start of text that are clean: records of logs begin with a time, a name or a bracket.
const START_BYTES: usize = 8;

/// Returns whether text may have this byte: all but control characters. Of those, tab, line breaks, form feed, backspace and
/// escape (terminal colours) occur in logs.
pub(super) fn is_text_byte(byte: u8) -> bool {
    !matches!(byte, 0..=7 | 0x0b | 0x0e..=0x1a | 0x1c..=0x1f | 0x7f)
}

/// Returns whether `head` is binary; `whole` if it is the whole layer. docs/semantics.md promises this rule:
///
/// - at least 1 byte in 64 is a control character, and
/// - lines that are clean (UTF-8 without control characters) make up less than half of `head`, and
/// - one of the first 8 bytes is a control character; or one of them is not UTF-8, and at least 1 byte in 8 of `head` is not
///   clean; or no line is clean, no further line begins with 8 clean bytes, and at least a
///   quarter of all bytes are not clean.
///
/// A log with hostile bytes in some records still has clean starts and clean lines, so it remains text.
pub(super) fn is_binary(head: &[u8], whole: bool) -> bool {
    let controls = head.iter().filter(|byte| !is_text_byte(**byte)).count();
    if controls == 0 || controls * 64 < head.len() {
        return false;
    }
    let (mut clean, mut clean_starts, mut invalid) = (0, 0, 0);
    for (number, line) in head.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let is_cut = !whole && !line.ends_with(b"\n");
        let invalid_here = invalid_utf8(line, is_cut);
        invalid += invalid_here;
        if invalid_here == 0 && line.iter().all(|byte| is_text_byte(*byte)) && line.len() > 1 {
            clean += line.len();
        }
        if number > 0 && line.get(..START_BYTES).is_some_and(is_clean_start) {
            clean_starts += 1;
        }
    }
    let unclean = controls + invalid;
    let is_dense = clean == 0 && clean_starts == 0 && unclean * 4 >= head.len();
    let start = &head[..head.len().min(START_BYTES)];
    let begins_binary = !start.iter().all(|byte| is_text_byte(*byte))
        || invalid_utf8(start, true) > 0 && unclean * 8 >= head.len();
    clean * 2 < head.len() && (begins_binary || is_dense)
}

/// Whether the first 8 bytes are clean.
pub(super) fn begins_as_text(head: &[u8]) -> bool {
    head.get(..START_BYTES).is_some_and(is_clean_start)
}

fn is_clean_start(start: &[u8]) -> bool {
    start.iter().all(|byte| is_text_byte(*byte)) && invalid_utf8(start, true) == 0
}

/// Counts bytes that are not UTF-8. A sequence that is cut at the end counts unless `is_cut`.
fn invalid_utf8(bytes: &[u8], is_cut: bool) -> usize {
    let mut chunks = bytes.utf8_chunks().peekable();
    let mut invalid = 0;
    while let Some(chunk) = chunks.next() {
        let is_end = chunks.peek().is_none();
        let incomplete =
            || std::str::from_utf8(chunk.invalid()).is_err_and(|error| error.error_len().is_none());
        if !(is_end && is_cut && incomplete()) {
            invalid += chunk.invalid().len();
        }
    }
    invalid
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that are always the same.
    fn noise(length: usize, mut seed: u64) -> Vec<u8> {
        let mut next = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as u8
        };
        (0..length).map(|_| next()).collect()
    }

    #[test]
    fn compressed_and_encrypted_bytes_are_binary_at_any_length_that_says_something() {
        for length in [64, 100, 1000, 4096] {
            for seed in 0..200 {
                assert!(is_binary(&noise(length, seed), true), "{length} bytes of seed {seed}");
            }
        }
        let prefixed = [&b"SOMEFORMAT-1.0 "[..], &noise(500, 1)].concat();
        assert!(is_binary(&prefixed, true));
        assert!(is_binary(&[0; 4096], false));
    }

    #[test]
    fn text_with_hostile_bytes_in_some_records_is_text() {
        let line = b"2026-02-18T00:00:00Z GET /index.html HTTP/1.1 200\n".to_vec();
        let attack = [&b"2026-02-18T00:00:01Z GET /"[..], &noise(300, 7).replace(b"\n"), b" 400\n"].concat();
        // Also if there is nothing else, as in the minutes of an attack.
        for text in [attack.repeat(20), attack.repeat(2), [line.repeat(20), attack.clone()].concat()] {
            assert!(!is_binary(&text[..text.len().min(4096)], text.len() <= 4096), "{}", text.len());
        }
        // A record that begins with them, and others around it.
        let raw = [&noise(300, 9).replace(b"\n")[..], b"\n", &line.repeat(10)].concat();
        assert!(!is_binary(&raw, true));
        for latin in [&b"\xe9t\xe9 chaud\n"[..], b"caf\xe9", b"\x1b[31merror\x1b[0m\n", b"", b"a", b"\n\n"] {
            assert!(!is_binary(latin, true), "{latin:?}");
        }
    }

    trait Without {
        fn replace(self, byte: &[u8]) -> Vec<u8>;
    }

    impl Without for Vec<u8> {
        fn replace(mut self, byte: &[u8]) -> Vec<u8> {
            self.retain(|other| !byte.contains(other));
            self
        }
    }
}
