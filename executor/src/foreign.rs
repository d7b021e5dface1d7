//! Programs for other machines, told by their first bytes.
//!
//! Only asked once a program could not be executed: whether the kernel can run it through a registered
//! emulator (binfmt_misc) is for the kernel to say.

/// Bytes of a file that are enough to tell.
pub(crate) const HEADER_BYTES: u64 = 256;

/// Machines by their numbers in ELF headers (elf(5)), under the names that platforms have.
const MACHINES: [(u16, &str); 10] = [
    (3, "386"),
    (8, "mips"),
    (20, "ppc"),
    (21, "ppc64le"),
    (22, "s390x"),
    (40, "arm"),
    (62, "amd64"),
    (183, "arm64"),
    (243, "riscv64"),
    (258, "loong64"),
];

/// What a file's first bytes say of who can run it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Program<'b> {
    /// A program for this architecture, which is not the running one's.
    Foreign(&'static str),
    /// A script for this interpreter.
    Script(&'b str),
    /// Neither.
    Other,
}

/// Looks at a file's first bytes.
pub(crate) fn look(header: &[u8]) -> Program<'_> {
    if let Some(line) = header.strip_prefix(b"#!") {
        let line = line.split(|&byte| byte == b'\n').next().unwrap_or_default();
        let text = std::str::from_utf8(line).unwrap_or_default();
        return text.split_ascii_whitespace().next().map_or(Program::Other, Program::Script);
    }
    let (Some(b"\x7fELF"), Some(&order), Some(&[a, b])) = (
        header.get(..4).and_then(|magic| <&[u8; 4]>::try_from(magic).ok()),
        header.get(5),
        header.get(18..20).and_then(|machine| <&[u8; 2]>::try_from(machine).ok()),
    ) else {
        return Program::Other;
    };
    /// The mark of big-endian files.
    const BIG: u8 = 2;
    let number = if order == BIG { u16::from_be_bytes([a, b]) } else { u16::from_le_bytes([a, b]) };
    match MACHINES.iter().find(|(known, _)| *known == number) {
        Some((_, name)) if *name != host() => Program::Foreign(name),
        _ => Program::Other,
    }
}

/// The running machine's name in [`MACHINES`].
fn host() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "loongarch64" => "loong64",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elf(order: u8, machine: [u8; 2]) -> Vec<u8> {
        let mut header = b"\x7fELF".to_vec();
        header.extend([2, order]);
        header.resize(18, 0);
        header.extend(machine);
        header
    }

    #[test]
    fn machines_and_scripts() {
        assert_eq!(look(&elf(2, [0, 22])), Program::Foreign("s390x"));
        assert_eq!(look(&elf(1, [243, 0])), Program::Foreign("riscv64"));
        let own = std::fs::read("/proc/self/exe").unwrap();
        assert_eq!(look(&own[..64]), Program::Other);
        assert_eq!(look(b"#! /bin/sh -e\necho"), Program::Script("/bin/sh"));
        for other in [&b""[..], b"\x7fELF", b"#!", b"#!\xff\n", b"echo"] {
            assert_eq!(look(other), Program::Other, "{other:?}");
        }
    }
}
