//! Every kind of build context: directories, standard input, archives, repositories, and named ones.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Output, Stdio};

use kiln_testkit::{Answer, Server};

use super::support::Work;
use super::support::build::Kiln;
use super::support::git::{COMMITTED, Repository, serve};
use super::support::image::Image;
use super::support::{have, tar};

/// A place to work in, with a store, and the last image as a layout.
struct Bed {
    work: Work,
    kiln: Kiln,
}

impl Bed {
    fn new() -> Self {
        let work = Work::new();
        let kiln = Kiln::at(work.path("store"));
        Self { work, kiln }
    }

    /// Builds with these arguments and this standard input.
    fn run(&self, arguments: &[&str], stdin: &[u8]) -> Output {
        let out = self.work.path("layout");
        let _absent = fs::remove_dir_all(&out);
        let to = format!("--output=type=oci,tar=false,dest={}", out.display());
        let mut command = self.kiln.command(&["build", "--progress=plain", &to]);
        command.args(arguments).stdin(Stdio::piped());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // A build that fails early reads nothing of it.
        let _unread = child.stdin.take().unwrap().write_all(stdin);
        child.wait_with_output().unwrap()
    }

    /// The image of a build that must succeed.
    fn build(&self, arguments: &[&str], stdin: &[u8]) -> Image {
        let output = self.run(arguments, stdin);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {}\n{said}", output.status);
        Image::of(&self.work.path("layout"))
    }

    /// What a build that must fail says.
    fn fail(&self, arguments: &[&str], stdin: &[u8], code: i32) -> String {
        let output = self.run(arguments, stdin);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{said}");
        said
    }

    /// A tree of a Dockerfile that copies all, an ignore file that leaves all out, and a file.
    fn tree(&self, name: &str) -> String {
        self.work.write(&format!("{name}/Dockerfile"), "FROM scratch\nCOPY . /all/\n");
        self.work.write(&format!("{name}/.dockerignore"), "*\n");
        self.work.write(&format!("{name}/file"), "content\n");
        self.work.path(name).display().to_string()
    }
}

/// The names of the files in the image's first layer, without the directories.
fn files(image: &Image) -> Vec<String> {
    let mut names = image.names(0);
    names.retain(|name| !name.ends_with('/'));
    names
}

const ALL: [&str; 3] = ["all/.dockerignore", "all/Dockerfile", "all/file"];

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_dockerfile_on_standard_input_has_an_empty_context() {
    let bed = Bed::new();
    let image = bed.build(&["-"], b"FROM scratch\nLABEL a=b\n");
    assert_eq!(image.config["config"]["Labels"]["a"], "b");
    let said = bed.fail(&["-"], b"FROM scratch\nCOPY file /\n", 1);
    assert!(said.contains("`/file` does not exist"), "{said}");
}

#[test]
fn an_archive_on_standard_input_is_the_context_however_it_is_compressed() {
    if !have(&["gzip", "bzip2", "xz", "zstd"]) {
        return;
    }
    let bed = Bed::new();
    bed.tree("tree");
    bed.work.write("tree/sub/other", "FROM scratch\nCOPY file /other\n");
    let mut digests = Vec::new();
    for compression in ["", "gzip", "bzip2", "xz", "zstd"] {
        let archive = tar(&bed.work, "tree", compression);
        let image = bed.build(&["-"], &archive);
        // Ignore files are for directories.
        assert_eq!(files(&image), [&ALL[..], &["all/sub/other"]].concat(), "{compression}");
        digests.push(image.layers());
    }
    digests.dedup();
    assert_eq!(digests.len(), 1, "the same whatever it came in");
    let archive = tar(&bed.work, "tree", "gzip");
    assert_eq!(files(&bed.build(&["-f", "sub/other", "-"], &archive)), ["other"]);
    let said = bed.fail(&["-f", "none", "-"], &archive, 4);
    assert!(said.contains("`none`"), "{said}");
    let outside = bed.work.write("outside", "FROM scratch\nCOPY file /outside\n");
    assert_eq!(files(&bed.build(&["-f", path(&outside), "-"], &archive)), ["outside"]);
}

#[test]
fn a_dockerfile_on_standard_input_goes_with_a_directory() {
    let bed = Bed::new();
    let tree = bed.tree("tree");
    let dockerfile = b"FROM scratch\nCOPY . /all/\n";
    assert_eq!(files(&bed.build(&["-f", "-", &tree], dockerfile)), Vec::<String>::new());
    fs::remove_file(bed.work.path("tree/.dockerignore")).unwrap();
    assert_eq!(files(&bed.build(&["-f", "-", &tree], dockerfile)), ["all/Dockerfile", "all/file"]);
}

