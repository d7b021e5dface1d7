//! Dockerfiles under `testdata/frontend/` and what is planned or said of them.
//!
//! A `.plan` file lists vertices with their inputs, then the config and the history. Where a Dockerfile is
//! in `errors/`, a `.txt` file holds the rendered remarks.

#![expect(clippy::unwrap_used, reason = "a fixture that cannot be planned fails the test")]

use std::fmt::Write;

use kiln_frontend::{
    BuildOptions, Extent, FactRequest, Facts, NamedContext, Plan, Planning, ResolvedImage,
    Severity, SourceText, check, codes, plan, render,
};
use kiln_grammar::{line_column, parse};
use kiln_image::{ImageConfig, OciDigest, Platform};
use kiln_ir::OpId;
use kiln_testkit::cases;

fn options() -> BuildOptions {
    BuildOptions::new(Platform::new("linux", "amd64", ""))
}

const USUAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A base image; one of the names leaves triggers, and one no environment.
fn image(reference: &str) -> ResolvedImage {
    let mut config = ImageConfig { os: "linux".to_owned(), ..ImageConfig::default() };
    config.architecture = "amd64".to_owned();
    config.config.env = vec!["PATH=/bin".to_owned()];
    if reference.contains("without-path") {
        config.config.env.clear();
    }
    config.config.cmd = Some(vec!["sh".to_owned()]);
    config.rootfs.diff_ids.push(OciDigest::of(reference.as_bytes()));
    if reference.contains("with-triggers") {
        config.config.docker.on_build = vec!["RUN echo triggered".to_owned()];
    }
    ResolvedImage {
        manifest: "sha256:0".to_owned(),
        locator: reference.to_owned(),
        reference: reference.to_owned(),
        config,
    }
}

/// Plans with every fact that is asked for; all errors rendered when that fails.
fn planned(source: &str, options: &BuildOptions) -> Result<Plan, String> {
    let parsed = parse(source);
    let said = |facts: &Facts| {
        let remarks = check(&parsed, source, options, facts, Extent::Target).remarks;
        let errors = remarks.iter().filter(|remark| remark.severity == Severity::Error);
        let source = SourceText::of_file("Dockerfile", source);
        errors.map(|error| render(error, &source) + "\n").collect::<String>()
    };
    let mut facts = Facts::new();
    if !parsed.errors.is_empty() {
        return Err(said(&facts));
    }
    loop {
        match plan(&parsed.dockerfile, source, options, &facts) {
            Ok(Planning::Done(plan)) => return Ok(*plan),
            Err(_) => return Err(said(&facts)),
            Ok(Planning::Need(requests)) => {
                assert!(!requests.is_empty());
                for FactRequest::ImageConfig { reference, platform, .. } in requests {
                    assert!(facts.get(&reference, &platform).is_none(), "asked twice");
                    let image = image(&reference);
                    facts.insert(reference, platform, image);
                }
            }
        }
    }
}

fn text(plan: &Plan) -> String {
    let mut out = String::new();
    for (index, vertex) in plan.graph.vertices().iter().enumerate() {
        let inputs: Vec<usize> = vertex.inputs.iter().map(|input| input.index()).collect();
        let line = vertex.meta.origin.and_then(|origin| plan.sources.get(origin)).map(|at| at.line);
        writeln!(out, "{index} {} (line {line:?}) {inputs:?}\n{:#?}", vertex.meta.name, vertex.op)
            .unwrap();
    }
    writeln!(out, "target {}", plan.target.index()).unwrap();
    for (name, id) in &plan.stages {
        writeln!(out, "stage {name} {}", id.index()).unwrap();
    }
    let config = serde_json::to_string_pretty(&plan.config).unwrap();
    writeln!(out, "{config}").unwrap();
    for entry in &plan.history {
        writeln!(out, "{} {:?}", if entry.empty_layer { '-' } else { '+' }, entry.created_by)
            .unwrap();
    }
    out
}

/// How many vertices change files between the target and its source.
fn layers(plan: &Plan) -> usize {
    let next = |id: &OpId| plan.graph.vertex(*id).inputs.first().copied();
    std::iter::successors(Some(plan.target), next).count() - 1
}

#[test]
fn plans() {
    for case in cases("frontend", "dockerfile") {
        let plan = planned(&case.input, &options()).unwrap_or_else(|said| panic!("{said}"));
        kiln_testkit::check(&case.golden("plan"), &text(&plan));
        let entries = plan.history.iter().filter(|entry| !entry.empty_layer).count();
        assert_eq!(layers(&plan), entries, "{}: layers and history", case.name);
    }
}

#[test]
fn errors() {
    for case in cases("frontend/errors", "dockerfile") {
        let said = planned(&case.input, &options()).err().unwrap();
        kiln_testkit::check(&case.golden("txt"), &said);
        for line in said.lines().filter(|line| line.starts_with("error[")) {
            let code = line.trim_start_matches("error[").split(']').next().unwrap();
            assert!(codes().any(|known| known == code), "`{code}` is not in the table");
        }
    }
}

