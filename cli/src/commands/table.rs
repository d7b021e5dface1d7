//! Columns, sizes and ages as Docker prints them.

use std::time::{SystemTime, UNIX_EPOCH};

/// Columns as wide as their widest cell, two blanks apart.
pub(super) fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let widths: Vec<usize> = (0..N)
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

/// How long ago something was, in its largest unit.
pub(super) fn age(created_ms: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    age_at(created_ms, now)
}

fn age_at(created_ms: i64, now_ms: i64) -> String {
    let seconds = now_ms.saturating_sub(created_ms) / 1000;
    if seconds <= 0 {
        return "just now".to_owned();
    }
    let units = [("year", 31_536_000), ("month", 2_592_000), ("week", 604_800), ("day", 86_400)];
    let units = units.into_iter().chain([("hour", 3600), ("minute", 60), ("second", 1)]);
    let (unit, length) = units.into_iter().find(|unit| seconds >= unit.1).unwrap_or(("second", 1));
    let count = seconds / length;
    format!("{count} {unit}{} ago", if count == 1 { "" } else { "s" })
}

/// As Docker prints sizes: powers of ten, three digits.
pub(super) fn size(bytes: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB"];
    let mut unit = 0;
    let mut value = bytes;
    let mut rest = 0;
    while value >= 1000 && unit + 1 < units.len() {
        rest = value % 1000;
        value /= 1000;
        unit += 1;
    }
    match (unit, value) {
        (0, _) | (_, 100..) => format!("{value}{}", units[unit]),
        (_, 10..) => format!("{value}.{}{}", rest / 100, units[unit]),
        _ => format!("{value}.{:02}{}", rest / 10, units[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits() {
        for (bytes, shown) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1.00kB"),
            (1_549_999, "1.54MB"),
            (72_800_000, "72.8MB"),
            (999_999_999, "999MB"),
            (1_000_000_000, "1.00GB"),
        ] {
            assert_eq!(size(bytes), shown);
        }
    }

    #[test]
    fn ages_are_in_their_largest_unit() {
        for (ms, shown) in [
            (-5, "just now"),
            (999, "just now"),
            (1000, "1 second ago"),
            (119_999, "1 minute ago"),
            (7_200_000, "2 hours ago"),
            (40 * 86_400_000, "1 month ago"),
        ] {
            assert_eq!(age_at(7, 7 + ms), shown);
        }
    }

    #[test]
    fn columns_line_up() {
        let rows = [["A".to_owned(), "BB".to_owned()], ["CCC".to_owned(), "D".to_owned()]];
        assert_eq!(table(&rows), "A    BB\nCCC  D\n");
    }
}
