//! Which step of a build somebody means.

use kiln_grammar::nearest;

use super::past::PastBuild;
use crate::EngineError;

/// Steps that are named where several are meant.
const MAX_NAMED: usize = 8;
/// What the name of a step ends with that makes ready what another one mounts.
const PREPARATION: &str = " (prepare)";

/// What a step may be called by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Names<'a> {
    /// Its index in the build graph.
    pub(crate) vertex: usize,
    /// What people call it: `[build 2/5] RUN make`.
    pub(crate) name: &'a str,
    /// The Dockerfile's name; empty where it is in none.
    pub(crate) file: &'a str,
    /// The line of the instruction, from 1; 0 where there is none.
    pub(crate) line: usize,
}

impl PastBuild {
    /// The task of the step that is meant: by its index in the build graph, by a line of the Dockerfile
    /// (`Dockerfile:7` or `:7`), by what its name has in brackets (`build 2/5`), or by a part of its name that only
    /// it has. The answer is an index into [`PastBuild::tasks`].
    ///
    /// # Errors
    /// [`EngineError::NoStep`] when there is none, or more than one.
    pub fn find_step(&self, text: &str) -> Result<usize, EngineError> {
        let (mut tasks, mut names) = (Vec::new(), Vec::new());
        for (index, task) in self.tasks.iter().enumerate() {
            if let (true, Some(origin)) = (task.is_step(), &task.origin) {
                tasks.push(index);
                let (vertex, name) = (origin.vertex, task.name.as_str());
                names.push(Names { vertex, name, file: &origin.file, line: origin.at });
            }
        }
        find(&names, text).map(|found| tasks[found])
    }
}

/// The one of these that is meant; see [`PastBuild::find_step`].
pub(crate) fn find<'a>(steps: &[Names<'a>], text: &str) -> Result<usize, EngineError> {
    let meant = meant(steps, text);
    if let [only] = meant[..] {
        return Ok(only);
    }
    let hints = if meant.is_empty() {
        let bracketed = |step: &Names<'a>| step.name.strip_prefix('[')?.split_once(']');
        let short = steps.iter().filter_map(bracketed);
        let short = short.flat_map(|(bracketed, instruction)| [bracketed, instruction.trim()]);
        let names: Vec<&str> = steps.iter().map(|step| step.name).chain(short).collect();
        vec![match nearest(text, &names) {
            Some(name) => format!("did you mean `{name}`?"),
            None => "`kiln history inspect [BUILD]` lists the steps of a build".to_owned(),
        }]
    } else {
        let named = meant.iter().take(MAX_NAMED).map(|&index| &steps[index]);
        named.map(|step| format!("{}: {}", step.vertex, step.name)).collect()
    };
    Err(EngineError::NoStep { reference: text.to_owned(), several: meant.len() > 1, hints })
}

fn meant(steps: &[Names<'_>], text: &str) -> Vec<usize> {
    let mut meant = all_meant(steps, text);
    // Who names an instruction means what it does, and not what is copied for its sake.
    let of_another = |index: usize| {
        let whole = steps[index].name.strip_suffix(PREPARATION);
        whole.is_some_and(|whole| meant.iter().any(|&other| steps[other].name == whole))
    };
    let of_others: Vec<usize> = meant.iter().copied().filter(|&index| of_another(index)).collect();
    meant.retain(|index| !of_others.contains(index));
    meant
}

fn all_meant(steps: &[Names<'_>], text: &str) -> Vec<usize> {
    let all = |wanted: &dyn Fn(&Names<'_>) -> bool| -> Vec<usize> {
        (0..steps.len()).filter(|&index| wanted(&steps[index])).collect()
    };
    if let Ok(vertex) = text.parse::<usize>() {
        return all(&|step| step.vertex == vertex);
    }
    if let Some((file, line)) = line_of(text) {
        return all(&|step| step.line == line && step.file.ends_with(file));
    }
    let text = plain(text);
    if text.is_empty() {
        return Vec::new();
    }
    let bracketed = format!("[{}]", text.trim_start_matches('[').trim_end_matches(']'));
    let ways: [&dyn Fn(&str) -> bool; 3] = [
        &|name| name == text,
        &|name| name == bracketed || name.starts_with(&format!("{bracketed} ")),
        &|name| name.contains(&text),
    ];
    let found = ways.iter().map(|is_meant| all(&|step| is_meant(&plain(step.name))));
    found.into_iter().find(|meant| !meant.is_empty()).unwrap_or_default()
}

/// A file and a line: `Dockerfile:7`, `:7`.
fn line_of(text: &str) -> Option<(&str, usize)> {
    let (file, line) = text.rsplit_once(':')?;
    Some((file, line.parse().ok()?)).filter(|_| !text.contains(' '))
}

/// A name without the blanks that line numbers up.
fn plain(name: &str) -> String {
    name.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: [(&str, usize); 7] = [
        ("[build  2/12] RUN make", 3),
        ("[build 12/12] RUN make install", 9),
        ("[test 2/2] RUN make test", 11),
        ("[test 1/2] FROM build", 0),
        ("[linux/arm64 build 2/12] RUN make", 3),
        ("[last 1/1] RUN mounted (prepare)", 20),
        ("[last 1/1] RUN mounted", 20),
    ];

    fn steps() -> Vec<Names<'static>> {
        let one = |(index, &(name, line)): (usize, &(&'static str, usize))| Names {
            vertex: 10 + index,
            name,
            file: "app/Dockerfile",
            line,
        };
        STEPS.iter().enumerate().map(one).collect()
    }

    #[test]
    fn steps_are_found_by_whatever_tells_them_apart() {
        for (text, expected) in [
            ("12", 2),
            ("[build 2/12]", 0),
            ("build 2/12", 0),
            ("[build 2/12] RUN make", 0),
            ("linux/arm64 build 2/12", 4),
            ("make install", 1),
            ("12/12", 1),
            (":11", 2),
            ("Dockerfile:9", 1),
            ("app/Dockerfile:9", 1),
            (":20", 6),
            ("last 1/1", 6),
            ("RUN mounted (prepare)", 5),
        ] {
            assert_eq!(find(&steps(), text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_meant_is_asked_where_it_is_unclear() {
        const LISTED: &str = "`kiln history inspect [BUILD]` lists the steps of a build";
        for (text, several, hint) in [
            (":3", true, "10: [build  2/12] RUN make"),
            ("RUN make", true, "10: [build  2/12] RUN make"),
            ("7", false, LISTED),
            ("other:9", false, LISTED),
            ("", false, LISTED),
            ("bulid 12/12", false, "did you mean `build 12/12`?"),
            ("RUN mak install", false, "did you mean `RUN make install`?"),
            ("[test 2/2] RUN make tests", false, "did you mean `[test 2/2] RUN make test`?"),
        ] {
            let Err(EngineError::NoStep { reference, several: found, hints }) =
                find(&steps(), text)
            else {
                panic!("{text}")
            };
            assert_eq!((reference.as_str(), found), (text, several));
            assert_eq!(hints.first().map(String::as_str).unwrap_or_default(), hint, "{text}");
        }
    }
}
