//! ADD from Git repositories, good and hostile, over HTTP from loopback.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use kiln_testkit::{Answer, Server};

use super::support::Work;
use super::support::build::{Build, Kiln};
use super::support::git::{Repository, serve, serve_with};
use super::support::image::Image;

/// A repository `app` with two commits, a branch `other` and a tag `v1`, and a server of it.
struct Bed {
    work: Work,
    app: Repository,
    server: Server,
    first: String,
}

impl Bed {
    fn new() -> Self {
        let work = Work::new();
        let app = Repository::new(&work, "repositories/app");
        app.write("README", "first\n");
        app.write("docs/page", "page\n");
        app.write("run.sh", "#!/bin/sh\n");
        fs::set_permissions(
            work.path("repositories/app/run.sh"),
            fs::Permissions::from_mode(0o755),
        )
        .unwrap();
        let first = app.commit();
        app.git(&["tag", "--annotate", "-m", "tagged", "v1"]);
        app.git(&["branch", "other"]);
        app.write("README", "second\n");
        app.commit();
        let server = serve(&work.path("repositories"));
        Self { work, app, server, first }
    }

    fn url(&self, more: &str) -> String {
        format!("{}{more}", self.server.url("/app.git"))
    }

    /// Builds an image of one ADD.
    fn add(&self, kiln: &Kiln, arguments: &str) -> Build {
        let text = format!("FROM scratch\nADD {arguments} /src\n");
        kiln.build(&self.work.context("context", &text))
    }

    /// The content of a file that an ADD of this source brings to `/src`.
    fn read(&self, arguments: &str, file: &str) -> String {
        let kiln = Kiln::at(self.work.path("store"));
        let out = self.work.path("out");
        let to = format!("--output=type=local,dest={}", out.display());
        self.add(&kiln, arguments).arg(to).run();
        fs::read_to_string(out.join("src").join(file)).unwrap()
    }
}

#[test]
fn a_reference_is_a_branch_a_tag_a_commit_or_the_head() {
    let bed = Bed::new();
    let first = &bed.first;
    for (more, expected) in [
        (String::new(), "second\n"),
        ("#main".to_owned(), "second\n"),
        ("#other".to_owned(), "first\n"),
        ("#v1".to_owned(), "first\n"),
        (format!("#{first}"), "first\n"),
        ("?branch=other".to_owned(), "first\n"),
        ("?tag=v1".to_owned(), "first\n"),
        (format!("?commit={first}"), "first\n"),
        (format!("?ref=v1&checksum={}", &first[..10]), "first\n"),
    ] {
        assert_eq!(bed.read(&bed.url(&more), "README"), expected, "{more}");
    }
    assert_eq!(bed.read(&bed.url("#main:docs"), "page"), "page\n");
    assert_eq!(bed.read(&bed.url("?subdir=docs"), "page"), "page\n");
}

#[test]
fn modes_and_owners_are_gits_and_git_is_left_out() {
    let bed = Bed::new();
    let layout = bed.work.path("layout");
    let kiln = Kiln::at(bed.work.path("store"));
    bed.add(&kiln, &bed.url("")).into_layout(&layout).at_epoch().run();
    let listing = Image::of(&layout).listing(0);
    for line in [
        "-rw-r--r--  0/0               7 1970-01-01 00:00 src/README",
        "-rwxr-xr-x  0/0              10 1970-01-01 00:00 src/run.sh",
        "drwxr-xr-x  0/0               0 1970-01-01 00:00 src/docs/",
    ] {
        assert!(listing.contains(line), "{listing}");
    }
    assert!(!listing.contains(".git"), "{listing}");
}

#[test]
fn an_unchanged_branch_keeps_everything_cached_and_a_commit_needs_no_server() {
    let bed = Bed::new();
    let kiln = Kiln::at(bed.work.path("store"));
    let url = bed.url("");
    assert_eq!(bed.add(&kiln, &url).run().ran().len(), 1);
    let before = bed.server.asked().len();
    assert!(bed.add(&kiln, &url).run().ran().is_empty());
    assert!(bed.server.asked().len() - before <= 2, "only what there is is asked");
    bed.app.write("README", "third\n");
    bed.app.commit();
    assert_eq!(bed.add(&kiln, &url).run().ran().len(), 1);
    let pinned = bed.url(&format!("#{}", bed.first));
    bed.add(&kiln, &pinned).run();
    let before = bed.server.asked().len();
    assert!(bed.add(&kiln, &pinned).run().ran().is_empty());
    assert_eq!(bed.server.asked().len(), before);
}

