//! Whatever is left of a Dockerfile can be checked, and every remark lies in it.

use kiln_frontend::{BuildOptions, Diagnostic, Extent, Facts, Span, check, outline, targets};
use kiln_grammar::parse;
use kiln_image::Platform;
use kiln_testkit::cases;

fn spans(remark: &Diagnostic) -> impl Iterator<Item = Span> {
    let labels = remark.labels.iter().map(|label| label.span);
    labels.chain(remark.span).chain(remark.within).collect::<Vec<_>>().into_iter()
}

fn check_any(source: &str) {
    let parsed = parse(source);
    let mut options = BuildOptions::new(Platform::new("linux", "amd64", ""));
    options.ignore = vec!["*.log".to_owned(), "!keep".to_owned()];
    for extent in [Extent::AllStages, Extent::Target] {
        let checked = check(&parsed, source, &options, &Facts::new(), extent);
        for span in checked.remarks.iter().flat_map(spans) {
            assert!(source.get(span.start..span.end).is_some(), "{span:?} in {source:?}");
        }
        let missing = checked.missing.iter();
        assert!(missing.clone().all(|fact| checked.unknown.iter().any(|known| known == fact)));
    }
    drop((targets(&parsed.dockerfile), outline(&parsed.dockerfile, &options, &Facts::new())));
}

#[test]
fn beginnings_and_ends_of_files() {
    for folder in ["frontend", "frontend/checks", "frontend/errors"] {
        for case in cases(folder, "dockerfile") {
            let source = case.input.as_str();
            for (at, _) in source.char_indices().filter(|(at, _)| at % 3 == 0) {
                check_any(&source[..at]);
                check_any(&source[at..]);
            }
        }
    }
}
