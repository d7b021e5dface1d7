//! `kiln build`, with the names of `docker buildx build`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, ValueEnum};
use kiln_engine::Platform;

use super::{
    BuildArg, Caches, Call, Label, NamedContext, OutputSpec, SHELL, Sandbox, SecretSpec, ValueError,
};

const EXAMPLES: &str = "\
Examples:
  Build the Dockerfile of this directory and name the image:
    kiln build -t app .

  Build one stage, with a value for an ARG:
    kiln build --target test --build-arg VERSION=1.2 .

  Give a step a secret that ends up in no layer:
    kiln build --secret id=token,src=$HOME/.token .

  Let steps use the ssh agent, for RUN --mount=type=ssh:
    kiln build --ssh default .

  Say why steps ran; in CI, fail if a step that should be cached would run:
    kiln build --explain .
    kiln build --require-cached .

  Run the steps of one stage again, such as one that fetches what changes elsewhere:
    kiln build --no-cache-filter deps .

  Read the Dockerfile from standard input, take COPY sources from src/:
    kiln build -f - src/ < Dockerfile.dev

  Build a directory of a branch of a repository, or what an archive holds:
    kiln build https://github.com/user/project.git#main:docker
    tar -cz . | kiln build -

  Write the image as an OCI layout's archive, or only its files to a directory:
    kiln build -o type=oci,dest=app.tar .
    kiln build -o out/ .

  Look around where a RUN failed, as it left everything; the build fails when the shell ends:
    kiln build --on-error=shell .

  Check the Dockerfile without building it, or list what can be built of it:
    kiln build --check .
    kiln build --call=targets .

  Build one image for two platforms, as an OCI layout:
    kiln build --platform linux/amd64,linux/arm64 -o type=oci,dest=app.tar .

  Share results with other machines, through a registry or a directory:
    kiln build --cache-to type=registry,ref=registry.example/app:cache,mode=max .
    kiln build --cache-from registry.example/app:cache .
    kiln build --cache-from type=local,src=/ci --cache-to type=local,dest=/ci .

  Take cache mounts along (RUN --mount=type=cache), up to 2 GB each:
    kiln build --cache-to type=local,dest=/ci,mounts=all,mount-max-size=2GB .

  Put the cache into the image itself, and use that of the last one:
    kiln build -t reg.example/app --cache-to type=inline --cache-from reg.example/app .

  Take a named context from another directory or another image:
    kiln build --build-context assets=../assets --build-context base=docker-image://debian:13 .";

/// What to build, and how.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = EXAMPLES)]
pub struct BuildArgs {
    /// What COPY and ADD read from: a directory, a Git repository, the address of an archive, or `-` for an
    /// archive or a lone Dockerfile on standard input
    #[arg(value_name = "CONTEXT", value_parser = Context::parse)]
    pub context: Context,
    /// What is built.
    #[command(flatten)]
    pub source: Source,
    /// How steps run.
    #[command(flatten)]
    pub settings: Settings,
    /// What steps find around them.
    #[command(flatten)]
    pub sandbox: Sandbox,
    /// Which caches are read and written besides the store.
    #[command(flatten)]
    pub caches: Caches,
    /// What becomes of the result.
    #[command(flatten)]
    pub results: Results,
    /// What is shown.
    #[command(flatten)]
    pub view: View,
}

/// What is built.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Source {
    /// Dockerfile, or `-` for standard input (default: Dockerfile of the context). Of a context that is no
    /// directory a relative path is one inside the context
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Stage to build (default: the last)
    #[arg(long, value_name = "STAGE")]
    pub target: Option<String>,
    /// Value for an ARG; without `=VALUE` that of the environment
    #[arg(long = "build-arg", value_name = "NAME[=VALUE]", value_parser = BuildArg::parse)]
    pub build_args: Vec<BuildArg>,
    /// Context that FROM, COPY --from and RUN --mount may name: a directory, docker-image://REFERENCE,
    /// oci-layout://DIR, a Git repository or the address of an archive
    #[arg(long = "build-context", value_name = "NAME=SOURCE", value_parser = NamedContext::parse)]
    pub build_contexts: Vec<NamedContext>,
    /// Platforms to build for, such as linux/amd64,linux/arm64 (default: this machine's); several make one
    /// image with an index
    #[arg(long = "platform", value_name = "PLATFORM", value_delimiter = ',', env = "DOCKER_DEFAULT_PLATFORM", value_parser = parse_platform)]
    pub platforms: Vec<Platform>,
    /// Label of the image
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = Label::parse)]
    pub labels: Vec<Label>,
}

