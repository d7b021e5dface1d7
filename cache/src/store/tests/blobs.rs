//! Blobs are whole and right, or absent.

use std::io::{Read as _, Write as _};

use super::*;

const HELLO: &str = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

#[test]
fn a_blob_is_found_under_its_digest() {
    let (_dir, store) = store();
    assert!(!store.has_blob(HELLO).unwrap());
    let mut writer = store.blob_writer_for(HELLO, 5).unwrap();
    writer.write_all(b"he").unwrap();
    writer.write_all(b"llo").unwrap();
    assert_eq!(writer.size_bytes(), 5);
    assert!(!store.has_blob(HELLO).unwrap(), "it has its name before it is whole");
    let stored = writer.finish().unwrap();
    assert_eq!(stored, StoredBlob { digest: HELLO.to_owned(), size_bytes: 5 });
    let mut text = String::new();
    store.open_blob(HELLO).unwrap().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello");
    assert_eq!(store.put_blob(b"hello").unwrap(), stored, "the same again");
    assert_eq!(listing(&store.oci_dir().join("blobs/sha256")).len(), 1);
}

#[test]
fn what_was_not_promised_is_refused() {
    let (_dir, store) = store();
    let attempt = |size: u64, bytes: &[u8]| {
        let mut writer = store.blob_writer_for(HELLO, size).unwrap();
        writer.write_all(bytes).map_err(|error| error.to_string())?;
        writer.finish().map_err(|error| error.to_string())
    };
    assert!(attempt(5, b"hallo").unwrap_err().contains("its bytes are"));
    assert!(attempt(5, b"hell").unwrap_err().contains("should have 5 bytes, and has 4"));
    assert!(attempt(5, b"hello!").unwrap_err().contains("should have 5 bytes, and has 6"));
    assert!(attempt(6, b"hello").is_err());
    assert!(!store.has_blob(HELLO).unwrap());
    assert_eq!(listing(store.staging_dir()), ["uses"], "half blobs stay behind");
}

#[test]
fn a_digest_is_never_a_path() {
    let (_dir, store) = store();
    let upper = HELLO.to_uppercase().replace("SHA256", "sha256");
    for text in ["", "sha256:", "sha256:../../../kiln.db", &HELLO[..70], &upper, &HELLO[7..]] {
        assert!(matches!(store.blob_path(text), Err(CacheError::BlobDigest { .. })), "{text}");
        assert!(store.has_blob(text).is_err() && store.open_blob(text).is_err());
        assert!(store.blob_writer_for(text, 1).is_err());
    }
}

#[test]
fn a_small_document_is_read_up_to_a_limit() {
    let (_dir, store) = store();
    let digest = store.put_blob(b"hello").unwrap().digest;
    assert_eq!(store.read_blob(&digest, 5).unwrap(), b"hello");
    assert!(matches!(store.read_blob(&digest, 4), Err(CacheError::BlobSize { .. })));
    std::fs::remove_file(store.blob_path(HELLO).unwrap()).unwrap();
    assert!(matches!(store.read_blob(&digest, 5), Err(CacheError::MissingBlob { .. })));
}

#[test]
fn an_unfinished_blob_leaves_nothing() {
    let (_dir, store) = store();
    let mut writer = store.blob_writer().unwrap();
    writer.write_all(b"x").unwrap();
    assert_eq!(listing(store.staging_dir()).len(), 2);
    drop(writer);
    assert_eq!(listing(store.staging_dir()), ["uses"]);
}
