//! Forms of addresses, and what is refused.

use super::*;

fn git(text: &str) -> GitAddress {
    match parse_address(text) {
        Ok(Some(Address::Git(git))) => git,
        other => panic!("{text}: {other:?}"),
    }
}

/// `remote|reference|checksum|subdir`, with `-` for what is not said.
fn summary(git: &GitAddress) -> String {
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let (reference, checksum) = (or_dash(&git.reference), or_dash(&git.checksum));
    format!("{}|{reference}|{checksum}|{}", git.remote, git.subdir)
}

fn refused(text: &str) -> String {
    parse_address(text).expect_err(text).to_string()
}

#[test]
fn repositories_are_told_from_files_and_paths() {
    for text in [
        "https://h/r.git",
        "http://h/a/r.git?ref=x",
        "HTTPS://h/r.git#x",
        "ssh://git@h/r",
        "git://h/r",
        "git@h.example:a/r.git",
        "user-1@h:r",
    ] {
        assert!(matches!(parse_address(text), Ok(Some(Address::Git(_)))), "{text}");
    }
    for text in ["https://h/r", "http://h/r.git/x", "https://h/x?y=.git", "https://h/x#.git"] {
        assert!(matches!(parse_address(text), Ok(Some(Address::Http(_)))), "{text}");
    }
    for text in ["r.git", "./git@h:x", "a@b", "a b@h:x", "github.com/u/r.git", "file:///x", "x:y"] {
        assert_eq!(parse_address(text), Ok(None), "{text}");
    }
}

#[test]
fn the_short_form_is_for_contexts_alone() {
    let Ok(Some(Address::Git(git))) = parse_context_address("github.com/u/r#v1:docs") else {
        panic!("no repository");
    };
    assert_eq!(summary(&git), "https://github.com/u/r|v1|-|/docs");
}

#[test]
fn fragment_and_query_say_what_is_wanted() {
    for (text, expected) in [
        ("https://h/r.git", "https://h/r.git|-|-|/"),
        ("HTTPS://h/r.git", "https://h/r.git|-|-|/"),
        ("https://h/r.git#v1", "https://h/r.git|v1|-|/"),
        ("https://h/r.git#v1:a/b/", "https://h/r.git|v1|-|/a/b"),
        ("https://h/r.git#:../../b", "https://h/r.git|-|-|/b"),
        ("git@h:a/r.git#v1:a", "git@h:a/r.git|v1|-|/a"),
        ("ssh://git@h:22/r#v1", "ssh://git@h:22/r|v1|-|/"),
        ("https://h/r.git?ref=v1&subdir=a", "https://h/r.git|v1|-|/a"),
        ("https://h/r.git?tag=v1", "https://h/r.git|refs/tags/v1|-|/"),
        ("https://h/r.git?tag=refs/tags/v1", "https://h/r.git|refs/tags/v1|-|/"),
        ("https://h/r.git?branch=a%2Fb", "https://h/r.git|refs/heads/a/b|-|/"),
        ("https://h/r.git?ref=v1#v1:a", "https://h/r.git|v1|-|/a"),
        ("https://h/r.git?commit=ABCD", "https://h/r.git|ABCD|abcd|/"),
        ("https://h/r.git?ref=v1&checksum=abcd", "https://h/r.git|v1|abcd|/"),
        ("git@h:r?ref=v1#:a", "git@h:r|v1|-|/a"),
    ] {
        assert_eq!(summary(&git(text)), expected, "{text}");
    }
}

#[test]
fn switches_are_on_without_a_value() {
    let of = |text: &str| {
        let git = git(text);
        (git.keep_git_dir, git.submodules)
    };
    assert_eq!(of("https://h/r.git"), (None, None));
    assert_eq!(of("https://h/r.git?keep-git-dir&submodules="), (Some(true), Some(true)));
    assert_eq!(of("https://h/r.git?keep-git-dir=0&submodules=False"), (Some(false), Some(false)));
    assert!(git("https://h/r.git?keep-git-dir=1").source(false).keep_git_dir);
    assert!(git("https://h/r.git").source(true).keep_git_dir);
    assert!(git("https://h/r.git").source(false).submodules);
}

#[test]
fn mistakes_are_named() {
    for (text, message) in [
        ("https://h/r.git?refs=v1", "no parameter `refs`"),
        ("https://h/r.git?ref=", "`ref` has no value"),
        ("https://h/r.git?ref=a&ref=a", "`ref` is given twice"),
        ("https://h/r.git?ref=a#b", "`b` and `a` exclude each other"),
        ("https://h/r.git?tag=a&branch=a", "`refs/tags/a` and `refs/heads/a` exclude each other"),
        ("https://h/r.git?subdir=a#:b", "`b` and `a` exclude each other"),
        ("https://h/r.git?submodules=2", "`submodules` is `2`"),
        ("https://h/r.git?checksum=xyz", "`xyz` is not the name of a commit"),
        ("https://h/r.git?subdir=%00", "is not a directory"),
    ] {
        assert!(refused(text).contains(message), "{text}: {}", refused(text));
    }
}

#[test]
fn nothing_can_be_taken_for_an_option_or_a_refspec() {
    for text in [
        "-oProxyCommand=x@h:r",
        "-x@h:r",
        "git@-oProxyCommand=x:r",
        "--@h:r://x",
        "-x@h:a@b:c",
        "git@-oX:a@b",
        "git@-oX:r://h/x",
        "ssh:///-oProxyCommand=x/r",
        "ssh://-oX@h/r",
        "ssh://-oProxyCommand=x/r",
        "ssh://u@-oProxyCommand=x/r",
        "git://-x/r",
        "https://h/a b.git",
    ] {
        // Either no address at all, or a wrong one.
        assert!(!matches!(parse_address(text), Ok(Some(_))), "{text}");
    }
    for name in [
        "-x",
        "--upload-pack=x",
        "+a",
        "a:b",
        "a..b",
        "a b",
        "^a",
        "a^",
        "a~1",
        "a*",
        "a\n",
        ".a",
        "a/.b",
        "a.lock",
        "/a",
        "a//b",
        "a@{1}",
        "@",
        "a\\b",
    ] {
        let quoted: String = name.bytes().map(|byte| format!("%{byte:02x}")).collect();
        for text in
            [format!("https://h/r.git?ref={quoted}"), format!("https://h/r.git?commit={quoted}")]
        {
            assert!(refused(&text).contains("cannot be a branch"), "{text}");
        }
    }
}

#[test]
fn a_file_is_named_by_the_path() {
    for (url, name) in [
        ("https://h/a/b.tar.gz", "b.tar.gz"),
        ("https://h/a/b?c=/d#e", "b"),
        ("https://h/a%20b", "a b"),
        ("https://h/a%2Fb", "b"),
        ("https://h/a/", "a"),
        ("https://h/", UNNAMED),
        ("https://h", UNNAMED),
        ("https://h/..", UNNAMED),
        ("https://h/%00", UNNAMED),
        ("http://0.0.0.0:/README.md", "README.md"),
    ] {
        let Ok(Some(Address::Http(http))) = parse_address(url) else { panic!("{url}") };
        assert_eq!(http.filename, name, "{url}");
        assert_eq!(http.url, url);
        assert_eq!(http.mode, 0o600);
    }
}

#[test]
fn secrets_are_not_shown() {
    for (address, shown) in [
        ("https://u:p@h/x?token=t#f", "https://h/x?…"),
        ("https://h/x", "https://h/x"),
        ("https://u@h", "https://h"),
        ("git@h:r.git", "git@h:r.git"),
    ] {
        assert_eq!(redact(address), shown);
    }
}
