//! Expansion of words, compared with the reference's table where it is at hand.

use kiln_grammar::parse_word;
use serde_json::Value;

use super::*;
use crate::environment::Environment;

fn environment(pairs: &[&str]) -> Environment {
    let mut environment = Environment::default();
    for pair in pairs {
        let (name, value) = pair.split_once('=').unwrap();
        environment.set(name, value);
    }
    environment
}

#[test]
fn operators() {
    let environment = environment(&["F=a/b/c.tar.gz", "E=", "S=x  y", "D=$F", "R=<${0}>$$$none"]);
    for (text, expected) in [
        ("$F", "a/b/c.tar.gz"),
        ("'$F'\"$E\"\\$F", "$F$F"),
        ("$D", "$F"),
        ("${U:-u}${E:-e}${E-no}", "ue"),
        ("${U:+u}${E+e}${F:+f}", "ef"),
        ("${F#*/}:${F##*/}", "b/c.tar.gz:c.tar.gz"),
        ("${F%.*}:${F%%.*}", "a/b/c.tar:a/b/c"),
        ("${F/\\//-}:${F//[/-}", "a-b/c.tar.gz:a/b/c.tar.gz"),
        ("${F//[ab]/x}${F//?.t/$R}", "a/b/c.tar.gza/b/<c.t>$ar.gz"),
        ("${F#z}${F%z*q}", "a/b/c.tar.gza/b/c.tar.gz"),
    ] {
        let word = parse_word(text, '\\').unwrap();
        assert_eq!(expand(&word, &environment).unwrap(), expected, "{text}");
    }
    let split = parse_word("$S'$S'\"\" ''", '\\').unwrap();
    assert_eq!(expand_split(&split, &environment).unwrap(), ["x", "y$S"]);
    let required = parse_word("${E:?no luck}", '\\').unwrap();
    assert_eq!(expand(&required, &environment).unwrap_err().message, "`E`: no luck");
}

/// Whether an operator is applied anywhere in a part.
fn operates(part: &WordPart) -> bool {
    match part {
        WordPart::Literal(_) | WordPart::Quoted(_) => false,
        WordPart::DoubleQuoted(parts) => parts.iter().any(operates),
        WordPart::Variable(variable) => variable.operation.is_some(),
    }
}

/// [`expand_split`] as the reference does it: at an operator it forgets the word in the making.
fn forgetful_split(word: &Word, environment: &Environment) -> Option<Vec<String>> {
    let mut words = Words::default();
    for part in &word.parts {
        if operates(part) {
            words.open = None;
        }
        words.push(part, environment).ok()?;
    }
    Some(words.finish())
}

/// The reference's answers.
#[test]
fn agrees_with_the_table() {
    let Some(text) = kiln_testkit::corpus("words.json") else { return };
    let table: Value = serde_json::from_str(&text).unwrap();
    let pairs: Vec<&str> =
        table["env"].as_array().unwrap().iter().map(|pair| pair.as_str().unwrap()).collect();
    let environment = environment(&pairs);
    let mut comparison = kiln_testkit::Comparison::of("words.json");
    for case in table["cases"].as_array().unwrap() {
        let input = case["input"].as_str().unwrap();
        let escape = case["escape"].as_str().unwrap().chars().next().unwrap();
        let word = parse_word(input, escape).ok();
        let actual = match (&word, case["op"].as_str().unwrap()) {
            (None, _) => None,
            (Some(word), "word") => expand(word, &environment).ok().map(Value::from),
            (Some(word), _) => forgetful_split(word, &environment).map(Value::from),
        };
        let expected = Some(&case["result"]).filter(|_| case["error"].is_null()).cloned();
        // An empty list is written as nothing.
        let expected =
            expected.map(|value| if value.is_null() { Value::Array(vec![]) } else { value });
        let differs = || format!("{case}: {actual:?}, parts {:?}", word.map(|word| word.parts));
        comparison.case(input, (actual != expected).then(differs));
    }
    comparison.finish(&[], 900);
}