#[test]
fn the_repository_is_kept_when_that_is_asked_for() {
    let bed = Bed::new();
    for (name, arguments) in [
        ("flag", format!("--keep-git-dir=true {}", bed.url("#other"))),
        ("address", bed.url("?ref=other&keep-git-dir=1")),
    ] {
        let kiln = Kiln::at(bed.work.path(name));
        let out = bed.work.path(&format!("{name}-out"));
        let to = format!("--output=type=local,dest={}", out.display());
        bed.add(&kiln, &arguments).arg(to).run();
        let source = out.join("src").display().to_string();
        let git = |arguments: &[&str]| {
            let trusted = ["-c", "safe.directory=*", "-C", &source];
            bed.app.git(&[&trusted, arguments].concat())
        };
        assert_eq!(git(&["rev-parse", "HEAD"]), bed.first);
        assert_eq!(git(&["status", "--porcelain"]), "");
        assert_eq!(git(&["config", "remote.origin.url"]), bed.url(""));
    }
}

#[test]
fn what_is_not_there_is_told_with_what_is() {
    let bed = Bed::new();
    let kiln = Kiln::at(bed.work.path("store"));
    let fails = |source: &str, code: i32| {
        let said = bed.add(&kiln, source).fails(code);
        assert!(said.contains("Dockerfile:2"), "{said}");
        said
    };
    assert!(fails(&bed.url("#othr"), 4).contains("did you mean `other`?"));
    let short = &bed.first[..10];
    assert!(fails(&bed.url(&format!("#{short}")), 4).contains("named by all of its digits"));
    let said = fails(&bed.url("?ref=main&checksum=abcdef0"), 1);
    assert!(said.contains("not abcdef0"), "{said}");
    assert!(fails(&bed.url("#main:nowhere"), 1).contains("no directory `nowhere`"));
    assert!(fails(&bed.url("#main:README"), 1).contains("no directory `README`"));
    fails(&bed.server.url("/none.git"), 5);
    fails("http://127.0.0.1:1/r.git", 5);
}

#[test]
fn a_token_is_for_its_host_and_is_not_sent_along_a_redirect() {
    let bed = Bed::new();
    let private = serve_with(&bed.work.path("repositories"), |asked| {
        // x-access-token:hunter2
        let known = asked.header("authorization") == Some("Basic eC1hY2Nlc3MtdG9rZW46aHVudGVyMg==");
        (!known).then(|| Answer::status(401).header("WWW-Authenticate", "Basic realm=x"))
    });
    let kiln = Kiln::at(bed.work.path("store"));
    let url = private.url("/app.git");
    let said = bed.add(&kiln, &url).fails(5);
    assert!(said.contains("--secret id=GIT_AUTH_TOKEN"), "{said}");
    let token = bed.work.write("token", "hunter2\n");
    let secret = |id: &str| format!("--secret=id={id},src={}", token.display());
    bed.add(&kiln, &url).arg(secret("GIT_AUTH_TOKEN")).run();
    let other = Kiln::at(bed.work.path("other"));
    bed.add(&other, &url).arg(secret("GIT_AUTH_TOKEN.127.0.0.1")).run();

    let target = bed.url("");
    let moved = Server::start(move |asked| {
        let rest = asked.target.split_once(".git").unwrap().1;
        Answer::status(301).header("Location", &format!("{target}{rest}"))
    });
    let before = bed.server.asked().len();
    let said = bed.add(&other, &moved.url("/app.git")).arg(secret("GIT_AUTH_TOKEN")).fails(5);
    assert!(!said.contains("hunter2") && !said.contains("aHVudGVyMg"), "{said}");
    assert_eq!(bed.server.asked().len(), before, "nobody else was asked");
    bed.add(&other, &moved.url("/app.git")).run();
}

#[test]
fn submodules_are_checked_out_unless_they_are_not_wanted() {
    let bed = Bed::new();
    let library = Repository::new(&bed.work, "repositories/library");
    library.write("code", "code\n");
    let commit = library.commit();
    let inner = Repository::new(&bed.work, "repositories/inner");
    inner.submodule("lib", "../library.git", &commit);
    let inner_commit = inner.git(&["rev-parse", "HEAD"]);
    bed.app.submodule("deps/inner", &bed.server.url("/inner.git"), &inner_commit);
    assert_eq!(bed.read(&bed.url(""), "deps/inner/lib/code"), "code\n");
    let layout = bed.work.path("layout");
    let kiln = Kiln::at(bed.work.path("without"));
    bed.add(&kiln, &bed.url("?submodules=false")).into_layout(&layout).run();
    let names = Image::of(&layout).names(0);
    assert!(!names.iter().any(|name| name.contains("lib")), "{names:?}");
}

