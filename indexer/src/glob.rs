//! Patterns of names, in which `*` matches any text.

/// Returns whether a name exists that both patterns match. A pattern without `*` is a name.
pub(crate) fn intersect(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    // `ends[at]`: whether the remainder of `one` and `other[at..]` have a name in common. Begins with the empty remainder.
    let mut ends: Vec<bool> = (0..=other.len()).map(|at| is_only_stars(&other[at..])).collect();
    for start in (0..one.len()).rev() {
        let after = ends.clone();
        for at in (0..=other.len()).rev() {
            let char = other.get(at).copied();
            ends[at] = match (one[start], char) {
                // The star matches nothing, or one more character of a name of the other pattern.
                (b'*', _) => after[at] || (char.is_some() && ends[at + 1]),
                (_, Some(b'*')) => ends[at + 1] || after[at],
                (byte, Some(char)) => byte == char && after[at + 1],
                (_, None) => false,
            };
        }
    }
    ends[0]
}

fn is_only_stars(pattern: &[u8]) -> bool {
    pattern.iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_any_text_at_its_stars() {
        for pattern in ["a-b-c", "*", "a*", "*c", "a*c", "a*b*c", "*b*", "a-*-*", "**"] {
            assert!(intersect(pattern, "a-b-c") && intersect("a-b-c", pattern), "{pattern}");
        }
        for pattern in ["a-b", "b*", "*b", "a*b", "a-b-c-*", "a-b-*-c", "*d*", ""] {
            assert!(!intersect(pattern, "a-b-c") && !intersect("a-b-c", pattern), "{pattern}");
        }
    }

    #[test]
    fn two_patterns_intersect_if_one_name_matches_both() {
        for other in ["flowherd-vpc-2026*", "*", "*-undated", "flow*18", "flowherd-vpc-*-*", "f*v*0*"] {
            assert!(intersect("flowherd-vpc-*", other) && intersect(other, "flowherd-vpc-*"), "{other}");
        }
        for other in ["flowherd-waf-*", "logs-*", "flowherd-vpc", "a*vpc-*", "flowherd-vpc_flow-*"] {
            assert!(!intersect("flowherd-vpc-*", other) && !intersect(other, "flowherd-vpc-*"), "{other}");
        }
        assert!(intersect("a*c", "*b*") && !intersect("a*c", "*b"));
    }
}
