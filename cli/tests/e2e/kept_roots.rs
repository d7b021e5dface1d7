//! Commands that change nothing, one after the other, in one root filesystem.

use kiln_testkit::Account;

use super::support::build::Kiln;
use super::support::{Work, bases};

/// `/` as a command sees it: equal inode numbers are one directory, and steps that follow each other have two otherwise.
const DOCKERFILE: &str = r#"FROM base
RUN true
RUN stat -c 'first %i' /
RUN stat -c 'second %i' /
RUN --mount=type=tmpfs,target=/mem stat -c 'with a mount %i' /
RUN stat -c 'third %i' /
RUN chmod 711 /
RUN stat -c 'mode %a' /
RUN touch -d '2001-01-01 00:00' /
RUN stat -c 'time %y' /
RUN echo new > /new; test -e /mem || echo no mount point
RUN cat /new; mkdir /gone; rmdir /gone; stat -c 'fourth %i' /
RUN ! ls /gone; stat -c 'fifth %i' /
"#;

fn check(work: &Work, kiln: &Kiln) {
    let Some(base) = bases::busybox() else { return };
    let context = work.context("context", DOCKERFILE);
    let steps = kiln.build(&context).layout("base", &base).run();
    let inode = |step: &str| {
        let said = steps.said(&format!("RUN stat -c '{step} "));
        said.split_whitespace().last().unwrap().to_owned()
    };
    assert_eq!(inode("first"), inode("second"), "the root is kept");
    assert_eq!(inode("first"), inode("third"), "also past a command that needs another");
    let mounted = steps.said("with a mount");
    assert_ne!(mounted.split_whitespace().last().unwrap(), inode("first"));
    assert_eq!(steps.said("'mode"), "mode 755\n");
    assert!(!steps.said("'time").contains("2001"), "{}", steps.said("'time"));
    assert_eq!(steps.said("RUN echo new"), "no mount point\n");
    let fourth = steps.said("RUN cat /new");
    assert!(fourth.starts_with("new\n"), "{fourth}");
    let fifth = steps.said("RUN ! ls /gone");
    let last = |said: &str| said.split_whitespace().last().unwrap().to_owned();
    assert_ne!(last(&fourth), last(&fifth), "something was made in it, and removed");
    assert!(kiln.build(&context).layout("base", &base).run().ran().is_empty());
    work.assert_no_mounts();
    let found = kiln.print(&["system", "check"]);
    assert!(found.lines().all(|line| line.ends_with(" 0 wrong")), "{found}");
}

#[test]
fn a_root_goes_from_command_to_command() {
    let work = Work::new();
    let kiln = Kiln::at(work.path("store"));
    check(&work, &kiln);
}

#[test]
fn a_root_goes_from_command_to_command_of_an_ordinary_user() {
    let Some(account) = Account::new("kept-roots") else { return };
    let work = Work::new();
    let kiln = Kiln::of_account(&account, &work);
    check(&work, &kiln);
}
