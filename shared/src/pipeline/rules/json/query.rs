//! A JSONPath query (RFC 9535), compiled from the syntax tree of the crate `jsonpath-rust`, within limits.
//!
//! [`select`](super::select) evaluates it on a tape of the message's values. The evaluation of `jsonpath-rust` would need each record as a
//! tree of values, loses the text of numbers, compiles regular expressions for each value, and has no limit of work.

use jsonpath_rust::parser::{
    errors::JsonPathError,
    model::{
        Comparable, Comparison, Filter as FilterSyntax, FilterAtom, FnArg, Literal as LiteralSyntax,
        Segment as SegmentSyntax, Selector as SelectorSyntax, SingularQuery, SingularQuerySegment, Test,
        TestFunction,
    },
    parse_json_path,
};

use super::{
    pattern::Pattern,
    pointer::{MAX_STEPS, array_index},
};
use crate::text::quoted;

/// Maximum bytes of a query.
const MAX_BYTES: usize = 1024;
/// Maximum depth of parentheses and brackets. The parser recurses, and tries nested function calls several times.
const MAX_DEPTH: usize = 8;
/// Maximum `..` in a query. Each visits values recursively.
const MAX_DESCENDANTS: usize = 4;

/// The segments of a query below the keys that it begins with.
#[derive(Debug)]
pub(super) struct Query {
    pub(super) segments: Vec<Segment>,
}

#[derive(Debug)]
pub(super) struct Segment {
    /// Whether it also applies to all descendants of a value.
    pub(super) is_descendant: bool,
    pub(super) selectors: Vec<Selector>,
}

#[derive(Debug)]
pub(super) enum Selector {
    Name(String),
    Wildcard,
    Index(i64),
    Slice { start: Option<i64>, end: Option<i64>, step: i64 },
    Filter(Filter),
}

#[derive(Debug)]
pub(super) enum Filter {
    Or(Vec<Filter>),
    And(Vec<Filter>),
    Not(Box<Filter>),
    Exists(Path),
    Matches(Operand, Pattern),
    Compare(Operand, Operator, Operand),
}

/// A query inside a filter.
#[derive(Debug)]
pub(super) struct Path {
    /// Whether it begins at the whole record.
    pub(super) is_absolute: bool,
    pub(super) segments: Vec<Segment>,
}

/// One side of a comparison.
#[derive(Debug)]
pub(super) enum Operand {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    /// The value of the only node.
    Value(Path),
    Length(Box<Operand>),
    Count(Path),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Compiles a query. Returns the keys that it begins with, and what follows them. The error is one line.
pub(super) fn compile(text: &str) -> Result<(Vec<String>, Query), String> {
    let problem = |why: &str| format!("jsonpath = {}: {why}", quoted(text));
    if text.len() > MAX_BYTES {
        let bytes = text.len();
        return Err(problem(&format!("has {bytes} bytes: the limit is {MAX_BYTES}")));
    }
    let (depth, descendants) = measure(text);
    if depth > MAX_DEPTH {
        return Err(problem(&format!("nested deeper than {MAX_DEPTH} parentheses and brackets")));
    }
    if descendants > MAX_DESCENDANTS {
        return Err(problem(&format!("has {descendants} times '..': the limit is {MAX_DESCENDANTS}")));
    }
    let syntax = parse_json_path(text).map_err(|error| {
        problem(&format!(
            "is not a JSONPath query: {}; an example: \"$.headers[?@.name == 'Host'].value\"",
            reason(&error)
        ))
    })?;
    let segments = segments(&syntax.segments).map_err(|why| problem(&why))?;
    let mut keys = Vec::new();
    // An absolute path in a filter needs the whole record.
    let max_keys = if segments.iter().any(Segment::has_absolute_path) { 0 } else { MAX_STEPS };
    let mut rest = segments.into_iter().peekable();
    while keys.len() < max_keys
        && let Some(segment) = rest.next_if(|segment| segment.key().is_some())
    {
        keys.extend(segment.key().map(str::to_owned));
    }
    Ok((keys, Query { segments: rest.collect() }))
}

impl Segment {
    /// Returns the key if it selects only that, and a pointer's step of the same text selects the same.
    fn key(&self) -> Option<&str> {
        match &self.selectors[..] {
            [Selector::Name(name)] if !self.is_descendant && array_index(name).is_none() => Some(name),
            _ => None,
        }
    }

