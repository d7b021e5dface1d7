//! What becomes of the solved targets: an image or an index in the store, and whatever else was asked for.

use kiln_image::{Descriptor, Index, Platform, media_type};
use kiln_solver::{Narrator, Report, Stream};

use super::{Build, BuiltImage, epoch};
use crate::EngineError;
use crate::export::{Assembled, Output, Parts, PlatformSplit, TreePart};
use crate::runner::Value;
use crate::transfer::Transfer;

/// One platform's part of the result.
struct Part<'a> {
    platform: Platform,
    target: &'a Value,
    epoch: Option<i64>,
    image: Assembled,
}

impl Build<'_> {
    /// Refuses, before anything runs, what the result could not be written as.
    pub(super) fn check_outputs(&self) -> Result<(), EngineError> {
        let docker = |output: &Output| matches!(output, Output::Docker { .. });
        if self.request.is_index() && self.request.outputs.iter().any(docker) {
            return Err(EngineError::SeveralPlatforms);
        }
        Ok(())
    }

    /// Puts the image into the store and wherever else it is wanted; `targets` are in the platforms' order.
    pub(super) fn export(
        &self,
        targets: &[Value],
        transfer: Option<&Transfer<'_>>,
        narrator: &mut Narrator<'_>,
    ) -> Result<Option<BuiltImage>, EngineError> {
        let outputs = &self.request.outputs;
        if outputs.contains(&Output::CacheOnly) {
            return Ok(None);
        }
        let assemble = |report: &dyn Report| self.assemble(targets, transfer, report);
        let (parts, manifest) = match transfer {
            // How much was fetched is to be seen meanwhile.
            Some(_) => narrator.perform("exporting to image", assemble)?,
            None => narrator.perform_here("exporting to image", assemble)?,
        };
        for output in outputs {
            narrator.perform(describe(output), |_| self.write(output, &manifest, &parts))?;
        }
        let config = match parts.as_slice() {
            [only] if !self.request.is_index() => Some(only.image.document.config.digest),
            _ => None,
        };
        Ok(Some(BuiltImage { config, manifest }))
    }

    /// Makes the images of all platforms, and their index where there is to be one.
    fn assemble<'t>(
        &self,
        targets: &'t [Value],
        transfer: Option<&Transfer<'_>>,
        report: &dyn Report,
    ) -> Result<(Vec<Part<'t>>, Descriptor), EngineError> {
        let mut parts = Vec::new();
        for ((plan, target), platform) in
            self.joined.plans.iter().zip(targets).zip(self.request.platforms())
        {
            let epoch = self.epoch(plan.source_date_epoch)?;
            let (config, history) = (&plan.config, plan.history.as_slice());
            let snapshot = target.snapshot();
            if let Some(transfer) = transfer {
                transfer.bring(snapshot.layers(), report)?;
            }
            let image =
                self.engine.assemble(&Parts { config, history, snapshot, epoch, transfer })?;
            let told = format!(
                "manifest {}\nimage {}\n",
                image.manifest.digest, image.document.config.digest
            );
            report.output(Stream::Stdout, told.as_bytes());
            parts.push(Part { platform, target, epoch, image });
        }
        let (manifest, size_bytes) = match parts.as_slice() {
            [only] if !self.request.is_index() => {
                (only.image.manifest.clone(), only.image.size_bytes())
            }
            several => self.index(several, report)?,
        };
        let created_ms = parts.iter().map(|part| part.image.created_ms).max().unwrap_or(0);
        self.engine.keep(&manifest, size_bytes, created_ms, &self.request.tags)?;
        for tag in &self.request.tags {
            report.output(Stream::Stdout, format!("naming to {tag}\n").as_bytes());
        }
        Ok((parts, manifest))
    }

    /// Writes the index of the images; answers it with the size of all its blobs.
    fn index(
        &self,
        parts: &[Part<'_>],
        report: &dyn Report,
    ) -> Result<(Descriptor, u64), EngineError> {
        let of_platform = |part: &Part<'_>| {
            let platform = Some(part.platform.clone());
            Descriptor { platform, ..part.image.manifest.clone() }
        };
        let bytes = Index::new(parts.iter().map(of_platform).collect()).to_bytes();
        self.engine.store.put_blob(&bytes)?;
        let index = Descriptor::of(media_type::OCI_INDEX, &bytes);
        report.output(Stream::Stdout, format!("index {}\n", index.digest).as_bytes());
        let images: u64 = parts.iter().map(|part| part.image.size_bytes()).sum();
        let size_bytes = images + index.size_bytes;
        Ok((index, size_bytes))
    }

    /// The one time of an image; `planned` is what the Dockerfile says.
    pub(super) fn epoch(&self, planned: Option<i64>) -> Result<Option<i64>, EngineError> {
        epoch::determine(planned, &self.request.parameters.build_args, &self.contexts.dated)
    }

    fn write(
        &self,
        output: &Output,
        manifest: &Descriptor,
        parts: &[Part<'_>],
    ) -> Result<(), EngineError> {
        let (engine, tags) = (self.engine, &self.request.tags);
        match output {
            Output::Oci { dest } => engine.write_oci(manifest, tags, dest),
            Output::Docker { dest } => {
                engine.write_docker(&[(manifest.clone(), tags.clone())], dest)
            }
            Output::Tar { dest, split } => engine.write_tar(&self.trees(parts, *split), dest),
            Output::Local { dir, split } => engine.write_local(&self.trees(parts, *split), dir),
            Output::CacheOnly => Ok(()),
        }
    }

    /// The files of each platform, in a directory of their own where they are to be told apart.
    fn trees<'t>(&self, parts: &[Part<'t>], split: PlatformSplit) -> Vec<TreePart<'t>> {
        let split = match split {
            PlatformSplit::Always => true,
            PlatformSplit::Never => false,
            PlatformSplit::Several => self.request.is_index(),
        };
        let tree = |part: &Part<'t>| TreePart {
            directory: split.then(|| part.platform.to_string().replace('/', "_")),
            snapshot: part.target.snapshot(),
            epoch: part.epoch,
        };
        parts.iter().map(tree).collect()
    }
}

fn describe(output: &Output) -> &'static str {
    match output {
        Output::Oci { .. } => "exporting to oci image format",
        Output::Docker { .. } => "exporting to docker image format",
        Output::Tar { .. } => "exporting to tar",
        Output::Local { .. } => "exporting to directory",
        Output::CacheOnly => "exporting nothing",
    }
}
