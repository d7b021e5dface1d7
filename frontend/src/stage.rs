//! What a stage has come to after some of its instructions.
//!
//! An instruction answers with an [`Effect`], which is data; [`StageState::apply`] is the one place where
//! a stage changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use kiln_image::{Healthcheck, HistoryEntry, ImageConfig, Platform};
use kiln_ir::{GuestPath, Op, OpId, SourceOp};

use crate::environment::{Environment, Ordered, split_pair};
use crate::link::Reference;

/// The search path of a stage whose base sets none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Build arguments that tell a scanner something and nobody else.
const SCAN_PREFIX: &str = "BUILDKIT_SBOM_SCAN_";

/// A stage in the making.
#[derive(Debug, Clone)]
pub(crate) struct StageState {
    /// The vertex whose filesystem the next instruction changes.
    pub(crate) root: OpId,
    /// What words and commands see: the image's variables and the declared build arguments.
    pub(crate) environment: Environment,
    /// Declared build arguments in the order they were first declared, for the history.
    pub(crate) arguments: Ordered<Option<String>>,
    /// The image's config so far; its history and layers are those of the base image.
    pub(crate) config: Arc<ImageConfig>,
    /// The working directory, without a trailing slash that the config may keep.
    pub(crate) cwd: GuestPath,
    /// Where the image's variables stand in the config, by name.
    image_variables: Arc<BTreeMap<String, usize>>,
    /// What the stage's own instructions have added to the history.
    pub(crate) history: Vec<HistoryEntry>,
    /// Whether this very stage has set a default command.
    pub(crate) sets_command: bool,
}

/// What one instruction does.
#[derive(Debug, Default)]
pub(crate) struct Effect {
    /// Its line in the history; nothing where it leaves none.
    pub(crate) created_by: Option<String>,
    /// Changes to what the stage knows, in order.
    pub(crate) changes: Vec<Change>,
    /// A change to the stage's files.
    pub(crate) step: Option<Step>,
}

/// A vertex on top of the stage's filesystem.
#[derive(Debug)]
pub(crate) struct Step {
    /// What is done.
    pub(crate) op: Op,
    /// What the op's input 0 is.
    pub(crate) ground: Ground,
    /// Its inputs from index 1 on.
    pub(crate) inputs: Vec<Input>,
}

/// What a step begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ground {
    /// The stage's filesystem.
    Stage,
    /// Nothing. What comes of it is put on top of the stage's filesystem.
    Scratch,
}

/// A filesystem that a step reads.
#[derive(Debug)]
pub(crate) enum Input {
    /// Something that has a name.
    Named(Reference),
    /// Something fetched from a network.
    Fetched(SourceOp),
    /// The result of an op over an empty filesystem and further inputs.
    Prepared(Box<Op>, Vec<Input>),
}

/// A change to what a stage knows.
#[derive(Debug)]
pub(crate) enum Change {
    Variable { name: String, value: String },
    Argument { name: String, value: Option<String> },
    Label { name: String, value: String },
    User(String),
    Workdir { text: String, path: GuestPath },
    Ports(Vec<String>),
    Volumes(Vec<String>),
    Command(Vec<String>),
    Entrypoint(Vec<String>),
    Shell(Vec<String>),
    StopSignal(String),
    Healthcheck(Healthcheck),
    Trigger(String),
    Author(String),
}

impl Effect {
    /// An instruction that changes no file.
    pub(crate) fn of(created_by: String, changes: Vec<Change>) -> Self {
        Self { created_by: Some(created_by), changes, step: None }
    }
}

impl StageState {
    /// A stage on an image.
    pub(crate) fn on_image(root: OpId, config: ImageConfig) -> Self {
        Self {
            root,
            environment: Environment::default(),
            arguments: Ordered::default(),
            image_variables: Arc::default(),
            cwd: GuestPath::root(),
            config: Arc::new(config),
            history: Vec::new(),
            sets_command: false,
        }
        .begin()
    }

    /// A stage on an earlier one.
    pub(crate) fn on_stage(base: &Self) -> Self {
        Self {
            root: base.root,
            environment: base.environment.clone(),
            arguments: base.arguments.clone(),
            config: Arc::clone(&base.config),
            cwd: base.cwd.clone(),
            image_variables: Arc::clone(&base.image_variables),
            history: Vec::new(),
            sets_command: false,
        }
        .begin()
    }

    /// What happens at every `FROM`.
    fn begin(mut self) -> Self {
        let run = &mut Arc::make_mut(&mut self.config).config;
        let image_variables = Arc::make_mut(&mut self.image_variables);
        run.docker.on_build.clear();
        if !run.env.iter().any(|pair| split_pair(pair).0 == "PATH") {
            run.env.push(format!("PATH={DEFAULT_PATH}"));
        }
        for (index, pair) in run.env.iter().enumerate() {
            let (name, value) = split_pair(pair);
            self.environment.set(name, value);
            image_variables.entry(name.to_owned()).or_insert(index);
        }
        // A base's directory may be relative, though it should not; a NUL byte in it is dropped with it.
        if !run.working_dir.is_empty()
            && let Ok(path) = GuestPath::new(&run.working_dir)
        {
            self.cwd = path;
            if !run.working_dir.starts_with('/') {
                run.working_dir = self.cwd.as_str().to_owned();
            }
        }
        self
    }

