//! The documents of the archive that `docker save` writes and `docker load` reads.
//!
//! Such an archive is a tar file with a `manifest.json` that names its other files. Kiln writes blobs
//! under the names that they have in an OCI layout, so that one archive can be both.

use serde::{Deserialize, Serialize};

use crate::manifest::check_size;
use crate::{ImageError, ImageRef};

/// The file that lists the images.
pub const MANIFEST_NAME: &str = "manifest.json";

/// The most images that an archive may list, and the most layers of one.
const MAX_ITEMS: usize = 10_000;

/// One image in a `docker save` archive. The paths are names of the archive's files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SavedImage {
    /// The image config's path.
    pub config: String,
    /// The image's names; untagged images have none.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub repo_tags: Vec<String>,
    /// The layers' paths, lowest first; plain or compressed archives.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub layers: Vec<String>,
}

/// Writes [`MANIFEST_NAME`]: compact JSON, the same for the same value.
#[must_use]
pub fn to_bytes(images: &[SavedImage]) -> Vec<u8> {
    serde_json::to_vec(images).expect("strings and lists of them are representable in JSON")
}

/// Reads [`MANIFEST_NAME`]. Paths come out relative and without `..`; names come out as they are.
///
/// # Errors
///
/// Fails on a document that is too large or of another shape, and on paths that lead out of the archive.
pub fn parse(bytes: &[u8]) -> Result<Vec<SavedImage>, ImageError> {
    const DOCUMENT: &str = "manifest.json";
    check_size(DOCUMENT, bytes)?;
    let images: Vec<SavedImage> = serde_json::from_slice(bytes)
        .map_err(|source| ImageError::Json { document: DOCUMENT, source })?;
    let fail = |reason: String| Err(ImageError::Invalid { document: DOCUMENT, reason });
    if images.len() > MAX_ITEMS || images.iter().any(|image| image.layers.len() > MAX_ITEMS) {
        return fail(format!("it lists more than {MAX_ITEMS} images or layers"));
    }
    for path in images.iter().flat_map(|image| image.layers.iter().chain([&image.config])) {
        let is_plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains('\0');
        if !path.split('/').all(is_plain) {
            return fail(format!("it names a file `{path}`"));
        }
    }
    Ok(images)
}

/// The image of an archive that a name means; without a name, the only one.
///
/// Names are compared in their normal form, so that `busybox` finds `busybox:latest`.
///
/// # Errors
///
/// Fails with the names that there are when none or several are meant.
pub fn select<'i>(
    images: &'i [SavedImage],
    name: Option<&ImageRef>,
) -> Result<&'i SavedImage, ImageError> {
    let has_name = |image: &&SavedImage| {
        let mut tags = image.repo_tags.iter().filter_map(|tag| tag.parse::<ImageRef>().ok());
        name.is_none_or(|name| tags.any(|tag| tag == *name))
    };
    let mut candidates = images.iter().filter(has_name);
    match (candidates.next(), candidates.next()) {
        (Some(found), None) => Ok(found),
        _ => Err(ImageError::NoImage {
            wanted: name.map(ImageRef::familiar).unwrap_or_default(),
            available: images.iter().flat_map(|image| image.repo_tags.clone()).collect(),
        }),
    }
}

fn null_is_empty<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = r#"[{"Config":"a.json","RepoTags":["x:1"],"Layers":["l/layer.tar"]},
        {"Config":"blobs/sha256/b","RepoTags":null,"Layers":null,"Parent":"p"}]"#;

    #[test]
    fn what_docker_saves_is_read() {
        let images = parse(TWO.as_bytes()).unwrap();
        assert_eq!(images[0].layers, ["l/layer.tar"]);
        assert!(images[1].repo_tags.is_empty());
        assert_eq!(parse(&to_bytes(&images)).unwrap(), images);
    }

    #[test]
    fn a_name_is_compared_in_its_normal_form() {
        let images = parse(TWO.as_bytes()).unwrap();
        let name = "docker.io/library/x:1".parse().unwrap();
        assert_eq!(select(&images, Some(&name)).unwrap().config, "a.json");
        assert!(select(&images, None).unwrap_err().to_string().contains("x:1"));
    }

    #[test]
    fn paths_that_lead_out_are_refused() {
        for path in ["../x", "/etc/passwd", "a/../../b", "", "a//b", "./a"] {
            let text = format!(r#"[{{"Config":"{path}","Layers":[]}}]"#);
            assert!(parse(text.as_bytes()).is_err(), "{path}");
        }
    }
}
