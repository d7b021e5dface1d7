//! A download as a layer: one file, with the server's time of its last change.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write};

use kiln_cache::layer::Content;
use kiln_cache::tree::{Meta, Mtime};
use kiln_cache::{LayerRef, RemoteRow};
use kiln_frontend::redact;
use kiln_ir::{ContentHash as _, Digest, HttpSource};
use kiln_registry::{DownloadRequest, Downloaded, Validators};
use kiln_solver::{Cancel, Stream, Unit};
use sha2::digest::DynDigest;

use super::{Access, RemoteError};
use crate::export::write_error;
use crate::{Engine, EngineError};

/// The largest download.
const MAX_BYTES: u64 = 64 << 30;
/// How much of a file is hashed at a time.
const BUFFER_BYTES: usize = 256 << 10;

impl Engine {
    /// Brings a file into the store, unless it is there and the server says that it did not change.
    pub(crate) fn fetch_http(
        &self,
        http: &HttpSource,
        access: &Access<'_>,
    ) -> Result<LayerRef, EngineError> {
        let wanted = http.digest("kiln download 1");
        let known = if access.fresh { None } else { self.known_remote(&wanted)? };
        if let (Some(_), Some(row)) = (&http.checksum, &known) {
            return Ok(LayerRef::new(row.layer));
        }
        let validators = known.as_ref().map_or_else(Validators::default, |row| Validators {
            etag: row.version.clone(),
            last_modified: row.last_modified.clone(),
        });
        let staging = self.store.staging_dir();
        let mut file = tempfile::tempfile_in(staging).map_err(write_error("download", staging))?;
        let validators = match (self.download(http, validators, &file, access)?, known) {
            (Downloaded::Fresh(validators), _) => validators,
            (Downloaded::Unchanged, Some(row)) => {
                access.report.output(Stream::Stderr, b"unchanged on the server\n");
                return Ok(LayerRef::new(row.layer));
            }
            (Downloaded::Unchanged, None) => {
                unreachable!("nothing was known that could be current")
            }
        };
        check(http, &mut file).map_err(|error| error.into_engine(&redact(&http.url)))?;
        let layer = self.layer_of(http, &mut file, &validators)?;
        let Validators { etag: version, last_modified } = validators;
        self.store.put_remote(&wanted, &RemoteRow { version, last_modified, layer })?;
        Ok(LayerRef::new(layer))
    }

    /// What is known of an address, if its layer is here.
    pub(super) fn known_remote(&self, wanted: &Digest) -> Result<Option<RemoteRow>, EngineError> {
        let row = self.store.remote(wanted)?;
        match row {
            Some(row) if self.layers.contains(&row.layer)? => Ok(Some(row)),
            _ => Ok(None),
        }
    }

    fn download(
        &self,
        http: &HttpSource,
        validators: Validators,
        file: &File,
        access: &Access<'_>,
    ) -> Result<Downloaded, EngineError> {
        let (host, shown) = (host_name(&http.url), redact(&http.url));
        let ids = ["HTTP_AUTH_TOKEN_", "HTTP_AUTH_HEADER_"].map(|id| format!("{id}{host}"));
        let authorization = access.secret(&ids)?.map(|(index, value)| match index {
            0 => [b"Bearer ", value.0.trim_ascii()].concat(),
            _ => value.0.trim_ascii().to_vec(),
        });
        let request = DownloadRequest {
            url: &http.url,
            shown: &shown,
            authorization: authorization.as_deref(),
            validators,
            limit_bytes: MAX_BYTES,
        };
        let mut open = || -> io::Result<Box<dyn Write>> {
            let mut file = file.try_clone()?;
            file.set_len(0)?;
            file.rewind()?;
            Ok(Box::new(Cancellable { file, cancel: access.cancel.clone() }))
        };
        let progress = |done, total| access.report.progress(done, total, Unit::Bytes);
        let downloaded = self.registry()?.download(&request, &mut open, &progress);
        access.check_cancelled()?;
        downloaded.map_err(|source| RemoteError::Download { host, source: Box::new(source) }.into())
    }