    fn has_absolute_path(&self) -> bool {
        self.selectors
            .iter()
            .any(|selector| matches!(selector, Selector::Filter(filter) if filter.has_absolute_path()))
    }
}

impl Filter {
    fn has_absolute_path(&self) -> bool {
        match self {
            Self::Or(filters) | Self::And(filters) => filters.iter().any(Self::has_absolute_path),
            Self::Not(filter) => filter.has_absolute_path(),
            Self::Exists(path) => path.has_absolute_path(),
            Self::Matches(operand, _) => operand.has_absolute_path(),
            Self::Compare(left, _, right) => left.has_absolute_path() || right.has_absolute_path(),
        }
    }
}

impl Operand {
    fn has_absolute_path(&self) -> bool {
        match self {
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::Text(_) => false,
            Self::Value(path) | Self::Count(path) => path.has_absolute_path(),
            Self::Length(operand) => operand.has_absolute_path(),
        }
    }
}

/// Returns the maximum depth of parentheses and brackets, and the count of `..`, outside of strings.
fn measure(text: &str) -> (usize, usize) {
    let (mut depth, mut max, mut descendants) = (0_usize, 0, 0);
    let mut quote = None;
    let mut before = b' ';
    for byte in text.bytes() {
        match byte {
            // The backslash and the byte after it are part of the string.
            _ if quote.is_some() && before == b'\\' => {
                before = b' ';
                continue;
            }
            _ if quote.is_some() => quote = quote.filter(|quote| *quote != byte),
            b'"' | b'\'' => quote = Some(byte),
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth = depth.saturating_sub(1),
            b'.' if before == b'.' => descendants += 1,
            _ => {}
        }
        max = max.max(depth);
        before = byte;
    }
    (max, descendants)
}

/// Returns the parser's reason on one line.
fn reason(error: &JsonPathError) -> String {
    let JsonPathError::PestError(error) = error else {
        return error.to_string().replace('\n', " ");
    };
    // The parser draws the query with a mark below it. The first line has the position, the last one the reason.
    let text = error.to_string();
    let column = text.lines().next().and_then(|line| line.rsplit(':').next()).unwrap_or_default();
    let why = text.lines().last().unwrap_or_default().trim().trim_start_matches("= ");
    format!("character {column}: {why}")
}

fn segments(syntax: &[SegmentSyntax]) -> Result<Vec<Segment>, String> {
    syntax.iter().map(segment).collect()
}

fn segment(syntax: &SegmentSyntax) -> Result<Segment, String> {
    let selectors = match syntax {
        SegmentSyntax::Descendant(inner) => {
            return Ok(Segment { is_descendant: true, ..segment(inner)? });
        }
        SegmentSyntax::Selector(one) => vec![selector(one)?],
        SegmentSyntax::Selectors(all) => all.iter().map(selector).collect::<Result<_, _>>()?,
    };
    Ok(Segment { is_descendant: false, selectors })
}

fn selector(syntax: &SelectorSyntax) -> Result<Selector, String> {
    Ok(match syntax {
        SelectorSyntax::Name(name) => Selector::Name(name.clone()),
        SelectorSyntax::Wildcard => Selector::Wildcard,
        SelectorSyntax::Index(index) => Selector::Index(*index),
        SelectorSyntax::Slice(start, end, step) => {
            Selector::Slice { start: *start, end: *end, step: step.unwrap_or(1) }
        }
        SelectorSyntax::Filter(syntax) => Selector::Filter(filter(syntax)?),
    })
}

fn filter(syntax: &FilterSyntax) -> Result<Filter, String> {
    let all = |filters: &[FilterSyntax]| filters.iter().map(filter).collect::<Result<_, _>>();
    let (inner, not) = match syntax {
        FilterSyntax::Or(filters) => return Ok(Filter::Or(all(filters)?)),
        FilterSyntax::And(filters) => return Ok(Filter::And(all(filters)?)),
        FilterSyntax::Atom(FilterAtom::Comparison(comparison)) => return compare(comparison),
        FilterSyntax::Atom(FilterAtom::Filter { expr, not }) => (filter(expr)?, *not),
        FilterSyntax::Atom(FilterAtom::Test { expr, not }) => (test(expr)?, *not),
    };
    Ok(if not { Filter::Not(Box::new(inner)) } else { inner })
}

fn test(syntax: &Test) -> Result<Filter, String> {
    let Test::Function(function) = syntax else { return path(syntax).map(Filter::Exists) };
    let (value, pattern, is_whole) = match &**function {
        TestFunction::Match(value, pattern) => (value, pattern, true),
        TestFunction::Search(value, pattern) => (value, pattern, false),
        TestFunction::Length(_) | TestFunction::Count(_) | TestFunction::Value(_) => {
            return Err(
                "length(), count() and value() need a comparison, for example length(@.a) > 0".to_owned()
            );
        }
        TestFunction::Custom(name, _) => return Err(unknown_function(name)),
    };
    let FnArg::Literal(LiteralSyntax::String(pattern)) = pattern else {
        return Err("match() and search() need a regular expression in quotes".to_owned());
    };
    Ok(Filter::Matches(argument(value)?, Pattern::new(pattern, is_whole)?))
}

fn unknown_function(name: &str) -> String {
    format!("unknown function {name}(); the functions are length, count, value, match and search")
}

fn compare(syntax: &Comparison) -> Result<Filter, String> {
    let operator = match syntax {
        Comparison::Eq(..) => Operator::Equal,
        Comparison::Ne(..) => Operator::NotEqual,
        Comparison::Gt(..) => Operator::Greater,
        Comparison::Gte(..) => Operator::GreaterOrEqual,
        Comparison::Lt(..) => Operator::Less,
        Comparison::Lte(..) => Operator::LessOrEqual,
    };
    let (left, right) = syntax.vals();
    Ok(Filter::Compare(comparable(left)?, operator, comparable(right)?))
}

fn comparable(syntax: &Comparable) -> Result<Operand, String> {
    Ok(match syntax {
        Comparable::Literal(value) => literal(value),
        Comparable::Function(syntax) => function(syntax)?,
        Comparable::SingularQuery(query) => {
            let (is_absolute, steps) = match query {
                SingularQuery::Root(steps) => (true, steps),
                SingularQuery::Current(steps) => (false, steps),
            };
            let segment = |step: &SingularQuerySegment| {
                let selector = match step {
                    SingularQuerySegment::Index(index) => Selector::Index(*index),
                    SingularQuerySegment::Name(name) => Selector::Name(name.clone()),
                };
                Segment { is_descendant: false, selectors: vec![selector] }
            };
            Operand::Value(Path { is_absolute, segments: steps.iter().map(segment).collect() })
        }
    })
}

fn literal(syntax: &LiteralSyntax) -> Operand {
    match syntax {
        LiteralSyntax::Int(number) => Operand::Number(*number as f64),
        LiteralSyntax::Float(number) => Operand::Number(*number),
        LiteralSyntax::String(text) => Operand::Text(text.clone()),
        LiteralSyntax::Bool(value) => Operand::Bool(*value),
        LiteralSyntax::Null => Operand::Null,
    }
}

/// Compiles a function that returns a value.
fn function(syntax: &TestFunction) -> Result<Operand, String> {
    let nodes = |argument: &FnArg| match argument {
        FnArg::Test(query) if !matches!(**query, Test::Function(_)) => path(query),
        _ => Err("count() and value() need a query, for example count(@.a[*])".to_owned()),
    };
    match syntax {
        TestFunction::Length(value) => Ok(Operand::Length(Box::new(argument(value)?))),
        TestFunction::Count(query) => Ok(Operand::Count(nodes(query)?)),
        TestFunction::Value(query) => Ok(Operand::Value(nodes(query)?)),
        TestFunction::Match(..) | TestFunction::Search(..) => {
            Err("match() and search() cannot be compared; write !match(…) for its opposite".to_owned())
        }
        TestFunction::Custom(name, _) => Err(unknown_function(name)),
    }
}

/// Compiles the argument of a function that needs one value.
fn argument(syntax: &FnArg) -> Result<Operand, String> {
    match syntax {
        FnArg::Literal(value) => Ok(literal(value)),
        FnArg::Test(query) => {
            match &**query {
                Test::Function(syntax) => function(syntax),
                query => match path(query)? {
                    path if path.is_singular() => Ok(Operand::Value(path)),
                    _ => Err("a function needs one value, but this query can select several; use value()"
                        .to_owned()),
                },
            }
        }
        FnArg::Filter(_) => Err("a function needs a value, but this argument is a condition".to_owned()),
    }
}

fn path(syntax: &Test) -> Result<Path, String> {
    match syntax {
        Test::RelQuery(syntax) => Ok(Path { is_absolute: false, segments: segments(syntax)? }),
        Test::AbsQuery(query) => Ok(Path { is_absolute: true, segments: segments(&query.segments)? }),
        Test::Function(_) => Err("a query is needed instead of a function".to_owned()),
    }
}

impl Path {
    fn has_absolute_path(&self) -> bool {
        self.is_absolute || self.segments.iter().any(Segment::has_absolute_path)
    }

    /// Returns whether it selects one node at most.
    fn is_singular(&self) -> bool {
        let is_single = |segment: &Segment| {
            !segment.is_descendant
                && matches!(&segment.selectors[..], [Selector::Name(_) | Selector::Index(_)])
        };
        self.segments.iter().all(is_single)
    }
}
