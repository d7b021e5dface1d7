//! Failures, told so that one knows the place, the cause and the way out.

use std::error::Error;
use std::io::{self, Write as _};

use kiln_cli::answers::diagnostics;
use kiln_cli::exit_code::ExitCode;
use kiln_cli::render::{in_words, output_line};
use kiln_cli::why;
use kiln_engine::{EngineError, ErrorKind, Explanation, FailedStep, MissingImage, Place, Rebuilt};
use kiln_frontend::{Check, Diagnostic, Severity, visible};

use super::table::age;

/// Tells of a failure on standard error; answers the exit code for it.
pub(crate) fn fail(error: &EngineError) -> ExitCode {
    if let EngineError::Dockerfile(faulty) = error {
        show(&diagnostics(faulty));
        if faulty.diagnostics.iter().any(is_check_error) {
            note("note", "a check's remark is an error where `check=error=true` asks for that");
        }
    } else if let EngineError::Steps(steps) = error {
        steps.iter().for_each(|step| show(&failed_step(step)));
    } else if let EngineError::WouldRun(explanation) = error {
        show(&would_run(explanation));
    } else if let EngineError::Images(images) = error {
        images.iter().for_each(|image| show(&missing_image(image)));
    } else if let EngineError::Cancelled = error {
        note("error", "interrupted");
    } else {
        show(&problem(error));
    }
    if error.is_disk_full() {
        show("  = help: the disk is full; free some space, or give another store with `--root`\n");
    }
    if error.is_damaged_store() {
        show(
            "  = help: `kiln system check --repair` makes the database anew from what is whole; so does any \
             other command that opens the store next\n",
        );
    }
    code(error.kind())
}

fn is_check_error(remark: &Diagnostic) -> bool {
    remark.severity == Severity::Error && Check::of_code(remark.code).is_some()
}

/// Tells something in one line.
pub(crate) fn note(kind: &str, text: &str) {
    show(&format!("{kind}: {text}\n"));
}

/// Tells something of one or more lines, with nothing in it that steers a terminal: names and lines are a stranger's.
pub(crate) fn show(text: &str) {
    // There is nobody else to tell.
    let _unread = io::stderr().lock().write_all(visible(text).as_bytes());
}

/// An error that is of no step.
pub(crate) fn problem(error: &EngineError) -> String {
    format!("error: {}\n{}", chain(error), help(&error.hints()))
}

/// Tells that a damaged database was made anew, and what that costs.
pub(super) fn rebuilt(rebuilt: &Rebuilt) {
    let Rebuilt { found, set_aside, records, lost_records, images_from_index, lost_images } =
        rebuilt;
    note(
        "warning",
        &format!("the store's database was damaged and is made anew: {}", in_words(found)),
    );
    let mut notes = vec![match (lost_records, records) {
        (false, _) => "no result of a step is lost".to_owned(),
        (true, 0) => "the results of all steps are lost: each runs again once".to_owned(),
        (true, 1) => {
            "one step's result is saved; steps whose results are lost run again".to_owned()
        }
        (true, _) => {
            format!(
                "the results of {records} steps are saved; steps whose results are lost run again"
            )
        }
    }];
    notes.extend(match (lost_images, images_from_index.len()) {
        (true, _) => Some(
            "names of images may be lost, as the layout's index cannot be read either; whoever \
             needs one builds or loads it again"
                .to_owned(),
        ),
        (false, 0) => None,
        (false, count) => Some(format!(
            "of {count} images the name is taken from the layout's index: {}",
            images_from_index.join(", ")
        )),
    });
    notes.extend(set_aside.as_ref().map(|place| {
        format!(
            "the damaged database lies in `{}` until the next damage; Kiln does not need it",
            place.display()
        )
    }));
    show(&notes.iter().map(|note| format!("  = note: {note}\n")).collect::<String>());
}

fn failed_step(step: &FailedStep) -> String {
    let place = step.place.as_ref();
    match step.engine_error() {
        Some(error) => failure(&step.name, place, error),
        None => headline(&step.name, &step.error) + &place.map(excerpt).unwrap_or_default(),
    }
}

/// A step that failed by itself.
pub(crate) fn failure(name: &str, place: Option<&Place>, error: &EngineError) -> String {
    let mut text = if let EngineError::Command { exit, .. } = error {
        format!("error: `{name}` failed with {exit}\n")
    } else {
        headline(name, error)
    };
    text.push_str(&place.map(excerpt).unwrap_or_default());
    if let EngineError::Command { output, .. } = error
        && !output.is_empty()
    {
        text.push_str("  = its last output:\n");
        for line in output {
            text.push_str(&format!("      {}\n", output_line(line)));
        }
    }
    text.push_str(&help(&error.hints()));
    text
}

/// What `--require-cached` is told: each step that would run first, and why.
fn would_run(explanation: &Explanation) -> String {
    let hint = "a build without `--require-cached` runs these steps and records their results";
    format!("error: {}{}", why::refusal(explanation, &age), help(&[hint.to_owned()]))
}

/// An image that was looked for in vain, where that is no failure.
pub(crate) fn unseen_image(image: &MissingImage) -> String {
    let excerpt = image.place.as_ref().map(excerpt).unwrap_or_default();
    format!("note: {}\n{excerpt}", chain(&image.error))
}

fn missing_image(image: &MissingImage) -> String {
    let excerpt = image.place.as_ref().map(excerpt).unwrap_or_default();
    let hints = [image.hints.clone(), image.error.hints()].concat();
    format!("error: {}\n{excerpt}{}", chain(&image.error), help(&hints))
}

/// Lines of advice.
pub(crate) fn help(hints: &[String]) -> String {
    hints.iter().map(|hint| format!("  = help: {hint}\n")).collect()
}

fn headline(name: &str, error: &dyn Error) -> String {
    format!("error: `{name}` failed: {}\n", chain(error))
}

/// The instruction as it is written, with its line numbers.
fn excerpt(place: &Place) -> String {
    let lines: Vec<_> = place.source.lines().collect();
    let last = place.line + lines.len().saturating_sub(1);
    let width = last.to_string().len();
    let mut text = format!("{:width$}--> {}:{}\n", "", place.file, place.line);
    text.push_str(&format!("{:width$} |\n", ""));
    for (offset, line) in lines.iter().enumerate() {
        text.push_str(&format!("{:>width$} | {line}\n", place.line + offset));
    }
    text.push_str(&format!("{:width$} |\n", ""));
    text
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    in_words(&text)
}

fn code(kind: ErrorKind) -> ExitCode {
    match kind {
        ErrorKind::Usage => ExitCode::Usage,
        ErrorKind::Dockerfile => ExitCode::Dockerfile,
        ErrorKind::Step => ExitCode::StepFailed,
        ErrorKind::NotFound => ExitCode::NotFound,
        ErrorKind::Network => ExitCode::Network,
        ErrorKind::Store => ExitCode::Store,
        ErrorKind::Sandbox => ExitCode::Sandbox,
        ErrorKind::NotCached => ExitCode::NotCached,
        ErrorKind::Interrupted => ExitCode::Interrupted,
    }
}
