//! Debian's package manager: what one `RUN` must do together.

use kiln_grammar::{MountFlag, Run};

use super::super::Check;
use super::super::report::{Remark, Report};
use super::super::walk::Step;
use super::shell::Simple;

/// Where the lists of packages are kept.
const LISTS: &str = "/var/lib/apt/lists";

/// Checks the calls of one `RUN`.
pub(super) fn check(run: &Run, commands: &[Simple], step: &Step<'_>, report: &mut Report) {
    let calls = commands.iter().filter(|one| ["apt", "apt-get"].contains(&one.program()));
    let calls: Vec<&str> = calls.filter_map(|call| call.operands().next()).collect();
    let installs = ["install", "upgrade", "dist-upgrade", "full-upgrade", "build-dep"];
    let has_install = calls.iter().any(|call| installs.contains(call));
    let has_update = calls.contains(&"update");
    // Another program may call it: `xargs apt-get install`, say.
    let words = || commands.iter().flat_map(|one| &one.words);
    let may_install = words().any(|word| installs.contains(&word.as_str()));
    if has_update && !may_install {
        let message = "the lists of packages are cached apart from what is installed by them";
        let remark = Remark::new(Check::AptUpdateAlone, run.command.span, message)
            .hint("update and install in one `RUN`, or a later build installs by old lists");
        report.say(&step.site, remark);
    }
    let removes =
        |one: &Simple| one.program() == "rm" && one.words.iter().any(|w| w.starts_with(LISTS));
    let is_clean = calls.iter().any(|call| ["dist-clean", "distclean"].contains(call))
        || commands.iter().any(removes)
        || run.mounts.iter().any(covers_lists);
    if has_update && has_install && step.is_in_image && !is_clean {
        let message = "the lists of packages stay in the image";
        let remark = Remark::new(Check::AptListsKept, run.command.span, message).hint(format!(
            "end the `RUN` with `rm -rf {LISTS}/*`, or give it `--mount=type=cache,target={LISTS}`"
        ));
        report.say(&step.site, remark);
    }
}

fn covers_lists(mount: &MountFlag) -> bool {
    let targets = mount
        .options
        .iter()
        .filter(|one| ["target", "dst", "destination"].contains(&one.key.node.as_str()));
    targets.filter_map(|one| one.value.as_ref()).any(|value| {
        let target = value.raw.trim_end_matches('/');
        !target.is_empty() && LISTS.starts_with(target)
    })
}
