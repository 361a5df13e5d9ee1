//! The problems of one file. A million lines can have the same problem.

use crate::problems::Problems;

/// Problems of one kind that are reported with their lines.
const MAX_OF_KIND: usize = 3;

/// Collects the problems of a file: the first ones of each kind, and the count of the others.
#[derive(Debug)]
pub(super) struct FileProblems<'a> {
    file: &'a str,
    kinds: Vec<Kind>,
}

#[derive(Debug)]
struct Kind {
    name: &'static str,
    first: Vec<String>,
    count: usize,
}

impl<'a> FileProblems<'a> {
    pub(super) fn new(file: &'a str) -> Self {
        Self { file, kinds: Vec::new() }
    }

    /// Adds a problem. Its text continues a line that begins with the name of the file.
    pub(super) fn add(&mut self, kind: &'static str, text: impl FnOnce() -> String) {
        let at = self.kinds.iter().position(|other| other.name == kind).unwrap_or_else(|| {
            self.kinds.push(Kind { name: kind, first: Vec::new(), count: 0 });
            self.kinds.len() - 1
        });
        let kind = &mut self.kinds[at];
        kind.count += 1;
        if kind.first.len() < MAX_OF_KIND {
            kind.first.push(text());
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    /// Adds them to the problems of all files.
    pub(super) fn finish(self, problems: &mut Problems) {
        for Kind { first, count, .. } in self.kinds {
            let others = count - first.len();
            problems.extend(first.iter().map(|problem| format!("{}: {problem}", self.file)));
            if others > 0 {
                problems.add(format!("{}: and {others} more lines with this problem", self.file));
            }
        }
    }
}
