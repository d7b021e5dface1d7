//! Whose recorded results are passed over.

use crate::stages::Stages;
use crate::{BuildOptions, Diagnostic, Rule, Severity};

/// Whose recorded results are passed over.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum NoCache {
    /// Nobody's.
    #[default]
    Nothing,
    /// Those of the steps of these stages, by name whatever its case, or by index. A stage without a name is also
    /// called as its steps are, `stage-2`.
    Stages(Vec<String>),
    /// Those of all steps.
    Everything,
}

impl NoCache {
    /// Whether this is so for the steps of a stage.
    pub(crate) fn includes(&self, index: usize, stages: &Stages<'_>) -> bool {
        match self {
            Self::Nothing => false,
            Self::Stages(names) => names.iter().any(|name| is_stage(name, index, stages)),
            Self::Everything => true,
        }
    }
}

/// Whether a text means a stage. A name goes before an index that looks like it.
fn is_stage(text: &str, index: usize, stages: &Stages<'_>) -> bool {
    let lower = text.to_lowercase();
    if stages.first_named(&lower).is_some() {
        return stages[index].name.as_deref() == Some(lower.as_str());
    }
    lower.strip_prefix("stage-").unwrap_or(&lower).parse() == Ok(index)
}

/// Warns of names that no stage has.
pub(crate) fn unused(stages: &Stages<'_>, options: &BuildOptions) -> Vec<Diagnostic> {
    let NoCache::Stages(names) = &options.no_cache else { return Vec::new() };
    let known: Vec<&str> = stages.iter().filter_map(|stage| stage.name.as_deref()).collect();
    let is_known = |name: &str| (0..stages.len()).any(|index| is_stage(name, index, stages));
    names
        .iter()
        .filter(|name| !is_known(name))
        .map(|name| {
            let message = format!("`--no-cache-filter` names a stage `{name}`, and there is none");
            let warning = Diagnostic::error(Rule::UnusedNoCacheFilter, Default::default(), message);
            Diagnostic { span: None, severity: Severity::Warning, ..warning }
                .suggest(&name.to_lowercase(), &known)
        })
        .collect()
}
