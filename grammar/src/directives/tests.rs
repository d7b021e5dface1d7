//! Where directives count, and in which forms.

use crate::{Parsed, SyntaxErrorKind, parse};

/// Names and values of the directives, and the escape character.
fn read(source: &str) -> (Vec<(String, String)>, char) {
    let Parsed { dockerfile, .. } = parse(source);
    let pairs = dockerfile.directives.into_iter().map(|one| (one.name.node, one.value.node));
    (pairs.collect(), dockerfile.escape)
}

fn names(source: &str) -> Vec<String> {
    read(source).0.into_iter().map(|(name, _)| name).collect()
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

#[test]
fn directives_end_at_the_first_other_line() {
    assert_eq!(names("# syntax=a\n# escape=`\n# check=skip=all\nFROM a\n").len(), 3);
    for other in ["", "# a comment", "FROM a", "# unknown=1", "# syntax", "# syntax="] {
        let source = format!("# syntax=a\n{other}\n# escape=`\nFROM a\n");
        assert_eq!(read(&source), (vec![pair("syntax", "a")], '\\'), "{other}");
    }
}

#[test]
fn the_case_of_a_name_makes_no_difference_and_that_of_a_value_does() {
    let source = "#SynTax = Docker/Dockerfile:1  \nFROM a\n";
    assert_eq!(read(source).0, [pair("syntax", "Docker/Dockerfile:1")]);
}

#[test]
fn a_directive_given_twice_is_refused() {
    let errors = parse("# syntax=a\n# Syntax=b\nFROM a\n").errors;
    let [error] = errors.as_slice() else { panic!("{errors:?}") };
    assert!(
        matches!(&error.cause, SyntaxErrorKind::DuplicateDirective { name } if name == "syntax")
    );
}

#[test]
fn what_chooses_a_reader_may_stand_behind_a_shebang_and_the_escape_character_may_not() {
    let source = "#!/usr/bin/env kiln\n# syntax=a\n# check=skip=all\n# escape=`\nFROM a\n";
    assert_eq!(read(source), (vec![pair("syntax", "a"), pair("check", "skip=all")], '\\'));
    assert_eq!(parse(source).errors, []);
}

#[test]
fn an_indented_directive_chooses_the_escape_character_alone() {
    assert_eq!(read(" # syntax=a\n # escape=`\n# check=x\nFROM a\n").0, [pair("escape", "`")]);
    assert_eq!(read(" # escape=`\nFROM a\n").1, '`');
}

#[test]
fn a_byte_order_mark_stands_before_directives() {
    assert_eq!(names("\u{feff}# syntax=a\nFROM a\n"), ["syntax"]);
}

#[test]
fn a_file_for_another_program_is_one_mistake() {
    for source in [
        "// syntax=example/frontend:1 // with a comment\nanything { at all }\n",
        "#!/bin/sh\n//syntax = example/frontend:1\n}\n",
        "{\n  \"steps\": [{\"a\": 1}],\n  \"syntax\": \"example/frontend:1\"\n}\n",
    ] {
        let Parsed { dockerfile, errors, .. } = parse(source);
        let [error] = errors.as_slice() else { panic!("{source}: {errors:?}") };
        let SyntaxErrorKind::ForeignSyntax { frontend } = &error.cause else { panic!("{error:?}") };
        assert_eq!(frontend, "example/frontend:1");
        assert_eq!(dockerfile.directives[0].name.node, "syntax");
        assert_eq!(dockerfile.instructions, []);
    }
}

#[test]
fn a_member_of_another_name_or_type_is_no_directive() {
    for source in
        ["{\"syntax\": 1}\n", "{\"Syntax\": \"a\"}\n", "{\"syntax\": \"a\"\n", "// check=a\n"]
    {
        let errors = parse(source).errors;
        let is_foreign =
            errors.iter().any(|e| matches!(e.cause, SyntaxErrorKind::ForeignSyntax { .. }));
        assert!(!is_foreign && !errors.is_empty(), "{source}");
    }
}