/// How steps run.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Settings {
    /// Secret for RUN --mount=type=secret: id=NAME with src=FILE or env=VARIABLE. Its value is no part of any
    /// cache key, unless cache=hmac asks for steps to run again when it changes
    #[arg(long = "secret", value_name = "FIELDS", value_parser = SecretSpec::parse)]
    pub secrets: Vec<SecretSpec>,
    /// Run every step again; the results are recorded all the same
    #[arg(long)]
    pub no_cache: bool,
    /// Run every step of these stages again, by name or index; what others read of them is looked up as ever
    #[arg(long, value_name = "STAGE,…", value_delimiter = ',', value_parser = NonEmptyStringValueParser::new(), conflicts_with = "no_cache")]
    pub no_cache_filter: Vec<String>,
    /// Fail, with exit code 8, before any RUN, COPY, ADD or WORKDIR runs whose result is not cached, and say why
    #[arg(long, conflicts_with_all = ["no_cache", "no_cache_filter"])]
    pub require_cached: bool,
    /// Ask the registry for base images even when the store has them
    #[arg(long)]
    pub pull: bool,
    /// Network of RUN steps that do not say
    #[arg(long, value_enum, value_name = "MODE", default_value_t)]
    pub network: Network,
    /// Steps that run at the same time (default: one for each processor)
    #[arg(long, value_name = "NUMBER")]
    pub jobs: Option<NonZeroUsize>,
    /// When a step fails, finish all that does not follow from it, for the cache and to meet every failure
    #[arg(long)]
    pub keep_going: bool,
    /// When a RUN fails: fail, or shell[=PROGRAM] to open a shell in the step's own sandbox first (default program:
    /// /bin/sh)
    #[arg(long, value_name = "MODE", default_value = "fail", value_parser = OnError::parse)]
    pub on_error: OnError,
}

/// What becomes of the result.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Results {
    /// Name for the image
    #[arg(short, long = "tag", value_name = "NAME[:TAG]")]
    pub tags: Vec<String>,
    /// Also write the result: type=oci|docker|tar|local|cacheonly[,dest=PATH]; a PATH alone is
    /// type=local, `-` alone is type=tar to standard output. With several platforms tar and local have a
    /// directory for each, unless platform-split=false
    #[arg(short, long = "output", value_name = "FIELDS", value_parser = OutputSpec::parse)]
    pub outputs: Vec<OutputSpec>,
    /// Write the image's id to a file
    #[arg(long, value_name = "FILE")]
    pub iidfile: Option<PathBuf>,
    /// Write what is known of the result to a file, as JSON
    #[arg(long, value_name = "FILE")]
    pub metadata_file: Option<PathBuf>,
}

/// What is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args)]
pub struct View {
    /// How progress is shown on standard error
    #[arg(long, value_enum, value_name = "MODE", env = "BUILDKIT_PROGRESS", default_value_t)]
    pub progress: ProgressMode,
    /// Say at the end why each step ran or did not: the record that came nearest, and what differs
    #[arg(long)]
    pub explain: bool,
    /// Show no progress, print the image's id alone
    #[arg(short, long)]
    pub quiet: bool,
    /// What to do: build, check, outline (what the target can be given), targets (the stages); for the
    /// last three, format=text|json says how the answer is printed, and ignorestatus=true that remarks
    /// are no failure
    #[arg(long, value_name = "METHOD[,FIELDS]", value_parser = Call::parse)]
    pub call: Option<Call>,
    /// Check the Dockerfile, the same as --call=check
    #[arg(long, conflicts_with = "call")]
    pub check: bool,
}

