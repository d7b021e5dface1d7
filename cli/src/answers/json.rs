//! Answers as JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_engine::{Answer, Faulty};
use kiln_frontend::{
    Argument, Check, Diagnostic, Outline, Secret, Severity, SourceText, Span, Target,
};
use kiln_grammar::parse;
use serde::Serialize;

use super::Told;
use crate::planned::first_syntax_error;

pub(super) fn render(answer: &Answer) -> String {
    let text = match answer {
        Answer::Checked { remarks, .. } => serde_json::to_string_pretty(&Checked::new(remarks)),
        Answer::Outline(file, outline) => {
            serde_json::to_string_pretty(&Outlined::new(outline, file))
        }
        Answer::Targets(file, targets) => serde_json::to_string_pretty(&Targets {
            targets: targets.iter().map(|target| Targeted::new(target, &file.source)).collect(),
            sources: vec![encoded(file)],
        }),
    };
    format!("{}\n", text.expect("texts and numbers can be written as JSON"))
}

fn encoded(file: &Faulty) -> String {
    STANDARD.encode(file.source.text())
}

/// Where something is: whole lines.
#[derive(Serialize)]
struct Location {
    ranges: Vec<Lines>,
}

#[derive(Serialize)]
struct Lines {
    start: Line,
    end: Line,
}

#[derive(Serialize)]
struct Line {
    line: usize,
}

impl Location {
    fn of(span: Option<Span>, source: &SourceText) -> Self {
        let line = |offset: usize| Line { line: source.position(offset).0 };
        let ranges = span.map(|span| Lines { start: line(span.start), end: line(span.end) });
        Self { ranges: ranges.into_iter().collect() }
    }
}

#[derive(Serialize)]
struct Checked<'a> {
    warnings: Vec<Warning<'a>>,
    sources: Vec<Source<'a>>,
    #[serde(rename = "buildError", skip_serializing_if = "Option::is_none")]
    build_error: Option<BuildError>,
    /// Kiln's own: all errors.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Told<'a>>,
}

#[derive(Serialize)]
struct Warning<'a> {
    #[serde(rename = "ruleName")]
    rule_name: &'static str,
    description: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    detail: &'a str,
    location: Location,
    /// Kiln's own: the remark with the characters to point at and the ways out.
    diagnostic: Told<'a>,
}

#[derive(Serialize)]
struct Source<'a> {
    filename: &'a str,
    data: String,
    language: &'static str,
}

#[derive(Serialize)]
struct BuildError {
    message: String,
    location: Location,
}

impl<'a> Checked<'a> {
    fn new(remarks: &'a Faulty) -> Self {
        let source = &remarks.source;
        let warnings = remarks.diagnostics.iter().filter_map(|diagnostic| {
            let check = Check::of_code(diagnostic.code)?;
            Some(Warning {
                rule_name: check.name(),
                description: check.description(),
                url: check.url(),
                detail: &diagnostic.message,
                location: Location::of(diagnostic.line_span(), source),
                diagnostic: Told::new(diagnostic, &remarks.source),
            })
        });
        let errors: Vec<&Diagnostic> = remarks.diagnostics.iter().filter(|d| is_error(d)).collect();
        let build_error = stops_others(&errors, source).map(|error| BuildError {
            message: error.message.clone(),
            location: Location::of(error.line_span(), source),
        });
        Self {
            warnings: warnings.collect(),
            sources: vec![Source {
                filename: remarks.source.file(),
                data: encoded(remarks),
                language: "Dockerfile",
            }],
            build_error,
            errors: errors.iter().map(|error| Told::new(error, &remarks.source)).collect(),
        }
    }
}

/// The error that other builders stop at, as far as that can be told: they read a file several times.
fn stops_others<'d>(errors: &[&'d Diagnostic], source: &SourceText) -> Option<&'d Diagnostic> {
    let parsed = parse(source.text());
    let syntax = first_syntax_error(&parsed.errors);
    let is_syntax = |error: &&&Diagnostic| syntax.is_some_and(|one| error.span == Some(one.span));
    let is_own = |error: &&&Diagnostic| Check::of_code(error.code).is_none();
    let found = errors.iter().find(is_syntax).or_else(|| errors.iter().find(is_own));
    found.or(errors.first()).copied()
}

fn is_error(diagnostic: &Diagnostic) -> bool {
    diagnostic.severity == Severity::Error
}

#[derive(Serialize)]
struct Targets<'a> {
    targets: Vec<Targeted<'a>>,
    sources: Vec<String>,
}

#[derive(Serialize)]
struct Targeted<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    default: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    base: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<&'a str>,
    location: Location,
}

impl<'a> Targeted<'a> {
    fn new(target: &'a Target, source: &SourceText) -> Self {
        Self {
            name: target.name.as_deref(),
            default: target.is_default,
            description: target.description.as_deref(),
            base: &target.base,
            platform: target.platform.as_deref(),
            location: Location::of(Some(target.span), source),
        }
    }
}

#[derive(Serialize)]
struct Outlined<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    args: Vec<Arg<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    secrets: Vec<Mounted<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ssh: Vec<Mounted<'a>>,
    sources: Vec<String>,
}

#[derive(Serialize)]
struct Arg<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    location: Location,
}

#[derive(Serialize)]
struct Mounted<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    required: bool,
    location: Location,
}

impl<'a> Outlined<'a> {
    fn new(outline: &'a Outline, file: &Faulty) -> Self {
        let location = |span: Span| Location::of(Some(span), &file.source);
        let arg = |arg: &'a Argument| Arg {
            name: &arg.name,
            description: arg.description.as_deref(),
            value: arg.value.as_deref(),
            location: location(arg.span),
        };
        let mounted = |secret: &'a Secret| Mounted {
            name: &secret.id,
            required: secret.is_required,
            location: location(secret.span),
        };
        Self {
            name: outline.name.as_deref(),
            description: outline.description.as_deref(),
            args: outline.arguments.iter().map(arg).collect(),
            secrets: outline.secrets.iter().map(mounted).collect(),
            ssh: outline.ssh.iter().map(mounted).collect(),
            sources: vec![encoded(file)],
        }
    }
}
