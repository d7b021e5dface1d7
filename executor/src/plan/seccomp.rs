//! Docker's default filter of system calls, as a program for the kernel (seccomp(2), classic BPF).
//!
//! The table beside this file says what is allowed to a container with the default capabilities. Everything
//! else fails with `EPERM`, and what is newer than the table with `ENOSYS`, so that programs fall back to
//! what they did before. Programs of the 32-bit machine that a 64-bit one can run have a table of their own.
//!
//! Installing a filter costs the kernel a quarter of a microsecond for each instruction (ADR 13), so there are
//! few: a search over ranges of numbers, whose ends are shared.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;

/// The system calls that are allowed: a name and its number on each of four machines.
const TABLE: &str = include_str!("seccomp/syscalls.txt");
/// The machines in the order of the table's columns, by their names and audit numbers (`linux/audit.h`).
const MACHINES: [(&str, u32); 4] =
    [("x86_64", 0xc000_003e), ("x86", 0x4000_0003), ("aarch64", 0xc000_00b7), ("arm", 0x4000_0028)];
/// The highest number that the table's kernel has.
const LAST_KNOWN: u32 = 469;

/// Where `struct seccomp_data` has the number, the machine, and the low half of the first argument.
const NUMBER: u32 = 0;
const MACHINE: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;

/// What a filter returns.
const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0000 | libc::EPERM as u32;
const ENOSYS: u32 = 0x0005_0000 | libc::ENOSYS as u32;

/// Operations of classic BPF.
const LOAD: u16 = 0x20;
const JUMP: u16 = 0x05;
const IF_EQUAL: u16 = 0x15;
const IF_NOT_BELOW: u16 = 0x35;
const IF_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

/// `CLONE_NEW…` of all namespaces but time, as Docker has it.
const NEW_NAMESPACES: u32 = 0x7e02_0000;
/// `AF_ALG` and `AF_VSOCK`, which lead to the kernel's cryptography and to the machine's host.
const REFUSED_FAMILIES: [u32; 2] = [38, 40];
/// The execution domains that programs ask for: Linux, with or without `UNAME26` and 16-bit arguments, and the
/// question which it is.
const PERSONALITIES: [u32; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// A filter of system calls, as the kernel takes it. Its `Debug` form tells the length only.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Filter(Vec<u64>);

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} instructions>", self.0.len())
    }
}

impl Filter {
    /// Docker's default, for the machine that this program was built for; nothing where the table does not
    /// have it. It is made when it is first asked for, which takes a millisecond.
    pub(crate) fn default_of_docker() -> Option<&'static Self> {
        static DEFAULT: LazyLock<Option<Filter>> = LazyLock::new(Filter::make_default);
        DEFAULT.as_ref()
    }

    fn make_default() -> Option<Self> {
        let (this, compatible) = match std::env::consts::ARCH {
            "x86_64" => (0, Some(1)),
            "x86" => (1, None),
            "aarch64" => (2, Some(3)),
            "arm" => (3, None),
            _ => return None,
        };
        let mut program = vec![load(MACHINE)];
        for column in [Some(this), compatible].into_iter().flatten() {
            let part = part(&ranges(column))?;
            let length = u32::try_from(part.len()).ok()?;
            program.push(branch(IF_EQUAL, MACHINES[column].1, 1, 0));
            program.push(instruction(JUMP, 0, 0, length));
            program.extend(part);
        }
        program.push(give(ENOSYS));
        Some(Self(program))
    }

    /// The instructions, each as `struct sock_filter` has it in memory from its lowest bits up.
    pub(crate) fn instructions(&self) -> impl ExactSizeIterator<Item = (u16, u8, u8, u32)> + '_ {
        self.0.iter().map(|&packed| {
            let [a, b, jt, jf, k @ ..] = packed.to_le_bytes();
            (u16::from_le_bytes([a, b]), jt, jf, u32::from_le_bytes(k))
        })
    }
}

/// What becomes of a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Return(u32),
    Clone,
    Socket,
    Personality,
}

fn verdict(name: &str) -> Verdict {
    match name {
        "clone" => Verdict::Clone,
        "socket" => Verdict::Socket,
        "personality" => Verdict::Personality,
        // Its flags are in memory, where a filter cannot look; without it programs use clone.
        "clone3" => Verdict::Return(ENOSYS),
        _ => Verdict::Return(ALLOW),
    }
}

