//! What the solver itself costs per vertex: graphs of 10,000 vertices whose results are all recorded.
//!
//! `cargo bench -p kiln-solver`. A figure to look at, not a gate.

use std::num::NonZeroUsize;
use std::time::Duration;

use kiln_cache::{LayerRef, MemStore, Record};
use kiln_ir::{
    Digest, ExecOp, Graph, GraphBuilder, GuestPath, NetworkMode, Op, OpId, SecurityMode, Vertex,
    VertexMeta,
};
use kiln_solver::{AfterFailure, Cancel, Limits, Narrator, Report, Request, Runner, solve};

const VERTICES: usize = 10_000;

/// Does nothing.
struct Idle;

impl Runner for Idle {
    type Value = Digest;
    type Error = std::convert::Infallible;

    fn input_digests(&self, _: &Vertex, inputs: &[Digest]) -> Result<Vec<Digest>, Self::Error> {
        Ok(inputs.to_vec())
    }

    fn restore(
        &self,
        _: &Vertex,
        _: &[Digest],
        record: &Record,
    ) -> Result<Option<Digest>, Self::Error> {
        Ok(record.layers.first().map(|layer| layer.digest))
    }

    fn run(
        &self,
        vertex: &Vertex,
        _: &[Digest],
        _: &dyn Report,
        _: &Cancel,
    ) -> Result<(Digest, Option<Record>), Self::Error> {
        let digest = vertex.op.definition();
        let record = Record {
            layers: vec![LayerRef::new(digest)],
            created_ms: 0,
            duration_ms: 0,
            size_bytes: 0,
            name: String::new(),
        };
        Ok((digest, Some(record)))
    }
}

/// `width` chains side by side, joined at the end.
fn graph(width: usize) -> (Graph, OpId) {
    let mut builder = GraphBuilder::new();
    let mut ends: Vec<Option<OpId>> = vec![None; width];
    for index in 0..VERTICES - 1 {
        let end = &mut ends[index % width];
        *end = Some(add(&mut builder, index, end.iter().copied().collect()));
    }
    let target = add(&mut builder, VERTICES, ends.into_iter().flatten().collect());
    (builder.finish(), target)
}

fn add(builder: &mut GraphBuilder, index: usize, inputs: Vec<OpId>) -> OpId {
    let name = format!("[build {index}] RUN step {index}");
    let exec = ExecOp {
        args: vec!["/bin/sh".to_owned(), "-c".to_owned(), name.clone()],
        env: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
        cwd: GuestPath::root(),
        user: String::new(),
        hostname: None,
        network: NetworkMode::None,
        security: SecurityMode::Sandbox,
        mounts: Vec::new(),
        proxy_env: Vec::new(),
        devices: Vec::new(),
        extra_hosts: Vec::new(),
    };
    builder.add(Op::Exec(exec), inputs, VertexMeta { name, ..VertexMeta::default() })
}

#[expect(clippy::disallowed_types, reason = "a measurement needs a clock")]
fn measure(graph: &Graph, target: OpId, jobs: usize, records: &MemStore) -> Duration {
    let start = std::time::Instant::now();
    let clock = || start.elapsed();
    let mut events = 0_u64;
    let mut count = |_| events += 1;
    let mut narrator = Narrator::new(&clock, &mut count);
    let limits = Limits { jobs: NonZeroUsize::new(jobs).unwrap_or(NonZeroUsize::MIN) };
    let request = Request {
        graph,
        targets: &[target],
        limits,
        expected: &[],
        after_failure: AfterFailure::StopNeedless,
    };
    let result = solve(&request, &Idle, records, &Cancel::never(), &mut narrator);
    assert!(result.is_ok(), "an idle runner does not fail");
    start.elapsed()
}

#[expect(clippy::print_stdout, reason = "the figures are what a benchmark is for")]
fn main() {
    println!("{:>6} {:>5} {:>16} {:>16}", "chains", "jobs", "first, µs each", "cached, µs each");
    for width in [1, 8, 100, VERTICES - 1] {
        for jobs in [1, 2, 8] {
            let (graph, target) = graph(width);
            let records = MemStore::new();
            let [first, cached] = [(); 2].map(|()| {
                measure(&graph, target, jobs, &records).as_secs_f64() * 1e6 / VERTICES as f64
            });
            println!("{width:>6} {jobs:>5} {first:>16.1} {cached:>16.1}");
        }
    }
}
