//! Markdown documents of the repository, parsed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};

/// The repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Reads a text file by its path from the repository's root.
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A document. Inline text keeps the back quotes of code spans and drops other markup.
pub(crate) struct Document {
    /// Its path from the repository's root.
    pub(crate) path: String,
    pub(crate) headings: Vec<Heading>,
    /// Targets of links and images, as written.
    pub(crate) links: Vec<String>,
    /// Code spans outside of blocks.
    pub(crate) codes: BTreeSet<String>,
    /// Rows of tables, without their headers, each with the index of its heading.
    pub(crate) rows: Vec<(Option<usize>, Vec<String>)>,
    /// Paragraphs and list items, each with the index of its heading.
    paragraphs: Vec<(Option<usize>, String)>,
}

pub(crate) struct Heading {
    pub(crate) level: HeadingLevel,
    pub(crate) text: String,
    /// The anchor that GitHub gives it.
    pub(crate) anchor: String,
}

impl Document {
    /// Reads a document by its path from the repository's root.
    pub(crate) fn read(path: &str) -> Self {
        Self::parse(path, &read(path))
    }

    fn parse(path: &str, text: &str) -> Self {
        let mut document = Self {
            path: path.to_owned(),
            headings: Vec::new(),
            links: Vec::new(),
            codes: BTreeSet::new(),
            rows: Vec::new(),
            paragraphs: Vec::new(),
        };
        let mut anchors = BTreeMap::new();
        let (mut inline, mut cells, mut is_in_block) = (String::new(), Vec::new(), false);
        for event in Parser::new_ext(text, Options::ENABLE_TABLES) {
            let section = document.headings.len().checked_sub(1);
            match event {
                Event::Start(Tag::CodeBlock(_)) => is_in_block = true,
                Event::End(TagEnd::CodeBlock) => is_in_block = false,
                Event::End(TagEnd::TableHead) => cells.clear(),
                Event::End(TagEnd::TableRow) => document.rows.push((section, std::mem::take(&mut cells))),
                Event::End(TagEnd::TableCell) => cells.push(std::mem::take(&mut inline)),
                Event::Start(
                    Tag::Heading { .. } | Tag::Paragraph | Tag::Item | Tag::TableCell | Tag::TableRow,
                ) => inline.clear(),
                Event::End(TagEnd::Heading(level)) => {
                    let text = std::mem::take(&mut inline);
                    let anchor = anchor(&text, &mut anchors);
                    document.headings.push(Heading { level, text, anchor });
                }
                Event::End(TagEnd::Paragraph | TagEnd::Item) if !inline.is_empty() => {
                    document.paragraphs.push((section, std::mem::take(&mut inline)));
                }
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    document.links.push(dest_url.into_string());
                }
                Event::Code(code) => {
                    inline += &format!("`{code}`");
                    document.codes.insert(code.into_string());
                }
                Event::Text(text) if !is_in_block => inline += &text,
                Event::SoftBreak | Event::HardBreak => inline.push(' '),
                _ => {}
            }
        }
        document
    }

    /// Names of the tests in code spans after `Test:`, each with its heading.
    pub(crate) fn tests(&self) -> Vec<(&Heading, &str)> {
        let mut tests = Vec::new();
        for (section, text) in &self.paragraphs {
            let Some(heading) = section.map(|at| &self.headings[at]) else { continue };
            // A paragraph may hold several.
            let names = text.split("Test: `").skip(1).filter_map(|rest| rest.split('`').next());
            tests.extend(names.map(|name| (heading, name)));
        }
        tests
    }

    /// Headings of one level.
    pub(crate) fn headings_of(&self, level: HeadingLevel) -> impl Iterator<Item = &Heading> {
        self.headings.iter().filter(move |heading| heading.level == level)
    }

    /// Whether a heading has exactly this text.
    pub(crate) fn has_heading(&self, text: &str) -> bool {
        self.headings.iter().any(|heading| heading.text == text)
    }

    /// Rows of the tables directly below a heading.
    pub(crate) fn rows_below(&self, heading: &str) -> Vec<&[String]> {
        let is_below = |section: &Option<usize>| section.is_some_and(|at| self.headings[at].text == heading);
        let rows: Vec<&[String]> =
            self.rows.iter().filter(|(section, _)| is_below(section)).map(|(_, row)| &row[..]).collect();
        assert!(!rows.is_empty(), "{}: no table below \"{heading}\"", self.path);
        rows
    }

    /// Whether a code span is this text, or begins with it and a space.
    pub(crate) fn has_code(&self, text: &str) -> bool {
        self.codes.iter().any(|code| code.split([' ', '=']).next() == Some(text))
    }
}

/// GitHub's anchor of a heading: letters, digits, hyphens and underscores in lower case, spaces as hyphens, and a number
/// if an earlier heading has the same anchor
/// (<https://docs.github.com/en/get-started/writing-on-github/getting-started-with-writing-and-formatting-on-github/basic-writing-and-formatting-syntax#section-links>).
fn anchor(heading: &str, taken: &mut BTreeMap<String, u32>) -> String {
    let kept = heading.to_lowercase().replace(' ', "-");
    let kept: String = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect();
    let earlier = taken.entry(kept.clone()).or_default();
    *earlier += 1;
    if *earlier == 1 { kept } else { format!("{kept}-{}", *earlier - 1) }
}

#[test]
fn a_document_is_parsed_into_headings_links_tables_and_tests() {
    let text = "# A `b` … c_d\n\n[x](y.md#z) `one two`\nTest: `t1`\n\n## A b!\n## A b\n\n| h | i |\n| --- | --- |\n| `k` | v w |\n\n\
                ```\n[no](link) `code`\n# no heading\n```\n";
    let document = Document::parse("d.md", text);
    let anchors: Vec<&str> = document.headings.iter().map(|heading| &*heading.anchor).collect();
    assert_eq!(anchors, ["a-b--c_d", "a-b", "a-b-1"]);
    assert_eq!(document.links, ["y.md#z"]);
    assert_eq!(document.rows_below("A b"), [["`k`", "v w"]]);
    let tests: Vec<&str> = document.tests().into_iter().map(|(_, name)| name).collect();
    assert_eq!(tests, ["t1"]);
    assert!(document.has_code("one") && document.has_code("k") && !document.has_code("on"));
}