#[test]
fn the_dockerfiles_own_ignore_file_goes_before_the_contexts() {
    let bed = Bed::new();
    let tree = bed.tree("tree");
    // Its own file may leave the Dockerfile out; it is read all the same.
    bed.work.write("elsewhere/App", "FROM scratch\nCOPY . /all/\n");
    let file = bed.work.path("elsewhere/App");
    assert_eq!(files(&bed.build(&["-f", path(&file), &tree], b"")), Vec::<String>::new());
    bed.work.write("elsewhere/App.dockerignore", "Dockerfile\n");
    let image = bed.build(&["-f", path(&file), &tree], b"");
    assert_eq!(files(&image), ["all/.dockerignore", "all/file"]);
    bed.work.write("tree/.dockerignore", "Dockerfile\n");
    assert_eq!(files(&bed.build(&[&tree], b"")), ["all/.dockerignore", "all/file"]);
}

#[test]
fn an_address_gives_an_archive_or_a_lone_dockerfile() {
    let bed = Bed::new();
    bed.tree("tree");
    let archive = tar(&bed.work, "tree", "gzip");
    let server = Server::start(move |asked| match asked.target.as_str() {
        // What it is called says nothing.
        "/archive.txt" => Answer::ok(archive.clone()).header("ETag", "\"1\""),
        "/Dockerfile.tar" => Answer::ok("FROM scratch\nCOPY . /all/\n"),
        _ => Answer::status(404),
    });
    assert_eq!(files(&bed.build(&[&server.url("/archive.txt")], b"")), ALL);
    assert_eq!(files(&bed.build(&[&server.url("/archive.txt")], b"")), ALL);
    let tags = server.asked().iter().filter(|a| a.header("if-none-match").is_some()).count();
    assert_eq!(tags, 1);
    assert_eq!(files(&bed.build(&[&server.url("/Dockerfile.tar")], b"")), ["all/context"]);
    let dockerfile = b"FROM scratch\nCOPY file /given\n";
    let given = bed.build(&["-f", "-", &server.url("/archive.txt")], dockerfile);
    assert_eq!(files(&given), ["given"]);
    bed.fail(&[&server.url("/none")], b"", 4);
}

#[test]
fn an_archive_cannot_write_outside_of_the_context() {
    let bed = Bed::new();
    bed.work.write("tree/a", "x");
    bed.work.write("tree/file", "x");
    let mut command = super::support::tool("tar");
    command.arg("--create").arg("--directory").arg(bed.work.path("tree"));
    command.args(["--transform=s,file,../../escaped,", "-P", "--file=-", "a", "file"]);
    let archive = command.output().unwrap().stdout;
    let said = bed.fail(&["-"], &archive, 1);
    assert!(said.contains("escaped"), "{said}");
}

#[test]
fn a_repository_is_a_context_in_both_forms() {
    let bed = Bed::new();
    let repository = Repository::new(&bed.work, "repositories/app");
    repository.write("Dockerfile", "FROM scratch\nCOPY . /all/\n");
    repository.write(".dockerignore", "*\n");
    repository.write("file", "content\n");
    repository.write("sub/Dockerfile", "FROM scratch\nCOPY . /sub/\n");
    repository.commit();
    repository.git(&["tag", "v1"]);
    let server = serve(&bed.work.path("repositories"));
    let url = server.url("/app.git");
    let image = bed.build(&[&url], b"");
    assert_eq!(files(&image), [&ALL[..], &["all/sub/Dockerfile"]].concat());
    let listing = image.listing(0);
    assert!(listing.contains("2023-11-14 22:13 all/file"), "{COMMITTED} is the time: {listing}");
    for more in ["#v1:sub", "?tag=v1&subdir=sub"] {
        assert_eq!(files(&bed.build(&[&format!("{url}{more}")], b"")), ["sub/Dockerfile"]);
    }
    let image = bed.build(&["-f", "sub/Dockerfile", &url], b"");
    assert!(files(&image).contains(&"sub/file".to_owned()));
    for argument in ["1", "0"] {
        let keep = format!("--build-arg=BUILDKIT_CONTEXT_KEEP_GIT_DIR={argument}");
        let image = bed.build(&[&keep, &url], b"");
        let kept = files(&image).contains(&"all/.git/HEAD".to_owned());
        assert_eq!(kept, argument == "1");
    }
    let said = bed.fail(&[&format!("{url}#v2")], b"", 4);
    assert!(said.contains("did you mean `v1`?"), "{said}");
    let said = bed.fail(&[&format!("{url}?refs=v1")], b"", 4);
    assert!(said.contains("no parameter `refs`"), "{said}");
}

