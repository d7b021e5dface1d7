//! Texts as the field's builders write them into an image's history: quoted strings, lists and durations.

use std::fmt::Write;

/// A string in double quotes with everything unprintable escaped.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for ch in text.chars() {
        match ch {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            ' '..='~' => out.push(ch),
            _ => push_beyond_ascii(&mut out, ch),
        }
    }
    out.push('"');
    out
}

fn push_beyond_ascii(out: &mut String, ch: char) {
    let code = u32::from(ch);
    let escaped = if code < 0x80 {
        format!("\\x{code:02x}")
    } else if !is_unprintable(ch) {
        ch.to_string()
    } else if code < 0x1_0000 {
        format!("\\u{code:04x}")
    } else {
        format!("\\U{code:08x}")
    };
    out.push_str(&escaped);
}

/// Controls, blanks other than the plain one, surrogates' neighbours and private characters.
fn is_unprintable(ch: char) -> bool {
    ch.is_control()
        || ch.is_whitespace()
        || matches!(u32::from(ch),
            0xad | 0x200b..=0x200f | 0x202a..=0x202e | 0x2060..=0x206f | 0xe000..=0xf8ff
            | 0xfeff | 0xfff0..=0xfffb | 0xfffe..=0xffff | 0xe_0000..=0x10_ffff)
}

/// Quoted strings in brackets.
pub(crate) fn quoted_list(items: &[String]) -> String {
    format!("[{}]", items.iter().map(|item| quote(item)).collect::<Vec<_>>().join(" "))
}

/// Plain strings in brackets.
pub(crate) fn plain_list(items: &[String]) -> String {
    format!("[{}]", items.join(" "))
}

/// A duration: `1h30m0s`, `1.5s`, `100ms`, `0s`.
pub(crate) fn duration(nanoseconds: i64) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let total = nanoseconds.unsigned_abs();
    if total == 0 {
        return "0s".to_owned();
    }
    for (unit, name) in [(1_u64, "ns"), (1_000, "µs"), (1_000_000, "ms")] {
        if total < unit * 1_000 {
            return format!("{sign}{}{name}", decimal(total, unit));
        }
    }
    let seconds = total / 1_000_000_000;
    let mut out = sign.to_owned();
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    if hours > 0 {
        let _ = write!(out, "{hours}h");
    }
    if hours > 0 || minutes > 0 {
        let _ = write!(out, "{minutes}m");
    }
    let rest = total - (seconds / 60 * 60) * 1_000_000_000;
    out + &decimal(rest, 1_000_000_000) + "s"
}

fn decimal(value: u64, unit: u64) -> String {
    let digits = unit.to_string().len() - 1;
    let text = format!("{}.{:0digits$}", value / unit, value % unit);
    if digits == 0 {
        return (value / unit).to_string();
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Reads a duration: numbers with units `ns`, `us`, `ms`, `s`, `m`, `h`, such as `1h2.5m`. In nanoseconds.
pub(crate) fn parse_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let number_end = rest.find(|ch: char| !ch.is_ascii_digit() && ch != '.')?;
        let (number, behind) = rest.split_at(number_end);
        let unit_end =
            behind.find(|ch: char| ch.is_ascii_digit() || ch == '.').unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(unit_end);
        total = total.checked_add(scale(number, unit)?)?;
        rest = behind;
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

fn scale(number: &str, unit: &str) -> Option<i128> {
    let unit: i128 = match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.len() + fraction.len() == 0 || whole.len() > 18 || fraction.contains('.') {
        return None;
    }
    let fraction = &fraction[..fraction.len().min(15)];
    let value: i128 = format!("0{whole}{fraction}").parse().ok()?;
    let power = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    Some(value.checked_mul(unit)? / power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes() {
        assert_eq!(quote("a\"b\\\n\u{1}é\u{a0}"), r#""a\"b\\\n\x01é\u00a0""#);
        assert_eq!(quoted_list(&["a".into(), String::new()]), r#"["a" ""]"#);
    }

    #[test]
    fn durations_are_written_and_read() {
        for (nanoseconds, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_500, "1.5µs"),
            (100_000_000, "100ms"),
            (1_500_000_000, "1.5s"),
            (90_000_000_000, "1m30s"),
            (5_400_000_000_000, "1h30m0s"),
        ] {
            assert_eq!(duration(nanoseconds), text);
            assert_eq!(parse_duration(text), Some(nanoseconds), "{text}");
        }
        assert_eq!(parse_duration("1h2.5m"), Some(3_750_000_000_000));
        for text in ["", "5", "s", "1x", "1.2.3s", "-", "9999999999999h"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
