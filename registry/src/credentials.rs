//! Credentials, from the files that `docker login` and `podman login` write.
//!
//! A credential is looked up for one host and goes to that host; secrets never appear in `Debug` output,
//! messages or events.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::RegistryError;

/// The key under which Docker keeps the credential of `docker.io`.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";
/// How long a program that keeps credentials may take.
const HELPER_TIMEOUT: Duration = Duration::from_secs(30);
/// The largest answer of such a program, and the largest file of credentials.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// A name and a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    /// The user's name.
    pub username: String,
    /// The password or an access token.
    pub secret: String,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential({}, …)", self.username)
    }
}

/// The credentials of a user.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    files: Vec<ConfigFile>,
    given: BTreeMap<String, Credential>,
}

/// The parts of Docker's `config.json` that speak of credentials; podman's `auth.json` is the same.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ConfigFile {
    auths: BTreeMap<String, Auth>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: String,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Auth {
    auth: String,
    username: String,
    password: String,
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Auth(…)")
    }
}

impl Credentials {
    /// No credentials: every registry is asked anonymously.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Reads `$REGISTRY_AUTH_FILE`, `$DOCKER_CONFIG/config.json` or `~/.docker/config.json`, and
    /// `$XDG_RUNTIME_DIR/containers/auth.json`, in this order; those that do not exist are passed over.
    ///
    /// # Errors
    ///
    /// Fails when a file exists and cannot be read.
    pub fn from_environment() -> Result<Self, RegistryError> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let docker = variable("DOCKER_CONFIG")
            .map(PathBuf::from)
            .or_else(|| variable("HOME").map(|home| Path::new(&home).join(".docker")));
        let runtime = variable("XDG_RUNTIME_DIR");
        let paths = [
            variable("REGISTRY_AUTH_FILE").map(PathBuf::from),
            docker.map(|directory| directory.join("config.json")),
            runtime.map(|directory| Path::new(&directory).join("containers/auth.json")),
        ];
        let mut credentials = Self::none();
        for path in paths.into_iter().flatten() {
            credentials.read_file(&path)?;
        }
        Ok(credentials)
    }

    /// Adds the credentials of a file in Docker's format; one that does not exist adds nothing.
    ///
    /// # Errors
    ///
    /// Fails when the file cannot be read, is larger than 1 MiB, or is of another format.
    pub fn read_file(&mut self, path: &Path) -> Result<(), RegistryError> {
        let failed = |source| RegistryError::ReadFile { path: path.to_owned(), source };
        let file = match std::fs::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        let mut bytes = Vec::new();
        file.take(MAX_FILE_BYTES).read_to_end(&mut bytes).map_err(failed)?;
        let file = serde_json::from_slice(&bytes)
            .map_err(|source| RegistryError::CredentialFile { path: path.to_owned(), source })?;
        self.files.push(file);
        Ok(())
    }

    /// Adds one credential, which goes before those of files.
    #[must_use]
    pub fn with(mut self, host: &str, credential: Credential) -> Self {
        self.given.insert(host.to_owned(), credential);
        self
    }

    /// The credential for a host as image names write it (`docker.io`, `localhost:5000`).
    ///
    /// # Errors
    ///
    /// Fails when a program that keeps credentials fails; one that knows of none is no failure.
    pub fn get(&self, host: &str) -> Result<Option<Credential>, RegistryError> {
        if let Some(credential) = self.given.get(host) {
            return Ok(Some(credential.clone()));
        }
        for file in &self.files {
            if let Some(credential) = file.get(host)? {
                return Ok(Some(credential));
            }
        }
        Ok(None)
    }
}

impl ConfigFile {
    fn get(&self, host: &str) -> Result<Option<Credential>, RegistryError> {
        let keys = keys(host);
        if let Some(helper) = keys.iter().find_map(|key| self.cred_helpers.get(key)) {
            return ask_helper(helper, host);
        }
        let found = keys.iter().find_map(|key| self.auths.get(key)).and_then(Auth::credential);
        if found.is_none() && !self.creds_store.is_empty() {
            return ask_helper(&self.creds_store, host);
        }
        Ok(found)
    }
}

impl Auth {
    fn credential(&self) -> Option<Credential> {
        let (username, secret) = if self.auth.is_empty() {
            (self.username.clone(), self.password.clone())
        } else {
            let bytes = STANDARD.decode(self.auth.trim()).ok()?;
            let (username, secret) = std::str::from_utf8(&bytes).ok()?.split_once(':')?;
            (username.to_owned(), secret.trim_end_matches('\0').to_owned())
        };
        (!username.is_empty()).then_some(Credential { username, secret })
    }
}

