//! Build arguments above the first stage, and those that are always there.

use kiln_grammar::{Dockerfile, InstructionKind};
use kiln_image::Platform;

use crate::environment::Environment;
use crate::epoch::EPOCH;
use crate::expand::expand;
use crate::lower::PROXY_ARGUMENTS;
use crate::{BuildOptions, Diagnostic, Rule, Severity};

/// What arguments that tell the builder something begin with.
const BUILDER_PREFIX: &str = "BUILDKIT_";

/// The variables that `FROM` sees, and that an `ARG` without a default takes its value from.
pub(crate) fn evaluate(
    dockerfile: &Dockerfile,
    options: &BuildOptions,
) -> Result<Environment, Vec<Diagnostic>> {
    let (globals, errors) = all(dockerfile, options);
    if errors.is_empty() { Ok(globals) } else { Err(errors) }
}

/// The same without those that are wrong, and all that is wrong, in source order.
pub(crate) fn all(
    dockerfile: &Dockerfile,
    options: &BuildOptions,
) -> (Environment, Vec<Diagnostic>) {
    let mut globals = predefined(options);
    let mut errors = Vec::new();
    for instruction in &dockerfile.instructions {
        if matches!(instruction.kind, InstructionKind::From(_)) {
            break;
        }
        let InstructionKind::Arg(arg) = &instruction.kind else { continue };
        for declaration in &arg.declarations {
            let name = match expand(&declaration.name, &globals) {
                Ok(name) => name,
                Err(error) => {
                    errors.push(error);
                    continue;
                }
            };
            let default = declaration.default.as_ref().map(|word| expand(word, &globals));
            match (options.build_args.get(&name), default) {
                (_, Some(Err(error))) => errors.push(error),
                (Some(given), _) => globals.set(name, given.as_str()),
                (None, Some(Ok(default))) => globals.set(name, default),
                (None, None) => {}
            }
        }
    }
    (globals, errors)
}

fn predefined(options: &BuildOptions) -> Environment {
    let mut globals = Environment::default();
    let mut describe = |prefix: &str, platform: &Platform| {
        for (name, value) in [
            ("PLATFORM", platform.to_string()),
            ("OS", platform.os().to_owned()),
            ("OSVERSION", String::new()),
            ("ARCH", platform.architecture().to_owned()),
            ("VARIANT", platform.variant().to_owned()),
        ] {
            let name = format!("{prefix}{name}");
            let given = options.build_args.get(&name).cloned();
            globals.set(name, given.unwrap_or(value));
        }
    };
    describe("BUILD", &options.build_platform);
    describe("TARGET", &options.platform);
    let stage = options.target.clone().unwrap_or_else(|| "default".to_owned());
    globals.set("TARGETSTAGE", options.build_args.get("TARGETSTAGE").cloned().unwrap_or(stage));
    globals
}

/// Whether an argument has a value in every build.
pub(crate) fn is_predefined(name: &str) -> bool {
    let any = BuildOptions::new(Platform::new("linux", "amd64", ""));
    predefined(&any).get(name).is_some()
}

/// Warns of build arguments that nothing declares.
pub(crate) fn unused(dockerfile: &Dockerfile, options: &BuildOptions) -> Vec<Diagnostic> {
    let mut declared: Vec<&str> = Vec::new();
    for instruction in &dockerfile.instructions {
        if let InstructionKind::Arg(arg) = &instruction.kind {
            declared.extend(arg.declarations.iter().map(|arg| arg.name.raw.as_str()));
        }
    }
    let known = predefined(options);
    let names = options.build_args.keys().filter(|name| {
        !declared.contains(&name.as_str())
            && !PROXY_ARGUMENTS.contains(&name.as_str())
            && !name.starts_with(BUILDER_PREFIX)
            && *name != EPOCH
            && known.get(name).is_none()
    });
    names
        .map(|name| {
            let message = format!("no `ARG` declares the build argument `{name}`");
            let warning = Diagnostic::error(Rule::UnusedBuildArgument, Default::default(), message);
            Diagnostic { span: None, severity: Severity::Warning, ..warning }
                .suggest(name, &declared)
        })
        .collect()
}
