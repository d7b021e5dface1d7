//! Records of builds on their way to other machines: a tar archive under gzip.
//!
//! Each build is `builds/<id>/events`, as it is in the store. Other members are passed over on the way in, so that
//! more can be added. What comes in is read as any record is, and refused whole when it is none.

use std::io::{self, BufReader, Read, Write};
use std::path::Path;

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use kiln_cache::{BuildFile, BuildRow, BuildStatus, is_build_id};

use super::past::PastBuild;
use super::read_build;
use super::reader::MAX_FILE_BYTES;
use crate::{Engine, EngineError};

/// The most builds that are read of one archive.
const MAX_BUILDS: usize = 10_000;
/// The most that an archive may hold, in bytes.
const MAX_ARCHIVE_BYTES: u64 = 16 << 30;

impl Engine {
    /// Writes the records of builds, by their whole ids.
    ///
    /// # Errors
    /// When a record cannot be read, or the archive not be written.
    pub fn export_builds(&self, ids: &[String], out: impl Write) -> Result<(), EngineError> {
        let failed =
            |source| EngineError::WriteFile { what: "archive of builds", path: "-".into(), source };
        let mut archive = tar::Builder::new(GzEncoder::new(out, Compression::default()));
        for id in ids {
            let file = self.store.open_build(id)?;
            // A build that runs writes on: as much goes in as there is now.
            let length = file.metadata().map_err(failed)?.len();
            let mut header = tar::Header::new_ustar();
            header.set_size(length);
            header.set_mode(0o600);
            let name = format!("builds/{id}/events");
            archive.append_data(&mut header, name, file.take(length)).map_err(failed)?;
        }
        let gzip = archive.into_inner().map_err(failed)?;
        gzip.finish().and_then(|mut out| out.flush()).map_err(failed)
    }

    /// Brings records in; answers the ids of those that were not here yet.
    ///
    /// # Errors
    /// When the archive cannot be read, holds what is no record, or the store cannot be written. What came before
    /// that is here.
    pub fn import_builds(&self, archive: impl Read) -> Result<Vec<String>, EngineError> {
        let unread =
            |source| EngineError::ReadFile { what: "archive of builds", path: "-".into(), source };
        let mut archive = tar::Archive::new(MultiGzDecoder::new(archive).take(MAX_ARCHIVE_BYTES));
        let mut imported = Vec::new();
        for member in archive.entries().map_err(unread)?.take(MAX_BUILDS) {
            let mut member = member.map_err(unread)?;
            let Some(id) = member.path().ok().and_then(|path| build_of(&path)) else { continue };
            if self.import_build(&id, &mut member, unread)? {
                imported.push(id);
            }
        }
        Ok(imported)
    }

    fn import_build(
        &self,
        id: &str,
        events: &mut dyn Read,
        unread: impl Fn(io::Error) -> EngineError,
    ) -> Result<bool, EngineError> {
        let Some(mut file) = self.store.import_build(id)? else { return Ok(false) };
        let row = copy(events, &mut file, unread).and_then(|()| {
            let opened = BufReader::new(self.store.open_build(id)?);
            let past = read_build(opened, id, &mut |_| {})?;
            Ok(row_of(&past, file.size_bytes()))
        });
        let noted = row.and_then(|row| {
            // Whoever brings an old build in wants to look at it: it goes with the next build at the earliest.
            Ok(self.store.put_build(id, &row)?)
        });
        drop(file);
        if noted.is_err() {
            // The reason is more telling than what may go wrong here.
            let _kept = self.store.remove_build(id);
        }
        noted.map(|()| true)
    }
}

fn copy(
    events: &mut dyn Read,
    file: &mut BuildFile,
    unread: impl Fn(io::Error) -> EngineError,
) -> Result<(), EngineError> {
    let mut chunk = vec![0; 1 << 16];
    let mut events = events.take(MAX_FILE_BYTES);
    loop {
        match events.read(&mut chunk).map_err(&unread)? {
            0 => return Ok(()),
            length => file.append(&chunk[..length])?,
        }
    }
}

/// The build whose events have this name in an archive, be it with a `./` before it.
fn build_of(path: &Path) -> Option<String> {
    let path = path.strip_prefix(".").unwrap_or(path);
    let mut parts = path.to_str()?.split('/');
    let (builds, id, events) = (parts.next()?, parts.next()?, parts.next()?);
    let is_record = builds == "builds" && events == "events" && parts.next().is_none();
    (is_record && is_build_id(id)).then(|| id.to_owned())
}

/// What a list says of a build.
pub(super) fn row_of(past: &PastBuild, size_bytes: u64) -> BuildRow {
    let (steps, _, cached) = past.counts();
    let status = match past.end.as_ref().map(|end| end.status.as_str()) {
        Some("completed") => BuildStatus::Completed,
        Some("canceled") => BuildStatus::Cancelled,
        // What did not end did not end well.
        Some(_) | None => BuildStatus::Failed,
    };
    let image = past.end.as_ref().and_then(|end| end.image.as_ref());
    BuildRow {
        name: past.name.clone(),
        status,
        created_ms: past.created_ms,
        duration_ms: u64::try_from(past.duration().as_millis()).unwrap_or(u64::MAX),
        steps: u32::try_from(steps).unwrap_or(u32::MAX),
        cached_steps: u32::try_from(cached).unwrap_or(u32::MAX),
        image: image.map(|image| image.manifest.clone()),
        size_bytes,
    }
}