/// What becomes of every number, as ranges: each starts where the one before it ends.
fn ranges(column: usize) -> Vec<(u32, Verdict)> {
    let rows = TABLE.lines().filter(|line| !line.starts_with('#'));
    let known: BTreeMap<u32, Verdict> = rows
        .filter_map(|line| {
            let mut fields = line.split_ascii_whitespace();
            let name = fields.next()?;
            Some((fields.nth(column)?.parse().ok()?, verdict(name)))
        })
        .collect();
    let unknown = |number: u32| Verdict::Return(if number > LAST_KNOWN { ENOSYS } else { EPERM });
    let mut starts: BTreeMap<u32, Verdict> =
        BTreeMap::from([(0, unknown(0)), (LAST_KNOWN + 1, Verdict::Return(ENOSYS))]);
    for (&number, &verdict) in &known {
        starts.entry(number + 1).or_insert(unknown(number + 1));
        starts.insert(number, verdict);
    }
    let mut ranges: Vec<(u32, Verdict)> = starts.into_iter().collect();
    ranges.dedup_by_key(|(_, verdict)| *verdict);
    ranges
}

/// Where a comparison leads.
#[derive(Clone, Copy)]
enum Target {
    /// To another one, by its index.
    Test(usize),
    /// To an end.
    End(Verdict),
}

/// Whether a number is not below the start of a range.
struct Test {
    start: u32,
    below: Target,
    above: Target,
}

/// Finds a number's range by halves: each comparison comes before the two that it leads to.
fn arrange(ranges: &[(u32, Verdict)], tests: &mut Vec<Test>) -> Target {
    if let [(_, verdict)] = ranges {
        return Target::End(*verdict);
    }
    let (lower, upper) = ranges.split_at(ranges.len() / 2);
    let (index, end) = (tests.len(), Target::End(Verdict::Return(EPERM)));
    tests.push(Test { start: upper[0].0, below: end, above: end });
    let (below, above) = (arrange(lower, tests), arrange(upper, tests));
    tests[index] = Test { start: upper[0].0, below, above };
    Target::Test(index)
}

/// The part of a filter for one machine; nothing if a jump in it were longer than a jump may be.
fn part(ranges: &[(u32, Verdict)]) -> Option<Vec<u64>> {
    let mut tests = Vec::new();
    arrange(ranges, &mut tests);
    // Every end is there once, behind all comparisons.
    let (mut ends, mut places) = (Vec::new(), BTreeMap::new());
    for (_, verdict) in ranges {
        places.entry(*verdict).or_insert_with(|| {
            let place = tests.len() + ends.len();
            ends.extend(decide(*verdict));
            place
        });
    }
    let mut program = vec![load(NUMBER)];
    for (index, test) in tests.iter().enumerate() {
        let distance = |target| {
            let place = match target {
                Target::Test(place) => place,
                Target::End(verdict) => *places.get(&verdict)?,
            };
            u8::try_from(place - index - 1).ok()
        };
        let (above, below) = (distance(test.above)?, distance(test.below)?);
        program.push(branch(IF_NOT_BELOW, test.start, above, below));
    }
    program.extend(ends);
    Some(program)
}

fn decide(verdict: Verdict) -> Vec<u64> {
    match verdict {
        Verdict::Return(value) => vec![give(value)],
        Verdict::Clone => {
            let test = branch(IF_ANY_BIT, NEW_NAMESPACES, 0, 1);
            vec![load(FIRST_ARGUMENT), test, give(EPERM), give(ALLOW)]
        }
        Verdict::Socket => one_of(&REFUSED_FAMILIES, EPERM, ALLOW),
        Verdict::Personality => one_of(&PERSONALITIES, ALLOW, EPERM),
    }
}

/// Returns one value when the first argument is one of a few, else the other.
fn one_of(values: &[u32], then: u32, otherwise: u32) -> Vec<u64> {
    let mut program = vec![load(FIRST_ARGUMENT)];
    for (index, value) in (0_u8..).zip(values) {
        // Over the rest of the tests, and the return that follows them.
        let rest = u8::try_from(values.len()).unwrap_or(u8::MAX) - index;
        program.push(branch(IF_EQUAL, *value, rest, 0));
    }
    program.extend([give(otherwise), give(then)]);
    program
}

fn load(offset: u32) -> u64 {
    instruction(LOAD, 0, 0, offset)
}

fn give(value: u32) -> u64 {
    instruction(RETURN, 0, 0, value)
}

