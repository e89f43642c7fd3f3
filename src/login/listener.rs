//! The one address of this machine that a browser comes back to: loopback, one path, and as long as a sign-in takes.

use std::convert::Infallible;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode, header};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::LoginError;
use super::callback::{self, Expected};
use super::page::{self, Page};
use crate::clock;
use crate::secret::AuthorizationCode;

/// How long the head of a request may take; browsers open connections beforehand and send nothing on them.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest head: a code may be some kilobytes long.
const HEAD_SIZE: usize = 32 * 1024;

/// Connections at a time. A browser has two or three.
const CONNECTIONS: usize = 64;

/// How long the browser that is waiting for its last page may take to fetch it.
const LAST_PAGE: Duration = Duration::from_secs(3);

/// A port of this machine that a browser may be sent back to.
pub(super) struct Port {
    tcp: TcpListener,
    port: u16,
    path: String,
}

/// Where a browser comes back to.
pub(super) fn redirect_uri(port: u16, path: &str) -> String {
    format!("http://127.0.0.1:{port}{path}")
}

impl Port {
    /// Takes `port`, or any free one for 0.
    pub(super) async fn bind(port: u16, path: &str) -> io::Result<Self> {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let port = tcp.local_addr()?.port();
        Ok(Self { tcp, port, path: path.to_owned() })
    }

    pub(super) fn number(&self) -> u16 {
        self.port
    }

    /// What has to be registered at the server. An address and no name: nobody can make it lead elsewhere (RFC 8252 §8.3).
    pub(super) fn redirect_uri(&self) -> String {
        redirect_uri(self.port, &self.path)
    }

    /// Listens from here on.
    pub(super) fn listen(self, expected: Expected) -> Listener {
        let (returned, returns) = mpsc::unbounded_channel();
        let (last_page, page) = watch::channel(None);
        let shown = watch::Sender::new(false);
        let desk = Desk {
            hosts: hosts(self.port),
            done: format!("{}/done", self.path.trim_end_matches('/')),
            path: self.path,
            expected,
            is_taken: AtomicBool::new(false),
            returned,
            page,
            shown: shown.clone(),
        };
        let desk = Arc::new(desk);
        let mut serving = JoinSet::new();
        serving.spawn(serve(self.tcp, Arc::clone(&desk)));
        Listener { returns, last_page, shown, desk, _serving: serving }
    }
}

/// Somebody listens there; until dropped.
pub(super) struct Listener {
    returns: mpsc::UnboundedReceiver<Result<AuthorizationCode, LoginError>>,
    last_page: watch::Sender<Option<Page>>,
    shown: watch::Sender<bool>,
    desk: Arc<Desk>,
    _serving: JoinSet<()>,
}

impl Listener {
    /// Waits for the first answer.
    pub(super) async fn answer(&mut self) -> Result<AuthorizationCode, LoginError> {
        match self.returns.recv().await {
            Some(answer) => answer,
            // Whoever listens ends with this.
            None => std::future::pending().await,
        }
    }

    /// Tells the browser that has come back how all of it ended, and ends.
    pub(super) async fn finish(self, page: Page) {
        // Nobody is there only if every connection has ended.
        let _ = self.last_page.send(Some(page));
        if self.desk.is_taken.load(Ordering::Relaxed) {
            let mut shown = self.shown.subscribe();
            let is_shown = async { shown.wait_for(|shown| *shown).await.is_ok() };
            // What is looked at there is let go of at once: the next who fetches the page needs it.
            let _in_time: bool =
                tokio::time::timeout_at(clock::in_(LAST_PAGE), is_shown).await.unwrap_or_default();
            // It was handed to the connection; what is left is to write it.
            tokio::time::sleep_until(clock::in_(Duration::from_millis(100))).await;
        }
    }
}

/// What every connection needs to know.
struct Desk {
    hosts: Vec<String>,
    path: String,
    /// Where the last page is: an address without the code.
    done: String,
    expected: Expected,
    is_taken: AtomicBool,
    returned: mpsc::UnboundedSender<Result<AuthorizationCode, LoginError>>,
    page: watch::Receiver<Option<Page>>,
    shown: watch::Sender<bool>,
}

