//! Files put together by `INCLUDE`.

use super::support::build::Kiln;
use super::support::image::Image;
use super::support::{Work, bases, is_root};

const DOCKERFILE: &str = "\
# syntax=kiln
INCLUDE build/versions
FROM base
INCLUDE build/user
RUN echo $VERSION > /version
CMD [\"cat\", \"/version\"]
";

#[test]
fn included_lines_count_as_the_files_own() {
    if !is_root() {
        return;
    }
    let Some(base) = bases::busybox() else { return };
    let work = Work::new();
    let base = work.copy(&base, "base");
    let kiln = Kiln::at(work.path("store"));
    work.write("ctx/build/versions", "ARG VERSION=7\n");
    work.write(
        "ctx/build/user",
        "ARG VERSION\nENV BUILT_FOR=tests\nRUN mkdir /made\nINCLUDE build/more\n",
    );
    work.write("ctx/build/more", "RUN touch /made/more\n");
    // As the Dockerfile itself, an included file may be kept out of the context.
    work.write("ctx/.dockerignore", "build\n");
    let context = work.context("ctx", DOCKERFILE);
    let layout = work.path("layout");
    let build = || kiln.build(&context).layout("base", &base).tag("included").at_epoch();

    let steps = build().into_layout(&layout).run();
    assert_eq!(steps.ran().len(), 4, "{steps:?}");
    let image = Image::of(&layout);
    assert_eq!(
        image.config["config"]["Env"].as_array().unwrap().last().unwrap(),
        "BUILT_FOR=tests"
    );

    // The same text in one file is the same build.
    let whole = "ARG VERSION=7\nFROM base\nARG VERSION\nENV BUILT_FOR=tests\nRUN mkdir /made\n\
        RUN touch /made/more\nRUN echo $VERSION > /version\nCMD [\"cat\", \"/version\"]\n";
    let single = work.context("single", whole);
    let again = kiln.build(&single).layout("base", &base).tag("single").at_epoch().run();
    assert_eq!(again.ran(), Vec::<&str>::new());
    assert_eq!(kiln.digest("single"), kiln.digest("included"));

    // A change of an included file moves the steps that it changes.
    work.write("ctx/build/more", "RUN touch /made/another\n");
    assert_eq!(build().run().ran()[0], "[3/4] RUN touch /made/another");
    work.assert_no_mounts();
}
