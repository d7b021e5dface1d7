//! A server of HTTP on loopback, for tests that fetch: each request is handed to a function and remembered.
//!
//! One request a connection. It ends with its value, and waits for nobody then.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// How long a client may take over its request.
const PATIENCE: Duration = Duration::from_secs(30);

/// A request, as it came.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// `GET`, say.
    pub method: String,
    /// The path with the query.
    pub target: String,
    /// The headers in their order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// What followed them.
    pub body: Vec<u8>,
}

/// An answer.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Headers besides the length.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// The length that is told; nothing for the true one.
    pub told_length: Option<usize>,
}

/// The server; ended with this value.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    ended: Arc<AtomicBool>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Asked {
    /// A header's value.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

impl Answer {
    /// A success.
    #[must_use]
    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, body: body.into(), ..Self::default() }
    }

    /// An answer without a body.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    /// The same with a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

impl Server {
    /// Starts on a free port.
    ///
    /// # Panics
    /// When loopback has none.
    pub fn start(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port of loopback");
        let address = listener.local_addr().expect("the port's number");
        let (ended, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::default()));
        let (end, seen, answer) = (Arc::clone(&ended), Arc::clone(&asked), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming() {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                // A client that goes away is its own business.
                thread::spawn(move || drop(serve(stream, &seen, answer.as_ref())));
            }
        });
        Self { address, ended, asked }
    }

    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// The address of a path, which begins with `/`.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// All requests so far.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for clients.
        drop(TcpStream::connect(self.address));
    }
}

fn serve(
    stream: TcpStream,
    seen: &Mutex<Vec<Asked>>,
    answer: &dyn Fn(&Asked) -> Answer,
) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(stream);
    let asked = read(&mut reader)?;
    seen.lock().unwrap_or_else(PoisonError::into_inner).push(asked.clone());
    let Answer { status, headers, body, told_length } = answer(&asked);
    let mut out = format!("HTTP/1.1 {status} -\r\nConnection: close\r\n");
    if status != 304 {
        out += &format!("Content-Length: {}\r\n", told_length.unwrap_or(body.len()));
    }
    for (name, value) in headers {
        out += &format!("{name}: {value}\r\n");
    }
    out += "\r\n";
    let stream = reader.get_mut();
    stream.write_all(out.as_bytes())?;
    if asked.method != "HEAD" {
        stream.write_all(&body)?;
    }
    stream.flush()
}

fn read(reader: &mut impl BufRead) -> io::Result<Asked> {
    let first = line(reader)?;
    let mut words = first.split(' ').map(str::to_owned);
    let mut asked = Asked {
        method: words.next().unwrap_or_default(),
        target: words.next().unwrap_or_default(),
        ..Asked::default()
    };
    loop {
        let header = line(reader)?;
        let Some((name, value)) = header.split_once(':') else { break };
        asked.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    if asked.header("transfer-encoding") == Some("chunked") {
        loop {
            let length =
                usize::from_str_radix(line(reader)?.trim(), 16).map_err(io::Error::other)?;
            let mut chunk = vec![0; length];
            reader.read_exact(&mut chunk)?;
            line(reader)?;
            if length == 0 {
                break;
            }
            asked.body.extend(chunk);
        }
    } else if let Some(length) = asked.header("content-length") {
        let length: usize = length.parse().map_err(io::Error::other)?;
        asked.body = vec![0; length];
        reader.read_exact(&mut asked.body)?;
    }
    Ok(asked)
}

fn line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    reader.take(64 << 10).read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}
