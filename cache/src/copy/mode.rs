//! Which mode a copied file gets: `--chmod`, octal or as chmod(1) has it.
//!
//! There is no umask: a clause that names nobody means everybody.

use kiln_ir::ModeSpec;

use crate::select::SelectError;

const SET_UID: u32 = 0o4000;
const SET_GID: u32 = 0o2000;
const STICKY: u32 = 0o1000;

/// A parsed `--chmod`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ModeChange {
    /// The same for everything.
    Fixed(u32),
    /// In order.
    Steps(Vec<Step>),
}

/// One operator of a symbolic mode with what it works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    /// Whom it is about: of `0o700`, `0o070` and `0o007`.
    who: u32,
    operator: char,
    /// `0o4`, `0o2` and `0o1`, for everyone in `who`.
    plain: u32,
    /// `X`: execution where it makes sense.
    execute_if_any: bool,
    /// `s`.
    set_id: bool,
    /// `t`.
    sticky: bool,
    /// The shift of the class whose permissions are taken.
    from: Option<u32>,
}

impl ModeChange {
    pub(super) fn parse(spec: &ModeSpec) -> Result<Self, SelectError> {
        match spec {
            ModeSpec::Octal(mode) => Ok(Self::Fixed(mode & 0o7777)),
            ModeSpec::Symbolic(text) => symbolic(text)
                .map(Self::Steps)
                .ok_or_else(|| SelectError::BadMode { mode: text.clone() }),
        }
    }

    /// The mode of something that has `mode` in its source.
    pub(super) fn apply(&self, mode: u32, is_dir: bool) -> u32 {
        match self {
            Self::Fixed(fixed) => *fixed,
            Self::Steps(steps) => steps.iter().fold(mode, |mode, step| step.apply(mode, is_dir)),
        }
    }

    /// The mode of directories that are made on the way to the destination.
    pub(super) fn of_parents(&self) -> Option<u32> {
        match self {
            Self::Fixed(fixed) => Some(*fixed),
            Self::Steps(_) => None,
        }
    }
}

impl Step {
    fn apply(self, mode: u32, is_dir: bool) -> u32 {
        let mut each = self.plain;
        if self.execute_if_any && (is_dir || mode & 0o111 != 0) {
            each |= 0o1;
        }
        if let Some(shift) = self.from {
            each |= mode >> shift & 0o7;
        }
        let mut bits = (each | each << 3 | each << 6) & self.who;
        let special = |who: u32, bit: u32| if self.who & who != 0 { bit } else { 0 };
        if self.set_id {
            bits |= special(0o700, SET_UID) | special(0o070, SET_GID);
        }
        if self.sticky {
            bits |= special(0o007, STICKY);
        }
        let cleared =
            self.who | special(0o700, SET_UID) | special(0o070, SET_GID) | special(0o007, STICKY);
        match self.operator {
            '+' => mode | bits,
            '-' => mode & !bits,
            _ => mode & !cleared | bits,
        }
    }
}

fn symbolic(text: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    for clause in text.split(',') {
        let at = clause.find(['+', '-', '='])?;
        let (who, mut rest) = clause.split_at(at);
        let who = who.chars().try_fold(0, |who, class| {
            Some(
                who | match class {
                    'u' => 0o700,
                    'g' => 0o070,
                    'o' => 0o007,
                    'a' => 0o777,
                    _ => return None,
                },
            )
        })?;
        let who = if who == 0 { 0o777 } else { who };
        while let Some(operator) = rest.chars().next() {
            let after = &rest[1..];
            let end = after.find(['+', '-', '=']).unwrap_or(after.len());
            steps.push(step(who, operator, &after[..end])?);
            rest = &after[end..];
        }
    }
    Some(steps)
}

fn step(who: u32, operator: char, permissions: &str) -> Option<Step> {
    let mut step = Step {
        who,
        operator,
        plain: 0,
        execute_if_any: false,
        set_id: false,
        sticky: false,
        from: None,
    };
    // A class stands alone: `u=g`, not `u=gr`.
    let class = match permissions {
        "u" => Some(6),
        "g" => Some(3),
        "o" => Some(0),
        _ => None,
    };
    if class.is_some() {
        return Some(Step { from: class, ..step });
    }
    for permission in permissions.chars() {
        match permission {
            'r' => step.plain |= 0o4,
            'w' => step.plain |= 0o2,
            'x' => step.plain |= 0o1,
            'X' => step.execute_if_any = true,
            's' => step.set_id = true,
            't' => step.sticky = true,
            _ => return None,
        }
    }
    Some(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(text: &str, mode: u32, is_dir: bool) -> Option<u32> {
        let spec = ModeSpec::Symbolic(text.to_owned());
        ModeChange::parse(&spec).ok().map(|change| change.apply(mode, is_dir))
    }

    #[test]
    fn symbolic_modes() {
        for (text, mode, expected) in [
            ("u+x", 0o644, 0o744),
            ("+x", 0o644, 0o755),
            ("a-w", 0o666, 0o444),
            ("go=", 0o755, 0o700),
            ("u=rw,go=r", 0o755, 0o644),
            ("u=rwX,go=rX", 0o644, 0o644),
            ("u=rwX,go=rX", 0o755, 0o755),
            ("g=u", 0o640, 0o660),
            ("o=g-w", 0o670, 0o675),
            ("u+s", 0o755, 0o4755),
            ("g+s", 0o755, 0o2755),
            ("+t", 0o755, 0o1755),
            ("u+t", 0o755, 0o755),
            ("ug-s", 0o6755, 0o755),
            ("u=rwx", 0o4755, 0o755),
            ("u+r-x", 0o300, 0o600),
            ("u=", 0o700, 0),
        ] {
            assert_eq!(apply(text, mode, false), Some(expected), "{text} on {mode:o}");
        }
        assert_eq!(apply("a+X", 0o600, true), Some(0o711));
        assert_eq!(apply("a+X", 0o600, false), Some(0o600));
        assert_eq!(apply("a+X", 0o610, false), Some(0o711));
    }

    #[test]
    fn what_is_no_mode_is_refused() {
        for text in ["", "u", "x+r", "u+q", "u+x,", ",u+x", "u=gr", "é+x", "u+é"] {
            assert_eq!(apply(text, 0o644, false), None, "{text}");
        }
    }

    #[test]
    fn octal_modes_are_whole() {
        let change = ModeChange::parse(&ModeSpec::Octal(0o750)).unwrap();
        assert_eq!(change.apply(0o4644, false), 0o750);
        assert_eq!(change.of_parents(), Some(0o750));
        let set_id = ModeChange::parse(&ModeSpec::Octal(0o4711)).unwrap();
        assert_eq!(set_id.apply(0o644, true), 0o4711);
    }
}
