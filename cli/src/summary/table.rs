//! Tables of text that fit the terminal. A table that is too wide becomes vertical: one line for each value.

use comfy_table::{Table, presets::NOTHING};
use console::{Style, measure_text_width};

use super::printable;

/// A value of a table.
struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    fn new(text: &str, style: Style) -> Self {
        Self { text: printable(text), style }
    }

    fn plain(text: &str) -> Self {
        Self::new(text, Style::new())
    }

    fn width(&self) -> usize {
        measure_text_width(&self.text)
    }
}

/// Returns a table without borders, with right-aligned columns of numbers. If it is wider than `width`, each row becomes a
/// block of lines with the column's name and the value.
pub(crate) fn render<C: AsRef<str>>(
    head: &[C],
    rows: &[Vec<String>],
    is_number: impl Fn(usize) -> bool,
    width: Option<usize>,
) -> String {
    render_styled(head, rows, is_number, |_, _| Style::new(), width)
}

/// Returns a table as [`render`] does, with a style for each value, which `style` returns for a column and its text.
pub(crate) fn render_styled<C: AsRef<str>>(
    head: &[C],
    rows: &[Vec<String>],
    is_number: impl Fn(usize) -> bool,
    style: impl Fn(usize, &str) -> Style,
    width: Option<usize>,
) -> String {
    let head = || head.iter().map(|name| Cell::plain(name.as_ref()));
    let cells = |row: &Vec<String>| -> Vec<Cell> {
        row.iter().enumerate().map(|(column, text)| Cell::new(text, style(column, text))).collect()
    };
    let lines = std::iter::once(head().collect()).chain(rows.iter().map(cells));
    let text = aligned(&lines.collect::<Vec<_>>(), is_number);
    if width.is_none_or(|width| widest(&text) <= width) || rows.is_empty() {
        return text;
    }
    // A value that is wider than the terminal continues on the next line there, so that it can be copied.
    let block = |row| {
        let lines = head().zip(cells(row)).map(|(name, value)| vec![name, value]);
        aligned(&lines.collect::<Vec<_>>(), |_| false)
    };
    rows.iter().map(block).collect::<Vec<_>>().join("\n")
}

/// Returns the width of the widest line.
pub(crate) fn widest(text: &str) -> usize {
    text.lines().map(measure_text_width).max().unwrap_or_default()
}

/// Returns lines whose columns are as wide as their widest cell.
fn aligned(lines: &[Vec<Cell>], is_number: impl Fn(usize) -> bool) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column| lines.iter().filter_map(|line| line.get(column)).map(Cell::width).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or_default()).collect();
    let text = |line: &Vec<Cell>| {
        let cells = line.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            let (blanks, text) = (" ".repeat(width - cell.width()), cell.style.apply_to(&cell.text));
            if is_number(column) { format!("{blanks}{text}") } else { format!("{text}{blanks}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    lines.iter().map(text).collect()
}

/// Returns a table without borders.
pub(crate) fn plain() -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table
}

/// Returns the table's text without surrounding blanks.
pub(crate) fn finish(table: &Table) -> String {
    let lines =
        table.lines().map(|line| line.strip_prefix(' ').unwrap_or(&line).trim_end().to_owned() + "\n");
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(width: Option<usize>) -> String {
        let row =
            |run: &str, prefix: &str, listed: &str| [run, prefix, "done", listed].map(str::to_owned).to_vec();
        let rows = [row("first", "firehose/2026/02/18/", "24"), row("second", "p/", "1,200")];
        render(&["run", "prefix", "state", "listed"], &rows, |column| column == 3, width)
    }

    #[test]
    fn a_table_that_is_wider_than_the_terminal_becomes_vertical() {
        let wide = "run     prefix                state  listed\n\
                    first   firehose/2026/02/18/  done       24\n\
                    second  p/                    done    1,200\n";
        let vertical = "run     first\nprefix  firehose/2026/02/18/\nstate   done\nlisted  24\n\n\
                        run     second\nprefix  p/\nstate   done\nlisted  1,200\n";
        for (width, expected) in [(None, wide), (Some(200), wide), (Some(43), wide), (Some(42), vertical)] {
            assert_eq!(runs(width), expected, "{width:?}");
        }
        assert_eq!(render(&["run", "prefix"], &[], |_| false, Some(3)), "run  prefix\n");
    }

    #[test]
    fn a_style_changes_no_alignment_and_is_kept_in_a_vertical_table() {
        let rows = [vec!["done".to_owned(), "1".to_owned()], vec!["failed".to_owned(), "22".to_owned()]];
        let style = |column, text: &str| match (column, text) {
            (0, "done") => Style::new().green().force_styling(true),
            _ => Style::new(),
        };
        let of = |width| render_styled(&["state", "listed"], &rows, |column| column == 1, style, width);
        let green = "\u{1b}[32mdone\u{1b}[0m";
        assert_eq!(of(None), format!("state   listed\n{green}         1\nfailed      22\n"));
        assert_eq!(of(Some(14)), of(None), "escape sequences have no width");
        assert_eq!(of(Some(13)), format!("state   {green}\nlisted  1\n\nstate   failed\nlisted  22\n"));
    }

    #[test]
    fn cells_have_no_control_characters() {
        let rows = [vec!["\u{1b}[2J".to_owned()]];
        for width in [None, Some(1)] {
            assert!(!render(&["\u{1b}"], &rows, |_| false, width).contains('\u{1b}'), "{width:?}");
        }
    }
}