#[test]
fn a_named_context_comes_from_anywhere() {
    let bed = Bed::new();
    bed.work.write("named/file", "content\n");
    bed.work.write("named/left-out", "");
    bed.work.write("named/.dockerignore", "left-out\n.dockerignore\n");
    let archive = tar(&bed.work, "named", "gzip");
    let repository = Repository::new(&bed.work, "repositories/named");
    repository.write("file", "content\n");
    repository.commit();
    let git = serve(&bed.work.path("repositories"));
    let http = Server::start(move |_| Answer::ok(archive.clone()));
    let dir = bed.work.context("layout-source", "FROM scratch\nCOPY Dockerfile /file\n");
    let layout = bed.work.path("base-layout");
    bed.kiln.build(&dir).tag("base:1").into_layout(&layout).run();
    let digest = Image::of(&layout).digest;
    let layout = format!("oci-layout://{}", layout.display());
    let copies = bed.work.context("copies", "FROM scratch\nCOPY --from=src . /all/\n");
    let bases = bed.work.context("bases", "FROM src\nCOPY --from=src file /again\n");
    for (source, in_copy) in [
        (bed.work.path("named").display().to_string(), vec!["all/file"]),
        (git.url("/named.git"), vec!["all/file"]),
        (git.url("/named.git#main"), vec!["all/file"]),
        (http.url("/x"), vec!["all/.dockerignore", "all/file", "all/left-out"]),
        (format!("{layout}@{digest}"), vec!["all/file"]),
        (format!("{layout}:1"), vec!["all/file"]),
        ("docker-image://base:1".to_owned(), vec!["all/file"]),
    ] {
        let given = format!("--build-context=src={source}");
        let image = bed.build(&[&given, path(&copies)], b"");
        assert_eq!(files(&image), in_copy, "{source}");
        let image = bed.build(&[&given, path(&bases)], b"");
        assert!(files(&image).contains(&"file".to_owned()), "{source}");
        assert_eq!(image.names(1), ["again"], "{source}");
    }
    let file = Server::start(|_| Answer::ok("no archive"));
    let given = format!("--build-context=src={}", file.url("/x"));
    assert_eq!(files(&bed.build(&[&given, path(&copies)], b"")), ["all/context"]);
    let said = bed.fail(&["--build-context=src=ftp://h/x", path(&copies)], b"", 4);
    assert!(said.contains("`ftp://` is none of what a context comes from"), "{said}");
}

#[test]
fn a_named_context_goes_before_images_stages_and_its_shorter_names() {
    let bed = Bed::new();
    for name in ["one", "two"] {
        bed.work.write(&format!("{name}/{name}"), "");
    }
    let named =
        |name: &str, dir: &str| format!("--build-context={name}={}", bed.work.path(dir).display());
    let image = bed.work.context("image", "FROM busybox:latest\n");
    let full = bed.work.context("full", "FROM docker.io/library/busybox\n");
    for context in [&image, &full] {
        let found = bed.build(&[&named("busybox", "one"), path(context)], b"");
        assert_eq!(files(&found), ["one"]);
    }
    let platform = match std::env::consts::ARCH {
        "x86_64" => "linux/amd64",
        "aarch64" => "linux/arm64",
        other => return kiln_testkit::skipped(&format!("the platform of {other}")),
    };
    let exact = named(&format!("busybox::{platform}"), "two");
    let found = bed.build(&[&named("busybox", "one"), &exact, path(&image)], b"");
    assert_eq!(files(&found), ["two"]);
    let stage = "FROM nowhere.invalid/x AS dep\nRUN false\nFROM scratch\nCOPY --from=dep . /d/\n";
    let stage = bed.work.context("stage", stage);
    assert_eq!(files(&bed.build(&[&named("dep", "one"), path(&stage)], b"")), ["d/one"]);
    // A context may stand for the image of its own name: it is not looked up again.
    let dir = bed.work.context("own", "FROM scratch\nCOPY Dockerfile /own\n");
    bed.kiln.build(&dir).tag("self:latest").run();
    let own = bed.work.context("self", "FROM self\n");
    let found = bed.build(&["--build-context=self=docker-image://self", path(&own)], b"");
    assert_eq!(files(&found), ["own"]);
}

/// Where its step is nearly sure to run, and only there, a large file is copied before it is known that it does.
#[test]
fn a_large_file_is_copied_while_it_is_hashed() {
    let bed = Bed::new();
    let large = |size: usize| bed.work.write("large/file", "x".repeat((16 << 20) + size));
    let context = bed.work.path("large").display().to_string();
    let cache = format!("type=local,src={}", bed.work.path("cache").display());
    let export = format!("type=local,dest={}", bed.work.path("cache").display());
    let copies = |dockerfile: &str, arguments: &[&str]| {
        bed.work.write("large/Dockerfile", format!("FROM scratch\n{dockerfile}\n"));
        let mut command =
            bed.kiln.command(&["build", "--progress=plain", "--output=type=cacheonly"]);
        command.args(arguments).arg(&context).env("KILN_LOG", "kiln_cache=debug");
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.success(), !arguments.contains(&"--require-cached"), "{said}");
        said.contains("a large file is copied while it is hashed")
    };
    large(1);
    assert!(copies("COPY file /a", &["--cache-to", &export]), "the first");
    assert!(!copies("COPY file /a", &[]), "nothing has changed");
    large(1);
    assert!(!copies("COPY file /a", &[]), "it may only be touched");
    large(1);
    assert!(copies("COPY file /a", &["--no-cache"]));
    large(1);
    assert!(copies("COPY file /another", &[]), "a step that never ran");
    large(2);
    assert!(copies("COPY file /a", &[]), "another length");
    large(2);
    assert!(!copies("ADD file /a", &[]), "it might be an archive");
    large(3);
    assert!(!copies("COPY file /b", &["--require-cached"]));
    large(4);
    assert!(!copies("COPY file /b", &["--cache-from", &cache]));
}
