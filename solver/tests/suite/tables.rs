//! Text tables: a script above a line of dashes, what must come of it below.
//!
//! A script names vertices, each with its inputs and some words that the suite gives a meaning:
//! `NAME [<- INPUT…] [: WORD…]`. `KILN_BLESS=1` rewrites what stands below the dashes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kiln_ir::{
    ExecOp, Graph, GraphBuilder, GuestPath, LocalSource, NetworkMode, Op, OpId, SecurityMode,
    SourceOp, VertexMeta,
};

/// The line between script and expectation.
const RULE: &str = "---\n";

/// Runs each table of `testdata/solver/DIRECTORY` through `run`.
pub(crate) fn check(directory: &str, run: impl Fn(&str) -> String) {
    let directory =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/solver").join(directory);
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "no table in {}", directory.display());
    let mut wrong = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        let (script, expected) = text.split_once(RULE).unwrap_or((&text, ""));
        let found = run(script);
        if found == expected {
            continue;
        }
        if std::env::var_os("KILN_BLESS").is_some() {
            std::fs::write(&path, format!("{script}{RULE}{found}")).unwrap();
        } else {
            wrong.push(format!("{}\nexpected\n{expected}found\n{found}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A graph whose vertices have names and words.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    pub(crate) graph: Graph,
    pub(crate) ids: BTreeMap<String, OpId>,
    pub(crate) words: BTreeMap<OpId, Vec<String>>,
}

impl Table {
    /// Reads the lines of a script that declare vertices, which are those that are no comment.
    pub(crate) fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> Self {
        let mut builder = GraphBuilder::new();
        let mut table = Self::default();
        for line in lines.into_iter().filter(|line| !line.starts_with('#')) {
            let (left, words) = line.split_once(':').unwrap_or((line, ""));
            let (name, inputs) = left.split_once("<-").unwrap_or((left, ""));
            let name = name.trim();
            let inputs = inputs.split_whitespace().map(|input| table.ids[input]).collect();
            let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
            let id = builder.add(op(name, &words), inputs, meta(name, &words));
            table.ids.insert(name.to_owned(), id);
            table.words.insert(id, words);
        }
        table.graph = builder.finish();
        table
    }

    /// The vertices of these names.
    pub(crate) fn all(&self, names: &str) -> Vec<OpId> {
        names.split_whitespace().map(|name| self.ids[name]).collect()
    }

    /// The name of a vertex.
    pub(crate) fn name(&self, id: OpId) -> &str {
        &self.graph.vertex(id).meta.name
    }

    /// Whether `word` stands beside a vertex.
    pub(crate) fn says(&self, id: OpId, word: &str) -> bool {
        self.words[&id].iter().any(|said| said == word)
    }
}

fn meta(name: &str, words: &[String]) -> VertexMeta {
    let ignore_cache = words.iter().any(|word| word == "ignore-cache");
    VertexMeta { name: name.to_owned(), origin: None, ignore_cache }
}

/// `local` makes a source that is never recorded; all else is a command.
fn op(name: &str, words: &[String]) -> Op {
    if words.iter().any(|word| word == "local") {
        return Op::Source(SourceOp::Local(LocalSource { name: name.to_owned() }));
    }
    let alias = words.iter().find_map(|word| word.strip_prefix("same-as="));
    exec(alias.unwrap_or(name))
}

/// A command that differs from others by its name alone.
pub(crate) fn exec(name: &str) -> Op {
    Op::Exec(ExecOp {
        args: vec![name.to_owned()],
        env: Vec::new(),
        cwd: GuestPath::root(),
        user: String::new(),
        hostname: None,
        network: NetworkMode::None,
        security: SecurityMode::Sandbox,
        mounts: Vec::new(),
        proxy_env: Vec::new(),
        devices: Vec::new(),
        extra_hosts: Vec::new(),
    })
}
