//! Rows as text: CSV (RFC 4180) or JSON lines.
//!
//! Promises: a cell of text can neither end its cell early nor become a formula of the spreadsheet
//! that opens the file.

use std::fmt::Write as _;

use super::ExportFormat;

/// One value of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cell<'a> {
    Number(i64),
    Text(&'a str),
    Absent,
}

/// Rows written so far.
#[derive(Debug)]
pub(super) struct Text {
    format: ExportFormat,
    text: String,
}

impl Text {
    pub(super) fn new(format: ExportFormat) -> Self {
        Self { format, text: String::new() }
    }

    pub(super) fn into_string(self) -> String {
        self.text
    }

    /// The line of names that CSV begins with.
    pub(super) fn names(&mut self, names: &[&str]) {
        if self.format == ExportFormat::Csv {
            self.text.push_str(&names.join(","));
            self.text.push_str("\r\n");
        }
    }

    /// One row; `names` and `cells` are as many.
    pub(super) fn row(&mut self, names: &[&str], cells: &[Cell<'_>]) {
        assert_eq!(names.len(), cells.len(), "a row has a value for each name");
        match self.format {
            ExportFormat::Csv => self.csv(cells),
            ExportFormat::JsonLines => self.json(names, cells),
        }
    }

    fn csv(&mut self, cells: &[Cell<'_>]) {
        for (index, cell) in cells.iter().enumerate() {
            if index > 0 {
                self.text.push(',');
            }
            match cell {
                Cell::Number(number) => self.number(*number),
                Cell::Text(text) => push_csv_text(&mut self.text, text),
                Cell::Absent => {}
            }
        }
        self.text.push_str("\r\n");
    }

    fn json(&mut self, names: &[&str], cells: &[Cell<'_>]) {
        for (index, (name, cell)) in names.iter().zip(cells).enumerate() {
            self.text.push(if index == 0 { '{' } else { ',' });
            self.json_text(name);
            self.text.push(':');
            match cell {
                Cell::Number(number) => self.number(*number),
                Cell::Text(text) => self.json_text(text),
                Cell::Absent => self.text.push_str("null"),
            }
        }
        self.text.push_str("}\n");
    }

    fn json_text(&mut self, text: &str) {
        let quoted = serde_json::to_string(text).expect("a text is JSON");
        self.text.push_str(&quoted);
    }

    fn number(&mut self, number: i64) {
        write!(self.text, "{number}").expect("a String takes everything");
    }
}

/// Appends a cell of text to a line of CSV.
pub fn push_csv_text(line: &mut String, text: &str) {
    // Spreadsheets take what begins so for a formula, also inside quotes; an apostrophe makes it a
    // text (OWASP, "CSV Injection").
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let guard = if is_formula { "'" } else { "" };
    if is_formula || text.contains([',', '"', '\r', '\n']) {
        line.push('"');
        line.push_str(guard);
        line.push_str(&text.replace('"', "\"\""));
        line.push('"');
    } else {
        line.push_str(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(cell: Cell<'_>, csv: &str, json: &str) {
        for (format, expected) in [
            (ExportFormat::Csv, format!("{csv},\r\n")),
            (ExportFormat::JsonLines, format!("{{\"a\":{json},\"b\":null}}\n")),
        ] {
            let mut text = Text::new(format);
            text.row(&["a", "b"], &[cell, Cell::Absent]);
            assert_eq!(text.into_string(), expected);
        }
    }

    #[test]
    fn every_value_is_read_as_what_it_is() {
        check(Cell::Number(-5), "-5", "-5");
        check(Cell::Number(i64::MAX), "9223372036854775807", "9223372036854775807");
        check(Cell::Text("plain"), "plain", "\"plain\"");
        check(Cell::Text(""), "", "\"\"");
        check(Cell::Text("a, \"b\""), "\"a, \"\"b\"\"\"", "\"a, \\\"b\\\"\"");
        check(Cell::Text("two\nlines"), "\"two\nlines\"", "\"two\\nlines\"");
        check(Cell::Text("ميزان"), "ميزان", "\"ميزان\"");
    }

    #[test]
    fn no_text_is_a_formula() {
        for text in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"] {
            let mut csv = Text::new(ExportFormat::Csv);
            csv.row(&["a"], &[Cell::Text(text)]);
            assert_eq!(csv.into_string(), format!("\"'{text}\"\r\n"));
        }
        check(Cell::Text("=\"x\""), "\"'=\"\"x\"\"\"", "\"=\\\"x\\\"\"");
    }
}
