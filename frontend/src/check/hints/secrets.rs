//! Secrets in layers: files that by their names are none of the image's business.

use kiln_grammar::{FileSource, InstructionKind};

use super::super::Check;
use super::super::report::{Remark, Report};
use super::super::walk::Step;
use crate::expand::expand;

/// Names of files that hold secrets.
const NAMES: [&str; 9] = [
    ".env",
    ".netrc",
    ".pypirc",
    ".pgpass",
    ".git-credentials",
    "id_rsa",
    "id_dsa",
    "id_ecdsa",
    "id_ed25519",
];
/// What the names of others end in.
const ENDINGS: [&str; 5] = [".key", "key.pem", ".pfx", ".p12", ".kdbx"];

/// Checks what is copied from the context into the image. A stage below which the image does not stand may
/// hold secrets: it is thrown away.
pub(super) fn check(step: &Step<'_>, report: &mut Report) {
    let files = if let InstructionKind::Copy(copy) = step.kind() {
        &copy.files
    } else if let InstructionKind::Add(add) = step.kind() {
        &add.files
    } else {
        return;
    };
    let is_from_elsewhere =
        matches!(step.kind(), InstructionKind::Copy(copy) if copy.from.is_some());
    if is_from_elsewhere || !step.is_in_image {
        return;
    }
    for source in &files.sources {
        let FileSource::Path(word) = source else { continue };
        let Ok(path) = expand(word, &step.scope.state.environment) else { continue };
        let name = path.rsplit('/').next().unwrap_or_default();
        if is_secret(name) {
            let message =
                format!("`{name}` looks like a secret, and everybody who has the image has it");
            let remark = Remark::new(Check::SecretInLayer, word.span, message)
                .hint("give it to the step that needs it, by `RUN --mount=type=secret`")
                .hint("a later `RUN rm` does not take it out of the layer");
            report.say(&step.site, remark);
        }
    }
}

fn is_secret(name: &str) -> bool {
    let name = name.to_lowercase();
    let is_example = ["example", "sample", "template", "dist", "pub"]
        .iter()
        .any(|word| name.split(['.', '-', '_']).any(|part| part == *word));
    let is_named = NAMES.contains(&name.as_str()) || name.starts_with(".env.");
    !is_example && (is_named || ENDINGS.iter().any(|ending| name.ends_with(ending)))
}

#[cfg(test)]
mod tests {
    use super::is_secret;

    #[test]
    fn names_of_secret_files() {
        for name in [".env", ".env.production", "id_rsa", "server.key", "privkey.pem", "a.p12"] {
            assert!(is_secret(name), "{name}");
        }
        for name in
            [".env.example", "id_rsa.pub", "ca.pem", "keyboard.txt", "env", "public-key.pem.dist"]
        {
            assert!(!is_secret(name), "{name}");
        }
    }
}
