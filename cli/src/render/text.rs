//! Numbers and states as people read them, and text cut to a terminal's columns.

use std::time::Duration;

use kiln_engine::history::TaskState;
use kiln_solver::Unit;
use unicode_width::UnicodeWidthChar;

/// How a task of a past build stands, as programs and style sheets read it.
#[must_use]
pub const fn state_name(state: TaskState) -> &'static str {
    match state {
        TaskState::Waiting => "waiting",
        TaskState::Running => "running",
        TaskState::Cached => "cached",
        TaskState::Done => "done",
        TaskState::Failed => "error",
        TaskState::Cancelled => "canceled",
    }
}

/// A duration with one decimal: `0.3s`, `75.0s`.
pub(super) fn seconds(duration: Duration) -> String {
    format!("{:.1}s", duration.as_secs_f64())
}

/// How far something is: `1.5MB / 3.0MB`, `12 / 40`.
pub(super) fn progress(current: u64, total: Option<u64>, unit: Unit) -> String {
    let amount = |value: u64| match unit {
        Unit::Bytes => bytes(value),
        Unit::Items => value.to_string(),
    };
    match total {
        Some(total) => format!("{} / {}", amount(current), amount(total)),
        None => amount(current),
    }
}

/// Bytes in decimal units: `999B`, `1.5MB`.
fn bytes(value: u64) -> String {
    let mut scaled = value as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if scaled < 1000.0 {
            return if unit == "B" { format!("{value}B") } else { format!("{scaled:.1}{unit}") };
        }
        scaled /= 1000.0;
    }
    format!("{scaled:.1}TB")
}

/// `text` cut to at most `columns` columns, with `…` where something is missing, tabs as spaces.
/// Answers with its width in columns.
pub(super) fn fit(text: &str, columns: usize) -> (String, usize) {
    let mut fitted = String::new();
    let mut width = 0;
    // Where the mark for what is missing would go.
    let mut cut = (0, 0);
    for c in text.chars() {
        let c_width = if c == '\t' { 8 - width % 8 } else { c.width().unwrap_or(0) };
        if width + c_width > columns {
            fitted.truncate(cut.0);
            if columns > 0 {
                fitted.push('…');
            }
            return (fitted, (cut.1 + 1).min(columns));
        }
        if c == '\t' {
            fitted.extend(std::iter::repeat_n(' ', c_width));
        } else {
            fitted.push(c);
        }
        width += c_width;
        if width < columns {
            cut = (fitted.len(), width);
        }
    }
    (fitted, width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(seconds(Duration::from_millis(12_349)), "12.3s");
        assert_eq!(progress(999, None, Unit::Bytes), "999B");
        assert_eq!(progress(1_500_000, Some(3_000_000_000), Unit::Bytes), "1.5MB / 3.0GB");
        assert_eq!(progress(u64::MAX, None, Unit::Bytes), "18446744.1TB");
        assert_eq!(progress(2, Some(40), Unit::Items), "2 / 40");
    }

    #[test]
    fn text_fits_its_columns() {
        for (text, columns, expected) in [
            ("make all", 8, "make all"),
            ("make all", 7, "make a…"),
            ("漢字漢字", 8, "漢字漢字"),
            ("漢字漢字", 7, "漢字漢…"),
            ("漢字漢字", 6, "漢字…"),
            ("a\tb", 9, "a       b"),
            ("abc", 1, "…"),
            ("abc", 0, ""),
            ("", 0, ""),
        ] {
            let (fitted, width) = fit(text, columns);
            assert_eq!(fitted, expected, "{text} in {columns}");
            assert_eq!(width, unicode_width::UnicodeWidthStr::width(fitted.as_str()), "{text}");
        }
    }
}