#[test]
fn checks() {
    for case in cases("frontend/checks", "dockerfile") {
        let options = BuildOptions { ignore: vec!["*.log".to_owned()], ..options() };
        let parsed = parse(&case.input);
        let mut facts = Facts::new();
        let look = |facts: &Facts| check(&parsed, &case.input, &options, facts, Extent::AllStages);
        for request in look(&facts).unknown {
            let FactRequest::ImageConfig { reference, platform, .. } = request;
            let image = image(&reference);
            facts.insert(reference, platform, image);
        }
        let checked = look(&facts);
        assert!(checked.missing.is_empty() && checked.unknown.is_empty(), "{}", case.name);
        let rendered = checked.remarks.iter().map(|remark| {
            let line = remark.line_span().map(|at| line_column(&case.input, at.start).0);
            let line = line.map_or("no line".to_owned(), |line| format!("line {line}"));
            format!(
                "{line}: {}\n",
                render(remark, &SourceText::of_file("Dockerfile", &*case.input))
            )
        });
        kiln_testkit::check(&case.golden("txt"), &rendered.collect::<String>());
    }
}

#[test]
fn a_target_is_found_by_name_or_index_and_a_near_one_is_suggested() {
    let source = "FROM a AS base\nRUN one\nFROM base AS final\nRUN two\n";
    let build = |target: &str| {
        let target = Some(target.to_owned());
        planned(source, &BuildOptions { target, ..options() })
    };
    assert_eq!(layers(&build("BASE").unwrap()), 1);
    assert_eq!(layers(&build("1").unwrap()), 2);
    let said = build("finale").unwrap_err();
    assert!(said.contains("did you mean `final`?"), "{said}");
}

#[test]
fn a_context_stands_in_for_images_and_stages() {
    let source = "FROM base AS one\nRUN one\nFROM one\nCOPY --from=files a /a\n";
    let mut options = options();
    let image = |reference: &str| NamedContext::Image { reference: reference.to_owned() };
    options.contexts.insert("one".to_owned(), image("oci-layout:///layout:tag"));
    let ignore = vec!["*.o".to_owned()];
    options.contexts.insert("files".to_owned(), NamedContext::Local { ignore });
    let shown = text(&planned(source, &options).unwrap());
    assert!(shown.contains("oci-layout:///layout:tag"), "{shown}");
    assert!(shown.contains("\"*.o\""), "{shown}");
    assert!(!shown.contains("RUN one"), "the stage is replaced as a whole: {shown}");
    options.contexts.insert("base".to_owned(), NamedContext::Local { ignore: vec![] });
    options.contexts.remove("one");
    let plan = planned(source, &options).unwrap();
    assert_eq!(plan.history[0].created_by, "FROM base");
    assert_eq!(layers(&plan), plan.history.len());
}

#[test]
fn build_arguments_go_before_defaults_and_proxies_are_not_part_of_a_command() {
    let source = "ARG TAG=1\nFROM a:$TAG\nARG MODE=debug\nARG TARGETARCH\nRUN make\n";
    let mut options = options();
    for (name, value) in
        [("TAG", "2"), ("MODE", "release"), ("http_proxy", "http://p"), ("MODES", "x")]
    {
        options.build_args.insert(name.to_owned(), value.to_owned());
    }
    let plan = planned(source, &options).unwrap();
    let shown = text(&plan);
    assert!(shown.contains("a:2"), "{shown}");
    assert_eq!(
        plan.history.last().unwrap().created_by,
        "RUN |2 MODE=release TARGETARCH=amd64 /bin/sh -c make"
    );
    let run = plan.graph.vertex(plan.target);
    let kiln_ir::Op::Exec(exec) = &run.op else { panic!("{run:?}") };
    assert_eq!(exec.proxy_env, [("http_proxy".to_owned(), "http://p".to_owned())]);
    assert!(!exec.env.iter().any(|(name, _)| name == "http_proxy"));
    assert_eq!(plan.warnings.len(), 1, "{:?}", plan.warnings);
    assert!(plan.warnings[0].hints[0].contains("`MODE`"));
}

#[test]
fn arguments_for_the_builder_need_no_declaration() {
    let mut options = options();
    for (name, value) in [
        ("BUILDKIT_SANDBOX_HOSTNAME", "there"),
        ("BUILDKIT_CACHE_MOUNT_NS", "mine"),
        ("BUILDKIT_CONTEXT_KEEP_GIT_DIR", "1"),
        ("BUILDKIT_INLINE_CACHE", "1"),
    ] {
        options.build_args.insert(name.to_owned(), value.to_owned());
    }
    let plan = planned("FROM a\nRUN --mount=type=cache,target=/c true\n", &options).unwrap();
    assert!(plan.warnings.is_empty(), "{:?}", plan.warnings);
    let kiln_ir::Op::Exec(exec) = &plan.graph.vertex(plan.target).op else { panic!("no command") };
    assert_eq!(exec.hostname.as_deref(), Some("there"));
    let kiln_ir::MountKind::Cache { id, .. } = &exec.mounts[0].kind else { panic!("no cache") };
    assert_eq!(id, "mine//c");
    assert!(!exec.env.iter().any(|(name, _)| name.starts_with("BUILDKIT_")));
}

