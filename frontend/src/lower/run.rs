//! `RUN`.

use kiln_grammar::{Command, Heredoc, Instruction, Run, Spanned};
use kiln_ir::{
    ExecOp, FileAction, FileOp, GuestPath, Mount, MountAccess, MountKind, NetworkMode, Op,
    SecurityMode,
};

use super::{Scope, command, device, mount};
use crate::stage::{Effect, Ground, Input, Step};
use crate::{Diagnostic, Entitlement, Rule};

/// Where a script with an interpreter of its own appears.
const PIPES: &str = "/dev/pipes";
/// Permission bits of such a script.
const SCRIPT_MODE: u32 = 0o755;
/// The variable by which programs find an ssh agent.
const AGENT: &str = "SSH_AUTH_SOCK";
/// The build argument that sets the sandbox's host name.
const HOSTNAME: &str = "BUILDKIT_SANDBOX_HOSTNAME";
/// Build arguments that commands see without being declared.
pub(crate) const PROXY_ARGUMENTS: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// Lowers `RUN`.
pub(super) fn lower(
    run: &Run,
    instruction: &Instruction,
    scope: &Scope<'_>,
) -> Result<Effect, Vec<Diagnostic>> {
    let mut errors = Vec::new();
    let mut inputs = Vec::new();
    let mut mounts = Vec::new();
    for flag in &run.mounts {
        match mount::lower(flag, &mut inputs, sockets(&mounts), scope) {
            Ok(mount) => mounts.push(mount),
            Err(found) => errors.extend(found),
        }
    }
    let mut devices = Vec::new();
    for flag in &run.devices {
        match device::lower(flag) {
            Ok(device) => devices.push(device),
            Err(error) => errors.push(error),
        }
    }
    let network = network(run.network.as_ref(), scope).map_err(|error| errors.push(error));
    let security = security(run.security.as_ref(), scope).map_err(|error| errors.push(error));
    let (Ok(network), Ok(security), true) = (network, security, errors.is_empty()) else {
        return Err(errors);
    };
    let (command, script) = command_and_script(run, &instruction.heredocs);
    if let Some(document) = script {
        inputs.push(script_file(document).map_err(|error| vec![error])?);
        mounts.push(pipes(inputs.len()).map_err(|error| vec![error])?);
    }
    let args = command::with_shell(&command, scope);
    if args.is_empty() {
        let error =
            Diagnostic::error(Rule::EmptyCommand, run.command.span, "there is nothing to run");
        return Err(vec![error]);
    }
    let created_by = format!("RUN {}{}", arguments(scope), args.join(" "));
    let exec = ExecOp {
        args,
        env: environment(&mounts, scope),
        cwd: scope.state.cwd.clone(),
        user: scope.state.config.config.user.clone(),
        hostname: hostname(scope),
        network,
        security,
        mounts,
        proxy_env: proxies(scope),
        devices,
        extra_hosts: scope.options.run.extra_hosts.clone(),
    };
    let step = Some(Step { op: Op::Exec(exec), ground: Ground::Stage, inputs });
    Ok(Effect { created_by: Some(created_by), changes: Vec::new(), step })
}

/// How many agents' sockets there are.
fn sockets(mounts: &[Mount]) -> usize {
    mounts.iter().filter(|mount| matches!(mount.kind, MountKind::Ssh { .. })).count()
}

/// The command's variables. It finds the first agent by one of them, unless the Dockerfile sets that itself.
fn environment(mounts: &[Mount], scope: &Scope<'_>) -> Vec<(String, String)> {
    let pairs = scope.state.environment.pairs();
    let mut env: Vec<_> = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let agent = mounts.iter().find(|mount| matches!(mount.kind, MountKind::Ssh { .. }));
    if let Some(agent) = agent
        && scope.state.environment.get(AGENT).is_none()
    {
        env.push((AGENT.to_owned(), agent.target.as_str().to_owned()));
    }
    env
}

/// The command, and the here document to be made a file when that is what runs.
fn command_and_script<'r>(run: &Run, heredocs: &'r [Heredoc]) -> (Command, Option<&'r Heredoc>) {
    let Command::Shell(text) = &run.command.command else {
        return (run.command.command.clone(), None);
    };
    match heredocs {
        [document] if run.is_script && document.text().starts_with("#!") => {
            (Command::Shell(format!("{PIPES}/{}", document.name)), Some(document))
        }
        [document] if run.is_script => (Command::Shell(document.text()), None),
        // The shell reads the documents itself: give them back to it.
        documents => {
            let mut whole = text.clone();
            for document in documents {
                whole += &format!("\n{}{}", document.body.node, document.name);
            }
            (Command::Shell(whole), None)
        }
    }
}

