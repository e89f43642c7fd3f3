//! HTTP/1.1 to the byte: heads and bodies as they came, and answers as they will go.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The longest head that is read; a test that sends more is wrong.
const LONGEST_HEAD: usize = 1 << 20;

/// The head of a request or an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    /// Every byte, the empty line included.
    pub(crate) bytes: Vec<u8>,
    /// The first line.
    pub(crate) start: String,
    /// Names as written and values without the space around them, in order; bytes above 127 as Latin-1.
    pub(crate) headers: Vec<(String, String)>,
}

impl Head {
    /// Takes a whole head apart.
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
        let mut lines = text.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim_matches([' ', '\t']).to_owned()))
            .collect();
        Self { bytes: bytes.to_vec(), start, headers }
    }

    /// The method of a request.
    pub(crate) fn method(&self) -> &str {
        self.start.split(' ').next().unwrap_or_default()
    }

    /// The target of a request, as written.
    pub(crate) fn target(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }

    /// The target without its query.
    pub(crate) fn path(&self) -> &str {
        self.target().split('?').next().unwrap_or_default()
    }

    /// The query, without `?`.
    pub(crate) fn query(&self) -> &str {
        self.target().split_once('?').map_or("", |(_, query)| query)
    }

    /// Whether the request is HTTP/1.0.
    pub(crate) fn is_http_1_0(&self) -> bool {
        self.start.ends_with("HTTP/1.0")
    }

    /// The status of an answer; 0 when there is none.
    pub(crate) fn status(&self) -> u16 {
        self.target().parse().unwrap_or(0)
    }

    /// The first value of a field.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.all(name).into_iter().next()
    }

    /// Every value of a field, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let matching = self.headers.iter().filter(|(given, _)| given.eq_ignore_ascii_case(name));
        matching.map(|(_, value)| value.as_str()).collect()
    }

    /// Whether a list field names `token`.
    pub(crate) fn has_token(&self, name: &str, token: &str) -> bool {
        self.all(name)
            .iter()
            .flat_map(|list| list.split(','))
            .any(|one| one.trim().eq_ignore_ascii_case(token))
    }
}

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
    /// With its length or its last chunk, as a request's does: without either there is none.
    Framed,
    /// As before, and without either with the connection, as an answer's does.
    WithConnection,
}

/// Why there is no body.
#[derive(Debug)]
pub(crate) enum NoBody {
    /// It is longer than allowed.
    TooLarge,
    /// The connection ended, or the framing made no sense.
    Broken,
}

/// A connection and what has been read from it but not used.
#[derive(Debug)]
pub(crate) struct Inbound<S> {
    /// The connection, for writing.
    pub(crate) stream: S,
    pub(crate) buffer: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Inbound<S> {
    /// Nothing has been read yet.
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    /// The next head, or none when the connection ended first.
    pub(crate) async fn head(&mut self) -> Option<Head> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                let bytes: Vec<u8> = self.buffer.drain(..end + 4).collect();
                return Some(Head::parse(&bytes));
            }
            if self.buffer.len() > LONGEST_HEAD || !self.more().await {
                return None;
            }
        }
    }

    /// The body that belongs to `head`, at most `limit` bytes; answers `Expect: 100-continue`.
    pub(crate) async fn body(&mut self, head: &Head, ends: Ends, limit: usize) -> Result<Vec<u8>, NoBody> {
        if head.has_token("expect", "100-continue") {
            let go_on = self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await;
            go_on.map_err(|_closed| NoBody::Broken)?;
        }
        if head.has_token("transfer-encoding", "chunked") {
            return self.chunked(limit).await;
        }
        match head.header("content-length") {
            Some(length) => match length.parse() {
                Ok(length) if length > limit => Err(NoBody::TooLarge),
                Ok(length) => self.take(length).await,
                Err(_senseless) => Err(NoBody::Broken),
            },
            None if ends == Ends::Framed => Ok(Vec::new()),
            None => {
                while self.more().await {}
                Ok(std::mem::take(&mut self.buffer))
            }
        }
    }

    /// Returns when the other side has closed or reset the connection.
    pub(crate) async fn gone(&mut self) {
        while self.more().await {}
    }

    /// Exactly `length` bytes.
    pub(crate) async fn take(&mut self, length: usize) -> Result<Vec<u8>, NoBody> {
        while self.buffer.len() < length {
            if !self.more().await {
                return Err(NoBody::Broken);
            }
        }
        Ok(self.buffer.drain(..length).collect())
    }

    /// One line without its end.
    pub(crate) async fn line(&mut self) -> Result<String, NoBody> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..end + 2).take(end).collect();
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            if !self.more().await {
                return Err(NoBody::Broken);
            }
        }
    }

    async fn chunked(&mut self, limit: usize) -> Result<Vec<u8>, NoBody> {
        let mut body = Vec::new();
        loop {
            let line = self.line().await?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).map_err(|_senseless| NoBody::Broken)?;
            if size == 0 {
                while !self.line().await?.is_empty() {}
                return Ok(body);
            }
            if body.len().saturating_add(size) > limit {
                return Err(NoBody::TooLarge);
            }
            body.extend(self.take(size).await?);
            self.line().await?;
        }
    }

    pub(crate) async fn more(&mut self) -> bool {
        self.buffer.reserve(16 * 1024);
        matches!(self.stream.read_buf(&mut self.buffer).await, Ok(1..))
    }
}

/// An answer to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: u16,
    /// In the order in which they are written; what frames the body is added at the end.
    pub(crate) headers: Vec<(String, String)>,
    /// The body.
    pub(crate) body: Vec<u8>,
    /// Send it in chunks instead of with its length.
    pub(crate) chunked: bool,
    /// Close the connection afterwards.
    pub(crate) close: bool,
}

impl Answer {
    /// An answer without any header of its own.
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), chunked: false, close: false }
    }

    /// Adds a header.
    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// The head as it goes out to `request`.
    pub(crate) fn head(&self, request: &Head) -> Vec<u8> {
        let version = if request.is_http_1_0() { "HTTP/1.0" } else { "HTTP/1.1" };
        let reason = http::StatusCode::from_u16(self.status).ok();
        let reason = reason.and_then(|status| status.canonical_reason()).unwrap_or_default();
        let mut head = format!("{version} {} {reason}\r\n", self.status);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if self.chunked {
            head.push_str("Transfer-Encoding: chunked\r\n\r\n");
        } else {
            head.push_str(&format!("Content-Length: {}\r\n\r\n", self.body.len()));
        }
        head.into_bytes()
    }

    /// The body as it goes out to `request`.
    pub(crate) fn framed_body(&self, request: &Head) -> Vec<u8> {
        if request.method() == "HEAD" {
            return Vec::new();
        }
        if !self.chunked {
            return self.body.clone();
        }
        let mut framed = format!("{:x}\r\n", self.body.len()).into_bytes();
        framed.extend_from_slice(&self.body);
        framed.extend_from_slice(b"\r\n0\r\n\r\n");
        framed
    }
}

/// Writes and flushes.
pub(crate) async fn write<S: AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

/// `application/x-www-form-urlencoded` pairs, in order.
pub(crate) fn form(text: &str) -> Vec<(String, String)> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (form_decode(name), form_decode(value))
        })
        .collect()
}

/// One name or value of a form.
pub(crate) fn form_decode(text: &str) -> String {
    percent_encoding::percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
