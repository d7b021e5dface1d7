//! What a repository's server says that it has, and which commit a name means.

use kiln_grammar::nearest;

/// The names that a repository has, with the objects that they lead to.
#[derive(Debug, Default)]
pub(super) struct Refs(Vec<(String, String)>);

/// A name as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// The commit's full name.
    pub(super) commit: String,
    /// The reference in full, `refs/heads/main`; or `HEAD`.
    pub(super) reference: String,
}

impl Refs {
    /// Reads what `git ls-remote` writes; lines of any other form are left out.
    pub(super) fn parse(listing: &[u8]) -> Self {
        let text = String::from_utf8_lossy(listing);
        let pairs = text.lines().filter_map(|line| line.split_once('\t'));
        let is_object =
            |id: &str| matches!(id.len(), 40 | 64) && id.bytes().all(|b| b.is_ascii_hexdigit());
        let pairs = pairs.filter(|(object, _)| is_object(object));
        Self(pairs.map(|(object, name)| (name.to_owned(), object.to_owned())).collect())
    }

    /// What a name means: as `git checkout` has it, a branch goes before a tag. Without a name it is the
    /// server's `HEAD`.
    pub(super) fn find(&self, name: Option<&str>) -> Option<Found> {
        let Some(name) = name else { return self.exact("HEAD") };
        let short = name.strip_prefix("refs/").unwrap_or(name);
        let candidates = [
            name.to_owned(),
            format!("refs/heads/{name}"),
            format!("refs/tags/{name}"),
            format!("refs/{short}"),
        ];
        candidates.iter().find_map(|candidate| self.exact(candidate))
    }

    fn exact(&self, reference: &str) -> Option<Found> {
        let object = |name: &str| self.0.iter().find(|(known, _)| known == name).map(|(_, o)| o);
        // An annotated tag is an object of its own; what it is of has the name with `^{}`.
        let commit = object(&format!("{reference}^{{}}")).or_else(|| object(reference))?;
        Some(Found { commit: commit.clone(), reference: reference.to_owned() })
    }

    /// The branch or tag whose name is most like `name`.
    pub(super) fn nearest(&self, name: &str) -> Option<String> {
        let wanted = short(name).unwrap_or(name);
        let known: Vec<&str> = (self.0.iter())
            .filter(|(name, _)| !name.ends_with("^{}"))
            .filter_map(|(name, _)| short(name))
            .collect();
        nearest(wanted, &known).map(str::to_owned)
    }
}

/// The name of a branch or a tag, without what all of them begin with.
fn short(full: &str) -> Option<&str> {
    full.strip_prefix("refs/heads/").or_else(|| full.strip_prefix("refs/tags/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refs() -> Refs {
        let id = |c: &str| c.repeat(40);
        let listing = format!(
            "{}\tHEAD\n{}\trefs/heads/main\n{}\trefs/heads/both\n{}\trefs/tags/both\n\
             {}\trefs/tags/v1\n{}\trefs/tags/v1^{{}}\n{}\trefs/pull/7/head\nwarning: x\nzz\tHEAD2\n",
            id("a"),
            id("a"),
            id("b"),
            id("c"),
            id("d"),
            id("e"),
            id("f"),
        );
        Refs::parse(listing.as_bytes())
    }

    #[test]
    fn names_mean_what_git_takes_them_for() {
        let refs = refs();
        for (name, found) in [
            (None, Some(("a", "HEAD"))),
            (Some("main"), Some(("a", "refs/heads/main"))),
            (Some("both"), Some(("b", "refs/heads/both"))),
            (Some("refs/tags/both"), Some(("c", "refs/tags/both"))),
            (Some("v1"), Some(("e", "refs/tags/v1"))),
            (Some("pull/7/head"), Some(("f", "refs/pull/7/head"))),
            (Some("HEAD"), Some(("a", "HEAD"))),
            (Some("HEAD2"), None),
            (Some("ain"), None),
        ] {
            let found = found.map(|(id, name): (&str, &str)| Found {
                commit: id.repeat(40),
                reference: name.to_owned(),
            });
            assert_eq!(refs.find(name), found, "{name:?}");
        }
        assert_eq!(refs.nearest("mian").as_deref(), Some("main"));
        assert_eq!(refs.nearest("refs/tags/v2").as_deref(), Some("v1"));
    }
}