async fn serve(tcp: TcpListener, desk: Arc<Desk>) {
    let mut carried = JoinSet::new();
    loop {
        while carried.try_join_next().is_some() {}
        match tcp.accept().await {
            // One that is too many is closed; those that send nothing give way in time.
            Ok((stream, _)) if carried.len() < CONNECTIONS => {
                carried.spawn(carry(stream, Arc::clone(&desk)));
            }
            Ok(_) => {}
            Err(_refused) => tokio::time::sleep_until(clock::in_(Duration::from_millis(50))).await,
        }
    }
}

/// One connection, one request.
async fn carry(stream: TcpStream, desk: Arc<Desk>) {
    let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
        let desk = Arc::clone(&desk);
        let (head, _unread) = request.into_parts();
        async move { Ok::<_, Infallible>(desk.answer(&head).await.map(Full::new)) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).keep_alive(false).max_buf_size(HEAD_SIZE);
    // Whoever was too slow, or spoke no HTTP, is told by the end of the connection.
    let _ended = http.serve_connection(TokioIo::new(stream), service).await;
}

impl Desk {
    async fn answer(&self, head: &Parts) -> Response<Bytes> {
        let host = head.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        if !self.hosts.iter().any(|ours| host.eq_ignore_ascii_case(ours)) {
            return told(StatusCode::FORBIDDEN, "Wrong address", "Nobody of this name is here.");
        }
        if head.method != Method::GET {
            let mut answer =
                told(StatusCode::METHOD_NOT_ALLOWED, "Not here", "This address is opened by a browser.");
            answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET"));
            return answer;
        }
        match head.uri.path() {
            path if path == self.path => self.take(head).await,
            path if path == self.done => match &*self.page.borrow() {
                Some(Page(page)) => {
                    self.shown.send_replace(true);
                    dressed(StatusCode::OK, page.clone())
                }
                None => nothing_here(),
            },
            _ => nothing_here(),
        }
    }

    /// The browser is back. What it brings is looked at once, and it learns how all of it ended.
    async fn take(&self, head: &Parts) -> Response<Bytes> {
        // A picture or a script on somebody's page is no return; browsers say which it is (Fetch Metadata).
        let mode = head.headers.get("sec-fetch-mode").map(HeaderValue::as_bytes);
        if mode.is_some_and(|mode| mode != b"navigate") {
            return told(StatusCode::FORBIDDEN, "Not this way", "Only a browser's own page comes back here.");
        }
        if !self.is_taken.load(Ordering::Relaxed) {
            let Some(returned) = callback::read(head.uri.query().unwrap_or_default(), &self.expected) else {
                return told(
                    StatusCode::BAD_REQUEST,
                    "Still waiting",
                    "A sign-in ends here. Finish it on the page that the terminal names; nothing has come back yet.",
                );
            };
            self.is_taken.store(true, Ordering::Relaxed);
            // Nobody listens only once the sign-in has ended another way.
            let _ = self.returned.send(returned);
        }
        // Whoever comes a second time learns the same.
        let mut page = self.page.clone();
        // Nobody tells only once all has ended.
        let _told = page.wait_for(Option::is_some).await.is_ok();
        let mut answer = dressed(StatusCode::SEE_OTHER, String::new());
        if let Ok(done) = HeaderValue::from_str(&self.done) {
            answer.headers_mut().insert(header::LOCATION, done);
        }
        answer
    }
}

/// How a browser names this listener. The port that goes without saying is not said (RFC 9110 §7.2).
fn hosts(port: u16) -> Vec<String> {
    let names = ["127.0.0.1", "localhost"];
    let bare = names.iter().filter(|_| port == 80).map(ToString::to_string);
    names.iter().map(|name| format!("{name}:{port}")).chain(bare).collect()
}

fn nothing_here() -> Response<Bytes> {
    told(StatusCode::NOT_FOUND, "Nothing here", "A sign-in is waiting at another address.")
}

fn told(status: StatusCode, title: &str, text: &str) -> Response<Bytes> {
    dressed(status, page::notice(title, text).0)
}

