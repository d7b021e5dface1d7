//! `kiln build`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read as _};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Instant;

use kiln_cli::answers::{self, Told};
use kiln_cli::args::{self, BuildArgs, CallMethod, Context, OutputSpec, ProgressMode, SecretInKey};
use kiln_cli::exit_code::ExitCode;
use kiln_cli::render::{diagnostic_line, on_stderr};
use kiln_cli::why::{self, Detail};
use kiln_engine::{
    AfterFailure, BuildContext, BuildRequest, Built, BuiltImage, CacheTransfers, Conduct,
    Definition, Destination, DockerfileSource, Engine, EngineError, Explanation, Faulty, Finished,
    ImageRef, NoCache, Output, Parameters, PlatformSplit,
};
use kiln_solver::Cancel;
use serde_json::json;

use super::ask::ask;
use super::report::{note, show};
use super::table::age;
use super::{Failure, Place, attend, durable, print, sandbox, signals};

/// The largest Dockerfile that is read from standard input.
const MAX_STDIN_BYTES: u64 = 64 << 20;

/// Builds, shows progress, and writes what was asked for besides.
pub(super) fn build(place: &Place, arguments: BuildArgs) -> Result<(), Failure> {
    let mut request = request(&arguments)?;
    let cancel = signals::cancel_on_signals();
    let engine = place.open()?;
    let (call, mode) = (arguments.view.call(), arguments.view.mode());
    if call.method != CallMethod::Build {
        return ask(&engine, call, &request, mode);
    }
    attend::check(&arguments.settings.on_error)?;
    let mut finished = perform(&engine, &mut request, &arguments, &cancel);
    if let Err(error) = &finished.result
        && error.is_damaged_store()
        && is_repeatable(&request, &arguments.results)
    {
        note("warning", "the store's database turned out to be damaged; the build begins again");
        drop(engine);
        finished = perform(&place.open()?, &mut request, &arguments, &cancel);
    }
    let Finished { result, id, explanation } = finished;
    if let Ok(built) = &result {
        tell(built, &arguments);
    }
    // An error stands behind it, at the very end.
    if let Some(explanation) = &explanation {
        show(&explained(explanation, mode));
    }
    let built = match result {
        Ok(built) => built,
        Err(EngineError::Dockerfile(faulty)) if mode == ProgressMode::Rawjson => {
            show(&rawjson_remarks(&faulty));
            return Err(Failure::Told(ExitCode::Dockerfile));
        }
        Err(error) => return Err(error.into()),
    };
    match &built.image {
        Some(image) => write_results(image, id.as_deref(), &request.tags, &arguments.results),
        None => Ok(()),
    }
}

/// Builds once, and shows how it goes.
fn perform(
    engine: &Engine,
    request: &mut BuildRequest,
    arguments: &BuildArgs,
    cancel: &Cancel,
) -> Finished {
    let start = Instant::now();
    let display = on_stderr(arguments.view.mode(), move || start.elapsed());
    let on_error = &arguments.settings.on_error;
    request.conduct.attendant = attend::attendant(on_error, display.holder(), cancel);
    let finished = engine.build(request, cancel, &mut |event| display.show(event));
    // A view that cannot be shown, on a closed pipe say, fails no build.
    let _unseen = display.finish();
    durable::in_background(engine);
    finished
}

/// Whether a build can be done a second time: what was read from standard input is gone, and what was written to
/// standard output is there.
fn is_repeatable(request: &BuildRequest, results: &args::Results) -> bool {
    let from_stdin = matches!(request.context, BuildContext::Stdin);
    !from_stdin && !results.outputs.iter().any(OutputSpec::is_stdout)
}

/// Why the steps ran: below the progress, or as lines of JSON like it.
fn explained(explanation: &Explanation, mode: ProgressMode) -> String {
    match mode {
        ProgressMode::Rawjson => why::lines(explanation),
        ProgressMode::Auto | ProgressMode::Plain | ProgressMode::Tty | ProgressMode::Quiet => {
            format!("\n{}", why::summary(explanation, Detail::Brief, &age))
        }
    }
}

/// One line for each remark on a Dockerfile.
fn rawjson_remarks(remarks: &Faulty) -> String {
    let told = remarks.diagnostics.iter().map(|one| Told::new(one, &remarks.source));
    told.map(|told| diagnostic_line(&told)).collect()
}

fn tell(built: &Built, arguments: &BuildArgs) {
    match arguments.view.mode() {
        ProgressMode::Quiet => {}
        ProgressMode::Rawjson => show(&rawjson_remarks(&built.remarks)),
        ProgressMode::Auto | ProgressMode::Plain | ProgressMode::Tty => {
            show(&answers::remarks(&built.remarks));
        }
    }
    let to_stdout = arguments.results.outputs.iter().any(OutputSpec::is_stdout);
    if let (true, Some(image)) = (arguments.view.quiet && !to_stdout, &built.image) {
        print(&format!("{}\n", image.id()));
    }
}

