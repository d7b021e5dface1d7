//! `COPY --link`: a copy that does not look at what is below.

use super::support::build::Kiln;
use super::support::image::Image;
use super::support::{Work, bases, is_root};

const DOCKERFILE: &str = "\
FROM base
ARG GROUND=one
RUN mkdir /real && echo $GROUND > /real/ground && ln -s real /place
COPY --link file /place/file
RUN test ! -L /place && test ! -e /real/file && cat /place/file
";

#[test]
fn a_linked_copy_replaces_links_and_outlives_what_is_below() {
    if !is_root() {
        return;
    }
    let Some(base) = bases::busybox() else { return };
    let work = Work::new();
    let base = work.copy(&base, "base");
    let kiln = Kiln::at(work.path("store"));
    work.write("ctx/file", "text\n");
    let context = work.context("ctx", DOCKERFILE);
    let build = || kiln.build(&context).layout("base", &base).at_epoch();
    let (first, second) = (work.path("first"), work.path("second"));
    let steps = build().into_layout(&first).run();
    assert_eq!(steps.said("cat /place/file"), "text\n");

    // Another ground: its copy need not be made again, and is the same layer.
    let steps = build().arg("--build-arg=GROUND=two").into_layout(&second).run();
    let ran = steps.ran();
    assert!(!ran.iter().any(|step| step.contains("COPY")), "{ran:?}");
    assert_eq!(ran.len(), 2, "{ran:?}");
    let (first, second) = (Image::of(&first), Image::of(&second));
    let last = first.layers().len() - 2;
    assert_eq!(first.layers()[last], second.layers()[last]);
    assert_ne!(first.layers()[last - 1], second.layers()[last - 1]);
    work.assert_no_mounts();
}
