//! Reasons in words.

use kiln_engine::{
    Difference, Distinction, ExplainedStep, Explanation, Gone, How, Nearest, ReadCause,
    ReadDistinction, Reason, Shown, StepOutcome,
};

use super::files::{changed_files, changed_lines};
use super::{Ago, Detail};
use crate::render::one_line;

/// The longest value that is shown on its line, in characters.
const VALUE_MAX: usize = 120;

/// What sentences are made from.
pub(super) struct Words<'a> {
    pub(super) explanation: &'a Explanation,
    pub(super) detail: Detail,
    pub(super) ago: Ago<'a>,
}

/// A reason that needs no more than one line, for all steps that have it.
pub(super) const fn simple(reason: &Reason) -> Option<&'static str> {
    Some(match reason {
        Reason::NoCache => "recorded results were passed over, by `--no-cache`",
        Reason::NoCacheFilter => {
            "recorded results of its stage were passed over, by `--no-cache-filter`"
        }
        Reason::First => "no earlier build of it is known",
        Reason::Gone(Gone::Collected) => "the result was collected to save space",
        Reason::Gone(Gone::Restart) => {
            "the result was not on the disk yet when the machine was restarted"
        }
        Reason::Gone(Gone::Damaged) => "the result was damaged, and dropped by a check",
        Reason::Husk => "recorded, but the files of the result cannot be had",
        Reason::Unfinished => "begun before, and it failed or was interrupted then",
        Reason::Forgotten => "what it was made of is not kept",
        Reason::Refused => "not cached then, and `--require-cached` let no step run",
        Reason::Differs(_) => return None,
    })
}

impl Words<'_> {
    /// What a cached step's record is.
    pub(super) fn cached(&self, step: &ExplainedStep) -> Option<String> {
        match &step.outcome {
            StepOutcome::Cached { made_ms: Some(made_ms), duration_ms } => {
                let took = std::time::Duration::from_millis(*duration_ms).as_secs_f64();
                Some(format!("made {}, in {took:.1}s", (self.ago)(*made_ms)))
            }
            StepOutcome::Cached { made_ms: None, .. } => Some("made earlier".to_owned()),
            StepOutcome::Missed(_) | StepOutcome::Unrecorded | StepOutcome::NotReached => None,
        }
    }

    /// The reason of the step called `name`, on lines of its own.
    pub(super) fn reason(&self, name: &str, reason: &Reason) -> String {
        match (simple(reason), reason) {
            (None, Reason::Differs(nearest)) => self.nearest(name, nearest),
            (plain, _) => format!("  {}\n", plain.unwrap_or_default()),
        }
    }

    fn nearest(&self, name: &str, nearest: &Nearest) -> String {
        let ago = (self.ago)(nearest.made_ms);
        let was = one_line(&nearest.name);
        let mut text = if is_same_step(&was, &one_line(name)) {
            format!("  differs from its result made {ago}:\n")
        } else {
            format!("  differs from the nearest result, of `{was}`, made {ago}:\n")
        };
        if nearest.differences.is_empty() {
            text += "    in what is not written down\n";
        }
        for difference in &nearest.differences {
            text += &self.difference(difference);
        }
        text
    }

    /// What differs, on lines indented by four.
    fn difference(&self, difference: &Distinction) -> String {
        match difference {
            Difference::Field { what, was: Some(was), is: Some(is), .. } if what == "command" => {
                format!("    the command changed:\n{}", changed_command(was, is, self.detail))
            }
            Difference::Field { what, name, aspect, was, is } => {
                let field = field_name(what, name, aspect);
                let change = match long_text(was.as_ref(), is.as_ref()) {
                    Some((was, is)) => {
                        format!(" changed:\n{}", changed_lines(was, is, self.detail))
                    }
                    None => format!(" {}\n", change(name, was.as_ref(), is.as_ref())),
                };
                format!("    {field}{change}")
            }
            Difference::Order { what } => format!("    the {what}s are in another order\n"),
            Difference::Read(read) => self.read(read),
        }
    }

    /// What was read and what is behind the change, with the files that differ.
    fn read(&self, read: &ReadDistinction) -> String {
        let ReadDistinction { how, name, was_name, cause, files } = read;
        let mut text = format!("    {}", self.cause(*how, &one_line(name), cause));
        if let Some(was) = was_name {
            text += &format!(", where it was `{}`", one_line(was));
        }
        match files {
            Some(files) if files.is_empty() => {
                text += "; the files are alike, but not what they are called\n";
            }
            Some(files) => text += &format!(":\n{}", changed_files(files, self.detail)),
            None => text.push('\n'),
        }
        if let ReadCause::Cached { differences, .. } = cause {
            let nested: String = differences.iter().map(|one| self.difference(one)).collect();
            text += &nested.lines().map(|line| format!("  {line}\n")).collect::<String>();
        }
        text
    }

    fn cause(&self, how: How, name: &str, cause: &ReadCause) -> String {
        let what = match how {
            How::Root => "the filesystem that it begins with".to_owned(),
            How::Bind => format!("what the mount `{name}` shows"),
            How::Copy => match name.trim_start_matches('/') {
                "" => "what is copied".to_owned(),
                name => format!("what is copied of `{name}`"),
            },
            How::Secret => format!("the value of the secret `{name}`"),
        };
        let step = |index: usize| {
            let step = self.explanation.steps.get(index);
            step.map_or_else(String::new, |step| one_line(&step.name))
        };
        match cause {
            ReadCause::Itself => format!("{what} changed"),
            ReadCause::New => match how {
                How::Secret => format!("{what} counts from now on (`cache=hmac`)"),
                How::Root | How::Bind | How::Copy => format!("{what} was not read then"),
            },
            ReadCause::Gone => match how {
                How::Secret => format!("{what} counts no more (no `cache=hmac`)"),
                How::Root | How::Bind | How::Copy => format!("{what} is not read any more"),
            },
            ReadCause::Ran { step: index, same_action: false } => {
                format!("{what} changed: `{}` gave another result", step(*index))
            }
            ReadCause::Ran { step: index, same_action: true } => format!(
                "{what} changed: `{}` ran again and gave another result, though nothing of it changed",
                step(*index)
            ),
            ReadCause::OtherPart { step: index } => {
                format!("{what} is not what it was: another part of what `{}` gave", step(*index))
            }
            ReadCause::MadeAnew { step: index } => format!(
                "{what} changed: `{}` was made anew since and gave another result",
                step(*index)
            ),
            ReadCause::Cached { step: index, was, .. } => {
                let now = step(*index);
                let was = was.as_ref().map(|was| one_line(was));
                let was = was.filter(|was| !is_same_step(was, &now));
                let was = was.map_or_else(String::new, |was| format!("; then it was by `{was}`"));
                format!("{what} is not what it was: it is by `{now}`, which was cached{was}")
            }
            ReadCause::Unknown => format!("{what} is not what it was"),
        }
    }
}

