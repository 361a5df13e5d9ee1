//! Charts as SVG in the page. Their colours are classes of the style sheet.
//!
//! A chart has no text, because it is stretched to the width of the page. The page has the labels, and a table with the
//! numbers. Each mark has a title, which browsers show beside the pointer.

use maud::{Markup, PreEscaped};
use svg::{
    Document, Node,
    node::element::{Description, Rectangle, Title},
};

/// Height of a chart of columns, in units of the drawing.
const HEIGHT: f64 = 100.0;
/// Height of a stacked bar.
const BAR_HEIGHT: f64 = 10.0;
/// Minimum height of a column or width of a part that is not zero, so that it can be seen.
const MIN: f64 = 1.5;

/// One part of a stacked bar, or one column.
pub(super) struct Mark {
    pub(super) class: &'static str,
    pub(super) value: u64,
    /// What it shows, with the number.
    pub(super) title: String,
}

/// Returns one bar with a part for each mark.
pub(super) fn stacked_bar(title: &str, marks: &[Mark]) -> Markup {
    let total: f64 = marks.iter().map(|mark| mark.value as f64).sum();
    let width = |mark: &Mark| match mark.value {
        0 => 0.0,
        value => (value as f64 * 100.0 / total).max(MIN / 3.0),
    };
    let whole: f64 = marks.iter().map(width).sum();
    let description: Vec<&str> = marks.iter().map(|mark| &*mark.title).collect();
    let mut document = drawing("bar", whole.max(1.0), BAR_HEIGHT, title, &description.join(", "));
    let mut at = 0.0;
    for mark in marks.iter().filter(|mark| mark.value > 0) {
        document = document.add(rectangle(mark, at, 0.0, width(mark), BAR_HEIGHT));
        at += width(mark);
    }
    PreEscaped(document.to_string())
}

/// Returns a column for each mark, from left to right. The highest one has the full height.
pub(super) fn columns(title: &str, description: &str, marks: &[Mark]) -> Markup {
    let max = marks.iter().map(|mark| mark.value).max().unwrap_or(0).max(1);
    let mut document = drawing("columns", marks.len().max(1) as f64, HEIGHT, title, description);
    for (at, mark) in marks.iter().enumerate() {
        let (x, width) = (at as f64 + 0.1, 0.8);
        document = document.add(match mark.value {
            // Full height, so that a gap is visible.
            0 => rectangle(mark, x, 0.0, width, HEIGHT),
            value => {
                let height = (value as f64 * HEIGHT / max as f64).max(MIN);
                rectangle(mark, x, HEIGHT - height, width, height)
            }
        });
    }
    PreEscaped(document.to_string())
}

fn drawing(class: &str, width: f64, height: f64, title: &str, description: &str) -> Document {
    Document::new()
        .set("class", class)
        .set("role", "img")
        .set("viewBox", format!("0 0 {} {}", rounded(width), rounded(height)))
        .set("preserveAspectRatio", "none")
        .add(Title::new(title))
        .add(Description::new().add(svg::node::Text::new(description)))
}

fn rectangle(mark: &Mark, x: f64, y: f64, width: f64, height: f64) -> Rectangle {
    let mut rectangle = Rectangle::new()
        .set("class", mark.class)
        .set("x", rounded(x))
        .set("y", rounded(y))
        .set("width", rounded(width))
        .set("height", rounded(height));
    rectangle.append(Title::new(mark.title.as_str()));
    rectangle
}

/// Two decimals are finer than a pixel.
fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
