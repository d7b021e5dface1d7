//! What it costs to parse and plan a large Dockerfile.
//!
//! `plan_cost lines BYTES`: instructions of every usual kind, until there are so many bytes.
//! `plan_cost stages COUNT`: stages that copy from each other.
//!
//! Prints the time until there is a plan, parsing included, in nanoseconds: the best of five. `cargo xtask bench` calls this.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "time is measured here; the crate itself knows none"
)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::{Duration, Instant};

use common::plan_on_bases;
use kiln_frontend::BuildOptions;
use kiln_grammar::parse;
use kiln_image::Platform;

/// That of the product.
#[global_allocator]
static MEMORY: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [shape, count] = arguments.as_slice() else {
        return Err("plan_cost lines BYTES | plan_cost stages COUNT".into());
    };
    let source = match shape.as_str() {
        "lines" => lines(count.parse()?)?,
        "stages" => stages(count.parse()?)?,
        _ => return Err("lines or stages".into()),
    };
    let mut best = Duration::MAX;
    for _ in 0..5 {
        best = best.min(time_to_plan(&source)?);
    }
    Ok(writeln!(std::io::stdout(), "{}", best.as_nanos())?)
}

fn lines(bytes: usize) -> Result<String, std::fmt::Error> {
    let mut source = String::from("FROM debian AS base\nARG VERSION=1\n");
    for number in 0.. {
        if source.len() >= bytes {
            break;
        }
        writeln!(
            source,
            "# What part {number} needs, and why it needs that.\n\
             RUN apt-get update && apt-get install --no-install-recommends --yes part-{number} \\\n    \
             library-{number} && rm -rf /var/lib/apt/lists/*\n\
             COPY --chown=1000:1000 part-{number}/src part-{number}/include /usr/src/part-{number}/\n\
             LABEL org.example.part.{number}=\"part $VERSION\"\n\
             WORKDIR /usr/src/part-{number}\n\
             RUN [\"make\", \"-C\", \"/usr/src/part-{number}\", \"install\"]\n"
        )?;
    }
    Ok(source)
}

fn stages(count: usize) -> Result<String, std::fmt::Error> {
    let mut source = String::from("FROM debian AS s0\nRUN make\n");
    for stage in 1..count {
        let (near, far) = (stage - 1, stage / 2);
        writeln!(
            source,
            "FROM debian AS s{stage}\nCOPY --from=s{near} /out /near\n\
             COPY --from=s{far} /out /far\nRUN make NEAR=/near FAR=/far"
        )?;
    }
    Ok(source)
}

/// The time until there is a plan; not that of taking it apart again.
fn time_to_plan(source: &str) -> Result<Duration, Box<dyn Error>> {
    let start = Instant::now();
    let parsed = parse(source);
    let options = BuildOptions::new(Platform::new("linux", "amd64", ""));
    let planned = plan_on_bases(&parsed.dockerfile, source, &options);
    let took = start.elapsed();
    planned.map(|_| took).map_err(|remarks| format!("{:?}", remarks.first()).into())
}