/// Whether two names are of the same instruction of a stage, if of another number there: `[build 2/5] RUN make`.
fn is_same_step(one: &str, other: &str) -> bool {
    fn parts(name: &str) -> (&str, &str) {
        let Some((bracketed, instruction)) = name.split_once(']') else { return ("", name) };
        let stage = bracketed.rsplit_once(' ').map_or("", |(stage, _)| stage.trim_end());
        (stage, instruction)
    }
    parts(one) == parts(other)
}

/// What a field is called in a sentence.
fn field_name(what: &str, name: &str, aspect: &str) -> String {
    let what = one_line(what);
    let whole = match name {
        "" if what == "image" => "the base image's".to_owned(),
        "" => format!("the {what}"),
        name => format!("the {what} `{}`", one_line(name)),
    };
    match (aspect, what.as_str()) {
        ("", _) => whole,
        (aspect, "image") => format!("{whole} {}", one_line(aspect)),
        (aspect, _) => format!("{whole}: {}", one_line(aspect)),
    }
}

/// What became of the value of something that is called `name`.
fn change(name: &str, was: Option<&Shown>, is: Option<&Shown>) -> String {
    // A mount is its target: saying it twice says no more.
    let other = |shown: &Shown| value(shown).filter(|_| !is_text(shown, name));
    match (was, is) {
        (Some(Shown::Sealed(_)), Some(Shown::Sealed(_))) => {
            "changed; its name is that of a credential, so its values are not kept".to_owned()
        }
        (None | Some(Shown::Nothing), Some(is)) => match other(is) {
            Some(is) => format!("is new: {is}"),
            None => "is new".to_owned(),
        },
        (Some(was), None | Some(Shown::Nothing)) => match other(was) {
            Some(was) => format!("is gone; it was {was}"),
            None => "is gone".to_owned(),
        },
        (Some(was), Some(is)) => match (value(was), value(is)) {
            (Some(was), Some(is)) => format!("changed from {was} to {is}"),
            _ => "changed".to_owned(),
        },
        (None, None) => "changed".to_owned(),
    }
}

fn is_text(shown: &Shown, expected: &str) -> bool {
    matches!(shown, Shown::Text(text) if text == expected)
}

/// A value on one line; nothing for one that is not to be shown.
fn value(shown: &Shown) -> Option<String> {
    match shown {
        Shown::Nothing | Shown::Sealed(_) => None,
        Shown::Text(text) => Some(quoted(text)),
        Shown::List(texts) => Some(quoted(&serde_json::json!(texts).to_string())),
        Shown::Long { size_bytes, digest, .. } => {
            Some(format!("{size_bytes} bytes ({})", digest.short()))
        }
    }
}

fn quoted(text: &str) -> String {
    if text.is_empty() {
        return "nothing".to_owned();
    }
    let text = one_line(text);
    if text.chars().count() <= VALUE_MAX {
        return format!("`{text}`");
    }
    let cut: String = text.chars().take(VALUE_MAX).collect();
    format!("`{cut}…`")
}

/// Two texts that are better compared line by line.
fn long_text<'a>(was: Option<&'a Shown>, is: Option<&'a Shown>) -> Option<(&'a str, &'a str)> {
    let (Some(Shown::Text(was)), Some(Shown::Text(is))) = (was, is) else { return None };
    let is_long = |text: &str| text.contains('\n') || text.chars().count() > VALUE_MAX;
    (is_long(was) || is_long(is)).then_some((was.as_str(), is.as_str()))
}

/// The lines that differ of what a shell is given; of other commands all arguments.
fn changed_command(was: &Shown, is: &Shown, detail: Detail) -> String {
    let text = |shown: &Shown| match shown {
        Shown::List(texts) => serde_json::json!(texts).to_string(),
        Shown::Text(text) | Shown::Long { head: text, .. } => text.clone(),
        Shown::Nothing | Shown::Sealed(_) => String::new(),
    };
    if let (Shown::List(was), Shown::List(is)) = (was, is)
        && let (Some((was, before)), Some((is, now))) = (was.split_last(), is.split_last())
        && before == now
        && before.len() > 1
    {
        return changed_lines(was, is, detail);
    }
    changed_lines(&text(was), &text(is), detail)
}
