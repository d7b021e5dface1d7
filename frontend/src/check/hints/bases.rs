//! What stages stand on, and who stands on them.

use super::super::Check;
use super::super::report::{Remark, Report, Site};
use crate::link::{Reference, Stage};

/// Checks that the image, when no stage is asked for, needs every stage.
pub(in super::super) fn unused_stages(stages: &[Stage<'_>], needed: &[bool], report: &mut Report) {
    for (stage, _) in stages.iter().zip(needed).filter(|(_, needed)| !**needed) {
        let message = match &stage.name {
            Some(name) => format!("the last stage does not need the stage `{name}`"),
            None => {
                "the last stage does not need this one, which has no name to ask for".to_owned()
            }
        };
        let remark = Remark::new(Check::UnusedStage, stage.from.span, message)
            .hint("it is built only for `--target`; if nobody asks for it, remove it");
        report.say(&Site::of(stage.from), remark);
    }
}

/// Checks that it does not depend on the day which image a base is.
pub(in super::super) fn untagged_bases(stages: &[Stage<'_>], report: &mut Report) {
    for stage in stages {
        let Reference::Image(_) = &stage.base else { continue };
        let text = stage.base_text.as_str();
        // Behind the last slash: before it a colon belongs to a port.
        let name = text.rsplit('/').next().unwrap_or(text);
        let tag = name.split_once(':').map(|(_, tag)| tag);
        if text.contains("://") || text.contains('@') || tag.is_some_and(|tag| tag != "latest") {
            continue;
        }
        let message = format!("`{text}` is another image from day to day");
        let remark = Remark::new(Check::UntaggedBase, stage.base_span(), message)
            .hint("name a version by its tag, or one image by its digest");
        report.say(&Site::of(stage.from), remark);
    }
}