    /// The shell that shell-form commands are given to.
    pub(crate) fn shell(&self) -> Vec<String> {
        let shell = &self.config.config.docker.shell;
        if shell.is_empty() {
            return vec!["/bin/sh".to_owned(), "-c".to_owned()];
        }
        shell.clone()
    }

    /// Makes an instruction's changes; its step is made by the caller.
    pub(crate) fn apply(&mut self, changes: Vec<Change>, created_by: Option<String>, layer: bool) {
        for change in changes {
            self.change(change);
        }
        if let Some(created_by) = created_by {
            let entry = HistoryEntry { created_by, empty_layer: !layer, ..HistoryEntry::default() };
            self.history.push(entry);
        }
    }

    fn change(&mut self, change: Change) {
        let config = Arc::make_mut(&mut self.config);
        let run = &mut config.config;
        match change {
            Change::Variable { name, value } => {
                let places = Arc::make_mut(&mut self.image_variables);
                set_pair(&mut run.env, places, &name, &value);
                self.environment.set(name, value);
            }
            Change::Argument { name, value } => {
                if let Some(value) = &value
                    && !name.starts_with(SCAN_PREFIX)
                {
                    self.environment.set(name.as_str(), value.as_str());
                }
                self.arguments.set_in_place(name, value);
            }
            Change::Label { name, value } => {
                run.labels.insert(name, value);
            }
            Change::User(user) => run.user = user,
            Change::Workdir { text, path } => {
                run.working_dir = text;
                self.cwd = path;
            }
            Change::Ports(ports) => run.exposed_ports.extend(ports),
            Change::Volumes(volumes) => run.volumes.extend(volumes),
            Change::Command(argv) => {
                run.cmd = Some(argv);
                run.docker.args_escaped = true;
                self.sets_command = true;
            }
            Change::Entrypoint(argv) => {
                run.entrypoint = Some(argv);
                // An inherited command was meant for the inherited entry point.
                if !self.sets_command {
                    run.cmd = None;
                }
            }
            Change::Shell(argv) => run.docker.shell = argv,
            Change::StopSignal(signal) => run.stop_signal = signal,
            Change::Healthcheck(check) => run.docker.healthcheck = Some(check),
            Change::Trigger(text) => run.docker.on_build.push(text),
            Change::Author(author) => config.author = author,
        }
    }
}

/// What stages on the empty filesystem begin with. They share it: a file may have very many.
#[derive(Debug)]
pub(crate) struct Blank {
    platform: Platform,
    state: StageState,
}

impl Blank {
    /// What those for a platform begin with.
    pub(crate) fn new(root: OpId, platform: &Platform) -> Self {
        let state = StageState::on_image(root, empty_config(platform));
        Self { platform: platform.clone(), state }
    }

    /// A stage for any platform.
    pub(crate) fn stage(&self, root: OpId, platform: &Platform) -> StageState {
        if *platform == self.platform {
            StageState { root, ..self.state.clone() }
        } else {
            Self::new(root, platform).state
        }
    }
}

/// The config of `FROM scratch`.
fn empty_config(platform: &Platform) -> ImageConfig {
    let mut config = ImageConfig {
        architecture: platform.architecture().to_owned(),
        variant: platform.variant().to_owned(),
        os: platform.os().to_owned(),
        ..ImageConfig::default()
    };
    config.config.working_dir = "/".to_owned();
    config
}

/// Sets a variable of an image: in place when it is there, else at the end.
fn set_pair(
    pairs: &mut Vec<String>,
    places: &mut BTreeMap<String, usize>,
    name: &str,
    value: &str,
) {
    let pair = format!("{name}={value}");
    match places.get(name) {
        Some(place) => pairs[*place] = pair,
        None => {
            places.insert(name.to_owned(), pairs.len());
            pairs.push(pair);
        }
    }
}

#[cfg(test)]
mod tests {
    use kiln_ir::{GraphBuilder, Op, SourceOp, VertexMeta};

    use super::*;

    #[test]
    fn a_stage_that_begins_with_nothing_is_of_its_own_platform() {
        let platform = |text: &str| text.parse::<Platform>().unwrap();
        let meta = VertexMeta::default();
        let root = GraphBuilder::new().add(Op::Source(SourceOp::Scratch), Vec::new(), meta);
        let blank = Blank::new(root, &platform("linux/amd64"));
        for (text, architecture) in [("linux/arm64", "arm64"), ("linux/amd64", "amd64")] {
            let stage = blank.stage(root, &platform(text));
            assert_eq!(stage.config.architecture, architecture);
        }
    }
}
