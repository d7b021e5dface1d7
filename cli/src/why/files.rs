//! Lists of what changed: files, and lines of texts.

use kiln_engine::{Change, Changed};

use super::Detail;
use kiln_frontend::visible;

/// Files that are listed.
const FILES: usize = 20;
/// Files that are listed when all are wanted.
const ALL_FILES: usize = 10_000;
/// Lines that are shown of each side.
const LINES: usize = 8;
/// Lines that are shown of each side when all are wanted.
const ALL_LINES: usize = 1_000;
/// The widest column of names.
const NAME_COLUMNS: usize = 48;

/// Files that changed, one a line, indented by six. A directory that came or went stands for all in it.
pub(super) fn changed_files(files: &[Change], detail: Detail) -> String {
    let (most, lines) = match detail {
        Detail::Brief => (FILES, together(files)),
        Detail::Full => (ALL_FILES, files.iter().map(|file| (file, 0)).collect()),
    };
    // A list that is longer by one is not cut: the note would take its line.
    let shown = if lines.len() <= most + 1 { lines.len() } else { most };
    let width = |(file, _): &(&Change, usize)| visible(&file.path).chars().count();
    let width = lines[..shown].iter().map(width).max().unwrap_or(0).min(NAME_COLUMNS);
    let mut text = String::new();
    for (file, below) in &lines[..shown] {
        let (mark, what) = match below {
            0 => told(&file.what),
            1 => (told(&file.what).0, "with what is in it".to_owned()),
            _ => (told(&file.what).0, format!("with the {below} things in it")),
        };
        let line = format!("      {mark} {:<width$}  {what}", visible(&file.path));
        text += &format!("{}\n", line.trim_end());
    }
    if shown < lines.len() {
        let left: usize = lines[shown..].iter().map(|(_, below)| 1 + below).sum();
        text += &format!("      … and {left} more\n");
    }
    text
}

/// Files with how many of the following ones they stand for: those below a path that came or went like them.
fn together(files: &[Change]) -> Vec<(&Change, usize)> {
    let mut lines: Vec<(&Change, usize)> = Vec::new();
    for file in files {
        if let Some((above, below)) = lines.last_mut()
            && above.what == file.what
            && matches!(above.what[..], [Changed::Added | Changed::Removed])
            && file.path.strip_prefix(above.path.as_str()).is_some_and(|rest| rest.starts_with('/'))
        {
            *below += 1;
            continue;
        }
        lines.push((file, 0));
    }
    lines
}

fn told(what: &[Changed]) -> (char, String) {
    let mark = match what {
        [Changed::Added] => '+',
        [Changed::Removed] => '-',
        _ => '~',
    };
    let parts: Vec<String> = what.iter().filter_map(part).collect();
    (mark, parts.join(", "))
}

fn part(what: &Changed) -> Option<String> {
    Some(match what {
        Changed::Added | Changed::Removed => return None,
        Changed::Sort { was, is } => format!("{was} → {is}"),
        Changed::Content { was_bytes, is_bytes } if was_bytes == is_bytes => {
            format!("content (still {is_bytes} bytes)")
        }
        Changed::Content { was_bytes, is_bytes } => {
            format!("content ({was_bytes} → {is_bytes} bytes)")
        }
        Changed::Mode { was, is } => format!("mode {was:04o} → {is:04o}"),
        Changed::Owner { was, is } => {
            format!("owner {}:{} → {}:{}", was.0, was.1, is.0, is.1)
        }
        Changed::Target { was, is } => format!("link to {was} → {is}"),
        Changed::Links => "hard links".to_owned(),
        Changed::Attributes => "extended attributes".to_owned(),
        Changed::Device => "device".to_owned(),
    })
}

/// The lines in which two texts differ, without those that both begin or end with, indented by six.
pub(super) fn changed_lines(was: &str, is: &str, detail: Detail) -> String {
    let most = match detail {
        Detail::Brief => LINES,
        Detail::Full => ALL_LINES,
    };
    let (was, is): (Vec<&str>, Vec<&str>) = (was.lines().collect(), is.lines().collect());
    let first = was.iter().zip(&is).take_while(|(was, is)| was == is).count();
    let rest = (&was[first..], &is[first..]);
    let last =
        rest.0.iter().rev().zip(rest.1.iter().rev()).take_while(|(was, is)| was == is).count();
    let mut text = String::new();
    for (mark, lines) in [('-', rest.0), ('+', rest.1)] {
        let lines = &lines[..lines.len() - last];
        let shown = if lines.len() <= most + 1 { lines.len() } else { most };
        for line in &lines[..shown] {
            text += &format!("      {mark} {}\n", visible(line));
        }
        if shown < lines.len() {
            text += &format!("      {mark} … and {} lines more\n", lines.len() - shown);
        }
    }
    text
}