/// Compares with `k` and leaves out `yes` or `no` instructions.
fn branch(operation: u16, k: u32, yes: u8, no: u8) -> u64 {
    instruction(operation, yes, no, k)
}

fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> u64 {
    let ([a, b], [c, d, e, f]) = (code.to_le_bytes(), k.to_le_bytes());
    u64::from_le_bytes([a, b, jt, jf, c, d, e, f])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a filter as the kernel does; answers the value and the number of instructions.
    fn run(filter: &Filter, machine: u32, number: u32, argument: u32) -> (u32, usize) {
        let program: Vec<_> = filter.instructions().collect();
        let (mut at, mut register, mut steps) = (0_usize, 0, 0);
        loop {
            steps += 1;
            let (code, jt, jf, k) = program[at];
            let leave_out = |yes: bool| usize::from(if yes { jt } else { jf });
            at += 1 + match code {
                LOAD => {
                    register = match k {
                        NUMBER => number,
                        MACHINE => machine,
                        FIRST_ARGUMENT => argument,
                        other => panic!("loads from {other}"),
                    };
                    0
                }
                JUMP => k as usize,
                IF_EQUAL => leave_out(register == k),
                IF_NOT_BELOW => leave_out(register >= k),
                IF_ANY_BIT => leave_out(register & k != 0),
                RETURN => return (k, steps),
                other => panic!("operation {other}"),
            };
        }
    }

    #[test]
    fn every_number_has_the_tables_verdict() {
        let Some(filter) = Filter::default_of_docker() else {
            kiln_testkit::skipped("no table for this machine");
            return;
        };
        let columns = if cfg!(target_arch = "x86_64") { [0, 1] } else { [2, 3] };
        for column in columns {
            let mut allowed = std::collections::BTreeSet::new();
            for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
                let fields: Vec<_> = line.split_ascii_whitespace().collect();
                assert_eq!(fields.len(), 5, "{line}");
                if let Ok(number) = fields[1 + column].parse::<u32>() {
                    assert!(verdict(fields[0]) != Verdict::Return(ALLOW) || allowed.insert(number));
                }
            }
            for number in (0..600).chain([0xf_0002, 0x4000_0000, 0x4000_0001, u32::MAX]) {
                let (found, steps) = run(filter, MACHINES[column].1, number, 1);
                let special = ["clone", "clone3", "socket", "personality"];
                if special.iter().any(|name| self::number(name, column) == Some(number)) {
                    continue;
                }
                let expected = match number {
                    number if allowed.contains(&number) => ALLOW,
                    0..=LAST_KNOWN => EPERM,
                    _ => ENOSYS,
                };
                assert_eq!(found, expected, "{number} of {}", MACHINES[column].0);
                assert!(steps < 20, "{number} takes {steps} steps");
            }
        }
        assert_eq!(run(filter, 0x1234, 0, 0).0, ENOSYS, "another machine's");
        assert!(filter.0.len() < 280, "{} instructions", filter.0.len());
    }

    fn number(name: &str, column: usize) -> Option<u32> {
        let line = TABLE.lines().find(|line| line.split_ascii_whitespace().next() == Some(name))?;
        line.split_ascii_whitespace().nth(1 + column)?.parse().ok()
    }

    #[test]
    fn arguments_decide_where_the_number_does_not() {
        let Some(filter) = Filter::default_of_docker() else {
            kiln_testkit::skipped("no table for this machine");
            return;
        };
        let columns = if cfg!(target_arch = "x86_64") { [0, 1] } else { [2, 3] };
        for column in columns {
            for (name, argument, expected) in [
                ("clone", 0x0001_1200, ALLOW),
                ("clone", 0x1000_0000, EPERM),
                ("clone", 0x0002_0011, EPERM),
                ("clone3", 0, ENOSYS),
                ("socket", 1, ALLOW),
                ("socket", 16, ALLOW),
                ("socket", 38, EPERM),
                ("socket", 40, EPERM),
                ("personality", 0, ALLOW),
                ("personality", 0xffff_ffff, ALLOW),
                ("personality", 0x0004_0000, EPERM),
                ("personality", 0x2_0008, ALLOW),
            ] {
                let number = number(name, column).unwrap();
                let (found, _) = run(filter, MACHINES[column].1, number, argument);
                assert_eq!(found, expected, "{name}({argument:#x})");
            }
        }
    }
}
