//! Numbers in headers: octal text, or two's complement in base 256 with the first bit set.

/// The number in a field; `None` for what is no number or does not fit.
pub(super) fn number(field: &[u8]) -> Option<i64> {
    match field.first() {
        Some(first) if first & 0x80 != 0 => base_256(field),
        _ => octal(field),
    }
}

fn octal(field: &[u8]) -> Option<i64> {
    let is_filler = |byte: &u8| matches!(byte, b' ' | 0);
    let Some(start) = field.iter().position(|byte| !is_filler(byte)) else { return Some(0) };
    let digits = field[start..].split(is_filler).next()?;
    digits.iter().try_fold(0_i64, |value, digit| match digit {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(i64::from(digit - b'0')),
        _ => None,
    })
}

fn base_256(field: &[u8]) -> Option<i64> {
    let is_negative = field.first()? & 0x40 != 0;
    let start = if is_negative { -1 } else { 0 };
    field.iter().enumerate().try_fold(start, |value: i64, (at, byte)| {
        // The first byte's top bit says "base 256", and the next one is the sign.
        let byte = match (at, is_negative) {
            (0, true) => byte | 0x80,
            (0, false) => byte & 0x7f,
            _ => *byte,
        };
        value.checked_mul(256).map(|value| value | i64::from(byte))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octal_is_read_with_any_filler() {
        for (field, value) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"\0\0\0\0", Some(0)),
            (b"77777777777 ", Some(0o777_7777_7777)),
            (b"0000648\0", None),
            (b"-1", None),
            (b"", Some(0)),
        ] {
            assert_eq!(number(field), value, "{}", String::from_utf8_lossy(field));
        }
    }

    #[test]
    fn base_256_is_read_with_its_sign() {
        assert_eq!(number(&[0x80, 0, 0, 1, 0]), Some(256));
        assert_eq!(number(&[0xff, 0xff, 0xff, 0xfe]), Some(-2));
        assert_eq!(number(&[0x80, 0, 0, 0, 2, 0, 0, 0, 0]), Some(2 << 32));
        assert_eq!(number(&[0x8f; 12]), None);
    }
}
