//! Instructions that set one thing in the image's config: `USER`, `VOLUME`, `ONBUILD`, `MAINTAINER`.

use kiln_grammar::{Maintainer, Onbuild, User, Volume};

use super::Scope;
use crate::expand::expand;
use crate::gotext::plain_list;
use crate::stage::{Change, Effect};
use crate::{Diagnostic, Rule};

/// Lowers `USER`.
pub(super) fn lower_user(user: &User, scope: &Scope<'_>) -> Result<Effect, Diagnostic> {
    let user = expand(&user.user, &scope.state.environment)?;
    Ok(Effect::of(format!("USER {user}"), vec![Change::User(user)]))
}

/// Lowers `VOLUME`.
pub(super) fn lower_volume(volume: &Volume, scope: &Scope<'_>) -> Result<Effect, Vec<Diagnostic>> {
    let mut paths = Vec::new();
    let mut errors = Vec::new();
    for word in &volume.paths {
        match expand(word, &scope.state.environment) {
            Ok(path) if path.is_empty() => {
                let message = format!("the volume `{}` comes out empty", word.raw);
                errors.push(Diagnostic::error(Rule::InvalidPath, word.span, message));
            }
            Ok(path) => paths.push(path),
            Err(error) => errors.push(error),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    Ok(Effect::of(format!("VOLUME {}", plain_list(&paths)), vec![Change::Volumes(paths)]))
}

/// Lowers `ONBUILD`, which leaves no line in the history.
pub(super) fn lower_onbuild(onbuild: &Onbuild) -> Effect {
    Effect { changes: vec![Change::Trigger(onbuild.stored.clone())], ..Effect::default() }
}

/// Lowers `MAINTAINER`.
pub(super) fn lower_maintainer(maintainer: &Maintainer) -> Effect {
    let name = maintainer.name.clone();
    Effect::of(format!("MAINTAINER {name}"), vec![Change::Author(name)])
}
