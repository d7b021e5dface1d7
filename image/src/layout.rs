//! The documents of an OCI image layout; where its blobs lie, and which image of it is meant.
//!
//! Reading and writing the directory itself is for the caller: this is names and JSON.

use serde::{Deserialize, Serialize};

use crate::{Descriptor, ImageError, Index, OciDigest};

/// The file that marks a directory as a layout.
pub const MARKER_NAME: &str = "oci-layout";
/// What Kiln writes into [`MARKER_NAME`].
pub const MARKER: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
/// The file that lists a layout's images.
pub const INDEX_NAME: &str = "index.json";
/// The directory of the blobs.
pub const BLOBS_DIR: &str = "blobs/sha256";
/// The annotation that names an image within a layout: a tag by the specification.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The annotation by which containerd and Docker keep an image's full name.
pub const FULL_NAME: &str = "io.containerd.image.name";

/// Where a blob lies, relative to the layout.
#[must_use]
pub fn blob_path(digest: &OciDigest) -> String {
    format!("{BLOBS_DIR}/{}", digest.hex())
}

/// Checks the content of [`MARKER_NAME`].
///
/// # Errors
///
/// Fails when it is not the marker of a layout of version 1.
pub fn check_marker(bytes: &[u8]) -> Result<(), ImageError> {
    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Marker {
        image_layout_version: String,
    }
    const DOCUMENT: &str = "oci-layout";
    crate::manifest::check_size(DOCUMENT, bytes)?;
    let marker: Marker = serde_json::from_slice(bytes)
        .map_err(|source| ImageError::Json { document: DOCUMENT, source })?;
    if !marker.image_layout_version.starts_with("1.") {
        let reason = format!("its version is `{}`, not 1", marker.image_layout_version);
        return Err(ImageError::Invalid { document: DOCUMENT, reason });
    }
    Ok(())
}

/// The image of a layout that a name means: a tag, a full name, or a digest (`sha256:…`).
///
/// Without a name it is the layout's only image.
///
/// # Errors
///
/// Fails with the names that there are when none or several are meant.
pub fn select<'i>(index: &'i Index, name: Option<&str>) -> Result<&'i Descriptor, ImageError> {
    let matches = |descriptor: &&Descriptor| match name {
        None => true,
        Some(name) => {
            [REF_NAME, FULL_NAME].iter().any(|key| annotation(descriptor, key) == Some(name))
                || descriptor.digest.to_string() == name
        }
    };
    let mut candidates = index.manifests.iter().filter(matches);
    match (candidates.next(), candidates.next()) {
        (Some(found), None) => Ok(found),
        // The same image under the same name twice is no doubt about which is meant.
        (Some(found), Some(second))
            if name.is_some()
                && candidates.all(|d| d.digest == found.digest)
                && second.digest == found.digest =>
        {
            Ok(found)
        }
        _ => Err(ImageError::NoImage {
            wanted: name.unwrap_or_default().to_owned(),
            available: index.manifests.iter().map(label).collect(),
        }),
    }
}

/// Puts an image into a layout's index under a tag, in place of what had that tag before.
///
/// Without a tag it is listed by its digest, once.
pub fn insert(index: &mut Index, mut image: Descriptor, tag: Option<&str>) {
    if let Some(tag) = tag {
        image.annotations.insert(REF_NAME.to_owned(), tag.to_owned());
    }
    let tag = annotation(&image, REF_NAME).map(str::to_owned);
    index.manifests.retain(|other| match &tag {
        Some(tag) => annotation(other, REF_NAME) != Some(tag),
        None => other.digest != image.digest || annotation(other, REF_NAME).is_some(),
    });
    index.manifests.push(image);
}

fn annotation<'d>(descriptor: &'d Descriptor, key: &str) -> Option<&'d str> {
    descriptor.annotations.get(key).map(String::as_str)
}

/// What a message calls an image of a layout.
fn label(descriptor: &Descriptor) -> String {
    let name = annotation(descriptor, REF_NAME).or_else(|| annotation(descriptor, FULL_NAME));
    name.map_or_else(|| descriptor.digest.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media_type::OCI_MANIFEST;

    fn image(content: &[u8]) -> Descriptor {
        Descriptor::of(OCI_MANIFEST, content)
    }

    #[test]
    fn a_tag_moves_to_the_image_inserted_last() {
        let mut index = Index::new(Vec::new());
        insert(&mut index, image(b"1"), Some("v1"));
        insert(&mut index, image(b"2"), Some("latest"));
        insert(&mut index, image(b"3"), Some("latest"));
        insert(&mut index, image(b"4"), None);
        insert(&mut index, image(b"4"), None);
        assert_eq!(index.manifests.len(), 3);
        assert_eq!(select(&index, Some("latest")).unwrap().digest, image(b"3").digest);
        let by_digest = image(b"4").digest.to_string();
        assert_eq!(select(&index, Some(&by_digest)).unwrap().digest, image(b"4").digest);
    }

    #[test]
    fn doubt_is_an_error_that_lists_the_names() {
        let mut index = Index::new(Vec::new());
        assert!(select(&index, None).is_err());
        insert(&mut index, image(b"1"), Some("a"));
        assert_eq!(select(&index, None).unwrap().digest, image(b"1").digest);
        insert(&mut index, image(b"2"), Some("b"));
        let message = select(&index, Some("c")).unwrap_err().to_string();
        assert_eq!(message, "no image named `c`; there are: a, b");
        assert!(select(&index, None).is_err());
    }

    #[test]
    fn only_version_1_is_a_layout() {
        check_marker(MARKER).unwrap();
        assert!(check_marker(br#"{"imageLayoutVersion":"2.0.0"}"#).is_err());
        assert!(check_marker(b"").is_err());
    }

    #[test]
    fn blobs_lie_under_their_hexadecimal_digits() {
        let digest = OciDigest::of(b"");
        assert_eq!(blob_path(&digest), format!("blobs/sha256/{}", digest.hex()));
    }
}
