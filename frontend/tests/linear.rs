//! Planning takes time in proportion to the file, whatever its shape.
//!
//! Sizes are such that an algorithm with a quadratic part needs minutes, where a linear one needs a second or
//! two without optimisation; the bound lies between, far from both.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "time is measured here; the crate itself knows none"
)]

mod common;

use std::fmt::Write as _;
use std::time::Duration;

use common::plan_on_bases;
use kiln_frontend::{
    BuildOptions, Extent, Facts, Plan, SourceText, check, render, syntax_diagnostics,
};
use kiln_grammar::parse;
use kiln_image::Platform;

/// What any of the shapes may take of a processor; most take a second.
const BOUND: Duration = Duration::from_secs(15);
/// How often a shape repeats.
const MANY: usize = 20_000;

/// Plans with a base that has one layer; or the remarks.
fn planned(source: &str) -> Result<Plan, String> {
    let parsed = parse(source);
    let text = SourceText::of_file("Dockerfile", source);
    let options = BuildOptions::new(Platform::new("linux", "amd64", ""));
    if !parsed.errors.is_empty() {
        return Err(render(&syntax_diagnostics(&parsed.errors)[0], &text));
    }
    plan_on_bases(&parsed.dockerfile, source, &options)
        .map_err(|remarks| render(&remarks[0], &text))
}

/// What this thread has had of a processor: other work on the machine does not count.
fn processor_time() -> Duration {
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(statistics.split(' ').next().unwrap().parse().unwrap())
}

/// The plan, and a failure when it takes too long.
fn in_time(source: &str) -> Result<Plan, String> {
    let start = processor_time();
    let result = planned(source);
    let spent = processor_time() - start;
    assert!(spent < BOUND, "{spent:?} for {} bytes", source.len());
    result
}

/// `MANY` lines behind a `FROM`.
fn lines(mut line: impl FnMut(usize) -> String) -> String {
    let mut source = String::from("FROM scratch AS s0\n");
    (0..MANY).for_each(|index| writeln!(source, "{}", line(index)).unwrap());
    source
}

#[test]
fn ordinary_lines() {
    let source = lines(|index| {
        let name = index / 4;
        match index % 4 {
            0 => format!("RUN make -j target{name} && install -m 755 out/target{name} /usr/bin/"),
            1 => format!("COPY --chown=1:2 src/{name} /srv/app/{name}/"),
            2 => format!("# what follows is number {name}"),
            _ => format!("WORKDIR /srv/app/{name}"),
        }
    });
    assert_eq!(in_time(&source).unwrap().history.len(), MANY / 4 * 3);
}

#[test]
fn one_line_of_continuations() {
    let mut source = String::from("FROM scratch\nRUN true");
    (0..MANY * 30).for_each(|index| write!(source, " \\\n # no\n  && x{index}").unwrap());
    assert_eq!(in_time(&source).unwrap().history.len(), 1);
    assert!(source.len() > 10 << 20);
}

#[test]
fn many_arguments() {
    let source = lines(|index| format!("ARG A{index}=${{A{}:-x}}", index.saturating_sub(1)));
    let plan = in_time(&(source + "RUN echo $A7\n")).unwrap();
    assert!(plan.history[MANY].created_by.starts_with("RUN |20000 A0=x A1=x "));
    let global = (0..MANY).map(|index| format!("ARG A{index}=$A0\n")).collect::<String>();
    in_time(&(global + "FROM scratch\nARG A0 A1=$A0\n")).unwrap();
    let one = (0..MANY).map(|index| format!(" \\\n A{index}=$A1")).collect::<String>();
    in_time(&format!("FROM scratch\nARG{one}\n")).unwrap();
}

#[test]
fn many_variables() {
    let source = lines(|index| format!("ENV A{index}=b A{}=$A{}", index / 2, index / 3));
    assert_eq!(in_time(&source).unwrap().config.config.env.len(), MANY + 1);
    let one = (0..MANY).map(|index| format!(" \\\n A{index}=$A1")).collect::<String>();
    in_time(&format!("FROM scratch\nENV{one}\nLABEL{one}\n")).unwrap();
    in_time(&lines(|index| format!("ENV A={index}$A0"))).unwrap();
}

#[test]
fn many_stages() {
    let chain = lines(|index| format!("FROM s{index} AS s{}", index + 1));
    in_time(&chain).unwrap();
    let chain = lines(|index| format!("FROM s{index} AS s{}\nRUN {index}", index + 1));
    assert_eq!(in_time(&chain).unwrap().history.len(), MANY);
    let apart = lines(|index| format!("FROM base:{index}\nCOPY --from={index} a b"));
    assert_eq!(in_time(&apart).unwrap().history.len(), 1);
    let later = lines(|index| format!("FROM scratch AS t{index}\nCOPY --from=S0 a b"));
    in_time(&later).unwrap();
    let nowhere =
        lines(|index| format!("FROM scratch\nRUN --mount=from=image{index},target=/m true"));
    in_time(&nowhere).unwrap();
}

