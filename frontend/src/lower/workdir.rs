//! `WORKDIR`: a setting, and a directory that is made at once, in a layer of its own.

use kiln_grammar::Workdir;
use kiln_ir::{FileAction, FileOp, GuestPath, Op, OwnerSpec};

use super::Scope;
use crate::expand::expand;
use crate::stage::{Change, Effect, Ground, Step};
use crate::{Diagnostic, Rule};

/// Lowers `WORKDIR`. An empty path is the present directory. The directory belongs to the current user. The
/// root always exists and gets no step.
pub(super) fn lower(workdir: &Workdir, scope: &Scope<'_>) -> Result<Effect, Diagnostic> {
    let written = expand(&workdir.path, &scope.state.environment)?;
    let path = GuestPath::resolve(&scope.state.cwd, &written).map_err(|error| {
        Diagnostic::error(Rule::InvalidPath, workdir.path.span, error.to_string())
    })?;
    // The config keeps the trailing slash of an absolute path, as the field's builders do.
    let keeps = written.starts_with('/') && written.ends_with('/') && !path.is_root();
    let text = format!("{path}{}", if keeps { "/" } else { "" });
    let user = &scope.state.config.config.user;
    let step = (!path.is_root()).then(|| Step {
        op: Op::File(FileOp {
            actions: vec![FileAction::Mkdir {
                path: path.clone(),
                mode: 0o755,
                owner: (!user.is_empty()).then(|| OwnerSpec(user.clone())),
            }],
        }),
        ground: Ground::Stage,
        inputs: Vec::new(),
    });
    let created_by = Some(format!("WORKDIR {text}"));
    Ok(Effect { created_by, changes: vec![Change::Workdir { text, path }], step })
}