/// The keys under which a host's credential may be kept, the likeliest first.
fn keys(host: &str) -> Vec<String> {
    let mut keys = Vec::new();
    if host == "docker.io" {
        keys.extend([DOCKER_HUB_KEY, "index.docker.io", "registry-1.docker.io"].map(str::to_owned));
    }
    for scheme in ["", "https://", "http://"] {
        for path in ["", "/", "/v1/", "/v2/"] {
            keys.push(format!("{scheme}{host}{path}"));
        }
    }
    keys
}

/// Asks `docker-credential-NAME get`.
fn ask_helper(name: &str, host: &str) -> Result<Option<Credential>, RegistryError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        username: String,
        secret: String,
    }
    let program = format!("docker-credential-{name}");
    let fail = |reason: String| {
        Err(RegistryError::CredentialHelper {
            program: program.clone(),
            host: host.to_owned(),
            reason,
        })
    };
    if name.contains('/') {
        return fail("its name is a path".to_owned());
    }
    let key = if host == "docker.io" { DOCKER_HUB_KEY } else { host };
    let (is_success, output) = match run_helper(&program, key) {
        Ok(output) => output,
        Err(error) => return fail(error.to_string()),
    };
    if !is_success {
        let said = String::from_utf8_lossy(&output);
        // The words by which such programs say, all of them, that they know of none.
        if said.contains("credentials not found") {
            return Ok(None);
        }
        return fail(said.trim().chars().take(200).collect());
    }
    match serde_json::from_slice::<Answer>(&output) {
        Ok(Answer { username, secret }) => Ok(Some(Credential { username, secret })),
        // The parser's message could quote the secret.
        Err(_) => fail("its answer cannot be read".to_owned()),
    }
}

/// Runs a helper with one line of input, for a limited time; whether it succeeded, and its output.
fn run_helper(program: &str, input: &str) -> io::Result<(bool, Vec<u8>)> {
    let mut child = Command::new(program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let (sender, receiver) = mpsc::channel();
    let input = input.to_owned();
    std::thread::spawn(move || {
        let exchange = || -> io::Result<Vec<u8>> {
            if let Some(mut stdin) = stdin {
                stdin.write_all(input.as_bytes())?;
            }
            let mut output = Vec::new();
            if let Some(stdout) = stdout {
                stdout.take(MAX_FILE_BYTES).read_to_end(&mut output)?;
            }
            Ok(output)
        };
        // Nobody listens any more once the time is over.
        drop(sender.send(exchange()));
    });
    let output = receiver.recv_timeout(HELPER_TIMEOUT);
    if output.is_err() {
        child.kill()?;
    }
    let is_success = child.wait()?.success();
    match output {
        Ok(output) => Ok((is_success, output?)),
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "it did not answer in 30 seconds")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Credentials {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let mut credentials = Credentials::none();
        credentials.read_file(file.path()).unwrap();
        credentials
    }

    #[test]
    fn a_credential_is_found_under_every_spelling_of_its_host() {
        let credentials = read(
            r#"{"auths":{"https://index.docker.io/v1/":{"auth":"dTpwOng="},
                "http://localhost:5000/v2/":{"username":"n","password":"s"},"empty.example":{}}}"#,
        );
        let hub = credentials.get("docker.io").unwrap().unwrap();
        assert_eq!((hub.username.as_str(), hub.secret.as_str()), ("u", "p:x"));
        assert_eq!(credentials.get("localhost:5000").unwrap().unwrap().secret, "s");
        for other in ["empty.example", "localhost", "localhost:50", "evil.example"] {
            assert_eq!(credentials.get(other).unwrap(), None, "{other}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let credentials = read(r#"{"auths":{"h":{"username":"n","password":"hush"}}}"#);
        let given = credentials.clone().with("g", credentials.get("h").unwrap().unwrap());
        assert!(!format!("{given:?}").contains("hush"));
    }

    #[test]
    fn a_helper_that_is_missing_is_an_error_and_a_path_is_none() {
        let credentials = read(r#"{"credHelpers":{"h":"no-such","p":"../x"}}"#);
        assert!(
            credentials.get("h").unwrap_err().to_string().contains("docker-credential-no-such")
        );
        assert!(credentials.get("p").unwrap_err().to_string().contains("is a path"));
    }

    #[test]
    fn a_file_of_another_format_is_an_error_and_a_missing_one_is_not() {
        let mut credentials = Credentials::none();
        credentials.read_file(Path::new("/nonexistent/config.json")).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "[auths]").unwrap();
        let error = credentials.read_file(file.path()).unwrap_err();
        assert!(matches!(error, RegistryError::CredentialFile { .. }));
    }
}
