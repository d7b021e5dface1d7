//! What it costs to keep what a step was made of: for each miss, in builds with more and more of them, and for the
//! list of the files that a COPY selected. The best of many builds counts.

use std::error::Error;
use std::time::{Duration, Instant};

use kiln_cache::account::{Account, Discretion, Giver, Listing, Taken};
use kiln_cache::key::{derive, reads};
use kiln_cache::tree::{Entry, Manifest, Meta, Mtime, Node};
use kiln_cache::{AccountRow, Missed, Store};
use kiln_ir::{
    Digest, ExecOp, GuestPath, MountAccess, MountKind, NetworkMode, Op, SecurityMode, Vertex,
    VertexMeta,
};

/// Builds of each size.
const BUILDS: u32 = 21;
const FILES: u32 = 10_000;

fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let store = Store::open(dir.path())?;
    let mut step = 0;
    for misses in [1, 10, 100, 1_000] {
        let micros = best(|| {
            let first = step;
            step += misses;
            build(&store, first..step)
        })?;
        tell(&format!("{misses} misses"), micros / f64::from(misses), "µs each");
    }
    let mut build = 0;
    let micros = best(|| {
        build += 1;
        list(&store, build)
    })?;
    tell(&format!("a list of {FILES} files"), micros / 1e3, "ms");
    Ok(store.close()?)
}

/// In microseconds.
fn best(mut once: impl FnMut() -> Result<Duration, Box<dyn Error>>) -> Result<f64, Box<dyn Error>> {
    let mut best = Duration::MAX;
    for _ in 0..BUILDS {
        best = best.min(once()?);
    }
    Ok(best.as_secs_f64() * 1e6)
}

/// The accounts of one build, each after a look whether anything was known of the step.
fn build(store: &Store, steps: std::ops::Range<u32>) -> Result<Duration, Box<dyn Error>> {
    let vertices: Vec<Vertex> = steps.clone().map(vertex).collect::<Result<_, _>>()?;
    let start = Instant::now();
    let mut rows = Vec::with_capacity(vertices.len());
    for (vertex, step) in vertices.iter().zip(steps) {
        rows.push(row(store, vertex, step)?);
    }
    store.put_accounts(&rows, &[])?;
    Ok(start.elapsed())
}

fn row(store: &Store, vertex: &Vertex, step: u32) -> Result<AccountRow, Box<dyn Error>> {
    let root = Digest::of(&step.to_le_bytes());
    let key = derive(&vertex.op, &[root]);
    let missed = if store.trace(&key)?.is_some() { Missed::Unfinished } else { Missed::New };
    let from = Giver { name: vertex.meta.name.clone(), key: Some(key), top: Some(root) };
    let taken = reads(vertex, &|_| false);
    let taken = taken.iter().map(|read| Taken::of(read, root, Some(from.clone()))).collect();
    let discretion = Discretion {
        is_secret: &|name| name.contains("TOKEN"),
        seal: &|value| Digest::of(value.as_bytes()),
        is_argument: &|name| name == "VERSION",
    };
    let account = Account::of(vertex, taken, discretion);
    let (stage, made_ms) = (Digest::of(b"stage"), i64::from(step));
    Ok(AccountRow { key, stage, step: u64::from(step), made_ms, missed, account })
}

/// A command with what commands usually have.
fn vertex(step: u32) -> Result<Vertex, Box<dyn Error>> {
    let command = format!("make -C /usr/src/part-{step} && make -C /usr/src/part-{step} install");
    let variables = ["PATH", "LANG", "VERSION", "PREFIX", "CC", "CFLAGS", "HOME", "PART"];
    let value = format!("/usr/local/part-{step}/bin:/usr/local/bin:/usr/bin:/bin");
    let cache = MountKind::Cache {
        id: "ccache".to_owned(),
        seed: None,
        mode: 0o755,
        uid: 0,
        gid: 0,
        sharing: kiln_ir::CacheSharing::Shared,
        access: MountAccess::ReadWrite,
    };
    let target = GuestPath::new("/root/.cache")?;
    let op = Op::Exec(ExecOp {
        args: ["/bin/sh", "-c", command.as_str()].map(str::to_owned).to_vec(),
        env: variables.iter().map(|name| ((*name).to_owned(), value.clone())).collect(),
        cwd: GuestPath::root(),
        user: String::new(),
        hostname: None,
        network: NetworkMode::Default,
        security: SecurityMode::Sandbox,
        mounts: vec![kiln_ir::Mount { target, kind: cache }],
        proxy_env: Vec::new(),
        devices: Vec::new(),
        extra_hosts: Vec::new(),
    });
    let name = format!("[build {step}/1000] RUN {command}");
    Ok(Vertex { op, inputs: Vec::new(), meta: VertexMeta { name, ..VertexMeta::default() } })
}

/// One miss with a list of many files, other ones each time.
fn list(store: &Store, build: u32) -> Result<Duration, Box<dyn Error>> {
    let step = 1_000_000 + build;
    let entry = |number: u32| Entry {
        path: format!("src/part-{:03}/file-{number:05}.c", number / 100).into_bytes(),
        node: Node::File { digest: Digest::of(&(step + number).to_le_bytes()), size_bytes: 4_000 },
        meta: Meta { mode: 0o644, ..Meta::default() },
        mtime: Mtime::default(),
    };
    let directory = |path: String| Entry {
        path: path.into_bytes(),
        node: Node::Dir { opaque: false },
        meta: Meta::default(),
        mtime: Mtime::default(),
    };
    let parts = (0..FILES / 100).map(|part| directory(format!("src/part-{part:03}")));
    let entries = [directory("src".to_owned())].into_iter().chain(parts);
    let mut entries: Vec<Entry> = entries.chain((0..FILES).map(entry)).collect();
    entries.sort_by(|one, other| one.path.cmp(&other.path));
    let (manifest, vertex) = (Manifest::new(entries)?, vertex(step)?);
    let start = Instant::now();
    let row = AccountRow { stage: Digest::of(b"another"), ..row(store, &vertex, step)? };
    let listing = Listing::of_layer(&manifest);
    let selection = Digest::of(&step.to_le_bytes());
    let key = row.key;
    store.put_accounts(&[row], &[(key, selection, listing)])?;
    Ok(start.elapsed())
}

#[expect(clippy::print_stdout, reason = "an example shows its result")]
fn tell(what: &str, value: f64, unit: &str) {
    println!("{what}: {value:.1} {unit}");
}