fn script_file(document: &Heredoc) -> Result<Input, Diagnostic> {
    let action = FileAction::Mkfile {
        path: guest_path(&document.name)?,
        mode: SCRIPT_MODE,
        owner: None,
        content: document.text().into_bytes(),
    };
    Ok(Input::Prepared(Box::new(Op::File(FileOp { actions: vec![action] })), Vec::new()))
}

fn pipes(input: usize) -> Result<Mount, Diagnostic> {
    let access = MountAccess::ReadOnly;
    let kind = MountKind::Bind { input, source: GuestPath::root(), access };
    Ok(Mount { target: guest_path(PIPES)?, kind })
}

fn guest_path(text: &str) -> Result<GuestPath, Diagnostic> {
    GuestPath::new(text).map_err(|error| {
        let error = Diagnostic::error(Rule::InvalidPath, Default::default(), error.to_string());
        Diagnostic { span: None, ..error }
    })
}

fn network(flag: Option<&Spanned<String>>, scope: &Scope<'_>) -> Result<NetworkMode, Diagnostic> {
    let Some(flag) = flag else { return Ok(scope.options.run.network) };
    match flag.node.as_str() {
        "default" => Ok(scope.options.run.network),
        "none" => Ok(NetworkMode::None),
        "host" => {
            allowed("network", flag, Entitlement::NetworkHost, scope)?;
            Ok(NetworkMode::Host)
        }
        other => Err(invalid("network", other, flag, &["default", "none", "host"])),
    }
}

fn security(flag: Option<&Spanned<String>>, scope: &Scope<'_>) -> Result<SecurityMode, Diagnostic> {
    let Some(flag) = flag else { return Ok(SecurityMode::Sandbox) };
    match flag.node.as_str() {
        "sandbox" => Ok(SecurityMode::Sandbox),
        "insecure" => {
            allowed("security", flag, Entitlement::SecurityInsecure, scope)?;
            Ok(SecurityMode::Insecure)
        }
        other => Err(invalid("security", other, flag, &["sandbox", "insecure"])),
    }
}

/// Refuses what reaches beyond the sandbox and was not allowed.
fn allowed(
    name: &str,
    flag: &Spanned<String>,
    entitlement: Entitlement,
    scope: &Scope<'_>,
) -> Result<(), Diagnostic> {
    if scope.options.run.allows(&entitlement) {
        return Ok(());
    }
    let message = format!("`--{name}={}` is not allowed in this build", flag.node);
    Err(Diagnostic::error(Rule::NotAllowed, flag.span, message)
        .hint(format!("if you trust this Dockerfile, build with `--allow {entitlement}`")))
}

fn invalid(name: &str, value: &str, flag: &Spanned<String>, known: &[&str]) -> Diagnostic {
    let message = format!("`--{name}` cannot be `{value}`");
    Diagnostic::error(Rule::InvalidFlagValue, flag.span, message)
        .suggest(value, known)
        .hint(format!("it is one of `{}`", known.join("`, `")))
}

fn hostname(scope: &Scope<'_>) -> Option<String> {
    scope.options.build_args.get(HOSTNAME).or(scope.options.run.hostname.as_ref()).cloned()
}

/// Proxy variables that the Dockerfile does not set itself.
fn proxies(scope: &Scope<'_>) -> Vec<(String, String)> {
    let given = PROXY_ARGUMENTS.iter().filter_map(|name| {
        let value = scope.options.build_args.get(*name)?;
        Some(((*name).to_owned(), value.clone()))
    });
    given.filter(|(name, _)| scope.state.environment.get(name).is_none()).collect()
}

/// The declared build arguments as the history shows them, `|2 A=1 B=2 `; empty without any.
fn arguments(scope: &Scope<'_>) -> String {
    let shown = scope.state.arguments.iter().map(|(name, value)| {
        let known = scope.state.environment.get(name);
        format!("{name}={}", known.or(value.as_deref()).unwrap_or_default())
    });
    let shown: Vec<String> = shown.collect();
    if shown.is_empty() {
        return String::new();
    }
    format!("|{} {} ", shown.len(), shown.join(" "))
}