fn dressed(status: StatusCode, page: String) -> Response<Bytes> {
    let mut answer = Response::new(Bytes::from(page));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Ok(policy) = HeaderValue::from_str(&page::policy()) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    answer
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::login::{Code, Outcome};

    async fn listening() -> (Listener, u16) {
        let port = Port::bind(0, "/callback").await.unwrap();
        let number = port.number();
        assert_eq!(port.redirect_uri(), format!("http://127.0.0.1:{number}/callback"));
        let expected = Expected { state: "st".to_owned(), issuer: None, names_issuer: false };
        (port.listen(expected), number)
    }

    async fn sent(port: u16, request: &str) -> String {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    }

    async fn get(port: u16, target: &str) -> String {
        sent(port, &format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n")).await
    }

    #[test]
    fn the_port_of_http_goes_without_saying() {
        assert_eq!(hosts(8976), ["127.0.0.1:8976", "localhost:8976"]);
        assert_eq!(hosts(80), ["127.0.0.1:80", "localhost:80", "127.0.0.1", "localhost"]);
    }

    #[tokio::test]
    async fn strangers_are_sent_away_and_the_sign_in_goes_on() {
        let (mut listener, port) = listening().await;
        let _silent = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        let get_with = |line: &str| {
            format!("GET /callback?code=evil&state=st HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{line}\r\n\r\n")
        };
        let rows = [
            (
                format!("GET /callback?code=evil&state=st HTTP/1.1\r\nHost: evil.example:{port}\r\n\r\n"),
                "403",
            ),
            (format!("POST /callback?code=evil&state=st HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"), "405"),
            (get_with("Sec-Fetch-Mode: no-cors"), "403"),
            (format!("GET /favicon.ico HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"), "404"),
            (format!("GET /callback/ HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"), "404"),
            (format!("GET /callback/done HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"), "404"),
            (format!("GET /callback HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n"), "400"),
            ("rubbish\r\n\r\n".to_owned(), "400"),
        ];
        for (request, status) in rows {
            let answer = sent(port, &request).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request:.60}: {answer}");
        }
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        // It is cut off: the rest is not read, and what is left unread resets the connection.
        let _cut_off = stream.write_all("x".repeat(100 * HEAD_SIZE).as_bytes()).await;
        let mut answer = Vec::new();
        let _cut_off = stream.read_to_end(&mut answer).await;
        assert!(
            answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"),
            "{}",
            String::from_utf8_lossy(&answer)
        );
        let last = get_with("Sec-Fetch-Mode: navigate");
        let last = sent(port, &last);
        let (code, _) = tokio::join!(
            async { (listener.answer().await, listener.finish(page::notice("t", "x")).await).0 },
            last
        );
        assert_eq!(code.unwrap().expose(), "evil");
    }

    #[tokio::test]
    async fn the_page_comes_when_all_is_done_at_an_address_without_the_code() {
        let (mut listener, port) = listening().await;
        let browser = tokio::spawn(async move {
            let (first, second) =
                tokio::join!(get(port, "/callback?code=C&state=st"), get(port, "/callback?code=D&state=st"));
            let last = get(port, "/callback/done").await;
            assert_eq!(
                get(port, "/callback/done").await.get(..12),
                Some("HTTP/1.1 200"),
                "as often as it is asked for"
            );
            (first, second, last)
        });
        listener.answer().await.unwrap();
        assert!(!browser.is_finished(), "it waits for how it ends");
        let error = LoginError::new(Outcome::Config, Code::StoreUnavailable, "It could not be stored.");
        listener.finish(page::failed(&error, "bearerd login")).await;
        let (first, second, last) = browser.await.unwrap();
        for redirect in [first, second] {
            assert!(
                redirect.starts_with("HTTP/1.1 303") && redirect.contains("location: /callback/done\r\n"),
                "{redirect}"
            );
            assert!(
                redirect.contains("cache-control: no-store")
                    && redirect.contains("referrer-policy: no-referrer")
            );
        }
        assert!(last.starts_with("HTTP/1.1 200") && last.contains("It could not be stored."), "{last}");
        assert!(last.contains("content-security-policy: default-src 'none'"), "{last}");
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err(), "nobody listens any more");
    }

    #[tokio::test]
    async fn an_answer_to_another_sign_in_ends_this_one() {
        let (mut listener, port) = listening().await;
        let browser = tokio::spawn(async move { get(port, "/callback?code=C&state=theirs").await });
        assert_eq!(listener.answer().await.unwrap_err().code, "state_mismatch");
        drop(listener);
        let _cut_off = browser.await;
    }
}