pub(super) fn request(arguments: &BuildArgs) -> Result<BuildRequest, Failure> {
    let BuildArgs { context, source, settings, sandbox: _, caches, results, view } = arguments;
    let context = match context {
        Context::Stdin => BuildContext::Stdin,
        Context::Place(text) => BuildContext::of(text)?,
    };
    let given = |path: PathBuf| Definition::Given(DockerfileSource::File(path));
    let dockerfile = match (&context, source.file.as_deref()) {
        (_, Some(file)) if file == "-" => Definition::Given(stdin_dockerfile()?),
        (BuildContext::Directory(_), Some(file)) => given(file.to_owned()),
        (BuildContext::Directory(dir), None) => given(dir.join("Dockerfile")),
        // As buildx has it: of a context that is elsewhere, a relative path is inside of it.
        (BuildContext::Address(_) | BuildContext::Stdin, Some(file)) if file.is_absolute() => {
            given(file.to_owned())
        }
        (BuildContext::Address(_) | BuildContext::Stdin, file) => {
            let file = file.unwrap_or(Path::new("Dockerfile"));
            Definition::InContext(file.display().to_string())
        }
    };
    let contexts = source.build_contexts.iter();
    Ok(BuildRequest {
        context,
        dockerfile,
        parameters: Parameters {
            target: source.target.clone(),
            build_args: build_args(&source.build_args),
            labels: source.labels.iter().map(|l| (l.key.clone(), l.value.clone())).collect(),
            no_cache: no_cache(settings),
            counted_secrets: counted(&settings.secrets),
            run: sandbox::run_options(settings.network, &arguments.sandbox),
            platforms: source.platforms.clone(),
        },
        named_contexts: contexts.map(|c| (c.name.clone(), c.source.clone())).collect(),
        supplies: sandbox::supplies(&settings.secrets, &arguments.sandbox)?,
        tags: results.tags.iter().map(|tag| name(tag)).collect::<Result<_, _>>()?,
        outputs: results.outputs.iter().map(output).collect(),
        cache: CacheTransfers {
            from: caches.from.iter().map(|from| from.0.clone()).collect(),
            to: caches.to.iter().map(|to| to.0.clone()).collect(),
        },
        conduct: conduct(settings, *view),
    })
}

fn conduct(settings: &args::Settings, view: args::View) -> Conduct {
    Conduct {
        pull: settings.pull,
        jobs: settings.jobs.unwrap_or_else(processors),
        after_failure: match settings.keep_going {
            true => AfterFailure::KeepGoing,
            false => AfterFailure::StopNeedless,
        },
        explain: view.explain,
        require_cached: settings.require_cached,
        attendant: None,
    }
}

/// Values without a text are those of the environment; a variable that is not set gives none.
pub(super) fn build_args(given: &[args::BuildArg]) -> BTreeMap<String, String> {
    let value = |argument: &args::BuildArg| {
        argument.value.clone().or_else(|| std::env::var(&argument.name).ok())
    };
    given.iter().filter_map(|argument| Some((argument.name.clone(), value(argument)?))).collect()
}

/// Whose recorded results are to be passed over.
fn no_cache(settings: &args::Settings) -> NoCache {
    match (settings.no_cache, &settings.no_cache_filter[..]) {
        (true, _) => NoCache::Everything,
        (false, []) => NoCache::Nothing,
        (false, stages) => NoCache::Stages(stages.to_vec()),
    }
}

/// The secrets whose values are to count.
fn counted(secrets: &[args::SecretSpec]) -> BTreeSet<String> {
    let counted = secrets.iter().filter(|spec| spec.in_key == SecretInKey::Digest);
    counted.map(|spec| spec.id.clone()).collect()
}

fn name(tag: &str) -> Result<ImageRef, Failure> {
    tag.parse().map_err(|error| {
        note("error", &format!("the tag {error}"));
        Failure::Told(ExitCode::Usage)
    })
}

fn output(spec: &OutputSpec) -> Output {
    let destination = |dest: &args::Destination| match dest {
        args::Destination::File(path) => Destination::File(path.clone()),
        args::Destination::Stdout => Destination::Stdout,
    };
    match spec {
        OutputSpec::Oci(dest) => Output::Oci { dest: destination(dest) },
        OutputSpec::OciDirectory(dir) => Output::Oci { dest: Destination::Dir(dir.clone()) },
        OutputSpec::Docker(dest) => Output::Docker { dest: destination(dest) },
        OutputSpec::Tar(dest, split) => {
            Output::Tar { dest: destination(dest), split: platform_split(*split) }
        }
        OutputSpec::Local(dir, split) => {
            Output::Local { dir: dir.clone(), split: platform_split(*split) }
        }
        OutputSpec::CacheOnly => Output::CacheOnly,
    }
}

fn platform_split(given: Option<bool>) -> PlatformSplit {
    match given {
        None => PlatformSplit::Several,
        Some(true) => PlatformSplit::Always,
        Some(false) => PlatformSplit::Never,
    }
}

fn processors() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

pub(super) fn stdin_dockerfile() -> Result<DockerfileSource, Failure> {
    let mut text = String::new();
    let read = io::stdin().lock().take(MAX_STDIN_BYTES).read_to_string(&mut text);
    read.map_err(|source| EngineError::ReadFile {
        what: "Dockerfile",
        path: PathBuf::from("-"),
        source,
    })?;
    Ok(DockerfileSource::Text(text))
}

/// The files that scripts asked for, in the form of buildx.
fn write_results(
    image: &BuiltImage,
    build: Option<&str>,
    names: &[ImageRef],
    results: &args::Results,
) -> Result<(), Failure> {
    if let Some(path) = &results.iidfile {
        write(path, image.id().to_string().as_bytes())?;
    }
    if let Some(path) = &results.metadata_file {
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        let mut metadata = json!({
            "containerimage.descriptor": {
                "mediaType": image.manifest.media_type,
                "digest": image.manifest.digest.to_string(),
                "size": image.manifest.size_bytes,
            },
            "containerimage.digest": image.manifest.digest.to_string(),
            "image.name": names.join(","),
        });
        if let Some(build) = build {
            metadata["buildx.build.ref"] = json!(build);
        }
        if let Some(config) = image.config {
            metadata["containerimage.config.digest"] = json!(config.to_string());
        }
        write(path, format!("{metadata:#}\n").as_bytes())?;
    }
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let written = fs::write(path, bytes);
    Ok(written.map_err(|source| EngineError::WriteFile {
        what: "file",
        path: path.to_owned(),
        source,
    })?)
}
