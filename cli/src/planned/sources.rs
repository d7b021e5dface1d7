//! What is fetched, in the reference's terms.

use kiln_ir::{GitSource, HttpSource};
use serde_json::{Value, json};

use super::prune;

/// A download.
pub(super) fn http_source(http: &HttpSource) -> Value {
    let attrs = json!({"http.checksum": http.checksum, "http.filename": http.filename});
    prune(json!({"id": http.url, "attrs": prune(attrs)}))
}

/// A commit. The reference names a repository without its scheme, and says which secrets and which agent may be
/// used for it.
pub(super) fn git_source(git: &GitSource) -> Value {
    let (scheme, place) = git.remote.split_once("://").unwrap_or(("ssh", git.remote.as_str()));
    let place = place.split_once('@').map_or(place, |(_, place)| place);
    let place =
        if git.remote.contains("://") { place.to_owned() } else { place.replacen(':', "/", 1) };
    let subdir = git.subdir.relative();
    let fragment = match (git.reference.as_deref().unwrap_or_default(), subdir) {
        ("", "") => String::new(),
        (reference, "") => format!("#{reference}"),
        (reference, subdir) => format!("#{reference}:{subdir}"),
    };
    let on = |flag: bool| if flag { "true" } else { "" };
    let mut attrs = json!({
        "git.checksum": git.checksum,
        "git.fullurl": git.remote,
        "git.keepgitdir": on(git.keep_git_dir),
        "git.skipsubmodules": on(!git.submodules),
    });
    match scheme {
        "http" | "https" => {
            attrs["git.authheadersecret"] = json!("GIT_AUTH_HEADER");
            attrs["git.authtokensecret"] = json!("GIT_AUTH_TOKEN");
        }
        "ssh" => attrs["git.mountsshsock"] = json!("default"),
        _ => {}
    }
    prune(json!({"id": format!("git://{place}{fragment}"), "attrs": prune(attrs)}))
}