    fn layer_of(
        &self,
        http: &HttpSource,
        file: &mut File,
        validators: &Validators,
    ) -> Result<Digest, EngineError> {
        let meta = Meta { uid: http.uid, gid: http.gid, ..Meta::of_root(http.mode) };
        let secs = validators.last_modified.as_deref().and_then(parse_date).unwrap_or(0);
        let mtime = Mtime { secs, nanos: 0 };
        file.rewind().map_err(write_error("download", self.store.staging_dir()))?;
        let mut writer = self.layers.writer(&[])?;
        writer.file(http.filename.as_bytes(), &meta, mtime, Content::Reader(file))?;
        Ok(writer.finish()?)
    }
}

/// A file that takes no more once the build is cancelled.
struct Cancellable {
    file: File,
    cancel: Cancel,
}

impl Write for Cancellable {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.cancel.is_cancelled() {
            return Err(io::Error::other("cancelled"));
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Why a file does not have the checksum that it should have.
enum CheckError {
    Read(io::Error),
    Other { expected: String, actual: String },
}

impl CheckError {
    fn into_engine(self, url: &str) -> EngineError {
        match self {
            Self::Read(source) => {
                EngineError::ReadFile { what: "download", path: url.into(), source }
            }
            Self::Other { expected, actual } => {
                RemoteError::Checksum { url: url.to_owned(), expected, actual }.into()
            }
        }
    }
}

fn check(http: &HttpSource, file: &mut File) -> Result<(), CheckError> {
    let Some(expected) = &http.checksum else { return Ok(()) };
    let algorithm = expected.split(':').next().unwrap_or_default();
    let mut hasher: Box<dyn DynDigest> = match algorithm {
        "sha512" => Box::new(sha2::Sha512::default()),
        "sha384" => Box::new(sha2::Sha384::default()),
        // Whatever else is asked for will not match.
        _ => Box::new(sha2::Sha256::default()),
    };
    file.rewind().map_err(CheckError::Read)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match file.read(&mut buffer).map_err(CheckError::Read)? {
            0 => break,
            read => hasher.update(&buffer[..read]),
        }
    }
    let digits: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    let actual = format!("{algorithm}:{digits}");
    if actual == *expected {
        return Ok(());
    }
    Err(CheckError::Other { expected: expected.clone(), actual })
}

/// The host of an address without user and port, as secrets are named for it.
pub(super) fn host_name(url: &str) -> String {
    let shown = redact(url);
    let after = shown.split_once("://").map_or(shown.as_str(), |(_, after)| after);
    let authority = after.split(['/', '?', '#']).next().unwrap_or_default();
    match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address.to_owned(),
        None => authority.split(':').next().unwrap_or_default().to_owned(),
    }
}

/// A date of HTTP, in seconds since 1970.
fn parse_date(text: &str) -> Option<i64> {
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(date.as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_dates() {
        for (url, host) in [
            ("https://u:p@h.example:8443/x", "h.example"),
            ("http://[::1]:80/x", "::1"),
            ("https://h?x", "h"),
        ] {
            assert_eq!(host_name(url), host, "{url}");
        }
        assert_eq!(parse_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(parse_date("yesterday"), None);
    }

    #[test]
    fn a_checksum_is_of_the_bytes() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"abc").unwrap();
        let mut http = |checksum: &str| {
            let source = HttpSource {
                url: "https://h/f".to_owned(),
                checksum: Some(checksum.to_owned()),
                filename: "f".to_owned(),
                mode: 0o600,
                uid: 0,
                gid: 0,
            };
            check(&source, &mut file).is_ok()
        };
        let sum = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert!(http(sum));
        assert!(!http(&sum.replace("ba78", "ba79")));
        assert!(http(
            "sha384:cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed\
             8086072ba1e7cc2358baeca134c825a7"
        ));
        assert!(!http("sha512:00"));
    }
}
