//! Words taken apart, and those that cannot be.

use super::{Dialect, Quotes, word};
use crate::error::SyntaxErrorKind as Kind;
use crate::text::Text;
use crate::word::{Absence, Extent, Matches, Operation, Span, Variable, WordPart};

fn parse(text: &str, escape: char, quotes: Quotes) -> Result<Vec<WordPart>, Kind> {
    let mut source = Text::at(0);
    source.push(text, 0);
    let word = word(source.whole(), Dialect { escape, quotes });
    word.map(|word| word.parts).map_err(|(_, cause)| cause)
}

fn parts(text: &str) -> Vec<WordPart> {
    parse(text, '\\', Quotes::Marks).unwrap()
}

fn cause(text: &str) -> Kind {
    parse(text, '\\', Quotes::Marks).unwrap_err()
}

fn literal(text: &str) -> WordPart {
    WordPart::Literal(text.to_owned())
}

fn quoted(text: &str) -> WordPart {
    WordPart::Quoted(text.to_owned())
}

fn variable(name: &str, start: usize, end: usize, operation: Option<Operation>) -> WordPart {
    WordPart::Variable(Variable { name: name.to_owned(), span: Span { start, end }, operation })
}

#[test]
fn quotes_and_escapes() {
    assert_eq!(parts("plain"), [literal("plain")]);
    assert_eq!(parts(r"a\ b"), [literal("a"), quoted(" "), literal("b")]);
    assert_eq!(parts("''"), [quoted("")]);
    assert_eq!(parts(r"'a\'b"), [quoted(r"a\"), literal("b")]);
    assert_eq!(parts(r"a\"), [literal("a")]);
}

#[test]
fn single_quotes_hide_everything() {
    assert_eq!(parts(r#"'$a "b" }/'c"#), [quoted(r#"$a "b" }/"#), literal("c")]);
    assert_eq!(parts(r"'\\'$x"), [quoted(r"\\"), variable("x", 4, 6, None)]);
}

#[test]
fn double_quotes_hide_all_but_variables() {
    let inside = vec![literal("it's "), variable("x", 6, 8, None), literal(r#" "\n$"#)];
    assert_eq!(parts(r#""it's $x \"\n\$""#), [WordPart::DoubleQuoted(inside)]);
}

#[test]
fn names() {
    assert_eq!(parts("$1x"), [variable("1", 0, 2, None), literal("x")]);
    assert_eq!(parts("$?x"), [variable("?", 0, 2, None), literal("x")]);
    assert_eq!(parts("$é_1."), [variable("é_1", 0, 5, None), literal(".")]);
    assert_eq!(parts("$ $/"), [literal("$ $/")]);
    assert_eq!(parts("${x}y"), [variable("x", 0, 4, None), literal("y")]);
}

#[test]
fn tests_for_absence() {
    use Absence::{Unset, UnsetOrEmpty};
    let operand = || vec![literal("b")];
    for (text, operation) in [
        ("${a-b}", Operation::Default(Unset, operand())),
        ("${a:-b}", Operation::Default(UnsetOrEmpty, operand())),
        ("${a+b}", Operation::Alternative(Unset, operand())),
        ("${a:+b}", Operation::Alternative(UnsetOrEmpty, operand())),
        ("${a?b}", Operation::Require(Unset, operand())),
        ("${a:?b}", Operation::Require(UnsetOrEmpty, operand())),
    ] {
        assert_eq!(parts(text), [variable("a", 0, text.len(), Some(operation))], "{text}");
    }
}

#[test]
fn patterns_keep_escapes() {
    let pattern = || vec![quoted(r"\*"), literal("b/")];
    for (text, operation) in [
        (r"${a#\*b/}", Operation::TrimPrefix(Extent::Shortest, pattern())),
        (r"${a##\*b/}", Operation::TrimPrefix(Extent::Longest, pattern())),
        (r"${a%\*b/}", Operation::TrimSuffix(Extent::Shortest, pattern())),
        (r"${a%%\*b/}", Operation::TrimSuffix(Extent::Longest, pattern())),
    ] {
        assert_eq!(parts(text), [variable("a", 0, text.len(), Some(operation))], "{text}");
    }
}

#[test]
fn replacements() {
    let replace = |matches| Operation::Replace {
        matches,
        pattern: vec![literal("}"), quoted(r"\/")],
        replacement: vec![literal("x/y")],
    };
    let first = r"${a/}\//x/y}";
    assert_eq!(parts(first), [variable("a", 0, first.len(), Some(replace(Matches::First)))]);
    let all = r"${a//}\//x/y}";
    assert_eq!(parts(all), [variable("a", 0, all.len(), Some(replace(Matches::All)))]);
}

#[test]
fn operands_nest() {
    let innermost = Operation::Default(Absence::UnsetOrEmpty, vec![quoted("}")]);
    let inner = vec![literal("-"), variable("b", 6, 15, Some(innermost))];
    let outer = Operation::Alternative(Absence::Unset, vec![WordPart::DoubleQuoted(inner)]);
    assert_eq!(parts(r#"${a+"-${b:-'}'}"}"#), [variable("a", 0, 17, Some(outer))]);
}

#[test]
fn the_backtick_dialect() {
    let parse = |text| parse(text, '`', Quotes::Marks).unwrap();
    assert_eq!(parse(r"C:\dir`$x"), [literal(r"C:\dir"), quoted("$"), literal("x")]);
    assert_eq!(parse(r#""`"\""#), [WordPart::DoubleQuoted(vec![literal(r#""\"#)])]);
}

#[test]
fn quotes_are_characters_in_here_documents() {
    let parse = |text| parse(text, '\\', Quotes::Characters).unwrap();
    assert_eq!(parse("it's \"$x\"")[..2], [literal("it's \""), variable("x", 6, 8, None)]);
    let default = Operation::Default(Absence::UnsetOrEmpty, vec![literal("'a")]);
    assert_eq!(parse("${x:-'a}"), [variable("x", 0, 8, Some(default))]);
}

#[test]
fn mistakes() {
    assert_eq!(cause("a'b"), Kind::UnclosedQuote { quote: '\'' });
    assert_eq!(cause("a\"b"), Kind::UnclosedQuote { quote: '"' });
    assert_eq!(cause("${a"), Kind::UnclosedBrace);
    assert_eq!(cause("${a:-b"), Kind::UnclosedBrace);
    assert_eq!(cause("${a/b}"), Kind::UnclosedPattern);
    assert_eq!(cause("${a/b/c"), Kind::UnclosedBrace);
    assert_eq!(cause("${"), Kind::UnclosedBrace);
    for text in ["${}", "${{a}}", "${:-x}", "${:x}"] {
        assert_eq!(cause(text), Kind::NoVariable, "{text}");
    }
    for (text, operator) in [("${a:#b}", ":#"), ("${a@Q}", "@"), ("${a b}", " "), ("${a:", ":")] {
        assert_eq!(cause(text), Kind::UnknownOperator { operator: operator.to_owned() }, "{text}");
    }
}

#[test]
fn depth_has_a_limit() {
    let nested = |depth: usize| format!("{}{}", "${a:-".repeat(depth), "}".repeat(depth));
    assert!(parse(&nested(60), '\\', Quotes::Marks).is_ok());
    assert_eq!(cause(&nested(100_000)), Kind::TooDeep { limit: 64 });
    let disguised = "${a:-'}'".repeat(100_000);
    assert_eq!(cause(&disguised), Kind::TooDeep { limit: 64 });
}
