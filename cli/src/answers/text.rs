//! Answers as text.

use kiln_engine::{Answer, Faulty};
use kiln_frontend::{Outline, Secret, Target};
use unicode_width::UnicodeWidthStr as _;

use super::count;

/// The most remarks that are shown with their lines: nobody reads more, and each costs a look at the file.
const MAX_SHOWN: usize = 500;

/// Blanks between the columns of a table.
const GAP: usize = 3;

pub(super) fn render(answer: &Answer) -> String {
    match answer {
        Answer::Checked { remarks, .. } => checked(remarks),
        Answer::Outline(_, outline) => outlined(outline),
        Answer::Targets(_, targets) => targeted(targets),
    }
}

/// The remarks on a Dockerfile, each with its lines; of very many the first.
#[must_use]
pub fn diagnostics(remarks: &Faulty) -> String {
    let render = |one| kiln_frontend::render(one, &remarks.source);
    let shown = remarks.diagnostics.iter().take(MAX_SHOWN).map(render);
    let mut text = shown.collect::<Vec<_>>().join("\n");
    let more = remarks.diagnostics.len().saturating_sub(MAX_SHOWN);
    if more > 0 {
        text += &format!("\n… and {more} more; `--call=check,format=json` has them all\n");
    }
    text
}

fn checked(remarks: &Faulty) -> String {
    let number = |count: usize, what: &str| match count {
        0 => None,
        1 => Some(format!("1 {what} has been found!")),
        many => Some(format!("{many} {what}s have been found!")),
    };
    let (warnings, errors) = count(remarks);
    let found = [number(warnings, "warning"), number(errors, "error")];
    let found: Vec<_> = found.into_iter().flatten().collect();
    if found.is_empty() {
        return "Check complete, no warnings found.\n".to_owned();
    }
    format!("Check complete, {}\n\n{}", found.join(" "), diagnostics(remarks))
}

fn targeted(targets: &[Target]) -> String {
    let rows = targets.iter().enumerate().map(|(index, target)| {
        let name = target.name.clone().unwrap_or_else(|| index.to_string());
        let default = if target.is_default { " (default)" } else { "" };
        vec![
            format!("{name}{default}"),
            target.base.clone(),
            target.description.clone().unwrap_or_default(),
        ]
    });
    table(&["TARGET", "BASE", "DESCRIPTION"], rows.collect())
}

fn outlined(outline: &Outline) -> String {
    let mut parts = Vec::new();
    if outline.name.is_some() || outline.description.is_some() {
        let mut head = format!("TARGET:      {}\n", outline.name.as_deref().unwrap_or("(default)"));
        if let Some(description) = &outline.description {
            head += &format!("DESCRIPTION: {description}\n");
        }
        parts.push(head);
    }
    let arguments = outline.arguments.iter().map(|argument| {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        vec![argument.name.clone(), text(&argument.value), text(&argument.description)]
    });
    parts.push(table(&["BUILD ARG", "VALUE", "DESCRIPTION"], arguments.collect()));
    let required = |secrets: &[Secret]| -> Vec<Vec<String>> {
        let cell = |secret: &Secret| if secret.is_required { "true" } else { "" }.to_owned();
        secrets.iter().map(|secret| vec![secret.id.clone(), cell(secret)]).collect()
    };
    parts.push(table(&["SECRET", "REQUIRED"], required(&outline.secrets)));
    parts.push(table(&["SSH", "REQUIRED"], required(&outline.ssh)));
    parts.retain(|part| !part.is_empty());
    parts.join("\n")
}

/// Columns under their heads; nothing without rows. No line ends in a blank.
fn table(heads: &[&str], rows: Vec<Vec<String>>) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let heads: Vec<String> = heads.iter().map(|head| (*head).to_owned()).collect();
    let rows: Vec<_> = [heads].into_iter().chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].width()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths);
        let cells =
            cells.map(|(cell, width)| format!("{cell}{}", " ".repeat(width + GAP - cell.width())));
        format!("{}\n", cells.collect::<String>().trim_end())
    };
    rows.iter().map(line).collect()
}
