//! What comes of files that include each other.

use super::*;

const MAIN: &str = "# syntax=kiln\nFROM a\nINCLUDE parts/run\nCMD x\n";

fn files(files: &[(&str, &str)]) -> BTreeMap<String, String> {
    files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
}

fn expanded(main: &str, known: &[(&str, &str)]) -> SourceText {
    match expand(SourceText::of_file("Dockerfile", main), &files(known)) {
        Ok(Expansion::Done(text)) => text,
        other => panic!("{other:?}"),
    }
}

fn message(main: &str, known: &[(&str, &str)]) -> String {
    match expand(SourceText::of_file("Dockerfile", main), &files(known)) {
        Err((text, errors)) => {
            let place = text.locate(errors[0].span.unwrap().start);
            format!("{}:{}: {}", place.file, place.line, errors[0].message)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn lines_take_the_place_of_the_instruction() {
    let text = expanded(MAIN, &[("parts/run", "RUN 1\nRUN 2")]);
    assert_eq!(text.text(), "# syntax=kiln\nFROM a\nRUN 1\nRUN 2\nCMD x\n");
    let places: Vec<_> = (text.text().match_indices('\n'))
        .map(|(end, _)| text.locate(end))
        .map(|place| format!("{}:{}", place.file, place.line))
        .collect();
    let expected = ["Dockerfile:1", "Dockerfile:2", "parts/run:1", "parts/run:2", "Dockerfile:4"];
    assert_eq!(places, expected);
}

#[test]
fn missing_files_are_asked_for_once_and_all_together() {
    let main = "# syntax=kiln:1\nINCLUDE ./a\ninclude /b/../c\nINCLUDE a\n";
    match expand(SourceText::of_file("Dockerfile", main), &BTreeMap::new()) {
        Ok(Expansion::Need(paths)) => assert_eq!(paths, ["a", "c"]),
        other => panic!("{other:?}"),
    }
}

#[test]
fn included_files_include_others() {
    let known = [("parts/run", "RUN 1\nINCLUDE more\n"), ("more", "RUN 2\n")];
    let text = expanded(MAIN, &known);
    assert_eq!(text.text(), "# syntax=kiln\nFROM a\nRUN 1\nRUN 2\nCMD x\n");
    let place = text.locate(text.text().find("RUN 2").unwrap());
    assert_eq!(place, Location { file: "more", line: 1, column: 1 });
}

#[test]
fn without_the_directive_nothing_is_included() {
    for main in [
        "FROM a\nINCLUDE b\n",
        "# syntax=docker/dockerfile:1\nINCLUDE b\n",
        "#x\n# syntax=kiln\nINCLUDE b\n",
    ] {
        assert_eq!(expanded(main, &[]).text(), main);
        let errors = parse(main).errors;
        assert!(errors.iter().any(|error| error.cause == kiln_grammar::SyntaxErrorKind::Include));
    }
}

#[test]
fn heredocs_and_comments_are_not_looked_into() {
    let main = "# syntax=kiln\n# INCLUDE a\nFROM a\nRUN <<E\nINCLUDE a\nE\n";
    assert_eq!(expanded(main, &[]).text(), main);
}

#[test]
fn what_cannot_be_included() {
    let takes = "`INCLUDE` takes the path of a file";
    assert_eq!(message("# syntax=kiln\nINCLUDE\n", &[]), format!("Dockerfile:2: {takes}"));
    assert_eq!(message("# syntax=kiln\nINCLUDE ..\n", &[]), format!("Dockerfile:2: {takes}"));
    let half = "`parts/run` ends in the middle of an instruction";
    assert_eq!(message(MAIN, &[("parts/run", "RUN a \\\n")]), format!("Dockerfile:3: {half}"));
    assert_eq!(message(MAIN, &[("parts/run", "RUN <<E\nx\n")]), format!("Dockerfile:3: {half}"));
    let endless = [("parts/run", "RUN 1\nINCLUDE parts/run\n")];
    assert_eq!(message(MAIN, &endless), "parts/run:2: more than 10 files include each other");
    let wide = "INCLUDE big\n".repeat(20);
    let big = "#".repeat(1 << 20);
    let known = [("parts/run", wide.as_str()), ("big", big.as_str())];
    assert!(message(MAIN, &known).contains("more than 16777216 bytes"));
}

#[test]
fn positions_are_those_of_the_parser() {
    let text = "a\n\nbéc\r\n\nd";
    let source = SourceText::of_file("f", text);
    for offset in (0..=text.len()).filter(|offset| text.is_char_boundary(*offset)) {
        assert_eq!(source.position(offset), line_column(text, offset), "{offset}");
    }
    assert_eq!(source.position(usize::MAX), line_column(text, text.len()));
}
