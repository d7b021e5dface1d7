//! A registry in this process, on loopback, with faults on demand.
//!
//! It speaks enough of the protocol to be pulled from and pushed to, one request for each connection, and
//! remembers what it was asked. It is for tests, and trusts its client.

mod uploads;

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use kiln_image::OciDigest;

/// A registry in this process; it ends when it is dropped.
#[derive(Debug)]
pub struct FakeRegistry {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    thread: Option<JoinHandle<()>>,
}

/// A fault, put on requests whose path contains a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Part of the path of the requests that it is put on.
    pub path: String,
    /// How often it strikes.
    pub times: usize,
    /// What it is.
    pub kind: FaultKind,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FaultKind {
    /// The answer has this status and these headers and nothing else.
    Status(u16, Vec<(String, String)>),
    /// The body is another.
    Body(Vec<u8>),
    /// The connection ends after so many bytes of the body; of what is sent to it, before any answer, when
    /// it was taken.
    CutAfter(usize),
    /// Ranges are ignored and the whole is sent.
    IgnoreRange,
    /// The length is not announced.
    NoLength,
}

/// What the registry wants to see before it gives anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// Name and password.
    Basic(String, String),
    /// A token from `http://HOST/token` (of this registry or another), which gives one to anybody, or
    /// only to the one with this name and password.
    Bearer(String, Option<(String, String)>),
}

/// A request as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenRequest {
    /// `GET` or another.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// The headers, their names in lower case.
    pub headers: BTreeMap<String, String>,
    /// What was sent along.
    pub body: Vec<u8>,
}

#[derive(Debug, Default)]
struct State {
    /// `/v2/NAME/KIND/ID` → content type and body.
    content: BTreeMap<String, (String, Vec<u8>)>,
    blobs: BTreeMap<String, Vec<u8>>,
    faults: Vec<Fault>,
    login: Option<Login>,
    seen: Vec<SeenRequest>,
    /// What came so far of each upload, by its number.
    uploads: Vec<Vec<u8>>,
    is_ended: bool,
}

/// What is sent back.
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    cut_after: Option<usize>,
}

const TOKEN: &str = "token-of-the-fake";

impl FakeRegistry {
    /// Starts a registry on a free port.
    ///
    /// # Errors
    ///
    /// Fails when there is no port to listen on.
    pub fn start() -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if lock(&shared).is_ended {
                    break;
                }
                let shared = Arc::clone(&shared);
                // A client that goes away in the middle is part of what is tested.
                std::thread::spawn(move || drop(serve(&stream, &shared)));
            }
        });
        Ok(Self { address, state, thread: Some(thread) })
    }

    /// `127.0.0.1:PORT`, as image names write it.
    #[must_use]
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Puts a blob into every repository.
    pub fn put_blob(&self, bytes: &[u8]) -> OciDigest {
        let digest = OciDigest::of(bytes);
        lock(&self.state).blobs.insert(digest.to_string(), bytes.to_vec());
        digest
    }

    /// Puts a manifest or an index into a repository under a tag and its digest.
    pub fn put_manifest(
        &self,
        repository: &str,
        tag: &str,
        media_type: &str,
        bytes: &[u8],
    ) -> OciDigest {
        let digest = OciDigest::of(bytes);
        let mut state = lock(&self.state);
        for id in [tag, &digest.to_string()] {
            let path = format!("/v2/{repository}/manifests/{id}");
            state.content.insert(path, (media_type.to_owned(), bytes.to_vec()));
        }
        digest
    }

    /// Puts a fault on requests to come.
    pub fn fail(&self, path: &str, times: usize, kind: FaultKind) {
        lock(&self.state).faults.push(Fault { path: path.to_owned(), times, kind });
    }

    /// Wants a login from now on.
    pub fn require(&self, login: Login) {
        lock(&self.state).login = Some(login);
    }

    /// The requests so far, in order.
    #[must_use]
    pub fn seen(&self) -> Vec<SeenRequest> {
        lock(&self.state).seen.clone()
    }
}

