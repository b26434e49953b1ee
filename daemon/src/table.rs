//! Tables as text: aligned columns, two spaces apart, no frames, no trailing blanks; the same on a terminal and in a
//! file. What is missing is a dash.
//!
//! Why not a crate: there is nothing to configure, and golden outputs stay ours.

/// Which edge of its column a cell keeps to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Names and addresses.
    Left,
    /// Numbers.
    Right,
}

/// Columns and rows.
#[derive(Debug)]
pub struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    #[must_use]
    pub fn new(columns: &[(&'static str, Align)]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row: one cell for each column.
    pub fn row(&mut self, cells: Vec<String>) {
        assert_eq!(cells.len(), self.columns.len(), "a row must have one cell for each column: {cells:?}");
        self.rows.push(cells);
    }

    /// The text; every line ends with a newline.
    #[must_use]
    pub fn render(&self) -> String {
        let titles: Vec<String> = self.columns.iter().map(|(title, _)| (*title).to_string()).collect();
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|column| {
                let cells = self.rows.iter().map(|row| width(&row[column]));
                cells.chain([width(&titles[column])]).max().unwrap_or(0)
            })
            .collect();
        std::iter::once(&titles).chain(&self.rows).map(|row| self.line(row, &widths)).collect()
    }

    /// One row under these column widths.
    fn line(&self, row: &[String], widths: &[usize]) -> String {
        let mut line = String::new();
        for ((cell, (_, align)), column_width) in row.iter().zip(&self.columns).zip(widths) {
            let blanks = " ".repeat(column_width - width(cell));
            match align {
                Align::Left => line.extend([cell, blanks.as_str(), "  "]),
                Align::Right => line.extend([blanks.as_str(), cell, "  "]),
            }
        }
        let mut line = line.trim_end().to_string();
        line.push('\n');
        line
    }
}

/// Columns of the terminal that a text takes. Cells are ids, numbers, addresses and host names: one column per character.
fn width(text: &str) -> usize {
    text.chars().count()
}

/// A cell that may be missing.
#[must_use]
pub fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_string(), |value| value.to_string())
}

/// A number of bytes in a few characters: `999`, `1.5K`, `20.0M`. Powers of 1024.
#[must_use]
pub fn bytes(count: u64) -> String {
    let units = [(30, "G"), (20, "M"), (10, "K")];
    match units.into_iter().find(|(shift, _)| count >> shift > 0) {
        None => count.to_string(),
        Some((shift, unit)) => {
            // In tenths, rounded down: 1023.9 of a unit must not print as 1024.0 of it.
            let tenths = (u128::from(count) * 10) >> shift;
            format!("{}.{}{unit}", tenths / 10, tenths % 10)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_have_no_trailing_blanks() {
        let mut table = Table::new(&[
            ("NODE", Align::Right),
            ("CLIENT", Align::Left),
            ("PID", Align::Right),
            ("X", Align::Left),
        ]);
        table.row(vec!["1".into(), "127.0.0.1:7501".into(), "12345".into(), String::new()]);
        table.row(vec!["10".into(), "höst:1".into(), or_dash::<u64>(None), "y".into()]);
        let expected =
            "NODE  CLIENT            PID  X\n   1  127.0.0.1:7501  12345\n  10  höst:1              -  y\n";
        assert_eq!(table.render(), expected);
    }

    #[test]
    fn a_table_without_rows_is_its_titles() {
        assert_eq!(Table::new(&[("A", Align::Left), ("B", Align::Right)]).render(), "A  B\n");
    }

    #[test]
    fn bytes_are_short() {
        let cases = [
            (0, "0"),
            (1023, "1023"),
            (1024, "1.0K"),
            (1536, "1.5K"),
            (1_048_575, "1023.9K"),
            (20 << 20, "20.0M"),
        ];
        for (count, text) in cases {
            assert_eq!(bytes(count), text);
        }
        assert_eq!(bytes(u64::MAX), "17179869183.9G");
    }
}