#[test]
fn a_base_without_a_path_gets_the_usual_one() {
    for (base, path) in [("with", "/bin"), ("without-path", USUAL_PATH)] {
        let plan = planned(&format!("FROM {base}\nRUN true\n"), &options()).unwrap();
        let kiln_ir::Op::Exec(exec) = &plan.graph.vertex(plan.target).op else { panic!("{base}") };
        assert_eq!(exec.env, [("PATH".to_owned(), path.to_owned())]);
        assert_eq!(plan.config.config.env, [format!("PATH={path}")]);
    }
}

#[test]
fn settings_of_the_whole_build() {
    let mut options = options();
    options.no_cache = kiln_frontend::NoCache::Everything;
    options.run.network = kiln_ir::NetworkMode::None;
    options.labels = vec![("given".to_owned(), "last".to_owned())];
    let source =
        "ARG SOURCE_DATE_EPOCH=7\nFROM a\nLABEL given=first\nRUN one\nRUN --network=host two\n";
    let plan = planned(source, &options).unwrap();
    assert_eq!(plan.source_date_epoch, Some(7));
    assert_eq!(plan.config.config.labels["given"], "last");
    let networks = plan.graph.vertices().iter().filter_map(|vertex| match &vertex.op {
        kiln_ir::Op::Exec(exec) => Some((exec.network, vertex.meta.ignore_cache)),
        kiln_ir::Op::Source(_) | kiln_ir::Op::File(_) | kiln_ir::Op::Merge | kiln_ir::Op::Diff => {
            None
        }
    });
    let networks: Vec<_> = networks.collect();
    assert_eq!(networks, [(kiln_ir::NetworkMode::None, true), (kiln_ir::NetworkMode::Host, true)]);
}

#[test]
fn recorded_results_are_passed_over_stage_by_stage() {
    let source = "FROM a AS One\nRUN one\nFROM a AS two\nRUN two\nFROM a AS stage-0\nRUN three\n\
        FROM a\nRUN four\nCOPY --from=one /x /x\nCOPY --from=two /x /x\nCOPY --from=stage-0 /x /x\n";
    for (names, ignored, unknown) in [
        (&["one"][..], &["one"][..], &[][..]),
        (&["ONE", "2"], &["one", "three"], &[]),
        (&["stage-0"], &["three"], &[]),
        (&["stage-3"], &["four"], &[]),
        (&["3"], &["four"], &[]),
        (&["tow", "4", "stage-"], &[], &["tow", "4", "stage-"]),
    ] {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let options = BuildOptions { no_cache: kiln_frontend::NoCache::Stages(names), ..options() };
        let plan = planned(source, &options).unwrap();
        let commands = plan.graph.vertices().iter().filter_map(|vertex| match &vertex.op {
            kiln_ir::Op::Exec(exec) if vertex.meta.ignore_cache => exec.args.last().cloned(),
            kiln_ir::Op::Source(_)
            | kiln_ir::Op::Exec(_)
            | kiln_ir::Op::File(_)
            | kiln_ir::Op::Merge
            | kiln_ir::Op::Diff => None,
        });
        assert_eq!(commands.collect::<Vec<_>>(), ignored);
        let warned: Vec<&str> = plan.warnings.iter().map(|one| one.message.as_str()).collect();
        let expected = unknown
            .iter()
            .map(|name| format!("`--no-cache-filter` names a stage `{name}`, and there is none"));
        assert_eq!(warned, expected.collect::<Vec<_>>());
    }
}

#[test]
fn steps_of_several_platforms_say_theirs() {
    let source = "FROM --platform=$BUILDPLATFORM a AS tools\nRUN one\n\
        FROM --platform=$BUILDPLATFORM a AS cross\nARG TARGETPLATFORM\nRUN two\n\
        FROM a\nCOPY --from=tools /x /x\nCOPY --from=cross /y /y\n";
    let options = BuildOptions {
        platform: Platform::new("linux", "arm64", ""),
        build_platform: Platform::new("linux", "amd64", ""),
        step_names: kiln_frontend::StepNames::ByPlatform,
        ..options()
    };
    let plan = planned(source, &options).unwrap();
    let names: Vec<_> =
        plan.graph.vertices().iter().map(|vertex| vertex.meta.name.as_str()).collect();
    for name in [
        "[linux/amd64 tools 1/2] FROM a",
        "[linux/amd64 tools 2/2] RUN one",
        "[linux/amd64->arm64 cross 2/2] RUN two",
        "[linux/arm64 stage-2 2/3] COPY --from=tools /x /x",
    ] {
        assert!(names.contains(&name), "{name} is not in {names:#?}");
    }
}

#[test]
fn codes_are_distinct() {
    let all: Vec<&str> = codes().collect();
    let distinct: std::collections::BTreeSet<&str> = all.iter().copied().collect();
    assert_eq!(all.len(), distinct.len());
}