impl Drop for FakeRegistry {
    fn drop(&mut self) {
        lock(&self.state).is_ended = true;
        // Wakes the thread that waits for connections.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(stream: &TcpStream, state: &Mutex<State>) -> io::Result<()> {
    let request = read_request(stream)?;
    let answer = {
        let mut state = lock(state);
        state.seen.push(request.clone());
        state.answer(&request)
    };
    if answer.status == 0 {
        // The connection is lost before anything is said.
        return Ok(());
    }
    let mut head = format!("HTTP/1.1 {} Fake\r\nConnection: close\r\n", answer.status);
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let end = answer.cut_after.unwrap_or(answer.body.len()).min(answer.body.len());
    let mut stream = stream;
    stream.write_all(head.as_bytes())?;
    stream.write_all(b"\r\n")?;
    if request.method != "HEAD" {
        stream.write_all(&answer.body[..end])?;
    }
    stream.shutdown(std::net::Shutdown::Write)
}

fn read_request(stream: &TcpStream) -> io::Result<SeenRequest> {
    let mut reader = BufReader::new(stream);
    let mut line = || {
        let mut line = String::new();
        reader.read_line(&mut line).map(|_| line.trim_end().to_owned())
    };
    let first = line()?;
    let mut words = first.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = BTreeMap::new();
    while let Some((name, value)) = line()?.split_once(':') {
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body)?;
    Ok(SeenRequest { method, path, headers, body })
}

impl State {
    fn answer(&mut self, request: &SeenRequest) -> Answer {
        if let Some(refusal) = self.refusal(request) {
            return refusal;
        }
        if !matches!(request.method.as_str(), "GET" | "HEAD") || request.path.contains("/uploads/")
        {
            return self.change(request);
        }
        let Some((content_type, mut body)) = self.content(&request.path) else {
            let body = br#"{"errors":[{"code":"NAME_UNKNOWN","message":"unknown here"}]}"#.to_vec();
            return Answer { status: 404, headers: Vec::new(), body, cut_after: None };
        };
        let fault = self.fault(&request.path);
        let mut answer =
            Answer { status: 200, headers: Vec::new(), body: Vec::new(), cut_after: None };
        if let Some(FaultKind::Body(other)) = &fault {
            body.clone_from(other);
        }
        let range = request.headers.get("range").and_then(|range| range.strip_prefix("bytes="));
        let start = range.and_then(|range| range.trim_end_matches('-').parse::<usize>().ok());
        if let Some(start) = start.filter(|_| fault != Some(FaultKind::IgnoreRange)) {
            answer.status = 206;
            let range = format!("bytes {start}-{}/{}", body.len().saturating_sub(1), body.len());
            answer.headers.push(("Content-Range".to_owned(), range));
            body.drain(..start.min(body.len()));
        }
        answer.headers.push(("Content-Type".to_owned(), content_type));
        if fault != Some(FaultKind::NoLength) {
            answer.headers.push(("Content-Length".to_owned(), body.len().to_string()));
        }
        answer.body = body;
        match fault {
            Some(FaultKind::Status(status, headers)) => {
                return Answer { status, headers, body: Vec::new(), cut_after: None };
            }
            Some(FaultKind::CutAfter(bytes)) => answer.cut_after = Some(bytes),
            Some(FaultKind::Body(_) | FaultKind::IgnoreRange | FaultKind::NoLength) | None => {}
        }
        answer
    }

    /// The content at a path; blobs are in every repository, and `/token` gives tokens.
    fn content(&self, path: &str) -> Option<(String, Vec<u8>)> {
        if path.starts_with("/token") {
            let body = format!(r#"{{"token":"{TOKEN}","expires_in":300}}"#);
            return Some(("application/json".to_owned(), body.into_bytes()));
        }
        let blob = path.rsplit_once("/blobs/").and_then(|(_, digest)| self.blobs.get(digest));
        let blob = blob.map(|bytes| ("application/octet-stream".to_owned(), bytes.clone()));
        blob.or_else(|| self.content.get(path).cloned())
    }

    /// The next fault for a path, used up by this.
    fn fault(&mut self, path: &str) -> Option<FaultKind> {
        let strikes = |fault: &&mut Fault| fault.times > 0 && path.contains(&fault.path);
        let fault = self.faults.iter_mut().find(strikes)?;
        fault.times -= 1;
        Some(fault.kind.clone())
    }

    /// The answer to one who has not logged in as it is wanted.
    fn refusal(&self, request: &SeenRequest) -> Option<Answer> {
        use base64::Engine as _;
        let basic = |(name, secret): &(String, String)| {
            let pair = format!("{name}:{secret}");
            format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
        };
        let is_for_token = request.path.starts_with("/token");
        let (wanted, challenge) = match self.login.as_ref()? {
            Login::Basic(name, secret) => {
                (basic(&(name.clone(), secret.clone())), "Basic realm=\"fake\"".to_owned())
            }
            Login::Bearer(_, Some(pair)) if is_for_token => {
                (basic(pair), "Basic realm=\"fake\"".to_owned())
            }
            Login::Bearer(_, None) if is_for_token => return None,
            Login::Bearer(host, _) => {
                let realm = format!("Bearer realm=\"http://{host}/token\",service=\"fake\"");
                (format!("Bearer {TOKEN}"), realm)
            }
        };
        if request.headers.get("authorization") == Some(&wanted) {
            return None;
        }
        let headers = vec![("WWW-Authenticate".to_owned(), challenge)];
        Some(Answer { status: 401, headers, body: Vec::new(), cut_after: None })
    }
}