/// Where COPY and ADD read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Context {
    /// A directory, or the address of a repository, an archive or a Dockerfile.
    Place(String),
    /// Standard input: an archive, or a Dockerfile that stands alone.
    Stdin,
}

impl Context {
    pub(super) fn parse(text: &str) -> Result<Self, ValueError> {
        match text {
            "" => Err(ValueError::Empty { what: "context" }),
            "-" => Ok(Self::Stdin),
            text => Ok(Self::Place(text.to_owned())),
        }
    }
}

fn parse_platform(text: &str) -> Result<Platform, ValueError> {
    const FORM: &str = "OS/ARCHITECTURE[/VARIANT]";
    if text == "local" {
        return Ok(Platform::host());
    }
    text.trim().parse().map_err(|_| ValueError::Form { text: text.to_owned(), form: FORM })
}

/// The network of steps that do not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Network {
    /// What suits this machine
    #[default]
    Default,
    /// The machine's own
    Host,
    /// None but loopback
    None,
}

/// What is done when a command fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OnError {
    /// The step fails.
    Fail,
    /// This program of the image's runs in its sandbox; then the step fails.
    Shell(String),
}

impl OnError {
    fn parse(text: &str) -> Result<Self, ValueError> {
        match text.split_once('=') {
            None if text == "fail" => Ok(Self::Fail),
            None if text == "shell" => Ok(Self::Shell(SHELL.to_owned())),
            Some(("shell", program)) if !program.is_empty() => Ok(Self::Shell(program.to_owned())),
            _ => Err(ValueError::Form { text: text.to_owned(), form: "fail or shell[=PROGRAM]" }),
        }
    }
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum ProgressMode {
    /// Like `tty` on a terminal, else like `plain`
    #[default]
    Auto,
    /// One line for each thing that happens
    Plain,
    /// Redrawn in place; like `plain` where there is no terminal
    Tty,
    /// One JSON object a line
    Rawjson,
    /// Not at all
    Quiet,
}

impl View {
    /// What is to be done.
    #[must_use]
    pub fn call(self) -> Call {
        if self.check { Call::CHECK } else { self.call.unwrap_or(Call::BUILD) }
    }

    /// The mode, with `--quiet` heeded.
    #[must_use]
    pub fn mode(self) -> ProgressMode {
        if self.quiet { ProgressMode::Quiet } else { self.progress }
    }
}

impl BuildArgs {
    /// Those of a build that is asked for with nothing but what is to be built.
    #[must_use]
    pub fn plain(context: Context, source: Source) -> Self {
        Self {
            context,
            source,
            settings: Settings {
                secrets: Vec::new(),
                no_cache: false,
                no_cache_filter: Vec::new(),
                require_cached: false,
                pull: false,
                keep_going: false,
                on_error: OnError::Fail,
                network: Network::Default,
                jobs: None,
            },
            sandbox: Sandbox {
                agents: Vec::new(),
                allow: Vec::new(),
                hosts: Vec::new(),
                ulimits: Vec::new(),
                shm_size: None,
            },
            caches: Caches { from: Vec::new(), to: Vec::new() },
            results: Results {
                tags: Vec::new(),
                outputs: Vec::new(),
                iidfile: None,
                metadata_file: None,
            },
            view: View {
                progress: ProgressMode::Auto,
                explain: false,
                quiet: false,
                call: None,
                check: false,
            },
        }
    }

    /// What no option shows by itself.
    pub(super) fn check(&self) -> Result<(), ValueError> {
        let file_from_stdin = self.source.file.as_deref().is_some_and(|file| file == "-");
        if self.context == Context::Stdin && file_from_stdin {
            return Err(ValueError::TwiceStdin);
        }
        if self.results.outputs.iter().filter(|output| output.is_stdout()).count() > 1 {
            return Err(ValueError::TwiceStdout);
        }
        Ok(())
    }
}
