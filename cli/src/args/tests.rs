//! Whole command lines.

use super::*;

fn parse(line: &str) -> Result<LowArgs, clap::Error> {
    LowArgs::parse_args(std::iter::once("kiln").chain(line.split_whitespace()))
}

fn build(line: &str) -> BuildArgs {
    let low = parse(&format!("build {line}")).unwrap();
    let Command::Build(build) = low.command else { panic!("another verb") };
    *build
}

/// The error's first line, without clap's mark.
fn error(line: &str) -> String {
    let error = parse(line).unwrap_err();
    assert_eq!(exit_code(&error), ExitCode::Usage, "{error}");
    error.to_string().trim_start_matches("error: ").to_owned()
}

#[test]
fn definitions_hold_together() {
    LowArgs::command().debug_assert();
}

#[test]
fn every_verb_shows_examples_of_itself_that_parse() {
    for verb in LowArgs::command().get_subcommands() {
        let help = parse(&format!("{} --help", verb.get_name())).unwrap_err();
        assert_eq!(exit_code(&help), ExitCode::Success);
        let help = help.to_string();
        let (_, examples) = help.split_once("Examples:").expect("examples");
        let own = format!("kiln {}", verb.get_name());
        let lines: Vec<_> =
            examples.lines().filter_map(|line| line.trim().split_once("kiln ")).collect();
        assert!(examples.contains(&own), "{own}");
        for (before, line) in lines {
            assert!(before.is_empty() || before.ends_with("| "), "{before}");
            let line = line.split(['|', '<']).next().unwrap();
            parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }
}

#[test]
fn a_build_is_read_without_the_other_verbs() {
    let alone = |line: &str| {
        let arguments: Vec<_> = ["kiln"].into_iter().chain(line.split(' ')).collect();
        LowArgs::of_build(&arguments.into_iter().map(OsString::from).collect::<Vec<_>>())
    };
    for line in ["build .", "--root /r build -q -t a .", "build --config=c --root=build build"] {
        let read = alone(line).unwrap_or_else(|| panic!("{line}"));
        let matches =
            LowArgs::command().get_matches_from(["kiln"].into_iter().chain(line.split(' ')));
        assert_eq!(read, LowArgs::from_arg_matches(&matches).unwrap(), "{line}");
    }
    for line in ["images", "--root build images", "build --help", "build --nonsense .", "build"] {
        assert_eq!(alone(line), None, "{line}");
    }
}

#[test]
fn help_tells_the_exit_codes() {
    let help = parse("--help").unwrap_err().to_string();
    assert!(help.contains("  3  the Dockerfile is invalid"), "{help}");
}

#[test]
fn a_bare_build_has_the_defaults() {
    let args = build(".");
    assert_eq!(args.context, Context::Place(".".to_owned()));
    assert_eq!(args.source.file, None);
    assert_eq!(args.settings.network, Network::Default);
    assert_eq!(args.settings.jobs, None);
    assert_eq!(args.settings.on_error, OnError::Fail);
    assert_eq!(args.results.outputs, []);
    assert!(!args.settings.no_cache && !args.settings.pull && !args.view.quiet);
}

#[test]
fn every_option_of_build() {
    let args = build(
        "-f x/Dockerfile -t app:1 --tag app --target dev --build-arg A=b=c --build-arg HOME \
         --build-context base=oci-layout://dir --secret id=s,src=f --label a.b=c --label empty \
         --no-cache --pull --network none --progress rawjson -o type=oci,dest=x.tar --iidfile i \
         --metadata-file m --jobs 3 ctx",
    );
    assert_eq!(args.context, Context::Place("ctx".to_owned()));
    assert_eq!(args.source.file, Some(PathBuf::from("x/Dockerfile")));
    assert_eq!(args.source.target.as_deref(), Some("dev"));
    let [one, two] = &args.source.build_args[..] else { panic!() };
    assert_eq!((one.name.as_str(), one.value.as_deref()), ("A", Some("b=c")));
    assert_eq!((two.name.as_str(), two.value.as_deref()), ("HOME", None));
    assert_eq!(args.source.build_contexts[0].source, "oci-layout://dir");
    assert_eq!(args.source.labels[0].value, "c");
    assert_eq!(args.source.labels[1].value, "");
    assert_eq!(args.settings.secrets[0].id, "s");
    assert!(args.settings.no_cache && args.settings.pull);
    assert_eq!(args.settings.network, Network::None);
    assert_eq!(args.settings.jobs.map(|jobs| jobs.get()), Some(3));
    assert_eq!(args.results.tags, ["app:1", "app"]);
    let dest = Destination::File(PathBuf::from("x.tar"));
    assert_eq!(args.results.outputs, [OutputSpec::Oci(dest)]);
    assert_eq!(args.results.iidfile, Some(PathBuf::from("i")));
    assert_eq!(args.results.metadata_file, Some(PathBuf::from("m")));
    assert_eq!(args.view.mode(), ProgressMode::Rawjson);
    assert_eq!(build("-q --progress tty .").view.mode(), ProgressMode::Quiet);
    for (mode, program) in [("shell", "/bin/sh"), ("shell=/bin/bash", "/bin/bash")] {
        let args = build(&format!("--on-error={mode} ."));
        assert_eq!(args.settings.on_error, OnError::Shell(program.to_owned()));
    }
}

#[test]
fn the_store_is_named_before_or_after_the_verb() {
    for line in ["--root /r --config c images", "images --root /r --config c"] {
        let args = parse(line).unwrap();
        assert_eq!(args.root, Some(PathBuf::from("/r")), "{line}");
        assert_eq!(args.config, Some(PathBuf::from("c")), "{line}");
    }
}

#[test]
fn the_other_verbs() {
    let command = |line| parse(line).unwrap().command;
    assert_eq!(
        command("images -q --no-trunc"),
        Command::Images(ImagesArgs { quiet: true, no_trunc: true })
    );
    let images = vec!["a".to_owned(), "b".to_owned()];
    assert_eq!(command("inspect a b"), Command::Inspect(InspectArgs { images: images.clone() }));
    assert_eq!(command("load"), Command::Load(LoadArgs { input: None }));
    let input = Some(PathBuf::from("f"));
    assert_eq!(command("load -i f"), Command::Load(LoadArgs { input: input.clone() }));
    assert_eq!(command("save -o f a b"), Command::Save(SaveArgs { output: input, images }));
}

#[test]
fn mistakes_are_named() {
    for (line, message) in [
        ("biuld .", "unrecognized subcommand 'biuld'"),
        ("build --targt x .", "unexpected argument '--targt' found"),
        ("build --network hots .", "a similar value exists: 'host'"),
        ("build --progress fancy .", "[possible values: auto, plain, tty, rawjson, quiet]"),
        ("build --jobs 0 .", "invalid value '0' for '--jobs <NUMBER>'"),
        ("build", "<CONTEXT>"),
        ("build -o type=ocy .", "unknown output type `ocy`; did you mean `oci`?"),
        ("build --secret src=x .", "the field `id` is missing"),
        ("build --build-arg =x .", "`=x` is not of the form NAME[=VALUE]"),
        ("build --label =x .", "`=x` is not of the form KEY=VALUE"),
        ("build --build-context base .", "`base` is not of the form NAME=SOURCE"),
        ("build --on-error=shell= .", "`shell=` is not of the form fail or shell[=PROGRAM]"),
        ("build --on-error=ask .", "`ask` is not of the form fail or shell[=PROGRAM]"),
        ("build -f - -", "cannot both come from standard input"),
        ("build -o - -o type=oci .", "only one --output can go to standard output"),
        ("save", "<IMAGE>..."),
        ("debug", "Usage: kiln debug"),
        ("debug plan", "<FILE>"),
        ("debug plan --platform=x y", "invalid value 'x' for '--platform"),
    ] {
        let found = error(line);
        assert!(found.contains(message), "{line}: {found}");
    }
}

#[test]
fn help_in_prose_is_broken_where_the_terminal_ends() {
    for (text, joined) in [
        ("One\ntwo.\n\nThree\nfour.", "One two.\n\nThree four."),
        (
            "Examples:\n  kiln ls\n  More:\n    kiln ls -a\n",
            "Examples:\n  kiln ls\n  More:\n    kiln ls -a",
        ),
        ("", ""),
    ] {
        assert_eq!(super::paragraphs(text), joined);
    }
    let help = LowArgs::parse_args(["kiln", "explain", "--help"]).unwrap_err().to_string();
    assert!(help.contains("is a part of its name that no other has"), "{help}");
}
