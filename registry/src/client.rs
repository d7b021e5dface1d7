//! The synchronous face of the crate.

use std::io::{self, Read, Seek, Write};

use kiln_image::{Descriptor, DigestWriter, Document, ImageRef, OciDigest};
use tokio::runtime::{Builder, Runtime};

use crate::fetch::{Download, Session};
use crate::push::{Pushed, Upload};
use crate::{Credentials, DownloadRequest, Downloaded, PostRequest, RegistryConfig, RegistryError};

/// A client of every registry. It may be used from several threads at once, each waiting for its own
/// request; it must not be used from within an asynchronous task.
#[derive(Debug)]
pub struct Client {
    session: Session,
    runtime: Runtime,
}

/// A manifest or an index, verified and read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The digest of `bytes`.
    pub digest: OciDigest,
    /// The media type, as the document or else the registry states it.
    pub media_type: String,
    /// The document as it came.
    pub bytes: Vec<u8>,
    /// The document as it reads.
    pub document: Document,
}

impl Client {
    /// Makes a client; nothing is asked yet.
    ///
    /// # Errors
    ///
    /// Fails when the threads of the network's runtime cannot be started.
    pub fn new(config: RegistryConfig, credentials: Credentials) -> Result<Self, RegistryError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("kiln-registry")
            .enable_io()
            .enable_time()
            .build()
            .map_err(|source| RegistryError::Runtime { source })?;
        Ok(Self { session: Session::new(config, credentials), runtime })
    }

    /// Fetches the manifest or index that a name means: by its digest if it has one, else by its tag.
    ///
    /// # Errors
    ///
    /// Fails when no mirror and not the registry has it, lets one have it, or can be reached; and when
    /// what comes has another digest, is larger than 4 MiB, or is no document of an image.
    pub fn resolve(&self, image: &ImageRef) -> Result<Resolved, RegistryError> {
        self.runtime.block_on(self.session.document(image, image.digest()))
    }

    /// Fetches a manifest of an image's repository by its digest.
    ///
    /// # Errors
    ///
    /// As [`Client::resolve`].
    pub fn manifest(
        &self,
        image: &ImageRef,
        digest: &OciDigest,
    ) -> Result<Resolved, RegistryError> {
        self.runtime.block_on(self.session.document(image, Some(*digest)))
    }

    /// Fetches a blob of an image's repository, writing it to `out` as it comes; `progress` is told how
    /// many bytes were written so far in all.
    ///
    /// What breaks off is taken up again where it ended, at another host if need be. `out` holds nothing
    /// of worth until this returns: the digest is known at the end only. After a mismatch the host that
    /// sent it is not asked for that blob again, so that a second call with a fresh `out` goes to the
    /// next. An error of `out` ends the download, which is how a caller cancels it.
    ///
    /// # Errors
    ///
    /// Fails when no host has the blob, lets one have it, or can be reached; when it has another digest
    /// or more bytes than the descriptor says; and when `out` fails.
    pub fn fetch_blob(
        &self,
        image: &ImageRef,
        blob: &Descriptor,
        out: &mut dyn Write,
        progress: &dyn Fn(u64),
    ) -> Result<(), RegistryError> {
        let out = DigestWriter::new(Box::new(out) as Box<dyn Write + '_>);
        self.runtime.block_on(self.session.blob(Download { image, blob, out, progress }))
    }

    /// Sends a blob to an image's repository, unless it is there.
    ///
    /// No mirror is asked for anything, and no credential goes to another server than the registry.
    ///
    /// # Errors
    ///
    /// Fails when the registry cannot be reached, does not let one write or does not take the blob, and when
    /// the content cannot be read.
    pub fn push_blob<R: Read + Seek>(
        &self,
        mut upload: Upload<'_, R>,
    ) -> Result<Pushed, RegistryError> {
        self.runtime.block_on(self.session.push_blob(&mut upload))
    }

    /// Gives a manifest or an index to an image's repository, under the image's tag or else its own digest. All
    /// that it names must be there.
    ///
    /// # Errors
    ///
    /// Fails when the registry cannot be reached, does not let one write or does not take the document.
    pub fn push_manifest(
        &self,
        image: &ImageRef,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<OciDigest, RegistryError> {
        self.runtime.block_on(self.session.push_manifest(image, media_type, bytes))
    }

    /// Fetches a file from any server, unless it is still the one that the validators are of.
    ///
    /// `open` gives a place to write to, empty, for each try; only what is written last is of worth. An
    /// error of it, or of writing, ends the download. `progress` is told the bytes written and, if the
    /// server says, how many there will be.
    ///
    /// # Errors
    ///
    /// Fails when the address is none of http or https, the server does not have the file, does not let
    /// one have it or cannot be reached, and when the file is larger than it may be.
    pub fn download(
        &self,
        wanted: &DownloadRequest<'_>,
        open: &mut dyn FnMut() -> io::Result<Box<dyn Write>>,
        progress: &dyn Fn(u64, Option<u64>),
    ) -> Result<Downloaded, RegistryError> {
        self.runtime.block_on(self.session.download(wanted, open, progress))
    }

    /// Sends something to any server, once.
    ///
    /// # Errors
    ///
    /// Fails when the address is none of http or https, the server cannot be reached, or does not answer
    /// that it took it.
    pub fn post(&self, wanted: PostRequest<'_>) -> Result<(), RegistryError> {
        self.runtime.block_on(self.session.post(wanted))
    }
}