#[test]
fn many_documents() {
    let source = lines(|index| format!("COPY <<A <<B /d{index}/\n$x\nA\nb\nB"));
    assert_eq!(in_time(&source).unwrap().history.len(), MANY);
    let open = "<<E ".repeat(15_000);
    assert!(in_time(&format!("FROM scratch\nRUN {open}\n{}", "E\n".repeat(15_000))).is_ok());
    let endless = lines(|index| format!("RUN <<E{index}"));
    assert!(in_time(&endless).unwrap_err().contains("here document `E0` has no end"));
}

#[test]
fn many_triggers() {
    in_time(&lines(|index| format!("ONBUILD RUN {index}"))).unwrap();
}

#[test]
fn large_comments() {
    let comment = format!("# {}\n", "no ".repeat(20_000));
    let source = format!("{}FROM scratch\n{}RUN a\n", comment.repeat(100), comment.repeat(100));
    assert!(source.len() > 10 << 20);
    in_time(&source).unwrap();
    in_time(&lines(|_| "# check=skip=all\n#".to_owned())).unwrap();
}

#[test]
fn deep_words() {
    for (open, close) in [("${a:-", "}"), ("\"${a:-", "}\""), ("${a//b/", "}"), ("${a#", "}")] {
        let depth = 60_000 / (open.len() + close.len());
        let word = format!("{}x{}", open.repeat(depth), close.repeat(depth));
        let refused = in_time(&format!("FROM scratch\nENV a={word}\n")).unwrap_err();
        assert!(refused.contains("inside each other"), "{refused}");
    }
    let wide = format!("FROM scratch\nENV a={}\n", "${b:-'c'}".repeat(6_000));
    in_time(&wide.repeat(20)).unwrap();
}

#[test]
fn a_value_that_doubles_with_every_line() {
    let doubles = "ENV A=$A$A\n".repeat(100);
    let refused = in_time(&format!("FROM scratch\nENV A=x\n{doubles}")).unwrap_err();
    assert!(refused.contains("the value has more than 1048576 bytes"), "{refused}");
    let replaced = "ENV A=${A//x/$A}\n".repeat(10);
    assert!(in_time(&format!("FROM scratch\nENV A=xx\n{replaced}")).is_err());
}

#[test]
fn many_mistakes() {
    assert!(in_time(&lines(|index| format!("RUNN {index}"))).is_err());
    assert!(in_time(&lines(|index| format!("COPY --from={} a b", index + 7))).is_err());
    assert!(in_time(&lines(|_| "RUN --mount=type=x".to_owned() + " true")).is_err());
}

/// How many remarks there are, and a failure when it takes too long to find all.
fn checked_in_time(source: &str) -> usize {
    let options = BuildOptions::new(Platform::new("linux", "amd64", ""));
    let start = processor_time();
    let parsed = parse(source);
    let told = check(&parsed, source, &options, &Facts::new(), Extent::Target).remarks.len();
    let spent = processor_time() - start;
    assert!(spent < BOUND, "{spent:?} for {} bytes", source.len());
    told
}

#[test]
fn many_mistakes_of_all_readings() {
    let mixed = lines(|index| match index % 5 {
        0 => format!("FROM s{} AS s{}", index / 5, index / 5 + 1),
        1 => format!("COPY --form=s{} --from=s{index} a b", index / 7),
        2 => format!("ENV A{index}=$A{} A", index - 1),
        3 => format!("COPY --from=99999 --chmod=$A{} --chown=x:y:z a b", index - 1),
        _ => "EXPOSE none $A2".to_owned(),
    });
    assert!(checked_in_time(&mixed) > MANY / 2);
    assert!(checked_in_time(&lines(|_| "FROM $X\nFROMM".to_owned())) > MANY);
    let one = (0..MANY).map(|index| format!(" \\\n A{index}=${{B?}}")).collect::<String>();
    let doubted = format!("FROM base\nARG{one}\nENV{one}\nFROM scratch\nARG{one}\nENV{one}\n");
    assert!(checked_in_time(&doubted) >= MANY);
    let mounts = " --mount=type=bind,target=.".repeat(MANY);
    checked_in_time(&format!("FROM base\nRUN{} x\n", mounts.replace(" --", " \\\n --")));
}
