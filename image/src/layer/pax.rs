//! Records of pax extended headers: `LENGTH KEY=VALUE\n`, where the length counts itself.

/// The prefix of the keys that hold extended attributes; star's, which all tools of today use.
pub(super) const XATTR_PREFIX: &[u8] = b"SCHILY.xattr.";

/// Appends one record.
pub(super) fn push(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    // A space, an equals sign and a newline, and then the digits of the length, which change it.
    let base = key.len() + value.len() + 3;
    let mut length = base + 1;
    while base + length.to_string().len() != length {
        length = base + length.to_string().len();
    }
    records.extend(length.to_string().into_bytes());
    records.push(b' ');
    records.extend(key);
    records.push(b'=');
    records.extend(value);
    records.push(b'\n');
}

/// Splits records into keys and values, in order; `None` where they are malformed.
pub(super) fn parse(mut records: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let mut parsed = Vec::new();
    while !records.is_empty() {
        let space = records.iter().take(20).position(|b| *b == b' ')?;
        let length: usize = std::str::from_utf8(&records[..space]).ok()?.parse().ok()?;
        let record = records.get(space + 1..length)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|b| *b == b'=')?;
        parsed.push((&record[..equals], &record[equals + 1..]));
        records = &records[length..];
    }
    Some(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_counts_its_own_digits() {
        for size in 0..200 {
            let mut records = Vec::new();
            push(&mut records, b"k", &vec![b'v'; size]);
            push(&mut records, b"path", b"a=b\n\0c");
            let parsed = parse(&records).unwrap();
            assert_eq!(parsed, [(&b"k"[..], &vec![b'v'; size][..]), (b"path", b"a=b\n\0c")]);
        }
    }

    #[test]
    fn malformed_records_are_refused() {
        let bad: [&[u8]; 8] =
            [b"x", b"5 a=b", b"99 a=b\n", b"0 a=b\n", b"6 ab\n", b"-1 a=b\n", b"3 \n", b"6 a=bb"];
        for records in bad {
            assert_eq!(parse(records), None, "{}", String::from_utf8_lossy(records));
        }
    }
}
