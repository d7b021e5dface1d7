//! Each input of a build changed one at a time, which steps that makes run again, and how it is named.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::Bed;

const DOCKERFILE: &str = "\
FROM base AS build
ARG VERSION=1
ARG API_TOKEN=none
ENV MODE=plain
WORKDIR /work
COPY src/ src/
RUN --mount=type=secret,id=token --mount=type=cache,target=/cache --mount=type=ssh \\
    date +%N >> /cache/log; cat src/* > all 2>/dev/null; :
RUN wc -c all > size

FROM base
COPY --from=build /work/all /all
";

/// A context with all that the Dockerfile names.
fn bed() -> Option<Bed> {
    let bed = Bed::new(DOCKERFILE)?;
    bed.write(".dockerignore", "*.log\n");
    for name in ["a", "b", "twin"] {
        bed.write(&format!("src/{name}"), "content\n");
        mode(&bed.at(&format!("src/{name}")), 0o644);
    }
    std::os::unix::fs::symlink("a", bed.at("src/link")).unwrap();
    bed.work.write("token", "one");
    Some(bed)
}

type Row = (&'static str, fn(&Bed), &'static [&'static str], &'static [&'static str]);

/// What is changed, how, with which further arguments, and lines that are said. No line: nothing runs.
const ROWS: &[Row] = &[
    ("nothing", |_| {}, &[], &[]),
    (
        "a file's bytes",
        |bed| write(&bed.at("src/a"), "CONTENT\n"),
        &[],
        &[
            "4 of 6 steps ran, because of `[build 3/5] COPY src/ src/`",
            "~ src/a  content (still 8 bytes)",
            "then ran because of it:",
            "[build 5/5] RUN wc -c all > size",
        ],
    ),
    ("a file's mode", |bed| mode(&bed.at("src/a"), 0o755), &[], &["~ src/a  mode 0644 → 0755"]),
    (
        "a directory's mode",
        |bed| {
            fs::create_dir(bed.at("src/dir")).unwrap();
            mode(&bed.at("src/dir"), 0o700);
        },
        &[],
        &["+ src/dir"],
    ),
    (
        "a link's text",
        |bed| {
            fs::remove_file(bed.at("src/link")).unwrap();
            std::os::unix::fs::symlink("b", bed.at("src/link")).unwrap();
        },
        &[],
        &["~ src/link  link to a → b"],
    ),
    (
        "an attribute",
        |bed| {
            let flags = rustix::fs::XattrFlags::empty();
            rustix::fs::setxattr(bed.at("src/a"), "user.a", b"1", flags).unwrap();
        },
        &[],
        &["~ src/a  extended attributes"],
    ),
    (
        "hard links",
        |bed| {
            fs::remove_file(bed.at("src/twin")).unwrap();
            fs::hard_link(bed.at("src/a"), bed.at("src/twin")).unwrap();
        },
        &[],
        &["~ src/twin  hard links"],
    ),
    (
        "files come and go",
        |bed| {
            fs::remove_file(bed.at("src/b")).unwrap();
            write(&bed.at("src/c"), "new");
        },
        &[],
        &["- src/b", "+ src/c"],
    ),
    (
        "a time",
        |bed| {
            let file = fs::File::open(bed.at("src/a")).unwrap();
            file.set_modified(std::time::UNIX_EPOCH).unwrap();
        },
        &[],
        &[],
    ),
    (
        "an owner",
        |bed| {
            std::os::unix::fs::chown(bed.at("src/a"), Some(7), Some(8)).unwrap();
        },
        &[],
        &[],
    ),
    ("what no COPY selects", |bed| write(&bed.at("beside"), "x"), &[], &[]),
    (
        "what the ignore file leaves out",
        |bed| write(&bed.at("src/x.log"), "x"),
        &[],
        &[
            // The patterns have no slash: what is in `src` is not left out.
            "+ src/x.log",
        ],
    ),
    ("what it leaves out at the top", |bed| write(&bed.at("x.log"), "x"), &[], &[]),
    ("a secret's value", |bed| write(&bed.work.path("token"), "two"), &[], &[]),
    ("a label", |_| {}, &["--label=a=b"], &[]),
    ("a limit", |_| {}, &["--ulimit=nofile=1000"], &[]),
    ("a proxy", |_| {}, &["--build-arg=HTTP_PROXY=http://proxy:1"], &[]),
    ("an address of a host", |_| {}, &["--add-host=db=10.0.0.1"], &["the host `db` is new\n"]),
    (
        "a build argument",
        |_| {},
        &["--build-arg=VERSION=2"],
        &["2 of 6 steps ran", "the build argument `VERSION` changed from `1` to `2`"],
    ),
    (
        "a build argument that may be a credential",
        |_| {},
        &["--build-arg=API_TOKEN=hunter2"],
        &[
            "the build argument `API_TOKEN` changed; its name is that of a credential, so its values are \
         not kept",
        ],
    ),
    (
        "a variable",
        |bed| edit(bed, "MODE=plain", "MODE=other"),
        &[],
        &["the variable `MODE` changed from `plain` to `other`"],
    ),
    (
        "a command",
        |bed| edit(bed, "wc -c all", "wc -l all"),
        &[],
        &[
            "1 of 6 steps ran",
            "differs from the nearest result, of `[build 5/5] RUN wc -c all > size`",
            "the command changed:",
            "- wc -c all > size",
            "+ wc -l all > size",
        ],
    ),
    ("a directory to work in", |bed| edit(bed, "WORKDIR /work\n", "WORKDIR /work/\n"), &[], &[]),
    (
        "a mount",
        |bed| edit(bed, "--mount=type=ssh", "--mount=type=tmpfs,target=/t"),
        &[],
        &["the mount `/t` is new\n"],
    ),
    ("another id of a cache", |bed| edit(bed, "type=cache,", "type=cache,id=other,"), &[], &[]),
    (
        "an owner that COPY gives",
        |bed| edit(bed, "COPY src/", "COPY --chown=5 src/"),
        &[],
        &["the copy: owner is new: `5`"],
    ),
    (
        "a mode that COPY gives",
        |bed| edit(bed, "COPY src/", "COPY --chmod=600 src/"),
        &[],
        &["the copy: mode is new: `0600`"],
    ),
    (
        "no cache",
        |_| {},
        &["--no-cache"],
        &["5 of 6 steps ran", "recorded results were passed over, by `--no-cache`:"],
    ),
];

fn write(path: &Path, content: &str) {
    fs::write(path, content).unwrap();
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn edit(bed: &Bed, from: &str, to: &str) {
    let text = DOCKERFILE.replacen(from, to, 1);
    assert_ne!(text, DOCKERFILE, "{from}");
    write(&bed.at("Dockerfile"), &text);
}

/// What is missing or wrong in what was said.
fn faults(said: &str, lines: &[&str]) -> Vec<String> {
    let mut faults: Vec<String> = lines
        .iter()
        .filter(|line| !said.contains(**line))
        .map(|line| format!("`{line}` is missing"))
        .collect();
    if lines.is_empty() && said.trim() != "all 6 steps were cached" {
        faults.push("something ran".to_owned());
    }
    if said.contains("hunter2") {
        faults.push("a credential is shown".to_owned());
    }
    faults
}

#[test]
fn each_input_moves_what_it_is_part_of_and_is_named() {
    let mut wrong = Vec::new();
    for (what, change, arguments, lines) in ROWS {
        let Some(bed) = bed() else { return };
        let secret = bed.secret("");
        bed.explained(&[&secret]);
        change(&bed);
        let said = bed.explained(&[&[secret.as_str()], *arguments].concat());
        for fault in faults(&said, lines) {
            wrong.push(format!("{what}: {fault}:\n{said}"));
        }
        bed.work.assert_no_mounts();
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
