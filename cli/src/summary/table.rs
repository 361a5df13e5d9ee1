//! Tables of text that fit the terminal. A table that is too wide becomes vertical: one line for each value.

use comfy_table::{CellAlignment, Table, presets::NOTHING};
use console::measure_text_width;

use super::printable;

/// Returns a table without borders, with right-aligned columns of numbers. If it is wider than `width`, each row becomes a
/// block of lines with the column's name and the value.
pub(crate) fn render<C: AsRef<str>>(
    head: &[C],
    rows: &[Vec<String>],
    is_number: impl Fn(usize) -> bool,
    width: Option<usize>,
) -> String {
    let text = wide(head, rows, is_number);
    match width {
        Some(width) if widest(&text) > width && !rows.is_empty() => vertical(head, rows),
        _ => text,
    }
}

/// Returns the width of the widest line.
pub(crate) fn widest(text: &str) -> usize {
    text.lines().map(measure_text_width).max().unwrap_or_default()
}

fn wide<C: AsRef<str>>(head: &[C], rows: &[Vec<String>], is_number: impl Fn(usize) -> bool) -> String {
    let mut table = plain();
    table.add_row(head.iter().map(|cell| printable(cell.as_ref())));
    for row in rows {
        table.add_row(row.iter().map(|cell| printable(cell)));
    }
    for (_, column) in table.column_iter_mut().enumerate().filter(|(at, _)| is_number(*at)) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    finish(&table)
}

/// A value that is wider than the terminal continues on the next line there, so that it can be copied.
fn vertical<C: AsRef<str>>(head: &[C], rows: &[Vec<String>]) -> String {
    let blocks = rows.iter().map(|row| {
        let mut table = plain();
        for (name, value) in head.iter().zip(row) {
            table.add_row([printable(name.as_ref()), printable(value)]);
        }
        finish(&table)
    });
    blocks.collect::<Vec<_>>().join("\n")
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
    fn cells_have_no_control_characters() {
        let rows = [vec!["\u{1b}[2J".to_owned()]];
        for width in [None, Some(1)] {
            assert!(!render(&["\u{1b}"], &rows, |_| false, width).contains('\u{1b}'), "{width:?}");
        }
    }
}
