//! What `ADD` fetches: files by HTTP and the files of commits.

use kiln_grammar::{Add, Span};
use kiln_ir::SourceOp;

use super::Scope;
use crate::address::{Address, AddressError, PARAMETERS, commit_prefix, parse_address};
use crate::expand::expand;
use crate::{Diagnostic, Rule};

/// Algorithms of checksums, with the hexadecimal digits that each gives.
const ALGORITHMS: [(&str, usize); 3] = [("sha256", 64), ("sha384", 96), ("sha512", 128)];

/// What an `ADD` says of fetching.
#[derive(Debug)]
pub(super) struct Fetching {
    checksum: Option<(String, Span)>,
    keep_git_dir: Option<bool>,
    unpack: bool,
}

/// Something to be fetched.
pub(super) struct Fetched {
    /// What fetches it.
    pub(super) source: SourceOp,
    /// Where it is in what was fetched.
    pub(super) path: String,
    /// Whether it is unpacked if it is an archive.
    pub(super) unpack: bool,
}

impl Fetching {
    /// Reads the flags; a checksum that nothing can be checked against is an error.
    pub(super) fn of(add: &Add, scope: &Scope<'_>) -> Result<Self, Diagnostic> {
        let checksum = match &add.checksum {
            None => None,
            Some(word) => Some((expand(word, &scope.state.environment)?, word.span)),
        };
        let checksum = checksum.filter(|(text, _)| !text.is_empty());
        if let Some((_, span)) = &checksum
            && add.files.sources.len() != 1
        {
            let message = "a checksum is of one source, and there are several";
            return Err(Diagnostic::error(Rule::InvalidChecksum, *span, message)
                .hint("write an `ADD` for each of them"));
        }
        let unpack = add.unpack.unwrap_or(false);
        Ok(Self { checksum, keep_git_dir: add.keep_git_dir, unpack })
    }
}

/// What a source names on a network; nothing for a path. Without `fetching` an address is an error.
pub(super) fn fetched(
    text: &str,
    span: Span,
    fetching: Option<&Fetching>,
) -> Result<Option<Fetched>, Diagnostic> {
    let address = parse_address(text).map_err(|error| invalid(&error, span))?;
    match (address, fetching) {
        (None, Some(Fetching { checksum: Some((_, span)), .. })) => {
            let message = "a checksum is of a download or a commit, and this is a file at hand";
            Err(Diagnostic::error(Rule::InvalidChecksum, *span, message).hint(
                "leave `--checksum` out: files of the context are compared by content anyway",
            ))
        }
        (None, _) => Ok(None),
        (Some(_), None) => {
            let message = "`COPY` takes nothing from a network";
            Err(Diagnostic::error(Rule::InvalidAddress, span, message).hint("`ADD` does"))
        }
        (Some(address), Some(fetching)) => fetch(address, span, fetching).map(Some),
    }
}

fn fetch(address: Address, span: Span, fetching: &Fetching) -> Result<Fetched, Diagnostic> {
    match address {
        Address::Http(mut http) => {
            let path = format!("/{}", http.filename);
            http.checksum =
                fetching.checksum.as_ref().map(|(text, span)| checksum(text, *span)).transpose()?;
            Ok(Fetched { source: SourceOp::Http(http), path, unpack: fetching.unpack })
        }
        Address::Git(mut git) => {
            agree("--keep-git-dir", fetching.keep_git_dir, git.keep_git_dir, span)?;
            if let Some((text, at)) = &fetching.checksum {
                let given = commit_prefix(text).map_err(|error| bad_checksum(&error, *at))?;
                agree("--checksum", Some(&given), git.checksum.as_ref(), span)?;
                git.checksum = Some(given);
            }
            let source = SourceOp::Git(git.source(fetching.keep_git_dir.unwrap_or(false)));
            Ok(Fetched { source, path: "/".to_owned(), unpack: false })
        }
    }
}

/// What a flag and an address say of the same thing must be the same.
fn agree<T: PartialEq>(
    flag: &str,
    by_flag: Option<T>,
    by_address: Option<T>,
    span: Span,
) -> Result<(), Diagnostic> {
    match (by_flag, by_address) {
        (Some(one), Some(other)) if one != other => {
            let message = format!("`{flag}` says another thing than the address");
            Err(Diagnostic::error(Rule::InvalidAddress, span, message).hint("give one of the two"))
        }
        _ => Ok(()),
    }
}

/// `ALGORITHM:HEX`.
fn checksum(text: &str, span: Span) -> Result<String, Diagnostic> {
    let error = |message: String| Diagnostic::error(Rule::InvalidChecksum, span, message);
    let Some((algorithm, digits)) = text.split_once(':') else {
        return Err(error(format!("`{text}` is not a checksum")).hint("write `sha256:` before it"));
    };
    let Some((_, length)) = ALGORITHMS.iter().find(|(name, _)| *name == algorithm) else {
        let names = ALGORITHMS.map(|(name, _)| name);
        let unknown = error(format!("`{algorithm}` is not a checksum's algorithm that is known"));
        return Err(match kiln_grammar::nearest(algorithm, &names) {
            Some(near) => unknown.hint(format!("did you mean `{near}`?")),
            None => unknown.hint("known are `sha256`, `sha384` and `sha512`"),
        });
    };
    let is_lower_hex = digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if digits.len() != *length || !is_lower_hex {
        let message = format!(
            "a checksum of {algorithm} has {length} lower-case hexadecimal digits, and this has {}",
            digits.len()
        );
        return Err(error(message));
    }
    Ok(text.to_owned())
}

fn bad_checksum(error: &AddressError, span: Span) -> Diagnostic {
    Diagnostic::error(Rule::InvalidChecksum, span, error.to_string())
        .hint("the checksum of a repository is the commit that its reference must lead to")
}

fn invalid(error: &AddressError, span: Span) -> Diagnostic {
    let diagnostic = Diagnostic::error(Rule::InvalidAddress, span, error.to_string());
    match error {
        AddressError::UnknownParameter { key } => diagnostic.suggest(key, &PARAMETERS),
        AddressError::Reference { .. }
        | AddressError::Remote { .. }
        | AddressError::Commit { .. }
        | AddressError::Subdir { .. }
        | AddressError::NoValue { .. }
        | AddressError::Twice { .. }
        | AddressError::NotBool { .. }
        | AddressError::Conflict { .. } => diagnostic,
    }
}