#[test]
fn submodules_reach_nothing_but_servers() {
    let bed = Bed::new();
    let marker = bed.work.path("marker");
    let kiln = Kiln::at(bed.work.path("store"));
    let local = bed.work.path("repositories/app").display().to_string();
    for address in [
        format!("ext::sh -c touch% {}", marker.display()),
        format!("file://{local}"),
        local,
        format!("-u./touch {}", marker.display()),
        format!("ssh://-oProxyCommand=touch${{IFS}}{}/x", marker.display()),
    ] {
        let hostile = Repository::new(&bed.work, "repositories/hostile");
        hostile.submodule("sub", &address, &bed.first);
        let said = bed.add(&kiln, &bed.server.url("/hostile.git")).fails(1);
        assert!(said.contains("is not an address to fetch from"), "{said}");
        assert!(said.contains("?submodules=false"), "{said}");
        assert!(!marker.exists(), "{address}");
        fs::remove_dir_all(bed.work.path("repositories/hostile")).unwrap();
    }
}

#[test]
fn crafted_trees_write_nothing_outside() {
    let bed = Bed::new();
    let kiln = Kiln::at(bed.work.path("store"));
    let outside = bed.work.path("outside");
    fs::create_dir(&outside).unwrap();
    let hostile = Repository::new(&bed.work, "repositories/hostile");
    let blob = hostile.object("blob", b"#!/bin/sh\ntouch /hooked\n");
    let link = hostile.object("blob", outside.to_str().unwrap().as_bytes());
    let tree = |entries: &[(&str, &str, &str)]| {
        hostile.commit_tree(entries);
        hostile.git(&["rev-parse", "main^{tree}"])
    };
    let file = tree(&[("100644", "file", &blob)]);
    let hooks = tree(&[("100755", "post-checkout", &blob)]);
    let dot_git = tree(&[("40000", "hooks", &hooks)]);
    for entries in [
        vec![("100644", "..", blob.as_str())],
        vec![("40000", "..", file.as_str())],
        vec![("40000", ".git", dot_git.as_str())],
        vec![("40000", ".GIT", dot_git.as_str())],
        vec![("40000", "git~1", dot_git.as_str())],
        vec![("100644", "a/../../b", blob.as_str())],
    ] {
        hostile.commit_tree(&entries);
        let said = bed.add(&kiln, &bed.server.url("/hostile.git")).fails(5);
        assert!(said.contains("invalid path"), "{entries:?}: {said}");
    }
    // A link and a directory of one name: whichever git takes, nothing follows the link.
    hostile.commit_tree(&[("120000", "a", &link), ("40000", "a", &file)]);
    let text = format!("FROM scratch\nADD {} /src\n", bed.server.url("/hostile.git"));
    let context = bed.work.context("both", &text);
    let ended = kiln.command(&["build", context.to_str().unwrap()]).output().unwrap();
    assert!(ended.status.code().is_some());
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    // A link by itself is a link.
    hostile.commit_tree(&[("120000", "a", &link)]);
    let layout = bed.work.path("layout");
    bed.add(&kiln, &bed.server.url("/hostile.git")).into_layout(&layout).run();
    assert!(Image::of(&layout).listing(0).contains("src/a -> "));
    let said = bed.add(&kiln, &format!("{}#main:a", bed.server.url("/hostile.git"))).fails(1);
    assert!(said.contains("no directory `a`"), "{said}");
}

#[test]
fn nothing_of_the_users_configuration_counts() {
    let bed = Bed::new();
    let marker = bed.work.path("marker");
    let touch = format!("touch {}", marker.display());
    bed.app.write(".gitattributes", "* filter=hostile\n");
    bed.app.commit();
    let hook = bed.work.write("hooks/post-checkout", format!("#!/bin/sh\n{touch}\n"));
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    let hooks = hook.parent().unwrap().display().to_string();
    // The home directory of `Kiln` is the one that its store is in.
    bed.work.write(
        ".gitconfig",
        format!(
            "[core]\n\thooksPath = {hooks}\n\tfsmonitor = {touch}\n\tsshCommand = {touch}\n\
             [filter \"hostile\"]\n\tsmudge = {touch}\n\trequired = true\n\
             [init]\n\ttemplateDir = {hooks}\n\
             [url \"http://127.0.0.1:1/\"]\n\tinsteadOf = {}\n",
            bed.server.url("/")
        ),
    );
    assert_eq!(bed.read(&bed.url(""), "README"), "second\n");
    assert!(!marker.exists());
}
